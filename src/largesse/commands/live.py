"""`largesse demo --live`: three weeks of a simulated campaign in a minute, through the service and every command of the loop.

A server of this process, on the loopback address, decides for a simulated shop. Its clock runs so that the campaign ends now:
what is a day in the ledger takes about two seconds. Every night the monitor looks; after the first week `update` learns a
challenger from what came back, which is tried on half of the customers, and `promote` looks at the evidence every night.
"""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
import uvicorn

from largesse._files import atomic_folder, may_write
from largesse.allocate import solve
from largesse.client import Ask, Client, Outcome
from largesse.commands.findings.live import document, headline, sections
from largesse.commands.fit import fit
from largesse.commands.live_shop import AMOUNTS, ORDER, Day, Event, Live, Lived, Scale, Shop
from largesse.commands.promote import promote
from largesse.commands.run_folder import open_run
from largesse.commands.update import update
from largesse.errors import StoreError
from largesse.evaluate import true_value
from largesse.menu import Menu
from largesse.progress import Say, silent
from largesse.report.files import write_report
from largesse.report.numbers import count
from largesse.result import json_text
from largesse.serving import Campaign, Ledger, monitor
from largesse.serving.http.app import App
from largesse.serving.http.challengers import put_challenger
from largesse.serving.http.connection import Connection
from largesse.serving.http.menus import load_run
from largesse.serving.http.service import Service, put_run
from largesse.serving.http.settings import ServerSettings
from largesse.serving.ledger.store import writing
from largesse.serving.ledger.tables import challengers, journal, served
from largesse.serving.watch.reading import DAY

__all__ = ["Event", "Live", "Lived", "live"]

NAME, STORE, MARKER = "live", "ledger.db", "report.html"
_STARTING = 20.0  # seconds until the server must answer
_PARTS = 4  # requests of a day
_WEEK = 7
_TERMS = {"holdout": 0.05, "explore": 0.1, "matures": DAY / 2}
_TRIED = 0.5  # share of the customers that the challenger decides
Line = Callable[[str], None]


def live(folder: Path, say: Say = silent, *, line: Line | None = None, scale: Scale | None = None) -> Live:
    """Returns the finished demonstration; its folder is written whole or not at all.

    Args:
        folder: Made, or replaced if a demonstration made it.
        say: Called with each stage and the share of the work that is done.
        line: Called with a line for each day, and for each event.
        scale: How large it is; None: three weeks of 3,000 customers a day.

    Raises:
        MissingDependency: The extra `serve` or `client` is not installed.
        StoreError: The folder cannot be written.
    """
    may_write(folder, replace=True, marker=MARKER)
    shop = Shop(scale or Scale())
    with atomic_folder(folder, replace=True, marker=MARKER) as place:
        done = _Campaign(shop, place, say, line or (lambda text: None)).run()
        done = replace(done, folder=folder)
        _settle(place, folder.resolve())
        write_report(headline(done), sections(done), {}, place)
        (place / "live.json").write_text(json_text(document(done)), encoding="utf-8")
    say("done", 1.0)
    return done


