"""Units to come: a profile of the hours, learned from the log, against the truth and against the mean rate since the start."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sqlalchemy", reason="the extra 'serve' is not installed")

from largesse.serving import Ledger
from largesse.serving.ledger import maturing
from largesse.serving.ledger.arrivals import Course, Profile, course_of, profile_of
from tests.common.ledgers import Clock, ask, campaign

HOUR, DAY, WEEK = 3_600.0, 86_400.0, 7 * 86_400.0
START = 1_700_000_000.0  # a Tuesday, 22:13


def true_rate(hour: Any) -> Any:
    """Returns the rate of an hour since 1970: five times as many at noon as at midnight, at the weekend twice as many."""
    day = (hour // 24 + 3) % 7  # Monday: 0
    return (3 - 2 * np.cos(2 * np.pi * (hour % 24) / 24)) * np.where(day >= 5, 2.0, 1.0)


def arrivals(rng: Any, start: float, days: float, per_hour: float) -> Any:
    """Returns the times of a Poisson process with that rate."""
    hours = np.arange(int(start // HOUR), int((start + days * DAY) // HOUR) + 1)
    times = [
        hour * HOUR + rng.random(n) * HOUR
        for hour, n in zip(hours, rng.poisson(per_hour * true_rate(hours)), strict=True)
    ]
    every = np.sort(np.concatenate(times))
    return every[(every >= start) & (every < start + days * DAY)]


def expected_to_come(per_hour: float, now: float, until: float) -> float:
    grid = np.arange(now, until, 60.0)
    return float((per_hour * true_rate(grid // HOUR)).sum() / 60)


def read(time: Any, most: int = 4_000) -> tuple[Any, float]:
    """Returns what is read of a log: at most so many decisions, evenly."""
    numbers = np.unique(np.linspace(0, len(time) - 1, min(most, len(time))).astype(int))
    return time[numbers], len(time) / len(numbers)


def course(time: Any, now: float, until: float, units: float | None = None) -> Course:
    so_far = time[time <= now]
    row: Any = SimpleNamespace(started=START, decided=len(so_far))
    return course_of(*read(so_far), row, units, until, now)


@pytest.mark.parametrize("seed", range(4))
def test_the_units_to_come_are_right_at_any_hour(seed):
    """After two weeks of five, within 4 % at every hour; by the mean rate since the start it is 10 % and more."""
    time, until = arrivals(np.random.default_rng(seed), START, 35, 100.0), START + 35 * DAY
    wrong, before = [], []
    for now in START + np.arange(14 * DAY, 32 * DAY, 5 * HOUR):
        right = expected_to_come(100.0, now, until)
        wrong.append(course(time, now, until).units / right - 1)
        before.append((time <= now).sum() / (now - START) * (until - now) / right - 1)
    assert np.abs(wrong).max() < 0.04
    assert np.abs(before).max() > 0.1
    assert np.abs(wrong).mean() < 0.4 * np.abs(before).mean()


def test_in_the_first_weeks_it_knows_the_hours_of_the_day():
    """Where all days are alike, from the second day on."""
    rng = np.random.default_rng(5)
    hours = np.arange(int(START // HOUR), int((START + 10 * DAY) // HOUR) + 1)
    rate = 100 * (3 - 2 * np.cos(2 * np.pi * (hours % 24) / 24))
    time = np.sort(
        np.concatenate([h * HOUR + rng.random(n) * HOUR for h, n in zip(hours, rng.poisson(rate), strict=True)])
    )
    time = time[time >= START]
    until = START + 10 * DAY
    wrong, before = [], []
    for now in START + np.arange(1.5 * DAY, 9 * DAY, 2 * HOUR):
        grid = np.arange(now, until, 60.0)
        right = float((3 - 2 * np.cos(2 * np.pi * (grid // HOUR % 24) / 24)).sum() * 100 / 60)
        wrong.append(course(time, now, until).units / right - 1)
        before.append((time <= now).sum() / (now - START) * (until - now) / right - 1)
    assert np.abs(wrong).max() < 0.04
    assert np.abs(before).max() > 0.1
    assert np.abs(wrong).mean() < 0.3 * np.abs(before).mean()


def test_the_first_day_is_as_ever():
    """With less than a day of arrivals: the mean rate since the start, at all hours."""
    time = START + np.linspace(0, 0.9 * DAY, 500)
    got = course(time, START + 0.9 * DAY, START + 9 * DAY)
    assert got.units == pytest.approx(500 * 9, rel=1e-3)
    assert got.come(np.array([got.time / 4])) == pytest.approx([got.units / 4])


def test_the_rate_is_that_of_the_last_week():
    """Twice as many units since three weeks ago: these count."""
    first, second = START + np.arange(0, 3 * WEEK, 600.0), START + np.arange(3 * WEEK, 6 * WEEK, 300.0)
    got = course(np.concatenate([first, second]), START + 6 * WEEK, START + 8 * WEEK)
    assert got.units == pytest.approx(2 * WEEK / 300, rel=0.01)


@pytest.mark.parametrize("more", [20_000, 300_000])
def test_the_units_of_the_campaign_count(more):
    """They come by the profile until the end, or sooner where the rate is higher."""
    time, now, until = arrivals(np.random.default_rng(1), START, 28, 100.0), START + 15 * DAY, START + 28 * DAY
    got = course(time, now, until, units=float((time <= now).sum() + more))
    assert got.units == more
    if more < 100_000:
        assert expected_to_come(100.0, now, now + got.time) == pytest.approx(more, rel=0.05)
    else:
        assert got.time == until - now
    part = got.come(np.array([6 * HOUR]))[0] / got.units
    right = expected_to_come(100.0, now, now + 6 * HOUR) / expected_to_come(100.0, now, now + got.time)
    assert part == pytest.approx(right, rel=0.1)
    assert course(time, now, until, units=5.0).units == 1.0  # more have come than were expected


def test_quantiles_are_the_inverse_of_what_has_come():
    profile = Profile(true_rate(np.arange(168.0)) / true_rate(np.arange(168.0)).mean())
    times = START + np.array([0.0, 5 * HOUR, 3 * DAY, 20 * DAY])
    assert profile.when(profile.until(times)) == pytest.approx(times, abs=1e-3)
    of = Course(profile, START, 1_000.0, 5 * DAY)
    q = of.quantiles(2 * DAY, np.array([0.25, 0.5, 1.0]))
    assert of.come(q) == pytest.approx(of.come(np.array([2 * DAY]))[0] * np.array([0.25, 0.5, 1.0]))
    assert of.come(np.array([9 * DAY])) == pytest.approx([1_000.0])


def test_a_profile_is_shrunk_by_what_chance_makes():
    """Arrivals at a constant rate, few of them: no hour is far from the mean, though the counts are."""
    rng = np.random.default_rng(3)
    time = np.sort(START + rng.random(300) * 6 * DAY)
    got = profile_of(time, 1.0, START, START + 6 * DAY)
    assert np.bincount((time // HOUR % 24).astype(int), minlength=24).std() > 2
    assert np.abs(got.rate - 1).max() < 0.25
    assert got.rate.mean() == pytest.approx(1.0)
    assert profile_of(time[:1], 1.0, START, START + 6 * DAY).rate.tolist() == [1.0] * 168


def test_the_price_is_steadier_within_a_day(tmp_path, monkeypatch):
    """Day and night, six days of eight: the price of the mean rate since the start goes up and down with the hours."""
    rng = np.random.default_rng(4)
    hours = np.arange(8 * 24)
    of_hours = rng.poisson(60 * (1 - 0.9 * np.cos(2 * np.pi * hours / 24)))
    time = np.sort(np.concatenate([START + (h + rng.random(n)) * HOUR for h, n in zip(hours, of_hours, strict=True)]))
    n, until = len(time), START + 8 * DAY
    value, cost = np.column_stack([np.zeros(n), rng.random(n)]), np.column_stack([np.zeros(n), np.ones(n)])

    def prices(name: str) -> Any:
        clock, done, out = Clock(START), 0, []
        with Ledger.open(f"sqlite:///{tmp_path}/{name}.db", clock=clock) as ledger:
            terms = {"treatments": ("none", "coupon"), "price": 0.7, "explore": 0.0, "matures": 1e9}
            ledger.start(campaign(budget=0.3 * n, until=until, **terms))
            for clock.now in START + np.arange(HOUR / 4, 7 * DAY, HOUR / 4):
                to = int(np.searchsorted(time, clock.now))
                ledger.decide([ask(k, value=value[k].tolist(), cost=cost[k].tolist()) for k in range(done, to)])
                done = to
                if (clock.now - START) % (3 * HOUR) == 0:
                    ledger.reprice("me")
                    out.append(ledger.status("c").price)
        return np.array(out[15:])

    def constant(time: Any, each: float, row: Any, units: Any, until: float, now: float) -> Course:
        come = row.decided * (until - now) / (now - row.started)
        return Course(Profile(np.ones(168)), now, come, until - now)

    steady = prices("profile")
    monkeypatch.setattr(maturing, "course_of", constant)
    up_and_down = prices("constant")
    # The mean change from one price to the next, three hours later, over four days.
    assert np.abs(np.diff(steady[:32])).mean() < 0.5 * np.abs(np.diff(up_and_down[:32])).mean()
