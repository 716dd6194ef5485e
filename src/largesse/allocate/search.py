"""The increments near the price: a bracket from a sample, one pass over all units, the exact order for the few inside.

A unit that chooses the same treatment at both ends of a bracket of prices chooses it throughout. Only the others, a few
in a hundred, are sorted; that the price lies inside is checked on all units, and the bracket widened where it does not.
Blocks of units are summed apart and added in order, so that the number of threads changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import fsum, inf
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from largesse.allocate import kernels
from largesse.allocate.budget_frontier import Steps, falling, steps, steps_of
from largesse.menu import Menu

__all__ = [
    "FEW",
    "INSIDE",
    "WIDTHS",
    "Near",
    "Sample",
    "audited",
    "blocks_of",
    "near",
    "some_rows",
    "threaded",
    "whole",
]

FEW = 50_000
"""Units that are sorted at once."""
WIDTHS = (4.0, 16.0, 64.0)
"""Half the width of a bracket, in standard errors of the sample's spend; the next where one is too narrow."""
_BLOCK = 1 << 18
Found = TypeVar("Found")
INSIDE = 1e-9
"""Relative: how far from the ends of its bracket a price or a budget must lie."""


@dataclass(frozen=True, slots=True, eq=False)
class Near:
    """The increments that a budget can break on, and everything before them.

    Attributes:
        steps: The hull increments inside the bracket, by falling slope; `start` is the plan of the upper price.
        spend: Money that plan spends.
        value: What it is worth.
        low: The lower price: increments below it are not among `steps`; 0 where all are.
        paid: What each increment costs in money, (K,).
        gained: What it adds to the value, (K,).
    """

    steps: Steps
    spend: float
    value: float
    low: float
    paid: NDArray[np.float64]
    gained: NDArray[np.float64]


def whole(menu: Menu) -> Near:
    """Returns all increments."""
    found = steps(menu)
    spend, value, _ = audited(menu, found.start)
    return Near(found, spend, value, 0.0, found.change(menu.cost), found.change(menu.value))


