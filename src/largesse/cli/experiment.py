"""The commands of experiments: what one has brought, and what one would show."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from largesse.cli.options import Json
from largesse.errors import DataError

__all__ = ["assign", "experiment", "replay"]

_METHODS = {
    "difference": "difference in means", "cuped": "CUPED", "cupac": "CUPAC", "mlrate": "MLRATE", "state": "STATE",
}  # fmt: skip


def assign(
    users: Annotated[Path, typer.Argument(help="The units: Parquet, CSV or Feather.")],
    unit: Annotated[str, typer.Option(help="Column of what is randomised; its rows come into the same arm.")],
    shares: Annotated[str, typer.Option(help="Share of each arm, e.g. 'A=45,B=45,holdout=10'.")],
    salt: Annotated[str, typer.Option(help="Name of the experiment: another one draws anew.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Who is in which arm: .parquet, .csv or .feather.")],
    as_json: Json = False,
) -> None:
    """Who is in which arm of an experiment: by a hash of the id, the same on any machine at any time."""
    from largesse.cli import show
    from largesse.commands.assign import assign_users
    from largesse.report.table import treatment_table

    counts = assign_users(users, unit, _shares(shares, "shares") or {}, output, salt=salt)
    if as_json:
        show.print_json({"output": output, "arms": counts})
        return
    show.table(treatment_table(counts, name="Arm", of="Rows"), f"Arms of {salt}, in {output}")


def experiment(
    data: Annotated[Path, typer.Argument(help="One row per unit: Parquet, CSV or Feather.")],
    arm: Annotated[str, typer.Option(help="Column of the arms.")],
    metric: Annotated[
        list[str], typer.Option(help="value or value/denominator, with ~covariate for CUPED; repeat for several.")
    ],
    control: Annotated[str | None, typer.Option(help="Label of the control arm, where it is not plain.")] = None,
    features: Annotated[
        str, typer.Option(help="Columns known before the experiment, with commas between: for CUPAC, MLRATE and STATE.")
    ] = "",
    prediction: Annotated[str | None, typer.Option(help="A column of predictions, in place of features.")] = None,
    unit: Annotated[str | None, typer.Option(help="Column of unit ids; each may stand once.")] = None,
    cluster: Annotated[str | None, typer.Option(help="Column of the randomised units, if rows are parts of them.")] = None,
    weight: Annotated[str | None, typer.Option(help="Column of row weights.")] = None,
    planned: Annotated[
        str, typer.Option(help="Planned shares, e.g. 'A=50,B=25,C=25'; equal shares if left out.")
    ] = "",
    method: Annotated[
        list[str] | None, typer.Option(help="Show only difference, cuped, cupac, mlrate or state; repeat for several.")
    ] = None,
    nu: Annotated[str, typer.Option(help="Degrees of freedom of STATE, or 'estimate'.")] = "10",
    level: Annotated[float, typer.Option(help="Coverage of the intervals.")] = 0.95,
    seed: Annotated[int, typer.Option(help="Of the folds and the learner.")] = 0,
    folder: Annotated[
        Path | None, typer.Option("--folder", "-o", help="A folder to make, with report.html, forest.png and effects.json.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Let an older folder of that name give way.")] = False,
    as_json: Json = False,
) -> None:  # fmt: skip
    """What an online experiment has brought: STATE beside CUPAC, MLRATE, CUPED and the plain difference; do they agree?"""
    from largesse.cli import show
    from largesse.commands.experiment import experiment as measure
    from largesse.experiment.data.columns import Columns, Metric
    from largesse.experiment.data.crossfit import CrossFit
    from largesse.experiment.measurement import Settings

    columns = Columns(
        arm=arm, metrics=tuple(Metric.parse(text) for text in metric), control=control, features=_listed(features),
        unit=unit, cluster=cluster, weight=weight, prediction=prediction,
    )  # fmt: skip
    shown = _methods(method or list(_METHODS))
    settings = Settings(nu=_nu(nu), level=level, cross_fit=CrossFit(seed=seed))
    done = measure(
        data, columns, settings, planned=_shares(planned, "planned"), methods=shown, folder=folder, replace=replace
    )  # fmt: skip
    if as_json:
        show.print_json({"folder": folder, "ok": done.measurement.ok, **done.measurement.to_dict()})
    else:
        for one in done.measurement.metrics:
            show.effects(one, shown, level)
        show.findings(done.measurement.findings)
        if folder is not None:
            show.out.print(f"\nReport: {escape(str(folder / 'report.html'))}", highlight=False, soft_wrap=True)
    if not done.measurement.ok:
        raise typer.Exit(1)


def replay(
    history: Annotated[Path, typer.Argument(help="Rows of the past, one per unit: Parquet, CSV or Feather.")],
    metric: Annotated[str, typer.Option(help="value or value/denominator, with ~covariate for CUPED.")],
    features: Annotated[str, typer.Option(help="Columns known before, with commas between.")] = "",
    cluster: Annotated[str | None, typer.Option(help="Column of the randomised units, if rows are parts of them.")] = None,
    share: Annotated[float, typer.Option(help="Share of the units in the other arm.")] = 0.5,
    lift: Annotated[list[float] | None, typer.Option(help="An effect to look for, as a share of the level; repeat.")] = None,
    draws: Annotated[int, typer.Option(help="How often arms are drawn.")] = 500,
    effect: Annotated[float | None, typer.Option(help="Plan a test that sees this effect, in units of the metric.")] = None,
    shares: Annotated[str, typer.Option(help="Shares of its arms: the first two are compared.")] = "A=50,B=50",
    power: Annotated[float, typer.Option(help="Probability that the test sees the effect.")] = 0.8,
    per_day: Annotated[float | None, typer.Option(help="New units a day, all arms together.")] = None,
    looks: Annotated[str, typer.Option(help="Share of the units at each planned look, e.g. 0.25,0.5,1; one if left out.")] = "",
    seed: Annotated[int, typer.Option(help="Of the draws, the folds and the learner.")] = 0,
    as_json: Json = False,
) -> None:  # fmt: skip
    """History as experiments: false positives where nothing happened, each estimator's error and power; the plan of a test."""
    from largesse.cli import show
    from largesse.commands.replay import Wanted, replay_history
    from largesse.experiment.data.columns import Columns, Metric

    columns = Columns(arm="", metrics=(Metric.parse(metric),), features=_listed(features), cluster=cluster)
    lifts, arms, at = tuple(lift or (0.01, 0.02, 0.05)), _shares(shares, "shares") or {}, _numbers(looks, "looks")
    wanted = None if effect is None else Wanted(effect, arms, power, per_day, at)
    with show.progress(as_json) as say:
        found, test = replay_history(
            history, columns, wanted=wanted, draws=draws, share=share, lifts=lifts, seed=seed, say=say
        )
    if as_json:
        show.print_json(
            {"units": found.units, "draws": found.draws, "share": found.share, "lifts": list(found.lifts), "level": found.level,
             "warned": found.warned, "rows": found.rows, "plan": test and test.to_dict()}
        )  # fmt: skip
        return
    show.replayed(columns.metrics[0].name, found)
    if test is not None:
        show.test_plan(test)


def _listed(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


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
    pairs = [part.rpartition("=") for part in _listed(text)]
    try:
        return {name.strip(): float(share) for name, _, share in pairs} or None
    except ValueError:
        raise DataError(
            f"{field} == {text!r}: must read label=share, with commas between. E.g. 'A=50,B=50'.", field=field
        ) from None


def _numbers(text: str, field: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in _listed(text))
    except ValueError:
        raise DataError(
            f"{field} == {text!r}: must be numbers with commas between. E.g. '0.25,0.5,1'.", field=field
        ) from None
