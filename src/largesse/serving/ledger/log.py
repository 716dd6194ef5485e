"""The decision log of a campaign as Arrow tables: rows of a randomised trial, each with the propensity of its treatment."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import sqlalchemy as sa

from largesse._arguments import checked
from largesse.serving.ledger.accounts import Terms, terms_of
from largesse.serving.ledger.book import Ledger
from largesse.serving.ledger.rows import place_of
from largesse.serving.ledger.store import reading
from largesse.serving.ledger.tables import campaigns, decisions
from largesse.serving.ledger.terms import FALLBACK

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["NOT_FEATURES", "parts", "row_of", "trial_rows"]

NOT_FEATURES = (
    "decision", "unit", "period", "treatment", "propensity", "value", "cost", "kind", "state", "price", "version", "time",
)  # fmt: skip
"""The columns of `trial_rows` that are no features."""
_PART = 50_000  # decisions read at once
_KINDS = {bool: "bool", int: "int64", float: "double"}


@checked
def trial_rows(ledger: Ledger, campaign: str) -> Iterator[pa.RecordBatch]:
    """Yields the matured decisions of a campaign in the order of their numbers, as batches that a Parquet file takes.

    Columns: `decision`, `unit`, `period`, `treatment`, `propensity` (of that treatment), `value` (reported; 0 if nothing was),
    `cost` (paid), `kind`, `state`, `price`, `version`, `time` (UTC). Features that were stored with the decisions follow, a
    column each: numbers, booleans, or text where they are of several kinds; a feature with the name of another column is called
    `feature_` and its name. An erased unit has the id of the decision in the place of its own, and no features.

    Left out are decisions that the budget limited, since some treatments were out of reach for them, those that were made
    without a model for the same reason, and decisions that are younger than the campaign's `matures`, whatever their state: those
    with an early outcome are not like the others. Voided decisions are rows of the trial: whether a treatment reaches its unit
    may depend on the treatment.

    Args:
        ledger: An open ledger.
        campaign: Name of the campaign.

    Raises:
        DataError: The campaign is not in the ledger.
        StoreError: The store failed.
    """
    now, row, d = ledger.clock(), row_of(ledger, campaign), decisions.c
    terms = terms_of(row.settings)
    matured = d.campaign == campaign, d.due <= now, sa.not_(d.limited), d.version != FALLBACK
    kinds: dict[str, str] = {}
    texts = sa.select(d.features).where(*matured, d.features.is_not(None)).order_by(d.place)
    for part in parts(ledger, row, texts):
        _learn(kinds, (one.features for one in part))
    for part in parts(ledger, row, sa.select(decisions).where(*matured).order_by(d.place)):
        yield _batch(part, terms, kinds)


def row_of(ledger: Ledger, campaign: str) -> Any:
    """Returns the row of a campaign.

    Raises:
        DataError: The campaign is not in the ledger.
        StoreError: The store failed.
    """
    ledger.status(campaign)  # or it is not in the ledger
    with reading(ledger.engine) as connection:
        return connection.execute(campaigns.select().where(campaigns.c.name == campaign)).one()


def parts(ledger: Ledger, row: Any, query: sa.Select[Any]) -> Iterator[Sequence[Any]]:
    """Yields the rows of a query in parts that are not empty."""
    place = decisions.c.place
    for first in range(place_of(row.code, 0), place_of(row.code, row.decided), _PART):
        with reading(ledger.engine) as connection:
            rows = connection.execute(query.where(place >= first, place < first + _PART)).all()
        if rows:
            yield rows


def _learn(kinds: dict[str, str], features: Iterator[str]) -> None:
    """Adds the kinds of the features in some texts, by name."""
    for text in features:
        for name, cell in json.loads(text).items():
            kind = "null" if cell is None else _KINDS.get(type(cell), "string")
            if kind == "int64" and not -(2**63) <= cell < 2**63:
                kind = "double"
            known = kinds.setdefault(name, kind)
            if known not in (kind, "string") and kind != "null":
                numbers = {known, kind} == {"int64", "double"}
                kinds[name] = kind if known == "null" else "double" if numbers else "string"


def _batch(rows: Sequence[Any], terms: Terms, kinds: Mapping[str, str]) -> pa.RecordBatch:
    import pyarrow as pa  # a server does without it

    scale, codes = terms.campaign.scale, [terms.codes[row.treatment] for row in rows]
    every = np.frombuffer(b"".join([row.propensities for row in rows]), "<f8").reshape(len(rows), -1)
    columns = {
        "decision": [row.id for row in rows], "unit": [row.id if row.unit is None else row.unit for row in rows],
        "period": pa.array([row.period for row in rows], pa.int64()), "treatment": [row.treatment for row in rows],
        "propensity": every[np.arange(len(rows)), codes], "value": [row.gained for row in rows],
        "cost": [row.paid / scale for row in rows], "kind": [row.kind for row in rows],
        "state": [row.state for row in rows], "price": [row.price for row in rows],
        "version": [row.version for row in rows],
        "time": pa.array([round(row.time * 1e6) for row in rows], pa.timestamp("us", tz="UTC")),
    }  # fmt: skip
    given = [{} if row.features is None else json.loads(row.features) for row in rows] if kinds else []
    for name, kind in kinds.items():
        cells = [one.get(name) for one in given]
        if kind == "string":
            cells = [cell if cell is None or isinstance(cell, str) else json.dumps(cell) for cell in cells]
        elif kind == "double":
            cells = [None if cell is None else float(cell) for cell in cells]
        columns[f"feature_{name}" if name in NOT_FEATURES else name] = pa.array(
            cells, getattr(pa, {"double": "float64", "bool": "bool_"}.get(kind, kind))()
        )
    return pa.RecordBatch.from_pydict(columns)
