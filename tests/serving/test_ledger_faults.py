"""The ledger under faults: failing statements, duplicates, outcomes out of order, and processes that are killed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sqlalchemy", reason="the extra 'serve' is not installed")

import sqlalchemy as sa

from largesse.errors import StoreError
from largesse.serving import Answer, Ledger, Outcome, Receipt
from largesse.serving.ledger import tables
from largesse.serving.ledger.store import reading
from tests.common.ledgers import Clock, ask, campaign, check_sums

EVENTS = {"sqlite": 40_000, "postgresql": 20_000}


class Faults:
    """Lets a share of the transactions fail: before or after one of their statements, or at the commit."""

    def __init__(self, engine: sa.Engine, seed: int) -> None:
        self.random, self.left, self.count = random.Random(seed), -1, 0
        for event in ("before_cursor_execute", "after_cursor_execute", "commit"):
            sa.event.listen(engine, event, self.step)

    def arm(self, share: float) -> None:
        self.left = self.random.randint(0, 16) if self.random.random() < share else -1

    def step(self, *_: Any) -> None:
        if self.left == 0:
            self.left, self.count = -1, self.count + 1
            raise sa.exc.OperationalError("a fault", None, OSError("disk full"))
        self.left -= 1


def insisting(faults: Faults, task: Callable[[], Any]) -> Any:
    """What a client does: it sends the same again until it has an answer. Some answers are lost on their way."""
    while True:
        faults.arm(0.1)
        try:
            result = task()
        except StoreError:
            continue
        faults.left = -1
        if faults.random.random() > 0.05:
            return result


@pytest.mark.slow
def test_a_simulation_with_faults(store: str):
    """Compared with the rules: one decision a unit and period, one count an outcome, and never above the budget."""
    rng, clock = random.Random(5), Clock()
    answers: dict[str, Answer] = {}
    by_unit: dict[tuple[int, str], Answer] = {}
    paid: dict[str, int] = {}
    waiting: list[Outcome] = []
    events = 0
    with Ledger.open(store, clock=clock) as ledger:
        ledger.start(campaign(budget=9000.0, until=1e6, explore=0.3, period=5000.0, matures=300.0, holdout=0.1))
        faults = Faults(ledger.engine, 7)
        while events < EVENTS[store.partition(":")[0]]:
            clock.now += rng.expovariate(1 / 20)
            asks = []
            for _ in range(rng.randint(100, 700)):
                unit = f"u{rng.randint(0, 40_000)}"
                key = rng.choice([None, f"{unit}@{clock.now:.0f}"])
                asks.append(
                    ask(unit, key=key, value=[0, rng.random(), 2 * rng.random()], cost=[0, rng.random(), 1.005])
                )
            asks += rng.sample(asks, 20)
            for given, answer in zip(asks, insisting(faults, lambda a=asks: ledger.decide(a)), strict=True):
                if not isinstance(answer, Answer):  # the same key with another menu
                    assert given.key is not None
                    continue
                known = answers.setdefault(answer.id, answer)
                assert by_unit.setdefault((answer.period, answer.unit), answer).id == answer.id
                assert known._replace(repeated=False) == answer._replace(repeated=False)
                if known is answer:
                    waiting += parts(rng, answer)
            rng.shuffle(waiting)
            taken, waiting = waiting[:600], waiting[600:]
            taken += rng.sample(taken, len(taken) // 10)
            new = {one.key for one in taken if one.key not in paid}
            for receipt in insisting(faults, lambda t=taken: ledger.outcomes(t)):
                assert isinstance(receipt, Receipt)
            paid |= {one.key: round(one.cost * 100) for one in taken if one.key in new}
            insisting(faults, ledger.expire)
            if rng.random() < 0.2:
                insisting(faults, lambda: ledger.reprice("me"))
            events += len(asks) + len(taken)
            status = ledger.status("c")
            assert status.spent + status.reserved <= status.budget + 1e-9 + status.beyond
        row = check_sums(ledger, within_budget=False)
        assert faults.count > 10
        assert row.decided == len(answers)
        assert row.spent == sum(paid.values())
        assert {a.kind for a in answers.values()} == {"holdout", "explore", "policy"}


def parts(rng: random.Random, answer: Answer) -> list[Outcome]:
    """Outcomes of a decision: none, one, or several with a refund; seldom more than was reserved."""
    if rng.random() < 0.3:
        return []
    cents = round(answer.reservation * 100)
    first = rng.randint(0, cents)
    pieces = [first, cents - first] if rng.random() < 0.3 else [first]
    if rng.random() < 0.1:
        pieces.append(-rng.randint(0, first))
    if rng.random() < 0.01:
        pieces.append(7)
    return [
        Outcome(answer.id, f"{answer.id}/{k}", cost=cost / 100, value=1.0, final=k == len(pieces) - 1)
        for k, cost in enumerate(pieces)
    ]


WORKER = """
import json, random, sys, time
from largesse.serving import Ledger, Outcome
from tests.common.ledgers import ask
url, log, seed = sys.argv[1], sys.argv[2], int(sys.argv[3])
rng, number = random.Random(seed), 0
with open(log, "a", buffering=1) as out, Ledger.open(url, clock=time.time) as ledger:
    while True:
        asks = []
        for _ in range(rng.randint(1, 40)):
            unit = rng.randint(0, 3000)
            asks.append(ask(unit, key=f"{seed}-{number}", value=[0, rng.random(), rng.random()], cost=[0, 0.5, 1.0]))
            number += 1
        for answer in ledger.decide(asks):
            if not hasattr(answer, "id"):
                raise SystemExit(str(answer))
            out.write(json.dumps([answer.id, answer.unit, answer.treatment, answer.reservation]) + "\\n")
        some = [a for a in ledger.decide(asks) if a.reservation and rng.random() < 0.3]
        ledger.outcomes([Outcome(a.id, a.id, cost=a.reservation / 2) for a in some])
