"""The estimated effect of one arm against control."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats

__all__ = ["METHODS", "Effect"]

METHODS = ("difference in means", "CUPED", "CUPAC", "MLRATE", "STATE")


class Effect(NamedTuple):
    """One arm against control, in units of the metric.

    Attributes:
        method: One of `METHODS`.
        arm: The arm compared with control.
        control: Mean (or ratio) of control.
        treatment: Mean of the arm; for MLRATE and STATE, control's mean plus the effect.
        effect: The arm minus control.
        se: Standard error of the effect.
        low: Lower end of the effect's interval.
        high: Upper end of the effect's interval.
        p_value: Two-sided.
        lift: Effect divided by control's mean.
        lift_low: Lower end of the lift's interval.
        lift_high: Upper end of the lift's interval.
        p_adjusted: p-value adjusted for the number of arms and metrics (Holm); NaN before the adjustment.
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

    @classmethod
    def with_t_interval(
        cls, method: str, arm: str, control: float, effect: float, standard_errors: tuple[float, float],
        degrees_of_freedom: float, level: float,
    ) -> Effect:  # fmt: skip
        """Returns an effect with its t-intervals, at coverage `level`; the standard errors are of effect and lift."""
        reach = float(stats.t.ppf((1 + level) / 2, degrees_of_freedom))
        se, lift_se = standard_errors
        lift = effect / control if control else np.nan
        p_value = float(2 * stats.t.sf(abs(effect) / se, degrees_of_freedom)) if se > 0 else np.nan
        return cls(
            method, arm, control, control + effect, effect, se, effect - reach * se, effect + reach * se, p_value,
            lift, lift - reach * lift_se, lift + reach * lift_se,
        )  # fmt: skip
