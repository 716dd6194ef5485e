"""What a unit of a batch costs, part by part, and the rate that each part alone would allow; writes docs/benchmarks/batches.md.

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
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from benchmarks.cells import single
from benchmarks.service.server import CONFIG, features, make_run
from benchmarks.suite.summary import table
from largesse.serving.draws import Draws
from largesse.serving.http import arrow
from largesse.serving.http.app import rare_collections
from largesse.serving.http.batch import PART, Batches
from largesse.serving.http.begin import begin, make_service
from largesse.serving.http.hot import body_of
from largesse.serving.http.service import Service
from largesse.serving.http.settings import load_settings
from largesse.serving.http.together import Alike, Decided, documents
from largesse.serving.ledger.rows import INSERT
from largesse.serving.ledger.store import writing
from largesse.serving.ledger.tables import decisions

N, SIZES, ROUNDS = 20_000, (1_000, 10_000), 3
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

    out = {
        "read JSON (parse, check, rows of the model)": timed(
            lambda: [loaded.row(body_of(one).features) for one in raw]
        ),
        "read Arrow (and write features as JSON)": timed(read),
        "model (ONNX)": timed(lambda: menus.extend(loaded.tables(one.feed) for one in alike)),
        "draws": timed(draw),
        "ledger (draws, links, SQL and commit included)": timed(decide),
    } | sql(service, chunks)
    got = [(a, Decided(one, v, c)) for a, one, (v, c) in zip(alike, answers, menus, strict=True)]
    return out | {
        "write JSON (with the reasons)": timed(lambda: [encoder.encode(documents(*one)) for one in got]),
        "write Arrow": timed(lambda: [arrow.stream([arrow.table_of(*one)]) for one in got]),
    }


def sql(service: Service, chunks: list[slice]) -> dict[str, float]:
    """Returns what the statements of the ledger alone cost: the same rows inserted again, under other places and names."""
    engine = service.ledger.engine
    with engine.connect() as connection:
        rows = [list(row) for row in connection.execute(decisions.select().limit(N))]
    for row in rows:
        row[0], row[2], row[3] = row[0] + (1 << 50), bytes(reversed(row[2])), "other"

    def insert() -> None:
        for part in chunks:
            with writing(engine) as connection:
                INSERT.run_all(connection, [tuple(row) for row in rows[part]])

    return {"SQL and commit alone": timed(insert)}


def whole(service: Service, rows: list[dict[str, Any]], size: int) -> dict[str, float]:
    """Returns what batches cost from the body to the body of the answer, in each form."""
    batches, out = Batches(service), {}
    for name, media in FORMS.items():
        some = [[row | {"unit": f"{name} {row['unit']}"} for row in rows[k : k + size]] for k in range(0, N, size)]
        if name == "Arrow":
            bodies = [stream(one) for one in some]
        elif name == "JSON list":
            bodies = [json.dumps(one).encode() for one in some]
        else:
            bodies = ["\n".join(map(json.dumps, one)).encode() for one in some]
        out[f"whole: {name}"] = timed(lambda m=media, given=bodies: [batches._decided(m, one) for one in given])  # type: ignore[misc]
    batches.stop()
    return out


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
    medians = {size: {name: statistics.median(r[name] for r in got) for name in got[0]} for size, got in cells.items()}
    return {"parts": medians, "columns": len(columns)}


def page(cell: dict[str, Any]) -> list[str]:
    """Returns the page."""
    sizes = list(cell["parts"])
    rows = []
    for name in cell["parts"][sizes[0]]:
        costs = [cell["parts"][size][name] for size in sizes]
        rows.append([name, *(f"{cost:.1f}" for cost in costs), *(f"{1e6 / cost:,.0f}" for cost in costs)])
    last = cell["parts"][sizes[-1]]
    short = []
    for name, bar in BARS.items():
        cost = last[f"whole: {name}"]
        short.append(
            f"- {name}: {bar:,} units/s are {1e6 / bar:.0f} µs a unit. It costs {cost:.0f} µs, {cost * bar / 1e6:.0f} times that."
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
        f"{ROUNDS}. *Whole*: from the body of a request to the body of its answer, at most {PART:,} units in a transaction.", "",
        table(head, rows),
        "", "What is aimed at, with batches of 10,000:", "", *short,
    ]  # fmt: skip


def main() -> None:
    single("batches", __doc__, measure, page)


if __name__ == "__main__":
    main()
