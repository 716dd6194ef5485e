"""Reading of CSV files: the delimiter is found, and ids and labels stay as they stand in the file."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

__all__ = ["read_csv"]

_DELIMITERS = (",", ";", "\t", "|")
_HEAD = 1 << 16  # bytes in which the delimiter and the decimal sign are looked for
_ONE_BLOCK = 2**31 - 1
# What reads as the same number in any program: no leading zeros, no exponent, no digits that a number would lose.
_WHOLE, _FLOAT = r"^-?(0|[1-9]\d{0,18})$", r"^-?(0|[1-9]\d{0,7})(\.(0|\d{0,6}[1-9]))?$"


def read_csv(path: Path, text: Collection[str] = ()) -> pa.Table:
    """Returns a CSV file as a table; ``.gz`` is unpacked, and commas, semicolons, tabs or bars may separate the cells.

    Args:
        path: The file.
        text: Columns of ids and labels. Their cells stay text (``007``, ``1e5``, 20 digits, ``NA``) unless all of them are
            numbers that lose nothing as numbers; only an empty cell is missing.

    Raises:
        pyarrow.ArrowInvalid: The file is not a table.
    """
    head = _head(path)
    delimiter = _delimiter(head)
    comma = delimiter == ";" and _decimal_comma(head)
    table = _read(path, delimiter, _options(text, comma))
    exact = [name for name in text if name in table.column_names]
    if any(table[name].null_count for name in exact):  # a label NA is a label, an empty cell is missing
        again = _read(path, delimiter, _options(text, comma, columns=exact))
        for name in exact:
            table = table.set_column(table.column_names.index(name), name, again[name])
    for name in exact:
        table = table.set_column(table.column_names.index(name), name, _settled(table[name]))
    return table


def _head(path: Path) -> str:
    with pa.input_stream(str(path), compression="gzip" if path.name.lower().endswith(".gz") else None) as stream:
        return str(stream.read(_HEAD).decode("utf-8-sig", errors="replace"))


def _delimiter(head: str) -> str:
    """Returns the delimiter that splits the first line into most cells; a comma where none does."""

    def cells(delimiter: str) -> int:
        return len(next(csv.reader(io.StringIO(head), delimiter=delimiter), []))

    try:
        return max(_DELIMITERS, key=cells)  # the first of equals
    except csv.Error:
        return ","


def _decimal_comma(head: str) -> bool:
    cells = [cell for line in csv.reader(io.StringIO(head), delimiter=";") for cell in line]
    with_comma, with_point = (any(re.fullmatch(rf"-?\d+\{sign}\d+", cell) for cell in cells) for sign in ",.")
    return with_comma and not with_point


def _options(text: Collection[str], comma: bool, columns: list[str] | None = None) -> pa_csv.ConvertOptions:
    exact = columns is not None
    return pa_csv.ConvertOptions(
        strings_can_be_null=True, quoted_strings_can_be_null=False, decimal_point="," if comma else ".",
        column_types=dict.fromkeys(text, pa.string()), include_columns=columns,
        null_values=[""] if exact else None,
    )  # fmt: skip


def _read(path: Path, delimiter: str, convert: pa_csv.ConvertOptions) -> pa.Table:
    compression = "gzip" if path.name.lower().endswith(".gz") else None
    parse = pa_csv.ParseOptions(delimiter=delimiter)
    try:
        with pa.input_stream(str(path), compression=compression) as stream:
            return pa_csv.read_csv(stream, convert_options=convert, parse_options=parse)
    except pa.ArrowInvalid:
        # Types are inferred from the first block, and a quoted line break may cross a block border: read one block.
        with pa.input_stream(str(path), compression=compression) as stream:
            content = stream.read()
        one_block = pa_csv.ReadOptions(block_size=min(len(content) + 1, _ONE_BLOCK), use_threads=False)
        quoted = pa_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
        return pa_csv.read_csv(
            pa.BufferReader(content), read_options=one_block, parse_options=quoted, convert_options=convert
        )


def _settled(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Returns a column of text as booleans or numbers if no cell loses anything, else as it is."""

    def all_cells(pattern: str) -> bool:
        return bool(pc.all(pc.match_substring_regex(column, pattern), min_count=0).as_py())

    if column.null_count == len(column):
        return column
    if all_cells(_WHOLE):
        try:
            return column.cast(pa.int64())
        except pa.ArrowInvalid:  # 19 digits can be too many
            return column
    if all_cells(_FLOAT):
        return column.cast(pa.float64())
    if all_cells("^(?i:true|false)$"):
        return pc.equal(pc.utf8_lower(column), "true")
    return column
