"""Exact budget allocation: price intervals, the frontier of all budgets, the plan at one budget."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
