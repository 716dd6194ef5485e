"""Does it pay? What a policy brings and costs beyond doing nothing, and what is left when its value is counted in money.

For a policy at a budget, with V its value and C its spend per unit, and V₀, C₀ those of control for everyone:

    incremental value ΔV = V - V₀,   incremental spend ΔC = C - C₀,   net value = m ΔV - ΔC,   return on spend = m ΔV / ΔC,

where m is what one unit of value brings in money (`value_per_unit`). Without m, ΔV / ΔC is in units of value per unit of
money, and ΔC / ΔV is what one unit of value costs: the campaign pays if a unit brings more than that.

All intervals are paired: the same rows carry V and V₀. A ratio has Fieller's interval.
"""

from __future__ import annotations

from collections.abc import Sequence
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

__all__ = ["Further", "PayVerdict", "ReturnRow", "Returns", "Sums", "returns", "verdicts"]

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
    sums = Sums(comparison)
    wanted = names or tuple(name for name in comparison.names if name not in (NO_ONE, RANDOM_MIX))
    rows = [sums.row(name, b, unit_value) for name in wanted for b in range(len(comparison.budgets))]
    return Returns(rows=tuple(rows), value_per_unit=unit_value, level=comparison.level)


class Further(NamedTuple):
    """A way to spend that is not among the policies and budgets of a comparison.

    Attributes:
        row: What it brings and costs.
        net_terms: What each row of the logs adds to its net value, (N,).
        more: Variance of the net value that no row contributes.
    """

    row: ReturnRow
    net_terms: Floats
    more: float


class Sums:
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

    def joint_ends(self, rows: list[ReturnRow], unit_value: float, further: Sequence[Further] = ()) -> Floats:
        """Returns the ends of the net values of some rows, at the level at which all hold together, (K, 2); NaN out of reach.

        Args:
            rows: Rows of policies and baselines of the comparison.
            unit_value: What one unit of value brings in money.
            further: Ways to spend that are not among them; their ends come last.
        """
        n, c = len(rows), self.comparison
        rows = [*rows, *(one.row for one in further)]
        out = np.full((len(rows), 2), np.nan)
        known = [k for k, row in enumerate(rows) if not np.isnan(row.net)]
        if not known:
            return out
        terms = [self.net_terms(rows[k], unit_value) if k < n else further[k - n][1:] for k in known]
        columns, more = zip(*terms, strict=True)
        psi = centred(self.logs, np.column_stack(columns))
        covariance = psi.T @ psi + np.diag(more)
        error = np.sqrt(np.maximum(np.diag(covariance), 1e-300))
        level = _joint_level(_drawn(covariance / np.outer(error, error)), c.level)
        out[known] = ends(np.array([rows[k].net for k in known]), psi, level, np.array(more))
        return out

    def shown_above(self, rows: list[ReturnRow], unit_value: float) -> Floats:
        """Returns lower ends of the net values of some rows, (K,), of which one lies above a truth below 0 in half of 1 - level.

        As `joint_ends`, but only rows that can be wrong are counted together: not those that are shown to lose, and, step by
        step, not those that are shown to pay (Romano and Wolf 2005).

        Args:
            rows: Rows of the comparison, with known net values.
            unit_value: What one unit of value brings in money.
        """
        net, level = np.array([row.net for row in rows]), self.comparison.level
        columns, left = zip(*(self.net_terms(row, unit_value) for row in rows), strict=True)
        psi, more = centred(self.logs, np.column_stack(columns)), np.array(left)
        covariance = psi.T @ psi + np.diag(more)
        error = np.sqrt(np.maximum(np.diag(covariance), 1e-300))
        drawn = _drawn(covariance / np.outer(error, error))
        counted = np.array([row.net_high > 0 for row in rows])
        low = np.array([row.net_low for row in rows])
        while counted.any():
            low = ends(net, psi, _joint_level(drawn[:, counted], level), more)[:, 0]
            if not (shown := counted & (low > 0)).any():
                break
            counted &= ~shown
        return low

    def row(self, name: str, b: int, unit_value: float | None, *, ratios: bool = True) -> ReturnRow:
        """Returns the row of a policy or baseline at a budget; ratios may be left out: NaN."""
        p, c = self.comparison.index(name), self.comparison
        budget, (gained, paid) = float(c.budgets[b]), self.estimate(p, b)
        if np.isnan(gained):
            return ReturnRow._make((name, budget, *[float("nan")] * 14))
        value, cost, outcomes = self.terms(p, b)
        more = float(self.made.more[p, b]) * CLOSE_DIFFERENCE
        none, paid_idle, idle = self.idle
        return self.row_of(
            (name, budget), (gained, paid), (value - none, cost - paid_idle, outcomes - idle), unit_value, more, ratios
        )

    @property
    def idle(self) -> tuple[Floats, Floats, Floats]:
        """What each row adds to value and cost of control for everyone, and its outcomes in that value, (N,) each."""
        value, _, outcomes = self.terms(self.none, 0)
        return value, self.made.arms.terms(self.control_cost), outcomes

    def row_of(
        self, which: tuple[str, float], estimate: tuple[float, float], terms: tuple[Floats, Floats, Floats],
        unit_value: float | None, more: float, ratios: bool = True,
    ) -> ReturnRow:  # fmt: skip
        """Returns the row of a policy.

        Args:
            which: Its name and its budget.
            estimate: ΔV and ΔC.
            terms: What each row adds to ΔV and to ΔC, and its outcomes in ΔV, (N,) each.
            unit_value: What one unit of value brings in money; None: not known.
            more: Variance of ΔV that no row contributes.
            ratios: Whether ΔV / ΔC and its inverse are computed.
        """
        (gained, paid), level = estimate, self.comparison.level
        psi = centred(self.logs, np.column_stack(terms[:2]))
        m = 1.0 if unit_value is None else unit_value
        low, high = ends(np.array([gained]), psi[:, :1], level, more)[0]
        net = np.full(3, np.nan)
        if unit_value is not None:
            net[0] = m * gained - paid
            net[1:] = ends(net[:1], psi[:, :1] * m - psi[:, 1:], level, m**2 * more)[0]
        ratio, least, most = _ratio(gained, paid, psi, level, more) if ratios else (float("nan"),) * 3
        events = effective_events(self.logs, terms[2][:, None])[0]
        return ReturnRow._make(
            (*which, paid, gained, float(low), float(high), *map(float, net), m * ratio, m * least, m * most,
             *_inverse(ratio, least, most), float(events))
        )  # fmt: skip


