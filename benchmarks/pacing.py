"""Units that come one by one against the best plan in hindsight; writes docs/benchmarks/pacing.md.

python -m benchmarks pacing
python -m benchmarks pacing --table      # the page of what was measured
"""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.cells import mean_sd, single
from benchmarks.suite.summary import table
from largesse.allocate import Pacer, frontier, solve
from largesse.menu import Menu

UNITS, TREATMENTS, SHARE, SEEDS, MORE_SEEDS = 20_000, 5, 0.2, 5, 20
DRIFTS = {
    "none": "nothing drifts",
    "up": "value rises from 70 to 130 %",
    "down": "value falls from 130 to 70 %",
    "wave": "value swings by ±40 %, twice",
    "jump": "value jumps from 70 to 130 % half-way",
    "cost": "cost rises from 70 to 130 %",
}
ORDERS = DRIFTS | {"best": "best units first", "worst": "worst units first"}
KINDS = {1: "1 kind", 2: "2 kinds", 3: "3 kinds", 10: "10 kinds", 0: "all different"}
COME = (0.9, 1.0, 1.1)  # units that come, over those announced
PROFILES = {  # value and cost of the units that come, over those of the profile
    "it fits": (1.0, 1.0),
    "values +20 %": (1.2, 1.0),
    "values -20 %": (0.8, 1.0),
    "costs +20 %": (1.0, 1.2),
    "costs -20 %": (1.0, 0.8),
}
REPORTED = {0: "never", 200: "200 units later", 5_000: "5,000 units later"}
REDEEMED = (1.0, 1.2)  # redemption over its prediction
Floats = NDArray[np.float64]


class Outcome(NamedTuple):
    """Value over that in hindsight, spend over the budget, and the largest distance of the spend from an even one, in percent."""

    value: float
    spend: float
    uneven: float


