"""Units per second that batches get over HTTP, so many requests in flight at a time, beside single decisions."""

from __future__ import annotations

import http.client
import json
import os
import queue
import statistics
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from benchmarks.service.server import Server

_APART = 0.05  # seconds between two single decisions
_TRIES = 1_000  # connections that are opened at most


class Bulk(NamedTuple):
    """What was measured.

    Attributes:
        rate: Units answered per second.
        middle: Median of the milliseconds to the answers of single decisions beside.
        longest: The most of them.
        others: Cores that other programs of the machine took meanwhile.
    """

    rate: float
    middle: float
    longest: float
    others: float


def bulk(server: Server, media: str, bodies: Sequence[bytes], units: int, flying: int, single: dict[str, Any]) -> Bulk:
    """Sends bodies, each once, and returns the rate of their units.

    Args:
        server: The service.
        media: The media type of the bodies.
        bodies: The bodies.
        units: Units of each.
        flying: Requests in flight at a time, each over a connection of its own.
        single: Features of the units of single decisions beside, one after the other.
    """
    url, pids = server.url, [*server.workers(), os.getpid()]
    left: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    for body in bodies:
        left.put(body)
    failures, times, ended = list[str](), list[float](), threading.Event()
    connections = _spread(url, flying, server.terms.workers)
    senders = [threading.Thread(target=_send, args=(one, media, left, failures)) for one in connections]
    beside = threading.Thread(target=_beside, args=(url, single, times, ended))
    start, before = time.perf_counter(), _others(pids)
    for one in (*senders, beside):
        one.start()
    for one in senders:
        one.join()
    seconds, others = time.perf_counter() - start, _others(pids) - before
    ended.set()
    beside.join()
    if failures:
        raise SystemExit(f"A batch was refused: {failures[0]}")
    return Bulk(
        units * len(bodies) / seconds, 1e3 * statistics.median(times), 1e3 * max(times), max(0.0, others / seconds)
    )


def _others(pids: Sequence[int]) -> float:
    """Returns the processor time of all programs but some, in seconds since the start of the machine (Linux)."""
    ticks = [int(n) for n in Path("/proc/stat").read_text().split()[1:9]]
    own = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13] for pid in pids]
    busy = sum(ticks) - ticks[3] - ticks[4]  # idle, and waiting for a disk
    return (busy - sum(int(n) for several in own for n in several)) / os.sysconf("SC_CLK_TCK")


def _open(url: str) -> http.client.HTTPConnection:
    place = urlsplit(url)
    return http.client.HTTPConnection(str(place.hostname), int(place.port or 80), timeout=120.0)


def _spread(url: str, n: int, workers: int) -> list[http.client.HTTPConnection]:
    """Returns n connections, as many to one worker as to another: which one accepts a connection is a matter of chance."""
    kept: dict[str, list[http.client.HTTPConnection]] = {}
    most = -(-n // workers)
    for _ in range(_TRIES):
        connection = _open(url)
        connection.request("GET", "/healthz")
        got = connection.getresponse()
        got.read()
        mine = kept.setdefault(str(got.getheader("x-request-id")).partition("-")[0], [])
        if len(mine) < most:
            mine.append(connection)
        else:
            connection.close()
        if sum(map(len, kept.values())) == n:
            return [one for several in kept.values() for one in several]
    raise SystemExit("The workers do not all accept connections.")


def _send(
    connection: http.client.HTTPConnection, media: str, left: queue.SimpleQueue[bytes], failures: list[str]
) -> None:
    while True:
        try:
            body = left.get_nowait()
        except queue.Empty:
            break
        connection.request("POST", "/v1/decisions:batch", body, {"content-type": media})
        got = connection.getresponse()
        content = got.read()
        if got.status != http.client.OK:
            failures.append(f"{got.status} {content[:500]!r}")
            break
    connection.close()


def _beside(url: str, features: dict[str, Any], times: list[float], ended: threading.Event) -> None:
    connection, k = _open(url), 0
    while not ended.wait(_APART):
        k += 1
        start = time.perf_counter()
        connection.request(
            "POST",
            "/v1/decisions",
            json.dumps({"unit": f"single {k}", "features": features}),
            {"content-type": "application/json"},
        )
        connection.getresponse().read()
        times.append(time.perf_counter() - start)
    connection.close()
