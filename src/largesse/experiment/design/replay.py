"""A/A and A/B replays of historical data: false-positive rate, precision and power of each estimator.

Historical rows are assigned to arms at random, many times, and each assignment is measured as an experiment. No arm was
treated, so every significant effect is a false positive (A/A). For power, δ is added to every unit of the treated arm (δ
times the denominator for a ratio), with δ a share of the metric's mean (A/B). Predictions do not depend on the arms and
are made once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from largesse import _check
from largesse._arguments import checked
from largesse._random import child
from largesse.experiment.data.sample import Sample
from largesse.experiment.estimators.contrast import contrast
from largesse.experiment.estimators.effect import Effect
from largesse.experiment.estimators.guard import guard
from largesse.experiment.estimators.means import means
from largesse.progress import Say, silent
from largesse.result import Tabular, columns_of

__all__ = ["Replay", "ReplayRow", "randomised", "replay"]


_ALPHA = 0.05


class ReplayRow(NamedTuple):
    """One estimator over all draws.

    Attributes:
        method: The estimator.
        false_positives: Share of the draws without an effect in which the test is significant.
        low: Lower end of that share's 95 % interval (Clopper-Pearson).
        high: Upper end.
        sd: Standard deviation of the estimates.
        se: Root mean square of the estimated standard errors.
        relative: Variance of the estimates, as a share of that of the difference in means.
        power: Share of the draws with an effect in which the test is significant, for each lift (L,).
        skewness: Of one unit's contribution, mean over the draws; 0 for STATE.
    """

    method: str
    false_positives: float
    low: float
    high: float
    sd: float
    se: float
    relative: float
    power: tuple[float, ...]
    skewness: float = 0.0


@checked
@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class Replay(Tabular):
    """The result of a replay.

    Attributes:
        rows: One row per estimator.
        units: Randomised units in each draw.
        draws: Number of random assignments.
        share: Share of the units in the treated arm.
        lifts: Effects for which `power` is given, as shares of the metric's mean (L,).
        level: Mean (or ratio) of the metric.
        warned: Share of the draws without an effect in which the guard warns of STATE.
        alpha: Level of the tests.
        binary: Whether the metric of every row is 0 or 1, so that an effect changes its variance.
    """

    rows: tuple[ReplayRow, ...]
    units: int
    draws: int
    share: float
    lifts: tuple[float, ...]
    level: float
    warned: float
    alpha: float
    binary: bool = False

    def _columns(self) -> dict[str, list[Any]]:
        return columns_of(self.rows, ReplayRow._fields)

    def __getitem__(self, method: str) -> ReplayRow:
        """Returns the row of an estimator; refuses an unknown one."""
        by_method = {row.method: row for row in self.rows}
        return by_method[_check.choice("method", method, tuple(by_method))]


@checked
def replay(
    history: Sample,
    *,
    draws: int = 2000,
    share: float = 0.5,
    lifts: Sequence[float] = (),
    seed: int = 0,
    say: Say = silent,
) -> Replay:
    """Returns each estimator's false-positive rate, precision and power at level 5 % on random assignments of history.

    Args:
        history: Historical rows; their arms are ignored.
        draws: Number of random assignments, >= 20.
        share: Share of the units in the treated arm.
        lifts: Effects to add, as shares of the metric's mean.
        seed: Draw k depends on seed and k only.
        say: Called with the stage and the share of the work done.

    Raises:
        DataError: A number is out of its range.

    >>> rng = np.random.default_rng(0)
    >>> g = rng.normal(size=400)
    >>> value = 10 + g + rng.normal(size=400)
    >>> past = Sample(value=value, arm=np.arange(400) % 2, arms=("A", "B"), prediction=g)
    >>> result = replay(past, draws=40, lifts=(0.05,))
    >>> round(result["CUPAC"].relative, 1), result["CUPAC"].power[0] > result["difference in means"].power[0]
    (0.5, True)
    """
    _check.number("draws", draws, low=20, high=1e7)
    _check.number("share", share, low=0.01, high=0.99)
    level = _level(history)
    without: list[tuple[Effect, ...]] = []
    with_lift: list[list[tuple[Effect, ...]]] = []
    warned = 0
    for k in range(draws):
        sample = replace(history, arms=("A", "B"), arm=randomised(history, share, child(seed, 7, k)))
        effects, warns = _measured(sample)
        warned += warns
        without.append(effects)
        with_lift.append([_with_effect(sample, effects, lift * level) for lift in lifts])
        if k % 50 == 49:
            say(f"draw {k + 1} of {draws}", (k + 1) / draws)
    return Replay(
        rows=_rows(without, with_lift), units=history.clusters or history.n, draws=draws, share=share,
        lifts=tuple(float(lift) for lift in lifts), level=level, warned=warned / draws, alpha=_ALPHA,
        binary=history.denominator is None and bool(np.isin(history.value, (0.0, 1.0)).all()),
    )  # fmt: skip


def randomised(history: Sample, share: float, rng: np.random.Generator) -> NDArray[np.int32]:
    """Returns the arm of each row (N,): a random share of the units (of the clusters where there are any) is treated."""
    units = history.clusters or history.n
    treated = min(max(round(share * units), 2), units - 2)
    arm = (rng.permutation(units) < treated).astype(np.int32)
    return arm if history.cluster is None else arm[history.cluster]


def _level(history: Sample) -> float:
    """Returns the metric's weighted mean, or ratio, over all rows."""
    weight = np.ones(history.n) if history.weight is None else history.weight
    denominator = weight if history.denominator is None else weight * history.denominator
    return float(weight @ history.value / denominator.sum())


