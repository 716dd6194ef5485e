"""One unit: what each treatment is predicted to bring it, what it gets at a price and why, and what would change that."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from largesse.allocate.price_intervals import assign, intervals
from largesse.commands.run_folder import Safety, safety_of
from largesse.commands.studio.population import Population
from largesse.menu import Menu
from largesse.models.two_stage.stack import Stack
from largesse.policy.deployed import Policy
from largesse.policy.safety import normal_quantile

__all__ = ["Change", "Choice", "Step", "UnitPlan", "budget_at", "member_menus", "unit_plan"]


class Choice(NamedTuple):
    """A treatment for one unit, against control.

    Attributes:
        treatment: Its name.
        value: Predicted value.
        cost: Predicted cost.
        extra: Value beyond control.
        extra_cost: Cost beyond control.
        net: Extra value less price times extra cost, in units of value.
        low: Lowest extra value by a member of the model; NaN where it has no members.
        high: Highest.
    """

    treatment: str
    value: float
    cost: float
    extra: float
    extra_cost: float
    net: float
    low: float
    high: float


class Step(NamedTuple):
    """What another treatment would bring and cost beyond a first one.

    Attributes:
        treatment: The other treatment.
        value: Value beyond the first.
        cost: Cost beyond the first.
    """

    treatment: str
    value: float
    cost: float

    @property
    def slope(self) -> float:
        """Value per unit of spend; infinity where nothing is spent."""
        return self.value / self.cost if self.cost > 0 else float("inf")


class Change(NamedTuple):
    """Where the decision changes.

    Attributes:
        price: The shadow price.
        treatment: The treatment beyond it.
    """

    price: float
    treatment: str


class UnitPlan(NamedTuple):
    """What one unit gets at a price.

    Attributes:
        price: Shadow price λ.
        given: Code of the treatment.
        choices: Every treatment, control first.
        runner_up: Code of the best other treatment at the price.
        margin: By how much the net value of the given one exceeds that, in units of value.
        next: The next dearer treatment on the way up as the price falls; None: there is none.
        last: What the given treatment brings beyond the one that the unit gets at a higher price; None: it is the cheapest.
        dearer: Where a falling price, that is a larger budget, changes the treatment; None: nowhere.
        cheaper: Where a rising price, that is a smaller budget, changes it; None: nowhere.
    """

    price: float
    given: int
    choices: tuple[Choice, ...]
    runner_up: int
    margin: float
    next: Step | None
    last: Step | None
    dearer: Change | None
    cheaper: Change | None


def unit_plan(menu: Menu, price: float, members: tuple[Menu, ...] = ()) -> UnitPlan:
    """Returns what a unit gets at a price, and why.

    Args:
        menu: Its predicted value and cost of every treatment, (1, M).
        price: Shadow price λ, value per unit of spend, >= 0.
        members: The menus of the members of the model, (1, M) each.
    """
    value, cost = (table[0].astype(np.float64) for table in (menu.value, menu.cost))
    given, (low, high) = int(assign(menu, price)[0]), (ends[0] for ends in intervals(menu))
    extra, spent = value - value[0], cost - cost[0]
    own = np.array([one.value[0].astype(np.float64) - one.value[0, 0] for one in members]) if members else None
    nothing = np.full(len(value), np.nan)
    least, most = (nothing, nothing) if own is None else (own.min(0), own.max(0))
    net = extra - price * spent if np.isfinite(price) else np.where(spent > 0, -np.inf, extra)
    choices = tuple(
        Choice(name, *map(float, cells))
        for name, *cells in zip(menu.treatments, value, cost, extra, spent, net, least, most, strict=True)
    )
    others = np.where(np.arange(len(net)) == given, -np.inf, net)
    second = int(others.argmax())
    up, down = _beside(low, high, given)
    return UnitPlan(
        price, given, choices, second, float(net[given] - net[second]),
        None if up is None else Step(menu.treatments[up], float(value[up] - value[given]), float(cost[up] - cost[given])),
        None if down is None else
        Step(menu.treatments[down], float(value[given] - value[down]), float(cost[given] - cost[down])),
        None if up is None else Change(float(low[given]), menu.treatments[up]),
        None if down is None else Change(float(high[given]), menu.treatments[down]),
    )  # fmt: skip


def _beside(low: NDArray[np.float64], high: NDArray[np.float64], given: int) -> tuple[int | None, int | None]:
    """Returns the treatments at prices just below and just above those of the given one."""
    chosen = low < high
    up = np.flatnonzero(chosen & (high == low[given])) if low[given] > 0 else np.empty(0, np.intp)
    down = np.flatnonzero(chosen & (low == high[given])) if np.isfinite(high[given]) else np.empty(0, np.intp)
    return (int(up[0]) if len(up) else None), (int(down[0]) if len(down) else None)


def member_menus(policy: Policy, table: pa.Table) -> tuple[Menu, ...]:
    """Returns what each member of a stack predicts for a unit; () where the model is no stack.

    Args:
        policy: The policy.
        table: The unit, one row.
    """
    if not isinstance(policy.model, Stack) or policy.encoder is None:
        return ()
    x = policy.encoder.transform(table)
    return tuple(model.predict(x) for model in policy.model.models_)


def budget_at(units: Population, price: float, safety: Safety) -> float:
    """Returns the total budget with a price, to within the distance of some thousand prices at which spend is known.

    Args:
        units: The units.
        price: Shadow price λ.
        safety: Probability of staying within the budget, as for `Population.allocate`.
    """
    sure, curve = safety_of(units.config, safety), units.policy.curve
    spend = curve.spend_curve_at(units.search.price, units.search.planned)
    limit = spend.mean if sure is None else spend.bound(normal_quantile(sure, "safety"))
    return float(limit[min(int(np.searchsorted(units.search.price, price)), len(limit) - 1)])
