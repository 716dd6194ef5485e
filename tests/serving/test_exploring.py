"""Ways of exploring: weights by hand, the cost of exploration, propensities against frequencies, and in a ledger."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

pytest.importorskip("sqlalchemy", reason="the extra 'serve' is not installed")

import sqlalchemy as sa

from largesse.errors import DataError
from largesse.serving import Ledger
from largesse.serving.draws import Draws
from largesse.serving.exploring import cost_of, tilt_at_cost, tilted, votes
from largesse.serving.increments import best_treatments
from largesse.serving.ledger.accounts import Terms
from largesse.serving.ledger.pricing import _explored, _Menus
from largesse.serving.ledger.store import reading
from largesse.serving.ledger.tables import decisions
from tests.common.ledgers import NAMES, Clock, ask, campaign, check_sums

MIX = np.array([1.0, 2.0, 1.0])
DRAWS = Draws("c", "c", mix=(1.0, 1.0, 1.0), holdout=0.0, explore=0.4)


def menus(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Value and cost of n units and three treatments."""
    rng = np.random.default_rng(seed)
    value = np.column_stack([np.zeros(n), rng.gamma(2.0, 0.6, n), rng.gamma(2.0, 1.0, n)])
    cost = np.column_stack([np.zeros(n), 0.5 + rng.random(n), 1.0 + 2.0 * rng.random(n)])
    return value, cost


class TestWeights:
    def test_a_tilt_by_hand(self):
        got = tilted(MIX, np.array([[0.0, 1.0, np.inf], [0.0, 1.0, 2.0]]), np.log(2.0))
        np.testing.assert_allclose(got, [[0.5, 0.5, 0.0], [1 / 2.25, 1 / 2.25, 0.25 / 2.25]], atol=1e-15)

    def test_no_tilt_is_the_mix(self):
        got = tilted(MIX, np.array([[0.0, 9.0, 5.0], [0.0, np.inf, 5.0]]), 0.0)
        np.testing.assert_allclose(got, [[0.25, 0.5, 0.25], [0.5, 0, 0.5]])

    @pytest.mark.parametrize("tilt", [-1e6, -3.0, 5.0, 1e6])
    def test_every_tilt_is_a_distribution(self, tilt):
        got = tilted(MIX, menus(500, 1)[1], tilt)
        assert np.isfinite(got).all()
        np.testing.assert_allclose(got.sum(axis=1), 1.0, atol=1e-12)

    @pytest.mark.parametrize("target", [0.45, 0.8, 1.2])
    def test_the_cost_is_met(self, target):
        cost = menus(3_000, 2)[1]
        tilt = tilt_at_cost(MIX, cost, target, 0.2)
        got = 0.2 * cost_of(tilted(MIX, cost, 0.0), cost) + 0.8 * cost_of(tilted(MIX, cost, tilt), cost)
        assert got == pytest.approx(target, rel=1e-6)

    def test_a_cost_that_cannot_be_met_is_approached(self):
        cost = menus(3_000, 3)[1]
        least = 0.2 * cost_of(tilted(MIX, cost, 0.0), cost)  # the rest is control
        tilt = tilt_at_cost(MIX, cost, 0.0, 0.2)
        got = 0.2 * cost_of(tilted(MIX, cost, 0.0), cost) + 0.8 * cost_of(tilted(MIX, cost, tilt), cost)
        assert got == pytest.approx(least, rel=1e-6)

    def test_nothing_costs_anything(self):
        assert tilt_at_cost(MIX, np.zeros((5, 3)), 1.0, 0.2) == 0.0

    def test_of_all_with_that_cost_it_is_nearest_to_the_mix(self):
        """Moving weight along any direction that keeps sum and mean cost raises the relative entropy to the mix."""
        cost = np.array([[0.0, 1.0, 3.0]])
        q, p = tilted(MIX, cost, 0.4)[0], MIX / MIX.sum()
        along = np.cross(np.ones(3), cost[0])
        for step in (-1e-3, 1e-3):
            other = q + step * along
            assert other @ cost[0] == pytest.approx(q @ cost[0])
            assert (other * np.log(other / p)).sum() > (q * np.log(q / p)).sum()

    def test_votes_are_those_of_the_members(self):
        rng = np.random.default_rng(4)
        value, cost, weights = rng.random((5, 200, 3)), rng.random((5, 200, 3)), np.array([0.1, 0.2, 0.3, 0.25, 0.15])
        got = votes(value, cost, weights, 0.7)
        for i in range(200):
            right = np.zeros(3)
            for b in range(5):
                right[np.argmax(value[b, i] - 0.7 * cost[b, i])] += weights[b]
            np.testing.assert_allclose(got[i], right, atol=1e-12)


