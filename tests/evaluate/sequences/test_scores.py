"""Scores of policies: unbiased by enumeration of what is drawn, floors, and errors."""

import numpy as np
import pytest

from largesse.errors import DataError
from largesse.evaluate import policy_scores, policy_weights

P = np.array([[0.7, 0.2, 0.1], [0.05, 0.05, 0.9]])
POLICY = np.array([[0.1, 0.3, 0.6], [0.0, 1.0, 0.0]])
VALUE = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
PREDICTED = np.array([[2.0, 1.0, 9.0], [0.0, 7.0, 3.0]])


@pytest.mark.parametrize("more", [{}, {"predicted": PREDICTED}, {"predicted": PREDICTED, "floor": 0.5}])
def test_the_expectation_over_all_treatments_is_the_value_of_the_policy(more):
    expected = sum(
        P[:, j] * policy_scores(POLICY, np.full(2, j), P, VALUE[:, j], **more) for j in range(3)
    )  # each treatment j is drawn with probability P_j
    np.testing.assert_allclose(expected, (POLICY * VALUE).sum(axis=1), rtol=1e-12)


def test_a_floor_bounds_every_score_from_below():
    zero = np.zeros(2)
    scores = [policy_scores(POLICY, np.full(2, j), P, zero, predicted=PREDICTED, floor=0.5) for j in range(3)]
    assert min(map(np.min, scores)) >= -0.5
    assert min(np.min(policy_scores(POLICY, np.full(2, j), P, zero, predicted=PREDICTED)) for j in range(3)) < -50


def test_a_policy_may_be_codes_and_propensities_one_column():
    assert policy_weights([1, 2], [1, 0], [0.25, 0.5]).tolist() == [4.0, 0.0]
    table = policy_weights(np.eye(3)[[1, 2]], [1, 0], P)
    assert table.tolist() == pytest.approx([5.0, 0.0])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"propensity": [0.0, 0.5]}, r"propensity\[0\] == 0.0: must be in \(0, 1\]"),
        ({"policy": [[0.5, 1.5, 0.0]] * 2}, r"policy\[0, 1\] == 1.5: must be in \[0, 1\]"),
        ({"policy": [0, 5], "propensity": P}, r"policy\[1\] == 5: must be a whole number from 0 to 2"),
        ({"treatment": [0, 7], "propensity": P}, r"treatment\[1\] == 7"),
        ({"policy": np.eye(2), "propensity": P}, r"policy.shape == \(2, 2\): must have 3 columns"),
        ({"floor": 1.0}, "floor == 1.0: needs predictions"),
        ({"predicted": [[1.0, 2.0]] * 2, "floor": 1.0}, r"propensity.shape == \(2,\): must be \(2, 2\) with a floor"),
        ({"predicted": [[1.0]] * 2}, "predicted.shape == .*: must have a column for every treatment"),
        (
            {"predicted": PREDICTED, "propensity": P, "floor": 1.0, "value": [-1.0, 0.0]},
            r"value\[0\] == -1.0: must be >= 0",
        ),
        ({"value": [1.0]}, r"len\(value\) == 1"),
    ],
)
def test_what_is_wrong_is_refused(given, words):
    right = {"policy": [1, 0], "treatment": [0, 1], "propensity": [0.5, 0.5], "value": [1.0, 2.0]}
    with pytest.raises(DataError, match=words):
        policy_scores(**right | given)
