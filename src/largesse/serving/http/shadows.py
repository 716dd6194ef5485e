"""`Shadows`: what a challenger would have decided is computed and stored after the answer, in a thread of its own."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from largesse.errors import LargesseError
from largesse.serving.http.challengers import Challenger
from largesse.serving.http.decisions import Decided, Question, Served
from largesse.serving.ledger.book import Ledger
from largesse.serving.ledger.rows import packed_menu, place_in
from largesse.serving.ledger.shadowing import Shadow, keep_shadows
from largesse.serving.ledger.terms import Answers
from largesse.serving.policy import best_treatment

__all__ = ["Shadows"]

_EVERY = 1.0  # seconds between two transactions
_PART = 2_000  # answers of one transaction: so many a second at most, so that decisions have the store
_log = logging.getLogger("largesse.serving")


class _Waiting(NamedTuple):
    served: Served
    challenger: Challenger
    features: Mapping[str, Any]
    allowed: Sequence[str] | None
    id: str
    price: float
    time: float


class Shadows:
    """The answers of challengers that are not given.

    What waits is bounded: beyond it, and where the challenger or the store fails, an answer is left out and counted. So a
    decision is neither late nor refused because of them.

    Args:
        ledger: The ledger.
        most: So many may wait.
        dropped: Gets how many answers of a campaign were left out.
    """

    def __init__(self, ledger: Ledger, most: int, dropped: Callable[[str, int], None]) -> None:
        self.ledger, self.most, self.dropped = ledger, most, dropped
        self._waiting: deque[_Waiting] = deque()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread after one more transaction; what waits beyond it is left out."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join(5.0)

    def offer(self, question: Question, got: Decided) -> None:
        """Takes a new decision of the champion whose challenger answers in the shadow; any other is ignored."""
        served, a = question.served, got.answer
        one = served.challenger
        if one is None or not one.shadow or a.repeated or got.menu is None:
            return
        if len(self._waiting) >= self.most:
            self.dropped(served.name, 1)
        else:
            self._waiting.append(_Waiting(served, one, question.given, question.allowed, a.id, a.price, a.time))

    def offer_together(self, served: Served, features: Iterable[Mapping[str, Any]], answers: Answers) -> None:
        """Takes the new ones of decisions that were made as columns; features are read for as many as have a place."""
        one = served.challenger
        if one is None or not one.shadow:
            return
        fresh = ~answers.repeated & ~np.isnan(answers.propensity)
        places = np.flatnonzero(fresh)[: max(0, self.most - len(self._waiting))]
        if left := int(fresh.sum()) - len(places):
            self.dropped(served.name, left)
        last = int(places[-1]) + 1 if len(places) else 0
        for i, given in enumerate(islice(features, last)):
            if fresh[i]:
                price, when = float(answers.price[i]), float(answers.time[i])
                self._waiting.append(_Waiting(served, one, given, None, answers.id[i], price, when))

    def _run(self) -> None:
        while not self._ending.wait(_EVERY):
            self.flush()
        self.flush()

    def flush(self) -> None:
        """Computes and stores the answers that wait, at most as many as one transaction takes."""
        by_run: dict[tuple[str, str], list[_Waiting]] = {}
        for _ in range(min(_PART, len(self._waiting))):
            one = self._waiting.popleft()
            by_run.setdefault((one.served.name, one.challenger.loaded.version), []).append(one)
        for part in by_run.values():
            try:
                keep_shadows(self.ledger, _answers(part))
            except Exception as error:  # whatever it is, decisions go on
                self._leave_out(part, error)

    def _leave_out(self, part: Sequence[_Waiting], error: Exception) -> None:
        name = part[0].served.name
        self.dropped(name, len(part))
        trace = None if isinstance(error, LargesseError) else error
        _log.error("Campaign %s: %s answers in the shadow are left out: %s", name, len(part), error, exc_info=trace)


def _answers(part: Sequence[_Waiting]) -> list[Shadow]:
    """Returns the answers of one challenger, each at the price of the decision."""
    loaded = part[0].challenger.loaded
    value, cost = loaded.menus([loaded.row(one.features) for one in part])
    return [_answer(one, v, c) for one, v, c in zip(part, value, cost, strict=True)]


def _answer(one: _Waiting, value: list[float], cost: list[float]) -> Shadow:
    names = one.served.treatments
    codes: Any = range(len(names)) if one.allowed is None else sorted({names.index(name) for name in one.allowed})
    place = place_in(one.id)
    assert place is not None, one.id
    best = names[best_treatment(value, cost, one.price, codes)]
    return Shadow(place, one.challenger.loaded.version, one.served.name, best, packed_menu(value, cost, None), one.time)
