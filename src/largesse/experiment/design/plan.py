"""Sample size of a test: units and days per estimator, with and without interim looks.

The variance of each estimator comes from an A/A replay of historical data. The effect to detect is given, or is the
difference that a comparison on trial rows predicts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, NamedTuple

from scipy import stats

from largesse import _check
from largesse._arguments import checked
from largesse.evaluate.comparison import Comparison
from largesse.experiment.design.assign import shares_of
from largesse.experiment.design.looks import boundaries, inflation
from largesse.experiment.design.replay import Replay, ReplayRow
from largesse.experiment.estimators.shape import ends, of_effect, quantile
from largesse.result import Result, Tabular, columns_of

__all__ = ["PlanRow", "Promise", "TestPlan", "check_test", "plan_test", "promise"]

_DIFFER = 3.0  # standard errors between the spread of the estimates and what the standard errors say
_STEPS = 100


class PlanRow(NamedTuple):
    """The size of a test by one estimator.

    Attributes:
        method: The estimator.
        units: Randomised units of all arms together.
        days: Days until so many units have arrived; NaN if the number per day is not given.
        half_width: Half the width of the effect's 95 % interval at that size.
    """

    method: str
    units: int
    days: float
    half_width: float


@checked
@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Promise(Result):
    """The predicted effect of one policy over another, per unit, with its interval, from a comparison on trial rows."""

    policy: str
    reference: str
    effect: float
    low: float
    high: float


@checked
@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class TestPlan(Tabular):
    """The plan of a test.

    Attributes:
        metric: The metric to compare.
        unit: The randomised unit.
        shares: Share of each arm; the second arm is compared with the first.
        effect: The effect to detect, in units of the metric.
        power: Probability of detecting it.
        alpha: Level of the test over all looks.
        rows: The size by each estimator, in the order of the replay.
        looks: Share of the units at each look; () for one look at the end.
        z: The z-value beyond which each look is significant.
    """

    __test__ = False  # pytest must not collect this class

    metric: str
    unit: str
    shares: tuple[tuple[str, float], ...]
    effect: float
    power: float
    alpha: float
    rows: tuple[PlanRow, ...]
    looks: tuple[float, ...]
    z: tuple[float, ...]

    def __getitem__(self, method: str) -> PlanRow:
        """Returns the row of an estimator; refuses an unknown one."""
        by_method = {row.method: row for row in self.rows}
        return by_method[_check.choice("method", method, tuple(by_method))]

    def _columns(self) -> dict[str, list[Any]]:
        return columns_of(self.rows, PlanRow._fields)

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as plain JSON values."""
        return {**Result.to_dict(self), "shares": dict(self.shares)}


@checked
def plan_test(
    history: Replay, *, effect: float, shares: Mapping[str, float], metric: str = "value", unit: str = "unit",
    power: float = 0.8, per_day: float | None = None, looks: Sequence[float] = (),
) -> TestPlan:  # fmt: skip
    """Returns how many units a test needs to detect an effect of the second arm over the first, by each estimator.

    Args:
        history: The replay of comparable units.
        effect: The effect to detect, in units of the metric, not 0.
        shares: Share of each arm: policy A, policy B, and others such as a holdout, divided by their sum.
        metric: Name of the metric.
        unit: Name of the randomised unit.
        power: Probability of detecting the effect.
        per_day: New units per day, all arms together.
        looks: Share of the units at each planned look, the last 1, with O'Brien-Fleming boundaries; () for one look.

    Raises:
        DataError: A number is out of its range, there are fewer than two arms, or a 0/1 metric cannot have such an effect.

    >>> import numpy as np
    >>> from largesse.experiment import Sample, replay
    >>> rng = np.random.default_rng(0)
    >>> past = Sample(value=rng.normal(10, 2, 2000), arm=np.arange(2000) % 2, arms=("A", "B"))
    >>> plan = plan_test(replay(past, draws=50), effect=0.2, shares={"A": 0.5, "B": 0.5}, per_day=500)
    >>> 2500 < plan["difference in means"].units < 4500  # 4 · 2² · 2.8² / 0.2² = 3136
    True
    """
    check_test(effect=effect, shares=shares, power=power, per_day=per_day, looks=looks)
    parts = tuple(zip(shares, shares_of(shares).tolist(), strict=True))
    factor = inflation(looks, alpha=history.alpha, power=power) if looks else 1.0
    z = boundaries(looks, alpha=history.alpha) if looks else [stats.norm.isf(history.alpha / 2)]
    grown = _variance_with(history, effect)
    rows = []
    for row in history.rows:
        single = _variance(row, history)
        pair = _Pair((single, single * grown), (parts[0][1], parts[1][1]), row.skewness)
        units = pair.units(effect, power, history.alpha, factor)
        rows.append(PlanRow(row.method, units, units / per_day if per_day else float("nan"), pair.half_width(units)))
    return TestPlan(
        metric=metric, unit=unit, shares=parts, effect=effect, power=power, alpha=history.alpha, rows=tuple(rows),
        looks=tuple(looks), z=tuple(float(x) for x in z),
    )  # fmt: skip


