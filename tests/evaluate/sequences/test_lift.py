"""Holdout lift: against plain means, the variance that both arms lend each other, coverage of small holdouts, errors."""

import json

import numpy as np
import pytest

from largesse.errors import DataError
from largesse.evaluate import LiftSequence


def test_lift_is_the_difference_of_the_arms_means():
    rng = np.random.default_rng(1)
    t = rng.random(20_000) < 0.8
    y = rng.exponential(size=20_000) + 0.2 * t
    look = LiftSequence(20_000).update(y, t, 0.8).look()
    assert look.estimate == pytest.approx(y[t].mean() - y[~t].mean(), rel=1e-12)
    se = np.sqrt(y[t].var() / t.sum() + y[~t].var() / (~t).sum())
    assert (look.upper - look.lower) / (2 * 1.96 * se) == pytest.approx(1.55, rel=0.03)


def test_the_variance_of_an_arm_is_at_least_that_of_both_together():
    rng = np.random.default_rng(2)
    t = np.repeat([1, 0], [900, 100])
    y = np.r_[rng.normal(0, 3, 900), rng.normal(0, 1, 100)]
    look, v = LiftSequence(1000).update(y, t, 0.9).look(), np.array([y[t == k].var() for k in (1, 0)])
    both, n = np.average(v, weights=[900, 100]), np.array([900, 100])
    se = np.sqrt((np.maximum(v, both) / n).sum())
    assert (look.upper - look.estimate) / se == pytest.approx((look.estimate - look.lower) / se, rel=1e-9)
    assert (look.upper - look.estimate) / se == pytest.approx(1.549 * 1.96, rel=0.02)
    m4 = np.average([((y[t == k] - y[t == k].mean()) ** 4).mean() for k in (1, 0)], weights=n)
    assert look.events == pytest.approx(1000 / (m4 / both**2), rel=1e-9)


def test_rows_may_have_propensities_of_their_own():
    rng = np.random.default_rng(3)
    p = rng.choice([0.5, 0.9], 40_000)
    t = rng.random(40_000) < p
    y = (p > 0.6) * 1.0 + rng.normal(size=40_000) + 0.1 * t
    look = LiftSequence(40_000).update(y, t, p).look()
    assert look.lower < 0.1 < look.upper
    assert look.upper - look.lower < 0.15


def test_clusters_and_weights_count_as_for_a_mean():
    rng = np.random.default_rng(4)
    t, y = rng.random(800) < 0.7, rng.normal(size=800)
    once = LiftSequence(800).update(y, t, 0.7).look()
    often = LiftSequence(800).update(np.repeat(y, 3), np.repeat(t, 3), 0.7, cluster=np.repeat(np.arange(800), 3)).look()
    assert (often.lower, often.t) == (pytest.approx(once.lower, rel=1e-9), 800)
    double = LiftSequence(800).update(y, t, 0.7, weight=np.full(800, 2.0)).look()
    assert double.lower == pytest.approx(once.lower, rel=1e-9)


def test_batches_and_json_give_the_same_bits_as_one_pass():
    rng = np.random.default_rng(5)
    y, t = rng.lognormal(0, 2, 500), rng.random(500) < 0.9
    whole, parts = LiftSequence(500).update(y, t, 0.9), LiftSequence(500)
    for part in np.split(np.arange(500), [1, 1, 30]):
        parts = LiftSequence.from_dict(json.loads(json.dumps(parts.update(y[part], t[part], 0.9).to_dict())))
    assert parts.to_dict() == whole.to_dict()
    assert parts.look() == whole.look()


def test_a_holdout_without_an_event_has_an_interval_and_one_without_units_none():
    y, t = np.r_[np.arange(900) % 9 == 0, np.zeros(100)] * 1.0, np.repeat([1, 0], [900, 100])
    look = LiftSequence(1000).update(y, t, 0.9).look()
    assert look.lower < 0.05 < look.upper
    assert LiftSequence(10).update(np.ones(5), np.ones(5), 0.9).look().reason == "one of the two arms has no unit yet"
    few = LiftSequence(1000).update(y[:903], t[:903], 0.9).look()
    assert few.reason == "3 units of 10 in one of the two arms"
    assert LiftSequence(100).update(np.ones(50), np.arange(50) % 2, 0.5).look().reason == "the scores do not vary"


def test_a_small_holdout_with_heavy_tails_is_covered():
    missed = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        t = rng.random(6000) < 0.95
        y = (rng.random(6000) < np.where(t, 0.22, 0.2)) * rng.lognormal(0, 1.5, 6000)
        sequence, truth = LiftSequence(6000), 0.02 * np.exp(1.5**2 / 2)
        days = np.split(np.arange(6000), 30)
        missed += any(not sequence.update(y[day], t[day], 0.95).look().contains(truth) for day in days)
    assert missed <= 7  # at a true rate of 5 %, 98 of 100 runs have no more


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (([1.0], [2], 0.5), r"treated\[0\] == 2.0: must be 0 or 1"),
        (([1.0], [1], 1.0), r"propensity\[0\] == 1.0: must be in \(0, 1\)"),
        (([1.0, 2.0], [1], 0.5), r"len\(treated\) == 1: must equal len\(value\)"),
        (([1.0, 2.0], [1, 0], [0.5, 0.5, 0.5]), r"len\(propensity\) == 3: must equal len\(value\)"),
    ],
)
def test_wrong_arms_are_refused(given, words):
    with pytest.raises(DataError, match=words):
        LiftSequence(10).update(*given)
