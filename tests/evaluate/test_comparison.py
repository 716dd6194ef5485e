"""Comparisons: baselines by their formulas, pairing, coverage on simulated worlds, and what is said in words."""

import numpy as np
import pytest

from largesse.errors import DataError
from largesse.evaluate.bootstrap import (
    Arms,
    arm_means,
    decided_shares,
    row_weights,
)
from largesse.evaluate.comparison import BEST_MIX, NO_ONE, RANDOM_MIX, Bootstrap, compare
from largesse.evaluate.curve import outcome_curve
from largesse.evaluate.full_effect import effect_share
from largesse.evaluate.intervals import centred, ends
from largesse.evaluate.truth import true_value
from largesse.evaluate.untargeted import CLOSE_DIFFERENCE, CoupledMix
from largesse.logs import Logs
from largesse.menu import Menu
from largesse.simulate import criteo_twin, money_off
from tests.reference import argmax_floats

FEW = Bootstrap(draws=60)


def trial(n=3000, seed=0, control_cost=False, **more):
    """Three arms whose effect depends on x, and two policies: one that knows it and one that guesses."""
    rng = np.random.default_rng(seed)
    x, t = rng.normal(size=(n, 2)), rng.integers(0, 3, n)
    chance = 1 / (1 + np.exp(1.5 - 0.6 * t * np.exp(0.6 * x[:, 0])))
    value = (rng.random(n) < chance).astype(float)
    logs = Logs(
        x=x, treatment=t, value=value, cost=value * t + 0.1 * control_cost, control_cost=control_cost,
        treatments=("none", "five", "ten"), **more,
    )  # fmt: skip
    all_ = 1 / (1 + np.exp(1.5 - 0.6 * np.arange(3) * np.exp(0.6 * x[:, :1])))
    names = {"treatments": logs.treatments}
    good = Menu(value=all_, cost=all_ * np.arange(3) + 0.1 * control_cost, **names)
    guess = Menu(value=all_ * np.exp(0.5 * rng.normal(size=all_.shape)), cost=good.cost, **names)
    return logs, {"good": good, "guess": guess}


@pytest.fixture(scope="module")
def table():
    logs, menus = trial()
    return compare(logs, menus, [0.1, 0.3, 0.5, 9.0], bootstrap=FEW)


def test_shapes_and_names(table):
    assert table.names == ("good", "guess", NO_ONE, BEST_MIX, RANDOM_MIX)
    assert table.value.shape == table.low.shape == table.price.shape == table.difference_high.shape == (5, 4)
    assert table.draws.shape == (60, 5, 4)
    assert [arm.name for arm in table.arms] == ["none", "five", "ten"]
    assert (table.reference, table.mix_of, table.notes) == ("good", "good", ())
    rows = table.rows()
    assert len(rows) == 20
    assert (rows[5].name, rows[5].budget, rows[5].value) == ("guess", 0.3, table.value[1, 1])
    assert (table.low <= table.high).all()
    assert np.isnan(table.price[2:]).all()


def test_policies_are_their_outcome_curves(table):
    logs, menus = trial()
    for p, name in enumerate(menus):
        curve = outcome_curve(logs, menus[name])
        np.testing.assert_array_equal(table.value[p], curve.value_at(table.budgets))
        np.testing.assert_array_equal(table.price[p], curve.price_at(table.budgets))
        np.testing.assert_array_equal(table.spend[p], np.minimum(table.budgets, curve.reach[1]))


