"""What a ledger says of its campaigns: their names, and the folder of the run that decides."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from largesse.serving.ledger.book import Ledger
from largesse.serving.ledger.pricing import names
from largesse.serving.ledger.store import reading
from largesse.serving.ledger.tables import served

__all__ = ["campaign_names", "deciding_run"]


def campaign_names(ledger: Ledger) -> tuple[str, ...]:
    """Returns the names of all campaigns of a ledger.

    Raises:
        StoreError: The store failed.
    """
    with reading(ledger.engine) as connection:
        return tuple(names(connection))


def deciding_run(ledger: Ledger, campaign: str) -> Path | None:
    """Returns the folder of the run that decides in a campaign; None: no run was served, or its folder is not here.

    Raises:
        StoreError: The store failed.
    """
    with reading(ledger.engine) as connection:
        place = connection.execute(sa.select(served.c.run).where(served.c.campaign == campaign)).scalar()
    return Path(place) if place and Path(place).is_dir() else None
