"""Classes of importance weights: outcomes are waited for where the weights say that the variance will come from."""

import numpy as np
import pytest

from largesse.evaluate.sequences.support import WeightClasses


def test_the_class_that_carries_the_weights_decides():
    classes = WeightClasses()
    classes.add(np.repeat([1.0, 30.0], [900, 40]), np.r_[np.ones(300), np.zeros(600), np.ones(5), np.zeros(35)])
    assert classes.events() == pytest.approx(5.0)
    few = WeightClasses()
    few.add(np.repeat([1.0, 30.0], [90_000, 1]), np.ones(90_001))  # 1 % of Σ w²: it waits for none
    assert few.events() == pytest.approx(90_000)


def test_without_weights_nothing_is_waited_for():
    classes = WeightClasses()
    assert classes.events() == np.inf
    classes.add(np.zeros(5), np.ones(5))
    assert classes.events() == np.inf


def test_outcomes_of_unequal_size_count_less():
    classes = WeightClasses()
    classes.add(np.full(100, 2.0), np.r_[100.0, np.full(99, 1.0)])
    assert classes.events() == pytest.approx(1.02, abs=0.01)
