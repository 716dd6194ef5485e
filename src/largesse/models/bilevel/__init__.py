"""Bi-DFCL: decisions on the trial correct what is learned from an observational log."""
