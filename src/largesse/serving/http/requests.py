"""Requests as ASGI has them: the headers that count, and the body within its limits of size and time."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import types
from collections.abc import Awaitable, Callable, Generator, MutableMapping
from typing import Any, NamedTuple

from largesse.serving.http.problems import Problem, Refused, refused

__all__ = ["Headers", "Receive", "Scope", "Send", "answer", "headers_of", "parsed", "read_body"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
_OWN_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_DEEPEST = 50  # levels of a body
_count = itertools.count()
_process = f"{os.getpid():x}"


class Headers(NamedTuple):
    """The headers of a request that this service reads.

    Attributes:
        request: Id of the request: the caller's X-Request-Id, or a new one.
        authorization: Authorization; None: none.
        media: Content-Type without parameters, in lower case; "": none; no media type if the body is compressed.
        accept: Accept.
        key: Idempotency-Key; None: none.
        length: Content-Length; None: none.
    """

    request: str
    authorization: bytes | None
    media: str
    accept: str
    key: str | None
    length: int | None


def headers_of(scope: Scope) -> Headers:
    """Returns the headers of a request."""
    request = authorization = key = length = None
    media = accept = packed = ""
    for name, value in scope["headers"]:
        if name == b"authorization":
            authorization = value
        elif name == b"content-type":
            media = value.partition(b";")[0].strip().lower().decode("latin-1")
        elif name == b"content-length":
            length = int(value) if value.isdigit() and len(value) < 16 else None
        elif name == b"idempotency-key":
            key = value.decode("latin-1").strip()
            key = key[1:-1] if len(key) > 1 and key[0] == key[-1] == '"' else key  # the draft has it in quotes
        elif name == b"x-request-id" and _OWN_ID.fullmatch(value):
            request = value.decode()
        elif name == b"accept":
            accept = value.decode("latin-1")
        elif name == b"content-encoding" and value.lower() != b"identity":
            packed = f"compressed ({value.decode('latin-1')[:20]})"
    return Headers(request or f"{_process}-{next(_count):x}", authorization, packed or media, accept, key, length)


async def read_body(receive: Receive, length: int | None, most: int, patience: float) -> bytes:
    """Returns the body of a request.

    Args:
        receive: ASGI's receive.
        length: Content-Length; None: not known.
        most: The most bytes that it may have; more are refused before they are all read.
        patience: Seconds in which it must arrive.

    Raises:
        Refused: It is too large (413) or too slow (408), or the caller is gone.
    """
    if length is not None and length > most:
        raise Refused(_too_large(most))
    first = receive().__await__()
    try:
        waiting = first.send(None)
    except StopIteration as end:  # nearly always a body is there with its headers, and needs no timer
        message = end.value
        if message["type"] == "http.request" and not message.get("more_body", False):
            return _bounded(message.get("body", b""), most)
    else:
        message = None
    try:
        async with asyncio.timeout(patience):
            if message is None:
                message = await _resumed(first, waiting)
            return await _rest(receive, message, most)
    except TimeoutError:
        raise refused(
            408, f"The body did not arrive within {patience:g} seconds. Send it faster, or a smaller one."
        ) from None


@types.coroutine
def _resumed(started: Generator[Any, Any, Any], waiting: Any) -> Generator[Any, Any, Any]:
    """Goes on with what was started by hand and has given what it waits for."""
    step: Any
    while True:
        try:
            got = yield waiting
        except BaseException as error:  # the timer, or the end of the server
            step, got = started.throw, error
        else:
            step = started.send
        try:
            waiting = step(got)
        except StopIteration as end:
            return end.value


async def _rest(receive: Receive, message: Any, most: int) -> bytes:
    parts, size = list[bytes](), 0
    while True:
        if message["type"] == "http.disconnect":
            raise refused(400, "The caller closed the connection before the whole body had arrived.")
        part = message.get("body", b"")
        size += len(part)
        if size > most:
            raise Refused(_too_large(most))
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)
        message = await receive()


def _bounded(body: bytes, most: int) -> bytes:
    if len(body) > most:
        raise Refused(_too_large(most))
    return body


def _too_large(most: int) -> Problem:
    return Problem(413, f"The body has more than {most:,} bytes. Send fewer units at a time.")


def parsed(body: bytes) -> Any:
    """Returns the content of a JSON body: finite numbers, names that differ, not nested too deeply.

    Raises:
        Refused: It is not such JSON.
    """
    deep = refused(400, f"The body is nested more than {_DEEPEST} levels deep. Send plain objects.")
    try:
        text = body.decode()
        if text.count("[") + text.count("{") > _DEEPEST and _depth(text) > _DEEPEST:
            raise deep
        return json.loads(text, object_pairs_hook=_object, parse_constant=_constant)
    except UnicodeDecodeError:
        raise refused(400, "The body is not UTF-8. Send JSON in UTF-8.") from None
    except RecursionError:
        raise deep from None
    except ValueError as error:  # not JSON, or a number of thousands of digits
        why = str(error).partition("; use sys.set")[0]
        raise refused(400, f"The body is not JSON ({why}). Send JSON.") from None


def _depth(text: str) -> int:
    """Returns how deeply brackets are nested; those within text count, too."""
    depth = most = 0
    for mark in re.findall(r"[\[\]{}]", text):
        depth += 1 if mark in "[{" else -1
        most = max(most, depth)
    return most


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise refused(
            400, f"{twice[:100]!r} stands twice in one object of the body. Give every field once.", twice[:100]
        )
    return out


def _constant(name: str) -> Any:
    raise refused(400, f"The body has {name}, which is not JSON. Give finite numbers; null stands for a missing cell.")


async def answer(
    send: Send, status: int, body: bytes, media: bytes, request: str, extra: tuple[tuple[bytes, bytes], ...] = ()
) -> None:
    """Sends a whole response."""
    headers = [
        (b"content-type", media),
        (b"content-length", b"%d" % len(body)),
        (b"x-request-id", request.encode()),
        *extra,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
