"""Outcomes, campaigns, health, metrics and the description of the service."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import pytest

from largesse.serving.ledger.store import writing
from largesse.serving.ledger.tables import budgets, shares
from tests.common.served import NORTH, Served, make_run, service


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with service(tmp_path, budget=100.0) as one:
        yield one


def test_outcomes_turn_reservations_into_spend(served: Served):
    ids = [served.decide(f"u{k}").json()["id"] for k in range(3)]
    one = served.ask("POST", "/v1/outcomes", "decide", json={"decision": ids[0], "key": "o1", "cost": 3.5, "value": 2})
    assert one.json() == {
        "decision": ids[0],
        "key": "o1",
        "state": "posted",
        "paid": 3.5,
        "value": 2.0,
        "repeated": False,
    }
    again = served.ask(
        "POST", "/v1/outcomes", "decide", json={"decision": ids[0], "key": "o1", "cost": 3.5, "value": 2}
    )
    assert again.json()["repeated"]
    conflict = served.ask("POST", "/v1/outcomes", "decide", json={"decision": ids[0], "key": "o1", "cost": 4})
    assert (conflict.status_code, conflict.json()["status"]) == (409, 409)
    many = [
        {"decision": ids[1], "key": "o2", "cost": 4, "final": False}, {"decision": "nobody", "key": "o3"},
        {"decision": ids[2]}, {"decision": ids[2], "key": "o4", "void": True}, 3,
    ]  # fmt: skip
    got = served.ask("POST", "/v1/outcomes", "decide", json=many)
    assert got.status_code == 207
    assert [row.get("state", row.get("status")) for row in got.json()] == ["pending", 422, 422, "voided", 422]
    assert got.json()[2]["field"] == "[2].key"
    status = served.ask("GET", "/v1/campaigns/spring", "report").json()
    assert (status["spent"], status["reserved"], status["left"]) == (7.5, 0.0, 92.5)
    assert served.ask("POST", "/v1/outcomes", "decide", json=[]).json() == []


def test_the_same_on_both_stores(store: str, tmp_path: Path):
    with service(tmp_path, server={"store": store}, budget=20.0, explore=0.3) as one:
        rows = [{"unit": f"u{k}", "features": NORTH, "key": f"k{k}"} for k in range(50)]
        got = one.ask("POST", "/v1/decisions:batch", "decide", json=rows).json()
        with ThreadPoolExecutor(8) as pool:
            again = list(pool.map(lambda k: one.decide(f"u{k}", key=f"k{k}").json(), range(50)))
        assert again == [a | {"repeated": True} for a in got]
        given = {a["id"]: a["cost"] for a in got}
        outcomes = [{"decision": key, "key": key, "cost": cost} for key, cost in given.items()]
        assert one.ask("POST", "/v1/outcomes", "decide", json=outcomes).status_code == 200
        status = one.ask("GET", "/v1/campaigns/spring", "report").json()
        assert status["decided"] == 50
        assert 16 < status["spent"] == sum(given.values()) <= 20
        summer = make_run(tmp_path / "summer", price=0.1)
        assert one.ask("PUT", "/v1/campaigns/spring/policy", json={"run": str(summer)}).status_code == 200
        assert one.decide("new").json()["version"].startswith("summer-")
        assert one.client.request("GET", "/readyz").status_code == 200


def test_a_campaign_changes_and_says_so(served: Served):
    served.decide("u1")
    changed = served.ask("PATCH", "/v1/campaigns/spring", json={"budget": 250, "until": "2099-05-01", "explore": 1.0})
    assert changed.status_code == 200
    got = changed.json()
    assert (got["budget"], got["until"], got["explore"], got["decided"]) == (250.0, "2099-05-02T00:00:00Z", 1.0, 1)
    assert served.ask("GET", "/v1/campaigns", "report").json() == [got]
    low = served.ask("PATCH", "/v1/campaigns/spring", json={"budget": 3})
    assert (low.status_code, low.json()["field"]) == (422, "budget")
    assert "must be >= 4, which is spent or reserved" in low.json()["detail"]
    kinds = {served.decide(f"v{k}").json()["kind"] for k in range(10)}
    assert kinds == {"explore"}


def test_the_part_of_a_shared_budget_is_not_changed_by_hand(served: Served):
    """All else is; the money that it has at the moment stays."""
    with writing(served.app.service.ledger.engine) as connection:
        connection.execute(budgets.insert().values(name="growth", budget=30_000))
        connection.execute(shares.insert().values(campaign="spring", budget="growth"))
    got = served.ask("GET", "/v1/campaigns/spring", "report").json()
    assert (got["budget"], got["budget_of"], got["joint_budget"]) == (100.0, "growth", 300.0)
    refused = served.ask("PATCH", "/v1/campaigns/spring", json={"budget": 250})
    assert (refused.status_code, refused.json()["field"]) == (422, "budget")
    assert "the campaign 'spring' shares the budget 'growth'. Change that one" in refused.json()["detail"]
    changed = served.ask("PATCH", "/v1/campaigns/spring", json={"explore": 0.5})
    assert (changed.status_code, changed.json()["explore"], changed.json()["budget"]) == (200, 0.5, 100.0)


def test_health(served: Served):
    ask = served.client.request
    assert ask("GET", "/healthz").json() == ask("GET", "/readyz").json() == {"status": "ok"}
    served.app.service.decisions._main._since = 0.0  # for a very long time
    stuck = ask("GET", "/readyz")
    assert (stuck.status_code, stuck.json()["title"]) == (503, "The server cannot answer now")
    assert ask("GET", "/healthz").status_code == 200
    served.app.service.decisions._main._since = None
    served.app.service._served = {}
    assert "A run is not loaded" in ask("GET", "/readyz").json()["detail"]


def test_metrics_count_new_decisions_and_requests(served: Served):
    for unit in ("a", "b", "b"):
        served.decide(unit)
    served.decide("c", campaign="x")
    text = served.ask("GET", "/metrics", "report").text

    def count(line: str) -> float:
        found = re.search(rf"^{re.escape(line)} ([\d.]+)$", text, flags=re.M)
        return float(found[1]) if found else 0.0

    assert count('largesse_decisions_total{campaign="spring",kind="policy",treatment="gift"}') == 2
    assert count('largesse_requests_total{route="/v1/decisions",status="200"}') == 3
    assert count('largesse_requests_total{route="/v1/decisions",status="404"}') == 1
    assert count('largesse_request_seconds_count{route="/v1/decisions"}') == 4


def test_the_description_names_every_route_with_examples_that_are_answered(served: Served):
    made = served.client.request("GET", "/openapi.json").json()
    assert made["openapi"].startswith("3.1")
    assert set(made["paths"]) == {
        "/v1/decisions", "/v1/decisions:batch", "/v1/outcomes", "/v1/campaigns", "/v1/campaigns/{campaign}",
        "/v1/campaigns/{campaign}/policy", "/v1/campaigns/{campaign}/challenger", "/v1/campaigns/{campaign}/runs",
        "/v1/units/{unit}", "/healthz", "/readyz", "/metrics",
    }  # fmt: skip
    text = json.dumps(made)
    for ref in re.findall(r'"#/components/schemas/(\w+)"', text):
        assert ref in made["components"]["schemas"]
    for name, schema in made["components"]["schemas"].items():
        assert schema.get("description"), name
        if name.endswith(("Document", "Ask", "Answer", "Change")) and name != "WhyDocument":
            assert schema["examples"], name
        for field, about in schema["properties"].items():
            assert about.get("description") or field == "status", (name, field)
    answer = served.decide("u1").json()
    assert set(answer) == set(made["components"]["schemas"]["DecisionAnswer"]["properties"])
    assert set(answer["why"]) == set(made["components"]["schemas"]["WhyDocument"]["properties"])
    shown = served.ask("GET", "/v1/campaigns/spring", "report").json()
    assert set(shown) == set(made["components"]["schemas"]["CampaignDocument"]["properties"])
    for schema in ("DecisionAsk", "CampaignChange", "OutcomeDocument"):
        (example,) = made["components"]["schemas"][schema]["examples"]
        assert set(example) <= set(made["components"]["schemas"][schema]["properties"])


@pytest.mark.parametrize("unit", ["u1", "shop/7", "a b", "größe%2F?"])
def test_an_erased_unit_is_a_new_one(served: Served, unit: str):
    first = served.decide(unit).json()
    path = f"/v1/units/{quote(unit, safe='')}"
    assert served.ask("DELETE", path).json() == {"decisions": 1}
    assert served.ask("DELETE", path).json() == {"decisions": 0}
    again = served.decide(unit).json()
    assert not again["repeated"]
    assert again["id"] != first["id"]
    status = served.ask("GET", "/v1/campaigns/spring", "report").json()
    assert status["decided"] == 2


def test_there_is_no_page_that_loads_from_the_network(served: Served):
    for path in ("/docs", "/redoc"):
        got = served.client.request("GET", path)
        assert (got.status_code, "See /openapi.json" in got.json()["detail"]) == (404, True)


def test_checkpoints_run_beside_the_decisions(tmp_path):
    """What is decided reaches the file itself soon, although the log is far from the length at which a transaction does it."""
    with service(tmp_path) as one:
        (place,) = tmp_path.glob("*.db")
        size = place.stat().st_size
        for k in range(60):
            one.decide(f"c{k}")
        deadline = time.monotonic() + 10
        while place.stat().st_size == size and time.monotonic() < deadline:
            time.sleep(0.05)
        assert place.stat().st_size > size
