"""Parquet in, Parquet out: a plan for more units than memory holds.

The units are read once, in blocks; the menu of each block goes to a folder beside the output; the passes of the search
go over that folder; the plan is written as one file, which appears whole or not at all. Memory holds a few blocks.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pa_parquet
from numpy.typing import NDArray

from largesse import _check
from largesse.allocate.blocks import BLOCK, Decision, Run, Sums
from largesse.engines.pipeline import ahead, behind
from largesse.engines.spill import SpillFolder
from largesse.errors import DataError
from largesse.frames import ids
from largesse.frames.batches import Batches
from largesse.menu import Menu
from largesse.progress import Note, Say

__all__ = ["Streamed", "Units", "columns_of", "fill", "job_of", "keys", "put_out", "stream", "streams"]


def streams(path: Path, output: Path) -> bool:
    """Returns whether units and plan are Parquet; folders whose names hold values of columns are not read in batches."""
    if output.suffix.lower() != ".parquet":
        return False
    if path.is_dir():
        return not any("=" in part.name for part in path.rglob("*"))
    return path.suffix.lower() == ".parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Units:
    """Units in Parquet, and what turns them into a menu.

    Attributes:
        path: A file, or a folder of files.
        columns: The columns that `menu` needs.
        unit: The column of their ids; None: they are numbered.
        menu: Table → menu, row by row.
        treatments: Names of the treatments.
        key: Plain values that say which menu it is: a run that was killed goes on only where they are the same.
    """

    path: Path
    columns: tuple[str, ...]
    unit: str | None
    menu: Callable[[pa.Table], Menu]
    treatments: tuple[str, ...]
    key: dict[str, Any]


class Streamed(NamedTuple):
    """A plan that was written: what decided, and what the plan adds up to by the menu."""

    decision: Any
    sums: Sums


def stream(
    units: Units, output: Path, decide: Callable[[Run], Decision], *, say: Say, n_threads: int = 1, size: int = BLOCK
) -> Streamed:
    """Decides units in Parquet and writes who gets what; interrupted, the same call goes on where it stopped.

    Args:
        units: The units.
        output: A .parquet file; an older one of that name is replaced at the very end.
        decide: From passes over the blocks to the decision.
        say: Told what is being done and how far it is, in [0, 1].
        n_threads: Threads; the file is the same for any number.
        size: Units of a block.

    Returns:
        The decision, and the sums of the plan.

    Raises:
        DataError: The units break a rule (then nothing is left behind), or the disk is full.
        StoreError: Another process writes the same output.
    """
    batches = Batches(units.path)
    wanted = columns_of(units.columns, units.unit)
    with SpillFolder.beside(output, job_of(batches, wanted, units.unit, units.key, size), size, n_threads) as scratch:
        fill(scratch, batches, wanted, units.unit, lambda table: _both(units.menu(table)), say)
        say("the price", 0.7)
        decision = decide(scratch)
        written = _written(units, batches, scratch, decision, say)
        os.replace(scratch.folder / _OUT, output)
    return written


def columns_of(columns: Sequence[str], unit: str | None) -> tuple[str, ...]:
    """Returns the columns to read, each once: those of the model, and the ids."""
    return tuple(dict.fromkeys((*columns, *(() if unit is None else (unit,)))))


def job_of(
    batches: Batches, columns: Sequence[str], unit: str | None, key: dict[str, Any], size: int
) -> dict[str, Any]:
    """Returns what a run that was killed goes on for: only the same job on the same files."""
    return {"key": key, "unit": unit, "columns": list(columns), "size": size, "files": _signs(batches)}


def fill(
    scratch: SpillFolder, batches: Batches, columns: Sequence[str], unit: str | None, score: Callable[[pa.Table], NDArray[Any]],
    say: Say, what: str = "values and costs",
) -> None:  # fmt: skip
    """Scores the blocks that are missing, and refuses units that stand there twice.

    Args:
        scratch: Where blocks go.
        batches: The units.
        columns: What is read of them.
        unit: The column of their ids; None: they are numbered.
        score: Table → what is known of its units.
        say: Told how far it is.
        what: What that is, in words.
    """
    total = -(-batches.n // scratch.size)
    if scratch.done:
        reached = min(scratch.done * scratch.size, batches.n)
        say(Note(f"Continuing from unit {reached:,}, where an interrupted run stopped."), 0.0)
    for table in ahead(batches.tables(columns, scratch.size, scratch.done * scratch.size)):
        say(f"{what} of {batches.n:,} units", 0.7 * scratch.done / total)
        with _counted_from(scratch.done * scratch.size):
            scratch.put(score(table), None if unit is None else _numbers(table, unit))
    if unit is not None:
        _refuse_twins(scratch, batches, unit)


def _both(menu: Menu) -> NDArray[Any]:
    return np.array([menu.value.T, menu.cost.T])


_OUT = "plan.parquet"


def _signs(batches: Batches) -> list[list[Any]]:
    return [[str(file.resolve()), (found := file.stat()).st_size, found.st_mtime_ns] for file in batches.files]


def _written(units: Units, batches: Batches, scratch: SpillFolder, decision: Decision, say: Say) -> Streamed:
    """Writes the plan into the folder of the job."""
    names, sums = pa.array(list(units.treatments), pa.string()), []

    def tables() -> Iterator[pa.Table]:
        for k, key in enumerate(keys(batches, scratch, units.unit)):
            say("the plan", 0.8 + 0.2 * k / scratch.done)
            block = scratch.block(k)
            treatment, rows = decision.of(block), np.arange(block.n)
            sums.append((np.bincount(treatment, minlength=len(names)), block.audit(treatment)))
            yield pa.table(
                {
                    **key,
                    "treatment": names.take(pa.array(treatment)),
                    "value": np.asarray(block.value[treatment, rows]),
                    "cost": np.asarray(block.cost[treatment, rows]),
                }
            )

    put_out(scratch, tables())
    return Streamed(decision, Sums.over(sums))


def keys(batches: Batches, scratch: SpillFolder, unit: str | None) -> Iterator[dict[str, Any]]:
    """Yields the first column of the plan, block by block: the ids, or the numbers of the rows."""
    if unit is None:
        for first in range(0, batches.n, scratch.size):
            yield {"row": np.arange(first, min(first + scratch.size, batches.n))}
    else:
        for table in ahead(batches.tables([unit], scratch.size)):
            yield {"unit": table[unit]}


def put_out(scratch: SpillFolder, tables: Iterable[pa.Table]) -> Path:
    """Writes tables as one Parquet file into the folder of the job; returns where it is."""
    writer: list[pa_parquet.ParquetWriter] = []
    path = scratch.folder / _OUT

    def append(table: pa.Table) -> None:
        if not writer:
            writer.append(pa_parquet.ParquetWriter(path, table.schema, use_dictionary=["treatment"]))
        writer[0].write_table(table)

    try:
        with behind(append) as write:
            for table in tables:
                write(table)
    finally:
        if writer:
            writer[0].close()
    return path


@contextmanager
def _counted_from(first: int) -> Iterator[None]:
    """Says in a refusal which row of the file the first row of a block is."""
    try:
        yield
    except DataError as error:
        if first:
            error.add_note(f"Rows are counted from row {first:,} of the file.")
        raise


def _numbers(table: pa.Table, unit: str) -> NDArray[np.uint64]:
    """Returns a number for each id: itself, or 64 bits of it."""
    found = ids(table, unit)
    if found.dtype.kind in "iu":
        return found.astype(np.int64).view(np.uint64)
    return pl.Series(pl.from_arrow(table[unit])).hash().to_numpy()


def _refuse_twins(scratch: SpillFolder, batches: Batches, unit: str) -> None:
    """Refuses units that stand there twice."""
    every = scratch.ids(batches.n)
    every.sort()
    twice = np.unique(every[1:][every[1:] == every[:-1]])
    if not len(twice):
        return
    seen: dict[Any, int] = {}
    for k, table in enumerate(batches.tables([unit], scratch.size)):
        for row in np.flatnonzero(np.isin(_numbers(table, unit), twice)).tolist():
            name = table[unit][row].as_py()
            if name in seen:  # 64 bits of two ids may be the same; the ids are not
                rows = f"rows {seen[name]} and {k * scratch.size + row}; {len(twice)} ids repeated"
                remedy = "Drop the duplicates or aggregate them to one row per unit."
                raise _check.refuse("unit", name, f"each unit may stand only once ({rows})", remedy)
            seen[name] = k * scratch.size + row
