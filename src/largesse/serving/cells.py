"""`Column`: one raw column as the graph reads it. Numbers, dates, durations and labels mean what they mean to the encoder."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta, timezone
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from largesse import _check
from largesse.errors import DataError, SchemaError
from largesse.roles import label

__all__ = ["Column"]

_DAY = {"W": 1 / 7, "D": 1.0, "h": 24.0, "m": 1440.0, "s": 86_400.0, "ms": 86_400e3, "us": 86_400e6, "ns": 86_400e9}
_MICROSECONDS = 86_400e6
_EPOCH = datetime(1970, 1, 1)
_REMEDY = {
    "number": "Give numbers; None stands for a missing cell.",
    "text": "Give text; None stands for a missing cell.",
    "date": "Give dates, or days since 1970-01-01 (UTC); None stands for a missing cell.",
    "duration": "Give durations, or days; None stands for a missing cell.",
}


class Column(NamedTuple):
    """One column that a policy reads.

    Attributes:
        name: Its name in tables.
        input: The name of its input in the graph.
        kind: ``"number"``, ``"text"``, ``"date"`` or ``"duration"``.
        levels: The labels of text that have a column of their own.
        numbered: Whether these labels are numbers, so that cells may be numbers too.
    """

    name: str
    input: str
    kind: str
    levels: tuple[str, ...] = ()
    numbered: bool = False

    def one(self, cell: Any, mark: str) -> NDArray[Any]:
        """Returns one cell as an input of the graph, (1, 1).

        Args:
            cell: The cell; None and NaN are missing.
            mark: What stands for a missing cell of text.

        Raises:
            SchemaError: The cell is of another kind.
        """
        if self.kind == "text":
            return np.array([[self._label(cell, mark)]], object)
        return np.array([[self._number(cell)]], np.float64)

    def many(self, cells: Any, mark: str) -> NDArray[Any]:
        """Returns cells as an input of the graph, (N, 1); arguments and refusals as for `one`."""
        given = cells if isinstance(cells, np.ndarray) else np.asarray(cells, object if _mixed(cells) else None)
        if given.ndim != 1:
            raise _check.refuse(
                f"column {self.name!r}: ndim", given.ndim, "must have one axis", "Give one cell per unit.", SchemaError
            )
        if self.kind == "text":
            known: dict[Any, str] = {}
            out = np.empty((len(given), 1), object)
            for i, cell in enumerate(given.tolist()):
                if cell.__hash__ is None:
                    raise self._refused(cell)
                if cell not in known:
                    known[cell] = self._label(cell, mark)
                # 1, 1.0 and True are one key, but not one label.
                out[i, 0] = known[cell] if isinstance(cell, str) else self._label(cell, mark)
            return out
        kind = given.dtype.kind
        if kind in "biuf":
            return given.astype(np.float64)[:, None]
        if kind == {"date": "M", "duration": "m"}.get(self.kind):
            unit, step = np.datetime_data(given.dtype)
            if unit in _DAY:
                days = given.astype(np.int64) * step / _DAY[unit]
                return np.where(np.isnat(given), np.nan, days)[:, None]
        return np.array([[self._number(cell)] for cell in given.tolist()], np.float64)

    def _number(self, cell: Any) -> float:
        if cell is None:
            return np.nan
        if isinstance(cell, date | time | timedelta | np.datetime64 | np.timedelta64):
            return self._days(cell)
        if isinstance(cell, str | bytes) or not hasattr(cell, "__float__"):
            raise self._refused(cell)
        return float(cell)

    def _days(self, cell: Any) -> float:
        if not self._fits(cell):
            raise self._refused(cell)
        if isinstance(cell, np.datetime64 | np.timedelta64):
            return float(self.many(np.array([cell]), "")[0, 0])
        if isinstance(cell, datetime):
            cell = cell if cell.tzinfo is None else cell.astimezone(timezone.utc).replace(tzinfo=None)  # noqa: UP017
            return (cell - _EPOCH) // timedelta(microseconds=1) / _MICROSECONDS
        if isinstance(cell, date):
            return float((cell - _EPOCH.date()).days)
        if isinstance(cell, time):
            cell = timedelta(hours=cell.hour, minutes=cell.minute, seconds=cell.second, microseconds=cell.microsecond)
        return cell // timedelta(microseconds=1) / _MICROSECONDS

    def _fits(self, cell: Any) -> bool:
        kinds: tuple[type, ...] = (date, np.datetime64) if self.kind == "date" else (time, timedelta, np.timedelta64)
        return self.kind in ("date", "duration") and isinstance(cell, kinds)

    def _label(self, cell: Any, mark: str) -> str:
        if isinstance(cell, str):
            return cell.strip()
        if cell is None:
            return mark
        number = isinstance(cell, float | int | np.number | np.bool_)
        if number and not np.isfinite(cell):
            return mark
        if not (number and self.numbered):
            raise self._refused(cell)
        return label(cell)

    def _refused(self, cell: Any) -> DataError:
        rule = f"the policy learned from {self.kind}"
        return _check.refuse(self.name, cell, rule, _REMEDY[self.kind], SchemaError)


def _mixed(cells: Any) -> bool:
    """Returns whether numpy may not choose the type: None would make text of numbers, and text would cut numbers."""
    return isinstance(cells, list | tuple) and not all(isinstance(cell, float | int) for cell in cells)
