"""Several campaigns on one budget: the sum never exceeds it, one price, money goes where it is needed, and clear refusals."""

from __future__ import annotations

import json
import threading
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

pytest.importorskip("sqlalchemy", reason="the extra 'serve' is not installed")

from largesse.errors import DataError
from largesse.serving import Answer, Answers, Campaign, Ledger, Outcome
from largesse.serving.ledger.changes import changes
from largesse.serving.ledger.store import reading, writing
from largesse.serving.ledger.tables import campaigns
from tests.common.ledgers import Clock, ask, campaign

NAMES = ("a", "b", "c")


def several(**changes: Any) -> list[Campaign]:
    return [campaign(name=name, budget=1.0, **changes) for name in NAMES]


def rows(ledger: Ledger) -> dict[str, Any]:
    with reading(ledger.engine, one_moment=True) as connection:
        return {row.name: row for row in connection.execute(sa.select(campaigns)).all()}


def check(ledger: Ledger, joint: int) -> None:
    """The budgets add up to the joint one, and no campaign has decided beyond its own."""
    every = rows(ledger).values()
    assert sum(row.budget for row in every) == joint
    assert sum(row.spent + row.reserved - row.beyond for row in every) <= joint
    assert all(row.budget >= 0 for row in every)


def decide(ledger: Ledger, name: str, first: int, n: int, rng: Any, value: float = 1.0) -> Answers:
    values, costs = np.zeros((n, 2)), np.zeros((n, 2))
    values[:, 1], costs[:, 1] = value * rng.random(n), 0.5 + rng.random(n)
    return ledger.decide_many(name, [f"{name} {k}" for k in range(first, first + n)], values, costs)


def test_the_money_is_divided_at_first_and_the_split_stays(store):
    with Ledger.open(store, clock=Clock()) as ledger:
        given = [campaign(name=name, budget=part) for name, part in (("a", 3.0), ("b", 1.0))]
        one, two = ledger.share("growth", 100.03, given)
        assert (one.budget, two.budget, one.joint_budget, one.budget_of) == (75.03, 25.0, 100.03, "growth")
        with writing(ledger.engine) as connection:
            connection.execute(
                sa.update(campaigns).values(
                    budget=campaigns.c.budget + sa.case((campaigns.c.name == "a", -500), else_=500)
                )
            )
        with Ledger.open(store, clock=Clock()) as again:  # a restart
            assert [status.budget for status in again.share("growth", 100.03, given)] == [70.03, 30.0]
        assert changes(ledger, "a") == []


def test_a_changed_budget_changes_what_is_left(store):
    clock = Clock()
    with Ledger.open(store, clock=clock) as ledger:
        ledger.share("growth", 90.0, several(holdout=0, explore=0))
        ledger.decide([ask(k, campaign="a") for k in range(10)])  # reserves 20
        got = ledger.share("growth", 160.0, several(holdout=0, explore=0))
        assert [status.budget for status in got] == [20 + 20, 60.0, 60.0]  # 70 were left, 140 are
        check(ledger, 160_00)
        (line,) = changes(ledger, "b")
        assert (line.field, line.before, line.after) == (
            "joint budget", {"name": "growth", "budget": 90.0}, {"name": "growth", "budget": 160.0},
        )  # fmt: skip
        with pytest.raises(
            DataError, match=r"budget == 19\.0: must be >= 20, which its campaigns have spent or reserved"
        ):
            ledger.share("growth", 19.0, several(holdout=0, explore=0))
        assert [status.left for status in ledger.share("growth", 20.0, several(holdout=0, explore=0))] == [0.0] * 3
        assert isinstance(ledger.decide([ask("new", campaign="b")])[0], Answer)  # control costs nothing
        check(ledger, 20_00)


