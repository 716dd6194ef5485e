"""The application of a worker process: the two routes of decisions without a framework, all others by FastAPI."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable
from typing import Any

from largesse.errors import StoreError
from largesse.serving.http.batch import Batches
from largesse.serving.http.hot import decide_one
from largesse.serving.http.logs import RequestLog, log_fault
from largesse.serving.http.problems import MEDIA, of_error, refused
from largesse.serving.http.requests import Headers, Receive, Scope, Send, answer, headers_of, read_body
from largesse.serving.http.routes import api
from largesse.serving.http.schema import BATCH, DECISIONS, schema_of
from largesse.serving.http.service import Service

__all__ = ["App", "rare_collections"]

_JSON = b"application/json"
_ALLOCATED = 50_000  # objects that are new until the next collection of the new ones
_PATIENCE = 60.0  # seconds for which a starting worker waits for its store
_ROUTES = ("/v1/outcomes", "/v1/campaigns", "/healthz", "/readyz", "/metrics", "/openapi.json", DECISIONS, BATCH)


class App:
    """The ASGI application.

    Args:
        make: Returns the service; called at the start of the worker.
        alone: Whether the process does nothing else: what it has loaded is then left out of garbage collection.
    """

    def __init__(self, make: Callable[[], Service], *, alone: bool = False) -> None:
        self.make, self.alone = make, alone
        self.service: Service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, and starts and stops with the server."""
        if scope["type"] == "http":
            await self._request(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        else:
            await send({"type": "websocket.close", "code": 1000})

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            self.service = service = await self._started()
        except Exception as error:
            log_fault(error, "at the start")
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        self._log, self._batches, self._rest = RequestLog(), Batches(service), api()
        self._rest.state.service = service
        self._schema = schema_of(self._rest)
        if self.alone:
            rare_collections()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self._batches.stop()
        await asyncio.to_thread(service.stop)
        await send({"type": "lifespan.shutdown.complete"})

    async def _started(self) -> Service:
        """Returns the started service; a store that does not answer may do so a little later."""
        end = time.monotonic() + _PATIENCE
        while True:
            try:
                service = self.make()
                service.start(asyncio.get_running_loop())
                return service
            except StoreError as error:
                if time.monotonic() > end:
                    raise
                log_fault(error, "at the start")
            await asyncio.sleep(1.0)

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        start, path, headers = time.perf_counter(), scope["path"], headers_of(scope)
        status, campaign = 500, ""
        try:
            if path == DECISIONS:
                body = await self._body(scope, headers, receive, self.service.settings.body)
                campaign, out = await decide_one(self.service, headers, body)
                status = 200
                await answer(send, status, out, _JSON, headers.request)
            elif path == BATCH:
                body = await self._body(scope, headers, receive, self.service.settings.batch_body)
                status, media, out = await self._batches.decide(headers, body)
                await answer(send, status, out, media.encode(), headers.request)
            elif path == "/openapi.json" and scope["method"] == "GET":
                status = 200
                await answer(send, status, self._schema, _JSON, headers.request)
            else:
                status = await self._by_framework(scope, receive, send, headers)
        except Exception as error:
            status = await _send_problem(error, send, headers)
        seconds = time.perf_counter() - start
        route = path if path in _ROUTES else _route(path)
        self.service.metrics.request(route, status, seconds)
        self._log.write(_method(scope), route, status, seconds, headers.request, campaign)

    async def _body(self, scope: Scope, headers: Headers, receive: Receive, most: int) -> bytes:
        if scope["method"] != "POST":
            raise refused(405, f"{_method(scope)}: {scope['path']} has no such method. Use POST.", allow="POST")
        self.service.keyring.check(headers.authorization, "decide")
        return await read_body(receive, headers.length, most, self.service.settings.read_timeout)

    async def _by_framework(self, scope: Scope, receive: Receive, send: Send, headers: Headers) -> int:
        status = 500

        async def sending(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", headers.request.encode())]
            await send(message)

        scope["largesse"] = headers
        try:
            await self._rest(scope, receive, sending)
        except Exception:  # its problem was sent and logged already: Starlette raises the error again
            if status != 500:
                raise
        return status


def rare_collections() -> None:
    """Makes Python's collections of garbage rare: a full one would stop all requests for as long as some batches take."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_ALLOCATED, 20, 50)


async def _send_problem(error: Exception, send: Send, headers: Headers) -> int:
    problem = of_error(error)
    if problem.status >= 500:
        log_fault(error, headers.request)
    extra = tuple((name.encode(), value.encode()) for name, value in problem.headers().items())
    await answer(send, problem.status, problem.body(headers.request), MEDIA.encode(), headers.request, extra)
    return problem.status


def _route(path: str) -> str:
    """Returns the template of an address, so that the log and the metrics have few of them."""
    parts = path.split("/")
    if path.startswith("/v1/units/"):
        return "/v1/units/{unit}"
    if path.startswith("/v1/campaigns/") and len(parts) in (4, 5):
        return "/v1/campaigns/{campaign}" + (
            "" if len(parts) == 4 else f"/{parts[4]}" if parts[4] in ("policy", "challenger", "runs") else "/..."
        )
    return "other"


def _method(scope: Scope) -> str:
    method = str(scope["method"])
    return method if method.isalpha() and len(method) < 10 else "other"
