"""The commands that decide for units: with a run, with the predictions of any model, and for a server."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from largesse.cli.options import Csv, IdColumn, Json, Keep, NoRules, RunFolder, Wide, for_program, listed

if TYPE_CHECKING:
    from largesse.commands.run_folder import Safety
    from largesse.menu import Bound
    from largesse.policy.deployed import Brought

__all__ = ["allocate", "export", "plan", "predict"]


def allocate(
    run_folder: RunFolder,
    users: Annotated[Path, typer.Argument(help="The units: Parquet, CSV or Feather, with the features of the run.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The allocation: .parquet, .csv or .feather.")],
    budget: Annotated[
        float | None,
        typer.Option("--budget", "-b", help="Total budget of these units; without it, everybody gets what pays."),
    ] = None,
    budget_per_unit: Annotated[
        float | None, typer.Option("--budget-per-unit", help="Instead of a total: budget per unit.")
    ] = None,
    min_return: Annotated[
        float, typer.Option(help="Money that each unit of spend must bring back, where there is no budget.")
    ] = 1.0,
    price: Annotated[
        float | None, typer.Option(help="Instead of a budget: the value that each unit of spend must bring.")
    ] = None,
    value_per_unit: Annotated[
        float | None,
        typer.Option(help="Money that one unit of value brings; outcome.value_per_unit of the run if left out."),
    ] = None,
    safety: Annotated[
        float | None,
        typer.Option(help="Probability of staying within the budget; budget.safety of the run if left out."),
    ] = None,
    on_average: Annotated[bool, typer.Option("--on-average", help="Stay within the budget on average only.")] = False,
    rules: Annotated[
        Path | None, typer.Option("--rules", "-r", help="TOML file: caps, groups and other rules beside the budget.")
    ] = None,
    no_rules: NoRules = False,
    unit: IdColumn = None,
    keep: Keep = "",
    holdout: Annotated[
        float | None, typer.Option(help="Share of the units to keep back with control, drawn by a hash of id and salt.")
    ] = None,
    salt: Annotated[str | None, typer.Option(help="With --holdout: name of the experiment, as for `assign`.")] = None,
    by_cluster: Annotated[
        bool, typer.Option("--by-cluster", help="One treatment for each cluster of the run (model hrc).")
    ] = False,
    eligible: Annotated[
        str | None,
        typer.Option(help="With --by-cluster: boolean columns, may_{} with the treatment for {}: may the unit get it?"),
    ] = None,
    as_json: Json = False,
    as_csv: Csv = False,
    wide: Wide = False,
) -> None:
    """Decide who gets what within a budget, with the policy of a run."""
    from largesse import _check
    from largesse.cli import show
    from largesse.commands.allocate import allocate_run
    from largesse.engines.holdout import Holdout

    data = for_program(as_json, as_csv)
    if by_cluster:
        refused = {"--price": price, "--value-per-unit": value_per_unit, "--id": unit, "--keep": keep or None,
                   "--holdout": holdout}  # fmt: skip
        if rules is not None:
            raise _check.refuse("--rules", str(rules), "cannot be used with --by-cluster", "Use --eligible.")
        for name, given in refused.items():
            if given is not None:
                raise _check.refuse(name, given, "cannot be used with --by-cluster", "Leave it out.")
        _by_cluster(
            run_folder, users, budget, budget_per_unit, output, _safety(safety, on_average), eligible,
            as_json, as_csv, wide,
        )  # fmt: skip
        return
    if eligible is not None:
        raise _check.refuse("--eligible", eligible, "needs --by-cluster", "Without it, use --rules.")
    if no_rules and rules is not None:
        raise _check.refuse("--no-rules", str(rules), "cannot be used with --rules", "Choose one of the two.")
    if salt is not None and holdout is None:
        raise _check.refuse("--salt", salt, "needs --holdout", "Give the share to keep back, e.g. --holdout 0.05.")
    with show.progress(data) as say:
        done = allocate_run(
            run_folder, users, budget, output, budget_per_unit=budget_per_unit, price=price, min_return=min_return,
            value_per_unit=value_per_unit, safety=_safety(safety, on_average), rules=rules,
            follow_rules=not no_rules, unit=unit, keep=listed(keep),
            holdout=None if holdout is None else Holdout(holdout, salt or ""), say=say, n_threads=_threads(),
        )  # fmt: skip
    plan = done.plan
    if data:
        show.print_data(
            {"output": output, "units": done.n, "budget": done.budget, "price": done.price, "spend": done.spend,
             "value": done.value, "brought": done.brought,
             "planned_spend": done.planned_spend, "safety": done.safety, "mix": plan.mix,
             "rules": plan.rules, "held_out": done.held_out, "notes": done.notes, "groups": None, "gap": None,
             "overspends": None},
            _counts(plan.mix), as_csv=as_csv,
        )  # fmt: skip
        return
    _print_plan(plan.mix, plan.rules, wide=wide)
    for note in done.notes:
        show.prose(show.escape(note))
    limit = "no budget" if done.budget == float("inf") else f"budget {_check.written(done.budget)}"
    spend, value = ([_check.written(x, digits) for x in part] for part, digits in ((done.spend, 6), (done.value, 3)))
    show.prose(
        f"{_brought(done.brought)}{limit}; total spend expected {spend[0]} ({spend[1]} to {spend[2]}); total value expected "
        f"{value[0]} ({value[1]} to {value[2]}), with what control brings; price {_check.written(done.price, 4)}\n"
        f"written: {show.escape(str(output))}",
    )


def _brought(brought: Brought | None) -> str:
    """Returns what an allocation is expected to bring beyond control for everyone, in a line."""
    from largesse import _check

    if brought is None:
        return ""
    more, paid = (_check.written(x, 4) for x in brought[:2])
    net = "" if brought.net is None else f", so it leaves {_check.written(brought.net, 4)} after its cost"
    return f"expected beyond control for everyone: incremental value {more}, cost {paid}{net}\n"


def _by_cluster(
    run_folder: Path, users: Path, budget: float | None, budget_per_unit: float | None, output: Path, safety: Safety,
    eligible: str | None, as_json: bool, as_csv: bool, wide: bool,
) -> None:  # fmt: skip
    from largesse import _check
    from largesse.cli import show
    from largesse.commands.allocate_clusters import allocate_by_cluster

    data = as_json or as_csv
    with show.progress(data) as say:
        done = allocate_by_cluster(
            run_folder, users, budget, output, budget_per_unit=budget_per_unit, safety=safety, eligible=eligible, say=say
        )  # fmt: skip
    plan, groups = done.plan, len(done.cluster)
    if data:
        show.print_data(
            {"output": output, "units": done.n, "budget": plan.budget, "price": None, "spend": _mean(plan.spend),
             "value": _mean(plan.value), "brought": None, "planned_spend": plan.spend, "safety": done.safety, "mix": done.mix,
             "rules": [], "held_out": 0, "notes": [], "groups": groups, "gap": plan.gap, "overspends": plan.overspends},
            _counts(done.mix), as_csv=as_csv,
        )  # fmt: skip
        return
    _print_plan(done.mix, wide=wide)
    of_plan = plan.budget, plan.spend, plan.value, plan.gap, plan.overspends
    budget_, spend, value, gap, over = map(_check.written, of_plan, (6, 6, 6, 3, 2))
    show.prose(
        f"{groups} groups; budget {budget_}; spend expected {spend}, above the budget with probability {over}; "
        f"value expected {value}, at most {gap} below the optimum for these groups\n"
        f"written: {show.escape(str(output))}",
    )


def predict(
    run_folder: RunFolder,
    users: Annotated[Path, typer.Argument(help="The units: Parquet, CSV or Feather, with the features of the run.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The menu: .parquet, .csv or .feather.")],
    unit: IdColumn = None,
    keep: Keep = "",
    as_json: Json = False,
) -> None:
    """Write the predicted value and cost of every treatment for every unit, as `plan` reads them."""
    from largesse.cli import show
    from largesse.commands.predict import predict_run

    with show.progress(as_json) as say:
        done = predict_run(run_folder, users, output, unit=unit, keep=listed(keep), say=say)
    if as_json:
        show.print_json({"output": output, "units": done.n, "treatments": done.treatments, "unit": done.unit})
        return
    show.out.print(  # not folded: the lines are to be pasted
        f"{done.n:,} units; a rules file for `largesse plan` begins with\n{show.escape(done.rules)}\n"
        f"written: {show.escape(str(output))}",
        highlight=False, soft_wrap=True,
    )  # fmt: skip


def plan(
    menu: Annotated[Path, typer.Argument(help="The units: predicted value and cost of each treatment, a column each.")],
    rules: Annotated[
        Path, typer.Option("--rules", "-r", help="TOML file: the columns, the budget, caps, groups and other rules.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The allocation: .parquet, .csv or .feather.")],
    report: Annotated[
        Path | None, typer.Option(help="Also write a web page about the allocation and its rules: .html.")
    ] = None,
    keep: Keep = "",
    value_per_unit: Annotated[
        float | None,
        typer.Option(help="Money that one unit of value brings: the allocation then has the column net_value."),
    ] = None,
    as_json: Json = False,
    as_csv: Csv = False,
    wide: Wide = False,
) -> None:
    """Decide who gets what under rules, with the predicted values and costs of any model."""
    from largesse import _check
    from largesse.cli import show
    from largesse.commands.plan import may_report, plan_under, report_plan

    data = for_program(as_json, as_csv)
    if report is not None:
        may_report(report, menu, rules, output)
    with show.progress(data) as say:
        done = plan_under(
            menu, rules, output, keep=listed(keep), value_per_unit=value_per_unit, say=say, n_threads=_threads()
        )
    if report is not None:
        report_plan(done, output, report)
    if data:
        show.print_data(
            {"output": output, "units": done.n, "spend": done.spend, "value": done.value, "gap": done.gap, "mix": done.mix,
             "rules": done.rules},
            _counts(done.mix), as_csv=as_csv,
        )  # fmt: skip
        return
    _print_plan(done.mix, done.rules, wide=wide)
    spend, value, gap = map(_check.written, (done.spend, done.value, done.gap), (6, 6, 3))
    show.prose(
        f"spend {spend}; value {value}, at most {gap} below the optimum within the rules\n"
        f"written: {show.escape(str(output))}",
    )


def export(
    run_folder: RunFolder,
    users: Annotated[Path, typer.Argument(help="A sample of the units to be served; the budgets are for it.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to make: model.onnx and table.json.")],
    budget: Annotated[
        list[float] | None, typer.Option("--budget", "-b", help="Total budget of these units; repeat for several.")
    ] = None,
    budget_per_unit: Annotated[
        list[float] | None,
        typer.Option("--budget-per-unit", help="Instead of totals: budget per unit; repeat for several."),
    ] = None,
    form: Annotated[
        Literal["folded", "mlp", "lightgbm"],
        typer.Option(help="The classifier; folded gives exactly the run's clusters."),
    ] = "folded",
    safety: Annotated[
        float | None,
        typer.Option(help="Probability of staying within each budget; budget.safety of the run if left out."),
    ] = None,
    on_average: Annotated[bool, typer.Option("--on-average", help="Stay within the budgets on average only.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Replace an older export of that name.")] = False,
    as_json: Json = False,
    as_csv: Csv = False,
    wide: Wide = False,
) -> None:
    """Export the clusters of a run (model hrc) for a server: a classifier in ONNX, and the treatment of each class."""
    from largesse.cli import show
    from largesse.commands.export import export_run
    from largesse.report.table import export_table
    from largesse.result import plain

    data = for_program(as_json, as_csv)
    done = export_run(
        run_folder, users, tuple(budget or ()), output, per_unit=tuple(budget_per_unit or ()), form=form,
        safety=_safety(safety, on_average), replace=replace,
    )  # fmt: skip
    rows = [
        {"budget": p.budget, "spend": p.spend, "value": p.value, "overspends": p.overspends, "mix": mix}
        for p, mix in zip(done.plans, done.mixes, strict=True)
    ]
    if data:
        document = {"output": output, "units": done.units, **plain(done.fidelity), "plans": rows}
        show.print_data(document, rows, as_csv=as_csv)
        return
    show.table(export_table(done.plans, done.mixes), f"Plans for {done.units:,} units", wide=wide)
    show.prose(
        f"{done.fidelity.agreement:.2%} of the units get the same cluster as in the run\nwritten: {show.escape(str(output))}",
    )


def _print_plan(mix: dict[str, int], rules: Sequence[Bound] = (), *, wide: bool) -> None:
    from largesse.cli import show
    from largesse.report.table import rule_table, treatment_table

    show.table(treatment_table(mix), "Allocation", wide=wide)
    if rules:
        show.table(rule_table(rules), "Rules", wide=wide)


def _counts(mix: dict[str, int]) -> list[dict[str, Any]]:
    """Returns the units of each treatment, the rows of the main table."""
    return [{"treatment": name, "units": n} for name, n in mix.items()]


def _mean(x: float) -> dict[str, float | None]:
    """Returns an expected total without an interval, in the form of one that has one."""
    return {"mean": x, "low": None, "high": None}


def _threads() -> int:
    """Returns the threads for passes over units: as many as this process may use, eight at most."""
    allowed = os.environ.get("OMP_NUM_THREADS", "")
    return int(allowed) if allowed.isdigit() and int(allowed) > 0 else min(os.cpu_count() or 1, 8)


def _safety(safety: float | None, on_average: bool) -> Safety:
    """Returns the safety that the two options mean together."""
    from largesse import _check

    if safety is not None and on_average:
        raise _check.refuse("--safety", safety, "cannot be used with --on-average", "Give one of the two.")
    return None if on_average else "configured" if safety is None else safety
