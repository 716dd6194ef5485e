"""`Connection`: uvicorn's HTTP connection, with deadlines for headers, bodies and answers, and a limit on headers.

uvicorn limits the time between two requests alone: a client that sends a byte a second, or does not read its answer, would keep
its connection, and what is stored for it, for ever. The limits are here, and not in the application, since a request whose
headers are incomplete has not reached the application, and an answer that is not read has left it.
"""

from __future__ import annotations

import asyncio
from enum import Enum
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from largesse.serving.http.problems import MEDIA, Problem

__all__ = ["Connection"]

_HEADERS = 64 * 1024  # bytes of headers
_PROGRESS = 64 * 1024  # bytes of an answer that must be read while a body might arrive
_LATER = 1.0  # seconds by which the application answers first that a body is late


class _Phase(Enum):
    WAITING = 0  # nothing has arrived
    HEADERS = 1
    BODY = 2
    WHOLE = 3  # the request is complete


class Connection(HttpToolsProtocol):
    """A connection that is closed where a request does not arrive, or its answer is not read.

    A request that arrives at once costs no timer.

    Args:
        patience: Seconds in which headers must arrive, then the body, and in which some of an answer must be read.
    """

    def __init__(self, *args: Any, patience: float, **more: Any) -> None:
        super().__init__(*args, **more)
        self.patience = patience
        self._phase, self._requests, self._size = _Phase.WAITING, 0, 0
        self._arriving: asyncio.TimerHandle | None = None
        self._reading: asyncio.TimerHandle | None = None
        self._unread = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Starts the time for the first headers."""
        super().connection_made(transport)
        self._arm(self.patience)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stops all times."""
        self._arm(None)
        self._read(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Takes a part of a request, and starts or stops the time for the rest."""
        before = self._phase, self._requests
        super().data_received(data)
        if self.transport.is_closing():
            return
        changed = before != (self._phase, self._requests)
        if self._phase is _Phase.WHOLE:
            if changed or not self.cycle.response_complete:
                self._arm(None)
            elif self._arriving is None:  # bytes between two requests, for which uvicorn has stopped its own time
                self._arm(self.patience)
        elif changed:
            self._arm(self.patience + (_LATER if self._phase is _Phase.BODY else 0.0))
        if self._phase is _Phase.HEADERS:
            self._size += len(data)
            if self._size > _HEADERS:
                self._refuse(Problem(431, f"The headers have more than {_HEADERS:,} bytes. Send fewer."))

    def on_message_begin(self) -> None:
        """A request begins."""
        self._phase, self._size = _Phase.HEADERS, 0
        self._requests += 1
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The headers are complete."""
        self._phase = _Phase.BODY
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request is complete."""
        self._phase = _Phase.WHOLE
        super().on_message_complete()

    def pause_writing(self) -> None:
        """Starts the time in which a part of the answer must be read."""
        super().pause_writing()
        self._unread = 0
        self._read(self.patience)

    def resume_writing(self) -> None:
        """Stops it: most of the answer is read."""
        self._read(None)
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """Closes a connection without a further request, also where its last answer is not read."""
        super().timeout_keep_alive_handler()
        self._abort_later()

    def _arm(self, seconds: float | None) -> None:
        if self._arriving is not None:
            self._arriving.cancel()
        self._arriving = None if seconds is None else self.loop.call_later(seconds, self._late)

    def _late(self) -> None:
        self._arriving = None
        if self.flow.read_paused:  # a request before this one is in progress, so the rest is not read
            self._arm(self.patience)
        elif self._phase is _Phase.HEADERS:
            self._refuse(
                Problem(408, f"The headers did not arrive within {self.patience:g} seconds. Send them at once.")
            )
        else:  # nothing was sent, or the application has answered that the body is late
            self.transport.close()
            self._abort_later()

    def _read(self, seconds: float | None) -> None:
        if self._reading is not None:
            self._reading.cancel()
        self._reading = None if seconds is None else self.loop.call_later(seconds, self._check_read)

    def _check_read(self) -> None:
        left = self.transport.get_write_buffer_size()
        if self._unread and self._unread - left < _PROGRESS:
            self.transport.abort()
            return
        self._unread = left
        self._read(self.patience)

    def _refuse(self, problem: Problem) -> None:
        """Answers before the application has the request, and closes."""
        body = problem.body("")
        lines = [
            f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}",
            f"content-type: {MEDIA}",
            f"content-length: {len(body)}",
        ]
        self.transport.write("\r\n".join([*lines, "connection: close", "", ""]).encode() + body)
        self.transport.close()
        self._abort_later()

    def _abort_later(self) -> None:
        """Ends a connection that is closed but whose last bytes nobody reads."""
        self.loop.call_later(self.patience, self._abort)

    def _abort(self) -> None:
        if self in self.connections:
            self.transport.abort()
