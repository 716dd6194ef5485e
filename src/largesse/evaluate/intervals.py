"""Confidence intervals of weighted sums from the contributions of their rows: corrected for skewness and for few events.

An estimate is a sum of contributions ψ_i of independent units (or clusters), each with its expectation taken off. With the
variance s² = Σ ψ², the skewness g = Σ ψ³ / s³ and the fourth moment Σ ψ⁴:

- The estimate and s are correlated where contributions are skewed: few large orders make both too small together. Hall's
  monotone cubic transformation f(t) = t + g t²/3 + g² t³/27 + g/6 of the t-statistic takes that out to second order.
- s² is itself uncertain where few contributions carry the sum. Its degrees of freedom are those of a chi-squared variable
  with the same relative variance, 2 s⁴ / (Σ ψ⁴ - s⁴/G), and t takes the place of the normal distribution.

So an interval needs no resampling, and does not depend on a seed or on the order of the rows.

Reference:
    Hall 1992, On the removal of skewness by transformation; Satterthwaite 1946 (degrees of freedom).
"""

from __future__ import annotations

from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import stdtrit

from largesse import _check
from largesse.evaluate import kernels
from largesse.logs import Logs

__all__ = ["FEW_EVENTS", "centred", "effective_events", "ends", "few_events", "halls_quantile", "ratio_ends",
           "weighted_sum"]  # fmt: skip

Floats = NDArray[np.float64]
_CANCELS = 1e-4  # below this share of the parts' own sums, a difference of sums loses too many digits
FEW_EVENTS = 80
"""Effective number of events below which a report says that an interval rests on few: see docs/benchmarks/coverage.md."""


def centred(logs: Logs, terms: Floats) -> Floats:
    """Returns the contribution of each unit or cluster to Σ terms / W, (G, K); W is the sum of the row weights.

    Args:
        logs: The rows. Where their propensities are the observed shares of the arms, each arm has its own expectation.
        terms: One column for each sum, (N, K).
    """
    arms = logs.treatment if logs.assignment == "observed" else np.zeros(logs.n, np.int32)
    rows = np.bincount(arms)
    if logs.groups is None:
        factor = np.sqrt(rows / np.maximum(rows - 1, 1)) / logs.total_weight
        return kernels.centred(terms, logs.weights, arms, factor)
    out = kernels.centred(terms, logs.weights, arms, np.full(len(rows), 1 / logs.total_weight))
    grouped = np.column_stack([logs.by_group(column) for column in out.T])
    return grouped * np.sqrt(len(grouped) / max(len(grouped) - 1, 1))


def ends(estimate: Floats, contributions: Floats, level: float, more: Any = 0.0) -> Floats:
    """Returns the interval of each estimate, (K, 2).

    Args:
        estimate: The estimates, (K,).
        contributions: Those of G independent units, with expectation 0, (G, K).
        level: Coverage, in [0.5, 0.9999].
        more: Variance that no unit's contribution has, (K,) or a number.

    >>> psi = np.repeat([[0.9], [-0.1]], [10, 90], axis=0) / 100  # ten events among 100 units
    >>> ends(np.array([0.1]), psi, 0.95).round(3).tolist()
    [[0.048, 0.18]]
    """
    _check.number("level", level, low=0.5, high=0.9999)
    return _ends(estimate, kernels.power_sums(contributions), len(contributions), level, more)


def _ends(estimate: Floats, sums: Floats, units: int, level: float, more: Any) -> Floats:
    """Returns the intervals from the sums of the second, third and fourth powers of the contributions, (3, K)."""
    own, third, fourth = sums
    total = own + more
    s = np.sqrt(total)
    skew = np.divide(third, s**3, out=np.zeros_like(s), where=s > 1e-150)
    spread = np.maximum(fourth - own**2 / units, 0)
    freedom = np.clip(np.divide(2 * total**2, spread, out=np.full_like(s, 1e9), where=spread > 2e-9 * total**2), 2, 1e9)
    tail = (1 - level) / 2
    return np.column_stack([estimate - s * halls_quantile(stdtrit(freedom, p), skew) for p in (1 - tail, tail)])


