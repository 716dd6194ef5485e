"""The plan at one budget: exact price, whole units, a certificate.

    max Σ_ij z_ij value_ij   s.t.   Σ_ij z_ij cost_ij <= B,   Σ_j z_ij = 1,   z_ij in {0, 1}

The linear relaxation is solved exactly: all hull increments of all units, steepest first, until the money is gone.
The price λ* is the slope of the increment that breaks the budget. Whole units: every increment above λ*, then
whatever still fits. The loss is at most the value of the breaking increment.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from largesse import _check
from largesse.allocate import kernels
from largesse.allocate.budget_frontier import Steps, steps
from largesse.allocate.price_intervals import assign
from largesse.allocate.search import Near, audited, near
from largesse.errors import InfeasibleBudget
from largesse.menu import Menu, Plan, Status

__all__ = ["audit", "fitting", "price_plan", "solve", "status_of"]

_EXACT = 1e-12  # a relative gap that is rounding


def audit(menu: Menu, treatment: NDArray[np.int32]) -> tuple[float, float]:
    """Returns the spend and the value of a plan by the menu, summed in float64 with compensation."""
    spend, value, _ = audited(menu, treatment)
    return spend, value


def solve(menu: Menu, budget: float, *, n_threads: int = 1) -> Plan:
    """Returns the best plan of whole units within a budget.

    Args:
        menu: Value and cost of N units and M treatments.
        budget: Money for all units together, in the unit of the menu's costs; infinity for no limit.
        n_threads: Threads; the plan is the same for any number.

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
    _check.integers("n_threads", [n_threads], low=1, high=1024, rule="must be >= 1", remedy="One per core at most.")
    held = near(menu, limit, n_threads)
    found = held.steps
    if held.spend > limit:
        raise InfeasibleBudget(limit, held.spend)
    spend, value = kernels.cumulate(held.spend, held.paid), kernels.cumulate(held.value, held.gained)
    fits = fitting(spend, limit, lambda k: audit(menu, _after(found, k))[0])
    binds = fits < len(found.slope)
    price = float(found.slope[fits]) if binds else 0.0
    # λ*B + Σ_i max_j (value - λ* cost), rearranged: no difference of large numbers.
    bound = value[fits] + (price * (limit - spend[fits]) if binds else 0.0)
    treatment, spent, worth = _round(menu, held, limit, (fits, float(spend[fits])), n_threads)
    return Plan(
        treatment=treatment, price=price, spend=spent, value=worth, bound=max(float(bound), worth),
        budget=float(budget), status=status_of(binds, bound - worth, bound), treatments=menu.treatments, unit=menu.unit,
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


def fitting(spend: NDArray[np.float64], limit: float, spends: Callable[[int], float]) -> int:
    """Returns how many increments come before the one that breaks the budget.

    The running sums differ from the audited spend by rounding; at a corner of the frontier the audit decides.

    Args:
        spend: Running sums before and after each increment, (K + 1,).
        limit: The budget.
        spends: The audited spend after so many increments.
    """
    k = int(np.searchsorted(spend[1:], limit, side="right"))
    slack = _EXACT * limit
    if k > 0 and limit - spend[k] <= slack and spends(k) > limit:
        return k - 1
    if k < len(spend) - 1 and spend[k + 1] - limit <= slack and spends(k + 1) <= limit:
        return k + 1
    return k


def _round(
    menu: Menu, held: Near, limit: float, at: tuple[int, float], n_threads: int
) -> tuple[NDArray[np.int32], float, float]:
    """Returns the plan of the first increments and whatever else fits, its spend, which is within the limit, and its value."""
    found, state = held.steps, _after(held.steps, at[0])
    last, spent = kernels.fill(at[1], limit, at[0], found.unit, found.source, found.target, held.paid, state)
    left = max(limit - spent, 0.0) if held.low > 0 else 0.0
    spent, worth, some = _within(menu, found, last, limit, state, left, n_threads)
    if len(some):  # of these, what fits among the increments below the bracket
        rest = steps(menu, some, 0.0, held.low)
        found = Steps(some[rest.unit], rest.source, rest.target, rest.slope, state)
        last, _ = kernels.fill(spent, limit, 0, found.unit, found.source, found.target, found.change(menu.cost), state)
        if last >= 0:
            spent, worth, _ = _within(menu, found, last, limit, state, 0.0, n_threads)
    return state, spent, worth


def _within(
    menu: Menu, found: Steps, last: int, limit: float, state: NDArray[np.int32], left: float, n_threads: int
) -> tuple[float, float, NDArray[np.int32]]:
    """Audits a plan, and gives increments back from the last one taken on while it spends too much: running sums lack digits."""
    spent, worth, some = audited(menu, state, left, n_threads)
    while spent > limit and last >= 0:
        if state[found.unit[last]] == found.target[last]:
            state[found.unit[last]] = found.source[last]
            spent, worth, some = audited(menu, state, left, n_threads)
        last -= 1
    return spent, worth, some


def status_of(binds: bool, gap: float, bound: float) -> Status:
    """Returns how good a plan is that is so far from its bound."""
    if not binds:
        return Status.NON_BINDING
    return Status.OPTIMAL if gap <= _EXACT * max(1.0, abs(bound)) else Status.WITHIN_ONE_INCREMENT
