"""What an application of one's own would be: Starlette and msgspec, and a log in SQLite that is committed before the answer.

No model, no budget, no key: an id, a fixed treatment, and one row of a decision. It is served by uvicorn as the service is.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from queue import Empty, SimpleQueue
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_MOST = 1_024  # rows of a commit, as in the service
_queue: SimpleQueue[tuple[tuple[str, str, bytes], asyncio.Future[None]]] = SimpleQueue()


class Body(msgspec.Struct):
    """The body of a request."""

    unit: str
    features: dict[str, float | int | str | None]


_decoder, _encoder = msgspec.json.Decoder(Body), msgspec.json.Encoder()


def write(loop: asyncio.AbstractEventLoop) -> None:
    """Commits what waits, durably, and wakes those who wait for it."""
    connection = sqlite3.connect(os.environ["BARE_LOG"], isolation_level=None)
    connection.execute("pragma journal_mode = wal")
    connection.execute("pragma synchronous = full")
    connection.execute("create table if not exists decision (id text primary key, unit text, features text)")
    while True:
        batch = [_queue.get()]
        try:
            while len(batch) < _MOST:
                batch.append(_queue.get_nowait())
        except Empty:
            pass
        connection.execute("begin immediate")
        connection.executemany("insert into decision values (?, ?, ?)", [row for row, _ in batch])
        connection.execute("commit")
        loop.call_soon_threadsafe(lambda done: [future.set_result(None) for _, future in done], batch)


async def decide(request: Request) -> Response:
    """Answers after the commit."""
    body = _decoder.decode(await request.body())
    identity, future = uuid.uuid4().hex, asyncio.get_running_loop().create_future()
    _queue.put(((identity, body.unit, _encoder.encode(body.features)), future))
    await future
    answer: dict[str, Any] = {"id": identity, "unit": body.unit, "treatment": "none", "propensity": 0.9}
    return Response(_encoder.encode(answer), media_type="application/json")


async def ready(_: Request) -> Response:
    """The process lives."""
    return Response("{}")


@asynccontextmanager
async def _lifespan(_: Starlette) -> AsyncIterator[None]:
    threading.Thread(target=write, args=(asyncio.get_running_loop(),), daemon=True).start()
    yield


app = Starlette(routes=[Route("/v1/decisions", decide, methods=["POST"]), Route("/readyz", ready)], lifespan=_lifespan)
