"""The outcome curve against decisions taken one price at a time, and against known truth."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from largesse.allocate import assign
from largesse.errors import DataError
from largesse.evaluate.bootstrap import Grid, row_weights, values_at
from largesse.evaluate.curve import outcome_curve
from largesse.evaluate.truth import true_value
from largesse.logs import Logs
from largesse.menu import Menu
from tests.reference import Rows, argmax, eom, eom_at_budgets, eom_curve, kinks

ESTIMATORS = ("ht", "sn", "dr")
ASSIGNMENTS = ("observed", "uniform", "rows", "weighted")


def trial(n=400, m=4, seed=0, known="observed"):
    """A trial with outcomes of any size, a menu and an outcome model that have little to do with it."""
    rng = np.random.default_rng(seed)
    t = np.r_[np.arange(m), rng.integers(0, m, n - m)]
    p = "uniform" if known == "uniform" else None
    if known == "rows":
        chance = rng.dirichlet(np.full(m, 3.0), n)
        t = np.r_[np.arange(m), (chance[m:].cumsum(axis=1) > rng.random((n - m, 1))).argmax(axis=1)]
        p = chance[np.arange(n), t]
    logs = Logs(
        x=rng.normal(size=(n, 1)), treatment=t, value=rng.normal(size=n) + t, cost=t * rng.gamma(2.0, 1.0, n),
        propensity=p, design="obs" if known == "rows" else "rct",
        weight=rng.integers(1, 4, n) if known == "weighted" else None,
    )  # fmt: skip
    menu = Menu(value=np.cumsum(rng.gamma(1.0, 1.0, (n, m)), axis=1), cost=np.arange(m) * rng.gamma(3.0, 1.0, (n, m)))
    outcomes = Menu(value=rng.normal(size=(n, m)), cost=np.arange(m) * rng.random((n, m)))
    return logs, menu, outcomes


def bare(logs):
    return Rows(logs.treatment, logs.value, logs.cost, logs.propensity, logs.weights)


def kind_of(estimator, outcomes):
    return {"estimator": estimator, "outcomes": (outcomes.value, outcomes.cost) if estimator == "dr" else None}


def curve_of(logs, menu, estimator, outcomes):
    return outcome_curve(logs, menu, estimator=estimator, outcomes=outcomes if estimator == "dr" else None)


@pytest.mark.parametrize("known", ASSIGNMENTS)
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_fifty_budgets_equal_bisection(estimator, known):
    for seed in range(3):
        logs, menu, outcomes = trial(seed=seed, known=known)
        curve = curve_of(logs, menu, estimator, outcomes)
        price, value, cost = eom_curve(bare(logs), menu.value, menu.cost, **kind_of(estimator, outcomes))
        assert len(price) > 300
        np.testing.assert_allclose(curve.price, price, rtol=1e-14)
        np.testing.assert_allclose(curve.value, value, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(curve.cost, cost, rtol=1e-12, atol=1e-12)
        low, high = curve.reach
        budgets = np.linspace(low - 0.1 * (high - low), high * 1.1, 50)
        np.testing.assert_allclose(
            curve.value_at(budgets), eom_at_budgets(value, cost, budgets), rtol=1e-12, atol=1e-12
        )


@pytest.mark.parametrize("known", ASSIGNMENTS)
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_every_price_equals_the_decision_at_that_price(estimator, known):
    logs, menu, outcomes = trial(seed=7, known=known)
    curve = curve_of(logs, menu, estimator, outcomes)
    ties = kinks(menu.value, menu.cost)[::40]
    for price in (0.0, *ties, *np.random.default_rng(0).gamma(1.0, 0.5, 30), 1e9):
        # at a tie of two prices the kernel's own slope decides, so the decision is taken from `assign`
        decision = assign(menu, price) if price in ties else argmax(menu.value, menu.cost, price)
        expected = eom(bare(logs), decision, **kind_of(estimator, outcomes))
        np.testing.assert_allclose(curve.at_price(price), expected, rtol=1e-12, atol=1e-12)


def test_ties_in_price_go_to_the_cheaper_and_move_together():
    rng = np.random.default_rng(0)
    logs, _, outcomes = trial(seed=1)
    menu = Menu(value=rng.integers(0, 4, (400, 4)), cost=rng.integers(0, 3, (400, 4)))
    for estimator in ESTIMATORS:
        curve = curve_of(logs, menu, estimator, outcomes)
        assert len(curve.price) <= 8
        for price in (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 9.0):
            expected = eom(bare(logs), argmax(menu.value, menu.cost, price), **kind_of(estimator, outcomes))
            np.testing.assert_allclose(curve.at_price(price), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("arm", range(4))
def test_a_constant_policy_is_worth_its_arms_sample_mean(estimator, arm):
    logs, _, _ = trial(seed=2)
    one = np.zeros((logs.n, 4))
    one[:, arm] = 1
    menu, nothing = Menu(value=one, cost=1 - one), Menu(value=one * 0, cost=one * 0)
    curve = curve_of(logs, menu, estimator, nothing)
    mean = [y[logs.treatment == arm].mean() for y in (logs.value, logs.cost)]
    for price in (0.0, 1.0, 1e6):
        np.testing.assert_allclose(curve.at_price(price), mean, rtol=1e-13)
    assert curve.share.tolist() == pytest.approx([1.0])
    assert curve.reach == pytest.approx((mean[1], mean[1]))


@pytest.mark.parametrize("estimator", ESTIMATORS)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000))
def test_weight_two_is_the_row_twice(estimator, seed):
    logs, menu, outcomes = trial(300, seed=seed, known="weighted")
    rows = np.repeat(np.arange(300), logs.weight.astype(int))
    plain = Logs(x=logs.x, treatment=logs.treatment, value=logs.value, cost=logs.cost)
    once = curve_of(logs, menu, estimator, outcomes)
    twice = curve_of(plain.take(rows), menu.take(rows), estimator, outcomes.take(rows))
    np.testing.assert_allclose(twice.price, once.price)
    np.testing.assert_allclose(twice.value, once.value, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(twice.cost, once.cost, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000))
def test_row_order_does_not_matter(estimator, seed):
    logs, menu, outcomes = trial(300, seed=seed)
    rows = np.random.default_rng(seed).permutation(300)
    once = curve_of(logs, menu, estimator, outcomes)
    moved = curve_of(logs.take(rows), menu.take(rows), estimator, outcomes.take(rows))
    budgets = np.linspace(*once.reach, 20)[1:]
    np.testing.assert_allclose(moved.value_at(budgets), once.value_at(budgets), rtol=1e-9, atol=1e-11)


def test_another_currency_gives_the_same_values():
    logs, menu, _ = trial(seed=3)
    yen = Logs(x=logs.x, treatment=logs.treatment, value=logs.value, cost=logs.cost * 150)
    curve = outcome_curve(logs, menu)
    other = outcome_curve(yen, Menu(value=menu.value, cost=menu.cost * 150))
    budgets = np.linspace(*curve.reach, 20)[1:-1]
    np.testing.assert_allclose(other.value_at(budgets * 150), curve.value_at(budgets), rtol=1e-9)
    np.testing.assert_allclose(other.price_at(budgets * 150) * 150, curve.price_at(budgets), rtol=1e-9)


def test_out_of_reach_is_nan_and_too_much_money_is_left():
    logs, menu, _ = trial(seed=4)
    dear = Menu(value=menu.value, cost=menu.cost + 1, treatments=menu.treatments)
    logs = Logs(x=logs.x, treatment=logs.treatment, value=logs.value, cost=logs.cost + 1, control_cost=True)
    curve = outcome_curve(logs, dear)
    low, high = curve.reach
    assert low > 0.5
    assert np.isnan(curve.value_at(0.9 * low))
    assert np.isnan(curve.price_at(0.9 * low))
    assert curve.value_at(low) == curve.value_at([low])[0]
    assert not np.isnan(curve.value_at(low))
    assert curve.value_at(99 * high) == curve.value_at(high)
    assert curve.price_at(99 * high) == 0


def test_no_money_buys_control():
    for seed in range(20):
        logs, menu, _ = trial(seed=seed)
        curve = outcome_curve(logs, menu)
        control = logs.value[logs.treatment == 0].mean()
        assert curve.at_price(1e9)[0] == pytest.approx(control, rel=1e-12)
        assert curve.at_price(1e9)[1] == 0  # to the last digit: rounding must not put it out of reach
        assert curve.value_at(0.0) == pytest.approx(control, abs=0.1)  # the mean of all prices that sold nothing


def test_the_split_of_a_budget_is_its_value_and_its_price():
    logs, menu, _ = trial(seed=5)
    curve = outcome_curve(logs, menu)
    budgets = np.linspace(*curve.reach, 30)[1:]
    low, high, part = curve.split_at(budgets)
    assert (low <= high).all()
    assert ((part >= 0) & (part <= 1)).all()
    inside = part > 0
    np.testing.assert_array_equal(curve.price_at(budgets)[inside], high[inside])


# Against known truth

SHARES = np.array([0.5, 0.3, 0.2])


def population(n=20_000, seed=0):
    """Exact means of a world where a treatment pays only for some; a menu and an outcome model that err."""
    rng = np.random.default_rng(seed)
    z, u = rng.normal(size=(2, n))
    chance = 1 / (1 + np.exp(1.5 - 0.5 * z[:, None] - np.array([0, 0.6, 1.0]) * np.exp(u[:, None] * 0.5)))
    truth = Menu(value=chance, cost=chance * np.array([0, 1.0, 2.0]))
    menu = Menu(value=chance + 0.05 * rng.normal(size=chance.shape), cost=truth.cost * rng.gamma(20, 0.05, (n, 1)))
    outcomes = Menu(value=np.clip(chance + 0.1, 0, 1), cost=truth.cost * 0.8)
    return truth, menu, outcomes


def draw(truth, n, seed):
    """Rows of a trial in that world, and which units they are."""
    rng = np.random.default_rng([seed, 1])
    units, t = rng.integers(0, truth.n, n), rng.choice(3, n, p=SHARES)
    value = (rng.random(n) < truth.value[units, t]).astype(float)
    planned = {name: float(p) for name, p in zip(truth.treatments, SHARES, strict=True)}
    logs = Logs(x=np.zeros((n, 1)), treatment=t, value=value, cost=value * t, propensity=planned)
    return logs, units


@pytest.mark.parametrize("seed", range(12))
def test_sums_that_cancel_are_0_to_the_last_bit(seed):
    """At a high price nobody is treated, so the value is that of control, 0 here: not 1e-25."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(10, 200))
    t = np.arange(n) % 2
    menu = Menu(
        value=np.column_stack([np.zeros(n), rng.random(n)]), cost=np.column_stack([np.zeros(n), 0.1 + rng.random(n)])
    )
    value, cost = (np.where(t == 1, size, 0.0) for size in (10 ** rng.uniform(-8, 8, n), rng.random(n)))
    logs = Logs(
        x=np.zeros((n, 1)), treatment=t, value=value, cost=cost, weight=0.1 + rng.random(n), propensity="uniform"
    )
    curve = outcome_curve(logs, menu)
    assert curve.value[-1] == 0
    assert curve.cost[-1] == 0
    assert curve.value[0] > 0


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_curve_is_unbiased(estimator):
    truth, menu, outcomes = population()
    budgets, prices = np.array([0.1, 0.2, 0.35, 0.5]), (0.05, 0.15, 0.3)
    exact = true_value(menu, truth, budgets)
    rows = np.arange(truth.n)
    at = np.array([[table[rows, assign(menu, p)].mean() for table in (truth.value, truth.cost)] for p in prices])
    by_budget, by_price = [], []
    for seed in range(600):
        logs, units = draw(truth, 2000, seed)
        curve = curve_of(logs, menu.take(units), estimator, outcomes.take(units))
        by_budget.append(curve.value_at(budgets))
        by_price.append([curve.at_price(p) for p in prices])
    for got, mean in ((np.array(by_budget), exact), (np.array(by_price), at)):
        z = (got.mean(axis=0) - mean) / (got.std(axis=0) / np.sqrt(len(got)))
        assert np.abs(z).max() < 3, z


