"""Signals without an interval: spend against time, days on which outcomes stop, delays, decisions without a model, age."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from largesse.serving.ledger.book import Ledger
from largesse.serving.ledger.rows import place_of
from largesse.serving.ledger.sql import Having
from largesse.serving.ledger.store import reading
from largesse.serving.ledger.tables import decisions, outcomes
from largesse.serving.ledger.terms import FALLBACK, Status
from largesse.serving.watch.reading import DAY, Decisions
from largesse.serving.watch.signals import Signal, ruled

__all__ = ["Days", "age", "arrivals", "delays", "outcomes_by_day", "spend"]

Counts = NDArray[np.int64]
_OFF_PLAN = 0.1  # of the budget
_EARLIEST = 0.1  # of the time
_BEFORE, _FEWEST_DAYS, _QUARTER, _FEWEST = 7, 3, 0.25, 20
_WITHOUT, _LIMITED = 0.01, 0.05  # shares of a day's decisions
_LATE, _SAMPLE = 0.1, 4_000
_d, _o = decisions.c, outcomes.c
_REPORTS = Having(lambda values: sa.select(_o.place, _o.time, _o.decision).where(_o.place.in_(values)))
_MADE = Having(lambda values: sa.select(_d.id, _d.time, _d.due).where(_d.place.in_(values)))


class _Day(NamedTuple):
    decided: int
    without: int
    limited: int


class Days:
    """Counts of the decisions by day.

    Args:
        versions: Names of the policies, to which reading the log adds.
    """

    def __init__(self, versions: list[str]) -> None:
        self.versions, self.of = versions, dict[int, _Day]()
        self.since: dict[int, float] = {}

    def add(self, day: int, part: Decisions) -> None:
        """Adds decisions of one day."""
        fallback = self.versions.index(FALLBACK) if FALLBACK in self.versions else -1
        before = self.of.get(day, _Day(0, 0, 0))
        now = len(part.time), int((part.version == fallback).sum()), int(part.limited.sum())
        self.of[day] = _Day(*(a + b for a, b in zip(before, now, strict=True)))
        for version in np.unique(part.version).tolist():
            self.since.setdefault(version, float(part.time[part.version == version][0]))

    def signals(self, today: int, date: Callable[[int], str]) -> list[Signal]:
        """Returns the shares of decisions without a model and of those that the budget limited, on the last whole day."""
        out = []
        for name, of, most, step in (
            ("without a model", "without", _WITHOUT,
             "Read the server's log: the run could not be loaded, or it did not answer in time."),
            ("limited by budget", "limited", _LIMITED,
             "Raise the budget, or the price: money ran short before the units did."),
        ):  # fmt: skip
            shares = {day: getattr(one, of) / one.decided for day, one in sorted(self.of.items()) if day < today}
            bad = [day for day, share in shares.items() if share > most]
            last = max(shares, default=None)
            out.append(ruled(
                "running", f"share {name}, last day", None if last is None else shares[last], alarm=last in bad,
                threshold=f"above {most:g}", first=date(bad[0]) if bad else None,
                rests_on=0 if last is None else self.of[last].decided, next_step=step,
            ))  # fmt: skip
        return out


def spend(status: Status, started: float, now: float) -> Signal:
    """Returns what is spent, and is expected to be of what is reserved, beside the share of the time that is over."""
    over = min(1.0, (now - started) / max(status.until - started, 1e-9))
    expected, budget = min(status.expected, status.reserved), max(status.budget, 1e-300)
    used = (status.spent + expected) / budget if status.budget else 0.0
    factors = [ratio / status.ratio if status.ratio else 1.0 for ratio in (status.ratio_low, status.ratio_high)]
    ends = [(status.spent + min(factor * expected, status.reserved)) / budget for factor in factors]
    step = (
        "Raise the price or the budget: at this pace the money ends before the campaign." if used > over else
        "Lower the price, or the budget: money is left over at this pace. Reservations that expire come back late."
    )  # fmt: skip
    return ruled(
        "running", "share of budget used less time", used - over if over >= _EARLIEST and status.decided else None,
        alarm=abs(used - over) > _OFF_PLAN, threshold=f"beyond ±{_OFF_PLAN:g}, after {_EARLIEST:.0%} of the time",
        next_step=step, rests_on=status.decided, ends=(ends[0] - over, ends[1] - over),
    )  # fmt: skip


def age(since: Mapping[str, float], now: float, oldest: float) -> Signal | None:
    """Returns the age in days of the newest version that decides; None before the first decision with a model."""
    made = [time for name, time in since.items() if name != FALLBACK]
    if not made:
        return None
    days = (now - max(made)) / DAY
    step = "Fit again on the decisions (largesse update), and compare the two (largesse decisions replay)."
    return ruled(
        "model", "age of the policy, days", days, alarm=days > oldest, threshold=f"above {oldest:g}",
        next_step=step, rests_on=0,
    )  # fmt: skip


def outcomes_by_day(ledger: Ledger, campaign: str, started: float) -> dict[int, int]:
    """Returns the number of outcomes reported on each day since the campaign began."""
    days = sa.select(sa.cast(sa.func.floor((_o.time - started) / DAY), sa.BigInteger).label("day"))
    of = days.where(_o.campaign == campaign).subquery().c.day
    with reading(ledger.engine) as connection:
        rows = connection.execute(sa.select(of, sa.func.count()).group_by(of)).all()
    return {int(day): int(n) for day, n in rows}


def arrivals(by_day: Mapping[int, int], today: int, date: Callable[[int], str]) -> Signal:
    """Returns the outcomes of the last whole day beside the mean of the seven days before."""
    shares, bad = dict[int, float](), list[int]()
    for day in range(_FEWEST_DAYS, today):
        mean = float(np.mean([by_day.get(k, 0) for k in range(max(0, day - _BEFORE), day)]))
        if mean >= _FEWEST:
            shares[day] = by_day.get(day, 0) / mean
            bad += [day] if shares[day] < _QUARTER else []
    last = max(shares, default=None)
    return ruled(
        "running", "outcomes, last day to before", None if last is None else shares[last],
        alarm=last in bad, threshold=f"below {_QUARTER:g}, where the days before had {_FEWEST} or more",
        first=date(bad[0]) if bad else None, rests_on=0 if last is None else by_day.get(last, 0),
        next_step="Find out why outcomes stopped: until they come, nothing that is judged moves.",
    )  # fmt: skip


def delays(ledger: Ledger, row: Any) -> Signal:
    """Returns the share of outcomes that came after the outcome window, of at most 4,000 evenly over the log."""
    numbers: Counts = np.unique(np.linspace(0, row.reported - 1, min(_SAMPLE, row.reported)).astype(np.int64))
    with reading(ledger.engine) as connection:
        reports = _REPORTS.rows(connection, [place_of(row.code, n) for n in numbers.tolist()])
        made = {one.id: one for one in _MADE.rows(connection, [int(one.decision[:16], 16) for one in reports])}
    late = [one.time > made[one.decision].due for one in reports if one.decision in made]
    share = float(np.mean(late)) if late else None
    return ruled(
        "running", "share of outcomes too late", share, alarm=share is not None and share > _LATE,
        threshold=f"above {_LATE:g}", rests_on=len(late),
        next_step="Lengthen the window (matures): decisions are judged before most of what they bring is known.",
    )  # fmt: skip
