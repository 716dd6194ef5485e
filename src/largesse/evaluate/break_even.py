"""The budget up to which a campaign brings back what it costs, and the one at which it brings the most, with intervals."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from largesse import _check
from largesse._arguments import checked
from largesse.evaluate.comparison import Comparison
from largesse.evaluate.intervals import centred, ends
from largesse.evaluate.returns import ReturnRow, Sums

__all__ = ["BreakEven", "break_even"]

Floats = NDArray[np.float64]
_ROUNDING = 1e-9


class BreakEven(NamedTuple):
    """The budgets per unit at which a campaign stops paying, each with an interval.

    Attributes:
        budget: Up to it the campaign brings back what it costs; infinite where it does at every budget that can be spent, 0
            where it never does.
        low: Lower end of its interval: the largest budget that is shown to pay, infinite if that is the last one.
        high: Upper end: above it, the campaign is shown to lose; infinite where it is shown to lose at no budget.
        best: The budget with the highest net value, 0 where no budget has one above 0.
        best_low: The smallest budget whose net value is not shown to be lower than that.
        best_high: The largest such budget.
    """

    budget: float
    low: float
    high: float
    best: float
    best_low: float
    best_high: float


@checked
def break_even(comparison: Comparison, name: str, *, value_per_unit: float) -> BreakEven:
    """Returns the budget up to which a policy brings back what it costs, and the one at which it brings the most.

    Its interval ends above at the last budget whose interval of the net value reaches above 0, and below at the last one that
    is shown to pay when all budgets are counted together that may not: where nothing pays, the lower end lies above 0 in at
    most half of 1 - level of the trials. Between two budgets of the comparison, net value and ends are interpolated.

    Args:
        comparison: Result of `compare`, at budgets along the whole range that can be spent, rising; some 25 are enough.
        name: Policy or baseline.
        value_per_unit: What one unit of value brings in money, > 0.

    Raises:
        DataError: There is no such policy, the budgets do not rise, or the value of a unit is not a positive number.
    """
    unit_value = _check.number("value_per_unit", value_per_unit, low=1e-12)
    if len(comparison.budgets) < 2 or (np.diff(comparison.budgets) <= 0).any():
        raise _check.refuse("budgets", comparison.budgets.tolist(), "must be two or more that rise", "Sort them.")
    sums = Sums(comparison)
    rows = [sums.row(name, b, unit_value, ratios=False) for b in range(len(comparison.budgets))]
    rows = [row for row in rows if not np.isnan(row.net)]
    if not rows:
        return BreakEven(*[float("nan")] * 6)
    budget, net, high = np.array([[row.budget, row.net, row.net_high] for row in rows]).T
    low = sums.shown_above(rows, unit_value)
    loses = _last(budget, high)
    point = min(_last(budget, net), loses)
    return BreakEven(point, min(_last(budget, low), point), loses, *_best(sums, rows, unit_value))


def _last(budget: Floats, curve: Floats) -> float:
    """Returns the largest budget at which a curve is above 0, interpolated: infinite if that is the last one, 0 if none is."""
    above = np.flatnonzero(curve > _ROUNDING * np.abs(curve).max())
    if not len(above):
        return 0.0
    k = int(above[-1])
    if k == len(curve) - 1:
        return float("inf")
    part = curve[k] / (curve[k] - curve[k + 1])
    return float(budget[k] + part * (budget[k + 1] - budget[k]))


def _best(sums: Sums, rows: list[ReturnRow], unit_value: float) -> tuple[float, float, float]:
    """Returns the budget with the highest net value, and the ends of the run of budgets around it not shown to have less."""
    top = max(range(len(rows)), key=lambda k: rows[k].net)
    if rows[top].net <= 0:
        return 0.0, 0.0, 0.0
    own, left = sums.net_terms(rows[top], unit_value)

    def alike(row: ReturnRow) -> bool:
        other, its_left = sums.net_terms(row, unit_value)
        gap = np.array([rows[top].net - row.net])
        return bool(
            ends(gap, centred(sums.logs, (own - other)[:, None]), sums.comparison.level, left + its_left)[0, 0] <= 0
        )

    first, last = top, top
    while first > 0 and alike(rows[first - 1]):
        first -= 1
    while last + 1 < len(rows) and alike(rows[last + 1]):
        last += 1
    return rows[top].budget, rows[first].budget, rows[last].budget
