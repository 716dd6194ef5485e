"""`Service`: what one worker process has of the campaigns, and the thread that keeps it up to date and renews prices."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from largesse import _check
from largesse.errors import LargesseError
from largesse.roles import nearest
from largesse.serving.http.access import Keyring
from largesse.serving.http.challengers import Challenger, check_challenger, rows_of, salted
from largesse.serving.http.decisions import Decisions, Question, Served
from largesse.serving.http.groups import GroupCommit
from largesse.serving.http.menus import Loaded, load_run, same_menu
from largesse.serving.http.metrics import Metrics
from largesse.serving.http.problems import refused
from largesse.serving.http.settings import ServerSettings
from largesse.serving.http.shadows import Shadows
from largesse.serving.http.together import alike_of, decide_alike, documents
from largesse.serving.ledger.accounts import terms_of
from largesse.serving.ledger.book import Ledger
from largesse.serving.ledger.changes import RUN, note_change, reason
from largesse.serving.ledger.pricing import elected
from largesse.serving.ledger.store import checkpoint, reading, writing
from largesse.serving.ledger.survival import HIGHEST, LOWEST
from largesse.serving.ledger.tables import campaigns, served
from largesse.serving.ledger.terms import Outcome, Status

__all__ = ["Service", "put_run"]

Floats = NDArray[np.float64]
_FOLLOW = 2.0  # seconds between two looks for keys, campaigns and runs
_CHECKPOINT = 0.1  # seconds between two checkpoints
_log = logging.getLogger("largesse.serving")
_SERVED = sa.select(served, campaigns.c.settings, campaigns.c.price).join(
    campaigns, campaigns.c.name == served.c.campaign
)


def put_run(
    engine: sa.Engine, campaign: str, loaded: Loaded, *, features: bool, now: float, why: str = "", by: str = ""
) -> None:  # fmt: skip
    """Stores which run decides in a campaign, with a line of the journal; all workers follow within seconds.

    Raises:
        StoreError: The store failed.
    """
    row = {"run": str(loaded.run), "version": loaded.version, "features": features, "changed": now}
    with writing(engine) as connection:
        stored = connection.execute(
            sa.select(served.c.run, served.c.version).where(served.c.campaign == campaign)
        ).first()
        before = None if stored is None else {"run": stored.run, "version": stored.version}
        after = {"run": row["run"], "version": row["version"]} | reason(why, by)
        note_change(connection, campaign, RUN, before, after, now)
        if not connection.execute(sa.update(served).where(served.c.campaign == campaign).values(**row)).rowcount:
            connection.execute(served.insert().values(campaign=campaign, **row))


class Service:
    """The campaigns, keys and threads of a worker process.

    Args:
        ledger: The open ledger; the service closes it.
        settings: The settings of the server.
        names: The campaigns that this server serves.
    """

    def __init__(self, ledger: Ledger, settings: ServerSettings, names: tuple[str, ...]) -> None:
        self.ledger, self.settings, self.names = ledger, settings, names
        self.keyring = Keyring(settings.keys, ledger.clock)
        self.metrics = Metrics()
        self.decisions = Decisions(ledger, settings.deadline, settings.queue, self._together)
        self.shadows = Shadows(ledger, settings.queue, self.metrics.dropped)
        self.outcomes: GroupCommit[list[Outcome]] = GroupCommit(self._outcomes, "outcomes", settings.queue)
        self._served: dict[str, Served] = {}
        self._refused: dict[str, str] = {}
        self._clamped: set[str] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending, self._following = threading.Event(), threading.Lock()
        self._thread = threading.Thread(target=self._maintain, name="maintain", daemon=True)
        self._checkpoints = threading.Thread(target=self._checkpoint, name="checkpoint", daemon=True)
        self._holder = f"{socket.gethostname()}-{os.getpid()}"

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Loads the runs and starts the threads.

        Raises:
            LargesseError: The store cannot be read, or a run not loaded.
        """
        self._loop = loop
        self.follow(strict=True)
        self.decisions.start(loop)
        self.outcomes.start(loop)
        self.shadows.start()
        self._thread.start()
        self._checkpoints.start()

    def stop(self) -> None:
        """Ends the threads and closes the store."""
        self._ending.set()
        self.decisions.stop()
        self.outcomes.stop()
        self.shadows.stop()
        for thread in (self._thread, self._checkpoints):
            if thread.is_alive():
                thread.join(5.0)
        self.ledger.close()

    def _together(
        self, questions: Sequence[Question], value: Floats, cost: Floats, votes: Floats | None
    ) -> Sequence[Any] | None:
        """Returns the answer to each of some questions of one run, or the error that it ends with; they are counted."""
        if (alike := alike_of(questions, feed=False)) is None:
            return None
        got = decide_alike(self.ledger, self.metrics, alike, value, cost, votes)
        self.shadows.offer_together(alike.served, (one.given for one in questions), got.answers)
        return documents(alike, got)

    def now(self) -> float:
        """Returns the time of the event loop's clock."""
        assert self._loop is not None, "not started"
        return self._loop.time()

    def served(self, campaign: str | None) -> Served:
        """Returns a campaign in service.

        Args:
            campaign: Its name; None: the only one.

        Raises:
            Refused: It is not served here (404), or there are several (422).
        """
        every = self._served
        if campaign is None:
            if len(every) == 1:
                return next(iter(every.values()))
            detail = f"campaign: is missing, and this server has {len(every)}: {', '.join(every)}. Name one."
            raise refused(422, detail, "campaign")
        one = every.get(campaign)
        if one is None:
            detail = f"campaign == {campaign[:100]!r}: is not served here. {nearest(campaign, list(every))}The campaigns are "
            raise refused(404, f"{detail}{', '.join(every)}.", "campaign", campaign[:100])
        return one

    def ready(self) -> str:
        """Returns "" if the service can answer, else why not."""
        if self.decisions.stuck:
            return "A decision has been in progress for more than ten seconds."
        try:
            with reading(self.ledger.engine) as connection:
                connection.execute(sa.select(served.c.campaign).limit(1)).all()
        except LargesseError:
            return "The store of the ledger does not answer."
        return "" if set(self._served) >= set(self.names) else "A run is not loaded."

    def follow(self, *, strict: bool = False) -> None:
        """Reads keys, campaigns and runs from the store, and loads runs that changed; requests in progress keep the old one.

        Args:
            strict: Raise if a run cannot be loaded; otherwise the old one goes on, and the log says so.

        Raises:
            LargesseError: The store cannot be read; with `strict`, a run cannot be loaded.
        """
        with self._following:
            self._follow(strict)

    def _follow(self, strict: bool) -> None:
        with reading(self.ledger.engine) as connection:
            self.keyring.renew(connection)
            rows = connection.execute(_SERVED.where(served.c.campaign.in_(self.names))).all()
            tried = rows_of(connection, self.names)
        every = dict(self._served)
        for row in rows:
            old = every.get(row.campaign)
            if old is not None and (old.loaded.version, str(old.loaded.run), old.features) == (
                row.version,
                row.run,
                row.features,
            ):
                continue
            if self._refused.get(row.campaign) == row.version and not strict:
                continue
            treatments = terms_of(row.settings).campaign.treatments
            try:
                loaded = load_run(Path(row.run))
                same_menu(treatments, loaded.policy, row.campaign)
            except LargesseError as error:
                if strict and old is None:
                    raise
                self._refused[row.campaign] = row.version
                _log.error("Campaign %s keeps its run: %s", row.campaign, error)
                continue
            every[row.campaign] = Served(row.campaign, treatments, loaded, row.features)
            if old is not None:
                _log.warning("Campaign %s is decided by %s from now on.", row.campaign, loaded.version)
        for row in rows:
            if (one := every.get(row.campaign)) is not None:
                terms = terms_of(row.settings)
                voting = row.price if terms.campaign.exploration == "thompson" else None
                challenger = self._challenger(one, tried.get(row.campaign), terms.draws.salt)
                every[row.campaign] = one._replace(voting=voting).tried(challenger)
        self._served = every

    def _challenger(self, one: Served, row: Any, salt: str) -> Challenger | None:
        """Returns the challenger of a campaign as stored; None, and a line in the log, where it cannot be tried."""
        if row is None or row.version == one.loaded.version:
            return None
        old = self._served[one.name].challenger if one.name in self._served else None
        if self._refused.get(f"challenger of {one.name}") == f"{row.version} beside {one.loaded.version}":
            return None
        prefix = salted(salt, one.name, row.version)
        try:
            loaded = old.loaded if old is not None and old.loaded.version == row.version else load_run(Path(row.run))
            check_challenger(one.loaded, loaded, one.name)
        except LargesseError as error:
            self._refused[f"challenger of {one.name}"] = f"{row.version} beside {one.loaded.version}"
            _log.error("Campaign %s goes on without its challenger: %s", one.name, error)
            return None
        made = Challenger(loaded, row.share, bool(row.shadow), prefix)
        if made != old:
            _log.warning("Campaign %s: %s is tried on a share of %s.", one.name, loaded.version, row.share)
        return made

    def _maintain(self) -> None:
        """Follows the store, and releases matured reservations and renews prices, in the one process that is elected."""
        priced = 0.0
        while not self._ending.wait(_FOLLOW):
            try:
                self.follow()
                if (now := time.monotonic()) - priced >= self.settings.reprice:
                    priced = now
                    self._price()
            except LargesseError as error:  # the store may answer again
                _log.error("Upkeep failed and will be tried again: %s", error)
            except Exception:
                _log.exception("Upkeep failed and will be tried again")

    def _checkpoint(self) -> None:
        """Keeps the store's write-ahead log short, beside the transactions, so that none of them has to."""
        while not self._ending.wait(_CHECKPOINT):
            try:
                checkpoint(self.ledger.engine)
            except LargesseError as error:  # a transaction does it instead
                _log.warning("A checkpoint of the store failed and will be tried again: %s", error)

    def _price(self) -> None:
        hold = 3 * self.settings.reprice
        if self._elected("expire", hold):  # first: the price counts on the money that comes free
            self.ledger.expire()
        mine = self.ledger.reprice(self._holder, hold=hold)
        for name in self._served:
            status = self.ledger.status(name)
            self.metrics.status(status)
            if name in mine and status.clamped != (name in self._clamped):
                self._clamped ^= {name}
                _log.warning("Campaign %s: %s", name, _clamped(status))

    def _elected(self, task: str, hold: float) -> bool:
        with writing(self.ledger.engine) as connection:
            return elected(connection, task, self._holder, self.ledger.clock(), hold)

    def _outcomes(self, given: list[list[Outcome]]) -> list[object]:
        """Counts the outcomes of several requests at once; returns those of each."""
        results = self.ledger.outcomes([one for several in given for one in several])
        out, at = list[object](), 0
        for several in given:
            out.append(results[at : at + len(several)])
            at += len(several)
        return out


def _clamped(status: Status) -> str:
    """Returns what the log says when the price begins or ceases to count on an end of the band."""
    ratio = (
        f"{_check.written(status.ratio, 3)} of each unit of money reserved is paid (95 % interval "
        f"{_check.written(status.ratio_low, 3)} to {_check.written(status.ratio_high, 3)})"
    )
    if not status.clamped:
        return f"{ratio}, within {LOWEST} to {HIGHEST} again."
    return f"{ratio}; the price counts on no less than {LOWEST} and no more than {HIGHEST}. Check the predicted costs."
