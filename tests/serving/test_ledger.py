"""The ledger on SQLite and PostgreSQL: sticky and idempotent decisions, states of money, and what is refused."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytest.importorskip("sqlalchemy", reason="the extra 'serve' is not installed")

import sqlalchemy as sa

from largesse.errors import Conflict, DataError, MissingDependency, SchemaError, StoreError
from largesse.serving import Answer, Ledger, Outcome, trial_rows
from largesse.serving.ledger import tables
from largesse.serving.ledger.store import checkpoint, reading, writing
from largesse.serving.ledger.terms import FALLBACK
from tests.common.ledgers import Clock, ask, campaign, check_sums


def one(ledger: Ledger, *args, **changes) -> Answer:
    (answer,) = ledger.decide([ask(*args, **changes)])
    assert isinstance(answer, Answer), answer
    return answer


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(store: str, clock: Clock):
    with Ledger.open(store, clock=clock) as opened:
        yield opened


class TestDecisions:
    def test_a_unit_gets_its_decision_again(self, ledger):
        ledger.start(campaign())
        first = one(ledger, "u1")
        again = one(ledger, "u1", value=[0, 9, 0], version="b")
        assert again == first._replace(repeated=True)
        assert one(ledger, 7).id == one(ledger, "7").id
        assert ledger.status("c").decided == 2

    def test_twice_in_one_call(self, ledger):
        ledger.start(campaign())
        answers = ledger.decide([ask("u", key="a"), ask("u", key="b"), ask("u", key="a"), ask("v", key="a")])
        assert [getattr(a, "repeated", "conflict") for a in answers] == [False, True, True, "conflict"]
        assert check_sums(ledger).decided == 1

    def test_what_is_stored_is_what_was_answered(self, ledger, store, clock):
        ledger.start(campaign())
        answers = ledger.decide([ask(i, value=[0.1, i / 7, 3e-9 * i], cost=[0, i / 3, 2 / 3]) for i in range(60)])
        with Ledger.open(store, clock=clock) as other:
            later = other.decide([ask(i) for i in range(60)])
        assert [a._replace(repeated=False) for a in later] == answers

    def test_a_key_repeats_its_answer(self, ledger, clock):
        ledger.start(campaign(period=100.0))
        first = one(ledger, "u", key="k", features={"x": 1, "city": "Köln"})
        clock.now += 250  # another period: the key still means the first ask
        again = one(ledger, "u", key="k", features={"city": "Köln", "x": 1}, value=[0, 5, 5], version="new")
        assert again == first._replace(repeated=True)
        assert one(ledger, "u", key="l").period == 2
        check_sums(ledger)

    @pytest.mark.parametrize(
        "change", [{"unit": "v"}, {"features": {"x": 2}}, {"allowed": ["none"]}, {"body": "other"}]
    )
    def test_a_key_with_another_ask_is_a_conflict(self, ledger, change):
        ledger.start(campaign())
        base = {"unit": "u", "key": "k", "features": {"x": 1}}
        ledger.decide([ask(**base)])
        answers = ledger.decide([ask("w"), ask(**(base | change)), ask("x")])
        assert isinstance(answers[1], Conflict)
        assert str(answers[1]).startswith("key == 'k': it was given with another ask")
        assert [a.unit for a in answers if isinstance(a, Answer)] == ["w", "x"]
        assert check_sums(ledger).decided == 3

    def test_without_features_the_menu_is_the_body(self, ledger):
        ledger.start(campaign())
        one(ledger, "u", key="k")
        assert isinstance(ledger.decide([ask("u", key="k", cost=[0, 1, 2.5])])[0], Conflict)
        assert one(ledger, "v", key="l", body="b").id == one(ledger, "v", key="l", body="b", cost=[0, 1, 2.5]).id

    def test_a_decision_that_the_ask_does_not_allow_is_a_conflict(self, ledger):
        ledger.start(campaign(holdout=0, explore=0))
        assert one(ledger, "u").treatment == "gift"
        (refusal,) = ledger.decide([ask("u", allowed=["none", "coupon"])])
        assert isinstance(refusal, Conflict)
        assert "'gift'" in str(refusal)

    def test_periods(self, ledger, clock):
        ledger.start(campaign(period=100.0, explore=1.0))
        periods = []
        for now in (1000, 1099.9, 1100, 1350, 900):
            clock.now = now
            periods.append(one(ledger, "u").period)
        assert periods == [0, 0, 1, 3, 0]

    def test_after_the_end_only_what_is_stored(self, ledger, clock):
        ledger.start(campaign(until=2000.0))
        first = one(ledger, "u", key="k")
        clock.now = 2000.0
        old, new = ledger.decide([ask("u", key="k"), ask("v")])
        assert old == first._replace(repeated=True)
        assert str(new).startswith("campaign == 'c': it is over")
        ledger.start(campaign(until=3000.0))
        assert one(ledger, "v").unit == "v"

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"campaign": "d"}, "campaign == 'd': is not in this ledger"), ({"campaign": ["c"]}, r"campaign == \['c'\]"),
            ({"unit": ""}, "unit == ''"), ({"unit": "a\0b"}, "unit == "), ({"unit": "x" * 501}, "unit == "),
            ({"unit": "\ud800"}, "unit == "), ({"unit": None}, "unit == None"), ({"unit": True}, "unit == True"),
            ({"key": ""}, "key == ''"), ({"key": 1.5}, "key == 1.5"), ({"version": 3.5}, "version == 3.5"), ({"body": b"x"},
            "body == "),
            ({"value": [0, 1]}, r"len\(value\) == 2: must be 3"), ({"value": [0, 1, math.nan]}, "value == "),
            ({"value": [0, 1, "x"]}, "value == "), ({"value": None}, "value == None"), ({"cost": [0, -1, 2]}, "cost == "),
            ({"cost": [0, math.inf, 2]}, "cost == "), ({"cost": [0, 1e14, 2]}, "cost == 100000000000000.0"),
            ({"allowed": ["none", "Coupon"]}, "allowed == 'Coupon': .*coupon"), ({"allowed": ["coupon"]},
            "must have control, 'none'"),
            ({"allowed": []}, "must have control"), ({"allowed": "none"}, "allowed == 'none'"), ({"allowed": 5},
            "allowed == 5"),
            ({"allowed": [["none"]]}, "allowed == "), ({"features": {"x": object()}}, "features: must be JSON"),
            ({"features": {"x": math.nan}}, "features: must be JSON"),
        ],
    )  # fmt: skip
    def test_a_wrong_ask_fails_alone(self, ledger, change, message):
        ledger.start(campaign())
        before, wrong, after = ledger.decide([ask("a"), ask(**({"unit": "u"} | change)), ask("b")])
        assert isinstance(wrong, DataError)
        with pytest.raises(DataError, match=message):
            raise wrong
        assert (before.unit, after.unit) == ("a", "b")
        assert check_sums(ledger).decided == 2

    def test_another_kind_of_argument(self, ledger):
        with pytest.raises(SchemaError, match="asks"):
            ledger.decide([{"unit": "u"}])
        assert ledger.decide([]) == []

    def test_numpy_menus(self, ledger):
        ledger.start(campaign())
        assert one(ledger, np.int64(3), value=np.arange(3.0), cost=np.arange(3, dtype=np.float32)).unit == "3"


class TestMoney:
    def test_the_budget_decides_when_little_is_left(self, ledger):
        ledger.start(campaign(budget=5.0, holdout=0, explore=0))
        answers = ledger.decide([ask(i) for i in range(5)])
        assert [(a.treatment, a.limited) for a in answers] == [
            ("gift", False), ("gift", False), ("coupon", True), ("none", True), ("none", True)
        ]  # fmt: skip
        assert answers[2].propensities == {"none": 0.0, "coupon": 1.0, "gift": 0.0}
        row = check_sums(ledger)
        assert (row.reserved, row.limited) == (500, 3)
        assert ledger.status("c").counts == {"policy": {"coupon": 1, "gift": 2, "none": 2}}

    def test_many_calls_spend_the_same_as_one(self, ledger):
        ledger.start(campaign(budget=33.0))
        ledger.start(campaign(name="d", budget=33.0, salt="c"))
        together = ledger.decide([ask(i) for i in range(50)])
        singly = [ledger.decide([ask(i)])[0] for i in range(50)]
        assert [a._replace(repeated=False) for a in singly] == together
        assert 32 <= ledger.status("c").reserved <= 33

    def test_amounts_are_rounded_up_and_the_budget_down(self, ledger):
        ledger.start(campaign(budget=1.119, holdout=0, explore=0))
        assert one(ledger, "u", cost=[0, 9, 1.1]).reservation == 1.1
        assert ledger.status("c").budget == 1.11
        assert one(ledger, "v", cost=[0, 9, 0.0001]).reservation == 0.01
        assert one(ledger, "w", cost=[0, 9, 0.0001]).treatment == "none"

    def test_a_hard_guarantee_reserves_the_worst_case(self, ledger):
        worst = {"coupon": 3.0, "gift": 10.0}
        ledger.start(campaign(budget=24.0, holdout=0, explore=0, guarantee="hard", worst=worst))
        answers = ledger.decide([ask("a"), ask("b"), ask("d"), ask("e"), ask("f", cost=[0, 4, 5])])
        assert [a.reservation for a in answers] == [10, 10, 3, 0, 0]
        for a in answers[:3]:
            ledger.outcomes([Outcome(a.id, a.id, cost=a.reservation)])
        row = check_sums(ledger)
        assert (row.spent, row.beyond) == (2300, 0)

    def test_control_may_cost_and_then_may_not_be_paid(self, ledger):
        ledger.start(campaign(budget=1.0))
        answers = ledger.decide([ask(i, cost=[0.6, 5, 5]) for i in range(2)])
        assert answers[0].treatment == "none"
        assert "not even control" in str(answers[1])

    def test_outcomes_in_parts_with_refund(self, ledger):
        ledger.start(campaign(holdout=0, explore=0))
        a = one(ledger, "u")  # reserves 2
        states = []
        for key, cost, final in (("1", 0.5, False), ("2", 1.0, False), ("3", 0.25, True), ("4", -0.75, True)):
            (receipt,) = ledger.outcomes([Outcome(a.id, key, cost=cost, value=1.0, final=final)])
            status = ledger.status("c")
            states.append((receipt.state, receipt.paid, status.spent, status.reserved))
        assert states == [
            ("pending", 0.5, 0.5, 1.5), ("pending", 1.5, 1.5, 0.5), ("posted", 1.75, 1.75, 0.0), ("posted", 1.0, 1.0, 0.0)
        ]  # fmt: skip
        assert receipt.value == 4
        assert check_sums(ledger).beyond == 0

    def test_outcomes_count_once_in_any_order(self, ledger):
        ledger.start(campaign(holdout=0, explore=0))
        a, b = one(ledger, "u"), one(ledger, "v")
        given = [Outcome(b.id, "x", 2.0), Outcome(a.id, "y", 1.0, 1.0, final=False), Outcome(b.id, "x", 2.0)]
        first = ledger.outcomes(given)
        assert [r.repeated for r in first] == [False, False, True]
        assert [r.repeated for r in ledger.outcomes(given[::-1])] == [True] * 3
        assert check_sums(ledger).spent == 300

    def test_refused_outcomes_fail_alone(self, ledger):
        ledger.start(campaign(holdout=0, explore=0))
        a = one(ledger, "u")
        given = [
            Outcome(a.id, "k", 1.0, final=False), Outcome("nobody", "l"), Outcome(a.id, "k", 1.5), Outcome(a.id, ""),
            Outcome(a.id, "m", math.nan), Outcome(a.id, "n", 1.0, void=True), Outcome(a.id, "o", void=True),
            Outcome(a.id, "p", 1.0, math.inf), Outcome(a.id, "q", 1e14), Outcome("\0", "r"), Outcome(None, "s"), Outcome(a.id,
            "t", 0.5),
        ]  # fmt: skip
        got = ledger.outcomes(given)
        starts = [
            "", "decision == 'nobody': is not", "key == 'k': it was given with another", "key == ''", "cost == nan",
            "void == True: cost and value", "void == True: the decision is pending", "value == inf", "cost == 1000",
            "decision ==",
            "decision == None", "",
        ]  # fmt: skip
        for result, start in zip(got, starts, strict=True):
            assert isinstance(result, DataError) == bool(start), result
            assert not start or str(result).startswith(start), result
        assert (got[-1].state, got[-1].paid) == ("posted", 1.5)
        check_sums(ledger)

    def test_void(self, ledger):
        ledger.start(campaign(holdout=0, explore=0))
        a = one(ledger, "u")
        assert ledger.outcomes([Outcome(a.id, "k", void=True)])[0].state == "voided"
        assert ledger.outcomes([Outcome(a.id, "l", void=True)])[0].state == "voided"
        assert check_sums(ledger).reserved == 0
        assert ledger.outcomes([Outcome(a.id, "m", cost=1.0)])[0].state == "posted"  # paid after all
        assert isinstance(ledger.outcomes([Outcome(a.id, "n", void=True)])[0], Conflict)
        row = check_sums(ledger)
        assert (row.spent, row.beyond) == (100, 100)

    def test_expiry_and_late_outcomes(self, ledger, clock):
        ledger.start(campaign(holdout=0, explore=0, matures=50.0))
        early, part = one(ledger, "u"), one(ledger, "v")
        ledger.outcomes([Outcome(part.id, "p", 0.5, final=False)])
        clock.now += 30
        young = one(ledger, "w")
        assert ledger.expire() == 0
        clock.now += 20
        assert ledger.expire() == 2
        assert ledger.expire() == 0
        assert check_sums(ledger).reserved == 200
        assert ledger.outcomes([Outcome(early.id, "l", 1.5)])[0].state == "posted"
        assert ledger.outcomes([Outcome(part.id, "m", 0.25, final=False)])[0].state == "expired"
        assert ledger.outcomes([Outcome(young.id, "n", 2.0)])[0].state == "posted"
        row = check_sums(ledger)
        assert (row.spent, row.reserved, row.beyond) == (425, 0, 175)

    def test_payments_beyond_reservations_are_told_and_stop_decisions(self, ledger):
        ledger.start(campaign(budget=4.0, holdout=0, explore=0))
        a, b = one(ledger, "u"), one(ledger, "v")
        ledger.outcomes([Outcome(a.id, "1", 2.5)])
        row = check_sums(ledger, within_budget=False)
        assert (row.spent + row.reserved, row.beyond) == (450, 50)
        assert ledger.status("c").left == 0
        assert one(ledger, "w").treatment == "none"
        ledger.outcomes([Outcome(b.id, "2", 0.0)])
        assert one(ledger, "x").treatment == "coupon"
        check_sums(ledger)


def test_a_checkpoint_brings_the_log_into_the_file(tmp_path):
    with Ledger.open(f"sqlite:///{tmp_path}/a.db") as ledger:
        ledger.start(campaign(until=4e9))
        ledger.decide([ask(k) for k in range(400)])
        before = (tmp_path / "a.db").stat().st_size
        checkpoint(ledger.engine)
        assert (tmp_path / "a.db").stat().st_size > 2 * before
        assert ledger.status("c").decided == 400


class TestCampaigns:
    def test_starting_again_changes_nothing(self, ledger):
        first = ledger.start(campaign())
        assert ledger.start(campaign(price=9.0)) == first
        assert self.lines(ledger) == []

    def test_changes_are_journaled(self, ledger, clock):
        ledger.start(campaign())
        clock.now = 1500.0
        assert ledger.start(campaign(budget=150.0, explore=0.1)).budget == 150
        assert ledger.start(campaign(budget=120.0, explore=0.1)).budget == 120
        assert self.lines(ledger) == [
            ("c", 1500.0, "explore", "0.05", "0.1"), ("c", 1500.0, "budget", "100.0", "150.0"), ("c", 1500.0, "budget",
            "150.0", "120.0")
        ]  # fmt: skip
        assert one(ledger, "u").propensities["coupon"] == pytest.approx(0.1 * 0.98 / 3)

    @staticmethod
    def lines(ledger):
        with reading(ledger.engine) as connection:
            rows = connection.execute(sa.select(tables.journal).order_by(tables.journal.c.id)).all()
        return [tuple(row)[1:] for row in rows]

    def test_a_budget_below_what_is_out(self, ledger):
        ledger.start(campaign(holdout=0, explore=0))
        ledger.decide([ask(i) for i in range(10)])
        with pytest.raises(DataError, match=r"budget == 19.99: must be >= 20, which is spent or reserved"):
            ledger.start(campaign(budget=19.99, holdout=0, explore=0))
        assert ledger.start(campaign(budget=20.0, holdout=0, explore=0)).left == 0

    def test_a_campaign_that_paid_more_than_its_budget_starts_again(self, ledger):
        terms = {"holdout": 0, "explore": 0}
        ledger.start(campaign(budget=4.0, **terms))
        ledger.outcomes([Outcome(one(ledger, "u").id, "1", 4.5)])
        again = ledger.start(campaign(budget=4.0, **terms))
        assert (again.budget, again.spent, again.left) == (4.0, 4.5, 0)
        assert ledger.start(campaign(budget=4.0, holdout=0, explore=0.1)).decided == 1
        with pytest.raises(DataError, match=r"budget == 3.99: must be >= 4.5, which is spent or reserved"):
            ledger.start(campaign(budget=3.99, **terms))
        assert ledger.start(campaign(budget=4.25, **terms)).budget == 4.25
        assert ledger.start(campaign(budget=6.0, **terms)).left == 1.5

    @pytest.mark.parametrize(
        "change", [{"treatments": ("none", "coupon")}, {"salt": "x"}, {"holdout": 0.1}, {"scale": 1}, {"period": 5.0}]
    )
    def test_what_cannot_change(self, ledger, change):
        ledger.start(campaign())
        with pytest.raises(DataError, match=f"{next(iter(change))} == .*cannot change"):
            ledger.start(campaign(**change))

    def test_unknown_campaign(self, ledger):
        ledger.start(campaign(name="spring"))
        with pytest.raises(DataError, match=r"campaign == 'sprin': is not in this ledger.*'spring'"):
            ledger.status("sprin")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": ""}, "name == ''"), ({"treatments": ("a", "a")}, "treatments == "), ({"treatments": ("a",)},
        "treatments == "),
        ({"budget": -1.0}, "budget == -1.0"), ({"budget": 1e14}, "budget == 1"), ({"scale": 0}, "scale == 0"),
        ({"scale": True}, "scale == True"),
        ({"until": math.nan}, "until == nan"), ({"price": -1.0}, "price == -1.0"), ({"period": 0.0}, "period == 0.0"),
        ({"mix": {"none": 1.0, "coupon": 1.0}}, "mix == 'gift': has no entry"), ({"mix": {"x": 1.0}},
        "mix == 'x': must be among"),
        ({"guarantee": "soft"}, "guarantee == 'soft'"), ({"guarantee": "hard"}, "worst == None: must be given"),
        ({"guarantee": "hard", "worst": {"coupon": 1.0}}, "worst == 'gift': has no entry"),
        ({"guarantee": "hard", "worst": {"coupon": -1.0, "gift": 1.0}}, r"worst\['coupon'\] == -1.0"), ({"salt": "a\0"},
        "salt == "),
    ],
)  # fmt: skip
def test_a_wrong_campaign_is_refused(change, message):
    with pytest.raises(DataError, match=message):
        campaign(**change)


class TestStore:
    def test_a_newer_version_is_refused(self, store):
        Ledger.open(store).close()
        with Ledger.open(store) as ledger, writing(ledger.engine) as connection:
            connection.execute(sa.text("update largesse_version set version = 99"))
        with pytest.raises(
            StoreError,
            match=f"is a ledger of version 99, this package reads up to {tables.OLDEST + len(tables.MIGRATIONS)}. Update",
        ):
            Ledger.open(store)

    def test_a_development_version_is_refused(self, store):
        with Ledger.open(store) as ledger, writing(ledger.engine) as connection:
            connection.execute(sa.text("update largesse_version set version = 1"))
        with pytest.raises(StoreError, match="is a ledger of a development version, which cannot be read. Choose"):
            Ledger.open(store)

    @pytest.mark.parametrize(
        ("version", "columns"),
        [(2, ("ratio", "ratio_low", "ratio_high", "expected", "tilt")), (4, ("expected", "tilt")), (5, ())],
    )
    def test_an_old_store_is_migrated(self, store, version, columns):
        with Ledger.open(store) as ledger:
            ledger.start(campaign())
            ledger.decide([ask("u")])
            with writing(ledger.engine) as connection:
                for name in columns:
                    connection.execute(sa.text(f"alter table largesse_campaign drop column {name}"))
                for name in ("budget", "share"):
                    connection.execute(sa.text(f"drop table largesse_{name}"))
                connection.execute(sa.text(f"update largesse_version set version = {version}"))
        with Ledger.open(store) as ledger:
            status = ledger.status("c")
            assert (status.budget, status.ratio, status.clamped) == (100, 1.0, False)
            assert status.expected == status.reserved
            assert ledger.share("growth", 50.0, [campaign(name="new")])[0].joint_budget == 50

    def test_an_older_version_is_migrated_once(self, store, monkeypatch):
        with Ledger.open(store) as ledger:
            ledger.start(campaign())
        step = sa.text("alter table largesse_campaign add column note text")
        monkeypatch.setattr(tables, "MIGRATIONS", (*tables.MIGRATIONS, lambda connection: connection.execute(step)))
        for _ in range(2):
            with Ledger.open(store) as ledger:
                assert ledger.status("c").budget == 100
                with reading(ledger.engine) as connection:
                    version = connection.execute(sa.text("select version from largesse_version")).scalars().all()
                    assert version == [tables.OLDEST + len(tables.MIGRATIONS)]
                    assert connection.execute(sa.text("select note from largesse_campaign")).all() == [(None,)]

    def test_sqlite_is_durable(self, tmp_path):
        with Ledger.open(f"sqlite:///{tmp_path}/a.db") as ledger, reading(ledger.engine) as connection:
            got = [connection.exec_driver_sql(f"pragma {name}").scalar() for name in ("journal_mode", "synchronous")]
        assert got == ["wal", 2]

    @pytest.mark.parametrize(
        ("url", "message"),
        [
            ("spring.db", "is no address of a store. Give sqlite:///FILE"), ("sqlite://", "must be a file of SQLite"),
            ("mysql://u:secret@h/d", r"mysql://u:\*\*\*@h/d"), ("sqlite:////nowhere/at/all.db", "unable to open"),
        ],
    )  # fmt: skip
    def test_addresses(self, url, message):
        with pytest.raises(StoreError, match=message):
            Ledger.open(url)

    def test_a_file_that_is_no_database(self, tmp_path):
        (tmp_path / "a.db").write_bytes(b"no database at all" * 100)
        with pytest.raises(StoreError, match="not a database"):
            Ledger.open(f"sqlite:///{tmp_path}/a.db")

    @pytest.mark.parametrize(("package", "extra"), [("sqlalchemy", "serve"), ("psycopg", "postgres")])
    def test_what_is_missing_is_named(self, package, extra):
        code = (
            f"import sys; sys.modules[{package!r}] = None\n"
            "from largesse.serving import Ledger\nLedger.open('postgresql://nobody@/x?host=/nowhere')"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert MissingDependency.__name__ in done.stderr
        assert f"largesse[{extra}]" in done.stderr


ALONE = """
import sys
for name in ("torch", "lightgbm", "pandas", "pyarrow", "scipy", "numba", "sklearn", "polars", "narwhals", "pydantic",
             "safetensors", "onnx", "onnxruntime", "typer", "matplotlib", "plotly"):
    sys.modules[name] = None
