"""A policy given by its decisions at budgets is evaluated as the same policy given by a menu."""

from __future__ import annotations

import numpy as np
import pytest

from largesse.allocate.price_intervals import assign
from largesse.errors import DataError
from largesse.evaluate import Bootstrap, compare, outcome_curve
from largesse.evaluate.paths import DecisionPath, falling
from largesse.menu import Menu
from tests.common.worlds import orders


def both(n: int = 900, prices: int = 12):
    logs = orders(n, m=3, seed=3)
    rng = np.random.default_rng(5)
    menu = Menu(
        value=np.cumsum(rng.random((n, 3)), axis=1), cost=np.tile([0.0, 1.0, 2.0], (n, 1)), treatments=logs.treatments
    )
    price = np.append(np.linspace(1.0, 0.05, prices - 1), 0.0)
    return (
        logs,
        menu,
        DecisionPath(decided=np.stack([assign(menu, p) for p in price]), price=price, treatments=logs.treatments),
    )


def test_value_and_cost_are_those_of_the_menu_at_every_price_of_the_path():
    logs, menu, path = both()
    along, of_menu = outcome_curve(logs, path), outcome_curve(logs, menu)
    np.testing.assert_allclose(along.at_price(path.price), of_menu.at_price(path.price), rtol=1e-12)
    w = logs.inverse_propensity
    for k, decided in enumerate(path.decided):
        by_hand = (w * (decided == logs.treatment) * logs.value).sum() / logs.n
        assert along.at_price(path.price[k])[0] == pytest.approx(by_hand, rel=1e-12)


def test_rows_count_in_the_value_as_their_decisions_say():
    logs, _, path = both()
    curve = outcome_curve(logs, path)
    least, most = curve.reach
    budgets = np.linspace(least, most, 7)
    matched = curve.matched(budgets)
    w = logs.inverse_propensity
    np.testing.assert_allclose(matched @ (w * logs.value) / logs.n, curve.value_at(budgets), rtol=1e-9)
    np.testing.assert_allclose(matched @ (w * logs.cost) / logs.n, budgets, rtol=1e-9, atol=1e-12)


def test_a_comparison_has_the_intervals_that_the_rows_give():
    logs, menu, path = both(3000)
    budgets = [outcome_curve(logs, path).at_price(path.price[k])[1] for k in (4, 7)]
    tables = [compare(logs, {"one": one}, budgets, bootstrap=Bootstrap(draws=50)) for one in (path, menu)]
    np.testing.assert_allclose(tables[0].value[0], tables[1].value[0], rtol=0.03)
    widths = [table.high[0] - table.low[0] for table in tables]
    np.testing.assert_allclose(*widths, rtol=0.1)
    np.testing.assert_allclose(tables[0].parts.mix.sum(axis=1), 1.0)
    np.testing.assert_allclose(tables[0].parts.mix, tables[1].parts.mix, atol=0.05)
    assert np.isfinite(tables[0].draws[:, 0]).all()


def test_prices_fall():
    np.testing.assert_allclose(
        falling(np.array([3.0, 3.0, 3.5, 1.0, 0.0, 0.0])), [3.5, 3.5, 3.5, 1.0, 0.0, 0.0], atol=1e-7
    )
    assert (np.diff(falling(np.array([3.0, 3.0, 3.5, 1.0, 0.0, 0.0]))) < 0).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"price": [1.0, 1.0]}, "fall strictly"),
        ({"price": [1.0, 0.5]}, "fall strictly, to 0"),
        ({"price": [0.0]}, "one row of decisions for each price"),
        ({"decided": [[0, 3], [0, 0]]}, "codes in 0..1"),
    ],
)
def test_a_path_that_is_none_is_refused(change, words):
    with pytest.raises(DataError, match=words):
        DecisionPath(**{"decided": [[0, 1], [1, 1]], "price": [1.0, 0.0], "treatments": ("none", "coupon")} | change)


def test_it_has_no_doubly_robust_value():
    logs, menu, path = both()
    with pytest.raises(DataError, match="needs a menu, not decisions"):
        outcome_curve(logs, path, estimator="dr", outcomes=menu)
