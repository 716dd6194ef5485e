"""Turns results into one self-contained web page, pictures and a Markdown summary.

The caller fills `Results` with numbers and words; `write` lays them out.

Stable: the names in `__all__` (docs/stability.md); modules whose name starts with an underscore are private.

>>> words = Headline(title="Spring coupons", sentence="At half of the budget the policy keeps 90 % of the orders.")
>>> Results(headline=words, value_unit="orders", money_unit="USD").value_label
'orders per unit'
"""

from largesse._extras import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
