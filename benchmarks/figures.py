"""The measured numbers in the prose of the documents, each from the cells of a study: `docs/prose.py` puts them in place.

`FIGURES` are numbers within a sentence, `PARTS` whole tables. A page names them, and nothing else decides what stands there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache, partial
from statistics import median
from typing import Any

import numpy as np
from scipy import stats

from benchmarks import ablation, guarantee, hrc, pacing
from benchmarks.cells import PAGES, load
from benchmarks.service import operations
from benchmarks.suite.problems import MAIN
from benchmarks.suite.studies import (
    BI,
    BI_FIXED,
    CORRECTED,
    LIGHTGBM,
    LIKELIHOOD,
    RECOMMENDED,
    SHUT,
    STACK,
    TSM_BOTH,
    TSM_OBS,
    TSM_RCT,
    TUNED,
    WEIGHED,
)  # fmt: skip
from benchmarks.suite.summary import compared, problems, runs, seconds, table
from benchmarks.suite.tables import Paired, paired
from largesse.experiment.design.looks import crossing, inflation

__all__ = ["FIGURES", "PARTS"]
PUBLISHED, LOWER = "Bi-DFCL-PPL", "Bi-DFCL-PPL, lower level on RCT + OBS"
NO_TEACHER = "Bi-DFCL-PPL, gates shut: the same epochs, no teacher"


@cache
def cells(folder: str, pattern: str) -> list[dict[str, Any]]:
    """Returns the cells of a study whose names match."""
    found = [load(place) for place in sorted((PAGES / folder).glob(f"{pattern}.json"))]
    if not found:
        raise SystemExit(f"docs/benchmarks/{folder}/{pattern}.json: there are no such cells")
    return found


def one(name: str) -> dict[str, Any]:
    """Returns the cell of a study that has one."""
    (cell,) = cells("", name)
    return cell


# ---- how numbers are written


def size(x: float) -> str:
    """Returns a number as prose writes it: a digit after the point below 3."""
    text = f"{x:.0f}" if abs(x) >= 2.95 else f"{x:.1f}"
    return "0" if text in ("0.0", "-0.0") else text


def span(values: Sequence[float], unit: str = "", write: Callable[[float], str] = size) -> str:
    """Returns the smallest and the largest of some values."""
    low, high = write(min(values)), write(max(values))
    return f"{low}{unit}" if low == high else f"{low} to {high}{unit}"


# ---- logs and trials


PUBLISHED_TABLE = partial(
    compared,
    [
        (words, label, TSM_BOTH)
        for words, label in (
            ("Bi-DFCL-PPL", PUBLISHED), ("KD-Label", "KD-Label"), ("CausE", "CausE"), ("LTD-DR", "LTD-DR"),
            ("AutoDebias", "AutoDebias"), ("LightGBM", LIGHTGBM),
        )
    ],
    PUBLISHED, TSM_BOTH,
)  # fmt: skip
ALONE_TABLE = partial(
    compared,
    [
        (words, label, TSM_RCT)
        for words, label in (
            ("two stages, log", TSM_OBS), ("DFCL-DPL", "DFCL-DPL, RCT"), ("DFCL-PPL", "DFCL-PPL, RCT"),
            ("Bi-DFCL-PPL", PUBLISHED),
        )
    ],
    TSM_RCT, PUBLISHED,
)  # fmt: skip
CAUSES_TABLE = partial(
    compared,
    [
        (words, label, TSM_BOTH)
        for words, label in (
            ("as published", PUBLISHED), ("gates at 0", NO_TEACHER), ("lower level on both", LOWER),
            ("the same, gates at .95", f"{LOWER}, gates fixed at .95"), ("two stages, log", TSM_OBS), ("its teacher", TSM_RCT),
        )
    ],
    NO_TEACHER, TSM_BOTH,
)  # fmt: skip
BRIDGE_TABLE = partial(
    compared,
    [
        ("bridge less networks", BI, LIKELIHOOD), ("less as many epochs without a bridge", BI, SHUT),
        ("learned gates less gates fixed at ½", BI, BI_FIXED),
    ],
    BI, LIKELIHOOD, spec="+.2g",
)  # fmt: skip
FIVE_TABLE = partial(
    compared,
    [
        ("less LightGBM", RECOMMENDED, LIGHTGBM), ("less the corrected log", RECOMMENDED, CORRECTED),
        ("less networks", RECOMMENDED, LIKELIHOOD), ("less networks tuned", RECOMMENDED, TUNED),
        ("less the even mean of four", RECOMMENDED, STACK), ("less the weighted four", RECOMMENDED, WEIGHED),
    ],
    RECOMMENDED, WEIGHED, spec="+.2g", time=(RECOMMENDED, WEIGHED),
)  # fmt: skip


# ---- decision losses


def decision(scale: str, world: str, label: str) -> np.ndarray:
    """Returns gains in percent, by seed and budget."""
    return 100 * np.array([cell["gains"][label] for cell in cells("decision", f"{scale}-{world}-*")], float)


TWO = "two stages"
NETWORKS = {"squared errors": "squared error, free heads", "likelihood, cost rule": "likelihood, cost rule"}


def likelihood_table() -> str:
    """Returns the attainable gain of two stages by network, rows and world, beside LightGBM's."""
    lines = []
    for world in ("discount", "money_off"):
        for scale in ("small", "main", "large"):
            rows = cells("decision", f"{scale}-{world}-*")
            gained = [
                decision(scale, world, f"{net} · {TWO}, {data}").mean(1)
                for data in ("RCT", "RCT + OBS") for net in NETWORKS.values()
            ]  # fmt: skip
            gained.append(decision(scale, world, "LightGBM S, RCT + OBS").mean(1))
            cells_ = [f"{gain.mean():.0f} ± {gain.std(ddof=1):.0f}" for gain in gained]
            lines.append(
                [world.replace("_", "-"), f"{rows[0]['rct']:,}", f"{rows[0]['obs']:,}", f"{len(rows)}", *cells_]
            )
    heads = [f"{net}, {data}" for data in ("trial", "both") for net in NETWORKS]
    return table(["world", "trial", "log", "worlds", *heads, "LightGBM, both"], lines)


