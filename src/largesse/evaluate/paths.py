"""A policy given by its decisions at rising budgets, where no price alone gives them: a plan under rules."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from largesse import _check
from largesse._arguments import checked
from largesse.logs import labels

__all__ = ["DecisionPath", "falling"]


@checked
@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class DecisionPath:
    """The treatment of N units at each of K rising budgets; between two budgets, a random share of the units has the next one.

    Attributes:
        decided: Treatment of each unit at each budget, (K, N); the last holds for every larger budget.
        price: Shadow price of each budget, strictly falling, the last 0, (K,); see `falling`.
        treatments: Names of the M treatments, control first.

    Raises:
        DataError: A field violates a rule above.

    >>> path = DecisionPath(decided=[[0, 0], [0, 1], [1, 1]], price=[3.0, 2.0, 0.0], treatments=("none", "coupon"))
    >>> path.at([0.5, 2.5]).tolist(), path.shares([1.0, 1.0], [0.5, 2.5]).tolist()
    ([2, 1], [[0.0, 1.0], [0.5, 0.5]])
    """

    decided: NDArray[np.int32]
    price: NDArray[np.float64]
    treatments: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "treatments", labels(self.treatments, 2))
        codes = _check.integers(
            "decided", np.ravel(self.decided), low=0, high=len(self.treatments),
            rule=f"must be codes in 0..{len(self.treatments) - 1}", remedy="Use the treatments' order.",
        )  # fmt: skip
        price = _check.array("price", self.price, ndim=1, dtype=np.float64)
        decided = codes.reshape(np.shape(self.decided)).astype(np.int32)
        if decided.ndim != 2 or len(decided) != len(price) or not len(price):
            rule = f"must be ({len(price)}, N): one row of decisions for each price"
            raise _check.refuse("decided.shape", decided.shape, rule, "Give the decisions at each budget.")
        if price[-1] != 0 or (np.diff(price) >= 0).any() or not np.isfinite(price).all():
            raise _check.refuse("price", price, "must fall strictly, to 0", "Give budgets that rise; see `falling`.")
        object.__setattr__(self, "decided", decided)
        object.__setattr__(self, "price", price)

    @property
    def n(self) -> int:
        """Number of units."""
        return self.decided.shape[1]

    def at(self, price: _check.Numbers) -> NDArray[np.int64]:
        """Returns which of the decisions holds at each price: the one of the largest price that is not above it."""
        rising = np.searchsorted(self.price[::-1], np.asarray(price, np.float64), side="right") - 1
        return np.asarray(len(self.price) - 1 - rising)

    def shares(self, weight: _check.Numbers, price: _check.Numbers) -> NDArray[np.float64]:
        """Returns the share of each treatment in the decisions at each price, (P, M).

        Args:
            weight: Weight of each unit, (N,).
            price: Prices >= 0, (P,).
        """
        weights, m = np.asarray(weight, np.float64), len(self.treatments)
        each = np.array([np.bincount(one, weights, minlength=m) for one in self.decided]) / weights.sum()
        return np.asarray(each[self.at(price)])


def falling(price: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns prices of rising budgets as strictly falling ones that end at 0, (K,).

    Prices are equal where two budgets buy units of the same return, and rise by rounding: they are moved by a billionth.

    >>> falling(np.array([2.0, 2.0, 1.0, 0.0])).tolist()
    [2.000000002, 2.0, 1.0, 0.0]
    """
    out = np.array(price, np.float64)
    step = 1e-9 * max(1.0, float(np.max(np.abs(out))) if len(out) else 1.0)
    out[-1] = 0.0
    for k in range(len(out) - 2, -1, -1):
        out[k] = max(out[k], out[k + 1] + step)
    return out
