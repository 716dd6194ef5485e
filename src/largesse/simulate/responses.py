"""What a treatment does to a unit: orders, baskets, and visits that may convert. Each with exact means."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtr

from largesse.simulate.surface import FORMS, Surface

__all__ = ["Appetite", "Baskets", "Conversions", "Orders", "Response"]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]


class Traits(NamedTuple):
    """How one unit reacts, each (N,): index = start + gain · h(level)."""

    start: F64
    gain: F64
    threshold: F64
    steepness: F64

    def at(self, level: Any) -> F64:
        """Returns the index at a level in [0, 1], one for all or one per unit, (N,)."""
        powered = level**self.steepness
        return self.start + self.gain * powered / (powered + self.threshold**self.steepness)


@dataclass(frozen=True, slots=True)
class Appetite:
    """How units react to generosity, from always buyers to people who only move for a large amount.

    Attributes:
        base: Readiness to act without any incentive.
        reach: Log-sensitivity.
        threshold: The level at which half of the gain has come.
        steepness: From concave (1.2) to a jump (7).
        always: Units above 1.4 act anyway and react to nothing; below -1.5 never act.
        intercept: Shifts everyone's index.
        strength: Median gain of the index.
        heterogeneity: Standard deviation of log gain.
    """

    base: Surface
    reach: Surface
    threshold: Surface
    steepness: Surface
    always: Surface
    intercept: float = 0.0
    strength: float = 1.0
    heterogeneity: float = 1.0

    @classmethod
    def random(
        cls, rng: np.random.Generator, r: F32, *, strength: float, heterogeneity: float, sharp: bool = False
    ) -> Appetite:
        """Returns an appetite drawn at random over these readings, (N, A); if sharp, of steps and corners only."""
        sizes = (("base", 14), ("reach", 12), ("threshold", 8), ("steepness", 6), ("always", 8))
        forms = ("step", "corner") if sharp else FORMS
        surfaces: dict[str, Any] = {name: Surface.random(rng, r, n, forms) for name, n in sizes}
        return cls(**surfaces, strength=strength, heterogeneity=heterogeneity)

    def traits(self, r: F32) -> Traits:
        """Returns how each unit reacts."""
        kind = self.always(r)
        always, never = kind > 1.4, kind < -1.5
        numb = always | never
        start = self.intercept + 0.5 * self.base(r).astype(np.float64) + 1.1 * always - 1.5 * never
        gain = self.strength * np.exp(self.heterogeneity * np.clip(self.reach(r), -2.5, 2.0).astype(np.float64))
        return Traits(
            start, np.where(numb, 0.0, gain), 0.1 + 0.8 * ndtr(self.threshold(r).astype(np.float64)),
            1.2 + 5.8 * ndtr(self.steepness(r).astype(np.float64)),
        )  # fmt: skip


class Response(ABC):
    """Draws outcomes given the readings, the treatment and the mood, and knows their exact means.

    Attributes:
        value_family: The family of the value, as models name it.
        cost_rule: How the cost follows from the value, or ``"learned"``.
    """

    value_family: ClassVar[str]
    cost_rule: ClassVar[str]

    @abstractmethod
    def means(self, r: F32) -> tuple[F64, F64]:
        """Returns E[value | x, j] and E[cost | x, j], each (N, M)."""

    @abstractmethod
    def draw(self, r: F32, t: NDArray[Any], u: F64, rng: np.random.Generator) -> tuple[F64, F64]:
        """Returns value and cost of the treatments taken, each (N,), given the moods u (N,)."""


@dataclass(frozen=True, slots=True)
class Orders(Response):
    """Value = order (0 or 1); cost = amount · order: paid on redemption.

    Attributes:
        appetite: Index of an order.
        amounts: Money per redemption, (M,), control 0.
        noise: Standard deviation of what the index leaves unexplained, > 0.
        g: Loading of the mood.
    """

    value_family: ClassVar[str] = "bernoulli"
    cost_rule: ClassVar[str] = "per_redemption"
    appetite: Appetite
    amounts: F64
    noise: float
    g: float

    @property
    def levels(self) -> F64:
        """Amounts as parts of the largest, (M,)."""
        return self.amounts / self.amounts[-1]

    def index(self, r: F32) -> F64:
        """Returns the marginal probit index of every treatment, (N, M)."""
        traits = self.appetite.traits(r)
        return np.stack([traits.at(level) for level in self.levels], axis=1) / self.noise

    def chances(self, r: F32) -> F64:
        """Returns P(order | x, j), (N, M)."""
        return ndtr(self.index(r))

    def means(self, r: F32) -> tuple[F64, F64]:
        """Returns the exact means of value and cost, each (N, M)."""
        value = self.chances(r)
        return value, value * self.amounts

    def orders(self, r: F32, t: NDArray[Any], u: F64, rng: np.random.Generator) -> F64:
        """Returns whether each unit orders, 0. or 1., (N,)."""
        index = self.appetite.traits(r).at(self.levels[t]) / self.noise
        return (rng.random(len(t)) < moody(index, self.g, u)).astype(np.float64)

    def draw(self, r: F32, t: NDArray[Any], u: F64, rng: np.random.Generator) -> tuple[F64, F64]:
        """Returns value and cost of the treatments taken, each (N,)."""
        value = self.orders(r, t, u, rng)
        return value, value * self.amounts[t]

    def calibrated(self, r: F32, rate: float) -> Orders:
        """Returns the response with the mean order rate over all treatments set, (0, 1)."""

        def at(intercept: float) -> Orders:
            return replace(self, appetite=replace(self.appetite, intercept=intercept))

        return at(solve(lambda b: float(at(b).chances(r).mean()) - rate, -6 * self.noise, 6 * self.noise))


@dataclass(frozen=True, slots=True)
class Baskets(Response):
    """Value = gross basket revenue, zero without an order; cost = discount rate · basket.

    Attributes:
        orders: Index of an order; its amounts are discount rates in [0, 1).
        size: Log-size of the basket, standardised.
        swell: How strongly a discount enlarges the basket, standardised.
        mean_log: Mean log-size, money.
        s: Standard deviation of a log-basket given x.
        k: Loading of the mood on the log-basket.
    """

    value_family: ClassVar[str] = "zero_inflated_lognormal"
    cost_rule: ClassVar[str] = "share_of_value"
    orders: Orders
    size: Surface
    swell: Surface
    mean_log: float
    s: float
    k: float

    def log_size(self, r: F32, level: Any) -> F64:
        """Returns the mean log-basket given an order and u = 0, (N,), at one level per unit or one for all."""
        grows = 0.12 * level * 2 * ndtr(self.swell(r).astype(np.float64))
        return self.mean_log + 0.4 * self.size(r).astype(np.float64) + grows

    def means(self, r: F32) -> tuple[F64, F64]:
        """Returns the exact means of value and cost, each (N, M)."""
        g, amounts = self.orders.g, self.orders.amounts
        # E[e^{ku + sε} 1(order)] = exp(s²/2 + k²/2) Φ(index + gk/√(1+g²))
        chance = ndtr(self.orders.index(r) + g * self.k / np.sqrt(1 + g * g))
        logs = np.stack([self.log_size(r, level) for level in self.orders.levels], axis=1)
        value = chance * np.exp(logs + (self.s**2 + self.k**2) / 2)
        return value, value * amounts

    def draw(self, r: F32, t: NDArray[Any], u: F64, rng: np.random.Generator) -> tuple[F64, F64]:
        """Returns value and cost of the treatments taken, each (N,)."""
        orders = self.orders.orders(r, t, u, rng)
        log_basket = self.log_size(r, self.orders.levels[t]) + self.k * u + self.s * rng.standard_normal(len(t))
        value = np.round(orders * np.exp(log_basket), 6)
        return value, value * self.orders.amounts[t]

    def calibrated(self, r: F32, basket: float) -> Baskets:
        """Returns the response with the mean basket of an order, over all treatments, set (money)."""
        now = float(self.means(r)[0].mean() / self.orders.chances(r).mean())
        return replace(self, mean_log=self.mean_log + float(np.log(basket / now)))


@dataclass(frozen=True, slots=True)
class Conversions(Response):
    """Value = conversion, cost = visit, control included; a conversion needs a visit.

    The chance of a visit is V0(x) in control and V1(x) >= V0(x) if treated. Visitors who come anyway convert with
    chance q(x), those won by the treatment with chance m(x). So the means of value are q V0 and q V0 + m (V1 - V0),
    and the return on cost is m(x).

    Attributes:
        visits: Index of a visit; amounts (0, 1).
        loyal: Surface of q.
        won: Surface of m.
        q: Intercept of q.
        m: Intercept of m.
    """

    value_family: ClassVar[str] = "bernoulli"
    cost_rule: ClassVar[str] = "learned"
    visits: Orders
    loyal: Surface
    won: Surface
    q: float
    m: float

    def rates(self, r: F32) -> tuple[F64, F64]:
        """Returns q(x) and m(x), each (N,) in (0, 1)."""
        loyal, won = self.loyal(r).astype(np.float64), self.won(r).astype(np.float64)
        return ndtr(self.q + 0.4 * loyal), ndtr(self.m + 0.4 * won)

    def means(self, r: F32) -> tuple[F64, F64]:
        """Returns the exact means of value and cost, each (N, M)."""
        cost, (q, m) = self.visits.chances(r), self.rates(r)
        return np.stack([q * cost[:, 0], q * cost[:, 0] + m * (cost[:, 1] - cost[:, 0])], axis=1), cost

    def draw(self, r: F32, t: NDArray[Any], u: F64, rng: np.random.Generator) -> tuple[F64, F64]:
        """Returns value and cost of the treatments taken, each (N,)."""
        visit = self.visits.orders(r, t, u, rng)
        value, cost = self.means(r)
        rows = np.arange(len(t))
        chance = value[rows, t] / np.maximum(cost[rows, t], 1e-300)  # P(conversion | visit, x, t); no mood in it
        return visit * (rng.random(len(t)) < chance), visit

    def calibrated(self, r: F32, visit: tuple[float, float], conversion: tuple[float, float]) -> Conversions:
        """Returns the response with the rates of visits and conversions set, (control, treated) each."""

        def met(out: Conversions, name: str, goal: float, low: float, high: float) -> Conversions:
            k, j = (1 if name in ("intercept", "strength") else 0), (1 if name in ("strength", "m") else 0)
            gap = lambda b: float(out._with(name, b).means(r)[k][:, j].mean()) - goal  # noqa: E731
            return out._with(name, solve(gap, low, high))

        out = met(self, "intercept", visit[0], -8.0 * self.visits.noise, 4.0)
        out = met(out, "strength", visit[1], 0.0, 8.0)
        out = met(out, "q", conversion[0], -6.0, 6.0)
        return met(out, "m", conversion[1], -6.0, 6.0)

    def _with(self, name: str, constant: float) -> Conversions:
        if name in ("q", "m"):
            return replace(self, q=constant if name == "q" else self.q, m=constant if name == "m" else self.m)
        appetite = self.visits.appetite
        start = constant if name == "intercept" else appetite.intercept
        strength = constant if name == "strength" else appetite.strength
        return replace(
            self, visits=replace(self.visits, appetite=replace(appetite, intercept=start, strength=strength))
        )


def moody(index: F64, g: float, u: F64) -> F64:
    """Returns Φ(√(1+g²) · index + g u), whose mean over u ~ N(0, 1) is Φ(index)."""
    return ndtr(np.sqrt(1 + g * g) * index + g * u)


def solve(gap: Callable[[float], float], low: float, high: float) -> float:
    """Returns the root of an increasing function in [low, high]."""
    return float(brentq(gap, low, high, xtol=1e-9))
