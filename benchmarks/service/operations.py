"""What a server takes: seconds from start to ready, memory of its processes, bytes of the store for each decision, packages."""

from __future__ import annotations

import re
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import httpx
from packaging.requirements import Requirement

from benchmarks.cells import load
from benchmarks.service.server import Server, Terms, features, make_run

__all__ = ["operations", "table"]

STARTS, DECISIONS, BATCH = 5, 20_000, 1_000
MIB = 1024 * 1024
NEEDED = Path(__file__).resolve().parents[2] / "requirements-serve.txt"


def operations() -> dict[str, Any]:
    """Measures a server of one worker."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        run = make_run(folder / "run", 1)
        columns = load(run / "policy.json")["columns"]
        terms = Terms(f"sqlite:///{folder}/ledger.db", run, 1, 1e9, 10_000_000, 1e9, 1e6)
        server = Server(terms, folder)
        starts = []
        for _ in range(STARTS):
            begun = time.monotonic()
            server.start()
            starts.append(time.monotonic() - begun)
            if len(starts) < STARTS:
                server.stop()
        try:
            fresh = _memory(server)
            empty = _size(folder)
            ids = _decide(server.url, columns)
            loaded, full = _memory(server), _size(folder)
            _report(server.url, ids)
        finally:
            server.stop()
        return {
            "starts": starts, "fresh": fresh, "loaded": loaded, "decisions": DECISIONS, "columns": len(columns),
            "bytes": (full - empty) / DECISIONS, "outcome_bytes": (_size(folder) - full) / DECISIONS, "packages": _packages(),
        }  # fmt: skip


def _decide(url: str, columns: list[dict[str, Any]]) -> list[str]:
    ids = list[str]()
    with httpx.Client(timeout=60.0) as client:
        for first in range(0, DECISIONS, BATCH):
            rows = [{"unit": f"unit {k}", "features": features(columns, k)} for k in range(first, first + BATCH)]
            got = client.post(f"{url}/v1/decisions:batch", json=rows).raise_for_status()
            ids += [one["id"] for one in got.json()]
    return ids


def _report(url: str, ids: list[str]) -> None:
    with httpx.Client(timeout=60.0) as client:
        for first in range(0, len(ids), BATCH):
            part = [{"decision": one, "key": f"order {one}", "value": 1.0} for one in ids[first : first + BATCH]]
            client.post(f"{url}/v1/outcomes", json=part).raise_for_status()


def _size(folder: Path) -> int:
    """Returns the bytes of the pages of the store, those in its write-ahead log among them."""
    with closing(sqlite3.connect(folder / "ledger.db")) as connection:
        return int(
            connection.execute("select page_count * page_size from pragma_page_count, pragma_page_size").fetchone()[0]
        )


def _memory(server: Server) -> dict[str, int]:
    """Returns the resident bytes of the parent and of the largest worker; what they share counts in both."""
    workers = server.workers()
    assert server.process is not None
    return {"worker": max(map(_resident, workers)), "parent": _resident(server.process.pid)}


def _resident(pid: int) -> int:
    got = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return 1024 * int(got[1]) if got else 0


def _packages() -> int:
    """Returns the bytes of what the service needs and what that needs, without compiled Python files."""
    wanted = [line for line in NEEDED.read_text().splitlines() if line and not line.startswith("#")]
    return sum(_files(name) for name in _closure(wanted))


def _closure(wanted: list[str]) -> Iterator[str]:
    done = set[str]()
    while wanted:
        one = Requirement(wanted.pop())
        name = re.sub(r"[-_.]+", "-", one.name).lower()
        if name in done or (one.marker is not None and not one.marker.evaluate({"extra": ""})):
            continue
        done.add(name)
        yield name
        try:
            wanted += distribution(name).requires or []
        except PackageNotFoundError:
            continue


def _files(name: str) -> int:
    try:
        files = distribution(name).files or []
    except PackageNotFoundError:
        return 0
    places = [Path(str(file.locate())) for file in files if not str(file).endswith(".pyc")]
    return sum(place.stat().st_size for place in places if place.is_file())


def table(cell: dict[str, Any], rate: dict[str, Any]) -> str:
    """Returns the table of what was measured, with the rate of one request at a time from its own study."""
    starts = sorted(cell["starts"])
    closed = sorted(one["closed"]["rate"] for one in rate["cells"]["service"])
    rows = [
        ("start to ready, one worker",
         f"{starts[len(starts) // 2]:.1f} s (of {len(starts)}: {starts[0]:.1f} to {starts[-1]:.1f})"),
        ("memory of a worker, ready", f"{cell['fresh']['worker'] / MIB:,.0f} MiB"),
        (f"memory of a worker after {cell['decisions']:,} decisions in batches", f"{cell['loaded']['worker'] / MIB:,.0f} MiB"),
        ("memory of the parent", f"{cell['loaded']['parent'] / MIB:,.0f} MiB"),
        (f"store, a decision with {cell['columns']} features", f"{cell['bytes']:,.0f} bytes"),
        ("store, an outcome", f"{cell['outcome_bytes']:,.0f} bytes"),
        ("installed packages, without compiled Python files", f"{cell['packages'] / 1e6:,.0f} MB"),
        ("decisions a second, one at a time, load on the same machine", f"{closed[len(closed) // 2]:,.0f}"),
    ]  # fmt: skip
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])
