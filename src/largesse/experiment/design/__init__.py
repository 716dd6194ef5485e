"""Before an experiment: assignment, size, looks on the way, replay of history."""