class _Clock:
    """A clock that is set by hand."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class _Campaign:
    """The campaign while it runs."""

    def __init__(self, shop: Shop, place: Path, say: Say, line: Line) -> None:
        self.shop, self.scale, self.place, self.say, self.line = shop, shop.scale, place, say, line
        self.start = (time.time() // DAY - self.scale.days) * DAY
        self.clock, self.store = _Clock(self.start), f"sqlite:///{place / STORE}"
        self.budget = shop.budget()
        self.days, self.events = list[Lived](), list[Event]()
        self.alarms = set[tuple[str, str]]()
        self.tried = ""

    def run(self) -> Live:
        """Runs the campaign and returns what came of it."""
        self.say("fitting the first run", 0.0)
        rows = self.place / "trial"
        rows.mkdir()
        fit(self.shop.configuration(rows), folder=self.place / "first", fast=True)
        with Ledger.open(self.store, clock=self.clock) as ledger:
            self._begin(ledger)
            with _serving(self._service()) as (client, service):
                for day in range(self.scale.days):
                    self.say(f"day {day + 1}", 0.2 + 0.75 * day / self.scale.days)
                    self._day(day, client, ledger, service)
            self.clock.now = self.start + (self.scale.days + 1) * DAY
            ledger.expire()
            monitored = monitor(ledger, NAME, run=self.place / "first", value_per_unit=ORDER)
        return Live(self.place, tuple(self.days), tuple(self.events), monitored, self.scale, self.budget)

    def _begin(self, ledger: Ledger) -> None:
        first = load_run(self.place / "first")
        end, units = self.start + self.scale.days * DAY, float(self.scale.days * self.scale.per_day)
        price = solve(
            self._menu(self.place / "first", self.shop.customers(self.scale.days)), self.budget / self.scale.days
        ).price
        ledger.start(
            Campaign(
                name=NAME, treatments=self.shop.coupons, budget=self.budget, until=end, price=price, units=units, **_TERMS  # type: ignore[arg-type]
            )
        )  # fmt: skip
        put_run(ledger.engine, NAME, first, features=True, now=self.clock())

    def _service(self) -> Service:
        server = ServerSettings(store=self.store, keys=False, log="error")
        return Service(Ledger.open(self.store, clock=self.clock), server, (NAME,))

    def _menu(self, run: Path, day: Day) -> Menu:
        policy = open_run(run)[1]
        assert policy.encoder is not None, "a run has an encoder"
        return policy.model.predict(policy.encoder.transform(day.features))

    # ---- a day, and the night after it

    def _day(self, number: int, client: Client, ledger: Ledger, service: Service) -> None:
        day = self.shop.customers(number)
        features, n = day.features.to_pylist(), self.scale.per_day
        given = np.zeros(n, np.intp)
        for part, rows in enumerate(np.array_split(np.arange(n), _PARTS)):
            self.clock.now = self.start + (number + (part + 0.5) / _PARTS) * DAY
            service.follow()
            asks = [Ask(f"customer {number}-{i}", features[i], NAME) for i in rows]
            answers = client.decide_many(asks)
            for i, one in zip(rows, answers, strict=True):
                if isinstance(one, Exception):
                    raise one
                given[i] = self.shop.coupons.index(one.treatment)
            code = given[rows]
            ordered = day.chance[rows] < day.value[rows, code]
            client.outcomes(
                [
                    Outcome(str(one.id), f"order {number}-{i}", cost=AMOUNTS[j] * bought, value=float(bought))  # type: ignore[union-attr]
                    for i, one, j, bought in zip(rows, answers, code, ordered, strict=True)
                ]
            )
            ledger.expire()
            ledger.reprice("demo", hold=1.0)
        self._close(number, day, given, ledger)
        self._night(number, ledger)

    def _close(self, number: int, day: Day, given: Any, ledger: Ledger) -> None:
        truth, at = self.shop.truth(day), np.arange(len(given))
        spend = [float(truth.cost[at, given].mean())]
        stays, best = (
            float(true_value(menu, truth, spend)[0]) for menu in (self._menu(self.place / "first", day), truth)
        )
        status = ledger.status(NAME)
        self.days.append(
            Lived(
                number + 1, status.decided, status.spent, self.budget * (number + 1) / self.scale.days, status.price,
                float(truth.value[at, given].mean()), stays, best,
            )
        )  # fmt: skip
        one = self.days[-1]
        self.line(
            f"day {one.day:>2}  {count(one.decisions)} decisions  {number_of(one.spent)} of {number_of(self.budget)} EUR paid  "
            f"price {one.price:.3f}"
        )

    def _night(self, number: int, ledger: Ledger) -> None:
        self.clock.now = self.start + (number + 1) * DAY - 1
        for one in monitor(ledger, NAME, run=self.place / "first", value_per_unit=ORDER).alarms:
            treatment = one.about.partition(" (")[0]  # without the run, which is named once a second one decides, too
            if (one.name, treatment) not in self.alarms:
                self.alarms.add((one.name, treatment))
                about = f": {treatment}" if treatment else ""
                self._note(number, "largesse monitor", f"alarm: {one.name}{about}. {one.next_step}")
        if number + 1 == _WEEK:
            self._update(number, ledger)
        elif self.tried:
            self._promote(number, ledger)

    def _update(self, number: int, ledger: Ledger) -> None:
        done = update(self.place / "first", self.store, self.place / "second", campaign=NAME, fast=True)
        self._note(number, "largesse update", done.sentence)
        second = load_run(self.place / "second")
        put_challenger(ledger.engine, NAME, second, share=_TRIED, shadow=False, now=self.clock())
        self.tried = second.version
        self._note(number, "largesse serve", f"{second.version} is tried on {_TRIED:.0%} of the customers.")

    def _promote(self, number: int, ledger: Ledger) -> None:
        done = promote(self.store, campaign=NAME)
        if done.action in ("promoted", "ended"):
            self.tried = ""
            self._note(number, "largesse promote", f"{done.challenger} is {done.action}: {done.sentence}.")

    def _note(self, number: int, command: str, sentence: str) -> None:
        self.events.append(Event(number + 1, command, sentence))
        self.line(f"        {command}: {sentence}")


def _settle(place: Path, folder: Path) -> None:
    """Writes the final place of the runs where the ledger and their configurations name it."""
    for config in place.glob("*/config.toml"):
        config.write_text(config.read_text(encoding="utf-8").replace(str(place), str(folder)), encoding="utf-8")
    with Ledger.open(f"sqlite:///{place / STORE}") as ledger, writing(ledger.engine) as connection:
        for table in (served, challengers):
            run = sa.func.replace(table.c.run, str(place), str(folder))
            connection.execute(sa.update(table).values(run=run))
        written, final = (json.dumps(str(one))[1:-1] for one in (place, folder))
        lines = {name: sa.func.replace(journal.c[name], written, final) for name in ("before", "after")}
        connection.execute(sa.update(journal).values(**lines))


def number_of(amount: float) -> str:
    """Returns an amount of money without its unit."""
    return count(round(amount))


@contextmanager
def _serving(service: Service) -> Iterator[tuple[Client, Service]]:
    """Serves in a thread of this process, at a free port of the loopback address."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(64)
    connection: Any = partial(Connection, patience=10.0)
    logging.getLogger("largesse.serving").setLevel(logging.ERROR)
    server = uvicorn.Server(
        uvicorn.Config(
            App(lambda: service), http=connection, lifespan="on", access_log=False, log_level="error", ws="none",
            server_header=False,
        )
    )  # fmt: skip
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="server", daemon=True)
    thread.start()
    end = time.monotonic() + _STARTING
    while not server.started:
        if not thread.is_alive() or time.monotonic() > end:
            raise StoreError("The server of the demonstration did not start. Run it again.")
        time.sleep(0.02)
    host, port = listener.getsockname()[:2]
    try:
        with Client(f"http://{host}:{port}", timeout=10.0, deadline=60.0, patience=60.0) as client:
            yield client, service
    finally:
        server.should_exit = True
        thread.join(_STARTING)
        listener.close()
