"""The Lagrangian dual of a plan under rules: every rule has a shadow price, every unit takes its best treatment at those prices.

    g(μ) = Σ_i max_j [ value_ij - Σ_k μ_k amount_k,ij ] + Σ_k μ_k limit_k,   μ >= 0

g is convex and bounds the value of every plan from above; its subgradient is the slack of each limit. As a sum over many
units it is nearly smooth: quasi-Newton steps come close to its minimum, cutting planes finish.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog, minimize

from largesse.allocate.dual_kernels import best_two, cells_of
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
        slack: Unused part of each limit, the subgradient, (K,).
        treatment: Best treatment of each unit, (N,).
        margin: Difference between the net values of each unit's best and second-best treatment, (N,).
    """

    bound: float
    slack: Floats
    treatment: NDArray[np.int32]
    margin: Floats


class Dual:
    """The function g of a menu and its rows.

    Args:
        menu: Value and cost of N units.
        rows: The inequalities, K.
        allowed: The treatments that each unit may get, (N, M); None: all.
        value_weight: Weight of the value in g: 1, or 0 to examine only whether any plan obeys the rows.
        n_threads: Threads; the answer is the same for any number.
    """

    def __init__(
        self, menu: Menu, rows: Sequence[Row], allowed: NDArray[np.bool_] | None, value_weight: float = 1.0,
        n_threads: int = 1,
    ) -> None:  # fmt: skip
        self.n_threads = n_threads
        self.menu, self.rows, self.allowed, self.value_weight = menu, rows, allowed, value_weight
        self.limits = np.array([row.limit for row in rows])
        keys = [(row.rule, row.sign) for row in rows]
        firsts = [k for k in range(len(rows)) if k == 0 or keys[k] != keys[k - 1]]
        self.families = [slice(a, b) for a, b in pairwise([*firsts, len(rows)])]  # rows that differ only in their group
        self.groups = np.array([row.group for row in rows])
        tops = [
            int(row.codes.max(initial=-1)) if row.codes is not None else 0
            for row in (rows[f.start] for f in self.families)
        ]
        self.sizes = [1 + max(top, *self.groups[family]) for top, family in zip(tops, self.families, strict=True)]

    def __call__(self, prices: Floats) -> Answer:
        """Returns the dual at prices (K,)."""
        n = self.menu.n
        treatment, margin, best, used = np.empty(n, np.int32), np.empty(n), np.empty(n), np.zeros(len(self.rows))

        def decided(part: slice) -> Floats:
            best_two(
                self.menu.value.T[:, part], self.menu.cost.T[:, part], *self._terms(prices, part), self._may(part),
                treatment[part], best[part], margin[part],
            )  # fmt: skip
            return self._used(treatment[part], part)

        parts = [slice(a, min(a + _CHUNK, n)) for a in range(0, n, _CHUNK)]
        if min(self.n_threads, len(parts)) > 1:
            with ThreadPoolExecutor(self.n_threads) as pool:
                sums = list(pool.map(decided, parts))
        else:
            sums = [decided(part) for part in parts]
        for one in sums:  # in the order of the units, whichever thread was first
            used += one
        return Answer(float(best.sum() + prices @ self.limits), self.limits - used, treatment, margin)

    def scores(self, prices: Floats, part: slice | NDArray[np.intp]) -> Floats:
        """Returns the net value at the prices, (M, n); -inf where a treatment is not allowed."""
        (of_value, of_cost), of_tables = self._terms(prices, part)
        score = of_value * self.menu.value[part].T - of_cost * self.menu.cost[part].T
        if of_tables.size:
            score -= of_tables
        if self.allowed is not None:
            score[~self.allowed[part].T] = -np.inf
        return np.asarray(score)

    def _may(self, part: slice) -> NDArray[np.bool_]:
        """Returns the treatments that some units may get, (M, n), or (M, 0) for all."""
        return np.empty((self.menu.n_treatments, 0), np.bool_) if self.allowed is None else self.allowed[part].T

    def _terms(self, prices: Floats, part: slice | NDArray[np.intp]) -> tuple[tuple[Floats, Floats], Floats]:
        """Returns the weights of value and cost in the net value, (n,) each, and what is subtracted, (M, n), or (M, 0)."""
        n, m = len(self.menu.value[part]), self.menu.n_treatments
        of_cost, of_value, of_tables = np.zeros(n), np.full(n, self.value_weight), np.zeros((m, 0))
        for family, size in zip(self.families, self.sizes, strict=True):
            row, own = self.rows[family.start], np.zeros(size + 1)  # the last is of the units in no group, -1
            own[self.groups[family]] = prices[family]
            if not own.any():
                continue
            weight = row.sign * (np.full(n, own[0]) if row.codes is None else own[row.codes[part]])
            of_cost += row.cost_weight * weight
            of_value -= row.value_weight * weight
            if row.table is not None:
                more = weight * (row.table if len(row.table) == 1 else row.table[part]).T
                of_tables = of_tables + more if of_tables.size else more
        return (of_value, of_cost), of_tables

    def _used(self, treatment: NDArray[np.int32], part: slice) -> Floats:
        """Returns sign · Σ amount of each row over some units, (K,)."""
        rows, used = np.arange(part.start, part.stop), np.empty(len(self.rows))
        costs = cells_of(self.menu.cost.T, treatment, rows) if any(row.cost_weight for row in self.rows) else None
        for family, size in zip(self.families, self.sizes, strict=True):
            row = self.rows[family.start]
            each = row.sign * row.taken(self.menu, rows, treatment, costs)
            sums = each.sum()[None] if row.codes is None else np.bincount(row.codes[part] + 1, each, size + 1)[1:]
            used[family] = sums[self.groups[family]]
        return used


