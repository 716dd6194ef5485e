"""Before an experiment: assignment, sample size, interim looks, replay of historical data.

Stable: the names that `largesse.experiment` exports; import them from there.
"""
