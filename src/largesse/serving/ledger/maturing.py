"""What becomes of reservations, read from the log, and what a unit to come may reserve."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from largesse.serving.ledger.arrivals import Course, course_of
from largesse.serving.ledger.rows import place_of
from largesse.serving.ledger.sql import Having
from largesse.serving.ledger.survival import Kept, Reservations, kept
from largesse.serving.ledger.tables import decisions, outcomes
from largesse.serving.ledger.terms import Campaign

__all__ = ["Prospect", "prospect", "sampled"]

Floats = NDArray[np.float64]
_MOST = 4_000  # decisions that are read
_HORIZONS, _SHORT = 20, 6
_POINTS = 33
_d, _o = decisions.c, outcomes.c
_SAMPLE = Having(
    lambda values: sa.select(
        _d.place, _d.id, _d.time, _d.due, _d.reservation, _d.reserved, _d.paid, _d.state, _d.version
    ).where(_d.place.in_(values))
)  # fmt: skip
_REPORTS = Having(
    lambda values: sa.select(_o.place, _o.decision, _o.cost, _o.final, _o.void, _o.time).where(_o.decision.in_(values))
)
_Event = tuple[int, float, float, float, bool]


def sampled(connection: sa.Connection, row: Any, now: float) -> Reservations:
    """Returns decisions of a campaign, evenly spread over its log, and what happened to their reservations: at most 4,000."""
    numbers = np.unique(np.linspace(0, row.decided - 1, min(_MOST, row.decided)).astype(np.int64))
    rows = sorted(_SAMPLE.rows(connection, [place_of(row.code, number) for number in numbers.tolist()]))
    reports: dict[str, list[Any]] = {}
    for one in sorted(_REPORTS.rows(connection, [of.id for of in rows if _reported(of)])):
        reports.setdefault(one.decision, []).append(one)
    events = [(i, *event) for i, of in enumerate(rows) for event in _events(of, reports.get(of.id, ()), now)]
    of, at, freed, paid, active = np.array(events, np.float64).reshape(-1, 5).T
    time, _, reservation, reserved = np.array([one[2:6] for one in rows], np.float64).reshape(-1, 4).T
    return Reservations(
        np.maximum(now - time, 0.0), reservation, reserved, of.astype(np.int64), at, freed, paid, active.astype(np.bool_),
        row.decided / max(1, len(rows)), np.array([one.version for one in rows], np.str_),
    )  # fmt: skip


def _reported(row: Any) -> bool:
    """Returns whether an outcome has changed the money of a decision."""
    if row.state == "expired" or not row.reservation:
        return bool(row.paid)
    return bool(row.paid) or row.state != "pending" or row.reserved < row.reservation


def _events(row: Any, reports: Iterable[Any], now: float) -> Iterator[tuple[float, float, float, bool]]:
    """Yields what happened to the money of a decision: at which age, what was released and paid, whether any was reserved."""
    left, age, end = row.reservation, 0.0, row.due - row.time
    oldest = max(now - row.time, 0.0)
    for one in reports:
        age = min(max(one.time - row.time, age), oldest)  # a clock may be set back
        if left and age >= end and row.state != "pending":
            yield end, left, 0.0, True
            left = 0
        freed = left if one.final or one.void else min(left, max(one.cost, 0))
        yield age, freed, one.cost, left > 0
        left -= freed
    if left > row.reserved:
        yield min(max(end, age), oldest), left - row.reserved, 0.0, True


class Prospect(NamedTuple):
    """What is to be expected of a campaign's money.

    Attributes:
        row: The campaign's row.
        given: Its decisions.
        share: What is kept of reservations, by age.
        course: The units to come, and when.
        matures: Seconds until a reservation expires.
        coming: What will be kept of the reservations of units to come, by age; None: the same as of those so far.
    """

    row: Any
    given: Reservations
    share: Kept
    course: Course
    matures: float
    coming: Kept | None = None

    @property
    def next(self) -> Kept:
        """What will be kept of the reservations of units to come."""
        return self.share if self.coming is None else self.coming

    def horizons(self) -> Floats:
        """Returns the times at which the money is looked at, in seconds from now."""
        time, even = self.course.time, np.arange(1, _HORIZONS + 1) / _HORIZONS
        return np.concatenate([time * even[0] / 2 ** np.arange(_SHORT, 0, -1), time * even, [time + self.matures]])

    def share_at_end(self, age: Floats) -> Floats:
        """Returns what is kept of reservations that have some ages at the end; where more is paid later, that."""
        return np.maximum(self.next.at(age), self.next.at(np.array([np.inf])))

    def expected(self) -> float:
        """Returns what is still to be paid for the decisions so far, over what is reserved for them; 1 where nothing is.

        Decisions that are open at an age come to what decisions came to that were open at this age; beside that, refunds and
        payments after the expiry are expected of all of them.
        """
        given, share = self.given, self.share
        if not (total := float(given.reserved.sum())):
            return 1.0
        later = float((given.reservation * share.paid_after(given.age)).sum())
        return max(0.0, (float((given.reserved * share.paid(given.age)).sum()) + later) / total)

    def released(self, horizons: Floats) -> Floats:
        """Returns what today's reservations release until some seconds from now, less what is paid for them beyond that."""
        given, share = self.given, self.share
        total = float(given.reserved.sum())
        each = self.row.reserved / total if total else 0.0
        freed = [each * float((given.reserved * share.released(given.age, t)).sum()) for t in horizons.tolist()]
        late = [
            given.each * float((given.reservation * share.paid_after(given.age, t)).sum()) for t in horizons.tolist()
        ]
        return np.minimum(np.array(freed) - np.array(late), self.row.reserved)

    def arrivals(self, horizons: Floats, end: float) -> tuple[Floats, Floats, Floats]:
        """Returns the units that come until each of H times, as groups of P.

        Args:
            horizons: Times, in seconds from now, (H,).
            end: When the budget must have been used, in seconds from now.

        Returns:
            How many units a group has; what is kept of its reservations at the horizon; what is kept at the end: each (H, P).
        """
        points = (np.arange(_POINTS) + 0.5) / _POINTS
        when = np.array([self.course.quantiles(t, points) for t in horizons.tolist()])
        units = np.broadcast_to(self.course.come(horizons)[:, None] / _POINTS, when.shape)
        age = np.maximum(horizons[:, None] - when, 0.0)
        return units, self.next.at(age), self.share_at_end(np.maximum(end - when, 0.0))


def prospect(connection: sa.Connection, row: Any, campaign: Campaign, now: float) -> Prospect:
    """Returns what is to be expected of a campaign's money, from its log."""
    given = sampled(connection, row, now)
    time = np.maximum.accumulate(now - given.age)  # a clock may be set back
    course = course_of(time, given.each, row, campaign.units, campaign.until, now)
    share, present = kept(given), given.of_present()
    return Prospect(row, given, share, course, campaign.matures, share if present is given else kept(present))
