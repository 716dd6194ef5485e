"""The integer programme over a few clusters, to a stated gap: one treatment each, under a chance constraint on the spend.

    max Σ value_kj z_kj   s.t.   Σ spend_kj z_kj + q √(Σ variance_kj z_kj) <= B,   Σ_j z_kj = 1,   z_kj in {0, 1}

z is binary, so the variance V of the spend is linear in z, and the root is a concave function of V alone. For V in [a, b]
the chord of the root over [a, b] lies below it, so replacing the root by the chord gives a relaxation with one linear row. If
its plan breaks the true constraint, [a, b] is cut at the plan's V (branch and bound), where both new chords are exact: that
plan is feasible in neither part. There are finitely many plans, so this ends, with the best open bound as certificate. The
tangent of the root lies above it, so its row gives the feasible plans to start from.

With q = 0 there is one row and one programme. Cells that the Lagrangian bound of a row excludes are left out of it.
"""

from __future__ import annotations

import heapq
from math import inf, sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp

from largesse.allocate.budget_frontier import steps
from largesse.allocate.cluster_core import better
from largesse.allocate.highs import quiet
from largesse.allocate.solver import solve
from largesse.errors import InfeasibleBudget
from largesse.menu import Menu, Plan

__all__ = ["CLOSED", "Bounded", "More", "Row", "Totals", "best", "by_highs", "charged", "cheapest", "menu_of",
           "quantity"]  # fmt: skip

Floats = NDArray[np.float64]
Codes = NDArray[np.int32]
CLOSED = 1e-6  # gap, relative to `Totals.stake`, at which a plan counts as optimal
_SECONDS = 60.0  # time limit of one call of HiGHS
_NODES = 2_000  # most parts of the branch and bound
_TOLERANCE = 0.2  # tolerance of the plan under one row, relative to `CLOSED`
_LOOSE = 0.3  # error of a chord, relative to the gap, above which it is cut before an integer plan is computed
_GAP = 2e-7  # relative gap of HiGHS between its plan and its bound
_INFEASIBLE = 2  # status of scipy.optimize.milp
_CLIMBS = 8  # most tangents tried
_NARROW = 1e-9  # width, relative to V, of a part that is not cut further


class Totals(NamedTuple):
    """Value, spend and variance of each treatment of each cluster, (K, M) each.

    Attributes:
        value: Expected value of all units of the cluster.
        spend: Expected spend, >= 0.
        variance: Variance of the spend, >= 0.
        allowed: The treatments that the cluster may get, at least one each.
    """

    value: Floats
    spend: Floats
    variance: Floats
    allowed: NDArray[np.bool_]

    @property
    def stake(self) -> float:
        """Sum over the clusters of the difference in value between their best and worst treatment, > 0."""
        high, low = (np.where(self.allowed, self.value, end) for end in (-inf, inf))
        return float((high.max(1) - low.min(1)).sum()) or 1.0


class Bounded(NamedTuple):
    """A plan (K,), empty if none was found in time, and an upper bound on the value of any plan within the budget."""

    treatment: Codes
    value: float
    bound: float


class More(NamedTuple):
    """Further continuous variables, and rows with them and the cells: matrix · (cells, variables) <= limits.

    Attributes:
        matrix: Sparse by columns, (R, K M + n).
        limits: (R,).
        lower: Lower bound of each variable, (n,).
        penalty: Coefficient of each variable that is subtracted from the value, (n,).
    """

    matrix: Any
    limits: Floats
    lower: Floats
    penalty: Floats


class _Part(NamedTuple):
    """Plans whose variance lies in [low, high]; ordered by bound, the highest first."""

    minus_bound: float
    low: float
    high: float
    slack: float  # subtracted from the budget: the solver's tolerance must not break the constraint


class Row(NamedTuple):
    """One linear limit: Σ weight z <= limit."""

    weight: Floats
    limit: float


def quantity(table: Floats, treatment: Codes) -> float:
    """Returns the sum of a table (K, M) over a plan (K,)."""
    return float(table[np.arange(len(treatment)), treatment].sum())


def charged(totals: Totals, treatment: Codes, q: float) -> float:
    """Returns the charge of a plan against the budget: expected spend plus q standard deviations."""
    return quantity(totals.spend, treatment) + q * sqrt(max(quantity(totals.variance, treatment), 0.0))


