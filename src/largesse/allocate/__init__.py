"""Budget allocation with a certificate: price intervals, the frontier of all budgets, the plan at one budget.

Stable: the names in `__all__` (docs/stability.md); modules whose name starts with an underscore are private.
"""

from largesse._extras import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
