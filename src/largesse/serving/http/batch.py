"""`POST /v1/decisions:batch`: many units at once, as JSON lines, a JSON list or an Arrow stream; answered in the same form."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from typing import Any, NamedTuple

import msgspec

from largesse._extras import installed
from largesse.errors import LargesseError
from largesse.serving.http.arrow_limits import bounded_batches
from largesse.serving.http.decisions import Decided, Question
from largesse.serving.http.hot import DecisionBody, body_of, document, question
from largesse.serving.http.problems import Problem, Refused, busy, of_error, refused
from largesse.serving.http.requests import Headers, parsed
from largesse.serving.http.service import Service

__all__ = ["Batches"]

_JSON, _LINES, _ARROW = "application/json", "application/x-ndjson", "application/vnd.apache.arrow.stream"
_PART = 2_000  # units of one transaction
_QUEUED = 8  # batches that may wait
_encoder = msgspec.json.Encoder()
_items = msgspec.json.Decoder(list[msgspec.Raw])
Result = Any  # DecisionAnswer or Problem


class _Form(NamedTuple):
    read: Callable[[bytes, int], Iterator[Any]]
    write: Callable[[Sequence[Result]], bytes]


class Batches:
    """Batches of one worker, one after the other in a thread of its own.

    Args:
        service: The service.
    """

    def __init__(self, service: Service) -> None:
        self.service = service
        self.waiting = 0
        self._thread = ThreadPoolExecutor(1, "batch")

    async def decide(self, headers: Headers, body: bytes) -> tuple[int, str, bytes]:
        """Returns status, media type and body of the answer to a batch.

        Raises:
            Refused: The whole batch ends with a problem.
            StoreError: The store failed; what was decided before has its answer when the batch comes again.
        """
        form = _FORMS.get(headers.media or _JSON)
        if form is None or (headers.media == _ARROW and not installed("pyarrow")):
            known = [name for name in _FORMS if name != _ARROW or installed("pyarrow")]
            raise refused(415, f"Content-Type is {headers.media[:60]!r}. Send {' or '.join(known)}.")
        if self.waiting >= _QUEUED:
            raise Refused(busy("Too many batches wait in this worker"))
        self.waiting += 1
        try:
            loop = asyncio.get_running_loop()
            status, out = await loop.run_in_executor(self._thread, self._decided, form, body)
        finally:
            self.waiting -= 1
        return status, headers.media or _JSON, out

    def stop(self) -> None:
        """Ends the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _decided(self, form: _Form, body: bytes) -> tuple[int, bytes]:
        results: list[Result] = []
        part: list[Any] = []
        for item in form.read(body, self.service.settings.batch_body):
            part.append(item)
            if len(part) == _PART:
                results += self._part(part)
                part = []
        results += self._part(part)
        if not results:
            raise refused(422, "The batch has no unit. Send one object for each unit.")
        return (207 if any(isinstance(one, Problem) for one in results) else 200), form.write(results)

    def _part(self, items: Sequence[Any]) -> list[Result]:
        read = [self._question(item) for item in items]
        questions = [one for one in read if isinstance(one, Question)]
        results = self.service.decisions.decide_now(questions) if questions else []
        self.service.metrics.decided(got.answer for got in results if isinstance(got, Decided))
        for one, got in zip(questions, results, strict=True):
            if isinstance(got, Decided):
                self.service.shadows.offer(one, got)
        counted = iter(results)
        return [_result(one, next(counted)) if isinstance(one, Question) else one for one in read]

    def _question(self, item: Any) -> Question | Problem:
        try:
            return question(self.service, item if isinstance(item, DecisionBody) else body_of(bytes(item)))
        except (Refused, LargesseError) as error:
            return of_error(error)


def _result(one: Question, got: Any) -> Result:
    return document(one, got) if isinstance(got, Decided) else of_error(got)


def _list(body: bytes, most: int) -> Iterator[Any]:
    try:
        items = _items.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        parsed(body)  # says what is wrong with the JSON
        raise refused(422, "The body must be a list of objects. Send a list, or JSON lines.") from None
    yield from items


def _lines(body: bytes, most: int) -> Iterator[Any]:
    for line in body.split(b"\n"):
        if line.strip():
            yield line


def _write_list(results: Sequence[Result]) -> bytes:
    return _encoder.encode([one.document() if isinstance(one, Problem) else one for one in results])


def _write_lines(results: Sequence[Result]) -> bytes:
    return _encoder.encode_lines([one.document() if isinstance(one, Problem) else one for one in results])


def _table(body: bytes, most: int) -> Iterator[Any]:
    """Yields the rows of an Arrow stream: columns `unit`, optionally `key` and `campaign`, and features."""
    import pyarrow as pa  # a server does without it

    try:
        for batch in bounded_batches(body, most):
            names = batch.schema.names
            if len(set(names)) < len(names) or "unit" not in names:
                rule = "the stream has no such column, or two columns of one name. Give each once."
                raise refused(422, f"unit: {rule}", "unit")
            yield from _rows(batch.to_pylist())
    except pa.ArrowException as error:
        raise refused(
            400, f"The body is no Arrow stream ({str(error).splitlines()[0][:200]}). Send one IPC stream."
        ) from None


def _rows(rows: Sequence[Mapping[str, Any]]) -> Iterator[DecisionBody]:
    for row in rows:
        cells = {name: _cell(cell) for name, cell in row.items()}
        unit, key, campaign = (cells.pop(name, None) for name in ("unit", "key", "campaign"))
        yield DecisionBody(unit, cells, campaign, None, key)


def _cell(cell: Any) -> Any:
    """Returns a cell as JSON has it: a date as text, a duration as days, NaN as missing."""
    if isinstance(cell, date):
        return cell.isoformat()
    if isinstance(cell, timedelta):
        return cell / timedelta(days=1)
    return None if isinstance(cell, float) and cell != cell else cell


def _write_table(results: Sequence[Result]) -> bytes:
    import pyarrow as pa

    names = (
        "id", "campaign", "unit", "period", "treatment", "kind", "propensity", "value", "cost", "price", "version", "limited",
        "repeated",
    )  # fmt: skip
    kinds = {"period": pa.int64(), "limited": pa.bool_(), "repeated": pa.bool_()} | dict.fromkeys(
        ("propensity", "value", "cost", "price"), pa.float64()
    )
    columns = {
        name: pa.array([getattr(one, name, None) for one in results], kinds.get(name, pa.string())) for name in names
    }
    columns["problem"] = pa.array([one.detail if isinstance(one, Problem) else None for one in results], pa.string())
    table, sink = pa.table(columns), pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


_FORMS = {_JSON: _Form(_list, _write_list), _LINES: _Form(_lines, _write_lines), _ARROW: _Form(_table, _write_table)}