def whole_table() -> str:
    """Returns what the budget-aware PPL, not shrunk, adds to two stages at every budget."""
    lines = []
    for net, words in NETWORKS.items():
        for world in ("discount", "money_off"):
            for scale in ("small", "main", "large"):
                rows = cells("decision", f"{scale}-{world}-*")
                for data, learned in (("RCT", "trial"), ("RCT + OBS", "both")):
                    tuned = decision(scale, world, f"{words} · PPL budget-aware, {data}, strength 1")
                    more = tuned - decision(scale, world, f"{words} · {TWO}, {data}")
                    cells_ = [f"{column.mean():+.0f} ± {column.std(ddof=1):.0f}" for column in more.T]
                    lines.append(
                        [f"{net}, {learned}", world.replace("_", "-"), f"{rows[0]['rct']:,}", f"{len(rows)}", *cells_]
                    )
    shares = [f"{100 * share:.0f} %" for share in cells("decision", "small-discount-0")[0]["shares"]]
    return table(["network", "world", "trial", "worlds", *shares], lines)


def without_noise(way: int, networks: slice = slice(None)) -> list[float]:
    """Returns how much tuning on exact means adds to two stages, by network: mean over the worlds."""
    held = [100 * np.array(gain) for gain in one("claims")["noiseless"].values()][networks]
    return [float(m) for m in (np.mean(gain[:, way] - gain[:, 0]) for gain in held) if np.isfinite(m)]


def ablated(net: str, option: str) -> list[float]:
    """Returns the default less an option, mean of the budgets, in each of the four worlds."""
    words = NETWORKS[net]
    held = [cell["gains"] for cell in cells("ablation", "*-*")]
    return [100 * float(np.mean(g[f"{words} · {ablation.DEFAULT}"]) - np.mean(g[f"{words} · {option}"])) for g in held]


# ---- HRC


def clustered(world: str, noise: int, base: str, label: str = hrc.HRC_LABEL) -> Paired:
    """Returns a method less another one under label noise."""
    held = [cell["gains"] for cell in cells("hrc", f"small-{world}-x{noise}-*")]
    both = [(np.mean(g[label]), np.mean(g[base])) for g in held if g.get(label) and g.get(base)]
    return paired([100 * float(a - b) for a, b in both])


def noisy(
    base: str, noises: Sequence[int] = hrc.NOISE, worlds: Sequence[str] = hrc.WORLDS, sign: int = 1
) -> list[float]:
    return [sign * clustered(world, noise, base).mean for world in worlds for noise in noises]


def ordered_levels(label: str) -> str:
    """Returns the gain without added noise in both kinds of worlds."""
    found = [
        np.mean(
            [100 * np.mean(c["gains"][label]) for c in cells("hrc", f"small-{world}-x1-*") if c["gains"].get(label)]
        )
        for world in hrc.WORLDS
    ]
    return f"{found[0]:.0f} and {found[1]:.0f} %"


def distances(words: str) -> list[float]:
    """Returns clusters less the network itself without added noise, world by world."""
    label = next(label for label in hrc.ABLATION if label.endswith(f"clusters of {words}"))
    held = [cell["gains"] for world in hrc.WORLDS for cell in cells("hrc", f"small-{world}-x1-*")]
    return [100 * float(np.mean(g[label]) - np.mean(g[hrc.SMALL])) for g in held if label in g]


