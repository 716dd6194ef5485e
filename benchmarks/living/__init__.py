"""A living campaign in a simulated world: what arrives, the money of a day, and who decides; `benchmarks/loop.py` runs it."""
