"""The index by price against the plan of every price, computed unit by unit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from largesse import Menu
from largesse.allocate.blocks import Decide, in_blocks
from largesse.allocate.ledger import Increments
from largesse.allocate.price_index import PriceIndex


def menus(seed: int, n: int, m: int, ties: bool) -> Menu:
    rng = np.random.default_rng(seed)
    value, cost = rng.normal(1, 1, (n, m)), rng.gamma(1, 1, (n, m))
    if ties:
        value, cost = value.round(), cost.round()
    return Menu(value=value.astype(np.float32), cost=cost.astype(np.float32))


def by_hand(menu: Menu, price: float) -> tuple[list[int], float, float]:
    """The best treatment of each unit in exact order: highest value - price · cost, then the cheaper, then the lower code."""
    counts, spend, value = [0] * menu.n_treatments, 0.0, 0.0
    for v, c in zip(menu.value.astype(float), menu.cost.astype(float), strict=True):
        j = min(range(len(v)), key=lambda k: (-(v[k] - price * c[k]), c[k], k))
        counts[j] += 1
        spend, value = spend + c[j], value + v[j]
    return counts, spend, value


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 60), m=st.integers(2, 6), price=st.floats(0.0, 5.0))
def test_totals_are_those_of_the_plan_at_a_price(seed: int, n: int, m: int, price: float) -> None:
    menu = menus(seed, n, m, ties=False)
    counts, spend, value = by_hand(menu, price)
    got = PriceIndex.of(menu).totals(price)
    assert (got.n, got.counts.tolist()) == (n, counts)
    assert got.spend == pytest.approx(spend)
    assert got.value == pytest.approx(value)


def test_many_increments_cross_the_marks() -> None:
    menu = menus(1, 16_000, 5, ties=False)
    index = PriceIndex.of(menu)
    assert len(index.counts) > 3
    for price in (0.0, float(index.slope[4096]), float(index.slope[4095]), 0.3, 1.0, 50.0):
        counts, spend, value = by_hand(menu, price)
        got = index.totals(price)
        assert got.counts.tolist() == counts
        assert (got.spend, got.value) == (pytest.approx(spend, rel=1e-12), pytest.approx(value, rel=1e-12))


@pytest.mark.parametrize("ties", [False, True])
def test_the_increments_between_two_prices_are_those_of_a_pass(ties: bool) -> None:
    menu = menus(2, 3_000, 4, ties)
    index, run = PriceIndex.of(menu), in_blocks(menu)
    for low, high in ((0.5, 1.0), (0.0, 0.25), (1.0, 1.0)):
        expected = Increments.joined(part.increments for part in run(Decide(low, high)))
        for ours, theirs in zip(index.inside(low, high), expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_it_is_restored_from_its_arrays() -> None:
    menu = menus(3, 500, 3, ties=False)
    index = PriceIndex.of(menu)
    again = PriceIndex.restored(menu, index.arrays)
    assert [str(part) for part in again.totals(0.7)] == [str(part) for part in index.totals(0.7)]
