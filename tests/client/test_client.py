"""The clients against a stub of the service, and against sockets that misbehave."""

from __future__ import annotations

import asyncio
import json
import pickle
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date, datetime
from typing import Any

import numpy as np
import pytest

pytest.importorskip("httpx", reason="the extra 'client' is not installed")

import httpx

from largesse.client import Ask, AsyncClient, CampaignStatus, Challenger, Client, Decision, Outcome, Receipt, Why
from largesse.errors import DataError, RefusedByService, ServiceUnavailable

URL = "http://127.0.0.1:8000"
KEY = "largesse_0123456789ab_" + "s" * 43
WHY = {"treatment": "coupon", "runner_up": "none", "margin": 0.4, "switch_price": 0.6}
KINDS = ("threads", "event loop")


def answer(body: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "id": f"id of {body['key']}", "campaign": "spring", "unit": str(body["unit"]), "period": 0, "treatment": "coupon",
        "kind": "policy", "propensity": 0.9, "propensities": {"none": 0.1, "coupon": 0.9}, "value": 1.2, "cost": 2.0,
        "price": 0.4, "version": "run-1", "limited": False, "repeated": False, "why": WHY, "a_field_of_tomorrow": 1,
    } | changes  # fmt: skip


class Stub:
    """A service in place of the network: it fails as often as declared, then answers; it keeps what it was sent."""

    def __init__(self, *failures: Any) -> None:
        self.failures, self.requests = list(failures), list[Any]()
        self.lock = threading.Lock()

    def __call__(self, request: Any) -> Any:
        with self.lock:
            self.requests.append(request)
            failure = self.failures.pop(0) if self.failures else None
        if isinstance(failure, Exception):
            raise failure
        if failure is not None:
            return failure
        content = json.loads(request.content) if request.content else None
        if request.url.path == "/v1/decisions":
            return httpx.Response(200, json=answer(content))
        if request.url.path == "/v1/decisions:batch":
            return httpx.Response(200, json=[answer(one) for one in content])
        if request.url.path == "/v1/outcomes":
            several = content if isinstance(content, list) else [content]
            rows = [receipt(one) for one in several]
            return httpx.Response(200, json=rows if isinstance(content, list) else rows[0])
        return httpx.Response(404, json={"title": "There is no such thing", "status": 404, "detail": "Not here."})

    def bodies(self) -> list[Any]:
        return [json.loads(request.content) for request in self.requests]


def receipt(one: dict[str, Any]) -> dict[str, Any]:
    return {
        "decision": one["decision"], "key": one["key"], "state": "posted", "paid": one["cost"], "value": one["value"],
        "repeated": False,
    }  # fmt: skip


def call(kind: str, stub: Callable[[Any], Any], task: Callable[[Any], Any], **settings: Any) -> Any:
    """The result of a method of either client."""
    given = {"transport": httpx.MockTransport(stub)} | settings
    if kind == "threads":
        with Client(URL, **given) as client:
            return task(client)

    async def run() -> Any:
        async with AsyncClient(URL, **given) as client:
            return await task(client)

    return asyncio.run(run())