@pytest.mark.parametrize("estimator", ["ht", "sn", "dr"])
@pytest.mark.parametrize("known", ["observed", "uniform"])
def test_baselines_follow_their_formulas(known, estimator):
    logs, menus = trial(propensity=known)
    outcomes = Menu(value=menus["good"].value * 0.9, cost=menus["good"].cost * 1.1, treatments=logs.treatments)
    budgets = np.array([0.1, 0.3, 0.5])
    kind = {"estimator": estimator, "outcomes": outcomes if estimator == "dr" else None}
    table = compare(logs, menus, budgets, bootstrap=FEW, reference="guess", **kind)
    mean, cost = np.zeros(3), np.zeros(3)
    for j in range(3):
        own = logs.treatment == j
        for got, y, q in ((mean, logs.value, outcomes.value), (cost, logs.cost, outcomes.cost)):
            if estimator == "dr":
                got[j] = q[:, j].mean() + ((y - q[:, j]) * own / logs.propensity).mean()
            elif estimator == "sn":
                got[j] = y[own].mean()
            else:
                got[j] = (y * own / logs.propensity).mean()
    assert [arm.value for arm in table.arms] == pytest.approx(mean, rel=1e-12)
    assert [arm.cost for arm in table.arms] == pytest.approx(cost, rel=1e-9, abs=1e-12)
    np.testing.assert_allclose(table.value[2], mean[0], rtol=1e-12)
    coupled = CoupledMix.of([mean, cost], Arms.of(logs, **kind).covariance(), budgets)
    np.testing.assert_allclose(table.value[3], coupled.value(), rtol=1e-9)
    # the random mix: decisions of the reference at its price, given to anybody
    curve, menu = outcome_curve(logs, menus["guess"], **kind), menus["guess"]
    for b, (low, high, part) in enumerate(zip(*curve.split_at(budgets), strict=True)):
        shares = sum(
            weight * np.bincount(argmax_floats(menu.value, menu.cost, price * (1 + 1e-12)), minlength=3) / logs.n
            for price, weight in ((low, 1 - part), (high, part))
        )
        spend = shares @ cost
        part = min(1.0, (budgets[b] - cost[0]) / (spend - cost[0]))  # to fewer units, where it would cost too much
        assert table.value[4, b] == pytest.approx(mean[0] + part * (shares @ mean - mean[0]), rel=1e-9)
        assert table.spend[4, b] == pytest.approx(min(spend, budgets[b]), rel=1e-9)
    assert table.mix_of == "guess"


def test_a_policy_that_sees_no_difference_is_its_random_mix():
    logs, _ = trial()
    same = Menu(
        value=np.tile([0.0, 1.0, 1.5], (3000, 1)), cost=np.tile([0.0, 1.0, 2.0], (3000, 1)), treatments=logs.treatments
    )
    table = compare(logs, {"blind": same}, [0.1, 0.3, 0.5], bootstrap=FEW)
    np.testing.assert_allclose(table.value[0], table.value[3], rtol=1e-12)
    np.testing.assert_allclose(table.difference[3], 0, atol=1e-12)
    np.testing.assert_allclose(table.difference_low[3], 0, atol=1e-12)


def test_shares_of_decisions_equal_counting():
    logs, menus = trial(500, weight=np.random.default_rng(0).integers(1, 4, 500))
    menu, prices = menus["guess"], np.array([0.0, 0.05, 0.1, 0.3, 5.0])
    shares = decided_shares(menu, logs.weights, prices)
    for price, got in zip(prices, shares, strict=True):
        counted = np.bincount(argmax_floats(menu.value, menu.cost, price), logs.weights, minlength=3)
        np.testing.assert_allclose(got, counted / logs.total_weight, rtol=1e-12, atol=1e-15)


def test_another_reference_needs_no_new_draws(table):
    logs, menus = trial()
    fresh = compare(logs, menus, table.budgets, bootstrap=FEW, reference="guess")
    moved = table.against("guess")
    assert moved.draws is table.draws
    for name in ("difference", "difference_low", "difference_high"):
        np.testing.assert_array_equal(getattr(moved, name)[:4], getattr(fresh, name)[:4])  # the random mix is another's
    np.testing.assert_array_equal(moved.difference[0], -table.difference[1])
    np.testing.assert_allclose(moved.difference_low[0], -table.difference_high[1], atol=1e-12)
    assert (moved.difference[1] == 0).all()
    assert table.against(NO_ONE).difference[2].tolist() == [0] * 4
    itself = table.against(BEST_MIX)
    assert itself.difference_low[3].tolist() == itself.difference_high[3].tolist() == [0] * 4


