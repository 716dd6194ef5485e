"""Simulated worlds: exact means, randomised trials, biased logs, and settings with their documented effects."""

from __future__ import annotations

from dataclasses import fields
from math import inf, nan

import numpy as np
import pytest
from scipy.special import ndtr

from largesse import errors
from largesse.logs import Logs
from largesse.simulate import Difficulty, Hybrid, World, criteo_twin, discount, hybrid, money_off
from largesse.simulate.responses import confounded_probit
from largesse.simulate.surface import FORMS, Surface
from largesse.simulate.worlds import _Difficulty

MAKERS = {"money_off": money_off, "discount": discount, "criteo_twin": criteo_twin}
SMALL = {"money_off": {"n_features": 60}, "discount": {"n_features": 60}, "criteo_twin": {}}


@pytest.fixture(scope="module", params=sorted(MAKERS))
def world(request: pytest.FixtureRequest) -> World:
    return MAKERS[request.param](seed=2, confounding=0.8, **SMALL[request.param])


@pytest.fixture(scope="module")
def trial(world: World) -> Logs:
    return world.rct(60_000, seed=5)


def z_scores(got: np.ndarray, mean: np.ndarray, groups: np.ndarray, variance: np.ndarray | None = None) -> np.ndarray:
    """z of the sum of (got - mean) in every group; the variance is the group's own unless given by row."""
    gap, out = got - mean, []
    for g in np.unique(groups):
        rows = groups == g
        spread = gap[rows].var() if variance is None else variance[rows].mean()
        out.append(gap[rows].mean() / np.sqrt(spread / rows.sum()))
    return np.array(out)