@pytest.mark.parametrize("kind", KINDS)
class TestEachClient:
    def test_a_decision(self, kind: str):
        stub = Stub()
        got = call(
            kind, stub, lambda c: c.decide(7, {"age": 34}, campaign="spring", allowed=["none", "coupon"], key="k")
        )
        assert got == Decision(
            unit="7", treatment="coupon", key="k", kind="policy", id="id of k", campaign="spring", period=0, propensity=0.9,
            propensities={"none": 0.1, "coupon": 0.9}, value=1.2, cost=2.0, price=0.4, version="run-1", why=Why(**WHY),
        )  # fmt: skip
        (body,) = stub.bodies()
        assert body == {
            "unit": "7", "features": {"age": 34}, "campaign": "spring", "allowed": ["none", "coupon"], "key": "k",
        }  # fmt: skip
        assert stub.requests[0].headers["content-type"] == "application/json"
        assert "authorization" not in stub.requests[0].headers

    @pytest.mark.parametrize(
        "failure",
        [
            lambda: httpx.ConnectError("refused"), lambda: httpx.ReadTimeout(""), lambda: httpx.ReadError(""),
            lambda: httpx.RemoteProtocolError("Server disconnected"), lambda: httpx.Response(429),
            lambda: httpx.Response(503, json={"detail": "busy"}, headers={"retry-after": "0"}),
        ],
    )  # fmt: skip
    def test_the_key_is_kept_over_attempts(self, kind: str, failure: Callable[[], Any]):
        stub = Stub(failure(), failure())
        got = call(kind, stub, lambda c: c.decide("u", {}, campaign="spring"))
        keys = [body["key"] for body in stub.bodies()]
        assert len(keys) == 3
        assert set(keys) == {got.key}
        assert got.id == f"id of {got.key}"

    def test_another_ask_has_another_key(self, kind: str):
        stub = Stub()
        for _ in range(20):
            call(kind, stub, lambda c: c.decide("u", {}))
        assert len({body["key"] for body in stub.bodies()}) == 20

    def test_the_fallback(self, kind: str, caplog: pytest.LogCaptureFixture):
        stub = Stub(*[httpx.ReadTimeout("")] * 3)
        got = call(
            kind, stub, lambda c: c.decide(7, {"age": 34}, campaign="spring"), fallback={"spring": "none"}, key=KEY
        )
        assert got == Decision(
            unit="7", treatment="none", key=got.key, kind="offline", offline=True, maybe_stored=True, campaign="spring"
        )
        assert got.id is None
        assert got.propensity is None
        assert len(stub.requests) == 3
        assert "fallback of campaign spring" in caplog.text
        assert KEY not in caplog.text
        assert "age" not in caplog.text

    def test_the_only_fallback_is_that_of_the_only_campaign(self, kind: str):
        def lost() -> Stub:
            return Stub(*[httpx.ConnectError("refused")] * 3)

        got = call(kind, lost(), lambda c: c.decide("u", {}), fallback={"spring": "none"})
        assert (got.treatment, got.campaign, got.maybe_stored) == ("none", None, False)
        for fallback, name in (({"spring": "none"}, "summer"), ({"a": "x", "b": "y"}, None), (None, "spring")):
            with pytest.raises(ServiceUnavailable, match="no connection: refused") as caught:
                call(kind, lost(), lambda c, name=name: c.decide("u", {}, name), fallback=fallback)
            assert caught.value.key

    def test_a_refusal_has_no_fallback(self, kind: str):
        problem = {"title": "A field violates a rule", "status": 422, "detail": "age: is missing.", "field": "age"}
        stub = Stub(httpx.Response(422, json=problem))
        with pytest.raises(RefusedByService, match=r"^age: is missing\.$") as caught:
            call(kind, stub, lambda c: c.decide("u", {}, "spring"), fallback={"spring": "none"})
        assert (caught.value.status, caught.value.field) == (422, "age")
        assert len(stub.requests) == 1

    def test_many_decisions(self, kind: str):
        stub = Stub(httpx.ReadTimeout(""))
        got = call(kind, stub, lambda c: c.decide_many(Ask(u, {"age": u}, "spring") for u in range(2500)))
        assert [one.unit for one in got] == [str(u) for u in range(2500)]
        first, again, second, third = stub.bodies()
        assert first == again
        assert [len(part) for part in (first, second, third)] == [1000, 1000, 500]
        assert len({one.key for one in got}) == 2500
        assert all(one.id == f"id of {one.key}" for one in got)

    def test_many_decisions_of_which_some_are_refused(self, kind: str):
        problems = [{"status": s, "title": "T", "detail": f"it is {s}"} for s in (422, 503)]
        rows = [answer({"key": "a", "unit": 1}), *problems]
        asks = [Ask(u, {}, "spring") for u in range(3)]

        def stub(request: Any) -> Any:
            return httpx.Response(207, json=rows)

        one, two, three = call(kind, stub, lambda c: c.decide_many(asks))
        assert one.treatment == "coupon"
        assert isinstance(two, RefusedByService)
        assert isinstance(three, ServiceUnavailable)
        three = call(kind, stub, lambda c: c.decide_many(asks), fallback={"spring": "none"})[2]
        assert (three.treatment, three.offline, three.unit) == ("none", True, "2")

    def test_many_decisions_without_a_service(self, kind: str):
        asks = [Ask(u, {}, "spring") for u in range(1500)]
        got = call(
            kind, Stub(*[httpx.ConnectError("")] * 6), lambda c: c.decide_many(asks), fallback={"spring": "none"}
        )
        assert [one.unit for one in got] == [str(u) for u in range(1500)]
        assert all(one.offline for one in got)
        with pytest.raises(ServiceUnavailable):
            call(kind, Stub(*[httpx.ConnectError("")] * 6), lambda c: c.decide_many(asks))
        assert call(kind, Stub(), lambda c: c.decide_many([])) == []

    def test_outcomes(self, kind: str):
        stub = Stub(httpx.ReadTimeout(""))
        got = call(kind, stub, lambda c: c.outcome("d1", "order 1", cost=1.5, value=np.float32(1), final=False))
        assert got == Receipt("d1", "order 1", "posted", 1.5, 1.0, False)
        first, again = stub.bodies()
        assert first == again
        assert first == {"decision": "d1", "key": "order 1", "cost": 1.5, "value": 1.0, "final": False, "void": False}
        rows = [Outcome(f"d{k}", f"order {k}", k) for k in range(1200)]
        got = call(kind, Stub(), lambda c: c.outcomes(rows))
        assert [one.decision for one in got] == [f"d{k}" for k in range(1200)]
        problem = {"status": 422, "title": "T", "detail": "decision: is unknown", "field": "decision"}

        def mixed(request: Any) -> Any:
            return httpx.Response(207, json=[problem, receipt(json.loads(request.content)[1])])

        refused, kept = call(kind, mixed, lambda c: c.outcomes(rows[:2]))
        assert isinstance(refused, RefusedByService)
        assert kept.decision == "d1"

    def test_a_campaign(self, kind: str):
        document = {
            "campaign": "a/b c", "treatments": ["none", "coupon"], "version": "v", "budget": 10.0, "spent": 1.0, "reserved": 2.0,
            "left": 7.0, "beyond": 0.0, "price": 0.4, "until": "2027-01-01T00:00:00Z", "decided": 2, "limited": 0,
            "counts": {"policy": {"coupon": 2}}, "ratio": 0.8, "ratio_low": 0.7, "ratio_high": 0.9, "clamped": False,
            "holdout": 0.02, "explore": 0.05,
        }  # fmt: skip
        requests = []

        def stub(request: Any) -> Any:
            requests.append(request)
            return httpx.Response(200, json=document)

        got = call(kind, stub, lambda c: c.campaign("a/b c"), key=KEY)
        assert got == CampaignStatus(**document, challenger=None), "of a service that knows none"
        document["challenger"] = {"run": "/srv/next", "version": "w", "share": 0.05, "shadow": True, "later": 1}
        tried = Challenger("/srv/next", "w", 0.05, shadow=True)
        assert call(kind, stub, lambda c: c.campaign("a/b c"), key=KEY).challenger == tried
        assert requests[0].url.raw_path == b"/v1/campaigns/a%2Fb%20c"
        assert requests[0].headers["authorization"] == f"Bearer {KEY}"

    def test_an_erasure(self, kind: str):
        stub = Stub(httpx.Response(200, json={"decisions": 3}), httpx.Response(200, json={}))
        assert call(kind, stub, lambda c: c.erase("u")) == 3
        with pytest.raises(ServiceUnavailable, match="the answer is not one of this service"):
            call(kind, stub, lambda c: c.erase("u"), retries=0)

    def test_an_answer_without_its_fields_is_none(self, kind: str):
        for changes in ({"id": None}, {"propensity": None}, {"why": 3}):
            stub = Stub(httpx.Response(200, json=answer({"key": "k", "unit": 1}, **changes)))
            with pytest.raises(ServiceUnavailable, match="the answer is not one of this service"):
                call(kind, stub, lambda c: c.decide("u", {}))
        for content in ([], [answer({"key": "k", "unit": 1})] * 2, {"a": 1}):
            with pytest.raises(ServiceUnavailable, match="no list of 1 results"):
                call(kind, Stub(httpx.Response(200, json=content)), lambda c: c.decide_many([Ask("u", {})]))


