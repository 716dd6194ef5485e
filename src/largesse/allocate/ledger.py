"""Hull increments outside their block of units, and the ledger: the treatment of those units and the sums over all units."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from math import fsum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from largesse.allocate import kernels
from largesse.allocate.budget_frontier import falling

__all__ = ["Increments", "Ledger"]

Floats = NDArray[np.float64]


class Increments(NamedTuple):
    """Hull increments of units of any block, by falling slope.

    Attributes:
        unit: Number of the unit, int64 (K,).
        source: The treatment before the increment, int32 (K,).
        target: The treatment after it, int32 (K,).
        slope: Value per unit of spend, (K,).
        cost: Cost of the source and of the target, (2, K).
        value: Value of the source and of the target, (2, K).
    """

    unit: NDArray[np.int64]
    source: NDArray[np.int32]
    target: NDArray[np.int32]
    slope: Floats
    cost: Floats
    value: Floats

    @classmethod
    def joined(cls, parts: Iterable[Increments]) -> Increments:
        """Returns the increments of all parts by falling slope; ties keep the order of the units."""
        merged = cls._make(np.concatenate(columns, axis=-1) for columns in zip(*parts, strict=True))
        return merged.of_rows(falling(merged.slope))

    def of_rows(self, rows: NDArray[Any]) -> Increments:
        """Returns the increments at some positions (row numbers or a mask)."""
        return Increments._make(column[..., rows] for column in self)


@dataclass(frozen=True, slots=True, eq=False)
class Ledger:
    """The treatment of every unit that has increments, from which the spend and the value of all units follow.

    Attributes:
        sums: Spend and its rounding remainder, value and its remainder, of all units before any increment, (4, parts).
        increments: The increments, K.
        unit: Numbers of the U units that have increments, rising, (U,).
        owner: Position in `unit` of each increment's unit, (K,).
        first: Position of each unit's first increment, (U,).
        state: Current treatment of each unit, int32 (U,).
    """

    sums: Floats
    increments: Increments
    unit: NDArray[np.int64]
    owner: NDArray[np.intp]
    first: NDArray[np.intp]
    state: NDArray[np.int32] = field(repr=False)

    @classmethod
    def of(cls, sums: Floats, increments: Increments) -> Ledger:
        """Returns the ledger before any increment is taken."""
        unit, first, owner = np.unique(increments.unit, return_index=True, return_inverse=True)
        return cls(sums, increments, unit, owner, first, increments.source[first])

    def after(self, k: int) -> Ledger:
        """Returns the ledger after the first k increments; a unit keeps the target of its last one."""
        state = self.increments.source[self.first]
        state[self.owner[:k]] = self.increments.target[:k]
        return replace(self, state=state)

    def audit(self) -> tuple[float, float]:
        """Returns spend and value of all units: exact sums, rounded once."""
        # At most one increment leads to a unit's current treatment.
        hit = np.flatnonzero(self.state[self.owner] == self.increments.target)
        base = self.first[self.owner[hit]]
        spend, value = (
            fsum(np.concatenate([parts.ravel(), table[1, hit], -table[0, base]]))
            for parts, table in ((self.sums[:2], self.increments.cost), (self.sums[2:], self.increments.value))
        )
        return spend, value

    def filled(self, spend: float, limit: float, first: int) -> Ledger:
        """Returns the ledger after every further increment that fits, in order from position `first` on.

        The last increments are undone while the audited spend exceeds the limit, because the running sum is rounded.
        """
        increments, state = self.increments, self.state.copy()
        cost = np.diff(increments.cost, axis=0)[0]
        last, _ = kernels.fill(spend, limit, first, self.owner, increments.source, increments.target, cost, state)
        after = replace(self, state=state)
        while last >= 0 and after.audit()[0] > limit:
            if state[self.owner[last]] == increments.target[last]:
                state[self.owner[last]] = increments.source[last]
            last -= 1
        return after

    def wider(self, more: Increments) -> Ledger:
        """Returns the ledger with more increments, all of smaller slope, and with their units; every state stays as it is."""
        wide = Ledger.of(self.sums, Increments.joined([self.increments, more]))
        state = wide.state.copy()
        state[np.searchsorted(wide.unit, self.unit)] = self.state
        return replace(wide, state=state)

    def changed(self) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Returns the numbers of the units that have left their first treatment, and their current treatments."""
        new = self.state != self.increments.source[self.first]
        return self.unit[new], self.state[new]

    def moved(self, m: int) -> NDArray[np.int64]:
        """Returns the change in the number of units per treatment, (M,)."""
        before = self.increments.source[self.first]
        return np.bincount(self.state, minlength=m) - np.bincount(before, minlength=m)
