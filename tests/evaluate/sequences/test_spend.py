"""Equal spend: the re-priced difference, intervals of the price, and what first order leaves out."""

import numpy as np
import pytest

from largesse.errors import DataError
from largesse.evaluate import EqualSpendSequence, MeanSequence

RNG = np.random.default_rng(0)
ROWS = RNG.exponential([2.0, 1.2, 1.8, 1.0], (5000, 4))  # value and cost of the challenger, then of the champion


def both(**settings):
    return EqualSpendSequence(5000, **settings).update(*ROWS.T)


def repriced(price):
    return ROWS[:, 0] - ROWS[:, 2] - price * (ROWS[:, 1] - ROWS[:, 3])


@pytest.mark.parametrize("price", [0.0, 0.7])
def test_it_is_the_mean_of_the_repriced_differences(price):
    look, same = both().look(price=price), MeanSequence(5000).update(repriced(price)).look()
    assert (look.estimate, look.lower, look.upper) == pytest.approx((same.estimate, same.lower, same.upper), rel=1e-9)


def test_an_interval_of_the_price_covers_all_its_prices():
    wide = both().look(price=0.7, price_interval=(0.2, 1.5))
    ends = [MeanSequence(5000).update(repriced(price)).look() for price in (0.2, 0.7, 1.5)]
    assert wide.lower == pytest.approx(min(one.lower for one in ends), rel=1e-9)
    assert wide.upper == pytest.approx(max(one.upper for one in ends), rel=1e-9)
    assert wide.estimate == pytest.approx(repriced(0.7).mean(), rel=1e-9)


def test_an_uncertain_price_costs_a_part_of_the_level():
    got = both(level=0.95).look(price=0.7, price_interval=(0.7, 0.7), price_level=0.98)
    same = both(level=0.97).look(price=0.7)
    assert (got.lower, got.level) == (pytest.approx(same.lower, rel=1e-9), 0.95)


def test_at_equal_spend_the_price_does_not_matter():
    rows = ROWS.copy()
    rows[:, 3] = rows[:, 1]
    sequence = EqualSpendSequence(5000).update(*rows.T)
    assert sequence.look(price=0.1).lower == pytest.approx(sequence.look(price=5.0).lower, rel=1e-6)


def test_value_and_cost_of_each_policy_have_a_sequence_of_their_own():
    for k, name in enumerate(("challenger_value", "challenger_cost", "champion_value", "champion_cost")):
        look, same = both().of(name), MeanSequence(5000).update(ROWS[:, k]).look()
        assert (look.estimate, look.lower) == pytest.approx((same.estimate, same.lower), rel=1e-9)
        assert look.what == name.replace("_", "'s ")


def test_clusters_keep_the_mean_per_row():
    code = np.repeat(np.arange(1250), 4)
    sequence = EqualSpendSequence(1250).update(*ROWS.T, cluster=code)
    assert sequence.look(price=0.5).estimate == pytest.approx(repriced(0.5).mean(), rel=1e-9)
    assert sequence.look(price=0.5).t == 1250


def test_what_first_order_leaves_out_is_half_the_slope_times_the_square():
    """With the outcome curve v = √c, a policy that spends 1.2 in place of 1 gains nothing at equal spend."""
    left, slope = np.sqrt(1.2) - 1 - 0.5 * 0.2, -0.25  # λ = v' = 1/2 and λ' = v'' = -1/4 at c = 1
    assert left == pytest.approx(0.5 * slope * 0.2**2, rel=0.15)


def test_without_rows_there_is_no_interval():
    assert EqualSpendSequence(10).look(price=1.0).reason == "there are no rows yet"
    assert EqualSpendSequence(10).of("champion_cost").reason == "there are no rows yet"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"price": -1.0}, "price == -1.0"),
        ({"price": 1.0, "price_interval": (2.0, 3.0)}, "price_interval == .*: must contain the price 1"),
        ({"price": 1.0, "price_level": 0.95}, "price_level == 0.95: must be above the level of the sequence, 0.95"),
    ],
)
def test_wrong_prices_are_refused(given, words):
    with pytest.raises(DataError, match=words):
        both().look(**given)
    with pytest.raises(DataError, match="^name == 'price'"):
        both().of("price")
