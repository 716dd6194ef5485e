"""What a policy is truly worth, against decisions taken one price at a time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from largesse.allocate import frontier
from largesse.errors import DataError
from largesse.evaluate.ranking_metrics import aucc
from largesse.evaluate.truth import attainable_gain, true_aucc, true_value
from largesse.logs import Logs
from largesse.menu import Menu
from tests.reference import argmax_floats, eom_at_budgets, kinks, lp_optimum


def world(n=120, m=4, seed=0):
    """Exact means, rising in the treatment, and a menu that believes something else."""
    rng = np.random.default_rng(seed)
    truth = Menu(value=np.cumsum(rng.random((n, m)), axis=1), cost=np.arange(m) * rng.gamma(3.0, 0.3, (n, 1)))
    menu = Menu(value=np.cumsum(rng.random((n, m)), axis=1), cost=np.arange(m) * rng.gamma(3.0, 0.3, (n, 1)))
    return truth, menu


def price_by_price(menu, truth):
    """True value and cost per head of every distinct plan, as the price rises."""
    ends, rows = kinks(menu.value, menu.cost), np.arange(menu.n)
    plans = [argmax_floats(menu.value, menu.cost, p) for p in np.append((ends[1:] + ends[:-1]) / 2, ends[-1] + 1)]
    kept = [plan for k, plan in enumerate(plans) if k == 0 or (plan != plans[k - 1]).any()]
    return np.array([[table[rows, plan].mean() for plan in kept] for table in (truth.value, truth.cost)])


@pytest.mark.parametrize("seed", range(8))
def test_true_value_equals_every_plan_in_turn(seed):
    truth, menu = world(seed=seed)
    value, cost = price_by_price(menu, truth)
    budgets = np.linspace(0, cost.max() * 1.1, 40)
    np.testing.assert_allclose(true_value(menu, truth, budgets), eom_at_budgets(value, cost, budgets), rtol=1e-11)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_who_knows_the_truth_reaches_the_linear_programme(dtype):
    truth, _ = world(seed=1)
    truth = Menu(value=truth.value.astype(dtype), cost=truth.cost.astype(dtype))
    budgets = np.linspace(0.01, 2.5, 9)
    value = true_value(truth, truth, budgets)
    np.testing.assert_allclose(value, frontier(truth).value_at(budgets * truth.n) / truth.n, rtol=1e-9)
    best = [lp_optimum(truth.value, truth.cost, b * truth.n).value / truth.n for b in budgets]
    np.testing.assert_allclose(value, best, rtol=1e-9)
    np.testing.assert_allclose(attainable_gain(truth, truth, budgets), 1, rtol=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000))
def test_nobody_beats_the_truth(seed):
    truth, menu = world(seed=seed)
    budgets = np.linspace(0.05, 2.0, 10)
    assert (true_value(menu, truth, budgets) <= true_value(truth, truth, budgets) + 1e-12).all()
    assert (attainable_gain(menu, truth, budgets) <= 1 + 1e-9).all()


def test_gain_is_counted_from_the_best_mix_of_arms():
    truth, menu = world(seed=2)
    budgets = np.array([0.2, 0.6, 1.1])
    mean, cost = truth.value.mean(axis=0), truth.cost.mean(axis=0)
    arms = np.array([lp_optimum(mean[None, :], cost[None, :], b).value for b in budgets])
    oracle = np.array([lp_optimum(truth.value, truth.cost, b * truth.n).value / truth.n for b in budgets])
    gain = (true_value(menu, truth, budgets) - arms) / (oracle - arms)
    np.testing.assert_allclose(attainable_gain(menu, truth, budgets), gain, rtol=1e-7)
    blind = Menu(value=np.tile(mean, (truth.n, 1)), cost=np.tile(cost, (truth.n, 1)))
    np.testing.assert_allclose(attainable_gain(blind, truth, budgets), 0, atol=1e-9)


def test_where_there_is_nothing_to_gain_it_is_nan():
    same = Menu(value=[[0.0, 1.0]] * 4, cost=[[0.0, 1.0]] * 4)
    assert np.isnan(attainable_gain(same, same, [0.5])).all()
    truth, menu = world()
    assert np.isnan(attainable_gain(menu, truth, [0.0])).all()


def test_units_that_tie_change_together():
    """Two units at one price: half of the money buys half of each, not the first one."""
    menu = Menu(value=[[0.0, 1.0]] * 2, cost=[[0.0, 1.0]] * 2)
    truth = Menu(value=[[0.0, 3.0], [0.0, 1.0]], cost=[[0.0, 1.0]] * 2)
    assert true_value(menu, truth, [0.0, 0.5, 1.0, 9.0]).tolist() == [0.0, 1.0, 2.0, 2.0]


def test_budgets_below_the_smallest_spend_are_nan():
    truth, menu = world(seed=3)
    dear = Menu(value=truth.value, cost=truth.cost + 0.5)
    assert np.isnan(true_value(menu, dear, [0.4])).all()
    assert np.isfinite(true_value(menu, dear, [0.5, 0.6])).all()


@pytest.mark.parametrize("other", ["units", "treatments"])
def test_a_menu_of_other_units_is_refused(other):
    truth, menu = world()
    wrong = menu.take(np.arange(5)) if other == "units" else Menu(value=menu.value, cost=menu.cost, treatments="abcd")
    with pytest.raises(DataError, match="menu == .*must have the units of the truth"):
        true_value(wrong, truth, [1.0])


def test_the_exact_aucc_is_what_the_rows_of_a_trial_estimate():
    rng = np.random.default_rng(3)
    n = 4000
    roi = rng.uniform(0.1, 1.0, n)
    spend = rng.uniform(0.5, 1.5, n)
    truth = Menu(value=np.column_stack([np.ones(n), 1 + roi * spend]), cost=np.column_stack([0 * roi, spend]))
    best, random = true_aucc(roi, truth), true_aucc(rng.random(n), truth)
    assert best > 0.6
    assert abs(random - 0.5) < 0.02
    assert true_aucc(-roi, truth) == pytest.approx(1 - best)
    found = []
    for seed in range(60):  # outcomes without noise, assignment at random
        t = np.random.default_rng(seed).integers(0, 2, n)
        rows = np.arange(n)
        logs = Logs(x=np.zeros((n, 1)), treatment=t, value=truth.value[rows, t], cost=truth.cost[rows, t])
        found.append(aucc(logs, roi))
    assert abs(np.mean(found) - best) < 3 * np.std(found) / 60**0.5 + 1e-3
    with pytest.raises(DataError, match="one number per unit"):
        true_aucc(roi[:-1], truth)
    with pytest.raises(DataError, match="must gain and cost"):
        true_aucc(roi, Menu(value=np.ones((n, 2)), cost=truth.cost))