"""


def test_killed_processes(store: str, tmp_path: Path):
    """Two processes decide, and each is killed at random moments several times. Every answer is stored once, in budget."""
    rng, budget = random.Random(3), 600.0
    with Ledger.open(store, clock=time.time) as ledger:
        ledger.start(campaign(budget=budget, until=4e9, explore=0.2, price=0.1))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}

    def begin(seed: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", WORKER, store, str(tmp_path / f"{seed}.log"), str(seed)]
        return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)

    def answered(seed: int) -> list[list[Any]]:
        place = tmp_path / f"{seed}.log"
        lines = place.read_text().split("\n") if place.exists() else []
        return [json.loads(line) for line in lines[:-1]]  # the last line may be cut

    seeds, workers, begun = [0, 1], [begin(0), begin(1)], 2
    try:
        with Ledger.open(store) as ledger:
            for kill in range(6):
                which = kill % 2
                end = time.monotonic() + 60
                while len(answered(seeds[which])) < 30:
                    assert workers[which].poll() is None, workers[which].stderr.read()
                    assert time.monotonic() < end
                    time.sleep(0.02)
                    status = ledger.status("c")
                    assert status.spent + status.reserved <= budget
                time.sleep(rng.random() * 0.1)
                workers[which].send_signal(signal.SIGKILL)
                workers[which].communicate()
                seeds[which], workers[which], begun = begun, begin(begun), begun + 1
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()
    with Ledger.open(store) as ledger:
        row = check_sums(ledger)
        with reading(ledger.engine) as connection:
            rows = connection.execute(sa.select(tables.decisions)).all()
        stored = {r.id: [r.id, r.unit, r.treatment, r.reservation / 100] for r in rows}
        every = [line for seed in range(begun) for line in answered(seed)]
        assert len(every) > 180
        assert all(stored[line[0]] == line for line in every)
        assert row.spent > 0
        assert len({r.unit for r in rows}) == len(rows) == row.decided
