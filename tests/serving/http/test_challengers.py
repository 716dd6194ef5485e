"""A challenger: who gets it, with which propensity, how it is changed and refused, and what each run decided."""

from __future__ import annotations

import json
import threading
import time
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.common.served import NORTH, TREATMENTS, Served, make_run, service

import sqlalchemy as sa  # isort: skip

from largesse.errors import ConfigError, DataError  # isort: skip
from largesse.serving.http.begin import begin  # isort: skip
from largesse.serving.http.settings import load_settings  # isort: skip
from largesse.serving.ledger.store import reading  # isort: skip
from largesse.serving.ledger.tables import decisions, shadows  # isort: skip

DEAR = (
    0.0,
    1.0,
    10.0,
)  # the gift does not pay at a price of 0.5: the challenger gives the coupon where the champion gives the gift


def drawn(unit: str, version: str, salt: str = "spring") -> float:
    name = f"{salt}\0spring\0{version}\0{unit}".encode()
    return (int.from_bytes(blake2b(name, digest_size=8, person=b"largesse canary").digest(), "big") >> 11) / 2**53


def challenge(one: Served, run: Path, **more: Any) -> Any:
    return one.ask("PUT", "/v1/campaigns/spring/challenger", json={"run": str(run), **more})


def test_a_share_of_the_units_is_decided_by_the_challenger(tmp_path: Path):
    with service(tmp_path) as one:
        summer = make_run(tmp_path / "summer", cost=DEAR)
        got = challenge(one, summer, share=0.3).json()
        version = got["version"]
        assert got == {"run": str(summer), "version": version, "share": 0.3, "shadow": False}
        assert one.ask("GET", "/v1/campaigns/spring", "report").json()["challenger"] == got
        answers = [one.decide(f"u{k}").json() for k in range(40)]
        rows = [{"unit": f"u{k}", "features": NORTH} for k in range(20, 120)]
        several = one.ask("POST", "/v1/decisions:batch", "decide", json=rows).json()
        assert all(row["repeated"] for row in several[:20])
        answers += several[20:]
        mine = [drawn(a["unit"], version) < 0.3 for a in answers]
        assert 0 < sum(mine) < len(mine)
        assert [a["version"] == version for a in answers] == mine
        assert [a["treatment"] for a in answers] == ["coupon" if m else "gift" for m in mine]
        assert all(a["why"]["treatment"] == a["treatment"] for a in answers)
        # A larger share adds units, a smaller one takes none that is decided, and without a challenger the champion decides.
        assert challenge(one, summer, share=0.6).json()["share"] == 0.6
        more = {f"v{k}": one.decide(f"v{k}").json() for k in range(40)}
        assert [a["version"] == version for a in more.values()] == [drawn(u, version) < 0.6 for u in more]
        challenge(one, summer, share=0.01)
        assert one.decide("u0").json() == answers[0] | {"repeated": True, "why": one.decide("u0").json()["why"]}
        assert one.ask("DELETE", "/v1/campaigns/spring/challenger").json() == {"campaign": "spring", "removed": True}
        assert one.ask("DELETE", "/v1/campaigns/spring/challenger").json()["removed"] is False
        assert {one.decide(f"w{k}").json()["version"][:4] for k in range(20)} == {"run-"}
        assert one.ask("GET", "/v1/campaigns/spring", "report").json()["challenger"] is None


def in_the_shadow(one: Served, n: int) -> dict[str, str]:
    """The n answers in the shadow by unit, once they are stored."""
    query = sa.select(decisions.c.unit, shadows.c.treatment).join(shadows, shadows.c.place == decisions.c.place)
    for _ in range(200):
        with reading(one.app.service.ledger.engine) as connection:
            rows = connection.execute(query).all()
        if len(rows) == n:
            break
        time.sleep(0.05)
    return {row.unit: row.treatment for row in rows}


