"""The best untargeted policy: the mix of arms that brings the most for a budget, given to units at random.

Arms' means are estimates, and the best of several estimates is too high on the rows that chose it. Splitting the rows, to
choose on some and value on the others, takes that out, but a random split makes the result jump where arms are nearly equal.
Its smooth limit needs no split (the coupled bootstrap): with noise e that has the covariance of the means m,

    choose at m + τ e,     value at m - e / τ,

which are uncorrelated, as two parts of the rows are; averaged over e and -e. That is unbiased for the value of the mix that is
chosen, which is a little less than the best one where arms are close; the value at m itself is too much. With 1/8 of the
latter, the bias stays within about .2 standard errors in seven simulated sets of arms, for 1,000 to 6,000 rows.

Reference:
    Oliveira, Lei and Tibshirani 2024, Unbiased risk estimation in the normal means problem via coupled bootstrap techniques.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats.qmc import Sobol

from largesse import _check
from largesse._arguments import checked
from largesse.allocate.budget_frontier import frontier, steps
from largesse.evaluate import kernels
from largesse.menu import Menu

__all__ = ["CLOSE", "CLOSE_DIFFERENCE", "BestMix", "CoupledMix", "mix_value"]

Floats = NDArray[np.float64]
_NOISES = 32  # pairs e, -e
_TAU, _PLAIN = 0.3, 0.125
"""Noise at the choice, and share of the value at m; chosen on seven sets of arms, seeds 5000 and above."""
CLOSE = 2.0
"""Factor of the variance that `CoupledMix.linear` leaves, for the value itself: where the choice is close, that variance differs
much from trial to trial. By simulation of six designs of `benchmarks.coverage`, seeds 1000 and above."""
CLOSE_DIFFERENCE = 1.25
"""The same for a difference from the best mix, part of whose variance the other value shares."""


@checked
def mix_value(value: NDArray[Any], cost: NDArray[Any], budgets: _check.Numbers) -> Floats:
    """Returns the best mix of whole-population arms at each budget per unit, (B,): the frontier of the arm means.

    A budget below the cheapest arm counts as the cheapest arm.
    """
    value, cost = (_check.array(name, a, ndim=1, dtype=np.float64) for name, a in (("value", value), ("cost", cost)))
    least = min(0.0, float(np.min(cost)))  # a doubly robust mean may fall below zero
    front = frontier(Menu(value=value[None, :], cost=cost[None, :] - least))
    return np.asarray(
        front.value_at(np.maximum(_check.numbers("budgets", budgets) - least, front.spend[0])), np.float64
    )


@dataclass(frozen=True, slots=True)
class BestMix:
    """The best mix of arms at budgets.

    Attributes:
        budgets: Budget per unit, (B,).
        share: Share of each arm, (B, M).
        price: Shadow price λ of the budget, (B,); 0 where it does not bind.
    """

    budgets: Floats
    share: Floats
    price: Floats

    @classmethod
    def of(cls, value: Floats, cost: Floats, budgets: Floats) -> BestMix:
        """Returns the best mix for these arm means."""
        least = min(0.0, float(cost.min()))
        menu = Menu(value=value[None, :], cost=cost[None, :] - least)
        increments, front = steps(menu), frontier(menu)
        corners = np.append(increments.start, increments.target)  # the arms along the frontier, from the cheapest
        room = np.maximum(budgets - least, front.spend[0])
        place = np.interp(room, front.spend, np.arange(len(corners)))
        k = np.minimum(np.floor(place).astype(np.int64), len(corners) - 1)
        after = np.minimum(k + 1, len(corners) - 1)
        arms = np.eye(len(value))
        share = (1 - (place - k))[:, None] * arms[corners[k]] + (place - k)[:, None] * arms[corners[after]]
        return cls(budgets, share, np.asarray(front.price_at(room), np.float64))


@lru_cache(maxsize=16)
def _normal(n: int, size: int) -> Floats:
    """Returns n points that fill a standard normal distribution evenly, always the same, (n, size), read-only."""
    points = Sobol(size, scramble=True, rng=np.random.default_rng(0)).random_base2(int(np.ceil(np.log2(n))))
    normal = ndtri(points[:n])
    if n >= 2 * size:  # their second moments are those of the distribution exactly
        normal = normal @ np.linalg.inv(np.linalg.cholesky(normal.T @ normal / n)).T
    normal = np.asarray(normal)
    normal.flags.writeable = False
    return normal


@dataclass(frozen=True, slots=True, eq=False)
class CoupledMix:
    """The value of the best mix of arms without the optimism of having chosen it on the same rows.

    Attributes:
        mean: Value and cost of each arm, (2, M).
        root: A square root of their covariance, (2 M, 2 M).
        noise: Draws e of their errors, (J, 2, M).
        budgets: Budget per unit, (B,).

    >>> mean, budgets = np.array([[1.0, 1.1], [0.0, 1.0]]), np.array([0.5, 2.0])
    >>> CoupledMix.of(mean, np.zeros((4, 4)), budgets).value().round(3).tolist()  # half of the units get the second arm; all do
    [1.05, 1.1]
    >>> CoupledMix.of(mean, np.diag([0.02, 0.02, 0.0, 0.0]), budgets).value().round(2).tolist()  # the second may not be better
    [1.03, 1.05]
    """

    mean: Floats
    root: Floats
    noise: Floats
    budgets: Floats

    @classmethod
    def of(cls, mean: Any, covariance: Floats, budgets: Floats) -> CoupledMix:
        """Returns the estimate for arm means (2, M), values and costs, with their covariance (2 M, 2 M)."""
        mean = np.asarray(mean, np.float64)
        scale, vectors = np.linalg.eigh(covariance)
        root = vectors * np.sqrt(np.maximum(scale, 0))
        noise = _normal(_NOISES, mean.size) @ root.T
        return cls(mean, root, noise.reshape(_NOISES, *mean.shape), budgets)

    def value(self) -> Floats:
        """Returns the value per unit at each budget, (B,)."""
        return self._at(self.mean[None])[0]

    def draws(self, means: Floats) -> Floats:
        """Returns the value for other means (D, 2, M), such as those of bootstrap draws, centred at that of the rows, (D, B).

        A draw adds noise that the correction for optimism takes off a second time: hence the centring.
        """
        drawn = self._at(means)
        return np.asarray(drawn - drawn.mean(axis=0) + self.value())

    def linear(self) -> tuple[Floats, Floats]:
        """Returns how the value follows the means: coefficients (B, 2, M), and the variance that they leave, (B,).

        Least squares over draws of the means' sampling distribution: where the choice is close, the value is not linear.
        """
        size = self.mean.size
        half = max(128, 4 * size)
        errors = _normal(half, size) @ self.root.T
        errors, n = np.concatenate([errors, -errors]), 2 * half
        values = self.draws(self.mean + errors.reshape(n, *self.mean.shape))
        scale = np.maximum(np.sqrt((errors**2).mean(axis=0)), 1e-300)
        coefficients, _, rank, _ = np.linalg.lstsq(errors / scale, values - values.mean(axis=0), rcond=1e-6)
        left = values - values.mean(axis=0) - errors / scale @ coefficients
        return (coefficients / scale[:, None]).T.reshape(-1, *self.mean.shape), (left**2).sum(axis=0) / (n - rank - 1)

    def _at(self, means: Floats) -> Floats:
        return kernels.coupled_mixes(np.ascontiguousarray(means), self.noise, self.budgets, _TAU, _PLAIN)
