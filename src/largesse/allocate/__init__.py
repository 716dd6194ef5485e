"""Exact budget allocation: price intervals, the frontier of all budgets, the plan at one budget."""

from largesse._extras import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
