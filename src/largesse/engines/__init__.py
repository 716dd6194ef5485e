"""Engines: passes over units that do not fit in memory, on Parquet files or Spark. No mathematics here."""
