"""Means and ratios: linearisation against the formula, clusters, weights, drifting means, large importance weights."""

import numpy as np
import pytest

from largesse.evaluate import MeanSequence


def test_a_ratio_is_linearised():
    rng = np.random.default_rng(0)
    b = rng.choice([0.0, 1.0, 4.0], 3000)
    a = b * rng.exponential(size=3000)
    ratio = a.sum() / b.sum()
    look = MeanSequence(3000).update(a, per=b).look()
    same = MeanSequence(3000).update(ratio + (a - ratio * b) / b.mean()).look()
    assert (look.estimate, look.lower, look.upper) == pytest.approx((same.estimate, same.lower, same.upper), rel=1e-9)


def test_weights_multiply_both():
    rng = np.random.default_rng(1)
    x, w = rng.exponential(size=500), rng.choice([0.5, 2.0], 500)
    look = MeanSequence(500).update(x, weight=w).look()
    assert look.estimate == pytest.approx(np.average(x, weights=w), rel=1e-12)
    assert look.lower == pytest.approx(MeanSequence(500).update(w * x, per=w).look().lower, rel=1e-12)


def test_rows_of_a_cluster_count_once():
    rng = np.random.default_rng(2)
    x = rng.normal(size=400)
    once, often = (
        MeanSequence(400).update(x),
        MeanSequence(400).update(np.repeat(x, 5), cluster=np.repeat(np.arange(400), 5)),
    )
    assert (often.look().lower, often.look().t) == (pytest.approx(once.look().lower, rel=1e-9), 400)


def test_where_the_mean_drifts_the_running_mean_is_covered():
    p = np.linspace(0.3, 0.05, 6000)
    running = np.cumsum(p) / np.arange(1, 6001)
    missed = 0
    for seed in range(60):
        x, sequence = np.random.default_rng(seed).random(6000) < p, MeanSequence(6000)
        days = np.split(x, 60)
        missed += any(not sequence.update(day).look().contains(running[100 * k + 99]) for k, day in enumerate(days))
    assert missed <= 7  # at a true rate of 5 %, 98 of 100 runs have no more


def test_large_weights_without_an_outcome_leave_no_interval():
    """9,000 units decided alike, 100 that only exploration shows: five conversions are expected among these, none came."""
    w, y = np.repeat([1.0, 30.0], [9000, 100]), np.r_[np.arange(9000) % 20 == 0, np.zeros(100)] * 1.0
    certain = MeanSequence(9100).update(w * y)
    assert np.isfinite(certain.look().lower)
    look = MeanSequence(9100).update(w * y, importance=w, outcome=y).look()
    assert look.reason.startswith("0.0 effective events")
    y[-5:] = 1.0
    assert np.isfinite(MeanSequence(9100).update(w * y, importance=w, outcome=y).look().lower)
