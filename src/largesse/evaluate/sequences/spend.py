"""Two policies compared at equal spend: the difference in value, less what the difference in spend would bring elsewhere."""

from __future__ import annotations

from typing import Self

import numpy as np

from largesse import _check
from largesse._arguments import checked
from largesse.evaluate.sequences.asymptotic import AsymptoticSequence
from largesse.evaluate.sequences.look import Look
from largesse.evaluate.sequences.sums import Rows

__all__ = ["EqualSpendSequence"]

_NAMES = ("challenger_value", "challenger_cost", "champion_value", "champion_cost")
_PRICES = 9  # at which an interval of the price is evaluated, ends included


class EqualSpendSequence(AsymptoticSequence):
    """Confidence sequence of the difference in value between challenger and champion at equal spend, by re-pricing.

    The challenger spends Δc more per row than the champion. Spending exactly as much, at a price that is a little higher, it
    would lose λ Δc, where λ is the marginal return: the shadow price of the budget, the slope of the outcome curve. So

        difference at equal spend ≈ Δv - λ Δc,

    the mean of paired scores (v₁ - v₀) - λ (c₁ - c₀) of the same rows, in which common noise cancels. The scores are those of
    `policy_scores`, once with values and once with costs as outcome.

    What is lost: the re-pricing is of first order. The challenger's own curve bends, so with the slope λ' = dλ/dc of the
    marginal return, about ½ |λ'| (Δc)² is left out. Set the challenger's price so that its spend is near the champion's: that
    term then vanishes faster than the interval. The error of λ enters only times Δc: an interval of λ (`price_interval`) widens
    the result to all that its prices allow, and costs a part of the level if it is itself uncertain. At Δc = 0 no price matters.

    Value and cost of each policy have a sequence of their own in the same sums: `of("challenger_value")`. There is an interval of
    the difference once the values of both policies and the difference itself have enough effective events.

    >>> rng = np.random.default_rng(0)
    >>> value, cost = rng.random((4000, 2)) < [0.3, 0.2], np.array([0.5, 0.4]) + np.zeros((4000, 2))
    >>> both = EqualSpendSequence(expected=4000).update(value[:, 0], cost[:, 0], value[:, 1], cost[:, 1])
    >>> look = both.look(price=0.5, price_interval=(0.3, 0.7))
    >>> 0 < look.lower < 0.05 < look.upper, both.of("champion_cost").estimate
    (True, 0.4)
    """

    __slots__ = ()
    _columns, _what = 5, "difference in value at equal spend"

    @checked
    def update(
        self, challenger_value: Rows, challenger_cost: Rows, champion_value: Rows, champion_cost: Rows, *,
        weight: Rows | None = None, cluster: Rows | None = None, importance: Rows | None = None,
        outcome: Rows | None = None,
    ) -> Self:  # fmt: skip
        """Adds a batch of rows, and returns the sequence.

        Args:
            challenger_value: Scores of the challenger's value, (N,).
            challenger_cost: Scores of its cost, (N,).
            champion_value: Scores of the champion's value, (N,).
            champion_cost: Scores of its cost, (N,).
            weight: Weights of the rows, >= 0, (N,).
            cluster: Cluster of each row, (N,); rows of a cluster belong to one update.
            importance: Absolute difference of the importance weights of the two policies, (N,): 0 where both decide alike. With
                it, there is no interval before large weights have had outcomes; see `MeanSequence.update`.
            outcome: Value of each row, beside `importance`, (N,).

        Raises:
            DataError: An array has another length or a number that is not finite, or a weight is negative.
        """
        got = (challenger_value, challenger_cost, champion_value, champion_cost)
        self._add(dict(zip(_NAMES, got, strict=True)) | {"rows": None}, weight, cluster, importance, outcome)
        return self

    @checked
    def look(
        self, *, price: float, price_interval: tuple[float, float] | None = None, price_level: float = 1.0
    ) -> Look:
        """Returns the interval of the difference at equal spend now.

        Args:
            price: λ, the value that one more unit of spend brings at the margin, >= 0.
            price_interval: Interval of λ that contains `price`; the result covers every λ in it.
            price_level: Confidence of that interval at all looks together, e.g. 0.99 of an interval from an earlier trial; 1 if λ
                is known to be in it. The sequence takes what the level leaves: 1 - level = (1 - price_level) + (its own).

        Raises:
            DataError: A price is negative, the interval does not contain it, or its level leaves nothing.
        """
        prices = _prices(price, price_interval)
        alpha = 1 - self.level - (1 - _check.number("price_level", price_level, low=0.5, high=1))
        if alpha < 1e-6:
            rule = f"must be above the level of the sequence, {self.level:g}"
            raise _check.refuse(
                "price_level", price_level, rule, "Give a wider interval of the price, of a higher level."
            )
        if not self.sums.n or (means := self.sums.means())[4] <= 0:
            return self._none(self._what, "there are no rows yet")
        least = min(self.of(name).events for name in ("challenger_value", "champion_value"))
        looks = []
        for one in prices:
            c = np.array([1.0, -one, -1.0, one, 0.0]) / means[4]
            estimate = float(c @ means)
            c[4] = -estimate / means[4]
            looks.append(self._interval(self._what, estimate, c, least=least, level=1 - alpha))
        at, lower, upper = looks[0], min(look.lower for look in looks), max(look.upper for look in looks)
        reason = next((look.reason for look in looks if look.reason), "")
        return Look(
            self._what, "asymptotic", at.t, at.estimate, lower, upper, self.level, self.side,
            min(look.events for look in looks), reason,
        )  # fmt: skip

    @checked
    def of(self, name: str) -> Look:
        """Returns the interval of one policy's value or cost per row, at the level of the sequence.

        Args:
            name: ``"challenger_value"``, ``"challenger_cost"``, ``"champion_value"`` or ``"champion_cost"``.

        Raises:
            DataError: The name is none of the four.
        """
        k = _NAMES.index(_check.choice("name", name, _NAMES))
        what = name.replace("_", "'s ")
        if not self.sums.n or (means := self.sums.means())[4] <= 0:
            return self._none(what, "there are no rows yet")
        estimate, c = float(means[k] / means[4]), np.zeros(5)
        c[k], c[4] = 1 / means[4], -estimate / means[4]
        return self._interval(what, estimate, c)


def _prices(price: float, interval: tuple[float, float] | None) -> list[float]:
    """Returns the price, then those at which its interval is evaluated."""
    at = _check.number("price", price, low=0, high=_check.LARGEST)
    if interval is None:
        return [at]
    low, high = (_check.number("price_interval", end, low=0, high=_check.LARGEST) for end in interval)
    if not low <= at <= high:
        raise _check.refuse(
            "price_interval", (low, high), f"must contain the price {at:g}", "Give both from one estimate."
        )
    return [at, *np.linspace(low, high, _PRICES).tolist()]
