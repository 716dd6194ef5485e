"""Batches that are decided as columns: the same answers, the same log and the same refusals as one unit after the other."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.common.served import NORTH, Served, service

from largesse.serving.http import listed  # isort: skip

pa = pytest.importorskip("pyarrow")
ARROW = {"content-type": "application/vnd.apache.arrow.stream"}
DRAWS = {"budget": 600.0, "explore": 0.4, "holdout": 0.2, "features": True}


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[Served, Served]]:
    """Two services of the same campaign; their draws are the same."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    with service(tmp_path / "a", **DRAWS) as first, service(tmp_path / "b", **DRAWS) as second:
        yield first, second


def rows(seed: int, n: int) -> list[dict[str, Any]]:
    """Units of which some come twice, some with keys, some with cells that are missing."""
    rng, out = np.random.default_rng(seed), list[dict[str, Any]]()
    for k in range(n):
        cells = {
            "age": None if rng.random() < 0.1 else int(rng.integers(1, 90)), "since": "2026-01-01",
            "city": [None, "north", " north ", "south"][rng.integers(4)],
        }  # fmt: skip
        one = {"unit": f"{seed}-{rng.integers(n)}", "features": cells}
        out.append(one | {"key": f"{seed}-{k}"} if rng.random() < 0.5 else one)
    return out


def stream(given: list[dict[str, Any]], **columns: Any) -> bytes:
    table = pa.table(
        {"unit": [one["unit"] for one in given], "key": [one.get("key") for one in given]}
        | {
            "age": pa.array([one["features"]["age"] for one in given], pa.int32()),
            "city": [one["features"]["city"] for one in given],
            "since": pa.array([20_454] * len(given), pa.int32()).cast(pa.date32()),
        }
        | columns
    )
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def batch(one: Served, given: Any, **more: Any) -> Any:
    if isinstance(given, bytes):
        return one.ask("POST", "/v1/decisions:batch", "decide", content=given, headers=ARROW)
    return one.ask("POST", "/v1/decisions:batch", "decide", json=given, **more)


def without_id(answers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: cell for name, cell in one.items() if name not in ("id", "instance")} for one in answers]


def log(one: Served) -> list[Any]:
    engine = one.app.service.ledger.engine
    names = "unit, period, treatment, kind, version, price, reservation, limited, propensities, menu, features, state"
    with engine.connect() as connection:
        return [
            tuple(row) for row in connection.exec_driver_sql(f"select {names} from largesse_decision order by number")
        ]


def test_a_list_is_decided_as_one_unit_after_the_other(two: tuple[Served, Served]):
    first, second = two
    for seed in range(3):  # the last meets a budget that limits
        given = rows(seed, 200)
        together = batch(first, given)
        singly = [second.ask("POST", "/v1/decisions", "decide", json=one).json() for one in given]
        assert without_id(together.json()) == without_id(singly)
    assert log(first) == log(second)
    assert any(row[7] for row in log(first)), "the budget limited some"
    assert first.app.service.ledger.verify().problems == []


def test_json_is_read_as_columns(two: tuple[Served, Served], monkeypatch: Any):
    """With missing cells, dates as text and keys; else the comparison above would be of one way with itself."""
    first, second = two
    sizes, real = list[int](), listed.alike_of
    monkeypatch.setattr(
        listed, "alike_of", lambda find, some: [got := real(find, some), sizes.append(len(got.units))][0]
    )
    for seed in (5, 6):
        given = [one | {"campaign": None} for one in rows(seed, 80)]
        for k, one in enumerate(given[:60]):
            one["features"] |= {"since": [None, "2026-02-03", 20_000][k % 3]}
        given += [one | {"unit": f"more {seed} {k}", "key": None} for k, one in enumerate(given[:20])]
        if seed == 5:
            answers = batch(first, given).json()
        else:
            text, lines = "\n".join(map(json.dumps, given)), {"content-type": "application/x-ndjson"}
            got = first.ask("POST", "/v1/decisions:batch", "decide", content=text, headers=lines)
            answers = [json.loads(line) for line in got.text.splitlines()]
        singly = [second.ask("POST", "/v1/decisions", "decide", json=one).json() for one in given]
        assert without_id(answers) == without_id(singly)
    assert sizes == [100, 100]
    assert log(first) == log(second)
    assert first.app.service.ledger.verify().problems == []


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"features": {"age": "forty", "city": "north", "since": None}}, "age"), ({"unit": ""}, "unit"),
    ({"features": {"age": 40, "city": True, "since": None}}, "city"), ({"features": {"age": 40, "city": "north"}}, "since"),
    ({"features": {"age": 40, "city": "north", "since": "soon"}}, "since"), ({"campaign": "summer"}, "campaign"),
    ({"allowed": []}, "allowed"), ({"more": 1}, ""),
]  # fmt: skip


