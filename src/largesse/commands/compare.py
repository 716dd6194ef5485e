"""`compare`: the policies of two runs on the same further rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from largesse._files import PathLike
from largesse.commands.evaluated_rows import TrainedOn, evaluated_rows
from largesse.commands.proof_rules import ProofRules
from largesse.commands.run_folder import budgets_of_run, open_run, rules_to_obey, trial_rows
from largesse.errors import DataError
from largesse.evaluate.bootstrap import arm_means
from largesse.evaluate.comparison import Bootstrap, Comparison, compare
from largesse.evaluate.paths import DecisionPath
from largesse.frames.order import order_of
from largesse.menu import Menu

__all__ = ["compare_runs"]


def compare_runs(
    first: PathLike, second: PathLike, test: PathLike, *, budgets: tuple[float, ...] = (), draws: int | None = None,
    trained_on: TrainedOn = "refuse",
) -> Comparison:  # fmt: skip
    """Returns the policies of two runs on the same rows, with paired differences from the first.

    A run that was proven under rules obeys them here too.

    Args:
        first: A run folder.
        second: Another one.
        test: Rows of a randomised trial with the columns of both runs.
        budgets: Budgets per unit; (): as in the first run.
        draws: Number of `Comparison.draws`, which no interval needs; None: as in the first run.
        trained_on: What to do with rows that one of the runs was trained on, as for `evaluate_run`.

    Raises:
        DataError: The runs have different treatments.
        UsedInTraining: There are rows that a run was trained on, and they are refused.
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
    some, notes = evaluated_rows([first, second], logs, test, trained_on)
    some = some[order_of(logs[0].take(some))]  # one order: each run orders by its own columns
    logs = [rows.take(some) for rows in logs]
    budgets = budgets or budgets_of_run(first)
    menus: dict[str, Menu | DecisionPath] = {}
    for folder, name, (_, policy), rows in zip((first, second), names, opened, logs, strict=True):
        menu = policy.model.predict(rows.x)
        rules = rules_to_obey(folder, None, None, test, some, rows)
        menus[name] = menu
        if rules is not None:
            plans = rules.plans(menu, policy.curve, budgets, float(arm_means(rows)[1].max()))
            menus[name] = ProofRules.joined([plans], rows.treatments)
            notes = (*notes, f"{name} obeys the rules that it was proven under.")
    bootstrap = Bootstrap(draws=config.run.draws if draws is None else draws, seed=config.run.seed)
    table = compare(logs[0], menus, budgets, reference=names[0], bootstrap=bootstrap)
    return replace(table, notes=(*notes, *table.notes))
