"""Base classes of results: conversion to plain JSON values and dataframes, short text and HTML.

`Brief` gives a class a short `repr`, `Framed` adds `to_frame`, `Result` adds `to_dict`, `Tabular` adds `to_records`. All JSON is
written by `json_text`, so NaN and infinity become null everywhere.

>>> plain({"price": float("nan"), "counts": np.array([1, 2])})
{'price': None, 'counts': [1, 2]}
"""

from __future__ import annotations

import dataclasses
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from enum import Enum
from html import escape
from importlib import import_module
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from largesse._extras import needed_for

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Brief", "Framed", "Result", "Tabular", "columns_of", "html_table", "json_text", "plain"]

_LINES = 20  # rows of a table in a repr
_WIDTH = 88  # characters of one field in a repr
_CELL = 28  # characters of one cell of a table in a repr
_FEW = 6  # entries of the longest array or tuple that a repr shows in full


def plain(value: Any) -> Any:
    """Returns the value as dictionaries, lists, strings, finite numbers, booleans and None.

    NaN and infinity become None, arrays become lists, enums their values, dataclasses and named tuples dictionaries.

    Raises:
        TypeError: The value cannot be converted.
    """
    if value is None or (isinstance(value, bool | str) and not isinstance(value, Enum)):
        return value
    if isinstance(value, Result):
        return value.to_dict()
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, int | float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(plain(key)): plain(cell) for key, cell in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if hasattr(value, "_asdict"):
        return plain(value._asdict())
    if isinstance(value, Sequence | frozenset | set):
        return [plain(cell) for cell in value]
    if isinstance(value, PurePath | date):
        return str(value)
    raise TypeError(f"{type(value).__name__}: has no form in JSON")


def json_text(value: Any) -> str:
    """Returns the value as a JSON document, converted by `plain`."""
    return json.dumps(plain(value), indent=1, allow_nan=False)


class Brief:
    """Base class of dataclasses whose `repr` is short, whatever the size of their arrays."""

    __slots__ = ()
    _hidden: ClassVar[tuple[str, ...]] = ()
    """Fields excluded from `repr`, HTML and `to_dict`."""
    _pictured: ClassVar[bool] = False
    """Whether `largesse.commands.notebook` has a table or a picture for it."""

    def _fields(self) -> dict[str, Any]:
        """Returns the fields that are shown, by name."""
        names = [f.name for f in dataclasses.fields(self)]  # type: ignore[arg-type]
        return {name: getattr(self, name) for name in names if name not in self._hidden and not name.startswith("_")}

    def __repr__(self) -> str:
        shown = [f"{name}={_short(value)}" for name, value in self._fields().items()]
        line = f"{type(self).__name__}({', '.join(shown)})"
        return line if len(line) <= _WIDTH else "\n".join([f"{type(self).__name__}(", *(f"  {s}," for s in shown), ")"])

    def _repr_html_(self) -> str:
        if not self._pictured:
            return self._html()
        # The charts are layers above the results, and slow to import: only a notebook needs them.
        html: str = import_module("largesse.commands.notebook").html(self)
        return html

    def _html(self) -> str:
        """Returns the fields, or the table, as HTML without a picture."""
        return f"<pre>{escape(repr(self))}</pre>"


class Result(Brief):
    """Base class of the results of functions and commands."""

    __slots__ = ()
    _computed: ClassVar[tuple[str, ...]] = ()
    """Properties shown together with the fields."""

    def _fields(self) -> dict[str, Any]:
        return {**super()._fields(), **{name: getattr(self, name) for name in self._computed}}

    def to_dict(self) -> dict[str, Any]:
        """Returns the result as plain JSON values: NaN and infinity are None, arrays are lists."""
        return {name: plain(value) for name, value in self._fields().items()}