def test_what_is_refused_in_a_list_fails_alone(tmp_path: Path):
    with service(tmp_path, **DRAWS) as one:
        for change, field in WRONG:
            given: list[dict[str, Any]] = [{"unit": f"{field} {k}", "features": NORTH} for k in range(3)]
            given[1] |= change
            got = batch(one, given)
            answers = got.json()
            assert (got.status_code, [a.get("status") for a in answers][::2]) == (207, [None, None])
            assert answers[1]["status"] >= 400
            assert field in answers[1]["detail"]


def test_many_requests_at_once_are_decided_as_one_after_the_other(two: tuple[Served, Served], monkeypatch: Any):
    first, second = two
    decisions, sizes = first.app.service.decisions, list[int]()
    real = decisions.together
    monkeypatch.setattr(decisions, "together", lambda some, *menus: sizes.append(len(some)) or real(some, *menus))
    for seed in range(3):
        given = rows(seed, 50)
        headers = {"authorization": f"Bearer {first.keys['decide']}"}

        async def every(given: Any = given, headers: Any = headers) -> list[Any]:
            post = first.client._client.post
            return await asyncio.gather(*(post("/v1/decisions", json=one, headers=headers) for one in given))

        together = [got.json() for got in first.client.do(every())]
        singly = [second.ask("POST", "/v1/decisions", "decide", json=one).json() for one in given]
        assert without_id(together) == without_id(singly)
    assert log(first) == log(second)
    assert sum(sizes) > 100
    names = ("largesse_decisions_total", "largesse_fallbacks_total")
    counts = [
        sorted(line for line in one.ask("GET", "/metrics").text.splitlines() if line.startswith(names)) for one in two
    ]
    assert counts[0] == counts[1] != []


def test_arrow_is_decided_as_a_list(two: tuple[Served, Served]):
    first, second = two
    for seed in range(3):
        given = rows(seed, 200)
        listed, table = batch(first, given).json(), pa.ipc.open_stream(batch(second, stream(given)).content).read_all()
        for name in set(table.column_names) - {"id", "problem"}:
            assert table[name].to_pylist() == [one[name] for one in listed], name
    assert log(first) == log(second)
    # A key of the one form is known in the other.
    again = pa.ipc.open_stream(batch(first, stream(rows(2, 200))).content).read_all()
    assert set(again["problem"].to_pylist()) == {None}
    assert set(again["repeated"].to_pylist()) == {True}


def test_a_key_stands_for_the_same_features_in_each_form(two: tuple[Served, Served]):
    """Whatever the names of columns are, and columns that the policy does not read included."""
    names = ['a "b"', "tab\t", "é", "line\nbreak"]
    given: list[Any] = [
        {"unit": f"u{k}", "key": f"k{k}", "features": {"age": 40, "city": 'a\n"b"', "since": "2026-01-01"}}
        for k in range(30)
    ]
    got = pa.ipc.open_stream(batch(two[0], stream(given, **{name: ["x\ny"] * 30 for name in names})).content).read_all()
    for one in given:
        one["features"] |= dict.fromkeys(names, "x\ny")
    answers = batch(two[0], given).json()
    assert [one["id"] for one in answers] == got["id"].to_pylist()


@pytest.mark.parametrize(
    ("columns", "place", "field"),
    [
        ({"unit": ["u", None, "w"]}, 1, "unit"), ({"age": [1.0, 2.0, float("inf")]}, 2, "age"),
        ({"unit": ["u", "", "w"]}, 1, "unit"),
        ({"campaign": ["spring", "spring", "summer"]}, 2, "campaign"), ({"key": ["k", "k", None]}, 1, "key"),
    ],
)  # fmt: skip
def test_what_is_refused_in_arrow_fails_alone(
    two: tuple[Served, Served], columns: dict[str, Any], place: int, field: str
):
    given = [{"unit": f"u{k}", "features": {"age": 40, "city": "north"}} for k in range(3)]
    got = batch(two[0], stream(given, **columns))
    assert got.status_code == 207
    problems = pa.ipc.open_stream(got.content).read_all()["problem"].to_pylist()
    assert [k for k, problem in enumerate(problems) if problem is not None] == [place]
    assert problems[place].startswith(field)


