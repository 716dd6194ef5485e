"""The columns of units in a file, read when they are needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from largesse import frames
from largesse.frames.batches import Batches
from largesse.frames.tables import pick

__all__ = ["UnitTable"]

_ROWS = 1 << 17


class UnitTable:
    """The units of a file: of Parquet only the columns that are asked for are in memory, other files are read whole.

    Attributes:
        n: Number of units.
        names: Names of the columns.
        schema: Their types.
        stamp: Changes with the file.
    """

    def __init__(self, source: Path, table: pa.Table | None, text: tuple[str, ...] = ()) -> None:
        self._source, self._table, self._text = source, table, text
        self._batches = None if table is not None else Batches(source)
        self.schema: pa.Schema = table.schema if table is not None else self._parquet.schema
        self.n = table.num_rows if table is not None else self._parquet.n
        self.names: tuple[str, ...] = tuple(self.schema.names)

    @classmethod
    def open(cls, source: Path, text: Sequence[str]) -> UnitTable:
        """Opens a file.

        Args:
            source: A file, or a folder of Parquet files.
            text: Columns of ids and labels: cells of a CSV file stay as they are.

        Raises:
            DataError: The file is missing or cannot be read, or has no rows.
        """
        flat = source.is_dir() or source.suffix.lower() == ".parquet"
        return cls(source, None if flat else frames.read(source, text=tuple(text)), tuple(text))

    @property
    def _parquet(self) -> Batches:
        assert self._batches is not None
        return self._batches

    @property
    def stamp(self) -> list[Any]:
        """Size and time of change of the file."""
        if self._batches is not None:
            return [list(one) for one in self._batches.stats if one is not None]
        about = self._source.stat()
        return [about.st_size, about.st_mtime_ns]

    def columns(self, names: Sequence[str]) -> pa.Table:
        """Returns some columns of all units.

        Raises:
            SchemaError: One is missing.
        """
        if self._table is not None:
            return pick(self._table, names, f"{self._source}: ")
        return pa.concat_tables(self._parquet.tables(names, _ROWS))

    def labels(self, names: Sequence[str], text: Sequence[str]) -> pa.Table:
        """Returns some columns of all units as rules read them.

        Args:
            names: The columns; one that is named twice is there once.
            text: Columns of labels: cells of a CSV file stay as they are, so that "01" is not read as a number.

        Raises:
            SchemaError: One is missing.
        """
        once = list(dict.fromkeys(names))
        if self._table is None:
            return self.columns(once) if once else pa.table({})
        plain = tuple(dict.fromkeys((*self._text, *text)))
        return pick(frames.read(self._source, text=plain), once, f"{self._source}: ")

    def parts(self, names: Sequence[str], size: int) -> Iterator[pa.Table]:
        """Yields some columns of the units in tables of at most `size` rows.

        Raises:
            SchemaError: One is missing.
        """
        if self._table is None:
            yield from self._parquet.tables(names, size)
            return
        table = pick(self._table, names, f"{self._source}: ")
        for start in range(0, self.n, size):
            yield table.slice(start, size)

    def row(self, at: int) -> dict[str, Any]:
        """Returns all columns of one unit.

        Args:
            at: Its position, from 0.
        """
        if self._table is not None:
            return dict(self._table.slice(at, 1).to_pylist()[0])
        part = next(self._parquet.tables(self.names, _ROWS, at))
        return dict(part.slice(0, 1).to_pylist()[0])
