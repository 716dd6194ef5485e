"""The programme over a few clusters, exactly: one treatment each, within a budget that the spend must keep surely enough.

    max Σ value_kj z_kj   s.t.   Σ spend_kj z_kj + q √(Σ variance_kj z_kj) <= B,   Σ_j z_kj = 1,   z_kj in {0, 1}

z is binary, so the variance of the spend is linear in z, one number V, and the root is a concave function of that number
alone. While V is known to lie in [a, b], the chord of the root over [a, b] lies below it: charging the chord instead is a
relaxation with one linear row, which HiGHS solves. If its plan breaks the true rule, [a, b] is cut at the plan's own V,
where both new chords are exact: that plan returns in neither part. There are finitely many plans, so this ends, with the
best open bound as certificate. The tangent of the root lies above it: that row gives feasible plans to begin with.

With q = 0 there is one such row and one programme. Cells that the Lagrangian bound of that row excludes are left out of it.
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

__all__ = ["CLOSED", "Found", "More", "Row", "Totals", "best", "charged", "cheapest", "menu_of", "quantity", "whole"]

Floats = NDArray[np.float64]
Codes = NDArray[np.int32]
CLOSED = 1e-6  # of what is at stake in all clusters: a gap that counts as none
_SECONDS = 60.0  # for one programme
_NODES = 2_000
_ROOM = 0.2  # of `CLOSED`: what a plan under one row may miss
_LOOSE = 0.3  # of the gap: a chord that is off by more is cut before whole plans are sought
_GAP = 2e-7  # of HiGHS, between its plan and its bound
_INFEASIBLE = 2  # what scipy says of HiGHS
_CLIMBS = 8
_NARROW = 1e-9  # of V: a part that cannot be cut further


class Totals(NamedTuple):
    """What each treatment of each cluster adds to the sums, (K, M) each.

    Attributes:
        value: Expected value of all units of the cluster.
        spend: Expected spend, >= 0.
        variance: Variance of the spend, >= 0.
        allowed: What the cluster may get, at least one treatment each.
    """

    value: Floats
    spend: Floats
    variance: Floats
    allowed: NDArray[np.bool_]

    @property
    def stake(self) -> float:
        """The difference of value between the best and the worst treatment of every cluster, added up, > 0."""
        high, low = (np.where(self.allowed, self.value, end) for end in (-inf, inf))
        return float((high.max(1) - low.min(1)).sum()) or 1.0


class Found(NamedTuple):
    """A plan, and what no plan within the budget exceeds."""

    treatment: Codes
    value: float
    bound: float


class More(NamedTuple):
    """Continuous variables beside the cells, and the rows that tie them: matrix · (cells, variables) <= limits.

    Attributes:
        matrix: Sparse by columns, (R, K M + n).
        limits: (R,).
        lower: Least value of each variable, (n,).
        price: What each takes off the value, (n,).
    """

    matrix: Any
    limits: Floats
    lower: Floats
    price: Floats


class _Part(NamedTuple):
    """Plans whose variance lies in [low, high]; ordered by bound, the highest first."""

    minus_bound: float
    low: float
    high: float
    slack: float  # taken off the budget: a solver's tolerance must break no rule


class Row(NamedTuple):
    """One linear limit: Σ weight z <= limit."""

    weight: Floats
    limit: float


def quantity(table: Floats, treatment: Codes) -> float:
    """Returns the sum of a table (K, M) over a plan (K,)."""
    return float(table[np.arange(len(treatment)), treatment].sum())


def charged(totals: Totals, treatment: Codes, q: float) -> float:
    """Returns what a plan holds against the budget: expected spend and q standard deviations."""
    return quantity(totals.spend, treatment) + q * sqrt(max(quantity(totals.variance, treatment), 0.0))


def cheapest(totals: Totals, q: float) -> tuple[Codes, float]:
    """Returns the plan that is charged least, and its charge.

    The charge rises in spend and variance and is concave, so it is lowest at a corner of the lower-left hull of what plans
    can reach; those corners are the plans of all rates between the two.
    """
    found = steps(menu_of(totals, -totals.variance, totals.spend))
    rows = np.arange(len(found.start))
    spend, variance = (
        np.cumsum(np.append(table[rows, found.start].sum(), found.change(table)))
        for table in (totals.spend, totals.variance)
    )
    k = int(np.argmin(spend + q * np.sqrt(np.maximum(variance, 0))))
    plan = found.start.copy()
    plan[found.unit[:k]] = found.target[:k]
    return plan, charged(totals, plan, q)


def best(totals: Totals, limit: float, q: float) -> Found | None:
    """Returns the best plan that is charged at most the limit; None if even the cheapest is charged more.

    Args:
        totals: What treatments add.
        limit: The budget, in money.
        q: Standard deviations of the spend that count against the budget, >= 0.
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
        found, settled = _relaxed(totals, limit, q, part, value)
        if found is None:
            continue
        bound = min(found.bound, -part.minus_bound)
        excess = charged(totals, found.treatment, q) - limit if len(found.treatment) else 0.0
        if excess <= 0 and found.value > value:
            plan = found.treatment
        if settled and excess <= 0:
            closed = max(closed, bound)
            continue
        for piece in _cut(part, quantity(totals.variance, found.treatment), bound, excess):
            heapq.heappush(parts, piece)
    value = quantity(totals.value, plan)
    return Found(plan, value, max(value, closed, *(-part.minus_bound for part in parts)))


