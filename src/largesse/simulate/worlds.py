"""The worlds: a fixed amount off an order, a percentage off the basket, and a look-alike of CRITEO-UPLIFT v2."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from largesse import _check
from largesse._arguments import checked
from largesse._random import Seed, child, generator
from largesse.logs import Logs
from largesse.menu import Menu
from largesse.result import Brief
from largesse.simulate.population import Population
from largesse.simulate.responses import Baskets, Conversions, DoseResponse, Orders, Response
from largesse.simulate.surface import Surface

__all__ = ["Difficulty", "World", "criteo_twin", "discount", "money_off"]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

_BLOCK = 8192  # rows per generator, always drawn in full: the first rows of a log do not depend on its length

_RCT, _OBS = 0, 1
_AMOUNTS = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0)


class _Difficulty(TypedDict, total=False):
    selection: float
    confounding: float
    noise: float
    overlap: float


@checked
@dataclass(frozen=True, slots=True)
class Difficulty:
    """How hard a world is.

    Attributes:
        selection: How strongly the past policy depends on the score of its model, in [0, 10].
        confounding: Loading of the unobserved confounder u on outcomes and on the past policy, in [0, 5].
        noise: Standard deviation of the index given x (and, relative to its default, of log-baskets), in [0.1, 10].
        overlap: Share of the past policy's treatments drawn with the trial's shares, in [0, 1].

    Raises:
        DataError: A number is out of its range.
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
class PastPolicy:
    """A past policy: the score of an imperfect model and the confounder shift the trial's shares to larger amounts.

    P(j | x, u) = overlap · share_j + (1 - overlap) · softmax_j(ln share_j + index · λ_j),
    index = selection · score(x) + confounding · u, λ_j from -1 (control) to 1 (the largest amount).

    Attributes:
        parts: (weight, surface) pairs whose sum is the score, standard deviation about 1.
        difficulty: Selection, confounding and overlap.
        shares: Shares of the trial, (M,).
    """

    parts: tuple[tuple[float, Surface], ...]
    difficulty: Difficulty
    shares: F64

    @classmethod
    def random(
        cls, rng: np.random.Generator, r: F32, curve: DoseResponse, difficulty: Difficulty, shares: F64
    ) -> PastPolicy:
        """Returns a policy that favours units with high base rates, then units with large gains, both imperfectly."""
        noise = Surface.random(rng, r, 6)
        parts = ((0.7, curve.base.perturbed(rng, r)), (0.5, curve.log_gain.perturbed(rng, r)), (0.5, noise))
        return cls(parts, difficulty, shares)

    def score(self, r: F32) -> F64:
        """Returns the score of the policy's model, (N,)."""
        return np.sum([weight * surface(r).astype(np.float64) for weight, surface in self.parts], axis=0)

    def propensities(self, score: F64, u: F64 | float) -> F64:
        """Returns P(j | x, u), (N, M)."""
        d, tilt = self.difficulty, np.linspace(-1, 1, len(self.shares))
        index = d.selection * score + d.confounding * u
        p = self.shares * np.exp(np.clip(index, -30, 30)[:, None] * tilt)  # (N, M)
        p /= p.sum(axis=1, keepdims=True)
        return d.overlap * self.shares + (1 - d.overlap) * p


