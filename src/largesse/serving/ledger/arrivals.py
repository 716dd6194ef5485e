"""When units arrive: a profile of the hours of the day or the week, learned from the log, and the units still to come."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Course", "Profile", "course_of", "profile_of"]

Floats = NDArray[np.float64]
_HOUR, _DAY = 3_600.0, 86_400.0
_WEEK = 168  # hours
_RECENT = 7 * _DAY
_FEWEST = 1e-3  # of the mean rate: an hour in which nobody came


@dataclass(frozen=True, slots=True)
class Profile:
    """How many units arrive in each hour of the week (UTC), beside the mean of all hours.

    Attributes:
        rate: Rate of each hour over the mean rate, from Thursday 0:00, as the time since 1970 begins, (168,); mean 1.
    """

    rate: Floats

    def until(self, time: Floats) -> Floats:
        """Returns the arrivals from 1970 until some times, where one arrives a second on average."""
        hours = time / _HOUR
        week, hour = np.divmod(hours, _WEEK)
        return _HOUR * (week * _WEEK + np.interp(hour, np.arange(_WEEK + 1), self._sums()))

    def when(self, arrivals: Floats) -> Floats:
        """Returns the times until which so many arrive; the inverse of `until`."""
        week, rest = np.divmod(arrivals / _HOUR, _WEEK)
        return _HOUR * (week * _WEEK + np.interp(rest, self._sums(), np.arange(_WEEK + 1)))

    def _sums(self) -> Floats:
        return np.concatenate([[0.0], np.cumsum(self.rate)])


@dataclass(frozen=True, slots=True)
class Course:
    """The units that are still to come, and when.

    Attributes:
        profile: The hours in which they come.
        now: The time, in seconds since 1970 (UTC).
        units: How many come, at least 1.
        time: Seconds in which they come.
    """

    profile: Profile
    now: float
    units: float
    time: float

    def come(self, within: Floats) -> Floats:
        """Returns how many come within some seconds."""
        first, last = self.profile.until(np.array([self.now, self.now + self.time]))
        done = self.profile.until(self.now + np.minimum(within, self.time)) - first
        return np.asarray(self.units * np.clip(done / max(last - first, 1e-12), 0.0, 1.0))

    def quantiles(self, within: float, points: Floats) -> Floats:
        """Returns the seconds after which given shares of those have come that come within some seconds."""
        first, last = self.profile.until(np.array([self.now, self.now + min(within, self.time)]))
        return np.asarray(self.profile.when(first + points * (last - first)) - self.now)


def course_of(time: Floats, each: float, row: Any, units: float | None, until: float, now: float) -> Course:
    """Returns the units that are still to come to a campaign.

    The rate of the last week (or of all the time, while it is shorter) goes on until the end, in the hours of the profile. If the
    campaign says how many units it has, those less the ones decided come, over that time or sooner. With less than a day of
    arrivals the rate is the mean since the start, at all hours.

    Args:
        time: Times of decisions, evenly spread over the log, increasing, (n,).
        each: How many decisions one of them stands for.
        row: The campaign's row.
        units: Number of decisions of the whole campaign; None: not known.
        until: End of the campaign.
        now: The time.
    """
    profile, left = profile_of(time, each, row.started, now), until - now
    ends = profile.until(np.array([now, until]))
    since = max(row.started, now - _RECENT) if now - row.started >= _DAY else row.started
    count = row.decided - each * float(np.searchsorted(time, since))
    level = max(count, 1.0) / max(float(ends[0] - profile.until(np.array([since]))[0]), 1e-3)
    expected = level * float(ends[1] - ends[0])
    if units is None:
        return Course(profile, now, max(1.0, expected), left)
    come = max(1.0, units - row.decided)
    sooner = float(profile.when(ends[:1] + come / level)[0]) - now
    return Course(profile, now, come, max(1e-3, min(left, sooner)))


def profile_of(time: Floats, each: float, started: float, now: float) -> Profile:
    """Returns the profile of the arrivals of a campaign.

    The rate of an hour of the day is that of the days so far, shrunk towards the mean rate of all hours. From two weeks on the
    rate of an hour of the week is that of the weeks so far, shrunk towards the rate of its hour of the day. The weight of an
    hour's own rate is that of a model with random effects: v / (v + w / k), with v the variance between hours beyond what
    chance makes, w the variance of one hour between days or weeks, and at least what counts of units vary by chance, k how often
    the hour was covered. With less than a day of arrivals all hours are the same.

    Args:
        time: Times of decisions, evenly spread over the log, increasing, (n,).
        each: How many decisions one of them stands for.
        started: Start of the campaign.
        now: The time.
    """
    flat = np.ones(_WEEK)
    first, last = int(np.ceil(started / _HOUR)), int(now // _HOUR)  # whole hours
    if now - started < _DAY or last - first < _DAY / _HOUR or len(time) < 2:
        return Profile(flat)
    first = max(first, last - 53 * _WEEK)  # a year is enough
    edges = np.arange(first, last + 1)
    counts = np.diff(np.interp(edges * _HOUR, time, each * np.arange(len(time)), left=0.0))
    hours, mean = edges[:-1], counts.mean()
    if not mean:
        return Profile(flat)
    by_day = _shrunk(counts, hours % 24, np.full(24, mean), each)
    rate = by_day[np.arange(_WEEK) % 24]
    if len(hours) >= 2 * _WEEK:
        rate = _shrunk(counts, hours % _WEEK, rate, each)
    rate = np.maximum(rate, _FEWEST * mean)
    return Profile(rate / rate.mean())


def _shrunk(counts: Floats, cell: NDArray[np.int64], towards: Floats, each: float) -> Floats:
    """Returns the mean count of each cell, shrunk towards what is given."""
    size = len(towards)
    k = np.bincount(cell, minlength=size)
    mean = np.bincount(cell, counts, size) / np.maximum(k, 1)
    within = float(np.square(counts - mean[cell]).sum()) / max(1, len(counts) - size) if len(counts) > size else 0.0
    noise = max(
        within, float(counts.mean()), each**2 / 6
    )  # counts are known to about one of the decisions that are read
    covered = k > 0
    beyond = float((np.square(mean - towards)[covered] - noise / k[covered]).mean())
    weight = max(beyond, 0.0) / (max(beyond, 0.0) + noise / np.maximum(k, 1))
    return np.asarray(np.where(covered, weight * mean + (1 - weight) * towards, towards))
