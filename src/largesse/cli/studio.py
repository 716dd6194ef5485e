"""The command `studio`: local web pages on which people decide about money."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["studio"]


def studio(
    runs: Annotated[list[Path], typer.Argument(help="One or more run folders.")],
    units: Annotated[
        Path | None,
        typer.Option(help="The units to be decided, with the features of the runs; without them, numbers are per unit."),
    ] = None,
    unit: Annotated[str | None, typer.Option("--id", help="Column of the ids; that of the run if left out.")] = None,
    store: Annotated[
        str | None, typer.Option(help="The ledger of a campaign in service: sqlite:///FILE, or postgresql://USER@HOST/DATABASE.")
    ] = None,
    campaign: Annotated[str | None, typer.Option(help="Name of the campaign, if the ledger has several.")] = None,
    experiment: Annotated[
        list[Path] | None, typer.Option(help="A folder that `largesse experiment` wrote; may be repeated.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; one that others reach needs --store and keys.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8750,
    reusable_link: Annotated[
        bool, typer.Option("--reusable-link", help="The link lets in more than one browser.")
    ] = False,
    plain_http: Annotated[
        bool, typer.Option("--plain-http", help="With --host: let cookies go over plain HTTP, as in a closed network.")
    ] = False,
    open_page: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in a browser.")] = True,
) -> None:  # fmt: skip
    """Open the studio: local pages for budgets, segments, rules, single units, the proof and the live campaign."""
    import webbrowser

    from largesse._extras import needed_for
    from largesse.cli import show

    with needed_for("largesse studio"):
        from largesse.web.opened import Studio
        from largesse.web.serve import run_studio

        with show.progress(False) as say:
            made = Studio(
                runs, users=units, unit=unit, store=store, campaign=campaign, experiments=tuple(experiment or ())
            )
            made.prepare(say)

        def started(link: str) -> None:
            show.prose(f"The studio is at {show.escape(link)}\nStop it with Ctrl+C.")
            if open_page:
                webbrowser.open(link)

        run_studio(made, host=host, port=port, reusable=reusable_link, insecure=plain_http, started=started)
