"""The rival of the plan is right: its price is the plan's, and its value the outcome curve's."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.speed import world
from benchmarks.suite.rivals import bisect_curve, bisect_plan, steepest
from largesse.allocate import assign, solve
from largesse.evaluate import outcome_curve


@pytest.mark.parametrize("share", [0.05, 0.3, 0.9])
@pytest.mark.parametrize("units", [700, 10_000])
def test_its_price_is_that_of_the_plan(units, share):
    menu, _ = world(units)
    budget = share * float(menu.cost[:, -1].sum(dtype=np.float64))
    price, plan = bisect_plan(menu, budget), solve(menu, budget)
    spend = menu.cost[np.arange(menu.n), assign(menu, price)].sum(dtype=np.float64)
    assert spend <= budget + menu.cost.max()  # its scores are single precision: one increment may change sides
    assert spend == pytest.approx(budget, rel=10 / units)
    assert price == pytest.approx(plan.price, rel=0.02)  # the next increment of so few units may be that far
    assert (assign(menu, steepest(menu) * 1.001) == 0).all()


def test_its_value_is_that_of_the_outcome_curve():
    menu, logs = world(20_000)
    budget = 0.3 * float(menu.cost[:, -1].mean(dtype=np.float64))
    assert bisect_curve(menu, logs, budget) == pytest.approx(
        float(outcome_curve(logs, menu).value_at(budget)), rel=0.02
    )
