"""The log of a ledger is verified: what somebody changes, inserts or deletes in the store is named, and erasures are not."""

from __future__ import annotations

import struct
from hashlib import blake2b
from typing import Any

import pytest

pytest.importorskip("sqlalchemy", reason="the extra 'serve' is not installed")

import sqlalchemy as sa

from largesse.serving import Ledger, Outcome
from largesse.serving.ledger import tables, verifying
from largesse.serving.ledger.store import reading, writing
from tests.common.ledgers import Clock, ask, campaign

DAY = 86_400.0


@pytest.fixture
def ledger(store: str):
    clock = Clock(10 * DAY)
    with Ledger.open(store, clock=clock) as opened:
        opened.start(campaign(budget=1e4, until=1e9, explore=0.3))
        opened.start(campaign(name="d", until=1e9))
        for k in range(3):
            answers = opened.decide([ask(f"u{k} {i}", features={"x": i} if i % 2 else None) for i in range(20)])
            opened.decide([ask(f"one {k}", key=f"k{k}"), ask(f"two {k}", campaign="d")])
            opened.outcomes([Outcome(a.id, f"o {a.id}", cost=0.5, value=1.0) for a in answers[:5]])
            clock.now += DAY
        yield opened


def tampered(ledger: Ledger, statement: Any) -> list[str]:
    with writing(ledger.engine) as connection:
        assert connection.execute(statement).rowcount != 0
    return ledger.verify().problems


d, o, c = tables.decisions.c, tables.outcomes.c, tables.campaigns.c


def mine(table: sa.Table) -> Any:
    return table.c.campaign == "c"


def test_an_untouched_log_has_no_problems(ledger):
    done = ledger.verify()
    assert done.problems == []
    log = done.logs["c"]
    assert (log.decisions, log.outcomes, log.erased, done.logs["d"].decisions) == (63, 15, 0, 3)
    assert list(log.days) == ["1970-01-11", "1970-01-12", "1970-01-13"]
    assert log.days["1970-01-13"] == log.decision_link


def test_links_are_hashes_of_what_is_documented(ledger):
    """Computed here again from the columns alone."""
    with reading(ledger.engine) as connection:
        rows = connection.execute(sa.select(tables.decisions).where(mine(tables.decisions)).order_by(d.number)).all()
    link = bytes(32)
    for r in rows:
        unit, features = r.unit.encode(), None if r.features is None else r.features.encode()
        sizes = struct.pack("<iii", len(unit), len(r.menu), -1 if features is None else len(features))
        private = blake2b(r.seal + sizes + unit + r.menu + (features or b""), digest_size=32).digest()
        fixed = struct.pack("<qqqddd?i", r.number, r.period, r.reservation, r.price, r.time, r.due, r.limited, 24)
        names = "\0".join((r.id, r.campaign, r.treatment, r.kind, r.version)).encode()
        link = blake2b(link + private + fixed + r.propensities + names, digest_size=32).digest()
        assert link == r.link
    assert len({bytes(r.seal) for r in rows}) == len(rows)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("treatment", "none"), ("kind", "holdout"), ("price", 0.25), ("reservation", 900), ("version", "x"), ("time", 1.0),
        ("unit", "somebody"), ("features", "{}"), ("limited", True), ("propensities", b"\0" * 24), ("menu", b"\0" * 48),
        ("seal", b"\0" * 16), ("link", b"\0" * 32), ("id", "0" * 32), ("who", b"\0" * 16), ("reserved", 250), ("paid", 70),
        ("gained", 9.0), ("unit", None), ("due", 5.0), ("period", 1), ("campaign", "d"), ("number", 7_000),
    ],
)  # fmt: skip
def test_a_changed_decision_is_named(ledger, field, value):
    row = (
        sa.select(d.number)
        .where(mine(tables.decisions), d.kind != "holdout", d.treatment != "none", d.number > 30)
        .limit(1)
    )
    with reading(ledger.engine) as connection:
        number = connection.execute(row.where(d.state == "pending" if field == "reserved" else sa.true())).scalar_one()
    change = sa.update(tables.decisions).where(mine(tables.decisions), d.number == number).values({field: value})
    problems = tampered(ledger, change)
    assert any(f"decision {number:,} (" in one and "was changed" in one for one in problems) or field == "reserved"
    assert problems
    named = [one for one in problems if "decision " in one]
    assert all(f"decision {number:,} " in one for one in named if "of decision" not in one), problems


@pytest.mark.parametrize(
    ("field", "value"),
    [("cost", 60), ("value", 1.5), ("key", "x"), ("final", False), ("time", 0.0), ("link", b"\0" * 32)],
)
def test_a_changed_outcome_is_named(ledger, field, value):
    problems = tampered(
        ledger, sa.update(tables.outcomes).where(mine(tables.outcomes), o.number == 7).values({field: value})
    )
    assert any("outcome 7 (" in one and "was changed" in one for one in problems)
    assert not any("outcome 8" in one or "outcome 6" in one for one in problems)


def test_deleted_rows_are_named(ledger):
    where = mine(tables.decisions), d.number.between(20, 22)
    problems = tampered(ledger, sa.delete(tables.decisions).where(*where))
    assert "campaign 'c': decisions 20 to 22 were deleted" in problems
    assert tampered(ledger, sa.delete(tables.outcomes).where(mine(tables.outcomes), o.number == 14))[-1]
    assert "campaign 'c': outcome 14 was deleted" in ledger.verify().problems


