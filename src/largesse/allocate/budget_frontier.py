"""The frontier: the value of the best fractional plan at every budget."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from largesse import _check
from largesse._arguments import checked
from largesse.allocate import kernels
from largesse.errors import InfeasibleBudget
from largesse.menu import Menu
from largesse.result import Result

__all__ = ["Frontier", "Steps", "falling", "frontier", "steps", "steps_of", "sums_of"]


@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """The hull increments of all units, by falling slope.

    Attributes:
        unit: Position of the unit, int32 (K,).
        source: The treatment before the increment, int32 (K,).
        target: The treatment after it, int32 (K,).
        slope: Value per unit of spend, float64 (K,), falling.
        start: Each unit's treatment before its first increment, int32 (N,).
    """

    unit: NDArray[np.int32]
    source: NDArray[np.int32]
    target: NDArray[np.int32]
    slope: NDArray[np.float64]
    start: NDArray[np.int32]

    def change(self, table: NDArray[Any]) -> NDArray[np.float64]:
        """Returns the difference that each increment makes in a table (N, M) of values or costs, float64 (K,)."""
        return table[self.unit, self.target].astype(np.float64) - table[self.unit, self.source]


def falling(slope: NDArray[np.float64]) -> NDArray[np.intp]:
    """Returns the order of falling slopes; ties keep their order."""
    order = np.argsort(-slope)  # several times as fast as the stable sort, which only ties need
    sorted_ = slope[order]
    return np.argsort(-slope, kind="stable") if (sorted_[1:] == sorted_[:-1]).any() else order


def sums_of(value: NDArray[Any], cost: NDArray[Any], treatment: NDArray[np.int32]) -> NDArray[np.float64]:
    """Returns spend, its rounding remainder, value and its remainder of a plan (N,): (4,). Value and cost are (M, N)."""
    sums = np.empty(4)
    kernels.audit(value, cost, 0, len(treatment), treatment, 0.0, np.empty(0, np.int32), sums)
    return sums


def steps(menu: Menu, rows: NDArray[np.int32] | None = None, low: float = 0.0, high: float = inf) -> Steps:
    """Returns the hull increments of a menu, or of some of its rows, steepest first; ties keep the order of the units.

    Args:
        menu: Value and cost of N units.
        rows: Positions of the units; None: all.
        low: Only increments with a slope in (low, high] are returned.
        high: `start` is the plan after all increments steeper than this.
    """
    value, cost = menu.value.T, menu.cost.T
    if rows is not None:
        value, cost = np.take(value, rows, axis=1), np.take(cost, rows, axis=1)
    return steps_of(value, cost, low, high)


def steps_of(
    value: NDArray[Any], cost: NDArray[Any], low: float = 0.0, high: float = inf, ordered: bool = True
) -> Steps:
    """Returns `steps` for values and costs (M, N), the layout of the kernels; in the order of the units if not `ordered`."""
    unit, source, target, slope, start = kernels.hull_steps(value, cost, low, high)
    order = falling(slope) if ordered else slice(None)
    return Steps(unit[order], source[order], target[order], slope[order], start)


@checked
@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Frontier(Result):
    """The optimum of the linear programme as a concave function of the budget.

    Attributes:
        spend: Spend at each corner, (K + 1,), rising from the cheapest plan's cost.
        value: Value at each corner, (K + 1,).
        price: Shadow price λ, value per unit of spend, between corner k and k + 1, (K,), falling, > 0.
    """

    spend: NDArray[np.float64]
    value: NDArray[np.float64]
    price: NDArray[np.float64]

    def _feasible(self, budget: Any) -> NDArray[np.float64]:
        budgets = _check.budgets("budget", budget)
        if not (budgets >= self.spend[0]).all():
            raise InfeasibleBudget(float(np.min(budgets)), float(self.spend[0]))
        return budgets

    def value_at(self, budget: _check.Numbers) -> Any:
        """Returns the value of the best fractional plan at each budget.

        Raises:
            InfeasibleBudget: A budget is below the cheapest plan's cost.
            DataError: A budget is not a number.
        """
        return np.interp(self._feasible(budget), self.spend, self.value)

    def price_at(self, budget: _check.Numbers) -> Any:
        """Returns λ*, the slope of the increment that breaks each budget; 0 where the budget does not bind."""
        k = np.searchsorted(self.spend, self._feasible(budget), side="right") - 1
        if not len(self.price):
            return np.zeros(np.shape(k))[()]
        return np.where(k < len(self.price), self.price[np.minimum(k, len(self.price) - 1)], 0.0)[()]

    def spend_at(self, price: _check.Numbers) -> Any:
        """Returns the spend of the plan at each price, which takes every increment steeper than the price.

        Raises:
            DataError: A price is negative or not a number.
        """
        prices = _check.numbers("price", price)
        if not np.all(prices >= 0):  # also refuses NaN
            raise _check.refuse("price", price, "must be >= 0", "At a price of 0 costs do not count.")
        return self.spend[np.searchsorted(-self.price, -prices, side="left")]


@checked
def frontier(menu: Menu) -> Frontier:
    """Returns the frontier of a menu: value, spend and price for all budgets.

    Args:
        menu: Value and cost of N units and M treatments.

    >>> front = frontier(Menu(value=[[0.0, 3.0], [0.0, 1.0]], cost=[[0.0, 1.0], [0.0, 1.0]]))
    >>> front.value_at([0.0, 0.5, 1.0, 9.0]).tolist(), front.price_at(0.5).item()
    ([0.0, 1.5, 3.0, 4.0], 3.0)
    """
    increments = steps(menu)
    sums = sums_of(menu.value.T, menu.cost.T, increments.start)
    spend = kernels.cumulate(sums[0] + sums[1], increments.change(menu.cost))
    value = kernels.cumulate(sums[2] + sums[3], increments.change(menu.value))
    return Frontier(np.maximum.accumulate(spend), value, increments.slope)
