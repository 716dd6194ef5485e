"""Allocation against linear programming, brute force and exact rational arithmetic."""

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from largesse.allocate import assign, audit, frontier, intervals, price_plan, solve, taken_interval
from largesse.errors import DataError, InfeasibleBudget
from largesse.menu import Menu, Status
from tests.common.menus import BUDGETS, KINDS, SEEDS, at_corner, between, plain, unordered
from tests.reference import argmax, best_plan, dual_optimum, lp_optimum

CASES = [
    (kind, budget, seed)
    for kind in KINDS
    for budget in BUDGETS
    for seed in (SEEDS if budget == "between" else range(4))
]


def certify(value, cost, budget):
    """Checks a plan's spend, value, bound, price and status against the linear programme, and returns the plan."""
    n, scale = len(value), float(np.abs(value).max()) or 1.0
    menu = Menu(value=value, cost=cost)
    plan = solve(menu, budget)
    optimum = lp_optimum(value, cost, budget)
    wide_value, wide_cost = value.astype(np.float64), cost.astype(np.float64)
    rows = np.arange(n)
    spent, got = wide_cost[rows, plan.treatment], wide_value[rows, plan.treatment]
    # feasible for any order of summation
    assert math.fsum(spent.tolist()) <= budget
    assert np.sum(spent) <= budget * (1 + 1e-15 * n)
    assert plan.spend == pytest.approx(math.fsum(spent.tolist()), rel=1e-15)
    assert plan.value == pytest.approx(math.fsum(got.tolist()), rel=1e-14, abs=1e-13 * scale)
    # the bound is the optimum of the linear programme, and the Lagrangian dual at the price
    near = 1e-9 * max(abs(optimum.value), scale)
    assert plan.bound == pytest.approx(optimum.value, rel=0, abs=near)
    score = wide_value - plan.price * wide_cost
    dual = plan.price * budget + math.fsum(score.max(axis=1).tolist())
    assert plan.bound == pytest.approx(dual, rel=0, abs=max(near, 1e-12 * plan.price * budget))
    # the integer plan is within the largest increment that breaks at this price
    tied = score >= score.max(axis=1, keepdims=True) - 1e-9 * scale
    step = np.where(tied, wide_value, -np.inf).max(axis=1) - np.where(tied, wide_value, np.inf).min(axis=1)
    assert 0 <= plan.gap <= step.max() + near
    # the frontier has the same value and price
    front = frontier(menu)
    assert front.value_at(budget) == pytest.approx(optimum.value, rel=0, abs=near)
    assert front.price_at(budget) == pytest.approx(plan.price, rel=1e-9)
    assert (plan.status is Status.NON_BINDING) == (plan.price == 0)
    return plan


@pytest.mark.parametrize(("kind", "budget", "seed"), CASES)
def test_plan_equals_the_linear_programme(kind, budget, seed):
    rng = np.random.default_rng([seed, len(kind), len(budget)])
    value, cost = KINDS[kind](rng)
    limit = BUDGETS[budget](rng, value, cost)
    plan = certify(value, cost, limit)
    if budget == "between":
        assert np.sum(cost[np.arange(len(cost)), plan.treatment], dtype=np.float64) <= limit
    if budget in ("ample", "corner"):
        assert plan.gap <= 1e-12 * max(1.0, abs(plan.bound), np.abs(value).max())


@pytest.mark.parametrize(("n", "m"), [(10_000, 3), (4_000, 8), (10_000, 2)])
def test_ten_thousand_units_equal_the_linear_programme(n, m):
    rng = np.random.default_rng(n + m)
    value, cost = plain(rng, n, m)
    certify(value.astype(np.float32), cost.astype(np.float32), between(rng, cost))


@pytest.mark.parametrize("seed", range(60))
def test_brute_force_lies_between_plan_and_bound(seed):
    rng = np.random.default_rng(seed)
    n, m = int(rng.integers(1, 6)), int(rng.integers(2, 5))
    value, cost = rng.integers(-3, 7, (n, m)).astype(float), rng.integers(0, 5, (n, m)).astype(float)
    budget = float(cost.min(axis=1).sum() + rng.integers(0, 8))
    plan, best = solve(Menu(value=value, cost=cost), budget), best_plan(value, cost, budget)
    assert plan.value <= best <= plan.bound + 1e-9
    assert plan.bound == pytest.approx(float(dual_optimum(value, cost, budget)), rel=1e-12, abs=1e-12)
    if plan.status is not Status.WITHIN_ONE_INCREMENT:
        assert plan.value == pytest.approx(best, abs=1e-9)


