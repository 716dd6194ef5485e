"""The worlds: money off an order, a discount on the basket, and a twin of CRITEO-UPLIFT v2."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from largesse import _check
from largesse._random import Seed, child, generator
from largesse.logs import Logs
from largesse.menu import Menu
from largesse.result import Brief
from largesse.simulate.population import Population
from largesse.simulate.responses import Appetite, Baskets, Conversions, Orders, Response
from largesse.simulate.surface import Surface

__all__ = ["BLOCK", "Knobs", "World", "criteo_twin", "discount", "money_off"]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

BLOCK = 8192
"""Rows drawn from one generator, always in full: the first rows do not depend on how many are asked for."""

_RCT, _OBS = 0, 1
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(40)


@dataclass(frozen=True, slots=True)
class Knobs:
    """How hard a world is.

    Attributes:
        selection: How strictly the past policy follows its older model's score, >= 0.
        confounding: Loading of the unrecorded mood u on outcomes and on the past policy, >= 0.
        noise: Standard deviation of what features leave unexplained in the index (and of log-baskets, relative), > 0.
        overlap: Share of the past policy's treatments drawn at random from the trial's shares, in [0, 1].

    Raises:
        DataError: A knob is out of its range.
    """

    selection: float = 1.0
    confounding: float = 0.5
    noise: float = 1.0
    overlap: float = 0.1

    def __post_init__(self) -> None:
        _check.number("selection", self.selection, low=0, high=10)
        _check.number("confounding", self.confounding, low=0, high=5)
        _check.number("noise", self.noise, low=0.1, high=10)
        _check.number("overlap", self.overlap, low=0, high=1)


@dataclass(frozen=True, slots=True, eq=False)
class Targeting:
    """A past policy: an older model's score and the mood tilt the trial's shares towards generous treatments.

    P(j | x, u) = overlap · share_j + (1 - overlap) · softmax_j(ln share_j + index · λ_j),
    index = selection · score(x) + confounding · u, λ_j from -1 (control) to 1 (the most generous).

    Attributes:
        parts: (weight, surface) pairs that make up the score, standard deviation about 1.
        knobs: The knobs of the world.
        shares: Shares of the trial, (M,).
    """

    parts: tuple[tuple[float, Surface], ...]
    knobs: Knobs
    shares: F64

    @classmethod
    def old(cls, rng: np.random.Generator, r: F32, appetite: Appetite, knobs: Knobs, shares: F64) -> Targeting:
        """Returns a policy that saw part of the truth: it likes units that buy, then units that react."""
        drift = Surface.random(rng, r, 6)
        parts = ((0.7, appetite.base.aged(rng, r)), (0.5, appetite.reach.aged(rng, r)), (0.5, drift))
        return cls(parts, knobs, shares)

    def score(self, r: F32) -> F64:
        """Returns the older model's score, (N,)."""
        return np.sum([weight * surface(r).astype(np.float64) for weight, surface in self.parts], axis=0)

    def chances(self, score: F64, u: F64 | float) -> F64:
        """Returns P(j | x, u), (N, M)."""
        knobs, tilt = self.knobs, np.linspace(-1, 1, len(self.shares))
        index = knobs.selection * score + knobs.confounding * u
        p = self.shares * np.exp(np.clip(index, -30, 30)[:, None] * tilt)  # (N, M)
        p /= p.sum(axis=1, keepdims=True)
        return knobs.overlap * self.shares + (1 - knobs.overlap) * p


