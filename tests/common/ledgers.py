"""A small campaign for tests of the ledger, and the check that its counters are the sums of its rows."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from largesse.serving import Ask, Campaign, Ledger
from largesse.serving.ledger import tables
from largesse.serving.ledger.store import reading

NAMES = ("none", "coupon", "gift")


class Clock:
    """A clock that is set by hand."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def campaign(**changes: Any) -> Campaign:
    return Campaign(**({"name": "c", "treatments": NAMES, "budget": 100.0, "until": 1e6, "price": 0.5} | changes))


def ask(unit: str | int, **changes: Any) -> Ask:
    return Ask(**({"campaign": "c", "unit": unit, "value": [0, 1, 3], "cost": [0, 1, 2]} | changes))


def check_sums(ledger: Ledger, *, within_budget: bool = True) -> sa.Row[Any]:
    """Compares the counters of campaign "c" with the sums of its rows, and returns its row."""
    d, o, t = tables.decisions.c, tables.outcomes.c, tables.tallies.c
    with reading(ledger.engine) as connection:
        row = connection.execute(sa.select(tables.campaigns).where(tables.campaigns.c.name == "c")).one()
        rows = connection.execute(sa.select(tables.decisions).where(d.campaign == "c").order_by(d.number)).all()
        paid = connection.execute(sa.select(sa.func.sum(o.cost)).where(o.campaign == "c")).scalar() or 0
        by_decision = dict(
            connection.execute(
                sa.select(o.decision, sa.func.sum(o.cost)).where(o.campaign == "c").group_by(o.decision)
            ).all()
        )
        tallies = connection.execute(sa.select(tables.tallies).where(t.campaign == "c")).all()
        keys = connection.execute(sa.select(tables.keys.c.decision)).scalars().all()
    assert [r.number for r in rows] == list(range(row.decided))
    assert row.reserved == sum(r.reserved for r in rows)
    assert row.spent == sum(r.paid for r in rows) == paid
    assert all(r.paid == by_decision.get(r.id, 0) for r in rows)
    assert row.limited == sum(r.limited for r in rows)
    assert all(r.reserved == 0 for r in rows if r.state != "pending")
    assert all(0 <= r.reserved <= r.reservation for r in rows)
    assert len({(r.period, r.unit) for r in rows}) == len(rows)
    assert set(keys) <= {r.id for r in rows}
    for tally in tallies:
        mine = [r for r in rows if (r.kind, r.treatment) == (tally.kind, tally.treatment)]
        assert tally.decisions == len(mine)
        assert tally.paid == sum(r.paid for r in mine)
    assert sum(tally.decisions for tally in tallies) == row.decided
    assert row.spent + row.reserved <= row.budget + (0 if within_budget else row.beyond)
    return row
