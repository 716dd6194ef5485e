"""One column of a table: its kind, its cells as numbers, its distinct values."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from largesse.errors import SchemaError
from largesse.roles import label

__all__ = ["Kind", "cells", "coded", "decoded", "kind", "texts"]

_UNITS = {"s": 86_400.0, "ms": 86_400e3, "us": 86_400e6, "ns": 86_400e9}  # per day


class Kind(StrEnum):
    """What a column holds; NOTHING if all cells are null and the type is null."""

    NUMBER = "number"
    TEXT = "text"
    DATE = "date"
    DURATION = "duration"
    NOTHING = "nothing"


def decoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Returns the column without dictionary, run-length or extension encoding."""
    if pa.types.is_run_end_encoded(column.type):
        column = pc.run_end_decode(column)
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if isinstance(column.type, pa.BaseExtensionType):
        column = pa.chunked_array([chunk.storage for chunk in column.chunks], type=column.type.storage_type)
    return column


def kind(name: str, column: pa.ChunkedArray) -> Kind:
    """Returns the kind of a column; a dictionary (categorical) column is text, whatever its values are.

    Raises:
        SchemaError: The column holds lists, structs, bytes or the like.
    """
    is_, dtype = pa.types, column.type
    if is_.is_dictionary(dtype):
        kind(name, pa.chunked_array([], type=dtype.value_type))
        return Kind.TEXT
    dtype = decoded(column.slice(0, 0)).type
    if is_.is_null(dtype):
        return Kind.NOTHING
    if is_.is_boolean(dtype) or is_.is_integer(dtype) or is_.is_floating(dtype) or is_.is_decimal(dtype):
        return Kind.NUMBER
    if is_.is_string(dtype) or is_.is_large_string(dtype) or is_.is_string_view(dtype):
        return Kind.TEXT
    if is_.is_date(dtype) or is_.is_timestamp(dtype):
        return Kind.DATE
    if is_.is_duration(dtype) or is_.is_time(dtype):
        return Kind.DURATION
    raise SchemaError(
        f"column {name!r}: holds {column.type}, it must hold numbers, text, booleans or dates. "
        "Split it into several columns (one per entry), save the file as UTF-8 if it is text, or add it to `ignore`.",
        field=name,
    )


def cells(name: str, column: pa.ChunkedArray) -> NDArray[np.float64]:
    """Returns the cells as float64 (N,); nulls become NaN; dates are days since 1970-01-01 (UTC), durations are days.

    Raises:
        SchemaError: The column holds text or another type that is not numeric.
    """
    dtype, what = decoded(column.slice(0, 0)).type, kind(name, column)
    if what is Kind.NOTHING:
        return np.full(len(column), np.nan)
    column = decoded(column)
    if what in (Kind.DATE, Kind.DURATION):
        days = pa.types.is_date32(dtype)
        scale = 1.0 if days else _UNITS["ms" if pa.types.is_date64(dtype) else dtype.unit]
        column = column.cast(pa.int32() if days or pa.types.is_time32(dtype) else pa.int64())
        return _floats(column) / scale
    if what is Kind.TEXT:
        values = column.drop_null()
        first = repr(values[0].as_py()) if len(values) else "nothing"
        message = (
            f"column {name!r}: holds text (the first cell is {first}), it must hold numbers. Turn it into numbers."
        )
        raise SchemaError(message, field=name)
    return _floats(column)


def _floats(column: pa.ChunkedArray) -> NDArray[np.float64]:
    out: NDArray[np.float64] = pc.cast(column, pa.float64(), safe=False).to_numpy()
    return out


def coded(column: pa.ChunkedArray) -> tuple[NDArray[np.int64], pa.ChunkedArray]:
    """Returns the code of each cell, int64 (N,), -1 for null and non-finite cells, and the distinct values by code."""
    column = decoded(column)
    if pa.types.is_null(column.type):
        return np.full(len(column), -1), column.slice(0, 0)
    if pa.types.is_float16(column.type):
        column = column.cast(pa.float32())
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_finite(column), column, pa.scalar(None, column.type))
    elif kind("", column) is Kind.TEXT:
        column = column.cast(pa.large_string())
    encoded = column.combine_chunks().dictionary_encode()
    codes = pc.fill_null(encoded.indices.cast(pa.int64()), -1).to_numpy(zero_copy_only=False)
    return codes, encoded.dictionary


def texts(values: Any) -> list[str]:
    """Returns the labels of distinct values, in the same order."""
    return [label(value) for value in values.to_pylist()]
