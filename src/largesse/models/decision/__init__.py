"""Decision-focused learning: networks and corrections trained by the value of their decisions on the trial.

Stable: the names that `largesse.models` exports; import them from there.
"""
