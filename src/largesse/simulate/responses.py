"""Responses to treatments: orders, baskets, and visits that may convert, each with exact expected values.

Everywhere r are the covariates of the response, float32 (N, A), and u the unobserved confounder (N,).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtr

from largesse.simulate.surface import FORMS, Surface

__all__ = ["Baskets", "Conversions", "DoseResponse", "Orders", "Response"]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

_DOUBLINGS = 30


class Curves(NamedTuple):
    """The dose-response curve of each unit: index = start + gain · h(level), see the package; each parameter (N,)."""

    start: F64
    gain: F64
    threshold: F64
    steepness: F64

    def at(self, level: Any) -> F64:
        """Returns the index at a level in [0, 1], one for all units or one per unit, (N,)."""
        powered = level**self.steepness
        return self.start + self.gain * powered / (powered + self.threshold**self.steepness)


@dataclass(frozen=True, slots=True)
class DoseResponse:
    """The parameters of the units' dose-response curves as functions of the covariates.

    Attributes:
        base: Surface of the index without a treatment.
        log_gain: Surface of the log gain.
        threshold: Surface of the level at half of the gain.
        steepness: Surface of the curve's steepness, from concave (1.2) to a jump (7).
        inert: Units above 1.4 always act, units below -1.5 never; neither react to a treatment.
        intercept: Added to every unit's index.
        median_gain: Median gain of the index.
        heterogeneity: Standard deviation of the log gain.
    """

    base: Surface
    log_gain: Surface
    threshold: Surface
    steepness: Surface
    inert: Surface
    intercept: float = 0.0
    median_gain: float = 1.0
    heterogeneity: float = 1.0

    @classmethod
    def random(
        cls, rng: np.random.Generator, r: F32, *, median_gain: float, heterogeneity: float, sharp: bool = False
    ) -> DoseResponse:
        """Returns a random dose response over these covariates; if sharp, of steps and corners only."""
        sizes = (("base", 14), ("log_gain", 12), ("threshold", 8), ("steepness", 6), ("inert", 8))
        forms = ("step", "corner") if sharp else FORMS
        surfaces: dict[str, Any] = {name: Surface.random(rng, r, n, forms) for name, n in sizes}
        return cls(**surfaces, median_gain=median_gain, heterogeneity=heterogeneity)

    def curves(self, r: F32) -> Curves:
        """Returns the dose-response curve of each unit."""
        inert = self.inert(r)
        always, never = inert > 1.4, inert < -1.5
        start = self.intercept + 0.5 * self.base(r).astype(np.float64) + 1.1 * always - 1.5 * never
        gain = self.median_gain * np.exp(self.heterogeneity * np.clip(self.log_gain(r), -2.5, 2.0).astype(np.float64))
        return Curves(
            start, np.where(always | never, 0.0, gain), 0.1 + 0.8 * ndtr(self.threshold(r).astype(np.float64)),
            1.2 + 5.8 * ndtr(self.steepness(r).astype(np.float64)),
        )  # fmt: skip


class Response(ABC):
    """The distribution of value and cost given covariates, treatment and confounder, with its exact means."""

    @abstractmethod
    def means(self, r: F32) -> tuple[F64, F64]:
        """Returns E[value | x, j] and E[cost | x, j], each (N, M)."""

    @abstractmethod
    def draw(self, r: F32, t: NDArray[Any], u: F64, rng: np.random.Generator) -> tuple[F64, F64]:
        """Returns random values and costs given the treatments t (N,) and the confounder u (N,), each (N,)."""


@dataclass(frozen=True, slots=True)
class Orders(Response):
    """Value = order (0 or 1); cost = amount · order, as for a coupon that costs its amount when redeemed.

    Attributes:
        dose_response: Index of an order.
        amounts: Cost per order, (M,), control 0.
        noise: Standard deviation of the index given x, > 0.
        g: Loading of the confounder.
    """

    dose_response: DoseResponse
    amounts: F64
    noise: float
    g: float

    @property
    def levels(self) -> F64:
        """Amounts divided by the largest, (M,)."""
        return self.amounts / self.amounts[-1]

    def index(self, r: F32) -> F64:
        """Returns the marginal probit index of every treatment, (N, M)."""
        curves = self.dose_response.curves(r)
        return np.stack([curves.at(level) for level in self.levels], axis=1) / self.noise

    def probabilities(self, r: F32) -> F64:
        """Returns P(order | x, j), (N, M)."""
        return ndtr(self.index(r))

    def means(self, r: F32) -> tuple[F64, F64]:
        """Returns the exact means of value and cost, each (N, M)."""
        value = self.probabilities(r)
        return value, value * self.amounts

    def orders(self, r: F32, t: NDArray[Any], u: F64, rng: np.random.Generator) -> F64:
        """Returns random orders, 0. or 1., (N,)."""
        index = self.dose_response.curves(r).at(self.levels[t]) / self.noise
        return (rng.random(len(t)) < confounded_probit(index, self.g, u)).astype(np.float64)

    def draw(self, r: F32, t: NDArray[Any], u: F64, rng: np.random.Generator) -> tuple[F64, F64]:
        """Returns random values and costs of the treatments t, each (N,)."""
        value = self.orders(r, t, u, rng)
        return value, value * self.amounts[t]

    def calibrated(self, r: F32, rate: float) -> Orders:
        """Returns the response with this mean order rate over all treatments, in (0, 1)."""

        def at(intercept: float) -> Orders:
            return replace(self, dose_response=replace(self.dose_response, intercept=intercept))

        return at(solve(lambda b: float(at(b).probabilities(r).mean()) - rate, -6 * self.noise, 6 * self.noise))


@dataclass(frozen=True, slots=True)
class Baskets(Response):
    """Value = gross basket revenue, zero without an order; cost = discount rate · basket.

    Attributes:
        orders: Index of an order; its amounts are discount rates in [0, 1).
        size: Log-size of the basket, standardised.
        growth: How strongly a discount enlarges the basket, standardised.
        mean_log: Mean log-size.
        s: Standard deviation of a log-basket given x.
        k: Loading of the confounder on the log-basket.
    """

    orders: Orders
    size: Surface
    growth: Surface
    mean_log: float
    s: float
    k: float

    def log_size(self, r: F32, level: Any) -> F64:
        """Returns the mean log-basket given an order and u = 0, (N,), at one level per unit or one for all."""
        growth = 0.12 * level * 2 * ndtr(self.growth(r).astype(np.float64))
        return self.mean_log + 0.4 * self.size(r).astype(np.float64) + growth

    def means(self, r: F32) -> tuple[F64, F64]:
        """Returns the exact means of value and cost, each (N, M)."""
        g, amounts = self.orders.g, self.orders.amounts
        # E[e^{ku + sε} 1(order)] = exp(s²/2 + k²/2) Φ(index + gk/√(1+g²))
        probability = ndtr(self.orders.index(r) + g * self.k / np.sqrt(1 + g * g))
        logs = np.stack([self.log_size(r, level) for level in self.orders.levels], axis=1)
        value = probability * np.exp(logs + (self.s**2 + self.k**2) / 2)
        return value, value * amounts

    def draw(self, r: F32, t: NDArray[Any], u: F64, rng: np.random.Generator) -> tuple[F64, F64]:
        """Returns random values and costs of the treatments t, each (N,)."""
        orders = self.orders.orders(r, t, u, rng)
        log_basket = self.log_size(r, self.orders.levels[t]) + self.k * u + self.s * rng.standard_normal(len(t))
        value = np.round(orders * np.exp(log_basket), 6)
        return value, value * self.orders.amounts[t]

    def calibrated(self, r: F32, basket: float) -> Baskets:
        """Returns the response with this mean basket per order over all treatments."""
        mean = float(self.means(r)[0].mean() / self.orders.probabilities(r).mean())
        return replace(self, mean_log=self.mean_log + float(np.log(basket / mean)))


@dataclass(frozen=True, slots=True)
class Conversions(Response):
    """Value = conversion, cost = visit, control included; a conversion needs a visit.

    The probability of a visit is V0(x) in control and V1(x) >= V0(x) if treated. Visitors who come without a treatment
    convert with probability q(x), additional visitors with probability m(x). So the means of value are q V0 and
    q V0 + m (V1 - V0), and the return on cost is m(x).

    Attributes:
        visits: Index of a visit; amounts (0, 1).
        organic: Surface of q.
        incremental: Surface of m.
        q: Intercept of q.
        m: Intercept of m.
    """

    visits: Orders
    organic: Surface
    incremental: Surface
    q: float
    m: float

    def means(self, r: F32) -> tuple[F64, F64]:
        """Returns the exact means of value and cost, each (N, M)."""
        cost = self.visits.probabilities(r)
        q = ndtr(self.q + 0.4 * self.organic(r).astype(np.float64))
        m = ndtr(self.m + 0.4 * self.incremental(r).astype(np.float64))
        return np.stack([q * cost[:, 0], q * cost[:, 0] + m * (cost[:, 1] - cost[:, 0])], axis=1), cost

    def draw(self, r: F32, t: NDArray[Any], u: F64, rng: np.random.Generator) -> tuple[F64, F64]:
        """Returns random values and costs of the treatments t, each (N,)."""
        visit = self.visits.orders(r, t, u, rng)
        value, cost = self.means(r)
        rows = np.arange(len(t))
        probability = value[rows, t] / np.maximum(cost[rows, t], 1e-300)  # P(conversion | visit, x, t), whatever u is
        return visit * (rng.random(len(t)) < probability), visit

    def calibrated(self, r: F32, visit: tuple[float, float], conversion: tuple[float, float]) -> Conversions:
        """Returns the response with these rates of visits and of conversions, (control, treated) each."""

        def rate(response: Conversions, k: int, j: int) -> float:
            return float(response.means(r)[k][:, j].mean())

        def with_visits(intercept: float, median_gain: float = self.visits.dose_response.median_gain) -> Conversions:
            curve = replace(self.visits.dose_response, intercept=intercept, median_gain=median_gain)
            return replace(self, visits=replace(self.visits, dose_response=curve))

        base = solve(lambda b: rate(with_visits(b), 1, 0) - visit[0], -8.0 * self.visits.noise, 4.0)
        gain = solve(lambda b: rate(with_visits(base, b), 1, 1) - visit[1], 0.0, 8.0)
        visits = with_visits(base, gain)
        q = solve(lambda b: rate(replace(visits, q=b), 0, 0) - conversion[0], -6.0, 6.0)
        m = solve(lambda b: rate(replace(visits, q=q, m=b), 0, 1) - conversion[1], -6.0, 6.0)
        return replace(visits, q=q, m=m)


def confounded_probit(index: F64, g: float, u: F64) -> F64:
    """Returns Φ(√(1+g²) · index + g u), whose mean over u ~ N(0, 1) is Φ(index)."""
    return ndtr(np.sqrt(1 + g * g) * index + g * u)


def solve(gap: Callable[[float], float], low: float, high: float) -> float:
    """Returns the root of an increasing function; [low, high] is doubled downwards and upwards until it holds the root."""
    gap = cache(gap)  # the ends are looked at twice
    for _ in range(_DOUBLINGS):
        if gap(low) <= 0:
            break
        low -= high - low
    for _ in range(_DOUBLINGS):
        if gap(high) >= 0:
            break
        high += high - low
    return float(brentq(gap, low, high, xtol=1e-9))
