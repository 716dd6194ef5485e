"""A challenger in the shadow: its answers are stored beside the decisions, compared with them, bounded, and erased."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.common.served import NORTH, Served, make_run, service

import sqlalchemy as sa  # isort: skip

from largesse.errors import DataError, StoreError  # isort: skip
from largesse.serving.http import shadows as module  # isort: skip
from largesse.serving.http.menus import load_run  # isort: skip
from largesse.serving.ledger.book import Ledger  # isort: skip
from largesse.serving.ledger.replaying import replay  # isort: skip
from largesse.serving.ledger.shadowing import shadowed  # isort: skip
from largesse.serving.ledger.store import reading  # isort: skip
from largesse.serving.ledger.tables import decisions, shadows  # isort: skip

DEAR = (0.0, 1.0, 10.0)


def challenge(one: Served, place: Path, **more: Any) -> str:
    run = make_run(place / "summer", cost=DEAR) if not (place / "summer").exists() else place / "summer"
    body = {"run": str(run), "shadow": True} | more
    return str(one.ask("PUT", "/v1/campaigns/spring/challenger", json=body).json()["version"])


def stored(ledger: Ledger) -> list[Any]:
    with reading(ledger.engine) as connection:
        return list(connection.execute(sa.select(shadows).order_by(shadows.c.place)).all())


def waited(one: Served, n: int) -> list[Any]:
    for _ in range(200):
        if len(rows := stored(one.app.service.ledger)) >= n:
            return rows
        time.sleep(0.05)
    raise AssertionError(f"{len(rows)} answers in the shadow, not {n}")


def dropped(one: Served) -> float:
    text = one.ask("GET", "/metrics", "report").text
    lines = [line for line in text.splitlines() if line.startswith("largesse_shadows_dropped_total{")]
    return sum(float(line.split()[-1]) for line in lines)


def test_answers_in_the_shadow_are_stored_and_not_given(store: str, tmp_path: Path):
    with service(tmp_path, server={"store": store}, budget=1e6, explore=0.5, matures=0.001) as one:
        before = one.decide("before").json()
        version = challenge(one, tmp_path)
        rows = [{"unit": f"u{k}", "features": NORTH | {"age": 20 + k % 40}} for k in range(60)]
        answers = one.ask("POST", "/v1/decisions:batch", "decide", json=rows).json()
        answers += [one.decide(f"v{k}", features=NORTH | {"age": 20 + k}).json() for k in range(20)]
        assert {a["version"] for a in answers} == {before["version"]}
        kept = one.decide("bound", allowed=["none", "gift"]).json()
        one.decide("bound", allowed=["none", "gift"])
        got = waited(one, 81)
        assert len(got) == 81, "one that is repeated is not answered again"
        assert {row.version for row in got} == {version}
        places = {int(a["id"][:16], 16): a for a in [*answers, kept]}
        assert set(places) == {row.place for row in got}
        ages = {f"u{k}": 20 + k % 40 for k in range(60)} | {f"v{k}": 20 + k for k in range(20)} | {"bound": 40}
        for row in got:  # by hand: a coupon costs 1 and brings age / 40, the gift 10 and 3 age / 40, at a price of 0.5
            unit, given = places[row.place]["unit"], places[row.place]["price"]
            net = [0.0, ages[unit] / 40 - given, 3 * ages[unit] / 40 - 10 * given]
            names = ("none", "gift") if unit == "bound" else ("none", "coupon", "gift")
            best = max(names, key=lambda name: (net[("none", "coupon", "gift").index(name)], name == "none"))
            assert row.treatment == best, unit
        outcomes = [
            {"decision": a["id"], "key": a["id"], "cost": a["cost"], "value": k % 5} for k, a in enumerate(answers)
        ]
        one.ask("POST", "/v1/outcomes", "decide", json=outcomes)
        ledger, run = one.app.service.ledger, load_run(tmp_path / "summer")
        done = shadowed(ledger, "spring")
        same = replay(ledger, "spring", lambda rows: run.menus([run.row(r) for r in rows]))
        assert (done.decisions, done.left_out) == (81, 1)
        assert same.decisions == 82
        assert sum(done.after.values()) == 81
        assert done.after["coupon"] == sum(row.treatment == "coupon" for row in got)
        costs = dict(zip(("none", "coupon", "gift"), DEAR, strict=True))
        assert done.cost_after == pytest.approx(np.mean([costs[row.treatment] for row in got]))
        assert done.value is not None
        assert same.value is not None
        # "before" adds a row to the replay: a unit without an outcome, which changes the sum by nothing.
        assert done.value.difference * done.judged == pytest.approx(same.value.difference * same.judged)
        # An erasure removes the answer in the shadow, too.
        assert one.ask("DELETE", "/v1/units/u5").json() == {"decisions": 1}
        gone = next(int(a["id"][:16], 16) for a in answers if a["unit"] == "u5")
        assert gone not in {row.place for row in stored(ledger)}
        assert shadowed(ledger, "spring", version=version).decisions == 80
        assert not ledger.verify().problems


def test_units_of_the_share_are_not_answered_again(tmp_path: Path):
    with service(tmp_path) as one:
        version = challenge(one, tmp_path, share=0.5)
        answers = [one.decide(f"u{k}").json() for k in range(20)]
        champion = [a for a in answers if a["version"] != version]
        assert len(waited(one, len(champion))) == len(champion)


def test_a_unit_that_was_erased_meanwhile_is_not_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_EVERY", 60.0)
    with service(tmp_path) as one:
        challenge(one, tmp_path)
        one.app.service.shadows._ending.set()  # its thread ends; the test does what it does
        one.decide("u1")
        one.decide("u2")
        one.ask("DELETE", "/v1/units/u1")
        one.app.service.shadows.flush()
        assert len(stored(one.app.service.ledger)) == 1


def test_what_waits_is_bounded_and_failures_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_EVERY", 60.0)
    with service(tmp_path, budget=1e6) as one:
        challenge(one, tmp_path)
        shadow = one.app.service.shadows
        shadow.most = 3
        assert [one.decide(f"u{k}").status_code for k in range(5)] == [200] * 5
        assert (len(shadow._waiting), dropped(one)) == (3, 2)

        def refuse(*_: Any) -> None:
            raise StoreError("the disk is full")

        monkeypatch.setattr(module, "keep_shadows", refuse)
        shadow.flush()
        assert (len(shadow._waiting), dropped(one)) == (0, 5)

        def fail(*_: Any) -> None:
            raise ValueError("the model fails")

        monkeypatch.setattr(module, "_answers", fail)
        assert one.decide("v").status_code == 200
        shadow.flush()
        assert dropped(one) == 6


def test_a_slow_challenger_does_not_slow_decisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A challenger that never answers: decisions are answered, and stored, while it waits."""
    going = threading.Event()
    monkeypatch.setattr(module, "_EVERY", 0.01)
    monkeypatch.setattr(module, "_answers", lambda part: going.wait(20) and [])
    with service(tmp_path, budget=1e6) as one:
        challenge(one, tmp_path)
        one.decide("first")
        time.sleep(0.1)
        start = time.monotonic()
        assert {one.decide(f"u{k}").json()["version"][:4] for k in range(50)} == {"run-"}
        assert time.monotonic() - start < 5
        going.set()