def drawn(units: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Returns value and cost of units, (units, TREATMENTS)."""
    cost, value = (np.sort(rng.gamma(2.0, 1.0, (units, TREATMENTS)), axis=1) for _ in range(2))
    cost[:, 0], value = 0, value * rng.random((units, 1))
    return value, cost


def arrivals(order: str, seed: int) -> tuple[Floats, Floats]:
    """Returns value and cost of units in the order in which they come."""
    value, cost = drawn(UNITS, np.random.default_rng(seed))
    t = np.arange(UNITS)[:, None] / UNITS
    if order in ("best", "worst"):
        rows = np.argsort((value[:, -1] / cost[:, -1]) * (-1 if order == "best" else 1))
        return value[rows], cost[rows]
    slope = {
        "up": 0.7 + 0.6 * t,
        "down": 1.3 - 0.6 * t,
        "wave": 1 + 0.4 * np.sin(4 * np.pi * t),
        "jump": np.where(t < 0.5, 0.7, 1.3),
    }
    return value * slope.get(order, 1.0), cost * (0.7 + 0.6 * t if order == "cost" else 1.0)


def of_kinds(kinds: int, units: int, seed: int) -> tuple[Floats, Floats]:
    """Returns value and cost of units of a few kinds (0: all different), in a random order."""
    rng = np.random.default_rng(seed)
    value, cost = drawn(kinds or units, rng)
    rows = rng.integers(kinds, size=units) if kinds else np.arange(units)
    return value[rows], cost[rows]


def outcome(pacer: Pacer, value: Floats, cost: Floats) -> Outcome:
    """Returns what a pacer reaches on units in their order of arrival."""
    rows, taken = np.arange(len(value)), pacer.decide_many(value, cost)
    best = solve(Menu(value=value, cost=cost), pacer.budget).value
    spend = np.cumsum(cost[rows, taken])[: pacer.horizon] / pacer.budget
    uneven = np.abs(spend - np.arange(1, len(spend) + 1) / pacer.horizon).max()
    return Outcome(100 * value[rows, taken].sum() / best, 100 * pacer.spent / pacer.budget, 100 * float(uneven))


def paced(order: str, seed: int) -> Outcome:
    """Returns the outcome without history and profile."""
    value, cost = arrivals(order, seed)
    return outcome(Pacer(SHARE * float(cost[:, -1].sum()), UNITS), value, cost)


def paced_kinds(kinds: int, come: float, seed: int) -> Outcome:
    """Returns the outcome where menus are of few kinds, and a multiple of the announced units comes."""
    value, cost = of_kinds(kinds, round(1.1 * UNITS), seed)
    n = round(come * UNITS)
    return outcome(Pacer(SHARE * float(cost[:UNITS, -1].sum()), UNITS), value[:n], cost[:n])


def profiled(order: str, seed: int, known: str, value_scale: float = 1.0, cost_scale: float = 1.0) -> Outcome:
    """Returns the outcome with other units in the order `known` as the profile; what comes has its values and costs scaled."""
    value, cost = arrivals(order, seed)
    of = dict(zip(("value", "cost"), arrivals(known, seed + 500), strict=True))
    budget = SHARE * float(cost[:, -1].sum())
    return outcome(Pacer(budget, UNITS, profile=Menu(**of)), value_scale * value, cost_scale * cost)


def paid(ratio: float, late: int, seed: int) -> float:
    """Returns payments over the budget, in percent: coupons redeemed by chance cost `ratio` times the prediction on average.

    A payment is reported `late` units after the decision; 0: never.
    """
    rng = np.random.default_rng(seed)
    value, face = drawn(UNITS, rng)
    cost = 0.3 * face
    pacer = Pacer(SHARE * float(cost[:, -1].sum()), UNITS)
    total, amount = 0.0, np.empty(UNITS)
    for first in range(0, UNITS, 100):
        k = np.arange(first, first + 100)
        taken = pacer.decide_many(value[k], cost[k], keys=k if late else None)
        amount[k] = face[k, taken] * (rng.random(100) < 0.3 * ratio)
        total += amount[k].sum()
        for i in rng.permutation(k - late) if late and first >= late else ():
            pacer.report(int(i), float(amount[i]))
    return 100 * total / pacer.budget


def speed(profile: bool, batch: int) -> float:
    """Returns the microseconds of a decision in batches (1: `decide`), the fastest of five runs: other work only delays."""
    value, cost = arrivals("none", 0)
    menu, times = Menu(value=value, cost=cost) if profile else None, []
    for _ in range(5):
        pacer, start = Pacer(SHARE * float(cost[:, -1].sum()), UNITS, profile=menu), 0.0
        for first in range(0, UNITS // 2, batch):
            if first == UNITS // 10:
                start = time.perf_counter()  # what comes before compiles, and fills the window
            if batch == 1:
                pacer.decide(value[first], cost[first])
            else:
                pacer.decide_many(value[first : first + batch], cost[first : first + batch])
        times.append(time.perf_counter() - start)
    return 1e6 * min(times) / (0.4 * UNITS)


def repriced(n: int) -> tuple[float, float]:
    """Returns the seconds of one frontier of n units, and of the price of another budget by it."""
    value, cost = drawn(n, np.random.default_rng(0))
    menu = Menu(value=value, cost=cost)
    frontier(menu.take(np.arange(100)))  # compiles
    times, budgets = [time.perf_counter()], float(cost[:, -1].sum()) * np.linspace(0.5, 0.9, 100)
    front = frontier(menu)
    times.append(time.perf_counter())
    for budget in budgets:
        front.price_at(budget)
    times.append(time.perf_counter())
    return times[1] - times[0], (times[2] - times[1]) / len(budgets)


def profiles(seeds: range) -> dict[str, dict[str, list[Outcome]]]:
    """Returns the outcomes with a profile, by order of arrival and by what is wrong with the profile."""
    found = {
        order: {
            **{words: [profiled(order, s, order, *scales) for s in seeds] for words, scales in PROFILES.items()},
            "random order": [profiled(order, s, "none") for s in seeds],
        }
        for order in ORDERS
    }
    found["none"] |= {order: [profiled("none", s, order) for s in seeds] for order in ("best", "worst")}
    return found


def measure(said: Namespace) -> dict[str, Any]:
    """Returns all numbers of the page: outcomes by seed, payments, seconds."""
    few, more = range(SEEDS), range(MORE_SEEDS)
    once, each = repriced(1_000_000)
    return {
        "orders": {order: [paced(order, s) for s in few] for order in ORDERS},
        "kinds": {words: [[paced_kinds(k, c, s) for s in more] for c in COME] for k, words in KINDS.items()},
        "profiles": profiles(few),
        "paid": {words: [[paid(r, late, s) for s in more] for r in REDEEMED] for late, words in REPORTED.items()},
        "speed": {
            "no profile": [speed(False, n) for n in (1, 1_000)],
            "with a profile": [speed(True, n) for n in (1, 1_000)],
        },
        "frontier": once,
        "price": each,
    }


def values(outcomes: Sequence[Sequence[float]]) -> str:
    return mean_sd([value for value, *_ in outcomes], 2)


def drift_table(cell: dict[str, Any]) -> list[str]:
    rows = [
        [words, *(mean_sd(of, 2) for of in tuple(zip(*cell["orders"][drift], strict=True))[:2])]
        for drift, words in DRIFTS.items()
    ]
    head = ["drift", "value, % of hindsight", "spend, % of the budget"]
    return ["## Drifts", "", f"Mean ± sd of {SEEDS} seeds.", "", table(head, rows)]


def kinds_table(cell: dict[str, Any]) -> list[str]:
    rows = [
        [words, f"{come:.0%}", *(mean_sd(of, 2) for of in zip(*outcomes, strict=True))]
        for words, by_come in cell["kinds"].items() for come, outcomes in zip(COME, by_come, strict=True)
    ]  # fmt: skip
    return [
        "", "## Few kinds of menus; fewer or more units than announced", "",
        "Each unit's menu is one of a few kinds, drawn at random. 90, 100 or 110 % of the announced units come; hindsight",
        "knows how many. Uneven: the largest distance, over the announced horizon, between the spend so far and an even",
        f"spend, in % of the budget. Mean ± sd of {MORE_SEEDS} seeds.", "",
        table(["menus", "units that come", "value, % of hindsight", "spend, % of the budget", "uneven"], rows),
    ]  # fmt: skip


def profile_table(cell: dict[str, Any]) -> list[str]:
    found, columns = cell["profiles"], (*PROFILES, "random order")
    rows = [
        [words, values(cell["orders"][order]), *(values(found[order][column]) for column in columns)]
        for order, words in ORDERS.items()
    ]
    return [
        "", "## With a profile of arrivals", "",
        f"`Pacer(profile=...)` is given {UNITS:,} other units in their order of arrival. Value in % of hindsight, mean ± sd",
        f"of {SEEDS} seeds. It fits: the units that come are like those of the profile. Next: all their values, or costs, are a",
        "fifth above or below. Random order: the units of the profile stand in no order.", "",
        table(["order of arrival", "no profile", *columns], rows), "",
        "A profile in a wrong order misleads: where its best units come first, and the units to decide in no order,",
        f"{values(found['none']['best'])}; where its worst come first, {values(found['none']['worst'])}.",
    ]  # fmt: skip


def paid_table(cell: dict[str, Any]) -> list[str]:
    rows = [[words, *(mean_sd(shares, 2) for shares in by_ratio)] for words, by_ratio in cell["paid"].items()]
    return [
        "", "## Payments that differ from the prediction", "",
        "Coupons are redeemed by three units in ten: a payment is 0 or 3.3 times the predicted cost. Payments in % of the",
        "budget, where redemption is as predicted or a fifth above; `report` comes so many units after the decision, or",
        f"never. Mean ± sd of {MORE_SEEDS} seeds.", "",
        table(["reported", "as predicted", "a fifth above"], rows),
    ]  # fmt: skip


def speed_table(cell: dict[str, Any]) -> list[str]:
    rows = [[words, f"{one:.1f}", f"{many:.2f}", f"{one / many:.0f}"] for words, (one, many) in cell["speed"].items()]
    return [
        "", "## Speed", "", "The fastest of five runs.", "",
        table(["", "`decide`, µs per unit", "`decide_many` of 1,000 units", "ratio"], rows), "",
        f"When the budget changes: the frontier of 1,000,000 units × {TREATMENTS} treatments takes {cell['frontier']:.1f} s",
        f"once; then λ* of another budget (`Frontier.price_at`) takes {1e6 * cell['price']:.0f} µs.",
    ]  # fmt: skip


def page(cell: dict[str, Any]) -> list[str]:
    """Returns the lines of the page."""
    return [
        "# Units that come one by one", "", "Generated by `python -m benchmarks pacing`; do not edit.", "",
        f"{UNITS:,} units of {TREATMENTS} treatments come one by one; the budget is {SHARE:.0%} of what the dearest treatment",
        "for everyone costs. `Pacer` with its defaults and no history, unless stated, against the best plan in hindsight.", "",
        *drift_table(cell), *kinds_table(cell), *profile_table(cell), *paid_table(cell), *speed_table(cell),
    ]  # fmt: skip


def main() -> None:
    single("pacing", __doc__, measure, page)
