"""Decision losses against two stages on simulated worlds: fits, caches, writes docs/benchmarks/decision.md.

    python -m benchmarks decision --scale small --seeds 10     # what is missing, then the tables
    python -m benchmarks decision --table                      # the tables of what is there

One JSON file per (scale, world, seed) under docs/benchmarks/decision/, written after every method: killed runs go on
where they stopped. Test units are fresh and their exact means known. Worlds 1000 and above chose the defaults; these are
others.
"""

from __future__ import annotations

import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from benchmarks.cells import (
    FEW,
    GREW,
    PAGES,
    TREES,
    arguments,
    decision_loss,
    load,
    mean_sd,
    of_seeds,
    paired,
    run,
    store,
)
from largesse.menu import BUDGET_SHARES

WORLDS = ("discount", "money_off")
SCALES = {"small": (40_000, 200_000), "main": (200_000, 1_000_000), "large": (700_000, 1_500_000)}
TEST = 100_000
KINDS = ("dpl", "difd", "ppl", "pifd")
# The papers' network: free heads, squared errors. Ours: likelihood, cost rule, structured heads. One network each.
NETS = {"published": "squared error, free heads", "ours": "likelihood, cost rule"}
DATA = {"rct": "RCT", "both": "RCT + OBS"}


def jobs() -> dict[str, tuple[str, str, dict]]:
    """Returns label -> (network, rows of the two stages, options of the decision); options {} for two stages alone."""
    found: dict[str, tuple[str, str, dict]] = {}
    for net, words in NETS.items():
        for data, rows in DATA.items():
            found[f"{words} · two stages, {rows}"] = (net, data, {})
            published = {"net_of": "nothing", "variance": "plain"}
            if net == "published":
                for kind in KINDS if data == "rct" else ("ppl",):
                    found[f"{words} · {kind.upper()}, published objective, {rows}"] = (
                        net,
                        data,
                        {"kind": kind, **published},
                    )
            for kind in ("ppl", "pifd"):
                found[f"{words} · {kind.upper()} budget-aware, {rows}"] = (net, data, {"kind": kind})
            if net == "ours":
                for kind in ("dpl", "difd"):
                    found[f"{words} · {kind.upper()}, {rows}"] = (net, data, {"kind": kind})
    return found


LIGHT, STEERED = "LightGBM S, RCT + OBS", "LightGBM S · trees along PPL, RCT + OBS"


def labels(scale: str, seed: int) -> list[str]:
    """Returns what a cell holds: steered trees, an hour each at the main scale, in two worlds of the small one only."""
    return [*jobs(), LIGHT, *([STEERED] if scale == "small" and seed < 2 else [])]


def cell(task: tuple[str, str, int]) -> str:
    """Fits what one world has not got yet and writes its gains after each method."""
    from largesse import simulate
    from largesse.evaluate.truth import attainable_gain
    from largesse.models import DFCL, MLP, Boosting, DecisionResidual, Outcome

    scale, name, seed = task
    n_rct, n_obs = SCALES[scale]
    world = getattr(simulate, name)(seed=seed)
    rct, x = world.rct(n_rct, seed=1), world.rct(TEST, seed=3).x
    truth = world.truth(x)
    budgets = np.array(BUDGET_SHARES) * float(truth.cost.mean(0).max())
    place = PAGES / "decision" / f"{scale}-{name}-{seed}.json"
    cached = load(place) or {
        "scale": scale, "world": name, "seed": seed, "rct": n_rct, "obs": n_obs, "shares": BUDGET_SHARES, "gains": {},
        "seconds": {}, "strength": {},
    }  # fmt: skip
    outcome, logs = Outcome.infer(rct), {}
    starts: dict = {}

    def obs():
        if "obs" not in logs:
            logs["obs"] = world.obs(n_obs, seed=2)
        return logs["obs"]

    def record(label: str, model, start: float, strength: float | None = None) -> None:
        if start:
            cached["seconds"].setdefault(label, round(time.perf_counter() - start, 1))
        cached["gains"][label] = attainable_gain(model.predict(x), truth, budgets).tolist()
        if strength is not None:
            cached["strength"][label] = strength
        store(place, cached)

    def start_of(net: str, data: str, model: DFCL):
        # The folds of our networks are fitted once; the published forms take the decision loss whole.
        if (net, data) not in starts:
            model.outcome_ = outcome
            starts[net, data] = model.prepare(rct, obs() if data == "both" else None)
        return starts[net, data]

    for label, (net, data, options) in jobs().items():
        if label in cached["gains"]:
            continue
        base = MLP.published(data=data, seed=seed) if net == "published" else MLP(members=1, data=data, seed=seed)
        whole = options.get("net_of") == "nothing"
        model = DFCL(base, decision=decision_loss(**options), seed=seed, shrinkage_weight="cross-fit")
        two = start_of(net, data, model)
        start = time.perf_counter()
        if not options:
            record(label, two.base, 0.0)
        elif whole:
            record(label, model.set_params(shrinkage_weight=1.0).learn_from(two, rct), start)
        else:
            model.learn_from(two, rct)
            record(label, model, start, model.shrinkage_weight_)
            for strength in (0.5, 1.0):
                model.shrinkage_weight_ = strength
                record(f"{label}, strength {strength:g}", model, 0.0)
    if LIGHT not in cached["gains"]:
        start = time.perf_counter()
        record(LIGHT, Boosting(outcome=outcome, rounds=TREES, seed=seed).fit(rct, obs()), start)
    if STEERED in set(labels(scale, seed)) - set(cached["gains"]):
        start = time.perf_counter()
        model = DecisionResidual(Boosting(outcome=outcome, rounds=TREES, seed=seed), by="trees", seed=seed).fit(
            rct, obs()
        )
        record(STEERED, model, start, model.shrinkage_weight_)
    return f"{scale} {name} {seed}"


