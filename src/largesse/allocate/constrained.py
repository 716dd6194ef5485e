"""The plan under rules: a dual near its lowest point, then exact programmes over the few units it leaves open.

At good prices nearly every unit has one clear treatment. Those with the smallest margins are given to HiGHS, first as a
linear programme, then the fewest of them as whole units; all others keep what they have. The dual bounds what any plan
could be worth, so the gap is a certificate.
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
from largesse.allocate.dual import Answer, Dual, cheapest_cut, descend
from largesse.allocate.highs import quiet
from largesse.allocate.rules import Row, Rule, rows_of
from largesse.allocate.search import audited
from largesse.errors import InfeasibleRules
from largesse.menu import Bound, Menu, Plan, Status

__all__ = ["solve_under"]

Floats = NDArray[np.float64]
_OPEN = (2_000, 8_000, 32_000)  # units given to the linear programme; more where they do not suffice
_WHOLE = (60, 240, 1_000)  # of these, to the programme of whole units
_NEAR = 1e-6  # of the value at stake: how near the lowest dual the prices are
_TIGHT = 2e-6  # of the largest amount: how far within a limit, so that a solver's tolerance breaks none
_NODES = 500  # of a search for whole units: the same plan on every machine, however fast
_FEW_RULES = 12  # conflicting rules of which the needless are sought one by one


def solve_under(
    menu: Menu,
    rules: Sequence[Rule],
    *,
    eligible: NDArray[Any] | None = None,
    keep: NDArray[Any] | None = None,
) -> Plan:
    """Returns a plan of whole units that obeys every rule, with a certificate of how good it is.

    Its price is that of the first limit on the spend of everybody, its bound the Lagrangian dual; `rules` holds the use, the
    limit and the shadow price of every inequality.

    Args:
        menu: Value and cost of N units and M treatments.
        rules: `Spend`, `Count`, `Use` and `Return`, any number of each.
        eligible: What each unit may get, boolean (N, M); None: everything.
        keep: Treatment that a unit must get, codes (N,), -1 where it is open; it counts as eligible.

    Raises:
        InfeasibleRules: No plan obeys all of them, or none was found; the error names those that conflict, and says whether it
            is proven.
        DataError: A rule or a mask does not suit the menu, or a unit may get nothing.

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
    value = menu.value if allowed is None else np.where(allowed, menu.value, np.nan)
    stake = float(np.nansum(np.nanmax(value, axis=1).astype(np.float64) - np.nanmin(value, axis=1)))
    floor = float(np.nanmin(value, axis=1).sum(dtype=np.float64))
    dual = Dual(menu, rows, allowed)
    prices, best, below = descend(dual, floor, _NEAR * max(stake, 1e-300))
    found = None if below else _finished(dual, best)
    if found is None:
        raise _conflict(menu, rows, allowed)
    return _plan(menu, rows, prices, best, found)


def _allowed(menu: Menu, eligible: Any, keep: Any) -> NDArray[np.bool_] | None:
    if eligible is None and keep is None:
        return None
    shape = (menu.n, menu.n_treatments)
    allowed = np.ones(shape, np.bool_) if eligible is None else np.array(eligible)
    if allowed.shape != shape or allowed.dtype != np.bool_:
        raise _check.refuse(
            "eligible", f"{allowed.dtype} {allowed.shape}", f"must be a mask {shape}", "True: may get it."
        )
    if keep is not None:
        rule = f"must be -1 or a code in 0..{shape[1] - 1}"
        codes = _check.integers("keep", keep, low=-1, high=shape[1], rule=rule, remedy="Use the menu's treatments.")
        _check.lengths(menu=menu.value, keep=codes)
        fixed = np.flatnonzero(codes >= 0)
        allowed[fixed] = False
        allowed[fixed, codes[fixed]] = True
    none: NDArray[np.bool_] = np.logical_not(allowed.any(1))
    if none.any():
        raise _check.refuse_cells("eligible", none, none, "a unit may get nothing", "Leave it at least control.")
    return allowed


