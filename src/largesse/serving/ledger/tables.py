"""The tables of a ledger, and the changes that bring a store of an older version to this one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from largesse.errors import StoreError

__all__ = [
    "MIGRATIONS", "OLDEST", "access", "budgets", "campaigns", "challengers", "decisions", "journal", "keys", "leases", "migrate",
    "outcomes", "served", "shadows", "shares", "tallies",
]  # fmt: skip

_META = sa.MetaData()
_Text, _Whole, _Number, _Bytes = sa.Text, sa.BigInteger, sa.Double, sa.LargeBinary


def _column(
    name: str, kind: type[sa.types.TypeEngine[Any]], *, key: bool = False, empty: bool = False
) -> sa.Column[Any]:
    return sa.Column(name, kind, primary_key=key, nullable=empty, autoincrement=False)


def _place() -> sa.Column[Any]:
    """The place of a row in the order of the store: with SQLite it is the number of the row itself and needs no index."""
    kind = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    return sa.Column("place", kind, primary_key=True, autoincrement=False)


def _table(name: str, *parts: sa.schema.SchemaItem) -> sa.Table:
    return sa.Table(f"largesse_{name}", _META, *parts)


_versions = sa.Table("largesse_version", sa.MetaData(), sa.Column("version", sa.Integer, nullable=False))

campaigns = _table(
    "campaign", _column("name", _Text, key=True), sa.Column("code", sa.Integer, nullable=False, unique=True),
    _column("settings", _Text),  # the Campaign as JSON, without budget and price
    *(_column(name, _Whole) for name in ("budget", "spent", "reserved", "beyond", "decided", "limited", "reported")),
    *(_column(name, _Number) for name in ("started", "price")),
    *(_column(name, _Bytes) for name in ("decided_link", "reported_link")),
    *(_column(name, _Number, empty=True) for name in ("ratio", "ratio_low", "ratio_high", "expected", "tilt")),
)  # fmt: skip
"""`reported` counts outcomes; the ratios are of what is paid to what was reserved, `expected` is of what is still expected to be
paid to what is still reserved (`survival`); `tilt` is of exploration (`largesse.serving.exploring`).
The links are those of the last decision and the last outcome (`audit`)."""

decisions = _table(
    "decision", _place(), _column("id", _Text), sa.Column("who", sa.LargeBinary, nullable=True, unique=True),
    _column("campaign", _Text), _column("number", _Whole), _column("period", _Whole), _column("unit", _Text, empty=True),
    *(_column(name, _Text) for name in ("treatment", "kind", "version")),
    _column("price", _Number), _column("reservation", _Whole), sa.Column("limited", sa.Boolean, nullable=False),
    _column("time", _Number), _column("due", _Number),
    _column("propensities", _Bytes), _column("menu", _Bytes, empty=True), _column("features", _Text, empty=True),
    _column("seal", _Bytes), _column("link", _Bytes), _column("state", _Text), _column("reserved", _Whole),
    _column("paid", _Whole), _column("gained", _Number),
)  # fmt: skip
"""One row a decision; only the last four columns change later, and an erasure empties `who`, `unit`, `menu` and `features`.

Money (reservation, reserved, paid) in smallest units; `number` counts the decisions of a campaign from 0; `who` is the hash of
campaign, period and unit; `propensities` and `menu` are numbers of 8 bytes (`rows`); `gained` is the value reported; `seal` and
`link` see `audit`."""
_pending = decisions.c.state == "pending"
sa.Index(
    "largesse_decision_due", decisions.c.campaign, decisions.c.due, sqlite_where=_pending, postgresql_where=_pending
)

keys = _table(
    "key", _column("key", _Text, key=True), _column("campaign", _Text, key=True), _column("body", _Text),
    sa.Column("decision", _Text, nullable=False, index=True),
)  # fmt: skip
"""The callers' keys of asks; `body` is the hash of what each stands for. The key is first in the primary key: it is sought by."""

outcomes = _table(
    "outcome", _place(), _column("campaign", _Text), _column("number", _Whole), _column("key", _Text),
    sa.Column("decision", _Text, nullable=False, index=True), _column("cost", _Whole), _column("value", _Number),
    sa.Column("final", sa.Boolean, nullable=False), sa.Column("void", sa.Boolean, nullable=False),
    _column("time", _Number), _column("seal", _Bytes), _column("link", _Bytes),
    sa.UniqueConstraint("key", "campaign"),
)  # fmt: skip
"""`number` counts the outcomes of a campaign from 0."""

