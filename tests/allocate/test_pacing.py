"""Units that arrive one by one, against the best plan in hindsight."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from largesse.allocate import Pacer, frontier, solve
from largesse.errors import DataError, InfeasibleBudget
from largesse.menu import Menu

N = 5000


def arrivals(seed: int, drift: Any = 1.0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    cost, value = (np.sort(rng.gamma(2.0, 1.0, (N, 4)), axis=1) for _ in range(2))
    cost[:, 0] = 0
    return value * rng.random((N, 1)) * drift, cost


def run(pacer: Pacer, value: Any, cost: Any) -> Any:
    return np.array([pacer.decide(v, c) for v, c in zip(value, cost, strict=True)])


T = np.arange(N)[:, None] / N
DRIFTS = {"none": (1.0, 0.97), "up": (0.7 + 0.6 * T, 0.93), "wave": (1 + 0.4 * np.sin(4 * np.pi * T), 0.93),
          "jump": (np.where(T < 0.5, 0.7, 1.3), 0.93)}  # fmt: skip


@pytest.mark.parametrize("drift", DRIFTS)
def test_it_is_near_the_best_plan_in_hindsight_and_within_the_budget(drift: str):
    scale, bar = DRIFTS[drift]
    value, cost = arrivals(1, scale)
    budget = 0.2 * float(cost[:, -1].sum())
    pacer = Pacer(budget, N)
    taken = run(pacer, value, cost)
    rows = np.arange(N)
    assert value[rows, taken].sum() >= bar * solve(Menu(value=value, cost=cost), budget).value
    assert math.fsum(cost[rows, taken]) <= budget
    assert pacer.spent == pytest.approx(math.fsum(cost[rows, taken]), rel=1e-15)
    assert pacer.spent >= 0.98 * budget
    assert pacer.decided == N


def test_the_last_coin_is_never_spent_twice():
    for seed in range(5):
        value, cost = arrivals(seed)
        cost = np.round(cost, 1) + 0.1 * (cost > 0)
        budget = float(cost[:40, 1].sum())
        pacer = Pacer(budget, 60)  # many more units arrive than the horizon
        taken = run(pacer, value[:400], cost[:400])
        assert math.fsum(cost[np.arange(400), taken]) <= budget


def test_with_a_history_the_first_price_is_that_of_the_plan():
    value, cost = arrivals(2)
    menu = Menu(value=value[:2000], cost=cost[:2000])
    pacer = Pacer(0.5 * N, N, history=menu)
    assert pacer.price == frontier(menu).price_at(0.5 * 2000)
    assert Pacer(1e9, N, history=menu).price == 0


def test_a_budget_may_change_on_the_way():
    value, cost = arrivals(3)
    pacer = Pacer(0.2 * N, N)
    run(pacer, value[: N // 2], cost[: N // 2])
    before = pacer.price
    pacer.change(budget=0.4 * N)
    assert pacer.price < before
    run(pacer, value[N // 2 :], cost[N // 2 :])
    assert 0.39 * N <= pacer.spent <= 0.4 * N
    with pytest.raises(DataError, match="budget.*spent already"):
        pacer.change(budget=0.1)
    with pytest.raises(DataError, match="horizon.*decided already"):
        pacer.change(horizon=10)


def test_a_treatment_that_is_too_dear_is_not_given():
    pacer = Pacer(1.0, 1)
    assert pacer.decide([0.0, 3.0, 9.0], [0.0, 1.0, 5.0]) == 1
    assert pacer.decide([0.0, 9.0, 9.0], [0.0, 1.0, 5.0]) == 0
    assert pacer.left == 0
    with pytest.raises(InfeasibleBudget):
        pacer.decide([1.0, 1.0, 1.0], [1.0, 1.0, 1.0])
    assert (pacer.decided, pacer.spent) == (2, 1.0), "who is refused is not counted"


def test_input_that_makes_no_sense_is_refused():
    for given in ({"budget": -1.0, "horizon": 5}, {"budget": np.nan, "horizon": 5}, {"budget": 1.0, "horizon": 0}):
        with pytest.raises(DataError):
            Pacer(**given)
    pacer = Pacer(1.0, 5)
    pacer.decide([0.0, 1.0], [0.0, 1.0])
    for value, cost in (([0.0], [0.0]), ([0.0, 1.0], [0.0]), ([0.0, np.nan], [0.0, 1.0]), ([0.0, 1.0], [0.0, -1.0])):
        with pytest.raises(DataError):
            pacer.decide(value, cost)
    assert pacer.decided == 1
