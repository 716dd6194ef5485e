"""How often do the intervals hold the truth? Every design, size and quantity; writes docs/benchmarks/coverage.md.

    python -m benchmarks coverage --cells 4
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
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.cells import PAGES, arguments, load, run, store, write
from largesse import Logs, Menu
from largesse.allocate.budget_frontier import steps
from largesse.evaluate import compare, effect_share, mix_value
from largesse.evaluate.comparison import BEST_MIX
from largesse.evaluate.intervals import FEW_EVENTS, weighted_sum

Floats = NDArray[np.float64]
TRIALS, SIZES, SHARES = 250, (1_000, 3_000, 10_000), (0.2, 0.5)
LEVELS = np.array([0.0, 1.0, 2.0])  # what an order under each treatment costs
DESIGNS = {
    "equal": "three arms with a third of the units each, each unit by itself; the shares are declared",
    "unequal": "arms with 70, 20 and 10 %; the shares are declared",
    "observed": "arms with 70, 20 and 10 %; the shares are counted",
    "by row": "probabilities follow two features of the unit; each row has its own",
    "by stratum": "a fifth of the units gets the arms with 20, 40 and 40 %, the others with 80, 10 and 10 %",
    "weighted": "a third of the units is sampled ten times as often and weighs a tenth",
    "households": "one to six units in a household that gets one arm, whose outcomes are alike",
    "60 shops": "60 shops of different sizes, each with one arm, whose customers are alike",
    "rare": "one order in a hundred",
    "heavy": "amounts of orders are log-normal, σ = 2",
}
NULLS = {"2 arms": 2, "4 arms": 4, "8 arms": 8}


class World(NamedTuple):
    """A design's units: features (N, 4), probability of an order by treatment (N, 3), and the two policies' menus."""

    x: Floats
    order: Floats
    menus: dict[str, Menu]


def world(design: str, n: int, rng: np.random.Generator) -> World:
    """Draws the units of a design."""
    x = rng.normal(size=(n, 4))
    base = -4.7 if design == "rare" else -1.5
    zero = np.zeros(n)
    effects = np.stack([zero, 0.35 + 0.5 * x[:, 0], 0.55 + 0.5 * x[:, 0] + 0.4 * x[:, 1]], 1)
    order = 1 / (1 + np.exp(-(base + 0.6 * x[:, 2, None] + effects)))
    predicted = {
        "policy": np.stack([zero, 0.3 + 0.4 * x[:, 0], 0.5 + 0.4 * x[:, 0] + 0.5 * x[:, 1]], 1),
        "another": np.stack([zero, 0.3 + 0.2 * x[:, 1], 0.5 + 0.4 * x[:, 2] + 0.1 * x[:, 0]], 1),
    }
    menus = {}
    for name, effect in predicted.items():
        value = 1 / (1 + np.exp(-(base + 0.5 * x[:, 2, None] + effect)))
        menus[name] = Menu(value=value, cost=value * LEVELS)
    return World(x, order, menus)


def trial(design: str, n: int, rng: np.random.Generator) -> tuple[Logs, dict[str, Menu]]:
    """Draws a trial."""
    units, weight, cluster, kind = world(design, n, rng), None, None, "rct"
    known: Any = "observed"
    shares = np.full(3, 1 / 3)
    if design in ("unequal", "observed"):
        shares = np.array([0.7, 0.2, 0.1])
    p = np.tile(shares, (n, 1))
    if design == "by row":
        p = np.exp(np.stack([0 * units.x[:, 0], 0.7 * units.x[:, 0], 0.7 * units.x[:, 1]], 1))
        p /= p.sum(axis=1, keepdims=True)
    if design == "by stratum":
        p = np.where(units.x[:, :1] > 0.8416, [[0.2, 0.4, 0.4]], [[0.8, 0.1, 0.1]])
    if design == "weighted":  # sampled ten times as often where the third feature is large
        pool = world(design, 4 * n, rng)
        often = pool.x[:, 2] > 0.4307
        rows = np.flatnonzero(often | (rng.random(4 * n) < 0.1))[:n]
        units = World(pool.x[rows], pool.order[rows], {k: m.take(rows) for k, m in pool.menus.items()})
        weight = np.where(often[rows], 1.0, 10.0)
    alike = rng.normal(size=n)
    if design in ("households", "60 shops"):
        size = rng.integers(1, 7, n) if design == "households" else rng.gamma(4, size=60)
        cluster = (
            np.repeat(np.arange(n), size)[:n] if design == "households" else rng.choice(60, n, p=size / size.sum())
        )
        part = 0.5 if design == "households" else 0.05
        alike = np.sqrt(part) * rng.normal(size=n)[cluster] + np.sqrt(1 - part) * alike
    drawn = rng.random(n) if cluster is None else rng.random(n)[cluster]
    treatment = (drawn[:, None] > p.cumsum(axis=1)).sum(axis=1).clip(0, 2)
    at = np.arange(n)
    value = (alike > _normal_quantile(1 - units.order[at, treatment])) * 1.0
    cost = value * LEVELS[treatment]
    if design == "heavy":
        value = value * np.exp(rng.normal(0, 2, n) - 2)
    if design in ("by row", "by stratum"):
        known, kind = p[at, treatment], "obs"
    elif design != "observed":
        known = dict(zip("012", shares.tolist(), strict=True))
    logs = Logs(
        x=units.x, treatment=treatment, value=value, cost=cost, treatments=("0", "1", "2"), design=kind, propensity=known,
        weight=weight, cluster=cluster,
    )  # fmt: skip
    return logs, units.menus


def _normal_quantile(p: Floats) -> Floats:
    from scipy.special import ndtri

    return np.asarray(ndtri(p))


def truth(design: str, n: int = 1_000_000) -> tuple[Floats, dict[str, Floats]]:
    """Returns the budgets, and the truth of each quantity at each of them."""
    units = world(design, n, np.random.default_rng(999_999))
    cost = units.order * LEVELS
    mean, full = units.order.mean(axis=0), cost.mean(axis=0)
    budgets = full[2] * np.array(SHARES)
    out = {}
    for name, menu in units.menus.items():
        down = steps(menu)
        by_slope = np.argsort(-down.slope, kind="stable")
        at = np.arange(n)
        value = units.order[at, down.start].sum() + np.append(0, np.cumsum(down.change(units.order)[by_slope]))
        spent = cost[at, down.start].sum() + np.append(0, np.cumsum(down.change(cost)[by_slope]))
        out[name] = np.interp(budgets, np.maximum.accumulate(spent) / n, value / n)
    best = mix_value(mean, full, budgets)
    return budgets, {
        "value of the policy": out["policy"],
        "difference from another policy": out["policy"] - out["another"],
        "difference from the best untargeted policy": out["policy"] - best,
        "best untargeted policy": best,
        "one treatment for everyone": np.full(2, mean[2]),
        "cost of one treatment for everyone": np.full(2, full[2]),
        "share of the effect": (out["policy"] - mean[0]) / (mean[2] - mean[0]),
    }


def quantities(
    logs: Logs, menus: dict[str, Menu], budgets: Floats
) -> dict[str, list[tuple[float, float, float, float]]]:
    """Returns estimate, interval and events of each quantity at each budget."""
    table = compare(logs, menus, budgets)
    best = table.against(BEST_MIX)
    other = table.against("another")
    mix = table.index(BEST_MIX)
    arm = table.arms[2]
    _, ends, events = weighted_sum(logs, ((logs.treatment == 2) * logs.inverse_propensity * logs.cost)[:, None])
    out: dict[str, list[tuple[float, float, float, float]]] = defaultdict(list)
    for b in range(len(budgets)):
        share = effect_share(table, "policy", b)
        rows = {
            "value of the policy": (table.value[0, b], table.low[0, b], table.high[0, b], table.events[0, b]),
            "best untargeted policy": (
                table.value[mix, b],
                table.low[mix, b],
                table.high[mix, b],
                table.events[mix, b],
            ),
            "one treatment for everyone": (arm.value, arm.value_low, arm.value_high, arm.events),
            "cost of one treatment for everyone": (arm.cost, ends[0, 0], ends[0, 1], events[0]),
            "share of the effect": (share.effect, share.low, share.high, table.events[0, b]),
        }
        for name, versus in (("another policy", other), ("the best untargeted policy", best)):
            rows[f"difference from {name}"] = (
                versus.difference[0, b], versus.difference_low[0, b], versus.difference_high[0, b],
                versus.difference_events[0, b],
            )  # fmt: skip
        for name, row in rows.items():
            out[name].append(row)
    return out


def cell(task: tuple[str, int, int, str]) -> str:
    """Fills one cell of trials: for each quantity and budget, error, square, width, events and misses of its interval."""
    design, n, k, into = task
    place = Path(into) / f"{design.replace(' ', '_')}-{n}-{k}.json"
    if load(place):
        return f"{place.stem}: there"
    if design in NULLS:
        store(place, no_effect(design, n, k))
        return f"{place.stem}: done"
    budgets, exact = truth(design)
    kept: dict[str, list[list[list[float]]]] = defaultdict(lambda: [[], []])
    for r in range(TRIALS):
        rng = np.random.default_rng([k, r, n, sum(map(ord, design))])
        for name, rows in quantities(*trial(design, n, rng), budgets).items():
            for b, (estimate, low, high, events) in enumerate(rows):
                true = exact[name][b]
                missed = 0.0 if np.isnan(estimate) else float(high < true) - float(low > true)
                kept[name][b].append([estimate - true, missed, high - low, events])
    cells = {
        name: [{"trials": len(rows), **_summary(np.array(rows))} for rows in of_budget]
        for name, of_budget in kept.items()
    }
    store(place, {"design": design, "rows": n, "cell": k, "quantities": cells})
    return f"{place.stem}: done"


BINS = (0, 10, 20, 40, 80, 160, 320)


def _summary(rows: Floats) -> dict[str, Any]:
    off, missed, width, events = rows.T
    known = np.isfinite(off)
    few = np.digitize(np.nan_to_num(events), BINS) - 1
    return {
        "undefined": int((~known).sum()), "off": float(off[known].sum()), "square": float((off[known] ** 2).sum()),
        "width": float(np.nanmedian(width)) if known.any() else None, "below": int((missed > 0).sum()),
        "above": int((missed < 0).sum()), "events": float(np.nanmedian(events)),
        "few": int((events < FEW_EVENTS).sum()),
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
                into["events"] += got["events"] * got["trials"]
                if name not in ("cost of one treatment for everyone",):
                    bins += np.array(got["by events"])
    lines = [
        "# Coverage of the intervals", "", "Generated by `python -m benchmarks coverage`; do not edit.", "",
        "Each cell: how many of 100 intervals at 95 % hold the truth; in brackets those that lie wholly below it and wholly",
        f"above it. Two budgets, a fifth and half of what the dearest treatment for everyone costs, and {TRIALS} trials in each",
        "run of a cell. With 2,000 intervals a cell has a standard error of about .5; the two budgets of one trial are related.",
        f"* marks cells where the median interval rests on fewer than {FEW_EVENTS} events: there the product says so beside the",
        "interval. ! marks cells outside 93 to 97 without that warning.", "",
        *(f"- **{design}**: {words}." for design, words in DESIGNS.items()), "",
    ]  # fmt: skip
    names = list(dict.fromkeys(key[0] for key in sums))
    for name in names:
        lines += [
            f"## {name[:1].upper()}{name[1:]}",
            "",
            "| design | " + " | ".join(f"{n:,} rows" for n in SIZES) + " |",
        ]
        lines.append("|---" * (1 + len(SIZES)) + "|")
        for design in DESIGNS:
            shown = [_shown(sums.get((name, design, n))) for n in SIZES]
            lines.append(f"| {design} | " + " | ".join(shown) + " |")
        lines.append("")
    lines += [
        "## By effective number of events", "", "All quantities, designs and sizes above together, except the cost.", "",
        "| events | intervals | hold the truth, % |", "|---|---|---|",
    ]  # fmt: skip
    for q, (count, missed) in enumerate(bins):
        to = f"{BINS[q]} to {BINS[q + 1]}" if q + 1 < len(BINS) else f"{BINS[q]} and more"
        lines.append(f"| {to} | {count:,.0f} | {100 - 100 * missed / max(count, 1):.1f} |")
    return [*lines, "", *_verdicts(cells)]


def _shown(got: dict[str, float] | None) -> str:
    if got is None:
        return ""
    known = got["trials"] - got["undefined"]
    if known < 0.5 * got["trials"]:
        return "undefined"
    below, above = 100 * got["below"] / known, 100 * got["above"] / known
    cover = 100 - below - above
    few = got["events"] / got["trials"] < FEW_EVENTS
    mark = "*" if few else "" if 93 <= cover <= 97 else " !"
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
    parser = arguments(__doc__, seeds=4)
    parser.add_argument("--cells", type=int, default=4, help="cells of 250 trials for each design and size")
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