def test_the_end_cut_off_with_its_counters(ledger):
    earlier = {name: log._asdict() for name, log in ledger.verify().logs.items()}
    with writing(ledger.engine) as connection:
        connection.execute(sa.delete(tables.keys))
        connection.execute(sa.delete(tables.decisions).where(mine(tables.decisions), d.number >= 60))
        connection.execute(sa.update(tables.campaigns).where(c.name == "c").values(decided=60))
    assert any("does not have the link that the campaign has kept" in one for one in ledger.verify().problems)
    assert "campaign 'c': 3 decisions that were verified earlier are missing" in ledger.verify(earlier=earlier).problems


def test_an_inserted_decision_is_named(ledger):
    with reading(ledger.engine) as connection:
        row = dict(
            connection.execute(sa.select(tables.decisions).where(mine(tables.decisions), d.number == 5)).one()._mapping
        )
    row |= {"place": row["place"] + 58, "number": 63, "who": b"x" * 16, "id": "f" * 32, "unit": "new"}
    problems = tampered(ledger, tables.decisions.insert().values(row))
    assert "campaign 'c': decision 63 (" + "f" * 32 + ") was inserted: the campaign has counted 63" in problems


def test_a_log_that_was_written_anew_differs_from_an_earlier_verification(ledger, tmp_path):
    earlier = {name: log._asdict() for name, log in ledger.verify().logs.items()}
    assert ledger.verify(earlier=earlier).problems == []
    ledger.decide([ask("more")])
    assert ledger.verify(earlier=earlier).problems == []
    with Ledger.open(f"sqlite:///{tmp_path}/b.db", clock=ledger.clock) as other:
        other.start(campaign(budget=1e4, until=1e9))
        other.decide([ask(i) for i in range(70)])
        assert other.verify().problems == []
        problems = other.verify(earlier=earlier).problems
    assert any(
        "campaign 'c': decision 62 (" in one and "is not the one that was verified earlier" in one for one in problems
    )
    assert "campaign 'd': is no longer in the ledger" in problems


@pytest.mark.parametrize("field", ["spent", "reserved", "limited"])
def test_changed_counters_are_named(ledger, field):
    problems = tampered(ledger, sa.update(tables.campaigns).where(c.name == "c").values({field: 1}))
    assert len(problems) == 1
    assert f"its counter {field!r} is 1" in problems[0]


def test_changed_tallies_are_named(ledger):
    t = tables.tallies.c
    problems = tampered(ledger, sa.update(tables.tallies).where(t.campaign == "c").values(decisions=t.decisions + 1))
    assert problems == ["campaign 'c': its counts by kind and treatment are not those of the decisions"]


def test_erased_units_do_not_break_the_log(ledger):
    before = ledger.verify()
    for unit in ("u0 3", "u1 0", "u2 19", "one 1", "two 0"):
        assert ledger.erase(unit) == 1
    done = ledger.verify(earlier={name: log._asdict() for name, log in before.logs.items()})
    assert done.problems == []
    assert (done.logs["c"].erased, done.logs["d"].erased) == (4, 1)
    assert done.logs["c"].decision_link == before.logs["c"].decision_link
    problems = tampered(ledger, sa.update(tables.decisions).where(d.unit.is_(None)).values(treatment="none", kind="x"))
    assert sum("was changed" in one for one in problems) == 5


def test_an_erasure_of_ones_own_making_is_named(ledger):
    """Without the seal nobody can make the digest of an erased unit."""
    fake = {"unit": None, "who": None, "menu": None, "features": None, "seal": b"\1" * 32}
    problems = tampered(ledger, sa.update(tables.decisions).where(mine(tables.decisions), d.number == 9).values(fake))
    assert any("decision 9 (" in one and "was changed" in one for one in problems)


def test_expiry_and_refunds_are_no_changes(ledger):
    ledger.clock.now += 30 * DAY
    assert ledger.expire() > 0
    a = ledger.decide([ask("late")])[0]
    ledger.outcomes([Outcome(a.id, "1", 5.0, 0.1, final=False), Outcome(a.id, "2", -1.0, 0.2), Outcome(a.id, "3", 0.1)])
    assert ledger.verify().problems == []


def test_many_problems_are_counted(ledger):
    problems = tampered(ledger, sa.update(tables.decisions).values(version="x", reserved=-1))
    assert len(problems) == 101
    assert problems[-1].startswith("and ")


def test_every_row_is_hashed_once(ledger, monkeypatch):
    """Also where a row was changed: else a log of a million decisions would take days."""
    calls = []
    real = verifying.decision_link
    monkeypatch.setattr(verifying, "decision_link", lambda *args: calls.append(1) or real(*args))
    ledger.decide([ask(f"more {i}") for i in range(400)])
    assert ledger.verify().problems == []
    assert len(calls) == 463 + 3
    calls.clear()
    assert tampered(ledger, sa.update(tables.decisions).where(mine(tables.decisions), d.number == 10).values(price=9.0))
    assert len(calls) <= 463 + 3 + 3
    calls.clear()
    every = sa.update(tables.decisions).where(mine(tables.decisions)).values(price=9.0)
    assert len(tampered(ledger, every)) == 101
    assert len(calls) <= 4 * 463 + 3
