"""The prices of `Pacer`: of the most recent units, or of the units that a profile still expects."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from largesse import _random
from largesse.allocate import pacing_kernels
from largesse.menu import Menu

__all__ = ["WINDOW", "Increments", "Price", "Profile"]

Floats = NDArray[np.float64]
Price = tuple[float, float]
"""A shadow price λ, and the share of the increments at that price that is taken."""

WINDOW = 2_000  # most recent units
_KEPT = 10_000  # units kept of a profile
_TAIL = 100  # last units of a profile, which it expects to the end


class Increments:
    """The hull increments of the latest units.

    Args:
        treatments: Number of treatments M.
        room: Number of units kept.

    Attributes:
        recorded: Number of units so far.
    """

    def __init__(self, treatments: int, room: int = WINDOW) -> None:
        self.recorded = 0
        self._slope, self._extra = np.zeros((2, room, treatments - 1))  # one row per unit, 0 after its last increment
        self._base: Floats = np.zeros(room)  # cost of each unit's cheapest treatment

    def __len__(self) -> int:
        """Number of units kept."""
        return min(self.recorded, len(self._base))

    def record(self, value: Floats, cost: Floats) -> None:
        """Adds units, (n, M), in place of the oldest ones."""
        pacing_kernels.record(value, cost, self.recorded, self._slope, self._extra, self._base)
        self.recorded += len(value)

    def price(self, per_unit: float, guess: float, first: int = 0) -> Price:
        """Returns the price at which the units from row `first` on spend that much per unit; a near `guess` saves time."""
        k = slice(first, len(self))
        budget = max(0.0, per_unit * (len(self) - first) - float(self._base[k].sum()))
        price, share = pacing_kernels.price_among(self._slope[k].ravel(), self._extra[k].ravel(), budget, guess)
        return float(price), float(share)

    def spend(self, at: Price, first: int = 0, stop: int | None = None) -> float:
        """Returns the expected spend per unit of rows [first, stop) at a price."""
        k = slice(first, len(self) if stop is None else stop)
        taken = pacing_kernels.spend_among(self._slope[k].ravel(), self._extra[k].ravel(), *at)
        return (float(self._base[k].sum()) + taken) / (k.stop - first)


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
        self._units = Increments(menu.n_treatments, len(rows))
        self._units.record(*(np.ascontiguousarray(a[rows], np.float64) for a in (menu.value, menu.cost)))

    def price(self, way: float, per_unit: float, guess: float) -> Price:
        """Returns the price at which the units still to come spend that much per unit.

        Args:
            way: Share of the horizon that is over.
            per_unit: Spend per unit.
            guess: A price near the answer, or 0.
        """
        n = len(self._units)
        return self._units.price(per_unit, guess, max(0, min(int(way * n), n - _TAIL)))

    def ratio(self, recent: Increments, start: float, way: float, per_unit: float, at: Price) -> float:
        """Returns how much more the most recent units spend at a price than the profile's at the same place.

        Args:
            recent: The most recent units.
            start: Share of the horizon that was over before the first of them.
            way: Share of the horizon that is over.
            per_unit: Remaining budget per remaining unit, > 0. A further window of units that spend this much, as the profile
                says, is counted on both sides, so that few units, or units that spend next to nothing, change little.
            at: The price.
        """
        n = len(self._units)
        stop = min(n, max(1, round(way * n)))
        first = min(stop - 1, round(start * n))
        prior = per_unit * WINDOW / len(recent)
        expected = self._units.spend(at, first, stop) + prior
        return (recent.spend(at) + prior) / expected if 0 < expected < np.inf else 1.0
