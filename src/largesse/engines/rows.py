"""Rows of a Spark DataFrame as blocks of units: one pass is one job. The executors import no more than this module."""

from __future__ import annotations

import pickle
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa

from largesse import frames
from largesse.allocate.blocks import BLOCK, Block, Decision
from largesse.errors import DataError, SchemaError
from largesse.frames.plans import PlanColumns
from largesse.menu import Menu
from largesse.roles import nearest

__all__ = [
    "Batches",
    "Columns",
    "DataFrame",
    "Passes",
    "collected",
    "mapped",
    "need",
    "numbered",
    "picked",
    "quoted",
]

Partial = TypeVar("Partial")
DataFrame = Any  # pyspark.sql.DataFrame: this module can be imported without Spark
Batches = Iterable[pa.RecordBatch]
_REFUSED = -1  # stands for the number of the first unit of a refused block
_PART = 40  # bits of a row's number that count the rows of its partition


class Picked(NamedTuple):
    """Columns of a DataFrame under the names ``_0``, ``_1``, ..., and their own names."""

    frame: DataFrame
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of the columns that hold a menu.

    Attributes:
        treatments: Names of the treatments, control first.
        value: Pattern of the names of the value columns; ``{}`` stands for the treatment.
        cost: Pattern of the names of the cost columns.
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
    """Applies a task to every block of a DataFrame's rows, as one job.

    Attributes:
        frame: Its rows must be the same each time it is computed: read from files, or persisted.
        columns: The columns of the menus.
        digests: Checksum of each block in the first pass, by the number of its first unit.

    Raises:
        SchemaError: A column is missing.
    """

    frame: DataFrame
    columns: Columns
    digests: dict[int, int] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        need(self.frame, self.columns.names)

    def __call__(self, task: Callable[[Block], Partial]) -> list[Partial]:
        """Runs one job.

        Raises:
            DataError: A cell breaks a rule, or the rows have changed since the first pass.
        """
        columns = self.columns

        def work(batches: Batches) -> Iterator[tuple[int, int, Partial]]:
            for block, _ in _blocks(batches, columns):
                yield block.first, _digest(block), task(block)

        blocks = collected(picked(self.frame, columns.names), work)
        digests = {first: digest for first, digest, _ in blocks}
        if not self.digests:
            self.digests.update(digests)
        elif self.digests != digests:
            rest = "its rows changed between two passes. Persist it, or write it and read it again."
            raise DataError(f"frame: {rest}", field="frame")
        return [partial for _, _, partial in blocks]

    def plan(self, decision: Decision, keep: Sequence[str] = (), *, unit_value: float | None = None) -> DataFrame:
        """Returns the plan as a lazy DataFrame.

        Args:
            decision: What decides the units.
            keep: Columns of the units that the plan has too, which come first.
            unit_value: Money that one unit of value brings; None: not known, so there is no ``net_value``.
        """
        form = PlanColumns(treatments=self.columns.treatments, keep=tuple(keep), unit_value=unit_value)
        need(self.frame, form.keep)
        columns, digests = self.columns, self.digests

        def work(batches: Batches) -> Iterator[pa.RecordBatch]:
            for block, table in _blocks(batches, columns):
                if digests and digests.get(block.first) != _digest(block):
                    raise DataError("frame: its rows changed since they were decided. Persist it.", field="frame")
                first = {name: table[name] for name in form.keep}
                out = form.table(first, block.value, block.cost, decision.of(block), decision.price)
                yield from out.combine_chunks().to_batches()

        needed = list(dict.fromkeys([*form.keep, *columns.names]))
        kinds = dict(self.frame.dtypes)
        amount = "float" if all(kinds[name] == "float" for name in columns.names) else "double"
        kept = {name: kinds[name] for name in form.keep}
        kept |= {name: "string" if name in ("treatment", "runner_up") else amount for name in form.names}
        return mapped(picked(self.frame, needed), work, kept)


def _blocks(batches: Batches, columns: Columns) -> Iterator[tuple[Block, pa.Table]]:
    for first, table in numbered(batches):
        yield Block.of(columns.menu(table), first), table


