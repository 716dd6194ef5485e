"""What the benchmarks share: cached cells, processes, paired differences, options."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.suite import tables
from benchmarks.suite.tables import seeds as of_seeds

__all__ = ["FEW", "PAGES", "TREES", "arguments", "load", "mean_sd", "of_seeds", "paired", "run", "store"]
TREES = 100
FEW = f"LightGBM has {TREES} trees here; by default it grows until rows that are held back stop gaining."
PAGES = Path(__file__).resolve().parent.parent / "docs" / "benchmarks"


def arguments(doc: str | None, seeds: int) -> argparse.ArgumentParser:
    """Returns a parser of the options that the benchmarks share."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=seeds)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--table", action="store_true", help="write the page of what is there")
    return parser


def load(place: Path) -> dict[str, Any]:
    """Returns a cached cell, or an empty one."""
    return json.loads(place.read_text()) if place.exists() else {}


def store(place: Path, cell: dict[str, Any]) -> None:
    """Writes a cell, whole or not at all."""
    tables.write_whole(place, json.dumps(cell, indent=1))


def run(cell: Callable[[Any], str], tasks: Sequence[Any], processes: int) -> None:
    """Runs the cells in fresh processes and says which are done."""
    with get_context("spawn").Pool(processes, maxtasksperchild=1) as pool:
        for line in pool.imap_unordered(cell, tasks):
            print(line, flush=True)


def mean_sd(a: Sequence[float], digits: int = 1) -> str:
    """Returns mean ± sd."""
    return tables.mean_sd(a, f".{digits}f")


def paired(d: Sequence[float], digits: int = 1) -> str:
    """Returns the mean of paired differences with its 95 % t-interval; those out of reach (nan) are counted apart."""
    return format(tables.paired(d), f"+.{digits}f")