def propensity(world: World, x: np.ndarray) -> np.ndarray:
    """The past policy's P(j | x), (N, M): the confounder integrated out by 40-point Gauss-Hermite quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    policy = world.past_policy
    score = policy.score(world.population.covariates(x))
    parts = [w * policy.propensities(score, float(u)) for u, w in zip(nodes, weights / weights.sum(), strict=True)]
    return np.sum(parts, axis=0)


def test_worlds_have_their_treatments_and_features() -> None:
    worlds = {name: make(seed=0) for name, make in MAKERS.items()}
    assert {k: (len(w.treatments), len(w.features)) for k, w in worlds.items()} == {
        "money_off": (8, 180), "discount": (5, 192), "criteo_twin": (2, 12),
    }  # fmt: skip
    assert worlds["money_off"].amounts.tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert worlds["discount"].amounts.tolist() == [0, 0.05, 0.1, 0.15, 0.2]
    assert worlds["criteo_twin"].features == tuple(f"f{k}" for k in range(12))


def test_exact_means_match_the_trial_in_every_arm_and_stratum(world: World, trial: Logs) -> None:
    menu, rows = world.truth(trial.x), np.arange(trial.n)
    for got, exact in ((trial.value, menu.value), (trial.cost, menu.cost)):
        mean = exact[rows, trial.treatment]
        halves = mean > np.array([np.median(exact[:, j]) for j in range(trial.n_treatments)])[trial.treatment]
        free = mean == 0  # control, where it costs nothing
        assert (got[free] == 0).all()
        variance = mean * (1 - mean) if world.name == "criteo_twin" else None  # few conversions in a half
        groups = 2 * trial.treatment + halves
        z = z_scores(got[~free], mean[~free], groups[~free], variance)
        assert np.abs(z).max() < 4
        assert np.square(z).mean() < 2.5


@pytest.mark.parametrize("name", sorted(MAKERS))
def test_exact_means_match_many_draws_of_one_unit(name: str) -> None:
    world = MAKERS[name](seed=1, confounding=1.2, noise=1.3, **SMALL[name])
    x = np.repeat(world.rct(200, seed=0).x[[7]], 400_000, axis=0)
    rng = np.random.default_rng(0)
    r = np.repeat(world.population.covariates(x[:1]), len(x), axis=0)
    menu = world.truth(x[:1])
    for j in (0, len(world.treatments) - 1):
        value, cost = world.response.draw(r, np.full(len(x), j), rng.standard_normal(len(x)), rng)
        for got, exact in ((value, menu.value[0, j]), (cost, menu.cost[0, j])):
            assert abs(got.mean() - exact) <= 4.5 * got.std() / np.sqrt(len(x)) + 1e-12


def test_confounding_leaves_the_truth_of_binary_outcomes_alone() -> None:
    calm, stirred = (money_off(seed=4, n_features=50, confounding=c) for c in (0.0, 2.0))
    x = calm.rct(500, seed=0).x
    np.testing.assert_allclose(calm.truth(x).value, stirred.truth(x).value, atol=1e-12)


def test_the_confounder_moves_outcomes_and_the_past_policy_but_not_the_trial() -> None:
    world = money_off(seed=4, n_features=50, confounding=1.0)
    x = world.rct(4000, seed=0).x
    policy, score = world.past_policy, world.past_policy.score(world.population.covariates(x))
    top_low, top_high = (policy.propensities(score, u)[:, -1].mean() for u in (-1.0, 1.0))
    assert top_high > top_low + 0.1
    r, t = world.population.covariates(x), np.full(4000, 3)
    low, high = (world.response.draw(r, t, np.full(4000, u), np.random.default_rng(0))[0].mean() for u in (-1.0, 1.0))
    assert high > low + 0.1


def test_trial_shares(world: World, trial: Logs) -> None:
    expected = trial.n * world.shares
    chi_square = ((trial.arm_rows - expected) ** 2 / expected).sum()
    assert chi_square < 30
    assert trial.design == "rct"
    assert trial.assignment == "shares"
    np.testing.assert_allclose(trial.propensity, world.shares[trial.treatment])


def test_trial_treatment_is_independent_of_features(trial: Logs) -> None:
    top = trial.treatment == trial.n_treatments - 1
    spread = trial.x.std(axis=0) * np.sqrt(1 / top.sum() + 1 / (~top).sum())
    z = (trial.x[top].mean(axis=0) - trial.x[~top].mean(axis=0)) / np.maximum(spread, 1e-9)
    assert np.abs(z).max() < 4.5


def test_cost_rule_holds_row_by_row(world: World, trial: Logs) -> None:
    for rows in (trial, world.obs(20_000, seed=1)):
        if world.name == "criteo_twin":
            assert set(np.unique(rows.cost)) == {0.0, 1.0}
            assert (rows.value <= rows.cost).all()  # a conversion needs a visit
            assert rows.control_cost
            assert rows.cost[rows.treatment == 0].mean() > 0.01
        else:
            np.testing.assert_array_equal(rows.cost, world.amounts[rows.treatment] * rows.value)
            assert (rows.cost[rows.treatment == 0] == 0).all()
    if world.name != "criteo_twin":
        menu = world.truth(trial.x[:100])
        np.testing.assert_allclose(menu.cost, menu.value * world.amounts)


@pytest.mark.parametrize("seed", [0, 1])
def test_criteo_twin_rates(seed: int) -> None:
    rows = criteo_twin(seed=seed).rct(300_000, seed=1)
    assert (rows.treatment == 1).mean() == pytest.approx(0.85, abs=0.003)
    assert rows.cost.mean() == pytest.approx(0.0470, abs=0.002)
    assert rows.value.mean() == pytest.approx(0.0029, abs=0.0004)


def test_criteo_twin_return_is_in_the_unit_interval_and_differs() -> None:
    world = criteo_twin(seed=3)
    menu = world.truth(world.rct(20_000, seed=0).x)
    lift = (menu.value[:, 1] - menu.value[:, 0], menu.cost[:, 1] - menu.cost[:, 0])
    assert 0.05 < lift[0].mean() / lift[1].mean() < 0.2
    touched = lift[1] > 1e-6
    returns = lift[0][touched] / lift[1][touched]
    assert (returns > 0).all()
    assert (returns < 1).all()
    assert returns.std() > 0.05


def test_overall_rates_of_the_ordered_worlds() -> None:
    orders = money_off(seed=6, n_features=60).rct(50_000, seed=1)
    assert orders.value.mean() == pytest.approx(0.2, abs=0.01)
    baskets = discount(seed=6, n_features=60).rct(100_000, seed=1).value
    assert (baskets > 0).mean() == pytest.approx(0.2, abs=0.01)
    paid = baskets[baskets > 0]
    assert paid.mean() == pytest.approx(40, rel=0.06)
    assert np.quantile(paid, 0.99) > 4 * paid.mean()  # heavy tail


def test_first_rows_do_not_depend_on_the_number_of_rows(world: World) -> None:
    for draw in (world.rct, world.obs):
        short, long = draw(3000, seed=9), draw(20_000, seed=9)
        for field in ("x", "treatment", "value", "cost"):
            np.testing.assert_array_equal(getattr(short, field), getattr(long, field)[:3000])


def test_same_seed_same_rows_another_seed_other_rows(world: World) -> None:
    again = MAKERS[world.name](seed=2, confounding=0.8, **SMALL[world.name])
    first, second, other = world.rct(2000, seed=1), again.rct(2000, seed=1), world.rct(2000, seed=2)
    np.testing.assert_array_equal(first.x, second.x)
    np.testing.assert_array_equal(first.value, second.value)
    assert not np.array_equal(first.x, other.x)
    assert not np.array_equal(first.x, world.obs(2000, seed=1).x)
    drawn = world.rct(2000, seed=np.random.default_rng(1))
    np.testing.assert_array_equal(drawn.x, world.rct(2000, seed=np.random.default_rng(1)).x)


def test_another_world_seed_is_another_world(world: World) -> None:
    other = MAKERS[world.name](seed=3, confounding=0.8, **SMALL[world.name])
    x = world.rct(2000, seed=1).x
    a, b = world.truth(x).value[:, -1], other.truth(x).value[:, -1]
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.9


def test_no_selection_and_no_confounding_is_a_trial(world: World) -> None:
    fair = MAKERS[world.name](seed=2, selection=0.0, confounding=0.0, **SMALL[world.name])
    rows = fair.obs(20_000, seed=1)
    np.testing.assert_allclose(propensity(fair, rows.x), np.tile(fair.shares, (rows.n, 1)), atol=1e-12)
    assert rows.design == "obs"
    assert rows.propensity is None


def test_full_overlap_is_a_trial_too() -> None:
    world = money_off(seed=2, n_features=50, overlap=1.0)
    np.testing.assert_allclose(propensity(world, world.obs(2000, seed=1).x), 1 / 8, atol=1e-12)


def test_stronger_selection_separates_and_overlap_keeps_a_floor() -> None:
    worlds = [money_off(seed=2, n_features=50, selection=s, overlap=0.2) for s in (0.3, 1.0, 3.0)]
    x = worlds[0].rct(3000, seed=0).x
    p = [propensity(w, x) for w in worlds]
    spreads = [q.std(axis=0).mean() for q in p]
    assert spreads == sorted(spreads)
    assert min(q.min() for q in p) >= 0.2 / 8 - 1e-12
    np.testing.assert_allclose([q.sum(axis=1) for q in p], 1.0)


def test_propensity_given_features_matches_the_log(world: World) -> None:
    rows = world.obs(60_000, seed=3)
    p = propensity(world, rows.x)
    top = rows.n_treatments - 1
    decile = np.searchsorted(np.quantile(p[:, top], np.arange(0.1, 1, 0.1)), p[:, top])
    assert np.abs(z_scores((rows.treatment == top).astype(float), p[:, top], decile)).max() < 4.5


def test_propensities_with_the_confounder_make_the_past_policy_unbiased_and_features_alone_do_not() -> None:
    world, n = money_off(seed=2, n_features=60, confounding=1.0, overlap=0.3), 100_000
    rng = np.random.default_rng(3)
    x, u = world.population.draw(rng, n), rng.standard_normal(n)
    r, policy = world.population.covariates(x), world.past_policy
    p = policy.propensities(policy.score(r), u)
    t = (rng.random(n)[:, None] >= np.cumsum(p, axis=1)[:, :-1]).sum(axis=1)
    value, _ = world.response.draw(r, t, u, rng)
    top = t == 7
    truth = world.truth(x[:30_000]).value[:, 7].mean()
    terms = top * value / p[:, 7]
    assert abs(terms.mean() - truth) < 4.5 * terms.std() / np.sqrt(n) + 0.003
    blind = (top * value / propensity(world, x)[:, 7]).mean()
    assert blind > truth + 0.02
    assert value[top].mean() > truth + 0.05  # the naive mean is worse still


def test_noise_flattens_the_signal() -> None:
    quiet, loud = (money_off(seed=5, n_features=50, noise=v) for v in (0.7, 2.0))
    x = quiet.rct(3000, seed=0).x
    assert quiet.truth(x).value.std() > 1.5 * loud.truth(x).value.std()
    assert loud.truth(x).value.mean() == pytest.approx(0.2, abs=0.02)


def best_arm_mix(value: np.ndarray, cost: np.ndarray, budget: float) -> float:
    v, c = value.mean(axis=0), cost.mean(axis=0)
    pairs = [(i, j) for i in range(len(v)) for j in range(len(v)) if c[i] <= budget < c[j]]
    return max(v[i] + (v[j] - v[i]) * (budget - c[i]) / (c[j] - c[i]) for i, j in pairs)


def best_plan(value: np.ndarray, cost: np.ndarray, budget: float) -> float:
    rows, low, high = np.arange(len(value)), 1e-9, 1e6
    for _ in range(60):
        price = np.sqrt(low * high)
        plan = (value - price * cost).argmax(axis=1)
        low, high = (price, high) if cost[rows, plan].mean() > budget else (low, price)
    return value[rows, (value - high * cost).argmax(axis=1)].mean()


@pytest.mark.parametrize("name", sorted(MAKERS))
@pytest.mark.parametrize("seed", [0, 1])
def test_targeting_pays(name: str, seed: int) -> None:
    world = MAKERS[name](seed=seed)
    menu = world.truth(world.rct(10_000, seed=1).x)
    value, cost = menu.value - menu.value[:, :1], menu.cost - menu.cost[:, :1]
    full = cost[:, -1].mean()
    ratios = [best_plan(value, cost, s * full) / best_arm_mix(value, cost, s * full) for s in (0.1, 0.25, 0.5, 0.75)]
    assert ratios == sorted(ratios, reverse=True)
    assert 1.7 < ratios[0] < 2.9
    assert 1.3 < ratios[1] < 2.2
    assert ratios[3] > 1.05


def test_naive_arm_means_of_the_log_are_biased() -> None:
    world = money_off(seed=0, n_features=60)
    rows = world.obs(40_000, seed=1)
    naive = rows.value[rows.treatment == 7].mean() - rows.value[rows.treatment == 0].mean()
    menu = world.truth(rows.x)
    assert naive > 1.5 * (menu.value[:, 7] - menu.value[:, 0]).mean()


def test_features_are_of_many_kinds_and_some_correlate() -> None:
    x = money_off(seed=0).rct(8000, seed=1).x
    assert x.dtype == np.float32
    assert np.isfinite(x).all()
    kinds = np.array([len(np.unique(column)) for column in x.T])
    assert (kinds == 2).sum() > 15  # flags
    assert ((kinds > 2) & (kinds <= 6)).sum() > 10  # ordinals
    assert (kinds > 4000).sum() > 60
    correlation = np.corrcoef(x[:, kinds > 4000].T) - np.eye((kinds > 4000).sum())
    assert np.abs(correlation).max() > 0.4
    assert np.median(np.abs(correlation)) < 0.1


def test_surface_is_standardised_and_uses_every_form() -> None:
    rng = np.random.default_rng(0)
    r = rng.standard_normal((20_000, 20)).astype(np.float32)
    surface = Surface.random(rng, r, 14)
    assert {term.form for term in surface.terms} == set(FORMS)
    assert surface(r).std() == pytest.approx(1, abs=1e-3)
    assert surface(r).mean() == pytest.approx(0, abs=1e-3)
    old = surface.perturbed(rng, r)
    assert 0.2 < np.corrcoef(surface(r), old(r))[0, 1] < 0.98


def test_the_confounder_averages_out_of_the_probit() -> None:
    u = np.random.default_rng(0).standard_normal(1_000_000)
    for index, g in ((-1.0, 0.5), (0.4, 2.0)):
        assert confounded_probit(np.full(len(u), index), g, u).mean() == pytest.approx(ndtr(index), abs=2e-3)


def test_hybrid_has_the_published_shares() -> None:
    parts = hybrid(criteo_twin(seed=0), 100_000, seed=1)
    assert isinstance(parts, Hybrid)
    assert parts.obs.design == "obs"
    assert parts.obs.propensity is None
    assert parts.obs.n / 100_000 == pytest.approx(0.25, abs=0.01)
    trials = (parts.rct, parts.validation, parts.test)
    assert [p.n / 100_000 for p in trials] == pytest.approx([0.05, 0.10, 0.30], abs=1e-3)
    for part in trials:
        assert part.design == "rct"
        assert (part.treatment == 1).mean() == pytest.approx(0.85, abs=0.01)
    means = [parts.obs.x[parts.obs.treatment == j].mean(axis=0) for j in (0, 1)]
    assert np.abs((means[1] - means[0]) / parts.obs.x.std(axis=0)).max() > 0.2  # selected, not random


def test_hybrid_of_several_arms_keeps_one_row_in_m() -> None:
    logs = money_off(seed=0, n_features=40).rct(20_000, seed=1)
    parts = hybrid(logs)
    assert parts.obs.n / logs.n == pytest.approx(0.5 / 8, abs=0.01)
    again = hybrid(logs)
    np.testing.assert_array_equal(parts.obs.value, again.obs.value)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: money_off(noise=0.0), "noise == 0.0: must be a finite number in"),
        (lambda: money_off(overlap=1.5), "overlap == 1.5"),
        (lambda: discount(n_features=10), "n_features == 10"),
        (lambda: criteo_twin(seed=-1), "seed == -1"),
        (lambda: criteo_twin().rct(0), "n == 0"),
        (lambda: criteo_twin().truth(np.zeros((2, 3))), "this world has 12 features"),
        (lambda: hybrid(criteo_twin().obs(5000)), "the split needs a trial"),
        (lambda: hybrid(criteo_twin().rct(5000), 10), "the number of rows is that of the logs"),
    ],
)
def test_refusals(call: object, words: str) -> None:
    with pytest.raises(errors.DataError, match=words):
        call()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("selection", 0, 10), ("confounding", 0, 5), ("noise", 0.1, 10), ("overlap", 0, 1), ("rate", 0.005, 0.8)],
)
def test_the_ends_of_a_range_are_allowed_and_nothing_beyond(name: str, low: float, high: float) -> None:
    settings: dict[str, float] = {"selection": 1.0}
    for inside in (low, high):
        money_off(n_features=40, **(settings | {name: inside}))  # type: ignore[arg-type]
    for outside in (low - 0.001, high + 0.001, nan, inf):
        with pytest.raises(errors.DataError, match=f"^{name} == "):
            money_off(n_features=40, **(settings | {name: outside}))  # type: ignore[arg-type]


def test_every_number_of_a_difficulty_can_be_given_to_a_world() -> None:
    assert list(_Difficulty.__annotations__) == [field.name for field in fields(Difficulty)]


@pytest.mark.slow
def test_a_million_rows() -> None:
    """1,000,000 x 180 took 6 to 11 s on one core, in blocks: 1.1 GB, of which the features are 0.72."""
    rows = money_off(seed=0).rct(1_000_000, seed=1)
    assert rows.x.shape == (1_000_000, 180)
    assert rows.value.mean() == pytest.approx(0.2, abs=0.005)


def test_the_order_rate_and_the_sharpness_can_be_set():
    rates = [money_off(seed=3, n_features=40, rate=rate).rct(40_000).value.mean() for rate in (0.05, 0.2)]
    np.testing.assert_allclose(rates, (0.05, 0.2), rtol=0.1)
    for sharp, forms in ((True, {"step", "corner"}), (False, set(FORMS))):
        curve = money_off(seed=3, n_features=40, sharp=sharp).response.dose_response
        used = {term.form for part in (curve.base, curve.log_gain, curve.threshold) for term in part.terms}
        assert used == forms
    with pytest.raises(errors.DataError, match="rate"):
        money_off(rate=0.0)
