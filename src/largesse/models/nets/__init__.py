"""Networks: the response network, its training loops, checkpoints and losses.

Stable: the names that `largesse.models` exports; import them from there.
"""
