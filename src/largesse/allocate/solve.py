"""The plan at one budget: exact price, whole units, a certificate.

    max Σ_ij z_ij value_ij   s.t.   Σ_ij z_ij cost_ij <= B,   Σ_j z_ij = 1,   z_ij in {0, 1}

The linear relaxation is solved exactly: all hull increments of all units, steepest first, until the money is gone.
The price λ* is the slope of the increment that breaks the budget. Whole units: every increment above λ*, then
whatever still fits. The loss is at most the value of the breaking increment.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from largesse import _check
from largesse.allocate import _kernels
from largesse.allocate.frontier import Steps, steps
from largesse.allocate.intervals import assign
from largesse.errors import InfeasibleBudget
from largesse.menu import Menu, Plan, Status

__all__ = ["audit", "price_plan", "solve"]

_EXACT = 1e-12  # a relative gap that is rounding


def audit(menu: Menu, treatment: NDArray[np.int32]) -> tuple[float, float]:
    """Returns the spend and the value of a plan by the menu, summed in float64 with compensation."""
    return _kernels.total(menu.cost.T, treatment), _kernels.total(menu.value.T, treatment)


def solve(menu: Menu, budget: float) -> Plan:
    """Returns the best plan of whole units within a budget.

    Args:
        menu: Value and cost of N units and M treatments.
        budget: Money for all units together, in the unit of the menu's costs; infinity for no limit.

    Returns:
        A plan with spend <= budget and value within one increment of `bound`.

    Raises:
        InfeasibleBudget: Even the cheapest plan costs more; the message says by how much.
        DataError: The budget is not a number.

    Reference:
        Zemel 1980; Kellerer, Pferschy and Pisinger 2004, chapter 11 (multiple-choice knapsack, linear relaxation).

    >>> menu = Menu(value=[[0.0, 3.0], [0.0, 1.0], [0.0, 2.0]], cost=[[0.0, 1.0]] * 3)
    >>> plan = solve(menu, budget=2.0)
    >>> plan.treatment.tolist(), plan.price, plan.value, plan.gap
    ([1, 0, 1], 1.0, 5.0, 0.0)
    """
    limit = _check.number("budget", min(budget, np.finfo(float).max) if budget == np.inf else budget)
    found = steps(menu)
    floor, base = audit(menu, found.start)
    if floor > limit:
        raise InfeasibleBudget(limit, floor)
    spend = _kernels.cumulate(floor, found.change(menu.cost))
    value = _kernels.cumulate(base, found.change(menu.value))
    fits = _fits(menu, found, limit, spend)
    binds = fits < len(found.slope)
    price = float(found.slope[fits]) if binds else 0.0
    # λ*B + Σ_i max_j (value - λ* cost), rearranged: no difference of large numbers.
    bound = value[fits] + (price * (limit - spend[fits]) if binds else 0.0)
    treatment = _round(menu, found, limit, fits)
    spent, worth = audit(menu, treatment)
    return Plan(
        treatment=treatment, price=price, spend=spent, value=worth, bound=max(float(bound), worth),
        budget=float(budget), status=_status(binds, bound - worth, bound), treatments=menu.treatments, unit=menu.unit,
    )  # fmt: skip


def price_plan(menu: Menu, price: float) -> Plan:
    """Returns the plan of a given price, with no budget.

    Args:
        menu: Value and cost of N units.
        price: Value per unit of money, >= 0, e.g. from a calibrated policy.
    """
    treatment = assign(menu, price)
    spent, worth = audit(menu, treatment)
    return Plan(
        treatment=treatment, price=float(price), spend=spent, value=worth, bound=worth, budget=float("inf"),
        status=Status.PRICED, treatments=menu.treatments, unit=menu.unit,
    )  # fmt: skip


def _after(found: Steps, k: int) -> NDArray[np.int32]:
    """Returns the plan after the first k increments; of one unit's increments the last one written stands."""
    state = found.start.copy()
    state[found.unit[:k]] = found.target[:k]
    return state


def _fits(menu: Menu, found: Steps, limit: float, spend: NDArray[np.float64]) -> int:
    """Returns how many increments come before the one that breaks the budget.

    The running sums differ from the audited spend by rounding; at a corner of the frontier the audit decides.
    """

    def spends(k: int) -> float:
        return audit(menu, _after(found, k))[0]

    k = int(np.searchsorted(spend[1:], limit, side="right"))
    slack = _EXACT * limit
    if k > 0 and limit - spend[k] <= slack and spends(k) > limit:
        return k - 1
    if k < len(found.slope) and spend[k + 1] - limit <= slack and spends(k + 1) <= limit:
        return k + 1
    return k


def _round(menu: Menu, found: Steps, limit: float, fits: int) -> NDArray[np.int32]:
    """Returns the plan of the first increments and whatever else fits; its audited spend is within the limit."""
    state = _after(found, fits)
    price, spent = found.change(menu.cost), audit(menu, state)[0]
    last = _kernels.fill(spent, limit, fits, found.unit, found.source, found.target, price, state)
    while last >= 0 and audit(menu, state)[0] > limit:  # the sums differ in the last bit: give one back
        if state[found.unit[last]] == found.target[last]:
            state[found.unit[last]] = found.source[last]
        last -= 1
    return state


def _status(binds: bool, gap: float, bound: float) -> Status:
    if not binds:
        return Status.NON_BINDING
    return Status.OPTIMAL if gap <= _EXACT * max(1.0, abs(bound)) else Status.WITHIN_ONE_INCREMENT
