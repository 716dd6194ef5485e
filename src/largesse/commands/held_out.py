"""The held-out rows with the decisions of a procedure that did not use them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from largesse._random import child
from largesse.allocate.price_intervals import assign
from largesse.commands.procedure import FittedCandidates, Task, menus_of
from largesse.commands.proof_rules import POLICY, WITHOUT_RULES, ProofRules
from largesse.errors import InfeasibleBudget
from largesse.evaluate.bootstrap import arm_means
from largesse.evaluate.folds import in_step
from largesse.evaluate.paths import DecisionPath
from largesse.logs import Logs
from largesse.menu import Menu

__all__ = ["Proof", "prove", "together"]


@dataclass(frozen=True, slots=True, eq=False)
class Proof:
    """Held-out rows with the procedure's predictions and decisions.

    Attributes:
        logs: The rows.
        menus: Candidate → menu; the policy itself under ``"policy"``. Of several folds: as `evaluate.folds.in_step` joins them.
            Under rules: the decisions of the policy that obeys them, and its menu under ``"without the rules"``.
        decided: Treatment of each row at each budget, by the calibrated prices, (B, N).
        by_model: Spend per unit that the menus predict for those decisions, (B,); NaN where a menu does not predict spend.
        by_curve: Spend per unit that the calibrated curves predict, (B,).
        chosen: The chosen candidate of each fold.
        fold: The fold of each row, from 0, (N,).
        paying: Treatment of each row without a budget, at the price at which a unit of spend brings back itself, (N,); None
            where that price is not known.
    """

    logs: Logs
    menus: dict[str, Menu | DecisionPath]
    decided: NDArray[np.int32]
    by_model: NDArray[np.float64]
    by_curve: NDArray[np.float64]
    chosen: tuple[str, ...]
    fold: NDArray[np.int64]
    paying: NDArray[np.int32] | None = None


def prove(
    fitted: list[FittedCandidates], parts: list[Logs], task: Task, rules: Sequence[ProofRules] | None = None
) -> Proof:
    """Returns the held-out rows with the out-of-fold menus and decisions of the procedure.

    Args:
        fitted: The procedure without each fold.
        parts: The rows of each fold.
        task: The budgets.
        rules: The rules that the policy obeys, of the rows of each fold; None: there are none.

    Raises:
        InfeasibleRules: The rules conflict at a budget.
    """
    if rules is not None:
        return _under(fitted, parts, task, rules)
    everywhere = [name for name in fitted[0].models if all(name in one.models for one in fitted)]
    tables: dict[str, list[Menu]] = {name: [] for name in (POLICY, *everywhere)}
    decided, by_model, by_curve = [], [], []
    paying: list[NDArray[np.int32]] = []
    for one, rows in zip(fitted, parts, strict=True):
        menus = menus_of({name: one.models[name] for name in {*everywhere, one.name}}, rows.x, {})
        for name in everywhere:
            tables[name].append(menus[name])
        tables[POLICY].append(menus[one.name])
        d, m, c = _decide(one, rows, menus[one.name], task)
        decided.append(d)
        by_model.append(m)
        by_curve.append(c)
        if task.price is not None:
            paying.append(assign(menus[one.name], task.price))
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


def _under(fitted: list[FittedCandidates], parts: list[Logs], task: Task, rules: Sequence[ProofRules]) -> Proof:
    """Returns the proof of the policy under rules, beside the same policy without them."""
    logs = together(parts)
    menus = [one.model.predict(rows.x) for one, rows in zip(fitted, parts, strict=True)]
    most = float(arm_means(logs)[1].max())
    plans = [
        own.plans(menu, one.curve, task.budgets, most)
        for one, menu, own in zip(fitted, menus, rules, strict=True)
    ]  # fmt: skip
    size = np.array([rows.n for rows in parts])[:, None]
    by_model = [
        plan.by_model if one.model.menu_in_currency else [float("nan")] * len(task.budgets)
        for one, plan in zip(fitted, plans, strict=True)
    ]
    without = in_step(menus, [rows.weights for rows in parts])
    return Proof(
        logs=logs, menus={POLICY: ProofRules.joined(plans, logs.treatments), WITHOUT_RULES: without},
        decided=np.concatenate([plan.decided for plan in plans], axis=1),
        by_model=(np.array(by_model) * size).sum(0) / logs.n,
        by_curve=(np.array([plan.by_curve for plan in plans]) * size).sum(0) / logs.n,
        chosen=tuple(one.name for one in fitted), fold=np.repeat(np.arange(len(parts)), [rows.n for rows in parts]),
    )  # fmt: skip


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
