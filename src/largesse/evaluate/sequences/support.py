"""Whether large importance weights have had outcomes yet: without any, a weighted mean looks far more certain than it is.

A challenger that agrees with the champion on most units has many scores of weight about 1, and a few of weight 30, from
exploration, that carry nearly all of its variance. Until some of these have an outcome, the variance so far is that of the many.
The weights tell in advance: rows are counted by class of weight, (4^k, 4^(k+1)), and an interval waits until each class with a
tenth of Σ w² or more has enough effective outcomes, (Σ y²)² / Σ y⁴; of 0/1 outcomes, that is their number.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from largesse.evaluate.sequences import kernels

__all__ = ["CLASSES", "WeightClasses"]

Floats = NDArray[np.float64]
CLASSES, _OFFSET = 40, 10
_SHARE = 0.1  # of Σ w², below which a class adds at most a twentieth to the standard error


class WeightClasses:
    """Σ w², Σ y² and Σ y⁴ of the rows in each class of weights.

    Attributes:
        sums: (CLASSES, 3); all zero if no weights were given.
    """

    __slots__ = ("sums",)

    def __init__(self) -> None:
        self.sums = np.zeros((CLASSES, 3))

    def add(self, weight: Floats, outcome: Floats) -> None:
        """Adds rows: the factor w >= 0 with which each one's outcome enters its score (N,), and the outcome (N,)."""
        with np.errstate(divide="ignore"):
            code = np.floor(np.log2(weight) / 2) + _OFFSET
        code = np.where(weight > 0, np.clip(code, 0, CLASSES - 1), -1).astype(np.int64)
        kernels.add_classes(self.sums, code, weight, outcome)

    def events(self) -> float:
        """Returns the least effective number of outcomes of a class that matters; infinity if no weights were given.

        >>> classes = WeightClasses()
        >>> classes.add(np.repeat([1.0, 30.0], [900, 10]), np.r_[np.ones(50), np.zeros(860)])
        >>> classes.events()
        0.0
        """
        matters = self.sums[:, 0] > _SHARE * self.sums[:, 0].sum()
        if not matters.any():
            return np.inf
        _, second, fourth = self.sums[matters].T
        return float(np.divide(second**2, fourth, out=np.zeros_like(fourth), where=fourth > 0).min())
