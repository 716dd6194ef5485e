"""The estimated effect of one arm against control."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats

__all__ = ["METHODS", "Effect", "Level", "has_lift", "lift_error"]

METHODS = ("difference in means", "CUPED", "CUPAC", "MLRATE", "STATE")


class Level(NamedTuple):
    """The mean of one arm (or its ratio) and its standard error."""

    mean: float
    se: float

    def sign(self, coverage: float) -> float:
        """Returns -1 or 1 where the interval at this coverage does not contain 0, else 0."""
        reach = float(stats.norm.ppf((1 + coverage) / 2))
        return float(np.sign(self.mean)) if abs(self.mean) > reach * self.se else 0.0


def has_lift(control: Level, treatment: Level, coverage: float, size: float = 0.0) -> bool:
    """Returns whether effect / control's mean says something.

    It does where the interval of control's mean does not contain 0 (Fieller's condition) and the arm's values vary.

    Args:
        control: Level of control, without adjustment.
        treatment: Level of the arm, without adjustment.
        coverage: Coverage of the interval.
        size: Standard deviation of the metric; a mean below 1e-9 of it is a rounding error.

    >>> has_lift(Level(0.1, 0.01), Level(0.12, 0.01), 0.95), has_lift(Level(0.1, 0.1), Level(0.12, 0.01), 0.95)
    (True, False)
    """
    least = 1e-9 * max(size, control.se, treatment.se, abs(treatment.mean))
    return control.sign(coverage) != 0 and abs(control.mean) > least and treatment.se > 1e-6 * control.se


def lift_error(control: Level, effect: Level, covariance: float) -> float:
    """Returns the standard error of effect / control's mean by the delta method.

    Args:
        control: Level of control.
        effect: The effect.
        covariance: Of effect and control's mean.

    >>> round(lift_error(Level(0.1, 0.01), Level(0.02, 0.014), covariance=-0.0001), 3)
    0.155
    """
    of_effect, of_control = 1 / control.mean, -effect.mean / control.mean**2
    variance = (of_effect * effect.se) ** 2 + (of_control * control.se) ** 2 + 2 * of_effect * of_control * covariance
    return float(np.sqrt(max(variance, 0.0)))


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
        lift: Effect divided by control's mean; NaN where a ratio of the means says nothing, see `has_lift`.
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
        """Returns an effect with its t-intervals at coverage `level`; the errors are of effect and lift (NaN: no lift)."""
        reach = float(stats.t.ppf((1 + level) / 2, degrees_of_freedom))
        se, lift_se = standard_errors
        lift = effect / control if lift_se == lift_se else np.nan
        p_value = float(2 * stats.t.sf(abs(effect) / se, degrees_of_freedom)) if se > 0 else np.nan
        return cls(
            method, arm, control, control + effect, effect, se, effect - reach * se, effect + reach * se, p_value,
            lift, lift - reach * lift_se, lift + reach * lift_se,
        )  # fmt: skip
