"""The price and the optimum of many budgets at once: two passes over the units, however many budgets there are.

The first sums the increments in a few thousand bins of prices, so that the bin is known in which each budget breaks; the
second sorts the increments of those bins.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import fsum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from largesse import _check
from largesse.allocate import kernels, search
from largesse.allocate.budget_frontier import Frontier, falling, frontier, steps
from largesse.allocate.search import blocks_of, threaded
from largesse.menu import Menu
from largesse.result import Tabular

__all__ = ["Grid", "grid"]

Floats = NDArray[np.float64]
_BINS = 4096


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Grid(Tabular):
    """The best fractional plans at some budgets.

    Attributes:
        budget: Money for all units together, (B,).
        price: λ*, the slope of the increment that breaks each budget; 0 where it does not bind, (B,).
        value: The value of the best fractional plan: no plan of whole units is worth more, (B,).
    """

    budget: Floats
    price: Floats
    value: Floats

    def _columns(self) -> dict[str, Floats]:
        return self._fields()


def grid(menu: Menu, budgets: _check.Numbers, *, n_threads: int = 1) -> Grid:
    """Returns λ* and the optimum of the linear programme at each budget, exactly.

    Args:
        menu: Value and cost of N units and M treatments.
        budgets: Money for all units together, any number of budgets, in any order; infinity for no limit.
        n_threads: Threads; the answer is the same for any number.

    Raises:
        InfeasibleBudget: A budget is below the cheapest plan's cost.
        DataError: A budget is not a number.

    >>> found = grid(Menu(value=[[0.0, 3.0], [0.0, 1.0]], cost=[[0.0, 1.0], [0.0, 1.0]]), [0.5, 1.5, 9.0])
    >>> found.price.tolist(), found.value.tolist()
    ([3.0, 1.0, 0.0], [1.5, 3.5, 4.0])
    """
    wanted = np.atleast_1d(np.asarray(budgets, np.float64))
    if wanted.ndim != 1 or not wanted.size or np.isnan(wanted).any():
        raise _check.refuse("budgets", budgets, "must be a list of numbers of money", "Give at least one.")
    _check.integers("n_threads", [n_threads], low=1, high=1024, rule="must be >= 1", remedy="One per core at most.")
    front = _near(menu, wanted, n_threads) if menu.n > search.FEW else None
    front = front or frontier(menu)
    return Grid(wanted, front.price_at(wanted), front.value_at(wanted))


def _near(menu: Menu, budgets: Floats, n_threads: int) -> Frontier | None:
    """Returns the frontier, true where the budgets break it, chords elsewhere; None where rounding puts one on a chord."""
    slopes = steps(menu, search.some_rows(menu.n)).slope
    edges = np.unique(slopes[:: max(1, len(slopes) // _BINS)])[::-1].copy()
    binned = [_binned(menu, edges, np.zeros(len(edges) + 1, np.bool_), None, n_threads)]
    bins, floor = binned[0].bins.sum(0), binned[0].start
    spend = kernels.cumulate(floor[0], bins[:, 1])
    at = np.searchsorted(spend, budgets, side="right") - 1  # the bin that breaks; -1 and K + 1: there is none
    keep = np.zeros(len(bins), np.bool_)
    keep[at[(at >= 0) & (at < len(bins))]] = True
    kept = _binned(menu, edges, keep, binned[0].bins[:, :, 0], n_threads).kept
    money, worth = bins[~keep & (bins[:, 1] > 0), 1:].T
    every = np.concatenate(
        [kept, np.column_stack([worth / money, money, worth])]
    )  # the slope of a chord lies in its bin
    order = falling(every[:, 0])
    slope, money, worth = every[order].T
    spend = np.maximum.accumulate(kernels.cumulate(floor[0], money))
    at = np.searchsorted(spend, budgets, side="right") - 1
    if not np.append(order < len(kept), True)[at].all():
        return None
    return Frontier(spend, kernels.cumulate(floor[1], worth), slope)


class _Binned(NamedTuple):
    """Increments in bins of prices.

    Attributes:
        bins: Their count, money and value by block of units and bin, (blocks, K + 1, 3).
        kept: Slope, money and value of those of the bins to keep, (rows, 3).
        start: Money and value of the cheapest plan.
    """

    bins: Floats
    kept: Floats
    start: tuple[float, float]


def _binned(menu: Menu, edges: Floats, keep: NDArray[np.bool_], counts: Floats | None, n_threads: int) -> _Binned:
    """Returns the increments in bins; `counts` says how many each block has in each bin, if any are to be kept."""
    value, cost, blocks = menu.value.T, menu.cost.T, blocks_of(menu.n)
    bins = np.empty((len(blocks), len(edges) + 1, 3))
    rooms = [np.empty((0 if counts is None else int(counts[k, keep].sum()), 3)) for k in range(len(blocks))]

    def work(k: int) -> tuple[float, float]:
        return kernels.bin_steps(value, cost, blocks[k].start, blocks[k].stop, edges, keep, bins[k], rooms[k])

    spend, worth = zip(*threaded(work, len(blocks), n_threads), strict=True)
    return _Binned(bins, np.concatenate(rooms), (fsum(spend), fsum(worth)))
