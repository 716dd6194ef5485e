"""`evaluate`: what a finished run's policy is worth on further trial rows."""

from __future__ import annotations

from largesse._files import PathLike
from largesse.commands.run_folder import budgets_of_run, open_run, trial_rows
from largesse.errors import DataError
from largesse.evaluate.comparison import Bootstrap, Comparison, compare
from largesse.evaluate.ranking import aucc, mt_aucc, roi_score
from largesse.logs import Logs
from largesse.menu import Menu
from largesse.policy.held_out import Realised

__all__ = ["evaluate_run"]


def evaluate_run(
    folder: PathLike, test: PathLike, *, budgets: tuple[float, ...] = (), draws: int | None = None
) -> tuple[Comparison, Realised, dict[str, float]]:
    """Returns what a run's policy is worth on further trial rows: the comparison, planned against realised, rankings.

    Args:
        folder: The run folder.
        test: Rows of a randomised trial with the columns of the run.
        budgets: Money per head; (): as in the run.
        draws: Bootstrap draws; None: as in the run.
    """
    config, policy = open_run(folder)
    rows = trial_rows(config, policy, test)
    money = budgets or budgets_of_run(folder)
    menu = policy.model.predict(rows.x)
    bootstrap = Bootstrap(draws=draws or config.run.draws, seed=config.run.seed)
    table = compare(rows, {"policy": menu}, money, bootstrap=bootstrap)
    planned = policy.realised(rows, money, draws=bootstrap.draws, seed=config.run.seed)
    return table, planned, _ranking(rows, menu)


def _ranking(rows: Logs, menu: Menu) -> dict[str, float]:
    """Returns the areas under the cost curve, or none where the rows show no positive effect and no cost in total."""
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
