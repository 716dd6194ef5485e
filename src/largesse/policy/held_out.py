"""Planned against realised: what the prices of a curve truly spend and bring, on rows that nothing has seen."""

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
    """Planned against realised on held-out trial rows, one entry per budget; spend and value per unit.

    Attributes:
        budget: What may be spent.
        price: The price the curve gives for it.
        planned_cost: What the menu says is spent at that price.
        cost: What was spent: inverse-propensity mean, unbiased.
        cost_low: Lower end of its bootstrap interval.
        cost_high: Upper end.
        value: What it brought, likewise.
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
    """Returns what the curve's prices truly spend and bring on trial rows that neither model nor curve has seen.

    Args:
        curve: The calibrated curve.
        logs: Held-out rows with known propensities.
        menu: What the model believes of them.
        budgets: Budget per unit, (B,).
        safety: As for `PriceCurve.price_for`.
        level: Coverage of the two-sided bootstrap intervals.
        draws: Their number of draws.
        seed: Their seed.

    Raises:
        DataError: Unknown propensities, or a menu of other units.
        InfeasibleBudget: A budget is below what any price spends.
    """
    same_rows(menu, logs)
    wanted = np.atleast_1d(_check.array("budgets", budgets, ndim=np.ndim(budgets), dtype=np.float64))
    units = menu
    if logs.weight is not None:  # the units that the rows stand for
        units = menu.take(child(seed, 1).choice(menu.n, menu.n, p=logs.weights / logs.total_weight))
    spend_curve = curve.spend_curve(units)
    price = np.array([spend_curve.price_for(amount(b) * units.n, safety) for b in wanted])
    lo, hi = taken_interval(menu, logs.treatment)
    w = logs.inverse_propensity / logs.total_weight
    # A row shows what a price would have done iff it got the treatment that the price gives it.
    shown = w * ((lo <= price[:, None]) & (price[:, None] < hi))  # (B, N)
    worth, paid = shown * logs.value, shown * logs.cost
    drawn = np.array([(worth @ k, paid @ k) for k in row_weights(logs, draws, seed)])  # (D, 2, B)
    (value_low, value_high), (cost_low, cost_high) = np.moveaxis(interval(drawn, level), -1, 1)
    return Realised(
        budget=wanted, price=price, planned_cost=frontier(units).spend_at(price) / units.n,
        cost=paid.sum(axis=1), cost_low=cost_low, cost_high=cost_high,
        value=worth.sum(axis=1), value_low=value_low, value_high=value_high,
    )  # fmt: skip
