"""Parquet in, Parquet out: allocation of more units than memory holds.

The units are read once, in blocks; the menu of each block goes to a spill folder beside the output; the passes of the search
run over that folder; the plan is written as one file, which appears complete or not at all. Memory holds a few blocks.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pa_parquet
from numpy.typing import NDArray

from largesse import _check
from largesse._arguments import checked
from largesse.allocate.blocks import BLOCK, Decision, Run, Sums
from largesse.engines.pipeline import ahead, behind
from largesse.engines.spill import SpillFolder, synced
from largesse.errors import DataError
from largesse.frames import ids
from largesse.frames.batches import Batches
from largesse.frames.folders import parquet_files
from largesse.menu import Menu
from largesse.progress import Note, Say

__all__ = ["Streamed", "Units", "columns_of", "fill", "folder_of", "keys", "put_out", "stream", "streams"]

_OUT = "plan.parquet"


@checked
def streams(path: Path, output: Path) -> bool:
    """Returns whether units and plan are Parquet and can be streamed; a folder partitioned by columns (``key=value``) cannot."""
    if output.suffix.lower() != ".parquet":
        return False
    if path.is_dir():
        return not any("=" in part for file in parquet_files(path) for part in file.relative_to(path).parts[:-1])
    return path.suffix.lower() == ".parquet"


@checked
@dataclass(frozen=True, slots=True, kw_only=True)
class Units:
    """Units in Parquet, and the function that gives their menu.

    Attributes:
        path: A file, or a folder of files.
        columns: The columns that `menu` needs.
        unit: The column of ids; None: units are numbered.
        menu: Table → menu, row by row.
        treatments: Names of the treatments, control first.
        key: JSON values that identify the menu: an interrupted run is continued only if they are the same.
    """

    path: Path
    columns: tuple[str, ...]
    unit: str | None
    menu: Callable[[pa.Table], Menu]
    treatments: tuple[str, ...]
    key: dict[str, Any]


class Streamed(NamedTuple):
    """A plan that was written: the decision, and the totals of the plan by the menu."""

    decision: Any
    sums: Sums


@checked
def stream(units: Units, output: Path, decide: Callable[[Run], Decision], *, say: Say, n_threads: int = 1) -> Streamed:
    """Decides units in Parquet and writes their treatments; after an interruption the same call continues where it stopped.

    Args:
        units: The units.
        output: A .parquet file; an older one of that name is replaced at the very end.
        decide: From passes over the blocks to the decision.
        say: Called with the current stage and the share of the work done, in [0, 1].
        n_threads: Number of threads; the file is the same for any number.

    Returns:
        The decision, and the totals of the plan.

    Raises:
        DataError: The units break a rule (then no partial files are left), or the disk is full.
        StoreError: Another process writes the same output.
    """
    batches, columns = Batches(units.path), columns_of(units.columns, units.unit)
    with folder_of(output, batches, columns, units.unit, units.key, n_threads) as spill:
        fill(spill, batches, columns, units.unit, lambda table: _cells(units.menu(table)), say)
        say("the price", 0.7)
        decision = decide(spill)
        names, sums = pa.array(list(units.treatments), pa.string()), []

        def tables() -> Iterator[pa.Table]:
            for k, key in enumerate(keys(batches, spill, units.unit)):
                say("the plan", 0.8 + 0.2 * k / spill.done)
                block = spill.block(k)
                treatment, rows = decision.of(block), np.arange(block.n)
                sums.append(block.audit(treatment))
                cells = {"value": block.value[treatment, rows], "cost": block.cost[treatment, rows]}
                yield pa.table({**key, "treatment": names.take(pa.array(treatment)), **cells})

        written = put_out(spill, tables())
        batches.unchanged()
        os.replace(written, output)
    return Streamed(decision, Sums.over(sums))


@checked
def columns_of(columns: Sequence[str], unit: str | None) -> tuple[str, ...]:
    """Returns the columns to read, each once: those of the model, and the ids."""
    return tuple(dict.fromkeys((*columns, *(() if unit is None else (unit,)))))


@checked
def folder_of(
    output: Path, batches: Batches, columns: Sequence[str], unit: str | None, key: dict[str, Any], n_threads: int = 1
) -> AbstractContextManager[SpillFolder]:
    """Returns the spill folder of a job, with the blocks of an interrupted run if that was the same job on the same files.

    The files, the columns read, the column of ids (`unit`, None if units are numbered) and the JSON values of `key`, which
    describe what is computed for the units, identify the job.
    """
    files = [[os.path.realpath(file), (stat := file.stat()).st_size, stat.st_mtime_ns] for file in batches.files]
    job = {"key": key, "unit": unit, "columns": list(columns), "size": BLOCK, "files": files}
    return SpillFolder.beside(output, job, BLOCK, n_threads)


@checked
def fill(
    spill: SpillFolder, batches: Batches, columns: Sequence[str], unit: str | None, score: Callable[[pa.Table], NDArray[Any]],
    say: Say, what: str = "values and costs",
) -> None:  # fmt: skip
    """Computes and stores the blocks that are missing; refuses rows that break a rule and ids that occur twice.

    Args:
        spill: Where blocks go.
        batches: The units.
        columns: The columns that are read.
        unit: The column of ids; None: units are numbered.
        score: Table → array to store, one entry per unit along the last axis.
        say: Called with the current stage and the share of the work done, in [0, 1].
        what: Name of the stored quantity in the stage.
    """
    total = -(-batches.n // spill.size)
    if spill.done:
        reached = min(spill.done * spill.size, batches.n)
        say(Note(f"Continuing from unit {reached:,}, where an interrupted run stopped."), 0.0)
    for table in ahead(batches.tables(columns, spill.size, spill.done * spill.size)):
        say(f"{what} of {batches.n:,} units", 0.7 * spill.done / total)
        with _counted_from(spill.done * spill.size):
            spill.put(score(table), None if unit is None else _numbers(table, unit))
    if unit is not None:
        _refuse_twins(spill, batches, unit)


def _cells(menu: Menu) -> NDArray[Any]:
    """Returns values and costs, (2, M, N)."""
    return np.array([menu.value.T, menu.cost.T])


@checked
def keys(batches: Batches, spill: SpillFolder, unit: str | None) -> Iterator[dict[str, Any]]:
    """Yields the first column of the plan, block by block: the ids, or the numbers of the rows."""
    if unit is None:
        for first in range(0, batches.n, spill.size):
            yield {"row": np.arange(first, min(first + spill.size, batches.n))}
    else:
        for table in ahead(batches.tables([unit], spill.size)):
            yield {"unit": table[unit]}


@checked
def put_out(spill: SpillFolder, tables: Iterable[pa.Table]) -> Path:
    """Writes tables, at least one, as one Parquet file into the spill folder, and returns its path."""
    path, rest = spill.folder / _OUT, iter(tables)
    first = next(rest)
    with (
        pa_parquet.ParquetWriter(path, first.schema, use_dictionary=["treatment"]) as writer,
        behind(writer.write_table) as write,
    ):
        for table in chain([first], rest):
            write(table)
    synced(path)
    return path


@contextmanager
def _counted_from(first: int) -> Iterator[None]:
    """Adds to a refusal the number of the block's first row in the file."""
    try:
        yield
    except DataError as error:
        if first:
            error.add_note(f"Rows are counted from row {first:,} of the file.")
        raise