def descend(dual: Dual, floor: float, tolerance: float) -> tuple[Floats, Answer, bool]:
    """Returns prices near the minimum of the dual, the dual there, and whether it is below the value of every plan.

    Args:
        dual: The dual.
        floor: Lower bound on the value of any plan that obeys the rules; a lower dual proves that there is none.
        tolerance: Distance from the minimum at which to stop, in units of value.
    """
    scale, cuts = _scales(dual), _Cuts()

    def evaluated(x: Floats) -> tuple[float, Floats]:
        answer = dual(x * scale)
        slope = cuts.add(x, answer, scale)
        if answer.bound < floor - tolerance:
            raise StopIteration
        return answer.bound, slope

    below = False
    try:
        minimize(
            evaluated, np.zeros(len(scale)), jac=True, method="L-BFGS-B", bounds=[(0, None)] * len(scale),
            options={"maxfun": _STEPS, "ftol": 1e-12},
        )  # fmt: skip
        _cut(evaluated, cuts, tolerance)
    except StopIteration:
        below = True
    return cuts.x * scale, cuts.best, below


class _Cuts:
    """The cutting planes so far, and the lowest answer with its x, the only one whose units are kept."""

    best: Answer
    x: Floats

    def __init__(self) -> None:
        self.heights: list[float] = []
        self.slopes: list[Floats] = []

    def add(self, x: Floats, answer: Answer, scale: Floats) -> Floats:
        """Adds the plane at prices x · scale and returns its slope in x."""
        slope = answer.slack * scale
        if not self.heights or answer.bound < self.best.bound:
            self.best, self.x = answer, x.copy()
        self.heights.append(answer.bound - float(slope @ x))
        self.slopes.append(slope)
        return slope

    def minimum(self, bounds: Iterable[tuple[float, float | None]], **equality: Any) -> Any:
        """Returns SciPy's minimum over x within bounds of the highest plane at x; t, the last variable, is its height."""
        slopes, heights = np.array(self.slopes[-_KEPT:]), np.array(self.heights[-_KEPT:])
        return linprog(
            np.append(np.zeros(slopes.shape[1]), 1.0), A_ub=np.column_stack([slopes, -np.ones(len(slopes))]),
            b_ub=-heights, bounds=[*bounds, (None, None)], method="highs", **equality,
        )  # fmt: skip


def _scales(dual: Dual) -> Floats:
    """Returns the prices at which the amounts of each row vary as much as the values do, (K,)."""
    menu = dual.menu
    rows = np.linspace(0, menu.n - 1, min(menu.n, 20_000)).astype(np.intp)
    value = float(np.ptp(menu.value[rows], axis=1).sum()) or 1.0
    sizes = np.array([np.ptp(row.amounts(menu, rows[row.covered(rows)]), axis=1).sum() for row in dual.rows])
    return np.asarray(value / np.where(sizes > 0, sizes, value))


def _cut(evaluated: Callable[[Floats], tuple[float, Floats]], cuts: _Cuts, tolerance: float) -> None:
    """Adds cutting planes in a box around the best prices, which grows after a good step and shrinks after a poor one."""
    reach = 0.1 * max(1.0, float(np.abs(cuts.x).max()))
    for _ in range(_CUTS):
        x, bound = cuts.x, cuts.best.bound
        done = cuts.minimum(zip(np.maximum(0.0, x - reach), x + reach, strict=True))
        if not done.success or bound - done.fun <= tolerance:
            return
        reached, _ = evaluated(done.x[:-1])
        if reached < bound - 0.1 * (bound - done.fun):
            reach *= 1.5 if (np.abs(done.x[:-1] - x) >= 0.99 * reach).any() else 1.0
        else:
            reach *= 0.5


def cheapest_cut(dual: Dual) -> tuple[float, Floats]:
    """Returns min g over prices x · scale with Σ x = 1, by cutting planes, and x, (K,); the scale makes rows comparable.

    With `value_weight` 0 a negative minimum proves that no plan obeys the rows, not even a fractional one; the rows with
    positive x are those that conflict (Farkas).
    """
    scale, cuts = _scales(dual), _Cuts()
    k = len(scale)
    x = np.full(k, 1 / k)
    for _ in range(_CUTS):
        cuts.add(x, dual(x * scale), scale)
        lowest = cuts.best.bound
        done = cuts.minimum([(0.0, None)] * k, A_eq=[[1.0] * k + [0.0]], b_eq=[1.0])
        if not done.success or lowest - done.fun <= 1e-9 * max(1.0, abs(lowest)):
            break
        if lowest < 0 <= 1e-3 * abs(done.fun) + lowest:
            break
        x = done.x[:-1]
    return cuts.best.bound, cuts.x
