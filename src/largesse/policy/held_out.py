"""Planned and realised spend and value at the prices of a calibrated curve, on held-out rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from largesse import _check
from largesse._random import child
from largesse.allocate.budget_frontier import frontier
from largesse.allocate.price_intervals import taken_interval
from largesse.evaluate.bootstrap import interval, row_weights
from largesse.logs import Logs
from largesse.menu import Menu
from largesse.policy.curve import PriceCurve, same_rows
from largesse.policy.safety import amount
from largesse.result import Tabular

__all__ = ["Realised", "realised"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class Realised(Tabular):
    """Planned and realised spend and value per unit on held-out trial rows, one entry per budget.

    Attributes:
        budget: Budget per unit.
        price: Its price by the calibrated curve.
        planned_cost: Spend predicted by the menu at that price.
        cost: Realised spend: inverse-propensity mean, unbiased.
        cost_low: Lower end of its bootstrap interval.
        cost_high: Upper end.
        value: Realised value, likewise.
        value_low: Lower end of its bootstrap interval.
        value_high: Upper end.
    """

    budget: Floats
    price: Floats
    planned_cost: Floats
    cost: Floats
    cost_low: Floats
    cost_high: Floats
    value: Floats
    value_low: Floats
    value_high: Floats

    def _columns(self) -> dict[str, Floats]:
        return self._fields()


def realised(
    curve: PriceCurve, logs: Logs, menu: Menu, budgets: _check.Numbers, *, safety: float | None = None, level: float = 0.95,
    draws: int = 400, seed: int = 0,
) -> Realised:  # fmt: skip
    """Returns planned and realised spend and value at the curve's prices, on rows that trained neither model nor curve.

    Args:
        curve: The calibrated curve.
        logs: Held-out rows with known propensities.
        menu: The model's predictions for them.
        budgets: Budget per unit, (B,).
        safety: As for `PriceCurve.price_for`.
        level: Coverage of the two-sided bootstrap intervals.
        draws: Number of bootstrap draws.
        seed: Seed of the draws.

    Raises:
        DataError: Unknown propensities, or a menu of other units.
        InfeasibleBudget: A budget is below the spend at every price.
    """
    same_rows(menu, logs)
    limits = np.atleast_1d(_check.array("budgets", budgets, ndim=np.ndim(budgets), dtype=np.float64))
    units = menu
    if logs.weight is not None:  # the units that the rows stand for
        units = menu.take(child(seed, 1).choice(menu.n, menu.n, p=logs.weights / logs.total_weight))
    spend_curve = curve.spend_curve(units)
    price = np.array([spend_curve.price_for(amount(b) * units.n, safety) for b in limits])
    lo, hi = taken_interval(menu, logs.treatment)
    w = logs.inverse_propensity / logs.total_weight
    # A row counts at the prices that give it the treatment it got.
    matching = w * ((lo <= price[:, None]) & (price[:, None] < hi))  # (B, N)
    value, paid = matching * logs.value, matching * logs.cost
    drawn = np.array([(value @ k, paid @ k) for k in row_weights(logs, draws, seed)])  # (D, 2, B)
    (value_low, value_high), (cost_low, cost_high) = np.moveaxis(interval(drawn, level), -1, 1)
    return Realised(
        budget=limits, price=price, planned_cost=frontier(units).spend_at(price) / units.n,
        cost=paid.sum(axis=1), cost_low=cost_low, cost_high=cost_high,
        value=value.sum(axis=1), value_low=value_low, value_high=value_high,
    )  # fmt: skip
