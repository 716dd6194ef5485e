"""Who decides in a simulated campaign: the loop's rivals, each by its own menus within the same money."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.living.money import Codes, Given, Till
from benchmarks.living.scene import AMOUNTS, Day
from largesse._extras import needed_for
from largesse.evaluate.untargeted import BestMix
from largesse.logs import Logs
from largesse.models.base import Model
from largesse.models.outcome import Outcome
from largesse.models.registry import Settings, make
from largesse.serving.increments import best_treatments

__all__ = ["Bandit", "Came", "Decider", "Oracle", "Static", "Untargeted", "Weekly", "fitted", "menu_of"]

Floats = NDArray[np.float64]
WEEK = 7
LEARNER = "lightgbm-rct"
_MOST = 150_000  # rows that one fit reads, drawn at random of more


class Came(NamedTuple):
    """What a day brought, known some days later.

    Attributes:
        day: The day as it arrived.
        given: What its units got.
        order: Whether each ordered, (n,).
    """

    day: Day
    given: Given
    order: Floats

    @property
    def paid(self) -> Floats:
        """What was paid for each unit, (n,)."""
        return np.asarray(self.order * np.array(AMOUNTS)[self.given.code])


class Decider(Protocol):
    """Decides day by day; what came back is given to it when it is known."""

    def learn(self, day: int, known: Came | None) -> None:
        """Takes what has become known before a day: that of one earlier day, if any."""

    def decide(self, day: Day, till: Till) -> Given:
        """Returns what the units of a day get."""


def fitted(x: Any, code: Any, order: Any, outcome: Outcome, seed: int, random: Any = None) -> Model:
    """Returns the learner, fitted on some rows; of too many, those that were drawn at random (n,) come first."""
    if len(x) > _MOST:
        place = np.random.default_rng(seed).random(len(x)) - (0.0 if random is None else random)
        use = np.sort(np.argpartition(place, _MOST)[:_MOST])
        x, code, order = x[use], code[use], order[use]
    rows = Logs(
        x=x, treatment=code, value=order, cost=order * np.array(AMOUNTS)[code],
        treatments=tuple(f"{a:g}" for a in AMOUNTS), propensity="uniform",
    )  # fmt: skip
    return make(LEARNER, Settings(outcome=outcome, seed=seed)).fit(rows)


def menu_of(model: Model, x: Any) -> tuple[Floats, Floats]:
    """Returns the value and cost that a model predicts, (n, M) each."""
    menu = model.predict(x)
    return menu.value.astype(np.float64), menu.cost.astype(np.float64)


class Static:
    """A policy that was learned from the trial and stays.

    Args:
        trial: The trial.
        seed: Of the learner.
    """

    def __init__(self, trial: Logs, seed: int) -> None:
        self.trial, self.seed, self.outcome = trial, seed, Outcome.infer(trial)
        self.model = fitted(trial.x, trial.treatment, trial.value, self.outcome, seed)

    def learn(self, day: int, known: Came | None) -> None:
        """Learns nothing."""

    def decide(self, day: Day, till: Till) -> Given:
        value, cost = menu_of(self.model, day.x)
        return till.day(value, cost, lambda rows, price: best_treatments(value[rows], cost[rows], price))


class Weekly(Static):
    """Learns anew every week from all rows, trial and log alike, and draws nothing at random: what teams do."""

    def __init__(self, trial: Logs, seed: int) -> None:
        super().__init__(trial, seed)
        self.rows: list[tuple[Any, Codes, Floats]] = [(trial.x, trial.treatment.astype(np.intp), trial.value)]

    def learn(self, day: int, known: Came | None) -> None:
        if known is not None:
            self.rows.append((known.day.x, known.given.code, known.order))
        if day and day % WEEK == 0 and len(self.rows) > 1:
            x, code, order = (np.concatenate(part) for part in zip(*self.rows, strict=True))
            self.model = fitted(x, code, order, self.outcome, self.seed)


class Bandit:
    """A linear contextual bandit of the package mabwiser (value by treatment), with the budget by the same price.

    Args:
        trial: The trial, from which it begins.
        kind: "LinUCB" or "LinTS".
        seed: Of its draws.
    """

    def __init__(self, trial: Logs, kind: str, seed: int) -> None:
        with needed_for("The bandits"):
            from mabwiser.mab import MAB, LearningPolicy
        policy = {"LinUCB": LearningPolicy.LinUCB, "LinTS": LearningPolicy.LinTS}[kind](alpha=0.1)
        self.bandit, self.centre, self.spread = (
            MAB([0, 1, 2], policy, seed=seed),
            trial.x.mean(0),
            trial.x.std(0) + 1e-6,
        )
        self.bandit.fit(trial.treatment, trial.value, self._context(trial.x))

    def _context(self, x: Any) -> Floats:
        return np.column_stack([np.ones(len(x)), (x - self.centre) / self.spread])

    def learn(self, day: int, known: Came | None) -> None:
        if known is not None:
            self.bandit.partial_fit(known.given.code, known.order, self._context(known.day.x))

    def decide(self, day: Day, till: Till) -> Given:
        scores = self.bandit.predict_expectations(self._context(day.x))
        value = np.array([[one[j] for j in range(len(AMOUNTS))] for one in scores])
        cost = np.clip(value, 0.0, 1.0) * np.array(AMOUNTS)
        return till.day(value, cost, lambda rows, price: best_treatments(value[rows], cost[rows], price))


class Oracle:
    """Knows what every treatment would bring and cost on average."""

    def learn(self, day: int, known: Came | None) -> None:
        """Knows all already."""

    def decide(self, day: Day, till: Till) -> Given:
        value, cost = day.value, day.cost
        return till.day(value, cost, lambda rows, price: best_treatments(value[rows], cost[rows], price))


class Untargeted:
    """Gives random units the treatments of the mix that brings most for the money, by the means of the day.

    Args:
        seed: Of the draws.
    """

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng([seed, 3])

    def learn(self, day: int, known: Came | None) -> None:
        """Knows the means already."""

    def decide(self, day: Day, till: Till) -> Given:
        n = len(day.x)
        shares = BestMix.of(day.value.mean(0), day.cost.mean(0), np.array([till.budget / till.units])).share[0]
        code = self.rng.choice(len(shares), size=n, p=shares / shares.sum())
        value, cost = np.tile(day.value.mean(0), (n, 1)), np.tile(day.cost.mean(0), (n, 1))
        return till.day(value, cost, lambda rows, price: code[rows])
