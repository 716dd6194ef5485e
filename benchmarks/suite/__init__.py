"""Methods against each other, on worlds whose truth is known and on real trials: `python -m benchmarks`."""
