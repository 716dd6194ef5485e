"""The price of a ledger: the exact solution on small menus, the pace over a campaign, and which process renews it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

pytest.importorskip("sqlalchemy", reason="the extra 'serve' is not installed")

from largesse.errors import DataError
from largesse.serving import Ledger, Outcome
from largesse.serving.ledger.changes import changes
from largesse.serving.ledger.pricing import price_at
from largesse.serving.policy import best_treatment
from tests.common.ledgers import Clock, ask, campaign, check_sums


def spend(value, cost, reservation, price) -> float:
    """What units reserve at a price, each taking the cheaper treatment at a tie."""
    total = 0.0
    for v, c, r in zip(value.tolist(), cost.tolist(), reservation.tolist(), strict=True):
        codes = [j for j in range(len(v)) if np.isfinite(c[j])]
        total += r[best_treatment(v, c, price, codes)]
    return total


@pytest.mark.parametrize("seed", range(20))
def test_it_is_the_smallest_price_that_the_money_allows(seed):
    rng = np.random.default_rng(seed)
    n, m = rng.integers(1, 12), rng.integers(2, 5)
    value = rng.normal(size=(n, m)).cumsum(axis=1)
    cost = np.column_stack([np.zeros(n), rng.integers(1, 5, (n, m - 1))]).astype(float)
    forbidden = rng.random((n, m)) < 0.2
    forbidden[:, 0] = False
    cost[forbidden] = np.inf
    reservation = np.where(forbidden, 0.0, cost * 100)
    slopes = {0.0}
    for i, (j, k) in itertools.product(range(n), itertools.permutations(range(m), 2)):
        if np.isfinite([cost[i, j], cost[i, k]]).all() and cost[i, k] > cost[i, j] and value[i, k] > value[i, j]:
            slopes.add(float((value[i, k] - value[i, j]) / (cost[i, k] - cost[i, j])))
    for per_unit in (0.0, 37.0, 120.0, 250.0, 1e4):
        right = min(s for s in slopes if spend(value, cost, reservation, s) <= per_unit * n + 1e-9)
        assert price_at(value, cost, reservation, per_unit) == right


def test_no_treatment_pays():
    assert price_at(np.array([[0.0, -1.0]]), np.array([[0.0, 1.0]]), np.array([[0.0, 1.0]]), 0.0) == 0.0


@pytest.mark.parametrize("units", [None, 6_000.0])
@pytest.mark.parametrize("guarantee", ["expected", "hard"])
def test_the_budget_lasts_until_the_end(tmp_path, units, guarantee):
    """Compared with the price of hindsight: spend is on pace at each tenth, and little is left at the end."""
    rng, clock = np.random.default_rng(4), Clock(0.0)
    n, budget = 6_000, 900.0
    value = np.column_stack([np.zeros(n), rng.random(n), 1.6 * rng.random(n)])
    cost = np.column_stack([np.zeros(n), np.full(n, 0.5), 0.8 + 0.4 * rng.random(n)])
    worst = {"none": 0.0, "coupon": 0.5, "gift": 1.2}
    with Ledger.open(f"sqlite:///{tmp_path}/a.db", clock=clock) as ledger:
        ledger.start(
            campaign(
                budget=budget, until=float(n), price=1.2, explore=0.1, units=units, guarantee=guarantee, worst=worst
            )
        )
        paces = []
        for i in range(0, n, 100):
            clock.now = float(i)
            ledger.decide([ask(k, value=value[k], cost=cost[k]) for k in range(i, i + 100)])
            clock.now = i + 100.0
            ledger.reprice("me")
            if i % 600 == 500:
                paces.append(ledger.status("c").reserved / budget * n / (i + 100))
        row = check_sums(ledger)
        assert np.abs(np.array(paces[2:]) - 1).max() < 0.1, paces
        assert row.limited < 0.03 * n
        if guarantee == "expected":
            hindsight = price_at(value, cost, cost, (budget / n - 0.98 * 0.1 * cost.mean()) / (0.98 * 0.9))
            assert row.price == pytest.approx(hindsight, rel=0.25)
            assert ledger.status("c").price == row.price


@pytest.mark.parametrize("factor", [1.5, 0.75])
def test_a_budget_that_changes_at_half_time_is_used(store, factor):
    """The next price follows, the journal says so, and the new budget is used at the end, not more."""
    rng, clock = np.random.default_rng(6), Clock(0.0)
    n, budget = 6_000, 900.0
    value = np.column_stack([np.zeros(n), rng.random(n), 1.6 * rng.random(n)])
    cost = np.column_stack([np.zeros(n), np.full(n, 0.5), 0.8 + 0.4 * rng.random(n)])
    terms = {"until": float(n), "price": 1.2, "matures": 100.0, "holdout": 0.0, "explore": 0.0}
    with Ledger.open(store, clock=clock) as ledger:
        ledger.start(campaign(budget=budget, **terms))
        for i in range(0, n, 100):
            clock.now = float(i)
            units = [f"u{k}" for k in range(i, i + 100)]
            got = ledger.decide_many("c", units, value[i : i + 100], cost[i : i + 100])
            clock.now = i + 50.0
            paid = rng.random(100) < 0.5  # the others' reservations expire
            ledger.outcomes([Outcome(a, a, cost=c) for a, c, p in zip(got.id, got.cost, paid, strict=True) if c and p])
            clock.now = i + 100.0
            ledger.expire()
            if clock.now == n / 2:
                ledger.reprice("me")
                before = ledger.status("c")
                with pytest.raises(DataError, match=r"budget == 1\.0: must be >= .*, which is spent or reserved"):
                    ledger.start(campaign(budget=1.0, **terms))
                assert ledger.start(campaign(budget=factor * budget, **terms)).budget == factor * budget
                (line,) = changes(ledger, "c")
                assert (line.time, line.field, line.before, line.after) == (n / 2, "budget", 900.0, factor * budget)
                assert ledger.status("c").price == before.price
                price = ledger.reprice("me")["c"]
                assert price < 0.9 * before.price if factor > 1 else price > 1.1 * before.price
            ledger.reprice("me")
            status = ledger.status("c")
            assert status.spent + status.reserved <= status.budget
        assert 0.97 * factor * budget < status.spent + status.reserved
        assert status.limited < 0.03 * n


def test_few_decisions_and_the_end_leave_the_price(store):
    clock = Clock(0.0)
    with Ledger.open(store, clock=clock) as ledger:
        ledger.start(campaign(price=0.25, until=1000.0))
        ledger.decide([ask(i) for i in range(49)])
        clock.now = 10.0
        assert ledger.reprice("me") == {}
        ledger.decide([ask(49)])
        assert set(ledger.reprice("me")) == {"c"}
        clock.now = 1000.0
        assert ledger.reprice("me") == {}


def test_one_process_is_elected(store):
    clock = Clock(0.0)
    with Ledger.open(store, clock=clock) as first, Ledger.open(store, clock=clock) as second:
        first.start(campaign())
        first.decide([ask(i) for i in range(100)])
        clock.now = 10.0
        prices = first.reprice("first", hold=60.0)
        assert prices["c"] > 0
        assert second.status("c").price == prices["c"]
        assert second.reprice("second", hold=60.0) == {}
        clock.now = 69.0
        assert set(first.reprice("first", hold=60.0)) == {"c"}
        clock.now = 128.0
        assert second.reprice("second") == {}
        clock.now = 129.0
        assert set(second.reprice("second")) == {"c"}
        assert first.reprice("first") == {}
        assert second.decide([ask("new")])[0].price == second.status("c").price
