"""HRC under label noise, and what its parts add: fits, caches, writes docs/benchmarks/hrc.md.

    python -m benchmarks hrc --seeds 5       # what is missing, then the tables
    python -m benchmarks hrc --table         # the tables of what is there
    python -m benchmarks hrc --scale tiny --seeds 1 --into FOLDER     # to try it: some minutes, another folder

One JSON file per (world, noise, seed) under docs/benchmarks/hrc/, written after every method: killed runs go on where
they stopped. Noise x k: the logged value gets normal noise, the logged cost is multiplied by log-normal noise of mean one, each
of its own and such that the variance within every treatment becomes k times what it was. Means given features stay, and
truth and budgets are those of the world.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from benchmarks.cells import FEW, PAGES, TREES, arguments, decision_loss, load, mean_sd, of_seeds, paired, run, store
from benchmarks.suite.tables import write_whole
from largesse.errors import DataError
from largesse.menu import BUDGET_SHARES

WORLDS = ("discount", "money_off")
NOISE = (1, 4, 16)
SCALES = {"small": (40_000, 200_000, 100_000), "tiny": (3_000, 6_000, 5_000)}  # trial, log, test
FEATURES = 40  # as on the map of benchmarks/when.py; responses depend on 32 of them at any number
K, ABLATED = 32, 2  # clusters of the ablation, and its worlds

TWO, HRC_LABEL, LIGHT = "two stages (network), RCT + OBS", "HRC, RCT + OBS", "LightGBM S, RCT + OBS"
OWN = "HRC's three networks, not clustered"
METHODS = (
    HRC_LABEL, TWO, OWN, LIGHT, "DHCL (DPM), RCT", "DFCL-PPL, RCT", "DFCL-PIFD, RCT", "pool-then-tune (PPL)",
    "Bi-DFCL",
)  # fmt: skip
SMALL = "no clusters: the network of value and cost itself (64-32)"
BODIES = {
    "the features themselves, each as much as any": "x",
    "h of the network of value and cost, each entry as much as any": "plain",
    "h of the network of value and cost": "both",
    "h of a network of the value alone": "value",
    "h of the network of value and cost, task weights learned": "learned",
    "the same, and arms of the log made alike (MMD, weight 0.1)": "balanced",
    "h of the Bi-DFCL network": "Bi-DFCL",
}
ABLATION = (SMALL, *(f"at most {K} clusters of {words}" for words in BODIES))


def noisy(logs, k: int, *seed: int):
    """Returns the logs with noise on value and cost: within each treatment, k times the variance, the same means."""
    from dataclasses import replace

    rng = np.random.default_rng([k, *seed])
    value, cost = logs.value.copy(), logs.cost.copy()
    for j in range(logs.n_treatments):
        rows = logs.treatment == j
        value[rows] += np.sqrt((k - 1) * value[rows].var()) * rng.normal(size=rows.sum())
        paid = cost[rows]
        if k > 1 and paid.any():
            # E c² (1 + s²) - (E c)² = k Var c
            s2 = (k - 1) * paid.var() / np.square(paid).mean()
            width = np.sqrt(np.log1p(s2))
            cost[rows] = paid * np.exp(width * rng.normal(size=len(paid)) - width**2 / 2)
    return replace(logs, value=value, cost=cost)


class Cell:
    """One world under one noise: what has been fitted so far."""

    def __init__(self, scale: str, name: str, k: int, seed: int) -> None:
        from largesse import simulate
        from largesse.models import Outcome

        n_rct, n_obs, n_test = SCALES[scale]
        world = getattr(simulate, name)(seed=seed, n_features=FEATURES)
        self.seed = seed
        self.rct, self.obs = noisy(world.rct(n_rct, seed=1), k, 1, seed), noisy(world.obs(n_obs, seed=2), k, 2, seed)
        self.x = world.rct(n_test, seed=3).x
        self.truth = world.truth(self.x)
        self.budgets = np.array(BUDGET_SHARES) * float(self.truth.cost.mean(0).max())
        # At every noise: who knew the likelihood or the cost rule would see through it at one noise and not at another.
        self.outcome = Outcome.infer(self.rct | self.obs, value="gaussian", cost="learned")
        self.made: dict = {}

    def model(self, label: str):
        """Returns the fitted model of a label; what several stand on is fitted once."""
        if label not in self.made:
            self.made[label] = self._make(label)
        return self.made[label]

    def _start(self, data: str, folds: bool = True):
        from largesse.models import DFCL, MLP

        key = f"start {data}"
        if key not in self.made:
            base = MLP(members=1, data=data, outcome=self.outcome, seed=self.seed)
            tuner = DFCL(base, outcome=self.outcome, seed=self.seed)
            self.made[key] = tuner.prepare(self.rct, self.obs if data == "both" else None)
        return self.made[key]

    def _make(self, label: str):
        from largesse.models import DFCL, DPM, HRC, MLP, BiDFCL, Boosting, Corrected, Stack

        how = {"outcome": self.outcome, "seed": self.seed}
        if label == TWO:
            return self._start("both").base
        if label == HRC_LABEL:
            return HRC(**how).fit(self.rct, self.obs)
        if label == OWN:
            return MLP(members=3, hidden=(64, 32), lengths=(1,), **how).fit(self.rct, self.obs)
        if label == LIGHT:
            return Boosting(rounds=TREES, **how).fit(self.rct, self.obs)
        if label == "DHCL (DPM), RCT":
            return DPM(members=1, seed=self.seed).fit(self.rct)
        if label == "Bi-DFCL":
            start, trees = self._start("both"), Boosting(rounds=TREES, **how)
            corrected, alone = Corrected(trees, **how), Boosting(data="rct", rounds=TREES, **how)
            taught = (corrected.fit(self.rct, self.obs), alone.fit(self.rct, self.obs))
            teacher = Stack.of([start.base, self.model(LIGHT), *taught])  # its default, with what is fitted already
            return BiDFCL(MLP(members=1, **how), **how).learn_from(start, self.rct, self.obs, teacher)
        if label in METHODS:
            kind, data = ("pifd", "rct") if "PIFD" in label else ("ppl", "both" if "pool" in label else "rct")
            base = MLP(members=1, data=data, **how)
            return DFCL(base, decision=decision_loss(kind), **how).learn_from(self._start(data), self.rct)
        return self._ablated(label)

    def _ablated(self, label: str):
        from largesse.models import HRC, MLP, Outcome, Tasks

        how = {"members": 1, "hidden": (64, 32), "seed": self.seed}
        if label == SMALL:
            return MLP(outcome=self.outcome, **how).fit(self.rct, self.obs)
        body = BODIES[label.partition(" clusters of ")[2]]
        if body in ("x", "plain", "both"):
            net = self.model(SMALL)
        elif body == "Bi-DFCL":
            net = self.model("Bi-DFCL")
        elif body == "value":
            contact = tuple(np.arange(self.rct.n_treatments, dtype=float).tolist())
            alone = Outcome(family="gaussian", cost_rule="per_contact", amounts=contact)
            net = MLP(outcome=alone, **how).fit(self.rct, self.obs)
        else:
            tasks = Tasks(weights="learned", balance=0.1 if body == "balanced" else 0.0)
            net = MLP(outcome=self.outcome, tasks=tasks, **how).fit(self.rct, self.obs)
        clusters = plain(body == "x") if body in ("x", "plain") else HRC
        return clusters(sizes=(K,), outcome=self.outcome, seed=self.seed).learn_from(net, self.rct)


def plain(raw: bool):
    """Returns an HRC to which every entry counts as much as any: of the representation, or of the features as they are."""
    from largesse.models import HRC
    from largesse.models.clusters import hrc

    class Plain(HRC):
        def _hidden(self, body, x):
            return np.asarray(x, np.float64) if raw else super()._hidden(body, x)

        def _view(self, h, menu, weights):
            scale = h.std(0)
            return hrc.View(h.mean(0), np.diag(np.where(scale > 1e-9, 1 / np.maximum(scale, 1e-9), 0)))

    return Plain


def cell(task: tuple[str, str, int, int, str]) -> str:
    """Fits what one world under one noise has not got yet, and writes its gains after each method."""
    from largesse.evaluate.truth import attainable_gain

    scale, name, k, seed, into = task
    place = where(Path(into), scale, name, k, seed)
    cached = load(place) or {
        "scale": scale, "world": name, "noise": k, "seed": seed, "rows": SCALES[scale], "shares": BUDGET_SHARES, "gains": {},
        "seconds": {}, "clusters": {},
    }  # fmt: skip
    held = Cell(scale, name, k, seed)
    for label in wanted(seed):
        if label in cached["gains"]:
            continue
        start = time.perf_counter()
        try:
            model = held.model(label)
        except DataError as refusal:  # where noise has turned the order of the levels' mean costs round
            if not label.startswith("DHCL"):
                raise
            cached["gains"][label] = None
            cached.setdefault("refused", {})[label] = str(refusal)
            store(place, cached)
            continue
        cached["seconds"][label] = round(time.perf_counter() - start, 1)
        cached["gains"][label] = attainable_gain(model.predict(held.x), held.truth, held.budgets).tolist()
        if hasattr(model, "n_clusters"):
            cached["clusters"][label] = model.n_clusters
        store(place, cached)
    return f"{scale} {name} x{k} {seed}"


def wanted(seed: int) -> tuple[str, ...]:
    """Returns the labels of a world."""
    return (*METHODS, *ABLATION) if seed < ABLATED else METHODS


def where(into: Path, scale: str, name: str, k: int, seed: int) -> Path:
    return into / "hrc" / f"{scale}-{name}-x{k}-{seed}.json"


def tables(into: Path) -> str:
    """Returns the page."""
    lines = [
        "# HRC: label noise, and what its parts add", "",
        "Generated by `python -m benchmarks hrc`; do not edit.", "",
        "Gain = (V - V_arms) / (V_oracle - V_arms) in percent on fresh units with exact means, mean of four budgets (10, 25, 50",
        "and 75 % of what the dearest level for everyone costs); mean ± sd over seeds, each another world. In brackets: HRC less",
        "the method (in the ablation: the line less the network without clusters), paired, with its 95 % t-interval.", "",
        f"Worlds of {FEATURES} features.", "",
        "**Noise x k.** The logged value gets normal noise, the logged cost is multiplied by log-normal noise of mean one, each",
        "of its own, in trial and log, such that the variance within every treatment becomes k times what it was, in",
        "expectation. Means given features stay. Every method is told at every noise: any value (squared error), cost learned; a",
        "known likelihood or cost rule would see through some of it. Decision losses are budget-aware, shrunk by cross-fitting.",
        "DHCL needs levels whose mean costs rise in the trial; where noise has turned two round it refuses, and has fewer seeds.",
        FEW,
    ]  # fmt: skip
    for scale, (n_rct, n_obs, n_test) in SCALES.items():
        for world in WORLDS:
            runs = [load(p) for p in sorted((into / "hrc").glob(f"{scale}-{world}-x*.json"))]
            if not runs:
                continue
            title = f"{world.replace('_', '-')}, RCT {n_rct:,}, OBS {n_obs:,}, {n_test:,} test units"
            lines += _section(f"## {title}", runs, METHODS, HRC_LABEL, -1)
            lines += _section(f"### {title}: clusters of what?", runs, ABLATION, SMALL, 1)
    return "\n".join(lines) + "\n"


def _section(title: str, runs: list[dict], labels: tuple[str, ...], base: str, sign: int) -> list[str]:
    """Returns a table: a column for each noise, each with the difference to the base, `sign` times."""
    lines = [
        "",
        title,
        "",
        "| method | " + " | ".join(f"noise x{k}" for k in NOISE) + " |",
        "|---" * (1 + len(NOISE)) + "|",
    ]
    for label in labels:
        cells = []
        for k in NOISE:
            have = [r for r in runs if r["noise"] == k and r["gains"].get(label) and r["gains"].get(base)]
            if not have:
                cells.append("")
                continue
            gain, other = (100 * np.array([np.mean(r["gains"][name]) for r in have]) for name in (label, base))
            against = "" if label == base else f" [{paired(sign * (gain - other))}]"
            some = (
                f", {np.mean([r['clusters'][label] for r in have]):.0f} clusters"
                if label in have[0]["clusters"]
                else ""
            )
            cells.append(f"{mean_sd(gain)}{against} ({of_seeds(len(have))}{some})")
        if any(cells):
            lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    parser = arguments(__doc__, seeds=5)
    parser.add_argument("--scale", choices=list(SCALES), default="small")
    parser.add_argument("--into", type=Path, default=PAGES, help="folder of cells and page")
    given = parser.parse_args()
    tasks = [
        (given.scale, world, k, seed, str(given.into))
        for seed in range(given.seeds) for world in WORLDS for k in NOISE
        if set(wanted(seed)) - set(load(where(given.into, given.scale, world, k, seed)).get("gains", {}))
    ]  # fmt: skip
    if tasks and not given.table:
        run(cell, tasks, given.processes)
    write_whole(given.into / "hrc.md", tables(given.into))
