"""A challenger: a run that decides for a share of a campaign's units, or whose answers to the others are stored, not given."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any, NamedTuple

import sqlalchemy as sa

from largesse.errors import DataError
from largesse.serving.http.menus import Loaded, same_menu
from largesse.serving.ledger.changes import CHALLENGER, note_change, reason
from largesse.serving.ledger.store import writing
from largesse.serving.ledger.tables import challengers

__all__ = [
    "Challenger",
    "check_challenger",
    "put_challenger",
    "remove_challenger",
    "rows_of",
    "salted",
    "same_features",
]

_PERSON = b"largesse canary"


class Challenger(NamedTuple):
    """A run that is tried beside the champion.

    Attributes:
        loaded: Its policy.
        share: Share of the units that it decides.
        shadow: Whether its answers to the other units are stored.
        prefix: What the hashes of its units begin with (`salted`).
    """

    loaded: Loaded
    share: float
    shadow: bool
    prefix: str

    def draws(self, unit: object) -> bool:
        """Whether it decides for a unit: a salted hash of the unit is below the share.

        The hash depends on neither the share nor the order of arrival, so a larger share adds units and keeps those it has. It
        has a salt of its own, with the challenger's version: it is independent of holdout and exploration, and another
        challenger gets other units.
        """
        name = (self.prefix + str(unit)).encode("utf-8", "surrogatepass")
        drawn = int.from_bytes(blake2b(name, digest_size=8, person=_PERSON).digest(), "big")
        return (drawn >> 11) / 2**53 < self.share


def salted(salt: str, campaign: str, version: str) -> str:
    """Returns what the hashes of a challenger's units begin with."""
    return f"{salt}\0{campaign}\0{version}\0"


def check_challenger(champion: Loaded, challenger: Loaded, campaign: str) -> None:
    """Raises DataError unless a challenger has the champion's treatments, reads what callers send for it, and is another run."""
    same_menu(champion.policy.treatments, challenger.policy, campaign)
    if challenger.version == champion.version:
        raise DataError(
            f"run: {challenger.version} decides in campaign {campaign!r} already. Try another run.", field="run"
        )
    same_features(champion, challenger, campaign)


def same_features(champion: Loaded, other: Loaded, campaign: str) -> None:
    """Raises DataError if a run reads a column that the present one does not: callers may not send it."""
    known = {column.name: column.kind for column in champion.policy.columns}
    for column in other.policy.columns:
        if known.get(column.name) != column.kind:
            rule = f"reads {column.name!r} ({column.kind}), which the run of campaign {campaign!r} does not"
            remedy = "Send it first: then name the run in the server's file, and give the signal HUP."
            raise DataError(f"run: {rule}. {remedy}", field="run")


def put_challenger(
    engine: sa.Engine, campaign: str, loaded: Loaded, *, share: float, shadow: bool, now: float, why: str = "", by: str = "",
) -> None:  # fmt: skip
    """Stores which run is tried in a campaign, with a line of the journal; all workers follow within seconds.

    Raises:
        StoreError: The store failed.
    """
    about = {"run": str(loaded.run), "version": loaded.version, "share": share, "shadow": shadow}
    row = about | {"changed": now}
    with writing(engine) as connection:
        note_change(connection, campaign, CHALLENGER, _stored(connection, campaign), about | reason(why, by), now)
        changed = sa.update(challengers).where(challengers.c.campaign == campaign).values(**row)
        if not connection.execute(changed).rowcount:
            connection.execute(challengers.insert().values(campaign=campaign, **row))


def _stored(connection: sa.Connection, campaign: str) -> dict[str, Any] | None:
    """Returns what the store says of the challenger, as a line of the journal has it."""
    row = connection.execute(sa.select(challengers).where(challengers.c.campaign == campaign)).first()
    if row is None:
        return None
    return {"run": row.run, "version": row.version, "share": row.share, "shadow": bool(row.shadow)}


def remove_challenger(engine: sa.Engine, campaign: str, *, now: float, why: str = "", by: str = "") -> bool:
    """Ends the trial of a challenger, with a line of the journal, and returns whether there was one.

    Decisions and answers in the shadow stay.

    Raises:
        StoreError: The store failed.
    """
    with writing(engine) as connection:
        if before := _stored(connection, campaign):
            note_change(connection, campaign, CHALLENGER, before, {"version": None, "why": why} | reason("", by), now)
        return bool(connection.execute(sa.delete(challengers).where(challengers.c.campaign == campaign)).rowcount)


def rows_of(connection: sa.Connection, campaigns: Iterable[str]) -> dict[str, Any]:
    """Returns the stored challengers by campaign."""
    query = sa.select(challengers).where(challengers.c.campaign.in_(list(campaigns)))
    return {row.campaign: row for row in connection.execute(query).all()}
