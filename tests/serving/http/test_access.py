"""Keys: what each role may do, how long a key is valid, and that it stands nowhere."""

from __future__ import annotations

import base64
import hashlib
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from largesse.cli.app import app as commands
from largesse.errors import DataError
from tests.common.served import NORTH, Served, service

from largesse.serving.http.access import create_key, list_keys, revoke_key  # isort: skip

ASK = {"unit": "u", "features": NORTH}
ROUTES = [
    # method, path, body, the roles that may
    ("POST", "/v1/decisions", ASK, {"decide", "admin"}),
    ("POST", "/v1/decisions:batch", [ASK], {"decide", "admin"}),
    ("POST", "/v1/outcomes", {"decision": "x", "key": "k"}, {"decide", "admin"}),
    ("GET", "/v1/campaigns", None, {"report", "admin"}),
    ("GET", "/v1/campaigns/spring", None, {"report", "admin"}),
    ("PATCH", "/v1/campaigns/spring", {"budget": 2000.0}, {"admin"}),
    ("PUT", "/v1/campaigns/spring/policy", {"run": "no"}, {"admin"}),
    ("DELETE", "/v1/units/nobody", None, {"admin"}),
    ("GET", "/metrics", None, {"report", "admin"}),
]
OPEN = ("/healthz", "/readyz", "/openapi.json")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with service(tmp_path_factory.mktemp("access")) as one:
        yield one


@pytest.mark.parametrize("role", ["decide", "report", "admin", ""])
@pytest.mark.parametrize(("method", "path", "body", "roles"), ROUTES, ids=[f"{r[0]} {r[1]}" for r in ROUTES])
def test_each_role_may_what_the_table_says(
    served: Served, method: str, path: str, body: object, roles: set[str], role: str
):
    served.keys[""] = "largesse_0123456789ab_" + "A" * 43
    got = served.ask(method, path, role, **({} if body is None else {"json": body}))
    if role in roles:
        assert got.status_code not in (401, 403), got.text
    else:
        assert got.status_code == (403 if role else 401)
        assert got.headers["content-type"] == "application/problem+json"
        assert ("www-authenticate" in got.headers) == (not role)


@pytest.mark.parametrize("path", OPEN)
def test_health_needs_no_key(served: Served, path: str):
    assert served.client.request("GET", path).status_code == 200


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Basic abc", "Bearer largesse_", "Bearer largesse_0123456789ab_é" + "A" * 42, "bearer x" * 500,
     "Bearer largesse_{id}_" + "A" * 43, "Bearer {key}x", "Bearer x{key}"],
)  # fmt: skip
def test_other_headers_are_no_keys(served: Served, header: str):
    key = served.keys["decide"]
    value = header.replace("{key}", key).replace("{id}", key.split("_")[1]).encode("latin-1")
    got = served.client.request("POST", "/v1/decisions", json=ASK, headers={"authorization": value})
    assert got.status_code == 401
    assert key.split("_", 2)[2] not in got.text


def test_the_store_has_the_hash_alone_and_nothing_shows_the_key(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    with service(tmp_path) as one:
        one.decide("u1")
        one.client.request(
            "POST", "/v1/decisions", json=ASK, headers={"authorization": f"Bearer {one.keys['decide']}!"}
        )
        rows = list_keys(one.app.service.ledger.engine)
        shown = repr(one.app.service.keyring) + str(vars(one.app.service.keyring)) + caplog.text + str(rows)
    stored = b"".join(path.read_bytes() for path in tmp_path.glob("ledger.db*"))
    for key in one.keys.values():
        secret = key.split("_", 2)[2]
        assert secret not in shown
        assert secret.encode() not in stored
        digest = hashlib.sha256(base64.urlsafe_b64decode(secret + "=")).hexdigest()
        assert digest.encode() in stored
        assert len(base64.urlsafe_b64decode(secret + "=")) == 32


def test_a_key_ends(tmp_path: Path):
    with service(tmp_path) as one:
        inner = one.app.service
        now = [inner.ledger.clock()]
        inner.keyring.clock = lambda: now[0]
        one.keys["short"] = create_key(inner.ledger.engine, "decide", expires=now[0] + 60)[1]
        identity, one.keys["gone"] = create_key(inner.ledger.engine, "decide", name="the shop")
        inner.follow()
        assert one.decide("u1", "short").status_code == one.decide("u2", "gone").status_code == 200
        now[0] += 61
        assert one.decide("u1", "short").status_code == 401
        assert revoke_key(inner.ledger.engine, identity)
        assert not revoke_key(inner.ledger.engine, identity)
        inner.follow()
        assert one.decide("u2", "gone").status_code == 401
        with pytest.raises(DataError, match="id == 'nobody': there is no such key"):
            revoke_key(inner.ledger.engine, "nobody")
        for wrong in ({"role": "king"}, {"role": "admin", "expires": 5.0}, {"role": "admin", "name": "x" * 101}):
            with pytest.raises(DataError):
                create_key(inner.ledger.engine, **wrong)


def test_without_keys_anybody_may_on_this_machine(tmp_path: Path):
    with service(tmp_path, server={"keys": False}) as one:
        assert one.client.request("POST", "/v1/decisions", json=ASK).status_code == 200


def test_the_commands(tmp_path: Path):
    run, store = CliRunner().invoke, ["--store", f"sqlite:///{tmp_path}/ledger.db"]
    assert "no keys" in run(commands, ["keys", "list", *store]).output
    made = run(commands, ["keys", "create", *store, "--role", "report", "--name", "board", "--expires", "2100-01-01"])
    assert re.fullmatch(r"largesse_[0-9a-f]{12}_[\w-]{43}", made.stdout.strip())
    identity = made.stdout.split("_")[1]
    listed = run(commands, ["keys", "list", *store]).output
    assert f"{identity}  report  board" in listed
    assert "expires 2100-01-02T00:00:00Z" in listed
    assert "refuse it within ten seconds" in run(commands, ["keys", "revoke", identity, *store]).output.replace(
        "\n", " "
    )
    assert "revoked" in run(commands, ["keys", "list", *store, "--json"]).output
    wrong = run(commands, ["keys", "create", *store, "--role", "decide", "--expires", "tomorrow"])
    assert "--expires == 'tomorrow': must be a date or a time" in str(wrong.exception)
