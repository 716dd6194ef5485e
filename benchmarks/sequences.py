"""Do confidence sequences hold at all looks, and how wide are they? Heavy tails, drift, clusters, policies; writes sequences.md.

    python -m benchmarks sequences
    python -m benchmarks sequences --table

Every design has its own streams, seeds 0 to the number of streams; the constants (where an interval starts, the sizes of bets)
were chosen on seeds from 1000 on. One JSON file, docs/benchmarks/sequences.json, a cell for each design and method.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from benchmarks.cells import load, single, store

ROWS, LOOKS, STREAMS = 20_000, 60, 1000
PRICE = 0.2  # marginal return at which two policies are compared
SHOWN = (6, 20, 60)  # days of which the width is shown
Columns = dict[str, Any]


class Stream(NamedTuple):
    """Arguments of `update` for all rows, and what is estimated after each row: a number, or one for each row (drift)."""

    rows: Columns
    truth: Any


class Design(NamedTuple):
    """A stream, the sequences that are tried on it, and the number of looks."""

    name: str
    draw: Callable[[np.random.Generator], Stream]
    methods: tuple[str, ...] = ("paper", "asymptotic")
    bounds: tuple[float, float] = (0.0, 1.0)
    looks: int = LOOKS
    expected: float = 1.0  # size, as a share of the stream


def normal(rng: np.random.Generator) -> Stream:
    return Stream({"scores": rng.normal(size=ROWS)}, 0.0)


def binary(p: float) -> Callable[[np.random.Generator], Stream]:
    return lambda rng: Stream({"scores": (rng.random(ROWS) < p) * 1.0}, p)


def lognormal(s: float) -> Callable[[np.random.Generator], Stream]:
    return lambda rng: Stream({"scores": rng.lognormal(0, s, ROWS)}, np.exp(s * s / 2))


def orders(p: float, s: float) -> Callable[[np.random.Generator], Stream]:
    return lambda rng: Stream({"scores": (rng.random(ROWS) < p) * rng.lognormal(0, s, ROWS)}, p * np.exp(s * s / 2))


def clusters(rng: np.random.Generator) -> Stream:
    """Households of unequal size whose members order alike: the mean per member."""
    size = 1 + rng.poisson(3, ROWS)
    code = np.repeat(np.arange(ROWS), size)[:ROWS]
    chance = rng.beta(0.4, 4, ROWS)[code]
    return Stream({"scores": (rng.random(ROWS) < chance) * 1.0, "cluster": code}, 0.4 / 4.4)


def sized_clusters(rng: np.random.Generator) -> Stream:
    """Households in which larger ones order more: the mean per member is no mean over households."""
    size = rng.integers(1, 8, ROWS)
    code = np.repeat(np.arange(ROWS), size)[:ROWS]
    value = rng.gamma(1.0, size * 1.0)[code] * (rng.random(ROWS) < 0.2)
    return Stream({"scores": value, "cluster": code}, 0.2 * np.mean(np.arange(1, 8) ** 2) / np.mean(np.arange(1, 8)))


def drift(rng: np.random.Generator) -> Stream:
    """Conversions fall from 8 to 2 %: what is estimated is the mean so far."""
    p = np.linspace(0.08, 0.02, ROWS)
    return Stream({"scores": (rng.random(ROWS) < p) * 1.0}, np.cumsum(p) / np.arange(1, ROWS + 1))


def growth(rng: np.random.Generator) -> Stream:
    """Mean and standard deviation grow fivefold, with a weekly wave."""
    level = np.linspace(1, 5, ROWS) * (1 + 0.3 * np.sin(np.arange(ROWS) * 2 * np.pi / (7 * ROWS / 60)))
    mean = np.exp(0.5) * level
    return Stream({"scores": level * rng.lognormal(0, 1, ROWS)}, np.cumsum(mean) / np.arange(1, ROWS + 1))


def campaign(rng: np.random.Generator, effects: bool = True, s: float = 0.0) -> dict[str, Any]:
    """A campaign of three treatments: 10 % explore, the rest get the champion's; 65 % of the units are decided alike."""
    x = rng.random(ROWS)
    champion, challenger = (x < 0.5) * 1 + (x < 0.2), (x < 0.6) * 1 + (x < 0.45)
    explores = rng.random(ROWS) < 0.1
    given = np.where(explores, rng.integers(0, 3, ROWS), champion)
    p = np.full((ROWS, 3), 0.1 / 3) + 0.9 * np.eye(3)[champion]
    chance = np.column_stack([0.04 + 0 * x, 0.07 - 0.02 * x, 0.09 - 0.06 * x])
    if not effects:
        chance = np.full((ROWS, 3), 0.06)
    value = (rng.random(ROWS) < chance[np.arange(ROWS), given]) * 1.0
    if s:
        value = value * rng.lognormal(-s * s / 2, s, ROWS)  # amounts with mean 1
    fee = np.array([0.0, 1.0, 2.0]) * effects
    return {"champion": champion, "challenger": challenger, "given": given, "p": p, "chance": chance, "value": value,
            "cost": fee[given] * value}  # fmt: skip


