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
from largesse._files import atomic_file
from largesse.allocate.blocks import BLOCK, Decision, Run, Sums
from largesse.engines.holdout import Holdout, shipped
from largesse.engines.pipeline import ahead, behind
from largesse.engines.spill import SpillFolder, synced
from largesse.errors import DataError
from largesse.frames import ids
from largesse.frames.batches import Batches
from largesse.frames.folders import parquet_files
from largesse.frames.plans import PlanColumns
from largesse.menu import Menu
from largesse.progress import Note, Say

__all__ = ["Streamed", "Units", "columns_of", "fill", "folder_of", "keys", "put_out", "stream", "streams", "transform"]

_OUT = "plan.parquet"
_LABELS = ["treatment", "arm", "policy_treatment", "runner_up"]  # few distinct values


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
        keep: Further columns that the plan has too.
        unit_value: Money that one unit of value brings; None: not known.
        holdout: Units that are kept back, by their ids; None: none are.
    """

    path: Path
    columns: tuple[str, ...]
    unit: str | None
    menu: Callable[[pa.Table], Menu]
    treatments: tuple[str, ...]
    key: dict[str, Any]
    keep: tuple[str, ...] = ()
    unit_value: float | None = None
    holdout: Holdout | None = None

    @property
    def form(self) -> PlanColumns:
        """The columns of the plan."""
        return PlanColumns(
            treatments=self.treatments, unit=self.unit, keep=self.keep, unit_value=self.unit_value,
            holdout=None if self.holdout is None else self.holdout.share,
        )  # fmt: skip


class Streamed(NamedTuple):
    """A plan that was written.

    Attributes:
        decision: The decision.
        sums: Totals of the plan by the menu, without the units that are kept back.
        withheld: Number of units that are kept back.
    """

    decision: Any
    sums: Sums
    withheld: int = 0


@checked
def stream(units: Units, output: Path, decide: Callable[[Run], Decision], *, say: Say, n_threads: int = 1) -> Streamed:
    """Decides units in Parquet and writes their treatments; after an interruption the same call continues where it stopped.

    Args:
        units: The units.
        output: A .parquet file; an older one of that name is replaced at the very end.
        decide: From passes over the blocks to the decision; where units are kept back, over the others, and by a price.
        say: Called with the current stage and the share of the work done, in [0, 1].
        n_threads: Number of threads; the file is the same for any number.

    Returns:
        The decision, and the totals of the plan.

    Raises:
        DataError: The units break a rule (then no partial files are left), or the disk is full.
        StoreError: Another process writes the same output.
    """
    batches, columns, form = Batches(units.path), columns_of(units.columns, units.unit), units.form
    batches.have(form.copied)
    with folder_of(output, batches, columns, units.unit, units.key, n_threads) as spill:
        fill(spill, batches, columns, units.unit, lambda table: _cells(units.menu(table)), say)
        withheld = _withheld(units, batches, spill.size)
        say("the price", 0.7)
        decision, sums = decide(spill if withheld is None else shipped(spill, withheld)), []

        def tables() -> Iterator[pa.Table]:
            for k, first in enumerate(keys(batches, spill, form)):
                say("the plan", 0.8 + 0.2 * k / spill.done)
                block = spill.block(k)
                treatment, back = decision.of(block), None
                if withheld is not None:
                    back = withheld[block.first : block.first + block.n]
                sums.append(block.audit(treatment, back))
                yield form.table(first, block.value, block.cost, treatment, decision.price, back)

        written = put_out(spill, tables())
        batches.unchanged()
        os.replace(written, output)
    return Streamed(decision, Sums.over(sums), 0 if withheld is None else int(np.count_nonzero(withheld)))


def _withheld(units: Units, batches: Batches, size: int) -> NDArray[np.bool_] | None:
    """Returns which units are kept back, (N,), a byte each; None where there is no holdout."""
    if units.holdout is None or units.unit is None:
        return None
    parts = (units.holdout.of(ids(t, units.unit).tolist()) for t in ahead(batches.tables([units.unit], size)))
    return np.concatenate(list(parts))


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
def keys(batches: Batches, spill: SpillFolder, form: PlanColumns) -> Iterator[dict[str, Any]]:
    """Yields the first columns of the plan, block by block: ids or numbers of rows, and the columns to keep."""
    if form.copied:
        for k, table in enumerate(ahead(batches.tables(form.copied, spill.size))):
            yield form.first(table, k * spill.size, table.num_rows)
    else:
        for first in range(0, batches.n, spill.size):
            yield form.first(None, first, min(spill.size, batches.n - first))


@checked
def put_out(spill: SpillFolder, tables: Iterable[pa.Table]) -> Path:
    """Writes tables, at least one, as one Parquet file into the spill folder, and returns its path."""
    path = spill.folder / _OUT
    _put(path, tables, _LABELS)
    return path


@checked
def transform(
    path: Path, columns: Sequence[str], work: Callable[[pa.Table, int], pa.Table], output: Path, *, say: Say, what: str
) -> int:
    """Writes a table for each block of the rows of a Parquet source, as one Parquet file, whole or not at all.

    Args:
        path: The source.
        columns: The columns that are read.
        work: Table and number of its first row → table to write.
        output: The .parquet file; an older one of that name is replaced at the very end.
        say: Called with the current stage and the share of the work done, in [0, 1].
        what: Name of the stage.

    Returns:
        The number of rows.

    Raises:
        LargesseError: A row breaks a rule, or a file cannot be read or written.
    """
    batches = Batches(path)

    def tables() -> Iterator[pa.Table]:
        for k, table in enumerate(ahead(batches.tables(columns, BLOCK))):
            say(f"{what} of {batches.n:,} units", k * BLOCK / batches.n)
            with _counted_from(k * BLOCK):
                yield work(table, k * BLOCK)

    try:
        with atomic_file(output) as partial:
            _put(partial, tables(), False)
            batches.unchanged()
    except OSError as error:
        rest = f": cannot be written ({error.strerror or error}). Check that the folder is writable and has room."
        raise DataError.at(str(output), rest) from error
    return batches.n


def _put(path: Path, tables: Iterable[pa.Table], labels: list[str] | bool) -> None:
    """Writes tables, at least one, as one Parquet file; the columns `labels` have few distinct values."""
    rest = iter(tables)
    first = next(rest)
    with (
        pa_parquet.ParquetWriter(path, first.schema, use_dictionary=labels) as writer,
        behind(writer.write_table) as write,
    ):
        for table in chain([first], rest):
            write(table)
    synced(path)


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
