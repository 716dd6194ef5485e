"""The soak of the service, small; and that its checks notice what is wrong."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from tests.common.served import make_run

import sqlalchemy as sa  # isort: skip

from benchmarks.service.rate import CONNECTIONS, _Load  # isort: skip
from benchmarks.service.server import CAMPAIGN  # isort: skip
from benchmarks.service.soak import Soak, soak  # isort: skip
from benchmarks.service.verify import chi_square, verify  # isort: skip
from largesse.serving import Answer, Ask, Campaign, Ledger, Outcome  # isort: skip
from largesse.serving.ledger import tables  # isort: skip
from largesse.serving.ledger.store import writing  # isort: skip

NAMES = ("none", "coupon", "gift")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds workers by /proc")
def test_nothing_is_lost_when_workers_and_server_are_killed(tmp_path: Path):
    sizes = Soak(
        decisions=1500, seconds=9, kills=3, restarts=1, switches=2, workers=2, single=6, batches=1, batch=20, budget=0.02,
        price=0.5,
    )  # fmt: skip
    out = soak(sizes, tmp_path, (make_run(tmp_path / "a"), make_run(tmp_path / "b")), show=False)
    assert not any(out["faults"].values()), out["faults"]
    assert out["decisions"] > 10  # of a busy machine; hundreds otherwise
    assert out["load"]["answers"] >= out["decisions"]
    assert sum(out["chaos"].get(name, 0) for name in ("kill", "restart")) >= 1
    assert out["watcher"]["looks"] > 5
    assert out["shares"]["p"] > 1e-6
    assert out["end"]["reserved"] == 0
    unexpected = set(out["load"]) - {"answers", "repeated", "offline", "void refused", "milliseconds"}
    assert not unexpected, out["load"]


class Store:
    """A store with decisions and outcomes, and files of what callers were answered."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.url = folder, f"sqlite:///{folder}/ledger.db"
        with Ledger.open(self.url) as ledger:
            terms: dict[str, Any] = {"name": CAMPAIGN, "treatments": NAMES, "budget": 50.0, "until": 4e9, "price": 0.5}
            ledger.start(Campaign(**terms, explore=0.5))
            asks = [Ask(CAMPAIGN, f"u{k}", [0, 1, 3], [0, 1, 2], key=f"k{k}") for k in range(40)]
            self.answers = [a for a in ledger.decide(asks) if isinstance(a, Answer)]
            self.outcomes = [Outcome(a.id, f"o{k}", 0.29 * k, 1.0) for k, a in enumerate(self.answers[:5])]
            ledger.outcomes(self.outcomes)
        self.rows = [[a.id, f"k{k}", a.unit, a.period, a.treatment, a.propensity] for k, a in enumerate(self.answers)]
        self.lines = [[o.key, o.decision, o.cost, o.void] for o in self.outcomes]

    def change(self, table: sa.Table, **values: Any) -> None:
        with Ledger.open(self.url) as ledger, writing(ledger.engine) as connection:
            where = table.c.id == self.answers[7].id if table is tables.decisions else sa.true()
            connection.execute(sa.update(table).where(where).values(**values))

    def faults(self) -> dict[str, int]:
        """The faults that are not 0."""
        for name, rows in (("answers", self.rows), ("receipts", self.lines)):
            (self.folder / f"{name}-0.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        found = verify(self.url, self.folder, list(NAMES), 1e9)["faults"]
        return {name: n for name, n in found.items() if n}


def test_a_sound_store_has_no_faults(tmp_path: Path):
    assert Store(tmp_path).faults() == {}


@pytest.mark.parametrize(
    ("damage", "faults"),
    [
        (lambda s: s.rows[3].__setitem__(0, "lost"), {"answered, not stored": 1, "stored, never answered": 1}),
        (lambda s: s.rows[3].__setitem__(4, "other"), {"answered otherwise than stored": 1}),
        (lambda s: s.rows[3].__setitem__(5, 0.123), {"answered otherwise than stored": 1}),
        (lambda s: s.rows[3].__setitem__(1, "k4"), {"key with two answers": 1, "stored, never answered": 1}),
        (lambda s: s.rows.pop(), {"stored, never answered": 1}),
        (lambda s: s.lines[2].__setitem__(2, 0.59), {"outcome accepted, not stored so": 1}),
        (lambda s: s.lines[2].__setitem__(0, "never"), {"outcome accepted, not stored so": 1}),
        (lambda s: s.lines.pop(), {"outcome stored, never accepted": 1}),
        (lambda s: s.change(tables.decisions, unit="u8"),
         {"answered otherwise than stored": 1, "unit decided twice in a period": 1}),
        (lambda s: s.change(tables.decisions, reserved=10**6), {"counter of reservations": None}),
        (lambda s: s.change(tables.decisions, paid=77), {"counter of spend": 3 * 77}),
        (lambda s: s.change(tables.campaigns, budget=100), {"budget exceeded at the end": None}),
        (lambda s: s.change(tables.decisions, number=40), {"numbers of decisions with a gap": 1}),
    ],
)  # fmt: skip
def test_damage_is_noticed(tmp_path: Path, damage: Any, faults: dict[str, int | None]):
    store = Store(tmp_path)
    damage(store)
    got = store.faults()
    assert set(got) == set(faults)
    assert all(n in (None, got[name]) for name, n in faults.items())


def test_the_statistic_is_that_of_pearson_where_all_propensities_are_equal():
    p, given = np.array([0.2, 0.3, 0.5]), np.random.default_rng(3).choice(3, 200, p=[0.2, 0.3, 0.5])
    rows = [SimpleNamespace(propensities=tuple(p.tolist()), treatment=NAMES[j]) for j in given]
    expected = stats.chisquare(np.bincount(given, minlength=3), 200 * p)
    got = chi_square(rows, list(NAMES))
    assert (got["statistic"], got["p"]) == pytest.approx((expected.statistic, expected.pvalue))


def test_times_of_open_load_count_from_when_a_request_was_due():
    """A server that stalls for 0.4 seconds once: the requests that were due meanwhile have waited for it."""
    stall, stalled = threading.Lock(), threading.Event()

    def serve(connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as lines:
            while head := b"".join(iter(lines.readline, b"\r\n")) if lines.peek(1) else b"":
                lines.read(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
                with stall:
                    if not stalled.is_set():
                        stalled.set()
                        time.sleep(0.4)
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            for _ in range(CONNECTIONS):
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

        thread = threading.Thread(target=accept)
        thread.start()
        got = asyncio.run(_Load(f"http://127.0.0.1:{listener.getsockname()[1]}", {"age": 3}, 100.0).run(1.0))
        thread.join(10)
    assert got.failed == 0
    assert got.rate == pytest.approx(100, rel=0.3)
    assert got.p99 > 300
    assert got.p50 < 300
