"""Who gets what, and how probable it was: holdout, exploration and treatment from salted hashes of the unit."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import NamedTuple

import numpy as np

from largesse import _check
from largesse._arguments import checked
from largesse.errors import DataError
from largesse.experiment.design.assign import shares_of, uniform_of
from largesse.serving.policy import best_treatment

__all__ = ["Draw", "Draws"]

_SHIPPED, _HOLDOUT = "shipped", "holdout"  # the arms of `largesse allocate --holdout`


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


@checked
@dataclass(frozen=True, slots=True)
class Draws:
    """Draws the treatment of each unit of a campaign by hashes, so that the probability of every treatment is known.

    A unit is in the holdout with probability h and gets control. Else it explores with probability e: its treatment is drawn
    from q, the mix over the treatments that it may get. Else it gets the policy's treatment, the argmax of value - price · cost,
    ties to the cheaper. The probability of treatment j is `e (1-h) q_j + (1-e)(1-h) [j is the policy's] + h [j is control]`.

    The three draws are numbers in [0, 1) from hashes: they depend neither on the order of arrival nor on the process, and are
    independent of each other. The holdout depends on salt and unit only: it is that of `largesse allocate --holdout H --salt S`,
    and the same in every period. Exploration depends on the campaign and the period, too.

    Args:
        salt: Name of the experiment; campaigns with one salt share their holdout.
        campaign: Name of the campaign.
        mix: Weight of each treatment in exploration, (M,), > 0; control first. Equal weights explore uniformly.
        holdout: Share h of the units that get control, 0 or in [0.000001, 0.999999].
        explore: Share e of the other units that explore, in [0, 1].

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
    _edge: float = field(init=False, repr=False, default=1.0)

    def __post_init__(self) -> None:
        if not self.salt:
            raise _check.refuse("salt", self.salt, "must not be empty", "Every experiment needs its own salt.")
        remedy = "Give a share of the units, e.g. 0.02."
        if self.holdout != 0:
            _check.number("holdout", self.holdout, low=1e-6, high=1 - 1e-6, remedy=remedy)
            arms = {_SHIPPED: 1 - self.holdout, _HOLDOUT: self.holdout}
            object.__setattr__(self, "_edge", float(np.cumsum(shares_of(arms))[0]))
        _check.number("explore", self.explore, low=0, high=1, remedy=remedy)
        for j, weight in enumerate(self.mix):
            _check.number(f"mix[{j}]", weight, low=1e-9, high=1e9, remedy="Every treatment needs a weight above 0.")
        if len(self.mix) < 2:
            raise _check.refuse("len(mix)", len(self.mix), "two treatments or more are needed", "Control is the first.")

    def numbers(self, period: int, unit: str) -> tuple[float, float, float]:
        """Returns the numbers in [0, 1) that decide on holdout, exploration and the explored treatment."""
        name = f"{self.salt}\0{self.campaign}\0{period}\0{unit}"  # no part has a zero byte: names differ where parts do
        digest = blake2b(name.encode(), digest_size=16, person=b"largesse explore").digest()
        explore, treatment = (int.from_bytes(part, "big") >> 11 for part in (digest[:8], digest[8:]))
        return uniform_of(self.salt, unit), explore / 2**53, treatment / 2**53

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

        Raises:
            DataError: Control is not allowed, or the budget pays for no allowed treatment.
        """
        codes = range(len(self.mix)) if allowed is None else sorted(set(allowed))
        if 0 not in codes:
            rule, remedy = (
                "control must be allowed, since the holdout gets it",
                "Add control to the allowed treatments.",
            )
            raise _check.refuse("allowed", list(codes), rule, remedy)
        policy = best_treatment(value, cost, price, codes)
        propensities = self._propensities(codes, policy)
        kind, code = self._drawn(self.numbers(period, unit), codes, policy)
        open_ = codes if affordable is None else [j for j in codes if j in affordable]
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

    def _propensities(self, codes: Sequence[int], policy: int) -> list[float]:
        h, e, total = self.holdout, self.explore, sum(self.mix[j] for j in codes)
        out = [0.0] * len(self.mix)
        for j in codes:  # p_j = e (1-h) q_j + (1-e)(1-h) 1[j = argmax], and h for control
            out[j] = e * (1 - h) * self.mix[j] / total
        out[policy] += (1 - e) * (1 - h)
        out[0] += h
        return out

    def _drawn(self, numbers: tuple[float, float, float], codes: Sequence[int], policy: int) -> tuple[str, int]:
        """Returns the kind and the treatment, before the budget is looked at."""
        holdout, explore, treatment = numbers
        if holdout >= self._edge:
            return "holdout", 0
        if explore >= self.explore:
            return "policy", policy
        rest = treatment * sum(self.mix[j] for j in codes)
        for j in codes:
            rest -= self.mix[j]
            if rest < 0:
                return "explore", j
        return "explore", codes[-1]
