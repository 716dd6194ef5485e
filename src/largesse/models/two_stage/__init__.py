"""Predict, then optimise: learners of value and cost by their likelihood.

Stable: the names that `largesse.models` exports; import them from there.
"""
