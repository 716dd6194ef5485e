"""Reading of files and dataframes as Arrow tables, and writing of tables to files."""

from __future__ import annotations

import errno
import gzip
import os
import re
import stat
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeAlias, TypeGuard

import narwhals as nw
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.dataset as pa_dataset
import pyarrow.feather as pa_feather
import pyarrow.parquet as pa_parquet
from narwhals.typing import IntoFrame

from largesse._arguments import checked
from largesse._files import atomic_file, may_replace, real
from largesse.errors import DataError, SchemaError, StoreError
from largesse.frames.delimited import read_csv
from largesse.frames.folders import cast_to, one_schema, parquet_files
from largesse.roles import nearest

__all__ = ["Source", "distinct", "is_table", "no_input", "pick", "read", "reading", "writable", "write"]

SUFFIXES = (".parquet", ".csv", ".csv.gz", ".feather", ".arrow")


class _ArrowStream(Protocol):
    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...


Source: TypeAlias = "str | os.PathLike[str] | dict[str, Any] | IntoFrame | _ArrowStream"
"""A path, a dict from name to array, or a dataframe."""


def read(source: Source, columns: Sequence[str] | None = None, *, text: Collection[str] = ()) -> pa.Table:
    """Returns a file or dataframe as an Arrow table with at least one row and with distinct column names.

    Args:
        source: A path (.parquet or a folder of them, .csv, .csv.gz, .feather, .arrow), or a dataframe: pandas (without its
            index), polars (lazy frames are collected), pyarrow, a dict from name to array, or any dataframe that narwhals
            supports or that offers the Arrow C stream.
        columns: Names of the columns to read, in that order; None for all.
        text: Names of columns of ids and labels, which need not exist: cells of a CSV file (``007``, ``1e5``) stay as they are.

    Raises:
        DataError: The file is missing or cannot be read, or there are no rows.
        SchemaError: The suffix or the kind of `source` is unknown, a column is missing, or a name is repeated.

    >>> read({"a": [1, 2], "b": ["x", "y"]}, columns=["b"]).to_pydict()
    {'b': ['x', 'y']}
    """
    table = _read_file(Path(source), columns, text) if isinstance(source, str | os.PathLike) else to_arrow(source)
    name = f"{os.fspath(source)}: " if isinstance(source, str | os.PathLike) else ""
    if name:  # drop the index of a dataframe that was written with it
        index = [c for c in table.column_names if c == "" or re.fullmatch(r"__index_level_\d+__", c)]
        table = table.drop_columns([c for c in index if columns is None or c not in columns])
    distinct(table.column_names, name)
    table = table if columns is None else pick(table, columns, name)
    if table.num_columns == 0:
        message = f"{name}table has 0 columns: at least one is needed. Check how it was made."
        raise SchemaError(message, field="columns")
    if table.num_rows == 0:
        message = f"{name}table has 0 rows: at least one is needed. Check the filter or the file it came from."
        raise DataError(message, field="rows")
    return _without_views(table)


def is_table(got: object) -> TypeGuard[Source]:
    """Returns whether `read` takes an object as a table: a path, a dict, or a dataframe; an array is none."""
    if isinstance(got, str | os.PathLike | dict | nw.LazyFrame) or hasattr(got, "__arrow_c_stream__"):
        return True
    return nw.from_native(got, pass_through=True) is not got


def _without_views(table: pa.Table) -> pa.Table:
    """Returns a table whose views of text and bytes are plain columns: few functions of pyarrow take views."""
    for k, field in enumerate(table.schema):
        if pa.types.is_string_view(field.type) or pa.types.is_binary_view(field.type):
            plain = pa.large_string() if pa.types.is_string_view(field.type) else pa.large_binary()
            table = table.set_column(k, field.name, table.column(k).cast(plain))
    return table


def pick(
    table: pa.Table,
    columns: Sequence[str],
    name: str = "",
    remedy: str = "Add the columns, or change the names you gave.",
) -> pa.Table:
    """Returns the named columns of a table, in that order.

    Raises:
        SchemaError: A column is missing; the message lists the first five, their number, and the columns of the table.
    """
    if isinstance(columns, str):
        raise SchemaError(f"columns == {columns!r}: must be a list of names. Write [{columns!r}].", field="columns")
    names = list(columns) if isinstance(columns, Iterable) else [columns]
    if not all(isinstance(column, str) for column in names):
        raise SchemaError(
            f"columns == {names[:3]}...: must be a list of names. Write the names as text.", field="columns"
        )
    present = set(table.column_names)
    missing = [column for column in columns if column not in present]
    if missing:
        many = f"{len(missing)} such column{'s' if len(missing) > 1 else ''}"
        some = ", ".join(map(repr, missing[:5])) + (", ..." if len(missing) > 5 else "")
        raise SchemaError(
            f"{name}column {some}: not in the table ({many}). "
            f"{nearest(missing[0], table.column_names)}The table has {_some(table.column_names)}. {remedy}",
            field=missing[0],
        )
    return table.select(list(columns))


