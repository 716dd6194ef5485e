"""The prices of `Pacer`: of the most recent units, or of the units that a profile still expects."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from largesse import _random
from largesse.allocate import pacing_kernels
from largesse.menu import Menu

__all__ = ["WINDOW", "Price", "Profile", "Recent"]

Floats = NDArray[np.float64]
Price = tuple[float, float]
"""A shadow price λ, and the share of the increments at that price that is taken."""

WINDOW = 2_000  # most recent units
_KEPT = 10_000  # units kept of a profile
_TAIL = 100  # last units of a profile, which it expects to the end


def _price(slope: Floats, extra: Floats, budget: float, guess: float) -> Price:
    price, share = pacing_kernels.price_among(slope, extra, max(0.0, budget), guess)
    return float(price), float(share)


class Recent:
    """The most recent units.

    Args:
        treatments: Number of treatments M.

    Attributes:
        recorded: Number of units so far; the last 2,000 are kept.
    """

    def __init__(self, treatments: int) -> None:
        self.recorded = 0
        self._slope, self._extra = np.zeros((2, WINDOW, treatments - 1))  # one row per unit, 0 after its last increment
        self._base: Floats = np.zeros(WINDOW)  # cost of each unit's cheapest treatment

    def __len__(self) -> int:
        """Number of units kept."""
        return min(self.recorded, WINDOW)

    def record(self, value: Floats, cost: Floats) -> None:
        """Adds units, (n, M), in place of the oldest ones."""
        pacing_kernels.record(value, cost, self.recorded, self._slope, self._extra, self._base)
        self.recorded += len(value)

    def _increments(self) -> tuple[Floats, Floats, float]:
        """Returns slope and cost of the increments, and the sum of the costs of the cheapest treatments."""
        n = len(self)
        return self._slope[:n].ravel(), self._extra[:n].ravel(), float(self._base[:n].sum())

    def price(self, per_unit: float, guess: float) -> Price:
        """Returns the price at which these units spend that much per unit."""
        slope, extra, base = self._increments()
        return _price(slope, extra, per_unit * len(self) - base, guess)

    def spend(self, at: Price) -> float:
        """Returns the expected spend per unit of these units at a price."""
        slope, extra, base = self._increments()
        return float(base + pacing_kernels.spend_among(slope, extra, *at)) / len(self)


class Profile:
    """The units that are expected, in their order of arrival.

    Args:
        menu: Units of a whole horizon, in order. Of more than 10,000 a sample is kept that is even over the order.
        seed: Seed of the sample.
    """

    def __init__(self, menu: Menu, seed: int) -> None:
        rows = np.arange(menu.n)
        if menu.n > _KEPT:  # one unit at random from each of 10,000 stretches
            uniform = _random.child(seed, 1).random(_KEPT)
            rows = ((np.arange(_KEPT) + uniform) * (menu.n / _KEPT)).astype(np.intp)
        self._n = len(rows)
        slope, extra = np.zeros((2, self._n, menu.n_treatments - 1))
        base: Floats = np.zeros(self._n)
        value, cost = (np.ascontiguousarray(a[rows], np.float64) for a in (menu.value, menu.cost))
        pacing_kernels.record(value, cost, 0, slope, extra, base)
        some = slope > 0
        self._slope, self._extra = slope[some], extra[some]  # in the order of the units
        self._start = np.append(0, np.cumsum(some.sum(axis=1)))  # where each unit's increments begin, (n + 1,)
        self._base = np.append(0.0, np.cumsum(base))  # costs of the cheapest treatments of the units before, (n + 1,)

    def _increments(self, first: int, stop: int) -> tuple[Floats, Floats, float]:
        """Returns slope and cost of units [first, stop), and the sum of the costs of their cheapest treatments."""
        k = slice(self._start[first], self._start[stop])
        return self._slope[k], self._extra[k], float(self._base[stop] - self._base[first])

    def price(self, way: float, per_unit: float, guess: float) -> Price:
        """Returns the price at which the units still to come spend that much per unit.

        Args:
            way: Share of the horizon that is over.
            per_unit: Spend per unit.
            guess: A price near the answer, or 0.
        """
        first = max(0, min(int(way * self._n), self._n - _TAIL))
        slope, extra, base = self._increments(first, self._n)
        return _price(slope, extra, per_unit * (self._n - first) - base, guess)

    def ratio(self, recent: Recent, start: float, way: float, per_unit: float, at: Price) -> float:
        """Returns how much more the most recent units spend at a price than the profile's at the same place.

        Args:
            recent: The most recent units.
            start: Share of the horizon that was over before the first of them.
            way: Share of the horizon that is over.
            per_unit: Remaining budget per remaining unit, > 0. A further window of units that spend this much, as the profile
                says, is counted on both sides, so that few units, or units that spend next to nothing, change little.
            at: The price.
        """
        stop = min(self._n, max(1, round(way * self._n)))
        first = min(stop - 1, round(start * self._n))
        prior = per_unit * WINDOW / len(recent)
        slope, extra, base = self._increments(first, stop)
        spend = float(base + pacing_kernels.spend_among(slope, extra, *at)) / (stop - first)
        expected = spend + prior
        return (recent.spend(at) + prior) / expected if 0 < expected < np.inf else 1.0
