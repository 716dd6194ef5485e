"""One column of a table: its kind, its cells as numbers, its distinct values."""

from __future__ import annotations

import re
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from largesse import _check
from largesse.errors import SchemaError
from largesse.roles import label

__all__ = ["Kind", "cells", "coded", "decoded", "exact", "kind", "named", "refuse_mixed_zones", "texts"]

_EXACT = 2.0**53  # floats from here on skip whole numbers
_WORDS = {"yes": 1.0, "no": 0.0, "true": 1.0, "false": 0.0, "y": 1.0, "n": 0.0, "t": 1.0, "f": 0.0}
_MONEY = r"[-+(]?\s*[^\w\s]{0,2}[A-Za-z]{0,3}\s*[-+]?[\d.,'\s]+\s*[^\w\s]{0,2}[A-Za-z]{0,3}\s*\)?"
_TIME = r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?)?\s*(?P<zone>Z|[+-]\d\d(:?\d\d)?)?"
_TIMES = 1000  # distinct cells that are looked at
_UNITS = {"s": 86_400.0, "ms": 86_400e3, "us": 86_400e6, "ns": 86_400e9}  # per day


class Kind(StrEnum):
    """What a column holds; NOTHING if all cells are null and the type is null."""

    NUMBER = "number"
    TEXT = "text"
    DATE = "date"
    DURATION = "duration"
    NOTHING = "nothing"


def decoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Returns the column without dictionary, run-length or extension encoding, and without views."""
    if pa.types.is_run_end_encoded(column.type):
        column = pc.run_end_decode(column)
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if isinstance(column.type, pa.BaseExtensionType):
        column = pa.chunked_array([chunk.storage for chunk in column.chunks], type=column.type.storage_type)
    if pa.types.is_string_view(column.type):  # few functions of pyarrow take views
        column = column.cast(pa.large_string())
    if pa.types.is_binary_view(column.type):
        column = column.cast(pa.large_binary())
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
    if is_.is_string(dtype) or is_.is_large_string(dtype):
        return Kind.TEXT
    if is_.is_date(dtype) or is_.is_timestamp(dtype):
        return Kind.DATE
    if is_.is_duration(dtype) or is_.is_time(dtype):
        return Kind.DURATION
    raise SchemaError(
        f"column {name!r}: holds {column.type}, it must hold numbers, text, booleans or dates. "
        "Split it into several columns (one per entry), save the file as UTF-8 if it is text, or add it to `ignore=`.",
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
        return _words(name, column)
    return _floats(column)


def _words(name: str, column: pa.ChunkedArray) -> NDArray[np.float64]:
    """Returns 1 for yes and true, 0 for no and false, NaN for empty cells (N,); refuses other text."""
    codes, values = coded(column)
    known = [_WORDS.get(text.casefold()) for text in texts(values)]
    if known and None not in known:
        return np.array([*known, np.nan], np.float64)[codes]
    first = next((text for text, one in zip(texts(values), known, strict=True) if one is None), "nothing")
    remedy = "Turn it into numbers."
    if re.search(r"\d", first) and re.fullmatch(_MONEY, first) and not re.fullmatch(r"[-+]?[\d.]+", first):
        remedy = "Remove signs of currency and percent and separators of thousands, e.g. '€ 1.234,50' becomes 1234.50."
    raise SchemaError(f"column {name!r}: holds text (e.g. {first!r}), it must hold numbers. {remedy}", field=name)


def refuse_mixed_zones(name: str, values: pa.ChunkedArray | pa.Array) -> None:
    """Refuses a column of text whose cells are times, some with a zone and some without.

    Raises:
        SchemaError: It is such a column.
    """
    texts_ = [cell for cell in values.to_pylist() if isinstance(cell, str)][:_TIMES]
    zones = [re.fullmatch(_TIME, cell.strip()) for cell in texts_]
    if len(zones) > 1 and all(zones) and len({bool(one and one["zone"]) for one in zones}) == 2:
        with_zone = next(cell for cell, one in zip(texts_, zones, strict=True) if one and one["zone"])
        without = next(cell for cell, one in zip(texts_, zones, strict=True) if one and not one["zone"])
        raise SchemaError(
            f"column {name!r}: some times have a zone ({with_zone!r}) and some have none ({without!r}): they cannot be compared. "
            "Write all of them in UTC.", field=name,
        )  # fmt: skip


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


def named(column: pa.ChunkedArray) -> list[str | None]:
    """Returns the label of each cell, (N,), None where it is missing."""
    codes, values = coded(column)
    names = [*texts(values), None]
    return [names[code] for code in codes]


def exact(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Returns a column of ids or labels so that equal ones are equal: whole floats and decimals as integers, bytes as text.

    Raises:
        DataError: A cell is a float that stands for several integers.
        SchemaError: The column holds lists, structs or the like.
    """
    if isinstance(column.type, pa.BaseExtensionType) and column.type.extension_name == "arrow.uuid":
        return pa.chunked_array(
            [[None if cell is None else str(UUID(bytes=cell)) for cell in _plain(column)]], pa.string()
        )
    column = decoded(column)
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type) or _is_fixed(column.type):
        return pa.chunked_array([[None if cell is None else _text(cell) for cell in column.to_pylist()]], pa.string())
    kind(name, column)
    if pa.types.is_decimal(column.type):
        text = pa.chunked_array([[None if cell is None else _digits(cell) for cell in column.to_pylist()]], pa.string())
        return _integers(text)
    if not pa.types.is_floating(column.type):
        return column
    values = _floats(column)
    present = np.isfinite(values)
    large = present & (np.abs(values) >= _EXACT)
    if large.any():
        rule = "an id or label of this size stands for several integers as a floating-point number"
        remedy = "Write the column as integers or as text (pandas: convert it with astype('Int64') where it is read)."
        raise _check.refuse_cells(name, values, large, rule, remedy)
    if not (values[present] % 1 == 0).all():
        return column
    whole = np.where(present, values, 0.0).astype(np.int64)
    return pa.chunked_array([pa.array(whole, mask=~present)])


def _digits(cell: Decimal) -> str:
    """Returns all digits of a decimal, however many: whole ones as integers, others without trailing zeros."""
    return f"{cell:f}".rstrip("0").rstrip(".") if cell != cell.to_integral_value() else str(int(cell))


def _integers(text: pa.ChunkedArray) -> pa.ChunkedArray:
    try:
        return text.cast(pa.int64())
    except pa.ArrowInvalid:  # text, or too large
        return text


def _is_fixed(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_fixed_size_binary(dtype))


def _plain(column: pa.ChunkedArray) -> list[Any]:
    return [cell for chunk in column.chunks for cell in chunk.storage.to_pylist()]


def _text(cell: bytes) -> str:
    """Returns bytes as text: as UTF-8 where they are, else in hexadecimal digits."""
    try:
        text = cell.decode("utf-8")
        return text if text.isprintable() else cell.hex()
    except UnicodeDecodeError:
        return cell.hex()
