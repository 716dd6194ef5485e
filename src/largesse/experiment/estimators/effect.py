"""The estimated effect of one arm against control."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats

from largesse.experiment.estimators.shape import FEW_EVENTS_IN_AN_ARM, Shape, ends, p_value

__all__ = ["METHODS", "SHOWN", "Effect", "Estimate", "Level", "has_lift", "lift_ends"]

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


def lift_ends(effect: Level, control: Level, covariance: float, quantiles: tuple[float, float]) -> tuple[float, float]:
    """Returns the interval of effect / control's mean; NaN where control's mean is too uncertain for the interval to end.

    It is the set of ratios r at which (effect - r · control) / se(effect - r · control) lies between the quantiles (Fieller), so
    it contains 0 exactly where the effect's interval does.

    Args:
        effect: The effect.
        control: Level of control.
        covariance: Of effect and control's mean.
        quantiles: Lower and upper quantile of the effect's t-statistic.

    Reference:
        Fieller 1954, Some problems in interval estimation, Journal of the Royal Statistical Society B 16(2).

    >>> [round(x, 3) for x in lift_ends(Level(0.02, 0.014), Level(0.1, 0.01), -0.0001, (-1.96, 1.96))]
    [-0.065, 0.561]
    """
    e, c, variance, of_control = effect.mean, control.mean, effect.se**2, control.se**2
    out = []
    for q in quantiles:
        bounded = c**2 - q**2 * of_control
        inner = (
            c**2 * variance
            - 2 * e * c * covariance
            + e**2 * of_control
            - q**2 * (variance * of_control - covariance**2)
        )
        if not bounded > 0:
            return float("nan"), float("nan")
        out.append((e * c - q**2 * covariance - q * np.sign(c) * np.sqrt(max(inner, 0.0))) / bounded)
    return float(min(out)), float(max(out))


class Estimate(NamedTuple):
    """An effect before its interval.

    Attributes:
        effect: The effect and its standard error.
        control: Level of control.
        covariance: Of both.
        freedom: Degrees of freedom of the effect's standard error.
        shape: What the interval rests on.
    """

    effect: Level
    control: Level
    covariance: float
    freedom: float
    shape: Shape


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
        lift_low: Lower end of the lift's interval, which contains 0 exactly where the effect's interval does.
        lift_high: Upper end of the lift's interval.
        p_adjusted: p-value adjusted for the number of arms and metrics (Holm); NaN before the adjustment.
        events: Effective number of events on which the interval rests: of the arm with fewer.
        control_events: Effective number of events in control.
        treatment_events: Effective number of events in the arm.
        caution: Why the interval may cover less than it says; empty where nothing speaks against it.
        skewness: Of one unit's contribution, for which the interval is corrected where the arms differ in size; 0 for STATE.
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
    events: float = float("nan")
    control_events: float = float("nan")
    treatment_events: float = float("nan")
    caution: str = ""
    skewness: float = float("nan")

    @classmethod
    def of(cls, method: str, arm: str, estimate: Estimate, level: float, *, lift: bool) -> Effect:
        """Returns the effect with its interval at coverage `level`, p-value and, where `lift` is set, its lift."""
        effect, control, covariance, freedom, shape = estimate
        below, above = ends(level, freedom, shape.skewness)
        known, low, high = lift and control.mean != 0, float("nan"), float("nan")
        if known:
            low, high = lift_ends(effect, control, covariance, (below, above))
        return cls(
            method, arm, control.mean, control.mean + effect.mean, effect.mean, effect.se,
            effect.mean - above * effect.se, effect.mean - below * effect.se,
            p_value(effect.mean / effect.se, freedom, shape.skewness) if effect.se > 0 else float("nan"),
            effect.mean / control.mean if known and low == low else float("nan"), low, high, events=shape.events,
            control_events=shape.control, treatment_events=shape.treatment, caution=_caution(shape.events, level),
            skewness=shape.unit,
        )  # fmt: skip


def _caution(events: float, level: float) -> str:
    """Returns the warning that stands beside an interval with few events, or nothing."""
    if not events < FEW_EVENTS_IN_AN_ARM - 1e-6:
        return ""
    size = f"about {events:.0f} event{'' if round(events) == 1 else 's'}" if events >= 0.5 else "no event"
    return f"rests on {size}: it may cover less than {100 * level:.4g} %"


SHOWN = tuple(name for name in Effect._fields if name not in ("control_events", "treatment_events", "skewness"))
"""The columns of a table of effects; `to_dict` has all fields."""