def default_light(world: str) -> float:
    """Returns the LightGBM of `fit` less HRC without added noise: mean over the same worlds, of which both have cells."""
    ours = {c["seed"]: 100 * np.mean(c["gains"][hrc.HRC_LABEL]) for c in cells("hrc", f"small-{world}-x1-*")}
    theirs = {r["seed"]: r["methods"][LIGHTGBM]["gain"] for r in runs("small", world, LIGHTGBM)}
    both = sorted(set(ours) & set(theirs))
    return float(np.mean([100 * np.mean(np.array(theirs[s])[list(MAIN)]) - ours[s] for s in both]))


# ---- allocation


def overspent(way: str, world: str = "*") -> list[float]:
    """Returns the share of campaigns that spend more than the budget, in percent, by world and budget."""
    return [100 * float((used > 1).mean()) for used in _used(way, world)]


def unspent(way: str) -> list[float]:
    """Returns the mean share of the budget that stays, in percent, by world and budget."""
    return [100 * (1 - float(used.mean())) for used in _used(way, "*")]


def _used(way: str, world: str) -> list[np.ndarray]:
    kinds = guarantee.WORLDS if world == "*" else (world,)
    return [
        np.concatenate([cell["used"][str(share)][way] for cell in cells("guarantee", f"{kind}-*")])
        for kind in kinds for share in guarantee.SHARES
    ]  # fmt: skip


DRIFTS = [order for order in pacing.DRIFTS if order != "none"]


def paced(orders: Sequence[str], *profiles: str) -> list[float]:
    """Returns the value of units that come one by one, in percent of hindsight, by order and profile: mean over seeds."""
    cell = one("pacing")
    found = [cell["profiles"][o][p] for o in orders for p in profiles] or [cell["orders"][o] for o in orders]
    return [float(np.mean([value for value, *_ in outcomes])) for outcomes in found]


def paced_kinds(come: float, field: int) -> list[np.ndarray]:
    """Returns a field of the outcomes with few kinds of menus, by kinds and seed."""
    few = [words for kinds, words in pacing.KINDS.items() if kinds]
    return [np.array(one("pacing")["kinds"][words][pacing.COME.index(come)])[:, field] for words in few]


def paid(reported: str) -> str:
    """Returns payments in percent of the budget, where redemption is a fifth above its prediction."""
    return f"{np.mean(one('pacing')['paid'][reported][-1]):.1f} %"


def at_least(values: Sequence[float], digits: int = 1) -> str:
    """Returns the smallest of some percentages, rounded down."""
    return f"{math.floor(min(values) * 10**digits) / 10**digits:.{digits}f} %"


def over_plan(way: str, least: int = 0) -> list[float]:
    """Returns how many times a plan's seconds a rival takes, by size."""
    return [
        size["found"][way]["seconds"] / size["found"][way].get("plan", size["found"]["plan"]["seconds"])
        for size in one("allocate")["sizes"] if way in size["found"] and size["n"] >= least
    ]  # fmt: skip


# ---- intervals


def covered(bias: float) -> str:
    """Returns how often a 95 % interval covers that is off by a share of its half-width."""
    z = 1.959964
    return f"{100 * (stats.norm.cdf(z - bias * z) - stats.norm.cdf(-z - bias * z)):.0f} %"


FIVE_LOOKS = np.arange(1, 6) / 5


def whole(x: float) -> str:
    return f"{x:.0f}"


