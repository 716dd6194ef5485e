"""`evaluate`: the value and spend of a run's policy on further trial rows."""

from __future__ import annotations

from dataclasses import replace

from largesse._files import PathLike
from largesse.commands.evaluated_rows import TrainedOn, evaluated_rows
from largesse.commands.run_folder import budgets_of_run, open_run, trial_rows
from largesse.errors import DataError
from largesse.evaluate.comparison import Bootstrap, Comparison, compare
from largesse.evaluate.ranking_metrics import aucc, mt_aucc, roi_score
from largesse.frames.order import by_content
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
) -> tuple[Comparison, Realised, dict[str, float]]:
    """Returns the value of a run's policy on further trial rows, its planned and realised spend, and ranking measures.

    Args:
        folder: The run folder.
        test: Rows of a randomised trial with the columns of the run.
        budgets: Budgets per unit; (): as in the run.
        draws: Number of `Comparison.draws`, which no interval needs; None: as in the run.
        trained_on: What to do with rows that the run was trained on: ``"refuse"``, ``"drop"`` them, or ``"keep"`` them.
            The notes of the comparison say so.

    Raises:
        UsedInTraining: There are such rows, and they are refused.
    """
    config, policy = open_run(folder)
    rows = trial_rows(config, policy, test)
    some, notes = evaluated_rows([folder], [rows], test, trained_on)
    rows = by_content(rows.take(some))
    budgets = budgets or budgets_of_run(folder)
    menu = policy.model.predict(rows.x)
    bootstrap = Bootstrap(draws=config.run.draws if draws is None else draws, seed=config.run.seed)
    table = compare(rows, {"policy": menu}, budgets, bootstrap=bootstrap)
    table = replace(table, notes=(*notes, *table.notes))
    planned = policy.realised(rows, budgets, seed=config.run.seed)
    return table, planned, _ranking(rows, menu)


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