def test_batches_in_every_form_are_decided_by_the_same_runs(tmp_path: Path):
    """Of one unit after the other, a list, lines and Arrow: the same answers in the same order, and the same in the shadow."""
    pa = pytest.importorskip("pyarrow")
    units = [f"u{k}" for k in range(150)]
    cells: dict[str, Any] = {"age": [20.0 + k % 50 for k in range(150)], "city": ["north"] * 150}
    rows = [
        {"unit": unit, "features": {name: cells[name][k] for name in cells} | {"since": None}}
        for k, unit in enumerate(units)
    ]
    table = pa.table({"unit": units, "since": pa.nulls(150), **cells})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    lines = "\n".join(map(json.dumps, rows)).encode()
    arrow = "application/vnd.apache.arrow.stream"
    got, kept = [], []
    for k, kind in enumerate(("", "application/json", "application/x-ndjson", arrow)):
        with service(tmp_path / str(k), budget=1e6, explore=0.3) as one:
            version = challenge(one, make_run(tmp_path / str(k) / "summer", cost=DEAR), share=0.4, shadow=True).json()[
                "version"
            ]

            def ask(content: Any, media: str, one: Served = one) -> Any:
                return one.ask(
                    "POST", "/v1/decisions:batch", "decide", content=content, headers={"content-type": media}
                )

            if kind == arrow:
                made = pa.ipc.open_stream(ask(sink.getvalue().to_pybytes(), kind).content).read_all().to_pylist()
            elif kind:
                content = ask(json.dumps(rows).encode() if k == 1 else lines, kind).content
                made = json.loads(content) if k == 1 else [json.loads(line) for line in content.splitlines()]
            else:
                made = [one.decide(row["unit"], features=row["features"]).json() for row in rows]
            assert [a["version"] == version for a in made] == [drawn(unit, version) < 0.4 for unit in units]
            got.append([(a["unit"], a["treatment"], a["kind"], a["propensity"], a["value"], a["cost"]) for a in made])
            kept.append(in_the_shadow(one, sum(drawn(unit, version) >= 0.4 for unit in units)))
    assert got[0] == got[1] == got[2] == got[3]
    assert kept[0] == kept[1] == kept[2] == kept[3]
    assert set(kept[0]) == {unit for unit in units if drawn(unit, version) >= 0.4}


def test_the_propensity_is_that_of_the_policy_that_decided(tmp_path: Path):
    """e (1-h) q + (1-e) (1-h) [its choice] + h [control], and the draws of the two hashes are independent."""
    h, e = 0.2, 0.3
    with service(tmp_path, budget=1e6, holdout=h, explore=e) as one:
        version = challenge(one, make_run(tmp_path / "summer", cost=DEAR), share=0.5).json()["version"]
        rows = [{"unit": f"u{k}", "features": NORTH} for k in range(4000)]
        answers = one.ask("POST", "/v1/decisions:batch", "decide", json=rows).json()
    mine = np.array([a["version"] == version for a in answers])
    for a, challenger in zip(answers[:200], mine, strict=False):
        best = "coupon" if challenger else "gift"
        expected = {t: e * (1 - h) / 3 + (1 - e) * (1 - h) * (t == best) + h * (t == "none") for t in TREATMENTS}
        assert a["propensities"] == pytest.approx(expected)
    for kind, share in (("holdout", h), ("explore", e * (1 - h))):
        for group in (mine, ~mine):
            rate = np.mean([a["kind"] == kind for a, in_ in zip(answers, group, strict=True) if in_])
            assert rate == pytest.approx(share, abs=4 * (share * (1 - share) / group.sum()) ** 0.5), kind
    # Over both runs: the mixture of the two propensities is how often each treatment is given.
    for t in TREATMENTS:
        p = e * (1 - h) / 3 + (1 - e) * (1 - h) * 0.5 * (t != "none") + h * (t == "none")
        assert np.mean([a["treatment"] == t for a in answers]) == pytest.approx(p, abs=4 * (p * (1 - p) / 4000) ** 0.5)


