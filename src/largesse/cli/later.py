"""The commands about later rows: the evaluation of a run, and the comparison of two."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from largesse.cli.options import Csv, Json, NoRules, PageFolder, Replace, RunFolder, Wide, for_program
from largesse.errors import DataError, UsedInTraining

__all__ = ["compare", "evaluate"]

Budgets = Annotated[
    list[float] | None,
    typer.Option("--budget-per-unit", help="Budget per unit; repeat for several. The run's own if left out."),
]
FreshOnly = Annotated[bool, typer.Option("--fresh-only", help="Leave out the rows of units that a run was trained on.")]
Anyway = Annotated[
    bool, typer.Option("--anyway", help="Evaluate although a run was trained on some of the rows; the output says so.")
]
Result = TypeVar("Result")
Totals = Annotated[
    list[float] | None, typer.Option("--budget", "-b", hidden=True, help="Refused: rows of a trial have no total.")
]
Draws = Annotated[
    int | None,
    typer.Option(hidden=True, help="Without effect: intervals need no draws. Accepted so that older scripts run."),
]


def evaluate(
    run_folder: RunFolder,
    test: Annotated[Path, typer.Argument(help="Trial rows: Parquet, CSV or Feather.")],
    budget_per_unit: Budgets = None,
    budget: Totals = None,
    draws: Draws = None,
    fresh_only: FreshOnly = False,
    anyway: Anyway = False,
    rules: Annotated[
        Path | None,
        typer.Option("--rules", "-r", help="TOML file of rules that the policy obeys; those of the run if left out."),
    ] = None,
    units: Annotated[
        int | None, typer.Option(help="Number of units that limits in totals are for; as in the run if left out.")
    ] = None,
    no_rules: NoRules = False,
    folder: PageFolder = None,
    replace: Replace = False,
    as_json: Json = False,
    as_csv: Csv = False,
    wide: Wide = False,
) -> None:
    """Evaluate a run's policy on further trial rows: value at each budget with intervals, planned and realised spend."""
    from largesse import _check, report
    from largesse.cli import show
    from largesse.commands.evaluate import evaluate_run
    from largesse.commands.findings.later import may_write_page, of_evaluation, write_page
    from largesse.commands.findings.pays import payback, table_of
    from largesse.config import load
    from largesse.report.table import realised_table

    data = for_program(as_json, as_csv)
    may_write_page(folder, replace=replace)
    if no_rules and rules is not None:
        raise DataError("--rules, --no-rules: rules are either obeyed or left out. Choose one of the two.")
    work = partial(
        evaluate_run, run_folder, test, budgets=_per_unit(budget_per_unit, budget), draws=draws, rules=rules, units=units,
        follow_rules=not no_rules,
    )  # fmt: skip
    (table, planned, rank), refusal = _unless_trained_on(work, fresh_only, anyway, as_json)
    config = load(run_folder / "config.toml")
    pays = payback(table, None, config.outcome.unit_value, "policy")
    document = {"rows": table.rows(), "returns": pays.table, "verdicts": pays.verdicts,
                "without_a_budget": pays.free, "spend": planned.to_records(),
                "ranking": rank, "notes": table.notes}  # fmt: skip
    if folder is not None and refusal is None:
        page = of_evaluation(config, table, planned, test)
        write_page(partial(report.write, page), document, folder, replace=replace)
    if data:
        _print_evaluation(document, refusal, as_csv)
        return
    show.comparison(table, wide=wide)
    labels = tuple(_check.written(b, 4) for b in table.budgets)
    show.table(
        table_of(pays, labels, config),
        f"Against giving nobody anything, at budgets per {config.report.head}",
        wide=wide,
    )
    show.table(realised_table(planned), "Planned against realised spend, per unit", wide=wide)
    for name, area in rank.items():
        show.prose(f"{show.escape(name)}: {area:.4f}")
    show.page(folder)


def compare(
    run_a: RunFolder,
    run_b: Annotated[Path, typer.Argument(help="Another run folder.")],
    test: Annotated[Path, typer.Argument(help="Trial rows that neither run has used.")],
    budget_per_unit: Budgets = None,
    budget: Totals = None,
    draws: Draws = None,
    fresh_only: FreshOnly = False,
    anyway: Anyway = False,
    folder: PageFolder = None,
    replace: Replace = False,
    as_json: Json = False,
    as_csv: Csv = False,
    wide: Wide = False,
) -> None:
    """Compare two runs on the same trial rows, with paired intervals of the difference."""
    from largesse import report
    from largesse.cli import show
    from largesse.commands.compare import compare_runs
    from largesse.commands.findings.later import may_write_page, of_comparison, returns_of, write_page
    from largesse.config import load
    from largesse.evaluate.returns import returns
    from largesse.report.pays import pay_table

    data = for_program(as_json, as_csv)
    may_write_page(folder, replace=replace)
    work = partial(compare_runs, run_a, run_b, test, budgets=_per_unit(budget_per_unit, budget), draws=draws)
    table, refusal = _unless_trained_on(work, fresh_only, anyway, as_json)
    config = load(run_a / "config.toml")
    back = returns(table, value_per_unit=config.outcome.unit_value)
    document = {"reference": table.reference, "rows": table.rows(), "returns": back, "notes": table.notes}
    if folder is not None and refusal is None:
        page = of_comparison(config, table, test)
        write_page(partial(report.write, page), document, folder, replace=replace)
    if data:
        _print_evaluation(document, refusal, as_csv)
        return
    show.comparison(table, wide=wide)
    pays, words = returns_of(config, table), config.report
    if pays is not None:
        show.table(
            pay_table(
                pays, value=words.value_unit, money=words.money, head=words.head, level=table.level, ours=table.names[1],
                brief=True,
            ),
            f"Against giving nobody anything, at budgets per {words.head}", wide=wide,
        )  # fmt: skip
    show.page(folder)


def _per_unit(per_unit: list[float] | None, totals: list[float] | None) -> tuple[float, ...]:
    """Returns the budgets per unit; a total is refused."""
    from largesse import _check

    if totals:
        rule = "is a total, and rows of a trial are evaluated at budgets per unit"
        remedy = "Give --budget-per-unit: the total divided by the number of units that it is for."
        raise _check.refuse("--budget", totals[0], rule, remedy)
    return tuple(per_unit or ())


def _unless_trained_on(
    work: Callable[..., Result], fresh_only: bool, anyway: bool, as_json: bool
) -> tuple[Result, UsedInTraining | None]:
    """Returns an evaluation, and why it is refused; refused numbers are for the JSON document only, where `ok` is false."""
    if fresh_only and anyway:
        raise DataError("--fresh-only, --anyway: these rows are either left out or evaluated. Choose one of the two.")
    try:
        return work(trained_on="drop" if fresh_only else "keep" if anyway else "refuse"), None
    except UsedInTraining as refusal:
        if not as_json:
            raise
        return work(trained_on="keep"), refusal


def _print_evaluation(document: dict[str, Any], refusal: UsedInTraining | None, as_csv: bool) -> None:
    """Prints an evaluation as JSON; a refused one says so in the document and on standard error, and ends with exit code 2."""
    from largesse.cli import show

    if refusal is None:
        show.print_data({"ok": True, **document}, document["rows"], as_csv=as_csv)
        return
    why = {"error": str(refusal), "kind": type(refusal).__name__, "trained_on": refusal.used, "of": refusal.rows}
    show.print_json({"ok": False, **why, **document})
    show.err.print(f"[red]error:[/] {show.escape(str(refusal))}", highlight=False, soft_wrap=True)
    raise typer.Exit(2)
