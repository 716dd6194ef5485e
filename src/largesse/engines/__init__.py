"""Engines: passes over units that do not fit in memory, on Parquet files or Spark. No mathematics here.

Stable: the names in `__all__` of the modules (docs/stability.md).
"""
