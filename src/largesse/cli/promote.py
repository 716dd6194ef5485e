"""The command `promote`: what the evidence about a challenger supports, done or named."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from largesse.cli.options import Json

__all__ = ["promote"]


def promote(
    store: Annotated[str, typer.Argument(help="The ledger: sqlite:///FILE, or postgresql://USER@HOST/DATABASE.")],
    campaign: Annotated[str | None, typer.Option(help="Name of the campaign, if the ledger has several.")] = None,
    margin: Annotated[
        float, typer.Option(help="Part of the champion's value that it may lack and be promoted; 0: it must bring more.")
    ] = 0.0,
    loss: Annotated[
        float, typer.Option(help="Part of the champion's value that challenger and exploration together may cost.")
    ] = 0.01,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and change nothing.")] = False,
    history: Annotated[bool, typer.Option("--history", help="Print what was changed so far, and do nothing.")] = False,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Promote, raise or end the challenger of a campaign, on evidence that is valid however often one looks."""
    from largesse._extras import needed_for
    from largesse.cli import show

    with needed_for("largesse promote"):
        from largesse.commands import promote as commands
        from largesse.commands.findings.journal import change_words

        if history:
            lines = [_line(one) for one in commands.history(store, campaign)]
            if as_json:
                show.print_json({"changes": lines})
            for line in [] if as_json else lines:
                before, after = change_words(line["before"]), change_words(line["after"])
                show.prose(show.escape(f"{line['time']}  {line['field']}: {before} → {after}"))
            return
        done = commands.promote(store, campaign=campaign, margin=margin, loss=loss, dry_run=dry_run)
    if as_json:
        show.print_json(done.document)
        return
    would = "" if done.done else "would be "
    words = {"promoted": f"{would}promoted", "ended": f"{would}ended", "raised": f"{would}raised", "waiting": "waits"}
    share = f" from {done.share_before:.1%} to {done.share_after:.1%} of the units" if done.action == "raised" else ""
    show.prose(f"[bold]{show.escape(done.challenger)} {words[done.action]}{share}[/]: {show.escape(done.sentence)}.")


def _line(one: Any) -> dict[str, Any]:
    time = datetime.fromtimestamp(one.time, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return {"time": time, "field": one.field, "before": one.before, "after": one.after}
