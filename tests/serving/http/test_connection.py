"""Limits of a connection: slow headers, bodies and readers, large headers and bodies, over a real socket."""

from __future__ import annotations

import json
import resource
import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.common.served import NORTH, make_run

import uvicorn  # isort: skip

from largesse.serving.http.app import App  # isort: skip
from largesse.serving.http.begin import begin, make_service  # isort: skip
from largesse.serving.http.connection import Connection  # isort: skip
from largesse.serving.http.settings import load_settings  # isort: skip

PATIENCE = 0.4
BODY = json.dumps({"unit": "u1", "features": NORTH}).encode()
HEAD = b"POST /v1/decisions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
WHOLE = HEAD + b"content-length: %d\r\n\r\n" % len(BODY) + BODY


@pytest.fixture(scope="module", params=["uvloop", "asyncio"])
def address(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    place: Path = tmp_path_factory.mktemp("served")
    terms = {"run": str(make_run(place / "run")), "budget": 1e6, "until": "2100-01-01", "holdout": 0.0, "explore": 0.0}
    server = {"store": f"sqlite:///{place}/l.db", "keys": False, "read_timeout": PATIENCE}
    settings = load_settings(None, server=server, campaigns={"spring": terms}, environment={})
    begin(settings)
    listener = socket.create_server(("127.0.0.1", 0))
    connection: Any = partial(Connection, patience=PATIENCE)
    config = uvicorn.Config(
        App(lambda: make_service(settings)), http=connection, loop=request.param, lifespan="on", log_config=None, ws="none",
        timeout_keep_alive=30,
    )  # fmt: skip
    one = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: one.run([listener]), daemon=True)
    thread.start()
    while not one.started:
        time.sleep(0.01)
    yield listener.getsockname()[:2]
    one.should_exit = True
    thread.join(10)


def opened(address: tuple[str, int]) -> socket.socket:
    one = socket.create_connection(address)
    one.settimeout(10)
    return one


def rest(one: socket.socket) -> bytes:
    """What arrives until the server closes the connection."""
    out = b""
    try:
        while part := one.recv(65_536):
            out += part
    except ConnectionError:
        pass
    return out


def dripped(one: socket.socket, content: bytes, most: float = 8.0) -> tuple[bytes, float]:
    """Sends a byte every tenth of a second; returns what came back, and the seconds until the connection was closed."""
    start, out = time.monotonic(), b""
    one.settimeout(0.1)
    for byte in content * 1000:
        if time.monotonic() - start > most:
            raise AssertionError("the connection is still open")
        try:
            one.sendall(bytes([byte]))
            part = one.recv(65_536)
            if not part:
                break
            out += part
        except TimeoutError:
            pass
        except OSError:
            break
    return out, time.monotonic() - start


def answer_to(one: socket.socket, request: bytes) -> bytes:
    one.sendall(request)
    out = b""
    while b"\r\n\r\n" not in out or len(out) < out.index(b"\r\n\r\n") + 50:
        out += one.recv(65_536)
    return out


def refused_after(one: socket.socket, content: bytes) -> bool:
    """Whether the server closes a connection by which some bytes are sent again and again, and nothing is read."""
    ended = time.monotonic() + 10
    while time.monotonic() < ended:
        try:
            one.sendall(content)
        except TimeoutError:
            time.sleep(0.1)
        except OSError:
            return True
    return False


def test_a_connection_lives_on_while_its_requests_are_whole(address: tuple[str, int]):
    with opened(address) as one:
        for _ in range(4):
            assert b"200 OK" in answer_to(one, WHOLE)
            time.sleep(PATIENCE / 2)
        for part in (WHOLE[:20], WHOLE[20:150], WHOLE[150:-3]):
            one.sendall(part)
            time.sleep(PATIENCE / 4)
        assert b"200 OK" in answer_to(one, WHOLE[-3:])
        time.sleep(3 * PATIENCE)  # uvicorn's own time between two requests is longer
        assert b"200 OK" in answer_to(one, WHOLE)


def test_one_that_sends_nothing_is_closed(address: tuple[str, int]):
    with opened(address) as one:
        start = time.monotonic()
        assert rest(one) == b""
        assert PATIENCE * 0.9 < time.monotonic() - start < 4


@pytest.mark.parametrize("first", [b"", WHOLE], ids=["first", "later"])
def test_slow_headers_are_a_problem(address: tuple[str, int], first: bytes):
    with opened(address) as one:
        if first:
            answer_to(one, first)
        out, seconds = dripped(one, b"GET /healthz HTTP/1.1\r\nx-long: " + b"a" * 1000)
        assert seconds < PATIENCE + 3
        assert b"HTTP/1.1 408 Request Timeout" in out
        problem = json.loads(out.split(b"\r\n\r\n")[1])
        assert problem["type"] == "urn:largesse:problem:slow-body"
        assert problem["detail"] == "The headers did not arrive within 0.4 seconds. Send them at once."


def test_a_slow_body_is_a_problem(address: tuple[str, int]):
    with opened(address) as one:
        one.sendall(HEAD + b"content-length: 900\r\n\r\n")
        out, seconds = dripped(one, b" ")
        assert seconds < PATIENCE + 3
        assert b"408" in out
        assert b"The body did not arrive within 0.4 seconds" in out


def test_a_refused_body_is_not_waited_for(address: tuple[str, int]):
    """The answer, 405, comes before the body; a body that goes on slowly has its limit all the same."""
    with opened(address) as one:
        one.sendall(b"PUT /v1/decisions HTTP/1.1\r\nhost: x\r\ncontent-length: 900\r\n\r\n")
        out, seconds = dripped(one, b" ")
        assert b" 405 " in out
        assert seconds < PATIENCE + 4


def test_bytes_between_requests_do_not_keep_a_connection(address: tuple[str, int]):
    with opened(address) as one:
        answer_to(one, WHOLE)
        _, seconds = dripped(one, b"\r\n")
        assert seconds < PATIENCE + 3


def test_large_headers_are_refused(address: tuple[str, int]):
    with opened(address) as one:
        one.sendall(b"GET /healthz HTTP/1.1\r\nx-long: ")
        assert refused_after(one, b"a" * 10_000)
    with opened(address) as one:
        one.sendall(b"GET /healthz HTTP/1.1\r\nx-long: ")
        for _ in range(8):
            one.sendall(b"a" * 8_191)
            time.sleep(0.01)
        one.sendall(b"a" * 20)
        assert b"HTTP/1.1 431 " in rest(one)


def test_a_client_that_does_not_read_is_closed(address: tuple[str, int]):
    """Answers to many requests that are sent, and not read, in one connection."""
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.connect(address)
        one.settimeout(0.5)
        assert refused_after(one, b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n" * 200)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_of_100_mb_takes_no_memory(address: tuple[str, int], chunked: bool):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    part = b"a" * 100_000
    with opened(address) as one:
        length = b"transfer-encoding: chunked" if chunked else b"content-length: 100000000"
        one.sendall(HEAD + length + b"\r\n\r\n")
        try:
            for _ in range(1000):
                one.sendall(b"%x\r\n%b\r\n" % (len(part), part) if chunked else part)
        except OSError:  # the server has closed
            pass
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000, "KiB"
    with opened(address) as one:
        assert b"200 OK" in answer_to(one, WHOLE)
