"""Planned and realised spend and value at the prices of a calibrated curve, on held-out rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from largesse import _check
from largesse._arguments import checked
from largesse._random import child
from largesse.allocate.budget_frontier import frontier
from largesse.allocate.price_intervals import taken_interval
from largesse.evaluate.intervals import weighted_sum
from largesse.logs import Logs
from largesse.menu import Menu
from largesse.policy.curve import PriceCurve, same_rows
from largesse.policy.safety import amount
from largesse.result import Tabular

__all__ = ["Realised", "realised"]

Floats = NDArray[np.float64]


@checked
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
        cost_events: Effective number of events that it rests on.
        value: Realised value, likewise.
        value_low: Lower end of its bootstrap interval.
        value_high: Upper end.
        value_events: Effective number of events that it rests on.
    """

    budget: Floats
    price: Floats
    planned_cost: Floats
    cost: Floats
    cost_low: Floats
    cost_high: Floats
    cost_events: Floats
    value: Floats
    value_low: Floats
    value_high: Floats
    value_events: Floats

    @classmethod
    def of(
        cls,
        logs: Logs,
        followed: NDArray[np.bool_],
        budget: Floats,
        price: Floats,
        planned: Floats,
        level: float = 0.95,
    ) -> Realised:
        """Returns the realised spend and value of decisions.

        Args:
            logs: Held-out rows with known propensities.
            followed: Whether a row got the treatment that is decided for it at each budget, (N, B).
            budget: Budget per unit, (B,).
            price: Its price, (B,).
            planned: Spend that the menu predicts, (B,).
            level: Coverage of the intervals.
        """
        matching = logs.inverse_propensity[:, None] * followed
        value, value_ends, value_events = weighted_sum(logs, matching * logs.value[:, None], level)
        paid, paid_ends, paid_events = weighted_sum(logs, matching * logs.cost[:, None], level)
        return cls(
            budget=budget, price=price, planned_cost=planned,
            cost=paid, cost_low=paid_ends[:, 0], cost_high=paid_ends[:, 1], cost_events=paid_events,
            value=value, value_low=value_ends[:, 0], value_high=value_ends[:, 1], value_events=value_events,
        )  # fmt: skip

    def _columns(self) -> dict[str, Floats]:
        return self._fields()


@checked
def realised(
    curve: PriceCurve, logs: Logs, menu: Menu, budgets: _check.Numbers, *, safety: float | None = None, level: float = 0.95,
    seed: int = 0,
) -> Realised:  # fmt: skip
    """Returns planned and realised spend and value at the curve's prices, on rows that trained neither model nor curve.

    Args:
        curve: The calibrated curve.
        logs: Held-out rows with known propensities.
        menu: The model's predictions for them.
        budgets: Budget per unit, (B,).
        safety: As for `PriceCurve.price_for`.
        level: Coverage of the two-sided intervals.
        seed: Seed of the sample of units that stands for weighted rows.

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
    followed = (lo[:, None] <= price) & (price < hi[:, None])  # a row counts at the prices that give it what it got
    return Realised.of(logs, followed, limits, price, frontier(units).spend_at(price) / units.n, level)
