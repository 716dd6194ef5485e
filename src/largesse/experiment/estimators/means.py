"""Difference in means, CUPED and CUPAC, by tea-tasting's formulas on sums over randomised units.

Each estimator is a ratio of means with a delta-method variance: a ratio metric, a mean over clusters (sum / size), or a
weighted mean (sum / weight). CUPED adjusts by the pre-experiment metric, CUPAC by a prediction of the metric.

Reference:
    Deng et al. 2013 (CUPED), WSDM; Tang et al. 2020 (CUPAC); Deng, Knoblich & Lu 2018 (delta method), KDD.
"""

from __future__ import annotations

import numpy as np
import tea_tasting as tt
from scipy import stats
from tea_tasting.aggr import Aggregates

from largesse.experiment.data.sample import Sample
from largesse.experiment.estimators.effect import Effect, Level, has_lift, lift_error
from largesse.experiment.estimators.totals import Totals, unit_totals

__all__ = ["means"]


def means(sample: Sample, other: int, *, level: float = 0.95, sums: Totals | None = None) -> tuple[Effect, ...]:
    """Returns the difference in means, CUPED if there is a covariate, and CUPAC if there is a prediction.

    Args:
        sample: The rows.
        other: Code of the arm compared with control.
        level: Coverage of the intervals.
        sums: `unit_totals(sample)`, if already computed.

    >>> rng = np.random.default_rng(0)
    >>> before, arm = rng.normal(size=2000), np.arange(2000) % 2
    >>> sample = Sample(value=before + 0.1 * arm + rng.normal(size=2000), arm=arm, arms=("A", "B"), covariate=before)
    >>> [effect.method for effect in means(sample, 1)]
    ['difference in means', 'CUPED']
    """
    sums = unit_totals(sample) if sums is None else sums
    kinds = (("difference in means", None), ("CUPED", "covariate"), ("CUPAC", "prediction"))
    return tuple(
        _effect(method, sample.arms[other], covariate, sums, other, level)
        for method, covariate in kinds
        if covariate is None or covariate in sums.names
    )


def _ratio_metric(
    names: tuple[str, ...], covariate: str | None, *, level: float = 0.95, use_t: bool = True
) -> tt.RatioOfMeans:
    """Returns tea-tasting's metric for these columns of `unit_totals`."""
    size = "size" if "size" in names else None
    denominator = _denominator(names)
    return tt.RatioOfMeans(
        "value", denominator, covariate, size if covariate else None, confidence_level=level, use_t=use_t, equal_var=False,
        alternative="two-sided",
    )  # fmt: skip


def _denominator(names: tuple[str, ...]) -> str | None:
    """Returns the column by whose mean that of the value is divided; None: the value's mean is the metric."""
    return next((name for name in ("denominator", "size") if name in names), None)


def _aggregates(sums: Totals, arm: int, more: float) -> Aggregates:
    """Returns an arm's sums in tea-tasting's form, with `more` times the denominator added to the value."""
    n, names, of = int(sums.rows[arm]), sums.names, _denominator(sums.names) or ""

    def spread(a: str, b: str) -> float:
        parts = [(1.0, a, b)]
        for first, second in ((a, b), (b, a)):
            parts += [(more, of, second)] * (first == "value")
        parts += [(more**2, of, of)] * (a == b == "value")
        return sum(weight * sums.spread(arm, p, q) for weight, p, q in parts) / (n - 1)

    return Aggregates(
        n,
        {name: sums.mean(arm, name) + (more * sums.mean(arm, of) if name == "value" else 0.0) for name in names},
        {name: spread(name, name) for name in names},
        {(a, b): spread(a, b) for k, a in enumerate(names) for b in names[k:]},
    )


def _level_of(sums: Totals, arm: int) -> Level:
    """Returns an arm's mean (or ratio) and its standard error."""
    n, y, z = sums.rows[arm], "value", _denominator(sums.names) or ""
    ratio = sums.mean(arm, y) / sums.mean(arm, z)
    squares = sums.spread(arm, y, y) - 2 * ratio * sums.spread(arm, y, z) + ratio**2 * sums.spread(arm, z, z)
    return Level(ratio, float(np.sqrt(max(squares, 0.0) / n / (n - 1))) / sums.mean(arm, z))


def _effect(method: str, name: str, covariate: str | None, sums: Totals, other: int, level: float) -> Effect:
    """Returns the effect of an arm.

    tea-tasting's interval of the lift takes logarithms of both means. Where they are not surely on the same side of 0, both
    are raised by a constant, on which no other number depends, and the lift has the delta method's interval, if any.
    """
    metric, levels = _ratio_metric(sums.names, covariate, level=level), [_level_of(sums, arm) for arm in (0, other)]
    more = 10.0 * (max(abs(x) for pair in levels for x in pair) or 1.0)
    raised = [_aggregates(sums, arm, more) for arm in (0, other)]
    result = metric.analyze_aggregates(*raised)
    if result.effect_size:
        se = result.effect_size / result.statistic
    else:  # effect and statistic are 0: the standard error follows from a normal interval
        normal = _ratio_metric(sums.names, covariate, level=level, use_t=False).analyze_aggregates(*raised)
        se = normal.effect_size_ci_upper / stats.norm.ppf((1 + level) / 2)
    left = se / float(
        np.hypot(levels[0].se, levels[1].se)
    )  # share of the standard errors after an adjustment, in both arms
    control, treatment = (
        Level(mean - more, left * arm.se) for mean, arm in zip((result.control, result.treatment), levels, strict=True)
    )
    lifts, known = (np.nan,) * 3, has_lift(levels[0], levels[1], level)
    if known and control.sign(level) * treatment.sign(level) > 0:
        result = metric.analyze_aggregates(*(_aggregates(sums, arm, 0.0) for arm in (0, other)))
        control, treatment = control._replace(mean=result.control), treatment._replace(mean=result.treatment)
        lifts = result.rel_effect_size, result.rel_effect_size_ci_lower, result.rel_effect_size_ci_upper
    elif known and control.mean:
        wide = lift_error(control, Level(result.effect_size, se), -(control.se**2))
        lift, reach = result.effect_size / control.mean, stats.norm.ppf((1 + level) / 2) * wide
        lifts = lift, lift - reach, lift + reach
    numbers = (
        control.mean, treatment.mean, result.effect_size, se, result.effect_size_ci_lower, result.effect_size_ci_upper,
        result.pvalue, *lifts,
    )  # fmt: skip
    return Effect(method, name, *(float(x) for x in numbers))
