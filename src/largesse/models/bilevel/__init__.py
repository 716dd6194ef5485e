"""Bi-DFCL: decisions on the trial correct what is learned from an observational log.

Stable: the names that `largesse.models` exports; import them from there.
"""
