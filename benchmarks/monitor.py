"""Alarms of the monitor: false ones where nothing is wrong, and how soon it names what is; writes docs/benchmarks/monitor.md.

    python -m benchmarks monitor
    python -m benchmarks monitor --table

Every world has its own campaigns, seeds 0 to their number; the number of events below which nothing is an alarm was chosen on
seeds from 5000 on. Time and memory are those of a process of its own on a ledger of ten million decisions, filled by SQL. One
JSON file, docs/benchmarks/monitor.json.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

from benchmarks.cells import single
from largesse.serving import Campaign, Ledger
from largesse.serving.increments import best_treatments
from largesse.serving.ledger.rows import INSERT, id_of, place_of
from largesse.serving.ledger.sql import inserting
from largesse.serving.ledger.store import writing
from largesse.serving.ledger.tables import campaigns, decisions, outcomes
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
DECISIONS, SPAN = 10_000_000, 60
_TIMED = """
import resource, sys, time
start = time.perf_counter()
from largesse.serving import Ledger, monitor
with Ledger.open(sys.argv[1], clock=lambda: float(sys.argv[2])) as ledger:
    monitor(ledger, "large", value_per_unit=20.0)
print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def fill(store: str, n: int) -> float:
    """Fills a new ledger with n decisions of `SPAN` days and the outcomes of their orders; returns the time of its end."""
    world, per_day, code = World(days=SPAN, per_day=n // SPAN), n // SPAN, 1
    end, number, reported = (SPAN + 8.0) * DAY, 0, 0
    add, report = INSERT, inserting(outcomes)
    with Ledger.open(store, clock=lambda: 0.0) as ledger:
        ledger.start(
            Campaign(name="large", treatments=NAMES, budget=1e9, until=end, price=0.1, holdout=0.05, explore=0.1)
        )
        for part in days_of(world, 0):
            menus = np.concatenate([part.value, part.cost], axis=1)
            rows, came = [], []
            for k in range(per_day):
                place = place_of(code, number + k)
                name = id_of(place, bytes(8))
                paid, gained, came_back = round(100 * part.paid[k]), float(part.gained[k]), bool(part.reported[k])
                values = {
                    "place": place, "id": name, "who": place.to_bytes(16, "big"), "campaign": "large", "number": number + k,
                    "period": 0, "unit": f"customer {number + k}", "treatment": NAMES[part.given[k]],
                    "kind": ("policy", "explore", "holdout")[part.kind[k]], "version": "spring-0123456789", "price": 0.1,
                    "reservation": 100, "limited": False, "time": float(part.time[k]), "due": float(part.due[k]),
                    "propensities": part.propensities[k].tobytes(), "menu": menus[k].tobytes(), "features": None,
                    "seal": bytes(16), "link": bytes(32), "state": "posted" if came_back else "expired", "reserved": 0,
                    "paid": paid, "gained": gained,
                }  # fmt: skip
                rows.append(tuple(values[column.name] for column in decisions.c))
                if came_back:
                    outcome = {
                        "place": place_of(code, reported), "campaign": "large", "number": reported, "key": name, "decision": name,
                        "cost": paid, "value": gained, "final": True, "void": False, "time": float(part.time[k]) + DAY,
                        "seal": bytes(16), "link": bytes(32),
                    }  # fmt: skip
                    came.append(tuple(outcome[column.name] for column in outcomes.c))
                    reported += 1
            number += per_day
            with writing(ledger.engine) as connection:
                add.run_all(connection, rows)
                report.run_all(connection, came)
                connection.execute(campaigns.update().values(decided=number, reported=reported))
    return end


def timed(n: int) -> dict[str, float]:
    """Returns seconds and MiB of the monitor on a ledger of n decisions, in a process of its own."""
    with TemporaryDirectory() as folder:
        store = f"sqlite:///{folder}/large.db"
        end = fill(store, n)
        size = (Path(folder) / "large.db").stat().st_size
        done = subprocess.run(
            [sys.executable, "-c", _TIMED, store, str(end)], check=True, capture_output=True, text=True
        )
    seconds, mib = map(float, done.stdout.split())
    return {"decisions": n // SPAN * SPAN, "bytes": size, "seconds": seconds, "mib": mib}


def measure(given: Namespace) -> dict[str, Any]:
    """Returns the alarms of every world."""
    out: dict[str, Any] = {"large": timed(given.decisions), "sound": {}, "faulty": {}}
    print(out["large"], flush=True)
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
    large = kept["large"]
    return [
        *lines, "", "## Time and memory", "",
        f"{large['decisions']:,} decisions in SQLite ({large['bytes'] / 1e9:.1f} GB), a new process, imports included: "
        f"{large['seconds']:.0f} s, {large['mib']:,.0f} MiB (Python {kept['python']}, {kept['cores']} cores).",
    ]  # fmt: skip


def main() -> None:
    single(
        "monitor",
        __doc__,
        measure,
        page,
        ("--decisions", {"type": int, "default": DECISIONS, "help": "of the large ledger"}),
    )


if __name__ == "__main__":
    main()
