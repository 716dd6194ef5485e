"""Two-stage models: predict value and cost by likelihood, then optimise the allocation.

Stable: the names that `largesse.models` exports; import them from there.
"""