def to_arrow(native: Source) -> pa.Table:
    """Returns a dataframe as an Arrow table; it may be empty.

    Raises:
        SchemaError: It is not a dataframe, or the type of a column has no Arrow equivalent.
    """
    native = nw.to_native(native, pass_through=True)
    if isinstance(native, pa.Table):
        return native
    if nw.dependencies.is_pandas_dataframe(native):
        distinct([str(name) for name in native.columns])
    try:
        return _to_arrow(native)
    except Exception as error:
        # Each dataframe library raises its own exceptions.
        raise SchemaError(
            f"dataframe of kind {type(native).__module__}.{type(native).__qualname__}: cannot be turned into an Arrow "
            f"table ({_line(error)}). Give one kind of value to each column (numbers or text).",
            field="source",
        ) from error


def _to_arrow(native: Any) -> pa.Table:
    if isinstance(native, pa.RecordBatchReader):
        return native.read_all()
    if isinstance(native, pa.RecordBatch):
        return pa.Table.from_batches([native])
    if isinstance(native, dict):
        return pa.table(native)
    frame = nw.from_native(native, pass_through=True)
    if isinstance(frame, nw.LazyFrame):
        return frame.collect().to_arrow()
    if isinstance(frame, nw.DataFrame):
        if frame.implementation.is_pandas():
            return pa.Table.from_pandas(native, preserve_index=False).replace_schema_metadata()
        return frame.to_arrow()
    if hasattr(native, "__arrow_c_stream__"):
        return pa.table(native)
    raise TypeError("neither narwhals nor the Arrow C stream supports it")


@checked
def write(table: Source, path: str | os.PathLike[str]) -> None:
    """Writes a table to a file, atomically, in the format of the file's suffix.

    Args:
        table: An Arrow table or any dataframe that `read` takes; it may be empty.
        path: Ends in .parquet, .csv, .csv.gz, .feather or .arrow. An existing file is replaced.

    Raises:
        SchemaError: The suffix is unknown, or the format cannot store a column.
        DataError: The folder is missing or not writable.
    """
    path = Path(path)
    write_format, table = _WRITERS[_suffix(path)], to_arrow(table)
    try:
        with atomic_file(path) as partial:
            write_format(table, partial)
    except pa.ArrowException as error:
        raise SchemaError(
            f"{path}: cannot hold this table ({_line(error)}). Write Parquet, or drop lists and structs.",
            field=str(path),
        ) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({_line(error)}). Create the folder and check that it is writable.",
                        field=str(path)) from error  # fmt: skip


@checked
def writable(path: Path, *sources: Path) -> None:
    """Checks, before any work, that `write` accepts the path of an output and that it is not one of the sources.

    Raises:
        SchemaError: The suffix is unknown.
        DataError: The folder does not exist, or cannot be written.
        StoreError: The file is one of the sources, would lie in a folder of them, or is a device or a pipe.
    """
    _suffix(path)
    no_input(path, *sources)
    if not os.path.isdir(path.parent):
        raise DataError(f"{path}: there is no folder {path.parent}. Create it.", field=str(path))
    if os.path.isdir(path):
        raise DataError(f"{path}: is a folder. Choose another name.", field=str(path))
    may_replace(path)
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        rest = f": cannot be written ({error.strerror or error}). Choose a folder that is writable and has room."
        raise DataError.at(str(path), rest) from error


def no_input(path: Path, *sources: Path) -> None:
    """Checks that an output is not one of the sources, and does not lie in a folder of them.

    Raises:
        StoreError: It is, or does.
    """
    for source in sources:
        there = os.path.exists(path) and os.path.exists(source)
        if (there and os.path.samefile(path, source)) or real(path) == real(source):
            raise StoreError(f"{path}: would overwrite an input file. Choose another name.")
        if os.path.isdir(source) and real(source) in real(path).parents:
            raise StoreError(f"{path}: lies in the folder {source}, which is read. Choose another folder.")


def _read_file(path: Path, columns: Sequence[str] | None, text: Collection[str]) -> pa.Table:
    suffix = ".parquet" if os.path.isdir(path) else _suffix(path)
    with reading(path, suffix):
        table = read_csv(path, text) if suffix in (".csv", ".csv.gz") else _READERS[suffix](path, columns)
        table.validate()
        distinct(table.column_names, f"{path}: ")
        return table


