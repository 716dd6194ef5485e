"""Decision-focused learning: networks and corrections trained by what their decisions bring on the trial.

Stable: the names that `largesse.models` exports; import them from there.
"""