def test_what_is_refused(store):
    clock = Clock()
    with Ledger.open(store, clock=clock) as ledger:
        ledger.start(campaign(name="own"))
        ledger.share("growth", 90.0, several())
        for given, words in (
            (
                [*several(), campaign(name="own")],
                "campaigns == 'own': was started with a budget of its own. A campaign joins",
            ),
            (
                several()[:2],
                r"campaigns == \['a', 'b'\]: must have 'c', which shares the budget 'growth' until its end",
            ),
            ([*several(), campaign(name="d", scale=1)], r"scale == \[1, 100\]: must be the same"),
            ([*several(), *several()], "must be one or more different ones"),
            ([], "campaigns == .*: must be one or more"),
            ([*several()[:2], campaign(name="c", holdout=0.5)], "holdout == 0.5: is 0.02 in the started campaign"),
        ):
            with pytest.raises(DataError, match=words):
                ledger.share("growth", 90.0, given)
        with pytest.raises(
            DataError, match="campaigns == 'a': shares the budget 'growth'. A campaign joins a budget when"
        ):
            ledger.share("other", 90.0, several())
        with pytest.raises(
            DataError, match="budget == 30.0: the campaign 'a' shares the budget 'growth'. Change that one"
        ):
            ledger.start(campaign(name="a", budget=30.0))
        assert ledger.start(campaign(name="a", until=9e5), keep_budget=True).budget == 30.0
        with pytest.raises(DataError, match="is not in this ledger"):
            ledger.start(campaign(name="new"), keep_budget=True)
        check_names = {status.campaign for status in ledger.share("growth", 90.0, [*several(), campaign(name="d")])}
        assert check_names == {"a", "b", "c", "d"}  # one joins as it starts
        assert sum(ledger.status(name).budget for name in ("a", "b", "c", "d")) == 90.0
        assert ledger.status("d").budget > 0
        clock.now = 2e6  # all are over
        assert ledger.share("growth", 90.0, several()[:1])[0].joint_budget == 90.0


def test_one_campaign_on_a_shared_budget_is_as_with_its_own(tmp_path):
    prices = []
    for shared in (False, True):
        clock, rng = Clock(0.0), np.random.default_rng(1)
        with Ledger.open(f"sqlite:///{tmp_path}/{shared}.db", clock=clock) as ledger:
            one = campaign(name="a", treatments=("none", "coupon"), budget=150.0, until=1e4, matures=700.0, explore=0.1)
            if shared:
                ledger.share("growth", 150.0, [one])
            else:
                ledger.start(one)
            for k in range(20):
                clock.now = 100.0 * k
                got = decide(ledger, "a", 40 * k, 40, rng)
                ledger.outcomes(
                    [Outcome(i, i, cost=c / 2) for i, c in zip(got.id, got.cost.tolist(), strict=True) if c]
                )
                ledger.expire()
            prices.append(ledger.reprice("me")["a"])
            assert ledger.status("a").budget == 150.0
    assert prices[0] == prices[1] > 0


def test_money_goes_where_it_brings_more(tmp_path):
    """Values of b are three times those of a. One price; what is bought of each beyond it is what that price allows."""
    prices = list[float]()
    clock, rng = Clock(0.0), np.random.default_rng(2)
    with Ledger.open(f"sqlite:///{tmp_path}/a.db", clock=clock) as ledger:
        both = [
            campaign(name=name, treatments=("none", "coupon"), budget=1.0, until=1e4, price=0.5, holdout=0, explore=0)
            for name in ("a", "b")
        ]
        ledger.share("growth", 6_000.0, both)
        for k in range(200):
            clock.now = 50.0 * k
            for name, value in (("a", 1.0), ("b", 3.0)):
                decide(ledger, name, 40 * k, 40, rng, value)
            ledger.reprice("me")
            check(ledger, 6_000_00)
            if k > 20:
                assert ledger.status("a").price == ledger.status("b").price
                prices.append(ledger.status("a").price)
        one, two = ledger.status("a"), ledger.status("b")
        assert one.reserved + two.reserved > 0.98 * 6_000
        assert one.limited + two.limited < 0.01 * 16_000
        # At the price λ a unit of a buys if u > λ c, of b if 3 u > λ c, with u uniform in (0, 1) and c in (0.5, 1.5).
        cost = np.linspace(0.5, 1.5, 1001)
        bought = {s: lambda p, s=s: (np.clip(1 - p * cost / s, 0, 1) * cost).mean() for s in (1, 3)}
        price = next(p for p in np.arange(0, 3, 0.001) if 8_000 * (bought[1](p) + bought[3](p)) <= 6_000)
        assert two.reserved / 6_000 == pytest.approx(bought[3](price) / (bought[1](price) + bought[3](price)), abs=0.02)
        assert np.median(prices) == pytest.approx(price, rel=0.03)


def test_where_few_redeem_a_reservation_costs_less(tmp_path):
    """A quarter of the coupons of a are used, all of b: at one price of money, that of a is a quarter of that of b."""
    clock, rng, of = Clock(0.0), np.random.default_rng(5), list[float]()
    with Ledger.open(f"sqlite:///{tmp_path}/a.db", clock=clock) as ledger:
        terms = {"treatments": ("none", "coupon"), "until": 1e4, "holdout": 0, "explore": 0, "matures": 300.0}
        ledger.share("growth", 900.0, [campaign(name=name, budget=1.0, **terms) for name in ("a", "b")])
        for k in range(199):
            clock.now = 50.0 * k
            back = []
            for name, share in (("a", 0.25), ("b", 1.0)):
                got = decide(ledger, name, 40 * k, 40, rng)
                back += [(i, c) for i, c in zip(got.id, got.cost.tolist(), strict=True) if c and rng.random() < share]
            clock.now += 25.0
            ledger.outcomes([Outcome(i, i, cost=c) for i, c in back])
            ledger.expire()
            ledger.reprice("me")
            check(ledger, 900_00)
            if 20 < k < 180:
                of.append(ledger.status("a").price / ledger.status("b").price)
        assert np.median(of) == pytest.approx(0.25, abs=0.02)
        one, two = ledger.status("a"), ledger.status("b")
        assert one.spent + two.spent + one.reserved + two.reserved > 0.95 * 900
        assert one.limited + two.limited < 0.03 * (one.decided + two.decided)