def near(menu: Menu, limit: float, n_threads: int = 1) -> Near:
    """Returns the increments near the price of a budget.

    Args:
        menu: Value and cost of N units and M treatments.
        limit: Money for all units together.
        n_threads: Threads; the answer is the same for any number.
    """
    if menu.n <= FEW:
        return whole(menu)
    sample = Sample.of(menu)
    for width in WIDTHS:
        low, high = sample.bracket(limit / menu.n, width)
        found = _inside(menu, limit, low, high, n_threads)
        if found is not None:
            return found
    return whole(menu)


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Some units, and their frontier.

    Attributes:
        cost: Their costs, (M, n).
        steps: Their increments, (K,).
        spend: Money per head at the corners of their frontier, (K + 1,), rising.
    """

    cost: NDArray[Any]
    steps: Steps
    spend: NDArray[np.float64]

    @classmethod
    def of(cls, menu: Menu) -> Sample:
        """Returns the sample of a menu."""
        rows = some_rows(menu.n)
        return cls.made(np.take(menu.value.T, rows, axis=1), np.take(menu.cost.T, rows, axis=1))

    @classmethod
    def made(cls, value: NDArray[Any], cost: NDArray[Any]) -> Sample:
        """Returns the sample of units whose values and costs are given, (M, n)."""
        found = steps_of(value, cost)
        spend = kernels.cumulate(kernels.total(cost, found.start), found.change(cost.T))
        return cls(cost, found, np.maximum.accumulate(spend) / cost.shape[1])

    def bracket(self, goal: float, width: float) -> tuple[float, float]:
        """Returns prices at which the sample spends so many standard errors more, and less; 0 and inf beyond its ends.

        Args:
            goal: Money per head.
            width: Standard errors of the sample's money per head at that price.
        """
        slope, last = self.steps.slope, len(self.steps.slope)
        slack = width * self._error(int(np.searchsorted(self.spend[1:], goal, side="right")))
        more = int(np.searchsorted(self.spend, goal + slack, side="right"))
        less = min(int(np.searchsorted(self.spend, goal - slack, side="left")), last) - 1
        low = slope[more - 1] * (1 - 2 * INSIDE) if 0 < more <= last else 0.0
        return float(low), float(slope[less] * (1 + 2 * INSIDE)) if less >= 0 else inf

    def _error(self, k: int) -> float:
        """Standard error of money per head after k increments; it counts the dearest unit as one that might be missing."""
        state = self.steps.start.copy()
        state[self.steps.unit[:k]] = self.steps.target[:k]
        paid = self.cost[state, np.arange(len(state))].astype(np.float64)
        return float(paid.std() / np.sqrt(len(paid)) + paid.max() / len(paid))


def some_rows(n: int) -> NDArray[np.int32]:
    """Returns the positions of one in 128 units, but of not less than half of what is sorted at once."""
    return np.sort(np.random.default_rng(0).choice(n, max(FEW // 2, n // 128), replace=False)).astype(np.int32)


def _inside(menu: Menu, limit: float, low: float, high: float, n_threads: int) -> Near | None:
    """Returns the increments between two prices; None unless the budget surely breaks between them."""
    value, cost = menu.value.T, menu.cost.T
    state = np.empty(menu.n, np.int32)

    blocks = blocks_of(menu.n)
    sums = np.empty((len(blocks), 3))

    def work(k: int) -> _Part | None:
        first, stop = blocks[k].start, blocks[k].stop
        undecided = np.empty(stop - first, np.int32)
        count = kernels.decide(value, cost, (first, stop), (low, high), state, undecided, sums[k])
        return _part(value, cost, undecided[:count], state, low, high)

    parts = threaded(work, len(blocks), n_threads)
    spend, worth, most = (fsum(column) for column in sums.T)
    within = most >= limit * (1 + INSIDE) or low == 0
    if not within or (spend > limit * (1 - INSIDE) and high != inf):
        return None
    held = [part for part in parts if part is not None]
    if len(held) < len(parts):
        return None
    unit, source, target, slope, paid, gained = (np.concatenate(columns) for columns in zip(*held, strict=True))
    order = falling(slope)
    if high == inf:  # whether the cheapest plan is within the budget is a matter of the last bit
        spend, worth, _ = audited(menu, state, 0.0, n_threads)
    found = Steps(unit[order], source[order], target[order], slope[order], state)
    return Near(found, spend, worth, low, paid[order], gained[order])


class _Part(NamedTuple):
    """The increments of a block's undecided units, in the order of the units: columns of `Steps`, money and value."""

    unit: NDArray[np.int32]
    source: NDArray[np.int32]
    target: NDArray[np.int32]
    slope: NDArray[np.float64]
    paid: NDArray[np.float64]
    gained: NDArray[np.float64]


def _part(
    value: NDArray[Any], cost: NDArray[Any], rows: NDArray[np.int32], state: NDArray[np.int32], low: float, high: float
) -> _Part | None:
    """Returns the increments of some units; None if rounding makes two of a unit's treatments as good as tied at an end."""
    v, c = np.take(value, rows, axis=1), np.take(cost, rows, axis=1)
    found = steps_of(v, c, low, high, ordered=False)
    if not np.array_equal(found.start, state[rows]):
        return None
    return _Part(rows[found.unit], found.source, found.target, found.slope, found.change(c.T), found.change(v.T))


def blocks_of(n: int) -> list[slice]:
    """Returns the blocks that n units are worked on in."""
    return [slice(a, min(a + _BLOCK, n)) for a in range(0, n, _BLOCK)]


def threaded(work: Callable[[int], Found], n: int, n_threads: int) -> list[Found]:
    """Returns work(0), ..., work(n - 1), in order."""
    if n_threads == 1:
        return [work(k) for k in range(n)]
    with ThreadPoolExecutor(n_threads) as pool:
        return list(pool.map(work, range(n)))


def audited(
    menu: Menu, treatment: NDArray[np.int32], more: float = 0.0, n_threads: int = 1
) -> tuple[float, float, NDArray[np.int32]]:
    """Returns spend and value of a plan, and the units for whom something better costs at most so much more."""
    value, cost = menu.value.T, menu.cost.T
    blocks = blocks_of(menu.n)
    sums = np.empty((len(blocks), 4))

    def work(k: int) -> NDArray[np.int32]:
        first, stop = blocks[k].start, blocks[k].stop
        found = np.empty(stop - first if more > 0 else 0, np.int32)
        count = kernels.audit(value, cost, first, stop, treatment, more, found, sums[k])
        return found[:count].copy()

    some = np.concatenate(threaded(work, len(blocks), n_threads))
    return fsum(sums[:, :2].ravel()), fsum(sums[:, 2:].ravel()), some
