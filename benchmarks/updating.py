"""What a challenger gains from the decisions of its champion, beside the same rows as a true trial; writes updating.md.

    python -m benchmarks updating
    python -m benchmarks updating --table

A champion is fitted on a small trial and serves units with a holdout and exploration; `largesse update` learns from what came
back. Beside it: a run that has, in place of the served decisions, as many rows of a uniform trial as were drawn at random
(holdout and exploration). The values are exact, those of the simulated world. One JSON file, docs/benchmarks/updating.json.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from argparse import Namespace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.cells import single

SEEDS, TRIAL, UNITS = 10, 3_000, 40_000
HOLDOUT = 0.05
AMOUNTS = (0.0, 2.0, 5.0)


class Case(NamedTuple):
    """How units are served: how many, and which share of those outside the holdout explores."""

    served: int
    explore: float


CASES = (Case(10_000, 0.1), Case(30_000, 0.1), Case(30_000, 0.3))
_TEXT = """[data]
rct = "{rct}"
folds = 1
[columns]
treatment = "amount"
value = "orders"
cost = "spent"
unit = "user"
{more}
[model]
candidates = ["lightgbm-rct"]
[budget]
shares = [0.2, 0.4]
[run]
draws = 40
seed = {seed}
"""


def _rows(x: Any, code: Any, value: Any, names: tuple[str, ...], prefix: str) -> dict[str, Any]:
    """Returns rows of a trial as columns."""
    features = {f"x{k}": column for k, column in enumerate(x.T)}
    own = {"amount": np.array(names)[code], "orders": value, "spent": value * np.array(AMOUNTS)[code]}
    return features | own | {"user": [f"{prefix} {k}" for k in range(len(x))]}


def cell(case: Case, seed: int) -> dict[str, float]:
    """Returns the true value per unit of champion, challenger, rival and perfect knowledge, means over the budgets."""
    from largesse.commands.fit import fit
    from largesse.commands.run_folder import budgets_of_run, open_run
    from largesse.commands.update import update
    from largesse.config import load
    from largesse.evaluate import true_value
    from largesse.menu import Menu
    from largesse.serving import Campaign, Ledger, Outcome
    from largesse.simulate import money_off

    world, rng = money_off(seed=seed, n_features=40, amounts=AMOUNTS), np.random.default_rng(seed)
    names, now = world.treatments, [0.0]

    def drawn(x: Any, code: Any) -> Any:
        chance = world.truth(x).value[np.arange(len(x)), code]
        return (rng.random(len(x)) < chance).astype(float)

    def trial(n: int, part: int, prefix: str) -> dict[str, Any]:
        x, code = world.rct(n, seed=1_000 * seed + part).x, rng.integers(0, len(names), n)
        return _rows(x, code, drawn(x, code), names, prefix)

    with TemporaryDirectory() as folder:
        place = Path(folder)

        def run(name: str, columns: dict[str, Any], more: str = "") -> Path:
            pq.write_table(pa.table(columns), place / f"{name}.parquet")
            (place / f"{name}.toml").write_text(_TEXT.format(rct=f"{name}.parquet", seed=seed, more=more))
            fit(load(place / f"{name}.toml"), folder=place / name)
            return place / name

        old = trial(TRIAL, 1, "old")
        champion = run("champion", old)
        policy = open_run(champion)[1]
        x = world.rct(case.served, seed=1_000 * seed + 2).x
        served = pa.table({f"x{k}": column for k, column in enumerate(x.T)})
        assert policy.encoder is not None
        menu = policy.model.predict(policy.encoder.transform(served))
        store = f"sqlite:///{place}/ledger.db"
        with Ledger.open(store, clock=lambda: now[0]) as ledger:
            terms = {"holdout": HOLDOUT, "explore": case.explore, "matures": 1.0, "price": 0.1}
            ledger.start(Campaign(name="c", treatments=names, budget=1e9, until=1e9, **terms))  # type: ignore[arg-type]
            units = [f"new {k}" for k in range(case.served)]
            got = ledger.decide_many("c", units, value=menu.value, cost=menu.cost, features=served.to_pylist())
            code = np.array([names.index(one) for one in got.treatment])
            orders = drawn(x, code)
            ledger.outcomes([
                Outcome(name, name, value=1.0, cost=AMOUNTS[j]) for name, j, did in zip(got.id, code, orders, strict=True) if did
            ])  # fmt: skip
            now[0] = 10.0
            ledger.expire()
        done = update(champion, store, place / "challenger")
        random = round(done.served_rows * (HOLDOUT + (1 - HOLDOUT) * case.explore))
        more = trial(random, 3, "true")
        rival = run("rival", {name: np.concatenate([old[name], more[name]]) for name in old})
        fresh = world.rct(UNITS, seed=1_000 * seed + 4).x
        truth = world.truth(fresh)
        table = pa.table({f"x{k}": column for k, column in enumerate(fresh.T)})
        budgets = budgets_of_run(champion)

        def value(menu: Menu) -> float:
            return float(np.mean(true_value(menu, truth, budgets)))

        out = {"exact": value(truth), "random": float(random), "better": float(done.better)}
        for name, folder_of in (("champion", champion), ("challenger", done.folder), ("rival", rival)):
            own = open_run(folder_of)[1]
            assert own.encoder is not None
            out[name] = value(own.model.predict(own.encoder.transform(table)))
        return out


def measure(given: Namespace) -> dict[str, Any]:
    """Returns the cells of every case."""
    out = []
    for case in CASES:
        rows = [cell(case, seed) for seed in range(SEEDS)]
        out.append({"served": case.served, "explore": case.explore, "rows": rows})
        print(case, [round(_closed(row, "challenger"), 2) for row in rows], flush=True)
    return {"cases": out}


def _closed(row: dict[str, float], name: str) -> float:
    """Returns the part of the way from the champion to perfect knowledge that a run has gone."""
    return (row[name] - row["champion"]) / (row["exact"] - row["champion"])


def page(kept: dict[str, Any]) -> list[str]:
    """Returns the page."""
    lines = [
        "# Learning from the decisions", "", "Generated by `python -m benchmarks updating --table`; do not edit.", "",
        f"A champion of {TRIAL:,} trial rows serves units with a holdout of {HOLDOUT:.0%}; `largesse update` learns from 70 % of "
        "them. Closed: the part of the way",
        "from the champion to perfect knowledge, true value at the run's budgets, mean and 95 % interval over "
        f"{SEEDS} worlds. Rival: in place of the decisions,",
        "as many rows of a uniform trial as decisions were drawn at random.", "",
        "| served | explore | drawn at random | closed by `update` | closed by the rival | difference | said to be better |",
        "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for case in kept["cases"]:
        rows = case["rows"]
        ours, rival = (np.array([_closed(row, name) for row in rows]) for name in ("challenger", "rival"))
        cells = [_interval(part) for part in (ours, rival, ours - rival)]
        better = sum(row["better"] for row in rows)
        lines.append(
            f"| {case['served']:,} | {case['explore']:.0%} | {np.mean([row['random'] for row in rows]):,.0f} | "
            f"{' | '.join(cells)} | {better:.0f} of {len(rows)} |"
        )
    return lines


def _interval(part: Any) -> str:
    half = 2.262 * part.std(ddof=1) / len(part) ** 0.5  # t of nine degrees of freedom
    return f"{100 * part.mean():.0f} % ({100 * (part.mean() - half):.0f} to {100 * (part.mean() + half):.0f})"


def main() -> None:
    single("updating", __doc__, measure, page)


if __name__ == "__main__":
    main()
