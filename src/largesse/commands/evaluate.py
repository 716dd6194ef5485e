"""`evaluate`: the value and spend of a run's policy on further trial rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from largesse._files import PathLike
from largesse.commands.evaluated_rows import TrainedOn, evaluated_rows
from largesse.commands.proof_rules import POLICY, WITHOUT_RULES, ProofRules
from largesse.commands.run_folder import budgets_of_run, open_run, rules_to_obey, trial_rows
from largesse.errors import DataError
from largesse.evaluate.bootstrap import arm_means
from largesse.evaluate.comparison import Bootstrap, Comparison, compare
from largesse.evaluate.paths import DecisionPath
from largesse.evaluate.ranking_metrics import aucc, mt_aucc, roi_score
from largesse.frames.order import order_of
from largesse.logs import Logs
from largesse.menu import Menu
from largesse.policy.held_out import Realised

__all__ = ["evaluate_run"]


def evaluate_run(
    folder: PathLike,
    test: PathLike,
    *,
    budgets: tuple[float, ...] = (),
    draws: int | None = None,
    trained_on: TrainedOn = "refuse",
    rules: Path | None = None,
    units: int | None = None,
    follow_rules: bool = True,
) -> tuple[Comparison, Realised, dict[str, float]]:
    """Returns the value of a run's policy on further trial rows, its planned and realised spend, and ranking measures.

    Args:
        folder: The run folder.
        test: Rows of a randomised trial with the columns of the run.
        budgets: Budgets per unit; (): as in the run.
        draws: Number of `Comparison.draws`, which no interval needs; None: as in the run.
        trained_on: What to do with rows that the run was trained on: ``"refuse"``, ``"drop"`` them, or ``"keep"`` them.
            The notes of the comparison say so.
        rules: A TOML file of rules that the policy obeys, see `RulesFile`; None: those that the run was proven under.
        units: Number of units that limits in totals are for; None: as in the run.
        follow_rules: Whether the rules that the run was proven under are obeyed where none are given.

    Raises:
        UsedInTraining: There are such rows, and they are refused.
    """
    config, policy = open_run(folder)
    rows = trial_rows(config, policy, test)
    some, notes = evaluated_rows([folder], [rows], test, trained_on)
    some = some[order_of(rows.take(some))]
    rows = rows.take(some)
    budgets = budgets or budgets_of_run(folder)
    menu = policy.model.predict(rows.x)
    bootstrap = Bootstrap(draws=config.run.draws if draws is None else draws, seed=config.run.seed)
    obeyed = rules_to_obey(folder, rules, units, test, some, rows) if rules is not None or follow_rules else None
    if obeyed is None:
        table = compare(rows, {POLICY: menu}, budgets, bootstrap=bootstrap)
        planned = policy.realised(rows, budgets, seed=config.run.seed)
    else:
        plans = obeyed.plans(menu, policy.curve, budgets, float(arm_means(rows)[1].max()))
        policies: dict[str, Menu | DecisionPath] = {
            POLICY: ProofRules.joined([plans], rows.treatments),
            WITHOUT_RULES: menu,
        }
        table = compare(rows, policies, budgets, bootstrap=bootstrap)
        planned = plans.realised(rows, budgets)
        notes = (*notes, obeyed.sentence)
    return replace(table, notes=(*notes, *table.notes)), planned, _ranking(rows, menu)


def _ranking(rows: Logs, menu: Menu) -> dict[str, float]:
    """Returns the areas under the cost curve; {} where the rows show no positive effect or no cost in total."""
    if rows.design != "rct":
        return {}
    try:
        if rows.n_treatments > 2:
            return {"mt-aucc": mt_aucc(rows, menu)}
        areas = {"aucc": aucc(rows, roi_score(menu))}
        return (
            areas
            if rows.weight is not None
            else areas | {"aucc (published form)": aucc(rows, roi_score(menu), form="published")}
        )
    except DataError:
        return {}