def test_a_challenger_must_be_named_where_several_answered(tmp_path: Path):
    with service(tmp_path) as one:
        ledger = one.app.service.ledger
        with pytest.raises(DataError, match="no challenger has answered in the shadow"):
            shadowed(ledger, "spring")
        versions = []
        for k, name in enumerate(("summer", "autumn")):
            run = make_run(tmp_path / name, cost=(*DEAR[:2], 9.0 + k))
            body = {"run": str(run), "shadow": True}
            versions.append(one.ask("PUT", "/v1/campaigns/spring/challenger", json=body).json()["version"])
            one.decide(f"u{k}")
            waited(one, k + 1)
        with pytest.raises(DataError, match="version: is missing, and 2 challengers answered: autumn-"):
            shadowed(ledger, "spring")
        with pytest.raises(DataError, match="version == 'x': has not answered in the shadow"):
            shadowed(ledger, "spring", version="x")
        assert shadowed(ledger, "spring", version=versions[0]).decisions == 1
        with pytest.raises(DataError, match="is not in this ledger"):
            shadowed(ledger, "winter")
        for unit in ("u0", "u1"):
            ledger.erase(unit)
        with pytest.raises(DataError, match="no challenger has answered"):
            shadowed(ledger, "spring")


def test_a_killed_worker_loses_answers_in_the_shadow_alone(tmp_path: Path):
    """Every decision that it answered is stored, once; what waited in its memory is not, and nothing waits for it."""
    script = f"""
import os, pathlib, signal
from largesse.serving.http import shadows
from tests.common.served import make_run, service
shadows._EVERY = 60.0
place = pathlib.Path({str(tmp_path)!r})
summer = str(make_run(place / "summer"))
with service(place, budget=1e6) as one:
    assert one.ask("PUT", "/v1/campaigns/spring/challenger", json={{"run": summer, "shadow": True}}).status_code == 200
    for k in range(5):
        print(one.decide(f"u{{k}}").json()["id"], flush=True)
    assert len(one.app.service.shadows._waiting) == 5
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parents[3],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    with Ledger.open(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        with reading(ledger.engine) as connection:
            ids = list(connection.execute(sa.select(decisions.c.id).order_by(decisions.c.place)).scalars())
        assert (ids, stored(ledger)) == (done.stdout.split(), [])
        assert ledger.verify().problems == []
        assert ledger.status("spring").decided == 5
