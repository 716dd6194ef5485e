"""The increments near the price: a bracket from a sample, one pass over all units, exact sorting of those inside.

A unit that chooses the same treatment at both ends of a bracket of prices chooses it throughout. Only the others, a few
per cent, are sorted. Whether the price lies inside the bracket is checked on all units; if not, the bracket is widened.
Blocks of units are summed separately and added in order, so the result is the same for any number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import fsum, inf
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from largesse import _check
from largesse.allocate import kernels
from largesse.allocate.budget_frontier import Steps, falling, steps, steps_of, sums_of
from largesse.menu import Menu

__all__ = ["FEW", "INSIDE", "WIDTHS", "Near", "Sample", "all_increments", "audited", "blocks_of", "near", "some_rows",
           "threaded"]  # fmt: skip

FEW = 50_000
"""Up to so many units, all increments are sorted."""
WIDTHS = (4.0, 16.0, 64.0)
"""Half-widths of the brackets tried, in standard errors of the sample's spend."""
INSIDE = 1e-9
"""Relative distance that a price or a budget must keep from the ends of its bracket."""
_BLOCK = 1 << 18
Partial = TypeVar("Partial")


@dataclass(frozen=True, slots=True, eq=False)
class Near:
    """The increments among which the budget can break, and the sums before them.

    Attributes:
        steps: The K hull increments inside the bracket, by falling slope; `start` is the plan of the upper price.
        spend: Spend of that plan.
        value: Value of that plan.
        low: The lower price: increments below it are not among `steps`; 0 if all are.
        paid: Cost of each increment, (K,).
        gained: Value of each increment, (K,).
    """

    steps: Steps
    spend: float
    value: float
    low: float
    paid: NDArray[np.float64]
    gained: NDArray[np.float64]


def all_increments(menu: Menu) -> Near:
    """Returns the increments of all units, sorted."""
    sorted_ = steps(menu)
    spend, value, _ = audited(menu, sorted_.start)
    return Near(sorted_, spend, value, 0.0, sorted_.change(menu.cost), sorted_.change(menu.value))


