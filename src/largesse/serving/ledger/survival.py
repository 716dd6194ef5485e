"""What reservations come to, by survival analysis: what of them is paid or still reserved at each age, and of the open ones."""

from __future__ import annotations

from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["HIGHEST", "LOWEST", "PRESENT", "Kept", "Reservations", "kept"]

Floats = NDArray[np.float64]
LOWEST, HIGHEST = 0.2, 3.0
"""The ratio of what is paid to what was reserved corrects the price within this band only."""
_FEW = 30  # decisions that have reached an age, of which a step at this age counts half
_EARLIER = 200  # decisions that those of earlier versions count like at most
PRESENT = 100
"""The last decisions of a campaign, whose versions are those that decide now."""
_95 = NormalDist().inv_cdf(0.975)


class Reservations(NamedTuple):
    """Decisions of a campaign, evenly spread over its log, and what happened to their reservations.

    Attributes:
        age: Seconds since each decision, (n,).
        reservation: What it reserved, in smallest units, (n,).
        reserved: What of it is still reserved, (n,).
        of: Decision of each event, (E,); those of one decision are in their order.
        at: Age of the decision at the event, in seconds, (E,).
        released: What leaves the reservation at the event, (E,).
        paid: What is paid, (E,); negative for a refund.
        active: Whether something was reserved just before it, (E,).
        each: How many decisions of the campaign one of them stands for.
        version: Version of the policy of each, (n,); empty: all of one.
    """

    age: Floats
    reservation: Floats
    reserved: Floats
    of: NDArray[np.int64]
    at: Floats
    released: Floats
    paid: Floats
    active: NDArray[np.bool_]
    each: float
    version: NDArray[np.str_] = np.zeros(0, np.str_)

    def of_present(self) -> Reservations:
        """Returns the same decisions with less weight for versions that decide no longer; itself where there are none.

        Another version predicts other costs, so another share of them is paid. The decisions of earlier ones count like 200 in
        all; at ages that no decision of a present one has reached, they are what is known.
        """
        if not len(self.version):
            return self
        present = self.version[np.argsort(self.age, kind="stable")[: max(1, round(PRESENT / self.each))]]
        old = ~np.isin(self.version, np.unique(present))
        if not old.any():
            return self
        weight = np.where(old, min(1.0, _EARLIER / (self.each * float(old.sum()))), 1.0)
        own = weight[self.of]
        return self._replace(
            reservation=weight * self.reservation, reserved=weight * self.reserved, released=own * self.released,
            paid=own * self.paid,
        )  # fmt: skip


class Kept(NamedTuple):
    """What becomes of reservations, per unit of money reserved; each curve is constant between the ages.

    Attributes:
        ages: Ages, increasing, the first 0, (K,).
        still: The share that is still reserved, (K,).
        kept: The share that is still reserved, or was paid while something was, (K,).
        after: What is paid when nothing is reserved any more: refunds, and payments after the expiry, (K,).
        ratio: `kept` and `after` at the end: what is paid of one unit of money reserved.
        low: Lower end of its 95 % interval; what is still reserved at the last age may all come back.
        high: Upper end.
    """

    ages: Floats
    still: Floats
    kept: Floats
    after: Floats
    ratio: float
    low: float
    high: float

    def at(self, age: Floats) -> Floats:
        """Returns the share of a new reservation that is paid or reserved at some ages, within the band."""
        return np.clip((self.kept + self.after)[self._step(age)], LOWEST, HIGHEST)

    def released(self, age: Floats, later: float) -> Floats:
        """Returns which share of reservations that are open at some ages comes free within some seconds, within the band."""
        now, then = self._step(age), self._step(age + later)
        within = np.clip(self.kept, LOWEST, HIGHEST)
        still = self.still[now]
        return np.divide(within[now] - within[then], still, out=np.zeros_like(still), where=still > 0)

    def paid(self, age: Floats) -> Floats:
        """Returns which share of reservations that are open at some ages will be paid while something is reserved."""
        now = self._step(age)
        still = self.still[now]
        return 1 - np.divide(self.kept[now] - self.kept[-1], still, out=np.zeros_like(still), where=still > 0)

    def paid_after(self, age: Floats, later: float = np.inf) -> Floats:
        """Returns what is paid within some seconds though nothing is reserved, per unit of money reserved at the decision."""
        return self.after[self._step(age + later)] - self.after[self._step(age)]

    def _step(self, age: Floats) -> NDArray[np.int64]:
        return np.maximum(np.searchsorted(self.ages, age, side="right") - 1, 0)


