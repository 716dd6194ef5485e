"""Erasing a unit: nothing of it is left, what it brought and cost stays counted, and it may come again as a new unit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy", reason="the extra 'serve' is not installed")

import sqlalchemy as sa

from largesse.errors import Conflict, DataError
from largesse.serving import Answer, Ledger, Outcome, trial_rows
from largesse.serving.ledger import tables
from largesse.serving.ledger.store import reading
from tests.common.ledgers import Clock, ask, campaign

UNIT = "anna.example@example.org"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(store: str, clock: Clock):
    with Ledger.open(store, clock=clock) as opened:
        yield opened


def dump(ledger: Ledger) -> str:
    """All cells of all tables."""
    with reading(ledger.engine) as connection:
        several = (tables.campaigns, tables.decisions, tables.keys, tables.outcomes, tables.tallies, tables.journal)
        return repr([tuple(row) for table in several for row in connection.execute(sa.select(table)).all()])


def filled(ledger: Ledger, clock: Clock) -> list[Answer]:
    """Three decisions of the unit, in two campaigns and two periods, among those of others; returns its own."""
    ledger.start(campaign(budget=1e4, period=100.0, matures=1000.0, explore=0.5))
    ledger.start(campaign(name="d", budget=1e4, holdout=0, explore=0))
    mine = []
    for k in (0, 1):
        asks = [ask(f"u{i}", features={"city": "Bonn"}) for i in range(20)]
        mine.append(ledger.decide([*asks, ask(UNIT, key=f"{UNIT} {k}", features={"city": "Annatown"})])[-1])
        clock.now += 100
    mine.append(ledger.decide([ask(UNIT, campaign="d", features={"city": "Annatown"})])[0])
    assert len({a.id for a in mine}) == 3
    ledger.outcomes([Outcome(a.id, f"order of {UNIT} {a.id}", cost=1.0, value=2.0, final=False) for a in mine])
    return mine


def test_nothing_of_it_is_left(ledger, clock):
    mine = filled(ledger, clock)
    assert UNIT in dump(ledger)
    assert "Annatown" in dump(ledger)
    with reading(ledger.engine) as connection:
        d = tables.decisions.c
        row = connection.execute(sa.select(tables.decisions).where(d.id == mine[0].id)).one()
    assert ledger.erase(UNIT) == 3
    left = dump(ledger)
    assert "anna" not in left.lower()
    for secret in (row.who, row.seal, row.menu):  # a guess of the unit cannot be confirmed by what is left
        assert repr(bytes(secret)) not in left or secret == row.menu  # others have this menu, too
    assert ledger.erase(UNIT) == 0
    assert ledger.erase("nobody") == 0
    with reading(ledger.engine) as connection:
        rows = connection.execute(sa.select(tables.decisions).where(d.id.in_([a.id for a in mine]))).all()
        lines = connection.execute(sa.select(tables.journal).order_by(tables.journal.c.campaign)).all()
    assert all((r.who, r.unit, r.menu, r.features) == (None,) * 4 for r in rows)
    assert [(line.campaign, line.field, json.loads(line.after)) for line in lines] == [
        ("c", "erased", 2),
        ("d", "erased", 1),
    ]


def test_nothing_of_it_is_left_in_the_file(tmp_path: Path, clock):
    with Ledger.open(f"sqlite:///{tmp_path}/a.db", clock=clock) as ledger:
        filled(ledger, clock)
        content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
        assert UNIT.encode() in content
        ledger.erase(UNIT)
        assert all(UNIT.encode() not in path.read_bytes() for path in tmp_path.iterdir())


def test_counts_money_and_trial_rows_stay(ledger, clock):
    mine = filled(ledger, clock)
    before, kept = ledger.status("c"), ledger.decide([ask("u3", features={"city": "Bonn"})])[0]
    clock.now += 2000
    rows = [row for batch in trial_rows(ledger, "c") for row in batch.to_pylist()]
    clock.now -= 2000
    ledger.erase(UNIT)
    status = ledger.status("c")
    assert (status.spent, status.reserved, status.decided) == (before.spent, before.reserved + kept.reservation, 43)
    clock.now += 2000
    after = [row for batch in trial_rows(ledger, "c") for row in batch.to_pylist()]
    ids = {a.id for a in mine}
    assert [r | {"unit": r["decision"], "city": None} if r["decision"] in ids else r for r in rows] == after
    assert sum(r["unit"] == r["decision"] for r in after) == 2
    assert {r["propensity"] for r in after if r["decision"] in ids} == {a.propensity for a in mine[:2]}


def test_outcomes_still_count_once(ledger, clock):
    mine = filled(ledger, clock)
    key = f"order of {UNIT} {mine[2].id}"
    ledger.erase(UNIT)
    again, other, final = ledger.outcomes([
        Outcome(mine[2].id, key, cost=1.0, value=2.0, final=False), Outcome(mine[2].id, key, cost=7.0),
        Outcome(mine[2].id, f"{UNIT}'s last", cost=0.5, value=1.0),
    ])  # fmt: skip
    assert (again.repeated, again.paid, again.key) == (True, 1.0, key)
    assert isinstance(other, Conflict)
    assert (final.state, final.paid, final.value) == ("posted", 1.5, 3.0)
    assert ledger.outcomes([Outcome(mine[2].id, f"{UNIT}'s last", cost=0.5, value=1.0)])[0].repeated
    assert ledger.status("d").spent == 1.5
    assert UNIT not in dump(ledger)
    clock.now += 8 * 86_400
    assert ledger.expire() > 0


def test_it_comes_again_as_a_new_unit(ledger, clock):
    mine = filled(ledger, clock)
    ledger.erase(UNIT)
    (new,) = ledger.decide([ask(UNIT, campaign="d", key=f"{UNIT} 0")])
    assert (new.repeated, new.id in {a.id for a in mine}) == (False, False)
    assert ledger.decide([ask(UNIT, campaign="d")])[0].id == new.id
    assert ledger.status("d").decided == 2
    assert ledger.erase(UNIT) == 1


def test_a_whole_number_is_the_same_unit(ledger):
    ledger.start(campaign())
    ledger.decide([ask("7")])
    assert ledger.erase(7) == 1
    with pytest.raises(DataError, match="unit == ''"):
        ledger.erase("")


def test_many_short_periods(ledger, clock, monkeypatch):
    monkeypatch.setattr("largesse.serving.ledger.erasing._MANY", 3)
    ledger.start(campaign(period=1.0))
    for _ in range(5):
        ledger.decide([ask("u"), ask("v")])
        clock.now += 1
    assert ledger.erase("u") == 5
    assert ledger.verify().problems == []


def test_the_price_follows_from_the_others(ledger, clock):
    ledger.start(campaign())
    ledger.decide([ask(f"u{i}", value=[0, 1, 3 + i / 100]) for i in range(60)])
    clock.now += 10
    for i in range(30):
        ledger.erase(f"u{i}")
    assert set(ledger.reprice("me")) == {"c"}
    for i in range(30, 60):
        ledger.erase(f"u{i}")
    clock.now += 100
    assert ledger.reprice("me") == {}
