"""The procedure of `fit`: learn every candidate, choose on rows none has seen, calibrate the winner's prices there.

Its proof is of the whole procedure, choice included: on rows that took no part in it, held out or in turns.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from largesse import _check
from largesse._random import child
from largesse.allocate.price_intervals import assign
from largesse.checks.log_benefit import benefit_of_the_log
from largesse.errors import DataError, InfeasibleBudget
from largesse.evaluate.bootstrap import arm_means
from largesse.evaluate.comparison import Bootstrap, Comparison, compare
from largesse.logs import Logs
from largesse.menu import Menu
from largesse.models.base import Model
from largesse.models.decision.shrinkage import target_budgets
from largesse.models.outcome import Response
from largesse.models.registry import ALONE, DECIDES, Settings, default_names, make, parts_of
from largesse.models.selection import Choice, choose
from largesse.models.two_stage.stack import Stack, cautious_weights
from largesse.policy.curve import PriceCurve
from largesse.progress import Say

__all__ = ["Learned", "Proof", "Task", "budgets_of", "learn", "prove"]

_MOST = 2.0  # a budget beyond so many times the dearest arm is a mistake of units
Answers = dict[int, Response]
"""Told the stage and the share of the work that is done; a full sentence is a finding, to be shown and kept."""


@dataclass(frozen=True, slots=True)
class Task:
    """What a run asks for, resolved.

    Attributes:
        candidates: Names of the models, simplest first; () for the default ones.
        settings: Outcome, members, epochs, seed, threads.
        budgets: Money per head, (B,).
        labels: The budgets in words, (B,).
        validation_share: Share of the learning rows kept to choose and to calibrate.
        draws: Bootstrap draws.
    """

    candidates: tuple[str, ...]
    settings: Settings
    budgets: tuple[float, ...]
    labels: tuple[str, ...]
    validation_share: float = 0.2
    draws: int = 400


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """A chosen model with its prices, how it was chosen, and which candidates refused these rows, and why.

    `models` and `leaderboard` are in the order of trust; `choice` is among those that a misleading log does not rule out.
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
    """Rows that took no part in learning, and what the procedure believes and decides about them.

    Attributes:
        logs: The rows.
        menus: Candidate → menu; the policy itself under ``"policy"``.
        decided: Treatment of each row at each budget, by the calibrated prices, (B, N).
        by_model: Money per head that the menus plan for those decisions, (B,); nan where menus do not count in money.
        by_curve: Money per head that the calibrated curves expect, (B,).
        chosen: Which candidate won, once per fold.
    """

    logs: Logs
    menus: dict[str, Menu]
    decided: NDArray[np.int32]
    by_model: NDArray[np.float64]
    by_curve: NDArray[np.float64]
    chosen: tuple[str, ...]


def budgets_of(rct: Logs, shares: tuple[float, ...], per_head: tuple[float, ...]) -> tuple[float, ...]:
    """Returns budgets per head: as given, or as shares of the way from the cheapest arm for everyone to the dearest.

    Raises:
        DataError: No treatment costs anything, or a budget is below the cheapest arm.
    """
    costs = arm_means(rct)[1]
    low, high = float(costs.min()), float(costs.max())
    if high <= low:
        raise _check.refuse(
            "cost", high, "no treatment costs anything in the trial", "Without costs there is no budget to plan."
        )
    if per_head and min(per_head) < low:
        raise _check.refuse(
            "budget.per_head",
            min(per_head),
            f"the cheapest arm for everyone costs {low:.4g} per unit",
            "Raise it above that.",
        )
    if per_head and max(per_head) > _MOST * high:
        raise _check.refuse(
            "budget.per_head", max(per_head), f"the dearest arm for everyone costs {high:.4g} per unit",
            "Give money per unit, not for all units together.",
        )  # fmt: skip
    return target_budgets(rct, per_head, shares)


def learn(rct: Logs, obs: Logs | None, task: Task, say: Say, span: tuple[float, float] = (0.0, 1.0)) -> Learned:
    """Returns the winner among the candidates, learned on a part of the trial and on the log."""
    train, hold = rct.split(1 - task.validation_share, task.validation_share, seed=task.settings.seed)
    obs = None if obs is None else obs.without_units_of(hold)
    wanted = task.candidates or default_names(obs is not None, can_pay=False)
    names = sorted(wanted, key=lambda name: bool(parts_of(name)))  # a mean comes after what it is a mean of
    models: dict[str, Model] = {}
    seconds: dict[str, float] = {}
    left_out: dict[str, str] = {}
    answers: Answers = {}
    for k, name in enumerate(names):
        say(f"learning {name}", span[0] + (span[1] - span[0]) * k / len(names))
        start = time.perf_counter()
        try:
            mean = _stacked(name, models, hold, answers)
            models[name] = mean or make(name, task.settings).fit(train, obs, validation=hold)
        except DataError as refusal:  # one model's rule is no reason to stop the others
            if k == len(names) - 1 and not models:
                raise
            left_out[name] = str(refusal)
            continue
        seconds[name] = time.perf_counter() - start
    models = {name: models[name] for name in wanted if name in models}
    order = tuple(models)
    menus = _menus(models, hold.x, answers)
    bootstrap = Bootstrap(draws=task.draws, seed=task.settings.seed)
    leaderboard = compare(hold, menus, task.budgets, bootstrap=bootstrap)
    told = benefit_of_the_log(hold, menus)
    left = [k for k, name in enumerate(order) if not (told and told.harmful) or name in ALONE]
    choice = choose(
        [order[k] for k in left],
        leaderboard.value[left],
        leaderboard.draws[:, left],
        standard_errors=None,
        decides=DECIDES,
    )
    if told and told.sentence:
        choice = replace(choice, reason=f"{told.sentence} {choice.reason}")
    curve = PriceCurve.calibrate(menus[choice.name], hold, draws=task.draws, seed=task.settings.seed)
    return Learned(choice.name, models[choice.name], curve, choice, leaderboard, models, seconds, left_out)