def _mean_of(rule: Callable[[Any], Any], table: Callable[[Any, Any], Any]) -> float:
    grid = (np.arange(200_000) + 0.5) / 200_000
    return float(np.mean(table(grid, rule(grid))))


def _chance(x: Any, t: Any) -> Any:
    return np.choose(t, [0.04 + 0 * x, 0.07 - 0.02 * x, 0.09 - 0.06 * x])


def _champion(x: Any) -> Any:
    return (x < 0.5) * 1 + (x < 0.2)


def _challenger(x: Any) -> Any:
    return (x < 0.6) * 1 + (x < 0.45)


def weighted(form: str, s: float = 0.0) -> Callable[[np.random.Generator], Stream]:
    """The challenger's value from the champion's log: weighted, self-normalised, doubly robust."""

    def draw(rng: np.random.Generator) -> Stream:
        from largesse.evaluate import policy_scores, policy_weights

        c = campaign(rng, s=s)
        args = (c["challenger"], c["given"], c["p"])
        truth = _mean_of(_challenger, _chance)
        w = policy_weights(*args)
        more = {"importance": w, "outcome": c["value"]}
        if form == "self-normalised":
            return Stream({"scores": w * c["value"], "per": w} | more, truth)
        predicted = 0.8 * c["chance"] if form == "doubly robust" else None
        return Stream({"scores": policy_scores(*args, c["value"], predicted=predicted)} | more, truth)

    return draw


def lift(s: float, share: float = 0.05, amount: float = 1.0) -> Callable[[np.random.Generator], Stream]:
    """A holdout whose orders the treated exceed by a fifth; sizes are log-normal, those of the treated times `amount`."""

    def draw(rng: np.random.Generator) -> Stream:
        treated = rng.random(ROWS) < 1 - share
        value = (rng.random(ROWS) < np.where(treated, 0.06, 0.05)) * rng.lognormal(0, s, ROWS)
        value[treated] *= amount
        truth = (0.06 * amount - 0.05) * np.exp(s * s / 2)
        return Stream({"value": value, "treated": treated, "propensity": 1 - share}, truth)

    return draw


def two_policies(c: dict[str, Any]) -> Columns:
    """Returns the weighted scores of both policies of a campaign, and the difference of their weights."""
    from largesse.evaluate import policy_scores, policy_weights

    rows = {
        f"{who}_{of}": policy_scores(c[who], c["given"], c["p"], c[of])
        for who in ("challenger", "champion")
        for of in ("value", "cost")
    }
    first, second = (policy_weights(c[who], c["given"], c["p"]) for who in ("challenger", "champion"))
    return rows | {"importance": np.abs(first - second), "outcome": c["value"]}


