"""Decisions of many units at once are those of the same units one by one, whatever is allowed, stored or left of the money."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sqlalchemy", reason="the extra 'serve' is not installed")

from largesse.errors import Conflict, DataError
from largesse.serving import Answer, Answers, Ask, Ledger
from largesse.serving.draws import KINDS, Draws
from largesse.serving.ledger import columns
from largesse.serving.ledger.store import writing
from largesse.serving.ledger.tables import campaigns
from tests.common.ledgers import NAMES, Clock, ask, campaign, check_sums


@pytest.fixture
def ledger(store: str):
    with Ledger.open(store, clock=Clock()) as opened:
        yield opened


def random_asks(rng: np.random.Generator, n: int, units: int) -> list[Ask]:
    asks = []
    for _ in range(n):
        allowed = [None, ["none", "gift"], ["none", "coupon", "gift"], ["none"]][rng.choice(4, p=[0.7, 0.1, 0.1, 0.1])]
        key = f"k{rng.integers(10**9)}" if rng.random() < 0.3 else None
        value, cost = [0, *(3 * rng.random(2)).tolist()], [0, *rng.integers(1, 4, 2).tolist()]
        features = {"x": rng.random()} if rng.random() < 0.2 else None
        asks.append(ask(int(rng.integers(units)), value=value, cost=cost, allowed=allowed, key=key, features=features))
    return asks


@pytest.mark.parametrize("settings", [
    {"budget": 1e6}, {"budget": 150.0}, {"budget": 1e6, "guarantee": "hard", "worst": {"coupon": 3.0, "gift": 5.0}},
    {"budget": 1e6, "holdout": 0.3, "explore": 0.5, "mix": {"none": 1.0, "coupon": 2.0, "gift": 0.5}},
    {"budget": 1e6, "explore": 0.5, "exploration": "cost-neutral"},
    {"budget": 150.0, "explore": 0.5, "exploration": "cost-neutral"},
    {"budget": 1e6, "explore": 0.5, "exploration": "thompson"}, {"budget": 150.0, "explore": 0.5, "exploration": "thompson"},
])  # fmt: skip
@pytest.mark.parametrize("units", [10**6, 80])
def test_together_is_as_one_by_one(tmp_path, settings, units):
    rng = np.random.default_rng(4)
    with (
        Ledger.open(f"sqlite:///{tmp_path}/a.db", clock=Clock()) as one,
        Ledger.open(f"sqlite:///{tmp_path}/b.db", clock=Clock()) as many,
    ):
        for ledger in (one, many):
            ledger.start(campaign(**settings))
            with writing(ledger.engine) as connection:
                connection.execute(campaigns.update().values(tilt=0.37))
        for size in (40, 24, 100, 30):
            asks = random_asks(rng, size, units)
            if settings.get("exploration") == "thompson":
                weights = [None, *rng.random((3, 3)).tolist(), [0.0, 0.0, 0.0]]
                asks = [one._replace(weights=weights[k % len(weights)]) for k, one in enumerate(asks)]
            together = many.decide(asks)
            singly = [one.decide([a])[0] for a in asks]
            for a, b in zip(together, singly, strict=True):
                assert type(a) is type(b), (a, b)
                if isinstance(a, Answer) and isinstance(b, Answer):
                    assert a._replace(id="") == b._replace(id="")
                else:
                    assert str(a) == str(b)
        assert one.verify().problems == many.verify().problems == []
        first, second = check_sums(one), check_sums(many)
        assert (first.reserved, first.decided, first.limited) == (second.reserved, second.decided, second.limited)


def test_batches_are_decided_as_columns(ledger, monkeypatch):
    """Else the comparison above would compare one way with itself."""
    calls = []
    real = columns.decide_columns
    monkeypatch.setattr(
        "largesse.serving.ledger.deciding.decide_columns", lambda *args: calls.append(real(*args)) or calls[-1]
    )
    ledger.start(campaign(budget=1e6))
    ledger.decide([ask(i, key=f"k{i}") for i in range(40)])
    assert calls[-1] is not None
    ledger.decide([ask(i) for i in range(10, 60)])
    assert calls[-1] is not None
    ledger.decide_many("c", list(range(70, 110)), np.ones((40, 3)), np.ones((40, 3)))
    assert calls[-1] is not None
    assert len(calls) == 3


def test_rows_that_end_midway_leave_nothing_behind(ledger, monkeypatch):
    """They are made while the driver takes them."""
    real = columns.record_columns

    def breaking(*args: Any) -> Any:
        ids, rows = real(*args)
        return ids, (row if k < 30 else row[:5] for k, row in enumerate(rows))

    ledger.start(campaign(budget=1e6))
    with monkeypatch.context() as patch:
        patch.setattr(columns, "record_columns", breaking)
        with pytest.raises(Exception, match=r"(?i)column|binding"):
            ledger.decide([ask(i) for i in range(40)])
    assert check_sums(ledger).decided == 0
    assert {a.repeated for a in ledger.decide([ask(i, key=f"k{i}") for i in range(40)])} == {False}
    assert check_sums(ledger).decided == 40
    assert ledger.verify().problems == []


class TestColumns:
    def test_they_are_answers(self, ledger):
        ledger.start(campaign(budget=1e6, explore=0.4, holdout=0.2))
        ledger.start(campaign(name="d", budget=1e6, explore=0.4, holdout=0.2))
        rng = np.random.default_rng(1)
        units = [f"u{i}" for i in [*range(50), 3, 4]]
        value, cost = rng.random((52, 3)), rng.random((52, 3))
        allowed = np.ones((52, 3), np.bool_)
        keys = [f"k{i}" for i in range(52)]
        got = ledger.decide_many("c", units, value, cost, keys=keys, version="v", features=[{"x": 1}] * 52)
        again = ledger.decide([
            Ask("c", unit, value[i], cost[i], key=keys[i], features={"x": 1}) for i, unit in enumerate(units)
        ])  # fmt: skip
        assert isinstance(got, Answers)
        assert got.errors == {}
        assert got.repeated.tolist() == [False] * 50 + [True] * 2
        for i, a in enumerate(again):
            assert isinstance(a, Answer)
            assert (got.id[i], got.treatment[i], got.kind[i]) == (a.id, a.treatment, a.kind)
            assert (got.propensity[i], dict(zip(NAMES, got.propensities[i], strict=True))) == (
                a.propensity,
                a.propensities,
            )
            assert (got.value[i], got.cost[i], got.price[i]) == (a.value, a.cost, a.price)
            assert (got.reservation[i], got.time[i], got.limited[i]) == (a.reservation, a.time, a.limited)
            assert (a.repeated, a.version) == (True, "v")
        check_sums(ledger)
        assert set(ledger.decide_many("d", units, value, cost, allowed=allowed & [True, True, False]).treatment) == {
            "none", "coupon"
        }  # fmt: skip

    def test_what_is_refused_fails_alone(self, ledger):
        ledger.start(campaign())
        value = np.array([[0, 1, 3.0]] * 4)
        value[1, 2] = math.nan
        got = ledger.decide_many("c", ["a", "b", "", "d"], value, [[0, 1, 2.0]] * 4)
        assert list(got.errors) == [1, 2]
        assert str(got.errors[1]).startswith("value == [0.0, 1.0, nan]")
        assert [bool(one) for one in got.id] == [True, False, False, True]
        assert np.isnan(got.propensity).tolist() == [False, True, True, False]
        assert check_sums(ledger).decided == 2
        late = ledger.decide_many("c", ["a", "e"], np.zeros((2, 3)), [[0, 1, 2.0]] * 2, keys=["k", "k"])
        assert isinstance(late.errors[1], Conflict)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"campaign": "x"}, "campaign == 'x': is not in"), ({"value": [[0, 1, 2]]}, r"len\(value\) == 1: must be 2"),
            ({"cost": [[0, 1]] * 2}, r"cost.shape\[1\] == 2: must be 3"), ({"keys": ["a"]}, r"len\(keys\) == 1"),
            ({"bodies": ["a"]}, r"len\(bodies\) == 1"),
            ({"value": [0, 1]}, "value.ndim == 1"), ({"features": [None]}, r"len\(features\) == 1"),
            ({"allowed": [[True, True]] * 2}, r"allowed.shape\[1\] == 2"), ({"value": [["a", "b", "c"]] * 2}, "value: must be"),
        ],
    )  # fmt: skip
    def test_columns_of_other_shapes_are_refused(self, ledger, change, message):
        ledger.start(campaign())
        given = {"campaign": "c", "units": ["a", "b"], "value": [[0, 1, 2]] * 2, "cost": [[0, 1, 2]] * 2} | change
        with pytest.raises(DataError, match=message):
            ledger.decide_many(**given)

    def test_a_key_stands_for_its_body(self, ledger):
        """As with `decide`, whatever the menu is."""
        ledger.start(campaign(budget=1e6))
        n = 30
        columns = {"units": list(range(n)), "keys": [f"k{i}" for i in range(n)]}
        first = ledger.decide_many("c", value=np.ones((n, 3)), cost=np.ones((n, 3)), bodies=["b"] * n, **columns)
        again = ledger.decide_many("c", value=np.zeros((n, 3)), cost=np.ones((n, 3)), bodies=["b"] * n, **columns)
        assert again.id == first.id
        assert again.repeated.all()
        single = ledger.decide([ask(0, key="k0", body="b", value=[0, 5, 5])])[0]
        assert isinstance(single, Answer)
        assert single.id == first.id[0]
        other = ledger.decide_many(
            "c", value=np.ones((n, 3)), cost=np.ones((n, 3)), bodies=["b"] * (n - 1) + ["x"], **columns
        )
        assert list(other.errors) == [n - 1]
        assert isinstance(other.errors[n - 1], Conflict)
        assert other.version == [""] * n
        assert other.period.tolist() == [0] * (n - 1) + [-1]

    def test_another_number_of_treatments(self, ledger):
        ledger.start(campaign())
        got = ledger.decide_many("c", ["a", "b"], np.zeros((2, 4)), np.zeros((2, 4)))
        assert str(got.errors[0]).startswith("len(value) == 4: must be 3")


@pytest.mark.parametrize("seed", range(8))
def test_many_draws_are_the_draws_of_each(seed):
    rng = np.random.default_rng(seed)
    m, n = int(rng.integers(2, 6)), 400
    draws = Draws("s", "c", mix=tuple(rng.random(m) + 0.1), holdout=0.2, explore=0.5)
    value = rng.integers(0, 4, (n, m)).astype(float)  # with ties
    cost = np.column_stack([np.zeros(n), rng.integers(0, 4, (n, m - 1))])
    allowed = rng.random((n, m)) < 0.7
    allowed[:, 0] = True
    units = [f"u{i}" for i in range(n)]
    for mask in (None, allowed):
        got = draws.draw_many(3, units, value, cost, 0.5, mask)
        for i, unit in enumerate(units):
            codes = None if mask is None else np.flatnonzero(mask[i]).tolist()
            one = draws.draw(3, unit, value[i].tolist(), cost[i].tolist(), 0.5, allowed=codes)
            assert (got.codes[i], KINDS[got.kinds[i]], tuple(got.propensities[i])) == (
                one.code,
                one.kind,
                one.propensities,
            )