def test_spend_never_exceeds_a_budget_that_is_met_to_the_last_bit():
    """The budget lies at a corner of the frontier, where an uncompensated sum would overspend half of the time."""
    for seed in range(40):
        rng = np.random.default_rng(seed)
        value, cost = plain(rng, 3000, 4)
        budget = at_corner(rng, value, cost)
        plan = solve(Menu(value=value, cost=cost), budget)
        assert math.fsum(cost[np.arange(3000), plan.treatment].tolist()) <= budget
        assert plan.value >= plan.bound * (1 - 1e-3)


@pytest.mark.parametrize("short", [1e-6, 0.5, 3.0])
def test_an_infeasible_budget_names_both_numbers(short):
    menu = Menu(value=[[1.0, 2.0], [1.0, 2.0]], cost=[[1.5, 2.5], [1.5, 2.5]])
    with pytest.raises(
        InfeasibleBudget, match=rf"budget == {3 - short:g}: the cheapest plan costs 3, {short:g} more"
    ) as caught:
        solve(menu, 3.0 - short)
    assert (caught.value.budget, caught.value.cheapest) == (3.0 - short, 3.0)
    with pytest.raises(InfeasibleBudget, match="the cheapest plan costs 3"):
        frontier(menu).value_at([4.0, 3.0 - short])
    assert solve(menu, 3.0).treatment.tolist() == [0, 0]


def test_infinite_money_buys_the_best_of_everything():
    value, cost = unordered(np.random.default_rng(0))
    plan = solve(Menu(value=value, cost=cost), np.inf)
    assert plan.treatment.tolist() == value.argmax(axis=1).tolist()
    assert (plan.price, plan.status, plan.budget) == (0.0, Status.NON_BINDING, np.inf)


def test_price_plan_is_assign_audited():
    value, cost = unordered(np.random.default_rng(1))
    menu = Menu(value=value, cost=cost, unit=np.arange(50))
    plan = price_plan(menu, 0.7)
    assert plan.treatment.tolist() == assign(menu, 0.7).tolist() == argmax(value, cost, 0.7).tolist()
    assert (plan.spend, plan.value) == audit(menu, plan.treatment)
    assert plan.status is Status.PRICED
    assert plan.unit.tolist() == list(range(50))


# Properties

small = st.integers(1, 8).flatmap(
    lambda m: st.lists(st.tuples(st.integers(-3, 6), st.integers(0, 5)), min_size=m + 1, max_size=m + 1)
)


@settings(max_examples=300, deadline=None)
@given(small)
def test_price_intervals_are_exact(cells):
    """Against argmax in rational arithmetic at every kink, between the kinks and beyond them."""
    value, cost = np.array([cells]).transpose(2, 0, 1)
    menu = Menu(value=value, cost=cost)
    lo, hi = (ends[0] for ends in intervals(menu))
    used = sorted(j for j in range(len(lo)) if lo[j] < hi[j])
    ends = sorted((lo[j], hi[j]) for j in used)
    assert ends[0][0] == 0
    assert ends[-1][1] == np.inf
    assert all(a[1] == b[0] for a, b in pairwise(ends))
    assert all(lo[j] == hi[j] == np.inf for j in range(len(lo)) if j not in used)
    kinks = {Fraction(0)}
    for a, b in cells:
        kinks.update(Fraction(a - v, b - c) for v, c in cells if b != c and (a - v) * (b - c) > 0)
    prices = sorted(kinks)
    prices += [(p + q) / 2 for p, q in pairwise(prices)] + [prices[-1] + 1]
    for price in prices:
        chosen = int(argmax(value, cost, price)[0])
        assert lo[chosen] <= float(price) < hi[chosen]
        assert assign(menu, float(price)).tolist() == [chosen]
    for j in range(len(cells)):
        assert [ends[0] for ends in taken_interval(menu, np.array([j]))] == [lo[j], hi[j]]


generic = st.tuples(st.integers(0, 10_000), st.floats(0.05, 0.95))


@settings(max_examples=60, deadline=None)
@given(generic, st.floats(1e-6, 1e6))
def test_another_currency_gives_the_same_plan(case, rate):
    seed, _ = case
    rng = np.random.default_rng(seed)
    value, cost = unordered(rng)
    budget = between(rng, cost)
    plan, same = solve(Menu(value=value, cost=cost), budget), solve(Menu(value=value, cost=cost * rate), budget * rate)
    assert plan.treatment.tolist() == same.treatment.tolist()
    assert same.price * rate == pytest.approx(plan.price, rel=1e-9)


