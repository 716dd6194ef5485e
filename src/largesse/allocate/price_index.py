"""An index of the units by price: the totals of the plan at any price are a look-up, whatever the number of units.

Every unit's treatment at a price is where its hull increments steeper than that price end. All increments are sorted once, by
falling slope, and running totals are kept at every few thousandth of them. The totals at a price are those of the last mark
before it, and the increments since then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from largesse.allocate import kernels
from largesse.allocate.blocks import Sums
from largesse.allocate.budget_frontier import steps, sums_of
from largesse.allocate.ledger import Increments
from largesse.menu import Menu

__all__ = ["PriceIndex"]

_MARK = 4096  # increments between two marks


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class PriceIndex:
    """The hull increments of all units by falling slope, with running totals.

    Attributes:
        menu: Value and cost of the N units, M treatments.
        unit: Position of the unit of each increment, int32 (K,).
        source: The treatment before it, int16 (K,).
        target: The treatment after it, int16 (K,).
        slope: Value per unit of spend, (K,), falling.
        counts: Units with each treatment before the increments of every mark, int64 (C, M).
        sums: Spend and value there, (C, 2).

    >>> menu = Menu(value=[[0.0, 3.0], [0.0, 1.0]], cost=[[0.0, 1.0], [0.0, 1.0]])
    >>> totals = PriceIndex.of(menu).totals(2.0)
    >>> totals.counts.tolist(), totals.spend, totals.value
    ([1, 1], 1.0, 3.0)
    """

    menu: Menu
    unit: NDArray[np.int32]
    source: NDArray[np.int16]
    target: NDArray[np.int16]
    slope: NDArray[np.float64]
    counts: NDArray[np.int64]
    sums: NDArray[np.float64]

    @classmethod
    def of(cls, menu: Menu) -> PriceIndex:
        """Returns the index of a menu."""
        made, m = steps(menu), menu.n_treatments
        marks = np.arange(0, len(made.unit) + 1, _MARK)
        first = sums_of(menu.value.T, menu.cost.T, made.start)
        sums = np.empty((len(marks), 2))
        for k, (start, table) in enumerate(((first[0] + first[1], menu.cost), (first[2] + first[3], menu.value))):
            sums[:, k] = kernels.cumulate(start, made.change(table))[marks]
        counts = np.empty((len(marks), m), np.int64)
        begun = np.bincount(made.start, minlength=m)
        for j in range(m):
            moved = np.cumsum((made.target == j).astype(np.int8) - (made.source == j).astype(np.int8), dtype=np.int64)
            counts[:, j] = begun[j] + np.append(0, moved)[marks]
        return cls(
            menu=menu, unit=made.unit, source=made.source.astype(np.int16), target=made.target.astype(np.int16),
            slope=made.slope, counts=counts, sums=sums,
        )  # fmt: skip

    @classmethod
    def restored(cls, menu: Menu, arrays: Mapping[str, NDArray[Any]]) -> PriceIndex:
        """Returns the index of a menu from its `arrays`, which may lie in memory-mapped files."""
        return cls(
            menu=menu, **{name: arrays[name] for name in ("unit", "source", "target", "slope", "counts", "sums")}
        )

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """What the index consists of, without the menu."""
        return {name: getattr(self, name) for name in ("unit", "source", "target", "slope", "counts", "sums")}

    def totals(self, price: float) -> Sums:
        """Returns units per treatment, spend and value of the plan at a price: argmax value - price · cost.

        Args:
            price: Shadow price λ, value per unit of spend, >= 0.
        """
        end = self._after(price)
        mark = end // _MARK
        some = slice(mark * _MARK, end)
        unit, source, target = self.unit[some], self.source[some], self.target[some]
        m = self.menu.n_treatments
        counts = self.counts[mark] + np.bincount(target, minlength=m) - np.bincount(source, minlength=m)
        spend, value = (
            float(total + (table[unit, target].astype(np.float64) - table[unit, source]).sum())
            for total, table in zip(self.sums[mark], (self.menu.cost, self.menu.value), strict=True)
        )
        return Sums(self.menu.n, counts, spend, value)

    def inside(self, low: float, high: float) -> Increments:
        """Returns the increments with a slope in (low, high], by falling slope; ties keep the order of the units."""
        some = slice(self._after(high), self._after(low))
        unit, ends = self.unit[some], (self.source[some].astype(np.int32), self.target[some].astype(np.int32))
        cost, value = (
            np.array([table[unit, end] for end in ends], np.float64) for table in (self.menu.cost, self.menu.value)
        )
        return Increments(unit.astype(np.int64), *ends, np.asarray(self.slope[some]), cost, value)

    def _after(self, price: float) -> int:
        """Returns the number of increments that are steeper than a price."""
        low, high = 0, len(self.slope)
        while low < high:  # by hand: searchsorted would copy a reversed or negated memory map
            middle = (low + high) // 2
            if self.slope[middle] > price:
                low = middle + 1
            else:
                high = middle
        return low
