"""The command `update`: a challenger, learned from the trial of a run and from the decisions of a server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from largesse.cli.options import Csv, Json, Replace, RunFolder, Wide, for_program

__all__ = ["update"]


def update(
    run: RunFolder,
    store: Annotated[str, typer.Argument(help="The ledger: sqlite:///FILE, or postgresql://USER@HOST/DATABASE.")],
    folder: Annotated[
        Path, typer.Option("--folder", "-o", help="The run folder to make; its rows are written beside it.")
    ],
    campaign: Annotated[str | None, typer.Option(help="Name of the campaign, if the ledger has several.")] = None,
    judge_share: Annotated[
        float, typer.Option(help="Share of the served units that judge, and are not learned from.")
    ] = 0.3,
    since: Annotated[
        str | None,
        typer.Option(
            help="A date or time (UTC): learn from decisions from then on alone, for a world that has changed."
        ),
    ] = None,
    fast: Annotated[
        bool, typer.Option("--fast", help="Prove the challenger on one held-out part, as `fit --fast`.")
    ] = False,
    replace: Replace = False,
    as_json: Json = False,
    as_csv: Csv = False,
    wide: Wide = False,
) -> None:
    """Learn a challenger from a run's trial and the decisions of a server; compare it with the run on other decisions."""
    from largesse._extras import needed_for
    from largesse.cli import show

    data = for_program(as_json, as_csv)
    with needed_for("largesse update"):
        from largesse.commands.update import update as make

        with show.progress(data) as say:
            done = make(
                run,
                store,
                folder,
                campaign=campaign,
                judge_share=judge_share,
                since=since,
                replace=replace,
                fast=fast,
                say=say,
            )
    if data:
        show.print_data(done.document, done.table.rows(), as_csv=as_csv)
        return
    show.prose(f"[bold]{show.escape(done.sentence)}[/]")
    show.prose(
        f"Learned from {done.old_rows:,} rows of the trial and {done.served_rows:,} decisions; judged on {done.judge_rows:,} "
        "others."
    )
    show.comparison(done.table, wide=wide)
    show.page(done.folder)
