"""The decision log of a campaign as Arrow tables: rows of a randomised trial, each with the propensity of its treatment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import sqlalchemy as sa

from largesse._arguments import checked
from largesse.serving.ledger.accounts import Terms, terms_of
from largesse.serving.ledger.book import Ledger
from largesse.serving.ledger.rows import place_of
from largesse.serving.ledger.store import reading
from largesse.serving.ledger.tables import campaigns, decisions

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["trial_rows"]

_PART = 50_000  # decisions read at once


@checked
def trial_rows(ledger: Ledger, campaign: str) -> Iterator[pa.RecordBatch]:
    """Yields the matured decisions of a campaign in the order of their numbers, as batches that a Parquet file takes.

    Columns: `decision`, `unit`, `period`, `treatment`, `propensity` (of that treatment), `value` (reported; 0 if nothing was),
    `cost` (paid), `kind`, `state`, `price`, `version`, `time` (UTC).

    Left out are decisions that the budget limited, since some treatments were out of reach for them, and decisions that are
    younger than the campaign's `matures`, whatever their state: those with an early outcome are not like the others. Voided
    decisions are rows of the trial: whether a treatment reaches its unit may depend on the treatment.

    Args:
        ledger: An open ledger.
        campaign: Name of the campaign.

    Raises:
        DataError: The campaign is not in the ledger.
        StoreError: The store failed.
    """
    now = ledger.clock()
    ledger.status(campaign)  # or it is not in the ledger
    with reading(ledger.engine) as connection:
        row = connection.execute(campaigns.select().where(campaigns.c.name == campaign)).one()
    terms, d = terms_of(row.settings), decisions.c
    query = sa.select(decisions).where(d.campaign == campaign, d.due <= now, sa.not_(d.limited)).order_by(d.place)
    for first in range(0, row.decided, _PART):
        place = place_of(row.code, first)
        with reading(ledger.engine) as connection:
            rows = connection.execute(query.where(d.place >= place, d.place < place + _PART)).all()
        if rows:
            yield _batch(rows, terms)


def _batch(rows: Sequence[sa.Row[Any]], terms: Terms) -> pa.RecordBatch:
    import pyarrow as pa  # a server does without it

    scale, codes = terms.campaign.scale, [terms.codes[row.treatment] for row in rows]
    every = np.frombuffer(b"".join([row.propensities for row in rows]), "<f8").reshape(len(rows), -1)
    columns = {
        "decision": [row.id for row in rows], "unit": pa.array([row.unit for row in rows], pa.string()),
        "period": pa.array([row.period for row in rows], pa.int64()), "treatment": [row.treatment for row in rows],
        "propensity": every[np.arange(len(rows)), codes], "value": [row.gained for row in rows],
        "cost": [row.paid / scale for row in rows], "kind": [row.kind for row in rows],
        "state": [row.state for row in rows], "price": [row.price for row in rows],
        "version": [row.version for row in rows],
        "time": pa.array([round(row.time * 1e6) for row in rows], pa.timestamp("us", tz="UTC")),
    }  # fmt: skip
    return pa.RecordBatch.from_pydict(columns)
