"""The best untargeted policy: the frontier of the arms' means, and its value without the optimism of having chosen it."""

import numpy as np
import pytest

from largesse.evaluate.bootstrap import Arms
from largesse.evaluate.untargeted import BestMix, CoupledMix, mix_value
from largesse.logs import Logs
from tests.reference import best_plan


def best_of_pairs(chosen, valued, budget):
    """The best mix of means `chosen`, at the means `valued`, by trying every pair of arms."""
    (v, c), (own_v, own_c) = chosen, valued
    tried = [(v[j], j, j, 0.0, 0.0) for j in range(len(v)) if c[j] <= budget]
    for i in range(len(v)):
        for j in range(len(v)):
            if c[i] <= budget < c[j]:
                part = (budget - c[i]) / (c[j] - c[i])
                tried.append(((1 - part) * v[i] + part * v[j], i, j, part, (v[j] - v[i]) / (c[j] - c[i])))
    _, i, j, part, price = max(tried)
    price = max(price, 0.0)
    spent = (1 - part) * own_c[i] + part * own_c[j]
    return (1 - part) * own_v[i] + part * own_v[j] + price * (budget - spent)


def test_the_best_mix_of_arms_is_the_frontier_of_three_points():
    value, cost = np.array([1.0, 2.0, 2.2]), np.array([0.0, 1.0, 2.0])
    assert mix_value(value, cost, [0.0, 0.5, 1.0, 1.5, 2.0, 7.0]).tolist() == pytest.approx([1, 1.5, 2, 2.1, 2.2, 2.2])
    assert mix_value(np.array([1.0, 0.5]), np.array([0.0, 3.0]), [2.0]).tolist() == [1.0]
    assert mix_value(value, cost - 0.5, [-0.5, 0.0, 1.5]).tolist() == pytest.approx([1, 1.5, 2.2])
    assert best_plan(value[None, :], cost[None, :], 1.0) == 2.0


