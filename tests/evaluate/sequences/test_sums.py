"""Power sums: moments of linear combinations against NumPy, and the same bits however a stream is cut."""

import numpy as np
import pytest

from largesse.evaluate.intervals import ends
from largesse.evaluate.sequences.sums import PowerSums, by_cluster


@pytest.mark.parametrize("columns", [1, 2, 4, 5])
def test_moments_are_those_of_the_linear_combination(columns):
    rng = np.random.default_rng(columns)
    rows = rng.gamma(0.5, 2, (400, columns)) + 30
    weights = rng.normal(size=columns)
    sums = PowerSums(columns)
    sums.add(rows)
    np.testing.assert_allclose(sums.means(), rows.mean(axis=0), rtol=1e-12)
    psi = rows @ weights - (rows @ weights).mean()
    got = sums.moments(weights)
    second, fourth = (psi**2).sum(), (psi**4).sum()
    assert got.variance == pytest.approx(psi.var(ddof=1), rel=1e-9)
    assert got.skewness == pytest.approx((psi**3).sum() / second**1.5, rel=1e-8)
    assert got.freedom == pytest.approx(2 * second**2 / (fourth - second**2 / 400), rel=1e-8)
    assert got.events == pytest.approx(second**2 / fourth, rel=1e-9)


def test_totals_are_power_sums_about_zero():
    rows = np.random.default_rng(6).gamma(2, 1, (50, 3))
    sums, weights = PowerSums(3), np.array([1.0, -0.5, 2.0])
    sums.add(rows)
    np.testing.assert_allclose(sums.totals(weights), [((rows @ weights) ** p).sum() for p in range(5)], rtol=1e-9)


def test_rare_events_are_counted():
    sums = PowerSums(1)
    sums.add((np.arange(10_000) % 500 == 0)[:, None] * 3.0)
    assert sums.moments(np.ones(1)).events == pytest.approx(20, rel=0.01)


def test_any_cut_of_a_stream_gives_the_same_bits():
    rows = np.random.default_rng(0).lognormal(0, 2, (1000, 2))
    whole, parts = PowerSums(2), PowerSums(2)
    whole.add(rows)
    for part in np.split(rows, [1, 1, 7, 400, 999]):
        parts.add(part)
    assert whole.sums.tobytes() == parts.sums.tobytes()
    assert whole.n == 1000


def test_nothing_varies():
    sums = PowerSums(2)
    sums.add(np.full((50, 2), [0.1, 0.3]))
    assert sums.moments(np.array([1.0, -2.0])) == (0.0, 0.0, 2.0, 0.0)
    assert PowerSums(1).n == 0


def test_the_interval_of_a_fixed_time_follows_from_the_moments():
    """The corrections are those of `largesse.evaluate.intervals`: same variance, skewness, degrees of freedom."""
    x = np.random.default_rng(4).exponential(size=(80, 1))
    psi = (x - x.mean()) / 80 * np.sqrt(80 / 79)
    low, high = ends(np.array([x.mean()]), psi, 0.95)[0]
    sums = PowerSums(1)
    sums.add(x)
    got = sums.moments(np.ones(1))
    assert (high - low) / np.sqrt(got.variance / 80) == pytest.approx(4.1, abs=0.3)


def test_clusters_are_summed_in_order_of_appearance():
    rows = np.arange(12.0).reshape(6, 2)
    got = by_cluster(rows, np.array([7, 3, 7, 5, 3, 7]))
    assert got.tolist() == [[0 + 4 + 10, 1 + 5 + 11], [2 + 8, 3 + 9], [6, 7]]
    assert by_cluster(rows, None) is rows
