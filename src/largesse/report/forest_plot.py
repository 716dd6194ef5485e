"""The rows of a forest plot: effects with intervals, by metric, arm and estimator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan, nan

__all__ = ["EffectRow", "Forest", "forest"]

_COLOURS = {
    "difference in means": "#7b828c",
    "CUPED": "#e69f00",
    "CUPAC": "#009e73",
    "MLRATE": "#d55e00",
    "STATE": "#0072b2",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectRow:
    """One arm against control on one metric by one estimator.

    Attributes:
        metric: Name of the metric.
        arm: The arm compared with control.
        method: The estimator.
        effect: The arm less control, in units of the metric.
        low: Lower end of its interval.
        high: Upper end.
        lift: Effect divided by the mean of control; NaN where that is 0.
        lift_low: Lower end of its interval.
        lift_high: Upper end.
        p_value: Adjusted for the number of arms and metrics.
        relative_error: Standard error as a share of that of the difference in means.
        reading: Whether this is the estimate to read.
        events: Effective number of events on which the interval rests.
        caution: Why the interval may cover less than it says; empty where nothing speaks against it.
    """

    metric: str
    arm: str
    method: str
    effect: float
    low: float
    high: float
    lift: float = nan
    lift_low: float = nan
    lift_high: float = nan
    p_value: float = nan
    relative_error: float = nan
    reading: bool = False
    events: float = nan
    caution: str = ""

    @property
    def group(self) -> str:
        """Metric and arm."""
        return f"{self.metric}: {self.arm}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Forest:
    """The content of a forest plot.

    Attributes:
        relative: Whether lifts are shown, because metrics with several units share the axis.
        label: Label of the axis.
        rows: The effects that are shown.
        ends: Estimate, lower and upper end of each.
        colours: By estimator.
    """

    relative: bool
    label: str
    rows: tuple[EffectRow, ...]
    ends: list[tuple[float, float, float]]
    colours: dict[str, str]


def forest(effects: Sequence[EffectRow]) -> Forest:
    """Returns the content of a forest plot of these effects: lifts where there are several metrics, else effects.

    >>> row = {"arm": "B", "method": "STATE", "effect": 2.0, "low": 1.0, "high": 3.0, "lift": 0.1}
    >>> forest([EffectRow(metric="a", **row)]).ends, forest([EffectRow(metric=m, **row) for m in "ab"]).label
    ([(2.0, 1.0, 3.0)], 'lift over control')
    """
    metrics = list(dict.fromkeys(effect.metric for effect in effects))
    relative = len(metrics) > 1
    rows = tuple(e for e in effects if not (relative and isnan(e.lift)))
    return Forest(
        relative=relative, rows=rows,
        label="lift over control" if relative else f"effect on {metrics[0]}",
        ends=[(e.lift, e.lift_low, e.lift_high) if relative else (e.effect, e.low, e.high) for e in rows],
        colours={name: _COLOURS[name] for name in dict.fromkeys(e.method for e in rows)},
    )  # fmt: skip
