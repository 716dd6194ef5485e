"""The journal of a campaign in words: when what was changed, by whom, and why."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from largesse.report.blocks import Column, Row, Table
from largesse.report.numbers import UNKNOWN, number
from largesse.serving.ledger.changes import Change

__all__ = ["change_words", "journal_table"]


def change_words(got: Any, *, why: bool = True) -> str:
    """Returns what a line of the journal says was, or is since.

    Args:
        got: `Change.before` or `Change.after`.
        why: Whether the reason follows in brackets.

    >>> change_words({"run": "/runs/a", "version": "a-1f", "share": 0.1, "why": "it may be better"})
    'a-1f, 10.0% of the units (it may be better)'
    """
    if not isinstance(got, dict):
        return "none" if got is None else str(got)
    if "version" not in got:  # a budget that campaigns share
        return ", ".join(f"{name} {one}" for name, one in got.items() if name not in ("why", "by"))
    parts = [f"{got['version'] or 'none'}"]
    if got.get("share"):
        parts.append(f"{got['share']:.1%} of the units")
    if got.get("shadow"):
        parts.append("in the shadow")
    return ", ".join(parts) + (f" ({got['why']})" if why and got.get("why") else "")


def journal_table(lines: Sequence[Change], *, title: str = "Journal") -> Table:
    """Returns lines of the journal, the newest first."""
    columns = ("Time (UTC)", "Changed", "Before", "Since", "By", "Why")
    return Table(
        columns=tuple(Column(name, words=True) for name in columns), rows=tuple(_row(one) for one in reversed(lines)),
        title=title,
    )  # fmt: skip


def _row(one: Change) -> Row:
    after = one.after if isinstance(one.after, dict) else {}
    time = _time(one.time)
    return Row((
        time, one.field, _cell(one.field, one.before), _cell(one.field, one.after),
        str(after.get("by") or UNKNOWN), str(after.get("why") or UNKNOWN),
    ))  # fmt: skip


def _cell(field: str, got: Any) -> str:
    if isinstance(got, int | float) and not isinstance(got, bool):
        return _time(got) if field == "until" else number(got)
    return change_words(got, why=False)


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
