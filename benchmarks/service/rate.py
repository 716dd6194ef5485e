"""Requests per second and times of answers of a server: callers that wait for each other, or requests at given times."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from uuid import uuid4

import numpy as np

CONNECTIONS = 64
_SCRIPT = """local n = 0
wrk.method, wrk.headers["Content-Type"] = "POST", "application/json"
function request() n = n + 1; return wrk.format(nil, nil, nil, '{{"unit":"{mark}-' .. n .. '","features":{features}}}') end
"""


class Rate(NamedTuple):
    """What was measured.

    Attributes:
        rate: Answers per second.
        p50: Median of the milliseconds to an answer; of open load from the time at which the request was due.
        p99: Its 99 % quantile.
        failed: Answers other than 200.
    """

    rate: float
    p50: float
    p99: float
    failed: int


class _Connection(asyncio.Protocol):
    """A connection that carries one request at a time."""

    def __init__(self, load: _Load) -> None:
        self.load, self.buffer, self.since = load, b"", 0.0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.load.connections.append(self)
        self.load.free(self)

    def ask(self, since: float) -> None:
        self.since, self.buffer = since, b""
        self.transport.write(self.load.request())

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, mark, body = self.buffer.partition(b"\r\n\r\n")
        if not mark:
            return
        length = re.search(rb"content-length: *(\d+)", head, re.I)
        if length is not None and len(body) >= int(length[1]):
            self.load.answered(time.perf_counter() - self.since, head.startswith(b"HTTP/1.1 200"))
            self.load.free(self)


class _Load:
    """Requests over some connections. Closed: each connection asks again when it has its answer. Open: at fixed times."""

    def __init__(self, url: str, features: dict[str, Any], rate: float | None) -> None:
        place = urlsplit(url)
        self.host, self.port, self.rate = str(place.hostname), int(place.port or 80), rate
        self.features, self.mark, self.count = json.dumps(features), uuid4().hex[:8], 0
        self.times, self.failed, self.going = list[float](), 0, True
        self.connections, self.idle = list[_Connection](), deque[_Connection]()
        self.due: deque[float] = deque()

    def request(self) -> bytes:
        self.count += 1
        body = f'{{"unit":"{self.mark}-{self.count}","features":{self.features}}}'.encode()
        head = f"POST /v1/decisions HTTP/1.1\r\nhost: {self.host}\r\ncontent-type: application/json\r\n"
        return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body

    def answered(self, seconds: float, good: bool) -> None:
        if good:
            self.times.append(seconds)
        else:
            self.failed += 1

    def free(self, connection: _Connection) -> None:
        if self.rate is None and self.going:
            connection.ask(time.perf_counter())
        elif self.due:
            connection.ask(self.due.popleft())
        else:
            self.idle.append(connection)

    async def run(self, seconds: float) -> Rate:
        loop = asyncio.get_running_loop()
        start = time.perf_counter()
        for _ in range(CONNECTIONS):
            await loop.create_connection(lambda: _Connection(self), self.host, self.port)
        if self.rate is None:
            await asyncio.sleep(seconds)
        else:
            await self._at_times(self.rate, seconds)
        self.going = False
        taken = time.perf_counter() - start
        while (self.due or len(self.idle) < CONNECTIONS) and time.perf_counter() < start + 2 * seconds + 10:
            await asyncio.sleep(0.02)
        for connection in self.connections:
            connection.transport.close()
        p50, p99 = 1e3 * np.quantile(self.times or [np.nan], (0.5, 0.99))
        return Rate(len(self.times) / taken, float(p50), float(p99), self.failed)

    async def _at_times(self, rate: float, seconds: float) -> None:
        start = time.perf_counter()
        for k in range(int(rate * seconds)):
            when = start + k / rate
            while (ahead := when - time.perf_counter()) > 0:
                await asyncio.sleep(ahead)
            if self.idle:
                self.idle.popleft().ask(when)
            else:
                self.due.append(when)


def closed(url: str, features: dict[str, Any], seconds: float) -> Rate:
    """Returns the rate of callers that ask again when they have their answer: by wrk where it is installed."""
    if (wrk := shutil.which("wrk")) is None:
        return asyncio.run(_Load(url, features, None).run(seconds))
    with tempfile.TemporaryDirectory() as place:
        script = Path(place) / "ask.lua"
        script.write_text(_SCRIPT.format(mark=uuid4().hex[:8], features=json.dumps(features)))
        command = [
            wrk,
            "-t1",
            f"-c{CONNECTIONS}",
            f"-d{seconds:.0f}s",
            "--latency",
            "-s",
            str(script),
            f"{url}/v1/decisions",
        ]
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    rate = re.search(r"^Requests/sec: +([\d.]+)", out, re.M)
    p50, p99 = (re.search(rf"^ +{q}% +([\d.]+)(us|ms|s)", out, re.M) for q in (50, 99))
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    assert None not in (rate, p50, p99), out
    scale = {"us": 1e-3, "ms": 1.0, "s": 1e3}
    half, most = (float(m[1]) * scale[m[2]] for m in (p50, p99))
    return Rate(float(rate[1]), half, most, int(failed[1]) if failed else 0)


def opened(url: str, features: dict[str, Any], seconds: float, rate: float) -> Rate:
    """Returns the times of answers to requests that come at a rate, whether the earlier ones are answered or not."""
    return asyncio.run(_Load(url, features, rate).run(seconds))
