"""Shares and propensities of draws, compared with the formula and with Monte Carlo frequencies."""

from __future__ import annotations

import itertools
import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from largesse.engines.holdout import Holdout
from largesse.errors import DataError
from largesse.serving.draws import Draws

VALUE, COST = (0.0, 2.0, 3.0, 2.5), (0.0, 1.0, 2.0, 4.0)
N = 40_000


def near(count: float, share: float, n: int = N) -> bool:
    return abs(count - n * share) <= 5 * (n * share * (1 - share)) ** 0.5 + 1e-9


def formula(h: float, e: float, mix: tuple[float, ...], codes: list[int], best: int) -> list[float]:
    total = sum(mix[j] for j in codes)
    return [
        (e * (1 - h) * mix[j] / total if j in codes else 0) + (1 - e) * (1 - h) * (j == best) + h * (j == 0)
        for j in range(len(mix))
    ]


def argmax(value: tuple[float, ...], cost: tuple[float, ...], price: float, codes: list[int]) -> set[int]:
    """The treatments with the highest value - price · cost, up to rounding."""
    net = {j: value[j] - price * cost[j] for j in codes}
    top = max(net.values())
    return {j for j in codes if net[j] >= top - 1e-9 * (1 + abs(top))}


@pytest.mark.parametrize(
    ("h", "e", "mix", "codes"),
    [
        (0.02, 0.05, (1, 1, 1, 1), [0, 1, 2, 3]), (0.3, 0.5, (1, 2, 3, 4), [0, 1, 3]), (0.0, 1.0, (5, 1, 1, 1), [0, 2, 3]),
        (0.1, 0.0, (1, 1, 1, 1), [0, 1, 2, 3]), (0.0, 0.0, (1, 1, 1, 1), [0, 1]), (0.5, 0.2, (1, 1, 1, 1), [0]),
    ],
)  # fmt: skip
def test_frequencies_agree_with_propensities_and_shares(h, e, mix, codes):
    draws = Draws("s", "c", mix=tuple(map(float, mix)), holdout=h, explore=e)
    (best,) = argmax(VALUE, COST, 0.7, codes)
    got = [draws.draw(0, f"u{i}", VALUE, COST, 0.7, allowed=codes) for i in range(N)]
    assert {d.propensities for d in got} == {got[0].propensities}
    np.testing.assert_allclose(got[0].propensities, formula(h, e, mix, codes, best), atol=1e-15)
    counts, kinds = Counter(d.code for d in got), Counter(d.kind for d in got)
    for j in range(4):
        assert near(counts[j], got[0].propensities[j]), (j, counts, got[0].propensities)
    for kind, share in (("holdout", h), ("explore", e * (1 - h)), ("policy", (1 - e) * (1 - h))):
        assert near(kinds[kind], share), kinds
    explored = Counter(d.code for d in got if d.kind == "explore")
    for j in codes:
        assert near(explored[j], mix[j] / sum(mix[k] for k in codes), kinds["explore"])
    assert {d.code for d in got if d.kind == "holdout"} <= {0}
    assert {d.code for d in got if d.kind == "policy"} <= {best}


menus = st.lists(
    st.tuples(st.floats(-100, 100, width=32), st.floats(0, 100, width=32), st.floats(0.01, 10)), min_size=2, max_size=5
)
shares = st.floats(1e-3, 0.9) | st.just(0.0)


@settings(max_examples=200, deadline=None)
@given(menus, shares, shares, st.floats(0, 20), st.data())
def test_propensities_follow_the_formula(menu, h, e, price, data):
    value, cost, mix = (tuple(row) for row in zip(*menu, strict=True))
    codes = sorted({0} | set(data.draw(st.lists(st.integers(0, len(menu) - 1)))))
    draws = Draws("s", "c", mix=mix, holdout=h, explore=e)
    draw = draws.draw(data.draw(st.integers(0, 9)), data.draw(st.text(min_size=1)), value, cost, price, allowed=codes)
    assert sum(draw.propensities) == pytest.approx(1, abs=1e-12)
    assert draw.propensities[draw.code] > 0
    assert not draw.limited
    tied = argmax(value, cost, price, codes)
    assert any(np.allclose(draw.propensities, formula(h, e, mix, codes, j), atol=1e-12) for j in tied)
    if draw.kind == "policy":
        assert draw.code in tied


def test_ties_go_to_the_cheaper():
    draws = Draws("s", "c", mix=(1.0, 1.0, 1.0), holdout=0, explore=0)
    assert draws.draw(0, "u", (0, 2, 4), (0, 1, 2), 2.0).code == 0
    assert draws.draw(0, "u", (0, 2, 4), (0, 1, 2), 1.99).code == 2
    assert draws.draw(0, "u", (1, 1), (0, 0), 0.0, allowed=[0, 1]).code == 0