def cheapest(totals: Totals, q: float) -> tuple[Codes, float]:
    """Returns the plan with the lowest charge, and that charge.

    The charge is concave and rises in spend and variance, so it is lowest at a corner of the lower-left hull of the pairs
    (spend, variance) of all plans; these corners are the plans of the frontier of -variance by spend.
    """
    increments = steps(menu_of(totals, -totals.variance, totals.spend))
    spend, variance = (
        np.cumsum(np.append(quantity(table, increments.start), increments.change(table)))
        for table in (totals.spend, totals.variance)
    )
    k = int(np.argmin(spend + q * np.sqrt(np.maximum(variance, 0))))
    plan = increments.start.copy()
    plan[increments.unit[:k]] = increments.target[:k]
    return plan, charged(totals, plan, q)


def best(totals: Totals, limit: float, q: float) -> Bounded | None:
    """Returns the best plan with a charge of at most the limit; None if even the lowest charge exceeds it.

    Args:
        totals: Value, spend and variance of each cell.
        limit: The budget.
        q: Number of standard deviations of the spend that are charged, >= 0.
    """
    first, least = cheapest(totals, q)
    if least > limit:
        return None
    plan = _climbed(totals, limit, q, first)
    ends = [np.where(totals.allowed, totals.variance, e) for e in (inf, -inf)]
    parts = [_Part(-inf, float(ends[0].min(1).sum()), float(ends[1].max(1).sum()), 0.0)]
    closed, enough = -inf, 0.5 * CLOSED * totals.stake
    for _ in range(_NODES):
        value = quantity(totals.value, plan)
        if not parts or -parts[0].minus_bound <= value + enough:
            break
        part = heapq.heappop(parts)
        relaxed, exact = _relaxed(totals, limit, q, part, value)
        if relaxed is None:
            continue
        bound = min(relaxed.bound, -part.minus_bound)
        excess = charged(totals, relaxed.treatment, q) - limit if len(relaxed.treatment) else 0.0
        if excess <= 0 and relaxed.value > value:
            plan = relaxed.treatment
        if exact and excess <= 0:
            closed = max(closed, bound)
            continue
        for piece in _cut(part, quantity(totals.variance, relaxed.treatment), bound, excess):
            heapq.heappush(parts, piece)
    value = quantity(totals.value, plan)
    return Bounded(plan, value, max(value, closed, *(-part.minus_bound for part in parts)))


def _cut(part: _Part, at: float, bound: float, excess: float) -> list[_Part]:
    """Returns the two parts at a variance; where they would be too narrow, the part itself with a lower budget."""
    near = _NARROW * max(abs(part.high), 1e-300)
    if min(at - part.low, part.high - at) <= near:
        return [part._replace(minus_bound=-bound, slack=part.slack + 2 * excess)]
    return [_Part(-bound, part.low, at, part.slack), _Part(-bound, at, part.high, part.slack)]


def _climbed(totals: Totals, limit: float, q: float, plan: Codes) -> Codes:
    """Returns a good plan within the limit: repeatedly the best one under the tangent of the root at the last one's variance."""
    at = quantity(totals.variance, plan)
    if q == 0 or at == 0:  # the root has no tangent at 0: start from the plan without the root
        free = _linear(totals, Row(totals.spend, limit))
        at = at if free is None else quantity(totals.variance, free.treatment)
        if free is not None and charged(totals, free.treatment, q) <= limit:
            return np.asarray(free.treatment)
    for _ in range(_CLIMBS):
        root = sqrt(max(at, 1e-300))
        # √V <= √a + (V - a) / (2 √a)
        linear = _linear(totals, Row(totals.spend + q / (2 * root) * totals.variance, limit - q * root / 2))
        if linear is None or quantity(totals.value, linear.treatment) <= quantity(totals.value, plan):
            break
        if charged(totals, linear.treatment, q) > limit:
            break
        plan, at = linear.treatment, quantity(totals.variance, linear.treatment)
    return plan


