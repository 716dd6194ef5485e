"""Campaigns through the ledger against the best plan in hindsight: delays, hours, changed and shared budgets.

    python -m benchmarks money
    python -m benchmarks money --table       # the page of what was measured

Writes docs/benchmarks/money.md. Every campaign runs through a ledger with a clock of its own: decisions in small batches,
outcomes with their delays, expiry, prices. Seeds 0 to 9; one JSON file, docs/benchmarks/money.json.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import heapq
import tempfile
import textwrap
import time
from argparse import Namespace
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from benchmarks.cells import mean_sd, single
from benchmarks.suite.summary import table
from largesse.allocate import solve
from largesse.menu import Menu
from largesse.serving import Campaign, Ledger, Outcome
from largesse.serving.ledger.pricing import price_at
from largesse.serving.ledger.store import writing
from largesse.serving.ledger.tables import campaigns
from tests.common.earlier_price import per_unit

__all__ = ["RULES", "Unit", "World", "simulated"]

Floats = NDArray[np.float64]
HOUR, DAY = 3_600.0, 86_400.0
START = 1_700_006_400.0  # a Wednesday, 0:00 (UTC)
DAYS, UNITS, SHARE, SEEDS, WINDOW = 28, 2_000, 0.25, 10, 7.0
STEP, REPRICE, RECENT = 4, 12, 2_000  # hours, hours, units
RULES = {
    "now": "`reprice`",
    "earlier": "earlier rule",
    "fixed": "fixed price",
}


class World(NamedTuple):
    """A simulated campaign.

    Attributes:
        hours: Whether units arrive by day and night, and more at weekends.
        redeemed: Share of the coupons that are redeemed within the window; the others' reservations expire.
        delay: Days until then: median of a log-normal with σ = 1, cut at the window.
        change: The budget from half of the time on, over that before.
    """

    hours: bool = False
    redeemed: float = 0.5
    delay: float = 1.0
    change: float = 1.0


WORLDS = {
    "constant arrivals": World(),
    "day, night, weekend": World(hours=True),
    "budget raised by half": World(change=1.5),
    "budget cut by a quarter": World(change=0.75),
    "long delays, few redeem": World(redeemed=0.15, delay=3.0),
}
SHARED = ((1.0, 1.0, 28.0), (0.6, 2.0, 28.0), (0.4, 1.5, 14.0))
"""Three campaigns on one budget: units, values, and days, over those of the others."""


class Unit(NamedTuple):
    """The units of a campaign in the order of their arrival: when (seconds), and their menus."""

    time: Floats  # (n,)
    value: Floats  # (n, 3)
    cost: Floats  # (n, 3), also what is reserved


class Result(NamedTuple):
    """What a campaign reached.

    Attributes:
        value: Value in percent of that in hindsight.
        spend: Payments in percent of the budget.
        used: What was paid or reserved at the end, likewise.
        limited: Percent of the decisions that the budget limited.
    """

    value: float
    spend: float
    used: float
    limited: float


def units(world: World, rng: np.random.Generator, n: int, days: float, scale: float = 1.0) -> Unit:
    """Returns the units of a campaign."""
    hours = np.arange(int(days * 24))
    rate = np.ones(len(hours))
    if world.hours:
        weekend = (hours // 24 + 2) % 7 >= 5  # day 0 is a Wednesday
        rate = (3 - 2 * np.cos(2 * np.pi * (hours % 24) / 24)) * np.where(weekend, 2.0, 1.0)
    hour = rng.choice(hours, size=n, p=rate / rate.sum())
    value = scale * np.column_stack([np.zeros(n), rng.random(n), 1.6 * rng.random(n)])
    cost = np.column_stack([np.zeros(n), np.full(n, 0.5), 0.8 + 0.4 * rng.random(n)])
    return Unit(np.sort(START + (hour + rng.random(n)) * HOUR), value, np.round(cost, 2))


class Run:
    """Campaigns in a ledger, and what comes back.

    Args:
        folder: Where the store is.
        world: The world.
        several: The units of each campaign, by name.
        rng: Random numbers of redemptions.
    """

    def __init__(self, folder: str, world: World, several: dict[str, Unit], rng: np.random.Generator) -> None:
        self.now, self.world, self.several, self.rng = START, world, several, rng
        self.ledger = Ledger.open(f"sqlite:///{folder}/a.db", clock=lambda: self.now)
        self.done, self.value = dict.fromkeys(several, 0), 0.0
        self.back: list[tuple[float, str, float]] = []
        self.age, self.reserved, self.kept = (list[float](), list[float](), dict[str, float]())
        self.made: dict[str, tuple[float, float]] = {}

    def step(self, end: float) -> None:
        """Decides the units that arrive until a time, and reports what comes back until then."""
        for name, of in self.several.items():
            first, last = self.done[name], int(np.searchsorted(of.time, end))
            if first == last:
                continue
            self.now = float(of.time[last - 1])
            got = self.ledger.decide_many(
                name, [f"u{k}" for k in range(first, last)], of.value[first:last], of.cost[first:last]
            )
            self.value += float(got.value.sum())
            self.done[name] = last
            for one, cost in zip(got.id, got.cost.tolist(), strict=True):
                self.made[one] = self.now, 100 * cost
                if cost and self.rng.random() < self.world.redeemed:
                    heapq.heappush(self.back, (self.now + self._delay(), one, cost))
        self.now = end
        due = []
        while self.back and self.back[0][0] <= end:
            due.append(heapq.heappop(self.back))
        self.ledger.outcomes([Outcome(one, one, cost=cost) for _, one, cost in due])
        for _, one, cost in due:
            self.kept[one] = 100 * cost
        self.ledger.expire()

    def _delay(self) -> float:
        while (delay := self.world.delay * float(np.exp(self.rng.standard_normal()))) >= WINDOW:
            pass
        return delay * DAY

    def earlier(self, name: str, until: float) -> None:
        """Sets the price by the earlier rule."""
        status, of, done = self.ledger.status(name), self.several[name], self.done[name]
        if done < 50 or self.now >= until:
            return
        made = np.array(list(self.made.values()))
        age = self.now - made[:, 0]
        kept = np.array([self.kept.get(one, 0.0) for one in self.made])
        kept = np.where((kept == 0) & (age < WINDOW * DAY), made[:, 1], kept)
        left, to_come = until - self.now, max(1.0, done * (until - self.now) / (self.now - START))
        each = per_unit(100 * status.left, 100 * status.reserved, age, made[:, 1], kept, WINDOW * DAY, left, to_come)
        recent = slice(max(0, done - RECENT), done)
        price = price_at(of.value[recent], of.cost[recent], 100 * of.cost[recent], each)
        with writing(self.ledger.engine) as connection:
            connection.execute(sa.update(campaigns).where(campaigns.c.name == name).values(price=price))


def terms(name: str, budget: float, price: float, days: float) -> Campaign:
    return Campaign(
        name=name, treatments=("none", "coupon", "gift"), budget=budget, until=START + days * DAY, price=price, holdout=0.0,
        explore=0.0, matures=WINDOW * DAY,
    )  # fmt: skip


def best(several: dict[str, Unit], world: World, budget: float) -> float:
    """Returns the value of the best plan of all units whose expected payments are the budget."""
    value, cost = (np.concatenate([getattr(of, name) for of in several.values()]) for name in ("value", "cost"))
    return float(solve(Menu(value=value, cost=world.redeemed * cost), budget).value)


def budget_of(several: dict[str, Unit], world: World) -> float:
    return round(SHARE * world.redeemed * sum(float(of.cost[:, -1].sum()) for of in several.values()), 2)


def played(
    run: Run, reprice: Callable[[], object], change: Callable[[], object], names: list[str]
) -> tuple[float, float, float]:
    """Runs all of it; returns the payments, what was paid or reserved at the end, and the percent of decisions without money."""
    for hour in range(STEP, DAYS * 24 + 1, STEP):
        run.step(START + hour * HOUR)
        if hour >= DAYS * 12:
            change()
        if hour % REPRICE == 0 and hour < DAYS * 24:
            reprice()
    used = sum(status.spent + status.reserved for status in map(run.ledger.status, names))
    run.step(START + (DAYS + WINDOW + 1) * DAY)
    after = [run.ledger.status(name) for name in names]
    run.ledger.close()
    limited = 100 * sum(of.limited for of in after) / sum(of.decided for of in after)
    return sum(of.spent for of in after), used, limited


def simulated(world: World, rule: str, seed: int) -> Result:
    """Returns the result of one campaign by one rule."""
    of = units(world, np.random.default_rng(seed), UNITS, DAYS)
    other = units(world, np.random.default_rng([seed, 1]), UNITS, DAYS)  # as it was before
    budget = budget_of({"c": of}, world)
    price = price_at(other.value, other.cost, world.redeemed * other.cost, budget / UNITS)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(folder, world, {"c": of}, np.random.default_rng([seed, 2]))
        run.ledger.start(terms("c", budget, price, DAYS))
        reprice = {
            "now": lambda: run.ledger.reprice("me"),
            "earlier": lambda: run.earlier("c", START + DAYS * DAY),
            "fixed": lambda: None,
        }
        final = round(world.change * budget, 2)

        def change() -> None:
            status = run.ledger.status("c")
            if status.budget != final:  # a lower one as soon as it covers what is spent and reserved
                run.ledger.start(terms("c", max(final, round(status.spent + status.reserved, 2)), price, DAYS))

        spent, used, limited = played(run, reprice[rule], change, ["c"])
    assert spent <= final + 1e-9
    return Result(100 * run.value / best({"c": of}, world, final), 100 * spent / final, 100 * used / final, limited)


def shared(joint: bool, seed: int) -> Result:
    """Returns the result of three campaigns on one budget, or on equal parts of it."""
    world, names = World(), [f"c{k}" for k in range(len(SHARED))]
    several = {
        name: units(world, np.random.default_rng([seed, k]), round(n * UNITS), days, scale)
        for k, (name, (n, scale, days)) in enumerate(zip(names, SHARED, strict=True))
    }
    budget = budget_of(several, world)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(folder, world, several, np.random.default_rng([seed, 9]))
        parts = [
            terms(name, round(budget / len(SHARED), 2), 1.0, days)
            for name, (_, _, days) in zip(names, SHARED, strict=True)
        ]
        if joint:
            run.ledger.share("all", budget, parts)
        else:
            for one in parts:
                run.ledger.start(one)
        spent, used, limited = played(run, lambda: run.ledger.reprice("me"), lambda: None, names)
    assert spent <= budget + 0.01
    return Result(100 * run.value / best(several, world, budget), 100 * spent / budget, 100 * used / budget, limited)


def measure(given: Namespace) -> dict[str, Any]:
    """Returns the results of every world and rule, by seed, and the seconds of one campaign."""
    begun, out = time.perf_counter(), dict[str, Any]()
    for name, world in WORLDS.items():
        out[name] = {
            rule: [simulated(world, rule, given.first + seed) for seed in range(given.seeds)] for rule in RULES
        }
        print(name, {rule: np.round(np.mean(rows, axis=0), 1).tolist() for rule, rows in out[name].items()}, flush=True)
    both = {
        words: [shared(joint, given.first + seed) for seed in range(given.seeds)]
        for words, joint in (("one budget", True), ("equal parts", False))
    }
    print({words: np.round(np.mean(rows, axis=0), 1).tolist() for words, rows in both.items()}, flush=True)
    return {"worlds": out, "shared": both, "seconds": time.perf_counter() - begun}


def row(of: list[list[float]]) -> list[str]:
    value, spend, used, limited = zip(*of, strict=True)
    return [mean_sd(value, 1), mean_sd(spend, 1), f"{max(spend):.1f}", mean_sd(used, 1), mean_sd(limited, 1)]


def page(cell: dict[str, Any]) -> list[str]:
    """Returns the page."""
    both, few = cell["shared"], WORLDS["long delays, few redeem"]
    seeds = len(both["one budget"])
    rows = [
        [name, RULES[rule], *row(results)] for name, of in cell["worlds"].items() for rule, results in of.items()
    ]  # fmt: skip
    gains = [a[0] - b[0] for a, b in zip(both["one budget"], both["equal parts"], strict=True)]
    better = {
        name: [a[0] - b[0] for a, b in zip(of["now"], of["earlier"], strict=True)]
        for name, of in cell["worlds"].items()
    }
    head = [
        "value, % of hindsight",
        "paid, % of the budget",
        "most",
        "paid or reserved at the end",
        "limited decisions, %",
    ]
    numbers, values, days = (
        ", ".join(words)
        for words in zip(*((f"{n * UNITS:,.0f}", f"{s:g}", f"{d:.0f}") for n, s, d in SHARED), strict=True)
    )
    world = World()
    lines = ["# Money over a campaign", "", "Generated by `python -m benchmarks money`; do not edit.", ""]
    lines += prose(
        f"""Campaigns of {DAYS} days with {UNITS:,} units of three treatments run through the ledger: decisions, outcomes with
        their delays, expiry after {WINDOW:.0f} days, a price every {REPRICE} hours. The budget is {SHARE:.0%} of what is
        expected to be paid where everyone gets the dearest treatment. A coupon is redeemed by {world.redeemed:.0%} of the
        units, {world.delay:g} day after the decision at the median ({few.redeemed:.0%} and {few.delay:g} days where few redeem),
        else never; the ledger reserves it in full and does not know in advance how many redeem. Hindsight: the best plan of
        all units, known in advance, whose expected payments are the final budget, however much that reserves at a time. No
        holdout, no exploration. A budget is changed at half time, a cut one as soon as it covers what is spent and reserved.
        Mean ± sd of {seeds} seeds; most: of all seeds."""
    )
    lines += prose(
        """`reprice`: as it is. Earlier rule: arrivals at the mean rate since the start, what is still reserved counts as paid,
        and a reservation is as dear at the beginning as at the end. Fixed price: right for the first budget, the number of
        units and the redemption, by other units of the same kind; it does not change."""
    )
    lines += [table(["world", "price", *head], rows), ""]
    lines += prose(
        "`reprice` over the earlier rule, in percentage points of the value in hindsight, paired by seed: "
        + "; ".join(f"{name} {mean_sd(of, 1)}" for name, of in better.items())
        + "."
    )
    lines += prose(
        f"""What is not paid in the end was reserved by the last decisions and not used: it comes free when the campaign is over.
        Until the first decisions are {WINDOW:.0f} days old, what is still reserved at the oldest age counts as paid, so the first
        prices are high; the fixed price knows the redemption from the start."""
    )
    lines += ["## Three campaigns on one budget", ""]
    lines += prose(
        f"""Of {numbers} units, with values of {values} times the usual ones, over {days} days. Hindsight is the best plan of
        all their units."""
    )
    lines += [table(["budget", *head], [[words, *row(of)] for words, of in both.items()]), ""]
    last = f"""One budget brings {mean_sd(gains, 1)} percentage points more of the value in hindsight than equal parts, paired
        by seed."""
    return lines + prose(last)[:-1]


def prose(text: str) -> list[str]:
    """Returns a paragraph in lines, and an empty one."""
    return [*textwrap.wrap(" ".join(text.split()), 120), ""]


def main() -> None:
    single(
        "money", __doc__, measure, page, ("--seeds", {"type": int, "default": SEEDS}),
        ("--first", {"type": int, "default": 0, "help": "the first seed"}),
    )  # fmt: skip


if __name__ == "__main__":
    main()
