"""Bi-DFCL: bi-level training that corrects a model of past campaign data by decisions on the trial."""
