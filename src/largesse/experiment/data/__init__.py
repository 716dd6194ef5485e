"""Rows of an experiment: columns, samples, cross-fitted predictions, soundness checks.

Stable: the names that `largesse.experiment` exports; import them from there.
"""
