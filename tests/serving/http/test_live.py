"""A server of two worker processes: one is killed, all are stopped under load, the configuration is read again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.common.served import NORTH, make_run, service

import httpx  # isort: skip
import sqlalchemy as sa  # isort: skip

from largesse.serving.http.app import App  # isort: skip
from largesse.serving.ledger import tables  # isort: skip
from largesse.serving.ledger.book import Ledger  # isort: skip
from largesse.serving.ledger.store import reading  # isort: skip

CONFIG = """[server]
store = "{store}"
port = 0
workers = 2
keys = false
reprice = 0.5
[campaigns.spring]
run = "{run}"
budget = {budget}
until = 2100-01-01
price = 0.5
explore = 0.2
"""


class Server:
    """A server in processes of its own."""

    def __init__(self, process: subprocess.Popen[str], place: Path) -> None:
        self.process, self.place, self.lines = process, place, list[str]()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        self.url = self.said("Serving at ").split("Serving at ")[1].split(" with")[0]
        self.until(lambda: httpx.get(f"{self.url}/readyz").status_code == 200)

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)

    def until(self, task: Any, seconds: float = 20.0) -> Any:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if got := task():
                    return got
            except httpx.HTTPError:
                pass
            time.sleep(0.05)
        raise AssertionError("".join(self.lines[-20:]))

    def said(self, words: str, after: int = 0) -> str:
        return str(self.until(lambda: next((line for line in self.lines[after:] if words in line), "")))

    def workers(self) -> list[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        out = []
        for pid in children:
            with suppress(OSError):  # it may have ended since
                if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text():
                    out.append(int(pid))
        return out

    def rows(self) -> list[Any]:
        with Ledger.open(f"sqlite:///{self.place}/ledger.db") as ledger, reading(ledger.engine) as connection:
            return list(connection.execute(sa.select(tables.decisions)).all())


def write(place: Path, budget: float, run: str = "run") -> None:
    text = CONFIG.format(store=f"sqlite:///{place}/ledger.db", budget=budget, run=run)
    (place / "server.toml").write_text(text)


@contextmanager
def server(place: Path, budget: float) -> Iterator[Server]:
    make_run(place / "run")
    write(place, budget)
    command = [sys.executable, "-m", "largesse.serving", str(place / "server.toml")]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ, "LARGESSE_SERVER_LOG": "info"}
    )
    one = None
    try:
        one = Server(process, place)
        yield one
    finally:
        process.terminate()
        process.wait(20)
        if one is not None:
            one.reader.join(20)
        assert process.stderr is not None
        process.stderr.close()


def ask(unit: str, **more: Any) -> dict[str, Any]:
    return {"unit": unit, "features": NORTH, **more}


pytestmark = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds workers by /proc")


def test_a_killed_worker_and_a_new_configuration(tmp_path: Path):
    with server(tmp_path, 20_000) as one:
        first = httpx.post(f"{one.url}/v1/decisions", json=ask("u1", key="k1")).json()
        old = one.workers()
        assert len(old) == 2
        os.kill(old[0], signal.SIGKILL)
        again = one.until(lambda: httpx.post(f"{one.url}/v1/decisions", json=ask("u1", key="k1")).json())
        assert again == first | {"repeated": True}
        one.until(lambda: len(one.workers()) == 2 and old[0] not in one.workers())
        assert "another one took its place" in one.said("died")
        # A run that cannot be loaded changes nothing; then another budget and run, while requests are answered.
        write(tmp_path, 30_000, run="nowhere")
        one.process.send_signal(signal.SIGHUP)
        one.said("The configuration is refused, and the old one stays")
        make_run(tmp_path / "summer", cost=(0.0, 1.0, 2.0))
        write(tmp_path, 30_000, run="summer")
        one.process.send_signal(signal.SIGHUP)
        statuses = set()

        def swapped() -> bool:
            got = httpx.post(f"{one.url}/v1/decisions", json=ask(f"u{time.monotonic()}"))
            statuses.add(got.status_code)
            return str(got.json()["version"]).startswith("summer-")

        one.until(swapped)
        one.until(lambda: not set(old) & set(one.workers()))
        assert statuses == {200}
        campaign = httpx.get(f"{one.url}/v1/campaigns/spring").json()
        assert campaign["budget"] == 30_000
        metrics = httpx.get(f"{one.url}/metrics").text
        assert 'largesse_requests_total{route="/v1/decisions",status="200"}' in metrics
        logged = [json.loads(line) for line in one.lines]
        assert any(line.get("route") == "/v1/decisions" and line["campaign"] == "spring" for line in logged)
        assert "north" not in "".join(one.lines), "features are not logged"
        orphans = one.workers()
        one.process.kill()
        one.until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in orphans))


def test_a_stop_under_load_loses_nothing(tmp_path: Path):
    """Every decision that is stored was answered, every answer is stored, and the budget holds."""
    answered: dict[str, dict[str, Any]] = {}
    failed = list[str]()
    with server(tmp_path, 400.0) as one:

        def load(k: int) -> None:
            with httpx.Client(timeout=20) as client:
                for i in range(100_000):
                    unit = f"{k}-{i}"
                    try:
                        got = client.post(f"{one.url}/v1/decisions", json=ask(unit, key=unit))
                    except httpx.HTTPError:
                        failed.append(unit)
                        return
                    assert got.status_code == 200, got.text
                    answered[unit] = got.json()

        threads = [threading.Thread(target=load, args=(k,)) for k in range(8)]
        for thread in threads:
            thread.start()
        one.until(lambda: len(answered) > 300)
        one.process.terminate()
        for thread in threads:
            thread.join()
        assert one.process.wait(20) == 0
        rows = one.rows()
    assert {row.unit for row in rows} == set(answered), "what was accepted was answered"
    assert all(answered[row.unit]["id"] == row.id for row in rows)
    assert len(failed) == 8, "the next request of each client finds nobody"
    assert 0 < sum(row.reserved for row in rows) <= 40_000


@pytest.mark.parametrize("alone", [False, True])
def test_what_a_worker_has_loaded_is_left_out_of_garbage_collection(tmp_path, monkeypatch, alone):
    calls = []
    names = ("collect", "freeze", "set_threshold")
    monkeypatch.setattr(
        "largesse.serving.http.app.gc", SimpleNamespace(**{name: lambda *_, n=name: calls.append(n) for name in names})
    )
    monkeypatch.setattr(App.__init__, "__kwdefaults__", {"alone": alone})
    with service(tmp_path) as one:
        assert one.decide("u1").status_code == 200
    assert calls == (list(names) if alone else [])
