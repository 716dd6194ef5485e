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
from largesse.experiment.estimators.effect import Effect
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
    arms = [_aggregates(sums, arm) for arm in (0, other)]
    kinds = (("difference in means", None), ("CUPED", "covariate"), ("CUPAC", "prediction"))
    return tuple(
        _effect(method, sample.arms[other], sums.names, covariate, arms, level)
        for method, covariate in kinds
        if covariate is None or covariate in sums.names
    )


def _ratio_metric(
    names: tuple[str, ...], covariate: str | None, *, level: float = 0.95, use_t: bool = True
) -> tt.RatioOfMeans:
    """Returns tea-tasting's metric for these columns of `unit_totals`."""
    size = "size" if "size" in names else None
    denominator = "denominator" if "denominator" in names else size
    return tt.RatioOfMeans(
        "value", denominator, covariate, size if covariate else None, confidence_level=level, use_t=use_t, equal_var=False,
        alternative="two-sided",
    )  # fmt: skip


def _aggregates(sums: Totals, arm: int) -> Aggregates:
    """Returns an arm's sums in tea-tasting's form."""
    n, names = int(sums.rows[arm]), sums.names
    return Aggregates(
        n,
        {name: sums.mean(arm, name) for name in names},
        {name: sums.spread(arm, name, name) / (n - 1) for name in names},
        {(a, b): sums.spread(arm, a, b) / (n - 1) for k, a in enumerate(names) for b in names[k:]},
    )


def _effect(
    method: str, arm: str, names: tuple[str, ...], covariate: str | None, arms: list[Aggregates], level: float
) -> Effect:
    result = _ratio_metric(names, covariate, level=level).analyze_aggregates(*arms)
    if result.effect_size:
        se = result.effect_size / result.statistic
    else:  # effect and statistic are 0: the standard error follows from a normal interval
        normal = _ratio_metric(names, covariate, level=level, use_t=False).analyze_aggregates(*arms)
        se = normal.effect_size_ci_upper / stats.norm.ppf((1 + level) / 2)
    numbers = (
        result.control, result.treatment, result.effect_size, se, result.effect_size_ci_lower, result.effect_size_ci_upper,
        result.pvalue, result.rel_effect_size, result.rel_effect_size_ci_lower, result.rel_effect_size_ci_upper,
    )  # fmt: skip
    return Effect(method, arm, *(float(np.real(x)) for x in numbers))
