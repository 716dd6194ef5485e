"""The command `monitor`: the signals of a campaign in service."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from largesse.cli.options import Csv, Json, PageFolder, Replace, Wide, for_program

__all__ = ["monitor"]


def monitor(
    store: Annotated[str, typer.Argument(help="The ledger: sqlite:///FILE, or postgresql://USER@HOST/DATABASE.")],
    campaign: Annotated[str | None, typer.Option(help="Name of the campaign, if the ledger has several.")] = None,
    run: Annotated[Path | None, typer.Option(help="Folder of the run that decides; where the ledger says if left out.")] = None,
    value_per_unit: Annotated[
        float | None, typer.Option(help="Money that one unit of value brings; as the run says if left out.")
    ] = None,
    tolerance: Annotated[
        float, typer.Option(help="How far value and cost may be from their prediction, as a share of it.")
    ] = 0.25,
    oldest: Annotated[float, typer.Option(help="Days after which a policy counts as old.")] = 90.0,
    folder: PageFolder = None,
    replace: Replace = False,
    as_json: Json = False,
    as_csv: Csv = False,
    wide: Wide = False,
) -> None:  # fmt: skip
    """Watch a campaign in service: what it brings, whether that can be believed, what goes wrong; exit code 1 at an alarm."""
    from largesse._extras import needed_for
    from largesse.cli import show

    data = for_program(as_json, as_csv)
    with needed_for("largesse monitor"):
        from largesse.commands.findings import monitor as page
        from largesse.commands.findings.later import may_write_page, write_page
        from largesse.commands.monitor import monitor_campaign
        from largesse.report.files import write_report

        may_write_page(folder, replace=replace)
        done = monitor_campaign(
            store, campaign=campaign, run=run, value_per_unit=value_per_unit, tolerance=tolerance, oldest=oldest
        )
    document, first = page.document(done), page.headline(done)
    if folder is not None:
        write_page(partial(write_report, first, page.sections(done), {}), document, folder, replace=replace)
    if data:
        show.print_data(document, document["signals"], as_csv=as_csv)
    else:
        show.prose(f"[bold]{show.escape(first.sentence)}[/]")
        for sentence in first.summary:
            show.prose(show.escape(sentence))
        show.prose(f"What to do: {show.escape(first.action)}\n")
        for step in page.steps(done):
            show.prose(f"[red]alarm[/] {show.escape(step)}")
        show.table(page.signal_table(done.signals, short=not wide), wide=wide)
        for sentence in done.not_watched:
            show.prose(f"not watched: {show.escape(sentence)}")
        show.page(folder)
    if done.alarms:
        raise typer.Exit(1)