def sent(features: dict[str, Any], unit: Any = "u") -> Any:
    stub = Stub()
    call("threads", stub, lambda c: c.decide(unit, features))
    return stub.bodies()[0]


def test_cells_of_every_kind():
    features = {
        "i": np.int64(3), "f": np.float32(0.5), "b": np.bool_(True), "t": np.str_("north"), "nan": float("nan"),
        "nat": np.float64("nan"), "none": None, "day": date(2026, 1, 2), "time": datetime(2026, 1, 2, 3, 4), "text": "é",
    }  # fmt: skip
    assert sent(features)["features"] == {
        "i": 3, "f": 0.5, "b": True, "t": "north", "nan": None, "nat": None, "none": None, "day": "2026-01-02",
        "time": "2026-01-02T03:04:00", "text": "é",
    }  # fmt: skip
    assert sent({}, np.int64(7))["unit"] == "7"


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (lambda c: c.decide(True, {}), r"^unit == True: must be text or a whole number"),
        (lambda c: c.decide(1.5, {}), r"^unit == 1\.5: must be text"),
        (lambda c: c.decide("", {}), r"^unit == '': must have 1 to 500 bytes"),
        (lambda c: c.decide("u" * 501, {}), r"^unit == 'u{99}\.\.\.: must have 1 to 500 bytes"),
        (lambda c: c.decide("u", [1]), r"^features: must be a mapping from column to cell, it is a list"),
        (lambda c: c.decide("u", {"age": float("inf")}), r"^features\['age'\] == inf: must be finite"),
        (lambda c: c.decide("u", {"age": [1]}), r"^features\['age'\] == \[1\]: must be a number.* it is a list"),
        (lambda c: c.decide("u", {}, allowed="none"), r"^allowed == 'none': must be several names"),
        (lambda c: c.decide("u", {}, key=""), r"^key == '': must have 1 to 500 bytes"),
        (lambda c: c.decide("u", {}, campaign=3.5), r"^campaign == 3\.5: must be text"),
        (lambda c: c.decide("u", {}, "spring", ["coupon"]), r"^allowed == \['coupon'\]: lacks 'none', which"),
        (lambda c: c.decide_many([Ask("u", {}), Ask("v", {"a": {}})]), r"^asks\[1\]\.features\['a'\]"),
        (lambda c: c.decide_many([("u", {})]), r"^asks\[0\] == \('u', \{\}\): must be of the kind Ask"),
        (lambda c: c.outcome(None, "k"), r"^decision == None: is no id of a decision"),
        (lambda c: c.outcome("d", ""), r"^key == ''"),
        (lambda c: c.outcome("d", "k", cost=float("nan")), r"^cost == nan: must be a finite number"),
        (lambda c: c.outcome("d", "k", value="3"), r"^value == '3': must be a finite number"),
        (lambda c: c.outcomes([Outcome("d", "k"), Outcome("d", "k", float("inf"))]), r"^outcomes\[1\]\.cost == inf"),
        (lambda c: c.campaign(""), r"^name == ''"),
        (lambda c: c.erase(None), r"^unit == None: must be text"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_refused_before_anything_is_sent(task: Callable[[Any], Any], words: str):
    stub = Stub()
    with pytest.raises(DataError, match=words):
        call("threads", stub, task, fallback={"spring": "none"})
    assert stub.requests == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"url": "127.0.0.1:8000"}, r"^url == '127\.0\.0\.1:8000': must be http"),
        ({"url": "ftp://host"}, "^url == 'ftp://host'"),
        ({"url": "http://"}, "^url == "),
        ({"url": "http://host:x"}, "^url == .* is no address"),
        ({"url": "http://host:8000/?a=1"}, "without a query"),
        ({"url": 5}, "^url == 5"),
        ({"timeout": 0}, r"^timeout == 0: must be a finite number >= 0\.001"),
        ({"timeout": float("nan")}, "^timeout == nan"),
        ({"deadline": -1}, "^deadline == -1"),
        ({"patience": "3"}, "^patience == '3'"),
        ({"retries": 1.5}, "^retries == 1.5: must be a whole number"),
        ({"retries": -1}, "^retries == -1"),
        ({"fallback": "none"}, "^fallback == 'none': must map campaigns"),
        ({"fallback": {"spring": ""}}, "^fallback == ''"),
    ],
)
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_wrong_settings(kind: Any, settings: dict[str, Any], words: str):
    with pytest.raises(DataError, match=words):
        kind(**{"url": URL} | settings)


