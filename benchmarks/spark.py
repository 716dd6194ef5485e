"""Spark on one machine against one machine without it: the same plan, and what the passes cost; writes docs/benchmarks/spark.md.

    python -m benchmarks spark                 # 5 million units, 4 treatments, local[2]
    python -m benchmarks spark --table         # the page of what was measured

Spark's worth is in data that one machine does not hold: here only its answer is compared, and its overhead shown.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["PYSPARK_PYTHON"] = sys.executable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.cells import single
from benchmarks.out_of_core import M, draw
from largesse.allocate import solve as solve_here
from largesse.engines import spark as engine
from largesse.menu import Menu

NAMES = tuple(f"t{j}" for j in range(M))
USERS, TRIAL, SHARE, PARTS = 20_000, 30_000, 0.3, (1, 4, 16)


def session():
    """Returns a session with two cores."""
    from pyspark.sql import SparkSession

    settings = {"spark.ui.enabled": "false", "spark.driver.host": "127.0.0.1", "spark.driver.memory": "3g"}
    found = SparkSession.builder.master("local[2]").config(map=settings).getOrCreate()
    found.sparkContext.setLogLevel("ERROR")
    return found


def by_policy(spark: Any, folder: Path, parts: int) -> dict[str, Any]:
    """Returns how far the decisions of a policy on so many partitions are from those on one machine."""
    from largesse import frames, simulate
    from largesse.models import Boosting
    from largesse.policy import Policy

    world, place = simulate.money_off(seed=0, n_features=40), folder / f"users-{parts}"
    trial, hold, users = (world.rct(n, seed=seed) for n, seed in ((TRIAL, 1), (6000, 2), (USERS, 3)))
    names = list(trial.features)
    table = pa.table([np.arange(USERS), *users.x.T], names=["unit", *names])
    encoder = frames.Encoder.fit(table, names)
    policy = Policy.calibrated(Boosting(rounds=60).fit(trial), hold, encoder=encoder, draws=100)
    place.mkdir()
    for k, first in enumerate(range(0, USERS, USERS // parts)):
        pq.write_table(table.slice(first, USERS // parts), place / f"{k:02}.parquet")
    spark.conf.set("spark.sql.files.openCostInBytes", str(1 << 27))  # a file is a partition
    budget = SHARE * float(users.cost.mean()) * USERS * 2
    here = policy.allocate(table, budget).plan
    done = engine.allocate(spark.read.parquet(str(place)), policy, budget, keep=["unit"])
    rows = sorted((row["unit"], row["treatment"]) for row in done.frame.collect())
    there = done.allocation.plan
    return {
        "partitions": done.scored.rdd.getNumPartitions(), "units": USERS,
        "differ": int(sum(here.treatments[code] != got for code, (_, got) in zip(here.treatment, rows, strict=True))),
        "price": there.price / here.price - 1, "spend": there.spend / here.spend - 1,
    }  # fmt: skip


def measure(said: argparse.Namespace) -> dict[str, Any]:
    """Draws, solves twice and compares."""
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "menu.parquet", Path(folder) / "plan"
        budget = draw(source, said.units)
        table = pq.read_table(source)
        value, cost = (
            np.column_stack([table[f"{part}_{name}"].to_numpy() for name in NAMES]) for part in ("value", "cost")
        )
        here = solve_here(Menu(value=value, cost=cost, treatments=NAMES), budget)
        spark = session()
        frame = spark.read.parquet(str(source))
        spark.sparkContext.setJobGroup("solve", "solve")
        start = time.perf_counter()
        plan, passes = engine.solve(frame, budget, engine.Columns(NAMES))
        solved = time.perf_counter() - start
        jobs = len(spark.sparkContext.statusTracker().getJobIdsForGroup("solve"))
        spark.sparkContext.setJobGroup("write", "write")
        start = time.perf_counter()
        passes.plan(plan, keep=["unit"]).write.parquet(str(out))
        written = time.perf_counter() - start
        start = time.perf_counter()
        frame.write.parquet(str(Path(folder) / "copy"))
        copied = time.perf_counter() - start
        there = pq.read_table(out).sort_by("unit")
        codes = np.array([NAMES.index(name) for name in there["treatment"].unique().to_pylist()])
        got = codes[np.asarray(there["treatment"].combine_chunks().dictionary_encode().indices)]
        parts = frame.rdd.getNumPartitions()
        policies = [by_policy(spark, Path(folder), k) for k in PARTS]
        spark.stop()
    sums = {
        words: {"price": found.price, "spend": found.spend, "value": found.value, "counts": found.counts.tolist()}
        for words, found in (("memory", here), ("spark", plan))
    }
    return sums | {
        "units": said.units, "partitions": parts, "differ": int((got != here.treatment).sum()), "jobs": jobs,
        "solve": solved, "write": written, "copy": copied, "policies": policies,
    }  # fmt: skip


def page(cell: dict[str, Any]) -> list[str]:
    """Returns the lines of the page."""
    here, there = cell["memory"], cell["spark"]
    return [
        "# Spark", "", "Generated by `python -m benchmarks spark`; do not edit.", "",
        f"{cell['units']:,} units × {M} treatments, values and costs in columns of Parquet, `local[2]`,",
        f"{cell['partitions']} partitions.",
        "First the plan of a menu, whose price is exact; then that of a run's *policy*, whose price is searched among candidate",
        "prices sampled by row number and depends on the partitions.", "",
        "| | `solve` in memory | `engines.spark.solve` |", "|---|---|---|",
        *(
            f"| {words} | {here[key]!r} | {there[key]!r} |"
            for words, key in {"λ*": "price", "spend": "spend", "value": "value", "units per treatment": "counts"}.items()
        ), "",
        f"Units with another treatment: {cell['differ']}. Jobs of the solve: {cell['jobs']}, {cell['solve']:.0f} s; writing the "
        f"plan {cell['write']:.0f} s;", f"what Spark takes to read and rewrite the input, {cell['copy']:.0f} s.", "",
        f"A run's policy (60 trees, a simulated money-off world) on {USERS:,} users, on one machine and on Spark:", "",
        "| partitions | users with another treatment | price apart | predicted spend apart |", "|---|---|---|---|",
        *(
            f"| {one['partitions']} | {one['differ']} of {one['units']:,} | {100 * one['price']:+.3f} % | "
            f"{100 * one['spend']:+.3f} % |"
            for one in cell["policies"]
        ),
    ]  # fmt: skip


def main() -> None:
    single("spark", __doc__, measure, page, ("--units", {"type": int, "default": 5_000_000}))
