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
from largesse.evaluate.comparison import Comparison
from largesse.experiment.design.assign import shares_of
from largesse.experiment.design.looks import boundaries, inflation
from largesse.experiment.design.replay import Replay
from largesse.result import Result, Tabular, columns_of

__all__ = ["PlanRow", "Promise", "TestPlan", "check_test", "plan_test", "promise"]


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


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Promise(Result):
    """The predicted effect of one policy over another, per unit, with its interval, from a comparison on trial rows."""

    policy: str
    reference: str
    effect: float
    low: float
    high: float


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
        DataError: A number is out of its range, or there are fewer than two arms.

    >>> import numpy as np
    >>> from largesse.experiment import Sample, replay
    >>> rng = np.random.default_rng(0)
    >>> past = Sample(value=rng.normal(10, 2, 2000), arm=np.arange(2000) % 2, arms=("A", "B"))
    >>> plan = plan_test(replay(past, draws=50), effect=0.2, shares={"A": 0.5, "B": 0.5}, per_day=500)
    >>> 2500 < plan["difference in means"].units < 4500  # 4 · 2² · 2.8² / 0.2² = 3136, up to replay noise
    True
    """
    check_test(effect=effect, shares=shares, power=power, per_day=per_day, looks=looks)
    parts = tuple(zip(shares, shares_of(shares).tolist(), strict=True))
    reach = float(stats.norm.isf(history.alpha / 2) + stats.norm.ppf(power))
    factor = inflation(looks, alpha=history.alpha, power=power) if looks else 1.0
    z = boundaries(looks, alpha=history.alpha) if looks else [stats.norm.isf(history.alpha / 2)]
    a, b = parts[0][1], parts[1][1]
    rows = []
    for row in history.rows:
        # variance of one unit, from a replay of n units with a share s in the other arm
        single = row.sd**2 * history.units * history.share * (1 - history.share)
        units = ceil(factor * single * (1 / a + 1 / b) * (reach / effect) ** 2)
        half = float(stats.norm.isf(0.025)) * (single * (1 / a + 1 / b) / units) ** 0.5
        rows.append(PlanRow(row.method, units, units / per_day if per_day else float("nan"), half))
    return TestPlan(
        metric=metric, unit=unit, shares=parts, effect=effect, power=power, alpha=history.alpha, rows=tuple(rows),
        looks=tuple(looks), z=tuple(float(x) for x in z),
    )  # fmt: skip


def check_test(
    *, effect: float, shares: Mapping[str, float], power: float, per_day: float | None, looks: Sequence[float]
) -> None:
    """Checks the arguments of `plan_test`, before a replay is made.

    Raises:
        DataError: A number is out of its range, or there are fewer than two arms.
    """
    _check.number("power", power, low=0.05, high=0.999)
    if _check.number("effect", effect) == 0:
        rule = "must not be 0: no number of units detects it"
        raise _check.refuse("effect", effect, rule, "Give the smallest effect that matters.")
    if per_day is not None:
        _check.number("per_day", per_day, low=1e-9)
    shares_of(shares)
    if looks:
        boundaries(looks)


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
