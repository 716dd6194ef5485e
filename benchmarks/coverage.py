"""How often do the intervals hold the truth? Every design, size and quantity; writes docs/benchmarks/coverage.md.

    python -m benchmarks coverage
    python -m benchmarks coverage --first 1000 --into /tmp/choice     # the seeds on which settings are chosen
    python -m benchmarks coverage --table

Trials are drawn from a world whose truth is known, by nine designs. A policy, another one, and the baselines are valued on
each trial; where units get one arm with a known share, also the experiment of the dearest arm against control. Cells of
250 trials are kept under docs/benchmarks/coverage/.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cells import PAGES, arguments, load, run, store, write
from benchmarks.coverage_quantities import ALWAYS, DESIGNS, NEW, PLANNED, SHARES, Floats, bar, quantities, truth
from largesse import Logs, Menu
from largesse.evaluate import compare
from largesse.evaluate.comparison import BEST_MIX
from largesse.evaluate.intervals import FEW_EVENTS
from largesse.experiment.estimators.shape import FEW_EVENTS_IN_AN_ARM

TRIALS, SIZES = 250, (1_000, 3_000, 10_000)
NULLS = {"2 arms": 2, "4 arms": 4, "8 arms": 8}


def cell(task: tuple[str, int, int, str]) -> str:
    """Fills one cell of trials: for each quantity and budget, error, square, width, events and misses of its interval."""
    design, n, k, into = task
    place = Path(into) / f"{design.replace(' ', '_')}-{n}-{k}.json"
    if load(place):
        return f"{place.stem}: there"
    if design in NULLS:
        store(place, no_effect(design, n, k))
        return f"{place.stem}: done"
    exact = truth(design)
    kept: dict[str, list[list[list[float]]]] = defaultdict(lambda: [[] for _ in SHARES])
    for r in range(TRIALS):
        rng = np.random.default_rng([k, r, n, sum(map(ord, design))])
        for name, rows in quantities(design, n, exact, rng).items():
            for b, (estimate, low, high, events, true) in enumerate(rows):
                missed = 0.0 if np.isnan(estimate) else float(high < true) - float(low > true)
                kept[name][b].append([estimate - true, missed, high - low, events])
    cells = {
        name: [{"trials": len(rows), **_summary(np.array(rows), bar(name))} for rows in of_budget if rows]
        for name, of_budget in kept.items()
    }
    store(place, {"design": design, "rows": n, "cell": k, "quantities": cells})
    return f"{place.stem}: done"


OF_VALUES = (
    "value of the policy", "best untargeted policy", "one treatment for everyone", "share of the effect",
    "difference from another policy", "difference from the best untargeted policy",
)  # fmt: skip
ABOUT = {
    "spend of the policy": (
        "What the policy's decisions cost in the trial at the price of each budget, as in a report's table of spends.",
    ),
    "spend of new units": (
        f"What `PriceCurve`, calibrated on the trial, predicts that {NEW:,} further units spend at the price that it chose",
        "for the budget; the truth is what these units then spend, each drawn anew.",
    ),
    "value of new units": ("What it predicts that they bring.",),
    "experiment: difference in means": (
        "The dearest treatment against control, in designs where each unit or cluster has the same probabilities. How often",
        "STATE covers what it estimates stands on [the page of experiments](experiment.md).",
    ),
    PLANNED: (
        "Boundaries of O'Brien and Fleming. A trial counts as covered if the intervals of all its looks hold the truth; looks",
        "beside which a warning of few events stands do not count.",
    ),
    ALWAYS: (
        "A normal mixture whose scale is the true effect, from the first look without such a warning. It is valid for any number",
        "of looks, so twenty of them miss in fewer than 5 of 100 trials: more than 97 is as it should be.",
    ),
}
BINS = (0, 10, 20, 40, 80, 160, 320)


def _summary(rows: Floats, bar_: int) -> dict[str, Any]:
    off, missed, width, events = rows.T
    known = np.isfinite(off)
    few = np.where(known, np.digitize(np.nan_to_num(events), BINS) - 1, -1)
    return {
        "undefined": int((~known).sum()), "off": float(off[known].sum()), "square": float((off[known] ** 2).sum()),
        "width": float(np.nanmedian(width)) if known.any() else None, "below": int((missed > 0).sum()),
        "above": int((missed < 0).sum()), "events": float(np.nanmedian(events)) if known.any() else None,
        "few": int((events[known] < bar_).sum()),
        "by events": [[int((few == q).sum()), int((missed[few == q] != 0).sum())] for q in range(len(BINS))],
    }  # fmt: skip


def no_effect(design: str, n: int, k: int) -> dict[str, Any]:
    """Counts the verdicts on policies and random mixes in a world where no treatment does anything."""
    arms, counts = NULLS[design], {}
    for r in range(TRIALS):
        rng = np.random.default_rng([k, r, n, arms])
        t = rng.integers(0, arms, n)
        value = (rng.random(n) < 0.25) * 1.0
        logs = Logs(x=np.zeros((n, 1)), treatment=t, value=value, cost=value * t)
        guess = rng.random((n, arms)) * 0.1 + 0.25
        menu = Menu(value=guess, cost=np.full((n, arms), 0.25) * np.arange(arms))
        budgets = 0.25 * (arms - 1) * np.array(SHARES)
        table = compare(logs, {"policy": menu}, budgets).against(BEST_MIX)
        for name in ("policy", "random, same mix"):
            at = table.index(name)
            for b in range(len(budgets)):
                for verdict, yes in (
                    ("better", table.difference_low[at, b] > 0),
                    ("worse", table.difference_high[at, b] < 0),
                ):
                    key = f"{name}, {verdict}, {b}"
                    counts[key] = counts.get(key, 0) + int(yes)
    return {"design": design, "rows": n, "cell": k, "trials": TRIALS, "verdicts": counts}


def gathered(folder: Path) -> list[dict[str, Any]]:
    """Returns the cells of a folder."""
    return [load(path) for path in sorted(folder.glob("*.json"))]


def page(folder: Path) -> list[str]:
    """Returns the lines of the page."""
    cells = gathered(folder)
    sums: dict[tuple[str, str, int], dict[str, float]] = {}
    bins = np.zeros((len(BINS), 2))
    for one in cells:
        for name, of_budget in one.get("quantities", {}).items():
            for got in of_budget:
                key = (name, one["design"], one["rows"])
                into = sums.setdefault(key, defaultdict(float))
                for field in ("trials", "undefined", "below", "above", "few"):
                    into[field] += got[field]
                into["events"] += (got["events"] or 0.0) * (got["trials"] - got["undefined"])
                if name in OF_VALUES:
                    bins += np.array(got["by events"])
    intervals = max(got["trials"] for got in sums.values())
    lines = [
        "# Coverage of the intervals", "", "Generated by `python -m benchmarks coverage`; do not edit.", "",
        "Each cell: how many of 100 intervals at 95 % hold the truth; in brackets those that lie wholly below it and wholly",
        f"above it. Two budgets, a fifth and half of what the dearest treatment for everyone costs, and {TRIALS} trials in",
        f"each run of a cell, {max(one['cell'] for one in cells) + 1} runs. A cell of {intervals:,.0f} intervals has a standard",
        f"error of about {100 * (0.95 * 0.05 / intervals) ** 0.5:.1f}; an experiment has half as many. The two budgets of",
        "one trial are related. The second half of the runs was made after a look at the first; all are counted.",
        f"* marks cells where the median interval rests on fewer than {FEW_EVENTS} events ({FEW_EVENTS_IN_AN_ARM} in an arm of",
        "an experiment): there the product says so beside the interval. † marks cells where fewer than half of the trials print",
        "an interval: no effect of which a share could be taken, or no look with enough events. Intervals that are not printed",
        "do not count. ! marks cells outside 93 to 97 with neither.", "",
        *(f"- **{design}**: {words}." for design, words in DESIGNS.items()), "",
    ]  # fmt: skip
    names = list(dict.fromkeys(key[0] for key in sums))
    for name in names:
        lines += [f"## {name[:1].upper()}{name[1:]}", ""]
        if name in ABOUT:
            lines += [*ABOUT[name], ""]
        lines.append("| design | " + " | ".join(f"{n:,} rows" for n in SIZES) + " |")
        lines.append("|---" * (1 + len(SIZES)) + "|")
        for design in DESIGNS:
            if all((name, design, n) not in sums for n in SIZES):
                continue
            shown = [_shown(sums.get((name, design, n)), name) for n in SIZES]
            lines.append(f"| {design} | " + " | ".join(shown) + " |")
        lines.append("")
    lines += [
        "## By effective number of events", "",
        "The values, differences and shares of policies above, all designs and sizes together.", "",
        "| events | intervals | hold the truth, % |", "|---|---|---|",
    ]  # fmt: skip
    for q, (count, missed) in enumerate(bins):
        to = f"{BINS[q]} to {BINS[q + 1]}" if q + 1 < len(BINS) else f"{BINS[q]} and more"
        lines.append(f"| {to} | {count:,.0f} | {100 - 100 * missed / max(count, 1):.1f} |")
    return [*lines, "", *_verdicts(cells)]


def _shown(got: dict[str, float] | None, name: str) -> str:
    if got is None:
        return ""
    printed = got["trials"] - got["undefined"]
    if not printed:
        return "not printed"
    below, above = 100 * got["below"] / printed, 100 * got["above"] / printed
    cover = 100 - below - above
    marks = {"*": got["events"] / printed < bar(name), "†": printed < 0.5 * got["trials"]}
    sound = 93 <= cover <= (100 if name == ALWAYS else 97)
    mark = "".join(sign for sign, holds in marks.items() if holds) or ("" if sound else " !")
    return f"{cover:.1f}{mark} ({below:.1f}, {above:.1f})"


def _verdicts(cells: list[dict[str, Any]]) -> list[str]:
    lines = [
        "## Verdicts where no treatment does anything", "",
        "Shares of trials, in %, in which a policy that knows nothing, or the random mix, is said to be better or worse than",
        "the best untargeted policy, at each of the two budgets. An interval of 95 % errs in 2.5 % on each side.", "",
        "| arms | rows | policy better | policy worse | random mix better | random mix worse |", "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for design in NULLS:
        for n in SIZES:
            own = [c for c in cells if c["design"] == design and c["rows"] == n]
            if not own:
                continue
            trials = sum(c["trials"] for c in own)
            shown = []
            for name in ("policy", "random, same mix"):
                for verdict in ("better", "worse"):
                    parts = [
                        sum(c["verdicts"][f"{name}, {verdict}, {b}"] for c in own) / trials for b in range(len(SHARES))
                    ]
                    shown.append(" / ".join(f"{100 * p:.1f}" for p in parts))
            lines.append(f"| {design} | {n:,} | " + " | ".join(shown) + " |")
    return lines


def main() -> None:
    parser = arguments(__doc__, seeds=8)
    parser.add_argument("--cells", type=int, default=8, help="cells of 250 trials for each design and size")
    parser.add_argument("--first", type=int, default=0, help="number of the first cell; 1000 and above choose settings")
    parser.add_argument("--into", type=Path, default=PAGES / "coverage", help="folder of the cells")
    parser.add_argument("--design", choices=(*DESIGNS, *NULLS), action="append")
    parser.add_argument("--rows", type=int, choices=SIZES, action="append")
    said = parser.parse_args()
    tasks = [
        (design, n, k, str(said.into)) for k in range(said.first, said.first + said.cells)
        for n in said.rows or SIZES for design in said.design or (*DESIGNS, *NULLS)
    ]  # fmt: skip
    if not said.table:
        run(cell, tasks, said.processes)
    write("coverage", page(said.into), said.into.parent)


if __name__ == "__main__":
    main()
