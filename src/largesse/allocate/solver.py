"""The plan at one budget: exact price, one treatment per unit, a certificate.

    max Σ_ij z_ij value_ij   s.t.   Σ_ij z_ij cost_ij <= B,   Σ_j z_ij = 1,   z_ij in {0, 1}

The linear relaxation is solved exactly: all hull increments of all units, steepest first, until the budget is reached.
The shadow price λ* is the slope of the increment that breaks the budget. The integer plan takes every increment before that
one, then whatever still fits; it loses at most the value of the breaking increment.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from largesse import _check
from largesse._arguments import checked
from largesse.allocate import kernels
from largesse.allocate.budget_frontier import Steps, steps
from largesse.allocate.price_intervals import assign
from largesse.allocate.search import Near, audited, near
from largesse.errors import InfeasibleBudget
from largesse.menu import Menu, Plan, Status

__all__ = ["Break", "audit", "breaking", "limit_of", "price_plan", "solve", "status_of"]

Floats = NDArray[np.float64]
_EXACT = 1e-12  # a relative gap that is rounding


@checked
def audit(menu: Menu, treatment: NDArray[np.int32]) -> tuple[float, float]:
    """Returns the spend and the value of a plan (N,) by the menu, summed in float64 with compensation.

    Raises:
        DataError: The plan does not give one treatment of the menu to each unit.
    """
    m = menu.n_treatments
    rule, remedy = f"must be a code from 0 to {m - 1}", "It is the position of the treatment in menu.treatments."
    treatment = _check.integers("treatment", treatment, low=0, high=m, rule=rule, remedy=remedy)
    _check.lengths(value=menu.value, treatment=treatment)
    spend, value, _ = audited(menu, treatment)
    return spend, value


@checked
def solve(menu: Menu, budget: float, *, n_threads: int = 1) -> Plan:
    """Returns the best plan within a budget, one treatment per unit.

    Args:
        menu: Value and cost of N units and M treatments.
        budget: Budget of all units together, in the unit of the menu's costs; infinity for no limit.
        n_threads: Number of threads; the plan is the same for any number.

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
    limit = limit_of(budget)
    _check.integers("n_threads", [n_threads], low=1, high=1024, rule="must be >= 1", remedy="One per core at most.")
    inside = near(menu, limit, n_threads)
    if inside.spend > limit:
        raise InfeasibleBudget(limit, inside.spend)
    at = breaking(
        (inside.spend, inside.value), inside.paid, inside.gained, inside.steps.slope, limit,
        lambda k: audited(menu, _after(inside.steps, k))[0],
    )  # fmt: skip
    treatment, spend, value = _round(menu, inside, limit, at, n_threads)
    return Plan(
        treatment=treatment, price=at.price, spend=spend, value=value, bound=max(at.bound, value), budget=float(budget),
        status=status_of(at, value), treatments=menu.treatments, unit=menu.unit,
    )  # fmt: skip


@checked
def price_plan(menu: Menu, price: float) -> Plan:
    """Returns the plan of a given price, without a budget.

    Args:
        menu: Value and cost of N units.
        price: Value per unit of spend, >= 0, e.g. from a calibrated policy.

    Raises:
        DataError: The price is negative or not a number.
    """
    treatment = assign(menu, price)
    spend, value, _ = audited(menu, treatment)
    return Plan(
        treatment=treatment, price=float(price), spend=spend, value=value, bound=value, budget=float("inf"),
        status=Status.PRICED, treatments=menu.treatments, unit=menu.unit,
    )  # fmt: skip


def limit_of(budget: float) -> float:
    """Returns a budget as a finite number, the largest one for infinity, or refuses it."""
    return _check.number("budget", np.finfo(float).max if budget == np.inf else budget)


class Break(NamedTuple):
    """The increment that breaks a budget.

    Attributes:
        fits: Number of increments before it, 0..K.
        spend: Running spend after those.
        price: Its slope λ* > 0; 0 if all K increments fit: the budget does not bind.
        bound: Optimum of the linear programme, λ* B + Σ_i max_j (value - λ* cost).
    """

    fits: int
    spend: float
    price: float
    bound: float


def breaking(
    start: tuple[float, float], paid: Floats, gained: Floats, slope: Floats, limit: float, spends: Callable[[int], float]
) -> Break:  # fmt: skip
    """Returns the increment at which the spend exceeds the limit; where rounding decides, the audited spend does.

    Args:
        start: Spend and value before the first increment.
        paid: Cost of each increment, by falling slope, (K,).
        gained: Value of each increment, (K,).
        slope: Value per unit of spend of each increment, (K,).
        limit: The budget.
        spends: The audited spend after a number of increments.
    """
    spend, value = kernels.cumulate(start[0], paid), kernels.cumulate(start[1], gained)
    k, slack = int(np.searchsorted(spend[1:], limit, side="right")), _EXACT * limit
    if k > 0 and limit - spend[k] <= slack and spends(k) > limit:
        k -= 1
    elif k < len(slope) and spend[k + 1] - limit <= slack and spends(k + 1) <= limit:
        k += 1
    if k == len(slope):
        return Break(k, float(spend[k]), 0.0, float(value[k]))
    price = float(slope[k])
    # λ* B + Σ_i max_j (value - λ* cost), rearranged so that no large numbers are subtracted.
    return Break(k, float(spend[k]), price, float(value[k]) + price * (limit - float(spend[k])))


def status_of(at: Break, value: float) -> Status:
    """Returns the status of a plan with this value."""
    if not at.price:
        return Status.NON_BINDING
    exact = at.bound - value <= _EXACT * max(1.0, abs(at.bound))
    return Status.OPTIMAL if exact else Status.WITHIN_ONE_INCREMENT


def _after(increments: Steps, k: int) -> NDArray[np.int32]:
    """Returns the plan after the first k increments; a unit keeps the target of its last one."""
    state = increments.start.copy()
    state[increments.unit[:k]] = increments.target[:k]
    return state


def _round(menu: Menu, inside: Near, limit: float, at: Break, n_threads: int) -> tuple[NDArray[np.int32], float, float]:
    """Returns the plan of the first increments and whatever else fits, its spend, at most the limit, and its value."""
    inner, state = inside.steps, _after(inside.steps, at.fits)
    last, spend = kernels.fill(at.spend, limit, at.fits, inner.unit, inner.source, inner.target, inside.paid, state)
    left = max(limit - spend, 0.0) if inside.low > 0 else 0.0
    spend, value, rows = _within(menu, inner, last, limit, state, left, n_threads)
    if len(rows):  # units with an affordable increment below the bracket
        rest = steps(menu, rows, 0.0, inside.low)
        rest = Steps(rows[rest.unit], rest.source, rest.target, rest.slope, state)
        last, _ = kernels.fill(spend, limit, 0, rest.unit, rest.source, rest.target, rest.change(menu.cost), state)
        if last >= 0:
            spend, value, _ = _within(menu, rest, last, limit, state, 0.0, n_threads)
    return state, spend, value


def _within(
    menu: Menu, increments: Steps, last: int, limit: float, state: NDArray[np.int32], left: float, n_threads: int
) -> tuple[float, float, NDArray[np.int32]]:
    """Audits a plan, undoing its last increments in `state` while it spends too much, because running sums are rounded."""
    spend, value, rows = audited(menu, state, left, n_threads)
    while spend > limit and last >= 0:
        if state[increments.unit[last]] == increments.target[last]:
            state[increments.unit[last]] = increments.source[last]
            spend, value, rows = audited(menu, state, left, n_threads)
        last -= 1
    return spend, value, rows