@pytest.mark.parametrize(
    "columns",
    [
        {"age": pa.array([40, 40, 40], pa.float32())}, {"city": pa.array(["north"] * 3).dictionary_encode()},
        {"unit": [7, 8, 9]}, {"since": pa.array([20_454 * 86_400_000] * 3, pa.int64()).cast(pa.timestamp("ms"))},
        {"city": pa.array(["north"] * 3, pa.large_string())}, {"campaign": ["spring"] * 3},
    ],
)  # fmt: skip
def test_other_types_of_columns(two: tuple[Served, Served], columns: dict[str, Any]):
    given = [{"unit": f"u{k}", "features": {"age": 40, "city": "north"}} for k in range(3)]
    got = pa.ipc.open_stream(batch(two[0], stream(given, **columns)).content).read_all()
    assert got["problem"].to_pylist() == [None] * 3
    assert {round(v, 6) for v in got["value"].to_pylist()} <= {0.0, 1.0, 3.0}


@pytest.mark.parametrize("form", ["list", "arrow"])
def test_a_model_that_fails_for_a_batch_is_asked_for_each_unit(tmp_path: Path, form: str, monkeypatch: Any):
    with service(tmp_path, budget=1e5) as one:
        loaded = one.app.service._served["spring"].loaded
        real = type(loaded).tables

        def failing(self: Any, feed: Any) -> Any:
            if any(
                np.nan_to_num(cells[:, 0].astype(float)).max() == 66 for cells in feed.values() if cells.dtype != object
            ):
                raise RuntimeError("no such age")
            return real(self, feed)

        monkeypatch.setattr(type(loaded), "tables", failing)
        given = [{"unit": f"u{k}", "features": NORTH | {"age": 66 if k == 3 else 40}} for k in range(40)]
        got = (
            batch(one, given).json()
            if form == "list"
            else pa.ipc.open_stream(batch(one, stream(given)).content).read_all()
        )
        versions = [a["version"] for a in got] if form == "list" else got["version"].to_pylist()
        assert [k for k, version in enumerate(versions) if version == "fallback"] == [3]


def test_an_empty_batch_is_refused(two: tuple[Served, Served]):
    assert batch(two[0], []).status_code == 422
    assert batch(two[0], stream([])).status_code == 422


def test_the_metrics_count_new_decisions(two: tuple[Served, Served]):
    given = [{"unit": f"u{k % 30}", "features": NORTH} for k in range(60)]
    batch(two[0], given)
    batch(two[0], given)
    counts = two[0].ask("GET", "/v1/campaigns/spring", "report").json()["counts"]
    text = two[0].ask("GET", "/metrics", "report").text
    got = {}
    for line in text.splitlines():
        if line.startswith("largesse_decisions_total{"):
            labels = dict(
                json.loads(part.replace("=", '":', 1).join(['{"', "}"])).popitem()
                for part in line[25:].split("}")[0].split(",")
            )
            got.setdefault(labels["kind"], {})[labels["treatment"]] = float(line.split()[-1])
    assert got == counts
    assert sum(n for by in counts.values() for n in by.values()) == 30


@pytest.mark.parametrize("form", ["list", "arrow"])
def test_batches_at_once_decide_each_unit_once(tmp_path: Path, form: str):
    """Large ones, of which every two have units in common, and single decisions of these units beside them."""
    many = [one | {"unit": str(k)} for k, one in enumerate(rows(7, 900))]
    for one in many:
        one.pop("key", None)
    parts = [many[:600], many[300:], many[:300] + many[600:]]
    with service(tmp_path, **(DRAWS | {"budget": 1500.0})) as one, ThreadPoolExecutor(6) as threads:
        content = [stream(part) if form == "arrow" else part for part in parts]
        several = [threads.submit(batch, one, body) for body in content]
        single = [threads.submit(one.ask, "POST", "/v1/decisions", "decide", json=many[k]) for k in range(0, 900, 90)]
        assert {got.result().status_code for got in (*several, *single)} == {200}
        answers = list[dict[str, Any]]()
        for got in several:
            content = (
                pa.ipc.open_stream(got.result().content).read_all().to_pylist()
                if form == "arrow"
                else got.result().json()
            )
            answers += content
        answers += [got.result().json() for got in single]
        assert len(answers) == 1810
        assert len({(a["unit"], a["id"], a["treatment"], a["propensity"]) for a in answers}) == 900
        assert sum(not a["repeated"] for a in answers) == 900
        ledger = one.app.service.ledger
        assert ledger.verify().problems == []
        (name,) = one.app.service.names
        assert ledger.status(name).reserved <= 1500.0
