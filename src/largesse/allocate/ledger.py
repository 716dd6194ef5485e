"""Increments that have left their block of units, and the ledger of what those units have and what that adds to all sums."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import fsum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from largesse.allocate import kernels
from largesse.allocate.budget_frontier import falling

__all__ = ["Increments", "Ledger"]

Array = NDArray[Any]
Floats = NDArray[np.float64]


class Increments(NamedTuple):
    """Hull increments that have left their block, by falling slope.

    Attributes:
        unit: Number of the unit, int64 (K,).
        source: The treatment it leaves, int32 (K,).
        target: The treatment it reaches, int32 (K,).
        slope: Value per unit of money, (K,).
        cost: Of the one it leaves and of the one it reaches, (2, K).
        value: Likewise, (2, K).
    """

    unit: NDArray[np.int64]
    source: NDArray[np.int32]
    target: NDArray[np.int32]
    slope: Floats
    cost: Floats
    value: Floats

    @classmethod
    def joined(cls, parts: Iterable[Increments]) -> Increments:
        """Returns all of them by falling slope; ties keep the order of the units."""
        every = cls._make(np.concatenate(columns, axis=-1) for columns in zip(*parts, strict=True))
        return every.of_rows(falling(every.slope))

    def of_rows(self, rows: Array) -> Increments:
        """Returns some of them, by position or mask."""
        return Increments._make(column[..., rows] for column in self)


@dataclass(frozen=True, slots=True, eq=False)
class Ledger:
    """The units with increments, what they have, and what that adds to the sums of all.

    Attributes:
        sums: Spend and its lost digits, value and its lost digits, of all units before any increment, (4, parts).
        found: The increments.
        unit: The units' numbers, rising, (U,).
        at: Which of them each increment is of, (K,).
        start: The first increment of each, (U,).
        state: What each has, int32 (U,).
    """

    sums: Floats
    found: Increments
    unit: NDArray[np.int64]
    at: NDArray[np.intp]
    start: NDArray[np.intp]
    state: NDArray[np.int32] = field(repr=False)

    @classmethod
    def of(cls, sums: Floats, found: Increments) -> Ledger:
        """Returns the ledger before any increment."""
        unit, start, at = np.unique(found.unit, return_index=True, return_inverse=True)
        return cls(sums, found, unit, at, start, found.source[start])

    def with_state(self, state: NDArray[np.int32]) -> Ledger:
        """Returns the ledger of units that have something else."""
        return Ledger(self.sums, self.found, self.unit, self.at, self.start, state)

    def after(self, k: int) -> Ledger:
        """Returns what there is after the first k increments; of one unit's the last one written stands."""
        state = self.found.source[self.start]
        state[self.at[:k]] = self.found.target[:k]
        return self.with_state(state)

    def audit(self) -> tuple[float, float]:
        """Returns spend and value of all units: exact sums, rounded once."""
        hit = np.flatnonzero(self.state[self.at] == self.found.target)  # one increment at most leads to what a unit has
        base = self.start[self.at[hit]]
        money, worth = (
            fsum(np.concatenate([parts.ravel(), table[1, hit], -table[0, base]]))
            for parts, table in ((self.sums[:2], self.found.cost), (self.sums[2:], self.found.value))
        )
        return money, worth

    def filled(self, spent: float, limit: float, first: int) -> Ledger:
        """Takes what still fits, in order, from an increment on; gives back the last ones if the running sums lacked digits."""
        found, state = self.found, self.state.copy()
        paid = np.diff(found.cost, axis=0)[0]
        last, _ = kernels.fill(spent, limit, first, self.at, found.source, found.target, paid, state)
        done = self.with_state(state)
        while last >= 0 and done.audit()[0] > limit:
            if state[self.at[last]] == found.target[last]:
                state[self.at[last]] = found.source[last]
            last -= 1
        return done

    def wider(self, more: Increments) -> Ledger:
        """Returns the ledger with increments below those it has, and units that may be new to it."""
        found = Increments.joined([self.found, more])
        wide = Ledger.of(self.sums, found)
        state = wide.state.copy()
        state[np.searchsorted(wide.unit, self.unit)] = self.state
        return wide.with_state(state)

    def changed(self) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Returns the units that have something else than before any increment, and what."""
        new = self.state != self.found.source[self.start]
        return self.unit[new], self.state[new]

    def moved(self, m: int) -> NDArray[np.int64]:
        """Returns by how many the units per treatment have changed, (M,)."""
        before = self.found.source[self.start]
        return np.bincount(self.state, minlength=m) - np.bincount(before, minlength=m)
