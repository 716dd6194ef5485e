"""Predict, then optimise: learners of value and cost by their likelihood."""