def test_its_shares_and_price():
    mean, cost, budgets = np.array([0.0, 1.0, 1.6]), np.array([0.0, 1.0, 2.0]), np.array([0.5, 1.5, 3.0])
    best = BestMix.of(mean, cost, budgets)
    np.testing.assert_allclose(best.share @ mean, mix_value(mean, cost, budgets), rtol=1e-12)
    np.testing.assert_allclose(best.share, [[0.5, 0.5, 0], [0, 0.5, 0.5], [0, 0, 1]], atol=1e-12)
    np.testing.assert_allclose(best.price, [1.0, 0.6, 0.0], rtol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_value_is_the_mean_over_noises(seed):
    rng = np.random.default_rng(seed)
    mean = np.array([[0.2, 0.25, 0.27, 0.1], [0.0, 0.1, 0.2, 0.15]]) + rng.normal(0, 0.01, (2, 4))
    mean[1, 0] = 0.0
    a = rng.normal(size=(8, 8)) * 0.02
    mix = CoupledMix.of(mean, a @ a.T, np.array([0.05, 0.15, 0.5]))
    flat = mix.noise.reshape(len(mix.noise), -1)
    np.testing.assert_allclose(flat.T @ flat / len(flat), a @ a.T, atol=1e-12)
    for b, budget in enumerate(mix.budgets):
        both = [best_of_pairs(mean + s * 0.3 * e, mean - s / 0.3 * e, budget) for e in mix.noise for s in (-1, 1)]
        expected = 0.875 * np.mean(both) + 0.125 * best_of_pairs(mean, mean, budget)
        assert mix.value()[b] == pytest.approx(expected, rel=1e-9)


def test_means_that_are_known_leave_the_frontier():
    mean = np.array([[0.2, 0.25, 0.27], [0.0, 0.1, 0.2]])
    mix = CoupledMix.of(mean, np.zeros((6, 6)), np.array([0.05, 0.15, 0.5]))
    np.testing.assert_allclose(mix.value(), mix_value(*mean, mix.budgets), rtol=1e-12)
    coefficients, left = mix.linear()
    assert coefficients.shape == (3, 2, 3)
    assert np.abs(left).max() < 1e-20


def test_where_the_choice_is_clear_the_value_follows_the_means():
    mean, error = np.array([[0.2, 0.3, 0.32], [0.0, 0.1, 0.4]]), 1e-3
    mix = CoupledMix.of(mean, np.eye(6) * error**2, np.array([0.05]))
    coefficients, left = mix.linear()
    slope = 1.0  # a tenth more value for a tenth more spend
    np.testing.assert_allclose(coefficients[0], [[0.5, 0.5, 0.0], [-0.5 * slope, -0.5 * slope, 0.0]], atol=0.03)
    assert left[0] < 0.01 * error**2


WORLDS = {  # value of each arm if it is given to everyone; arm j costs j for each event
    "no effects": (0.25,) * 4,
    "one effect": (0.2, 0.26),
    "dose and response": (0.2, 0.2333, 0.25, 0.26, 0.2667),
    "two doses": (0.2, 0.23, 0.26),
    "close arms": (0.25, 0.28, 0.27, 0.285, 0.28, 0.29, 0.288, 0.291),
}


def trial(world, n, seed):
    rng = np.random.default_rng(seed)
    p = np.array(WORLDS[world])
    t = rng.integers(0, len(p), n)
    value = (rng.random(n) < p[t]) * 1.0
    return Logs(x=np.zeros((n, 1)), treatment=t, value=value, cost=value * t), p, p * np.arange(len(p))


@pytest.mark.slow
@pytest.mark.parametrize("n", [1000, 2000, 6000])
@pytest.mark.parametrize("world", WORLDS)
def test_the_value_is_that_of_the_best_mix(world, n):
    """Chosen and valued on the same rows, it would be up to two standard errors too high; 500 trials, so ± .045."""
    found, in_sample = [], []
    for k in range(500):
        logs, p, c = trial(world, n, [k, n])
        budgets = np.array([0.1, 0.3, 0.5]) * c.max()
        arms = Arms.of(logs)
        means = np.array(arms.means())
        found.append(CoupledMix.of(means, arms.covariance(), budgets).value())
        in_sample.append(mix_value(*means, budgets))
    truth = mix_value(p, c, budgets)
    off = (np.mean(found, axis=0) - truth) / np.std(found, axis=0)
    assert np.abs(off).max() <= 0.2 + 2 * 0.045, off
    if world == "no effects":
        assert ((np.mean(in_sample, axis=0) - truth) / np.std(in_sample, axis=0)).max() > 0.5


@pytest.mark.parametrize("estimator", ["ht", "sn"])
def test_arms_covariance_is_that_of_resampled_trials(estimator):
    drawn, stated = [], []
    for k in range(400):
        logs, *_ = trial("two doses", 600, [k, 1])
        arms = Arms.of(logs, estimator)
        drawn.append(np.concatenate(arms.means()))
        stated.append(arms.covariance())
    expected = np.cov(np.array(drawn).T)
    scale = np.sqrt(np.diag(expected))
    scale[scale == 0] = 1
    np.testing.assert_allclose(
        np.mean(stated, axis=0) / np.outer(scale, scale), expected / np.outer(scale, scale), atol=0.16
    )


def test_terms_add_up_to_the_means():
    logs, *_ = trial("close arms", 900, 0)
    for estimator in ("ht", "sn"):
        arms = Arms.of(logs, estimator)
        rng = np.random.default_rng(0)
        a = rng.normal(size=(2, 8))
        assert arms.terms(a).sum() / logs.n == pytest.approx(float((a * np.array(arms.means())).sum()), rel=1e-9)


def test_the_variance_that_the_means_do_not_explain():
    """Two equal arms: the value bends with the choice. Other errors than its own give the same variance that is left."""
    mix = CoupledMix.of([[0.3, 0.3, 0.2], [0.1, 0.1, 0.0]], np.diag([4e-4, 4e-4, 4e-4, 0, 0, 0]), np.array([0.2]))
    coefficients, left = mix.linear()
    errors = np.random.default_rng(0).normal(0, 0.02, (4000, 2, 3)) * np.array([[1.0], [0.0]])
    values = mix.draws(mix.mean + errors)[:, 0]
    rest = values - values.mean() - errors.reshape(4000, -1) @ coefficients[0].ravel()
    assert left[0] == pytest.approx(rest.var(), rel=0.15)
    assert rest.var() > 0.05 * values.var()


def test_draws_are_centred_at_the_value():
    """A draw adds noise, which the correction for optimism would take off a second time."""
    mix = CoupledMix.of([[0.3, 0.3], [0.0, 0.1]], np.diag([4e-4, 4e-4, 0, 0]), np.array([0.05, 0.2]))
    means = mix.mean + np.random.default_rng(0).normal(0, 0.02, (50, 2, 2))
    np.testing.assert_allclose(mix.draws(means).mean(axis=0), mix.value(), rtol=1e-12)


@pytest.mark.parametrize("effect", [-2.0, -0.5, 0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("part", [0.3, 1.0])
def test_one_treatment_beside_control_is_neither_optimistic_nor_pessimistic(effect: float, part: float):
    """Its effect in standard errors; the best is the share of it that the budget pays for, or nothing. 2,000 trials.

    A trial in which it seems to do nothing can give less than any share of it: the others then give more.
    """
    rng, off = np.random.default_rng(1000), []
    covariance = np.diag([0.5, 0.5, 0.0, 0.0])  # of the difference: 1
    for e in rng.normal(size=(2000, 2)) * np.sqrt(0.5):
        mean = np.array([e[0], effect + e[1]]), np.array([0.0, 1.0])
        off.append(CoupledMix.of(mean, covariance, np.array([part])).value()[0])
    assert abs(np.mean(off) - part * max(effect, 0.0)) < 0.2 * part + 0.03 * np.std(off)
