"""One process of load: asks by the client, once and again, and reports outcomes; every answer is a line of a file."""

from __future__ import annotations

import asyncio
import heapq
import json
import logging
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from benchmarks.service.server import CAMPAIGN, features
from largesse.client import Ask, AsyncClient, Decision, Outcome, Receipt
from largesse.errors import LargesseError

_AGAIN, _HASTY, _REPORTED = 0.03, 0.03, 0.9  # shares: asked again, asked with no patience, decisions with an outcome
_SECONDS = 120.0  # patience of a caller who insists


class Load(NamedTuple):
    """What one process asks.

    Attributes:
        url: Address of the service.
        number: Number of the process.
        decisions: How many asks are answered before it ends.
        seconds: It ends after this time at the latest.
        units: Units are drawn from so many.
        mark: First letters of their ids, other ones in every run: draws are hashes of them.
        single: Callers that ask for one unit at a time.
        batches: Callers that ask for many.
        batch: Units of a batch.
        late: Seconds after which a late outcome is reported.
        control: Treatment without a service.
        columns: Columns that the policy reads.
        folder: Where the files are written.
    """

    url: str
    number: int
    decisions: int
    seconds: float
    units: int
    mark: str
    single: int
    batches: int
    batch: int
    late: float
    control: str
    columns: list[dict[str, Any]]
    folder: Path


class Caller:
    """The clients of a process, what they ask, and what they note."""

    def __init__(self, load: Load, answers: TextIO, receipts: TextIO) -> None:
        self.load, self.answers, self.receipts = load, answers, receipts
        self.rng = random.Random(load.number)
        self.end = time.monotonic() + load.seconds
        self.client = AsyncClient(load.url, timeout=2.0, deadline=_SECONDS, patience=_SECONDS, retries=1_000_000)
        self.hasty = AsyncClient(load.url, timeout=0.02, deadline=0.02, retries=0, fallback={CAMPAIGN: load.control})
        self.count, self.counts = 0, Counter[str]()
        self.due: list[tuple[float, int, Outcome]] = []
        self.asking = True

    def goes_on(self) -> bool:
        """Whether more is to be asked."""
        return self.counts["answers"] < self.load.decisions and time.monotonic() < self.end

    def ask(self) -> Ask:
        """Returns a new ask of a unit drawn at random."""
        self.count += 1
        unit = self.rng.randrange(self.load.units)
        return Ask(
            f"{self.load.mark}{unit}",
            features(self.load.columns, unit),
            CAMPAIGN,
            None,
            f"{self.load.number}-{self.count}",
        )

    async def one_at_a_time(self) -> None:
        """Asks for one unit after the other; some asks are sent again, some by a caller who does not wait."""
        while self.goes_on():
            ask = self.ask()
            if self.rng.random() < _HASTY:
                early = await self.hasty.decide(*ask)
                self.counts["offline"] += early.offline
                got = await self.client.decide(*ask)
                if early.offline and got.treatment != early.treatment:
                    self.later(0.0, Outcome(str(got.id), f"void {ask.key}", void=True))
                    self.note(got)
                    continue
            else:
                got = await self.client.decide(*ask)
            self.note(got)
            if self.rng.random() < _AGAIN:
                self.note(await self.client.decide(*ask))
            self.report(got)

    async def many_at_once(self) -> None:
        """Asks for batches of units."""
        while self.goes_on():
            asks = [self.ask() for _ in range(self.load.batch)]
            for got in await self.client.decide_many(asks):
                if isinstance(got, Decision):
                    self.note(got)
                    self.report(got)
                else:
                    self.counts["refused"] += 1

    def note(self, got: Decision) -> None:
        """Writes an answer."""
        self.counts["answers"] += 1
        self.counts["repeated"] += got.repeated
        row = [got.id, got.key, got.unit, got.period, got.treatment, got.propensity]
        self.answers.write(json.dumps(row) + "\n")

    def report(self, got: Decision) -> None:
        """Plans the outcomes of a new decision: whole, in parts, with a refund, void, or late."""
        if got.repeated or self.rng.random() > _REPORTED:
            return
        identity, cost, wait = str(got.id), float(got.cost or 0), self.rng.expovariate(1.0)
        paid = round(cost * self.rng.uniform(0.6, 1.2), 2)  # about a third is beyond its reservation
        (kind,) = self.rng.choices(("whole", "parts", "refund", "void", "late"), (5, 2, 1, 1, 1))
        key = f"{kind} {got.key}"
        if kind == "void":
            self.later(wait, Outcome(identity, key, void=True))
            return
        first = paid / 2 if kind == "parts" else paid
        self.later(wait + self.load.late * (kind == "late"), Outcome(identity, key, first, 1.0, kind != "parts"))
        if kind == "parts":
            self.later(2 * wait, Outcome(identity, f"{key} rest", first, 1.0))
        if kind == "refund":
            self.later(2 * wait, Outcome(identity, f"{key} back", -paid / 2))

    def later(self, wait: float, outcome: Outcome) -> None:
        """Reports an outcome after a time."""
        self.count += 1
        heapq.heappush(self.due, (time.monotonic() + wait, self.count, outcome))

    async def reporting(self) -> None:
        """Reports what is due; some of it twice. At the end all that waits, whether it is due or not."""
        while self.asking or self.due:
            some = list[Outcome]()
            while self.due and len(some) < 500 and (self.due[0][0] <= time.monotonic() or not self.asking):
                some.append(heapq.heappop(self.due)[2])
            if not some:
                await asyncio.sleep(0.05)
                continue
            got = await self.client.outcomes(some)
            if self.rng.random() < _AGAIN:
                got = await self.client.outcomes(some)
            for one, receipt in zip(some, got, strict=True):
                if isinstance(receipt, Receipt):
                    self.receipts.write(json.dumps([one.key, one.decision, one.cost, one.void]) + "\n")
                else:
                    self.counts["void refused" if one.void else "outcomes refused"] += 1

    async def insisting(self, task: Any) -> None:
        """Goes on after an error, and counts it."""
        while True:
            try:
                return await task()
            except LargesseError as error:
                self.counts[f"{type(error).__name__}: {str(error)[:200]}"] += 1
                if not self.goes_on() and task != self.reporting:
                    return None

    async def run(self) -> dict[str, int]:
        """Asks until all is answered or the time is over; returns counts."""
        start = time.monotonic()
        callers = [self.one_at_a_time] * self.load.single + [self.many_at_once] * self.load.batches
        reporter = asyncio.create_task(self.insisting(self.reporting))
        await asyncio.gather(*(self.insisting(task) for task in callers))
        self.counts["milliseconds"] = round(1000 * (time.monotonic() - start))
        self.asking = False
        await reporter
        await self.client.close()
        await self.hasty.close()
        return dict(self.counts)


def drive(load: Load) -> dict[str, int]:
    """Runs one process of load; returns its counts, and leaves its answers and receipts in files."""
    logging.getLogger("largesse.client").setLevel(
        logging.ERROR
    )  # every offline decision is a warning, and here counted
    with (
        open(load.folder / f"answers-{load.number}.jsonl", "w") as answers,
        open(load.folder / f"receipts-{load.number}.jsonl", "w") as receipts,
    ):
        return asyncio.run(Caller(load, answers, receipts).run())
