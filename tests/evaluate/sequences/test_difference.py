"""Differences of two ratios on the same rows, and holdout lift."""

import numpy as np
import pytest

from largesse.errors import DataError
from largesse.evaluate import DifferenceSequence, MeanSequence


def test_a_paired_difference_is_the_mean_of_differences():
    rng = np.random.default_rng(0)
    a = rng.exponential(size=800)
    b = a + rng.normal(0, 0.1, 800)
    look = DifferenceSequence(800).update(a, b).look()
    same = MeanSequence(800).update(a - b).look()
    assert (look.estimate, look.lower) == pytest.approx((same.estimate, same.lower), rel=1e-9)


def test_lift_is_the_difference_of_the_arms_means():
    rng = np.random.default_rng(1)
    t = rng.random(20_000) < 0.8
    y = rng.exponential(size=20_000) + 0.2 * t
    look = DifferenceSequence(20_000).update_lift(y, t, 0.8).look()
    assert look.estimate == pytest.approx(y[t].mean() - y[~t].mean(), rel=1e-12)
    se = np.sqrt(y[t].var() / t.sum() + y[~t].var() / (~t).sum())
    assert (look.upper - look.lower) / (2 * 1.96 * se) == pytest.approx(1.55, rel=0.01)


def test_rows_may_have_propensities_of_their_own():
    rng = np.random.default_rng(2)
    p = rng.choice([0.5, 0.9], 40_000)
    t = rng.random(40_000) < p
    y = (p > 0.6) * 1.0 + rng.normal(size=40_000) + 0.1 * t
    look = DifferenceSequence(40_000).update_lift(y, t, p).look()
    assert look.lower < 0.1 < look.upper
    assert look.upper - look.lower < 0.15


def test_a_holdout_without_an_event_leaves_no_interval():
    y, t = np.r_[np.arange(900) % 9 == 0, np.zeros(100)] * 1.0, np.repeat([1, 0], [900, 100])
    assert DifferenceSequence(1000).update_lift(y, t, 0.9).look().reason.startswith("0.0 effective events")
    one_arm = DifferenceSequence(1000).update_lift(np.ones(5), np.ones(5), 0.9).look()
    assert one_arm.reason == "there is nothing to divide by yet in one of the two"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (([1.0], [2], 0.5), r"treated\[0\] == 2.0: must be 0 or 1"),
        (([1.0], [1], 1.0), r"propensity\[0\] == 1.0: must be in \(0, 1\)"),
        (([1.0, 2.0], [1], 0.5), r"len\(treated\) == 1: must equal len\(value\)"),
    ],
)
def test_wrong_arms_are_refused(given, words):
    with pytest.raises(DataError, match=words):
        DifferenceSequence(10).update_lift(*given)
