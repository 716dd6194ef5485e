"""The boundary of the normal mixture: against the mixture integrated numerically, the paper's approximation, and its minimum."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import brentq, minimize_scalar
from scipy.stats import norm

from largesse.evaluate.sequences.boundary import multiplier, tuning


@pytest.mark.parametrize("alpha", [0.05, 0.01])
@pytest.mark.parametrize("clock", [0.3, 8.2, 500.0])
def test_two_sided_margin_is_where_the_mixture_reaches_one_over_alpha(clock, alpha):
    """Robbins' mixture ∫ exp(λ S - λ² t / 2) N(λ; 0, ρ²) dλ = 1/α, integrated rather than solved."""
    t, rho = 100.0, np.sqrt(clock / 100.0)

    def capital(s):
        return quad(
            lambda u: np.exp(u * s - u * u * t / 2) * norm.pdf(u, scale=rho), -12 * rho, 12 * rho, points=[s / t]
        )[0]

    s = brentq(lambda s: np.log(capital(s) * alpha), 0.1, 200)
    assert multiplier(clock, alpha) == pytest.approx(s / np.sqrt(t), rel=1e-5)


@pytest.mark.parametrize("clock", [0.3, 8.2, 500.0])
def test_one_sided_margin_is_at_least_that_of_the_half_normal_mixture(clock):
    """The closed form bounds 2/√(τ+1) exp(u²/2) Φ(u) = 1/α from outside, by little."""
    alpha, root = 0.05, np.sqrt(clock + 1)

    def excess(z):
        u = z * np.sqrt(clock / (clock + 1))
        return np.log(2 / root) + u * u / 2 + norm.logcdf(u) - np.log(1 / alpha)

    exact = brentq(excess, 0, 20)
    assert exact < multiplier(clock, alpha, "lower") < 1.06 * exact
    assert multiplier(clock, alpha, "lower") < multiplier(clock, alpha)


@pytest.mark.parametrize("alpha", [0.1, 0.05, 0.001])
def test_tuning_is_the_minimum_and_near_the_papers_approximation(alpha):
    best = minimize_scalar(lambda x: multiplier(x, alpha), bounds=(0.1, 100), method="bounded").x
    assert tuning(alpha) == pytest.approx(best, rel=1e-3)
    assert tuning(alpha) == pytest.approx(-2 * np.log(alpha) + np.log(1 - 2 * np.log(alpha)), rel=0.05)
    one_sided = minimize_scalar(lambda x: multiplier(x, alpha, "lower"), bounds=(0.1, 100), method="bounded").fun
    assert multiplier(tuning(alpha, "lower"), alpha, "lower") == pytest.approx(one_sided, rel=0.01)


def test_at_the_expected_size_the_factor_beside_a_fixed_time_is_the_papers():
    assert multiplier(tuning(0.05), 0.05) / norm.isf(0.025) == pytest.approx(1.55, abs=0.005)
