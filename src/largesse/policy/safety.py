"""The safety level of a budget: the price at which the spend stays within the budget with a given probability.

The spend of new units at a price is uncertain: the calibration has a standard error, and the units behave at random. A
`SpendCurve` has the expected spend at every price and its standard deviation. With a `safety` of 0.95 the price of a
budget is the smallest one from which on the upper 95 % bound of the spend stays within the budget; testing from the
highest price down keeps that probability at the chosen price. The bound is a gamma quantile.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from largesse import _check
from largesse.errors import InfeasibleBudget
from largesse.policy.calibration import over
from largesse.result import Brief

__all__ = ["LEVEL", "Estimate", "SpendCurve", "amount", "normal_quantile"]

Floats = NDArray[np.float64]

LEVEL = 0.95
"""Probability of each end of an interval where no safety is given."""


class Estimate(NamedTuple):
    """Total spend or value of new units, with a prediction interval.

    Attributes:
        mean: Expected total.
        low: The total is below this with probability 5 % (1 - safety where a safety is given).
        high: The total is above this with the same probability.
    """

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class SpendCurve(Brief):
    """Spend of given units at every price that changes their allocation.

    Attributes:
        price: Rising, from 0, (K,).
        mean: Expected spend, non-increasing, (K,).
        margin: Margin that the upper bound adds to the mean, (K,).
        sd: Standard deviation of the spend, (K,).
    """

    price: Floats
    mean: Floats
    margin: Floats
    sd: Floats

    def bound(self, z: float) -> Floats:
        """Returns the upper bound of spend, z standard deviations up, made non-increasing by its later maximum."""
        return np.maximum.accumulate(_gamma(self.mean + self.margin, self.sd, z)[::-1])[::-1]

    def price_for(self, budget: float, safety: float | None) -> float:
        """Returns the smallest price at which the spend stays within the budget: expected spend, or its upper bound.

        Args:
            budget: Total budget of the units.
            safety: Probability of staying within it, in [0.5, 0.9999]; None: on average. The bound of every higher price
                must stay within it too.

        Raises:
            InfeasibleBudget: The units spend more at every price.
        """
        limit = self.mean if safety is None else self.bound(normal_quantile(safety, "safety"))
        if limit[-1] > budget:
            error = InfeasibleBudget(budget, float(limit[-1]))
            what = "its expected spend" if safety is None else f"its upper {100 * safety:g} % bound of spend"
            cost = _check.written(float(self.mean[-1]))
            error.add_note(f"No price leads to less spend; the cost named is {what}, {cost} is expected.")
            raise error
        return float(self.price[np.searchsorted(-limit, -budget, side="left")])

    def at(self, price: float, z: float) -> Estimate:
        """Returns the spend at one price, with bounds z standard deviations down and up."""
        k = np.searchsorted(self.price, price, side="right") - 1
        low = _gamma(self.mean[k], self.sd[k], -z)
        return Estimate(float(self.mean[k]), float(low), float(self.bound(z)[k]))


def amount(budget: Any) -> float:
    """Returns a budget as a number; infinity is allowed."""
    return float("inf") if budget == np.inf else _check.number("budget", budget)


def normal_quantile(level: float, field: str = "level") -> float:
    """Returns the normal quantile of a probability."""
    return NormalDist().inv_cdf(_check.number(field, level, low=0.5, high=0.9999))


def _gamma(mean: Floats, sd: Floats, z: float) -> Floats:
    """Returns the quantile of a gamma distribution with this mean and standard deviation, z normal deviations up or down.

    A small spend is a sum of few large amounts, skewed like a Poisson count, whose exact bound is a gamma quantile.
    """
    # Wilson and Hilferty 1931: mean · (1 - 1/(9k) + z / (3 √k))³, k = mean² / sd²
    spread = over(np.atleast_1d(sd), np.atleast_1d(mean)) / 3
    out: Floats = (mean * np.maximum(1 - spread**2 + z * spread, 0) ** 3).reshape(np.shape(mean))
    return out
