"""The decision service under load while workers and store are killed, and its rate beside a bare application; writes serve.md.

    python -m benchmarks serve                                           both, about seven minutes
    python -m benchmarks serve --part soak --decisions 1000000 --kills 200 --restarts 10 --seconds 1200
    python -m benchmarks serve --part soak --store postgresql://USER@HOST/DATABASE --restart 'COMMAND'
    python -m benchmarks serve --part operations                         what docs/operations.md shows, after `make docs`
    python -m benchmarks serve --table

`--seconds` bounds the load, and the kills are spread over it. A soak whose load ended before its kills, or that is smaller
than the one in the record, is printed and not kept (--keep keeps it). The soak checks its results from the store alone, against
what every caller was answered.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from benchmarks.cells import PAGES, load, machine, store, write
from benchmarks.service.operations import operations
from benchmarks.service.rate import closed, opened
from benchmarks.service.server import Server, Terms, features, make_run
from benchmarks.service.soak import NEW, Soak, soak

PLACE = PAGES / "serve"
FULL = Soak(decisions=1_000_000, seconds=5400.0, kills=200, restarts=10, switches=20)
"""The run that this study is made for; smaller ones say how long it would take."""
ROUNDS, CLOSED, OPEN, WARM = 5, 5.0, 8.0, 1.0  # rounds of both servers in turn; seconds of each measurement


class Bare:
    """The bare application in a process of its own."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        options = [
            "--port",
            str(port),
            "--http",
            "httptools",
            "--loop",
            "uvloop",
            "--log-level",
            "warning",
            "--no-access-log",
        ]
        command = [sys.executable, "-m", "uvicorn", "benchmarks.service.bare:app", *options]
        self.process = subprocess.Popen(command, env=os.environ | {"BARE_LOG": str(folder / "bare.db")})

    def start(self) -> None:
        """Waits until it answers."""
        for _ in range(600):
            try:
                httpx.get(f"{self.url}/readyz")
                return
            except httpx.HTTPError:
                time.sleep(0.05)
        raise SystemExit("The bare application did not start.")

    def stop(self) -> None:
        """Stops it."""
        self.process.terminate()
        self.process.wait(20)


