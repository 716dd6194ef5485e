"""Alarms of the monitor: false ones where nothing is wrong, and how soon it names what is; writes docs/benchmarks/monitor.md.

    python -m benchmarks monitor
    python -m benchmarks monitor --table

Every world has its own campaigns, seeds 0 to their number; the number of events below which nothing is an alarm was chosen on
seeds from 5000 on. One JSON file, docs/benchmarks/monitor.json, a cell for each world.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from argparse import Namespace
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from benchmarks.cells import single
from largesse.serving.increments import best_treatments
from largesse.serving.watch.cells import ALPHA, Cells, Design
from largesse.serving.watch.reading import DAY, Decisions
from largesse.serving.watch.signals import Signal

__all__ = ["World", "days_of", "signals_of"]

NAMES = ("none", "coupon", "gift")


class World(NamedTuple):
    """A campaign of three treatments: orders, a coupon and a gift that are paid for on an order.

    Attributes:
        days: Days of decisions.
        per_day: Decisions of each day.
        holdout: Share of the holdout.
        explore: Share of the others that explore.
        lift: What coupon and gift add to the probability of an order, (2,), on average over units.
        spread: σ of the log-normal value of an order, with mean 1; 0: it is 1.
        stops: Day on which the gift stops working; None: never.
        optimism: Predicted value as a multiple of the right one.
        contaminated: Share of the holdout that gets a gift from somebody else.
        favoured: By how much the probability of the gift is greater in fact than in the log.
        version: Day on which a second version begins to decide; None: never.
    """

    days: int = 60
    per_day: int = 1_000
    holdout: float = 0.05
    explore: float = 0.1
    lift: tuple[float, float] = (0.03, 0.06)
    spread: float = 0.0
    stops: int | None = None
    optimism: float = 1.0
    contaminated: float = 0.0
    favoured: float = 0.0
    version: int | None = None

    def design(self, **changes: float | None) -> Design:
        """Returns the campaign as the monitor sees it."""
        given = {"tolerance": 0.25, "value_per_unit": 20.0} | changes
        return Design(
            NAMES, (1.0, 1.0, 1.0), self.holdout, self.explore, self.days, float(self.days * self.per_day), **given  # type: ignore[arg-type]
        )  # fmt: skip


def days_of(world: World, seed: int) -> Iterator[Decisions]:
    """Yields the decisions of each day."""
    rng, h, e = np.random.default_rng(seed), world.holdout, world.explore
    for day in range(world.days):
        n = world.per_day
        x, at = rng.random((n, 2)), np.arange(n)
        base = 0.02 + 0.06 * x[:, 0]
        chance = base[:, None] + np.outer(2 * x[:, 1], [0.0, *world.lift])
        menu, cost = world.optimism * chance, chance * np.array([0.0, 2.0, 5.0])
        policy = best_treatments(menu, cost, np.full(n, 0.1))
        propensities = np.full((n, 3), e * (1 - h) / 3)
        propensities[at, policy] += (1 - e) * (1 - h)
        propensities[:, 0] += h
        kind = np.where(rng.random(n) < h, 2, np.where(rng.random(n) < e, 1, 0))
        given = np.where(kind == 2, 0, np.where(kind == 1, rng.integers(0, 3, n), policy))
        given = np.where((rng.random(n) < world.favoured) & (kind != 2), 2, given)
        treated = np.where((kind == 2) & (rng.random(n) < world.contaminated), 2, given)
        works = chance[
            at, np.where((treated == 2) & (world.stops is not None and day >= (world.stops or 0)), 0, treated)
        ]
        order = rng.random(n) < works
        size = np.exp(world.spread * rng.standard_normal(n) - world.spread**2 / 2)
        time = day * DAY + np.sort(rng.random(n)) * DAY
        yield Decisions(
            time, time + 7 * DAY, given.astype(np.intp), kind.astype(np.intp),
            np.full(n, int(world.version is not None and day >= (world.version or 0)), np.intp), order, np.zeros(n, np.bool_),
            np.ones(n, np.bool_), np.full(n, 0.1), order * np.array([0.0, 2.0, 5.0])[treated], order * size, propensities, menu,
            cost, np.zeros(n, np.int64),
        )  # fmt: skip


def signals_of(world: World, seed: int, **changes: float | None) -> list[Signal]:
    """Returns the signals at the end, when everything has matured; dates are numbers of days."""
    cells = Cells(world.design(**changes), ["first", "second"])
    for day, part in enumerate(days_of(world, seed)):
        cells.add(day, part, np.inf)
    return cells.signals(str)


FAULT = 20  # the day on which something goes wrong, in the worlds in which it does not begin with the campaign
SOUND = {
    "orders, 0/1": World(), "log-normal orders, σ = 1": World(spread=1.0), "log-normal orders, σ = 2": World(spread=2.0),
    "no treatment does anything": World(lift=(0.0, 0.0)), "a second version after 20 days": World(version=FAULT),
    "predictions 15 % too high": World(optimism=1.15),
}  # fmt: skip
LARGE = 5_000
FAULTY = {
    "the gift stops working": (World(per_day=LARGE, stops=FAULT), "value against prediction", FAULT),
    "predictions 60 % too high": (World(per_day=LARGE, optimism=1.6), "value against prediction", 0),
    "1 % of the gifts are not by the log": (World(per_day=LARGE, favoured=0.01), "share given less probability", 0),
    "a fifth of the holdout gets the gift": (
        World(per_day=LARGE, contaminated=0.2),
        "share of the holdout paid for",
        0,
    ),
}
MANY, FEW = 300, 40


def measure(given: Namespace) -> dict[str, Any]:
    """Returns the alarms of every world."""
    out: dict[str, Any] = {"sound": {}, "faulty": {}}
    for name, world in SOUND.items():
        alarms = [[one.name for one in signals_of(world, seed) if one.state == "alarm"] for seed in range(MANY)]
        out["sound"][name] = {
            "campaigns": MANY,
            "with": sum(map(bool, alarms)),
            "names": sorted({n for a in alarms for n in a}),
        }
        print(name, out["sound"][name], flush=True)
    for name, (world, signal, _) in FAULTY.items():
        first = []
        for seed in range(FEW):
            days = [one.first_bad_day for one in signals_of(world, seed) if one.state == "alarm" and one.name == signal]
            first.append(min((int(day) for day in days if day is not None), default=None))
        out["faulty"][name] = {"campaigns": FEW, "first": first}
        print(name, first, flush=True)
    return out


def page(kept: dict[str, Any]) -> list[str]:
    """Returns the page."""
    world = World()
    lines = [
        "# Alarms of the monitor", "", "Generated by `python -m benchmarks monitor --table`; do not edit.", "",
        f"Simulated campaigns of {world.days} days, three treatments, a holdout of {world.holdout:.0%}, {world.explore:.0%} of "
        "the others explore; the monitor looks at the end of",
        "every day. What is counted: signals with an interval (lift, exploration, calibration, assignment, holdout).", "",
        f"## Nothing is wrong: campaigns with any alarm on any day (stated: at most {ALPHA:.0%})", "",
        f"{world.per_day:,} decisions a day. Predictions may be wrong by 25 % before that is an alarm, so 15 % is none.", "",
        "| world | campaigns | with an alarm | share | signals |", "|---|---|---|---|---|",
    ]  # fmt: skip
    for name, one in kept["sound"].items():
        share = one["with"] / one["campaigns"]
        lines.append(
            f"| {name} | {one['campaigns']} | {one['with']} | {share:.1%} | {', '.join(one['names']) or '–'} |"
        )
    lines += [
        "", "## Something is wrong: days of decisions until the signal that names it is an alarm", "",
        f"{LARGE:,} decisions a day. Days count from that of the fault, which is included; what is judged by outcomes is known "
        "an outcome window",
        "later (7 days here).", "", "| fault | campaigns | named | days: median | 90 % | most |", "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for name, one in kept["faulty"].items():
        start = FAULTY[name][2]
        days = [day - start + 1 for day in one["first"] if day is not None and day >= start]
        shown = [f"{np.quantile(days, q):.0f}" for q in (0.5, 0.9, 1.0)] if days else ["–"] * 3
        lines.append(f"| {name} | {one['campaigns']} | {len(days)} | {' | '.join(shown)} |")
    return lines


def main() -> None:
    single("monitor", __doc__, measure, page)


if __name__ == "__main__":
    main()
