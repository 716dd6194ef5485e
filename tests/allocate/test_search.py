"""The bracketed search against sorting everything: the same price and plan, with any number of threads."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
import pytest

from largesse.allocate import frontier, grid, kernels, search, solve
from largesse.errors import DataError, InfeasibleBudget
from largesse.menu import Menu, Plan
from tests.common.menus import BUDGETS, KINDS, SEEDS, repeated

solving: Any = sys.modules["largesse.allocate.solver"]


def sorted_whole(menu: Menu, budget: float, monkeypatch: pytest.MonkeyPatch) -> Plan:
    with monkeypatch.context() as patch:
        patch.setattr(solving, "near", lambda menu, limit, n_threads: search.all_increments(menu))
        return solve(menu, budget)


@pytest.fixture
def brackets(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Small menus are searched too, in blocks of 64 units; records how each search ended."""
    ends: list[str] = []
    inside, everything = search._inside, search.all_increments

    def recorded(*given: Any) -> search.Near | None:
        near = inside(*given)
        ends.append("inside" if near else "missed")
        return near

    monkeypatch.setattr(search, "FEW", 20)
    monkeypatch.setattr(search, "_BLOCK", 64)
    monkeypatch.setattr(search, "_inside", recorded)
    monkeypatch.setattr(search, "all_increments", lambda menu: (ends.append("everything"), everything(menu))[1])
    return ends


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", KINDS)
def test_it_finds_what_sorting_everything_finds(kind: str, seed: int, brackets, monkeypatch):
    value, cost = repeated(kind, seed)
    menu = Menu(value=value, cost=cost)
    rng = np.random.default_rng(seed)
    for name, draw in BUDGETS.items():
        budget = draw(rng, value, cost)
        wanted = sorted_whole(menu, budget, monkeypatch)
        for n_threads in (1, 2):
            plan = solve(menu, budget, n_threads=n_threads)
            assert plan.price == wanted.price, name
            size = max(1.0, abs(wanted.value), float(np.abs(value).max()))
            assert plan.value == pytest.approx(wanted.value, abs=1e-12 * size)
            assert plan.bound == pytest.approx(wanted.bound, abs=1e-12 * size)
            assert math.fsum(cost[np.arange(len(cost)), plan.treatment].tolist()) <= budget
            assert plan.status is wanted.status
    assert brackets


def test_most_searches_end_in_their_first_bracket(brackets, monkeypatch):
    for seed in range(40):
        rng = np.random.default_rng(seed)
        cost = np.sort(rng.gamma(2.0, 1.0, (2000, 5)), axis=1)
        value = np.sort(rng.gamma(2.0, 1.0, (2000, 5)), axis=1)
        menu = Menu(value=value.astype(np.float32), cost=cost.astype(np.float32))
        budget = float(cost[:, 0].sum() + (0.1 + 0.02 * seed) * (cost[:, -1] - cost[:, 0]).sum())
        plan, wanted = solve(menu, budget), sorted_whole(menu, budget, monkeypatch)
        assert (plan.price, plan.value) == (wanted.price, pytest.approx(wanted.value, rel=1e-14))
        np.testing.assert_array_equal(plan.treatment, wanted.treatment)
    assert brackets.count("everything") == 40, "those of the reference only"
    assert brackets.count("inside") == 40


def test_few_units_are_undecided_and_the_rest_is_summed():
    rng = np.random.default_rng(0)
    cost = np.sort(rng.random((200_000, 4)), axis=1).astype(np.float32)
    value = np.sort(rng.random((200_000, 4)), axis=1).astype(np.float32)
    menu = Menu(value=value, cost=cost)
    budget = 0.5 * float(cost.mean(axis=0).sum()) / 2 * 200_000
    near = search.near(menu, budget)
    assert near.low > 0
    assert 0 < len(near.steps.slope) < 0.15 * 200_000
    rows = np.arange(200_000)
    assert near.spend == pytest.approx(cost[rows, near.steps.start].sum(dtype=float), rel=1e-12)
    assert near.value == pytest.approx(value[rows, near.steps.start].sum(dtype=float), rel=1e-12)
    plan, other = solve(menu, budget), solve(menu, budget, n_threads=2)
    np.testing.assert_array_equal(plan.treatment, other.treatment)
    assert (plan.price, plan.spend, plan.value, plan.bound) == (other.price, other.spend, other.value, other.bound)
    assert 0 <= budget - plan.spend < 1e-3
    assert plan.gap < 1e-3


