"""Is a log sound, and how much can it tell: sample ratio, balance, overlap, what a past policy's log gets wrong, power."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
