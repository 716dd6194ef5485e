"""Analysis of online experiments: STATE and mean-based estimators side by side, and whether they agree.

Stable: the names in `__all__` (docs/stability.md); modules whose name starts with an underscore are private.
"""

from largesse._extras import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
