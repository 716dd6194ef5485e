"""A server under load whose workers and store are killed at random: what was answered, what the store has, what a watcher saw."""

from __future__ import annotations

import json
import os
import random
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from benchmarks.service.load import Load, drive
from benchmarks.service.server import CAMPAIGN, Server, Terms
from benchmarks.service.verify import verify
from largesse.errors import LargesseError
from largesse.serving import Ledger
from largesse.serving.policy import ABOUT

_WATCH = 0.5  # seconds between two looks of the watcher
NEW = 0.9  # share of the answers that are new decisions, about
_PATIENCE = 600.0  # seconds after the time is over in which all outcomes must be in


class Soak(NamedTuple):
    """Sizes of a run.

    Attributes:
        decisions: Answers after which it ends.
        seconds: It ends after this time at the latest.
        kills: Workers that are killed.
        restarts: How often everything is killed at once, or the store restarted by `restart`.
        switches: How often another run decides.
        workers: Worker processes of the server.
        loads: Processes of load.
        single: Callers in each that ask for one unit at a time.
        batches: Callers in each that ask for many.
        batch: Units of a batch.
        budget: Budget for each decision.
        price: First price.
        store: Store of the ledger; "": a file of SQLite in the folder.
        restart: Command that restarts the store; "": the server is killed instead, with all its workers.
    """

    decisions: int
    seconds: float
    kills: int
    restarts: int
    switches: int
    workers: int = 4
    loads: int = 1
    single: int = 24
    batches: int = 4
    batch: int = 50
    budget: float = 0.3
    price: float = 0.07
    store: str = ""
    restart: str = ""


class Chaos(threading.Thread):
    """Kills workers, restarts, and switches runs, each at a time drawn at random.

    Args:
        soak: How often.
        server: The server.
        runs: The runs that decide in turn.
    """

    def __init__(self, soak: Soak, server: Server, runs: tuple[Path, Path]) -> None:
        super().__init__(daemon=True)
        self.soak, self.server, self.runs, self.rng = soak, server, runs, random.Random(7)
        self.counts, self.ending = Counter[str](), threading.Event()
        self.error = ""

    def run(self) -> None:
        """Does what is due until the load ends."""
        start, span = time.monotonic(), 0.85 * self.soak.seconds
        many = {"kill": self.soak.kills, "restart": self.soak.restarts, "switch": self.soak.switches}
        plan = sorted((self.rng.uniform(0.05, 1) * span, kind) for kind, n in many.items() for _ in range(n))
        tasks = {"kill": self.kill, "restart": self.restart, "switch": self.switch}
        try:
            for when, kind in plan:
                if self.ending.wait(max(0.0, start + when - time.monotonic())):
                    return
                self.until(tasks[kind])
                self.counts[kind] += 1
        except BaseException as error:
            self.error = repr(error)
            raise

    def until(self, task: Callable[[], bool]) -> None:
        """Tries until it is done or the load has ended."""
        while not task() and not self.ending.wait(0.1):
            pass

    def kill(self) -> bool:
        """Kills a worker."""
        return self.server.kill_worker(self.rng)

    def restart(self) -> bool:
        """Restarts the store, or kills the server with all workers and starts it again."""
        if self.soak.restart:
            subprocess.run(self.soak.restart, shell=True, check=True, capture_output=True)
        else:
            self.server.kill()
            self.server.start()
        return True

    def switch(self) -> bool:
        """Lets the other run decide."""
        return self.server.switch(self.runs[(self.counts["switch"] + 1) % 2])


class Watcher(threading.Thread):
    """Reads the money of the campaign from the store, all the time.

    Args:
        store: Store of the ledger.
    """

    def __init__(self, store: str) -> None:
        super().__init__(daemon=True)
        self.store, self.ending = store, threading.Event()
        self.looks = self.failed = self.over = 0
        self.highest = 0.0

    def run(self) -> None:
        """Looks until it is ended."""
        with Ledger.open(self.store) as ledger:
            while not self.ending.wait(_WATCH):
                try:
                    status = ledger.status(CAMPAIGN)
                except LargesseError:
                    self.failed += 1
                    continue
                self.looks += 1
                taken = status.spent + status.reserved
                self.highest = max(self.highest, (taken - status.beyond) / status.budget)
                self.over += taken > status.budget + status.beyond + 1e-6


def soak(given: Soak, folder: Path, runs: tuple[Path, Path], *, show: bool = True) -> dict[str, Any]:
    """Runs it, and returns what was counted and checked.

    Args:
        given: Sizes.
        folder: Where the store, answers and logs are written.
        runs: Two runs with the same treatments and columns.
        show: Whether progress is printed.
    """
    about = json.loads((runs[0] / ABOUT).read_text())
    treatments = about["treatments"]
    matures = given.seconds / 6
    store = given.store or f"sqlite:///{folder}/ledger.db"
    budget, period = round(given.budget * given.decisions, 2), given.seconds / 2.5
    terms = Terms(
        store, runs[0].resolve(), given.workers, budget, round(NEW * given.decisions), period, matures, given.price
    )
    server = Server(terms, folder)
    server.start()
    chaos, watcher = Chaos(given, server, runs), Watcher(store)
    start = time.monotonic()
    try:
        for thread in (watcher, chaos):
            thread.start()
        counts = _loaded(given, server.url, matures, treatments[0], about["columns"], folder, show)
        seconds = time.monotonic() - start
    finally:
        chaos.ending.set()
        chaos.join(90)
        watcher.ending.set()
        watcher.join(10)
        server.stop()
    if chaos.error:
        raise SystemExit(f"The faults could not be made: {chaos.error}")
    out = verify(store, folder, treatments, matures)
    out["faults"]["budget exceeded at some moment"] = watcher.over
    watched = {"looks": watcher.looks, "failed": watcher.failed, "highest": watcher.highest}
    return out | {
        "sizes": given._asdict() | {"store": store.partition(":")[0], "restart": bool(given.restart)}, "seconds": seconds,
        "load": dict(counts), "chaos": dict(chaos.counts), "watcher": watched,
    }  # fmt: skip


def _loaded(
    given: Soak, url: str, late: float, control: str, columns: list[dict[str, Any]], folder: Path, show: bool
) -> Counter[str]:
    """Runs the processes of load; returns the sum of their counts."""
    each, mark = given.decisions // given.loads, f"{uuid4().hex[:6]}-"
    loads = [
        Load(url, k, each, given.seconds, 2 * given.decisions, mark, given.single, given.batches, given.batch, 1.2 * late,
             control, columns, folder)
        for k in range(given.loads)
    ]  # fmt: skip
    counts = Counter[str]()
    with ProcessPoolExecutor(given.loads, get_context("spawn")) as pool:
        waiting = [pool.submit(drive, load) for load in loads]
        while show and not all(one.done() for one in waiting):
            time.sleep(10)
            lines = sum(os.path.getsize(path) for path in folder.glob("answers-*.jsonl"))
            print(f"{lines / 1e6:.1f} MB of answers", flush=True)
        for one in waiting:
            counts.update(one.result(given.seconds + _PATIENCE))
    return counts