def ratio_ends(
    part: float, total: float, of_part: Floats, of_total: Floats, level: float, more: float = 0.0
) -> tuple[float, float]:
    """Returns the ratios θ for which part - θ · total is not shown to differ from 0 (Fieller 1954); infinite ends if any may be.

    Args:
        part: The numerator.
        total: The denominator, > 0; where it is not shown to be, both ends are infinite.
        of_part: Contributions to the numerator, with expectation 0, (G,).
        of_total: The same for the denominator.
        level: Coverage.
        more: Variance of the numerator that no unit's contribution has.

    >>> np.round(ratio_ends(2.0, 4.0, np.array([-0.1, 0.1] * 50), np.zeros(100), 0.95), 2).tolist()  # 2 ± 1.98, over 4
    [0.01, 0.99]
    """
    joint = kernels.joint_sums(of_part, of_total)  # one pass over the units, whatever the number of θ that are tried

    def end(theta: float, which: int) -> float:
        left, sums = np.array([part - theta * total]), _sums_of_difference(joint, theta)
        if sums[0, 0] < _CANCELS * (joint[2, 0] + theta**2 * joint[0, 2]):
            sums = kernels.power_sums((of_part - theta * of_total)[:, None])
        return float(_ends(left, sums, len(of_part), level, more)[0, which])

    if ends(np.array([total]), of_total[:, None], level)[0, 0] <= 0:
        return -np.inf, np.inf
    at = part / total
    sides = [at, at]
    for side, sign in ((0, 1.0), (1, -1.0)):  # the lower end of part - θ · total is above 0 for small θ, and falls
        step = max(abs(at), 0.1)
        while sign * end(at - sign * step, side) <= 0:
            step *= 2
        if sign * end(at, side) < 0:
            sides[side] = brentq(end, at - sign * step, at, args=(side,))
    return float(min(sides)), float(max(sides))


def _sums_of_difference(joint: Floats, theta: float) -> Floats:
    """Returns the sums of the second, third and fourth powers of a - θ b, (3, 1), from those of a and b together."""
    sums = [sum(comb(k, j) * (-theta) ** j * joint[k - j, j] for j in range(k + 1)) for k in (2, 3, 4)]
    return np.array(sums)[:, None]


def halls_quantile(t: Floats, skew: Floats) -> Floats:
    """Returns the solution u of u + g u²/3 + g² u³/27 + g/6 = t; t itself for a skewness g of 0."""
    g = np.where(np.abs(skew) < 1e-6, 1.0, skew)
    u = 3 / g * (np.cbrt(1 + g * (t - g / 6)) - 1)
    return np.asarray(np.where(np.abs(skew) < 1e-6, t, u))


def effective_events(logs: Logs, terms: Floats) -> Floats:
    """Returns the number of equally large contributions that would carry as much as these, (Σ |z|)² / Σ z², (K,).

    Args:
        logs: The rows.
        terms: What each row adds to the sums, (N, K). Rows of a unit or cluster count together.

    >>> logs = Logs(x=[[0.0]] * 4, treatment=[0, 1, 0, 1], value=[0, 0, 0, 0], cost=[0, 0, 0, 0])
    >>> effective_events(logs, np.array([[1.0, 1.0], [1.0, 9.0], [0.0, 0.0], [1.0, 0.0]])).round(2).tolist()
    [3.0, 1.22]
    """
    each = np.abs(np.column_stack([logs.by_group(column) for column in terms.T]))
    square = (each**2).sum(axis=0)
    return np.asarray(np.divide(each.sum(axis=0) ** 2, square, out=np.zeros_like(square), where=square > 0))


def few_events(events: Floats, level: float) -> tuple[str, ...]:
    """Returns a sentence where some intervals rest on few events, else nothing.

    >>> few_events(np.array([12.3, 500.0, np.nan]), 0.95)[0]
    'Some intervals rest on few events (12 at the least): below 80, they may hold the truth less often than in 95 of 100 trials.'
    """
    least = float(np.nanmin(events)) if np.isfinite(events).any() else np.inf
    if least >= FEW_EVENTS:
        return ()
    return (
        f"Some intervals rest on few events ({least:.0f} at the least): below {FEW_EVENTS}, they may hold the truth less often "
        f"than in {100 * level:g} of 100 trials.",
    )


def weighted_sum(logs: Logs, terms: Floats, level: float = 0.95) -> tuple[Floats, Floats, Floats]:
    """Returns Σ terms / W with its interval and effective number of events: (K,), (K, 2), (K,).

    Args:
        logs: The rows.
        terms: What each row adds, weights and inverse propensities included, (N, K).
        level: Coverage of the intervals.
    """
    estimate = terms.sum(axis=0) / logs.total_weight
    return estimate, ends(estimate, centred(logs, terms), level), effective_events(logs, terms)