def tables() -> str:
    """Returns the page: per scale and world, mean ± sd over seeds, and the paired difference to the same two stages."""
    lines = [
        "# Decision losses: attainable gain captured", "",
        "Generated by `python -m benchmarks decision`; do not edit.", "",
        f"{TEST:,} fresh test units with exact means. Gain = (V - V_arms) / (V_oracle - V_arms) in percent, mean of four",
        "budgets (10, 25, 50 and 75 % of what the dearest level for everyone costs); mean ± sd over seeds, each another world.",
        "Every network is one network. *Published objective*: money spent not counted (μ = 0), no variance reduction, taken",
        "whole; temperature, prices and schedule are ours. *Against two stages* is the paired difference to the same network",
        "and rows without a decision loss, with its 95 % t-interval. Budget-aware losses are shrunk towards the",
        "two stages by cross-fitting (mean strength taken in brackets); the same loss *taken whole* stands beside it, with what",
        "it adds to the two stages at each of the four budgets. *Out of reach*: a budget that the fitted menu cannot meet at",
        "any price.",
        FEW, *GREW,
    ]  # fmt: skip
    for scale, (n_rct, n_obs) in SCALES.items():
        for world in WORLDS:
            runs = [load(p) for p in sorted((PAGES / "decision").glob(f"{scale}-{world}-*.json"))]
            if runs:
                lines += _section(f"## {world.replace('_', '-')}, RCT {n_rct:,}, OBS {n_obs:,}", runs)
    return "\n".join(lines) + "\n"


def _section(title: str, runs: list[dict]) -> list[str]:
    head = "| network · learner, rows | gain | against two stages | taken whole | seconds of tuning |"
    lines = ["", f"{title} ({of_seeds(len(runs))})", "", head, "|---|---|---|---|---|"]
    for label in [*jobs(), LIGHT, STEERED]:
        have = [r for r in runs if label in r["gains"]]
        if not have:
            continue
        gain = 100 * np.array([np.mean(r["gains"][label]) for r in have])
        words, _, rest = label.partition(" · ")
        base = f"{words} · two stages, {rest.rpartition(', ')[2]}" if label in jobs() else LIGHT
        against = "-"
        if base != label:
            against = paired(gain - 100 * np.array([np.mean(r["gains"][base]) for r in have]))
        whole = [
            (r["gains"][f"{label}, strength 1"], r["gains"][base]) for r in have if f"{label}, strength 1" in r["gains"]
        ]
        known = ""
        if whole:
            tuned, two = 100 * np.array(whole).mean(0)
            known = f"{tuned.mean():.0f} ({', '.join(f'{d:+.0f}' for d in tuned - two)})"
        taken = [r["strength"][label] for r in have if label in r["strength"]]
        name = f"{label} ({np.mean(taken):.2f})" if taken else label
        seeds = "" if len(have) == len(runs) else f" ({of_seeds(len(have))})"
        spent = [r["seconds"][label] for r in have if label in r["seconds"]]
        lines.append(f"| {name}{seeds} | {mean_sd(gain, 0)} | {against} | "
                     f"{known} | {f'{np.median(spent):.0f}' if spent else ''} |")  # fmt: skip
    return lines


def main() -> None:
    parser = arguments(__doc__, seeds=10)
    parser.add_argument("--scale", choices=list(SCALES), default="small")
    given = parser.parse_args()
    tasks = []
    for seed in range(given.seeds):
        for world in WORLDS:
            place = PAGES / "decision" / f"{given.scale}-{world}-{seed}.json"
            if set(labels(given.scale, seed)) - set(load(place).get("gains", {})):
                tasks.append((given.scale, world, seed))
    if tasks and not given.table:
        run(cell, tasks, given.processes)
    (PAGES / "decision.md").write_text(tables())
