"""Attainable gain of the two-stage models on simulated worlds: fits, caches, writes docs/benchmarks/two_stage.md.

    python benchmarks/two_stage.py            # what is missing, then the tables
    python benchmarks/two_stage.py --table    # the tables of what is there

One JSON file per (world, seed) under docs/benchmarks/two_stage/: killed runs go on where they stopped. The world of
seed s is used for nothing else; the test units are fresh, their exact means known.
"""

from __future__ import annotations

import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from cells import FEW, PAGES, TREES, arguments, load, mean_sd, of_seeds, paired, run, store

CELLS = PAGES / "two_stage"
WORLDS = ("discount", "money_off")
SHARES = (0.10, 0.25, 0.50, 0.75)
RCT, OBS, TEST = 40_000, 200_000, 100_000
ORDER = (
    "MLP, squared error, free heads (published form), RCT + OBS",
    "MLP, RCT", "MLP, OBS", "MLP, RCT + OBS", "MLP, RCT + OBS, recalibrated",
    "LightGBM S, RCT", "LightGBM S, OBS", "LightGBM S, RCT + OBS", "LightGBM S, RCT + OBS, recalibrated",
    "LightGBM T, RCT + OBS", "LightGBM on OBS, corrected on RCT", "the choice of `largesse fit`",
    "Ridge T, RCT + OBS", "causal forest (econml, 100 trees), RCT",
)  # fmt: skip
THREE = ("lightgbm", "mlp", "logs-then-correction")  # what the choice is among, simplest first
SLOW, FOREST_SEEDS = ORDER[13], 2  # half an hour of one core for each world


def cell(task: tuple[str, int]) -> str:
    """Fits every model on one world and writes its gains."""
    from largesse import simulate
    from largesse.evaluate.compare import Bootstrap, compare
    from largesse.evaluate.truth import attainable_gain
    from largesse.models import MLP, Boosting, Calibrated, Corrected, Outcome
    from largesse.models.candidates import choose

    name, seed = task
    world = getattr(simulate, name)(seed=seed)
    train, hold = world.rct(RCT, seed=1).split(0.8, 0.2, seed=seed)
    obs, x = world.obs(OBS, seed=2), world.rct(TEST, seed=3).x
    truth = world.truth(x)
    budgets = np.array(SHARES) * float(truth.cost.mean(0).max())
    outcome = Outcome.infer(train | obs)
    gains, seconds, menus = {}, {}, {}

    def record(label: str, model, candidate: str = "") -> None:
        gains[label] = attainable_gain(model.predict(x), truth, budgets).tolist()
        if candidate:
            menus[candidate] = (label, model.predict(hold.x))

    def fit(label: str, model):
        start = time.perf_counter()
        model.fit(train, obs)
        seconds[label] = time.perf_counter() - start
        return model

    one = {"outcome": outcome, "seed": seed}
    record(ORDER[0], fit(ORDER[0], MLP.published(**one)))
    record(ORDER[1], fit(ORDER[1], MLP(data="rct", members=1, **one)))
    record(ORDER[2], fit(ORDER[2], MLP(data="obs", members=1, **one)))
    both = fit(ORDER[4], Calibrated(MLP(members=1, **one), outcome=outcome))
    record(ORDER[3], both.base_)
    record(ORDER[4], both, "mlp")
    record(ORDER[5], fit(ORDER[5], Boosting(data="rct", rounds=TREES, **one)))
    corrected = fit(ORDER[10], Corrected(Boosting(rounds=TREES, **one), **one))
    record(ORDER[6], corrected.base_)
    record(ORDER[10], corrected, "logs-then-correction")
    both = fit(ORDER[8], Calibrated(Boosting(rounds=TREES, **one), outcome=outcome))
    record(ORDER[7], both.base_)
    record(ORDER[8], both, "lightgbm")
    record(ORDER[9], fit(ORDER[9], Boosting(strategy="T", rounds=TREES, **one)))
    names = THREE
    table = compare(hold, {k: menus[k][1] for k in names}, budgets, bootstrap=Bootstrap(draws=200, seed=seed))
    choice = choose(names, table.value[: len(names)], table.draws[:, : len(names)])
    gains[ORDER[11]] = gains[menus[choice.name][0]]
    result = {
        "world": name, "seed": seed, "rct": RCT, "obs": OBS, "shares": SHARES, "budgets": budgets.tolist(), "gains": gains,
        "seconds": {k: round(v, 1) for k, v in seconds.items()}, "chosen": choice.name,
    }  # fmt: skip
    store(CELLS / f"{name}-{seed}.json", result)
    return f"{name} {seed}: chose {choice.name}"


