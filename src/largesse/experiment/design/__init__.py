"""Before an experiment: assignment, size, looks on the way, replay of history.

Stable: the names that `largesse.experiment` exports; import them from there.
"""