def test_everyone_alike_breaks_at_one_price():
    n = 120_000
    menu = Menu(value=np.tile([0.0, 1.0, 1.5], (n, 1)), cost=np.tile([0.0, 1.0, 2.0], (n, 1)))
    plan = solve(menu, 0.25 * n)
    assert (plan.price, plan.spend, plan.value) == (1.0, 0.25 * n, 0.25 * n)
    assert plan.counts.tolist() == [90_000, 30_000, 0]
    assert (plan.treatment[:30_000] == 1).all(), "ties keep the order of the units"


def test_rivals_that_tie_give_way_to_the_cheaper_then_to_the_lower_code():
    value, cost = np.array([[1.0, 1.0, 2.0], [1.0, 1.0, 1.0]]), np.array([[3.0, 1.0, 2.0], [3.0, 3.0, 3.0]])
    state, undecided, sums = np.empty(2, np.int32), np.empty(2, np.int32), np.empty(3)
    count = kernels.decide(value.T.copy(), cost.T.copy(), (0, 2), (0.5, 1.0), state, undecided, sums)
    assert state.tolist() == [1, 0]  # at price 1 the second and the third treatment of unit 0 tie
    assert undecided[:count].tolist() == [0]
    assert sums.tolist() == [4.0, 2.0, 5.0]


def test_an_infeasible_budget_of_many_units_names_both_numbers():
    menu = Menu(value=np.ones((120_000, 2)), cost=np.tile([1.0, 2.0], (120_000, 1)))
    with pytest.raises(InfeasibleBudget, match=r"120,?000"):
        solve(menu, 119_999.0)
    assert solve(menu, 120_000.0).price == 0  # a larger budget would add nothing


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", KINDS)
def test_a_grid_of_budgets_is_read_off_the_frontier(kind: str, seed: int, brackets):
    value, cost = repeated(kind, seed)
    menu, rng = Menu(value=value, cost=cost), np.random.default_rng(seed)
    front = frontier(menu)
    low, high = front.spend[[0, -1]]
    budgets = np.append(low + rng.permutation(np.linspace(0.013, 1.3, 17)) * (high - low), np.inf)
    for n_threads in (1, 2):
        optima = grid(menu, budgets, n_threads=n_threads)
        size = max(1e-300, float(np.abs(front.value).max()))
        np.testing.assert_allclose(optima.value, front.value_at(budgets), rtol=0, atol=1e-12 * size)
        if kind != "all_free":
            np.testing.assert_array_equal(optima.price, front.price_at(budgets))


def test_a_grid_needs_two_passes_and_few_increments(brackets, monkeypatch):
    kept: list[int] = []
    grids: Any = sys.modules["largesse.allocate.budget_grid"]
    binned = grids._binned

    def recorded(*given: Any) -> Any:
        bins = binned(*given)
        kept.append(len(bins.kept))
        return bins

    monkeypatch.setattr(grids, "_binned", recorded)
    monkeypatch.setattr(search, "FEW", 2000)
    rng = np.random.default_rng(0)
    cost, value = (np.sort(rng.gamma(2.0, 1.0, (6000, 6)), axis=1) for _ in range(2))
    menu = Menu(value=value, cost=cost)
    front = frontier(menu)
    low, high = front.spend[[0, -1]]
    optima = grid(menu, np.linspace(low, high, 40)[1:-1])
    assert (np.diff(optima.price) < 0).all()
    assert kept[0] == 0
    assert len(kept) == 2
    assert 38 <= kept[1] < 0.1 * len(front.price)
    monkeypatch.setattr(grids, "frontier", None)  # all increments are sorted only where a budget lies on a chord
    np.testing.assert_array_equal(grid(menu, np.linspace(low, high, 40)[1:-1]).price, optima.price)
    with pytest.raises(InfeasibleBudget):
        grid(menu, [high, low / 2])
    with pytest.raises(DataError, match="budgets"):
        grid(menu, [1.0, np.nan])
