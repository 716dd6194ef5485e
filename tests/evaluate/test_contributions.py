"""What rows contribute: random mixes by their derivatives, and variances that no row has."""

from dataclasses import replace

import numpy as np
import pytest

from largesse.evaluate.comparison import BEST_MIX, RANDOM_MIX, compare
from largesse.evaluate.contributions import RandomMix
from largesse.evaluate.untargeted import CLOSE, CLOSE_DIFFERENCE
from largesse.logs import Logs
from largesse.menu import Menu


@pytest.mark.parametrize("money", [0.3, 0.8, 2.0])
def test_a_random_mix_follows_the_means_by_its_coefficients(money):
    """Also where it costs more than the budget and is given to fewer units: numerical derivatives."""
    mean, cost, mix = np.array([1.0, 1.6, 2.1]), np.array([0.0, 0.9, 1.7]), np.array([[0.2, 0.5, 0.3]])
    made = RandomMix.of(mix, mean, cost, np.array([money]))
    assert bool(made.short[0]) == (money < (mix @ cost)[0])
    assert made.spend[0] == pytest.approx(min(money, (mix @ cost)[0]))
    for q in range(2):
        for j in range(3):
            if (q, j) == (1, 0):
                continue
            sides = []
            for sign in (-1, 1):
                moved = [mean.copy(), cost.copy()]
                moved[q][j] += sign * 1e-6
                sides.append(RandomMix.of(mix, *moved, np.array([money])).value[0])
            assert made.coefficients[0, q, j] == pytest.approx((sides[1] - sides[0]) / 2e-6, abs=1e-6)


def close_arms(seed, n=1500):
    rng = np.random.default_rng([seed, 3])
    x, t = rng.normal(size=n), rng.integers(0, 4, n)
    value = (rng.random(n) < 0.25 + 0.05 * (t > 0) + 0.05 * (x > 0) * (t > 0)) * 1.0
    gain = np.outer(0.06 + 0.04 * (x > 0), [0, 1, 1.01, 1.02])
    logs = Logs(x=x[:, None], treatment=t, value=value, cost=value * t, propensity="uniform")
    return logs, {"policy": Menu(value=0.25 + gain, cost=(0.25 + gain) * np.arange(4))}


def test_variance_of_a_close_choice_widens_differences_from_the_best_mix():
    logs, menus = close_arms(0)
    table = compare(logs, menus, [0.15, 0.3]).against(BEST_MIX)
    made, at = table.parts.made, table.index(BEST_MIX)
    assert (made.more[at] > 0).all()
    ((low, high, _),) = replace(made, more=0 * made.more).intervals(table.value, 0.95, at)
    wider = (table.difference_high - table.difference_low) ** 2 - (high - low) ** 2
    for p in (0, 1):
        np.testing.assert_allclose(wider[p], CLOSE_DIFFERENCE * (2 * 1.96) ** 2 * made.more[at], rtol=0.03)
    assert (wider[at] == 0).all()
    ((low, high, _),) = replace(made, more=0 * made.more).intervals(table.value, 0.95, None)
    own = (table.high - table.low) ** 2 - (high - low) ** 2
    np.testing.assert_allclose(own[at], CLOSE * (2 * 1.96) ** 2 * made.more[at], rtol=0.03)


@pytest.mark.slow
def test_intervals_are_as_wide_as_their_estimates_vary():
    """200 trials, so ± 5 %. Where arms are as close as here, differences from their best mix are too wide by up to a half."""
    names = (BEST_MIX, RANDOM_MIX, "policy")
    found, widths = [], []
    for k in range(200):
        table = compare(*close_arms(k), [0.15, 0.3], reference="policy").against(BEST_MIX)
        at = [table.index(name) for name in names]
        found.append([table.value[at], table.difference[at]])
        widths.append([(table.high - table.low)[at], (table.difference_high - table.difference_low)[at]])
    spread = np.std(found, axis=0)
    spread[1, 0] = 1.0  # the reference itself
    ratio = np.mean(widths, axis=0) / 3.92 / spread
    ratio[1, 0] = 1.0
    assert (ratio > 0.88).all()
    assert (ratio < 1.65).all()
    assert (ratio[0] < 1.25).all()


@pytest.mark.parametrize("against", [None, "policy"])
def test_a_mean_over_one_budget_has_the_interval_of_that_budget(against):
    logs, menus = close_arms(0)
    table = compare(logs, menus, [0.15, 0.3], reference=BEST_MIX)
    one = np.array([True, False])
    mean = table.over_budgets("policy" if against else BEST_MIX, one, against=BEST_MIX if against else None)
    ends_ = (table.difference_low, table.difference_high) if against else (table.low, table.high)
    at = table.index("policy" if against else BEST_MIX)
    assert (mean.low, mean.high) == pytest.approx([ends_[0][at, 0], ends_[1][at, 0]], rel=1e-9)