def test_keys_are_in_no_text():
    stub = Stub(httpx.Response(401, json={"detail": "The key is not valid."}), *[httpx.ConnectError("refused")] * 3)
    texts = []
    with Client(URL, key=KEY, transport=httpx.MockTransport(stub)) as client:
        texts += [repr(client), str(client)]
        for _ in range(2):
            with pytest.raises((RefusedByService, ServiceUnavailable)) as caught:
                client.decide("u", {})
            texts += [str(caught.value), repr(caught.value), str(vars(caught.value))]
            assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    for wrong in (f"{KEY} ", f"{KEY}\n", f"ü{KEY}", "", 3):
        with pytest.raises(DataError, match="^key: must be text without spaces") as refused:
            Client(URL, key=wrong)
        texts.append(str(refused.value))
    with pytest.raises(DataError, match="must not have a user or password") as refused:
        Client(f"http://me:{KEY}@host")
    texts.append(str(refused.value))
    assert not [text for text in texts if KEY in text]


def test_threads_share_a_client():
    stub = Stub()
    with Client(URL, transport=httpx.MockTransport(stub)) as client, ThreadPoolExecutor(8) as threads:
        got = list(threads.map(lambda u: client.decide(u, {"age": u}), range(200)))
    assert [one.unit for one in got] == [str(u) for u in range(200)]
    assert len({one.key for one in got}) == 200
    assert all(one.id == f"id of {one.key}" for one in got)


