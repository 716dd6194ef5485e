"""Spark on one machine against one machine without it: the same plan, and what the passes cost; writes docs/benchmarks/spark.md.

    python -m benchmarks spark                 # 5 million units, 4 treatments, local[2]

Spark's worth is in data that one machine does not hold: here only its answer is compared, and its overhead shown.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["PYSPARK_PYTHON"] = sys.executable

import numpy as np
import pyarrow.parquet as pq
from out_of_core import M, draw

from benchmarks.cells import PAGES
from benchmarks.suite import tables
from largesse.allocate import solve as solve_here
from largesse.engines import spark as engine
from largesse.menu import Menu

NAMES = tuple(f"t{j}" for j in range(M))


def session():
    """Returns a session with two cores."""
    from pyspark.sql import SparkSession

    settings = {"spark.ui.enabled": "false", "spark.driver.host": "127.0.0.1", "spark.driver.memory": "3g"}
    found = SparkSession.builder.master("local[2]").config(map=settings).getOrCreate()
    found.sparkContext.setLogLevel("ERROR")
    return found


def main() -> None:
    """Draws, solves twice, compares and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, default=5_000_000)
    said = parser.parse_args()
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
        spark.stop()
    differ = int((got != here.treatment).sum())
    lines = [
        ("λ*", f"{here.price!r}", f"{plan.price!r}"),
        ("spend", f"{here.spend!r}", f"{plan.spend!r}"),
        ("value", f"{here.value!r}", f"{plan.value!r}"),
        ("units per treatment", here.counts.tolist(), plan.counts.tolist()),
    ]
    page = [
        "# Spark", "",
        f"{said.units:,} units × {M} treatments from Parquet, `local[2]`, {parts} partitions. By `python -m benchmarks spark`.",
        "",
        "| | `solve` in memory | `engines.spark.solve` |", "|---|---|---|",
        *(f"| {name} | {a} | {b} |" for name, a, b in lines), "",
        f"Units with another treatment: {differ}. Jobs of the solve: {jobs}, {solved:.0f} s; writing the plan {written:.0f} s; "
        f"what Spark takes to read and rewrite the input, {copied:.0f} s.", "",
    ]  # fmt: skip
    tables.write_whole(PAGES / "spark.md", "\n".join(page))
    print("\n".join(page))
