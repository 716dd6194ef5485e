"""Looking at an experiment before it ends, without more false positives than were meant.

`boundaries` is for looks that were planned: a part of the 5 % is spent at each (Lan & DeMets 1983). `always_valid` holds
whenever one looks, and is wider for it (Robbins 1970; Johari et al. 2017).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from largesse import _check
from largesse.result import Result

__all__ = ["AlwaysValid", "Spending", "always_valid", "boundaries", "crossing", "inflation"]

Floats = NDArray[np.float64]
Spending = Literal["obrien-fleming", "pocock"]
_POINTS, _REACH = 241, 9.0


def boundaries(shares: Sequence[float], *, alpha: float = 0.05, spending: Spending = "obrien-fleming") -> Floats:
    """Returns the z-value beyond which each planned look finds an effect (K,): two-sided, alpha over all looks together.

    Args:
        shares: Share of the final units (of the information) at each look, rising, the last 1 (K,).
        alpha: Level over all looks.
        spending: ``"obrien-fleming"`` spends little early, ``"pocock"`` about the same at each look.

    Raises:
        DataError: Shares do not rise from above 0 to 1, or another argument breaks a rule.

    Reference:
        Lan & DeMets 1983, Biometrika 70(3); Armitage, McPherson & Rowe 1969 (recursive integration).

    >>> boundaries([0.25, 0.5, 0.75, 1.0]).round(2).tolist()
    [4.33, 2.96, 2.36, 2.01]
    """
    t = _shares(shares)
    _check.number("alpha", alpha, low=1e-6, high=0.5)
    spent = _spent(t, alpha, _check.choice("spending", spending, ("obrien-fleming", "pocock")))
    found: list[float] = []
    for k in range(len(t)):
        step = spent[k] - (spent[k - 1] if k else 0.0)

        def over(z: float, k: int = k, step: float = step) -> float:
            return float(crossing(t[: k + 1], [*found, z])[-1] - step)

        found.append(float(optimize.brentq(over, 0.5, _REACH - 0.5, xtol=1e-6)) if step > 1e-15 else _REACH)
    return np.array(found)


def crossing(shares: Sequence[float] | Floats, z: Sequence[float] | Floats, *, drift: float = 0.0) -> Floats:
    """Returns the probability that each look is the first to find an effect (K,).

    Args:
        shares: Share of the information at each look (K,).
        z: Two-sided boundaries (K,).
        drift: Expected z-value at the end: the true effect over the final standard error.

    >>> crossing([1.0], [1.96]).round(3).tolist(), crossing([1.0], [1.96], drift=2.8).round(2).tolist()
    ([0.05], [0.8])
    """
    t, out = np.asarray(shares, np.float64), np.empty(len(z))
    # S(t) is Brownian motion with drift; density of S over the values at which no look has stopped so far.
    grid, density = np.zeros(1), np.ones(1)
    mass = np.ones(1)
    before = 0.0
    for k, (now, bound) in enumerate(zip(t, z, strict=True)):
        sd, edge = np.sqrt(now - before), bound * np.sqrt(now)
        mean = grid + drift * (now - before)
        stop = stats.norm.sf((edge - mean) / sd) + stats.norm.cdf((-edge - mean) / sd)
        out[k] = float((density * mass) @ stop)
        ahead = np.linspace(-edge, edge, _POINTS)
        density = np.exp(-0.5 * ((ahead[:, None] - mean) / sd) ** 2) / (sd * np.sqrt(2 * np.pi)) @ (density * mass)
        grid, mass, before = ahead, _simpson(_POINTS, ahead[1] - ahead[0]), now
    return out


def inflation(
    shares: Sequence[float], *, alpha: float = 0.05, power: float = 0.8, spending: Spending = "obrien-fleming"
) -> float:
    """Returns how many times the units of a test without looks are needed for the same power.

    >>> round(inflation([0.25, 0.5, 0.75, 1.0]), 3), round(inflation([0.25, 0.5, 0.75, 1.0], spending="pocock"), 2)
    (1.02, 1.2)
    """
    _check.number("power", power, low=0.05, high=0.999)
    z = boundaries(shares, alpha=alpha, spending=spending)
    plain = float(stats.norm.isf(alpha / 2) + stats.norm.ppf(power))

    def over(drift: float) -> float:
        return float(crossing(shares, z, drift=drift).sum() - power)

    return float(optimize.brentq(over, 0.5 * plain, 3 * plain, xtol=1e-6) / plain) ** 2


@dataclass(frozen=True, slots=True, repr=False)
class AlwaysValid(Result):
    """An interval and a p-value that hold at every look."""

    low: float
    high: float
    p_value: float


def always_valid(effect: float, se: float, *, scale: float, alpha: float = 0.05) -> AlwaysValid:
    """Returns the interval of an effect that holds at all looks together, by a normal mixture.

    Its p-value at one look; over several, the smallest so far counts.

    Args:
        effect: The estimate.
        se: Its standard error, > 0.
        scale: Effects of about this size are found soonest, > 0; chosen before the experiment.
        alpha: Level over all looks.

    Raises:
        DataError: A number is out of its range.

    Reference:
        Robbins 1970; Johari, Pekelis & Walsh 2017, "Always valid inference", arXiv 1512.04922.

    >>> found = always_valid(2.0, 0.5, scale=1.0)
    >>> round(found.low, 2), round(found.high, 2), round(found.p_value, 4)
    (0.46, 3.54, 0.0037)
    """
    for name, got in (("se", se), ("scale", scale)):
        _check.number(name, got, low=1e-300, high=1e300)
    _check.number("alpha", alpha, low=1e-9, high=0.5)
    v, mix = se**2, scale**2
    # Λ = √(v / (v + τ²)) exp(τ² effect² / (2 v (v + τ²))) >= 1/α
    half = np.sqrt(v * (v + mix) / mix * (2 * np.log(1 / alpha) + np.log((v + mix) / v)))
    log_ratio = 0.5 * np.log(v / (v + mix)) + mix * effect**2 / (2 * v * (v + mix))
    return AlwaysValid(float(effect - half), float(effect + half), float(min(1.0, np.exp(-log_ratio))))


def _shares(shares: Sequence[float]) -> Floats:
    t: Floats = _check.array("shares", shares, ndim=1, dtype=np.float64)
    _check.finite("shares", t, "Give shares of the final units.")
    if t[0] <= 0 or (np.diff(t) <= 0).any() or abs(t[-1] - 1) > 1e-9:
        raise _check.refuse("shares", t.tolist(), "must rise from above 0 to 1", "End with 1, the last look.")
    return t


def _spent(t: Floats, alpha: float, spending: str) -> Floats:
    """Lan and DeMets: what has been spent of alpha at each share."""
    if spending == "pocock":
        return np.asarray(alpha * np.log1p((np.e - 1) * t))
    return np.asarray(4 * stats.norm.sf(stats.norm.isf(alpha / 4) / np.sqrt(t)))  # half of it on each side


def _simpson(points: int, step: float) -> Floats:
    """Weights of Simpson's rule on an odd number of points."""
    weight = np.ones(points)
    weight[1:-1:2], weight[2:-1:2] = 4, 2
    return weight * step / 3
