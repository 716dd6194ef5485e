"""Large batches: what is prepared before the transaction and stored in one statement is what deciding one by one gives."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sqlalchemy", reason="the extra 'serve' is not installed")

from largesse.serving import Answers, Ledger
from largesse.serving.draws import ManyDraws
from largesse.serving.ledger import columns, deciding, packing
from largesse.serving.ledger.tables import campaigns
from tests.common.ledgers import Clock, campaign, check_sums

N = 400
SETTINGS = {"budget": 1e6, "holdout": 0.2, "explore": 0.5, "mix": {"none": 1.0, "coupon": 2.0, "gift": 0.5}}


@pytest.fixture
def ledger(store: str):
    with Ledger.open(store, clock=Clock()) as opened:
        yield opened


def given(n: int, seed: int = 0) -> dict[str, Any]:
    """Units with letters of one to four bytes, menus with cents, and features that are text in part."""
    rng = np.random.default_rng(seed)
    value, cost = 3 * rng.random((n, 3)), np.round(4 * rng.random((n, 3)), 2)
    value[:, 0] = cost[:, 0] = 0.0
    units = [f"{'aé€😀'[k % 4]} {k}" for k in range(n)]
    features: Any = [{"x": float(rng.random()), "city": "Köln, \\'\"" * (k % 3)} for k in range(n)]
    return {"units": units, "value": value, "cost": cost, "version": "v'1", "features": features}


def stored(ledger: Ledger) -> list[tuple[Any, ...]]:
    """The rows, and the types of their cells; without what is drawn at random for each row."""
    with ledger.engine.connect() as connection:
        names = [c.name for c in columns.keys.metadata.tables["largesse_decision"].c]
        names = [name for name in names if name not in ("id", "seal", "link")]
        cells = ", ".join(f"{name}, typeof({name})" for name in names)
        query = (
            f"select {cells}, length(id), length(seal), length(link), typeof(id) from largesse_decision order by place"
        )
        return [tuple(row) for row in connection.exec_driver_sql(query)]


@pytest.mark.parametrize("features", [True, False])
@pytest.mark.parametrize("settings", [
    SETTINGS, SETTINGS | {"guarantee": "hard", "worst": {"coupon": 3.0, "gift": 5.0}}, SETTINGS | {"budget": 200.0},
])  # fmt: skip
def test_rows_are_those_of_one_by_one(tmp_path, monkeypatch, settings, features):
    calls, real = list[Any](), packing._statement
    monkeypatch.setattr(packing, "_statement", lambda *args: calls.append(args) or real(*args))
    content = given(N) | ({} if features else {"features": None})
    with (
        Ledger.open(f"sqlite:///{tmp_path}/a.db", clock=Clock()) as many,
        Ledger.open(f"sqlite:///{tmp_path}/b.db", clock=Clock()) as one,
    ):
        for ledger in (many, one):
            ledger.start(campaign(**settings))
        got = many.decide_many("c", **content)
        assert len(calls) == (settings["budget"] == 1e6)  # else the comparison compares one way with itself
        for k in range(0, N, 10):  # so few are decided one by one
            part = {name: cell if isinstance(cell, str | None) else cell[k : k + 10] for name, cell in content.items()}
            single = one.decide_many("c", **part)
            for name, cells in got._asdict().items():
                if name not in ("id", "errors"):
                    assert list(map(str, cells[k : k + 10])) == list(map(str, getattr(single, name))), name
        assert stored(many) == stored(one)
        assert many.verify().problems == one.verify().problems == []
        first, second = check_sums(many), check_sums(one)
        assert (first.reserved, first.decided, first.limited) == (second.reserved, second.decided, second.limited)


@pytest.mark.parametrize("changed", [
    {"versions": ["v"] * (N - 1) + ["w"]}, {"features": ["{}"] * (N - 1) + [None]},
    {"menus": [b"x" * 48] * (N - 1) + [b"x" * 52]},
])  # fmt: skip
def test_what_is_not_alike_is_not_packed(changed):
    draws = ManyDraws(np.zeros(N, np.intp), np.zeros(N, np.intp), np.ones((N, 3)))
    alike: dict[str, Any] = {
        "who": [b"x" * 16] * N, "units": ["u"] * N, "draws": draws, "reservations": np.zeros(N, np.int64), "versions": ["v"] * N,
        "menus": [b"x" * 48] * N, "features": ["{}"] * N, "seals": b"x" * 16 * N,
    }  # fmt: skip
    assert packing.packed_columns(**alike) is not None
    assert packing.packed_columns(**(alike | changed)) is None


def test_a_batch_is_asked_again(ledger):
    ledger.start(campaign(**SETTINGS))
    first, again = (ledger.decide_many("c", **given(N)) for _ in range(2))
    assert not first.repeated.any()
    assert again.repeated.all()
    assert again.id == first.id
    assert check_sums(ledger).decided == N


def meanwhile(monkeypatch: Any, ledger: Ledger, change: Any) -> None:
    """Something happens after the first batch was prepared and before its transaction."""
    real = deciding.ready_for

    def ready(*args: Any) -> Any:
        out = real(*args)
        assert out is not None
        monkeypatch.setattr(deciding, "ready_for", real)
        change()
        return out

    monkeypatch.setattr(deciding, "ready_for", ready)


def test_units_that_another_transaction_decides_meanwhile_keep_their_decisions(ledger, monkeypatch):
    ledger.start(campaign(**SETTINGS))
    content, early = given(N), list[Answers]()
    some = {name: cell if isinstance(cell, str) else cell[350:360] for name, cell in content.items()}
    meanwhile(monkeypatch, ledger, lambda: early.append(ledger.decide_many("c", **some)))
    got = ledger.decide_many("c", **content)
    assert got.id[350:360] == early[0].id
    assert np.flatnonzero(got.repeated).tolist() == list(range(350, 360))
    assert len(set(got.id)) == check_sums(ledger).decided == N
    assert ledger.verify().problems == []


def test_the_price_of_a_decision_is_that_of_its_transaction(ledger, monkeypatch):
    def reprice() -> None:
        with ledger.engine.begin() as connection:
            connection.execute(campaigns.update().values(price=1.25))

    ledger.start(campaign(**SETTINGS))
    ledger.start(campaign(name="d", **SETTINGS, salt="s"))
    meanwhile(monkeypatch, ledger, reprice)
    got = ledger.decide_many("c", **given(N))
    assert set(got.price) == {1.25}
    policy = np.array(got.kind) == "policy"
    content = given(N)
    best = (content["value"] - 1.25 * content["cost"]).argmax(axis=1)
    assert policy.sum() > N / 4
    assert [("none", "coupon", "gift")[j] for j in best[policy]] == np.array(got.treatment)[policy].tolist()
    assert ledger.verify().problems == []


def test_a_budget_that_shrinks_meanwhile_holds(ledger, monkeypatch):
    ledger.start(campaign(**SETTINGS))
    meanwhile(monkeypatch, ledger, lambda: ledger.start(campaign(**(SETTINGS | {"budget": 100.0}))))
    got = ledger.decide_many("c", **given(N))
    assert got.limited.any()
    status = ledger.status("c")
    assert 90.0 < status.reserved <= status.budget == 100.0
    assert check_sums(ledger).decided == N


def test_a_unit_that_comes_twice_is_decided_once(ledger):
    ledger.start(campaign(**SETTINGS))
    content = given(N)
    content["units"] = [*content["units"][:-1], content["units"][0]]
    got = ledger.decide_many("c", **content)
    assert got.id[-1] == got.id[0]
    assert np.flatnonzero(got.repeated).tolist() == [N - 1]
    assert check_sums(ledger).decided == N - 1


@pytest.mark.parametrize("budget", [1e6, 700.0])
def test_batches_at_once_decide_each_unit_once_within_the_budget(store, budget):
    """Two threads of each of two processes, as far as the store knows; every batch has units that others have, too."""
    content, failures, answers = given(3 * N), list[BaseException](), dict[tuple[int, int], Answers]()
    ledgers = [Ledger.open(store, clock=Clock()) for _ in range(2)]
    ledgers[0].start(campaign(**(SETTINGS | {"budget": budget})))
    begin = threading.Barrier(4)

    def run(thread: int) -> None:
        try:
            rng = np.random.default_rng(thread)
            begin.wait(10)
            for k in range(4):
                at = rng.permutation(3 * N)[:N]
                part = {name: [content[name][i] for i in at] for name in ("units", "value", "cost", "features")}
                answers[thread, k] = ledgers[thread % 2].decide_many("c", version="v", **part)
                shown = dict(zip(part["units"], answers[thread, k].id, strict=True))
                for unit, identity in shown.items():
                    assert known.setdefault(unit, identity) == identity
        except BaseException as error:
            failures.append(error)

    known = dict[str, str]()
    threads = [threading.Thread(target=run, args=(k,)) for k in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(60)
    assert failures == []
    fresh = [i for got in answers.values() for i, old in zip(got.id, got.repeated, strict=True) if not old]
    assert len(fresh) == len(set(fresh)) == len(known) == check_sums(ledgers[0]).decided
    status = ledgers[0].status("c")
    assert status.reserved <= budget
    assert (status.limited > 0) == (budget == 700.0)
    assert ledgers[0].verify().problems == []
    for one in ledgers:
        one.close()


def test_the_tilt_of_exploration_is_that_of_its_transaction(ledger, monkeypatch):
    """The propensities are those of the tilt under the lock, not of the one that the draws were prepared with."""

    def tilt() -> None:
        with ledger.engine.begin() as connection:
            connection.execute(campaigns.update().values(tilt=1.5))

    terms = {**SETTINGS, "exploration": "cost-neutral", "explore": 0.5}
    ledger.start(campaign(**terms))
    ledger.start(campaign(name="d", **terms))
    meanwhile(monkeypatch, ledger, tilt)
    content = given(N)
    got = ledger.decide_many("c", **content)
    again = ledger.decide_many("d", **content)  # at the new tilt from the beginning; keys are by campaign
    np.testing.assert_allclose(got.propensities, again.propensities, atol=1e-15)
    plain = (
        campaign(**terms)
        .drawn()
        .draw_many(0, [str(u) for u in content["units"]], content["value"], content["cost"], 0.5)
    )
    assert np.abs(got.propensities - plain.propensities).max() > 0.01
