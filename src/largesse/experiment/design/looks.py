"""Interim looks at an experiment without inflating the false-positive rate.

`boundaries` is for planned looks: an alpha-spending function spends part of alpha at each look (Lan & DeMets 1983).
`always_valid` is valid for any number of looks at any time, and its intervals are wider (Robbins 1970; Johari et al. 2017).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from largesse import _check
from largesse._arguments import checked
from largesse.result import Result

__all__ = ["AlwaysValid", "Spending", "always_valid", "boundaries", "crossing", "inflation"]

Floats = NDArray[np.float64]
Spending = Literal["obrien-fleming", "pocock"]
_POINTS, _MAX_Z = 241, 9.0


@checked
def boundaries(shares: Sequence[float], *, alpha: float = 0.05, spending: Spending = "obrien-fleming") -> Floats:
    """Returns the z-value beyond which each planned look is significant (K,): two-sided, at level alpha over all looks.

    Args:
        shares: Share of the final units (of the information) at each look, increasing to 1 (K,).
        alpha: Level over all looks.
        spending: ``"obrien-fleming"`` spends little early, ``"pocock"`` about the same at each look.

    Raises:
        DataError: The shares do not increase from above 0 to 1, or another argument breaks a rule.

    Reference:
        Lan & DeMets 1983, Biometrika 70(3); Armitage, McPherson & Rowe 1969 (recursive integration).

    >>> boundaries([0.25, 0.5, 0.75, 1.0]).round(2).tolist()
    [4.33, 2.96, 2.36, 2.01]
    """
    t: Floats = _check.array("shares", shares, ndim=1, dtype=np.float64)
    _check.finite("shares", t, "Give shares of the final units.")
    if t[0] <= 0 or (np.diff(t) <= 0).any() or abs(t[-1] - 1) > 1e-9:
        raise _check.refuse("shares", t.tolist(), "must increase from above 0 to 1", "End with 1, the last look.")
    _check.number("alpha", alpha, low=1e-6, high=0.5)
    spent = _spent(t, alpha, _check.choice("spending", spending, ("obrien-fleming", "pocock")))
    z: list[float] = []
    for k, step in enumerate(np.diff(spent, prepend=0.0)):

        def excess(bound: float, k: int = k, step: float = step) -> float:
            return float(crossing(t[: k + 1], [*z, bound])[-1] - step)

        z.append(float(optimize.brentq(excess, 0.5, _MAX_Z - 0.5, xtol=1e-6)) if step > 1e-15 else _MAX_Z)
    return np.array(z)


def crossing(shares: Sequence[float] | Floats, z: Sequence[float] | Floats, *, drift: float = 0.0) -> Floats:
    """Returns the probability that each look is the first significant one (K,).

    Args:
        shares: Share of the information at each look (K,).
        z: Two-sided boundaries (K,).
        drift: Expected z-value at the end: the true effect divided by the final standard error.

    >>> crossing([1.0], [1.96]).round(3).tolist(), crossing([1.0], [1.96], drift=2.8).round(2).tolist()
    ([0.05], [0.8])
    """
    t, out = np.asarray(shares, np.float64), np.empty(len(z))
    # S(t) is Brownian motion with drift; `density` is that of S on the paths that crossed no boundary so far.
    grid, density = np.zeros(1), np.ones(1)
    mass = np.ones(1)
    before = 0.0
    for k, (now, bound) in enumerate(zip(t, z, strict=True)):
        sd, edge = np.sqrt(now - before), bound * np.sqrt(now)
        mean = grid + drift * (now - before)
        beyond = stats.norm.sf((edge - mean) / sd) + stats.norm.cdf((-edge - mean) / sd)
        out[k] = float((density * mass) @ beyond)
        grid = np.linspace(-edge, edge, _POINTS)
        density = np.exp(-0.5 * ((grid[:, None] - mean) / sd) ** 2) / (sd * np.sqrt(2 * np.pi)) @ (density * mass)
        mass, before = _simpson(_POINTS, grid[1] - grid[0]), now
    return out


@checked
def inflation(
    shares: Sequence[float], *, alpha: float = 0.05, power: float = 0.8, spending: Spending = "obrien-fleming"
) -> float:
    """Returns the factor by which looks increase the units needed for the same power.

    >>> round(inflation([0.25, 0.5, 0.75, 1.0]), 3), round(inflation([0.25, 0.5, 0.75, 1.0], spending="pocock"), 2)
    (1.02, 1.2)
    """
    _check.number("power", power, low=0.05, high=0.999)
    z = boundaries(shares, alpha=alpha, spending=spending)
    fixed = float(stats.norm.isf(alpha / 2) + stats.norm.ppf(power))  # drift of a test without looks

    def excess(drift: float) -> float:
        return float(crossing(shares, z, drift=drift).sum() - power)

    return float(optimize.brentq(excess, 0.5 * fixed, 3 * fixed, xtol=1e-6) / fixed) ** 2


@checked
@dataclass(frozen=True, slots=True, repr=False)
class AlwaysValid(Result):
    """A confidence sequence at one look: its interval and p-value are valid at all looks together."""

    low: float
    high: float
    p_value: float


@checked
def always_valid(effect: float, se: float, *, scale: float, alpha: float = 0.05) -> AlwaysValid:
    """Returns the interval and p-value of an effect that are valid at all looks together, by a normal mixture.

    Over several looks, the smallest p-value so far is the valid one. The estimate is taken to be normal, so the first look
    is the first one whose interval carries no warning of few events (`Effect.caution`).

    Args:
        effect: The estimate.
        se: Its standard error, > 0.
        scale: Effects of about this size are detected soonest, > 0; chosen before the experiment.
        alpha: Level over all looks.

    Raises:
        DataError: A number is out of its range.

    Reference:
        Robbins 1970; Johari, Pekelis & Walsh 2017, "Always valid inference", arXiv 1512.04922.

    >>> look = always_valid(2.0, 0.5, scale=1.0)
    >>> round(look.low, 2), round(look.high, 2), round(look.p_value, 4)
    (0.46, 3.54, 0.0037)
    """
    _check.number("effect", effect, low=-_check.LARGEST, high=_check.LARGEST)
    for name, got in (("se", se), ("scale", scale)):
        _check.number(name, got, low=1 / _check.LARGEST, high=_check.LARGEST)
    _check.number("alpha", alpha, low=1e-9, high=0.5)
    v, mixture = se**2, scale**2
    # Λ = √(v / (v + τ²)) exp(τ² effect² / (2 v (v + τ²))) >= 1/α
    half = np.sqrt(v * (v + mixture) / mixture * (2 * np.log(1 / alpha) + np.log((v + mixture) / v)))
    log_ratio = 0.5 * np.log(v / (v + mixture)) + mixture * effect**2 / (2 * v * (v + mixture))
    return AlwaysValid(float(effect - half), float(effect + half), float(min(1.0, np.exp(-log_ratio))))


def _spent(t: Floats, alpha: float, spending: str) -> Floats:
    """Returns the alpha spent up to each share (Lan & DeMets)."""
    if spending == "pocock":
        return np.asarray(alpha * np.log1p((np.e - 1) * t))
    return np.asarray(4 * stats.norm.sf(stats.norm.isf(alpha / 4) / np.sqrt(t)))  # half of it on each side


def _simpson(points: int, step: float) -> Floats:
    """Returns the weights of Simpson's rule on an odd number of points."""
    weight = np.ones(points)
    weight[1:-1:2], weight[2:-1:2] = 4, 2
    return weight * step / 3
