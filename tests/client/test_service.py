"""The client and the service together, in one process."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from tests.common.served import NORTH, Served, service

import httpx  # isort: skip

from largesse.client import Ask, AsyncClient, Outcome
from largesse.errors import RefusedByService


def do(one: Served, role: str, task: Callable[[AsyncClient], Coroutine[Any, Any, Any]], **settings: Any) -> Any:
    """The result of a task with a client that has a key of a role."""

    async def run() -> Any:
        given = {"key": one.keys.get(role), "timeout": 10.0, "deadline": 20.0} | settings
        async with AsyncClient("http://here", transport=httpx.ASGITransport(one.app), **given) as client:
            return await task(client)

    return one.client.do(run())


@pytest.fixture
def one(tmp_path: Path):
    with service(tmp_path) as got:
        yield got


def test_a_decision_and_what_came_of_it(one: Served):
    got = do(one, "decide", lambda c: c.decide(7, NORTH, "spring", key="k"))
    assert (got.unit, got.treatment, got.kind, got.key, got.offline, got.repeated) == (
        "7",
        "gift",
        "policy",
        "k",
        False,
        False,
    )
    assert (got.value, got.cost, got.price, got.propensity) == (3.0, 4.0, 0.5, 1.0)
    assert got.why is not None
    assert got.why.treatment == "gift"
    again = do(one, "decide", lambda c: c.decide("7", NORTH, "spring", key="k"))
    assert again.repeated
    assert again.id == got.id
    receipt = do(one, "decide", lambda c: c.outcome(got.id, "order 1", cost=3.5, value=1.0, final=False))
    assert (receipt.state, receipt.paid, receipt.repeated) == ("pending", 3.5, False)
    rows = [
        Outcome(got.id, "order 1", 3.5, 1.0, final=False),
        Outcome(got.id, "order 2"),
        Outcome("unknown", "order 3"),
    ]
    first, second, third = do(one, "decide", lambda c: c.outcomes(rows))
    assert (first.repeated, second.state, second.paid) == (True, "posted", 3.5)
    assert isinstance(third, RefusedByService)
    assert third.field.endswith("decision")
    status = do(one, "report", lambda c: c.campaign("spring"))
    assert (status.decided, status.spent, status.reserved, status.left) == (1, 3.5, 0.0, 996.5)
    assert status.treatments == ["none", "coupon", "gift"]


def test_many_decisions(one: Served):
    asks = [Ask(f"u{k}", NORTH, "spring", ["none", "coupon"] if k == 3 else None) for k in range(1003)]
    asks[5] = asks[5]._replace(features={"age": 40})
    got = do(one, "decide", lambda c: c.decide_many(asks))
    assert isinstance(got[5], RefusedByService)
    assert "city" in str(got[5])
    assert [d.unit for d in got if d is not got[5]] == [f"u{k}" for k in range(1003) if k != 5]
    assert got[3].treatment == "coupon"
    assert {d.treatment for k, d in enumerate(got) if k not in (3, 5)} == {"gift", "none", "coupon"}  # the budget ends


@pytest.mark.parametrize(
    ("role", "task", "status", "field"),
    [
        ("nobody", lambda c: c.decide("u", NORTH), 401, ""),
        ("report", lambda c: c.decide("u", NORTH), 403, ""),
        ("decide", lambda c: c.campaign("spring"), 403, ""),
        ("report", lambda c: c.campaign("summer"), 404, "campaign"),
        ("decide", lambda c: c.decide("u", NORTH, "summer"), 404, "campaign"),
        ("decide", lambda c: c.decide("u", {"age": 40}), 422, "city"),
        ("decide", lambda c: c.decide("u", NORTH, allowed=["gift"]), 422, "allowed"),
        ("decide", lambda c: c.outcome("unknown", "k"), 422, "decision"),
    ],
)  # fmt: skip
def test_refusals(one: Served, role: str, task: Callable[[AsyncClient], Any], status: int, field: str):
    with pytest.raises(RefusedByService) as caught:
        do(one, role, task)
    assert (caught.value.status, caught.value.field) == (status, field)
    assert caught.value.request


def test_the_same_key_for_something_else_is_a_conflict(one: Served):
    do(one, "decide", lambda c: c.decide("u", NORTH, key="k"))
    with pytest.raises(RefusedByService) as caught:
        do(one, "decide", lambda c: c.decide("v", NORTH, key="k"))
    assert caught.value.status == 409


def test_a_unit_is_erased_by_an_admin_alone(one: Served):
    first = do(one, "decide", lambda c: c.decide("shop/7 b", NORTH, "spring"))
    with pytest.raises(RefusedByService, match="role 'decide'"):
        do(one, "decide", lambda c: c.erase("shop/7 b"))
    assert do(one, "admin", lambda c: c.erase("shop/7 b")) == 1
    assert do(one, "admin", lambda c: c.erase("shop/7 b")) == 0
    assert do(one, "decide", lambda c: c.decide("shop/7 b", NORTH, "spring")).id != first.id
