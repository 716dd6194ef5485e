"""Attainable gain of the two-stage models on simulated worlds: fits, caches, writes docs/benchmarks/two_stage.md.

    python benchmarks/two_stage.py            # what is missing, then the tables
    python benchmarks/two_stage.py --table    # the tables of what is there

One JSON file per (world, seed) under docs/benchmarks/two_stage/: killed runs go on where they stopped. The world of
seed s is used for nothing else; the test units are fresh, their exact means known.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from multiprocessing import get_context
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

HERE = Path(__file__).resolve().parent.parent / "docs" / "benchmarks"
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
SLOW, FOREST_SEEDS = ORDER[13], 2  # half an hour of one core for each world


def cell(task: tuple[str, int]) -> str:
    """Fits every model on one world and writes its gains."""
    import numpy as np

    from largesse import simulate
    from largesse.evaluate.compare import Bootstrap, compare
    from largesse.evaluate.truth import attainable_gain
    from largesse.models import MLP, Boosting, Calibrated, Corrected, Outcome
    from largesse.models.candidates import AUTO, choose

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
    record(ORDER[5], fit(ORDER[5], Boosting(data="rct", **one)))
    corrected = fit(ORDER[10], Corrected(Boosting(**one), **one))
    record(ORDER[6], corrected.base_)
    record(ORDER[10], corrected, "logs-then-correction")
    both = fit(ORDER[8], Calibrated(Boosting(**one), outcome=outcome))
    record(ORDER[7], both.base_)
    record(ORDER[8], both, "lightgbm")
    record(ORDER[9], fit(ORDER[9], Boosting(strategy="T", **one)))
    names = AUTO[True]
    table = compare(hold, {k: menus[k][1] for k in names}, budgets, bootstrap=Bootstrap(draws=200, seed=seed))
    choice = choose(names, table.value[: len(names)], table.draws[:, : len(names)])
    gains[ORDER[11]] = gains[menus[choice.name][0]]
    out = HERE / "two_stage" / f"{name}-{seed}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    result = {
        "world": name, "seed": seed, "rct": RCT, "obs": OBS, "shares": SHARES, "budgets": budgets.tolist(), "gains": gains,
        "seconds": {k: round(v, 1) for k, v in seconds.items()}, "chosen": choice.name,
    }  # fmt: skip
    temporary = out.with_suffix(".tmp")
    temporary.write_text(json.dumps(result, indent=1))
    temporary.replace(out)
    return f"{name} {seed}: chose {choice.name}"


def extra(task: tuple[str, int]) -> str:
    """Adds what the cached cell of one world has not got yet: baselines that took no part in the choice."""
    import numpy as np
    from sklearn.linear_model import Ridge

    from largesse import simulate
    from largesse.evaluate.truth import attainable_gain
    from largesse.models import CausalForest, Regressors

    name, seed = task
    place = HERE / "two_stage" / f"{name}-{seed}.json"
    cached = json.loads(place.read_text())
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
        temporary = place.with_suffix(".tmp")
        temporary.write_text(json.dumps(cached, indent=1))
        temporary.replace(place)
    return f"{name} {seed}: baselines"


def missing(cached: dict, seed: int) -> list[str]:
    """Which baselines a cell lacks; the causal forest needs the extra `forest` and is fitted on the first seeds only."""
    from importlib.util import find_spec

    wanted = [ORDER[12]] + [SLOW] * (seed < FOREST_SEEDS and find_spec("econml") is not None)
    return [label for label in wanted if label not in cached["gains"]]


def tables() -> str:
    """Returns the page: per world, mean ± sd over seeds at each budget, and the paired difference to LightGBM."""
    import numpy as np

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
    ]
    for world in WORLDS:
        runs = [json.loads(p.read_text()) for p in sorted((HERE / "two_stage").glob(f"{world}-*.json"))]
        if not runs:
            continue
        lines += ["", f"## {world.replace('_', '-')} ({len(runs)} seeds)", ""]
        lines += [
            "| model | 10 % | 25 % | 50 % | 75 % | mean | against LightGBM S | seconds to fit |",
            "|---|---|---|---|---|---|---|---|",
        ]
        base = np.array([np.mean(r["gains"][ORDER[7]]) for r in runs])
        for label in ORDER:
            have = np.array([label in r["gains"] for r in runs])
            if not have.any():
                continue
            gain = 100 * np.array([r["gains"][label] for r in runs if label in r["gains"]])
            label_ = label if have.all() else f"{label} ({have.sum()} seeds)"
            cells = [
                f"{m:.0f} ± {s:.0f}"
                for m, s in zip(gain.mean(0), gain.std(0, ddof=1) if len(gain) > 1 else gain[0] * 0, strict=True)
            ]
            mean = gain.mean(1)
            spread = mean.std(ddof=1) if len(gain) > 1 else 0.0
            spent = [r["seconds"][label] for r in runs if label in r["seconds"]]
            against = _paired(mean - 100 * base[have])
            fitted = f" {np.median(spent):.0f} " if spent else " "
            lines.append(
                f"| {label_} | {' | '.join(cells)} | **{mean.mean():.0f}** ± {spread:.0f} | {against} |{fitted}|"
            )
        chosen = {c: sum(r["chosen"] == c for r in runs) for c in sorted({r["chosen"] for r in runs})}
        lines += ["", f"`largesse fit` chose: {', '.join(f'{c} {n}×' for c, n in chosen.items())}."]
    return "\n".join(lines) + "\n"


def _paired(d) -> str:
    from scipy import stats

    if len(d) < 2 or not d.any():
        return "-"
    half = stats.t.ppf(0.975, len(d) - 1) * d.std(ddof=1) / len(d) ** 0.5
    return f"{d.mean():+.1f} ({d.mean() - half:+.1f} to {d.mean() + half:+.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--table", action="store_true", help="write the tables of what is there")
    given = parser.parse_args()
    tasks = [(w, s) for s in range(given.seeds) for w in WORLDS if not (HERE / "two_stage" / f"{w}-{s}.json").exists()]
    if tasks and not given.table:
        with get_context("spawn").Pool(given.processes, maxtasksperchild=1) as pool:
            for line in pool.imap_unordered(cell, tasks):
                print(line, flush=True)
    paths = [(w, s, HERE / "two_stage" / f"{w}-{s}.json") for s in range(given.seeds) for w in WORLDS]
    tasks = [(w, s) for w, s, path in paths if path.exists() and missing(json.loads(path.read_text()), s)]
    if tasks and not given.table:
        with get_context("spawn").Pool(given.processes, maxtasksperchild=1) as pool:
            for line in pool.imap_unordered(extra, tasks):
                print(line, flush=True)
    (HERE / "two_stage.md").write_text(tables())


if __name__ == "__main__":
    main()
