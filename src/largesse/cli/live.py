"""`largesse demo --live`: a line for each day while the campaign runs, then the page."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

__all__ = ["run_live"]

_STORY = (
    "Three weeks of a simulated campaign, live: a server decides for each customer within the budget, orders come back, the\n"
    "monitor looks every night, a second run learns from what came back and decides once the evidence shows that it is better."
)


def run_live(folder: Path, as_json: bool, open_report: bool) -> None:
    """Runs the campaign in front of the user."""
    from largesse._extras import needed_for
    from largesse.cli import show

    with needed_for("largesse demo --live"):
        from largesse.commands.findings.live import document, headline
        from largesse.commands.live import live

    with show.progress(as_json) as say:
        if not as_json:
            show.err.print(_STORY, highlight=False)

        def line(text: str) -> None:
            if not as_json:
                show.err.print(show.escape(text), highlight=False, soft_wrap=True)

        done = live(folder, say, line=line)
    if as_json:
        show.print_json(document(done))
    else:
        first = headline(done)
        show.prose(f"[bold]{show.escape(first.sentence)}[/]")
        for sentence in first.summary:
            show.prose(show.escape(sentence))
        show.page(done.folder)
    if open_report and not as_json and sys.stdout.isatty():
        typer.launch(str((done.folder / "report.html").absolute()))
