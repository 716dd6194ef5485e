"""`Decisions`: the menus of all that wait in one call of the model, then the ledger once; control if the model is late."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from largesse.errors import Conflict
from largesse.serving.http.challengers import Challenger
from largesse.serving.http.groups import GroupCommit
from largesse.serving.http.menus import Loaded, Row
from largesse.serving.ledger.book import Ledger
from largesse.serving.ledger.terms import FALLBACK, Answer, Ask, Written

__all__ = ["Decided", "Decisions", "Question", "Served"]

_FEW = 16  # fewer questions are decided one by one
Floats = NDArray[np.float64]
Together = Callable[[Sequence["Question"], Floats, Floats, Floats | None], Sequence[Any] | None]
_log = logging.getLogger("largesse.serving")


class Served(NamedTuple):
    """A campaign in service.

    Attributes:
        name: Its name.
        treatments: Its treatments, control first.
        loaded: The policy that decides.
        features: Whether features are stored with decisions.
        challenger: The run that is tried beside; None: none.
        by_challenger: The same campaign where it decides; None likewise.
        voting: The price at which the members of an ensemble vote on what is explored; None: they do not.
    """

    name: str
    treatments: tuple[str, ...]
    loaded: Loaded
    features: bool
    challenger: Challenger | None = None
    by_challenger: Served | None = None
    voting: float | None = None

    def tried(self, challenger: Challenger | None) -> Served:
        """Returns the campaign with a challenger, or without one."""
        alone = self._replace(challenger=None, by_challenger=None)
        if challenger is None:
            return alone
        return alone._replace(challenger=challenger, by_challenger=alone._replace(loaded=challenger.loaded))

    def predicted(
        self, feed: Mapping[str, NDArray[Any]], allowed: NDArray[np.bool_] | None = None
    ) -> tuple[Floats, Floats, Floats | None]:
        """Returns value and cost of every treatment for the inputs of the model, and the votes of the members, (n, M) each.

        Raises:
            StoreError: The model fails.
        """
        if self.voting is None:
            return *self.loaded.tables(feed), None
        return self.loaded.tables_and_votes(feed, self.voting, allowed)

    def deciding(self, unit: object) -> Served:
        """Returns the campaign with the policy that decides for a unit: the champion, or the challenger for its share."""
        if self.challenger is None or self.by_challenger is None or not self.challenger.draws(unit):
            return self
        return self.by_challenger

    def drawn(self, units: Sequence[object]) -> NDArray[np.bool_]:
        """Returns for which of some units the challenger decides."""
        one = self.challenger
        if one is None or not one.share:
            return np.zeros(len(units), np.bool_)
        return np.array([one.draws(unit) for unit in units], np.bool_)


class Question:
    """A unit that waits for its decision.

    Attributes:
        served: The campaign, with the policy at the time of the request.
        unit: Id of the unit.
        row: What the model reads.
        features: The features as they are stored: JSON with sorted names.
        body: What the key stands for.
        allowed: The allowed treatments; None: all.
        key: The caller's key.
        since: Time of the request, of the event loop's clock.
        given: The features as they were sent.
        late: Whether the model was too late.
        writing: Whether its menu is known and the ledger decides.
        tables: Values and costs of every treatment for all units of one call of the model, (n, M) each; None: it failed.
        at: The place of the unit in them.
        votes: Weights of exploration for the same units, (n, M); None: the campaign's way.
    """

    __slots__ = (
        "allowed",
        "at",
        "body",
        "features",
        "given",
        "key",
        "late",
        "row",
        "served",
        "since",
        "tables",
        "unit",
        "votes",
        "writing",
    )

    def __init__(
        self, served: Served, unit: str | int, row: Row, features: str, body: str,
        allowed: Sequence[str] | None, key: str | None, since: float, given: Mapping[str, Any],
    ) -> None:  # fmt: skip
        self.given = given
        self.served, self.unit, self.row, self.features, self.body = served, unit, row, features, body
        self.allowed, self.key, self.since = allowed, key, since
        self.late = self.writing = False
        self.tables: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
        self.votes: NDArray[np.float64] | None = None
        self.at = 0

    @property
    def menu(self) -> tuple[list[float], list[float]] | None:
        """Value and cost of every treatment; None: the model failed."""
        return None if self.tables is None else (self.tables[0][self.at].tolist(), self.tables[1][self.at].tolist())

    def ask(self) -> Ask:
        """Returns the ask for the ledger: with the menu, or without a model for control alone."""
        name, kept = self.served.name, Written(self.features) if self.served.features else None
        if (menu := self.menu) is None:
            zeros, control = [0.0] * len(self.served.treatments), self.served.treatments[:1]
            return Ask(name, self.unit, zeros, zeros, control, self.key, self.body, FALLBACK, kept)
        value, cost = menu
        version, own = self.served.loaded.version, None if self.votes is None else self.votes[self.at].tolist()
        return Ask(name, self.unit, value, cost, self.allowed, self.key, self.body, version, kept, own)


class Decided(NamedTuple):
    """A decision, and the menu that was predicted for it; None: without a model."""

    answer: Answer
    menu: tuple[Sequence[float], Sequence[float]] | None


class Decisions:
    """Decides questions in the order of their arrival, as many at once as wait.

    One thread predicts and writes. If the model is late, a second thread decides for what waits longer than the deadline.

    Args:
        ledger: The ledger.
        deadline: Seconds that the model has for the questions of one call.
        most: So many questions may wait.
        together: Decides questions of one campaign and one run by columns, given their values, costs and votes, (n, M) each, and
            returns what the callers get; None: these must be decided one by one.
    """

    def __init__(self, ledger: Ledger, deadline: float, most: int, together: Together) -> None:
        self.ledger, self.deadline, self.together = ledger, deadline, together
        self.late = 0
        self._main = GroupCommit(self._with_model, "decide", most)
        self._spare = GroupCommit(self._without_model, "fallback", most)
        self._open: deque[tuple[Question, asyncio.Future[Any]]] = deque()
        self._lock = threading.Lock()
        self._predicting: float | None = None
        self._watching: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """How many questions wait."""
        return self._main.waiting

    @property
    def stuck(self) -> bool:
        """Whether the model, or the store, has not answered for ten deadlines and ten seconds."""
        return self._main.busy_for() > max(10.0, 10 * self.deadline)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Starts the threads."""
        self._main.start(loop)
        self._spare.start(loop)
        self._watch()

    def stop(self) -> None:
        """Ends the threads, after what waits."""
        if self._watching is not None:
            self._watching.cancel()
        self._main.stop()
        self._spare.stop()

    def submit(self, question: Question) -> asyncio.Future[Any]:
        """Returns the future of a decision: `Decided`, what `together` returns, or the error that it ends with.

        Raises:
            Full: Too many questions wait.
        """
        future = self._main.submit(question)
        self._open.append((question, future))
        return future

    def decide_now(self, batch: list[Question]) -> list[Any]:
        """Returns the decision of each question, or the error that it ends with, in the calling thread and without a deadline.

        Raises:
            StoreError: The store failed.
        """
        _predict(batch)
        return self._decide(batch)

    def _watch(self) -> None:
        """Hands the questions for which the model is late to the second thread; if the store is slow, they wait for it."""
        loop = asyncio.get_running_loop()
        now, waiting, since = loop.time(), self._open, self._predicting
        while waiting and waiting[0][1].done():
            waiting.popleft()
        late = since is not None and time.monotonic() - since >= self.deadline
        for question, future in waiting if late else ():
            if now - question.since < self.deadline:
                break
            if future.done() or question.late:
                continue
            with self._lock:
                if question.writing:
                    continue
                question.late = True
            self.late += 1
            self._spare.submit(question, future)
        self._watching = loop.call_later(min(0.25, self.deadline / 4), self._watch)

    def _with_model(self, batch: list[Question]) -> list[Any]:
        mine = [one for one in batch if not one.late]
        self._predicting = time.monotonic()
        _predict(mine)
        self._predicting = None
        with self._lock:
            for one in mine:
                one.writing = not one.late
        left = [one for one in mine if one.writing]
        several = self._together(left)
        done = iter(self._decide(left) if several is None else several)
        return [next(done) if one.writing else None for one in batch]

    def _together(self, batch: list[Question]) -> Sequence[Any] | None:
        """Returns what questions get that are all alike; None where some are not."""
        if len(batch) < _FEW:
            return None
        served, tables = batch[0].served, batch[0].tables
        if tables is None or any(one.served is not served or one.tables is not tables for one in batch):
            return None
        (value, cost), votes = tables, batch[0].votes
        if len(batch) < len(value):
            rows = [one.at for one in batch]
            value, cost, votes = value[rows], cost[rows], None if votes is None else votes[rows]
        return self.together(batch, value, cost, votes)

    def _without_model(self, batch: list[Question]) -> list[Any]:
        _log.warning("The model is late: %s decisions are control, without a model.", len(batch))
        return self._decide(batch)

    def _decide(self, batch: list[Question]) -> list[Any]:
        asks = [one.ask() for one in batch]
        menus = [None if ask.version == FALLBACK else (ask.value, ask.cost) for ask in asks]
        answers: list[Any] = list(self.ledger.decide(asks))
        again = [
            k for k, (ask, got) in enumerate(zip(asks, answers, strict=True))
            if ask.version == FALLBACK and isinstance(got, Conflict) and got.field == "allowed"
        ]  # fmt: skip
        if again:  # units that have another treatment than control already keep it
            repeated = [asks[k]._replace(allowed=batch[k].allowed) for k in again]
            for k, got in zip(again, self.ledger.decide(repeated), strict=True):
                answers[k] = got
        return [
            Decided(got, menu) if isinstance(got, Answer) else got for got, menu in zip(answers, menus, strict=True)
        ]


def _predict(batch: Sequence[Question]) -> None:
    """Enters the menu of each question; None where the model fails."""
    by_policy: dict[int, list[Question]] = {}
    for one in batch:
        by_policy.setdefault(id(one.served.loaded), []).append(one)
    for several in by_policy.values():
        try:
            _enter(several)
        except Exception:  # one damaged row must not fail the others
            for one in several:
                try:
                    _enter([one])
                except Exception as error:  # the unit gets control instead
                    _log.error("The model of campaign %s failed: %s", one.served.name, error)


def _enter(batch: Sequence[Question]) -> None:
    loaded = batch[0].served.loaded
    feed = loaded.feed([one.row for one in batch])
    served, allowed, names = batch[0].served, None, batch[0].served.treatments
    if served.voting is not None and any(one.allowed is not None for one in batch):
        allowed = np.array([[one.allowed is None or name in one.allowed for name in names] for one in batch])
    value, cost, votes = served.predicted(feed, allowed)
    tables = value, cost
    for k, one in enumerate(batch):
        one.tables, one.votes, one.at = tables, votes, k
