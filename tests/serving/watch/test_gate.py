"""The gate of a challenger: its numbers by hand, its verdicts, and the bound of its share."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.monitor import World, days_of
from benchmarks.promotion import Pair, looks
from largesse.serving.increments import best_treatments
from largesse.serving.watch.gate import Gate


def test_the_difference_is_that_of_weighted_net_values():
    world = World(days=4, per_day=2_000)
    gate, scores, values = Gate((1.0, 1.0, 1.0), 0.095, 8_000.0), list[np.ndarray](), list[np.ndarray]()
    for part in days_of(world, 1):
        first = best_treatments(part.value, part.cost, part.price)
        second = np.zeros_like(first)  # nobody gets anything
        gate.add(part, first, second)
        own = part.propensities[np.arange(2_000), part.given]
        w0, w1 = (first == part.given) / own, (part.given == 0) / own
        scores.append((w1 - w0) * (part.gained - part.price * part.paid))
        values.append(w0 * part.gained)
    got = gate.look()
    assert got.difference == pytest.approx(np.concatenate(scores).mean())
    assert got.champion == pytest.approx(np.concatenate(values).mean())
    assert got.decisions == 8_000
    assert got.low is not None
    assert got.high is not None
    assert got.low < got.difference < got.high


@pytest.mark.parametrize(("pair", "verdict"), [
    (Pair(challenger=0.0, share=0.5, per_day=12_000), "better"), (Pair(champion=0.0, share=0.5, per_day=12_000), "worse"),
])  # fmt: skip
def test_a_clear_difference_is_known_within_weeks(pair, verdict):
    assert [looks(pair, seed, days=40)[-1].verdict for seed in range(3)] == [verdict] * 3


def test_equal_runs_are_told_apart_seldom():
    """A wrong verdict in at most 5 % of campaigns; of 16, more than 3 would have one in 0.7 % of such tests."""
    wrong = [
        looks(Pair(per_day=500, spread=1.0 * (seed % 2)), seed, days=30)[-1].verdict != "unclear" for seed in range(16)
    ]
    assert sum(wrong) <= 3


def test_the_same_decisions_say_nothing():
    gate = Gate((1.0, 1.0, 1.0), 0.1, 1_000.0)
    for part in days_of(World(days=2, per_day=1_000), 0):
        code = best_treatments(part.value, part.cost, part.price)
        gate.add(part, code, code)
    got = gate.look()
    assert (got.verdict, got.informative, got.most) == ("unclear", 0, 0.0)


def test_a_margin_lets_a_challenger_pass_that_is_hardly_worse():
    gate = Gate((1.0, 1.0, 1.0), 0.0, 60_000.0)
    for part in days_of(World(days=20, per_day=3_000, explore=0.9), 2):
        code = best_treatments(part.value, part.cost, part.price)
        other = np.where(np.arange(3_000) % 20 == 0, 0, code)  # control for one in twenty
        gate.add(part, code, other)
    strict, lenient = gate.look(), gate.look(margin=0.1)
    assert strict.verdict != "better"
    assert lenient.verdict == "better"
    assert (strict.low, strict.high) == (lenient.low, lenient.high)


def test_the_share_is_what_the_worst_case_allows():
    """Share × (- lower end) + exploration × its upper end is at most the stated part of the champion's least value."""
    gate = Gate((1.0, 1.0, 1.0), 0.05, 60_000.0)
    for part in days_of(World(days=20, per_day=3_000), 5):
        rng = np.random.default_rng(int(part.time[0]))
        codes = [
            best_treatments(part.value * np.exp(0.8 * rng.standard_normal(part.value.shape)), part.cost, part.price)
            for _ in "ab"
        ]
        gate.add(part, *codes)
    low = gate.difference.look(price=1.0).lower
    least = gate.difference.of("champion_value").lower
    explored = max(0.0, gate.exploring.look(price=1.0).upper)
    assert low < 0 < least
    for loss in (0.0, 0.03, 0.1, 0.5):
        expected = min(1.0, max(0.0, loss * least - 0.05 * explored) / -low)
        assert gate.look(loss=loss).most == pytest.approx(expected)
    assert 0 < gate.look(loss=0.1).most < 1


def drawn_between(seed: int, share: float) -> tuple[Gate, Gate, float]:
    """A gate that knows the share and one that does not, after the same decisions, and the true difference of the runs."""
    rng, n, h, e = np.random.default_rng(seed), 4_000, 0.05, 0.1
    value = np.column_stack([np.full(n, 0.05), 0.05 + 0.1 * rng.random(n), 0.05 + 0.15 * rng.random(n)])
    first, second = rng.integers(0, 3, n), rng.integers(0, 3, n)
    mine = rng.random(n) < share
    policy = np.where(mine, second, first)
    p = np.full((n, 3), e * (1 - h) / 3)
    p[np.arange(n), policy] += (1 - e) * (1 - h)
    p[:, 0] += h
    given = (p.cumsum(axis=1) < rng.random(n)[:, None]).sum(axis=1)
    order = (rng.random(n) < value[np.arange(n), given]) * 1.0
    part = next(days_of(World(days=1, per_day=n), 0))._replace(
        given=given, propensities=p, gained=order, paid=np.zeros(n), value=1.0 * (policy[:, None] == np.arange(3)),
        cost=np.zeros((n, 3)),
    )  # fmt: skip
    knows = Gate((1.0, 1.0, 1.0), e * (1 - h), float(n), decided=(1 - e) * (1 - h))
    plain = Gate((1.0, 1.0, 1.0), e * (1 - h), float(n))
    for gate in (knows, plain):
        gate.add(part, first, second, share)
    at = np.arange(n)
    return knows, plain, float((value[at, second] - value[at, first]).mean())


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_the_draw_of_the_run_counts(share):
    """The difference is right on average, and it is known from several times fewer decisions."""
    errors = []
    for seed in range(150):
        knows, plain, right = drawn_between(seed, share)
        errors.append([gate.look().difference - right for gate in (knows, plain)])
    off = np.array(errors)
    standard = off.std(axis=0) / len(off) ** 0.5
    assert (np.abs(off.mean(axis=0)) < 4 * standard).all()
    assert off[:, 0].var() < 0.5 * off[:, 1].var()


def test_a_share_of_nothing_is_no_other_estimate():
    knows, plain, _ = drawn_between(3, 0.0)
    assert knows.look() == plain.look()


def test_the_probability_over_both_draws_by_hand():
    n, e, h = 4, 0.1, 0.05
    c, q = (1 - e) * (1 - h), e * (1 - h) / 3
    first, second, policy = np.array([1, 1, 2, 0]), np.array([2, 1, 0, 2]), np.array([1, 1, 0, 2])
    given = np.array([2, 1, 0, 1])
    p = np.full((n, 3), q)
    p[np.arange(n), policy] += c
    p[:, 0] += h
    part = next(days_of(World(days=1, per_day=n), 0))._replace(
        given=given, propensities=p, value=1.0 * (policy[:, None] == np.arange(3)), cost=np.zeros((n, 3))
    )
    gate = Gate((1.0, 1.0, 1.0), e * (1 - h), 10.0, decided=c)
    np.testing.assert_allclose(gate._own(part, first, second, 0.3), [q + 0.3 * c, q + c, q + h + 0.3 * c, q])
