"""What an estimator says of one arm against control."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats

__all__ = ["METHODS", "Effect", "of_error"]

METHODS = ("difference in means", "CUPED", "CUPAC", "MLRATE", "STATE")


class Effect(NamedTuple):
    """One arm against control, in units of the metric.

    Attributes:
        method: One of `METHODS`.
        arm: The arm compared with control.
        control: Level of control.
        treatment: Level of the arm: control's plus the effect for MLRATE and STATE.
        effect: The arm less control.
        se: Standard error of the effect.
        low: Lower end of its interval.
        high: Upper end.
        p_value: Two-sided.
        lift: Effect over the level of control.
        lift_low: Lower end of its interval.
        lift_high: Upper end.
        p_adjusted: The p-value, raised for the number of arms and metrics where there are several (Holm).
    """

    method: str
    arm: str
    control: float
    treatment: float
    effect: float
    se: float
    low: float
    high: float
    p_value: float
    lift: float
    lift_low: float
    lift_high: float
    p_adjusted: float = float("nan")


def of_error(
    method: str, arm: str, control: float, effect: float, errors: tuple[float, float], freedom: float, level: float
) -> Effect:
    """Returns an effect with its t-intervals.

    Args:
        method: One of `METHODS`.
        arm: The arm compared with control.
        control: Level of control.
        effect: The arm less control.
        errors: Standard errors of the effect and of the lift.
        freedom: Degrees of freedom.
        level: Coverage of the intervals.
    """
    reach = float(stats.t.ppf((1 + level) / 2, freedom))
    se, se_lift = errors
    lift = effect / control if control else np.nan
    p_value = float(2 * stats.t.sf(abs(effect) / se, freedom)) if se > 0 else np.nan
    return Effect(
        method, arm, control, control + effect, effect, se, effect - reach * se, effect + reach * se, p_value,
        lift, lift - reach * se_lift, lift + reach * se_lift,
    )  # fmt: skip
