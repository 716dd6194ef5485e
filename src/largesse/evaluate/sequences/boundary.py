"""The boundary of a normal mixture: how many standard errors a mean may lie from its expectation at all times together.

With t scores of variance σ², the interval of the mean at every t at once is, by a normal mixture with the parameter ρ,

    mean_t ± σ √( 2 (tρ² + 1) / (t² ρ²) · ln( √(tρ² + 1) / α ) )                            two-sided
    mean_t - σ √( 2 (tρ² + 1) / (t² ρ²) · ln( 1 + √(tρ² + 1) / (2α) ) )                     below only

that is σ/√t times a multiplier, which depends on the clock τ = tρ² alone. Where scores have variances σ_i² that differ, the
clock is ρ² Σ σ_i², with ρ in units of 1/σ (the version of Lyapunov's and Lindeberg's conditions, for running means of means).

Reference:
    Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas 2024, "Time-uniform central limit theory and asymptotic confidence sequences",
    Annals of Statistics 52(6), arXiv 2103.06476: Theorem 2.2, its version for martingale differences under a Lyapunov
    condition, its one-sided version, and the choice of ρ; Robbins 1970 (the mixture).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy.special import lambertw

__all__ = ["SIDES", "Side", "multiplier", "tuning"]

Side = Literal["both", "lower", "upper"]
SIDES = ("both", "lower", "upper")


def tuning(alpha: float, side: Side = "both") -> float:
    """Returns the clock τ* at which the interval is narrowest beside one of a fixed time: ρ² = τ* / t*.

    The multiplier's minimum over ρ at a given t solves τ = ln(τ + 1) - 2 ln α, hence τ* = -W₋₁(-α²/e) - 1, with the lower branch
    of Lambert's function; the paper gives τ* ≈ -2 ln α + ln(1 - 2 ln α) beside it. One side takes 2α in place of α.

    Args:
        alpha: One minus the level, in (0, 0.5].
        side: Which ends the interval has.

    >>> round(tuning(0.05), 3)
    8.212
    """
    a = alpha if side == "both" else min(2 * alpha, 0.99)
    return float(-lambertw(-(a**2) / np.e, -1).real - 1)


def multiplier(clock: float, alpha: float, side: Side = "both") -> float:
    """Returns the half-width of the interval in standard errors σ/√t.

    Args:
        clock: τ = tρ², > 0.
        alpha: One minus the level.
        side: Which ends the interval has.

    >>> round(multiplier(tuning(0.05), 0.05) / 1.96, 3)  # at t = t*, beside the interval of a fixed time
    1.549
    """
    root = np.sqrt(clock + 1)
    logarithm = np.log(root / alpha) if side == "both" else np.log1p(root / (2 * alpha))
    return float(np.sqrt(2 * (clock + 1) / clock * logarithm))
