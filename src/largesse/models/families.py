"""Outcome families: one class per likelihood, with its link, mean, loss, curvature and LightGBM objective.

A family models E value = mean(η), η = link(E value). With y the outcome and ℓ the (quasi-)log-likelihood:

| family | η = link(mean) | -ℓ, up to terms without η | curvature, d mean / d η |
|---|---|---|---|
| bernoulli | logit | ln(1 + e^η) - y η | mean (1 - mean) |
| poisson, amounts, zero_inflated_lognormal | log | e^η - y η | mean |
| gaussian | mean | (η - y)² / 2 | 1 |
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["AMOUNT", "BERNOULLI", "FAMILIES", "POSITIVE", "Family"]

Floats = NDArray[np.float64]
_EDGE = 1e-6  # smallest distance of a mean from the points where the link is infinite
_ZERO_SHARE = 0.2  # nonnegative amounts with at least this share of zeros are zero-inflated
_LARGEST_COUNT = 50  # integers above it are amounts, not counts


class Family(ABC):
    """A likelihood of an outcome.

    Attributes:
        name: Its name in configurations and saved models.
        objective: Its objective in LightGBM.
        low: Lower bound of the mean.
        high: Upper bound of the mean.
        value_is_conversion: Whether the mean is P(value > 0).
        two_parts: Whether it is modelled as P(value > 0) times the mean of a positive amount.
        linear: Whether the link is the identity.
    """

    name: ClassVar[str]
    objective: ClassVar[str]
    low: ClassVar[float] = -np.inf
    high: ClassVar[float] = np.inf
    value_is_conversion: ClassVar[bool] = False
    two_parts: ClassVar[bool] = False
    linear: ClassVar[bool] = False

    @abstractmethod
    def link(self, mean: NDArray[Any]) -> Floats:
        """Returns η of a mean, finite."""

    @abstractmethod
    def mean(self, link: Floats) -> Floats:
        """Returns the mean of η: the inverse of `link`."""

    @abstractmethod
    def loss(self, link: Floats, y: Floats) -> Floats:
        """Returns minus the (quasi-)log-likelihood of each outcome y at η."""

    @abstractmethod
    def curvature(self, mean: Floats) -> Floats:
        """Returns d mean / d η: the variance of an outcome in this family, up to its dispersion."""

    def looks_like(self, value: Floats) -> bool:
        """Returns whether the family suits logged values; `FAMILIES` are tried in their order."""
        return not self.misfits(value).any()

    def misfits(self, value: Floats) -> NDArray[np.bool_]:
        """Returns which logged values are impossible in the family, (N,)."""
        return np.zeros(len(value), np.bool_)

    def clip(self, mean: NDArray[Any]) -> NDArray[Any]:
        """Returns means clipped to [low, high]."""
        return np.clip(mean, self.low, self.high)

    def parts(self, conversion: bool) -> dict[str, Family]:
        """Returns the quantities that trees model separately, name → family, with P(value > 0) if `conversion` is set."""
        separate = conversion and not self.value_is_conversion
        return {"value": self} | ({"conversion": BERNOULLI} if separate else {})


class _Bernoulli(Family):
    """0 or 1: an order, a visit."""

    name, objective, low, high, value_is_conversion = "bernoulli", "binary", 0.0, 1.0, True

    def link(self, mean: NDArray[Any]) -> Floats:
        p = np.clip(np.asarray(mean, np.float64), _EDGE, 1 - _EDGE)
        return np.log(p) - np.log1p(-p)

    def mean(self, link: Floats) -> Floats:
        return 1 / (1 + np.exp(-link))

    def loss(self, link: Floats, y: Floats) -> Floats:
        return np.logaddexp(0.0, link) - y * link

    def curvature(self, mean: Floats) -> Floats:
        return mean * (1 - mean)

    def misfits(self, value: Floats) -> NDArray[np.bool_]:
        return ~np.isin(value, (0.0, 1.0))


class _Log(Family):
    """Amounts >= 0 with a log link: the quasi-likelihood of a Poisson variable, which keeps the mean."""

    low = 0.0

    def link(self, mean: NDArray[Any]) -> Floats:
        return np.log(np.maximum(np.asarray(mean, np.float64), _EDGE))

    def mean(self, link: Floats) -> Floats:
        return np.exp(np.minimum(link, 30))

    def loss(self, link: Floats, y: Floats) -> Floats:
        return self.mean(link) - y * link

    def curvature(self, mean: Floats) -> Floats:
        return mean

    def misfits(self, value: Floats) -> NDArray[np.bool_]:
        return value < 0


class _Poisson(_Log):
    """0, 1, 2, ...: orders."""

    name, objective = "poisson", "poisson"

    def looks_like(self, value: Floats) -> bool:
        return super().looks_like(value) and bool(value.max() <= _LARGEST_COUNT)

    def misfits(self, value: Floats) -> NDArray[np.bool_]:
        return (value < 0) | (value != np.floor(value))


class _ZeroInflatedLognormal(_Log):
    """Zeros and positive amounts (revenue). Networks and trees model it in two parts; one part alone is a Tweedie mean."""

    name, objective, two_parts = "zero_inflated_lognormal", "tweedie", True

    def looks_like(self, value: Floats) -> bool:
        return super().looks_like(value) and bool((value == 0).mean() >= _ZERO_SHARE)

    def parts(self, conversion: bool) -> dict[str, Family]:
        return {"bought": BERNOULLI, "basket": POSITIVE}


class _Gaussian(Family):
    """Any number."""

    name, objective, linear = "gaussian", "regression", True

    def link(self, mean: NDArray[Any]) -> Floats:
        return np.asarray(mean, np.float64)

    def mean(self, link: Floats) -> Floats:
        return link

    def loss(self, link: Floats, y: Floats) -> Floats:
        return (link - y) ** 2 / 2

    def curvature(self, mean: Floats) -> Floats:
        return np.ones_like(mean)


class _Amount(_Log):
    """Amounts >= 0, some of them 0: a cost."""

    name, objective = "amount", "tweedie"


class _Positive(_Log):
    """Amounts > 0: a basket, given an order."""

    name, objective = "positive", "gamma"


BERNOULLI, AMOUNT, POSITIVE = _Bernoulli(), _Amount(), _Positive()
FAMILIES: dict[str, Family] = {
    family.name: family for family in (BERNOULLI, _Poisson(), _ZeroInflatedLognormal(), _Gaussian())
}
"""The families of a value by name, in the order in which `Outcome.infer` tries them."""
