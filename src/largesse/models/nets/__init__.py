"""Networks: the response network, its training loops, checkpoints, and what several learners share of them.

Stable: the names that `largesse.models` exports; import them from there.
"""