tallies = _table(
    "tally", *(_column(name, _Text, key=True) for name in ("campaign", "kind", "treatment")),
    _column("decisions", _Whole), _column("paid", _Whole),
)  # fmt: skip
"""Counts and payments by campaign, kind and treatment."""

journal = _table(
    "journal", sa.Column("id", sa.Integer, primary_key=True, autoincrement=True), _column("campaign", _Text),
    _column("time", _Number), _column("field", _Text), _column("before", _Text), _column("after", _Text),
)  # fmt: skip
"""Changes of campaigns, as JSON values."""

budgets = _table("budget", _column("name", _Text, key=True), _column("budget", _Whole))
"""Budgets that several campaigns share, in smallest units. The budgets of these campaigns always add up to it."""

shares = _table("share", _column("campaign", _Text, key=True), sa.Column("budget", sa.Text, nullable=False, index=True))
"""Which campaign shares which budget."""

leases = _table("lease", _column("name", _Text, key=True), _column("holder", _Text), _column("until", _Number))
"""Which process does a task that only one must do."""

access = _table(
    "access", *(_column(name, _Text, key=name == "id") for name in ("id", "name", "role", "digest")), _column("created", _Number),
    _column("expires", _Number, empty=True), _column("revoked", _Number, empty=True),
)  # fmt: skip
"""Keys of the HTTP service; `digest` is the SHA-256 of the secret, which is stored nowhere."""

served = _table(
    "served", _column("campaign", _Text, key=True), _column("run", _Text), _column("version", _Text),
    sa.Column("features", sa.Boolean, nullable=False), _column("changed", _Number),
)  # fmt: skip
"""Which run decides in each campaign; the workers of the HTTP service follow it. `features`: whether they are stored."""

challengers = _table(
    "challenger", _column("campaign", _Text, key=True), _column("run", _Text), _column("version", _Text),
    _column("share", _Number), sa.Column("shadow", sa.Boolean, nullable=False), _column("changed", _Number),
)  # fmt: skip
"""Which run is tried in each campaign: for a share of the units, and in the shadow of the others' decisions."""

shadows = _table(
    "shadow", _column("place", _Whole, key=True), _column("version", _Text, key=True), _column("campaign", _Text),
    _column("treatment", _Text), _column("menu", _Bytes), _column("time", _Number),
)  # fmt: skip
"""What a challenger would have decided, at the price of the decision in that place; not linked, and gone with an erased unit."""


def _ratios(connection: sa.Connection) -> None:
    """Version 3: campaigns have the ratio of what is paid to what was reserved."""
    kind = _Number().compile(connection.dialect)
    for name in ("ratio", "ratio_low", "ratio_high"):
        connection.execute(sa.text(f"alter table {campaigns.name} add column {name} {kind}"))


def _expected(connection: sa.Connection) -> None:
    """Version 5: campaigns have the share of what is reserved that is still expected to be paid, and the tilt of exploration."""
    kind = _Number().compile(connection.dialect)
    for name in ("expected", "tilt"):
        connection.execute(sa.text(f"alter table {campaigns.name} add column {name} {kind}"))


OLDEST = 2  # version 1 was that of a development version with other columns
MIGRATIONS: tuple[Callable[[sa.Connection], None], ...] = (_ratios, _META.create_all, _expected, _META.create_all)
"""Step k brings a store from version OLDEST + k to the next one; a new store gets the tables of the last one at once."""


def migrate(connection: sa.Connection, place: str) -> None:
    """Brings a store to the version of this package, within a transaction that nobody else writes in.

    Raises:
        StoreError: The store is of a newer version, or of one that was never released.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("select pg_advisory_xact_lock(7203614)"))  # two servers may open a new store at once
    _versions.create(connection, checkfirst=True)
    version = connection.execute(sa.select(_versions.c.version)).scalar()
    known = OLDEST + len(MIGRATIONS)
    if (version or 0) > known:
        raise StoreError(
            f"{place}: is a ledger of version {version}, this package reads up to {known}. Update largesse."
        )
    if version is not None and version < OLDEST:
        raise StoreError(f"{place}: is a ledger of a development version, which cannot be read. Choose another place.")
    for step in (_META.create_all,) if version is None else MIGRATIONS[version - OLDEST :]:
        step(connection)
    if version is None:
        connection.execute(_versions.insert().values(version=known))
    elif version < known:
        connection.execute(_versions.update().values(version=known))