def _numbers(table: pa.Table, unit: str) -> NDArray[np.uint64]:
    """Returns a number for each id: the id itself if it is an integer, else a 64-bit hash."""
    values = ids(table, unit)
    if values.dtype.kind in "iu":
        return values.astype(np.int64).view(np.uint64)
    text = pa.types.is_string(table[unit].type) or pa.types.is_large_string(table[unit].type)
    return (pl.Series(pl.from_arrow(table[unit])) if text else pl.Series(values.tolist())).hash().to_numpy()


def _refuse_twins(spill: SpillFolder, batches: Batches, unit: str) -> None:
    """Raises an error if an id occurs twice."""
    numbers = spill.ids(batches.n)
    numbers.sort()
    twice = np.unique(numbers[1:][numbers[1:] == numbers[:-1]])
    if not len(twice):
        return
    rows: dict[Any, int] = {}
    for k, table in enumerate(batches.tables([unit], spill.size)):
        for at in np.flatnonzero(np.isin(_numbers(table, unit), twice)).tolist():
            name, row = table[unit][at].as_py(), k * spill.size + at
            if name in rows:  # two different ids may have the same hash
                place = f"rows {rows[name]} and {row}; {len(twice)} ids repeated"
                remedy = "Drop the duplicates or aggregate them to one row per unit."
                raise _check.refuse("unit", name, f"each unit may appear only once ({place})", remedy)
            rows[name] = row
