"""The journal of a campaign: which run decides, which is tried, and terms that changed; lines are added, and never changed."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import sqlalchemy as sa

from largesse.serving.ledger.book import Ledger
from largesse.serving.ledger.store import reading
from largesse.serving.ledger.tables import journal

__all__ = ["CHALLENGER", "RUN", "Change", "changes", "last_change", "note_change", "reason"]

RUN, CHALLENGER = "run", "challenger"
"""The fields of the lines about the run that decides, and the one that is tried."""
_j = journal.c


class Change(NamedTuple):
    """A line of the journal.

    Attributes:
        time: When, in seconds since 1970 (UTC).
        field: What changed: a term of the campaign, "joint budget", "run", "challenger", or "erasure".
        before: What it was, as JSON has it; None: there was none.
        after: What it is since.
    """

    time: float
    field: str
    before: Any
    after: Any


def note_change(
    connection: sa.Connection, campaign: str, field: str, before: dict[str, Any] | None, after: dict[str, Any] | None, now: float
) -> None:  # fmt: skip
    """Adds a line, within the transaction that makes the change, unless nothing but the reason and who did it differ.

    Args:
        connection: The transaction.
        campaign: Name of the campaign.
        field: What changes.
        before: What it was; None: there was none.
        after: What it is from now on; its "why" says why, its "by" who did it.
        now: The time, in seconds since 1970 (UTC).
    """
    if _plain(before) != _plain(after):
        line = {
            "campaign": campaign,
            "time": now,
            "field": field,
            "before": json.dumps(before),
            "after": json.dumps(after),
        }
        connection.execute(journal.insert().values(**line))


def reason(why: str, by: str) -> dict[str, str]:
    """Returns what a line says of the reason of a change and of who did it, as far as they are given.

    >>> reason("it is better", ""), reason("", "studio")
    ({'why': 'it is better'}, {'by': 'studio'})
    """
    return {name: words for name, words in (("why", why), ("by", by)) if words}


def _plain(of: dict[str, Any] | None) -> dict[str, Any] | None:
    return None if of is None else {name: got for name, got in of.items() if name not in ("why", "by")}


def last_change(connection: sa.Connection, campaign: str, field: str) -> Change | None:
    """Returns the last line about a field; None: there is none."""
    query = sa.select(journal).where(_j.campaign == campaign, _j.field == field).order_by(_j.id.desc()).limit(1)
    row = connection.execute(query).first()
    return None if row is None else _change(row)


def changes(ledger: Ledger, campaign: str) -> list[Change]:
    """Returns the journal of a campaign, oldest first.

    Raises:
        DataError: The campaign is not in the ledger.
        StoreError: The store failed.
    """
    ledger.status(campaign)  # or it is not in the ledger
    with reading(ledger.engine) as connection:
        rows = connection.execute(sa.select(journal).where(_j.campaign == campaign).order_by(_j.id)).all()
    return [_change(row) for row in rows]


def _change(row: Any) -> Change:
    return Change(row.time, row.field, _read(row.before), _read(row.after))


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:  # an erasure has words
        return text
