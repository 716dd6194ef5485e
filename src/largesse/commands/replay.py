"""`replay`: simulates experiments on past data, and computes the size of a test that would detect an effect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from largesse.experiment.data.columns import Columns, history_of
from largesse.experiment.data.crossfit import CrossFit
from largesse.experiment.design.plan import TestPlan, check_test, plan_test
from largesse.experiment.design.replay import Replay, replay
from largesse.progress import Say, silent

__all__ = ["Replayed", "Wanted", "replay_history"]


class Wanted(NamedTuple):
    """The test that is to be planned.

    Attributes:
        effect: The effect to detect, in units of the metric.
        shares: Share of each arm by label; the first two are compared.
        power: Probability of detecting the effect.
        per_day: New units a day, all arms together; None: no duration is computed.
        looks: Share of the units at each interim look; (): one look, at the end.
    """

    effect: float
    shares: Mapping[str, float]
    power: float = 0.8
    per_day: float | None = None
    looks: tuple[float, ...] = ()


class Replayed(NamedTuple):
    """The replayed experiments, and the plan of a test if one was wanted."""

    replay: Replay
    plan: TestPlan | None


def replay_history(
    history: Any,
    columns: Columns,
    *,
    wanted: Wanted | None = None,
    draws: int = 500,
    share: float = 0.5,
    lifts: Sequence[float] = (0.01, 0.02, 0.05),
    seed: int = 0,
    say: Say = silent,
) -> Replayed:
    """Returns each estimator's false positives, error and power on replays of history, and the plan of a test.

    Args:
        history: A file or a dataframe of past units.
        columns: Which column is what, with one metric.
        wanted: The test to plan; None: none.
        draws: Number of simulated experiments.
        share: Share of the units in the other arm.
        lifts: Effects to detect, as shares of the metric's mean.
        seed: Seed of the draws, folds and learner.
        say: Called with each stage and the share of the work that is done.

    Raises:
        LargesseError: The table or an argument breaks a rule; a wanted test is refused before anything is read.
    """
    if wanted is not None:
        check_test(**wanted._asdict())
    say("predicting", 0.0)
    past = history_of(history, columns, CrossFit(seed=seed))
    replayed = replay(past, draws=draws, share=share, lifts=tuple(lifts), seed=seed, say=say)
    if wanted is None:
        return Replayed(replayed, None)
    name, unit = columns.metrics[0].name, columns.cluster or "unit"
    return Replayed(replayed, plan_test(replayed, metric=name, unit=unit, **wanted._asdict()))
