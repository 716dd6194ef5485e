"""The client of `largesse serve`: decisions with keys, retries, a deadline and an offline fallback; outcomes; campaigns.

Needs httpx alone, and imports neither NumPy nor the rest of the package.

Stable: the names in `__all__` (docs/stability.md); modules whose name starts with an underscore are private.
"""

from largesse._extras import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
