"""Models of value and cost. A name is loaded on first use: importing this package loads neither torch nor LightGBM.

Stable: the names in `__all__` (docs/stability.md); modules whose name starts with an underscore are private.
"""

from largesse._extras import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
