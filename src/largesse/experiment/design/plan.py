"""From a comparison of policies to a test: arms, units, days, with and without variance reduction, with and without looks.

The variance of each estimator is taken from history by A/A replay; the effect to be seen is given, or is the difference that a
comparison on trial rows promises.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, NamedTuple

from scipy import stats

from largesse import _check
from largesse.evaluate.comparison import Comparison
from largesse.experiment.design.looks import boundaries, inflation
from largesse.experiment.design.replay import Replay
from largesse.result import Result, Tabular, columns_of

__all__ = ["PlanRow", "Promise", "TestPlan", "check_test", "plan_test", "promise"]


class PlanRow(NamedTuple):
    """What one estimator needs.

    Attributes:
        method: The estimator.
        units: Randomised units of all arms together.
        days: Days until they have come; NaN where it is not known how many come.
        half_width: Half the 95 % interval of the effect at that size.
    """

    method: str
    units: int
    days: float
    half_width: float


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Promise(Result):
    """What a comparison on trial rows promises of one policy over another, per unit, with its interval."""

    policy: str
    reference: str
    effect: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class TestPlan(Tabular):
    """A test to be made.

    Attributes:
        metric: What is compared.
        unit: What is randomised.
        shares: Share of each arm; the first is what the second is compared with.
        effect: The effect to be seen, in units of the metric.
        power: Probability of seeing it.
        alpha: Level of the test over all looks.
        rows: What each estimator needs, in the order of the replay.
        looks: Share of the units at each look; () for one look at the end.
        z: z-values beyond which a look finds an effect.
    """

    __test__ = False  # no test of pytest's

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
        """Returns an estimator's row, or refuses."""
        found = {row.method: row for row in self.rows}
        return found[_check.choice("method", method, tuple(found))]

    def _columns(self) -> dict[str, list[Any]]:
        return columns_of(self.rows, PlanRow._fields)

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as plain JSON values."""
        return {**Result.to_dict(self), "shares": dict(self.shares)}


def plan_test(
    history: Replay, *, effect: float, shares: Mapping[str, float], metric: str = "value", unit: str = "unit",
    power: float = 0.8, per_day: float | None = None, looks: Sequence[float] = (),
) -> TestPlan:  # fmt: skip
    """Returns how many units a test needs to see an effect of the second arm over the first, by each estimator.

    Args:
        history: The replay of such units.
        effect: To be seen, in units of the metric, not 0.
        shares: Share of each arm: policy A, policy B, and others such as a holdout, divided by their sum.
        metric: Name of the metric.
        unit: What is randomised.
        power: Probability of seeing the effect.
        per_day: New units a day, all arms together.
        looks: Share of the units at each planned look, the last 1, with boundaries after O'Brien and Fleming; () for one look.

    Raises:
        DataError: A number is out of its range, or there are fewer than two arms.

    >>> import numpy as np
    >>> from largesse.experiment import Sample, replay
    >>> rng = np.random.default_rng(0)
    >>> past = Sample(value=rng.normal(10, 2, 2000), arm=np.arange(2000) % 2, arms=("A", "B"))
    >>> plan = plan_test(replay(past, draws=50), effect=0.2, shares={"A": 0.5, "B": 0.5}, per_day=500)
    >>> 2500 < plan["difference in means"].units < 4500  # 4 · 2² · 2.8² / 0.2² = 3136, but for the draws
    True
    """
    check_test(effect=effect, shares=shares, power=power, per_day=per_day, looks=looks)
    parts = _parts(shares)
    reach = float(stats.norm.isf(history.alpha / 2) + stats.norm.ppf(power))
    factor = inflation(looks, alpha=history.alpha, power=power) if looks else 1.0
    z = boundaries(looks, alpha=history.alpha) if looks else [stats.norm.isf(history.alpha / 2)]
    a, b = parts[0][1], parts[1][1]
    rows = []
    for row in history.rows:
        # variance of one unit: of a replay with n units, a share s of them in the other arm
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
    """Refuses what `plan_test` would refuse, before a replay is made.

    Raises:
        DataError: A number is out of its range, or there are fewer than two arms.
    """
    _check.number("power", power, low=0.05, high=0.999)
    if _check.number("effect", effect) == 0:
        raise _check.refuse("effect", effect, "must not be 0: no number of units shows nothing", "Give what matters.")
    if per_day is not None:
        _check.number("per_day", per_day, low=1e-9)
    _parts(shares)
    if looks:
        boundaries(looks)


def promise(comparison: Comparison, policy: str, reference: str, *, budget_index: int = 0) -> Promise:
    """Returns what a comparison promises of a policy over another at a budget, per unit: the effect a test may look for.

    The estimate flatters a policy that was chosen for it; plan for the lower end of the interval where it is above 0.

    Args:
        comparison: What `largesse.compare` returned.
        policy: Arm B of the test.
        reference: Arm A.
        budget_index: Position in the budgets.

    Raises:
        DataError: There is no such policy or budget.
    """
    last = len(comparison.budgets) - 1
    at = int(_check.number("budget_index", budget_index, low=0, high=last, remedy="It counts from 0."))
    versus, k = comparison.against(reference), comparison.index(policy)
    return Promise(
        policy, reference, float(versus.difference[k, at]), float(versus.difference_low[k, at]),
        float(versus.difference_high[k, at]),
    )  # fmt: skip


def _parts(shares: Mapping[str, float]) -> tuple[tuple[str, float], ...]:
    if len(shares) < 2:
        raise _check.refuse("shares", dict(shares), "two arms or more are needed", "Give a share for each.")
    for name, share in shares.items():
        _check.number(f"shares[{name!r}]", share, low=1e-9, high=1e9)
    total = sum(shares.values())
    return tuple((name, share / total) for name, share in shares.items())