class TestDraws:
    @pytest.mark.parametrize("weights", [(0.0, 3.0, 1.0), (0.0, 0.0, 0.0), (1.0, 0.0, 0.0)])
    def test_frequencies_agree_with_propensities(self, weights):
        draws, n = Draws("s", "c", mix=(1.0, 2.0, 1.0), holdout=0.1, explore=0.6, mix_share=0.25), 40_000
        got = [draws.draw(0, f"u{i}", (0, 2, 3), (0, 1, 2), 0.7, weights=weights) for i in range(n)]
        own = np.array(weights) / sum(weights) if any(weights) else None
        q = np.array([0.25, 0.5, 0.25]) if own is None else 0.25 * np.array([0.25, 0.5, 0.25]) + 0.75 * own
        right = 0.54 * q + 0.36 * np.array([0, 0, 1]) + 0.1 * np.array([1, 0, 0])
        np.testing.assert_allclose(got[0].propensities, right, atol=1e-12)
        counts = Counter(one.code for one in got)
        explored = Counter(one.code for one in got if one.kind == "explore")
        for j in range(3):
            assert abs(counts[j] - n * right[j]) < 5 * (n * right[j]) ** 0.5
            assert abs(explored[j] - explored.total() * q[j]) < 5 * (explored.total() * q[j] + 1) ** 0.5

    def test_every_treatment_keeps_a_least_probability(self):
        draws = Draws("s", "c", mix=(1.0, 1.0, 1.0), holdout=0.0, explore=0.3, mix_share=0.2)
        got = draws.draw(0, "u", (0, 2, 3), (0, 1, 2), 0.7, weights=(0, 0, 1))
        assert min(got.propensities) == pytest.approx(0.3 * 0.2 / 3)

    @pytest.mark.parametrize("seed", range(20))
    def test_many_are_each(self, seed):
        rng = np.random.default_rng(seed)
        n, m = 60, int(rng.integers(2, 12))
        draws = Draws("s", "c", mix=tuple((0.1 + rng.random(m)).tolist()), holdout=0.1, explore=0.7, mix_share=0.3)
        value, cost = rng.random((n, m)), rng.random((n, m))
        allowed = rng.random((n, m)) < 0.7
        allowed[:, 0] = True
        weights = rng.random((n, m)) * (rng.random((n, m)) < 0.5)
        for open_ in (None, allowed):
            many = draws.draw_many(0, [f"u{i}" for i in range(n)], value, cost, 0.6, open_, weights)
            for i in range(n):
                codes = None if open_ is None else np.flatnonzero(open_[i]).tolist()
                one = draws.draw(
                    0, f"u{i}", value[i].tolist(), cost[i].tolist(), 0.6, allowed=codes, weights=weights[i].tolist()
                )
                assert one.code == many.codes[i]
                assert one.propensities == tuple(many.propensities[i].tolist())

    def test_what_is_explored_is_read_from_what_is_stored(self):
        rng = np.random.default_rng(5)
        value, cost = menus(300, 5)
        draws, weights = (
            Draws("s", "c", mix=(1.0, 2.0, 1.0), holdout=0.1, explore=0.2, mix_share=0.3),
            rng.random((300, 3)),
        )
        many = draws.draw_many(0, [f"u{i}" for i in range(300)], value, cost, 0.6, None, weights)
        got = draws.explored(many.propensities, best_treatments(value, cost, 0.6))
        right = 0.3 * np.array([0.25, 0.5, 0.25]) + 0.7 * weights / weights.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(got, right, atol=1e-12)

    def test_the_share_of_the_mix_is_above_zero(self):
        with pytest.raises(DataError, match=r"mix_share == 0\.0: must be a finite number in"):
            Draws("s", "c", mix=(1.0, 1.0), mix_share=0.0)


def explored_cost(ledger: Ledger, first: int, value: np.ndarray, cost: np.ndarray) -> tuple[float, float]:
    """Mean expected cost of exploration and of the policy, of the decisions from a place on."""
    with reading(ledger.engine) as connection:
        rows = connection.execute(
            sa.select(decisions.c.propensities, decisions.c.price).order_by(decisions.c.place)
        ).all()[first:]
    p = np.array([np.frombuffer(one.propensities) for one in rows])
    at = best_treatments(value[first:], cost[first:], np.array([one.price for one in rows]))
    q = Draws("s", "c", mix=(1.0, 1.0, 1.0), holdout=0.02, explore=0.1).explored(p, at)
    return float((q * cost[first:]).sum(axis=1).mean()), float(cost[first:][np.arange(len(at)), at].mean())


