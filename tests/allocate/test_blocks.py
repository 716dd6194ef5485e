"""The plan of units in blocks equals that of all units in one menu, for any blocks."""

from __future__ import annotations

import math
import pickle
import sys
from typing import Any

import numpy as np
import pytest

from largesse.allocate import solve
from largesse.allocate.blocks import Block, BlockPlan, Decide, Reach, drawn, solve_blocks
from largesse.errors import DataError, InfeasibleBudget
from largesse.menu import Menu
from tests.common.menus import BUDGETS, KINDS, SEEDS, repeated

solving: Any = sys.modules["largesse.allocate.blocks"]


class Blocks:
    """Blocks of a menu that record the tasks; tasks are pickled, as they would be for another machine."""

    def __init__(self, menu: Menu, sizes: Any, numbers: Any = None) -> None:
        ends = np.cumsum(sizes)
        assert ends[-1] == menu.n
        starts = ends - sizes
        firsts = starts if numbers is None else numbers
        self.blocks = [
            Block.of(menu.take(np.arange(a, b)), int(first)) for a, b, first in zip(starts, ends, firsts, strict=True)
        ]
        self.tasks: list[Any] = []

    def __call__(self, task: Any) -> list[Any]:
        self.tasks.append(task)
        sent = task if task is solving.drawn else pickle.loads(pickle.dumps(task))
        return [sent(block) for block in self.blocks]

    def treatment(self, plan: BlockPlan) -> Any:
        return np.concatenate([plan.of(block) for block in self.blocks])


def cut(n: int, rng: np.random.Generator) -> Any:
    ends = np.unique(np.append(rng.integers(1, n + 1, rng.integers(0, 6)), n))
    return np.diff(ends, prepend=0)


@pytest.fixture(params=["all", "few"])
def sampled(request, monkeypatch):
    """Brackets from all units, or from so few that they miss the price."""
    if request.param == "few":
        monkeypatch.setattr(solving, "_SHARE", 1 / 64)
        monkeypatch.setattr(solving, "_LEAST", 6)
    return request.param


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_plan_of_one_menu(kind: str, seed: int, sampled: str):
    value, cost = repeated(kind, seed)
    rng = np.random.default_rng(seed)
    for name, draw in BUDGETS.items():
        budget = draw(rng, value, cost)
        menu = Menu(value=value, cost=cost)
        wanted = solve(menu, budget)
        run = Blocks(menu, cut(menu.n, rng))
        plan = solve_blocks(run, budget)
        assert plan.price == wanted.price, name
        assert run.treatment(plan).tolist() == wanted.treatment.tolist(), name
        size = max(1.0, abs(wanted.value), float(np.abs(value).max()))
        assert plan.value == pytest.approx(wanted.value, abs=1e-12 * size)
        assert plan.spend == pytest.approx(wanted.spend, rel=1e-14)
        assert plan.bound == pytest.approx(wanted.bound, abs=1e-12 * size)
        assert math.fsum(cost[np.arange(len(cost)), wanted.treatment].tolist()) <= budget
        assert plan.status is wanted.status
        assert plan.counts.tolist() == wanted.counts.tolist()
        assert plan.n == menu.n


@pytest.mark.parametrize("seed", range(60))
def test_a_budget_that_is_short_by_the_last_bit_is_obeyed(seed: int):
    """Running sums of rounded differences would say that everything fits but the dear increment of unit 0."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 6))
    base, more = (rng.random(n) * 10 ** rng.uniform(-2, 2, n) for _ in range(2))
    cost = np.stack([base, base + more], axis=1)
    cost[0, 1] = base[0] + 1000
    value = np.stack([np.zeros(n), (cost[:, 1] - base) * rng.random(n)], axis=1)
    value[0, 1] = 5000
    short = np.nextafter(math.fsum([base[0], *cost[1:, 1]]), 0)
    menu = Menu(value=value, cost=cost)
    plan, run = solve(menu, short), Blocks(menu, [n])
    assert run.treatment(solve_blocks(run, short)).tolist() == plan.treatment.tolist()
    assert math.fsum(cost[np.arange(n), plan.treatment].tolist()) <= short
    assert 0 < plan.counts[1] < n - 1 or n == 2


def smooth(n: int = 4000, seed: int = 0) -> Menu:
    rng = np.random.default_rng(seed)
    cost, value = (np.sort(rng.gamma(2.0, 1.0, (n, 5)), axis=1).astype(np.float32) for _ in range(2))
    return Menu(value=value, cost=cost)


def budget_of(menu: Menu, share: float) -> float:
    low, high = menu.cost[:, 0].sum(dtype=float), menu.cost[:, -1].sum(dtype=float)
    return float(low + share * (high - low))


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6])
def test_three_passes_are_enough(share):
    menu = smooth()
    run = Blocks(menu, [1000, 2500, 500])
    solve_blocks(run, budget_of(menu, share))
    assert run.tasks[0] is drawn
    assert [type(task) for task in run.tasks[1:]] == [Decide, Reach]


def test_a_bracket_that_misses_is_widened(monkeypatch):
    menu = smooth()
    budget = budget_of(menu, 0.3)

    def dearer(block):
        """Its units would spend the budget at a higher price."""
        sample = drawn(block)
        return sample._replace(cost=sample.cost * 1.5)

    monkeypatch.setattr(solving, "drawn", dearer)
    run = Blocks(menu, [1500, 2500])
    plan = solve_blocks(run, budget)
    assert run.treatment(plan).tolist() == solve(menu, budget).treatment.tolist()
    assert sum(isinstance(task, Decide) for task in run.tasks) > 1


def test_numbers_of_units_may_have_gaps():
    menu = smooth(900)
    budget = budget_of(menu, 0.2)
    run = Blocks(menu, [300, 200, 400], numbers=[0, 1 << 40, 5 << 40])
    assert run.treatment(solve_blocks(run, budget)).tolist() == solve(menu, budget).treatment.tolist()


def test_empty_blocks_are_no_matter():
    menu = smooth(500)
    run = Blocks(menu, [500])
    run.blocks.append(Block(500, np.zeros((5, 0), np.float32), np.zeros((5, 0), np.float32)))
    assert solve_blocks(run, budget_of(menu, 0.4)).n == 500


def test_no_limit_and_no_money():
    menu = smooth(300)
    run = Blocks(menu, [100, 200])
    free = solve_blocks(run, np.inf)
    assert free.price == 0
    assert free.budget == np.inf
    assert run.treatment(free).tolist() == solve(menu, np.inf).treatment.tolist()
    floor = math.fsum(menu.cost.min(axis=1).astype(float).tolist())
    assert solve_blocks(run, floor).spend == floor
    with pytest.raises(InfeasibleBudget, match="the cheapest plan costs"):
        solve_blocks(run, floor * 0.999)


@pytest.mark.parametrize("budget", [np.nan, "a lot", -np.inf])
def test_budgets_that_are_none(budget):
    with pytest.raises(DataError, match="budget"):
        solve_blocks(Blocks(smooth(20), [20]), budget)


def test_no_units_at_all():
    with pytest.raises(DataError, match="units == 0: at least one is needed"):
        solve_blocks(lambda task: [task(Block(0, np.zeros((2, 0)), np.zeros((2, 0))))], 1.0)