@settings(max_examples=60, deadline=None)
@given(generic)
def test_a_dominated_treatment_changes_nothing(case):
    seed, _ = case
    rng = np.random.default_rng(seed)
    value, cost = unordered(rng)
    budget, by = between(rng, cost), rng.integers(0, 6)
    worse = np.column_stack([value, value[:, by] - rng.random(50)])
    dearer = np.column_stack([cost, cost[:, by] + rng.random(50)])
    plan, same = solve(Menu(value=value, cost=cost), budget), solve(Menu(value=worse, cost=dearer), budget)
    assert plan.treatment.tolist() == same.treatment.tolist()
    assert (plan.price, plan.value, plan.bound) == (same.price, same.value, same.bound)


@settings(max_examples=60, deadline=None)
@given(generic)
def test_permuted_units_and_relabelled_treatments_permute_the_plan(case):
    seed, _ = case
    rng = np.random.default_rng(seed)
    value, cost = unordered(rng)
    budget, rows, names = between(rng, cost), rng.permutation(50), rng.permutation(6)
    plan = solve(Menu(value=value, cost=cost), budget)
    moved = solve(Menu(value=value[rows][:, names], cost=cost[rows][:, names]), budget)
    assert names[moved.treatment].tolist() == plan.treatment[rows].tolist()


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(KINDS)), st.integers(0, 1000))
def test_the_frontier_is_concave_and_rises(kind, seed):
    value, cost = KINDS[kind](np.random.default_rng(seed))
    menu = Menu(value=value, cost=cost)
    front = frontier(menu)
    assert (np.diff(front.price) <= 0).all()
    assert (front.price > 0).all()
    assert (np.diff(front.spend) >= 0).all()
    scale = np.abs(value).max()
    np.testing.assert_allclose(np.diff(front.value), front.price * np.diff(front.spend), rtol=1e-6, atol=1e-9 * scale)
    for price in (0.0, *np.quantile(front.price, [0.1, 0.5]).tolist()) if len(front.price) else (0.0,):
        assert front.spend_at(price) == pytest.approx(price_plan(menu, price).spend, rel=1e-12)
    more = np.linspace(front.spend[0], front.spend[-1] * 1.1 + 1e-9, 20)
    assert (np.diff(front.value_at(more)) >= -1e-12 * scale).all()
    assert (np.diff(front.price_at(more)) <= 0).all()


@settings(max_examples=60, deadline=None)
@given(generic)
def test_more_money_never_lowers_the_bound_and_lowers_the_price(case):
    seed, _ = case
    rng = np.random.default_rng(seed)
    value, cost = plain(rng)
    plans = [solve(Menu(value=value, cost=cost), budget) for budget in np.linspace(0, cost.max(axis=1).sum(), 9)]
    assert all(a.bound <= b.bound + 1e-9 and a.price >= b.price for a, b in pairwise(plans))


MENU = Menu(value=[[0.0, 1.0]], cost=[[0.0, 1.0]])
REFUSED = {
    "budget nan": (lambda: solve(MENU, np.nan), "budget == nan"),
    "budget minus infinity": (lambda: solve(MENU, -np.inf), "budget == -inf"),
    "budget of words": (lambda: solve(MENU, "much"), "budget == 'much'"),
    "budget none": (lambda: solve(MENU, None), "budget == None"),
    "frontier budget nan": (lambda: frontier(MENU).value_at([1.0, np.nan]), "budget == "),
    "frontier price": (lambda: frontier(MENU).spend_at(-1.0), "price == -1.0: must be >= 0"),
    "frontier price nan": (lambda: frontier(MENU).spend_at(np.nan), "price == nan: must be >= 0"),
    "price negative": (lambda: assign(MENU, -0.1), "price == -0.1: must be a finite number in"),
    "price nan": (lambda: price_plan(MENU, np.nan), "price == nan: must be a finite number in"),
    "price of words": (lambda: assign(MENU, "low"), "price == 'low'"),
    "code": (lambda: taken_interval(MENU, np.array([2])), r"treatment\[0\] == 2: must be a code in 0..1"),
    "length": (lambda: taken_interval(MENU, np.array([0, 1])), r"len\(treatment\) == 2: must equal len\(menu\)"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name):
    act, words = REFUSED[name]
    with pytest.raises(DataError, match=words):
        act()


def test_an_infinite_price_leaves_everyone_with_the_cheapest():
    assert assign(Menu(value=[[9.0, 1.0]], cost=[[2.0, 1.0]]), np.inf).tolist() == [1]


def test_a_negative_budget_is_infeasible():
    with pytest.raises(InfeasibleBudget, match="the cheapest plan costs 0, 1 more"):
        solve(MENU, -1.0)