class TestLedger:
    @pytest.mark.parametrize(("way", "low", "high"), [("cost-neutral", 0.93, 1.07), ("mix", 2.0, 5.0)])
    def test_cost_neutral_exploration_costs_what_the_policy_costs(self, store, way, low, high):
        """With the mix it costs about three times as much here."""
        (value, cost), clock = menus(6_000, 6), Clock(0.0)
        with Ledger.open(store, clock=clock) as ledger:
            terms = {"budget": 2_000.0, "until": 6_000.0, "price": 1.0, "explore": 0.1, "units": 6_000.0}
            ledger.start(campaign(exploration=way, **terms))
            for i in range(0, 6_000, 200):
                clock.now = float(i)
                ledger.decide_many("c", list(range(i, i + 200)), value[i : i + 200], cost[i : i + 200])
                ledger.reprice("me")
            row = check_sums(ledger)
            assert (row.tilt is not None) == (way == "cost-neutral")
            assert row.reserved > 0.95 * row.budget
            ours, policy = explored_cost(ledger, 2_000, value, cost)
            assert low < ours / policy < high

    def test_weights_of_the_ask(self, store):
        with Ledger.open(store, clock=Clock()) as ledger:
            ledger.start(campaign(budget=1e6, exploration="thompson", explore=0.4, holdout=0.0, mix_share=0.1))
            (one,) = ledger.decide([ask("a", weights=[0.0, 0.0, 1.0])])
            dearest, ones = np.tile([0.0, 0.0, 1.0], (20, 1)), np.ones((20, 3))
            many = ledger.decide_many("c", [f"u{i}" for i in range(20)], ones, ones, weights=dearest)
            (plain,) = ledger.decide([ask("d")])
            assert one.propensities["gift"] >= 0.4 * (0.1 / 3 + 0.9) - 1e-12
            assert many.propensities[:, 2].min() == pytest.approx(0.4 * (0.1 / 3 + 0.9))
            assert sorted(plain.propensities.values())[:2] == pytest.approx([0.4 / 3] * 2)
            assert ledger.verify().problems == []
            check_sums(ledger)

    def test_the_price_counts_what_thompson_reserves(self, tmp_path):
        """Half of the units explore, and all of them by the dearest treatment: the budget lasts all the same."""
        value, cost = menus(6_000, 7)
        clock = Clock(0.0)
        with Ledger.open(f"sqlite:///{tmp_path}/a.db", clock=clock) as ledger:
            terms = {
                "budget": 7_500.0,
                "until": 6_000.0,
                "price": 1.0,
                "explore": 0.5,
                "units": 6_000.0,
                "mix_share": 0.05,
            }
            ledger.start(campaign(exploration="thompson", **terms))
            for i in range(0, 6_000, 200):
                clock.now = float(i)
                dearest = np.tile([0.0, 0.0, 1.0], (200, 1))
                ledger.decide_many("c", list(range(i, i + 200)), value[i : i + 200], cost[i : i + 200], weights=dearest)
                ledger.reprice("me")
                if i == 3_000:
                    half = ledger.status("c").reserved
            row = check_sums(ledger)
            assert half / 7_500 == pytest.approx(0.53, abs=0.06)
            assert row.limited < 200
            assert row.reserved > 0.95 * row.budget

    @pytest.mark.parametrize(("way", "weights", "message"), [
        ("mix", [1, 0, 0], r"weights == \[1, 0, 0\]: is given, but campaign 'c' explores by \"mix\""),
        ("cost-neutral", [1, 0, 0], "explores by \"cost-neutral\""),
        ("thompson", [1, 0], r"len\(weights\) == 2: must be 3"), ("thompson", [1, -1, 0], "must be >= 0"),
        ("thompson", [1, float("nan"), 0], "must be finite"), ("thompson", ["a", 1, 2], "must be numbers"),
    ])  # fmt: skip
    def test_weights_that_are_refused(self, tmp_path, way, weights, message):
        with Ledger.open(f"sqlite:///{tmp_path}/a.db", clock=Clock()) as ledger:
            ledger.start(campaign(exploration=way))
            for several in (1, 20):  # one by one, and as columns
                got = ledger.decide([ask(i, weights=weights) for i in range(several)])
                assert all(isinstance(one, DataError) for one in got)
                with pytest.raises(DataError, match=message):
                    raise got[0]

    def test_a_way_that_is_none(self):
        with pytest.raises(DataError, match="exploration == 'greedy': must be"):
            campaign(exploration="greedy")

    def test_the_way_may_change(self, store):
        with Ledger.open(store, clock=Clock()) as ledger:
            ledger.start(campaign())
            ledger.start(campaign(exploration="thompson", mix_share=0.5))
            (one,) = ledger.decide([ask("a", weights=[1.0] * len(NAMES))])
            assert sum(one.propensities.values()) == pytest.approx(1.0)


def test_what_thompson_reserves_is_read_from_decisions_that_the_budget_did_not_limit():
    """A limited decision has propensities of what was left: it counts like the mix."""
    terms = Terms(campaign(exploration="thompson", explore=0.4, holdout=0.0), DRAWS, (0, 0, 0), {})
    value, cost = np.tile([0.0, 2.0, 3.0], (2, 1)), np.tile([0.0, 1.0, 2.0], (2, 1))
    free = DRAWS.draw(0, "u", [0, 2, 3], [0, 1, 2], 0.5, weights=(0, 0, 1)).propensities
    menus = _Menus(value, cost, 100 * cost, np.array([free, (1.0, 0.0, 0.0)]), np.full(2, 0.5), np.array([False, True]))
    own, mix = 0.2 / 3 * (100 + 200) + 0.8 * 200, (100 + 200) / 3
    assert _explored(menus, terms) == pytest.approx((own + mix) / 2)
