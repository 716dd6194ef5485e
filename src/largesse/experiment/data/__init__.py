"""Rows of an experiment: columns, samples, cross-fitted predictions, soundness checks."""
