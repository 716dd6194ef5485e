"""Parquet in batches of so many rows: one file or a folder of them, of any size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pa_parquet

from largesse.errors import DataError, SchemaError
from largesse.frames.tables import distinct, pick, reading

__all__ = ["Batches"]


class Batches:
    """The rows of a Parquet file, or of all files in a folder in the order of their names; nothing is read yet.

    Args:
        path: A .parquet file, or a folder of them.

    Attributes:
        n: Number of rows.
        schema: The columns.
        files: The files.

    Raises:
        DataError: A file is missing or cannot be read, or there are no rows.
        SchemaError: The files differ in their columns.
    """

    def __init__(self, path: Path) -> None:
        self.files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
        if not self.files:
            raise DataError(f"{path}: holds no .parquet file. Check the folder.", field=str(path))
        found = []
        for file in self.files:
            with reading(file, ".parquet"):
                # A pre-buffered file keeps what was read of it until the last batch: all of it, in the end.
                found.append(pa_parquet.ParquetFile(file, buffer_size=1 << 20, pre_buffer=False))
        self._open = found
        self.schema = found[0].schema_arrow.remove_metadata()
        for file, one in zip(self.files, found, strict=True):
            distinct(one.schema_arrow.names, f"{file}: ")
            if one.schema_arrow.remove_metadata() != self.schema:
                raise SchemaError(
                    f"{file}: its columns differ from those of {self.files[0].name}. Write the files alike.",
                    field=str(file),
                )
        self.n = sum(one.metadata.num_rows for one in found)
        if self.n == 0:
            raise DataError(
                f"{path}: table has 0 rows: at least one is needed. Check the filter or the file it came from.",
                field="rows",
            )
        self._name = f"{path}: "

    def tables(self, columns: Sequence[str], size: int, start: int = 0) -> Iterator[pa.Table]:
        """Yields the rows from one on, `size` at a time; what is left comes last.

        Args:
            columns: Names of the columns, in that order.
            size: Rows of a table.
            start: The first row.

        Raises:
            SchemaError: A column is missing.
            DataError: A file cannot be read; it may be damaged.
        """
        pick(self.schema.empty_table(), columns, self._name)
        held: list[pa.RecordBatch] = []
        rows = 0
        for batch in self._from(list(columns), size, start):
            held.append(batch)
            rows += batch.num_rows
            while rows >= size:
                table = pa.Table.from_batches(held)
                yield table.slice(0, size)
                rows -= size
                held = table.slice(size).to_batches()
        if rows:
            yield pa.Table.from_batches(held)

    def _from(self, columns: list[str], size: int, start: int) -> Iterator[pa.RecordBatch]:
        dotted = any("." in name for name in columns)  # would be taken for the path of a nested field
        for file, one in zip(self.files, self._open, strict=True):
            groups: list[int] = []
            for g in range(one.num_row_groups):
                count = one.metadata.row_group(g).num_rows
                if not groups and start >= count:
                    start -= count
                else:
                    groups.append(g)
            if not groups:
                continue
            with reading(file, ".parquet"):
                for batch in one.iter_batches(size, row_groups=groups, columns=None if dotted else columns):
                    skip, start = min(start, batch.num_rows), max(start - batch.num_rows, 0)
                    yield batch.slice(skip).select(columns)
