"""What the benchmarks share: cached cells, processes, paired differences, options."""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import fields
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.suite import tables
from benchmarks.suite.tables import seeds as of_seeds

if TYPE_CHECKING:
    from largesse.models import DecisionLoss

__all__ = [
    "FEW",
    "GREW",
    "PAGES",
    "TREES",
    "arguments",
    "decision_loss",
    "load",
    "machine",
    "mean_sd",
    "of_seeds",
    "paired",
    "run",
    "single",
    "store",
    "write",
]
TREES = 100
FEW = f"LightGBM has {TREES} trees here; by default it grows until rows that are held back stop gaining."
GREW = (
    "Worlds were added over several runs, after a look at the first ones; all from 0 on are shown, none is left out, and no",
    "interval is corrected for these looks.",
)
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


def decision_loss(kind: str = "ppl", **settings: Any) -> DecisionLoss:
    """Returns a decision loss of a kind with those of the settings that this kind has."""
    from largesse.models.decision.losses import LOSSES

    own = {field.name for field in fields(LOSSES[kind])}
    return LOSSES[kind](**{name: value for name, value in settings.items() if name in own})


def machine() -> dict[str, Any]:
    """Returns where a cell is measured: processor, cores, versions."""
    import numpy as np

    return {
        "processor": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version(),
        "numpy": np.__version__,
    }  # fmt: skip


def write(name: str, lines: Sequence[str], folder: Path = PAGES) -> None:
    """Writes the page of a study, whole or not at all, and prints it."""
    text = "\n".join(lines).rstrip("\n") + "\n"
    tables.write_whole(folder / f"{name}.md", text)
    print(text)


def single(
    name: str, doc: str | None, measure: Callable[[argparse.Namespace], dict[str, Any]],
    page: Callable[[dict[str, Any]], list[str]], *options: tuple[str, dict[str, Any]],
) -> None:  # fmt: skip
    """Runs a study of one cell, docs/benchmarks/NAME.json, and writes its page; with --table only the page of what is there."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="store_true", help="write the page of what is there")
    parser.add_argument("--into", type=Path, default=PAGES, help="folder of cell and page")
    for flag, how in options:
        parser.add_argument(flag, **how)
    said = parser.parse_args()
    place = said.into / f"{name}.json"
    if not said.table:
        store(place, machine() | measure(said))
    if cell := load(place):
        write(name, page(cell), said.into)
    else:
        print(f"{place}: there is no such cell. Run `python -m benchmarks {name}`.")


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
