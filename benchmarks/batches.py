"""What a unit of a batch costs, part by part, and the rates of batches over HTTP; writes docs/benchmarks/batches.md.

python -m benchmarks batches
python -m benchmarks batches --table      # the page of what was measured
"""

from __future__ import annotations

import io
import json
import statistics
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from benchmarks.cells import machine, single
from benchmarks.service.bulk import Bulk, bulk
from benchmarks.service.server import CONFIG, Server, Terms, features, make_run
from benchmarks.suite.summary import table
from largesse.serving.draws import KINDS, Draws, ManyDraws
from largesse.serving.http import arrow
from largesse.serving.http.app import rare_collections
from largesse.serving.http.batch import PART, Batches
from largesse.serving.http.begin import begin, make_service
from largesse.serving.http.hot import body_of
from largesse.serving.http.service import Service
from largesse.serving.http.settings import load_settings
from largesse.serving.http.together import Alike, Decided, documents
from largesse.serving.ledger.deciding import Many, ready_for
from largesse.serving.ledger.packing import Packed, Stored, insert, packed_columns
from largesse.serving.ledger.store import writing
from largesse.serving.ledger.tables import decisions

N, SIZES, ROUNDS = 20_000, (1_000, 10_000), 3
WORKERS, FLYING, BULK, BODY = (1, 2), (1, 2, 4), 100_000, 10_000  # of batches over HTTP: units in all, and of a body
FORMS = {"JSON list": "application/json", "JSON lines": "application/x-ndjson",
         "Arrow": "application/vnd.apache.arrow.stream"}  # fmt: skip
BARS = {"Arrow": 500_000, "JSON list": 100_000}
"""Units a second that the service is to reach."""


def timed(task: Callable[[], Any]) -> float:
    """Returns the processor time of a task, in microseconds a unit."""
    start = time.process_time()
    task()
    return 1e6 * (time.process_time() - start) / N


def stream(rows: list[dict[str, Any]]) -> bytes:
    """Returns rows as an Arrow stream."""
    names = rows[0]["features"]
    one = pa.table({"unit": [r["unit"] for r in rows]} | {k: [r["features"][k] for r in rows] for k in names})
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, one.schema) as writer:
        writer.write_table(one)
    return sink.getvalue()


def parts(service: Service, rows: list[dict[str, Any]], size: int) -> dict[str, float]:
    """Returns what each part costs: processor time in microseconds a unit."""
    served = service.served(None)
    loaded, draws = served.loaded, Draws("s", "c", mix=(1.0,) * len(served.treatments), holdout=0.1, explore=0.3)
    raw, chunks = [json.dumps(row).encode() for row in rows], [slice(k, k + size) for k in range(0, N, size)]
    streams, encoder = [stream(rows[part]) for part in chunks], msgspec.json.Encoder()
    alike, menus, answers = list[Alike](), list[tuple[Any, Any]](), list[Any]()

    def read() -> None:
        several = [
            arrow.alike_of(service.served, one) for content in streams for one in arrow.parts(content, 1 << 30, size)
        ]
        alike.extend(one for one in several if one is not None)

    def draw() -> None:
        for a, (v, c) in zip(alike, menus, strict=True):
            draws.draw_many(0, list(map(str, a.units)), v, c, 0.5)

    def decide() -> None:
        for a, (v, c) in zip(alike, menus, strict=True):
            more = {"version": loaded.version, "features": a.features}
            answers.append(service.ledger.decide_many(served.name, a.units, v, c, **more))  # type: ignore[arg-type]

    def prepare() -> None:
        for a, (v, c) in zip(alike, menus, strict=True):
            many = Many(a.units, v, c, None, None, loaded.version, a.features, None, None)
            assert ready_for(service.ledger.engine, served.name, many, time.time()) is not None

    out = {
        "read JSON (parse, check, rows of the model)": timed(
            lambda: [loaded.row(body_of(one).features) for one in raw]
        ),
        "read Arrow (and write features as JSON)": timed(read),
        "model (ONNX)": timed(lambda: menus.extend(loaded.tables(one.feed) for one in alike)),
        "draws": timed(draw),
        "ledger, before the transaction (draws and digests)": timed(prepare),
        "ledger, whole (with links, SQL and commit)": timed(decide),
    } | sql(service, chunks)
    got = [(a, Decided(one, v, c)) for a, one, (v, c) in zip(alike, answers, menus, strict=True)]
    return out | {
        "write JSON (with the reasons)": timed(lambda: [encoder.encode(documents(*one)) for one in got]),
        "write Arrow": timed(lambda: [arrow.stream([arrow.table_of(*one)]) for one in got]),
    }


