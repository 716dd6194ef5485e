"""Policies: the safety statement by simulation, correction of biased menus, exact round trips, wording of refusals."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

import largesse
from largesse import store
from largesse.allocate import assign, price_plan, solve
from largesse.allocate.blocks import Block, in_blocks
from largesse.errors import DataError, InfeasibleBudget, NotFittedError, SchemaError, StoreError
from largesse.evaluate.curve import outcome_curve
from largesse.frames import Encoder, Roles
from largesse.logs import Logs
from largesse.menu import Menu
from largesse.models.decision.dfcl import DFCL
from largesse.models.decision.losses import PPL
from largesse.models.decision.residual import DecisionResidual
from largesse.models.factors.dhcl import DPM
from largesse.models.nets.full_batch import FullBatch
from largesse.models.nets.minibatch import Schedule
from largesse.models.two_stage.calibrated import Calibrated
from largesse.models.two_stage.corrected import Corrected
from largesse.models.two_stage.lightgbm import Boosting
from largesse.models.two_stage.mlp import MLP
from largesse.policy import Policy, PriceCurve, realised
from largesse.policy.descent import descend

AMOUNTS = np.array([0.0, 1.0, 2.0, 4.0])  # paid if there is an order


def people(rng, n, shift=0.0):
    """Features (appetite, response, the model's own error) and the true P(order) of each arm."""
    x = rng.normal(size=(n, 3)) + np.array([shift, 0, 0])
    p = 1 / (1 + np.exp(2.2 - 0.6 * x[:, :1])) + np.array([0, 0.04, 0.08, 0.11]) * np.exp(0.5 * x[:, 1:2])
    return x, np.clip(p, 0, 0.95)


def exact(x, p):
    return Menu(value=p, cost=AMOUNTS * p)


def cursed(x, p):
    """Gains too large and costs too small for the same units, which are therefore the ones picked."""
    off = np.exp(0.6 * x[:, 2:])
    return Menu(value=p[:, :1] + (p - p[:, :1]) * off, cost=0.7 * AMOUNTS * p / off)


def trial(rng, n, **columns):
    x, p = people(rng, n)
    t = rng.integers(0, 4, n)
    order = (rng.random(n) < p[np.arange(n), t]).astype(float)
    return (
        x,
        p,
        Logs(**{"x": x, "treatment": t, "value": order, "cost": AMOUNTS[t] * order, "propensity": "uniform"} | columns),
    )


def campaign(rng, p, treatment):
    """Money and orders of one campaign."""
    order = rng.random(len(p)) < p[np.arange(len(p)), treatment]
    return (AMOUNTS[treatment] * order).sum(), order.sum()


def expected(p, treatment):
    return (AMOUNTS[treatment] * p[np.arange(len(p)), treatment]).sum()


@pytest.fixture(scope="module")
def large():
    """Exact and cursed curves from many rows, and a new population."""
    rng = np.random.default_rng(1)
    x, p, logs = trial(rng, 60_000)
    curves = {make: PriceCurve.calibrate(make(x, p), logs, draws=40) for make in (exact, cursed)}
    return curves, people(rng, 40_000)


# ---- the price of many units


@pytest.mark.parametrize("safety", [None, 0.95])
@pytest.mark.parametrize("share", [0.01, 0.05, 0.12, 0.3, 0.9])
@pytest.mark.parametrize("make", [exact, cursed])
def test_the_price_in_blocks_is_near_that_of_every_corner(large, make, share, safety):
    curves, (x, p) = large
    menu, budget = make(x, p), share * len(x)
    every = curves[make].spend_curve(menu)
    found = descend(curves[make], in_blocks(menu), budget, safety)
    price = every.price_for(budget, safety)
    assert found.n == len(x)
    wanted, got = every.at(price, 1.6), found.spend_curve.at(found.price, 1.6)
    assert got.mean == pytest.approx(wanted.mean, rel=2e-3)
    assert got.high == pytest.approx(wanted.high, rel=2e-3)
    spends = price_plan(menu, found.price).spend
    assert spends == pytest.approx(price_plan(menu, price).spend, rel=2e-3)
    limit = found.spend_curve.mean if safety is None else found.spend_curve.bound(1.6448536269514722)
    assert limit[np.searchsorted(found.spend_curve.price, found.price)] <= budget
    assert (np.diff(found.spend_curve.mean) <= 1e-9).all()
    assert (np.diff(found.spend_curve.price) > 0).all()


def test_the_price_does_not_depend_on_the_blocks(large, monkeypatch):
    curves, (x, p) = large
    menu, budget = cursed(x, p), 0.1 * len(x)
    wanted = descend(curves[cursed], in_blocks(menu), budget, 0.9).price
    monkeypatch.setattr("largesse.allocate.blocks.BLOCK", 777)
    assert descend(curves[cursed], in_blocks(menu), budget, 0.9).price == wanted


def test_other_numbers_of_the_units_change_the_spend_little(large):
    curves, (x, p) = large
    menu, budget = cursed(x, p), 0.1 * len(x)
    parts = [Block.of(menu.take(np.arange(k, k + 10_000)), k << 40) for k in range(0, len(x), 10_000)]
    for safety in (None, 0.9):
        here = descend(curves[cursed], in_blocks(menu), budget, safety).price
        there = descend(curves[cursed], lambda task: [task(part) for part in parts], budget, safety).price
        spends = [price_plan(menu, price).spend for price in (here, there)]
        assert spends[0] == pytest.approx(spends[1], rel=2e-3)


def test_few_units_have_every_corner_looked_at(large):
    curves, _ = large
    x, p = people(np.random.default_rng(5), 300)
    menu = cursed(x, p)
    every = curves[cursed].spend_curve(menu)
    for share in (0.0, 0.01, 0.1, 0.5, 5.0):
        found = descend(curves[cursed], in_blocks(menu), share * 300, None)
        assert (
            price_plan(menu, found.price).treatment.tolist()
            == price_plan(menu, every.price_for(share * 300, None)).treatment.tolist()
        )


def test_units_that_cost_nothing_have_a_price_too(large):
    curves, _ = large
    menu = Menu(value=np.zeros((50, 4)), cost=np.zeros((50, 4)))
    assert descend(curves[exact], in_blocks(menu), 0.0, None).price == 0
    dear = Menu(value=np.zeros((50, 4)), cost=np.ones((50, 4)))
    with pytest.raises(InfeasibleBudget):
        descend(curves[exact], in_blocks(dear), 1.0, None)


# ---- the safety statement


@pytest.mark.slow
def test_safety_is_kept_and_without_it_every_second_campaign_overspends():
    trials, new, head = 300, 5000, 0.12
    kept, plain, intervals = np.zeros(trials, bool), np.zeros(trials, bool), np.zeros((trials, 2), bool)
    used = np.zeros(trials)
    for k in range(trials):
        rng = np.random.default_rng([7, k])
        x, p, logs = trial(rng, 3000)
        curve = PriceCurve.calibrate(cursed(x, p), logs, draws=40, seed=k)
        x, p = people(rng, new)
        menu, budget = cursed(x, p), head * new
        spend_curve = curve.spend_curve(menu)
        free, safe = price_plan(menu, spend_curve.price_for(budget, None)), spend_curve.price_for(budget, 0.95)
        spent, orders = campaign(rng, p, free.treatment)
        spend, value = spend_curve.at(free.price, 1.645), curve.value_at(free)
        plain[k], intervals[k] = spent <= budget, (spend.low <= spent <= spend.high, value.low <= orders <= value.high)
        safe_spent, _ = campaign(rng, p, assign(menu, safe))
        kept[k], used[k] = safe_spent <= budget, safe_spent / budget
        assert safe >= free.price
    assert kept.mean() >= 0.93
    assert used.mean() > 0.7  # safety is not bought by spending nothing
    assert 0.4 <= plain.mean() <= 0.6
    assert (intervals.mean(axis=0) >= 0.87).all()  # two ends of 95 % each


def test_the_menu_itself_would_overspend(large):
    curves, (x, p) = large
    menu, budget = cursed(x, p), 0.12 * len(x)
    assert expected(p, solve(menu, budget).treatment) > 2 * budget
    price = curves[cursed].price_for(menu, budget)
    assert expected(p, assign(menu, price)) == pytest.approx(budget, rel=0.1)


# ---- kappa


@pytest.mark.parametrize("head", [0.02, 0.1, 0.3, 0.6])
def test_the_budget_is_spent_where_the_menu_is_exact(large, head):
    curves, (x, p) = large
    menu, budget = exact(x, p), head * len(x)
    found = curves[exact].spend_at(menu, curves[exact].price_for(menu, budget))
    assert expected(p, assign(menu, curves[exact].price_for(menu, budget))) == pytest.approx(budget, rel=0.1)
    assert found.mean == pytest.approx(budget, rel=0.02)
    assert found.low < found.mean < found.high


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_costs_off_by_a_factor_are_corrected_exactly(factor):
    rng = np.random.default_rng(2)
    x, p, logs = trial(rng, 4000)
    menu = exact(x, p)
    off = replace(menu, cost=factor * menu.cost)
    a, b = (PriceCurve.calibrate(m, logs, draws=30) for m in (menu, off))
    assert b.cost.base == pytest.approx(a.cost.base / factor)
    np.testing.assert_allclose(b.price * factor, a.price)
    np.testing.assert_allclose(b.spend_per_head, a.spend_per_head, atol=1e-12)
    for safety in (None, 0.95):
        price = a.price_for(menu, 400.0, safety=safety)
        assert b.price_for(off, 400.0, safety=safety) * factor == pytest.approx(price)


def test_exact_costs_leave_no_doubt_about_the_spend():
    rng = np.random.default_rng(3)
    _, p, logs = trial(rng, 4000)
    logs = replace(logs, cost=AMOUNTS[logs.treatment], propensity="uniform")  # paid on contact
    menu = Menu(value=p, cost=np.tile(AMOUNTS, (4000, 1)))
    curve = PriceCurve.calibrate(menu, logs, draws=30)
    price = curve.price_for(menu, 2000.0, safety=0.95)
    spend = curve.spend_at(menu, price)
    assert spend.low == pytest.approx(spend.mean)
    assert spend.high == pytest.approx(spend.mean)
    assert spend.mean == pytest.approx(expected(np.ones_like(p), assign(menu, price)))
    assert 2000 - 4 <= spend.mean <= 2000


def test_another_population_gets_its_own_price(large):
    curves, _ = large
    x, p = people(np.random.default_rng(4), 30_000, shift=1.0)  # people who order anyway: a gain costs more
    menu, budget = exact(x, p), 0.3 * len(x)
    price = curves[exact].price_for(menu, budget)
    assert expected(p, assign(menu, price)) == pytest.approx(budget, rel=0.05)
    stale = curves[exact].price_per_head(0.3)
    assert expected(p, assign(menu, stale)) < 0.9 * budget  # the old price would leave money over


def test_the_curve_is_the_outcome_curve_with_less_noise():
    rng = np.random.default_rng(5)
    x, p, logs = trial(rng, 20_000)
    menu = cursed(x, p)
    curve = PriceCurve.calibrate(menu, logs, draws=30)
    value, cost = outcome_curve(logs, menu).at_price(curve.price)
    assert len(curve.price) <= 256
    assert curve.price[0] == 0
    np.testing.assert_allclose(curve.spend_per_head, cost, atol=0.06)
    np.testing.assert_allclose(curve.value_per_head, value, atol=0.02)
    assert (np.diff(curve.spend_per_head) <= 0).all()


def test_spend_and_prices_are_monotone():
    for seed in range(5):
        rng = np.random.default_rng(seed)
        x, p, logs = trial(rng, 400)
        curve = PriceCurve.calibrate(cursed(x, p), logs, draws=20)
        menu = cursed(*people(rng, 300))
        spend_curve = curve.spend_curve(menu)
        assert (np.diff(spend_curve.price) > 0).all()
        assert (np.diff(spend_curve.mean) <= 0).all()
        budgets = np.linspace(0, 2 * spend_curve.mean[0], 60)
        for safety in (None, 0.5, 0.8, 0.95):
            prices = [curve.price_for(menu, b, safety=safety) for b in budgets]
            assert (np.diff(prices) <= 0).all()
        per_head = [curve.price_per_head(b) for b in budgets / menu.n]
        assert (np.diff(per_head) <= 0).all()
        levels = [curve.price_for(menu, budgets[20], safety=s) for s in (0.5, 0.8, 0.95, 0.99)]
        assert (np.diff(levels) >= 0).all()


def test_per_head_and_total_agree_on_the_calibration_rows():
    rng = np.random.default_rng(6)
    x, p, logs = trial(rng, 20_000)
    menu = exact(x, p)
    curve = PriceCurve.calibrate(menu, logs, draws=30)
    for head in (0.05, 0.2, 0.5):
        assert curve.price_per_head(head) == pytest.approx(curve.price_for(menu, head * logs.n), rel=0.06)
    assert curve.price_per_head(0.2, safety=0.95, n=1000) > curve.price_per_head(0.2, safety=0.95, n=100_000)


def test_weight_two_is_the_row_twice():
    rng = np.random.default_rng(8)
    x, p, logs = trial(rng, 1500)
    weight = rng.integers(1, 3, logs.n)
    twice = np.repeat(np.arange(logs.n), weight)
    menu = cursed(x, p)
    a = PriceCurve.calibrate(menu, replace(logs, weight=weight.astype(float), propensity="uniform"), draws=20)
    b = PriceCurve.calibrate(menu.take(twice), logs.take(twice), draws=20)
    assert a.cost.base == pytest.approx(b.cost.base)
    assert a.value_per_head[0] == pytest.approx(b.value_per_head[0])
    assert a.units == b.units


def test_same_seed_same_curve_and_inputs_unchanged():
    rng = np.random.default_rng(9)
    x, p, logs = trial(rng, 1000)
    menu = cursed(x, p)
    before = menu.value.copy(), menu.cost.copy()
    a, b, c = (PriceCurve.calibrate(menu, logs, draws=20, seed=s) for s in (0, 0, 1))
    np.testing.assert_array_equal(a.cost.standard_error, b.cost.standard_error)
    assert not np.array_equal(a.cost.standard_error, c.cost.standard_error)
    np.testing.assert_array_equal(a.cost.residual, c.cost.residual)
    np.testing.assert_array_equal(menu.value, before[0])
    np.testing.assert_array_equal(menu.cost, before[1])


# ---- ends of the range


def test_a_budget_that_does_not_bind_has_price_zero(large):
    curves, (x, p) = large
    menu = exact(x, p)
    assert curves[exact].price_for(menu, np.inf) == 0
    assert curves[exact].price_for(menu, 100.0 * len(x), safety=0.95) == 0


def test_nothing_to_spend_treats_nobody(large):
    curves, (x, p) = large
    menu = exact(x, p)
    for safety in (None, 0.95):
        price = curves[exact].price_for(menu, 0.0, safety=safety)
        assert (assign(menu, price) == 0).all()


def test_a_budget_below_what_control_costs_is_refused_and_says_which():
    rng = np.random.default_rng(10)
    _, p, logs = trial(rng, 3000)
    logs = replace(logs, cost=logs.cost + 1.0, control_cost=True, propensity="uniform")
    menu = Menu(value=p, cost=AMOUNTS * p + 0.5)
    curve = PriceCurve.calibrate(menu, logs, draws=30)
    assert curve.price_for(menu, 3300.0) < np.inf
    with pytest.raises(InfeasibleBudget, match="budget == 2000: the cheapest plan costs (29|30)") as error:
        curve.price_for(menu, 2000.0)
    assert "its expected spend" in error.value.__notes__[0]
    with pytest.raises(InfeasibleBudget) as error:
        curve.price_for(menu, 2000.0, safety=0.95)
    assert "its upper 95 % bound of spend" in error.value.__notes__[0]
    assert error.value.cheapest > 3000


def test_one_unit_and_units_that_no_price_moves(large):
    curves, _ = large
    for menu in (
        exact(*people(np.random.default_rng(0), 1)),
        Menu(value=np.zeros((2, 4)), cost=np.tile(AMOUNTS, (2, 1))),
    ):
        for safety in (None, 0.95):
            price = curves[exact].price_for(menu, 0.1, safety=safety)
            assert curves[exact].spend_at(menu, price).mean <= 0.1


def test_refusals():
    rng = np.random.default_rng(11)
    x, p, logs = trial(rng, 500)
    menu = exact(x, p)
    with pytest.raises(DataError, match="the logs have 500 rows"):
        PriceCurve.calibrate(menu.take(np.arange(10)), logs)
    with pytest.raises(DataError, match="draws == 3: must be a whole number >= 20"):
        PriceCurve.calibrate(menu, logs, draws=3)
    with pytest.raises(DataError, match="propensity: unknown"):
        PriceCurve.calibrate(menu, replace(logs, design="obs", propensity=None))
    with pytest.raises(
        DataError, match=r"trial rows cost 0 per unit, the menu predicts .* Give the logs their cost column"
    ):
        PriceCurve.calibrate(menu, replace(logs, cost=0 * logs.cost, propensity="uniform"))
    with pytest.raises(DataError, match="the menu predicts 0; both must be > 0"):
        PriceCurve.calibrate(replace(menu, cost=0 * menu.cost), logs)
    curve = PriceCurve.calibrate(menu, logs, draws=20)
    with pytest.raises(DataError, match="menu.treatments"):
        curve.price_for(Menu(value=p[:, :2], cost=p[:, :2]), 3.0)
    with pytest.raises(DataError, match=r"budget == nan: must be a finite number"):
        curve.price_for(menu, np.nan)
    with pytest.raises(DataError, match=r"safety == 0.2: must be a finite number in \[0.5, 0.9999\]"):
        curve.price_for(menu, 30.0, safety=0.2)
    with pytest.raises(DataError, match="price == -1"):
        curve.spend_at(menu, -1)
    with pytest.raises(InfeasibleBudget):
        curve.price_for(menu, -1.0)


# ---- planned against realised


def test_realised_agrees_with_the_outcome_curve_and_covers_the_truth():
    rng = np.random.default_rng(12)
    x, p, logs = trial(rng, 60_000)
    curve = PriceCurve.calibrate(cursed(x, p), logs, draws=30)
    x, p, test = trial(rng, 30_000)
    menu, budgets = cursed(x, p), np.array([0.3, 0.05, 0.15, 0.3])
    table = realised(curve, test, menu, budgets, level=0.999)
    np.testing.assert_array_equal(table.budget, budgets)
    value, cost = outcome_curve(test, menu).at_price(table.price)
    np.testing.assert_allclose(table.cost, cost)
    np.testing.assert_allclose(table.value, value)
    truth = [expected(p, assign(menu, price)) / len(x) for price in table.price]
    assert ((table.cost_low <= truth) & (truth <= table.cost_high)).all()
    assert ((table.value_low < table.value) & (table.value < table.value_high)).all()
    assert (table.planned_cost < 0.7 * budgets).all()  # the menu thinks it spends far less
    np.testing.assert_allclose(truth, budgets, rtol=0.15)
    safe = realised(curve, test, menu, 0.15, safety=0.95)
    assert safe.price.shape == (1,)
    assert safe.price[0] > table.price[2]


# ---- the policy


def learners():
    quick = Schedule(epochs=2, batch=256, least=1)
    mlp = MLP(hidden=(8, 4), members=2, schedule=quick, on_step=lambda *a: None)
    boost = Boosting(rounds=5, params={"num_leaves": 4})
    return {
        "mlp": mlp,
        "mlp published": MLP.published(hidden=(8,), schedule=quick),
        "boosting S": boost,
        "boosting T": Boosting(rounds=5, strategy="T"),
        "calibrated mlp": Calibrated(MLP(hidden=(8,), members=1, schedule=quick)),
        "calibrated boosting": Calibrated(boost),
        "steps": DPM(hidden=(8,), members=2, training=FullBatch(steps=15)),
        "tuned": DFCL(mlp, decision=PPL(budgets=(0.2,)), shrinkage_weight=0.5, schedule=quick),
        "steered by trees": DecisionResidual(boost, by="trees", shrinkage_weight=1.0),
        "steered by a network": DecisionResidual(
            Calibrated(boost), by="network", shrinkage_weight=0.25, schedule=quick
        ),
        "calibrated corrected": Calibrated(Corrected(Boosting(rounds=3), rounds=8)),
    }


OUTCOMES = {
    "orders": lambda logs: logs,
    "visits": lambda logs: replace(logs, cost=(logs.cost > 0).astype(float), propensity="uniform"),
    "revenue": lambda logs: replace(
        logs, value=logs.value * np.exp(logs.x[:, 0]), cost=logs.cost * np.exp(logs.x[:, 1]), propensity="uniform"
    ),
}


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("name", learners())
def test_a_saved_policy_decides_alike_to_the_last_bit(tmp_path, name, outcome):
    rng = np.random.default_rng(13)
    fit, calibration = (OUTCOMES[outcome](trial(rng, 800)[2]) for _ in range(2))
    model = learners()[name].fit(fit)
    policy = Policy.calibrated(model, calibration, draws=20)
    policy.save(tmp_path / "policy")
    again = Policy.load(tmp_path / "policy")
    x = people(rng, 300)[0].astype(np.float32)
    a, b = policy.menu(x), again.menu(x)
    np.testing.assert_array_equal(a.value, b.value)
    np.testing.assert_array_equal(a.cost, b.cost)
    assert a.value.dtype == b.value.dtype
    assert a.treatments == b.treatments
    for safety in (None, 0.9):
        one, two = (which.allocate(x, 60.0, safety=safety) for which in (policy, again))
        np.testing.assert_array_equal(one.plan.treatment, two.plan.treatment)
        assert (one.price, one.spend, one.value) == (two.price, two.spend, two.value)
    assert not list((tmp_path / "policy").rglob("*.pkl"))
    again.save(tmp_path / "again")
    for file in ("manifest.json", "arrays.safetensors"):
        assert (tmp_path / "policy" / file).read_bytes() == (tmp_path / "again" / file).read_bytes()


@pytest.fixture(scope="module")
def tabular():
    """A policy that reads tables."""
    rng = np.random.default_rng(14)
    x, p, _ = trial(rng, 4000)
    t = rng.integers(0, 4, len(x))
    order = (rng.random(len(x)) < p[np.arange(len(x)), t]).astype(float)
    table = {f"x{k}": x[:, k] for k in range(3)} | {"user": np.arange(len(x))}
    roles = Roles(treatment="arm", value="order", cost="paid", unit="user")
    encoder = Encoder.fit(table, ["x0", "x1", "x2"], treatments=("0", "1", "2", "3"))
    logs = Logs(
        x=encoder.transform(table), treatment=t, value=order, cost=AMOUNTS[t] * order, features=encoder.names,
        treatments=encoder.treatments,
    )  # fmt: skip
    fit, calibration = logs.split(1, 1)
    policy = Policy.calibrated(Boosting(rounds=20).fit(fit), calibration, encoder=encoder, roles=roles, draws=30)
    return policy, table, calibration


def test_allocation_says_what_it_will_spend(tabular):
    policy, table, _ = tabular
    found = policy.allocate(table, 600.0, safety=0.95)
    assert found.n == found.plan.n == 4000
    assert found.spend.high <= found.budget == 600
    assert found.spend.low < found.spend.mean < found.spend.high
    assert found.value.low < found.value.mean < found.value.high
    assert found.planned_spend == found.plan.spend
    assert found.price > 0
    np.testing.assert_array_equal(found.plan.unit, table["user"])
    others = np.arange(len(table["user"])) + 7  # ids that are given stand before those of the table
    np.testing.assert_array_equal(policy.menu(table, unit=others).unit, others)
    np.testing.assert_array_equal(policy.decide(table, found.price), found.plan.treatment)
    menu = policy.menu(table)
    same = policy.allocate(menu, 600.0, safety=0.95, unit=[f"u{k}" for k in range(menu.n)])
    np.testing.assert_array_equal(same.plan.treatment, found.plan.treatment)
    assert same.plan.unit[1] == "u1"
    free = policy.allocate(table, 600.0)
    assert free.safety is None
    assert free.spend.mean <= 600 < free.spend.high
    assert free.price <= found.price
    rich = policy.allocate(table, np.inf)
    assert rich.price == 0


def test_encoder_and_roles_come_back(tmp_path, tabular):
    policy, table, calibration = tabular
    policy.save(tmp_path / "p")
    again = Policy.load(tmp_path / "p")
    assert again.roles == policy.roles
    assert again.encoder == policy.encoder
    np.testing.assert_array_equal(again.allocate(table, 500.0).plan.unit, table["user"])
    a, b = (which.realised(calibration, [0.1, 0.2]) for which in (policy, again))
    np.testing.assert_array_equal(a.value_high, b.value_high)


def test_a_table_without_an_encoder_is_refused(tabular):
    policy, table, _ = tabular
    with pytest.raises(DataError, match="this policy has no encoder"):
        replace(policy, encoder=None).menu(table)


# ---- what cannot be saved or loaded


class Secret(Boosting):
    """A learner of the user's own."""


def test_models_without_a_saved_form_are_refused_before_anything_is_written(tmp_path, tabular):
    policy, _, calibration = tabular
    own = Secret(rounds=2).fit(calibration)
    for model in (own, Calibrated(Secret(rounds=2)).fit(calibration)):
        with pytest.raises(StoreError, match="model Secret: has no saved form without pickle, only MLP, Boosting"):
            replace(policy, model=model).save(tmp_path / "p")
    odd = Boosting(rounds=2).fit(calibration)
    with pytest.raises(StoreError, match="model parameter .*has no saved form"):
        replace(policy, model=odd.set_params(params={"metric": print})).save(tmp_path / "p")
    with pytest.raises(NotFittedError, match="Boosting: not fitted"):
        replace(policy, model=Boosting()).save(tmp_path / "p")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_kept_unless_told(tmp_path, tabular):
    policy, _, _ = tabular
    policy.save(tmp_path / "p")
    with pytest.raises(StoreError, match="exists already"):
        policy.save(tmp_path / "p")
    policy.save(tmp_path / "p", replace=True)
    Policy.load(tmp_path / "p")


def edited(path, change):
    manifest = json.loads((path / "manifest.json").read_text())
    change(manifest["settings"], manifest)
    manifest["settings_sha256"] = store._digest(manifest["settings"])  # as somebody would who knows the format
    (path / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s, m: m.update(kind="run"), "holds a run, not a policy"),
        (lambda s, m: m.update(format=99, package="9.9"), "pip install -U largesse"),
        (lambda s, m: s["model"].update(recipe={"os.system": {}}), "saved model 'os.system': this version reads MLP"),
        (lambda s, m: s["model"].update(recipe={"Boosting": {"depth": 3}}), "is damaged.*Save the policy again"),
        (lambda s, m: s["model"]["state"].update(trees={}), "is damaged"),
        (lambda s, m: s["model"]["state"]["trees"].update(value=["tree\nversion=v4\n"]), "is damaged"),
        (lambda s, m: s.pop("encoder"), "is damaged"),
        (lambda s, m: s["encoder"].pop("columns"), "encoder state: is damaged"),
        (lambda s, m: s["curve"].pop("base"), "is damaged"),
        (lambda s, m: s["roles"].update(treatment=""), "is damaged"),
    ],
)
def test_a_damaged_policy_is_refused_in_words(tmp_path, tabular, change, words):
    tabular[0].save(tmp_path / "p")
    edited(tmp_path / "p", change)
    with pytest.raises(StoreError, match=words):
        Policy.load(tmp_path / "p")