def test_same_seed_same_intervals(table):
    logs, menus = trial()
    again = compare(logs, menus, table.budgets, bootstrap=FEW)
    np.testing.assert_array_equal(again.draws, table.draws)
    other = compare(logs, menus, table.budgets, bootstrap=Bootstrap(draws=60, seed=1))
    assert (other.draws != table.draws).any()
    np.testing.assert_array_equal(other.value, table.value)


def test_equal_policies_differ_by_nothing_in_every_draw():
    logs, menus = trial()
    table = compare(logs, {"one": menus["good"], "two": menus["good"]}, [0.3], bootstrap=FEW)
    assert (table.difference[1], table.difference_low[1], table.difference_high[1]) == (0, 0, 0)


def test_pairing_makes_differences_of_like_policies_sharp():
    logs, menus = trial()
    near = Menu(value=menus["good"].value * 1.02, cost=menus["good"].cost, treatments=logs.treatments)
    table = compare(logs, {"good": menus["good"], "near": near}, [0.3], bootstrap=Bootstrap(draws=200))
    wide = table.high[0, 0] - table.low[0, 0]
    assert table.difference_high[1, 0] - table.difference_low[1, 0] < 0.4 * wide


def test_budgets_out_of_reach_are_nan_and_named():
    logs, menus = trial(control_cost=True)
    table = compare(logs, menus, [0.05, 0.5], bootstrap=FEW)
    far = [0, 1, 3, 4]
    for cells in (table.value, table.low, table.high, table.spend, table.difference_low):
        assert np.isnan(cells[far, 0]).all()
        assert np.isfinite(cells[:, 1]).all()
    assert np.isfinite(table.value[2]).all()
    assert len(table.notes) == 3
    assert all("spends at least 0.1" in note and note.endswith("at a budget of 0.05.") for note in table.notes)
    assert table.notes[2].startswith(BEST_MIX)


def test_effect_share_is_the_paired_ratio(table):
    share = effect_share(table, "good", 2, full="ten")
    none, ten = table.arms[0], table.arms[2]
    assert share.effect == pytest.approx((table.value[0, 2] - none.value) / (ten.value - none.value))
    assert share.cost == pytest.approx(0.5 / ten.cost)
    drawn = np.array([arm_means(trial()[0], w)[0] for w in row_weights(trial()[0], 60, 0)])
    ratio = (table.draws[:, 0, 2] - drawn[:, 0]) / (drawn[:, 2] - drawn[:, 0])
    assert (share.low, share.high) == pytest.approx(np.quantile(ratio, [0.025, 0.975]), abs=0.04)
    assert effect_share(table, "good", 2) == share
    assert effect_share(table, NO_ONE, 0).effect == 0


def test_a_share_rests_on_the_events_of_its_ratio():
    """At a budget for all: 0/1 outcomes of a policy that treats the first half, against nobody and everybody, by hand."""
    rng = np.random.default_rng(5)
    n, first = 1200, np.arange(1200) < 600
    t = rng.integers(0, 2, n)
    value = (rng.random(n) < 0.1 + 0.2 * t) * 1.0
    logs = Logs(x=np.zeros((n, 1)), treatment=t, value=value, cost=t * 1.0, propensity=np.full(n, 0.5))
    menu = Menu(value=np.column_stack([np.zeros(n), np.where(first, 2.0, -1.0)]), cost=np.tile([0.0, 1.0], (n, 1)))
    share = effect_share(compare(logs, {"half": menu}, [1.0]), "half")
    weighted = 2 * value
    own = weighted * (t == first)
    ratio = own - weighted * (t == 0) - share.effect * (weighted * (t == 1) - weighted * (t == 0))
    assert share.events == pytest.approx(np.abs(ratio).sum() ** 2 / (ratio**2).sum(), rel=1e-6)


def test_no_share_of_an_effect_that_is_not_there():
    rng = np.random.default_rng(0)
    t = np.arange(2000) % 2
    menu = Menu(value=np.tile([0.0, 1.0], (2000, 1)), cost=np.tile([0.0, 1.0], (2000, 1)))
    known = []
    for shift in (-1.0, 0.02):
        logs = Logs(x=np.zeros((2000, 1)), treatment=t, value=rng.normal(size=2000) + shift * t, cost=t * 1.0)
        share = effect_share(compare(logs, {"half": menu}, [0.5], bootstrap=FEW), "half")
        known.append(np.isfinite(share.effect))
        assert (share.low, share.high) == (-np.inf, np.inf) if known[-1] else np.isnan([share.low, share.high]).all()
    assert not known[0]