def test_what_each_run_decided_and_what_came_of_it(tmp_path: Path):
    with service(tmp_path, matures=0.001) as one:
        version = challenge(one, make_run(tmp_path / "summer", cost=DEAR), share=0.5).json()["version"]
        answers = [one.decide(f"u{k}").json() for k in range(30)]
        outcomes = [
            {"decision": a["id"], "key": a["id"], "cost": 0.5, "value": k, "final": k % 2 == 0}
            for k, a in enumerate(answers)
        ]
        assert one.ask("POST", "/v1/outcomes", "decide", json=outcomes).status_code == 200
        gone = next(k for k, a in enumerate(answers) if a["version"] == version)
        one.ask("DELETE", f"/v1/units/u{gone}")
        runs = {row["version"]: row for row in one.ask("GET", "/v1/campaigns/spring/runs", "report").json()}
        status = one.ask("GET", "/v1/campaigns/spring", "report").json()
    assert len(runs) == 2
    for name, row in runs.items():
        mine = [(k, a) for k, a in enumerate(answers) if a["version"] == name]
        known = [a for k, a in mine if k != gone]
        values = np.array([k for k, _ in mine], float)
        half = 1.959964 * values.std(ddof=1) / len(mine) ** 0.5
        assert row == pytest.approx({
            "version": name, "decisions": len(mine), "predicted_value": sum(a["value"] for a in known),
            "predicted_cost": sum(a["cost"] for a in known), "spent": 0.5 * len(mine),
            "reserved": sum(a["cost"] - 0.5 for k, a in mine if k % 2), "value": sum(k for k, _ in mine),
            "matured": len(mine), "matured_value": sum(k for k, _ in mine), "matured_spent": 0.5 * len(mine),
            "erased": int(name == version), "value_mean": values.mean(), "value_low": values.mean() - half,
            "value_high": values.mean() + half, "spent_mean": 0.5, "spent_low": 0.5, "spent_high": 0.5,
        })  # fmt: skip
    assert sum(row["spent"] for row in runs.values()) == pytest.approx(status["spent"])
    assert sum(row["reserved"] for row in runs.values()) == pytest.approx(status["reserved"])


def test_the_challenger_is_promoted(tmp_path: Path):
    with service(tmp_path) as one:
        summer = make_run(tmp_path / "summer", cost=DEAR)
        version = challenge(one, summer, share=0.5).json()["version"]
        assert one.ask("PUT", "/v1/campaigns/spring/policy", json={"run": str(summer)}).json()["version"] == version
        assert one.ask("GET", "/v1/campaigns/spring", "report").json()["challenger"] is None
        assert {one.decide(f"u{k}").json()["version"] for k in range(20)} == {version}
        assert "decides in campaign 'spring' already" in challenge(one, summer, share=0.5).json()["detail"]


def test_shares_change_while_units_are_decided(tmp_path: Path):
    with service(tmp_path, budget=1e6) as one:
        summer, statuses, ended = make_run(tmp_path / "summer", cost=DEAR), list[int](), threading.Event()

        def load() -> None:
            k = 0
            while not ended.is_set():
                statuses.append(one.decide(f"u{k}").status_code)
                k += 1

        thread = threading.Thread(target=load)
        thread.start()
        for share in (0.1, 0.9, 0.2, 1.0):
            assert challenge(one, summer, share=share).status_code == 200
        one.ask("DELETE", "/v1/campaigns/spring/challenger")
        ended.set()
        thread.join()
    assert statuses
    assert set(statuses) == {200}


def damaged(place: Path) -> Path:
    run = make_run(place)
    about = (run / "policy.json").read_text()
    (run / "policy.onnx").write_bytes((run / "policy.onnx").read_bytes()[:-1] + b"x")
    (run / "policy.json").write_text(about)
    return run


