"""Research: methods against each other, speed, coverage. Not part of the installed package: `python -m benchmarks`."""