def equal_spend(rng: np.random.Generator) -> Stream:
    """Two policies at a given marginal return."""
    net = [_mean_of(rule, lambda x, t: _chance(x, t) * (1 - PRICE * t)) for rule in (_challenger, _champion)]
    return Stream(two_policies(campaign(rng)), net[0] - net[1])


def no_difference(rng: np.random.Generator) -> Stream:
    """Two policies that decide differently where no treatment has an effect or a cost: an A/A campaign."""
    return Stream(two_policies(campaign(rng, effects=False)), 0.0)


def designs() -> list[Design]:
    """Returns the designs in the order of the page."""
    bounded = ("paper", "asymptotic", "betting")
    out = [Design("normal", normal)]
    out += [Design(f"0/1, {100 * p:g} %", binary(p), bounded) for p in (0.05, 0.01, 0.003)]
    out += [Design("0/1, 1 %, a look every 20 rows", binary(0.01), bounded, looks=1000)]
    out += [Design(f"log-normal, σ = {s:g}", lognormal(s)) for s in (1, 1.5)]
    out += [Design("log-normal, σ = 2", lognormal(2), ("paper", "asymptotic", "lower by betting"), (0, 1000))]
    out += [Design("log-normal, σ = 2, expected 5,000", lognormal(2), expected=0.25)]
    out += [Design("log-normal, σ = 2.5", lognormal(2.5))]
    out += [
        Design(f"{100 * p:g} % orders, log-normal σ = {s:g}", orders(p, s))
        for p, s in ((0.02, 1), (0.005, 1), (0.02, 1.5))
    ]
    out += [Design("clusters, 0/1", clusters, bounded), Design("clusters, larger ones order more", sized_clusters)]
    out += [Design("drift, 0/1, 8 to 2 %", drift, bounded), Design("drift, mean and sd grow fivefold", growth)]
    out += [Design("policy, weighted", weighted("weighted"), ("paper", "asymptotic", "lower by betting"), (0, 30.0))]
    out += [Design(f"policy, {form}", weighted(form)) for form in ("self-normalised", "doubly robust")]
    out += [
        Design(f"policy, self-normalised, amounts log-normal σ = {s:g}", weighted("self-normalised", s))
        for s in (1, 1.5)
    ]
    out += [
        *(Design(f"holdout of 5 %, log-normal σ = {s:g}", lift(s), ("paper", "lift")) for s in (1, 1.5)),
        Design("holdout of 2 %, amounts of the treated 30 % lower", lift(1, 0.02, 0.7), ("paper", "lift")),
        Design("equal spend", equal_spend),
        Design("equal spend, no difference", no_difference),
    ]
    return out


def sequence(design: Design, method: str, size: int) -> Any:
    """Returns an empty sequence."""
    from largesse import evaluate

    if "betting" in method:
        return evaluate.BettingSequence(size, design.bounds, side="lower" if "lower" in method else "both")
    if "lift" in design.methods:
        return evaluate.LiftSequence(size)
    return (evaluate.EqualSpendSequence if design.draw in (equal_spend, no_difference) else evaluate.MeanSequence)(size)


def linear(one: Any, design: Design) -> tuple[float, Any]:
    """Returns the estimate of an asymptotic sequence and its gradient in the means of the columns."""
    m = one.sums.means()
    if "lift" in design.methods:
        below, above = max(m[1], 1e-9), max(m[3], 1e-9)
        a, b = m[0] / below, m[2] / above
        return a - b, np.array([1 / below, -a / below, -1 / above, b / above])
    if design.draw in (equal_spend, no_difference):
        c = np.array([1.0, -PRICE, -1.0, PRICE, 0.0])
        c[4] = -(c @ m)
        return float(c[:4] @ m[:4]), c
    return m[0] / m[1], np.array([1.0, -m[0] / m[1]]) / m[1]


