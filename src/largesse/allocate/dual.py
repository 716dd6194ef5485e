"""The Lagrangian dual of a plan under rules: every rule has a price, every unit takes its best treatment at those prices.

    g(μ) = Σ_i max_j [ value_ij - Σ_k μ_k amount_k,ij ] + Σ_k μ_k limit_k,   μ >= 0

g is convex and bounds every plan from above; its subgradient is what is left of each limit. It is a sum over units, so that
it hardly bends from one price to the next: quasi-Newton steps come near, cutting planes finish.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog, minimize

from largesse.allocate.rules import Row
from largesse.menu import Menu

__all__ = ["Answer", "Dual", "cheapest_cut", "descend"]

Floats = NDArray[np.float64]
_CHUNK = 1 << 16
_STEPS, _CUTS, _KEPT = 60, 80, 200


class Answer(NamedTuple):
    """The dual at some prices.

    Attributes:
        bound: g(μ).
        left: What is left of each limit: the subgradient, (K,).
        treatment: What each unit takes, (N,).
        margin: By how much that beats the unit's next best, (N,).
    """

    bound: float
    left: Floats
    treatment: NDArray[np.int32]
    margin: Floats


class Dual:
    """g of a menu and its rows.

    Args:
        menu: Value and cost of N units.
        rows: The inequalities, K.
        allowed: What each unit may get, (N, M); None: everything.
        worth: 1, or 0 to ask only whether any plan obeys the rows.
    """

    def __init__(self, menu: Menu, rows: Sequence[Row], allowed: NDArray[np.bool_] | None, worth: float = 1.0) -> None:
        self.menu, self.rows, self.allowed, self.worth = menu, rows, allowed, worth
        self.limits = np.array([row.limit for row in rows])
        firsts = [
            k for k, row in enumerate(rows) if k == 0 or (row.rule, row.sign) != (rows[k - 1].rule, rows[k - 1].sign)
        ]
        self.families = [slice(a, b) for a, b in pairwise([*firsts, len(rows)])]  # rows that differ by their group only

    def __call__(self, prices: Floats) -> Answer:
        """Returns the dual at prices (K,)."""
        menu, taken = self.menu, np.empty(self.menu.n, np.int32)
        margin, best = np.empty(menu.n), np.empty(menu.n)
        used = np.zeros(len(self.rows))
        for a in range(0, menu.n, _CHUNK):
            part = slice(a, min(a + _CHUNK, menu.n))
            score = self._scores(prices, part)
            each = np.arange(score.shape[1])
            taken[part] = score.argmax(0)
            best[part] = score[taken[part], each]
            score[taken[part], each] = -np.inf
            margin[part] = best[part] - score.max(0)
            used += self._used(taken[part], part)
        left = self.limits - used
        return Answer(float(best.sum() + prices @ self.limits), left, taken, margin)

    def _scores(self, prices: Floats, part: slice) -> Floats:
        """Value less what it costs at the prices, (M, n); -inf where it is not allowed."""
        value, cost = self.menu.value[part].T, self.menu.cost[part].T
        of_cost, of_value = (np.zeros(value.shape[1]) for _ in range(2))
        of_value += self.worth
        beside = np.zeros(value.shape)
        for family in self.families:
            row, own = self.rows[family.start], prices[family]
            if not own.any():
                continue
            weight = row.sign * (own[0] if row.codes is None else np.append(own, 0.0)[row.codes[part]])
            of_cost += row.spend * weight
            of_value -= row.value * weight
            if row.table is not None:
                beside += weight * (row.table if len(row.table) == 1 else row.table[part]).T
        score = of_value * value - of_cost * cost - beside
        if self.allowed is not None:
            score[~self.allowed[part].T] = -np.inf
        return np.asarray(score)

    def _used(self, taken: NDArray[np.int32], part: slice) -> Floats:
        rows, found = np.arange(part.start, part.stop), np.empty(len(self.rows))
        for family in self.families:
            row = self.rows[family.start]
            each = row.sign * row.taken(self.menu, rows, taken)
            size = family.stop - family.start
            found[family] = each.sum() if row.codes is None else np.bincount(row.codes[part] + 1, each, size + 1)[1:]
        return found


def descend(dual: Dual, floor: float, tolerance: float) -> tuple[Floats, Answer, bool]:
    """Returns prices near the lowest dual, the dual there, and whether it fell below what every plan is worth.

    Args:
        dual: The dual.
        floor: Every plan that obeys the rules is worth at least this: a lower dual means that there is none.
        tolerance: How near the lowest dual is near enough, in units of value.
    """
    scale, seen = _scales(dual), _Seen()

    def ask(x: Floats) -> tuple[float, Floats]:
        found = dual(x * scale)
        seen.add(x, found, found.left * scale)
        if found.bound < floor - tolerance:
            raise StopIteration
        return found.bound, found.left * scale

    try:
        minimize(
            ask, np.zeros(len(scale)), jac=True, method="L-BFGS-B", bounds=[(0, None)] * len(scale),
            options={"maxfun": _STEPS, "ftol": 1e-12},
        )  # fmt: skip
        _cut(ask, seen, tolerance)
    except StopIteration:
        return seen.x * scale, seen.best, True
    return seen.x * scale, seen.best, False


class _Seen:
    """The cuts met so far, and the lowest answer: the only one whose units are kept."""

    best: Answer
    x: Floats

    def __init__(self) -> None:
        self.heights: list[float] = []
        self.slopes: list[Floats] = []

    def add(self, x: Floats, found: Answer, slope: Floats) -> None:
        if not self.heights or found.bound < self.best.bound:
            self.best, self.x = found, x.copy()
        self.heights.append(found.bound - float(slope @ x))
        self.slopes.append(slope)


def _scales(dual: Dual) -> Floats:
    """Returns prices at which each row weighs as much as the values do."""
    menu = dual.menu
    rows = np.linspace(0, menu.n - 1, min(menu.n, 20_000)).astype(np.intp)
    worth = float(np.ptp(menu.value[rows], axis=1).sum()) or 1.0
    sizes = np.array([np.ptp(row.amounts(menu, rows[row.about(rows)]), axis=1).sum() for row in dual.rows])
    return np.asarray(worth / np.where(sizes > 0, sizes, worth))


def _cut(ask: Callable[[Floats], tuple[float, Floats]], seen: _Seen, tolerance: float) -> None:
    """Cutting planes in a box around the best prices so far, which grows where it helps and shrinks where not."""
    reach = 0.1 * max(1.0, float(np.abs(seen.x).max()))
    for _ in range(_CUTS):
        x, bound = seen.x, seen.best.bound
        slopes, heights = np.array(seen.slopes[-_KEPT:]), np.array(seen.heights[-_KEPT:])
        low, high = np.maximum(0.0, x - reach), x + reach
        done = linprog(
            np.append(np.zeros(len(x)), 1.0), A_ub=np.column_stack([slopes, -np.ones(len(slopes))]), b_ub=-heights,
            bounds=[*zip(low, high, strict=True), (None, None)], method="highs",
        )  # fmt: skip
        if not done.success or bound - done.fun <= tolerance:
            return
        found, _ = ask(done.x[:-1])
        if found < bound - 0.1 * (bound - done.fun):
            reach *= 1.5 if (np.abs(done.x[:-1] - x) >= 0.99 * reach).any() else 1.0
        else:
            reach *= 0.5


def cheapest_cut(dual: Dual) -> tuple[float, Floats]:
    """Returns min of g over prices that sum to 1 in the rows' own sizes, by cutting planes, and those prices.

    With `worth` 0 a negative minimum proves that no plan, not even of fractions, obeys the rows; the prices that are not 0 name
    those that conflict (Farkas).
    """
    scale = _scales(dual)
    x = np.full(len(scale), 1 / len(scale))
    cuts: list[tuple[Floats, float]] = []
    lowest, at = np.inf, x
    for _ in range(_CUTS):
        found = dual(x * scale)
        slope = found.left * scale
        cuts.append((slope, found.bound - float(slope @ x)))
        if found.bound < lowest:
            lowest, at = found.bound, x
        slopes, heights = (np.array(each) for each in zip(*cuts, strict=True))
        done = linprog(
            np.append(np.zeros(len(x)), 1.0), A_ub=np.column_stack([slopes, -np.ones(len(cuts))]), b_ub=-heights,
            A_eq=[[1.0] * len(x) + [0.0]], b_eq=[1.0], bounds=[*[(0, None)] * len(x), (None, None)], method="highs",
        )  # fmt: skip
        if (
            not done.success
            or lowest - done.fun <= 1e-9 * max(1.0, abs(lowest))
            or lowest < 0 <= 1e-3 * abs(done.fun) + lowest
        ):
            break
        x = done.x[:-1]
    return lowest, at
