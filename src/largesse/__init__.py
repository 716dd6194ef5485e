"""largesse: decide who gets which incentive, under a budget, and prove it pays.

A model predicts a menu: value and cost of every treatment for every unit. The shadow price λ of the budget turns the menu into an
allocation, and held-out rows of a trial show its value and spend.

Names are loaded on first use, so `import largesse` is fast and does not import torch.

Stable: the names in `__all__` (docs/stability.md); modules whose name starts with an underscore are private.
"""

from largesse._extras import attach

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = attach(__name__, __file__)
