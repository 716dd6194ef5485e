"""The price and the optimum at many budgets: two passes over the units for any number of budgets.

The first pass sums the increments in a few thousand bins of prices, which gives the bin in which each budget breaks; the
second collects the increments of those bins, which are then sorted.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import fsum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from largesse import _check
from largesse._arguments import checked
from largesse.allocate import kernels, search
from largesse.allocate.budget_frontier import Frontier, falling, frontier, steps
from largesse.allocate.search import blocks_of, threaded
from largesse.menu import Menu
from largesse.result import Tabular

__all__ = ["Grid", "grid"]

Floats = NDArray[np.float64]
_BINS = 4096


@checked
@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Grid(Tabular):
    """Price and value of the best fractional plan at each of B budgets.

    Attributes:
        budget: Budget of all units together, (B,).
        price: λ*, the slope of the increment that breaks each budget; 0 where it does not bind, (B,).
        value: Optimum of the linear programme, an upper bound for any plan within the budget, (B,).
    """

    budget: Floats
    price: Floats
    value: Floats

    def _columns(self) -> dict[str, Floats]:
        return self._fields()


@checked
def grid(menu: Menu, budgets: _check.Numbers, *, n_threads: int = 1) -> Grid:
    """Returns λ* and the optimum of the linear programme at each budget, exactly.

    Args:
        menu: Value and cost of N units and M treatments.
        budgets: Budgets of all units together, any number of them, in any order; infinity for no limit.
        n_threads: Number of threads; the result is the same for any number.

    Raises:
        InfeasibleBudget: A budget is below the cheapest plan's cost.
        DataError: A budget is not a number.

    >>> optima = grid(Menu(value=[[0.0, 3.0], [0.0, 1.0]], cost=[[0.0, 1.0], [0.0, 1.0]]), [0.5, 1.5, 9.0])
    >>> optima.price.tolist(), optima.value.tolist()
    ([3.0, 1.0, 0.0], [1.5, 3.5, 4.0])
    """
    limits = np.atleast_1d(_check.numbers("budgets", budgets))
    if limits.ndim != 1 or not limits.size or np.isnan(limits).any():
        raise _check.refuse("budgets", budgets, "must be a list of numbers", "Give at least one.")
    _check.integers("n_threads", [n_threads], low=1, high=1024, rule="must be >= 1", remedy="One per core at most.")
    front = _near(menu, limits, n_threads) if menu.n > search.FEW else None
    front = front or frontier(menu)
    return Grid(limits, front.price_at(limits), front.value_at(limits))


def _near(menu: Menu, budgets: Floats, n_threads: int) -> Frontier | None:
    """Returns the frontier: exact where a budget breaks, chords elsewhere; None if by rounding a budget lies on a chord."""
    slopes = steps(menu, search.some_rows(menu.n)).slope
    edges = np.unique(slopes[:: max(1, len(slopes) // _BINS)])[::-1].copy()
    sums = _binned(menu, edges, np.zeros(len(edges) + 1, np.bool_), None, n_threads)
    bins, floor = sums.bins.sum(0), sums.start
    spend = kernels.cumulate(floor[0], bins[:, 1])
    at = np.searchsorted(spend, budgets, side="right") - 1  # the bin in which each budget breaks; -1 and K + 1: none
    keep = np.zeros(len(bins), np.bool_)
    keep[at[(at >= 0) & (at < len(bins))]] = True
    kept = _binned(menu, edges, keep, sums.bins[:, :, 0], n_threads).kept
    cost, value = bins[~keep & (bins[:, 1] > 0), 1:].T
    pieces = np.concatenate([kept, np.column_stack([value / cost, cost, value])])  # a chord's slope lies in its bin
    order = falling(pieces[:, 0])
    slope, cost, value = pieces[order].T
    spend = np.maximum.accumulate(kernels.cumulate(floor[0], cost))
    at = np.searchsorted(spend, budgets, side="right") - 1
    if not np.append(order < len(kept), True)[at].all():
        return None
    return Frontier(spend, kernels.cumulate(floor[1], value), slope)


class _Binned(NamedTuple):
    """Increments in bins of prices.

    Attributes:
        bins: Their number, cost and value by block of units and bin, (blocks, K + 1, 3).
        kept: Slope, cost and value of each increment in the bins to keep, (rows, 3).
        start: Spend and value of the cheapest plan.
    """

    bins: Floats
    kept: Floats
    start: tuple[float, float]


def _binned(menu: Menu, edges: Floats, keep: NDArray[np.bool_], counts: Floats | None, n_threads: int) -> _Binned:
    """Returns the increments in bins; `counts` is their number by block and bin, needed if any are to be kept."""
    value, cost, blocks = menu.value.T, menu.cost.T, blocks_of(menu.n)
    bins = np.empty((len(blocks), len(edges) + 1, 3))
    kept = [np.empty((0 if counts is None else int(counts[k, keep].sum()), 3)) for k in range(len(blocks))]

    def work(k: int) -> tuple[float, float]:
        return kernels.bin_steps(value, cost, blocks[k].start, blocks[k].stop, edges, keep, bins[k], kept[k])

    spend, value_sum = zip(*threaded(work, len(blocks), n_threads), strict=True)
    return _Binned(bins, np.concatenate(kept), (fsum(spend), fsum(value_sum)))
