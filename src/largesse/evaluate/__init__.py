"""What a policy is worth, from rows assigned at random: outcome curves, comparisons with intervals, rankings."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