def test_weights_of_another_width_are_refused_when_loaded_and_not_when_used(tmp_path):
    _, _, logs = trial(np.random.default_rng(15), 600)
    table = {f"x{k}": column for k, column in enumerate(logs.x.T)} | {"arm": logs.treatment, "y": logs.value}
    encoder = Encoder.fit(pa.table(table), [f"x{k}" for k in range(logs.x.shape[1])])
    policy = Policy.calibrated(learners()["mlp"].fit(logs), logs, encoder=encoder, draws=20)
    policy.save(tmp_path / "p")
    Policy.load(tmp_path / "p")
    edited(tmp_path / "p", lambda s, m: s["encoder"]["columns"].pop())
    with pytest.raises(StoreError, match="is damaged"):
        Policy.load(tmp_path / "p")


def test_why_a_state_is_damaged_is_said_without_names_of_exceptions(tmp_path):
    _, _, logs = trial(np.random.default_rng(15), 600)
    policy = Policy.calibrated(learners()["mlp"].fit(logs), logs, draws=20)
    for k, change in enumerate(
        (lambda s: s.pop("model"), lambda s: s.update(curve=5), lambda s: s["model"].update(state=None, recipe=[]))
    ):
        policy.save(tmp_path / f"p{k}")
        edited(tmp_path / f"p{k}", lambda s, m, change=change: change(s))
        with pytest.raises(StoreError, match="is damaged") as refused:
            Policy.load(tmp_path / f"p{k}")
        assert "Error" not in str(refused.value)