def test_what_an_ended_campaign_leaves_goes_to_the_others(tmp_path):
    """a ends at half the time, and its coupons are not used: what expires then is spent by b."""
    clock, rng = Clock(0.0), np.random.default_rng(3)
    with Ledger.open(f"sqlite:///{tmp_path}/a.db", clock=clock) as ledger:
        both = [
            campaign(
                name=name,
                treatments=("none", "coupon"),
                budget=1.0,
                until=until,
                price=0.5,
                holdout=0,
                explore=0,
                matures=1e3,
            )
            for name, until in (("a", 5e3), ("b", 1e4))
        ]
        ledger.share("growth", 1_500.0, both)
        for k in range(200):
            clock.now = 50.0 * k
            if clock.now < 5e3:
                decide(ledger, "a", 40 * k, 40, rng)
            got = decide(ledger, "b", 40 * k, 40, rng)
            ledger.outcomes([Outcome(i, i, cost=c) for i, c in zip(got.id, got.cost.tolist(), strict=True) if c])
            ledger.expire()
            ledger.reprice("me")
            check(ledger, 1_500_00)
        one, two = ledger.status("a"), ledger.status("b")
        assert (one.budget, one.spent, one.reserved) == (0.0, 0.0, 0.0)
        assert 0.97 * 1_500 < two.spent <= two.budget == 1_500.0


def test_payments_beyond_reservations_are_borne_by_all(store):
    clock = Clock(0.0)
    with Ledger.open(store, clock=clock) as ledger:
        ledger.share("growth", 300.0, several(holdout=0, explore=0, until=1e4))
        answers = ledger.decide([ask(k, campaign="a") for k in range(50)])
        ledger.decide([ask(k, campaign="b") for k in range(50)])
        clock.now = 10.0
        ledger.outcomes([Outcome(a.id, a.id, cost=5.0) for a in answers[:20] if isinstance(a, Answer)])  # 60 beyond
        ledger.reprice("me")
        check(ledger, 300_00)
        assert ledger.status("a").budget >= ledger.status("a").spent + ledger.status("a").reserved
        ledger.outcomes([Outcome(a.id, a.id, cost=20.0) for a in answers[20:] if isinstance(a, Answer)])
        ledger.reprice("me")
        check(ledger, 300_00)
        assert all(ledger.status(name).left == 0 for name in NAMES)
        got = ledger.decide([ask("late", campaign=name) for name in NAMES])
        assert [a.treatment for a in got if isinstance(a, Answer)] == ["none"] * 3


def test_the_sum_holds_at_every_moment(store):
    """Threads decide, report, expire and reprice at random; a reader checks all the while, and all of it adds up at the end."""
    clock, stop, errors = Clock(0.0), threading.Event(), list[BaseException]()
    with Ledger.open(store, clock=clock) as ledger:
        terms = several(treatments=("none", "coupon"), until=1e6, matures=20.0, holdout=0, explore=0.1)
        ledger.share("growth", 600.0, terms)

        def work(seed: int) -> None:
            rng, done = np.random.default_rng(seed), 0
            try:
                while not stop.is_set() and done < 25:
                    name = NAMES[rng.integers(3)]
                    got = decide(ledger, name, 100_000 * seed + 30 * done, 30, rng)
                    clock.now += 1.0
                    back = [i for i in got.id if rng.random() < 0.4]
                    ledger.outcomes([Outcome(i, i, cost=rng.random(), final=rng.random() < 0.7) for i in back])
                    if rng.random() < 0.4:
                        ledger.expire()
                    if rng.random() < 0.6:
                        ledger.reprice(f"{seed}", hold=0.5)
                    if rng.random() < 0.1:
                        ledger.share(
                            "growth",
                            600.0,
                            terms,
                        )
                    done += 1
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            check(ledger, 600_00)
        for thread in threads:
            thread.join()
        assert not errors, errors
        check(ledger, 600_00)
        every = rows(ledger)
        assert all(row.decided > 100 for row in every.values())
        assert ledger.verify().problems == []
        assert json.loads(every["a"].settings)["name"] == "a"