def test_taking_the_first_crossing_would_be_biased():
    """Why spend is made monotone: at the first price whose cost is within the budget, noise has lowered the value."""
    truth, menu, _ = population()
    budgets = np.array([0.2, 0.35])
    exact, first = true_value(menu, truth, budgets), []
    for seed in range(300):
        logs, units = draw(truth, 2000, seed)
        curve = outcome_curve(logs, menu.take(units))
        first.append([curve.value[np.argmax(curve.cost <= b)] for b in budgets])
    z = (np.mean(first, axis=0) - exact) / (np.std(first, axis=0) / np.sqrt(300))
    assert (z < -2).all(), z


# Bootstrap of the curve


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_draw_is_the_curve_of_reweighted_rows(estimator):
    """Counts as row weights through the plain curve."""
    logs, menu, outcomes = trial(500, seed=6)
    curve = curve_of(logs, menu, estimator, outcomes)
    grid, budgets = Grid.of(curve), np.linspace(*curve.reach, 9)[1:-1]
    weight = next(row_weights(logs, 1, seed=3))
    kept = np.flatnonzero(weight)
    again = Logs(
        x=logs.x[kept], treatment=logs.treatment[kept], value=logs.value[kept], cost=logs.cost[kept],
        weight=weight[kept], propensity=logs.propensity[kept], design="obs",
    )  # fmt: skip
    drawn = curve_of(again, menu.take(kept), estimator, outcomes.take(kept))
    value, cost = grid.draw(weight)
    for got, expected in zip((value, cost), drawn.at_price(grid.price), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-10)
    # pools count every price alike, those at which only left-out rows change too: hence not to the last digit
    np.testing.assert_allclose(values_at(grid, budgets, weight), drawn.value_at(budgets), atol=0.05)