def test_missing_weights_of_a_network_are_refused(tmp_path):
    _, _, logs = trial(np.random.default_rng(15), 600)
    policy = Policy.calibrated(learners()["mlp"].fit(logs), logs, draws=20)
    policy.save(tmp_path / "p")
    edited(
        tmp_path / "p",
        lambda s, m: (
            s["model"]["recipe"]["MLP"].update(hidden={"tuple": [8, 5]}) or s["model"]["state"].update(hidden=[8, 5])
        ),
    )
    with pytest.raises(StoreError, match="is damaged"):
        Policy.load(tmp_path / "p")


def test_what_is_brought_is_the_true_gain_over_control():
    """A menu whose gains are too large: over 40 calibrations the expected gain is the true one, within 3 standard errors."""
    off, rng = [], np.random.default_rng(5)
    x, p = people(rng, 4000)
    menu, at = cursed(x, p), np.arange(4000)
    for _ in range(40):
        xs, ps, logs = trial(rng, 4000)
        done = Policy(model=Boosting(), curve=PriceCurve.calibrate(cursed(xs, ps), logs, draws=40)).allocate(
            menu, 300.0
        )
        assert done.brought is not None
        assert done.brought.net is None
        assert done.brought.cost == pytest.approx(done.spend.mean)
        t = done.plan.treatment
        off.append(done.brought.value - (p[at, t] - p[:, 0]).sum())
    promised = (menu.value[at, t] - menu.value[:, 0]).sum() - (p[at, t] - p[:, 0]).sum()
    error = np.std(off, ddof=1) / np.sqrt(len(off))
    assert abs(np.mean(off)) < 3 * error
    assert promised > 6 * error


def test_ids_are_a_column_by_its_name_or_an_array():
    table = pa.table({
        "x": np.random.default_rng(0).random(900), "t": np.arange(900) % 2,
        "y": np.random.default_rng(1).random(900), "c": np.arange(900) % 2 * 1.0,
    })  # fmt: skip
    rows = largesse.read(table, treatment="t", value="y", cost="c")
    policy = Policy.calibrated(Boosting().fit(rows), rows)
    users = table.select(["x"]).append_column("user", pa.array([f"{k:04d}" for k in range(900)]))
    by_name = policy.allocate(users, 100.0, unit="user").plan
    by_array = policy.allocate(users, 100.0, unit=np.array([f"{k:04d}" for k in range(900)])).plan
    np.testing.assert_array_equal(by_name.unit, by_array.unit)
    np.testing.assert_array_equal(by_name.treatment, by_array.treatment)
    with pytest.raises(DataError, match=r"unit == 'user': names a column, and the data has none"):
        policy.allocate(policy.menu(users), 100.0, unit="user")
    with pytest.raises(SchemaError, match="who"):
        policy.allocate(users, 100.0, unit="who")
