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
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from largesse import _check
from largesse._random import child
from largesse._workers import Workers
from largesse.allocate.price_intervals import assign
from largesse.checks.log_benefit import benefit_of_the_log
from largesse.errors import DataError, InfeasibleBudget
from largesse.evaluate.bootstrap import arm_means
from largesse.evaluate.comparison import Bootstrap, Comparison, compare
from largesse.evaluate.folds import in_step
from largesse.logs import Logs
from largesse.menu import Menu
from largesse.models.base import Model
from largesse.models.crossfit import of_others
from largesse.models.decision.shrinkage import target_budgets
from largesse.models.outcome import Response
from largesse.models.registry import ALONE, DECIDES, TREES, Settings, default_names, make, parts_of
from largesse.models.selection import Choice, choose
from largesse.models.two_stage.stack import Stack, cautious_weights
from largesse.policy.curve import PriceCurve
from largesse.progress import Say, silent

__all__ = [
    "FittedCandidates",
    "Fold",
    "Proof",
    "Task",
    "Trainings",
    "budgets_of",
    "fit_candidates",
    "fit_in_folds",
    "prove",
]  # fmt: skip

_MOST = 2.0  # a budget beyond so many times the dearest arm is a mistake of units
Fold = int | None
"""The number of a fold of the trial; None: all its rows."""
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
class Proof:
    """Held-out rows with the procedure's predictions and decisions.

    Attributes:
        logs: The rows.
        menus: Candidate → menu; the policy itself under ``"policy"``. Of several folds: as `evaluate.folds.in_step` joins them.
        decided: Treatment of each row at each budget, by the calibrated prices, (B, N).
        by_model: Spend per unit that the menus predict for those decisions, (B,); NaN where a menu does not predict spend.
        by_curve: Spend per unit that the calibrated curves predict, (B,).
        chosen: The chosen candidate of each fold.
        fold: The fold of each row, from 0, (N,).
        paying: Treatment of each row without a budget, at the price at which a unit of spend brings back itself, (N,); None
            where that price is not known.
    """

    logs: Logs
    menus: dict[str, Menu]
    decided: NDArray[np.int32]
    by_model: NDArray[np.float64]
    by_curve: NDArray[np.float64]
    chosen: tuple[str, ...]
    fold: NDArray[np.int64]
    paying: NDArray[np.int32] | None = None


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
            "budget.per_head",
            min(per_head),
            f"the cheapest arm for everyone costs {_check.written(low, 4)} per unit",
            "Raise it above that.",
        )
    if per_head and max(per_head) > _MOST * high:
        raise _check.refuse(
            "budget.per_head", max(per_head), f"the most expensive arm for everyone costs {_check.written(high, 4)} per unit",
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
    task, seconds = trainings.task, dict[str, float]()
    names = trainings.fitted_names
    begun: list[Fold] = []

    def tasks() -> Iterator[tuple[Fold, str]]:
        for k, fold in enumerate(folds):
            if not in_time(fold, sum(seconds.values())):
                return
            begun.append(fold)
            for j, name in enumerate(sorted(names, key=lambda name: name in TREES)):  # the longest first
                say(f"learning {name}", span[0] + (span[1] - span[0]) * (k + j / len(names)) / len(folds))
                yield fold, name

    trained: dict[Fold, dict[str, _Trained]] = {}
    done: dict[Fold, FittedCandidates] = {}
    for (fold, name), one in workers.run(_train, trainings, tasks()):
        trained.setdefault(fold, {})[name] = one
        seconds[name] = max(one.seconds, seconds.get(name, 0.0))
        if len(trained[fold]) == len(names):
            with threadpool_limits(1):
                done[fold] = _choose(trained.pop(fold), trainings.rows(fold), task)
    return {fold: done[fold] for fold in begun}


def _train(trainings: Trainings, which: tuple[Fold, str]) -> _Trained:
    """Returns a candidate of one fold, or why it could not be fitted: it does not suit the rows; the others may."""
    fold, name = which
    train, hold, obs = trainings.rows(fold)
    start = time.perf_counter()
    try:
        model = make(name, trainings.task.settings).fit(train, obs, validation=hold)
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
    menus = _menus(models, hold.x, answers)
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


def _menus(models: dict[str, Model], x: NDArray[np.float32], answers: Answers) -> dict[str, Menu]:
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


def prove(fitted: list[FittedCandidates], parts: list[Logs], task: Task) -> Proof:
    """Returns the held-out rows with the out-of-fold menus and decisions of the procedure.

    Args:
        fitted: The procedure without each fold.
        parts: The rows of each fold.
        task: The budgets.
    """
    everywhere = [name for name in fitted[0].models if all(name in one.models for one in fitted)]
    tables: dict[str, list[Menu]] = {name: [] for name in ("policy", *everywhere)}
    decided, by_model, by_curve = [], [], []
    paying: list[NDArray[np.int32]] = []
    for one, rows in zip(fitted, parts, strict=True):
        menus = _menus({name: one.models[name] for name in {*everywhere, one.name}}, rows.x, {})
        for name in everywhere:
            tables[name].append(menus[name])
        tables["policy"].append(menus[one.name])
        d, m, c = _decide(one, rows, tables["policy"][-1], task)
        decided.append(d)
        by_model.append(m)
        by_curve.append(c)
        if task.price is not None:
            paying.append(assign(tables["policy"][-1], task.price))
    size = np.array([rows.total_weight for rows in parts])[:, None]
    total = size.sum()
    return Proof(
        logs=together(parts), menus={name: in_step(menus, [rows.weights for rows in parts]) for name, menus in tables.items()},
        decided=np.concatenate(decided, axis=1), by_model=(np.array(by_model) * size).sum(0) / total,
        by_curve=(np.array(by_curve) * size).sum(0) / total, chosen=tuple(one.name for one in fitted),
        fold=np.repeat(np.arange(len(parts)), [rows.n for rows in parts]),
        paying=np.concatenate(paying) if paying else None,
    )  # fmt: skip


def _decide(
    one: FittedCandidates, rows: Logs, menu: Menu, task: Task
) -> tuple[NDArray[np.int32], list[float], list[float]]:
    """Returns the decisions at each budget (B, N), and the spend per unit that the menu and the curve predict for them."""
    standing, weight = menu, rows.weights / rows.total_weight
    if rows.weight is not None:  # the units that the rows stand for
        standing = menu.take(child(task.settings.seed, 1).choice(rows.n, rows.n, p=weight))
    spend_curve = one.curve.spend_curve(standing)
    decided, by_model, by_curve = [], [], []
    for budget in task.budgets:
        try:
            price = spend_curve.price_for(budget * standing.n, None)
        except InfeasibleBudget:  # this menu cannot spend so little: its cheapest allocation
            price = float("inf")
        treatment = assign(menu, price)
        decided.append(treatment)
        planned = float(weight @ menu.cost[np.arange(menu.n), treatment])
        by_model.append(planned if one.model.menu_in_currency else float("nan"))
        by_curve.append(spend_curve.at(price, 0.0).mean / standing.n)
    return np.stack(decided), by_model, by_curve


def together(parts: list[Logs]) -> Logs:
    """Returns the parts of one trial as one trial."""
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    joined: dict[str, Any] = {}
    for name in ("x", "treatment", "value", "cost", "weight", "unit", "cluster", "timestamp"):
        pieces = [getattr(part, name) for part in parts]
        joined[name] = None if pieces[0] is None else np.concatenate(pieces)
    observed = first.assignment == "observed"
    known = "observed" if observed else np.concatenate([part.propensity for part in parts])
    return replace(first, propensity=known, **joined)