def _drawn(correlation: Floats) -> Floats:
    """Returns draws of the errors of K estimates, in standard errors, (D, K)."""
    scale, vectors = np.linalg.eigh(correlation)
    normal = np.random.default_rng(0).standard_normal((_JOINT, len(scale)))
    return np.asarray(normal * np.sqrt(np.maximum(scale, 0)) @ vectors.T)


def _joint_level(drawn: Floats, level: float) -> float:
    """Returns the level of each interval at which, together, an end lies above its truth in half of 1 - level of the trials.

    Args:
        drawn: Draws of the errors of the estimates, (D, K).
        level: Coverage of one interval.
    """
    top = drawn.max(axis=1)
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


@checked
def verdicts(
    table: Returns, comparison: Comparison, policy: str, *, further: tuple[Further, Further] | None = None
) -> tuple[PayVerdict, ...]:
    """Returns whether each budget pays, by the net value of a policy and of the best untargeted one.

    All budgets and both policies count together: where none of them pays, any of them is to be spent in at most half of
    1 - level of the trials. So an interval must be a little further from 0 than its own level asks for.

    Args:
        table: Their returns, with the value of a unit.
        comparison: The comparison that these were made from.
        policy: Name of the policy.
        further: The policy and the best untargeted one where there is no budget: they count with the others, and their verdict
            comes last. None: there are none.

    Raises:
        DataError: There is no such policy, or the value of a unit is not known.
    """
    if table.value_per_unit is None:
        raise _check.refuse("value_per_unit", None, "a verdict needs it", "Give returns(..., value_per_unit=).")
    versus, sums = comparison.against(BEST_MIX), Sums(comparison)
    p, budgets = versus.index(policy), len(comparison.budgets)
    rows = [row for name in (policy, BEST_MIX) for row in table.of(name)]
    all_ = sums.joint_ends(rows, table.value_per_unit, further or ())
    both = all_[: 2 * budgets]
    idle = [row.name == BEST_MIX and row.spend <= _ROUNDING * row.budget and row.budget > 0 for row in rows]
    both[idle] = np.nan  # a mix that spends nothing is no way to spend the budget
    low, high = both.reshape(2, -1, 2).transpose(2, 0, 1)  # each (2, B)
    out = [_verdict(low[:, b], high[:, b], bool(versus.difference_low[p, b] > 0)) for b in range(budgets)]
    if further:
        last = all_[2 * budgets :]  # the policy, and the best untargeted one
        out.append(_verdict(last[:, 0], last[:, 1], _better(sums, *further)))
    return tuple(out)


def _better(sums: Sums, first: Further, second: Further) -> bool:
    """Returns whether the net value of the first is shown to be above that of the second."""
    gap = np.array([first.row.net - second.row.net])
    if np.isnan(gap[0]):
        return False
    psi = centred(sums.logs, (first.net_terms - second.net_terms)[:, None])
    least = ends(gap, psi, sums.comparison.level, first.more + second.more)[0, 0]
    return bool(least > _ROUNDING * abs(first.row.net))


def _verdict(low: Floats, high: Floats, better: bool) -> PayVerdict:
    """Returns the verdict of the ends of the net value, of the policy and of the best untargeted one, (2,) each."""
    if np.isnan(low[0]) and not low[1] > 0:
        return PayVerdict.OUT_OF_REACH
    if low[0] > 0 and (better or not low[1] > 0):
        return PayVerdict.TARGETED
    if low[1] > 0:
        return PayVerdict.UNTARGETED
    return PayVerdict.LOSES if high[0] < 0 and not high[1] >= 0 else PayVerdict.NOT_SHOWN