def _measured(sample: Sample) -> tuple[tuple[Effect, ...], bool]:
    """Returns the effect by every estimator, and whether the guard warns."""
    pair = contrast(sample, 1, level=1 - _ALPHA)
    mlrate = (pair.mlrate,) if sample.prediction is not None else ()
    return (*means(sample, 1, level=1 - _ALPHA), *mlrate, pair.state), guard(pair).warns


def _with_effect(sample: Sample, effects: tuple[Effect, ...], size: float) -> tuple[Effect, ...]:
    """Returns the estimates with an effect added to the draw; a shift of all units moves every estimate and no standard error."""
    if sample.denominator is None:
        return tuple(e._replace(effect=e.effect + size, low=e.low + size, high=e.high + size) for e in effects)
    value = sample.value + size * sample.denominator * (sample.arm == 1)
    return _measured(replace(sample, value=value))[0]


def _rows(without: list[tuple[Effect, ...]], with_lift: list[list[tuple[Effect, ...]]]) -> tuple[ReplayRow, ...]:
    effect, se, skewness, significant = (
        np.array([[quantity(e) for e in draw] for draw in without], np.float64)  # (draws, methods)
        for quantity in (lambda e: e.effect, lambda e: e.se, lambda e: e.skewness, _significant)
    )
    power = np.array([[[_significant(e) for e in lift] for lift in draw] for draw in with_lift]).mean(
        axis=0
    )  # (L, methods)
    variance, draws = effect.var(axis=0, ddof=1), len(without)
    rows = []
    for j, first in enumerate(without[0]):
        k = int(significant[:, j].sum())
        low, high = (float(x) for x in stats.binomtest(k, draws).proportion_ci())
        rows.append(
            ReplayRow(
                first.method, k / draws, low, high, float(np.sqrt(variance[j])), float(np.sqrt((se[:, j] ** 2).mean())),
                float(variance[j] / variance[0]), tuple(float(p[j]) for p in power),
                float(skewness[:, j].mean()),
            )
        )  # fmt: skip
    return tuple(rows)


def _significant(effect: Effect) -> bool:
    """Returns whether the interval excludes 0."""
    return effect.low > 0 or effect.high < 0