def test_a_coarse_grid_says_the_same():
    logs, menu, _ = trial(4000, seed=8)
    curve = outcome_curve(logs, menu)
    fine, coarse = Grid.of(curve, 10**6), Grid.of(curve, 512)
    assert len(fine.price) > 8 * len(coarse.price)
    ones, budgets = np.ones(4000), np.linspace(*curve.reach, 12)[1:-1]
    np.testing.assert_allclose(values_at(fine, budgets, ones), curve.value_at(budgets), rtol=1e-9)
    np.testing.assert_allclose(values_at(coarse, budgets, ones), curve.value_at(budgets), atol=0.02)


def test_row_weights_are_poisson_and_keep_the_totals():
    logs, _, _ = trial(3000, seed=9)
    draws = np.array(list(row_weights(logs, 200, seed=1)))
    assert draws.mean() == pytest.approx(1)
    assert draws.var() == pytest.approx(1, rel=0.02)
    for j in range(4):
        np.testing.assert_allclose(draws[:, logs.treatment == j].sum(axis=1), logs.arm_rows[j])
    np.testing.assert_array_equal(draws[:20], list(row_weights(logs, 20, seed=1)))
    planned = trial(3000, seed=9, known="uniform")[0]
    np.testing.assert_allclose([w.sum() for w in row_weights(planned, 5, seed=1)], 3000)


