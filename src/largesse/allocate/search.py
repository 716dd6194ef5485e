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
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from largesse.allocate import _kernels
from largesse.allocate.frontier import Steps, steps, steps_of
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
    """

    steps: Steps
    spend: float
    value: float
    low: float


def whole(menu: Menu) -> Near:
    """Returns all increments."""
    found = steps(menu)
    spend, value, _ = audited(menu, found.start)
    return Near(found, spend, value, 0.0)


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
        spend = _kernels.cumulate(_kernels.total(cost, found.start), found.change(cost.T))
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
    state, undecided = np.empty(menu.n, np.int32), np.empty(menu.n, np.int32)

    blocks = blocks_of(menu.n)
    sums = np.empty((len(blocks), 3))

    def work(k: int) -> NDArray[np.int32]:
        first, stop = blocks[k].start, blocks[k].stop
        count = _kernels.decide(value, cost, first, stop, low, high, state, undecided, sums[k])
        return undecided[first : first + count]

    active = np.concatenate(threaded(work, len(blocks), n_threads))
    spend, worth, most = (fsum(column) for column in sums.T)
    within = most >= limit * (1 + INSIDE) or low == 0
    if not within or (spend > limit * (1 - INSIDE) and high != inf):
        return None
    found = steps(menu, active, low, high)
    if not np.array_equal(found.start, state[active]):  # rounding: two treatments of a unit as good as tied at an end
        return None
    if high == inf:  # whether the cheapest plan is within the budget is a matter of the last bit
        spend, worth, _ = audited(menu, state, 0.0, n_threads)
    return Near(Steps(active[found.unit], found.source, found.target, found.slope, state), spend, worth, low)


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
    value, cost, found = menu.value.T, menu.cost.T, np.empty(menu.n if more > 0 else 0, np.int32)
    blocks = blocks_of(menu.n)
    sums = np.empty((len(blocks), 4))

    def work(k: int) -> NDArray[np.int32]:
        first, stop = blocks[k].start, blocks[k].stop
        count = _kernels.audit(value, cost, first, stop, treatment, more, found, sums[k])
        return found[first : first + count]

    some = np.concatenate(threaded(work, len(blocks), n_threads))
    return fsum(sums[:, :2].ravel()), fsum(sums[:, 2:].ravel()), some
