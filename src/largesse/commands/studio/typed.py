"""A unit that is typed in: the text of each field as the cell that the model reads, and cells as such text."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from math import isfinite
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from largesse import _check
from largesse.errors import DataError
from largesse.frames.columns import Kind
from largesse.frames.encoder import Encoder, Levels, Number
from largesse.roles import nearest

__all__ = ["Typed", "text_of", "typed"]

_TRUE, _FALSE = ("true", "yes"), ("false", "no")
_DAY = 86_400e6  # microseconds


class Typed(NamedTuple):
    """A unit that is typed in.

    Attributes:
        table: One row, with the columns that the model reads.
        notes: What the model does with labels that it does not know, in sentences.
    """

    table: pa.Table
    notes: tuple[str, ...]


def typed(encoder: Encoder, fields: Mapping[str, str]) -> Typed:
    """Returns the unit with these cells.

    Args:
        encoder: How the model reads columns.
        fields: Column → text; columns that are left out or empty are missing.

    Raises:
        DataError: A text is no number, date or duration where the column holds these.
    """
    columns: dict[str, pa.Array] = {}
    notes: list[str] = []
    for column in encoder.columns:
        text = fields.get(column.name, "").strip()
        if isinstance(column, Levels):
            columns[column.name] = pa.array([text or None], pa.string())
            if text and text not in column.levels:
                notes.append(_unknown(column, text))
        else:
            columns[column.name] = _cell(column, text)
    return Typed(pa.table(columns), tuple(notes))


def _unknown(column: Levels, text: str) -> str:
    known = ", ".join(map(repr, column.levels[:8])) + (", …" if len(column.levels) > 8 else "")
    how = "reads it as one of the rare labels" if column.other else "reads it as none of them"
    return (
        f"{column.name} {text!r} was no frequent label of the trial: the model {how}. {nearest(text, column.levels)}Known are "
        f"{known}."
    )


def _cell(column: Number, text: str) -> pa.Array:
    """Returns the text of a number, a date or a duration as an array of one cell."""
    if column.kind is Kind.DATE:
        return pa.array([_date(column.name, text) if text else None], pa.timestamp("us", "UTC"))
    if column.kind is Kind.DURATION:
        days = _number(column.name, text, "must be a number of days")
        return pa.array([None if days is None else round(days * _DAY)], pa.int64()).cast(pa.duration("us"))
    if text.casefold() in (*_TRUE, *_FALSE):
        return pa.array([float(text.casefold() in _TRUE)], pa.float64())
    return pa.array([_number(column.name, text, "must be a number")], pa.float64())


def _number(name: str, text: str, rule: str) -> float | None:
    if not text:
        return None
    try:
        got = float(text.replace(",", "").replace(" ", ""))
    except ValueError:
        got = float("nan")
    if not isfinite(got):
        raise _check.refuse(name, text, rule, "Write digits, e.g. 12 or 0.25; leave it empty where it is missing.")
    return got


def _date(name: str, text: str) -> datetime:
    try:
        got = datetime.fromisoformat(text)
    except ValueError:
        raise DataError.at(
            name, f" == {text!r}: must be a date. Write it as 2026-01-31, or 2026-01-31 12:00."
        ) from None
    return got.replace(tzinfo=UTC) if got.tzinfo is None else got.astimezone(UTC)


def text_of(cell: Any, *, single: bool = False) -> str:
    """Returns a cell as the text of its field, which `typed` reads as the same cell.

    Args:
        cell: The cell; None where it is missing.
        single: Whether it is a number in single precision, which fewer digits tell from all others.

    >>> text_of(0.1), text_of(3.0), text_of(None), text_of(True), text_of("north")
    ('0.1', '3', '', '1', 'north')
    """
    if cell is None or cell != cell:
        return ""
    if isinstance(cell, bool):
        return str(int(cell))
    if isinstance(cell, float):
        return (
            str(int(cell))
            if cell.is_integer() and abs(cell) < 1e15
            else str(np.float32(cell))
            if single
            else repr(cell)
        )
    if isinstance(cell, timedelta):
        return repr(cell / timedelta(days=1))
    if isinstance(cell, datetime | date):
        return cell.isoformat()
    return str(cell)