def _stacked(name: str, models: dict[str, Model], hold: Logs, answers: Answers) -> Model | None:
    """Returns the mean of models that are learned already, if all of its parts are; `hold` sets their weights."""
    parts = [models[part] for part in parts_of(name) if part in models]
    if not parts or len(parts) < len(parts_of(name)):
        return None
    return Stack.of(parts, weights=cautious_weights(hold, [_answer(part, hold.x, answers) for part in parts]))


def _menus(models: dict[str, Model], x: NDArray[np.float32], answers: Answers) -> dict[str, Menu]:
    """Returns every model's menu of some rows; what several of them stand on is asked once."""
    return {name: model.menu(_answer(model, x, answers)) for name, model in models.items()}


def _answer(model: Model, x: NDArray[np.float32], answers: Answers) -> Response:
    """Returns a model's responses to some rows, kept in `answers`, which is of these rows only."""
    if id(model) not in answers:
        if isinstance(model, Stack):
            own = model.combined([_answer(part, x, answers) for part in model.models_])
        else:
            own = model.predict_response(x)
        answers[id(model)] = own
    return answers[id(model)]


def prove(learned: list[Learned], parts: list[Logs], task: Task) -> Proof:
    """Returns the proof rows with the menus and decisions of procedures that have not seen them.

    Args:
        learned: One per fold.
        parts: The rows of each fold.
        task: The budgets, with the treatments as in the logs.
    """
    everywhere = [name for name in learned[0].models if all(name in one.models for one in learned)]
    tables: dict[str, list[Menu]] = {name: [] for name in ("policy", *everywhere)}
    decided, by_model, by_curve = [], [], []
    for one, rows in zip(learned, parts, strict=True):
        menus = _menus({name: one.models[name] for name in {*everywhere, one.name}}, rows.x, {})
        for name in everywhere:
            tables[name].append(menus[name])
        tables["policy"].append(menus[one.name])
        d, m, c = _decide(one, rows, tables["policy"][-1], task)
        decided.append(d)
        by_model.append(m)
        by_curve.append(c)
    size = np.array([rows.total_weight for rows in parts])[:, None]
    total = size.sum()
    return Proof(
        logs=together(parts), menus={name: stacked(menus) for name, menus in tables.items()},
        decided=np.concatenate(decided, axis=1), by_model=(np.array(by_model) * size).sum(0) / total,
        by_curve=(np.array(by_curve) * size).sum(0) / total, chosen=tuple(one.name for one in learned),
    )  # fmt: skip


def _decide(one: Learned, rows: Logs, menu: Menu, task: Task) -> tuple[NDArray[np.int32], list[float], list[float]]:
    """Returns the decisions at each budget (B, N), and money per head that the menu and the curve plan for them."""
    standing, weight = menu, rows.weights / rows.total_weight
    if rows.weight is not None:  # the units that the rows stand for
        standing = menu.take(child(task.settings.seed, 1).choice(rows.n, rows.n, p=weight))
    spend_curve = one.curve.spend_curve(standing)
    decided, by_model, by_curve = [], [], []
    for budget in task.budgets:
        try:
            price = spend_curve.price_for(budget * standing.n, None)
        except InfeasibleBudget:  # out of this menu's reach: as near as it comes
            price = float("inf")
        treatment = assign(menu, price)
        decided.append(treatment)
        planned = float(weight @ menu.cost[np.arange(menu.n), treatment])
        by_model.append(planned if one.model.menu_in_currency else float("nan"))
        by_curve.append(spend_curve.at(price, 0.0).mean / standing.n)
    return np.stack(decided), by_model, by_curve


def stacked(menus: list[Menu]) -> Menu:
    if len(menus) == 1:
        return menus[0]
    value, cost = (np.concatenate([getattr(m, k) for m in menus]) for k in ("value", "cost"))
    return Menu(value=value, cost=cost, treatments=menus[0].treatments)


def together(parts: list[Logs]) -> Logs:
    """Returns the parts of one trial as one trial again."""
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    joined: dict[str, Any] = {}
    for name in ("x", "treatment", "value", "cost", "weight", "unit", "timestamp"):
        pieces = [getattr(part, name) for part in parts]
        joined[name] = None if pieces[0] is None else np.concatenate(pieces)
    observed = first.assignment == "observed"
    known = "observed" if observed else np.concatenate([part.propensity for part in parts])
    return replace(first, propensity=known, **joined)
