"""Money that comes back: what reservations release, estimated, planned with, and never counted on beyond the band."""

from __future__ import annotations

import heapq
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest

pytest.importorskip("sqlalchemy", reason="the extra 'serve' is not installed")

from largesse.serving import Answer, Ledger, Outcome, Status
from largesse.serving.ledger.arrivals import Course, Profile
from largesse.serving.ledger.maturing import Prospect
from largesse.serving.ledger.pricing import Outlook, money_price
from largesse.serving.ledger.survival import LOWEST, Kept, Reservations
from tests.common.ledgers import Clock, ask, campaign, check_sums

DAY = 86_400.0


class World(NamedTuple):
    """What comes back: the share of each reservation that is paid, or of the units that use theirs; days until then."""

    ratio: float
    delay: float
    users: bool = False  # the others never report: their reservation expires
    matures: float = 7.0
    guarantee: str = "expected"
    days: float = 30.0
    n: int = 3_500
    budget: float = 350.0


def simulated(place: Path, world: World) -> tuple[Status, Status]:
    """Returns the money at the end of a campaign, and when everything has come back."""
    rng, clock, due = np.random.default_rng(2), Clock(0.0), list[tuple[float, str, float]]()
    value = np.column_stack([np.zeros(world.n), rng.random(world.n), 1.6 * rng.random(world.n)])
    cost = np.column_stack([np.zeros(world.n), np.full(world.n, 0.5), 0.8 + 0.4 * rng.random(world.n)])
    at, done = np.sort(rng.random(world.n)) * world.days, 0
    steps = np.concatenate([np.arange(0.5, world.days - 3, 0.5), np.linspace(world.days - 3, world.days, 41)])
    terms = {"matures": world.matures * DAY, "guarantee": world.guarantee, "worst": {"coupon": 0.75, "gift": 1.8}}
    with Ledger.open(f"sqlite:///{place}/a.db", clock=clock) as ledger:
        ledger.start(campaign(budget=world.budget, until=world.days * DAY, price=1.0, explore=0.1, **terms))
        for before, now in zip([0.0, *steps], [*steps, 4 * world.days], strict=False):
            to = int(np.searchsorted(at, now))
            clock.now = (before + now) / 2 * DAY
            for a in ledger.decide([ask(k, value=value[k], cost=cost[k]) for k in range(done, to)]):
                assert isinstance(a, Answer)
                used = not world.users or rng.random() < world.ratio
                if a.cost and used:
                    paid = a.cost * (1.0 if world.users else world.ratio)
                    heapq.heappush(due, (clock.now / DAY + rng.exponential(world.delay), a.id, paid))
            done = to
            while due and due[0][0] <= now:
                time, identity, paid = heapq.heappop(due)
                clock.now = time * DAY
                ledger.outcomes([Outcome(identity, identity, cost=paid)])
            clock.now = now * DAY
            ledger.expire()
            ledger.reprice("me")
            status = ledger.status("c")
            assert status.spent + status.reserved <= status.budget + status.beyond + 1e-6
            if now == world.days:
                end = status
        check_sums(ledger, within_budget=False)
        return end, status


@pytest.mark.parametrize(
    "world",
    [
        World(0.3, 0.15), World(1.5, 2.0), World(0.3, 0.15, users=True, matures=0.5),
        *(pytest.param(world, marks=pytest.mark.slow) for world in (
            World(0.3, 2.0), World(1.0, 0.15), World(1.0, 2.0), World(1.5, 0.15), World(0.75, 0.15, guarantee="hard"),
        )),
    ],
)  # fmt: skip
def test_no_money_is_left_that_could_be_used(tmp_path, world):
    """At the end at most 1 % is free. What is left later is what the last decisions had reserved, and did not use."""
    end, later = simulated(tmp_path, world)
    left, reserved = end.left / world.budget, end.reserved / world.budget
    unspent = 1 - later.spent / world.budget
    if world.ratio > 1:  # what the last decisions will pay beyond their reservations is set aside
        assert left <= 0.01 + (world.ratio - 1) * reserved
        assert abs(unspent) < 0.01
    else:
        assert left <= 0.012
        assert unspent <= left + reserved + 1e-9
        if world.delay < 1:  # hours in a month
            assert -0.005 <= unspent <= (0.06 if world.users else 0.02)  # half a day of reservations expires
    if world.guarantee == "hard":
        assert later.spent <= world.budget
        assert later.beyond == 0
    else:
        assert later.ratio == pytest.approx(world.ratio, rel=0.1)
        assert later.ratio_low <= later.ratio <= later.ratio_high
    assert not later.clamped
    assert end.limited < 0.04 * world.n


def test_the_price_by_hand():
    """A half is released after 10 seconds of 1,000; money of 1,000 decisions of 4 is still wholly reserved.

    Each of 500 units takes 20 below the price 2, and 20 more below 1. At the end 2,000 are kept of the 4,000, so 8,000 of
    10,000 are for the units to come. They would keep 10,000 of 40 each, 5,000 of 20: so μ = 2, at which a unit that keeps a
    half has the price 1.
    """
    row: Any = SimpleNamespace(budget=10_000, spent=0, reserved=4_000)
    none, full = np.zeros(0), np.full(1_000, 4.0)
    given = Reservations(np.zeros(1_000), full, full, none.astype(int), none, none, none, none.astype(bool), 1.0)
    share = Kept(np.array([0.0, 10.0]), np.array([1.0, 0.0]), np.array([1.0, 0.5]), np.zeros(2), 0.5, 0.5, 0.5)
    money = Prospect(row, given, share, Course(Profile(np.ones(168)), 0.0, 500.0, 1000.0), 10.0)
    of = Outlook(row, money, 1.0, 0.0, 0.0, np.array([2.0, 1.0]), np.array([20.0, 20.0]), 40.0)
    price, end = money_price([of], [], 6_000)
    assert (price, end) == (pytest.approx(2.0), 1000.0)
    assert of.now(price, end) == pytest.approx(1.0)
    assert of.now(price, 5.0) == pytest.approx(2.0)  # just before the end all of it is kept
    kept = of.kept(np.array([500.0, 1000.0]), end)
    assert kept(2.0) == pytest.approx([250 * 20 * 0.51, 500 * 20 * 0.505], rel=0.02)
    assert kept(1.99) == pytest.approx([250 * 40 * 0.51, 500 * 40 * 0.505], rel=0.02)
    assert money_price([of], [], 9_000)[0] == 0.0
    late = money._replace(share=share._replace(kept=np.ones(2)))  # nothing comes free: not even 20 each can be paid
    assert money_price([of._replace(money=late)], [], 6_000)[0] == pytest.approx(2.0)
    assert late.released(np.array([1e3])).tolist() == [0.0]
    more = late._replace(share=late.share._replace(after=np.array([0.0, 0.1])))  # beside that a tenth is paid later
    assert more.released(np.array([1e3])) == pytest.approx([-400.0])


def test_the_status_says_that_the_ratio_is_clamped(store):
    clock = Clock(0.0)
    with Ledger.open(store, clock=clock) as ledger:
        ledger.start(campaign(budget=1e4, until=1e6, matures=10.0, holdout=0))
        assert ledger.status("c").ratio == 1.0
        ledger.decide([ask(k) for k in range(1_000)])
        clock.now = 100.0
        ledger.expire()
        ledger.reprice("me")
        status = ledger.status("c")
        assert status.ratio < LOWEST
        assert status.clamped