def _digest(block: Block) -> int:
    value, cost = (np.ascontiguousarray(table).tobytes() for table in (block.value, block.cost))
    return zlib.crc32(cost, zlib.crc32(value))


def numbered(batches: Batches) -> Iterator[tuple[int, pa.Table]]:
    """Yields the number of the first row and a table of about `BLOCK` rows; numbers rise by partition, then by position."""
    from pyspark import TaskContext

    first, pending, rows = TaskContext.get().partitionId() << _PART, [], 0
    for batch in batches:
        pending.append(batch)
        rows += batch.num_rows
        if rows >= BLOCK:
            yield first, pa.Table.from_batches(pending)
            first, pending, rows = first + rows, [], 0
    if rows:
        yield first, pa.Table.from_batches(pending)


def quoted(name: str) -> str:
    """Returns a name as Spark reads it in an expression: dots, blanks and brackets are part of the name."""
    return "`" + name.replace("`", "``") + "`"


def picked(frame: DataFrame, names: Sequence[str]) -> Picked:
    """Returns some columns of a DataFrame, each once; dots, blanks and brackets in a name are part of the name."""
    once = tuple(dict.fromkeys(names))
    return Picked(frame.selectExpr(*(f"{quoted(name)} AS _{k}" for k, name in enumerate(once))), once)


def need(frame: DataFrame, names: Sequence[str]) -> None:
    """Raises a `SchemaError` for a column that a DataFrame does not have."""
    for name in names:
        if name not in frame.columns:
            shown = ", ".join(map(repr, frame.columns[:8])) + (", ..." if len(frame.columns) > 8 else "")
            raise SchemaError(
                f"column {name!r}: not in the DataFrame. {nearest(name, frame.columns)}It has {shown}. "
                "Add the column, or change the names you gave.", field=name,
            )  # fmt: skip


def mapped(rows: Picked, work: Callable[[Batches], Iterator[pa.RecordBatch]], schema: dict[str, str]) -> DataFrame:
    """Returns the DataFrame of the batches that `work` makes of each partition's batches.

    Spark's `mapInArrow` takes a dot in a name for a field, so columns go in and out under numbers.

    Args:
        rows: The columns that `work` reads.
        work: Batches with the names of `rows` to batches with the columns of `schema`, in that order.
        schema: Name and type of each column of the result.
    """
    names, numbers = list(rows.names), [f"_{k}" for k in range(len(schema))]

    def numbered_work(batches: Batches) -> Iterator[pa.RecordBatch]:
        named = (pa.RecordBatch.from_arrays(batch.columns, names=names) for batch in batches)
        for batch in work(named):
            yield pa.RecordBatch.from_arrays(batch.columns, names=numbers)

    with warnings.catch_warnings():  # mapInArrow does not use pandas
        warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas", FutureWarning)
        kinds = ", ".join(f"{number} {kind}" for number, kind in zip(numbers, schema.values(), strict=True))
        return rows.frame.mapInArrow(numbered_work, kinds).toDF(*schema)


def collected(rows_of: Picked, work: Callable[[Batches], Iterator[tuple[int, int, Any]]]) -> list[tuple[int, int, Any]]:
    """Runs one job and returns the result of each block (number of its first unit, digest, any object), in order.

    Raises:
        DataError: A row breaks a rule; the message is that of the executor.
    """

    def sending(batches: Batches) -> Iterator[pa.RecordBatch]:
        try:
            for result in work(batches):
                yield pa.RecordBatch.from_pydict({"first": [result[0]], "result": [pickle.dumps(result)]})
        except DataError as error:  # returned as a row, because Spark would wrap it in its own exception
            refused = pickle.dumps((isinstance(error, SchemaError), str(error)))
            yield pa.RecordBatch.from_pydict({"first": [_REFUSED], "result": [refused]})

    rows = sorted(mapped(rows_of, sending, {"first": "long", "result": "binary"}).collect(), key=lambda row: row.first)
    if rows and rows[0].first == _REFUSED:
        schema, text = pickle.loads(rows[0].result)
        raise (SchemaError if schema else DataError)(f"frame: {text}", field="frame")
    return [pickle.loads(row.result) for row in rows]