def kept(given: Reservations) -> Kept:
    """Returns what becomes of reservations, from decisions of all ages.

    The product-limit estimator (Kaplan and Meier), weighted by money. At every age at which something happens, what is released
    and what is paid is set against all that was reserved just before by decisions that have reached this age; younger ones
    are censored: they say nothing of it. So it holds for any distribution of delays, with coupons that are never used, and the
    longer a reservation has been open, the less is expected of it where most payments come early. What is paid when nothing is
    reserved is set against the reservations of all decisions that have reached the age.

    At ages that no decision has reached, what is still reserved counts as if it were paid. Few decisions say little: where n have
    reached an age, a step there counts n⁴ / (n⁴ + 30⁴): half with 30 decisions, 99 % with 100.

    This is for money alone. Outcomes of young decisions are no evidence of what a treatment brings: whoever answers early is not
    like the others. What proves something (`trial_rows`, `monitor`, `promote`) reads decisions whose time is over.

    Args:
        given: Decisions.

    Reference:
        Kaplan and Meier 1958; the variance is the sum of squares of each decision's influence.
    """
    ages, slot = np.unique(given.at, return_inverse=True)
    if not len(ages) or not given.reservation.sum():
        return Kept(np.zeros(1), np.ones(1), np.ones(1), np.zeros(1), 1.0, 0.0, 1.0)
    reached, open_ = _reached(given, ages), _open(given, ages, slot)
    sure = 1 / (1 + _over(np.full(len(ages), _FEW * given.reservation.mean()), reached) ** 4)
    released, paid, late = (
        np.bincount(slot, of, len(ages))
        for of in (given.released, given.paid * given.active, given.paid * ~given.active)
    )
    scale = _over(sure, open_)
    still: Floats = np.cumprod(1 - scale * released, dtype=np.float64)
    before = np.concatenate([[1.0], still[:-1]])
    freed = np.cumsum(before * scale * (released - paid))
    after = np.cumsum(_over(sure * late, reached))
    ratio = float(1 - freed[-1] + after[-1])
    # How much less the ratio is for what is freed, and what is released, at each age; and how much more for what is paid later.
    by_freed, by_late = before * scale, _over(sure, reached)
    by_released = scale * _over(before * (freed[-1] - freed), still)
    own = given.active * (by_freed[slot] * (given.released - given.paid) - by_released[slot] * given.released)
    own_late = ~given.active * by_late[slot] * given.paid
    influence = _beyond(given, ages, slot, own_late, reached, np.zeros_like(own))
    influence -= _beyond(given, ages, slot, own, open_, given.released)
    error = _95 * float(np.sqrt((influence**2).sum()))
    ages, still, share, after = (
        np.concatenate([[first], of]) for first, of in ((0.0, ages), (1.0, still), (1.0, 1 - freed), (0.0, after))
    )
    return Kept(ages, still, share, after, ratio, max(0.0, ratio - float(still[-1]) - error), ratio + error)


def _over(above: Floats, below: Floats) -> Floats:
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def _reached(given: Reservations, ages: Floats) -> Floats:
    """Returns what the decisions had reserved that are at least so old."""
    order = np.argsort(given.age, kind="stable")
    total = np.concatenate([[0.0], np.cumsum(given.reservation[order])])
    return np.asarray(total[-1] - total[np.searchsorted(given.age[order], ages, side="left")])


def _open(given: Reservations, ages: Floats, slot: NDArray[np.int64]) -> Floats:
    """Returns what decisions that are at least so old have reserved just before each age."""
    earlier = np.cumsum(np.bincount(slot, given.released, len(ages)))
    earlier = np.concatenate([[0.0], earlier[:-1]])
    end = given.age[given.of]
    order = np.argsort(end, kind="stable")
    total = np.concatenate([[0.0], np.cumsum(given.released[order])])
    younger = total[np.searchsorted(end[order], ages, side="left")]
    return np.asarray(_reached(given, ages) - (earlier - younger))


def _beyond(
    given: Reservations, ages: Floats, slot: NDArray[np.int64], own: Floats, at_risk: Floats, leaves: Floats
) -> Floats:
    """Returns the sum of the events of each decision less what was to be expected of its money while that was at risk, (n,).

    Args:
        given: Decisions.
        ages: Ages of the events.
        slot: Place of each event's age among these.
        own: What is summed, of each event.
        at_risk: Money at risk at each age.
        leaves: What leaves the decision's money at risk at each event.
    """
    rate = np.concatenate([[0.0], np.cumsum(_over(np.bincount(slot, own, len(ages)).astype(np.float64), at_risk))])
    until = rate[np.searchsorted(ages, given.age, side="right")]
    own = own + leaves * (until[given.of] - rate[slot + 1])
    return np.asarray(np.bincount(given.of, own, len(given.age)) - given.reservation * until)