def sql(service: Service, chunks: list[slice]) -> dict[str, float]:
    """Returns what the statements of the ledger alone cost: the same rows inserted again, under other places and names."""
    engine, names = service.ledger.engine, service.served(None).treatments
    with engine.connect() as connection:
        rows = list(connection.execute(decisions.select().limit(N)))
    parts = [_columns(rows[part], names) for part in chunks]

    def insert_all() -> None:
        for stored, packed in parts:
            with writing(engine) as connection:
                insert(connection, names, stored, packed)

    return {"SQL and commit alone": timed(insert_all)}


def _columns(rows: Sequence[Any], names: Sequence[str]) -> tuple[Stored, Packed | None]:
    """Returns stored rows as the ledger inserts them."""
    by = {name: [getattr(row, name) for row in rows] for name in (c.name for c in decisions.c)}
    who, one = [bytes(reversed(cell)) for cell in by["who"]], rows[0]
    given = np.frombuffer(b"".join(by["propensities"])).reshape(len(rows), -1)
    codes, kinds = [names.index(name) for name in by["treatment"]], [KINDS.index(name) for name in by["kind"]]
    draws, seals = ManyDraws(np.array(codes), np.array(kinds), given), b"".join(by["seal"])
    packed = packed_columns(
        who, by["unit"], draws, np.array(by["reservation"]), by["version"], by["menu"], by["features"], seals
    )
    stored = Stored(
        one.place + (1 << 50), by["id"], who, "other", one.number, one.period, by["unit"], by["treatment"], by["kind"],
        by["version"], one.price, by["reservation"], one.time, one.due, given, by["menu"], by["features"], seals, by["link"],
    )  # fmt: skip
    return stored, packed


def bodies_of(form: str, rows: list[dict[str, Any]], size: int) -> list[bytes]:
    """Returns rows as the bodies of batches of a size."""
    some = [rows[k : k + size] for k in range(0, len(rows), size)]
    if form == "Arrow":
        return [stream(one) for one in some]
    if form == "JSON list":
        return [json.dumps(one).encode() for one in some]
    return ["\n".join(map(json.dumps, one)).encode() for one in some]


def whole(service: Service, rows: list[dict[str, Any]], size: int) -> dict[str, float]:
    """Returns what batches cost from the body to the body of the answer, in each form."""
    batches, out = Batches(service), {}
    for name, media in FORMS.items():
        bodies = bodies_of(name, [row | {"unit": f"{name} {row['unit']}"} for row in rows], size)
        out[f"whole: {name}"] = timed(lambda m=media, given=bodies: [batches._decided(m, one) for one in given])  # type: ignore[misc]
    batches.stop()
    return out


