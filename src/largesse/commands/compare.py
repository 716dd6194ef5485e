"""`compare`: the policies of two runs on the same further rows."""

from __future__ import annotations

from pathlib import Path

from largesse._files import PathLike
from largesse.commands.run_folder import budgets_of_run, open_run, trial_rows
from largesse.errors import DataError
from largesse.evaluate.comparison import Bootstrap, Comparison, compare

__all__ = ["compare_runs"]


def compare_runs(
    first: PathLike, second: PathLike, test: PathLike, *, budgets: tuple[float, ...] = (), draws: int | None = None
) -> Comparison:
    """Returns the policies of two runs on the same rows, with paired differences from the first.

    Raises:
        DataError: The runs have different treatments.
    """
    opened = [open_run(folder) for folder in (first, second)]
    names = [Path(first).name, Path(second).name]
    if names[0] == names[1]:
        names = ["A", "B"]
    config = opened[0][0]
    logs = [trial_rows(c, policy, test) for c, policy in opened]
    if logs[0].treatments != logs[1].treatments:
        raise DataError(
            f"treatments: {names[0]} has {logs[0].treatments}, {names[1]} has {logs[1].treatments}. "
            "Compare runs of the same treatments.",
            field="treatments",
        )
    menus = {n: policy.model.predict(rows.x) for n, (_, policy), rows in zip(names, opened, logs, strict=True)}
    budgets = budgets or budgets_of_run(first)
    bootstrap = Bootstrap(draws=config.run.draws if draws is None else draws, seed=config.run.seed)
    return compare(logs[0], menus, budgets, reference=names[0], bootstrap=bootstrap)