@contextmanager
def reading(path: Path, suffix: str) -> Iterator[None]:
    """Turns the exceptions of pyarrow's readers into a DataError that names the file.

    Raises:
        DataError: The file is missing, or cannot be read in the format of its suffix.
    """
    _openable(path)
    try:
        yield
    except MemoryError:  # pyarrow's is an ArrowException too
        raise
    except (pa.ArrowException, OSError, ValueError, KeyError, NotImplementedError) as error:
        if isinstance(error, SchemaError) or getattr(error, "errno", None) in (errno.EMFILE, errno.ENFILE):
            raise
        raise DataError(
            f"{path}: cannot be read as {suffix} ({_line(error)}). "
            "It may be truncated or in another format: write it again, or correct its suffix.",
            field=str(path),
        ) from error


def _openable(path: Path) -> None:
    """Checks that a path leads to a file or a folder; reading a pipe or a device need not end."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        message = f"{path}: no such file. Check the name and the folder ({Path.cwd()} is the current one)."
        raise DataError(message, field=str(path)) from None
    except (OSError, ValueError) as error:  # ValueError: a null character
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError.at(str(path), f": cannot be opened ({reason}). Check the name and the folder.") from error
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise DataError.at(str(path), ": is neither a file nor a folder. Write the rows to a file first.")


def _read_parquet(path: Path, columns: Sequence[str] | None) -> pa.Table:
    if path.is_dir():
        return _read_folder(path)
    schema = pa_parquet.read_schema(path)
    distinct(schema.names, f"{path}: ")
    # The caller checks the names; pyarrow would read a name with a dot as a nested field.
    known = None if columns is None else [name for name in columns if name in schema.names]
    dotted = known is not None and any("." in name for name in known)
    return pa_parquet.read_table(path, columns=None if dotted or not known else known, partitioning=None)


def _read_folder(path: Path) -> pa.Table:
    files = parquet_files(path)
    for file in files:
        distinct(pa_parquet.read_schema(file).names, f"{file}: ")
    common = one_schema([(file, pa_parquet.read_schema(file).remove_metadata()) for file in files])
    hive = pa_dataset.HivePartitioning.discover(infer_dictionary=True)
    rows = pa_dataset.dataset(files, format="parquet", partitioning=hive, partition_base_dir=str(path)) if any(
        "=" in part for file in files for part in file.relative_to(path).parts[:-1]
    ) else None  # fmt: skip
    if rows is None:
        return pa.concat_tables([cast_to(pa_parquet.read_table(file, partitioning=None), common) for file in files])
    extra = [rows.schema.field(name) for name in rows.schema.names if name not in common.names]
    return rows.replace_schema(pa.schema([*common, *extra])).to_table()


def _read_feather(path: Path, columns: Sequence[str] | None) -> pa.Table:
    return pa_feather.read_table(path, memory_map=False)


def _read_arrow(path: Path, columns: Sequence[str] | None) -> pa.Table:
    try:
        with pa.OSFile(str(path)) as file:
            return pa.ipc.open_file(file).read_all()
    except pa.ArrowInvalid:
        with pa.OSFile(str(path)) as file:
            return pa.ipc.open_stream(file).read_all()


def _write_csv(table: pa.Table, path: Any) -> None:
    fields = [f.with_type(f.type.value_type) if pa.types.is_dictionary(f.type) else f for f in table.schema]
    pa_csv.write_csv(table.cast(pa.schema(fields)), path)


def _write_csv_gz(table: pa.Table, path: Path) -> None:
    with gzip.open(path, "wb", compresslevel=4) as stream:
        _write_csv(table, stream)


def _write_arrow(table: pa.Table, path: Path) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as out:
        out.write_table(table)


_READERS: dict[str, Callable[[Path, Sequence[str] | None], pa.Table]] = {
    ".parquet": _read_parquet, ".feather": _read_feather, ".arrow": _read_arrow,
}  # fmt: skip
_WRITERS: dict[str, Callable[[pa.Table, Path], None]] = {
    ".parquet": pa_parquet.write_table, ".csv": _write_csv, ".csv.gz": _write_csv_gz,
    ".feather": pa_feather.write_feather, ".arrow": _write_arrow,
}  # fmt: skip


def _suffix(path: Path) -> str:
    name = path.name.lower()
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if name.endswith(suffix):
            return suffix
    raise SchemaError(
        f"{path}: the suffix {path.suffix!r} is unknown, it must be one of {', '.join(SUFFIXES)}. "
        "Rename the file to its format, or convert it to Parquet.",
        field=str(path),
    )


def distinct(names: Sequence[str], source: str = "") -> None:
    """Raises SchemaError for repeated column names."""
    repeated = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if repeated:
        raise SchemaError(
            f"{source}column {repeated[0]!r}: appears {list(names).count(repeated[0])} times, names must differ "
            f"({len(repeated)} such names). Rename or drop the repeated ones.",
            field=repeated[0],
        )


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:8])) + (f", ... ({len(names)} in all)" if len(names) > 8 else "")


def _line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200]
