"""The loop in worlds that change or not, beside a policy that stays, weekly learning, bandits and perfect knowledge.

    python -m benchmarks loop
    python -m benchmarks loop --seeds 2 --processes 1
    python -m benchmarks loop --table

Writes docs/benchmarks/loop.md and loop.png. A world and a seed are a cell of docs/benchmarks/loop. The loop's settings
(`benchmarks/living/whole.py`) were chosen on seeds 1000 and 1001. The bandits need the package mabwiser (pip install mabwiser).
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.cells import PAGES, arguments, load, run, store, write
from benchmarks.living.deciders import LEARNER, Bandit, Came, Decider, Oracle, Static, Untargeted, Weekly
from benchmarks.living.money import Till
from benchmarks.living.scene import Scene, budget_of, days_of, trial_of
from benchmarks.living.whole import EVERY, EXPLORE, HOLDOUT, MARGIN, Loop

__all__ = ["WORLDS", "campaign"]

FOLDER = PAGES / "loop"
SEEDS = 10
CHANGE = 20  # the day from which a treatment does nothing more, or a feature is broken
WORLDS = {
    "still": ("Nothing changes", Scene(per_day=20_000)),
    "drift": ("Responses drift to those of another world, days 0 to 20", Scene(per_day=20_000, drift=(0, 20))),
    "stops": ("The dearest treatment stops working on day 20", Scene(per_day=20_000, days=40, stops=CHANGE)),
    "breaks": ("The most important feature arrives as 0 from day 20 on", Scene(per_day=20_000, days=40, breaks=CHANGE)),
}
NAMES = {
    "oracle": "perfect knowledge", "loop": "the loop", "static": "policy of the trial, stays",
    "weekly": "learned anew every week, nothing at random", "LinUCB": "LinUCB (mabwiser)", "LinTS": "linear Thompson (mabwiser)",
    "untargeted": "best mix, given at random",
}  # fmt: skip


def deciders(scene: Scene, seed: int) -> dict[str, Callable[[], Decider]]:
    """Returns who decides, by name; bandits where their package is installed."""
    trial = trial_of(scene, seed)
    every: dict[str, Callable[[], Decider]] = {
        "oracle": Oracle, "loop": lambda: Loop(scene, trial, seed), "static": lambda: Static(trial, seed),
        "weekly": lambda: Weekly(trial, seed), "untargeted": lambda: Untargeted(seed),
    }  # fmt: skip
    if find_spec("mabwiser") is not None:
        every |= {"LinUCB": lambda: Bandit(trial, "LinUCB", seed), "LinTS": lambda: Bandit(trial, "LinTS", seed)}
    return every


def campaign(scene: Scene, seed: int, decider: Decider) -> dict[str, Any]:
    """Returns true value per unit and payments over the budget, day by day, and what the loop did."""
    till = Till(budget_of(scene, seed), scene.per_day, scene.delay)
    known, value, plan = list[Came](), list[float](), list[float]()
    for day in days_of(scene, seed):
        matured = day.number - scene.delay - 1
        decider.learn(day.number, known[matured] if matured >= 0 else None)
        given = decider.decide(day, till)
        mine = day.value[np.arange(len(given.code)), given.code]
        known.append(Came(day, given, (day.chance < mine) * 1.0))
        plan.append(float(given.reserved.sum()) * till.ratio() / max(till.spending[-1], 1e-9))
        till.close(given, float(known[-1].paid.sum()))
        value.append(float(mine.mean()))
    spend = np.cumsum(till.paid) / (till.budget * np.arange(1, scene.days + 1))
    return {
        "value": [round(v, 6) for v in value], "spent": [round(p / till.budget, 4) for p in till.paid],
        "so far": [round(float(s), 4) for s in spend], "planned": [round(p, 4) for p in plan],
        "events": [list(one) for one in getattr(decider, "events", ())],
    }  # fmt: skip


def cell(task: tuple[str, int]) -> str:
    """Runs all deciders of a world and a seed."""
    world, seed = task
    scene, start, out = WORLDS[world][1], time.perf_counter(), dict[str, Any]()
    for name, made in deciders(scene, seed).items():
        out[name] = campaign(scene, seed, made())
    store(FOLDER / f"{world}-{seed}.json", out)
    return f"{world} {seed}: {time.perf_counter() - start:.0f} s"


# ---- the page


def _cells(world: str) -> list[dict[str, Any]]:
    places = [FOLDER / f"{world}-{seed}.json" for seed in range(1_000)]
    return [load(place) for place in places if place.exists()]


def _interval(part: Sequence[float], digits: int = 1, unit: str = "") -> str:
    a = np.array(part)
    if len(a) < 2:
        return f"{a.mean():.{digits}f}{unit}"
    half = stats.t.ppf(0.975, len(a) - 1) * a.std(ddof=1) / len(a) ** 0.5
    return f"{a.mean():.{digits}f}{unit} ({a.mean() - half:.{digits}f} to {a.mean() + half:.{digits}f})"


def _mean(one: dict[str, Any], name: str, first: int, last: int | None = None) -> float:
    return float(np.mean(one[name]["value"][first:last]))


def _closed(one: dict[str, Any], name: str, first: int) -> float:
    static, best = _mean(one, "static", first), _mean(one, "oracle", first)
    return 100 * (_mean(one, name, first) - static) / (best - static)


def _table(world: str, first: int) -> list[str]:
    cells = _cells(world)
    names = [name for name in NAMES if all(name in one for one in cells)]
    more_than = "more than the policy that stays, % of its value"
    lines = [
        f"| who decides | value per unit | {more_than} | gap to perfect knowledge closed, % |",
        "|---|---|---|---|",
    ]
    for name in names:
        value = [_mean(one, name, first) for one in cells]
        more = [100 * (_mean(one, name, first) / _mean(one, "static", first) - 1) for one in cells]
        closed = "–" if name in ("oracle", "static") else _interval([_closed(one, name, first) for one in cells], 0)
        less = "–" if name == "static" else _interval(more, 1)
        lines.append(f"| {NAMES[name]} | {np.mean(value):.4f} | {less} | {closed} |")
    return lines


def _money(world: str) -> list[str]:
    cells = _cells(world)
    head = "| who decides | money of a day that is planned: least, median | paid so far over budget so far: most, from day 3 on "
    lines = [f"{head}| at the end |", "|---|---|---|---|"]
    for name in ("loop", "static", "oracle"):
        planned = np.array([one[name]["planned"] for one in cells])[:, 1:]
        far = np.array([one[name]["so far"] for one in cells])
        lines.append(
            f"| {NAMES[name]} | {planned.min():.1%}, {np.median(planned):.1%} | {far[:, 3:].max():.1%} | "
            f"{far[:, -1].min():.1%} to {far[:, -1].max():.1%} |"
        )
    return lines


def _events(world: str, what: str) -> list[list[list[Any]]]:
    return [[event for event in one["loop"]["events"] if event[1] == what] for one in _cells(world)]


def _firsts(world: str, what: str) -> list[int | None]:
    return [min((day for day, *_ in some if day >= CHANGE), default=None) for some in _events(world, what)]


def _delay(scene: Scene, first: int | None) -> str:
    """Returns how many days of what became known it took, the day of the change included."""
    return "never" if first is None else str(first - scene.delay - CHANGE)


def page() -> list[str]:
    """Returns the page."""
    return [*_what(), *_drift(), *_still(), *_stops(), *_breaks()]


def _what() -> list[str]:
    still = WORLDS["still"][1]
    return [
        "# The loop", "", "Generated by `python -m benchmarks loop --table`; do not edit.", "",
        f"Simulated campaigns: a trial of {still.trial:,} rows, then {still.per_day:,} units a day, three treatments",
        f"(0, 2, 5 off an order), and {still.share:.0%} of the money that the dearest one would cost for everybody. What a unit",
        f"brings is known {still.delay} days later. The loop has a holdout of {HOLDOUT:.0%}; {EXPLORE:.0%} of the others",
        f"explore. Every {EVERY} days, or after an alarm, it learns challengers, tries one on half of the units, and promotes",
        f"it once it is shown to be at most {MARGIN:.0%} of the value worse. All learn by `{LEARNER}`. Values are true ones,",
        "exploration and holdout included; intervals are 95 % over worlds. The parts are those of the package (draws, price,",
        "monitor, gate, models), without the store.", "",
        "![value by day](loop.png)", "",
    ]  # fmt: skip


def _title(world: str, when: str) -> str:
    return f"## {WORLDS[world][0]}: {when} ({len(_cells(world))} worlds)"


def _drift() -> list[str]:
    promoted = np.mean([len(some) for some in _events("drift", "promoted")])
    return [
        _title("drift", "days 30 to 59"), "", *_table("drift", 30), "",
        f"The loop promoted {promoted:.1f} challengers a campaign.", "",
    ]  # fmt: skip


def _still() -> list[str]:
    first = EVERY + WORLDS["still"][1].delay + 1
    cost = [100 * (_mean(one, "loop", 0, first) / _mean(one, "static", 0, first) - 1) for one in _cells("still")]
    return [
        _title("still", "all days"), "", *_table("still", 0), "",
        f"Holdout and exploration cost from the first day on: before a challenger can decide (days 0 to {first - 1}), the loop",
        f"brings {_interval(cost, 2, ' %')} more (below 0: less) than the policy that stays.", "",
        "### Money", "", *_money("still"), "",
        "Planned: what decisions reserve, corrected by what earlier ones paid. No decision is made that the money of its day",
        "does not pay for; what is paid later differs from that by chance, and later days make up for it.", "",
    ]  # fmt: skip


def _stops() -> list[str]:
    days = ", ".join(_delay(WORLDS["stops"][1], day) for day in _firsts("stops", "dropped"))
    before = sum(any(event[0] < CHANGE for event in some) for some in _events("stops", "dropped"))
    return [
        _title("stops", f"days {CHANGE} to 39"), "", *_table("stops", CHANGE), "",
        f"Days of outcomes that had to be known until it was dropped: {days}. Dropped before it stopped: {before} times.", "",
    ]  # fmt: skip


def _breaks() -> list[str]:
    days = ", ".join("never" if day is None else str(day - CHANGE + 1) for day in _firsts("breaks", "left out"))
    before = sum(any(event[0] < CHANGE for event in some) for some in _events("breaks", "left out"))
    return [
        _title("breaks", f"days {CHANGE} to 39"), "", *_table("breaks", CHANGE), "",
        f"Days until the column was named and left out, its first day included: {days}. A column named before: {before} times.",
    ]  # fmt: skip


def picture() -> None:
    """Draws the value of each day, over that of perfect knowledge, for every world."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(11, 7), layout="constrained")
    for axis, (world, (words, _)) in zip(axes.flat, WORLDS.items(), strict=True):
        cells = _cells(world)
        for name in NAMES:
            if name == "oracle" or not cells or any(name not in one for one in cells):
                continue
            part = np.mean([np.array(one[name]["value"]) / np.array(one["oracle"]["value"]) for one in cells], axis=0)
            week = np.convolve(part, np.ones(3) / 3, mode="valid")
            thick = {"linewidth": 2.5, "color": "black"} if name == "loop" else {"linewidth": 1.2}
            axis.plot(np.arange(len(week)) + 1, 100 * week, label=NAMES[name], **thick)
        axis.set_title(words, fontsize=10)
        axis.set_xlabel("day")
        axis.set_ylabel("% of perfect knowledge")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9)
    figure.savefig(PAGES / "loop.png", dpi=110)


def main() -> None:
    given = arguments(__doc__, seeds=SEEDS).parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    every = [(world, seed) for seed in range(given.seeds) for world in ("drift", "still", "stops", "breaks")]
    tasks = [task for task in every if not (FOLDER / f"{task[0]}-{task[1]}.json").exists()]
    if tasks and not given.table:
        run(cell, tasks, given.processes)
    write("loop", page())
    picture()


if __name__ == "__main__":
    main()