def _cut(part: _Part, at: float, bound: float, excess: float) -> list[_Part]:
    """Returns the two parts at a variance; where they would be too narrow, the part itself with a lower budget."""
    near = _NARROW * max(abs(part.high), 1e-300)
    if min(at - part.low, part.high - at) <= near:
        return [part._replace(minus_bound=-bound, slack=part.slack + 2 * excess)]
    return [_Part(-bound, part.low, at, part.slack), _Part(-bound, at, part.high, part.slack)]


def _climbed(totals: Totals, limit: float, q: float, plan: Codes) -> Codes:
    """Returns a good plan within the limit: best plans under tangents of the root, each at the variance of the last."""
    at = quantity(totals.variance, plan)
    if q == 0 or at == 0:  # the root has no tangent at 0: begin where the plan without it stands
        free = _linear(totals, Row(totals.spend, limit))
        at = at if free is None else quantity(totals.variance, free.treatment)
        if free is not None and charged(totals, free.treatment, q) <= limit:
            return np.asarray(free.treatment)
    for _ in range(_CLIMBS):
        root = sqrt(max(at, 1e-300))
        # √V <= √a + (V - a) / (2 √a)
        found = _linear(totals, Row(totals.spend + q / (2 * root) * totals.variance, limit - q * root / 2))
        if found is None:
            break
        better = quantity(totals.value, found.treatment) > quantity(totals.value, plan)
        if not better or charged(totals, found.treatment, q) > limit:
            break
        plan, at = found.treatment, quantity(totals.variance, found.treatment)
    return plan


def _relaxed(totals: Totals, limit: float, q: float, part: _Part, floor: float) -> tuple[Found | None, bool]:
    """Returns the best plan under the chord of the root over a part, None if none betters the floor, and whether it is exact.

    It is not where the chord is so far off that more is lost by it than by whole clusters: then the linear programme will do.
    Outside the part the chord lies above the root: such a plan is charged less than the row says, and is within the limit.
    """
    a, b = sqrt(max(part.low, 0.0)), sqrt(max(part.high, 0.0))
    slope = 0.0 if q == 0 else 1 / max(a + b, 1e-150)  # (√b - √a) / (b - a)
    row = Row(totals.spend + q * slope * totals.variance, limit - part.slack - q * (a - slope * part.low))
    linear = _linear(totals, row)
    if linear is None or linear.bound <= floor:
        return None, True
    at = quantity(totals.variance, linear.treatment)
    inside = min(at - part.low, part.high - at) > _NARROW * part.high
    off = linear.price * q * (sqrt(max(at, 0.0)) - a - slope * (at - part.low))
    if inside and off > _LOOSE * (linear.bound - floor):
        return Found(linear.treatment, linear.value, linear.bound), False
    found = better(
        totals.value, row.weight, totals.allowed, row.limit, linear.price, floor, _ROOM * CLOSED * totals.stake
    )
    if found is None:  # too many partial plans
        reduced = np.where(totals.allowed, totals.value - linear.price * row.weight, -inf)
        near = reduced.max(1, keepdims=True) - reduced <= linear.bound - floor
        return whole(totals._replace(allowed=totals.allowed & near), [row]), True
    if found.treatment is None:
        return Found(np.empty(0, np.int32), -inf, found.bound), True
    return Found(found.treatment, quantity(totals.value, found.treatment), found.bound), True


