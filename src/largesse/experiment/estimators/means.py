"""Difference in means, CUPED and CUPAC, by tea-tasting's formulas on sums over randomised units.

Each estimator is a ratio of means with a delta-method variance: a ratio metric, a mean over clusters (sum / size), or a
weighted mean (sum / weight). CUPED adjusts by the pre-experiment metric, CUPAC by a prediction of the metric. With arms of
equal sizes the interval of the effect is Welch's; with others it is corrected for skewness, see `shape`.

Reference:
    Deng et al. 2013 (CUPED), WSDM; Tang et al. 2020 (CUPAC); Deng, Knoblich & Lu 2018 (delta method), KDD.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from largesse import _check
from largesse._arguments import checked
from largesse.experiment.data.sample import BLOCK, Codes, Floats, Sample
from largesse.experiment.estimators.effect import Effect, Estimate, Level, has_lift
from largesse.experiment.estimators.shape import Contributions
from largesse.experiment.estimators.totals import Totals, unit_columns, unit_totals

__all__ = ["contributions", "means"]

_KINDS = {"difference in means": None, "CUPED": "covariate", "CUPAC": "prediction"}


@checked
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
    columns, arm = unit_columns(sample)
    plain = _contributions(_adjustment(sums, None, other), sums, columns, arm, other)
    levels = [
        Level(_ratio(sums, a, "value"), float(np.sqrt(v))) for a, v in zip((0, other), plain.variances(), strict=True)
    ]
    known = has_lift(levels[0], levels[1], level)
    return tuple(
        Effect.of(method, sample.arms[other], _estimate(sums, covariate, columns, arm, other), level, lift=known)
        for method, covariate in _KINDS.items()
        if covariate is None or covariate in sums.names
    )


@checked
def contributions(sample: Sample, other: int, method: str = "difference in means") -> tuple[float, Floats]:
    """Returns the effect of an arm by one of these estimators, and what each unit of the two arms contributes to it (G,).

    The contributions have expectation 0, and the sum of their squares is the variance of the effect.

    Args:
        sample: The rows.
        other: Code of the arm compared with control.
        method: The estimator, as named by `means`.

    Raises:
        DataError: There is no such estimator.

    Example:
        >>> sample = Sample(value=[1.0, 3.0, 2.0, 6.0], arm=[0, 0, 1, 1], arms=("A", "B"))
        >>> effect, each = contributions(sample, 1)
        >>> effect, round(float((each**2).sum()), 9)
        (2.0, 5.0)
    """
    covariate = _KINDS[_check.choice("method", method, tuple(_KINDS))]
    sums = unit_totals(sample)
    columns, arm = unit_columns(sample)
    how, every = _adjustment(sums, covariate, other), slice(None)
    each = _deviations("value", how.below[0], sums, columns, every, arm, other)
    if how.covariate is not None:
        each -= how.slope * _deviations(how.covariate, how.below[1], sums, columns, every, arm, other)
    n = sums.rows[np.where(arm == other, other, 0)]
    pair = (arm == 0) | (arm == other)
    effect = _adjusted(how, sums, other) - _adjusted(how, sums, 0)
    return effect, np.asarray((each * np.sqrt(n / (n - 1)))[pair])


class _Adjustment(NamedTuple):
    """The adjusted mean of an arm is ratio(value) - slope · (ratio(covariate) - centre).

    `below` are the denominators of the value and of the covariate; None where their means are the ratios.
    """

    covariate: str | None
    below: tuple[str | None, str | None]
    slope: float
    centre: float


def _adjustment(sums: Totals, covariate: str | None, other: int) -> _Adjustment:
    """Returns the adjustment by the least-squares slope over both arms."""
    size = "size" if "size" in sums.names else None
    below = "denominator" if "denominator" in sums.names else size
    if covariate is None:
        return _Adjustment(None, (below, None), 0.0, 0.0)
    both = sums.of(0, other)
    centre, ratio = (_ratio(both, 0, name, z) for name, z in ((covariate, size), ("value", below)))
    of_value, of_covariate = {"value": 1.0, below or "": -ratio}, {covariate: 1.0, size or "": -centre}

    def product(left: dict[str, float], right: dict[str, float]) -> float:
        return sum(p * q * both.spread(0, a, b) for a, p in left.items() for b, q in right.items())

    squares = product(of_covariate, of_covariate)
    scale = both.mean(0, below or "") / both.mean(0, size or "")
    slope = product(of_value, of_covariate) / squares / scale if squares > 0 else 0.0
    return _Adjustment(covariate, (below, size), slope, centre)


def _ratio(sums: Totals, arm: int, name: str, below: str | None = "") -> float:
    """Returns the mean of a column in an arm, divided by that of its denominator; by default the metric's."""
    if below == "":
        below = next((z for z in ("denominator", "size") if z in sums.names), None)
    return sums.mean(arm, name) / sums.mean(arm, below or "")


def _estimate(sums: Totals, covariate: str | None, columns: dict[str, Floats], arm: Codes, other: int) -> Estimate:
    """Returns the effect of an arm with its standard error, Welch's degrees of freedom, and what it rests on."""
    how = _adjustment(sums, covariate, other)
    each = _contributions(how, sums, columns, arm, other)
    variances, n = each.variances(), sums.rows[[0, other]]
    variance = float(variances.sum())
    freedom = variance**2 / float((variances**2 / (n - 1)).sum()) if variance > 0 else float(n.sum() - 2)
    control, treatment = (_adjusted(how, sums, a) for a in (0, other))
    return Estimate(
        Level(treatment - control, float(np.sqrt(variance))), Level(control, float(np.sqrt(variances[0]))),
        -float(variances[0]), freedom, each.shape(),
    )  # fmt: skip


def _adjusted(how: _Adjustment, sums: Totals, arm: int) -> float:
    """Returns the adjusted mean of an arm."""
    mean = _ratio(sums, arm, "value", how.below[0])
    if how.covariate is None:
        return mean
    return mean - how.slope * (_ratio(sums, arm, how.covariate, how.below[1]) - how.centre)


def _contributions(how: _Adjustment, sums: Totals, columns: dict[str, Floats], arm: Codes, other: int) -> Contributions:
    """Returns the sums of what each unit contributes to the effect, in one pass over the units in blocks."""
    out = Contributions()
    for start in range(0, len(arm), BLOCK):
        part = slice(start, start + BLOCK)
        codes = arm[part]
        pair = (codes == 0) | (codes == other)
        treated = codes[pair] == other
        each = _deviations("value", how.below[0], sums, columns, part, codes, other)
        if how.covariate is not None:
            each -= how.slope * _deviations(how.covariate, how.below[1], sums, columns, part, codes, other)
        out.add(each[pair], treated)
    return out


def _deviations(
    name: str, below: str | None, sums: Totals, columns: dict[str, Floats], part: slice, codes: Codes, other: int
) -> Floats:
    """Returns ± (y - ratio z) / z̄ / n of each unit in a block, with the ratio, z̄ and n of its arm; + in the other arm (m,)."""
    z = columns[below][part] if below is not None else 1.0
    ratio, factor = np.empty(2), np.empty(2)
    for k, (a, sign) in enumerate(((0, -1.0), (other, 1.0))):
        ratio[k], factor[k] = _ratio(sums, a, name, below), sign / sums.rows[a] / sums.mean(a, below or "")
    which = (codes == other).astype(np.int32)
    return np.asarray((columns[name][part] - ratio[which] * z) * factor[which])