FIGURES: dict[str, Callable[[], str]] = {
    "guarantee.over": lambda: span(overspent("0.95"), " %", whole),
    "guarantee.unspent": lambda: span(unspent("0.95"), " %", whole),
    "guarantee.average": lambda: span(overspent("average"), " %", whole),
    "guarantee.naive.discount": lambda: span(overspent("naive", "discount"), " %", whole),
    "guarantee.naive.money_off": lambda: span(overspent("naive", "money_off"), " %", whole),
    "pacing.steady": lambda: f"{paced(['none'])[0]:.2f} %",
    "pacing.drift": lambda: span(paced(DRIFTS), " %", lambda x: f"{x:.1f}"),
    "pacing.sorted": lambda: span(paced(["best", "worst"]), " %", whole),
    "pacing.profile": lambda: at_least(paced(list(pacing.ORDERS), "it fits")),
    "pacing.off.drift": lambda: at_least(paced(list(pacing.DRIFTS), *pacing.PROFILES)),
    "pacing.off.sorted": lambda: at_least(paced(["best", "worst"], *pacing.PROFILES)),
    "pacing.misled": lambda: span(paced(["none"], "best", "worst"), " %", whole),
    "pacing.part": lambda: span([float(spend.mean()) for spend in paced_kinds(0.9, 1)], " %", lambda x: f"{x:.1f}"),
    "pacing.uneven": lambda: span([float(far.mean()) for far in paced_kinds(1.0, 2)], " %", lambda x: f"{x:.1f}"),
    "pacing.uneven.most": lambda: f"{max(far.max() for far in paced_kinds(1.0, 2)):.1f} %",
    "pacing.paid.soon": lambda: paid(pacing.REPORTED[200]),
    "pacing.paid.late": lambda: paid(pacing.REPORTED[5_000]),
    "pacing.paid.never": lambda: paid(pacing.REPORTED[0]),
    "pacing.batches": lambda: span([each / many for each, many in one("pacing")["speed"].values()], " times", whole),
    "allocate.bisection": lambda: span(over_plan("bisection", 10**6), " times", whole),
    "spark.differ": lambda: (
        f"{max(p['differ'] for p in one('spark')['policies'])} of {one('spark')['policies'][0]['units']:,}"
    ),
    "spark.partitions": lambda: " and ".join(str(p["partitions"]) for p in one("spark")["policies"][1:]),
    "dpm.noiseless": partial(ordered_levels, "DHCL (DPM), RCT"),
    "dpm.two_stages": partial(ordered_levels, hrc.TWO),
    "hrc.own": lambda: span(noisy(hrc.OWN, sign=-1), " points", lambda x: f"{x:.1f}"),
    "hrc.two.x1": lambda: " and ".join(size(x) for x in noisy(hrc.TWO, (1,))) + " points",
    "hrc.light": lambda: " and ".join(size(x) for x in noisy(hrc.LIGHT, (1, 4), ("discount",))) + " points",
    "hrc.default": lambda: " and ".join(size(default_light(world)) for world in hrc.WORLDS) + " points",
    "hrc.bi": lambda: span(noisy("Bi-DFCL", (1, 4), ("money_off",), -1), " points", lambda x: f"{x:.1f}"),
    "hrc.dfcl": lambda: span([*noisy("DFCL-PPL, RCT"), *noisy("DFCL-PIFD, RCT")], " points", whole),
    "hrc.dhcl": lambda: span(noisy("DHCL (DPM), RCT", (1, 4)), " points", whole),
    "hrc.equal": lambda: span(distances("h of the network of value and cost, each entry as much as any"), " points"),
    "hrc.net": lambda: span(distances("h of the network of value and cost"), " points"),
    "claims.exact": lambda: span(without_noise(2), " points", whole),
    "claims.published": lambda: span(without_noise(3), " points", size),
    "ablation.spend": lambda: span(ablated("likelihood, cost rule", "μ = 0 (published)"), " points", whole),
    "ablation.variance": lambda: span(ablated("likelihood, cost rule", "no variance reduction"), " points"),
    "ablation.price": lambda: span(ablated("likelihood, cost rule", "μ = λ*"), " points"),
    "ablation.sharp": lambda: span(ablated("likelihood, cost rule", "τ = .1 gaps"), " points"),
    "five.time": lambda: span(
        [seconds(*of, RECOMMENDED, WEIGHED) for of in problems(RECOMMENDED, WEIGHED)], " times", lambda x: f"{x:.1f}"
    ),
    "bilevel.slowest": lambda: f"{max(ratios_of_bilevel()):.1f} times",
    "covered.whole": lambda: covered(1.0),
    "covered.fifth": lambda: covered(0.2),
    "looks.inflation": lambda: f"{100 * (inflation([0.25, 0.5, 0.75, 1.0]) - 1):.0f} %",
    "looks.naive": lambda: f"{100 * float(np.sum(crossing(FIVE_LOOKS, [1.959964] * 5))):.0f} %",
}
"""What stands between the comments of a marker, by its name."""

PARTS: dict[str, Callable[[], str]] = {
    "bidfcl-published": PUBLISHED_TABLE,
    "bidfcl-alone": ALONE_TABLE,
    "bidfcl-causes": CAUSES_TABLE,
    "bidfcl-bridge": BRIDGE_TABLE,
    "bidfcl-five": FIVE_TABLE,
    "likelihood": likelihood_table,
    "operations": lambda: operations.table(cells("serve", "operations")[0], cells("serve", "rate")[0]),
    "whole": whole_table,
}
"""Tables within the documents, by name."""


def ratios_of_bilevel() -> list[float]:
    """Returns the seconds of every form over those of two stages with as many epochs."""
    base, found = 1.0, []
    for words, spent in one("speed_bilevel")["seconds"].items():
        if words.startswith("two stages"):
            base = median(spent)
        else:
            found.append(median(spent) / base)
    return found
