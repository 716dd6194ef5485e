"""largesse: decide who gets which incentive, under a budget, and prove it pays.

Logs go in; a model turns a unit into a menu (value and cost of every treatment); a price of money turns a menu into a
decision; the budget sets the price; rows of a trial tell what the decisions are worth.

Names are loaded on first use, so that `import largesse` is fast and needs neither torch nor a browser.
"""

from largesse._extras import attach

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = attach(__name__, __file__)
