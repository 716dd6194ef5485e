"""Who gets what, and how probable it was: holdout, exploration and treatment from salted hashes of the unit."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from largesse import _check
from largesse._arguments import checked
from largesse.errors import DataError
from largesse.experiment.design.assign import shares_of, uniform_of
from largesse.serving.digests import digests
from largesse.serving.increments import best_treatments
from largesse.serving.policy import best_treatment

__all__ = ["KINDS", "Draw", "Draws", "ManyDraws"]

KINDS = ("policy", "explore", "holdout")
"""The rules by which units are drawn."""
_SHIPPED, _HOLDOUT = "shipped", "holdout"  # the arms of `largesse allocate --holdout`
_53_BITS = 2**53 - 1
_PERSON = b"largesse explore"
_MOST_BASES = 1_000  # sets of allowed treatments that are kept


class Draw(NamedTuple):
    """The treatment of one unit.

    Attributes:
        code: Number of the treatment; 0 is control.
        kind: "holdout", "explore" or "policy": by which rule the unit was drawn.
        propensities: Probability of every treatment, (M,); they sum to 1.
        limited: True if the budget did not pay for every treatment that the unit could have drawn.
    """

    code: int
    kind: str
    propensities: tuple[float, ...]
    limited: bool


class ManyDraws(NamedTuple):
    """The treatments of n units, none of them limited by the budget.

    Attributes:
        codes: Number of each unit's treatment, (n,).
        kinds: By which rule each unit was drawn, (n,): places in `KINDS`.
        propensities: Probability of every treatment, (n, M); each row sums to 1.
    """

    codes: NDArray[np.intp]
    kinds: NDArray[np.intp]
    propensities: NDArray[np.float64]


@checked
@dataclass(frozen=True, slots=True)
class Draws:
    """Draws the treatment of each unit of a campaign by hashes, so that the probability of every treatment is known.

    A unit is in the holdout with probability h and gets control. Else it explores with probability e: its treatment is drawn
    from q over the treatments that it may get: the mix, or a part of the mix and weights of its own. Else it gets the policy's
    treatment, the argmax of value - price · cost, ties to the cheaper. The probability of treatment j is
    `e (1-h) q_j + (1-e)(1-h) [j is the policy's] + h [j is control]`.

    The three draws are numbers in [0, 1) from hashes: they depend neither on the order of arrival nor on the process, and are
    independent of each other. The holdout depends on salt and unit only: it is that of `largesse allocate --holdout H --salt S`,
    and the same in every period. Exploration depends on the campaign and the period, too.

    Args:
        salt: Name of the experiment; campaigns with one salt share their holdout.
        campaign: Name of the campaign.
        mix: Weight of each treatment in exploration, (M,), > 0; control first. Equal weights explore uniformly.
        holdout: Share h of the units that get control, 0 or in [0.000001, 0.999999].
        explore: Share e of the other units that explore, in [0, 1].
        mix_share: Part of q that is the mix where a unit has weights of its own, in (0, 1].

    Raises:
        DataError: A share or a weight violates a rule above, or the salt is empty.

    >>> draws = Draws("spring", "coupons", mix=(1, 1, 1), holdout=0.1, explore=0.2)
    >>> draw = draws.draw(0, "u1", value=[0, 2, 3], cost=[0, 1, 4], price=1.0)
    >>> draw.code, draw.kind, [round(p, 2) for p in draw.propensities]
    (1, 'policy', [0.16, 0.78, 0.06])
    """

    salt: str
    campaign: str
    mix: tuple[float, ...]
    holdout: float = 0.02
    explore: float = 0.05
    mix_share: float = 0.2
    _edge: float = field(init=False, repr=False, default=1.0)
    _all: tuple[int, ...] = field(init=False, repr=False, compare=False, default=())
    _bases: dict[tuple[int, ...], tuple[list[float], float]] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        if not self.salt:
            raise _check.refuse("salt", self.salt, "must not be empty", "Every experiment needs its own salt.")
        remedy = "Give a share of the units, e.g. 0.02."
        if self.holdout != 0:
            _check.number("holdout", self.holdout, low=1e-6, high=1 - 1e-6, remedy=remedy)
            arms = {_SHIPPED: 1 - self.holdout, _HOLDOUT: self.holdout}
            object.__setattr__(self, "_edge", float(np.cumsum(shares_of(arms))[0]))
        _check.number("explore", self.explore, low=0, high=1, remedy=remedy)
        remedy = "Give a part of the exploration, e.g. 0.2."
        _check.number("mix_share", self.mix_share, low=1e-6, high=1, remedy=remedy)
        for j, weight in enumerate(self.mix):
            _check.number(f"mix[{j}]", weight, low=1e-9, high=1e9, remedy="Every treatment needs a weight above 0.")
        if len(self.mix) < 2:
            raise _check.refuse("len(mix)", len(self.mix), "two treatments or more are needed", "Control is the first.")
        object.__setattr__(self, "_all", tuple(range(len(self.mix))))

    def numbers(self, period: int, unit: str) -> tuple[float, float, float]:
        """Returns the numbers in [0, 1) that decide on holdout, exploration and the explored treatment."""
        name = self._prefix(period) + unit
        both = int.from_bytes(blake2b(name.encode(), digest_size=16, person=_PERSON).digest(), "big")
        return uniform_of(self.salt, unit), (both >> 75) / 2**53, (both >> 11 & _53_BITS) / 2**53

    def _prefix(self, period: int) -> str:
        return f"{self.salt}\0{self.campaign}\0{period}\0"  # no part has a zero byte: names differ where parts do

    def draw(
        self,
        period: int,
        unit: str,
        value: Sequence[float],
        cost: Sequence[float],
        price: float,
        *,
        allowed: Collection[int] | None = None,
        affordable: Collection[int] | None = None,
        weights: Sequence[float] | None = None,
    ) -> Draw:
        """Returns the treatment of a unit, and the probability that each treatment had.

        Where the budget does not pay for every treatment that the unit could have drawn, a treatment that it does not pay for
        is replaced by the best affordable one at this price, and the draw is `limited`. That depends on what was left, not on
        what was drawn, and the propensities are those after the replacement.

        Args:
            period: Number of the period.
            unit: Id of the unit.
            value: Predicted value of each treatment, (M,), finite.
            cost: Predicted cost of each treatment, (M,), finite, >= 0.
            price: Shadow price λ, >= 0.
            allowed: Numbers of the treatments that the unit may get, control among them; None: all.
            affordable: Numbers of the treatments that the budget pays for; None: all.
            weights: Weights of the treatments when this unit explores, (M,), >= 0; None, or 0 for all that are allowed: the mix.

        Raises:
            DataError: Control is not allowed, or the budget pays for no allowed treatment.
        """
        codes = self._all if allowed is None else tuple(sorted(set(allowed)))
        base, total = self._base(codes)
        policy = best_treatment(value, cost, price, codes)
        own = None if weights is None else self._own(codes, total, weights)
        propensities = base.copy() if own is None else [self.explore * (1 - self.holdout) * q for q in own]
        propensities[policy] += (1 - self.explore) * (1 - self.holdout)
        propensities[0] += self.holdout
        kind, code = self._drawn(self.numbers(period, unit), codes, policy, total, own)
        if affordable is None:
            return Draw(code, kind, tuple(propensities), limited=False)
        open_ = [j for j in codes if j in affordable]
        if all(j in open_ for j in codes if propensities[j] > 0):
            return Draw(code, kind, tuple(propensities), limited=False)
        if not open_:
            raise DataError(
                "budget: it pays for no allowed treatment, not even control. Raise the budget.", field="budget"
            )
        other = best_treatment(value, cost, price, open_)
        for j in codes:
            if j not in open_:
                propensities[other] += propensities[j]
                propensities[j] = 0.0
        return Draw(code if code in open_ else other, kind, tuple(propensities), limited=True)

    def explored(self, propensities: NDArray[np.float64], policy: NDArray[np.intp]) -> NDArray[np.float64]:
        """Returns q of units that the budget did not limit, (n, M), from what is stored; zeros where nothing is explored.

        Args:
            propensities: Probability of every treatment, (n, M).
            policy: The policy's treatment of each unit, (n,).

        >>> draws = Draws("spring", "coupons", mix=(1, 1), holdout=0.1, explore=0.2)
        >>> draw = draws.draw(0, "u1", value=[0, 2], cost=[0, 1], price=1.0, weights=(1, 3))
        >>> draws.explored(np.array([draw.propensities]), np.array([1])).round(6)
        array([[0.3, 0.7]])
        """
        left = propensities.copy()
        left[np.arange(len(left)), policy] -= (1 - self.explore) * (1 - self.holdout)
        left[:, 0] -= self.holdout
        every = self.explore * (1 - self.holdout)
        return np.clip(left / every, 0.0, 1.0) if every > 0 else np.zeros(left.shape)

    def _base(self, codes: tuple[int, ...]) -> tuple[list[float], float]:
        """Returns what exploration adds to the probability of each treatment, (M,), and the sum of the weights of the allowed."""
        if (known := self._bases.get(codes)) is not None:
            return known
        if 0 not in codes:
            rule = "control must be allowed, since the holdout gets it"
            raise _check.refuse("allowed", list(codes), rule, "Add control to the allowed treatments.")
        total = float(sum(self.mix[j] for j in codes))
        base = [0.0] * len(self.mix)
        for j in codes:  # p_j = e (1-h) q_j + (1-e)(1-h) 1[j = argmax], and h for control
            base[j] = self.explore * (1 - self.holdout) * self.mix[j] / total
        if len(self._bases) < _MOST_BASES:
            self._bases[codes] = base, total
        return base, total

    def _own(self, codes: tuple[int, ...], total: float, weights: Sequence[float]) -> list[float] | None:
        """Returns q of a unit with weights of its own, (M,); None where none of its treatments has a weight."""
        every = 0.0
        for j in codes:  # in this order, as `_own_many` does
            every += weights[j]
        if not every > 0:
            return None
        out, share = [0.0] * len(self.mix), self.mix_share
        for j in codes:
            out[j] = share * (self.mix[j] / total) + (1 - share) * (weights[j] / every)
        return out

    def _own_many(
        self, codes: tuple[int, ...], total: float, weights: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Returns q of units with weights of their own, (n, M), and which of them have one."""
        every = np.zeros(len(weights))
        for j in codes:
            every = every + weights[:, j]
        known, out, share = every > 0, np.zeros(weights.shape), self.mix_share
        for j in codes:
            of = np.divide(weights[:, j], every, out=np.zeros(len(weights)), where=known)
            out[:, j] = share * (self.mix[j] / total) + (1 - share) * of
        return out, known

    def _drawn(
        self,
        numbers: tuple[float, float, float],
        codes: Sequence[int],
        policy: int,
        total: float,
        own: list[float] | None,
    ) -> tuple[str, int]:
        """Returns the kind and the treatment, before the budget is looked at."""
        holdout, explore, treatment = numbers
        if holdout >= self._edge:
            return "holdout", 0
        if explore >= self.explore:
            return "policy", policy
        rest, shares = (treatment * total, self.mix) if own is None else (treatment, own)
        for j in codes:
            rest -= shares[j]
            if rest < 0:
                return "explore", j
        return "explore", codes[-1]

    def draw_many(
        self,
        period: int,
        units: Sequence[str],
        value: NDArray[np.float64],
        cost: NDArray[np.float64],
        price: float,
        allowed: NDArray[np.bool_] | None = None,
        weights: NDArray[np.float64] | None = None,
    ) -> ManyDraws:
        """Returns the treatments of many units, each as `draw` gives it where the budget pays for everything.

        Args:
            period: Number of the period.
            units: Ids of n units.
            value: Predicted values, (n, M), finite.
            cost: Predicted costs, (n, M), finite, >= 0.
            price: Shadow price λ, >= 0.
            allowed: Which treatments each unit may get, (n, M), control among them; None: all.
            weights: Weights of the treatments when each unit explores, (n, M), >= 0; None: the mix.

        Raises:
            DataError: Control is not allowed.
        """
        numbers = np.empty((len(units), 3))
        one = b"".join(digests(f"{self.salt}:", units, 8))  # as `uniform_of`
        both = b"".join(digests(self._prefix(period), units, 16, _PERSON))
        numbers[:, 0] = (np.frombuffer(one, ">u8") >> 11) / 2**53
        numbers[:, 1:] = (np.frombuffer(both, ">u8").reshape(-1, 2) >> 11) / 2**53
        if allowed is None:
            return self._draw_alike(numbers, self._all, value, cost, price, weights)
        out = ManyDraws(np.empty(len(units), np.intp), np.empty(len(units), np.intp), np.empty(value.shape))
        patterns, which = np.unique(allowed, axis=0, return_inverse=True)
        for k, pattern in enumerate(patterns):
            rows = np.flatnonzero(which.ravel() == k)
            codes = tuple(np.flatnonzero(pattern).tolist())
            own = None if weights is None else weights[rows]
            part = self._draw_alike(
                numbers[rows], codes, value[rows], np.where(pattern, cost[rows], np.inf), price, own
            )
            for whole, some in zip(out, part, strict=True):
                whole[rows] = some
        return out

    def _draw_alike(
        self, numbers: NDArray[np.float64], codes: tuple[int, ...], value: NDArray[np.float64], cost: NDArray[np.float64],
        price: float, weights: NDArray[np.float64] | None,
    ) -> ManyDraws:  # fmt: skip
        """Draws units that may get the same treatments; the cost of the others is infinite."""
        base, total = self._base(codes)
        policy, rows = best_treatments(value, cost, price), np.arange(len(value))
        propensities, rest, shares = np.tile(base, (len(value), 1)), numbers[:, 2] * total, np.array([self.mix])
        if weights is not None:
            own, known = self._own_many(codes, total, weights)
            propensities = np.where(known[:, None], self.explore * (1 - self.holdout) * own, propensities)
            shares, rest = np.where(known[:, None], own, shares), np.where(known, numbers[:, 2], rest)
        propensities[rows, policy] += (1 - self.explore) * (1 - self.holdout)
        propensities[:, 0] += self.holdout
        explored = np.full(len(value), codes[-1])
        for j in codes:
            before = rest >= 0
            rest = rest - shares[:, j]
            explored = np.where(before & (rest < 0), j, explored)
        kept, exploring = numbers[:, 0] >= self._edge, numbers[:, 1] < self.explore
        kinds = np.where(kept, 2, np.where(exploring, 1, 0))
        return ManyDraws(np.where(kept, 0, np.where(exploring, explored, policy)), kinds, propensities)
