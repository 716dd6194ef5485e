"""Parquet files of any size, read in tables with a given number of rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pa_parquet

from largesse.errors import DataError, SchemaError
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

    Raises:
        DataError: A file is missing or cannot be read, or there are no rows.
        SchemaError: The files differ in their columns.
    """

    def __init__(self, path: Path) -> None:
        self.files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
        if not self.files:
            raise DataError(f"{path}: holds no .parquet file. Check the folder.", field=str(path))
        self._open = []
        for file in self.files:
            with reading(file, ".parquet"):
                # A pre-buffered file keeps all batches in memory until the last one is read.
                self._open.append(pa_parquet.ParquetFile(file, buffer_size=1 << 20, pre_buffer=False))
        self.schema = self._open[0].schema_arrow.remove_metadata()
        for file, parquet in zip(self.files, self._open, strict=True):
            distinct(parquet.schema_arrow.names, f"{file}: ")
            if parquet.schema_arrow.remove_metadata() != self.schema:
                message = (
                    f"{file}: its columns differ from those of {self.files[0].name}. Write all files with one schema."
                )
                raise SchemaError(message, field=str(file))
        self.n = sum(parquet.metadata.num_rows for parquet in self._open)
        if self.n == 0:
            message = f"{path}: table has 0 rows: at least one is needed. Check the filter or the file it came from."
            raise DataError(message, field="rows")
        self._name = f"{path}: "

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
        pick(self.schema.empty_table(), columns, self._name)
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
        for file, parquet in zip(self.files, self._open, strict=True):
            groups: list[int] = []
            for g in range(parquet.num_row_groups):
                count = parquet.metadata.row_group(g).num_rows
                if not groups and start >= count:
                    start -= count
                else:
                    groups.append(g)
            if not groups:
                continue
            with reading(file, ".parquet"):
                for batch in parquet.iter_batches(size, row_groups=groups, columns=None if dotted else columns):
                    skip, start = min(start, batch.num_rows), max(start - batch.num_rows, 0)
                    yield batch.slice(skip).select(columns)
