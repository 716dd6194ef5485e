"""Is the advice of a report right? Campaigns whose truth is known, from file to advice; writes docs/benchmarks/advice.md.

    python -m benchmarks advice
    python -m benchmarks advice --first 1000 --into /tmp/choice    # other campaigns
    python -m benchmarks advice --table

`fit` learns from a simulated trial and says which budget to spend, targeted or not, or none; the truth then says what following
that brings. Cells of 25 campaigns are kept under docs/benchmarks/advice/.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.cells import PAGES, arguments, load, run, store, write

Floats = NDArray[np.float64]
CAMPAIGNS, ROWS, UNITS, SHARES = 25, 4_000, 20_000, (0.2, 0.5, 0.8)


class World(NamedTuple):
    """How units react: added log-odds by treatment for half of the units and for the others, cost of an order, its earnings."""

    words: str
    some: tuple[float, float]
    others: tuple[float, float]
    cost: tuple[float, float]
    earns: float


WORLDS = {
    "nothing works": World(
        "no treatment does anything; an order earns 4, a coupon costs 1 or 2", (0, 0), (0, 0), (1, 2), 4
    ),
    "nothing works, almost free": World("the same, but a coupon costs .01 or .02", (0, 0), (0, 0), (0.01, 0.02), 4),
    "it costs more": World(
        "everyone reacts, and the coupon costs more than that earns", (0.6, 0.9), (0.6, 0.9), (1, 2), 2
    ),
    "all react alike": World("everyone reacts alike, and it pays", (0.9, 1.2), (0.9, 1.2), (1, 2), 6),
    "half react": World("half of the units react, the others only redeem", (1.5, 2.0), (0, 0), (1, 2), 5),
}


def orders(world: World, x: Floats) -> Floats:
    """Returns the probability of an order by treatment, (N, 3)."""
    effect = np.where(x[:, :1] > 0, [(0.0, *world.some)], [(0.0, *world.others)])
    return np.asarray(1 / (1 + np.exp(1.2 - 0.4 * x[:, 1:2] - effect)))


def nets(world: World, x: Floats) -> Floats:
    """Returns the expected net value of each treatment above that of control, (N, 3)."""
    p = orders(world, x)
    return p * (world.earns - np.array((0.0, *world.cost))) - p[:, :1] * world.earns


def campaign(name: str, seed: int) -> dict[str, Any]:
    """Runs one campaign: what is advised, and the true net value per unit of following it and of four other ways."""
    import pyarrow as pa

    from largesse import frames
    from largesse.commands.fit import fit
    from largesse.config import Config
    from largesse.evaluate import arm_means
    from largesse.evaluate.untargeted import BestMix
    from largesse.frames import logs as logs_of
    from largesse.policy import Policy
    from largesse.roles import Roles

    world, rng = WORLDS[name], np.random.default_rng([seed, sum(map(ord, name))])
    x, arm = rng.normal(size=(ROWS, 4)), rng.integers(0, 3, ROWS)
    order = (rng.random(ROWS) < orders(world, x)[np.arange(ROWS), arm]) * 1.0
    columns = {f"x{k}": x[:, k] for k in range(4)}
    spent = order * np.array((0.0, *world.cost))[arm]
    table = pa.table({**columns, "arm": arm.astype(str), "orders": order, "spent": spent})
    with tempfile.TemporaryDirectory() as place:
        frames.write(table, Path(place) / "trial.parquet")
        config = Config.model_validate({
            "data": {"rct": f"{place}/trial.parquet", "folds": 3},
            "columns": {"treatment": "arm", "value": "orders", "cost": "spent"},
            "design": {"rct_propensity": "uniform"}, "outcome": {"value_per_unit": float(world.earns)},
            "model": {"candidates": ["lightgbm-rct"]}, "budget": {"shares": list(SHARES)}, "run": {"draws": 40},
        })  # fmt: skip
        done = fit(config, folder=Path(place) / "run")
        policy = Policy.load(Path(place) / "run" / "policy")
    roles = Roles(treatment="arm", value="orders", cost="spent", propensity=None)
    value, cost = arm_means(logs_of(table, roles, propensity="uniform")[0])
    fresh = rng.normal(size=(UNITS, 4))
    units = pa.table({f"x{k}": fresh[:, k] for k in range(4)})
    net, at = nets(world, fresh), np.arange(UNITS)
    budgets = done.metrics["budgets_per_head"]

    def targeted(b: int) -> float:
        return float(net[at, policy.allocate(units, budgets[b] * UNITS).plan.treatment].mean())

    def untargeted(b: int) -> float:
        return float(BestMix.of(value, cost, np.array([budgets[b]])).share[0] @ net.mean(axis=0))

    lead = done.metrics["lead"]
    advice, b = str(lead["verdict"]).removeprefix("spend this, "), budgets.index(lead["budget"])
    ways, free = {"targeted": targeted, "untargeted": untargeted}, done.metrics["without_a_budget"]
    followed = ways[advice](b) if advice in ways else 0.0
    if free["leads"]:
        advice = str(free["verdict"]).removeprefix("spend this, ")
        decided = policy.allocate_at(units, 1 / world.earns).plan.treatment
        to_all = net[:, int(free["untargeted"]["treatment"])] if advice == "untargeted" else np.zeros(1)
        followed = float({"targeted": net[at, decided], "untargeted": to_all}.get(advice, np.zeros(1)).mean())
    return {
        "advice": advice if advice in ways else "nothing", "followed": followed,
        "always the policy": targeted(1), "always the best untargeted": untargeted(1),
        "known": float(np.maximum(net.max(axis=1), 0).mean()),
    }  # fmt: skip


def cell(task: tuple[str, int, str]) -> str:
    """Runs the campaigns of one cell."""
    name, k, into = task
    place = Path(into) / f"{name.replace(' ', '_').replace(',', '')}-{k}.json"
    if load(place):
        return f"{place.stem}: there"
    store(place, {"world": name, "cell": k, "campaigns": [campaign(name, k * CAMPAIGNS + r) for r in range(CAMPAIGNS)]})
    return f"{place.stem}: done"


def page(folder: Path) -> list[str]:
    """Returns the lines of the page."""
    cells = [load(path) for path in sorted(folder.glob("*.json"))]
    lines = [
        "# Is the advice right?", "", "Generated by `python -m benchmarks advice`; do not edit.", "",
        f"Trials of {ROWS:,} rows with three arms, of which a coupon is paid with an order. `fit` (LightGBM, three folds, at",
        f"{', '.join(f'{s:.0%}' for s in SHARES)} of what the dearest coupon for everyone costs) says what to do. It is done",
        f"for {UNITS:,} other units, and the simulation says what that leaves after its cost, per unit, against doing nothing.",
        "",
        *(f"- **{name}**: {world.words}." for name, world in WORLDS.items()), "",
        "| world | campaigns | spend, targeted | spend, untargeted | spend nothing (yet) | advice followed | loses in "
        "| always the policy | always the best untargeted | all known |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for name in WORLDS:
        all_ = [c for one in cells if one["world"] == name for c in one["campaigns"]]
        if not all_:
            continue
        shares = [np.mean([c["advice"] == what for c in all_]) for what in ("targeted", "untargeted", "nothing")]
        loses = np.mean([c["followed"] < 0 for c in all_])
        means = [np.mean([c[key] for c in all_]) for key in
                 ("followed", "always the policy", "always the best untargeted", "known")]  # fmt: skip
        lines.append(
            f"| {name} | {len(all_)} | " + " | ".join(f"{100 * s:.1f} %" for s in shares)
            + f" | {means[0]:+.3f} | {100 * loses:.1f} % | " + " | ".join(f"{m:+.3f}" for m in means[1:]) + " |"
        )  # fmt: skip
    return [
        *lines, "",
        "*Always*: at the budget in the middle, whatever the report says. *Loses in*: campaigns in which following the advice",
        "leaves less than nothing. *All known*: each unit gets what is best for it, with the true probabilities and no budget.",
    ]  # fmt: skip


def main() -> None:
    parser = arguments(__doc__, seeds=8)
    parser.add_argument("--first", type=int, default=0, help="number of the first cell")
    parser.add_argument("--into", type=Path, default=PAGES / "advice", help="folder of the cells")
    said = parser.parse_args()
    tasks = [(name, k, str(said.into)) for k in range(said.first, said.first + said.seeds) for name in WORLDS]
    if not said.table:
        run(cell, tasks, said.processes)
    write("advice", page(said.into), said.into.parent)


if __name__ == "__main__":
    main()
