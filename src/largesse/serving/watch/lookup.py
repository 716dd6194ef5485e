"""What a ledger says of its campaigns: their names, and the folder of the run that decides."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from largesse.errors import DataError
from largesse.serving.ledger.book import Ledger
from largesse.serving.ledger.pricing import names
from largesse.serving.ledger.store import reading
from largesse.serving.ledger.tables import served

__all__ = ["deciding_run", "named_campaign"]


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
