"""The plan under rules: shadow prices near the minimum of the dual, then exact programmes over the few units they leave open.

At good prices nearly every unit has one clearly best treatment. The units with the smallest margins go to HiGHS, first as a
linear programme, then a few of them as an integer programme; all others keep their treatment. The dual bounds the value of
every plan, so the gap is a certificate.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp

from largesse import _check
from largesse._arguments import checked
from largesse.allocate.dual import Answer, Dual, cheapest_cut, descend
from largesse.allocate.highs import quiet
from largesse.allocate.rules import Row, Rule, rows_of
from largesse.allocate.search import audited
from largesse.errors import InfeasibleRules
from largesse.menu import Bound, Menu, Plan, Status

__all__ = ["solve_under"]

Floats = NDArray[np.float64]
# Units in the linear programme, and pairs of unit and treatment beside the best of each; the next if these do not suffice.
_OPEN = ((2_000, 10_000), (8_000, 40_000), (32_000, 1 << 62))
_INTEGER = (60, 240, 1_000)  # of these, units in the integer programme
_NEAR = 1e-6  # tolerance of the minimum of the dual, relative to the range of the value
_TIGHT = 2e-6  # margin to each limit, relative to the largest amount: the solver's tolerance must not break a rule
_NODES = 500  # limit of the integer search: a time limit would give other plans on other machines
_CHUNK = 1 << 16
_FEW_RULES = 12  # up to so many conflicting rules, those not needed for the conflict are left out one by one


@checked
def solve_under(
    menu: Menu, rules: Sequence[Rule], *, eligible: NDArray[Any] | None = None, keep: NDArray[Any] | None = None,
    n_threads: int = 1,
) -> Plan:  # fmt: skip
    """Returns a plan, one treatment per unit, that obeys every rule, with an upper bound on the value of any other.

    Its price is the shadow price of the first upper bound on the spend of all units, its bound the Lagrangian dual; its `rules`
    give the use, the limit and the shadow price of every inequality.

    Args:
        menu: Value and cost of N units and M treatments.
        rules: `Spend`, `Count`, `Use` and `Return`, any number of each.
        eligible: The treatments that each unit may get, boolean (N, M); None: all.
        keep: Treatment that a unit must get, codes (N,), -1 where it is open; it counts as eligible.
        n_threads: Threads; the plan is the same for any number.

    Raises:
        InfeasibleRules: No plan obeys all rules (`proven`), or the search ended without one; the error names those that conflict.
        DataError: A rule or a mask does not suit the menu, or a unit has no eligible treatment.

    Reference:
        Fisher 1981 (Lagrangian relaxation); Kelley 1960 (cutting planes).

    >>> from largesse.allocate import Count, Spend
    >>> menu = Menu(value=[[0.0, 3.0], [0.0, 1.0], [0.0, 2.0]], cost=[[0.0, 1.0]] * 3, treatments=("none", "coupon"))
    >>> plan = solve_under(menu, [Spend(at_most=3.0), Count(treatment="coupon", at_most=2)])
    >>> plan.treatment.tolist(), [bound.binds for bound in plan.rules]
    ([1, 0, 1], [False, True])
    """
    rows = rows_of(rules, menu)
    if not rows:
        raise _check.refuse("rules", list(rules), "there is nothing to obey", "Give a budget: Spend(at_most=...).")
    allowed = _allowed(menu, eligible, keep)
    least, most = _ends(menu, allowed)
    stake, floor = float((most - least).sum()), float(least.sum())
    dual = Dual(menu, rows, allowed, n_threads=_check.threads(n_threads))
    prices, best, below = descend(dual, floor, _NEAR * max(stake, 1e-300))
    treatment = None if below else _rounded(dual, prices, best, _TIGHT)
    if treatment is None and not below:  # a plan may use a limit to the last bit, e.g. that of doing nothing
        treatment = _rounded(dual, prices, best, 0.0)
    if treatment is None:
        raise _conflict(menu, rows, allowed)
    return _plan(menu, rows, prices, best, treatment)


def obeyed(
    menu: Menu, rules: Sequence[Rule], treatment: NDArray[np.int32], *, eligible: Any = None, keep: Any = None
) -> tuple[Bound, ...] | None:
    """Returns the use of every rule by an allocation that was made without them, or None where it breaks one.

    Args:
        menu: Value and cost of N units.
        rules: The rules; () for none.
        treatment: Treatment of each unit, (N,).
        eligible: As for `solve_under`.
        keep: As for `solve_under`.
    """
    rows, allowed = rows_of(rules, menu), _allowed(menu, eligible, keep)
    if allowed is not None and not allowed[np.arange(menu.n), treatment].all():
        return None
    if any(row.used(menu, treatment) > row.limit for row in rows):
        return None
    return tuple(_bound(menu, row, treatment, 0.0, False) for row in rows)


def _bound(menu: Menu, row: Row, treatment: NDArray[np.int32], price: float, binds: bool) -> Bound:
    used, limit = row.sign * row.used(menu, treatment), row.sign * row.limit
    return Bound(row.name, used, limit, price, binds, row.cost_weight == 1)


def _ends(menu: Menu, allowed: NDArray[np.bool_] | None) -> tuple[Floats, Floats]:
    """Returns the lowest and the highest value of the treatments that each unit may get, (N,) each."""
    least, most = np.empty(menu.n), np.empty(menu.n)
    for start in range(0, menu.n, _CHUNK):  # one table of all units at a time would be as large as the menu
        part = slice(start, start + _CHUNK)
        value, may = menu.value[part], True if allowed is None else allowed[part]
        least[part], most[part] = (np.where(may, value, np.inf).min(1), np.where(may, value, -np.inf).max(1))
    return least, most


def _allowed(menu: Menu, eligible: Any, keep: Any) -> NDArray[np.bool_] | None:
    """Returns the treatments that each unit may get, (N, M); None: all."""
    if eligible is None and keep is None:
        return None
    shape = (menu.n, menu.n_treatments)
    allowed = np.ones(shape, np.bool_) if eligible is None else np.array(eligible)
    if allowed.shape != shape or allowed.dtype != np.bool_:
        got = f"{allowed.dtype} {allowed.shape}"
        raise _check.refuse("eligible", got, f"must be a mask {shape}", "True: may get it.")
    if keep is not None:
        rule = f"must be -1 or a code in 0..{shape[1] - 1}"
        codes = _check.integers("keep", keep, low=-1, high=shape[1], rule=rule, remedy="Use the menu's treatments.")
        _check.lengths(menu=menu.value, keep=codes)
        fixed = np.flatnonzero(codes >= 0)
        allowed[fixed] = False
        allowed[fixed, codes[fixed]] = True
    none: NDArray[np.bool_] = np.logical_not(allowed.any(1))
    if none.any():
        raise _check.refuse_cells("eligible", none, none, "a unit has no eligible treatment", "Allow at least control.")
    return allowed


def _rounded(dual: Dual, prices: Floats, best: Answer, margin: float) -> NDArray[np.int32] | None:
    """Returns an integer plan (N,) that obeys the rows; None if the search ends without one.

    Args:
        dual: The dual.
        prices: The prices at its minimum.
        best: The dual there.
        margin: Distance of the programmes' solutions from each limit, relative to the largest amount.
    """
    for size, more in _OPEN:
        some = np.sort(_smallest(best.margin, size))
        near = _near_best(dual, prices, some, more)
        relaxed = _programme(dual, best.treatment, some, near, margin, integer=False)
        if relaxed is None:
            continue
        split = 1 - relaxed.max(1)  # share of a unit outside its main treatment in the linear programme
        plan = best.treatment.copy()
        plan[some] = relaxed.argmax(1)
        first = np.lexsort((best.margin[some], -split))
        for few in _INTEGER:
            chosen = np.sort(first[: max(few, 2 * int((split > 1e-9).sum()))])
            shares = _programme(dual, plan, some[chosen], near[chosen], margin, integer=True)
            if shares is not None:
                plan[some[chosen]] = shares.argmax(1)
                if all(row.used(dual.menu, plan) <= row.limit for row in dual.rows):
                    return plan
        if size >= len(best.margin) and near.all():
            break
    return None


def _smallest(margin: Floats, size: int) -> NDArray[np.intp]:
    """Returns the positions of the smallest margins, rising; of equal ones the first."""
    if size >= len(margin):
        return np.argsort(margin, kind="stable")
    some = np.flatnonzero(margin <= np.partition(margin, size)[size])
    return some[np.argsort(margin[some], kind="stable")[:size]]


def _near_best(dual: Dual, prices: Floats, some: NDArray[np.intp], more: int) -> NDArray[np.bool_]:
    """Returns the treatments worth a look for some units, (n, M): the best at the prices, and the `more` that lose least.

    With many treatments nearly all of them are far from the best for every unit, and a programme over them all takes minutes.
    """
    net = dual.scores(prices, some).T
    loss = net.max(1, keepdims=True) - net
    if loss.size <= more:
        return np.ones(loss.shape, np.bool_)
    return np.asarray(loss <= np.partition(loss.ravel(), min(len(some) + more, loss.size - 1))[len(some) + more])


def _programme(
    dual: Dual,
    plan: NDArray[np.int32],
    some: NDArray[np.intp],
    near: NDArray[np.bool_],
    margin: float,
    *,
    integer: bool,
) -> Floats | None:
    """Returns the best shares of the treatments `near` (n, M) of some units, (n, M), all other units as planned.

    None if the rows cannot be obeyed.
    """
    menu, m = dual.menu, dual.menu.n_treatments
    value = menu.value[some].astype(np.float64)
    open_ = np.flatnonzero(near if dual.allowed is None else near & dual.allowed[some])
    tables, limits = [], []
    for row in dual.rows:
        at = row.covered(some)
        table = row.amounts(menu, some[at])
        size = float(np.abs(table).max(initial=0.0)) or 1.0
        now = row.sign * float(row.taken(menu, some[at], plan[some[at]]).sum())
        limits.append((row.limit - row.used(menu, plan) + now) / size - (margin if (table % 1).any() else 0.0))
        cells = (at[:, None] * m + np.arange(m)).ravel()
        tables.append(
            sparse.csr_matrix((table.ravel() / size, (np.zeros(len(cells), int), cells)), (1, value.size))[:, open_]
        )
    with quiet():
        done = milp(
            -value.ravel()[open_] / (float(np.ptp(value)) or 1.0), integrality=np.full(len(open_), int(integer)),
            bounds=Bounds(0.0, 1.0), options={"node_limit": _NODES, "mip_rel_gap": 1e-6},
            constraints=[
                LinearConstraint(sparse.csr_matrix((np.ones(len(open_)), (open_ // m, np.arange(len(open_))))), 1.0, 1.0),
                LinearConstraint(sparse.vstack(tables, format="csr"), -np.inf, limits),
            ],
        )  # fmt: skip
    if done.x is None:
        return None
    shares = np.zeros(value.size)
    shares[open_] = done.x
    return shares.reshape(value.shape)


def _conflict(menu: Menu, rows: list[Row], allowed: NDArray[np.bool_] | None) -> InfeasibleRules:
    """Returns the error that names the rows that conflict, without those that the conflict does not need."""

    def lowest(some: list[Row]) -> tuple[float, Floats]:
        return cheapest_cut(Dual(menu, some, allowed, value_weight=0.0))

    least, prices = lowest(rows)
    if least >= 0:  # a fractional plan obeys the rows
        return InfeasibleRules(tuple(row.name for row in rows), proven=False)
    conflict = [row for row, price in zip(rows, prices, strict=True) if price > 1e-6 * prices.max()]
    conflict = conflict if lowest(conflict)[0] < 0 else rows
    for row in conflict if len(conflict) <= _FEW_RULES else ():
        others = [other for other in conflict if other is not row]
        if others and lowest(others)[0] < 0:
            conflict = others
    return InfeasibleRules(tuple(row.name for row in conflict))


def _plan(menu: Menu, rows: list[Row], prices: Floats, best: Answer, treatment: NDArray[np.int32]) -> Plan:
    spend, value, _ = audited(menu, treatment)
    budget = next(
        (k for k, row in enumerate(rows) if row.cost_weight == 1 and row.sign > 0 and row.codes is None), None
    )
    binding = prices > 1e-9 * max(float(prices.max(initial=0.0)), 1e-300)
    gap = max(0.0, best.bound - value)
    status = Status.OPTIMAL if gap <= 1e-12 * max(1.0, abs(best.bound)) else Status.WITHIN_GAP
    bounds = [
        _bound(menu, row, treatment, float(price), bool(binds))
        for row, price, binds in zip(rows, prices, binding, strict=True)
    ]
    return Plan(
        treatment=treatment, price=0.0 if budget is None else float(prices[budget]), spend=spend, value=value,
        bound=max(best.bound, value), budget=inf if budget is None else rows[budget].limit, status=status,
        treatments=menu.treatments, unit=menu.unit, rules=tuple(bounds),
    )  # fmt: skip
