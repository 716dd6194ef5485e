"""Is a log sound, and how much can it tell: sample ratio, balance, overlap, what a past policy's log gets wrong, power.

Stable: the names in `__all__` (docs/stability.md); modules whose name starts with an underscore are private.
"""

from largesse._extras import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