@checked
@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class World(Brief):
    """A population, its response to every treatment, and a past policy. Immutable; every draw depends on its seed only.

    Attributes:
        name: Name of the function that made the world.
        seed: Seed of the response functions: another seed is another world.
        treatments: Names of the M treatments, control first.
        amounts: Amount in currency, or discount rate, (M,).
        shares: Shares of the trial, (M,), sum 1.
        difficulty: How hard the world is.
        population: Distribution of the features.
        response: Distribution of value and cost.
        past_policy: The policy of the past campaign data.
        control_cost: Whether control rows have a cost.
    """

    name: str
    seed: int
    treatments: tuple[str, ...]
    amounts: F64
    shares: F64
    difficulty: Difficulty
    population: Population
    response: Response
    past_policy: PastPolicy
    control_cost: bool = False

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the d features."""
        return self.population.names

    def rct(self, n: int, seed: Seed = 0) -> Logs:
        """Returns n rows of a trial with the world's shares, which are declared in the logs.

        Args:
            n: Number of rows; every arm needs at least one.
            seed: Seed of the draw. The first rows do not depend on n.

        Raises:
            DataError: n < 1, or an arm has no rows.
        """
        return self._logs(n, seed, _RCT)

    def obs(self, n: int, seed: Seed = 0) -> Logs:
        """Returns n rows of past campaign data (OBS log); propensities are not logged.

        Args:
            n: Number of rows; every treatment needs at least one.
            seed: Seed of the draw. The first rows do not depend on n.

        Raises:
            DataError: n < 1, or a treatment has no rows.
        """
        return self._logs(n, seed, _OBS)

    def truth(self, x: NDArray[Any]) -> Menu:
        """Returns the exact conditional means of value and cost for every treatment, (N, M), float64.

        Args:
            x: Features in the form of the world's logs, (N, d).

        Raises:
            DataError: x has another number of columns.
        """
        rows = _check.array("x", x, ndim=2)
        if rows.shape[1] != len(self.features):
            raise _check.refuse(
                "x.shape[1]", rows.shape[1], f"this world has {len(self.features)} features", "Use x of its logs."
            )
        blocks = (self.population.covariates(rows[a : a + _BLOCK]) for a in range(0, len(rows), _BLOCK))
        parts = [self.response.means(r) for r in blocks]
        value, cost = (np.concatenate([part[k] for part in parts]) for k in (0, 1))
        return Menu(value=value, cost=cost, treatments=self.treatments)

    def _logs(self, n: int, seed: Seed, design: int) -> Logs:
        n = int(_check.number("n", n, low=1))
        root = int(seed) if isinstance(seed, int | np.integer) else int(generator(seed).integers(2**62))
        x, t = np.empty((n, len(self.features)), np.float32), np.empty(n, np.int32)
        value, cost = np.empty(n), np.empty(n)
        columns: tuple[NDArray[Any], ...] = (x, t, value, cost)
        for block, start in enumerate(range(0, n, _BLOCK)):
            part = slice(start, min(start + _BLOCK, n))
            for out, rows in zip(columns, self._block(root, design, block), strict=True):
                out[part] = rows[: part.stop - start]
        shares = dict(zip(self.treatments, self.shares.tolist(), strict=True)) if design == _RCT else None
        return Logs(
            x=x, treatment=t, value=value, cost=cost, treatments=self.treatments, features=self.features,
            design="rct" if design == _RCT else "obs", propensity=shares, control_cost=self.control_cost,
        )  # fmt: skip

    def _block(self, root: int, design: int, block: int) -> tuple[NDArray[Any], ...]:
        """Returns features, treatments, values and costs of a full block."""
        rng = child(root, self.seed, design, block)
        x, u, uniform = self.population.draw(rng, _BLOCK), rng.standard_normal(_BLOCK), rng.random(_BLOCK)
        r, p, policy = self.population.covariates(x), self.shares[None], self.past_policy
        if design == _OBS:
            p = policy.propensities(policy.score(r), u)
        t = np.minimum((uniform[:, None] >= np.cumsum(p, axis=1)).sum(axis=1), len(self.shares) - 1)
        return x, t, *self.response.draw(r, t, u, rng)


@checked
def money_off(
    *, seed: int = 0, n_features: int = 180, rate: float = 0.2, sharp: bool = False,
    amounts: tuple[float, ...] = _AMOUNTS, **difficulty: Unpack[_Difficulty],
) -> World:  # fmt: skip
    """Returns a world with fixed amounts off an order: value = order, cost = amount · order.

    The trial has equal shares.

    Args:
        seed: Seed of the response functions, >= 0.
        n_features: Number of features, >= 40.
        rate: Mean order rate over all amounts, in [0.005, 0.8].
        sharp: Whether responses consist of steps and corners only.
        amounts: The amounts in currency, 0 first, rising; at least three.
        difficulty: `selection`, `confounding`, `noise`, `overlap`: see `Difficulty`.

    Raises:
        DataError: An argument is out of its range.
    """
    _check.number("rate", rate, low=0.005, high=0.8)
    levels = _check.numbers("amounts", amounts)
    if len(levels) < 3 or levels[0] != 0 or (np.diff(levels) <= 0).any():
        raise _check.refuse(
            "amounts", amounts, "must be at least three, rise, and begin with 0", "Give (0.0, 3.0, 5.0)."
        )

    def response(rng: np.random.Generator, r: F32, curve: DoseResponse, d: Difficulty) -> Response:
        return Orders(curve, levels, d.noise, d.confounding).calibrated(r, rate)

    names = tuple(f"{a:g}" for a in levels)
    return _world("money_off", seed, n_features, names, levels, response, Difficulty(**difficulty), sharp)


@checked
def discount(*, seed: int = 0, n_features: int = 192, **difficulty: Unpack[_Difficulty]) -> World:
    """Returns a world with 5 discounts, 0 to 20 % of the basket: value = gross basket revenue, cost = rate · basket.

    About one unit in five orders; the basket is heavy-tailed with mean about 40, a little larger with a discount.

    Args:
        seed: Seed of the response functions, >= 0.
        n_features: Number of features, >= 40.
        difficulty: `selection`, `confounding`, `noise`, `overlap`: see `Difficulty`.

    Raises:
        DataError: An argument is out of its range.
    """
    amounts = np.array([0.0, 0.05, 0.10, 0.15, 0.20])

    def response(rng: np.random.Generator, r: F32, curve: DoseResponse, d: Difficulty) -> Response:
        orders = Orders(curve, amounts, d.noise, d.confounding).calibrated(r, 0.2)
        size, growth = Surface.random(rng, r, 8), Surface.random(rng, r, 5)
        return Baskets(orders, size, growth, 3.0, 0.8 * d.noise, 0.3 * d.confounding).calibrated(r, 40.0)

    names = ("0%", "5%", "10%", "15%", "20%")
    return _world("discount", seed, n_features, names, amounts, response, Difficulty(**difficulty))


@checked
def criteo_twin(*, seed: int = 0, **difficulty: Unpack[_Difficulty]) -> World:
    """Returns a simulated look-alike of CRITEO-UPLIFT v2: value = conversion, cost = visit, in control too.

    12 features, 85 % treated. Visit rates .0382 in control and .0485 if treated (.0470 overall); conversion rates .00194
    and .00309 (.0029 overall).

    Args:
        seed: Seed of the response functions, >= 0.
        difficulty: `selection`, `confounding`, `noise`, `overlap`: see `Difficulty`.

    Raises:
        DataError: An argument is out of its range.
    """
    amounts = np.array([0.0, 1.0])

    def response(rng: np.random.Generator, r: F32, curve: DoseResponse, d: Difficulty) -> Response:
        visits = Orders(curve, amounts, d.noise, d.confounding)
        organic, incremental = Surface.random(rng, r, 6), Surface.random(rng, r, 8)
        return Conversions(visits, organic, incremental, -1.6, -1.5).calibrated(r, (0.0382, 0.0485), (0.00194, 0.00309))

    return _world("criteo_twin", seed, 12, ("control", "treated"), amounts, response, Difficulty(**difficulty))


_DOSE_RESPONSES = {
    "money_off": {"median_gain": 0.55, "heterogeneity": 0.5},
    "discount": {"median_gain": 0.5, "heterogeneity": 0.7},
    "criteo_twin": {"median_gain": 0.1, "heterogeneity": 0.6},
}


def _world(
    name: str, seed: int, n_features: int, treatments: tuple[str, ...], amounts: F64,
    make_response: Callable[[np.random.Generator, F32, DoseResponse, Difficulty], Response],
    difficulty: Difficulty, sharp: bool = False,
) -> World:  # fmt: skip
    binary = len(treatments) == 2
    if not binary:
        _check.number("n_features", n_features, low=40)
    rng = child(int(_check.number("seed", seed, low=0)), len(amounts))
    population = Population.random(rng, n_features, min(n_features, 32))
    r = population.covariates(population.draw(rng, 20_000))  # the calibration sample
    curve = DoseResponse.random(rng, r, sharp=sharp, **_DOSE_RESPONSES[name])
    response = make_response(rng, r, curve, difficulty)
    shares = np.array([0.15, 0.85]) if binary else np.full(len(amounts), 1 / len(amounts))
    past_policy = PastPolicy.random(rng, r, curve, difficulty, shares)
    if binary:
        population = replace(population, names=tuple(f"f{k}" for k in range(n_features)))
    return World(
        name=name, seed=seed, treatments=treatments, amounts=amounts, shares=shares, difficulty=difficulty,
        population=population, response=response, past_policy=past_policy, control_cost=binary,
    )  # fmt: skip
