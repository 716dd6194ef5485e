"""Parquet to Parquet with more units than memory should hold; writes docs/benchmarks/out_of_core.md.

    python -m benchmarks out_of_core                     # 50 million units, 4 treatments
    python -m benchmarks out_of_core --units 5000000
    python -m benchmarks out_of_core --table             # the page of what was measured

Every line is a process of its own, so that time and peak of memory are its own; interpreter, imports and compiled code from
the cache are inside. The rival does nothing but read the file and write it again: `polars.read_parquet(...).write_parquet(...)`,
and the streaming form of the same; both have as many threads as there are cores. The killed run gets SIGKILL after half of
the whole run's time; its file must be identical to that of the run that nothing stopped.
"""

from __future__ import annotations

import argparse
import filecmp
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.cells import single

M, BLOCK, SHARE = 4, 1 << 20, 0.3
THREADS = str(os.cpu_count() or 1)
EAGER = "import polars as pl; pl.read_parquet('{0}').write_parquet('{1}')"
NAMES = ("`largesse plan`", "polars: read, write", "polars: streaming")
LAZY = "import polars as pl; pl.scan_parquet('{0}').sink_parquet('{1}')"


def draw(path: Path, n: int) -> float:
    """Writes concave menus with noise, and returns a budget of 30 % of what the dearest level for everyone costs."""
    names = ["unit", *(f"{part}_t{j}" for part in ("value", "cost") for j in range(M))]
    writer, dearest = None, 0.0
    for k, first in enumerate(range(0, n, BLOCK)):
        size, rng = min(BLOCK, n - first), np.random.default_rng([0, k])
        cost, value = (np.empty((M, size), np.float32) for _ in range(2))
        rate, gain, scale = (rng.uniform(*ends, size).astype(np.float32) for ends in ((0.5, 1.5), (0, 2), (0.5, 4)))
        for j in range(M):
            cost[j] = j * rate * rng.uniform(0.8, 1.2, size) if j else 0
            value[j] = gain * (1 - np.exp(-j / scale)) + 0.05 * rng.random(size, dtype=np.float32)
        dearest += float(cost[-1].sum(dtype=np.float64))
        table = pa.table([np.arange(first, first + size), *value, *cost], names=names)
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    writer.close()
    return SHARE * dearest


def timed(command: list[str]) -> tuple[float, float]:
    """Returns seconds and peak of memory in GB of a process."""
    start = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"{command[:4]}: ended with {status}")
    return time.perf_counter() - start, used.ru_maxrss / 1e6


def continued(told: str) -> str | None:
    """Returns the unit from which a run says that it continued, or None."""
    match = re.search(r"Continuing from (unit [\d,]+\d)", " ".join(told.split()))
    return match[1] if match else None


def measure(said: argparse.Namespace) -> dict[str, Any]:
    """Draws and measures."""
    os.environ |= {"OMP_NUM_THREADS": THREADS, "POLARS_MAX_THREADS": THREADS}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        menu, rules = place / "menu.parquet", place / "rules.toml"
        budget = draw(menu, said.units)
        names = ", ".join(f'"t{j}"' for j in range(M))
        rules.write_text(f'treatments = [{names}]\nunit = "unit"\nspend = [{{at_most = {budget!r}}}]\n')

        def plan(name: str) -> list[str]:
            return [sys.executable, "-m", "largesse", "plan", str(menu), "-r", str(rules), "-o", str(place / name)]

        def copy(code: str) -> list[str]:
            return [sys.executable, "-c", code.format(menu, place / "copy.parquet")]

        timed(plan("plan.parquet"))  # compiles
        rounds = [
            [timed(plan("plan.parquet")), timed(copy(EAGER)), timed(copy(LAZY))] for _ in range(said.rounds)
        ]  # one after another, so that what else the machine does meets all three
        seconds = np.median(np.array(rounds), axis=0)[:, 0]
        killed = subprocess.Popen(plan("again.parquet"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(seconds[0] / 2)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        if (place / "again.parquet").exists():
            raise SystemExit("the run ended before it was killed")
        start = time.perf_counter()
        told = subprocess.run(plan("again.parquet"), capture_output=True, text=True, check=True).stderr
        rest = time.perf_counter() - start
        same = filecmp.cmp(place / "plan.parquet", place / "again.parquet", shallow=False)
        size = menu.stat().st_size / 1e9
    return {
        "units": said.units, "gigabytes": size, "threads": THREADS, "rounds": rounds, "from": continued(told),
        "rest": rest, "same": same,
    }  # fmt: skip


def page(cell: dict[str, Any]) -> list[str]:
    """Returns the lines of the page."""
    rounds = cell["rounds"]
    seconds, memory = np.median(np.array(rounds), axis=0).T
    ratios = [median(row[0][0] / row[k][0] for row in rounds) for k in (1, 2)]
    went = f"went on from {cell['from']}" if cell["from"] else "**began anew**"
    lines = [
        [name, f"{s:.1f} s", f"{g:.2f} GB", "" if k == 0 else f"{ratios[k - 1]:.1f}×"]
        for k, (name, s, g) in enumerate(zip(NAMES, seconds, memory, strict=True))
    ]
    return [
        "# Out of core", "", "Generated by `python -m benchmarks out_of_core`; do not edit.", "",
        f"{cell['units']:,} units × {M} treatments, one id and {2 * M} columns of 4 bytes, {cell['gigabytes']:.1f} GB of Parquet",
        "in; a plan with id, treatment, value and cost out. Values and costs are in the file: nothing is scored by a model here.",
        f"Medians of {len(rounds)} rounds, one process after another; {cell['threads']} threads each,",
        f"Python {cell['python']}.", "",
        "| what | time | peak of memory | `largesse plan` takes |", "|---|---|---|---|",
        *("| " + " | ".join(line) + " |" for line in lines), "",
        f"Killed (SIGKILL) after half its time, the run {went} in {cell['rest']:.1f} s; its file was "
        f"{'identical, byte by byte' if cell['same'] else '**not the same**'}.",
    ]  # fmt: skip


def main() -> None:
    single(
        "out_of_core", __doc__, measure, page, ("--units", {"type": int, "default": 50_000_000}),
        ("--rounds", {"type": int, "default": 3}),
    )  # fmt: skip
