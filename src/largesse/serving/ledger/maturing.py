"""What becomes of reservations: the share that is paid or still reserved by their age, and what a unit to come may reserve."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from largesse.serving.ledger.rows import place_of
from largesse.serving.ledger.sql import Having
from largesse.serving.ledger.tables import decisions

__all__ = ["HIGHEST", "LOWEST", "Kept", "Reservations", "kept", "per_unit", "sampled"]

Floats = NDArray[np.float64]
LOWEST, HIGHEST = 0.2, 3.0
"""The ratio of what is paid to what was reserved corrects the price within this band only."""
_MOST = 4_000  # decisions that are read
_PRIOR = 30  # decisions that a group is shrunk by, towards the younger one; the youngest towards 1
_GROUP = 100  # decisions of one age, at least
_GROUPS = 25
_HORIZONS = 20
_POINTS = 33
_95 = NormalDist().inv_cdf(0.975)
_d = decisions.c
_SAMPLE = Having(
    lambda values: sa.select(_d.place, _d.time, _d.reservation, _d.reserved, _d.paid).where(_d.place.in_(values))
)


class Reservations(NamedTuple):
    """Decisions of a campaign, evenly spread over its log.

    Attributes:
        age: Seconds since each decision, (n,).
        reservation: What it reserved, in smallest units, (n,).
        kept: What of it is paid or still reserved, (n,).
        each: How many decisions of the campaign one of them stands for.
    """

    age: Floats
    reservation: Floats
    kept: Floats
    each: float


class Kept(NamedTuple):
    """The share of reservations that is paid or still reserved, by their age.

    Attributes:
        ages: Ages, increasing, (K,); before the first the share is 1, after the last it is the last.
        shares: Shares, within the band, (K,).
        ratio: The share at the end, before it is cut to the band: what is paid of one unit of money reserved.
        low: Lower end of its 95 % interval.
        high: Upper end.
    """

    ages: Floats
    shares: Floats
    ratio: float
    low: float
    high: float

    def at(self, age: Floats) -> Floats:
        """Returns the share at some ages."""
        return np.interp(age, self.ages, self.shares)


def sampled(connection: sa.Connection, row: Any, now: float) -> Reservations:
    """Returns decisions of a campaign, evenly spread over its log: at most 4,000."""
    numbers = np.unique(np.linspace(0, row.decided - 1, min(_MOST, row.decided)).astype(np.int64))
    rows = _SAMPLE.rows(connection, [place_of(row.code, number) for number in numbers.tolist()])
    time, reservation, reserved, paid = np.array([one[1:] for one in rows], np.float64).reshape(-1, 4).T
    return Reservations(now - time, reservation, reserved + paid, row.decided / max(1, len(rows)))


def kept(given: Reservations, matures: float) -> Kept:
    """Returns which share of reservations is paid or still reserved at each age.

    Decisions of about one age are a group. What is still reserved counts as if it were paid, so a group says nothing of
    the time to come; the ratio rests on decisions that have matured, or, while there are none, on the oldest. Few decisions say
    little: each group is shrunk towards the younger one, and the youngest towards 1.

    Args:
        given: Decisions.
        matures: Seconds until a reservation expires.
    """
    order = np.argsort(given.age, kind="stable")
    young = order[given.age[order] < matures]
    groups = np.array_split(young, min(_GROUPS, max(1, len(young) // _GROUP))) if len(young) else []
    prior = _PRIOR * float(given.reservation.mean()) if len(given.age) else 0.0
    ages, shares, share, last = [0.0], [1.0], 1.0, young[:0]
    for last in groups:
        share = _share(given, last, share, prior)
        ages.append(float(given.age[last].mean()))
        shares.append(share)
    old = order[given.age[order] >= matures]
    if len(old):  # what nobody has used expires all at once
        ages += [matures, matures]
        shares += [share, share := _share(given, old, share, prior)]
        last = old
    error = _standard_error(given, last, share, prior)
    return Kept(
        np.array(ages), np.clip(shares, LOWEST, HIGHEST), share, max(0.0, share - _95 * error), share + _95 * error
    )


def _share(given: Reservations, rows: NDArray[np.intp], before: float, prior: float) -> float:
    total = float(given.reservation[rows].sum()) + prior
    return (float(given.kept[rows].sum()) + prior * before) / total if total else before


def _standard_error(given: Reservations, rows: NDArray[np.intp], share: float, prior: float) -> float:
    """Returns the standard error of the ratio of two sums."""
    total = float(given.reservation[rows].sum()) + prior
    return float(np.sqrt(((given.kept[rows] - share * given.reservation[rows]) ** 2).sum())) / total if total else 0.0


def per_unit(row: Any, given: Reservations, share: Kept, matures: float, time: float, units: float) -> float:
    """Returns what each unit to come may reserve, on average, so that the budget is paid or reserved at the end, not before.

    With constant arrivals, and r reserved by each, paid and reserved money after t more seconds is

        spent + reserved - G(t) + r U(t) C(t),

    G(t): what today's reservations release until then; U(t): the units that come; C(t): the mean share that is kept
    of theirs. The result is the largest r for which this is at most the budget, at 20 times until the end and when the last
    decisions have matured: more than was reserved may be paid for them.

    Args:
        row: The campaign's row.
        given: Its decisions.
        share: What is kept of reservations, by age.
        matures: Seconds until a reservation expires.
        time: Seconds until the end.
        units: Units to come.
    """
    left = row.budget - row.spent - row.reserved
    horizons = np.append(np.linspace(0, time, _HORIZONS + 1)[1:], time + matures)
    now = share.at(given.age)
    released = [given.each * float((given.reservation * (now - share.at(given.age + t))).sum()) for t in horizons]
    free = left + np.minimum(released, row.reserved)
    come = units * np.minimum(horizons / time, 1.0)
    points = (np.arange(_POINTS) + 0.5) / _POINTS
    mean = np.array([share.at(np.maximum(t - time, 0) + min(t, time) * points).mean() for t in horizons])
    return max(0.0, float((free / (come * mean)).min()))
