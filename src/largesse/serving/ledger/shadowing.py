"""Answers of challengers that were not given: stored beside the decisions, and compared with them as a replay is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import sqlalchemy as sa

from largesse._arguments import checked
from largesse.errors import DataError
from largesse.serving.ledger.book import Ledger
from largesse.serving.ledger.log import parts, row_of
from largesse.serving.ledger.replaying import Replayed, Sums
from largesse.serving.ledger.rows import menus_of
from largesse.serving.ledger.sql import Having, inserting
from largesse.serving.ledger.store import reading, writing
from largesse.serving.ledger.tables import decisions, shadows
from largesse.serving.ledger.terms import FALLBACK

__all__ = ["Shadow", "keep_shadows", "shadowed"]

_INSERT = inserting(shadows)
# An erasure waits until these rows are stored, and removes them; or they wait for it, and are not stored.
_LIVING = Having(
    lambda values: sa.select(decisions.c.place).where(
        decisions.c.place.in_(values), decisions.c.unit.is_not(None)
    ).with_for_update(read=True)
)  # fmt: skip


class Shadow(NamedTuple):
    """An answer that was not given; the columns of the store mean the same.

    Attributes:
        place: Place of the decision.
        version: Version of the challenger.
        campaign: Name of the campaign.
        treatment: What the challenger would have chosen, at the price of the decision.
        menu: Its predicted values and costs (`rows.packed_menu`).
        time: Time of the decision.
    """

    place: int
    version: str
    campaign: str
    treatment: str
    menu: bytes
    time: float


def keep_shadows(ledger: Ledger, several: Sequence[Shadow]) -> None:
    """Stores answers that were not given, but for units that are erased by now.

    Raises:
        StoreError: The store failed; nothing is stored.
    """
    if not several:
        return
    with writing(ledger.engine) as connection:
        living = {row.place for row in _LIVING.rows(connection, (one.place for one in several))}
        _INSERT.run_all(connection, [tuple(one) for one in several if one.place in living])


@checked
def shadowed(ledger: Ledger, campaign: str, *, version: str | None = None) -> Replayed:
    """Returns what a challenger would have decided for the units whose decisions it answered in the shadow, as `replay` does.

    Args:
        ledger: An open ledger.
        campaign: Name of the campaign.
        version: Version of the challenger; None: the only one.

    Raises:
        DataError: The campaign is not in the ledger, no challenger answered in it, or several did and none is named.
        StoreError: The store failed.
    """
    row, d, s = row_of(ledger, campaign), decisions.c, shadows.c
    with reading(ledger.engine) as connection:
        query = sa.select(s.version).where(s.campaign == campaign).distinct().order_by(s.version)
        known = list(connection.execute(query).scalars())
    if not known:
        rule = "no challenger has answered in the shadow. Try one with `shadow = true` first."
        raise DataError.at("campaign", f" == {campaign!r}: {rule}")
    if version is None and len(known) > 1:
        raise DataError.at(
            "version", f": is missing, and {len(known)} challengers answered: {', '.join(known)}. Name one."
        )
    name = known[0] if version is None else version
    if name not in known:
        raise DataError.at(
            "version", f" == {name!r}: has not answered in the shadow. The versions are {', '.join(known)}."
        )
    sums = Sums(row.settings, None, ledger.clock())
    joined = sa.select(decisions, s.menu.label("other")).join(shadows, (s.place == d.place) & (s.version == name))
    living = d.campaign == campaign, d.unit.is_not(None), d.version != FALLBACK
    for part in parts(ledger, row, joined.where(*living).order_by(d.place)):
        value, cost, _ = menus_of([one.other for one in part], sums.m)
        sums.add(part, value, cost)
    if not sums.n:
        raise DataError.at("campaign", f" == {campaign!r}: all units with an answer in the shadow are erased.")
    return sums.result(row.decided)
