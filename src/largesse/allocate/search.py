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

import numpy as np
from numpy.typing import NDArray

from largesse.allocate import _kernels
from largesse.allocate.frontier import Steps, steps
from largesse.menu import Menu

__all__ = ["Near", "audited", "near", "whole"]

_FEW = 50_000  # units that are sorted at once
_BLOCK = 1 << 18
_WIDTH = 4.0  # standard errors of the sample's spend
_WIDER = (1.0, 4.0, 16.0)
_INSIDE = 1e-9  # relative: how far from the ends of its bracket a price or a budget must lie


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
    if menu.n <= _FEW:
        return whole(menu)
    rows = np.sort(np.random.default_rng(0).choice(menu.n, max(_FEW // 2, menu.n // 128), replace=False))
    sample = _Sample.of(menu.take(rows), limit / menu.n)
    for wider in _WIDER:
        low, high = sample.bracket(wider * _WIDTH)
        found = _inside(menu, limit, low, high, n_threads)
        if found is not None:
            return found
    return whole(menu)


@dataclass(frozen=True, slots=True, eq=False)
class _Sample:
    """Spend of a sample at the corners of its frontier, and the standard error of the spend of all at the price there.

    Attributes:
        spend: Money per head, (K + 1,), rising.
        slope: Slope of each increment, (K,), falling.
        goal: Money per head of all.
        error: Standard error of the sample's money per head.
    """

    spend: NDArray[np.float64]
    slope: NDArray[np.float64]
    goal: float
    error: float

    @classmethod
    def of(cls, sample: Menu, goal: float) -> _Sample:
        found = steps(sample)
        floor = _kernels.total(sample.cost.T, found.start)
        spend = np.maximum.accumulate(_kernels.cumulate(floor, found.change(sample.cost))) / sample.n
        k = int(np.searchsorted(spend[1:], goal, side="right"))
        state = found.start.copy()
        state[found.unit[:k]] = found.target[:k]
        paid = sample.cost[np.arange(sample.n), state].astype(np.float64)
        return cls(spend, found.slope, goal, float(paid.std() / np.sqrt(sample.n)) + float(paid.max()) / sample.n)

    def bracket(self, width: float) -> tuple[float, float]:
        """Returns prices at which the sample spends so many standard errors more, and less; 0 and inf beyond its ends."""
        slack = width * self.error
        steps = len(self.slope)
        more = int(np.searchsorted(self.spend, self.goal + slack, side="right"))
        less = min(int(np.searchsorted(self.spend, self.goal - slack, side="left")), steps) - 1
        low = self.slope[more - 1] * (1 - 2 * _INSIDE) if 0 < more <= steps else 0.0
        return float(low), float(self.slope[less] * (1 + 2 * _INSIDE)) if less >= 0 else inf


def _inside(menu: Menu, limit: float, low: float, high: float, n_threads: int) -> Near | None:
    """Returns the increments between two prices; None unless the budget surely breaks between them."""
    value, cost = menu.value.T, menu.cost.T
    state, undecided = np.empty(menu.n, np.int32), np.empty(menu.n, np.int32)

    def decide(rows: slice, sums: NDArray[np.float64]) -> NDArray[np.int32]:
        count = _kernels.decide(value, cost, rows.start, rows.stop, low, high, state, undecided, sums)
        return undecided[rows.start : rows.start + count]

    active, sums = in_blocks(decide, menu.n, 3, n_threads)
    spend, worth, most = (fsum(column) for column in sums.T)
    within = most >= limit * (1 + _INSIDE) or low == 0
    if not within or (spend > limit * (1 - _INSIDE) and high != inf):
        return None
    found = steps(menu, active, low, high)
    if not np.array_equal(found.start, state[active]):  # rounding: two treatments of a unit as good as tied at an end
        return None
    if high == inf:  # whether the cheapest plan is within the budget is a matter of the last bit
        spend, worth, _ = audited(menu, state, 0.0, n_threads)
    return Near(Steps(active[found.unit], found.source, found.target, found.slope, state), spend, worth, low)


def in_blocks(
    work: Callable[[slice, NDArray[np.float64]], NDArray[np.int32]], n: int, n_sums: int, n_threads: int
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Returns what work finds in each block of units, one after another, and the sums it leaves, (blocks, n_sums)."""
    blocks = [slice(a, min(a + _BLOCK, n)) for a in range(0, n, _BLOCK)]
    sums = np.empty((len(blocks), n_sums))
    if n_threads == 1:
        return np.concatenate([work(*pair) for pair in zip(blocks, sums, strict=True)]), sums
    with ThreadPoolExecutor(n_threads) as pool:
        return np.concatenate(list(pool.map(work, blocks, sums))), sums


def audited(
    menu: Menu, treatment: NDArray[np.int32], more: float = 0.0, n_threads: int = 1
) -> tuple[float, float, NDArray[np.int32]]:
    """Returns spend and value of a plan, and the units for whom something better costs at most so much more."""
    value, cost, found = menu.value.T, menu.cost.T, np.empty(menu.n if more > 0 else 0, np.int32)

    def sum_up(rows: slice, sums: NDArray[np.float64]) -> NDArray[np.int32]:
        count = _kernels.audit(value, cost, rows.start, rows.stop, treatment, more, found, sums)
        return found[rows.start : rows.start + count]

    some, sums = in_blocks(sum_up, menu.n, 4, n_threads)
    return fsum(sums[:, :2].ravel()), fsum(sums[:, 2:].ravel()), some
