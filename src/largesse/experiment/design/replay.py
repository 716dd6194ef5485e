"""History replayed as experiments: how often each estimator errs where nothing happened, how precise it is, what it would see.

The rows of the past are given arms at random, many times, and measured as an experiment would be. Nothing was done to them,
so every effect that is found is false (A/A). An effect is then put in: δ is added to every unit of the other arm (δ times
the denominator for a ratio), with δ a share of the metric's level (A/B). The prediction does not depend on the arms, so it
is made once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from largesse import _check
from largesse._random import child
from largesse.experiment.data.sample import Floats, Sample
from largesse.experiment.estimators.contrast import contrast
from largesse.experiment.estimators.effect import Effect
from largesse.experiment.estimators.guard import guard
from largesse.experiment.estimators.means import means
from largesse.progress import Say, silent
from largesse.result import Tabular, columns_of

__all__ = ["Replay", "ReplayRow", "randomised", "replay"]


class ReplayRow(NamedTuple):
    """One estimator over all draws.

    Attributes:
        method: The estimator.
        false_positives: Share of the draws in which an effect was found where there was none.
        low: Lower end of its 95 % interval (Clopper and Pearson).
        high: Upper end.
        sd: Standard deviation of its estimates.
        se: Root mean square of the standard errors it stated.
        relative: Variance as a share of that of the difference in means.
        power: Share of the draws in which an effect of each lift was found.
    """

    method: str
    false_positives: float
    low: float
    high: float
    sd: float
    se: float
    relative: float
    power: tuple[float, ...]


@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class Replay(Tabular):
    """What the replay of a history says.

    Attributes:
        rows: One for each estimator.
        units: Randomised units in each draw.
        draws: How often arms were drawn.
        share: Share of the units in the other arm.
        lifts: The lifts that `power` is about.
        level: Level of the metric, of which a lift is a share.
        warned: Share of the draws without an effect in which the guard warned of STATE.
        alpha: Level of the tests.
    """

    rows: tuple[ReplayRow, ...]
    units: int
    draws: int
    share: float
    lifts: tuple[float, ...]
    level: float
    warned: float
    alpha: float

    def _columns(self) -> dict[str, list[Any]]:
        return columns_of(self.rows, ReplayRow._fields)

    def __getitem__(self, method: str) -> ReplayRow:
        """Returns an estimator's row, or refuses."""
        found = {row.method: row for row in self.rows}
        return found[_check.choice("method", method, tuple(found))]


def replay(
    history: Sample, *, draws: int = 2000, share: float = 0.5, lifts: Sequence[float] = (), nu: float | None = 10.0,
    alpha: float = 0.05, seed: int = 0, say: Say = silent,
) -> Replay:  # fmt: skip
    """Returns what each estimator would have said of experiments in which nothing happened, and of small effects.

    Args:
        history: Rows of the past; their arms do not matter.
        draws: How often arms are drawn, >= 20.
        share: Share of the units in the other arm.
        lifts: Effects to look for, as shares of the metric's level.
        nu: Degrees of freedom of STATE; None estimates them.
        alpha: Level of the tests.
        seed: Draw k depends on seed and k only.
        say: Told the share of the work that is done.

    Raises:
        DataError: A number is out of its range.

    >>> rng = np.random.default_rng(0)
    >>> g = rng.normal(size=400)
    >>> value = 10 + g + rng.normal(size=400)
    >>> past = Sample(value=value, arm=np.arange(400) % 2, arms=("A", "B"), prediction=g)
    >>> found = replay(past, draws=40, lifts=(0.05,))
    >>> round(found["CUPAC"].relative, 1), found["CUPAC"].power[0] > found["difference in means"].power[0]
    (0.5, True)
    """
    for name, got, low, high in (("draws", draws, 20, 1e7), ("share", share, 0.01, 0.99), ("alpha", alpha, 1e-4, 0.5)):
        _check.number(name, got, low=low, high=high)
    level = _level(history)
    plain: list[tuple[Effect, ...]] = []
    moved: list[list[tuple[Effect, ...]]] = []
    warned = 0
    for k in range(draws):
        sample = replace(history, arms=("A", "B"), arm=randomised(history, share, child(seed, 7, k)))
        effects, warns = _measured(sample, nu, alpha)
        warned += warns
        plain.append(effects)
        moved.append([_with_effect(sample, effects, lift * level, nu, alpha) for lift in lifts])
        if k % 50 == 49:
            say(f"draw {k + 1} of {draws}", (k + 1) / draws)
    return Replay(
        rows=_rows(plain, moved, alpha), units=history.clusters or history.n, draws=draws, share=share,
        lifts=tuple(float(lift) for lift in lifts), level=level, warned=warned / draws, alpha=alpha,
    )  # fmt: skip


def randomised(history: Sample, share: float, rng: np.random.Generator) -> NDArray[np.int32]:
    """Returns the arm of each row (N,): a share of the randomised units, drawn at random, is in the other arm."""
    units = history.clusters or history.n
    treated = min(max(round(share * units), 2), units - 2)
    arm = (rng.permutation(units) < treated).astype(np.int32)
    return arm if history.cluster is None else arm[history.cluster]


def _level(history: Sample) -> float:
    """The metric's mean, or ratio, over all rows."""
    weight = np.ones(history.n) if history.weight is None else history.weight
    below = weight if history.denominator is None else weight * history.denominator
    return float(weight @ history.value / below.sum())


def _measured(sample: Sample, nu: float | None, alpha: float) -> tuple[tuple[Effect, ...], bool]:
    """Every estimator on one draw, and whether the guard warns."""
    pair = contrast(sample, 1, nu=nu, level=1 - alpha)
    own = (pair.mlrate,) if sample.prediction is not None else ()
    return (*means(sample, 1, level=1 - alpha), *own, pair.state), guard(pair).warns


def _with_effect(
    sample: Sample, effects: tuple[Effect, ...], size: float, nu: float | None, alpha: float
) -> tuple[Effect, ...]:
    """The same draw with an effect put in. Where every unit gains the same, all estimates move by it and no error changes."""
    if sample.denominator is None:
        return tuple(e._replace(effect=e.effect + size, low=e.low + size, high=e.high + size) for e in effects)
    gained = sample.value + size * sample.denominator * (sample.arm == 1)
    return _measured(replace(sample, value=gained), nu, alpha)[0]


def _rows(
    plain: list[tuple[Effect, ...]], moved: list[list[tuple[Effect, ...]]], alpha: float
) -> tuple[ReplayRow, ...]:
    effect, se, seen = (_table(plain, what) for what in (lambda e: e.effect, lambda e: e.se, _seen))
    power = np.array([[[_seen(e) for e in lift] for lift in draw] for draw in moved]).mean(axis=0)  # (L, methods)
    variance, draws = effect.var(axis=0, ddof=1), len(plain)
    rows = []
    for j, one in enumerate(plain[0]):
        k = int(seen[:, j].sum())
        low, high = (float(x) for x in stats.binomtest(k, draws).proportion_ci())
        rows.append(
            ReplayRow(
                one.method, k / draws, low, high, float(np.sqrt(variance[j])), float(np.sqrt((se[:, j] ** 2).mean())),
                float(variance[j] / variance[0]), tuple(float(p[j]) for p in power),
            )
        )  # fmt: skip
    return tuple(rows)


def _table(draws: list[tuple[Effect, ...]], what: Callable[[Effect], float]) -> Floats:
    return np.array([[what(effect) for effect in draw] for draw in draws], np.float64)


def _seen(effect: Effect) -> bool:
    """Whether the interval leaves out 0."""
    return effect.low > 0 or effect.high < 0