@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class World(Brief):
    """A population, its response to every treatment, and a past policy. Immutable; every draw is keyed by its seed.

    Attributes:
        name: Its constructor's name.
        seed: What drew its response functions: another seed is another world.
        treatments: Names of the M treatments, control first.
        amounts: Face value in money, or discount rate, (M,).
        shares: Shares of the trial, (M,), sum 1.
        knobs: How hard it is.
        population: Who the units are.
        response: What treatments do to them.
        targeting: The past policy.
        control_cost: Whether control rows cost money.
    """

    name: str
    seed: int
    treatments: tuple[str, ...]
    amounts: F64
    shares: F64
    knobs: Knobs
    population: Population
    response: Response
    targeting: Targeting
    control_cost: bool = False

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the d features."""
        return self.population.names

    @property
    def value_family(self) -> str:
        """Family of the value: ``"bernoulli"`` or ``"zero_inflated_lognormal"``."""
        return self.response.value_family

    @property
    def cost_rule(self) -> str:
        """How cost follows from value: ``"per_redemption"``, ``"share_of_value"`` or ``"learned"``."""
        return self.response.cost_rule

    def rct(self, n: int, seed: Seed = 0) -> Logs:
        """Returns n rows of a trial with the world's shares, which the log knows.

        Args:
            n: Number of rows; at least one must fall in every arm.
            seed: Seed of the draw. The first rows do not depend on n.

        Raises:
            DataError: n < 1, or an arm has no rows.
        """
        return self._logs(n, seed, _RCT)

    def obs(self, n: int, seed: Seed = 0, *, reveal: bool = False) -> Logs:
        """Returns n rows of the past policy.

        Args:
            n: Number of rows.
            seed: Seed of the draw.
            reveal: Keep P(treatment taken | x, u), as a platform that logs its own draws would. Otherwise unknown.

        Raises:
            DataError: n < 1, or an arm has no rows.
        """
        return self._logs(n, seed, _OBS, reveal)

    def truth(self, x: NDArray[Any]) -> Menu:
        """Returns the exact conditional means of value and cost for every treatment, (N, M), float64.

        Args:
            x: Features as the world's logs hold them, (N, d).

        Raises:
            DataError: x has another number of columns.
        """
        parts = [self.response.means(r) for r in self._readings(x)]
        value, cost = (np.concatenate([part[k] for part in parts]) for k in (0, 1))
        return Menu(value=value, cost=cost, treatments=self.treatments)

    def propensity(self, x: NDArray[Any]) -> F64:
        """Returns the past policy's P(j | x), (N, M): the mood averaged out by 40-point Gauss-Hermite quadrature.

        Raises:
            DataError: x has another number of columns.
        """
        weights, policy = _WEIGHTS / _WEIGHTS.sum(), self.targeting
        scores = [policy.score(r) for r in self._readings(x)]
        return np.concatenate(
            [sum(w * policy.chances(s, float(u)) for u, w in zip(_NODES, weights, strict=True)) for s in scores]
        )

    def _readings(self, x: NDArray[Any]) -> list[F32]:
        rows = _check.array("x", x, ndim=2)
        if rows.shape[1] != len(self.features):
            raise _check.refuse(
                "x.shape[1]", rows.shape[1], f"this world has {len(self.features)} features", "Use x of its logs."
            )
        return [self.population.readings(rows[a : a + BLOCK]) for a in range(0, len(rows), BLOCK)]

    def _logs(self, n: int, seed: Seed, design: int, reveal: bool = False) -> Logs:
        n = int(_check.number("n", n, low=1))
        root = int(seed) if isinstance(seed, int | np.integer) else int(generator(seed).integers(2**62))
        x, t = np.empty((n, len(self.features)), np.float32), np.empty(n, np.int32)
        value, cost, chance = np.empty(n), np.empty(n), np.empty(n)
        columns: tuple[NDArray[Any], ...] = (x, t, value, cost, chance)
        for block, start in enumerate(range(0, n, BLOCK)):
            into = slice(start, min(start + BLOCK, n))
            for out, rows in zip(columns, self._block(root, design, block), strict=True):
                out[into] = rows[: into.stop - start]
        known = dict(zip(self.treatments, self.shares.tolist(), strict=True)) if design == _RCT else None
        return Logs(
            x=x, treatment=t, value=value, cost=cost, treatments=self.treatments, features=self.features,
            design="rct" if design == _RCT else "obs", propensity=chance if reveal else known,
            control_cost=self.control_cost,
        )  # fmt: skip

    def _block(self, root: int, design: int, block: int) -> tuple[NDArray[Any], ...]:
        rng = child(root, self.seed, design, block)
        x, u, draw = self.population.draw(rng, BLOCK), rng.standard_normal(BLOCK), rng.random(BLOCK)
        r = self.population.readings(x)
        p = self.targeting.chances(self.targeting.score(r), u) if design == _OBS else np.tile(self.shares, (BLOCK, 1))
        t = np.minimum((draw[:, None] >= np.cumsum(p, axis=1)).sum(axis=1), len(self.shares) - 1)
        value, cost = self.response.draw(r, t, u, rng)
        return x, t, value, cost, p[np.arange(BLOCK), t]


def money_off(*, seed: int = 0, n_features: int = 180, rate: float = 0.2, sharp: bool = False, **knobs: float) -> World:
    """Returns a world of 8 ordered levels, 0 to 7 money off an order: value = order, cost = amount · order.

    About one unit in five orders. Trial arms are equal.

    Args:
        seed: Draws the response functions, >= 0.
        n_features: Number of features, >= 40.
        rate: Mean order rate over all levels, in [0.005, 0.8].
        sharp: Whether responses are made of steps and corners of the features only.
        knobs: `selection`, `confounding`, `noise`, `overlap`: see `Knobs`.

    Raises:
        DataError: An argument is out of its range.
    """
    amounts = np.arange(8.0)
    _check.number("rate", rate, low=0.005, high=0.8)

    def predict_response(rng: np.random.Generator, r: F32, appetite: Appetite, k: Knobs) -> Response:
        return Orders(appetite, amounts, k.noise, k.confounding).calibrated(r, rate)

    names = tuple(str(int(a)) for a in amounts)
    return _world("money_off", seed, (n_features, 32), names, amounts, predict_response, Knobs(**knobs), sharp)


def discount(*, seed: int = 0, n_features: int = 192, **knobs: float) -> World:
    """Returns a world of 5 discounts, 0 to 20 % of the basket: value = gross basket revenue, cost = rate · basket.

    About one unit in five orders, a heavy-tailed basket of about 40 money, a little larger under a discount.

    Args:
        seed: Draws the response functions, >= 0.
        n_features: Number of features, >= 40.
        knobs: `selection`, `confounding`, `noise`, `overlap`: see `Knobs`.

    Raises:
        DataError: An argument is out of its range.
    """
    amounts = np.array([0.0, 0.05, 0.10, 0.15, 0.20])

    def predict_response(rng: np.random.Generator, r: F32, appetite: Appetite, k: Knobs) -> Response:
        orders = Orders(appetite, amounts, k.noise, k.confounding).calibrated(r, 0.2)
        size, swell = Surface.random(rng, r, 8), Surface.random(rng, r, 5)
        return Baskets(orders, size, swell, 3.0, 0.8 * k.noise, 0.3 * k.confounding).calibrated(r, 40.0)

    names = ("0%", "5%", "10%", "15%", "20%")
    return _world("discount", seed, (n_features, 32), names, amounts, predict_response, Knobs(**knobs))


def criteo_twin(*, seed: int = 0, **knobs: float) -> World:
    """Returns a twin of CRITEO-UPLIFT v2: value = conversion, cost = visit, in control too.

    12 features, 85 % treated. Visits .0382 in control and .0485 if treated (.0470 over all); conversions .00194 and
    .00309 (.0029 over all).

    Args:
        seed: Draws the response functions, >= 0.
        knobs: `selection`, `confounding`, `noise`, `overlap`: see `Knobs`.

    Raises:
        DataError: An argument is out of its range.
    """
    amounts = np.array([0.0, 1.0])

    def predict_response(rng: np.random.Generator, r: F32, appetite: Appetite, k: Knobs) -> Response:
        visits = Orders(appetite, amounts, k.noise, k.confounding)
        loyal, won = Surface.random(rng, r, 6), Surface.random(rng, r, 8)
        return Conversions(visits, loyal, won, -1.6, -1.5).calibrated(r, (0.0382, 0.0485), (0.00194, 0.00309))

    return _world("criteo_twin", seed, (12, 12), ("control", "treated"), amounts, predict_response, Knobs(**knobs))


_Respond = Callable[[np.random.Generator, F32, Appetite, Knobs], Response]
_APPETITES = {
    "money_off": {"strength": 0.55, "heterogeneity": 0.5},
    "discount": {"strength": 0.5, "heterogeneity": 0.7},
    "criteo_twin": {"strength": 0.1, "heterogeneity": 0.6},
}


def _world(
    name: str,
    seed: int,
    size: tuple[int, int],
    treatments: tuple[str, ...],
    amounts: F64,
    predict_response: _Respond,
    knobs: Knobs,
    sharp: bool = False,
) -> World:
    n_features, n_active = size
    if name != "criteo_twin":
        _check.number("n_features", n_features, low=40)
    rng = child(int(_check.number("seed", seed, low=0)), len(amounts))
    population = Population.random(rng, n_features, n_active)
    r = population.readings(population.draw(rng, 20_000))  # the calibration sample
    appetite = Appetite.random(rng, r, sharp=sharp, **_APPETITES[name])
    response = predict_response(rng, r, appetite, knobs)
    binary = name == "criteo_twin"
    shares = np.array([0.15, 0.85]) if binary else np.full(len(amounts), 1 / len(amounts))
    targeting = Targeting.old(rng, r, appetite, knobs, shares)
    if binary:
        population = replace(population, names=tuple(f"f{k}" for k in range(n_features)))
    return World(
        name=name, seed=seed, treatments=treatments, amounts=amounts, shares=shares, knobs=knobs, population=population,
        response=response, targeting=targeting, control_cost=binary,
    )  # fmt: skip
