"""Engines: who does the passes over units that no memory holds. No mathematics here.

Stable: the names in `__all__` of the modules (docs/stability.md).
"""
