"""Intervals of weighted sums: against the equations solved otherwise, and coverage where contributions are skewed or few."""

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import t as student

from largesse.errors import DataError
from largesse.evaluate.intervals import centred, effective_events, ends, ratio_ends, weighted_sum
from largesse.logs import Logs


def rows(n, **fields):
    return Logs(x=np.zeros((n, 1)), treatment=np.arange(n) % 2, value=np.zeros(n), cost=np.zeros(n), **fields)


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_ends_solve_halls_equation(level):
    rng = np.random.default_rng(3)
    psi = rng.exponential(size=(60, 1)) * rng.choice([1.0, 4.0], (60, 1), p=[0.9, 0.1])
    psi -= psi.mean()
    s = np.sqrt((psi**2).sum())
    g = (psi**3).sum() / s**3
    freedom = 2 * s**4 / ((psi**4).sum() - s**4 / 60)
    got = ends(np.array([5.0]), psi, level)[0]
    for end, p in zip(got, ((1 + level) / 2, (1 - level) / 2), strict=True):
        t = student.ppf(p, freedom)
        u = brentq(lambda u, t: u + g * u**2 / 3 + g**2 * u**3 / 27 + g / 6 - t, -99, 99, args=(t,))
        assert end == pytest.approx(5.0 - s * u, rel=1e-9)
    mirrored = ends(np.array([-5.0]), -psi, level)[0]
    np.testing.assert_allclose(mirrored, -got[::-1], rtol=1e-12)


def test_many_even_contributions_give_the_normal_interval():
    psi = np.random.default_rng(0).normal(size=(200_000, 1)) / 200_000
    low, high = ends(np.array([1.0]), psi, 0.95)[0]
    s = np.sqrt((psi**2).sum())
    assert (low, high) == pytest.approx((1 - 1.96 * s, 1 + 1.96 * s), abs=0.01 * s)


def test_nothing_varies():
    assert ends(np.array([2.0]), np.zeros((9, 1)), 0.95).tolist() == [[2.0, 2.0]]
    assert effective_events(rows(4), np.zeros((4, 1))).tolist() == [0.0]


def test_variance_that_no_row_has_widens():
    psi = np.random.default_rng(1).normal(size=(5000, 1))
    s2 = float((psi**2).sum())
    low, high = ends(np.zeros(1), psi, 0.95, more=3 * s2)[0]
    narrow = np.diff(ends(np.zeros(1), psi, 0.95)[0])
    assert (high - low) / narrow[0] == pytest.approx(2.0, rel=0.01)


@pytest.mark.parametrize("known", ["uniform", "observed"])
@pytest.mark.parametrize("weighted", [False, True])
def test_variance_is_that_of_resampled_rows(known, weighted):
    """Independent oracle: the spread of the estimate over drawn trials, in which the arms' sizes vary, or are divided by."""
    truth, drawn, stated = 0.4, [], []
    for k in range(400):
        rng = np.random.default_rng([k, 5])
        t, w = rng.integers(0, 2, 300), rng.choice([1.0, 3.0], 300) if weighted else np.ones(300)
        y = truth + rng.normal(0, 0.3, 300)
        logs = Logs(x=np.zeros((300, 1)), treatment=t, value=y, cost=0 * y, propensity=known, weight=w)
        terms = (logs.inverse_propensity * y * (t == 1))[:, None]
        value, interval, _ = weighted_sum(logs, terms)
        drawn.append(value[0])
        stated.append(np.diff(interval[0])[0] / 3.92)
    assert np.mean(drawn) == pytest.approx(truth, abs=0.01)
    assert np.mean(stated) == pytest.approx(np.std(drawn), rel=0.1)


def test_rows_of_a_cluster_count_once():
    shop = np.repeat(np.arange(50), 4)
    level = np.random.default_rng(0).normal(size=50)[shop]
    logs = rows(200, cluster=shop, propensity="uniform")
    together = centred(logs, level[:, None])
    assert together.shape == (50, 1)
    one = rows(50, propensity="uniform")
    expected = centred(one, level[::4, None]) * np.sqrt(50 / 49) / np.sqrt(50 / 49)
    np.testing.assert_allclose((together**2).sum(), (expected**2).sum(), rtol=1e-9)
    assert effective_events(logs, (np.arange(200)[:, None] < 8) * 1.0).tolist() == [2.0]


def contributions(kind, n, rng):
    if kind == "log-normal, σ = 2":
        return np.exp(rng.normal(0, 2, n) - 2), 1.0
    if kind == "normal":
        return 1 + rng.normal(size=n), 1.0
    if kind == "gamma":
        return rng.gamma(1.0, size=n), 1.0
    return (rng.random(n) < 0.05) * rng.exponential(size=n), 0.05


@pytest.mark.parametrize(
    ("kind", "n", "least"),
    [
        ("log-normal, σ = 2", 1600, 0.93),
        ("log-normal, σ = 2", 400, 0.905),
        ("normal", 20, 0.925),
        ("gamma", 40, 0.925),
        ("orders", 800, 0.93),
    ],
)
def test_cover(kind, n, least):
    """700 samples, so ± .9 %. Normal intervals cover 80 and 87 % of the log-normal ones."""
    held, plain = [], []
    for k in range(700):
        y, truth = contributions(kind, n, np.random.default_rng([k, n]))
        psi = ((y - y.mean()) * np.sqrt(n / (n - 1)) / n)[:, None]
        low, high = ends(np.array([y.mean()]), psi, 0.95)[0]
        s = np.sqrt((psi**2).sum())
        held.append(low <= truth <= high)
        plain.append(abs(y.mean() - truth) <= 1.96 * s)
    assert least <= np.mean(held) <= 0.975
    assert np.mean(held) >= np.mean(plain) - 0.005


def test_level_is_checked():
    with pytest.raises(DataError, match="level == 95"):
        ends(np.zeros(1), np.zeros((3, 1)), 95)


@pytest.mark.parametrize("noise", [1.0, 1e-3, 1e-7])
def test_the_ends_of_a_ratio_are_where_the_difference_is_just_shown(noise: float):
    """Also where the numerator all but follows the denominator, so that sums of powers cancel."""
    rng = np.random.default_rng(0)
    total = rng.exponential(size=2000) * (rng.random(2000) < 0.3)
    part = 1.5 * total + noise * rng.normal(size=2000)
    a, b = ((x - x.mean()) / 2000 for x in (part, total))
    low, high = ratio_ends(part.mean(), total.mean(), a, b, 0.95)
    assert low < part.mean() / total.mean() < high
    for theta, side in ((low, 0), (high, 1)):
        shown = ends(np.array([part.mean() - theta * total.mean()]), (a - theta * b)[:, None], 0.95)[0]
        assert abs(shown[side]) < 1e-4 * (shown[1] - shown[0])
