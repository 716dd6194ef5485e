"""What a policy is worth, from rows assigned at random: outcome curves, comparisons with intervals, rankings."""

from largesse._extras import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
