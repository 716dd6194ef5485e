"""Bi-DFCL: bi-level training that corrects a model of past campaign data by decisions on the trial.

Stable: the names that `largesse.models` exports; import them from there.
"""
