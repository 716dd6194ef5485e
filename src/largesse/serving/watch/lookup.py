"""What a ledger says of its campaigns: names, the folder of the run that decides, how many decisions are to be expected."""

from __future__ import annotations

from bisect import bisect_left
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from largesse.errors import DataError
from largesse.serving.ledger.book import Ledger
from largesse.serving.ledger.pricing import names
from largesse.serving.ledger.rows import place_of
from largesse.serving.ledger.store import reading
from largesse.serving.ledger.tables import decisions, served
from largesse.serving.ledger.terms import Campaign

__all__ = ["deciding_run", "expected_decisions", "named_campaign"]

_DAY = 86_400


def named_campaign(ledger: Ledger, given: str | None) -> str:
    """Returns the name of a campaign: the given one, or that of the only one.

    Raises:
        DataError: None is given, and the ledger has none, or several.
        StoreError: The store failed.
    """
    if given is not None:
        return given
    with reading(ledger.engine) as connection:
        known = tuple(names(connection))
    if len(known) != 1:
        several = f"it has {len(known)}: {', '.join(known)}" if known else "it has none yet"
        raise DataError.at("--campaign", f": is missing, and the ledger's campaigns are not one ({several}). Name one.")
    return known[0]


def deciding_run(ledger: Ledger, campaign: str) -> Path | None:
    """Returns the folder of the run that decides in a campaign; None: no run was served, or its folder is not here.

    Raises:
        StoreError: The store failed.
    """
    with reading(ledger.engine) as connection:
        place = connection.execute(sa.select(served.c.run).where(served.c.campaign == campaign)).scalar()
    return Path(place) if place and Path(place).is_dir() else None


def expected_decisions(ledger: Ledger, row: Any, campaign: Campaign) -> float:
    """Returns how many decisions a campaign will have: as declared, or those of its first day times its days.

    Intervals are tuned to it. It must not follow what comes later: intervals of several days hold together only if
    all of them are tuned alike. So it stays the same once the first day is over, unless the campaign's end changes.

    Args:
        ledger: An open ledger.
        row: The campaign's row.
        campaign: Its terms.

    Raises:
        StoreError: The store failed.
    """
    if campaign.units is not None:
        return max(1.0, campaign.units)
    of_place = sa.select(decisions.c.time).where(decisions.c.place == sa.bindparam("place"))
    with reading(ledger.engine) as connection:

        def time(number: int) -> float:
            return float(connection.execute(of_place, {"place": place_of(row.code, number)}).scalar_one())

        first = bisect_left(range(row.decided), row.started + _DAY, key=time)
    return max(1.0, first * max(1.0, (campaign.until - row.started) / _DAY))