# Coverage


WORLDS = {  # world, rows of a trial, budgets as parts of the way from the cheapest to the dearest plan
    "money_off": (lambda: money_off(seed=1, n_features=60), 5000, (0.15, 0.35, 0.55)),
    "criteo_twin": (lambda: criteo_twin(seed=1), 20_000, (0.5, 0.6, 0.7)),
}


def coverage(name, trials, units=40_000):
    """Shares of trials whose 95 % interval holds the truth: two policies and their difference, by budget, (3, B)."""
    make, n, parts = WORLDS[name]
    world, rng = make(), np.random.default_rng(0)
    truth = world.truth(world.rct(units, seed=3).x)
    spread = truth.value.std(axis=0) * (world.amounts > 0)
    menus = [
        Menu(
            value=truth.value + noise * spread * rng.standard_normal(truth.value.shape),
            cost=truth.cost,
            treatments=world.treatments,
        )
        for noise in (0.3, 1.0)
    ]
    low = truth.cost.mean(axis=0).min()
    reach = min(float(truth.cost[np.arange(units), menu.value.argmax(axis=1)].mean()) for menu in menus)
    budgets = low + (reach - low) * np.array(parts)
    exact = np.array([true_value(menu, truth, budgets) for menu in menus])
    exact = np.vstack([exact, exact[:1] - exact[1:]])
    planned = dict(zip(world.treatments, world.shares.tolist(), strict=True))
    held = []
    for k in range(trials):
        rng = np.random.default_rng([7, k])
        rows, t = rng.integers(0, units, n), rng.choice(len(world.shares), n, p=world.shares)
        event, more = rng.random((2, n))
        if name == "money_off":
            value = (event < truth.value[rows, t]).astype(float)
            cost = value * world.amounts[t]
        else:
            cost = (event < truth.cost[rows, t]).astype(float)
            value = cost * (more < truth.value[rows, t] / truth.cost[rows, t])
        logs = Logs(
            x=np.zeros((n, 1)), treatment=t, value=value, cost=cost, treatments=world.treatments, propensity=planned,
            control_cost=world.control_cost,
        )  # fmt: skip
        table = compare(
            logs, {name: menu.take(rows) for name, menu in zip("ab", menus, strict=True)}, budgets, reference="b"
        )
        low, high = (np.vstack([own[:2], other[:1]]) for own, other in (
            (table.low, table.difference_low), (table.high, table.difference_high)
        ))  # fmt: skip
        held.append(
            np.where(np.isnan(low), np.nan, (low <= exact) & (exact <= high))
        )  # a budget may be out of a trial's reach
    return np.nanmean(held, axis=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", WORLDS)
def test_intervals_cover(name):
    """93 to 97 % on average over the budgets, for each policy and for the paired difference; 400 trials, so ±2 %."""
    held = coverage(name, trials=400)
    noise = 2 * np.sqrt(0.95 * 0.05 / 400)
    assert (np.abs(held - 0.95) <= 0.02 + noise).all(), held
    assert (np.abs(held.mean(axis=1) - 0.95) <= 0.02 + noise / 2).all(), held


LOGS, MENUS = trial(60)
REFUSED = {
    "no menus": (lambda: compare(LOGS, {}, [1.0]), "menus == {}: at least one policy is needed"),
    "baseline's name": (
        lambda: compare(LOGS, {NO_ONE: MENUS["good"]}, [1.0]),
        "menus == 'no one': that is the name of a baseline",
    ),
    "other rows": (
        lambda: compare(LOGS, {"a": MENUS["good"].take(np.arange(5))}, [1.0]),
        r"menus\['a'\] == .*must have the 60 rows",
    ),
    "reference": (
        lambda: compare(LOGS, MENUS, [1.0], reference="best"),
        "reference == 'best': must be one of 'good', 'guess'",
    ),
    "no budget": (lambda: compare(LOGS, MENUS, []), "budgets.shape == .*must not be empty"),
    "budget nan": (lambda: compare(LOGS, MENUS, [1.0, np.nan]), r"budgets\[1\] == nan: must be a finite number"),
    "budget negative": (lambda: compare(LOGS, MENUS, [-1.0]), r"budgets\[0\] == -1.0: must be >= 0"),
    "estimator": (lambda: compare(LOGS, MENUS, [1.0], estimator="x"), "estimator == 'x': must be one of"),
    "draws": (lambda: Bootstrap(draws=3), "draws == 3: must be a finite number in"),
    "draws whole": (lambda: Bootstrap(draws=50.5), "draws == 50.5: must be a whole number"),
    "level": (lambda: Bootstrap(level=95), "level == 95: must be a finite number in"),
    "seed": (lambda: Bootstrap(seed=-1), "seed == -1: must be a finite number in"),
    "against": (
        lambda: compare(LOGS, MENUS, [1.0], bootstrap=FEW).against("best"),
        "reference == 'best': must be one of",
    ),
    "index": (lambda: compare(LOGS, MENUS, [1.0], bootstrap=FEW).index("best"), "name == 'best': must be one of"),
    "full": (
        lambda: effect_share(compare(LOGS, MENUS, [1.0], bootstrap=FEW), "good", full="20"),
        "full == '20': must be one of",
    ),
    "place": (
        lambda: effect_share(compare(LOGS, MENUS, [1.0], bootstrap=FEW), "good", 1),
        "budget_index == 1: must be",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name):
    act, words = REFUSED[name]
    with pytest.raises(DataError, match=words):
        act()


def test_arm_means_reweight_the_rows():
    logs, _ = trial(300)
    weight = next(row_weights(logs, 1, 0))
    mean, cost = arm_means(logs, weight)
    for j in range(3):
        own = logs.treatment == j
        assert mean[j] == pytest.approx(np.average(logs.value[own], weights=weight[own]))
        assert cost[j] == pytest.approx(np.average(logs.cost[own], weights=weight[own]))


def test_no_mix_without_targeting_beats_the_best_mix_for_its_money():
    logs, menus = trial()
    table = compare(logs, menus, [0.05, 0.1, 0.3, 0.5], bootstrap=FEW).against(BEST_MIX)
    at = table.index(RANDOM_MIX)
    assert not (table.difference_low[at] > 0).any()


def test_the_share_of_the_best_mix_allows_for_its_choice():
    """At either end θ, the interval of part - θ · total touches 0, the variance of the choice included."""
    rng = np.random.default_rng(8)
    n, t = 1500, np.random.default_rng(8).integers(0, 4, 1500)
    value = (rng.random(n) < 0.25 + 0.08 * (t > 0)) * 1.0
    logs = Logs(x=np.zeros((n, 1)), treatment=t, value=value, cost=value * t, propensity="uniform")
    menu = Menu(value=np.tile([0.25, 0.33, 0.33, 0.33], (n, 1)), cost=np.tile(0.33 * np.arange(4), (n, 1)))
    table = compare(logs, {"policy": menu}, [0.2])
    share, made, p = effect_share(table, BEST_MIX, full="1"), table.parts.made, table.index(BEST_MIX)
    assert made.more[p, 0] > 0
    arm = np.zeros((2, 2, 4))
    arm[0, 0, 0] = arm[1, 0, 1] = 1.0
    terms = np.column_stack([made.of(p, 0)[0], made.arms.terms(arm[0]), made.arms.terms(arm[1])])
    own, idle, whole = centred(logs, terms).T
    none, all_ = table.arms[0].value, table.arms[1].value
    for theta, side in ((share.low, 0), (share.high, 1)):
        left = np.array([table.value[p, 0] - none - theta * (all_ - none)])
        psi = (own - idle - theta * (whole - idle))[:, None]
        assert ends(left, psi, 0.95, CLOSE_DIFFERENCE * made.more[p, 0])[0, side] == pytest.approx(0, abs=1e-9)
