"""Signals without an interval, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from largesse.serving.ledger.terms import FALLBACK, Status
from largesse.serving.watch.reading import DAY, Decisions
from largesse.serving.watch.rules import Days, age, arrivals, spend


def status(spent: float, reserved: float, ratio: float = 1.0) -> Status:
    left, end = 100 - spent - reserved, 100 * DAY
    return Status(
        "c", 100.0, spent, reserved, left, 0.0, 0.5, end, 10, 0, {}, ratio, ratio, ratio, False, ratio * reserved
    )


@pytest.mark.parametrize(
    ("spent", "reserved", "ratio", "day", "number", "state", "step"),
    [
        (40, 10, 1.0, 50, 0.0, "fine", ""),
        (40, 20, 0.5, 50, 0.0, "fine", ""),
        (55, 10, 1.0, 50, 0.15, "alarm", "before the campaign"),
        (20, 10, 1.0, 50, -0.2, "alarm", "money is left over"),
        (50, 30, 1.0, 9, None, "too early", ""),
    ],
)
def test_spend_beside_time(spent, reserved, ratio, day, number, state, step):
    got = spend(status(spent, reserved, ratio), 0.0, day * DAY)
    assert got.number == (None if number is None else pytest.approx(number))
    assert got.state == state
    assert step in got.next_step


def test_a_campaign_without_money():
    assert spend(status(0, 0)._replace(budget=0.0), 0.0, 50 * DAY).number == pytest.approx(-0.5)


@pytest.mark.parametrize(
    ("counts", "today", "number", "state", "first"),
    [
        (dict.fromkeys(range(10), 100), 10, 1.0, "fine", None),
        (dict.fromkeys(range(9), 100), 10, 0.0, "alarm", "9"),
        (dict.fromkeys(range(9), 100) | {9: 24}, 10, 0.24, "alarm", "9"),
        (dict.fromkeys(range(9), 100) | {9: 26}, 10, 0.26, "fine", None),
        ({d: 100 for d in range(10) if d != 5}, 10, 1 / (6 / 7), "fine", "5"),
        (dict.fromkeys(range(9), 5), 10, None, "too early", None),
        ({0: 100, 1: 100}, 2, None, "too early", None),
        ({}, 0, None, "too early", None),
    ],
)
def test_outcomes_that_stop(counts, today, number, state, first):
    """The day that is not over yet says nothing."""
    got = arrivals(counts | {today: 0}, today, str)
    assert got.number == (None if number is None else pytest.approx(number))
    assert (got.state, got.first_bad_day) == (state, first)


def part(day: int, n: int, without: int, limited: int) -> Decisions:
    zeros = np.zeros(n)
    flags = np.zeros(n, np.bool_)
    version = (np.arange(n) < without).astype(np.intp)
    return Decisions(
        zeros + day * DAY, zeros, version, version, version, flags, np.arange(n) < limited, ~flags, zeros, zeros, zeros,
        np.ones((n, 1)), np.ones((n, 1)), np.ones((n, 1)), version,
    )  # fmt: skip


def test_decisions_without_a_model_and_limited_ones():
    days = Days(["spring-1", FALLBACK])
    for day, without, limited in ((0, 3, 10), (1, 0, 0), (1, 1, 4), (2, 200, 200)):
        days.add(day, part(day, 200, without, limited))
    model, money = days.signals(2, str)
    assert (model.number, model.state, model.first_bad_day, model.rests_on) == (1 / 400, "fine", "0", 400)
    assert (money.number, money.state, money.first_bad_day) == (4 / 400, "fine", None)
    model, money = days.signals(3, str)
    assert (model.state, money.state) == ("alarm", "alarm")
    assert "server's log" in model.next_step
    assert Days([]).signals(0, str)[0].state == "too early"


def test_the_age_is_that_of_the_newest_policy():
    got = age({"a": 0.0, "b": 5 * DAY, FALLBACK: 9 * DAY}, 20 * DAY, 10.0)
    assert got is not None
    assert (got.number, got.state) == (15.0, "alarm")
    assert age({FALLBACK: 0.0}, 1.0, 10.0) is None
