"""The commands about the ledger of a server: erase a unit, verify the log, export, replay or compare the decisions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from largesse.cli.options import Json

if TYPE_CHECKING:
    from largesse.serving.ledger.replaying import Replayed

__all__ = ["decisions", "erase", "verify_log"]

Store = Annotated[str, typer.Option("--store", help="The ledger: sqlite:///FILE, or postgresql://USER@HOST/DATABASE.")]
decisions = typer.Typer(help="The decisions of a server.", no_args_is_help=True)


def erase(
    store: Store,
    unit: Annotated[str, typer.Option("--unit", help="Id of the unit.")],
    as_json: Json = False,
) -> None:
    """Erase a unit from a ledger: its id, features and keys; sums, counts and the rows of the trial stay right."""
    from largesse.cli import show
    from largesse.commands.decision_log import erase_unit

    count = erase_unit(store, unit)
    if as_json:
        show.print_json({"decisions": count})
    else:
        several = f"{count:,} decision{'s' if count > 1 else ''} erased"
        show.prose(several if count else "this unit has no decision in the ledger")


def verify_log(
    store: Store,
    earlier: Annotated[
        Path | None, typer.Option("--earlier", help="What this command printed earlier with --json, kept elsewhere.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Verify that no decision or outcome in a ledger was changed, inserted or deleted; exit code 1 if one was."""
    from largesse.cli import show
    from largesse.commands import decision_log

    done = decision_log.verify_log(store, earlier)
    if as_json:
        logs = {name: log._asdict() for name, log in done.logs.items()}
        show.print_json({"ok": not done.problems, "logs": logs, "problems": done.problems})
    else:
        for name, log in done.logs.items():
            show.prose(
                f"{show.escape(name)}: {log.decisions:,} decisions ({log.erased:,} erased), {log.outcomes:,} outcomes; links "
                f"{log.decision_link}, {log.outcome_link}"
            )
        for problem in done.problems:
            show.prose(f"[red]{show.escape(problem)}[/]")
        if not done.problems:
            show.prose("nothing was changed, inserted or deleted")
    if done.problems:
        raise typer.Exit(1)


@decisions.command("export")
def export_rows(
    store: Store,
    campaign: Annotated[str, typer.Option("--campaign", help="Name of the campaign.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write: .parquet.")],
    as_json: Json = False,
) -> None:
    """Write the matured decisions of a campaign as rows of a trial, which `check`, `fit` and `evaluate` read."""
    from largesse.cli import show
    from largesse.commands.decision_log import export_decisions

    done = export_decisions(store, campaign, output)
    if as_json:
        show.print_json({"output": output, "rows": done.rows, "left_out": done.left_out, "control": done.control,
                         "treatments": done.treatments, "features": done.features})  # fmt: skip
        return
    show.prose(
        f"{done.rows:,} rows, {done.left_out:,} decisions left out (too young, or limited by the budget)\n"
        f"written: {show.escape(str(output))}\n\nIn campaign.toml:\n"
    )
    show.out.print(show.escape(done.campaign(output)), highlight=False, soft_wrap=True)


@decisions.command("replay")
def replay_rows(
    run: Annotated[Path, typer.Argument(help="The other run, with its ONNX form.")],
    store: Store,
    campaign: Annotated[str, typer.Option("--campaign", help="Name of the campaign.")],
    price: Annotated[float | None, typer.Option(help="Price for it; that of each decision if left out.")] = None,
    as_json: Json = False,
) -> None:
    """Decide the decisions of a campaign again with another run: what would change, and what that would bring and cost."""
    from largesse._extras import needed_for
    from largesse.cli import show
    from largesse.commands.decision_log import replay_decisions

    with needed_for("largesse decisions replay"):
        done = replay_decisions(store, campaign, run, price)
    _show_replayed(done, as_json, "features not stored, erased, or without a model")
    if done.judged and not as_json:
        show.prose("These estimates are too good if the run was learned from these decisions.")


@decisions.command("shadow")
def shadow_rows(
    store: Store,
    campaign: Annotated[str, typer.Option("--campaign", help="Name of the campaign.")],
    version: Annotated[str | None, typer.Option(help="Version of the challenger, if several have answered.")] = None,
    as_json: Json = False,
) -> None:
    """Compare the answers of a challenger in the shadow with the decisions: what differs, what it costs, what it would bring."""
    from largesse.commands.decision_log import shadowed_decisions

    done = shadowed_decisions(store, campaign, version)
    _show_replayed(done, as_json, "not answered in the shadow, erased, or without a model")


def _show_replayed(done: Replayed, as_json: bool, why_left_out: str) -> None:
    """Shows the decisions of a log by another policy."""
    from largesse._check import written
    from largesse.cli import show
    from largesse.report.blocks import Column, Row, Table

    if as_json:
        changes = {name: one and one._asdict() for name, one in (("value", done.value), ("cost", done.cost))}
        show.print_json(done._asdict() | changes)
        return
    out = f", {done.left_out:,} left out ({why_left_out})" if done.left_out else ""
    show.prose(f"{done.decisions:,} decisions{out}: {done.changed:.1%} would differ")
    columns = Column("Treatment", words=True), Column("Before"), Column("After")
    rows = tuple(Row((name, f"{n:,}", f"{done.after[name]:,}")) for name, n in done.before.items())
    show.table(Table(columns=columns, rows=rows))
    show.prose(f"predicted cost per unit: {written(done.cost_before)} before, {written(done.cost_after)} after")
    for name, one in (("value", done.value), ("money paid", done.cost)):
        if one is not None:
            show.prose(
                f"{name} per unit: {one.difference:+.4g} (95 % interval {one.low:+.4g} to {one.high:+.4g}), from {done.judged:,} "
                f"matured decisions, of which {done.informative:,} had a treatment that only one of the two gives"
            )
