"""Decisions over HTTP, one or many: what is answered is what the rules say, once per unit and key, within the budget."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.common.served import COST, NORTH, TREATMENTS, VALUE, Served, make_run, service


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with service(tmp_path) as one:
        yield one


def test_the_answer_has_the_menu_the_probability_and_the_reason(served: Served):
    got = served.decide("u1").json()
    # At a price of 0.5 the net values are 0, 0.5 and 1; the gift stays best up to the price 2/3, where its step costs 2 / 3.
    assert (got["treatment"], got["kind"], got["propensity"]) == ("gift", "policy", 1.0)
    assert (got["value"], got["cost"], got["price"]) == (3.0, 4.0, 0.5)
    assert got["propensities"] == {"none": 0.0, "coupon": 0.0, "gift": 1.0}
    assert got["why"] == {
        "treatment": "gift",
        "runner_up": "coupon",
        "margin": 0.5,
        "switch_price": pytest.approx(2 / 3),
    }
    assert (got["unit"], got["campaign"], got["period"], got["limited"], got["repeated"]) == (
        "u1",
        "spring",
        0,
        False,
        False,
    )
    assert got["version"].startswith("run-")


def test_features_count(served: Served):
    old = served.decide("u1", features=NORTH | {"age": 20}).json()  # values 0, .5, 1.5: the gift is not worth 4 · 0.5
    assert (old["treatment"], old["value"]) == ("none", 0.0)
    south = served.decide("u2", features={"age": 20.0, "city": " south ", "since": None}).json()  # 0, .5, 2.5
    assert (south["treatment"], south["value"]) == ("gift", 2.5)


def test_the_same_unit_and_the_same_key_get_the_same_answer(served: Served):
    first = served.decide("u1", key="k").json()
    again = served.decide("u1", key="k").json()
    assert again == first | {"repeated": True}
    other = served.decide("u1", features=NORTH | {"age": 10}).json()
    assert other == first | {"repeated": True, "why": None}  # the stored decision rests on another menu
    conflict = served.decide("u2", key="k")
    assert (conflict.status_code, conflict.json()["type"]) == (409, "urn:largesse:problem:conflict")
    header = served.ask(
        "POST", "/v1/decisions", json={"unit": "u1", "features": NORTH}, headers={"idempotency-key": '"k"'}
    )
    assert header.json()["id"] == first["id"]


def test_only_what_is_allowed_is_given(served: Served):
    assert served.decide("u1", allowed=["none", "coupon"]).json()["treatment"] == "coupon"
    assert served.decide("u1", allowed=["none"]).status_code == 409
    refused = served.decide("u2", allowed=["coupon"]).json()
    assert refused["field"] == "allowed"
    assert "control" in refused["detail"]


def test_the_budget_holds(tmp_path: Path):
    with service(tmp_path, budget=10.0) as one:
        got = [one.decide(f"u{k}").json() for k in range(6)]
        assert [a["treatment"] for a in got] == ["gift", "gift", "coupon", "coupon", "none", "none"]
        assert [a["limited"] for a in got] == [False, False, True, True, True, True]
        status = one.ask("GET", "/v1/campaigns/spring", "report").json()
        assert (status["reserved"], status["spent"], status["left"]) == (10.0, 0.0, 0.0)


def test_many_at_once_are_decided_once_each(served: Served):
    with ThreadPoolExecutor(8) as pool:
        got = [one.json() for one in pool.map(lambda k: served.decide(f"u{k % 20}"), range(100))]
    assert len({a["id"] for a in got}) == 20
    assert sum(not a["repeated"] for a in got) == 20


ROWS = [{"unit": f"u{k}", "features": NORTH | {"age": 40 if k % 2 else 20}, "key": f"k{k}"} for k in range(1200)]
TREATED = ["gift" if k % 2 else "none" for k in range(1200)]


@pytest.fixture
def rich(tmp_path: Path) -> Iterator[Served]:
    with service(tmp_path, budget=100_000.0) as one:
        yield one


def test_a_batch_as_a_list_and_as_lines(rich: Served):
    listed = rich.ask("POST", "/v1/decisions:batch", "decide", json=ROWS)
    assert listed.status_code == 200
    assert [a["treatment"] for a in listed.json()] == TREATED
    lines = "\n".join(map(json.dumps, ROWS)) + "\n\n"
    again = rich.ask(
        "POST", "/v1/decisions:batch", "decide", content=lines, headers={"content-type": "application/x-ndjson"}
    )
    assert again.headers["content-type"] == "application/x-ndjson"
    got = [json.loads(line) for line in again.text.splitlines()]
    assert got == [a | {"repeated": True} for a in listed.json()]


def test_one_refused_unit_does_not_affect_the_others(rich: Served):
    rows: list[Any] = [
        ROWS[0],
        {"unit": 1},
        {"unit": "x", "features": {"age": "old"}},
        3,
        ROWS[1] | {"campaign": "summer"},
        ROWS[1],
    ]
    got = rich.ask("POST", "/v1/decisions:batch", "decide", json=rows)
    assert got.status_code == 207
    assert [a.get("status") for a in got.json()] == [None, 422, 422, 422, 404, None]
    assert [a["treatment"] for a in (got.json()[0], got.json()[-1])] == TREATED[:2]


def test_a_batch_in_arrow(rich: Served):
    import pyarrow as pa

    table = pa.table({
        "unit": [row["unit"] for row in ROWS], "key": [row["key"] for row in ROWS],
        "age": pa.array([row["features"]["age"] for row in ROWS], pa.float64()), "city": pa.array(["north"] * 1200),
        "since": pa.array([20_454] * 1200, pa.date32()),
    })  # fmt: skip
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=500)
    kind = {"content-type": "application/vnd.apache.arrow.stream"}
    got = rich.ask("POST", "/v1/decisions:batch", "decide", content=sink.getvalue(), headers=kind)
    assert got.status_code == 200
    answered = pa.ipc.open_stream(got.content).read_all()
    assert answered["treatment"].to_pylist() == TREATED
    assert answered["unit"].to_pylist() == [row["unit"] for row in ROWS]
    assert set(answered["problem"].to_pylist()) == {None}
    for body in (b"", b"no arrow", sink.getvalue()[:200]):
        assert rich.ask("POST", "/v1/decisions:batch", "decide", content=body, headers=kind).status_code in (400, 422)


class Broken:
    """A policy whose model waits, or fails."""

    def __init__(self, loaded: Any) -> None:
        self.loaded, self.waits = loaded, threading.Event()
        self.fails: Exception | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loaded, name)

    def tables(self, feed: Any) -> Any:
        if self.fails is not None:
            raise self.fails
        self.waits.wait(5)
        return self.loaded.tables(feed)


def breaking(one: Served) -> Broken:
    inner = one.app.service._served["spring"]
    broken = Broken(inner.loaded)
    one.app.service._served = {"spring": inner._replace(loaded=broken)}
    return broken


def test_a_model_that_fails_gives_control_and_says_so(tmp_path: Path):
    with service(tmp_path, explore=0.5, holdout=0.1) as one:
        kept = one.decide("u0").json()
        broken = breaking(one)
        broken.fails = RuntimeError("out of memory")
        for k in range(1, 20):
            got = one.decide(f"u{k}", key=f"k{k}").json()
            assert (got["treatment"], got["version"], got["why"]) == ("none", "fallback", None)
            assert got["propensities"] == {"none": 1.0, "coupon": 0.0, "gift": 0.0}  # whatever was drawn
        assert one.decide("u0").json()["treatment"] == kept["treatment"], "a decided unit keeps its treatment"
        broken.fails, again = None, got
        broken.waits.set()
        assert one.decide("u19", key="k19").json() == again | {"repeated": True}


def test_a_model_that_is_late_gives_control_within_the_deadline(tmp_path: Path):
    with service(tmp_path, server={"deadline": 0.1}) as one:
        broken = breaking(one)
        with ThreadPoolExecutor(4) as pool:
            got = [a.json() for a in pool.map(lambda k: one.decide(f"u{k}"), range(4))]
        assert {(a["treatment"], a["version"]) for a in got} == {("none", "fallback")}
        assert not broken.waits.is_set()
        broken.waits.set()
        later = one.decide("u9").json()
        assert (later["treatment"], later["version"]) == ("gift", broken.version)
        counts = one.ask("GET", "/v1/campaigns/spring", "report").json()["counts"]
        assert counts == {"policy": {"none": 4, "gift": 1}}, "nobody is decided twice"


def test_a_slow_store_is_no_late_model(tmp_path: Path):
    with service(tmp_path, server={"deadline": 0.05}) as one:
        decide = one.app.service.ledger.decide

        def slowly(asks: Any) -> Any:
            time.sleep(0.4)
            return decide(asks)

        one.app.service.ledger.decide = slowly
        with ThreadPoolExecutor(4) as pool:
            got = [a.json() for a in pool.map(lambda k: one.decide(f"u{k}"), range(8))]
        assert {(a["treatment"], a["version"] == "fallback") for a in got} == {("gift", False)}


def test_too_many_waiting_are_sent_away(tmp_path: Path):
    with service(tmp_path, server={"deadline": 3.0, "queue": 1}) as one:
        broken = breaking(one)
        with ThreadPoolExecutor(6) as pool:
            waiting = [pool.submit(one.decide, f"u{k}") for k in range(6)]
            time.sleep(0.5)
            broken.waits.set()
            answers = [each.result(10) for each in waiting]
        assert sorted({a.status_code for a in answers}) == [200, 503]
        assert {a.headers["retry-after"] for a in answers if a.status_code == 503} == {"1"}


def test_another_run_takes_over(served: Served, tmp_path: Path):
    before = served.decide("u1").json()
    cheap = make_run(tmp_path / "summer", cost=(0.0, 1.0, 1.5))
    other = make_run(tmp_path / "other", treatments=("none", "a", "b"))
    refused = served.ask("PUT", "/v1/campaigns/spring/policy", json={"run": str(other)})
    assert (refused.status_code, refused.json()["field"]) == (422, "run")
    assert served.ask("PUT", "/v1/campaigns/spring/policy", json={"run": str(tmp_path / "no")}).status_code == 422
    changed = served.ask("PUT", "/v1/campaigns/spring/policy", json={"run": str(cheap)}).json()
    assert changed["version"].startswith("summer-")
    after = served.decide("u2").json()
    assert (after["cost"], after["version"]) == (1.5, changed["version"])
    assert served.decide("u1").json() == before | {"repeated": True, "why": None}


def test_menus_by_hand():
    assert VALUE[2] - 0.5 * COST[2] > VALUE[1] - 0.5 * COST[1] > 0
    assert TREATMENTS[0] == "none"


def test_a_key_stands_for_the_request_as_it_was_sent(served: Served):
    """Also for features that the policy does not read: another run may read them."""
    first = served.decide("key-1", features=NORTH | {"other": 1}, key="as sent").json()
    again = served.decide("key-1", features=NORTH | {"other": 1}, key="as sent").json()
    assert (again["id"], again["repeated"]) == (first["id"], True)
    assert served.decide("key-1", features=NORTH | {"other": 2}, key="as sent").status_code == 409
