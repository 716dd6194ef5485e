"""Bad requests end with a problem that says what is wrong: never with a fault of the server, and never with its insides."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from largesse.errors import StoreError
from tests.common.served import NORTH, Served, service

JSON = "application/json"
GOOD = {"unit": "u", "features": NORTH}
OUTCOME = {"decision": "d", "key": "k"}
WRONG = (
    None,
    True,
    3,
    -1.5,
    1e400,
    "",
    "x",
    "é" * 600,
    "a\0b",
    [],
    [1],
    {},
    {"a": 1},
    [[]],
    {"unit": "u"},
    10**30,
    "\ud800",
)
DEEP = 20_000


def bodies() -> list[Any]:
    """Cases of (method, path, body, media type); the body as bytes."""
    cases: dict[str, tuple[str, str, bytes, str]] = {}

    def add(name: str, method: str, path: str, body: Any, media: str = JSON) -> None:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        cases[f"{method} {path} {name}"] = (method, path, raw, media)

    plans = {
        ("POST", "/v1/decisions"): (GOOD, ("unit", "features", "campaign", "allowed", "key")),
        ("POST", "/v1/outcomes"): (OUTCOME, ("decision", "key", "cost", "value", "final", "void")),
        ("PATCH", "/v1/campaigns/spring"): (
            {"budget": 5000.0},
            ("budget", "until", "explore", "mix", "worst", "matures", "units"),
        ),
        ("PUT", "/v1/campaigns/spring/policy"): ({"run": "no"}, ("run",)),
    }
    fine = {
        "unit": ("x", 3, 10**30), "campaign": (None,), "allowed": (None,), "key": (None, "x"), "budget": (None, 3),
        "until": (None, 3), "explore": (None,), "mix": (None,), "worst": (None,), "matures": (None, 3), "units": (None, 3),
    }  # fmt: skip
    for (method, path), (good, names) in plans.items():
        for name in names:
            for k, wrong in enumerate(WRONG):
                if path == "/v1/outcomes" or not any(
                    wrong is x or (wrong == x and type(wrong) is type(x)) for x in fine.get(name, ())
                ):
                    add(f"{name} {k}", method, path, good | {name: wrong})
        for name in good:
            add(f"without {name}", method, path, {k: v for k, v in good.items() if k != name} | {"more": 1})
        add("unknown", method, path, good | {"colour": "red"})
        twice = json.dumps(good)[:-1] + "," + json.dumps(good)[1:]
        raw: dict[str, bytes] = {
            "empty": b"", "blank": b" ", "text": b"hello", "half": json.dumps(good).encode()[:-3], "list": b"[1, 2",
            "null": b"null", "number": b"7", "true": b"true", "string": b'"u"', "nan": b'{"unit": NaN}',
            "infinity": b'{"unit": -Infinity}',
            "utf-8": b'{"unit": "\xff\xfe"}', "utf-16": json.dumps(good).encode("utf-16"), "twice": twice.encode(),
            "deep lists": b"[" * DEEP + b"]" * DEEP, "deep objects": b'{"unit":' * DEEP,
            "deep inside": b'{"features":' + b"[" * DEEP,
            "trailing": json.dumps(good).encode() + b"x", "two": json.dumps(good).encode() * 2, "control": b'{"unit": "a\nb"}',
            "surrogate": b'{"unit": "\\ud800", "features": {}}', "digits": b'{"unit": ' + b"9" * 5000 + b', "features": {}}',
            "zeros": b"\0" * 100, "comment": b"/* x */ {}", "single quotes": b"{'unit': 1}", "bom": b"\xef\xbb\xbfx",
        }  # fmt: skip
        for name, body in raw.items():
            add(name, method, path, body)
        for media in (
            "text/plain",
            "application/xml",
            "multipart/form-data",
            "application/x-www-form-urlencoded",
            "x" * 300,
        ):
            add(f"as {media[:20]}", method, path, good, media)
    cells = {"age": ("old", True.__class__.__name__, [1], {"a": 1}, "40", 10**400), "city": (3, True, 1.5, [], {}),
             "since": ("yesterday", "2026-13-45", "", [2026], {}, "x" * 2000)}  # fmt: skip
    for name, several in cells.items():
        for k, cell in enumerate(several):
            add(f"cell {name} {k}", "POST", "/v1/decisions", {"unit": "u", "features": NORTH | {name: cell}})
        add(
            f"no {name}",
            "POST",
            "/v1/decisions",
            {"unit": "u", "features": {k: v for k, v in NORTH.items() if k != name}},
        )
    add(
        "feature twice", "POST", "/v1/decisions", b'{"unit":"u","features":{"age":1,"age":2,"city":"a:b","since":null}}'
    )
    for campaign in ("summer", "Spring", "spring ", "../spring", "%00", "x" * 600):
        add(f"campaign {campaign[:9]}", "POST", "/v1/decisions", GOOD | {"campaign": campaign})
    for k, allowed in enumerate((["gift"], ["none", "nothing"], [""], ["none"] * 3 + ["x"], ["None"])):
        add(f"allowed {k}", "POST", "/v1/decisions", GOOD | {"allowed": allowed})
    for name, body in {
        "no list": b"{}",
        "empty": b"[]",
        "half": b"[{",
        "text": b"x",
        "nan": b"[NaN]",
        "deep": b"[" * DEEP,
    }.items():
        add(name, "POST", "/v1/decisions:batch", body)
    for media in ("text/csv", "application/vnd.apache.parquet", "application/vnd.apache.arrow.stream"):
        add(f"as {media}", "POST", "/v1/decisions:batch", [GOOD], media)
    add("no lines", "POST", "/v1/decisions:batch", b"\n\n", "application/x-ndjson")
    add("refund", "POST", "/v1/outcomes", OUTCOME | {"cost": -1e13})
    changes = (
        {"budget": -1}, {"until": "soon"}, {"explore": 2}, {"mix": {"none": 1}}, {"mix": {"none": 0, "coupon": 0, "gift": 0}},
        {"worst": {"cash": 1.0}}, {"matures": 0}, {"units": -3}, {"holdout": 0.5}, {"salt": "x"}, {"price": 1},
    )  # fmt: skip
    for change in changes:
        add(f"change {change}", "PATCH", "/v1/campaigns/spring", change)
    for run in (".", "/", "/dev/null", "/etc/passwd", "a\0b", "x" * 5000, "~nobody/x"):
        add(f"run {run[:12]!r}", "PUT", "/v1/campaigns/spring/policy", {"run": run})
    return [pytest.param(*case, id=name) for name, case in cases.items()]


CASES = bodies()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with service(tmp_path_factory.mktemp("refusals")) as one:
        yield one


def is_problem(got: Any) -> dict[str, Any]:
    assert 400 <= got.status_code < 500, (got.status_code, got.text[:500])
    assert got.headers["content-type"] == "application/problem+json"
    problem = json.loads(got.content, parse_constant=pytest.fail)
    assert problem["status"] == got.status_code
    assert set(problem) <= {"type", "title", "status", "detail", "instance", "field", "value"}
    assert problem["type"].startswith("urn:largesse:problem:")
    assert problem["instance"] == f"urn:largesse:request:{got.headers['x-request-id']}"
    assert problem["detail"].endswith((".", ")", "'", "..."))
    assert len(got.content) < 3_000
    for inside in ("Traceback", "site-packages", ".py", "pydantic", "msgspec", "sqlite", "object at 0x"):
        assert inside not in got.text, got.text
    return problem


def test_there_are_enough():
    assert len(CASES) >= 300


@pytest.mark.parametrize(("method", "path", "body", "media"), CASES)
def test_a_bad_body_is_a_problem(served: Served, method: str, path: str, body: bytes, media: str):
    is_problem(served.ask(method, path, content=body, headers={"content-type": media}))


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/", 404), ("GET", "/v1", 404), ("GET", "/v1/decision", 404), ("POST", "/v1/decisions/", 404), ("GET", "/docs", 404),
     ("GET", "/v1/campaigns/summer", 404), ("PATCH", "/v1/campaigns/summer", 404), ("PUT", "/v1/campaigns/a/b/policy", 404),
     ("GET", "/v1/campaigns/%2e%2e/x", 404), ("GET", "/v1/campaigns/a%00b", 404), ("GET", "/v1/decisions", 405),
     ("PUT", "/v1/decisions:batch", 405), ("DELETE", "/v1/outcomes", 405), ("POST", "/v1/campaigns", 405),
     ("POST", "/healthz", 405), ("DELETE", "/v1/campaigns/spring/policy", 405), ("POST", "/openapi.json", 404)],
)  # fmt: skip
def test_other_addresses_and_methods(served: Served, method: str, path: str, status: int):
    got = served.ask(method, path)
    assert is_problem(got)["status"] == status
    assert ("allow" in got.headers) == (status == 405)


def test_a_large_body_is_refused_before_it_is_read(served: Served):
    read = 0

    async def endless() -> Any:
        nonlocal read
        while True:
            read += 1
            yield b" " * 65_536

    got = served.ask("POST", "/v1/decisions", content=endless())
    assert is_problem(got)["status"] == 413
    assert read <= 18, "1 MiB is 16 parts"
    long = served.ask("POST", "/v1/outcomes", content=b"[]", headers={"content-length": str(1 << 40)})
    assert is_problem(long)["status"] == 413
    assert is_problem(served.ask("POST", "/v1/decisions", content=b"1" * (1 << 20) + b"1"))["status"] == 413


def test_a_body_that_never_ends_is_given_up(tmp_path_factory: pytest.TempPathFactory):
    with service(tmp_path_factory.mktemp("slow"), server={"read_timeout": 0.2}) as one:

        async def slow() -> Any:
            yield b"{"
            await asyncio.sleep(5)
            yield b"}"

        for path in ("/v1/decisions", "/v1/outcomes", "/v1/decisions:batch"):
            assert is_problem(one.ask("POST", path, content=slow()))["status"] == 408


def test_compressed_bodies_and_two_keys_are_refused(served: Served):
    assert (
        is_problem(served.ask("POST", "/v1/decisions", json=GOOD, headers={"content-encoding": "gzip"}))["status"]
        == 415
    )
    two = served.ask("POST", "/v1/decisions", json=GOOD | {"key": "a"}, headers={"idempotency-key": "b"})
    assert is_problem(two)["field"] == "key"


@pytest.mark.parametrize(
    ("body", "detail"),
    [({"features": NORTH}, "unit: is missing. Add it to the body."),
     ({"unit": [1], "features": NORTH}, "unit: must be text or a whole number, it is a list. See the documentation of"),
     (GOOD | {"features": {"age": 1, "city": "x"}}, "column 'since': missing. "),
     (GOOD | {"campaign": "sprnig"}, "campaign == 'sprnig': is not served here. Did you mean 'spring'? The campaigns"),
     (GOOD | {"allowed": ["none", "gfit"]}, "allowed == 'gfit': must be among 'none', 'coupon', 'gift'. Did you mean 'gift'? "),
     (GOOD | {"features": NORTH | {"age": "old"}}, "age == 'old': the policy learned from number. Give numbers; None stands")],
)  # fmt: skip
def test_the_detail_names_field_value_rule_and_remedy(served: Served, body: Any, detail: str):
    assert is_problem(served.ask("POST", "/v1/decisions", json=body))["detail"].startswith(detail)


def test_a_fault_tells_the_caller_nothing(tmp_path_factory: pytest.TempPathFactory, caplog: pytest.LogCaptureFixture):
    with service(tmp_path_factory.mktemp("fault")) as one:
        one.app.service.ledger.decide = one.app.service.ledger.status = lambda *_: 1 / 0
        for got in (one.decide("u"), one.ask("GET", "/v1/campaigns/spring")):
            assert got.status_code == 500
            assert got.json()["type"] == "urn:largesse:problem:fault"
            assert "division" not in got.text
        assert caplog.text.count("division by zero") >= 2


def test_a_store_that_fails_is_said_with_a_time_to_come_again(tmp_path_factory: pytest.TempPathFactory):
    with service(tmp_path_factory.mktemp("store")) as one:

        def fails(*_: Any) -> None:
            raise StoreError("store: the disk is full")

        one.app.service.ledger.decide = one.app.service.ledger.outcomes = fails
        for got in (one.decide("u"), one.ask("POST", "/v1/outcomes", json=OUTCOME)):
            assert (got.status_code, got.headers["retry-after"]) == (503, "1")
            assert "disk" not in got.text