def _relaxed(totals: Totals, limit: float, q: float, part: _Part, floor: float) -> tuple[Bounded | None, bool]:
    """Returns the best plan under the chord over a part, None if none exceeds the floor; and whether it is the integer optimum.

    It is the plan of the linear programme where the error of the chord is large beside the integrality gap. A plan whose
    variance lies outside the part is feasible if it keeps the row, because there the chord lies above the root.
    """
    a, b = sqrt(max(part.low, 0.0)), sqrt(max(part.high, 0.0))
    slope = 0.0 if q == 0 else 1 / max(a + b, 1e-150)  # (√b - √a) / (b - a)
    row = Row(totals.spend + q * slope * totals.variance, limit - part.slack - q * (a - slope * part.low))
    linear = _linear(totals, row)
    if linear is None or linear.bound <= floor:
        return None, True
    at = quantity(totals.variance, linear.treatment)
    inside = min(at - part.low, part.high - at) > _NARROW * part.high
    chord_error = linear.price * q * (sqrt(max(at, 0.0)) - a - slope * (at - part.low))
    if inside and chord_error > _LOOSE * (linear.bound - floor):
        return Bounded(linear.treatment, linear.value, linear.bound), False
    tolerance = _TOLERANCE * CLOSED * totals.stake
    plan = better(totals.value, row.weight, totals.allowed, row.limit, linear.price, floor, tolerance)
    if plan is None:  # too many partial plans
        reduced = np.where(totals.allowed, totals.value - linear.price * row.weight, -inf)
        near = reduced.max(1, keepdims=True) - reduced <= linear.bound - floor
        return by_highs(totals._replace(allowed=totals.allowed & near), row), True
    if plan.treatment is None:
        return Bounded(np.empty(0, np.int32), -inf, plan.bound), True
    return Bounded(plan.treatment, quantity(totals.value, plan.treatment), plan.bound), True


def menu_of(totals: Totals, value: Floats, cost: Floats) -> Menu:
    """Returns a menu of the clusters in which treatments that are not allowed have less value and cost more than the others."""
    low = np.where(totals.allowed, value, inf).min(1, keepdims=True)
    high = np.where(totals.allowed, cost, 0.0).max(1, keepdims=True)
    worse, dearer = low - 1 - np.abs(low), 2 * high + 1
    return Menu(value=np.where(totals.allowed, value, worse), cost=np.where(totals.allowed, cost, dearer))


def _linear(totals: Totals, row: Row) -> Plan | None:
    """Returns a plan under one row with its Lagrangian bound; None if no plan keeps the row."""
    try:
        return solve(menu_of(totals, totals.value, row.weight), row.limit)
    except InfeasibleBudget:
        return None


def by_highs(totals: Totals, row: Row | None, more: More | None = None) -> Bounded | None:
    """Returns the best plan under linear rows, by HiGHS, and its bound; None if no plan keeps them, an empty one if time ran out.

    Args:
        totals: Value of each cell, and which cells are allowed.
        row: A limit on the plan, or None.
        more: Further variables and rows.
    """
    k, m = totals.value.shape
    cell = np.flatnonzero(totals.allowed)  # only these are variables
    owner, n = cell // m, 0 if more is None else len(more.lower)
    base = np.where(totals.allowed, totals.value, inf).min(1)
    gain = totals.value.ravel()[cell] - base[owner]
    scale = totals.stake / k  # HiGHS treats a difference of 1e-6 as none
    lower, penalty = (np.zeros(0), np.zeros(0)) if more is None else (more.lower, more.penalty)
    with quiet():
        done = milp(
            np.concatenate([-gain, penalty]) / scale, integrality=np.repeat([1, 0], [len(cell), n]),
            bounds=Bounds(np.concatenate([np.zeros(len(cell)), lower]), np.repeat([1.0, inf], [len(cell), n])),
            constraints=_constraints(row, more, cell, (k, m)), options={"time_limit": _SECONDS, "mip_rel_gap": _GAP},
        )  # fmt: skip
    if done.status == _INFEASIBLE:
        return None
    bound = inf if done.mip_dual_bound is None else float(base.sum() - done.mip_dual_bound * scale)
    if done.x is None:  # out of time
        return Bounded(np.empty(0, np.int32), -inf, bound)
    plan = np.full(k, -1, np.int32)
    taken = done.x[: len(cell)] > 0.5
    plan[owner[taken]] = (cell % m)[taken]
    return Bounded(plan, quantity(totals.value, plan), bound)


def _constraints(
    row: Row | None, more: More | None, cell: NDArray[np.intp], shape: tuple[int, int]
) -> list[LinearConstraint]:
    """Returns the constraints on the cells and the further variables: one treatment per cluster, and the rows."""
    (k, m), n = shape, 0 if more is None else len(more.lower)
    one = sparse.csr_matrix((np.ones(len(cell)), (cell // m, np.arange(len(cell)))), (k, len(cell) + n))
    constraints = [LinearConstraint(one, 1.0, 1.0)]
    if row is not None:
        flat = row.weight.ravel()[cell]
        size = float(np.abs(flat).max(initial=0.0)) or 1.0
        constraints.append(LinearConstraint(np.concatenate([flat, np.zeros(n)])[None] / size, -inf, row.limit / size))
    if more is not None:
        columns = np.concatenate([cell, k * m + np.arange(n)])
        constraints.append(LinearConstraint(more.matrix[:, columns], -inf, more.limits))
    return constraints
