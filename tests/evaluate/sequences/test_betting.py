"""Betting: capital against a direct product, batches against one pass, coverage, clipping, and what is refused."""

import json

import numpy as np
import pytest

from largesse.errors import DataError
from largesse.evaluate import BettingSequence, policy_scores


def capital(x, m, expected, alpha, sign):
    """The mean over four sizes of Π (1 ± λ (x - m)), with the bets of the docstring, one score after the other."""
    target, total, squares, products = np.log(2 / alpha), 0.0, 0.0, np.ones(4)
    for t, score in enumerate(x):
        variance = (0.25 + squares) / (t + 1)
        bets = np.minimum(np.array([0.5, 1, 2, 4]) * np.sqrt(2 * target / (variance * expected)), 0.5)
        products *= 1 + sign * bets * (score - m)
        total += score
        squares += (score - (0.5 + total) / (t + 2)) ** 2
    return products.mean()


def test_the_ends_are_where_the_capital_reaches_the_target():
    """Before the first refinement of the points, so the largest mean is 1 and the least 0 throughout."""
    x = np.random.default_rng(0).beta(2, 3, 200)
    look = BettingSequence(200, (0, 1)).update(x).look()
    # the chord between two points is below the capital: the ends are rejected, and a little inside they are not
    for end, sign in ((look.lower, 1), (look.upper, -1)):
        assert capital(x, end, 200, 0.05, sign) >= 40 * (1 - 1e-9)
        assert capital(x, end + sign * 0.005, 200, 0.05, sign) < 40


def test_batches_and_json_give_the_same_bits_as_one_pass():
    x = np.random.default_rng(1).random(3000) < 0.05
    whole, parts = BettingSequence(3000, (0, 1)).update(x), BettingSequence(3000, (0, 1))
    for part in np.split(x, [1, 15, 16, 16, 700, 2049]):
        parts = BettingSequence.from_dict(json.loads(json.dumps(parts.update(part).to_dict())))
    assert parts.to_dict() == whole.to_dict()
    assert parts.look() == whole.look()


def test_other_bounds_are_the_same_bets():
    x = np.random.default_rng(2).random(2000)
    unit = BettingSequence(2000, (0, 1)).update(x).look()
    other = BettingSequence(2000, (-3, 7)).update(10 * x - 3).look()
    assert (other.lower, other.upper) == pytest.approx((10 * unit.lower - 3, 10 * unit.upper - 3), rel=1e-9)
    mirrored = BettingSequence(2000, (0, 1)).update(1 - x).look()
    assert (1 - mirrored.upper, 1 - mirrored.lower) == pytest.approx((unit.lower, unit.upper), abs=1e-9)


@pytest.mark.parametrize("p", [0.3, 0.01])
def test_streams_with_daily_looks_are_covered_and_tight(p):
    missed, widths = 0, []
    for seed in range(100):
        sequence, x = BettingSequence(6000, (0, 1)), np.random.default_rng(seed).random(6000) < p
        missed += any(not sequence.update(day).look().contains(p) for day in np.split(x, 60))
        widths.append(sequence.look().upper - sequence.look().lower)
    assert missed <= 10
    assert np.median(widths) < 1.6 * 3.92 * np.sqrt(p * (1 - p) / 6000)


def test_one_side_is_nearer_and_the_other_open():
    x = np.random.default_rng(3).random(2000) < 0.1
    both, lower, upper = (
        BettingSequence(2000, (0, 1), side=side).update(x).look() for side in ("both", "lower", "upper")
    )
    assert both.lower < lower.lower < lower.estimate < upper.upper < both.upper
    assert (lower.upper, upper.lower) == (np.inf, -np.inf)


def test_clipped_weighted_scores_bound_the_value_from_below_and_by_symmetry_from_above():
    missed = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        t = (rng.random(4000) < 0.05).astype(int)
        y = (rng.random(4000) < np.where(t, 0.3, 0.1)) * 1.0
        p = np.where(t, 0.05, 0.95)
        low = BettingSequence(4000, (0, 15), side="lower").update(policy_scores(np.ones(4000), t, p, y)).look().lower
        high = (
            1
            - BettingSequence(4000, (0, 15), side="lower")
            .update(policy_scores(np.ones(4000), t, p, 1 - y))
            .look()
            .lower
        )
        missed += low > 0.3 or high < 0.3
        assert low > 0.05
    assert missed <= 5


def test_scores_with_a_floor_have_a_lower_bound():
    rng = np.random.default_rng(4)
    t = (rng.random(8000) < 0.1).astype(int)
    y = (rng.random(8000) < 0.5) * 1.0
    p = np.tile([0.9, 0.1], (8000, 1))
    scores = policy_scores(np.ones(8000), t, p, y, predicted=np.full((8000, 2), 0.5), floor=1.0)
    look = BettingSequence(8000, (-1, 10), side="lower").update(scores).look()
    assert 0.35 < look.lower < 0.5


def test_clusters_bet_on_their_means():
    x = np.random.default_rng(5).random(900)
    look = BettingSequence(300, (0, 1)).update(x, cluster=np.repeat(np.arange(300), 3)).look()
    same = BettingSequence(300, (0, 1)).update(x.reshape(300, 3).mean(axis=1)).look()
    assert (look.lower, look.t) == (pytest.approx(same.lower, rel=1e-9), 300)


def test_scores_without_one_mean_leave_nothing():
    x = np.r_[np.ones(3000), np.zeros(3000)]
    assert "every mean is rejected" in BettingSequence(1000, (0, 1)).update(x).look().reason


def test_before_any_score_the_bounds_are_the_interval():
    look = BettingSequence(100, (-1, 3)).look()
    assert (look.lower, look.upper, look.t) == (-1, 3, 0)
    assert np.isnan(look.estimate)


def test_what_is_wrong_is_refused():
    with pytest.raises(DataError, match=r"scores\[1\] == 2.0: must be within the bounds 0 and 1"):
        BettingSequence(10, (0, 1)).update([0.5, 2.0])
    with pytest.raises(DataError, match=r"scores\[0\] == -1.0"):
        BettingSequence(10, (0, 1), side="lower").update([-1.0, 2.0])
    with pytest.raises(DataError, match=r"bounds == \(1, 0\): must be a lower and a higher number"):
        BettingSequence(10, (1, 0))
    state = BettingSequence(10, (0, 1)).to_dict()
    with pytest.raises(DataError, match=r"grid.shape == \(2,\): must be \(33,\)"):
        BettingSequence.from_dict(state | {"grid": [0.0, 1.0]})
    with pytest.raises(DataError, match="must be the state of a BettingSequence"):
        BettingSequence.from_dict({"kind": "MeanSequence"})
