"""One column of a table: its kind in plain words, its cells as numbers, its labels as text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from largesse.errors import SchemaError
from largesse.roles import label

__all__ = ["cells", "coded", "kind", "plain"]

_UNITS = {"s": 86_400.0, "ms": 86_400e3, "us": 86_400e6, "ns": 86_400e9}


def plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Returns the column without dictionary, run-length or extension dress."""
    if pa.types.is_run_end_encoded(column.type):
        column = pc.run_end_decode(column)
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if isinstance(column.type, pa.BaseExtensionType):
        column = pa.chunked_array([chunk.storage for chunk in column.chunks], type=column.type.storage_type)
    return column


def kind(name: str, column: pa.ChunkedArray) -> str:
    """Returns ``"number"``, ``"text"``, ``"date"``, ``"duration"`` or ``"nothing"`` (all cells null, of no kind).

    A dictionary (a categorical column) is text whatever its entries are.

    Raises:
        SchemaError: Lists, structs, bytes and the like.
    """
    is_, sort = pa.types, column.type
    if is_.is_dictionary(sort):
        kind(name, pa.chunked_array([], type=sort.value_type))
        return "text"
    sort = plain(column.slice(0, 0)).type
    if is_.is_null(sort):
        return "nothing"
    if is_.is_boolean(sort) or is_.is_integer(sort) or is_.is_floating(sort) or is_.is_decimal(sort):
        return "number"
    if is_.is_string(sort) or is_.is_large_string(sort) or is_.is_string_view(sort):
        return "text"
    if is_.is_date(sort) or is_.is_timestamp(sort):
        return "date"
    if is_.is_duration(sort) or is_.is_time(sort):
        return "duration"
    raise SchemaError(
        f"column {name!r}: holds {column.type}, it must hold numbers, text, truth values or dates. "
        "Spread it over plain columns (one per entry), save the file as UTF-8 if it is text, or add it to `ignore`.",
        field=name,
    )


def cells(name: str, column: pa.ChunkedArray) -> NDArray[np.float64]:
    """Returns the cells as float64 (N,); nulls become NaN; dates are days since 1970-01-01 (UTC), durations are days.

    Raises:
        SchemaError: The column holds text or something that is no number.
    """
    sort, what = plain(column.slice(0, 0)).type, kind(name, column)
    if what == "nothing":
        return np.full(len(column), np.nan)
    column = plain(column)
    if what in ("date", "duration"):
        days = pa.types.is_date32(sort)
        scale = 1.0 if days else _UNITS["ms" if pa.types.is_date64(sort) else sort.unit]
        column = column.cast(pa.int32() if days or pa.types.is_time32(sort) else pa.int64())
        return _floats(column) / scale
    if what == "text":
        seen = column.drop_null()
        first = repr(seen[0].as_py()) if len(seen) else "nothing"
        raise SchemaError(
            f"column {name!r}: holds text (the first cell is {first}), it must hold numbers. "
            "Turn it into a number column before you pass it on.",
            field=name,
        )
    return _floats(column)


def _floats(column: pa.ChunkedArray) -> NDArray[np.float64]:
    out: NDArray[np.float64] = pc.cast(column, pa.float64(), safe=False).to_numpy()
    return out


def coded(column: pa.ChunkedArray) -> tuple[NDArray[np.int64], pa.ChunkedArray]:
    """Returns the code of each cell, int64 (N,), -1 where it is null or not finite, and the values by code."""
    column = plain(column)
    if pa.types.is_null(column.type):
        return np.full(len(column), -1), column.slice(0, 0)
    if pa.types.is_float16(column.type):
        column = column.cast(pa.float32())
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_finite(column), column, pa.scalar(None, column.type))
    elif kind("", column) == "text":
        column = column.cast(pa.large_string())
    packed = column.combine_chunks().dictionary_encode()
    codes = pc.fill_null(packed.indices.cast(pa.int64()), -1).to_numpy(zero_copy_only=False)
    return codes, packed.dictionary


def texts(values: Any) -> list[str]:
    """Returns the labels of distinct values, in order."""
    return [label(value) for value in values.to_pylist()]
