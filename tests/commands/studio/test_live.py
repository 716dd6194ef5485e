"""A campaign in service, as the studio reads it: the numbers of the ledger, the monitor and promote; what its buttons change."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.common.challenged import DAY, START, World
from tests.common.served import TREATMENTS, make_run

from largesse.commands.promote import history, promote  # isort: skip
from largesse.commands.studio import live  # isort: skip
from largesse.commands.studio.live import BACK, DO, END, InService  # isort: skip
from largesse.errors import DataError, StoreError  # isort: skip
from largesse.serving import Ask, Campaign, Ledger, monitor  # isort: skip
from largesse.serving.http.menus import load_run  # isort: skip
from largesse.serving.http.service import Service, put_run  # isort: skip
from largesse.serving.http.settings import ServerSettings  # isort: skip
from largesse.serving.ledger.runs import by_run  # isort: skip
from tests.common.ledgers import Clock  # isort: skip

NOW = START + 14.5 * DAY


def dump(world: World) -> list[str]:
    """All that a store holds."""
    with sqlite3.connect(world.store.removeprefix("sqlite:///")) as connection:
        return list(connection.iterdump())


def opened(world: World) -> InService:
    return InService(world.store, clock=Clock(NOW))


def act(service: InService, what: str) -> None:
    service.act("spring", what, service.now("spring").stamp)


def test_its_numbers_are_those_of_the_ledger_the_monitor_and_promote_and_reading_changes_nothing(tmp_path):
    world = World(tmp_path, gift=10.0)
    before = dump(world)
    service = opened(world)
    now, watched = service.now(), service.watched("spring")
    service.close()
    assert dump(world) == before
    with Ledger.open(world.store, clock=Clock(NOW)) as ledger:
        assert now.status == ledger.status("spring")
        assert watched.monitored == monitor(ledger, "spring")
        assert list(watched.runs) == by_run(ledger, "spring")
    assert watched.planned == promote(world.store, dry_run=True)
    assert list(now.journal) == history(world.store)
    assert now.plan == pytest.approx(1e6 * 14.5 / 30)
    assert now.pace.number == pytest.approx((now.status.spent + now.status.expected) / 1e6 - 14.5 / 30)
    assert (now.decides.version, now.tried.version) == world.versions
    assert (now.tried.share, now.decides.features, now.before, now.sharers) == (0.3, True, None, ())


def test_the_lift_by_day_ends_with_the_signal_of_the_monitor(tmp_path):
    watched = opened(World(tmp_path, gift=10.0)).watched("spring").monitored
    (lift,) = (one for one in watched.signals if one.name == "value per unit, beyond the holdout")
    last = list(watched.day_lift.values())[-1]
    assert (last.estimate, last.lower, last.upper, last.t) == (lift.number, lift.low, lift.high, lift.rests_on)
    assert list(watched.day_lift) == list(watched.day_spend)
    widths = [one.upper - one.lower for one in watched.day_lift.values() if one.upper < float("inf")]
    assert widths[-1] < widths[0]
    rows = [one.t for one in watched.day_lift.values()]
    assert rows == sorted(rows)


def test_what_the_evidence_supports_is_done_and_the_journal_says_who_and_why(tmp_path):
    world = World(tmp_path, gift=10.0)
    service = opened(world)
    assert service.watched("spring").planned.action == "promoted"
    act(service, DO)
    decides, tried = world.rows()
    assert (decides.version, tried) == (world.versions[1], None)
    run, ended = history(world.store)[-2:]
    assert (run.field, run.after["by"], run.after["version"]) == ("run", "studio", world.versions[1])
    assert "it is better" in run.after["why"]
    assert (ended.field, ended.after["version"], ended.after["by"]) == ("challenger", None, "studio")
    assert service.now().decides.version == world.versions[1]
    assert service.watched("spring").planned is None  # looked at anew


def test_a_challenger_is_ended(tmp_path):
    world = World(tmp_path, gift=10.0, days=1, n=8)
    service = opened(world)
    act(service, END)
    assert world.rows()[1] is None
    last = history(world.store)[-1]
    assert (last.field, last.after) == ("challenger", {"version": None, "why": "ended by hand", "by": "studio"})
    with pytest.raises(DataError, match="no challenger is tried"):
        act(service, END)


def decided(world: World, unit: str) -> tuple[str, str]:
    """What a server gives a unit at a price of 0.5, and the version that decides: it follows the store first."""
    ledger = Ledger.open(world.store, clock=Clock(NOW))
    service = Service(ledger, ServerSettings(store=world.store, keys=False, log="error"), ("spring",))
    service.follow()
    run = service.served("spring").loaded
    value, cost = run.menus([run.row({"age": 40.0, "city": "north", "since": None})])
    answers = ledger.decide([Ask("spring", unit, value=value[0], cost=cost[0], version=run.version)])
    ledger.close()
    return answers[0].treatment, answers[0].version  # type: ignore[union-attr]


def test_the_run_before_decides_again(tmp_path, monkeypatch):
    world = World(tmp_path, gift=10.0)
    service = opened(world)
    spring, summer = world.versions
    act(service, DO)
    units = [f"late {k}" for k in range(40)]
    given = [decided(world, unit) for unit in units[:20]]
    assert {version for _, version in given} == {summer}
    assert sum(one == "coupon" for one, _ in given) > 10  # the gift costs 10 by summer: it does not pay
    assert service.now().before.version == spring
    act(service, BACK)
    given = [decided(world, unit) for unit in units[20:]]
    assert {version for _, version in given} == {spring}
    assert sum(one == "gift" for one, _ in given) > 10
    last = history(world.store)[-1]
    assert (last.field, last.before["version"], last.after["version"]) == ("run", summer, spring)
    assert last.after["by"] == "studio"
    assert f"back from {summer} to the run before" in last.after["why"]
    assert world.rows()[0].features == 1
    assert service.now().before.version == summer  # and forth


def test_the_run_before_is_tried_no_longer_once_it_decides(tmp_path):
    world = World(tmp_path, gift=10.0, days=1, n=8)
    with Ledger.open(world.store) as ledger:
        put_run(ledger.engine, "spring", load_run(world.summer), features=True, now=START)
        put_run(ledger.engine, "spring", load_run(world.spring), features=True, now=START)
    act(opened(world), BACK)
    decides, tried = world.rows()
    assert (decides.version, tried) == (world.versions[1], None)
    assert [one.after.get("why", "")[:5] for one in history(world.store)[-2:]] == ["it de", "back "]


def refused(world: World, what: str, words: str, kind: type[Exception] = DataError, **more: Any) -> None:
    before = dump(world)
    with pytest.raises(kind, match=words):
        act(opened(world), what)
    assert dump(world) == before


def test_what_cannot_be_done_is_refused_and_changes_nothing(tmp_path):
    world = World(tmp_path, gift=10.0, days=1, n=8)
    refused(world, BACK, "no other run decided before")
    refused(world, "sell", "must be one of")
    with pytest.raises(DataError, match="was changed since the page was shown"):
        opened(world).act("spring", END, "an old page")
    with Ledger.open(world.store) as ledger:
        put_run(ledger.engine, "spring", load_run(world.summer), features=True, now=START)
    shutil.move(world.spring, tmp_path / "elsewhere")
    assert not opened(world).now().before.here
    refused(world, BACK, "no such file|no such folder|is not", StoreError)
    make_run(world.spring, price=0.7)
    refused(world, BACK, f"holds spring-.* now, and {world.versions[0]} decided before")


def test_a_run_that_decides_and_is_gone_can_be_left(tmp_path):
    world = World(tmp_path, gift=10.0, days=1, n=8)
    with Ledger.open(world.store) as ledger:
        put_run(ledger.engine, "spring", load_run(world.summer), features=True, now=START)
    shutil.rmtree(world.summer)
    service = opened(world)
    assert not service.now().decides.here
    watched = service.watched("spring")
    assert any("the folder of the run is not here" in one for one in watched.monitored.not_watched)
    assert watched.planned is None
    assert str(world.summer) in watched.no_plan
    act(service, BACK)
    assert world.rows()[0].version == world.versions[0]


def test_a_look_is_kept_for_half_a_minute_and_while_another_one_runs(tmp_path, monkeypatch):
    service, looks, time = opened(World(tmp_path, gift=10.0, days=1, n=8)), [], [0.0]
    waits, goes = threading.Event(), threading.Event()
    real = live.monitor

    def counted(*args: Any, **more: Any) -> Any:
        looks.append(1)
        if len(looks) == 2:
            waits.set()
            goes.wait(20)
        return real(*args, **more)

    monkeypatch.setattr(live, "monitor", counted)
    monkeypatch.setattr(live.time, "monotonic", lambda: time[0])
    first = service.watched("spring")
    time[0] = 29.0
    assert service.watched("spring") is first
    time[0] = 31.0
    other = threading.Thread(target=service.watched, args=("spring",))
    other.start()
    assert waits.wait(20)
    assert service.watched("spring", patience=5.0) is first  # not a second look beside the one that runs
    goes.set()
    other.join()
    assert len(looks) == 2
    assert service.watched("spring") is not first
    assert len(looks) == 2


def test_the_first_look_is_waited_for_as_long_as_asked(tmp_path, monkeypatch):
    service, goes = opened(World(tmp_path, gift=10.0, days=1, n=8)), threading.Event()
    real = live.monitor

    def slow(*args: Any, **more: Any) -> Any:
        goes.wait(20)
        return real(*args, **more)

    monkeypatch.setattr(live, "monitor", slow)
    assert service.watched("spring", patience=0.05) is None
    goes.set()
    assert service.watched("spring").monitored is not None


def test_what_goes_wrong_in_a_look_is_raised_once_and_the_next_one_is_fresh(tmp_path, monkeypatch):
    service = opened(World(tmp_path, gift=10.0, days=1, n=8))

    def fails(*_: Any) -> Any:
        raise StoreError("the store failed")

    with monkeypatch.context() as patched:
        patched.setattr(live, "by_run", fails)
        with pytest.raises(StoreError, match="the store failed"):
            service.watched("spring")
    assert service.watched("spring").runs


def test_a_store_that_cannot_be_used(tmp_path):
    with pytest.raises(StoreError, match="is not there"):
        InService(f"sqlite:///{tmp_path}/none.db").now()
    assert not (tmp_path / "none.db").exists()
    (tmp_path / "words.db").write_text("no database at all, only words" * 100)
    with pytest.raises(StoreError):
        InService(f"sqlite:///{tmp_path}/words.db").now()
    Ledger.open(f"sqlite:///{tmp_path}/empty.db").close()
    with pytest.raises(DataError, match="none yet"):
        InService(f"sqlite:///{tmp_path}/empty.db").now()
    world = World(tmp_path, gift=10.0, days=1, n=8)
    with pytest.raises(DataError, match=r"campaign == 'autumn': is not in the ledger. It has 'spring'"):
        opened(world).now("autumn")


def test_a_file_that_is_replaced_is_read_anew(tmp_path):
    world = World(tmp_path, gift=10.0, days=1, n=8)
    service = opened(world)
    place = Path(world.store.removeprefix("sqlite:///"))
    assert service.now().status.decided == 8
    for name in ("-wal", "-shm"):
        Path(f"{place}{name}").unlink(missing_ok=True)
    place.rename(tmp_path / "old.db")
    with pytest.raises(StoreError, match="is not there"):
        service.now()
    with Ledger.open(world.store, clock=Clock(NOW)) as ledger:
        ledger.start(Campaign(name="new", treatments=TREATMENTS, budget=5.0, until=NOW + DAY, price=1.0))
    assert service.now().names == ("new",)


def test_campaigns_without_a_run_decisions_or_features(tmp_path):
    store, clock = f"sqlite:///{tmp_path}/a.db", Clock(START)
    with Ledger.open(store, clock=clock) as ledger:
        parts = [
            Campaign(name=name, treatments=TREATMENTS, budget=part, until=START + 9 * DAY, price=0.5, matures=60)
            for name, part in (("app", 2.0), ("mail", 1.0))
        ]
        ledger.share("growth", 300.0, parts)
        ledger.decide([Ask("mail", f"u{k}", value=[0, 1, 2], cost=[0, 1, 2]) for k in range(5)])
        clock.now += DAY
        service = InService(store, clock=clock)
        assert service.now().names == ("app", "mail")
        app, mail = service.now("app"), service.now("mail")
        assert (app.status.decided, app.decides, app.sharers) == (0, None, ("app", "mail"))
        assert app.status.joint_budget == 300.0
        assert app.pace.number is None
        watched = service.watched("app")
        assert watched.monitored == monitor(ledger, "app")
        assert (watched.runs, watched.planned, watched.no_plan) == ((), None, "")
        assert service.watched("mail").monitored == monitor(ledger, "mail")
        assert mail.status.decided == 5


def test_a_challenger_without_features(tmp_path):
    world = World(tmp_path, gift=10.0, days=1, n=8)
    with sqlite3.connect(world.store.removeprefix("sqlite:///")) as connection:
        connection.execute("update largesse_decision set features = null")
    watched = opened(world).watched("spring")
    assert watched.planned is None
    assert "Serve with features = true" in watched.no_plan
