"""Does it pay? What a policy brings and costs beyond doing nothing, and what is left when its value is counted in money.

For a policy at a budget, with V its value and C its spend per unit, and V₀, C₀ those of control for everyone:

    incremental value ΔV = V - V₀,   incremental spend ΔC = C - C₀,   net value = m ΔV - ΔC,   return on spend = m ΔV / ΔC,

where m is what one unit of value brings in money (`value_per_unit`). Without m, ΔV / ΔC is in units of value per unit of
money, and ΔC / ΔV is what one unit of value costs: the campaign pays if a unit brings more than that.

All intervals are paired: the same rows carry V and V₀. A ratio has Fieller's interval.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from largesse import _check
from largesse._arguments import checked
from largesse.evaluate.comparison import BEST_MIX, NO_ONE, RANDOM_MIX, Comparison
from largesse.evaluate.intervals import centred, effective_events, ends, ratio_ends
from largesse.evaluate.untargeted import CLOSE_DIFFERENCE, BestMix
from largesse.result import Tabular, columns_of, plain

__all__ = ["BreakEven", "PayVerdict", "ReturnRow", "Returns", "break_even", "returns", "verdicts"]

Floats = NDArray[np.float64]
_ROUNDING = 1e-9
_JOINT = 40_000  # draws of the normal distribution, always the same


class PayVerdict(StrEnum):
    """Whether a budget pays, by the intervals of the net value of the policy and of the best untargeted policy."""

    TARGETED = "spend this, targeted"
    UNTARGETED = "spend this, untargeted"
    NOT_SHOWN = "not shown to pay"
    LOSES = "shown not to pay"
    OUT_OF_REACH = "out of reach"

    @property
    def spends(self) -> bool:
        """Whether the verdict is to spend the budget."""
        return self in (PayVerdict.TARGETED, PayVerdict.UNTARGETED)


class ReturnRow(NamedTuple):
    """One policy at one budget, per unit and against control for everyone.

    `spend`, `value` and `net` are differences from control; `net` is NaN where the value of a unit of value is not known.
    `per_spend` is ΔV / ΔC times the value of a unit, 1 where that is not known; `per_value` is ΔC / ΔV.
    """

    name: str
    budget: float
    spend: float
    value: float
    value_low: float
    value_high: float
    net: float
    net_low: float
    net_high: float
    per_spend: float
    per_spend_low: float
    per_spend_high: float
    per_value: float
    per_value_low: float
    per_value_high: float
    events: float


@checked
@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class Returns(Tabular):
    """What policies bring and cost beyond control, at each budget.

    Attributes:
        rows: One for each policy or baseline and budget.
        value_per_unit: What one unit of value brings in money; None where it is not known.
        level: Coverage of the intervals.
    """

    rows: tuple[ReturnRow, ...]
    value_per_unit: float | None
    level: float
    _hidden: ClassVar[tuple[str, ...]] = ()

    def _columns(self) -> dict[str, list[Any]]:
        return columns_of(list(self.rows), ReturnRow._fields)

    def to_dict(self) -> dict[str, Any]:
        """Returns the rows as plain JSON values."""
        return plain({"value_per_unit": self.value_per_unit, "level": self.level, "rows": self.rows})

    def of(self, name: str) -> tuple[ReturnRow, ...]:
        """Returns the rows of one policy or baseline, one per budget.

        Raises:
            DataError: There is no such policy.
        """
        _check.choice("name", name, tuple(dict.fromkeys(row.name for row in self.rows)))
        return tuple(row for row in self.rows if row.name == name)


@checked
def returns(
    comparison: Comparison, *, value_per_unit: float | None = None, names: tuple[str, ...] | None = None
) -> Returns:  # fmt: skip
    """Returns what each policy brings and costs beyond control, with paired intervals.

    Args:
        comparison: Result of `compare`.
        value_per_unit: What one unit of value brings in money, > 0, e.g. 10.0 for orders that earn 10 each; None: not known.
        names: Policies or baselines; None: all but doing nothing and the random mix.

    Raises:
        DataError: The value of a unit is not a positive number, or there is no such policy.

    >>> from largesse import Logs, Menu
    >>> from largesse.evaluate import compare
    >>> t = np.arange(400) % 2
    >>> logs = Logs(x=np.zeros((400, 1)), treatment=t, value=1.0 + 2.0 * t, cost=t * 5.0)
    >>> menu = Menu(value=np.tile([0.0, 1.0], (400, 1)), cost=np.tile([0.0, 1.0], (400, 1)))
    >>> row = returns(compare(logs, {"everyone": menu}, [5.0]), value_per_unit=4.0).of("everyone")[0]
    >>> row.value, row.spend, row.net, row.per_spend, row.per_value
    (2.0, 5.0, 3.0, 1.6, 2.5)
    """
    unit_value = None if value_per_unit is None else _check.number("value_per_unit", value_per_unit, low=1e-12)
    sums = _Sums(comparison)
    wanted = names or tuple(name for name in comparison.names if name not in (NO_ONE, RANDOM_MIX))
    rows = [sums.row(name, b, unit_value) for name in wanted for b in range(len(comparison.budgets))]
    return Returns(rows=tuple(rows), value_per_unit=unit_value, level=comparison.level)


class _Sums:
    """Incremental values and spends of a comparison, with what each row contributes to them."""

    def __init__(self, comparison: Comparison) -> None:
        self.comparison, self.made = comparison, comparison.parts.made
        self.logs = self.made.arms.logs
        self.none = comparison.index(NO_ONE)
        self.control_cost = np.zeros((2, self.logs.n_treatments))
        self.control_cost[1, 0] = 1.0

    def estimate(self, p: int, b: int) -> tuple[float, float]:
        """Returns ΔV and ΔC."""
        c = self.comparison
        return float(c.value[p, b] - c.value[self.none, b]), float(c.spend[p, b] - c.spend[self.none, b])

    def terms(self, p: int, b: int) -> tuple[Floats, Floats, Floats]:
        """Returns what each row adds to V, to C (nothing where the budget is spent exactly), and its outcomes in V, (N,) each."""
        value, outcomes = self.made.of(p, b)
        c, arms = self.comparison, self.made.arms
        if c.spend[p, b] == c.budgets[b]:
            return value, np.zeros(self.logs.n), outcomes
        if p < len(self.made.policies):
            return value, self.made.policies[p].terms(b)[1], outcomes
        both = np.zeros((2, self.logs.n_treatments))
        both[1] = BestMix.of(*arms.means(), c.budgets[b : b + 1]).share[0]
        return value, arms.terms(both), outcomes

    def net_terms(self, row: ReturnRow, unit_value: float) -> tuple[Floats, float]:
        """Returns what each row of the logs adds to a net value, (N,), and the variance that none contributes."""
        p, b = self.comparison.index(row.name), int(np.flatnonzero(self.comparison.budgets == row.budget)[0])
        value, cost, _ = self.terms(p, b)
        idle = unit_value * self.terms(self.none, b)[0] - self.made.arms.terms(self.control_cost)
        return unit_value * value - cost - idle, unit_value**2 * float(self.made.more[p, b]) * CLOSE_DIFFERENCE

    def joint_ends(self, rows: list[ReturnRow], unit_value: float) -> Floats:
        """Returns the ends of the net values of some rows, at the level at which all hold together, (K, 2); NaN out of reach."""
        c, out = self.comparison, np.full((len(rows), 2), np.nan)
        known = [k for k, row in enumerate(rows) if not np.isnan(row.net)]
        if not known:
            return out
        columns, more = zip(*(self.net_terms(rows[k], unit_value) for k in known), strict=True)
        psi = centred(self.logs, np.column_stack(columns))
        covariance = psi.T @ psi + np.diag(more)
        error = np.sqrt(np.maximum(np.diag(covariance), 1e-300))
        level = _joint_level(covariance / np.outer(error, error), c.level)
        out[known] = ends(np.array([rows[k].net for k in known]), psi, level, np.array(more))
        return out

    def row(self, name: str, b: int, unit_value: float | None) -> ReturnRow:
        p, c = self.comparison.index(name), self.comparison
        budget, (gained, paid) = float(c.budgets[b]), self.estimate(p, b)
        if np.isnan(gained):
            return ReturnRow._make((name, budget, *[float("nan")] * 14))
        value, cost, outcomes = self.terms(p, b)
        none, _, idle = self.terms(self.none, b)
        psi = centred(self.logs, np.column_stack([value - none, cost - self.made.arms.terms(self.control_cost)]))
        more = float(self.made.more[p, b]) * CLOSE_DIFFERENCE
        m = 1.0 if unit_value is None else unit_value
        low, high = ends(np.array([gained]), psi[:, :1], c.level, more)[0]
        net = np.full(3, np.nan)
        if unit_value is not None:
            net[0] = m * gained - paid
            net[1:] = ends(net[:1], psi[:, :1] * m - psi[:, 1:], c.level, m**2 * more)[0]
        ratio, least, most = _ratio(gained, paid, psi, c.level, more)
        events = effective_events(self.logs, (outcomes - idle)[:, None])[0]
        return ReturnRow._make(
            (name, budget, paid, gained, float(low), float(high), *map(float, net), m * ratio, m * least, m * most,
             *_inverse(ratio, least, most), float(events))
        )  # fmt: skip


def _joint_level(correlation: Floats, level: float) -> float:
    """Returns the level of each interval at which, together, an end lies above its truth in half of 1 - level of the trials.

    Args:
        correlation: Correlation of the estimates, (K, K).
        level: Coverage of one interval.
    """
    scale, vectors = np.linalg.eigh(correlation)
    normal = np.random.default_rng(0).standard_normal((_JOINT, len(scale)))
    top = (normal * np.sqrt(np.maximum(scale, 0)) @ vectors.T).max(axis=1)
    return float(np.clip(1 - 2 * ndtr(-np.quantile(top, (1 + level) / 2)), level, 0.9999))


def _ratio(gained: float, paid: float, psi: Floats, level: float, more: float) -> tuple[float, float, float]:
    """Returns ΔV / ΔC and its interval; NaN where nothing is paid, infinite ends where it is not shown that anything is."""
    if not paid > 0:
        return (float("nan"),) * 3
    return gained / paid, *ratio_ends(gained, paid, psi[:, 0], psi[:, 1], level, more)


def _inverse(ratio: float, low: float, high: float) -> tuple[float, float, float]:
    """Returns the cost of a unit of value: infinite where the value is not positive."""
    if np.isnan(ratio):
        return (float("nan"),) * 3
    one, most, least = (1 / x if x > 0 else float("inf") for x in (ratio, low, high))
    return one, least, most


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
    is shown to pay when all budgets are counted together, as in `verdicts`: where nothing pays, the lower end lies above 0 in
    at most half of 1 - level of the trials. Between two budgets of the comparison, net value and ends are interpolated.

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
    sums = _Sums(comparison)
    rows = [sums.row(name, b, unit_value) for b in range(len(comparison.budgets))]
    rows = [row for row in rows if not np.isnan(row.net)]
    if not rows:
        return BreakEven(*[float("nan")] * 6)
    budget, net, high = np.array([[row.budget, row.net, row.net_high] for row in rows]).T
    low = sums.joint_ends(rows, unit_value)[:, 0]
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


def _best(sums: _Sums, rows: list[ReturnRow], unit_value: float) -> tuple[float, float, float]:
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


@checked
def verdicts(table: Returns, comparison: Comparison, policy: str) -> tuple[PayVerdict, ...]:
    """Returns whether each budget pays, by the net value of a policy and of the best untargeted one.

    All budgets and both policies count together: where none of them pays, any of them is to be spent in at most half of
    1 - level of the trials. So an interval must be a little further from 0 than its own level asks for.

    Args:
        table: Their returns, with the value of a unit.
        comparison: The comparison that these were made from.
        policy: Name of the policy.

    Raises:
        DataError: There is no such policy, or the value of a unit is not known.
    """
    if table.value_per_unit is None:
        raise _check.refuse("value_per_unit", None, "a verdict needs it", "Give returns(..., value_per_unit=).")
    versus, sums = comparison.against(BEST_MIX), _Sums(comparison)
    p = versus.index(policy)
    rows = [row for name in (policy, BEST_MIX) for row in table.of(name)]
    both = sums.joint_ends(rows, table.value_per_unit)
    idle = [row.name == BEST_MIX and row.spend <= _ROUNDING * row.budget and row.budget > 0 for row in rows]
    both[idle] = np.nan  # a mix that spends nothing is no way to spend the budget
    low, high = both.reshape(2, -1, 2).transpose(2, 0, 1)  # each (2, B)
    return tuple(
        _verdict(low[:, b], high[:, b], bool(versus.difference_low[p, b] > 0)) for b in range(len(comparison.budgets))
    )


def _verdict(low: Floats, high: Floats, better: bool) -> PayVerdict:
    """Returns the verdict of the ends of the net value, of the policy and of the best untargeted one, (2,) each."""
    if np.isnan(low[0]) and not low[1] > 0:
        return PayVerdict.OUT_OF_REACH
    if low[0] > 0 and (better or not low[1] > 0):
        return PayVerdict.TARGETED
    if low[1] > 0:
        return PayVerdict.UNTARGETED
    return PayVerdict.LOSES if high[0] < 0 and not high[1] >= 0 else PayVerdict.NOT_SHOWN
