"""Intervals that stay valid however often one looks: confidence sequences of means, policy values, lifts and differences.

Stable: the names that `largesse.evaluate` exports; import them from there.
"""
