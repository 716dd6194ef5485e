"""Rows of a DataFrame as blocks of units: a pass over them is one job. What the executors import is no more than this."""

from __future__ import annotations

import pickle
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from largesse import frames
from largesse.allocate.blocks import BLOCK, Block, Decision
from largesse.errors import DataError, SchemaError
from largesse.menu import Menu
from largesse.roles import nearest

__all__ = ["Batches", "Columns", "DataFrame", "Passes", "collected", "mapped", "need", "numbered", "picked"]

Found = TypeVar("Found")
DataFrame = Any  # pyspark.sql.DataFrame: to import this module takes no Spark
Batches = Iterable[pa.RecordBatch]
_REFUSED = -1  # in place of the number of a first unit
_PART = 40  # bits of a row's number that count within its partition


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of the columns that hold a menu.

    Attributes:
        treatments: Names of the treatments, control first.
        value: Name of the columns of values; ``{}`` stands for the treatment.
        cost: Name of the columns of costs.
    """

    treatments: tuple[str, ...]
    value: str = "value_{}"
    cost: str = "cost_{}"

    @property
    def names(self) -> list[str]:
        """Names of the columns: values, then costs."""
        return [pattern.replace("{}", t) for pattern in (self.value, self.cost) for t in self.treatments]

    def menu(self, table: pa.Table) -> Menu:
        """Returns the menu that a table holds."""
        m = len(self.treatments)
        return frames.menu(table, self.names[:m], self.names[m:], self.treatments)

    def table(self, menu: Menu) -> dict[str, pa.Array]:
        """Returns a menu as columns."""
        return dict(zip(self.names, map(pa.array, [*menu.value.T, *menu.cost.T]), strict=True))


@dataclass(frozen=True, slots=True)
class Passes:
    """Does a task for every block of a DataFrame's rows, as one job.

    Attributes:
        frame: Its rows must be the same each time it is computed: read from files, or persisted.
        columns: Where the menus are.
        seen: The blocks and what they held when they were first seen, filled here.
    """

    frame: DataFrame
    columns: Columns
    seen: dict[int, int]

    @classmethod
    def over(cls, frame: DataFrame, columns: Columns) -> Passes:
        """Returns the passes over a DataFrame.

        Raises:
            SchemaError: A column is missing.
        """
        need(frame, columns.names)
        return cls(frame, columns, {})

    def __call__(self, task: Callable[[Block], Found]) -> list[Found]:
        """Runs one job.

        Raises:
            DataError: A cell breaks a rule, or the rows have changed since the first pass.
        """
        columns = self.columns

        def work(batches: Batches) -> Iterator[tuple[int, int, Found]]:
            for block, _ in _blocks(batches, columns):
                yield block.first, _digest(block), task(block)

        found = collected(picked(self.frame, columns.names), work)
        held = {first: digest for first, digest, _ in found}
        if not self.seen:
            self.seen.update(held)
        elif self.seen != held:
            raise DataError(
                "frame: its rows changed between two passes. Persist it, or write it and read it again.", field="frame"
            )
        return [brought for _, _, brought in found]

    def plan(self, decision: Decision, keep: Sequence[str] = ()) -> DataFrame:
        """Returns the columns to keep, then ``treatment``, ``value`` and ``cost`` of the plan; computed when it is used."""
        need(self.frame, keep)
        columns, seen, keep = self.columns, self.seen, list(keep)
        names = pa.array(list(columns.treatments), pa.string())

        def work(batches: Batches) -> Iterator[pa.RecordBatch]:
            for block, table in _blocks(batches, columns):
                if seen and seen.get(block.first) != _digest(block):
                    raise DataError("frame: its rows changed since they were decided. Persist it.", field="frame")
                treatment, rows = decision.of(block), np.arange(block.n)
                out = {name: table[name] for name in keep} | {"treatment": names.take(pa.array(treatment))}
                out |= {"value": pa.array(block.value[treatment, rows]), "cost": pa.array(block.cost[treatment, rows])}
                yield from pa.table(out).combine_chunks().to_batches()

        needed = list(dict.fromkeys([*keep, *columns.names]))
        kinds = dict(self.frame.dtypes)
        amount = "float" if all(kinds[name] == "float" for name in columns.names) else "double"
        kept = ", ".join(
            [f"`{name}` {kinds[name]}" for name in keep] + [f"treatment string, value {amount}, cost {amount}"]
        )
        return mapped(picked(self.frame, needed), work, kept)


def _blocks(batches: Batches, columns: Columns) -> Iterator[tuple[Block, pa.Table]]:
    for first, table in numbered(batches):
        yield Block.of(columns.menu(table), first), table


def _digest(block: Block) -> int:
    value, cost = (np.ascontiguousarray(table).tobytes() for table in (block.value, block.cost))
    return zlib.crc32(cost, zlib.crc32(value))


def numbered(batches: Batches) -> Iterator[tuple[int, pa.Table]]:
    """Yields a partition's rows in tables of many, and the number of the first: by partition, then by place."""
    from pyspark import TaskContext

    first, held, rows = TaskContext.get().partitionId() << _PART, [], 0
    for batch in batches:
        held.append(batch)
        rows += batch.num_rows
        if rows >= BLOCK:
            yield first, pa.Table.from_batches(held)
            first, held, rows = first + rows, [], 0
    if rows:
        yield first, pa.Table.from_batches(held)


def picked(frame: DataFrame, names: Sequence[str]) -> DataFrame:
    """Returns some columns of a DataFrame, each once; names with points are names."""
    return frame.select(*(f"`{name}`" for name in dict.fromkeys(names)))


def need(frame: DataFrame, names: Sequence[str]) -> None:
    """Refuses columns that a DataFrame has not."""
    for name in names:
        if name not in frame.columns:
            some = ", ".join(map(repr, frame.columns[:8])) + (", ..." if len(frame.columns) > 8 else "")
            raise SchemaError(
                f"column {name!r}: not in the DataFrame. {nearest(name, frame.columns)}It has {some}. "
                "Add the column, or change the names you gave.", field=name,
            )  # fmt: skip


def mapped(frame: DataFrame, work: Callable[[Batches], Iterator[pa.RecordBatch]], schema: str) -> DataFrame:
    """Returns what is made of the batches of each partition."""
    with warnings.catch_warnings():  # mapInArrow touches no pandas
        warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas", FutureWarning)
        return frame.mapInArrow(work, schema)


def collected(
    frame: DataFrame, work: Callable[[Batches], Iterator[tuple[int, int, Any]]]
) -> list[tuple[int, int, Any]]:
    """Runs one job: what each block brings back (the number of its first unit, a digest, anything), in order.

    Raises:
        LargesseError: What was refused on the way, in its own words.
    """

    def sending(batches: Batches) -> Iterator[pa.RecordBatch]:
        try:
            for found in work(batches):
                yield pa.RecordBatch.from_pydict({"first": [found[0]], "found": [pickle.dumps(found)]})
        except DataError as error:  # travels as a row: Spark would bury it in its own words
            refused = pickle.dumps((isinstance(error, SchemaError), str(error)))
            yield pa.RecordBatch.from_pydict({"first": [_REFUSED], "found": [refused]})

    rows = sorted(mapped(frame, sending, "first long, found binary").collect(), key=lambda row: row.first)
    if rows and rows[0].first == _REFUSED:
        schema, text = pickle.loads(rows[0].found)
        raise (SchemaError if schema else DataError)(f"frame: {text}", field="frame")
    return [pickle.loads(row.found) for row in rows]
