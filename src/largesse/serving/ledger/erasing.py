"""Erases a unit: its id, its features and its menus go; what remains are rows of the trial that belong to nobody."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import sqlalchemy as sa

from largesse.serving.ledger.accounts import Account
from largesse.serving.ledger.audit import private_digest
from largesse.serving.ledger.checking import period_of
from largesse.serving.ledger.reporting import erased_key
from largesse.serving.ledger.rows import BY_WHO, private_of, who_of, who_prefix
from largesse.serving.ledger.sql import Having, Statement
from largesse.serving.ledger.store import locked
from largesse.serving.ledger.tables import decisions, journal, keys, outcomes, shadows

__all__ = ["erase"]

_MANY = 100_000  # periods of a campaign above which its rows are read instead
_d, _o = decisions.c, outcomes.c
_EMPTY = Statement(
    sa.update(decisions)
    .where(_d.place == sa.bindparam("of"))
    .values({name: sa.null() for name in ("who", "unit", "menu", "features")} | {"seal": sa.bindparam("new")}),
    ["new", "of"],
)
_NO_SHADOW = Statement(sa.delete(shadows).where(shadows.c.place == sa.bindparam("of")), ["of"])
_OUTCOMES = Having(lambda values: sa.select(_o.place, _o.key, _o.decision, _o.seal).where(_o.decision.in_(values)))
_RENAME = Statement(
    sa.update(outcomes)
    .where(_o.place == sa.bindparam("of"))
    .values(key=sa.bindparam("new_key"), seal=sa.bindparam("new_seal")),
    ["new_key", "new_seal", "of"],
)


def erase(connection: sa.Connection, names: Iterable[str], unit: str, now: float) -> int:
    """Erases a unit from some campaigns; returns the number of its decisions."""
    total = 0
    for name, row in sorted(locked(connection, names).items()):
        several = list(_decisions_of(connection, Account(row), unit, now))
        if not several:
            continue
        _EMPTY.run_all(connection, [(private_of(one), one.place) for one in several])
        _NO_SHADOW.run_all(connection, [(one.place,) for one in several])
        ids = [one.id for one in several]
        for i in range(0, len(ids), 500):
            connection.execute(sa.delete(keys).where(keys.c.decision.in_(ids[i : i + 500])))
        changed = [
            (erased_key(one.decision, one.key), private_digest(one.seal, one.key), one.place)
            for one in _OUTCOMES.rows(connection, ids)
        ]
        _RENAME.run_all(connection, changed)
        line = {"campaign": name, "time": now, "field": "erased", "before": "null", "after": json.dumps(len(ids))}
        connection.execute(journal.insert().values(**line))
        total += len(ids)
    return total


def _decisions_of(connection: sa.Connection, account: Account, unit: str, now: float) -> Iterator[Any]:
    """Yields the decisions of a unit, sought by their hashes: one for each period so far."""
    last = period_of(account, now)
    if last < _MANY:
        yield from BY_WHO.rows(connection, (who_of(who_prefix(account.terms, k), unit) for k in range(last + 1)))
    else:
        query = decisions.select().where(_d.campaign == account.row.name, _d.unit == unit)
        yield from connection.execute(query).all()
