"""Clusters of many units from Parquet to Parquet; writes docs/benchmarks/clusters.md.

    python -m benchmarks clusters                     # 10 million units
    python -m benchmarks clusters --units 100000      # to try it; --into FOLDER for cell and page
    python -m benchmarks clusters --table             # the page of what was measured

An HRC is fitted on a simulated trial and saved. Every plan is a process of its own, so that time and peak of memory are its
own; interpreter, imports, model and compiled code from the cache are inside. The killed run gets SIGKILL after half of the whole
run's time; its file must be identical to that of the run that nothing stopped. The file is added up by another library.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.cells import single
from benchmarks.out_of_core import continued, timed

BLOCK, FEATURES, TRIAL, SHARE, EPSILON = 1 << 19, 40, 60_000, 0.3, 0.05


def learned(folder: Path) -> tuple[pa.Table, float]:
    """Fits and saves a policy; returns features that units are drawn from, and the budget per head."""
    from largesse import frames, simulate
    from largesse.models import HRC
    from largesse.policy import Policy

    world = simulate.money_off(seed=0, n_features=FEATURES)
    trial, hold = world.rct(TRIAL, seed=1), world.rct(20_000, seed=2)
    names = list(trial.features)
    encoder = frames.Encoder.fit(pa.table(list(trial.x.T), names=names), names)
    model = HRC(sizes=(64,), seed=0).fit(trial)
    Policy.calibrated(model, hold, encoder=encoder, draws=100).save(folder)
    cells = model.cells(hold.x)
    return pa.table(list(hold.x.T), names=names), SHARE * float((cells.size * cells.cost[:, -1]).sum()) / hold.n


def draw(path: Path, units: pa.Table, n: int) -> None:
    """Writes units: rows of the pool, each moved by a tenth of a standard deviation, so that no two are alike."""
    pool, writer = np.column_stack([column.to_numpy() for column in units.columns]), None
    sd = pool.std(0)
    for k, first in enumerate(range(0, n, BLOCK)):
        rng, size = np.random.default_rng([0, k]), min(BLOCK, n - first)
        x = pool[rng.integers(0, len(pool), size)] + 0.1 * sd * rng.normal(size=(size, pool.shape[1])).astype(
            np.float32
        )
        table = pa.table([np.arange(first, first + size), *x.T], names=["unit", *units.column_names])
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    writer.close()


def plan(units: Path, policy: Path, output: Path, budget: float) -> None:
    """Plans one file of units; prints what came of it."""
    from largesse.allocate import Chance
    from largesse.engines.cluster_stream import Clustered, allocate_clusters
    from largesse.policy import Policy

    held = Policy.load(policy)
    assert held.encoder is not None
    source = Clustered(path=units, model=held.model, encoder=held.encoder, unit="unit")
    done = allocate_clusters(
        source, output, budget, risk=Chance(EPSILON), say=lambda stage, share: print(stage, file=sys.stderr)
    )
    print(json.dumps({
        "n": done.n, "clusters": len(done.cells.size), "spend": done.plan.spend, "charged": done.plan.charged,
        "overspends": done.plan.overspends, "gap": done.plan.gap, "value": done.plan.value,
    }))  # fmt: skip


def main() -> None:
    """Draws, measures and writes the page."""
    if "--plan" in sys.argv:
        units, policy, output, budget = sys.argv[sys.argv.index("--plan") + 1 :]
        plan(Path(units), Path(policy), Path(output), float(budget))
        return
    single("clusters", __doc__, measure, page, ("--units", {"type": int, "default": 10_000_000}))


def measure(said: argparse.Namespace) -> dict[str, Any]:
    """Measures one file of units."""
    with tempfile.TemporaryDirectory() as folder:
        return measured(Path(folder), said.units)


def measured(place: Path, n: int) -> dict[str, Any]:
    """Returns the cell."""
    units, policy = place / "units.parquet", place / "policy"
    pool, per_head = learned(policy)
    draw(units, pool, n)
    budget = per_head * n

    def command(name: str) -> list[str]:
        return [
            sys.executable,
            "-m",
            "benchmarks",
            "clusters",
            "--plan",
            str(units),
            str(policy),
            str(place / name),
            repr(budget),
        ]

    seconds, memory = timed(command("plan.parquet"))
    killed = subprocess.Popen(command("again.parquet"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(seconds / 2)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    if (place / "again.parquet").exists():
        raise SystemExit("the run ended before it was killed")
    start = time.perf_counter()
    rest = subprocess.run(command("again.parquet"), capture_output=True, text=True, check=True)
    rest_seconds, told = time.perf_counter() - start, json.loads(rest.stdout)
    same = filecmp.cmp(place / "plan.parquet", place / "again.parquet", shallow=False)
    rows, spend, kinds = added(place / "plan.parquet")
    return told | {
        "units": n, "gigabytes": units.stat().st_size / 1e9, "seconds": seconds, "memory": memory, "budget": budget,
        "from": continued(rest.stderr), "rest": rest_seconds, "same": same,
        "added": {"rows": rows, "spend": spend, "kinds": kinds},
    }  # fmt: skip


def added(path: Path) -> tuple[int, float, int]:
    """Returns rows, spend, and the most treatments that a cluster gets, as polars adds them up from the file."""
    import polars as pl

    plan = pl.scan_parquet(path)
    totals = plan.select(pl.len(), pl.col("cost").cast(pl.Float64).sum()).collect().row(0)
    kinds = plan.group_by("cluster").agg(pl.col("treatment").n_unique()).collect()["treatment"].max()
    return int(totals[0]), float(totals[1]), int(kinds)


def page(cell: dict[str, Any]) -> list[str]:
    """Returns the lines of the page."""
    added, budget = cell["added"], cell["budget"]
    went = f"went on from {cell['from']}" if cell["from"] else "**began anew**"
    file_is = "identical, byte by byte" if cell["same"] else "**not the same**"
    return [
        "# Clusters of many units", "", "Generated by `python -m benchmarks clusters`; do not edit.", "",
        f"{cell['units']:,} units with {FEATURES} features and an id, {cell['gigabytes']:.1f} GB of Parquet in; who gets which",
        f"of eight treatments out. An `HRC` of {cell['clusters']} clusters, learned on {TRIAL:,} trial rows of a simulated",
        f"money-off world, puts each unit into its cluster; the chance-constrained programme (ε = {EPSILON:g}) gives each",
        "cluster a treatment.",
        f"The budget is {100 * SHARE:.0f} % of what the dearest one for everyone costs. {cell['cores']} cores, one thread,",
        f"Python {cell['python']}.", "",
        "| what | |", "|---|---|",
        f"| time, imports and model included | {cell['seconds']:.0f} s |",
        f"| peak of memory | {cell['memory']:.2f} GB |",
        f"| expected spend, and what is charged, of the budget | {cell['spend'] / budget:.4f}, {cell['charged'] / budget:.4f} |",
        f"| chance of overspending | {cell['overspends']:.3f} |",
        f"| value that any other plan could add | {cell['gap'] / cell['value']:.1e} of the plan's |",
        f"| the file, added up by polars | {added['rows']:,} rows, {added['spend'] / cell['spend']:.6f} of the plan's spend, "
        f"{added['kinds']} treatment per cluster |",
        f"| killed (SIGKILL) after half its time | {went} in {cell['rest']:.0f} s; its file was {file_is} |",
    ]  # fmt: skip
