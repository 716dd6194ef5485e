"""Before an experiment: assignment, sample size, interim looks, replay of historical data."""