def extra(task: tuple[str, int]) -> str:
    """Adds what the cached cell of one world has not got yet: baselines that took no part in the choice."""
    from sklearn.linear_model import Ridge

    from largesse import simulate
    from largesse.evaluate.truth import attainable_gain
    from largesse.models import CausalForest, Regressors

    name, seed = task
    place = CELLS / f"{name}-{seed}.json"
    cached = load(place)
    world = getattr(simulate, name)(seed=seed)
    train, _ = world.rct(RCT, seed=1).split(0.8, 0.2, seed=seed)
    x = world.rct(TEST, seed=3).x
    truth = world.truth(x)
    models = {ORDER[12]: Regressors(Ridge()), SLOW: CausalForest(data="rct", trees=100, seed=seed)}
    for label in missing(cached, seed):
        start = time.perf_counter()
        models[label].fit(train, world.obs(OBS, seed=2))
        cached["seconds"][label] = round(time.perf_counter() - start, 1)
        cached["gains"][label] = attainable_gain(models[label].predict(x), truth, np.array(cached["budgets"])).tolist()
        store(place, cached)
    return f"{name} {seed}: baselines"


def missing(cached: dict, seed: int) -> list[str]:
    """Which baselines a cell lacks; the causal forest needs the extra `forest` and is fitted on the first seeds only."""
    from importlib.util import find_spec

    wanted = [ORDER[12]] + [SLOW] * (seed < FOREST_SEEDS and find_spec("econml") is not None)
    return [label for label in wanted if label not in cached["gains"]]


def tables() -> str:
    """Returns the page: per world, mean ± sd over seeds at each budget, and the paired difference to LightGBM."""
    lines = [
        "# Two-stage models: attainable gain captured",
        "",
        "Generated by `python benchmarks/two_stage.py`; do not edit.",
        "",
        f"RCT {RCT:,} rows (a fifth of them kept to choose), OBS {OBS:,} rows, {TEST:,} fresh test units with exact means.",
        "Gain = (V - V_arms) / (V_oracle - V_arms): 0 is the best mix of whole-population arms, 100 the plan on the true",
        "conditional means. Budgets are shares of what it costs to give everyone the dearest level. Mean ± sd over seeds,",
        "in percent; each seed is another world; every MLP is one network. The last column is the paired difference of the",
        "mean over budgets to",
        f"«{ORDER[7]}» with its 95 % t-interval.",
        FEW,
    ]
    for world in WORLDS:
        runs = [load(p) for p in sorted(CELLS.glob(f"{world}-*.json"))]
        if runs:
            lines += section(f"## {world.replace('_', '-')}", runs)
    return "\n".join(lines) + "\n"


def section(title: str, runs: list[dict]) -> list[str]:
    lines = [
        "", f"{title} ({of_seeds(len(runs))})", "",
        "| model | 10 % | 25 % | 50 % | 75 % | mean | against LightGBM S | seconds to fit |",
        "|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for label in ORDER:
        have = [r for r in runs if label in r["gains"]]
        if not have:
            continue
        gain, base = (100 * np.array([r["gains"][name] for r in have]) for name in (label, ORDER[7]))
        cells = " | ".join(mean_sd(column, 0) for column in gain.T)
        mean, _, spread = mean_sd(gain.mean(1), 0).partition(" ")
        against = "-" if label == ORDER[7] else paired(gain.mean(1) - base.mean(1))
        spent = [r["seconds"][label] for r in have if label in r["seconds"]]
        seeds = "" if len(have) == len(runs) else f" ({of_seeds(len(have))})"
        fitted = f" {np.median(spent):.0f} " if spent else " "
        shown = "the choice among three, by paired intervals" if label == ORDER[11] else label
        lines.append(f"| {shown}{seeds} | {cells} | **{mean}** {spread} | {against} |{fitted}|")
    chosen = {c: sum(r["chosen"] == c for r in runs) for c in sorted({r["chosen"] for r in runs})}
    fell = ", ".join(f"{c} {n}×" for c, n in chosen.items())
    return [*lines, "", f"The choice among {', '.join(THREE)}, made by paired intervals, fell on: {fell}."]


def main() -> None:
    given = arguments(__doc__, seeds=10).parse_args()
    places = {(w, s): CELLS / f"{w}-{s}.json" for s in range(given.seeds) for w in WORLDS}
    tasks = [task for task, place in places.items() if not place.exists()]
    if tasks and not given.table:
        run(cell, tasks, given.processes)
    tasks = [task for task, place in places.items() if place.exists() and missing(load(place), task[1])]
    if tasks and not given.table:
        run(extra, tasks, given.processes)
    (PAGES / "two_stage.md").write_text(tables())


if __name__ == "__main__":
    main()