def test_the_import_is_light():
    heavy = ("numpy", "pydantic", "sqlalchemy", "pyarrow", "msgspec", "fastapi", "largesse.serving")
    code = f"import sys; from largesse.client import Client; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@contextmanager
def listening(serve: Callable[[socket.socket], None]):
    """The address of a socket at which each connection is served by a function, in a thread."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


def trickle(connection: socket.socket) -> None:
    """An answer of which a byte comes now and then: each is in time, the whole never."""
    with connection:
        try:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
            for _ in range(1000):
                connection.sendall(b" ")
                time.sleep(0.02)
        except OSError:
            pass


def silent(connection: socket.socket) -> None:
    with connection:
        while connection.recv(65536):
            pass


def closing(connection: socket.socket) -> None:
    connection.close()


@pytest.mark.parametrize("serve", [trickle, silent, closing])
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_the_deadline_holds_at_sockets_that_misbehave(kind: Any, serve: Callable[[socket.socket], None]):
    with listening(serve) as url:
        client = kind(url, timeout=0.1, deadline=0.4, retries=50, fallback={"spring": "none"})
        start = time.monotonic()
        if kind is Client:
            with client:
                got = client.decide("u", {}, "spring")
        else:

            async def run() -> Decision:
                async with client:
                    return await client.decide("u", {}, "spring")

            got = asyncio.run(run())
        assert time.monotonic() - start < 5  # without a deadline 20 seconds, or no end
        assert (got.offline, got.treatment, got.maybe_stored) == (True, "none", True)