def near(menu: Menu, limit: float, n_threads: int = 1) -> Near:
    """Returns the increments near the price of a budget of all units together; the same for any number of threads."""
    if menu.n > FEW:
        rows = some_rows(menu.n)
        sample = Sample.of(np.take(menu.value.T, rows, axis=1), np.take(menu.cost.T, rows, axis=1))
        for width in WIDTHS:
            inside = _inside(menu, limit, *sample.bracket(limit / menu.n, width), n_threads)
            if inside is not None:
                return inside
    return all_increments(menu)


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Sampled units and their frontier.

    Attributes:
        cost: Their costs, (M, n).
        steps: Their increments, (K,).
        spend: Spend per unit at the corners of their frontier, (K + 1,), rising.
    """

    cost: NDArray[Any]
    steps: Steps
    spend: NDArray[np.float64]

    @classmethod
    def of(cls, value: NDArray[Any], cost: NDArray[Any]) -> Sample:
        """Returns the sample of units with these values and costs, (M, n) each."""
        sorted_ = steps_of(value, cost)
        sums = sums_of(value, cost, sorted_.start)
        spend = kernels.cumulate(sums[0] + sums[1], sorted_.change(cost.T))
        return cls(cost, sorted_, np.maximum.accumulate(spend) / cost.shape[1])

    def bracket(self, goal: float, width: float) -> tuple[float, float]:
        """Returns the prices at which the sample spends `width` standard errors more, and less; 0 and inf beyond its ends.

        Args:
            goal: Budget per unit.
            width: Number of standard errors of the sample's spend per unit at that price.
        """
        slope, last = self.steps.slope, len(self.steps.slope)
        slack = width * self._standard_error(int(np.searchsorted(self.spend[1:], goal, side="right")))
        more = int(np.searchsorted(self.spend, goal + slack, side="right"))
        less = min(int(np.searchsorted(self.spend, goal - slack, side="left")), last) - 1
        low = slope[more - 1] * (1 - 2 * INSIDE) if 0 < more <= last else 0.0
        return float(low), float(slope[less] * (1 + 2 * INSIDE)) if less >= 0 else inf

    def _standard_error(self, k: int) -> float:
        """Returns that of the spend per unit after k increments, plus one unit with the largest cost (conservative)."""
        state = self.steps.start.copy()
        state[self.steps.unit[:k]] = self.steps.target[:k]
        paid = self.cost[state, np.arange(len(state))].astype(np.float64)
        return float(paid.std() / np.sqrt(len(paid)) + paid.max() / len(paid))


def some_rows(n: int) -> NDArray[np.int32]:
    """Returns the positions of a random sample of max(FEW / 2, n / 128) of n units, in order."""
    return np.sort(np.random.default_rng(0).choice(n, max(FEW // 2, n // 128), replace=False)).astype(np.int32)


def _inside(menu: Menu, limit: float, low: float, high: float, n_threads: int) -> Near | None:
    """Returns the increments between two prices; None unless the budget surely breaks between them."""
    value, cost, blocks = menu.value.T, menu.cost.T, blocks_of(menu.n)
    state, sums = np.empty(menu.n, np.int32), np.empty((len(blocks), 3))

    def work(k: int) -> tuple[NDArray[Any], ...] | None:
        first, stop = blocks[k].start, blocks[k].stop
        undecided = np.empty(stop - first, np.int32)
        count = kernels.decide(value, cost, (first, stop), (low, high), state, undecided, sums[k])
        return _part(value, cost, undecided[:count], state, low, high)

    parts = threaded(work, len(blocks), n_threads)
    spend, value_sum, most = (fsum(column) for column in sums.T)
    if (most < limit * (1 + INSIDE) and low != 0) or (spend > limit * (1 - INSIDE) and high != inf):
        return None
    complete = [part for part in parts if part is not None]
    if len(complete) < len(parts):
        return None
    unit, source, target, slope, paid, gained = (np.concatenate(columns) for columns in zip(*complete, strict=True))
    order = falling(slope)
    if high == inf:  # the last bit decides whether the cheapest plan is within the budget
        spend, value_sum, _ = audited(menu, state, 0.0, n_threads)
    increments = Steps(unit[order], source[order], target[order], slope[order], state)
    return Near(increments, spend, value_sum, low, paid[order], gained[order])


def _part(
    value: NDArray[Any], cost: NDArray[Any], rows: NDArray[np.int32], state: NDArray[np.int32], low: float, high: float
) -> tuple[NDArray[Any], ...] | None:
    """Returns unit, source, target, slope, cost and value of some units' increments; None if rounding moves a hull's start."""
    v, c = np.take(value, rows, axis=1), np.take(cost, rows, axis=1)
    part = steps_of(v, c, low, high, ordered=False)
    if not np.array_equal(part.start, state[rows]):
        return None
    return rows[part.unit], part.source, part.target, part.slope, part.change(c.T), part.change(v.T)


def blocks_of(n: int, size: int | None = None) -> list[slice]:
    """Returns the blocks in which n units are processed, of 2¹⁸ units unless a size is given."""
    size = size or _BLOCK
    return [slice(a, min(a + size, n)) for a in range(0, n, size)]


def threaded(work: Callable[[int], Partial], n: int, n_threads: int) -> list[Partial]:
    """Returns work(0), ..., work(n - 1), in order."""
    if n_threads == 1:
        return [work(k) for k in range(n)]
    with ThreadPoolExecutor(_check.threads(n_threads)) as pool:
        return list(pool.map(work, range(n)))


def audited(
    menu: Menu, treatment: NDArray[np.int32], left: float = 0.0, n_threads: int = 1
) -> tuple[float, float, NDArray[np.int32]]:
    """Returns spend and value of a plan, and the units for which a better treatment costs at most `left` more."""
    value, cost, blocks = menu.value.T, menu.cost.T, blocks_of(menu.n)
    sums = np.empty((len(blocks), 4))

    def work(k: int) -> NDArray[np.int32]:
        first, stop = blocks[k].start, blocks[k].stop
        rows = np.empty(stop - first if left > 0 else 0, np.int32)
        count = kernels.audit(value, cost, first, stop, treatment, left, rows, sums[k])
        return rows[:count].copy()

    rows = np.concatenate(threaded(work, len(blocks), n_threads))
    return fsum(sums[:, :2].ravel()), fsum(sums[:, 2:].ravel()), rows