def test_the_three_draws_are_independent_and_uniform():
    draws = Draws("s", "c", mix=(1.0, 1.0))
    numbers = np.array([draws.numbers(0, str(i)) for i in range(N)])
    assert numbers.min() >= 0
    assert numbers.max() < 1
    later = np.array([draws.numbers(1, str(i)) for i in range(N)])
    np.testing.assert_array_equal(numbers[:, 0], later[:, 0])  # the holdout is that of the whole campaign
    other = np.array([Draws("s", "d", mix=(1.0, 1.0)).numbers(0, str(i)) for i in range(N)])
    several = np.column_stack([numbers, later[:, 1:], other[:, 1:]])
    cells = np.histogramdd(numbers, bins=4, range=[(0, 1)] * 3)[0]
    assert ((cells - N / 64) ** 2 / (N / 64)).sum() < 63 + 5 * 126**0.5
    correlation = np.corrcoef(several.T)[np.triu_indices(7, 1)]
    assert np.abs(correlation).max() < 5 / N**0.5


def test_the_holdout_is_that_of_allocate():
    ids = [f"u{i}" for i in range(5000)]
    for share in (0.02, 0.1, 1 / 3):
        kept = Holdout(share, "spring").of(ids)
        draws = Draws("spring", "coupons", mix=(1.0, 1.0), holdout=share)
        mine = [draws.draw(3, unit, (0, 1), (0, 1), 0.5).kind == "holdout" for unit in ids]
        assert mine == kept.tolist()


def test_order_of_arrival_changes_nothing():
    units = [f"u{i}" for i in range(2000)]
    draws = Draws("s", "c", mix=(1.0, 2.0), explore=0.5)
    first = {u: draws.draw(0, u, (0, 1), (0, 1), 0.5) for u in units}
    random.Random(1).shuffle(units)
    again = Draws("s", "c", mix=(1.0, 2.0), explore=0.5)
    assert all(again.draw(0, u, (0, 1), (0, 1), 0.5) == first[u] for u in units)


class TestLimited:
    def test_propensities_are_those_of_what_is_given(self):
        draws = Draws("s", "c", mix=(1.0, 1.0, 1.0, 1.0), holdout=0.1, explore=0.5)
        got = [draws.draw(0, f"u{i}", VALUE, COST, 0.1, affordable={0, 1}) for i in range(N)]
        assert all(d.limited for d in got)
        (given_,) = {d.propensities for d in got}
        # Treatments 2 and 3 (and the policy's, 2) are out of reach; of 0 and 1 the better is 1.
        np.testing.assert_allclose(given_, [0.1 + 0.45 / 4, 0.45 + 0.45 * 3 / 4, 0, 0], atol=1e-15)
        counts = Counter(d.code for d in got)
        assert near(counts[0], given_[0])
        assert near(counts[1], given_[1])
        assert set(counts) == {0, 1}

    def test_it_does_not_depend_on_what_was_drawn(self):
        draws = Draws("s", "c", mix=(1.0, 1.0, 1.0, 1.0), holdout=0.1, explore=0.5)
        for affordable in itertools.chain.from_iterable(itertools.combinations(range(1, 4), k) for k in range(4)):
            got = {draws.draw(0, f"u{i}", VALUE, COST, 0.1, affordable={0, *affordable}).limited for i in range(200)}
            assert got == {affordable != (1, 2, 3)}

    def test_a_treatment_nobody_could_draw_does_not_limit(self):
        draws = Draws("s", "c", mix=(1.0, 1.0, 1.0, 1.0), holdout=0.1, explore=0.0)
        assert not draws.draw(0, "u", VALUE, COST, 1.5, affordable={0, 1}).limited  # the policy's is 1
        assert draws.draw(0, "u", VALUE, COST, 1.5, affordable={0}).limited

    def test_a_budget_that_pays_for_nothing(self):
        with pytest.raises(DataError, match="not even control"):
            Draws("s", "c", mix=(1.0, 1.0)).draw(0, "u", (0, 1), (1, 2), 0.5, affordable=())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"holdout": 1.0}, "holdout == 1.0"), ({"holdout": -0.1}, "holdout == -0.1"), ({"explore": 1.1}, "explore == 1.1"),
        ({"explore": float("nan")}, "explore == nan"), ({"mix": (1.0, 0.0)}, r"mix\[1\] == 0.0"), ({"mix": (1.0,)},
        "two treatments"),
        ({"salt": ""}, "salt == ''"),
    ],
)  # fmt: skip
def test_wrong_settings_are_refused(change, message):
    with pytest.raises(DataError, match=message):
        Draws(**({"salt": "s", "campaign": "c", "mix": (1.0, 1.0)} | change))


def test_control_must_be_allowed():
    with pytest.raises(DataError, match=r"allowed == \[1\]: control must be allowed"):
        Draws("s", "c", mix=(1.0, 1.0)).draw(0, "u", (0, 1), (0, 1), 0.5, allowed=[1])
