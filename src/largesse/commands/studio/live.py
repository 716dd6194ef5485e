"""A campaign in service, for the studio: its money now, its signals as of the last look, and what changes what decides.

The money is read anew each time. The signals, the sums of each run and the evidence about a challenger need the whole log: they
are computed at most every half minute, less often where that takes long, and say of when they are.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from threading import Lock, Thread
from typing import Any, NamedTuple

import sqlalchemy as sa

from largesse import _check
from largesse.commands.promote import Promoted, promote
from largesse.config import Config, load
from largesse.errors import DataError, LargesseError, StoreError
from largesse.serving import Ledger, monitor
from largesse.serving.http.challengers import remove_challenger, same_features
from largesse.serving.http.menus import Loaded, load_run, same_menu
from largesse.serving.http.service import put_run
from largesse.serving.ledger import pricing
from largesse.serving.ledger.accounts import terms_of
from largesse.serving.ledger.changes import RUN, Change, changes
from largesse.serving.ledger.log import row_of
from largesse.serving.ledger.runs import RunCount, by_run
from largesse.serving.ledger.sharing import shared_budgets
from largesse.serving.ledger.store import reading
from largesse.serving.ledger.tables import challengers, served
from largesse.serving.ledger.terms import Campaign, Status
from largesse.serving.watch import rules
from largesse.serving.watch.lookup import named_campaign
from largesse.serving.watch.monitored import Monitored
from largesse.serving.watch.signals import Signal

__all__ = ["BACK", "BY", "DO", "END", "InService", "Now", "Run", "Watched"]

BY = "studio"
"""Who changes a campaign, in its journal."""
DO, END, BACK = "do", "end", "back"
"""What can be done: what the evidence supports, end the trial of the challenger, return to the run before."""
_EVERY, _PART = 30.0, 10.0  # seconds between two looks; a look takes at most a tenth of the time


class Run(NamedTuple):
    """A run that decides, is tried, or decided before.

    Attributes:
        version: Its version.
        place: Its folder.
        since: Since when, in seconds since 1970 (UTC).
        here: Whether its folder is on this machine.
        share: Share of the units that it decides, of a challenger.
        shadow: Whether its answers to the other units are stored.
        features: Whether what it reads is stored with the decisions.
    """

    version: str
    place: Path
    since: float
    here: bool
    share: float = 1.0
    shadow: bool = False
    features: bool = False


class Now(NamedTuple):
    """A campaign at this moment.

    Attributes:
        names: All campaigns of the ledger.
        status: Its money and counts.
        terms: Its terms.
        started: When it began, in seconds since 1970 (UTC).
        at: The time.
        pace: What is spent, and is expected to be of what is reserved, less the share of the time that is over.
        decides: The run that decides; None: none was served.
        tried: The challenger; None: there is none.
        before: The run that decided before; None: there was none.
        sharers: The campaigns that share its budget, this one included; (): it has its own.
        journal: What was changed so far, oldest first.
        config: The configuration of the run that decides; None: its folder is not here.
        stamp: Changes with what decides and what is tried.
    """

    names: tuple[str, ...]
    status: Status
    terms: Campaign
    started: float
    at: float
    pace: Signal
    decides: Run | None
    tried: Run | None
    before: Run | None
    sharers: tuple[str, ...]
    journal: tuple[Change, ...]
    config: Config | None
    stamp: str

    @property
    def plan(self) -> float:
        """What an even spend has paid by now: the budget times the share of the time that is over."""
        length = max(self.terms.until - self.started, 1e-9)
        return self.status.budget * min(1.0, max(0.0, (self.at - self.started) / length))


class Watched(NamedTuple):
    """What the log of a campaign says, as of the last look.

    Attributes:
        monitored: Its signals; None: they cannot be computed.
        problem: Why; "" where they are there.
        runs: What each run decided, and what that brought.
        planned: What `promote` would do with the challenger; None: there is none, or nothing can be said.
        no_plan: Why nothing can be said of the challenger; "" where there is none.
        at: When this was computed, in seconds since 1970 (UTC).
        seconds: How long it took.
    """

    monitored: Monitored | None
    problem: str
    runs: tuple[RunCount, ...]
    planned: Promoted | None
    no_plan: str
    at: float
    seconds: float


class _Looked:
    """The last look at a campaign, and the thread that looks anew."""

    def __init__(self) -> None:
        self.lock, self.ends = Lock(), 0.0
        self.got: Watched | None = None
        self.thread: Thread | None = None
        self.error: Exception | None = None


class InService:
    """The campaigns of a ledger. A store of an older version is brought to this one when it is opened, as by every command.

    Args:
        store: Address of the ledger.
        campaign: Name of the campaign that is shown first; None: the first one.
        clock: Returns the time in seconds since 1970 (UTC); None: that of the machine.

    Attributes:
        patience: Seconds that a page waits for the first look at a campaign; None: until it is there.
    """

    def __init__(self, store: str, campaign: str | None = None, clock: Callable[[], float] | None = None) -> None:
        self.store, self.campaign, self._clock = store, campaign, clock or time.time
        self._lock = Lock()
        self._ledger: Ledger | None = None
        self._file: tuple[int, int] | None = None
        self._looked: dict[str, _Looked] = {}
        self.patience: float | None = 1.5

    def now(self, campaign: str | None = None) -> Now:
        """Returns a campaign at this moment.

        Args:
            campaign: Its name; None: the one that is shown first.

        Raises:
            DataError: There is no such campaign.
            StoreError: The store cannot be opened.
        """
        ledger = self._open()
        names = self._names(ledger)
        name = campaign or self.campaign or (names[0] if names else named_campaign(ledger, None))
        if name not in names:
            known = (
                f"It has {', '.join(map(repr, names))}." if names else "It has none yet: `largesse serve` starts one."
            )
            raise _check.refuse("campaign", name, "is not in the ledger", known)
        row, status, at = row_of(ledger, name), ledger.status(name), ledger.clock()
        journal = tuple(changes(ledger, name))
        decides, tried, sharers = self._runs(ledger, name, status)
        stamp = hashlib.sha256(repr((name, decides, tried)).encode()).hexdigest()[:16]
        return Now(
            names=names, status=status, terms=terms_of(row.settings).campaign, started=row.started, at=at,
            pace=rules.spend(status, row.started, min(at, status.until)), decides=decides, tried=tried,
            before=_before(journal), sharers=sharers, journal=journal, config=_config(decides), stamp=stamp,
        )  # fmt: skip

    def watched(self, campaign: str, *, patience: float | None = None) -> Watched | None:
        """Returns what the log of a campaign says: as of at most half a minute ago, or of ten times as long as it takes.

        Args:
            campaign: Its name.
            patience: Seconds to wait for the first look, after which None is returned; later looks are made beside, and the one
                before is returned. None: wait for it.

        Raises:
            DataError: There is no such campaign.
            StoreError: The store cannot be opened.
        """
        now = self.now(campaign)
        with self._lock:
            looked = self._looked.setdefault(campaign, _Looked())
        with looked.lock:
            if looked.got is not None and time.monotonic() < looked.ends:
                return looked.got
            if looked.thread is None and looked.error is None:
                looked.thread = Thread(target=self._renew, args=(now, looked), name="look", daemon=True)
                looked.thread.start()
            thread = looked.thread
        if thread is not None and (looked.got is None or patience is None):
            thread.join(patience)
        with looked.lock:
            error, looked.error = looked.error, None
        if error is not None:
            raise error
        return looked.got

    def act(self, campaign: str, what: str, stamp: str) -> None:
        """Changes what decides in a campaign, with a line of its journal.

        Args:
            campaign: Its name.
            what: `DO`: what the evidence supports; `END`: end the trial of the challenger; `BACK`: the run before decides again.
            stamp: `Now.stamp` of what was shown.

        Raises:
            DataError: It was changed since it was shown, or there is nothing to end or to return to.
            StoreError: The store or a run folder cannot be used.
        """
        _check.choice("act", what, (DO, END, BACK))
        now, ledger = self.now(campaign), self._open()
        if stamp != now.stamp:
            raise _check.refuse(
                "campaign", campaign, "was changed since the page was shown", "Look at the page again, then decide."
            )
        if what == DO:
            promote(self.store, campaign=campaign, by=BY)
        elif what == END:
            if now.tried is None:
                raise _check.refuse("campaign", campaign, "no challenger is tried", "There is nothing to end.")
            remove_challenger(ledger.engine, campaign, now=now.at, why="ended by hand", by=BY)
        else:
            _back(ledger, now)
        self.forget(campaign)

    def forget(self, campaign: str) -> None:
        """Forgets the last look at a campaign, so that the next one is fresh."""
        with self._lock:
            self._looked.pop(campaign, None)

    def close(self) -> None:
        """Closes the ledger."""
        with self._lock:
            if self._ledger is not None:
                self._ledger.close()
            self._ledger = None

    # ---- reading

    def _open(self) -> Ledger:
        """Returns the open ledger; a file that was replaced or removed since is not taken for what it was."""
        with self._lock:
            file = _file_of(self.store)
            if self._ledger is not None and file != self._file:
                self._ledger.close()
                self._ledger = None
            if self._ledger is None:
                self._ledger = Ledger.open(self.store, create=False, clock=self._clock)
                self._file = _file_of(self.store)
            return self._ledger

    def _names(self, ledger: Ledger) -> tuple[str, ...]:
        with reading(ledger.engine) as connection:
            return tuple(sorted(pricing.names(connection)))

    def _runs(self, ledger: Ledger, name: str, status: Status) -> tuple[Run | None, Run | None, tuple[str, ...]]:
        """Returns the run that decides, the challenger, and the campaigns of the shared budget."""
        with reading(ledger.engine) as connection:
            deciding = connection.execute(sa.select(served).where(served.c.campaign == name)).first()
            tried = connection.execute(sa.select(challengers).where(challengers.c.campaign == name)).first()
            shared = [] if status.budget_of is None else shared_budgets(connection, status.budget_of)
        first = None if deciding is None else _run(deciding)._replace(features=bool(deciding.features))
        second = None if tried is None else _run(tried)._replace(share=float(tried.share), shadow=bool(tried.shadow))
        return first, second, shared[0].campaigns if shared else ()

    def _renew(self, now: Now, looked: _Looked) -> None:
        """Looks anew; what goes wrong is raised where the look is asked for next."""
        got, error = None, None
        try:
            got = self._look(now)
        except Exception as problem:
            error = problem
        with looked.lock:
            if got is not None:
                looked.got, looked.ends = got, time.monotonic() + max(_EVERY, _PART * got.seconds)
            looked.error, looked.thread = error, None

    def _look(self, now: Now) -> Watched:
        ledger, start, name = self._open(), time.monotonic(), now.status.campaign
        unit_value = None if now.config is None else now.config.outcome.unit_value
        monitored, problem, planned, no_plan = None, "", None, ""
        try:
            place = None if now.decides is None or not now.decides.here else now.decides.place
            monitored = monitor(ledger, name, run=place, value_per_unit=unit_value)
        except LargesseError as error:
            problem = str(error)
        if now.tried is not None:
            try:
                planned = promote(self.store, campaign=name, dry_run=True)
            except LargesseError as error:
                no_plan = str(error)
        runs = tuple(by_run(ledger, name))
        return Watched(monitored, problem, runs, planned, no_plan, ledger.clock(), time.monotonic() - start)


def _file_of(store: str) -> tuple[int, int] | None:
    """Returns what tells the file of SQLite from another one; None: it is not there, or the store is no file."""
    try:
        url = sa.make_url(store)
        about = Path(str(url.database)).stat() if url.get_backend_name() == "sqlite" else None
    except (OSError, ValueError, sa.exc.ArgumentError):
        return None
    return None if about is None else (about.st_dev, about.st_ino)


def _run(row: Any) -> Run:
    place = Path(row.run)
    return Run(row.version, place, float(row.changed), place.is_dir())


def _before(journal: tuple[Change, ...]) -> Run | None:
    """Returns the run that decided before the present one."""
    last = next((one for one in reversed(journal) if one.field == RUN), None)
    if last is None or not isinstance(last.before, dict) or not last.before.get("version"):
        return None
    since = next((one.time for one in reversed(journal) if one.field == RUN and one is not last), last.time)
    place = Path(str(last.before["run"]))
    return Run(str(last.before["version"]), place, since, place.is_dir())


def _config(decides: Run | None) -> Config | None:
    place = None if decides is None else decides.place / "config.toml"
    if place is None or not place.is_file():
        return None
    try:
        return load(place)
    except LargesseError:
        return None


# ---- the run before


def _loaded(run: Run) -> Loaded | None:
    """Returns a run; None where its folder is gone or damaged, which is a reason to return to the one before."""
    try:
        return load_run(run.place)
    except StoreError:
        return None


def _back(ledger: Ledger, now: Now) -> None:
    """Puts the run that decided before in service again.

    Raises:
        DataError: There is none, or it cannot decide in this campaign.
        StoreError: Its folder is gone, or is damaged.
    """
    name, before, decides = now.status.campaign, now.before, now.decides
    if before is None or decides is None:
        raise _check.refuse("campaign", name, "no other run decided before", "There is nothing to return to.")
    loaded = load_run(before.place)
    if loaded.version != before.version:
        raise DataError.at(
            "campaign", f" == {name!r}: {before.place} holds {loaded.version} now, and {before.version} decided before. Name "
            "the run in the server's file instead.",
        )  # fmt: skip
    same_menu(now.terms.treatments, loaded.policy, name)
    if (present := _loaded(decides)) is not None:
        same_features(present, loaded, name)
    if now.tried is not None and now.tried.version == loaded.version:
        remove_challenger(ledger.engine, name, now=now.at, why="it decides again", by=BY)
    why = f"back from {decides.version} to the run before, by hand"
    put_run(ledger.engine, name, loaded, features=decides.features, now=now.at, why=why, by=BY)
