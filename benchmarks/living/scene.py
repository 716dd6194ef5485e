"""Worlds that change or not: who arrives on each day, and what every treatment would bring and cost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from largesse.logs import Logs
from largesse.simulate import World, money_off

__all__ = ["AMOUNTS", "Day", "Scene", "budget_of", "days_of", "trial_of"]

Floats = NDArray[np.float64]
AMOUNTS = (0.0, 2.0, 5.0)
"""What is paid on an order, by treatment; control first."""
_FEATURES = 40
_OTHER = 500  # a world drifts towards that of a seed so much higher
_NOISE = 0.5  # as in the demonstration of the package
_PROBE = 4_000


class Scene(NamedTuple):
    """A campaign in a world.

    Attributes:
        days: Days of the campaign.
        per_day: Units that arrive on each day.
        trial: Rows of the trial before it.
        share: Budget of a day, as a share of what the dearest treatment would cost for everybody.
        drift: First and last day on which the response functions move, evenly, to those of another world; None: they stay.
        stops: Day from which the dearest treatment brings what control brings; None: never.
        breaks: Day from which the feature on which most depends arrives as 0; None: never.
        delay: Days until what a unit brings is known.
    """

    days: int = 60
    per_day: int = 5_000
    trial: int = 10_000
    share: float = 0.3
    drift: tuple[int, int] | None = None
    stops: int | None = None
    breaks: int | None = None
    delay: int = 3


class Day(NamedTuple):
    """What a day has.

    Attributes:
        number: Its number, from 0.
        x: Features as they arrive, (n, d).
        value: True probability of an order by treatment, (n, M).
        cost: True expected cost, (n, M).
        chance: Numbers in [0, 1): a unit orders where its number is below the probability, (n,).
    """

    number: int
    x: NDArray[np.float32]
    value: Floats
    cost: Floats
    chance: Floats


def _worlds(seed: int) -> tuple[World, World]:
    here, there = (money_off(seed=seed + k, n_features=_FEATURES, amounts=AMOUNTS, noise=_NOISE) for k in (0, _OTHER))
    return here, there


def _moved(scene: Scene, day: int) -> float:
    """Returns how far a day is on the way to the other world, in [0, 1]."""
    if scene.drift is None:
        return 0.0
    first, last = scene.drift
    return float(np.clip((day - first) / (last - first), 0.0, 1.0))


def days_of(scene: Scene, seed: int) -> Iterator[Day]:
    """Yields the days of a campaign."""
    here, there = _worlds(seed)
    broken = _feature(here, seed)
    for day in range(scene.days):
        x = here.rct(scene.per_day, seed=10_000 * (seed + 1) + day).x
        w = _moved(scene, day)
        value = (1 - w) * here.truth(x).value.astype(np.float64)
        if w:
            value = value + w * there.truth(x).value
        if scene.stops is not None and day >= scene.stops:
            value[:, -1] = value[:, 0]
        seen = x
        if scene.breaks is not None and day >= scene.breaks:
            seen = x.copy()
            seen[:, broken] = 0.0
        chance = np.random.default_rng([seed, day, 1]).random(scene.per_day)
        yield Day(day, seen, value, value * np.array(AMOUNTS), chance)


def _feature(world: World, seed: int) -> int:
    """Returns the feature on which the gain of the dearest treatment depends most, by shuffling each in turn."""
    x = world.rct(_PROBE, seed=10_000 * (seed + 1) - 1).x
    order, gain = np.random.default_rng(seed).permutation(_PROBE), _gain(world, x)
    off = []
    for k in range(x.shape[1]):
        other = x.copy()
        other[:, k] = x[order, k]
        off.append(float(((_gain(world, other) - gain) ** 2).mean()))
    return int(np.argmax(off))


def _gain(world: World, x: NDArray[np.float32]) -> Floats:
    value = world.truth(x).value
    return np.asarray(value[:, -1] - value[:, 0], np.float64)


def trial_of(scene: Scene, seed: int) -> Logs:
    """Returns the trial before the campaign: every treatment with the same probability."""
    here, rng = _worlds(seed)[0], np.random.default_rng([seed, 2])
    drawn = here.rct(scene.trial, seed=10_000 * (seed + 1) - 2)
    code = rng.integers(0, len(AMOUNTS), scene.trial)
    order = (rng.random(scene.trial) < here.truth(drawn.x).value[np.arange(scene.trial), code]).astype(float)
    return Logs(
        x=drawn.x, treatment=code, value=order, cost=order * np.array(AMOUNTS)[code], treatments=drawn.treatments,
        propensity="uniform",
    )  # fmt: skip


def budget_of(scene: Scene, seed: int) -> float:
    """Returns the budget of a day, from units that arrive in no campaign."""
    here = _worlds(seed)[0]
    x = here.rct(4 * _PROBE, seed=10_000 * (seed + 1) - 3).x
    return scene.share * scene.per_day * float(here.truth(x).value[:, -1].mean()) * AMOUNTS[-1]
