"""Signals with intervals: their numbers by hand, no alarm where nothing is wrong, and the right one where something is."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.monitor import World, days_of, signals_of
from largesse.serving.watch.cells import ALPHA, Cells
from largesse.serving.watch.reading import Decisions
from largesse.serving.watch.signals import Signal

SMALL = World(days=20, per_day=1_500)


def alarms(signals: list[Signal]) -> dict[tuple[str, str], str | None]:
    return {(one.name, one.about): one.first_bad_day for one in signals if one.state == "alarm"}


@pytest.fixture(scope="module")
def log() -> Decisions:
    return Decisions(*(np.concatenate(columns) for columns in zip(*days_of(SMALL, 3), strict=True)))


@pytest.fixture(scope="module")
def numbers() -> dict[tuple[str, str], float | None]:
    return {(one.name, one.about): one.number for one in signals_of(SMALL, 3)}


def test_lift_is_the_difference_of_means(log, numbers):
    held = log.kind == 2
    lift = log.gained[~held].mean() - log.gained[held].mean()
    net = 20 * log.gained - log.paid
    assert numbers["value per unit, beyond the holdout", ""] == pytest.approx(lift)
    assert numbers["net value per unit, beyond the holdout", ""] == pytest.approx(net[~held].mean() - net[held].mean())
    paid = log.paid[~held].mean() - log.paid[held].mean()
    assert numbers["money per unit, beyond the holdout", ""] == pytest.approx(paid)


def test_the_policy_against_exploration_by_inverse_propensity(log, numbers):
    at = np.arange(len(log.time))
    policy = (log.value - 0.1 * log.cost).argmax(axis=1)
    p, net = log.propensities[at, log.given], log.gained - 0.1 * log.paid
    own, mix = (policy == log.given) / p, 1 / 3 / p
    expected = (own * net).sum() / own.sum() - (mix * net).sum() / mix.sum()
    assert numbers["net value, policy less exploration", ""] == pytest.approx(expected)


@pytest.mark.parametrize(("name", "code"), [("none", 0), ("coupon", 1), ("gift", 2)])
def test_calibration_and_shares_by_treatment(log, numbers, name, code):
    mine = log.given == code
    value = log.gained[mine].sum() / log.value[mine, code].sum()
    assert numbers["value against prediction", name] == pytest.approx(value)
    share = mine.mean() - log.propensities[:, code].mean()
    assert numbers["share given less probability", name] == pytest.approx(share)
    if code:
        cost = log.paid[mine].sum() / log.cost[mine, code].sum()
        assert numbers["cost against prediction", name] == pytest.approx(cost)
    else:  # control is predicted to cost nothing
        assert ("cost against prediction", name) not in numbers


def test_where_nothing_is_wrong_there_is_seldom_an_alarm():
    """In at most 5 % of campaigns; of 24 at that rate, more than 4 would have one in 0.6 % of such tests."""
    several = [
        alarms(signals_of(World(days=30, per_day=500, spread=spread), seed))
        for seed in range(12)
        for spread in (0.0, 1.5)
    ]
    assert sum(map(bool, several)) <= 4
    assert ALPHA == 0.05


@pytest.mark.parametrize(
    ("world", "name", "about", "by"),
    [
        (World(days=30, per_day=3_000, stops=15), "value against prediction", "gift", 26),
        (World(days=15, per_day=3_000, optimism=1.6), "value against prediction", "gift", 6),
        (World(days=15, per_day=3_000, favoured=0.03), "share given less probability", "gift", 3),
        (World(days=15, per_day=3_000, contaminated=0.5), "share of the holdout paid for", "", 10),
    ],
)
def test_what_is_wrong_is_named(world, name, about, by):
    several = [alarms(signals_of(world, seed)) for seed in range(3)]
    assert all(int(one[name, about] or 99) <= by for one in several), several
    if world.stops is not None:
        assert all(int(one[name, about] or 0) >= world.stops for one in several)
    if world.optimism == 1.0 and not world.stops:
        assert all(set(one) <= {(name, other) for other in ("", "none", "coupon", "gift")} for one in several)


def test_a_campaign_that_loses_money_says_so():
    got = alarms(signals_of(World(days=15, per_day=3_000, lift=(0.05, 0.2)), 1, value_per_unit=0.01))
    assert ("net value per unit, beyond the holdout", "") in got
    assert ("value per unit, beyond the holdout", "") not in got


def test_few_events_are_no_alarm():
    signals = signals_of(World(days=3, per_day=40), 0)
    assert {one.state for one in signals} <= {"fine", "too early"}
    early = [one for one in signals if one.name == "value against prediction"]
    assert {one.state for one in early} == {"too early"}


def test_an_interval_that_rests_on_few_large_orders_is_no_alarm():
    """A campaign of heavy-tailed orders in which nothing is wrong; its intervals with less than 20 effective events are."""
    assert not alarms(signals_of(World(spread=2.0), 5006))


def test_outcomes_count_when_their_window_has_ended():
    cells = Cells(SMALL.design(), ["first"])
    parts = list(days_of(SMALL, 3))
    for day, part in enumerate(parts):
        cells.add(day, part, now=float(parts[12].due[-1]))
    by_name = {(one.name, one.about): one for one in cells.signals(str)}
    assert by_name["value per unit, beyond the holdout", ""].rests_on == 13 * SMALL.per_day
    assert by_name["share given less probability", "none"].rests_on == 20 * SMALL.per_day


def test_versions_are_judged_alone():
    world = World(days=24, per_day=3_000, version=12)
    cells = Cells(world.design(), ["old", "new"])
    for day, part in enumerate(days_of(world, 2)):
        wrong = part._replace(value=part.value * 2) if day >= 12 else part
        cells.add(day, wrong, np.inf)
    bad = alarms(cells.signals(str))
    assert {about for name, about in bad if name.startswith("value against")} == {
        "none (new)", "coupon (new)", "gift (new)"
    }  # fmt: skip


def test_each_period_begins_anew():
    world = World(days=14, per_day=2_000)
    cells = Cells(world.design(), ["first"])
    for day, part in enumerate(days_of(world, 4)):
        cells.add(day, part._replace(period=np.full(len(part.time), day // 7)), np.inf)
    lift = next(one for one in cells.signals(str) if one.name == "value per unit, beyond the holdout")
    assert lift.rests_on == 7 * 2_000
    assert not alarms(cells.signals(str))


def test_an_alarm_of_a_run_that_decides_no_longer_is_over():
    """The first version predicts too much and is replaced; the second one is right."""
    cells = Cells(World(days=30).design(), ["first", "second"])
    days = [*days_of(World(days=8, per_day=5_000, optimism=1.6), 1), *days_of(World(days=14, per_day=5_000), 2)]
    for day, part in enumerate(days):
        cells.add(day, part._replace(version=np.full(len(part.time), int(day >= 8))), np.inf)
        if day == 7:
            before = [one for one in cells.signals(str) if one.state == "alarm"]
    assert {one.name for one in before} == {"value against prediction"}
    after = {(one.name, one.about): one for one in cells.signals(str)}
    for one in before:
        same = after[one.name, f"{one.about} (first)"]
        assert (same.state, same.next_step, same.first_bad_day) == ("over", "", one.first_bad_day)
        assert after[one.name, f"{one.about} (second)"].state == "fine"