def without_corrections(one: Any, design: Design, size: int) -> tuple[float, float, float, float, float]:
    """Returns the estimate, the ends of the published sequence from 100 units on, and those of the project at a fixed time."""
    from scipy.special import stdtrit

    from largesse.evaluate.intervals import halls_quantile
    from largesse.evaluate.sequences.boundary import multiplier, tuning

    estimate, gradient = linear(one, design)
    moments = one.sums.moments(gradient)
    se = np.sqrt(moments.variance / one.sums.n)
    half = multiplier(tuning(0.05) * one.sums.n / size, 0.05) * se if one.sums.n >= 100 else np.inf
    t = halls_quantile(stdtrit(moments.freedom, np.array([0.975, 0.025])), np.array(moments.skewness))
    return estimate, estimate - half, estimate + half, float(estimate - se * t[0]), float(estimate - se * t[1])


def looks_of(rows: Columns, looks: int) -> Iterator[tuple[int, Columns]]:
    """Returns after how many rows each look is, and the rows since the one before: whole clusters."""
    ends = np.round(np.arange(1, looks + 1) * ROWS / looks).astype(int)
    if "cluster" in rows:
        ends[:-1] = np.searchsorted(rows["cluster"], rows["cluster"][ends[:-1]])
    start = 0
    for end in ends:
        yield int(end), {k: v if np.ndim(v) == 0 else v[start:end] for k, v in rows.items()}
        start = end


def stream(design: Design, seed: int) -> dict[str, Any]:
    """Returns (lower, upper) at every look of one stream for each method and for the interval of a fixed time, less the truth."""
    rows, truth = design.draw(np.random.default_rng(seed))
    size = ROWS if "cluster" not in rows else len(np.unique(rows["cluster"]))
    size = round(size * design.expected)
    own = {method: sequence(design, method, size) for method in design.methods if method != "paper"}
    out: dict[str, Any] = {name: [] for name in (*design.methods, "estimate", "fixed")}
    for end, part in looks_of(rows, design.looks):
        now = truth if np.ndim(truth) == 0 else truth[end - 1]
        for method, one in own.items():
            names = ("scores", "cluster") if "betting" in method else tuple(part)
            given = {name: part[name] for name in names if name in part}
            one.update(**given)
            look = one.look(price=PRICE) if design.draw in (equal_spend, no_difference) else one.look()
            out[method].append((look.lower - now, look.upper - now))
        estimate, low, high, *fixed = without_corrections(next(iter(own.values())), design, size)
        for name, values in (("paper", (low, high)), ("fixed", fixed), ("estimate", (estimate,))):
            out[name].append(np.array(values) - now)
    return {name: np.array(values) for name, values in out.items()}


def cells(design: Design, streams: int) -> Iterator[dict[str, Any]]:
    """Returns for each method how often it missed at any look, and how wide it was."""
    drawn = [stream(design, seed) for seed in range(streams)]
    estimate, fixed = (np.stack([one[name] for one in drawn]) for name in ("estimate", "fixed"))
    days = [round(day * design.looks / LOOKS) - 1 for day in SHOWN]
    for method in design.methods:
        own = np.stack([one[method] for one in drawn])
        low, high, known = own[:, :, 0] > 0, own[:, :, 1] < 0, np.isfinite(own).any(axis=2)
        mine, other = (
            (estimate[:, :, 0] if "lower" in method else ends[:, :, 1]) - ends[:, :, 0] for ends in (own, fixed)
        )
        widths = [float(np.median(mine[:, k]) / np.median(other[:, k])) for k in days]
        first = float(np.median(np.where(known.any(axis=1), known.argmax(axis=1) + 1, np.inf))) * LOOKS / design.looks
        late = (fixed[:, :, 0] > 0) | (fixed[:, :, 1] < 0)
        yield {
            "design": design.name, "method": method, "streams": streams, "low": float(low.any(axis=1).mean()),
            "high": float(high.any(axis=1).mean()), "missed": float((low | high).any(axis=1).mean()),
            "first": first if np.isfinite(first) else None, "at_end": float(known[:, -1].mean()),
            "widths": [w if np.isfinite(w) else None for w in widths], "fixed_end": float(late[:, -1].mean()),
            "fixed_ever": float(late.any(axis=1).mean()),
        }  # fmt: skip