def _finished(dual: Dual, best: Answer) -> NDArray[np.int32] | None:
    """Returns a plan of whole units that obeys the rows; None if none was found."""
    order = np.argsort(best.margin, kind="stable")
    for size in _OPEN:
        some = np.sort(order[:size])
        relaxed = _programme(dual, best.treatment, some, whole=False)
        if relaxed is not None:
            apart = 1 - relaxed.max(1)  # units that the linear programme splits
            plan = best.treatment.copy()
            plan[some] = relaxed.argmax(1)
            near = some[np.lexsort((best.margin[some], -apart))]
            for few in _WHOLE:
                chosen = np.sort(near[: max(few, 2 * int((apart > 1e-9).sum()))])
                whole = _programme(dual, plan, chosen, whole=True)
                if whole is not None:
                    plan[chosen] = whole.argmax(1)
                    if all(row.used(dual.menu, plan) <= row.limit for row in dual.rows):
                        return plan
        if size >= len(order):
            break
    return None


def _programme(dual: Dual, plan: NDArray[np.int32], some: NDArray[np.intp], *, whole: bool) -> Floats | None:
    """Returns the best shares of treatments of some units, (n, M), all others as planned; None if the rows cannot be obeyed."""
    menu, m = dual.menu, dual.menu.n_treatments
    value = menu.value[some].astype(np.float64)
    top = np.ones(value.shape) if dual.allowed is None else dual.allowed[some].astype(np.float64)
    tables, limits = [], []
    for row in dual.rows:
        at = row.about(some)
        table = row.amounts(menu, some[at])
        size = float(np.abs(table).max(initial=0.0)) or 1.0
        now = row.sign * float(row.taken(menu, some[at], plan[some[at]]).sum())
        limits.append((row.limit - row.used(menu, plan) + now) / size - (_TIGHT if (table % 1).any() else 0.0))
        cells = (at[:, None] * m + np.arange(m)).ravel()
        tables.append(sparse.csr_matrix((table.ravel() / size, (np.zeros(len(cells), int), cells)), (1, value.size)))
    with quiet():
        done = milp(
            -value.ravel() / (float(np.ptp(value)) or 1.0), integrality=np.full(value.size, int(whole)),
            bounds=Bounds(0.0, top.ravel()), options={"node_limit": _NODES, "mip_rel_gap": 1e-6},
            constraints=[
                LinearConstraint(sparse.kron(sparse.eye(len(some)), np.ones((1, m)), format="csr"), 1.0, 1.0),
                LinearConstraint(sparse.vstack(tables, format="csr"), -np.inf, limits),
            ],
        )  # fmt: skip
    return None if done.x is None else np.asarray(done.x.reshape(value.shape))


def _conflict(menu: Menu, rows: list[Row], allowed: NDArray[np.bool_] | None) -> InfeasibleRules:
    """Returns the error that names the rows that conflict, as few as are found by leaving out one after another."""

    def lowest(held: list[Row]) -> tuple[float, Floats]:
        return cheapest_cut(Dual(menu, held, allowed, worth=0.0))

    least, prices = lowest(rows)
    if least >= 0:  # fractions of units would obey
        return InfeasibleRules(tuple(row.name for row in rows), proven=False)
    held = [row for row, price in zip(rows, prices, strict=True) if price > 1e-6 * prices.max()]
    held = held if lowest(held)[0] < 0 else rows
    for row in held if len(held) <= _FEW_RULES else ():
        less = [other for other in held if other is not row]
        if less and lowest(less)[0] < 0:
            held = less
    return InfeasibleRules(tuple(row.name for row in held))


def _plan(menu: Menu, rows: list[Row], prices: Floats, best: Answer, treatment: NDArray[np.int32]) -> Plan:
    spend, value, _ = audited(menu, treatment)
    budget = next((k for k, row in enumerate(rows) if row.spend == 1 and row.sign > 0 and row.codes is None), None)
    binding = prices > 1e-9 * max(float(prices.max(initial=0.0)), 1e-300)
    gap = max(0.0, best.bound - value)
    status = Status.OPTIMAL if gap <= 1e-12 * max(1.0, abs(best.bound)) else Status.WITHIN_GAP
    bounds = [
        Bound(
            row.name, row.sign * row.used(menu, treatment), row.sign * row.limit, float(price), bool(on), row.spend == 1
        )
        for row, price, on in zip(rows, prices, binding, strict=True)
    ]
    return Plan(
        treatment=treatment, price=0.0 if budget is None else float(prices[budget]), spend=spend, value=value,
        bound=max(best.bound, value), budget=inf if budget is None else rows[budget].limit, status=status,
        treatments=menu.treatments, unit=menu.unit, rules=tuple(bounds),
    )  # fmt: skip