def test_a_run_that_does_not_fit_is_refused(tmp_path: Path):
    with service(tmp_path) as one:
        other = make_run(tmp_path / "other", treatments=("none", "gift", "coupon"))
        for body, status, words in (
            ({"run": str(other), "share": 0.1}, 422, "run: has the treatments none, gift, coupon"),
            ({"run": str(tmp_path / "run"), "share": 0.1}, 422, "decides in campaign 'spring' already"),
            ({"run": str(tmp_path / "nowhere"), "share": 0.1}, 422, "no such file"),
            ({"run": str(damaged(tmp_path / "damaged")), "share": 0.1}, 422, "is not the file that was saved"),
            ({"run": str(other)}, 422, "the run would do nothing"),
            ({"run": str(other), "share": 1.5}, 422, "share == 1.5: must be <= 1"),
            ({"run": str(other), "share": "x"}, 422, "share"),
            ({"share": 0.1}, 422, "run: is missing"),
        ):
            got = one.ask("PUT", "/v1/campaigns/spring/challenger", json=body)
            assert (got.status_code, words in got.json()["detail"]) == (status, True), got.json()
        more = make_run(tmp_path / "more", extra="income")
        for path, body in (("challenger", {"run": str(more), "share": 0.1}), ("policy", {"run": str(more)})):
            got = one.ask("PUT", f"/v1/campaigns/spring/{path}", json=body)
            assert got.status_code == 422
            assert "reads 'income' (number), which the run of campaign 'spring' does not" in got.json()["detail"]
        for method in ("PUT", "DELETE"):
            assert one.ask(method, "/v1/campaigns/spring/challenger", "decide", json={}).status_code == 403
        assert one.ask("GET", "/v1/campaigns/spring/runs", "decide").status_code == 403
        assert one.ask("GET", "/v1/campaigns/winter/runs").status_code == 404
        assert one.decide("u1").json()["version"].startswith("run-")


def test_a_challenger_that_a_worker_cannot_load_is_left_out(tmp_path: Path):
    with service(tmp_path) as one:
        summer = make_run(tmp_path / "summer", cost=DEAR)
        challenge(one, summer, share=1.0)
        one.app.service._served = {
            name: each._replace(challenger=None) for name, each in one.app.service._served.items()
        }
        (summer / "policy.onnx").write_bytes(b"x")
        one.app.service.follow()
        assert one.decide("u1").json()["version"].startswith("run-")


def test_the_file_names_a_challenger(tmp_path: Path):
    make_run(tmp_path / "run")
    make_run(tmp_path / "summer", cost=DEAR)

    def begun(**more: Any) -> None:
        terms = {"run": str(tmp_path / "run"), "budget": 10.0, "until": "2100-01-01"} | more
        server = {"store": f"sqlite:///{tmp_path}/l.db", "keys": False}
        begin(load_settings(None, server=server, campaigns={"spring": terms}, environment={}))

    begun(challenger=str(tmp_path / "summer"), share=0.2)
    with pytest.raises(
        ConfigError, match=r"campaigns\.spring\.challenger is missing, but there is a share or a shadow"
    ):
        begun(share=0.2)
    with pytest.raises(ConfigError, match=r"campaigns\.spring\.challenger does nothing"):
        begun(challenger=str(tmp_path / "summer"))
    with pytest.raises(DataError, match="has the treatments none, a, b"):
        begun(challenger=str(make_run(tmp_path / "other", treatments=("none", "a", "b"))), share=0.2)
    begun()


def test_a_file_without_one_ends_it(tmp_path: Path):
    with service(tmp_path, challenger=str(make_run(tmp_path / "summer", cost=DEAR)), share=0.4) as one:
        assert one.ask("GET", "/v1/campaigns/spring", "report").json()["challenger"]["share"] == 0.4
        terms = {"run": str(tmp_path / "run"), "budget": 1000.0, "until": "2100-01-01", "holdout": 0.0, "explore": 0.0}
        begin(
            load_settings(
                None, server={"store": f"sqlite:///{tmp_path}/ledger.db"}, campaigns={"spring": terms}, environment={}
            )
        )
        one.app.service.follow()
        assert one.ask("GET", "/v1/campaigns/spring", "report").json()["challenger"] is None