def measure_rate() -> dict[str, Any]:
    """Measures the service and the bare application in turn."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        run = make_run(folder / "run", 1)
        return _in_turn({"service": Server(_terms(folder, run), folder), "bare": Bare(folder)}, run)


def measure_shadow() -> dict[str, Any]:
    """Measures the service without a challenger, and with one that answers in the shadow of all decisions, in turn."""
    with tempfile.TemporaryDirectory() as place:
        runs = [make_run(Path(place) / f"run {k}", k) for k in (1, 2)]
        servers = {}
        for name in ("service", "shadow"):
            (folder := Path(place) / name).mkdir()
            servers[name] = Server(_terms(folder, runs[0]), folder)
        counts = dict[str, dict[str, float]]()

        def begin() -> None:
            servers["shadow"].challenge(runs[1])

        def end() -> None:
            for name, one in servers.items():
                counted = one.counts("largesse_decisions_total", "largesse_shadows_dropped_total")
                counts[name] = {"decided": counted["largesse_decisions_total"], "processor": one.processor()}
                counts[name]["dropped"] = counted["largesse_shadows_dropped_total"]

        return _in_turn(servers, runs[0], begin, end) | {"counts": counts}


def _terms(folder: Path, run: Path) -> Terms:
    return Terms(f"sqlite:///{folder}/ledger.db", run, 1, 1e9, 10_000_000, 1e9, 1e6)


def _in_turn(
    servers: Mapping[str, Server | Bare], run: Path, begin: Callable[[], None] = bool, end: Callable[[], None] = bool
) -> dict[str, Any]:
    """Measures two servers in turn, closed and then open at half the rate of the one named "service"."""
    columns = load(run / "policy.json")["columns"]
    cells: dict[str, list[Any]] = {name: [] for name in servers}
    try:
        for server in servers.values():
            server.start()
        begin()
        for server in servers.values():
            closed(server.url, features(columns, 0), WARM)
        for k in range(ROUNDS):
            for name in list(servers)[:: 1 if k % 2 else -1]:
                cells[name].append({"closed": closed(servers[name].url, features(columns, k), CLOSED)._asdict()})
        half = np.median([one["closed"]["rate"] for one in cells["service"]]) / 2
        for k in range(ROUNDS):
            for name in list(servers)[:: 1 if k % 2 else -1]:
                row = features(columns, k)
                cells[name][k]["open"] = opened(servers[name].url, row, OPEN, half)._asdict()
        end()
    finally:
        for server in servers.values():
            server.stop()
    return machine() | {"cells": cells, "open_rate": float(half)}


def measure_soak(given: argparse.Namespace) -> dict[str, Any]:
    """Runs the soak with the sizes of the command line."""
    names = [name for name in Soak._fields if getattr(given, name, None) is not None]
    sizes = Soak(**{name: getattr(given, name) for name in names})
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        runs = make_run(folder / "a", 1), make_run(folder / "b", 2)
        return machine() | soak(sizes, folder, runs)


def page(cells: dict[str, dict[str, Any]]) -> list[str]:
    """Returns the page of what was measured."""
    lines = [
        "# The decision service under load and faults", "", "Generated by `python -m benchmarks serve`; do not edit.", "",
        "`largesse serve` on a loopback address. Callers use `largesse.client`: one unit at a time, or batches; 3 % of the asks",
        "are sent again, 3 % first by a caller that waits 20 ms and then goes on offline. 90 % of the decisions have an outcome:",
        "whole, in parts, with a refund, void, or after its reservation has expired; it pays from 0.6 to 1.2 times the predicted",
        "cost. Meanwhile workers are killed (SIGKILL), the whole server is killed and started again (SQLite) or the store",
        "restarted (PostgreSQL), and the run is exchanged. A watcher reads the money of the campaign twice a second.", "",
    ]  # fmt: skip
    soaks = [cell for name, cell in sorted(cells.items()) if name.startswith("soak")]
    rates = _rates(cells["rate"]) if "rate" in cells else []
    return [*lines, *_soaks(soaks), *rates, *(["", *_shadows(cells["shadow"])] if "shadow" in cells else [])]


def _soaks(cells: list[dict[str, Any]]) -> list[str]:
    if not cells:
        return []
    rows: list[tuple[str, list[str]]] = [
        ("store", [c["sizes"]["store"] for c in cells]),
        ("workers", [f"{c['sizes']['workers']}" for c in cells]),
        ("answers", [f"{c['load']['answers']:,}" for c in cells]),
        ("decisions stored", [f"{c['decisions']:,}" for c in cells]),
        ("seconds of load", [f"{c['load']['milliseconds'] / 1000 / c['sizes']['loads']:,.0f}" for c in cells]),
        ("workers killed", [f"{c['chaos'].get('kill', 0)}" for c in cells]),
        ("restarts of store or server", [f"{c['chaos'].get('restart', 0)}" for c in cells]),
        ("changes of the run", [f"{c['chaos'].get('switch', 0)}" for c in cells]),
        ("answers of an earlier decision", [f"{c['load'].get('repeated', 0):,}" for c in cells]),
        ("offline first, asked again later", [f"{c['load'].get('offline', 0):,}" for c in cells]),
        ("decisions that the budget is for", [f"{round(NEW * c['sizes']['decisions']):,}" for c in cells]),
        ("decisions limited by the budget", [f"{c['limited']:,}" for c in cells]),
        ("looks of the watcher", [f"{c['watcher']['looks']:,}" for c in cells]),
        ("highest spent + reserved, less payments beyond reservations, % of the budget",
         [f"{100 * c['watcher']['highest']:.2f}" for c in cells]),
        ("treatments against propensities: χ² (degrees of freedom), p",
         [f"{c['shares']['statistic']:.1f} ({c['shares']['freedom']}), {c['shares']['p']:.2f}" for c in cells]),
        ("budget neither paid nor reserved at the end of the load, %",
         [f"{100 * c['end']['free'] / c['end']['budget']:.1f}" if "free" in c["end"] else "" for c in cells]),
        ("budget left when all reservations have expired, %",
         [f"{100 * c['end']['left'] / c['end']['budget']:.1f}" for c in cells]),
    ]  # fmt: skip
    faults = [(name, [f"{c['faults'][name]}" for c in cells]) for name in cells[0]["faults"]]
    rate = max(c["load"]["answers"] / (c["load"]["milliseconds"] / 1000 / c["sizes"]["loads"]) for c in cells)
    hours = FULL.decisions / rate / 3600
    head = ["| | " + " | ".join("" for _ in cells) + " |", "|---" * (len(cells) + 1) + "|"]
    body = [f"| {name} | {' | '.join(values)} |" for name, values in rows]
    return [
        "## Faults", "", *head, *body, "",
        f"The full run ({FULL.decisions:,} answers, {FULL.kills} kills, {FULL.restarts} restarts) would take this machine",
        f"{hours:.1f} hours at the higher of these rates.", "", "What must be 0:", "", *head,
        *(f"| {name} | {' | '.join(values)} |" for name, values in faults), "",
    ]  # fmt: skip


def _rates(cell: dict[str, Any]) -> list[str]:
    least, middle, most = _ratios(cell, "service", "bare")
    return [
        "## Rate beside a bare application", "",
        "One worker of the service (model, budget, keys, exploration, log) against one of Starlette and msgspec that only writes",
        "the request into SQLite, committed as durably and for as many at once. In turn; medians of",
        f"{ROUNDS} rounds of {CLOSED:.0f} s. *Closed*: 64 callers that ask again when they have their answer. *Open*:",
        f"{cell['open_rate']:,.0f} requests a second at fixed times, half of what the service reaches closed; times count from",
        "when a request was due.", "",
        f"The service reaches {middle:.2f} times the rate of the bare application (rounds: {least:.2f} to",
        f"{most:.2f}), on {cell['cores']} cores that load and server share.", "",
        *_times(cell),
    ]  # fmt: skip


def _shadows(cell: dict[str, Any]) -> list[str]:
    least, middle, most = _ratios(cell, "shadow", "service")
    counts = cell["counts"]
    cost = {name: 1e6 * one["processor"] / one["decided"] for name, one in counts.items()}
    return [
        "## Rate with a challenger in the shadow", "",
        "The service as above, and the same with a challenger that answers in the shadow of every decision, in turn; open at",
        f"{cell['open_rate']:,.0f} requests a second.", "",
        f"With the challenger the service reaches {middle:.2f} times the rate (rounds: {least:.2f} to {most:.2f}). A decision",
        f"takes {cost['shadow']:.0f} µs of its worker's processor time, start and upkeep included; without it takes",
        f"{cost['service']:.0f} µs.",
        f"Of {counts['shadow']['decided']:,.0f} decisions {counts['shadow']['dropped']:,.0f} had no answer in the shadow: what",
        "it stores in a second is bounded, so that decisions have the store. Compare the two with each other and not with those",
        "above: other programs may have run on the machine.", "",
        *_times(cell),
    ]  # fmt: skip


def _ratios(cell: dict[str, Any], one: str, other: str) -> tuple[float, float, float]:
    """Returns the least, the median and the largest ratio of the closed rates of two servers, round by round."""
    pairs = zip(cell["cells"][one], cell["cells"][other], strict=True)
    ratios = [a["closed"]["rate"] / b["closed"]["rate"] for a, b in pairs]
    return min(ratios), float(np.median(ratios)), max(ratios)


def _times(cell: dict[str, Any]) -> list[str]:
    lines = [
        "| | closed, requests/s | closed, p50 ms | closed, p99 ms | open, p50 ms | open, p99 ms | answers other than 200 |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, rounds in cell["cells"].items():
        by = {how: [one[how] for one in rounds] for how in ("closed", "open")}
        middle = {(how, key): np.median([one[key] for one in by[how]]) for how in by for key in ("rate", "p50", "p99")}
        failed = sum(one["failed"] for how in by.values() for one in how)
        cells = [f"{middle['closed', 'rate']:,.0f}"]
        cells += [f"{middle[how, key]:.1f}" for how in ("closed", "open") for key in ("p50", "p99")]
        lines.append(f"| {name} | {' | '.join(cells)} | {failed} |")
    return lines


def _keep(place: Path, cell: dict[str, Any], given: argparse.Namespace) -> None:
    """Stores a soak, unless the one in the record shows more."""
    before = load(place) or {}
    less = cell["load"]["answers"] < before.get("load", {}).get("answers", 0) or cell["chaos"]["kill"] < given.kills
    if less and not given.keep:
        counted = f"{cell['load']['answers']:,} answers, {cell['chaos']}, faults {cell['faults']}"
        print(f"{place}: stays as it is, since this soak shows less ({counted}); --keep keeps it.")
    else:
        store(place, cell)


def main() -> None:
    """Measures what is asked for and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("soak", "rate", "shadow", "operations"), help="only this")
    parser.add_argument("--table", action="store_true", help="write the page of what is there")
    short = Soak(decisions=60_000, seconds=300.0, kills=40, restarts=2, switches=4)
    for name in ("decisions", "kills", "restarts", "switches", "workers", "loads", "single", "batches", "batch"):
        parser.add_argument(f"--{name}", type=int, default=getattr(short, name))
    parser.add_argument("--seconds", type=float, default=short.seconds)
    parser.add_argument("--budget", type=float, default=short.budget, help="budget for each decision")
    parser.add_argument("--store", default="", help="store of the ledger; a file of SQLite if left out")
    parser.add_argument("--keep", action="store_true", help="keep a soak that shows less than the one in the record")
    parser.add_argument("--restart", default="", help="command that restarts the store")
    given = parser.parse_args()
    if not given.table:
        if given.part in (None, "soak"):
            kind = "sqlite" if given.store in ("", "sqlite") else given.store.partition(":")[0]
            _keep(PLACE / f"soak-{kind}.json", measure_soak(given), given)
        if given.part in (None, "rate"):
            store(PLACE / "rate.json", measure_rate())
        if given.part in (None, "shadow"):
            store(PLACE / "shadow.json", measure_shadow())
        if given.part in (None, "operations"):
            store(PLACE / "operations.json", machine() | operations())
    if cells := {path.stem: load(path) for path in sorted(PLACE.glob("*.json"))}:
        write("serve", page(cells))


if __name__ == "__main__":
    main()
