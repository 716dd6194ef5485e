"""What an experiment leaves after its cost: the net effect of each arm, and what comes back for each unit that is spent."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from largesse import _check
from largesse._arguments import checked
from largesse.errors import UndefinedMetric
from largesse.evaluate.intervals import ratio_ends
from largesse.experiment.data.sample import Floats, Sample
from largesse.experiment.estimators.effect import Effect
from largesse.experiment.estimators.means import contributions, means

__all__ = ["ArmReturn", "returns"]


class ArmReturn(NamedTuple):
    """One arm against control, per unit of the experiment, in money.

    Attributes:
        arm: The arm.
        method: The estimator: CUPAC, CUPED or the difference in means, the same for value and cost.
        value: Incremental value.
        cost: Incremental cost.
        net: Incremental value less incremental cost.
        low: Lower end of the net effect's interval.
        high: Upper end.
        roi: Incremental value per unit of incremental cost; NaN where the arm does not cost more than control.
        roi_low: Lower end of its interval (Fieller); infinite, with the upper end, where the cost may be 0.
        roi_high: Upper end.
        events: Effective number of events on which the net effect's interval rests.
        fixed_cost: Whether the cost is the same number in every row of each of the two arms.
    """

    arm: str
    method: str
    value: float
    cost: float
    net: float
    low: float
    high: float
    roi: float
    roi_low: float
    roi_high: float
    events: float
    fixed_cost: bool


@checked
def returns(sample: Sample, cost: Floats, *, value_per_unit: float = 1.0, level: float = 0.95) -> tuple[ArmReturn, ...]:
    """Returns the net effect and the return of every arm against control.

    The net effect is the effect on value · `value_per_unit` - cost, computed row by row, so the covariance of value and cost is
    in its interval. Clusters, weights, a covariate and a prediction of the sample count as for any metric.

    Args:
        sample: The rows, with the value metric; no ratio.
        cost: Cost of each row (N,).
        value_per_unit: Money that one unit of value brings, > 0.
        level: Coverage of the intervals.

    Raises:
        DataError: The value is a ratio, a number is out of its range, or value less cost is the same in every row.

    Example:
        >>> arm = np.arange(4000) % 2
        >>> value = np.random.default_rng(0).normal(10, 2, 4000) + 3 * arm
        >>> (one,) = returns(Sample(value=value, arm=arm, arms=("A", "B")), 2.0 * arm)
        >>> one.fixed_cost, one.cost, one.low < 1 < one.high, round(one.net - (one.value - one.cost), 9)
        (True, 2.0, True, 0.0)
    """
    _check.number("value_per_unit", value_per_unit, low=1e-12, high=_check.LARGEST)
    _check.lengths(value=sample.value, cost=cost)
    if sample.denominator is not None:
        remedy = "Name a value per row as the first metric, or leave the cost out."
        raise _check.refuse("metric", "a ratio", "has no cost to be set against it", remedy)
    money = replace(sample, value=value_per_unit * sample.value)
    try:
        net = replace(sample, value=money.value - cost)
    except UndefinedMetric as error:
        raise error.about("value less cost") from error
    paid = None if (cost == cost[0]).all() else replace(sample, value=cost)
    return tuple(_arm(money, paid, net, cost, k, level) for k in range(1, len(sample.arms)))


def _arm(money: Sample, paid: Sample | None, net: Sample, cost: Floats, k: int, level: float) -> ArmReturn:
    effect = _reading(net, k, level)
    value, of_value = contributions(money, k, effect.method)
    spent, of_spent = (0.0, np.zeros(len(of_value))) if paid is None else contributions(paid, k, effect.method)
    fixed = all(np.ptp(cost[money.arm == arm]) == 0 for arm in (0, k))
    if fixed:  # a number: nothing of it is estimated, or explained by a covariate
        at = [float(cost[np.argmax(money.arm == arm)]) for arm in (0, k)]
        spent, of_spent = at[1] - at[0], np.zeros(len(of_value))
        value_only = _reading(money, k, level, effect.method)
        effect = value_only._replace(
            effect=value_only.effect - spent, low=value_only.low - spent, high=value_only.high - spent
        )
    roi, low, high = (np.nan,) * 3
    if spent > 0:
        roi = value / spent
        low, high = ratio_ends(value, spent, of_value, of_spent, level)
    return ArmReturn(
        effect.arm, effect.method, value, spent, effect.effect, effect.low, effect.high, roi, low, high, effect.events, fixed
    )  # fmt: skip


def _reading(sample: Sample, k: int, level: float, method: str | None = None) -> Effect:
    """Returns the effect by the last of the estimators of means, which takes most of the noise out, or by the named one."""
    by_name = {effect.method: effect for effect in means(sample, k, level=level)}
    order = ("CUPAC", "CUPED", "difference in means")
    return by_name[method or next(name for name in order if name in by_name)]
