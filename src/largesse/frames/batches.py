"""Parquet files of any size, read in tables with a given number of rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pa_parquet

from largesse.errors import DataError
from largesse.frames.folders import cast_to, one_schema, parquet_files
from largesse.frames.tables import distinct, pick, reading

__all__ = ["Batches"]


class Batches:
    """The rows of a Parquet file, or of all Parquet files in a folder in the order of their names.

    Args:
        path: A .parquet file, or a folder of them.

    Attributes:
        n: Number of rows.
        schema: Schema of the columns.
        files: Paths of the files.
        stats: Size and time of change of each file.

    Raises:
        DataError: A file is missing or cannot be read, or there are no rows.
        SchemaError: The files differ in their columns.
    """

    def __init__(self, path: Path) -> None:
        self.files = parquet_files(path)
        self.stats = [_stat(file) for file in self.files]
        schemas, self._rows = [], []  # rows of each row group of each file
        for file in self.files:
            with _opened(file) as parquet:
                distinct(parquet.schema_arrow.names, f"{file}: ")
                schemas.append((file, parquet.schema_arrow.remove_metadata()))
                self._rows.append([parquet.metadata.row_group(g).num_rows for g in range(parquet.num_row_groups)])
        self._alike = all(schema == schemas[0][1] for _, schema in schemas)
        self.schema = schemas[0][1] if self._alike else one_schema(schemas)
        self.n = sum(map(sum, self._rows))
        if self.n == 0:
            message = f"{path}: table has 0 rows: at least one is needed. Check the filter or the file it came from."
            raise DataError(message, field="rows")
        self._name = f"{path}: "

    def have(self, columns: Sequence[str]) -> None:
        """Checks that there are these columns.

        Raises:
            SchemaError: One is missing.
        """
        pick(self.schema.empty_table(), columns, self._name)

    def tables(self, columns: Sequence[str], size: int, start: int = 0) -> Iterator[pa.Table]:
        """Yields the rows from `start` on as tables of `size` rows; the last table may be shorter.

        Args:
            columns: Names of the columns, in that order.
            size: Rows per table.
            start: Index of the first row.

        Raises:
            SchemaError: A column is missing.
            DataError: A file cannot be read.
        """
        self.have(columns)
        pending: list[pa.RecordBatch] = []
        rows = 0
        for batch in self._from(list(columns), size, start):
            pending.append(batch)
            rows += batch.num_rows
            while rows >= size:
                table = pa.Table.from_batches(pending)
                yield table.slice(0, size)
                rows -= size
                pending = table.slice(size).to_batches()
        if rows:
            yield pa.Table.from_batches(pending)

    def _from(self, columns: list[str], size: int, start: int) -> Iterator[pa.RecordBatch]:
        dotted = any("." in name for name in columns)  # pyarrow reads a dot as the path of a nested field
        schema = pa.schema([self.schema.field(name) for name in columns])
        for file, rows in zip(self.files, self._rows, strict=True):
            groups: list[int] = []
            for g, count in enumerate(rows):
                if not groups and start >= count:
                    start -= count
                else:
                    groups.append(g)
            if not groups:
                continue
            with _opened(file) as parquet:  # one at a time: a process may hold few files open
                for batch in parquet.iter_batches(size, row_groups=groups, columns=None if dotted else columns):
                    skip, start = min(start, batch.num_rows), max(start - batch.num_rows, 0)
                    part = batch.slice(skip).select(columns)
                    if self._alike:
                        yield part
                    else:
                        yield from cast_to(pa.Table.from_batches([part]), schema).combine_chunks().to_batches()

    def unchanged(self) -> None:
        """Checks that no file has changed since it was opened first.

        Raises:
            DataError: One has, so that what was read first and last may not belong together.
        """
        for file, before in zip(self.files, self.stats, strict=True):
            if _stat(file) != before:
                rest = ": has changed while it was read, so the result would mix two states. Run it again."
                raise DataError.at(str(file), rest)


def _stat(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


@contextmanager
def _opened(file: Path) -> Iterator[pa_parquet.ParquetFile]:
    # A pre-buffered file keeps all batches in memory until the last one is read.
    with (
        reading(file, ".parquet"),
        pa_parquet.ParquetFile(file, buffer_size=1 << 20, pre_buffer=False) as parquet,
    ):
        yield parquet