def measure(given: Any) -> dict[str, Any]:
    """Returns the cells of every design and method; a design is stored when it is done, and not measured again."""
    place = given.into / "sequences.json"
    kept = [one for one in load(place).get("cells", []) if one["streams"] in (given.streams, given.streams // 4)]
    np.seterr(all="ignore")  # days without a score that varies have no interval
    for design in designs():
        if design.name not in {one["design"] for one in kept}:
            for one in cells(design, given.streams if design.looks == LOOKS else max(given.streams // 4, 1)):
                kept.append(one)
                print(design.name, one["method"], one["missed"], one["at_end"], one["widths"], flush=True)
            store(place, {"rows": ROWS, "cells": kept})
    order = [design.name for design in designs()]
    return {"rows": ROWS, "cells": sorted(kept, key=lambda one: order.index(one["design"]))}


def page(kept: dict[str, Any]) -> list[str]:
    """Returns the page."""
    from largesse.evaluate.sequences.asymptotic import START

    streams = max(one["streams"] for one in kept["cells"])
    error = 100 * (0.05 * 0.95 / streams) ** 0.5
    lines = [
        "# Intervals that are read every day", "",
        "Generated by `python -m benchmarks sequences --table`; do not edit.", "",
        f"{streams:,} streams of {kept['rows']:,} rows for each design (a quarter of them where there are 1,000 looks) and",
        f"{LOOKS} looks, one a day; the expected size is that of the stream unless another is given. Missed: the share of the",
        "streams in which the interval missed the truth at one look or more; nominal 5 %, with a Monte Carlo standard error of",
        f"{error:.1f} points. First: the day of the first interval (median), and the share of the streams that have one on the",
        f"last day. Width: beside the project's 95 % interval of a fixed time, on days {', '.join(map(str, SHOWN))}; for a",
        "lower end alone, its distance from the estimate beside that of the lower end of a fixed time. Fixed: how often that",
        "interval of a fixed time misses on the last day, and on any of the days.", "",
        "`paper` is the published asymptotic sequence from 100 units on. `asymptotic` is ours, with a quantile of t, Hall's",
        f"correction, and no interval below {START:g} effective events. `betting` needs bounds and one mean, and is exact then;",
        "a mean that drifts breaks it, as the table shows. Lower ends by betting clip scores at a cap (1,000 for log-normal",
        "scores, 30 for weighted ones), which only lowers their mean. `lift` takes the variance from both arms together.", "",
        "| scores | sequence | missed | left, right | first | width | fixed: last day, any day |",
        "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for one in kept["cells"]:
        widths = ", ".join("–" if w is None else f"{w:.2f}" for w in one["widths"])
        mark = "**" if one["missed"] > 0.05 and one["method"] != "paper" else ""
        first = "–" if one["first"] is None else format(one["first"], ".0f")
        lines.append(
            f"| {one['design']} | {one['method']} | {mark}{100 * one['missed']:.1f} %{mark} | {100 * one['low']:.1f}, "
            f"{100 * one['high']:.1f} | {first} ({100 * one['at_end']:.0f} %) | {widths} | "
            f"{100 * one['fixed_end']:.1f} %, {100 * one['fixed_ever']:.0f} % |"
        )
    over = [
        f"{one['design']} ({one['method']})"
        for one in kept["cells"]
        if one["missed"] > 0.05 and one["method"] != "paper"
    ]
    return [*lines, "", f"Above 5 %: {'; '.join(over)}." if over else "None of ours is above 5 %."]


def main() -> None:
    option = ("--streams", {"type": int, "default": STREAMS, "help": "streams of each design"})
    single("sequences", __doc__, measure, page, option)


if __name__ == "__main__":
    main()