from largesse.serving import Ask, Campaign, Ledger, Outcome
with Ledger.open(f"sqlite:///{sys.argv[1]}/a.db", clock=lambda: 5.0) as ledger:
    ledger.start(Campaign(name="c", treatments=("none", "coupon"), budget=9.0, until=99.0, price=0.5))
    answers = ledger.decide([Ask("c", i, [0, 1], [0, 1]) for i in range(60)])
    ledger.outcomes([Outcome(a.id, a.id, a.reservation) for a in answers])
    print(ledger.expire(), list(ledger.reprice("me")), ledger.status("c").spent)
print(sorted(m for m in sys.modules if m.startswith("largesse.") and sys.modules[m] is not None))
"""


def test_a_server_needs_sqlalchemy_and_numpy_only(tmp_path: Path):
    done = subprocess.run([sys.executable, "-c", ALONE, str(tmp_path)], capture_output=True, text=True, check=False)
    first, modules = done.stdout.splitlines() or ["", "nothing"]
    assert first == "0 ['c'] 9.0", done.stderr
    assert not {"largesse.frames", "largesse.models", "largesse.allocate"} & set(json.loads(modules.replace("'", '"')))


def test_the_example_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    page = Path(__file__).parents[2] / "docs" / "serve.md"
    names: dict[str, object] = {}
    blocks = [block.split("```")[0] for block in page.read_text().split("```python\n")[1:]]
    (example,) = [block for block in blocks if "Ledger.open" in block]
    exec(example, names)
    ledger = names["ledger"]
    assert isinstance(ledger, Ledger)
    assert ledger.status("spring").decided == 1
    assert ledger.status("spring").spent == 1.5
    ledger.close()


def test_trial_rows(ledger: Ledger, clock: Clock, tmp_path: Path):
    ledger.start(campaign(budget=60.0, matures=100.0, holdout=0.1, explore=0.5))
    old = ledger.decide([ask(i, version="v1") for i in range(50)])
    paid = [a for a in old if a.treatment != "none"]
    ledger.outcomes([Outcome(a.id, a.id, cost=0.5, value=2.0) for a in paid[:5]])
    ledger.outcomes([Outcome(paid[5].id, "void", void=True)])
    clock.now += 50
    young = ledger.decide([ask(i) for i in range(50, 60)])
    ledger.outcomes([Outcome(young[0].id, "early", value=1.0)])
    clock.now += 60
    batches = list(trial_rows(ledger, "c"))
    table = pa.Table.from_batches(batches)
    pq.write_table(table, tmp_path / "log.parquet")
    rows = {row["decision"]: row for row in pq.read_table(tmp_path / "log.parquet").to_pylist()}
    expected = [a for a in old if not a.limited]
    assert any(a.limited for a in old)
    assert list(rows) == [a.id for a in expected]
    for a in expected:
        row = rows[a.id]
        reported = a in paid[:5]
        assert (row["unit"], row["treatment"], row["propensity"]) == (a.unit, a.treatment, a.propensity)
        assert (row["value"], row["cost"]) == ((2.0, 0.5) if reported else (0.0, 0.0))
        assert (row["kind"], row["price"], row["version"]) == (a.kind, 0.5, "v1")
        assert row["time"] == datetime.fromtimestamp(1000, UTC)
    assert rows[paid[5].id]["state"] == "voided"
    with pytest.raises(DataError, match="campaign == 'd'"):
        list(trial_rows(ledger, "d"))


def test_decisions_without_a_model_are_no_rows_of_the_trial(ledger: Ledger, clock: Clock):
    """They are control with probability 1: treatments that would have had a chance had none."""
    ledger.start(campaign(matures=10.0))
    ledger.decide([ask("u1"), ask("u2", value=[0.0] * 3, cost=[0.0] * 3, allowed=["none"], version=FALLBACK)])
    clock.now += 11
    assert [unit for batch in trial_rows(ledger, "c") for unit in batch.column("unit").to_pylist()] == ["u1"]