def over_http(place: Path, run: Path, columns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the rates of batches over HTTP, a round of all of them after the other, each with a new store and server."""
    rows = [{"unit": f"unit {k}", "features": features(columns, k)} for k in range(BULK)]
    bodies = {form: bodies_of(form, rows, BODY) for form in BARS}
    rounds: dict[tuple[str, int, int], list[Bulk]] = {}
    for k in range(ROUNDS):
        for form, workers, flying in product(BARS, WORKERS, FLYING):
            folder = place / f"http-{k}-{form}-{workers}-{flying}"
            folder.mkdir()
            server = Server(Terms(f"sqlite:///{folder}/a.db", run, workers, 1e9, 10**7, 1e9, 1e6), folder)
            server.start()
            try:
                got = bulk(server, FORMS[form], bodies[form], BODY, flying, rows[0]["features"])
            finally:
                server.stop()
            print(form, workers, flying, got, flush=True)
            rounds.setdefault((form, workers, flying), []).append(got)
    return [
        {"form": form, "workers": workers, "flying": flying} | min(got, key=lambda one: one.others)._asdict()
        for (form, workers, flying), got in rounds.items()
    ]


def measure(given: Namespace) -> dict[str, Any]:
    """Returns microseconds of processor time a unit, medians of rounds with a new store each."""
    cells: dict[str, list[dict[str, float]]] = {str(size): [] for size in SIZES}
    with tempfile.TemporaryDirectory() as place:
        run = make_run(Path(place) / "run", 1)
        columns = json.loads((run / "policy.json").read_text())["columns"]
        rows = [{"unit": f"unit {k}", "features": features(columns, k)} for k in range(N)]
        for k in range(ROUNDS):
            for size in SIZES:
                folder = Path(place) / f"{k}-{size}"
                folder.mkdir()
                terms = {"store": f"sqlite:///{folder}/a.db", "run": run, "budget": 1e9, "units": 10**7, "period": 1e9}
                text = CONFIG.format(port=1, workers=1, price=0.5, matures=1e6, **terms)
                (folder / "server.toml").write_text(text)
                settings = load_settings(folder / "server.toml")
                begin(settings)
                service = make_service(settings)
                service.follow(strict=True)
                rare_collections()  # as in a worker
                service.now = time.monotonic  # type: ignore[method-assign]  # no event loop runs here
                cells[str(size)].append(parts(service, rows, size) | whole(service, rows, size))
                service.ledger.close()
                print(k, size, cells[str(size)][-1], flush=True)
        http = over_http(Path(place), run, columns)
    medians = {size: {name: statistics.median(r[name] for r in got) for name in got[0]} for size, got in cells.items()}
    return machine() | {"parts": medians, "http": http, "columns": len(columns)}


def page(cell: dict[str, Any]) -> list[str]:
    """Returns the page."""
    sizes = list(cell["parts"])
    rows = []
    for name in cell["parts"][sizes[0]]:
        costs = [cell["parts"][size][name] for size in sizes]
        rows.append([name, *(f"{cost:.1f}" for cost in costs), *(f"{1e6 / cost:,.0f}" for cost in costs)])
    last, short = cell["parts"][sizes[-1]], []
    for name, bar in BARS.items():
        cost, best = last[f"whole: {name}"], max(one["rate"] for one in cell["http"] if one["form"] == name)
        short.append(
            f"- {name}: {bar:,} units/s are {1e6 / bar:.0f} µs a unit. One thread needs {cost:.0f} µs, "
            f"{cost * bar / 1e6:.1f} times that; over HTTP the most is {best:,.0f} units/s, {best / bar:.2f} of what is aimed at."
        )
    head = [
        "part",
        *(f"µs, batches of {int(size):,}" for size in sizes),
        *(f"units/s, {int(size):,}" for size in sizes),
    ]
    return [
        "# Batches of the decision service, part by part", "", "Generated by `python -m benchmarks batches`; do not edit.", "",
        f"Processor time of one thread, in µs a unit, for {N:,} new units in batches, and the units a second that each part",
        f"alone would allow. {cell['columns']} columns, features stored, SQLite with a durable commit for each batch; medians of",
        f"{ROUNDS}. *Whole*: from the body of a request to the body of its answer, at most {PART:,} units in a transaction.",
        f"It is measured after the parts, on a store of {2 * N:,} to {5 * N:,} decisions and with checkpoints of its log:",
        "what the sum of the parts lacks.", "",
        table(head, rows), "", *_http(cell),
        "", "What is aimed at, with batches of 10,000:", "", *short,
    ]  # fmt: skip


def _http(cell: dict[str, Any]) -> list[str]:
    """Returns the part of the page on batches over HTTP."""
    names = [
        "form",
        "workers",
        "in flight",
        "units/s",
        "single decisions: median, ms",
        "the longest, ms",
        "cores of other programs",
    ]
    rows = [
        [
            one["form"],
            str(one["workers"]),
            str(one["flying"]),
            f"{one['rate']:,.0f}",
            f"{one['middle']:.0f}",
            f"{one['longest']:.0f}",
            f"{one['others']:.2f}",
        ]
        for one in cell["http"]
    ]
    last = cell["parts"][list(cell["parts"])[-1]]
    alone = (
        last["ledger, whole (with links, SQL and commit)"] - last["ledger, before the transaction (draws and digests)"]
    )
    return [
        "## Over HTTP", "",
        f"The whole service on a loopback address, {cell['cores']} cores for workers, store and callers. {BULK:,} new units in",
        f"bodies of {BODY:,} that are made before; so many requests in flight at a time, connections spread evenly over the",
        "workers; beside them a caller of single decisions, twenty a second at most. Each row a new store and server; of",
        f"{ROUNDS} rounds the one in which other programs of the machine took least.", "", table(names, rows), "",
        "A store of SQLite has one writer at a time: links, SQL and commit of all workers follow each other. They take",
        f"{alone:.1f} µs a unit, so no number of cores exceeds {1e6 / alone:,.0f} units/s; all else is done beside them.",
    ]  # fmt: skip


def main() -> None:
    single("batches", __doc__, measure, page)


if __name__ == "__main__":
    main()
