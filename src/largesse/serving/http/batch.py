"""`POST /v1/decisions:batch`: many units at once, as JSON lines, a JSON list or an Arrow stream; answered in the same form."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from math import isinf
from typing import Any

import msgspec

from largesse._extras import installed
from largesse.errors import LargesseError
from largesse.serving.http import arrow, listed
from largesse.serving.http.decisions import Decided, Question
from largesse.serving.http.hot import DecisionBody, body_of, document, question
from largesse.serving.http.problems import Problem, Refused, busy, of_error, refused
from largesse.serving.http.requests import Headers, parsed
from largesse.serving.http.service import Service
from largesse.serving.http.together import Alike, alike_of, decide_together, documents
from largesse.serving.http.together import Decided as DecidedAlike

__all__ = ["PART", "Batches"]

_JSON, _LINES, _ARROW = "application/json", "application/x-ndjson", "application/vnd.apache.arrow.stream"
_FORMS = (_JSON, _LINES, _ARROW)
PART = 5_000
"""Units of one transaction, at most: other decisions wait for so many."""
_QUEUED = 8  # batches that may wait
_encoder = msgspec.json.Encoder()
_items = msgspec.json.Decoder(list[msgspec.Raw])
Result = Any  # DecisionAnswer or Problem


class Batches:
    """Batches of one worker, in threads of their own: one or two at a time, as many as cores are free.

    Args:
        service: The service.
    """

    def __init__(self, service: Service) -> None:
        self.service = service
        self.waiting = 0
        self._thread = ThreadPoolExecutor(_threads(service.settings.workers), "batch")

    async def decide(self, headers: Headers, body: bytes) -> tuple[int, str, bytes]:
        """Returns status, media type and body of the answer to a batch.

        Raises:
            Refused: The whole batch ends with a problem.
            StoreError: The store failed; what was decided before has its answer when the batch comes again.
        """
        media = headers.media or _JSON
        if media not in _FORMS or (media == _ARROW and not installed("pyarrow")):
            known = [name for name in _FORMS if name != _ARROW or installed("pyarrow")]
            raise refused(415, f"Content-Type is {headers.media[:60]!r}. Send {' or '.join(known)}.")
        if self.waiting >= _QUEUED:
            raise Refused(busy("Too many batches wait in this worker"))
        self.waiting += 1
        try:
            loop = asyncio.get_running_loop()
            status, out = await loop.run_in_executor(self._thread, self._decided, media, body)
        finally:
            self.waiting -= 1
        return status, media, out

    def stop(self) -> None:
        """Ends the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _decided(self, media: str, body: bytes) -> tuple[int, bytes]:
        if media == _ARROW:
            return self._tables(body)
        results, bodies = list[Result](), listed.bodies_of(body, lines=media == _LINES)
        items: Sequence[Any] = list((_list if media == _JSON else _lines)(body)) if bodies is None else bodies
        for first in range(0, len(items), PART):
            part = items[first : first + PART]
            results += self._part(part) if bodies is None else self._listed(part)
        if not results:
            raise _nobody()
        documents = [one.document() if isinstance(one, Problem) else one for one in results]
        out = _encoder.encode(documents) if media == _JSON else _encoder.encode_lines(documents)
        return _status(isinstance(one, Problem) for one in results), out

    def _tables(self, body: bytes) -> tuple[int, bytes]:
        tables = [
            self._table(part) for part in arrow.parts(body, self.service.settings.batch_body, PART) if part.num_rows
        ]
        if not tables:
            raise _nobody()
        return _status(table["problem"].null_count < len(table) for table in tables), arrow.stream(tables)

    def _table(self, part: Any) -> Any:
        try:
            alike = arrow.alike_of(self.service.served, part)
        except Refused:  # every unit says so
            alike = None
        if alike is not None and (mine := alike.served.drawn(alike.units)).any():
            if mine.all():
                alike = None
            else:
                return arrow.reunited(self._table(arrow.those(part, ~mine)), self._table(arrow.those(part, mine)), mine)
        if alike is not None and (got := self._together(alike)) is not None:
            rows = (one.features for one in arrow.rows_of(part))
            self.service.shadows.offer_together(alike.served, rows, got.answers)
            return arrow.table_of(alike, got)
        return arrow.table_of_results(self._part(list(arrow.rows_of(part))))

    def _listed(self, bodies: Sequence[DecisionBody]) -> list[Result]:
        try:
            alike = listed.alike_of(self.service.served, bodies)
        except Refused:  # every unit says so
            alike = None
        if alike is None or alike.served.drawn(alike.units).any():
            return self._part(bodies)
        if (got := self._together(alike)) is None:
            return self._part(bodies)
        self.service.shadows.offer_together(alike.served, (one.features for one in bodies), got.answers)
        return _documents(alike, got)

    def _together(self, alike: Alike) -> DecidedAlike | None:
        return decide_together(self.service.ledger, self.service.metrics, alike)

    def _part(self, items: Sequence[Any]) -> list[Result]:
        read = [self._question(item) for item in items]
        questions = [one for one in read if isinstance(one, Question)]
        counted = iter(self._answered(questions) if questions else ())
        return [next(counted) if isinstance(one, Question) else one for one in read]

    def _answered(self, questions: list[Question]) -> list[Result]:
        """Returns the answers to questions, those of one campaign and one run together."""
        several: dict[int, list[int]] = {}
        for i, one in enumerate(questions):
            several.setdefault(id(one.served), []).append(i)
        out: list[Result] = [None] * len(questions)
        for places in several.values():
            for i, result in zip(places, self._answered_alike([questions[i] for i in places]), strict=True):
                out[i] = result
        return out

    def _answered_alike(self, questions: list[Question]) -> list[Result]:
        if (alike := alike_of(questions)) is not None and (got := self._together(alike)) is not None:
            self.service.shadows.offer_together(alike.served, (one.given for one in questions), got.answers)
            return _documents(alike, got)
        results = self.service.decisions.decide_now(questions)
        self.service.metrics.decided(got.answer for got in results if isinstance(got, Decided))
        for one, result in zip(questions, results, strict=True):
            if isinstance(result, Decided):
                self.service.shadows.offer(one, result)
        return [_result(one, got) for one, got in zip(questions, results, strict=True)]

    def _question(self, item: Any) -> Question | Problem:
        try:
            if not isinstance(item, DecisionBody):
                return question(self.service, body_of(bytes(item)))
            if infinite := [name for name, cell in item.features.items() if isinstance(cell, float) and isinf(cell)]:
                raise refused(422, f"{infinite[0]}: must be finite. Give null where a cell is missing.", infinite[0])
            return question(self.service, item)
        except (Refused, LargesseError) as error:
            return of_error(error)


def _threads(workers: int) -> int:
    """Returns how many batches a worker decides at a time: two if cores are free, so that one is read while one is stored."""
    return max(1, min(2, (os.cpu_count() or 1) // workers))


def _status(problems: Iterable[bool]) -> int:
    return HTTPStatus.MULTI_STATUS if any(problems) else HTTPStatus.OK


def _nobody() -> Refused:
    return refused(422, "The batch has no unit. Send one object for each unit.")


def _result(one: Question, got: Any) -> Result:
    return document(one, got) if isinstance(got, Decided) else of_error(got)


def _documents(alike: Alike, got: DecidedAlike) -> list[Result]:
    return [of_error(one) if isinstance(one, Exception) else one for one in documents(alike, got)]


def _list(body: bytes) -> Iterator[Any]:
    try:
        items = _items.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        parsed(body)  # says what is wrong with the JSON
        raise refused(422, "The body must be a list of objects. Send a list, or JSON lines.") from None
    yield from items


def _lines(body: bytes) -> Iterator[Any]:
    for line in body.split(b"\n"):
        if line.strip():
            yield line
