"""The commands of experiments: assign arms, measure effects, replay past data."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from largesse.cli.options import Csv, Json, PageFolder, Replace, Wide, for_program, listed
from largesse.errors import DataError

if TYPE_CHECKING:
    from largesse.experiment.design.replay import Replay

__all__ = ["assign", "experiment", "replay"]

_METHODS = {
    "difference": "difference in means", "cuped": "CUPED", "cupac": "CUPAC", "mlrate": "MLRATE", "state": "STATE",
}  # fmt: skip


def assign(
    users: Annotated[Path, typer.Argument(help="The units: Parquet, CSV or Feather.")],
    unit: Annotated[
        str, typer.Option(help="Column with the id of the randomised unit; all its rows get the same arm.")
    ],
    shares: Annotated[str, typer.Option(help="Share of each arm, e.g. 'A=45,B=45,holdout=10'.")],
    salt: Annotated[str, typer.Option(help="Name of the experiment: another name gives another assignment.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The arm of each unit: .parquet, .csv or .feather.")],
    as_json: Json = False,
    as_csv: Csv = False,
    wide: Wide = False,
) -> None:
    """Assign units to the arms of an experiment by a hash of the id: the same on any machine at any time."""
    from largesse.cli import show
    from largesse.commands.assign import assign_users
    from largesse.report.table import treatment_table

    data = for_program(as_json, as_csv)
    counts = assign_users(users, unit, _shares(shares, "shares") or {}, output, salt=salt)
    if data:
        rows = [{"arm": name, "rows": n} for name, n in counts.items()]
        show.print_data({"output": output, "arms": counts}, rows, as_csv=as_csv)
        return
    show.table(treatment_table(counts, name="Arm", of="Rows"), f"Arms of {salt}, in {output}", wide=wide)


def experiment(
    data: Annotated[Path, typer.Argument(help="One row per unit: Parquet, CSV or Feather.")],
    arm: Annotated[str, typer.Option(help="Column of the arms.")],
    metric: Annotated[
        list[str], typer.Option(help="value or value/denominator, with ~covariate for CUPED; repeat for several.")
    ],
    control: Annotated[str | None, typer.Option(help="Label of the control arm, if its name does not show it.")] = None,
    features: Annotated[
        str, typer.Option(help="Columns known before the experiment, separated by commas: for CUPAC, MLRATE and STATE.")
    ] = "",
    prediction: Annotated[str | None, typer.Option(help="A column of predictions, instead of features.")] = None,
    unit: Annotated[str | None, typer.Option(help="Column of unit ids; each occurs once.")] = None,
    cluster: Annotated[str | None, typer.Option(help="Column of the randomised units, if they have several rows.")] = None,
    weight: Annotated[str | None, typer.Option(help="Column of row weights.")] = None,
    planned: Annotated[
        str, typer.Option(help="Planned shares, e.g. 'A=50,B=25,C=25'; equal shares if left out.")
    ] = "",
    arm_tested: Annotated[
        str | None, typer.Option(help="Label of the arm that was to be tested: the report leads with it; all arms if left out.")
    ] = None,
    cost: Annotated[
        str | None, typer.Option(help="Column of what each row cost: net effect and return of the first metric.")
    ] = None,
    value_per_unit: Annotated[float, typer.Option(help="Money that one unit of the first metric brings, for --cost.")] = 1.0,
    method: Annotated[
        list[str] | None, typer.Option(help="Show only difference, cuped, cupac, mlrate or state; repeat for several.")
    ] = None,
    nu: Annotated[str, typer.Option(help="Degrees of freedom of STATE, or 'estimate'.")] = "10",
    level: Annotated[float, typer.Option(help="Coverage of the intervals.")] = 0.95,
    seed: Annotated[int, typer.Option(help="Seed of the folds and the learner.")] = 0,
    folder: Annotated[
        Path | None, typer.Option("--folder", "-o", help="Folder to make: report.html, its data and its picture.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace an older folder of that name.")] = False,
    as_json: Json = False,
    as_csv: Csv = False,
    wide: Wide = False,
) -> None:  # fmt: skip
    """Measure the effects of an experiment by the difference in means, CUPED, CUPAC, MLRATE and STATE, and compare them."""
    from largesse.cli import show
    from largesse.commands.experiment import experiment as measure
    from largesse.commands.findings.experiment import opening
    from largesse.commands.load import naming_fields
    from largesse.experiment.data.columns import Columns, Metric
    from largesse.experiment.data.crossfit import CrossFit
    from largesse.experiment.measurement import Settings
    from largesse.report.effects import return_table

    data_out = for_program(as_json, as_csv)
    columns = Columns(
        arm=arm, metrics=tuple(Metric.parse(text) for text in metric), control=control, features=listed(features),
        unit=unit, cluster=cluster, weight=weight, prediction=prediction, cost=cost,
    )  # fmt: skip
    shown = _methods(method or list(_METHODS))
    settings = Settings(nu=_nu(nu), level=level, cross_fit=CrossFit(seed=seed), value_per_unit=value_per_unit)
    with naming_fields({"control": "--control"}):
        done = measure(
            data, columns, settings, planned=_shares(planned, "planned"), tested=arm_tested, methods=shown, folder=folder,
            replace=replace,
        )  # fmt: skip
    if data_out:
        document = done.measurement.to_dict()
        rows = [{"metric": one["metric"], **row} for one in document["metrics"] for row in one["effects"]]
        show.print_data({"folder": folder, "ok": done.measurement.ok, **document}, rows, as_csv=as_csv)
    else:
        show.sentences(opening(done.measurement, arm_tested))
        for one in done.measurement.metrics:
            show.effects(one, shown, level, wide=wide)
        if done.measurement.returns:
            show.table(
                return_table(done.measurement.returns, level),
                f"{columns.metrics[0].name} less {cost}, per unit",
                wide=wide,
            )
            show.out.print()
        show.findings(done.measurement.findings)
        if folder is not None:
            show.out.print(f"\nReport: {show.escape(str(folder / 'report.html'))}", highlight=False, soft_wrap=True)
    if not done.measurement.ok:
        raise typer.Exit(1)


def replay(
    history: Annotated[Path, typer.Argument(help="Past rows, one per unit: Parquet, CSV or Feather.")],
    metric: Annotated[str, typer.Option(help="value or value/denominator, with ~covariate for CUPED.")],
    features: Annotated[str, typer.Option(help="Columns known before, separated by commas.")] = "",
    cluster: Annotated[str | None, typer.Option(help="Column of the randomised units, if they have several rows.")] = None,
    share: Annotated[float, typer.Option(help="Share of the units in the other arm.")] = 0.5,
    lift: Annotated[list[float] | None, typer.Option(help="An effect to detect, as a share of the mean; repeat.")] = None,
    draws: Annotated[int, typer.Option(help="Number of simulated experiments.")] = 500,
    effect: Annotated[float | None, typer.Option(help="Plan a test that detects this effect, in units of the metric.")] = None,
    shares: Annotated[str, typer.Option(help="Shares of the test's arms: the first two are compared.")] = "A=50,B=50",
    power: Annotated[float, typer.Option(help="Probability that the test detects the effect.")] = 0.8,
    per_day: Annotated[float | None, typer.Option(help="New units a day, all arms together.")] = None,
    looks: Annotated[str, typer.Option(help="Share of the units at each interim look, e.g. 0.25,0.5,1; one if left out.")] = "",
    seed: Annotated[int, typer.Option(help="Seed of the draws, the folds and the learner.")] = 0,
    folder: PageFolder = None,
    replace: Replace = False,
    as_json: Json = False,
    as_csv: Csv = False,
    wide: Wide = False,
) -> None:  # fmt: skip
    """Simulate experiments on past data: false positives, standard errors and power of each estimator; plan a test."""
    from largesse.cli import show
    from largesse.commands.findings.later import may_write_page, write_page
    from largesse.commands.findings.replay import headline, sections
    from largesse.commands.replay import Wanted, replay_history
    from largesse.experiment.data.columns import Columns, Metric
    from largesse.report.files import write_report

    data = for_program(as_json, as_csv)
    may_write_page(folder, replace=replace)
    columns = Columns(arm="", metrics=(Metric.parse(metric),), features=listed(features), cluster=cluster)
    lifts, arms, at = tuple(lift or (0.01, 0.02, 0.05)), _shares(shares, "shares") or {}, _numbers(looks, "looks")
    wanted = None if effect is None else Wanted(effect, arms, power, per_day, at)
    with show.progress(data) as say:
        done = replay_history(
            history, columns, wanted=wanted, draws=draws, share=share, lifts=lifts, seed=seed, say=say
        )
    result, test = done
    document = {"units": result.units, "draws": result.draws, "share": result.share, "lifts": list(result.lifts),
                "level": result.level, "warned": result.warned, "rows": result.rows, "plan": test and test.to_dict()}  # fmt: skip
    if folder is not None:
        write = partial(write_report, headline(columns.metrics[0].name, done), sections(done), {})
        write_page(write, document, folder, replace=replace)
    if data:
        show.print_data(document, _with_power(result), as_csv=as_csv)
        return
    show.replayed(columns.metrics[0].name, result, wide=wide)
    if test is not None:
        show.planned_test(test, wide=wide)
    show.page(folder)


def _with_power(result: Replay) -> list[dict[str, Any]]:
    """Returns the rows of a replay with a column of power for each effect."""
    rows = [row._asdict() for row in result.rows]
    power = [{f"power_{lift:g}": p for lift, p in zip(result.lifts, row["power"], strict=True)} for row in rows]
    return [
        {name: cell for name, cell in row.items() if name != "power"} | more
        for row, more in zip(rows, power, strict=True)
    ]


def _methods(names: list[str]) -> tuple[str, ...]:
    for name in names:
        if name.lower() not in _METHODS:
            raise DataError(
                f"method == {name!r}: must be one of {', '.join(_METHODS)}. Choose one of them.", field="method"
            )
    return tuple(_METHODS[name.lower()] for name in names)


def _nu(text: str) -> float | None:
    if text == "estimate":
        return None
    try:
        return float(text)
    except ValueError:
        raise DataError(f"nu == {text!r}: must be a number or 'estimate'. Give one of them.", field="nu") from None


def _shares(text: str, field: str) -> dict[str, float] | None:
    pairs = [part.rpartition("=") for part in listed(text)]
    try:
        return {name.strip(): float(share) for name, _, share in pairs} or None
    except ValueError:
        raise DataError(
            f"{field} == {text!r}: must be label=share, separated by commas. E.g. 'A=50,B=50'.", field=field
        ) from None


def _numbers(text: str, field: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in listed(text))
    except ValueError:
        raise DataError(
            f"{field} == {text!r}: must be numbers separated by commas. E.g. '0.25,0.5,1'.", field=field
        ) from None
