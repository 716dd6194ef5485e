"""Is a log sound, and how much can it tell: sample ratio, balance, overlap, what a past policy's log gets wrong, power."""

from largesse._extras import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
