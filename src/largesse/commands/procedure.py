"""The procedure of `fit`: fit every candidate, choose one on validation rows, calibrate its spend curve there.

The whole procedure, choice included, is evaluated on rows that took no part in it: held out, or by cross-fitting.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from largesse import _check
from largesse._workers import Workers, one_thread
from largesse.checks.log_benefit import benefit_of_the_log
from largesse.errors import DataError
from largesse.evaluate.bootstrap import arm_means
from largesse.evaluate.comparison import Bootstrap, Comparison, compare
from largesse.logs import Logs
from largesse.menu import Menu
from largesse.models.base import Model
from largesse.models.crossfit import of_others
from largesse.models.decision.shrinkage import target_budgets
from largesse.models.outcome import Response
from largesse.models.registry import ALONE, DECIDES, TREES, Settings, default_names, make, parts_of, pieces_of
from largesse.models.selection import Choice, choose
from largesse.models.two_stage.stack import Stack, cautious_weights
from largesse.policy.curve import PriceCurve
from largesse.progress import Say, silent

__all__ = [
    "FittedCandidates",
    "Fold",
    "Task",
    "Trainings",
    "budgets_of",
    "fit_candidates",
    "fit_in_folds",
    "menus_of",
]  # fmt: skip

_MOST = 2.0  # a budget beyond so many times the dearest arm is a mistake of units
Fold = int | None
"""The number of a fold of the trial; None: all its rows."""
Piece = tuple[str, int]
"""A candidate and the number of its piece: what one process fits at a time."""
InTime = Callable[[Fold, float], bool]
Answers = dict[int, Response]
"""Responses that models predicted for the same rows, by the identity of the model."""


@dataclass(frozen=True, slots=True)
class Task:
    """A campaign, ready to run.

    Attributes:
        candidates: Names of the models, simplest first; () for the default ones.
        settings: Outcome, members, epochs, seed, threads.
        budgets: Budget per unit, (B,).
        labels: The budgets in words, (B,).
        validation_share: Share of the training rows that is kept as validation rows, for choice and calibration.
        draws: Bootstrap draws.
        price: Price at which a unit of spend brings back itself, 1 / (money that one unit of value brings); None: not known.
    """

    candidates: tuple[str, ...]
    settings: Settings
    budgets: tuple[float, ...]
    labels: tuple[str, ...]
    validation_share: float = 0.2
    draws: int = 400
    price: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class FittedCandidates:
    """The chosen model with its calibrated curve, and all fitted candidates.

    Attributes:
        name: The chosen candidate.
        model: Its model.
        curve: Its spend and value by price, calibrated on the validation rows.
        choice: Why it was chosen, among the candidates that a misleading log does not rule out.
        leaderboard: All candidates on the validation rows, simplest first.
        models: All fitted candidates, simplest first.
        seconds: Training time of each.
        left_out: Why a candidate could not be fitted to these rows.
    """

    name: str
    model: Model
    curve: PriceCurve
    choice: Choice
    leaderboard: Comparison
    models: dict[str, Model]
    seconds: dict[str, float]
    left_out: dict[str, str]


@dataclass(frozen=True, slots=True, eq=False)
class Trainings:
    """The rows of several trainings of one procedure: without each fold of the trial, and on all its rows.

    Attributes:
        rct: The trial.
        obs: The past campaign data.
        part: The fold of each row of the trial, (N,); None: there are no folds.
        task: What is fitted.
    """

    rct: Logs
    obs: Logs | None
    part: NDArray[np.int64] | None
    task: Task

    @property
    def fitted_names(self) -> list[str]:
        """Names of the models that have to be fitted: all but the means of other candidates."""
        wanted = self.task.candidates or default_names(self.obs is not None, can_pay=False)
        return [name for name in wanted if not parts_of(name) or not set(parts_of(name)) <= set(wanted)]

    def test(self, fold: int) -> Logs:
        """Returns the rows of a fold."""
        return self.rct.take(np.flatnonzero(self.part == fold))

    def rows(self, fold: Fold) -> tuple[Logs, Logs, Logs | None]:
        """Returns training rows, validation rows and past campaign data of one training; no unit is in two of them."""
        rct, obs = self.rct, self.obs
        if fold is not None:
            rct, obs = rct.take(np.flatnonzero(self.part != fold)), of_others(obs, self.test(fold))
        share = self.task.validation_share
        train, hold = rct.split(1 - share, share, seed=self.task.settings.seed)
        return train, hold, of_others(obs, hold)


class _Trained(NamedTuple):
    model: Model | None
    seconds: float
    refusal: DataError | None = None


def budgets_of(rct: Logs, shares: tuple[float, ...], per_head: tuple[float, ...]) -> tuple[float, ...]:
    """Returns budgets per unit: as given, or as shares of the way from the cheapest arm for everyone to the most expensive.

    Raises:
        DataError: No treatment costs anything, or a budget is below the cost of the cheapest arm.
    """
    costs = arm_means(rct)[1]
    low, high = float(costs.min()), float(costs.max())
    if high <= low:
        raise _check.refuse(
            "cost", high, "no treatment costs anything in the trial", "Check columns.cost: a budget needs costs."
        )
    if per_head and min(per_head) < low:
        raise _check.refuse(
            "budget.per_unit",
            min(per_head),
            f"the cheapest arm for everyone costs {_check.written(low, 4)} per unit",
            "Raise it above that.",
        )
    if per_head and max(per_head) > _MOST * high:
        raise _check.refuse(
            "budget.per_unit", max(per_head), f"the most expensive arm for everyone costs {_check.written(high, 4)} per unit",
            "Give the budget per unit, not for all units together.",
        )  # fmt: skip
    return target_budgets(rct, per_head, shares)


def fit_candidates(rct: Logs, obs: Logs | None, task: Task, say: Say = silent) -> FittedCandidates:
    """Returns the candidates, fitted to a part of the trial and to the past campaign data, with the chosen one."""
    with Workers(1) as alone:
        return fit_in_folds(Trainings(rct, obs, None, task), (None,), say, alone)[None]


def fit_in_folds(
    trainings: Trainings, folds: tuple[Fold, ...], say: Say, workers: Workers,
    *, span: tuple[float, float] = (0.0, 1.0), in_time: InTime = lambda fold, seconds: True,
) -> dict[Fold, FittedCandidates]:  # fmt: skip
    """Returns the procedure without each fold. The models of all folds are independent tasks; each uses one thread.

    Args:
        trainings: The rows and the task.
        folds: In the order in which they are begun; None is the training on all rows.
        say: Called with each model that is begun and the share of the work that is done.
        workers: Where the models are fitted.
        span: The shares of the whole work at which this begins and ends.
        in_time: Called with a fold before it is begun, and the seconds that a training on all rows takes, as far as known;
            False: this fold and those after it are left out.
    """
    task, seconds = trainings.task, dict[Piece, float]()
    names = sorted(trainings.fitted_names, key=lambda name: name in TREES)  # the longest first
    pieces = [(name, k) for name in names for k in reversed(range(pieces_of(name, task.settings)))]
    begun: list[Fold] = []

    def tasks() -> Iterator[tuple[Fold, Piece]]:
        late = False
        for k, (fold, piece) in enumerate(in_order(folds, pieces, workers.n if workers.n > 1 else 0)):
            if fold not in begun:
                late = late or not in_time(fold, sum(seconds.values()))
                if late:
                    continue
                begun.append(fold)
            say(f"learning {piece[0]}", span[0] + (span[1] - span[0]) * k / (len(folds) * len(pieces)))
            yield fold, piece

    trained: dict[Fold, dict[Piece, _Trained]] = {}
    done: dict[Fold, FittedCandidates] = {}
    for (fold, piece), one in workers.run(_train, trainings, tasks()):
        trained.setdefault(fold, {})[piece] = one
        seconds[piece] = max(one.seconds, seconds.get(piece, 0.0))
        if len(trained[fold]) == len(pieces):
            parts = trained.pop(fold)
            whole = {name: _joined([parts[n, k] for n, k in sorted(parts) if n == name]) for name in names}
            with one_thread():
                done[fold] = _choose(whole, trainings.rows(fold), task)
    return {fold: done[fold] for fold in begun}


def in_order(folds: tuple[Fold, ...], pieces: list[Piece], ahead: int) -> Iterator[tuple[Fold, Piece]]:
    """Yields the pieces of each fold. The longest of `ahead` folds more is begun first, so that the last task is short."""
    longest, *others = pieces
    for k in range(len(folds) + ahead):
        if k < len(folds):
            yield folds[k], longest
        if k >= ahead:
            for piece in others:
                yield folds[k - ahead], piece


def _joined(parts: list[_Trained]) -> _Trained:
    """Returns a candidate of its pieces, or why one of them could not be fitted."""
    first = next((one for one in parts if one.model is None), parts[0])
    if first.model is None or len(parts) == 1:
        return first
    models: list[Any] = [one.model for one in parts]
    return _Trained(models[0].joined(models), sum(one.seconds for one in parts))


def _train(trainings: Trainings, which: tuple[Fold, Piece]) -> _Trained:
    """Returns a piece of a candidate of one fold, or why it could not be fitted: it does not suit the rows; others may."""
    fold, (name, k) = which
    train, hold, obs = trainings.rows(fold)
    start = time.perf_counter()
    try:
        model: Any = make(name, trainings.task.settings)
        if pieces_of(name, trainings.task.settings) > 1:
            model = model.piece(k)
        model.fit(train, obs, validation=hold)
    except DataError as refusal:
        return _Trained(None, 0.0, refusal)
    return _Trained(model, time.perf_counter() - start)


def _choose(trained: dict[str, _Trained], rows: tuple[Logs, Logs, Logs | None], task: Task) -> FittedCandidates:
    """Returns the fitted candidates, and the one that is chosen on the validation rows."""
    train, hold, obs = rows
    wanted = task.candidates or default_names(obs is not None, can_pay=False)
    answers: Answers = {}
    fitted = {name: one.model for name, one in trained.items() if one.model is not None}
    seconds = {name: one.seconds for name, one in trained.items()}
    left_out = {name: str(one.refusal) for name, one in trained.items() if one.refusal is not None}
    for name in wanted:  # means of models
        if name in trained:
            continue
        start = time.perf_counter()
        try:
            mean = _stacked(name, fitted, hold, answers)
            fitted[name] = mean or make(name, task.settings).fit(train, obs, validation=hold)
        except DataError as refusal:
            left_out[name] = str(refusal)
        seconds[name] = time.perf_counter() - start
    models = {name: fitted[name] for name in wanted if name in fitted}
    if not models:
        raise next(one.refusal for one in trained.values() if one.refusal is not None)
    order = tuple(models)
    menus = menus_of(models, hold.x, answers)
    bootstrap = Bootstrap(draws=task.draws, seed=task.settings.seed)
    leaderboard = compare(hold, menus, task.budgets, bootstrap=bootstrap)
    benefit = benefit_of_the_log(hold, menus)
    left = [k for k, name in enumerate(order) if not (benefit and benefit.harmful) or name in ALONE]
    choice = choose(
        [order[k] for k in left], leaderboard.value[left], leaderboard.draws[:, left], standard_errors=None, decides=DECIDES
    )  # fmt: skip
    if benefit and benefit.sentence:
        choice = replace(choice, reason=f"{benefit.sentence} {choice.reason}")
    curve = PriceCurve.calibrate(menus[choice.name], hold, draws=task.draws, seed=task.settings.seed)
    seconds = {name: seconds[name] for name in order}
    return FittedCandidates(choice.name, models[choice.name], curve, choice, leaderboard, models, seconds, left_out)


def _stacked(name: str, models: dict[str, Model], hold: Logs, answers: Answers) -> Model | None:
    """Returns the weighted mean of models that are fitted already, if all of them are; `hold` sets the weights."""
    parts = [models[part] for part in parts_of(name) if part in models]
    if not parts or len(parts) < len(parts_of(name)):
        return None
    return Stack.of(parts, weights=cautious_weights(hold, [_answer(part, hold.x, answers) for part in parts]))


def menus_of(models: dict[str, Model], x: NDArray[np.float32], answers: Answers) -> dict[str, Menu]:
    """Returns the menu of every model for the same rows; a base model that several share predicts once."""
    return {name: model.menu(_answer(model, x, answers)) for name, model in models.items()}


def _answer(model: Model, x: NDArray[np.float32], answers: Answers) -> Response:
    """Returns the predicted response of a model to the rows that `answers` belongs to, from there if it has it."""
    if id(model) not in answers:
        if isinstance(model, Stack):
            own = model.combined([_answer(part, x, answers) for part in model.models_])
        else:
            own = model.predict_response(x)
        answers[id(model)] = own
    return answers[id(model)]