def _variance(row: ReplayRow, history: Replay) -> float:
    """Returns the variance of one unit's contribution by an estimator.

    It follows from the standard errors, which hardly vary over the draws. The spread of a few hundred estimates is itself
    uncertain, by 6 % of the variance in 500 draws, and it takes their place only where the two differ by more than that explains.
    """
    differ = row.se <= 0 or abs(row.sd**2 / row.se**2 - 1) > _DIFFER * (2 / (history.draws - 1)) ** 0.5
    return (row.sd if differ else row.se) ** 2 * history.units * history.share * (1 - history.share)


def _variance_with(history: Replay, effect: float) -> float:
    """Returns the variance of the metric with the effect, as a share of that without: for a 0/1 metric they differ."""
    if not history.binary:
        return 1.0
    after = history.level + effect
    if not 0 < after < 1:
        rule = f"the metric is 0 or 1 with a mean of {history.level:.4g}, so its mean with the effect must lie between 0 and 1"
        raise _check.refuse("effect", effect, rule, "Give a smaller effect, in units of the metric.")
    return after * (1 - after) / (history.level * (1 - history.level))


def _reach(power: float, alpha: float, freedom: float, g: float) -> float:
    """Returns how many standard errors an effect above 0 must measure to be detected, where it has skewness g.

    The estimate x, in standard errors from the effect, is significant if it exceeds q times its own estimated standard error,
    which is 1 + g x / 2 on average given x. So the effect is q - x (1 - q g / 2), with x the quantile at 1 - power
    (Cornish-Fisher to first order in g). Without skewness it is the sum of both quantiles.

    >>> round(_reach(0.8, 0.05, 1e9, 0.0), 3)
    2.802
    """
    q, t = quantile(1 - alpha / 2, freedom, g), float(stats.t.ppf(1 - power, freedom))
    return q - (t + g * (t**2 - 1) / 6) * (1 - q * g / 2)


class _Pair(NamedTuple):
    """Variances of a unit in both arms, shares of the units, and the skewness of a unit."""

    variances: tuple[float, float]
    shares: tuple[float, float]
    skewness: float

    def variance(self, units: float) -> float:
        """Returns the variance of the effect with so many units."""
        return sum(v / (units * share) for v, share in zip(self.variances, self.shares, strict=True))

    def shape(self, units: float) -> tuple[float, float]:
        """Returns Welch's degrees of freedom and the skewness of the effect with so many units."""
        sizes = [max(units * share, 2.0) for share in self.shares]
        parts = [v / n for v, n in zip(self.variances, sizes, strict=True)]
        freedom = sum(parts) ** 2 / sum(p**2 / (n - 1) for p, n in zip(parts, sizes, strict=True))
        return freedom, of_effect(self.skewness, *sizes)

    def units(self, effect: float, power: float, alpha: float, factor: float) -> int:
        """Returns how many units detect an effect: where quantiles of the t-statistic and the units agree."""
        units = 4 / min(self.shares)
        for _ in range(_STEPS):
            freedom, g = self.shape(units)
            reach = _reach(power, alpha, freedom, g if effect > 0 else -g)
            before, units = units, max(self.variance(1.0) * (reach / effect) ** 2, 4 / min(self.shares))
            if abs(units - before) < 1e-3:
                break
        return ceil(factor * units - 1e-9)

    def half_width(self, units: float) -> float:
        """Returns half the width of the effect's 95 % interval with so many units."""
        low, high = ends(0.95, *self.shape(units))
        return float((high - low) / 2 * self.variance(units) ** 0.5)


@checked
def check_test(
    *, effect: float, shares: Mapping[str, float], power: float, per_day: float | None, looks: Sequence[float]
) -> None:
    """Checks the arguments of `plan_test`, before a replay is made.

    Raises:
        DataError: A number is out of its range, or there are fewer than two arms.
    """
    _check.number("power", power, low=0.05, high=0.999)
    if abs(_check.number("effect", effect, low=-1e15, high=1e15)) < 1e-15:
        rule = "must be at least 1e-15 from 0: no number of units detects less"
        raise _check.refuse("effect", effect, rule, "Give the smallest effect that matters.")
    if per_day is not None:
        _check.number("per_day", per_day, low=1e-9)
    shares_of(shares)
    if looks:
        boundaries(looks)


@checked
def promise(comparison: Comparison, policy: str, reference: str, *, budget_index: int = 0) -> Promise:
    """Returns the predicted effect per unit of one policy over another at a budget, as the effect for a test to detect.

    The estimate is biased upwards for a policy that was selected by it: plan for the interval's lower end if it is above 0.

    Args:
        comparison: The result of `largesse.compare`.
        policy: Arm B of the test.
        reference: Arm A.
        budget_index: Position among the budgets, from 0.

    Raises:
        DataError: There is no such policy or budget.
    """
    last = len(comparison.budgets) - 1
    b = int(_check.number("budget_index", budget_index, low=0, high=last, remedy="Count the budgets from 0."))
    versus, k = comparison.against(reference), comparison.index(policy)
    ends = (versus.difference[k, b], versus.difference_low[k, b], versus.difference_high[k, b])
    return Promise(policy, reference, *map(float, ends))
