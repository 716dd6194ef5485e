"""Differences of two means or ratios on the same rows."""

import numpy as np
import pytest

from largesse.evaluate import DifferenceSequence, MeanSequence


def test_a_paired_difference_is_the_mean_of_differences():
    rng = np.random.default_rng(0)
    a = rng.exponential(size=800)
    b = a + rng.normal(0, 0.1, 800)
    look = DifferenceSequence(800).update(a, b).look()
    same = MeanSequence(800).update(a - b).look()
    assert (look.estimate, look.lower) == pytest.approx((same.estimate, same.lower), rel=1e-9)


def test_ratios_with_denominators_of_their_own_are_linearised_together():
    rng = np.random.default_rng(1)
    u, v = rng.choice([0.0, 2.0, 10.0], (2, 900))
    y = rng.exponential(size=900)
    a, b = (u * y).sum() / u.sum(), (v * y).sum() / v.sum()
    look = DifferenceSequence(900).update(u * y, v * y, first_per=u, second_per=v).look()
    same = MeanSequence(900).update(a - b + u * (y - a) / u.mean() - v * (y - b) / v.mean()).look()
    assert (look.estimate, look.lower, look.upper) == pytest.approx((same.estimate, same.lower, same.upper), rel=1e-9)


def test_there_is_no_interval_before_each_of_the_two_has_events():
    y = (np.arange(1000) % 9 == 0) * 1.0
    assert DifferenceSequence(1000).update(y, np.zeros(1000)).look().reason.startswith("0.0 effective events")
    nothing = DifferenceSequence(1000).update(y, y, second_per=np.zeros(1000)).look()
    assert nothing.reason == "there is nothing to divide by yet in one of the two"
