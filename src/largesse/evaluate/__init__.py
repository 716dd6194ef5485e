"""The value of a policy, estimated from randomised rows: outcome curves, comparisons with intervals, rankings.

Stable: the names in `__all__` (docs/stability.md); modules whose name starts with an underscore are private.
"""

from largesse._extras import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