LOGS, MENU, OUTCOMES = trial(40)
REFUSED = {
    "estimator": (
        lambda: outcome_curve(LOGS, MENU, estimator="ips"),
        "estimator == 'ips': must be one of 'ht', 'sn', 'dr'",
    ),
    "rows": (lambda: outcome_curve(LOGS, MENU.take(np.arange(3))), "menu == .*must have the 40 rows"),
    "treatments": (
        lambda: outcome_curve(LOGS, Menu(value=MENU.value, cost=MENU.cost, treatments="abcd")),
        "menu == .*treatments",
    ),
    "outcomes missing": (
        lambda: outcome_curve(LOGS, MENU, estimator="dr"),
        "outcomes == None: goes with estimator='dr'",
    ),
    "outcomes unasked": (
        lambda: outcome_curve(LOGS, MENU, outcomes=OUTCOMES),
        "outcomes == .*goes with estimator='dr'",
    ),
    "outcomes' rows": (
        lambda: outcome_curve(LOGS, MENU, estimator="dr", outcomes=OUTCOMES.take(np.arange(3))),
        "outcomes == .*40 rows",
    ),
    "propensity": (
        lambda: outcome_curve(
            Logs(x=LOGS.x, treatment=LOGS.treatment, value=LOGS.value, cost=LOGS.cost, design="obs"), MENU
        ),
        "propensity: unknown",
    ),
    "price": (lambda: outcome_curve(LOGS, MENU).at_price(-1.0), "price == -1.0: must be >= 0"),
    "price nan": (lambda: outcome_curve(LOGS, MENU).at_price([1.0, np.nan]), "price == .*must be >= 0"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name):
    act, words = REFUSED[name]
    with pytest.raises(DataError, match=words):
        act()