def menu_of(totals: Totals, value: Floats, cost: Floats) -> Menu:
    """Returns a menu of the clusters in which what is not allowed is worth less and costs more than all that is."""
    low = np.where(totals.allowed, value, inf).min(1, keepdims=True)
    high = np.where(totals.allowed, cost, 0.0).max(1, keepdims=True)
    worse, dearer = low - 1 - np.abs(low), 2 * high + 1
    return Menu(value=np.where(totals.allowed, value, worse), cost=np.where(totals.allowed, cost, dearer))


def _linear(totals: Totals, row: Row) -> Plan | None:
    """Returns a plan under one row with its Lagrangian bound; None if the row cannot be kept."""
    try:
        return solve(menu_of(totals, totals.value, row.weight), row.limit)
    except InfeasibleBudget:
        return None


def whole(totals: Totals, rows: list[Row], more: More | None = None) -> Found | None:
    """Returns the best plan under linear rows, by HiGHS, and its bound; None if no plan keeps them, an empty one if time ran out.

    Args:
        totals: What treatments add, and what is allowed.
        rows: Limits on sums of the plan.
        more: Further variables.
    """
    k, m = totals.value.shape
    cell = np.flatnonzero(totals.allowed)  # only these are variables
    owner, n = cell // m, 0 if more is None else len(more.lower)
    base = np.where(totals.allowed, totals.value, inf).min(1)
    gain = totals.value.ravel()[cell] - base[owner]
    scale = totals.stake / k  # HiGHS takes a difference of 1e-6 for none
    lower, price = (np.zeros(0), np.zeros(0)) if more is None else (more.lower, more.price)
    held = _limits(rows, more, cell, (k, m))
    with quiet():
        done = milp(
            np.concatenate([-gain, price]) / scale, integrality=np.repeat([1, 0], [len(cell), n]),
            bounds=Bounds(np.concatenate([np.zeros(len(cell)), lower]), np.repeat([1.0, inf], [len(cell), n])),
            constraints=held, options={"time_limit": _SECONDS, "mip_rel_gap": _GAP},
        )  # fmt: skip
    if done.status == _INFEASIBLE:
        return None
    bound = inf if done.mip_dual_bound is None else float(base.sum() - done.mip_dual_bound * scale)
    if done.x is None:  # out of time
        return Found(np.empty(0, np.int32), -inf, bound)
    plan = np.full(k, -1, np.int32)
    taken = done.x[: len(cell)] > 0.5
    plan[owner[taken]] = (cell % m)[taken]
    return Found(plan, quantity(totals.value, plan), bound)


def _limits(
    rows: list[Row], more: More | None, cell: NDArray[np.intp], shape: tuple[int, int]
) -> list[LinearConstraint]:
    """Returns the constraints on the cells that are variables and on what stands beside them: one treatment each, the rows."""
    (k, m), n = shape, 0 if more is None else len(more.lower)
    one = sparse.csr_matrix((np.ones(len(cell)), (cell // m, np.arange(len(cell)))), (k, len(cell) + n))
    held = [LinearConstraint(one, 1.0, 1.0)]
    for row in rows:
        flat = row.weight.ravel()[cell]
        size = float(np.abs(flat).max(initial=0.0)) or 1.0
        held.append(LinearConstraint(np.concatenate([flat, np.zeros(n)])[None] / size, -inf, row.limit / size))
    if more is not None:
        columns = np.concatenate([cell, k * m + np.arange(n)])
        held.append(LinearConstraint(more.matrix[:, columns], -inf, more.limits))
    return held