class Framed(Brief, ABC):
    """Base class of what can be turned into a dataframe."""

    __slots__ = ()

    @abstractmethod
    def _columns(self) -> Mapping[str, Sequence[Any] | NDArray[Any]]:
        """Returns the columns of the table by name, all of one length."""

    def to_frame(self) -> pd.DataFrame:
        """Returns the table as a pandas DataFrame.

        Raises:
            MissingDependency: pandas is not installed.
        """
        with needed_for("to_frame()"):
            import pandas as pd
        return pd.DataFrame(dict(self._columns()))

    def _html(self) -> str:
        return html_table(*self._screen())

    def _screen(self) -> tuple[str, list[str], list[list[str]], str]:
        """Returns the title, the column names, the cells of the first rows, and a line about omitted rows (or "")."""
        columns = self._columns()
        rows = len(next(iter(columns.values()), ()))
        facts = {k: v for k, v in self._fields().items() if isinstance(v, bool | int | float | str)}
        shown = ", ".join(f"{name}={_short(value)}" for name, value in facts.items())
        title = _cut(f"{type(self).__name__} of {rows:,} rows{f' ({shown})' if shown else ''}", 2 * _WIDTH)
        cut = [[_cell(cell) for cell in _cells(column[:_LINES])] for column in columns.values()]
        more = f"... {rows - _LINES:,} more rows" if rows > _LINES else ""
        return title, list(columns), [list(row) for row in zip(*cut, strict=True)], more


class Tabular(Framed, Result):
    """Base class of results that are tables."""

    __slots__ = ()

    def to_records(self) -> list[dict[str, Any]]:
        """Returns the rows of the table as plain JSON values."""
        columns = self._columns()
        return [dict(zip(columns, cells, strict=True)) for cells in zip(*map(plain, columns.values()), strict=True)]

    def __repr__(self) -> str:
        title, head, body, more = self._screen()
        table = [head, *body]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = ["  ".join([a.ljust(widths[0]), *map(str.rjust, rest, widths[1:])]).rstrip() for a, *rest in table]
        return "\n".join([title, *lines, *([more] if more else [])])


def html_table(title: str, head: Sequence[str], body: Iterable[Sequence[str]], more: str = "") -> str:
    """Returns a table as HTML, with every text escaped.

    >>> html_table("A <b>", ["k"], [["1"]])
    '<p>A &lt;b&gt;</p><table><thead><tr><th>k</th></tr></thead><tbody><tr><td>1</td></tr></tbody></table>'
    """
    cells = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in body)
    names = "".join(f"<th>{escape(name)}</th>" for name in head)
    return (
        f"<p>{escape(title)}</p><table><thead><tr>{names}</tr></thead><tbody>{cells}</tbody></table>"
        f"{f'<p>{escape(more)}</p>' if more else ''}"
    )


def columns_of(rows: Iterable[NamedTuple], names: Sequence[str]) -> dict[str, list[Any]]:
    """Returns the named fields of some named tuples as columns."""
    rows = list(rows)
    return {name: [getattr(row, name) for row in rows] for name in names}


def _cells(column: Sequence[Any] | NDArray[Any]) -> Sequence[Any]:
    """Returns the cells of a column as Python objects."""
    return column.tolist() if isinstance(column, np.ndarray) else column


def _short(value: Any) -> str:
    """Returns a value as one line of bounded length."""
    if isinstance(value, np.ndarray):
        small = value.size <= _FEW and value.dtype.kind in "biuf"
        return _cut(np.array2string(value, precision=4, separator=", ")) if small else f"<{value.dtype} {value.shape}>"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Brief) and not isinstance(value, Tabular):
        return _cut(repr(value))
    if isinstance(value, Tabular) or (isinstance(value, tuple | list | dict) and len(value) > _FEW):
        return f"<{type(value).__name__}>" if isinstance(value, Tabular) else f"<{len(value):,} entries>"
    return _cut(value.name if isinstance(value, Enum) else repr(value))


def _cut(text: str, width: int = _WIDTH) -> str:
    line = " ".join(text.split())
    return line if len(line) <= width else f"{line[: width - 3]}..."


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if math.isfinite(value) else "–"
    return _cut("–" if value is None else str(value.value) if isinstance(value, Enum) else str(value), _CELL)
