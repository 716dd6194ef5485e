"""What evidence a model has near a unit: rows of the trial that are like it, column by column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from largesse._check import written
from largesse.commands.findings.segments import Grouped
from largesse.frames.columns import Kind
from largesse.frames.encoder import Encoder, Levels
from largesse.serving.watch.features import Spread, read_spreads

__all__ = ["Likeness", "Near", "near"]

_MOST = 3  # columns in which rows must be like a unit all at once
_EPOCH = date(1970, 1, 1)


class Likeness(NamedTuple):
    """One column of a unit, and rows of the trial that are like it there.

    Attributes:
        column: The column.
        bin: The bin of the trial's rows that its cell lies in; "": not known.
        rows: Rows of the trial in that bin, those that the model was fitted on too; -1: not known.
        held_out: Held-out rows in the same group of the column; -1: not known.
        outside: Why its cell lies outside of what the trial had, as the end of a sentence; "": it does not.
    """

    column: str
    bin: str
    rows: int
    held_out: int
    outside: str


class Near(NamedTuple):
    """What evidence there is near a unit.

    Attributes:
        columns: Each column.
        held_out: Number of held-out rows; 0: not known.
        alike: Of these, those in the same group in all of the main columns.
        main: The columns along which decisions differ most, of those whose groups are known.
    """

    columns: tuple[Likeness, ...]
    held_out: int
    alike: int
    main: tuple[str, ...]

    @property
    def outside(self) -> tuple[Likeness, ...]:
        """The columns in which the unit lies outside of what the trial had."""
        return tuple(one for one in self.columns if one.outside)


def near(
    run: Path, encoder: Encoder, cells: Mapping[str, Any], groups: Sequence[Grouped], main: Sequence[str] = ()
) -> Near:
    """Returns what evidence there is near a unit.

    Args:
        run: The run folder.
        encoder: How the model reads columns.
        cells: Column → cell; None where it is missing.
        groups: The held-out rows by column; () where they are not known.
        main: Columns in which rows must be like it all at once; () for the first three.

    Raises:
        StoreError: What the run keeps of its features is damaged.
    """
    spreads = {one.name: one for one in read_spreads(run)}
    grouped = {one.column: one for one in groups}
    total = len(groups[0].code) if groups else 0
    most = tuple(name for name in main if name in grouped)[:_MOST] or tuple(grouped)[:_MOST]
    same, out = np.ones(total, np.bool_), []
    for column in encoder.columns:
        text = isinstance(column, Levels)
        cell = _plain(cells.get(column.name), text)
        spread, group = spreads.get(column.name), grouped.get(column.name)
        where, rows = ("", -1) if spread is None else _bin(spread, cell)
        code, outside = None, "" if spread is None else _level(spread, cell)
        if group is not None:
            code, beyond = _group(group.names, cell, text, column.kind)
            outside = outside or beyond
            members: NDArray[np.bool_] = group.code == (-1 if code is None else code)
            same = same & members if column.name in most else same
        alike = -1 if group is None else 0 if code is None else int(members.sum())
        out.append(Likeness(column.name, where, rows, alike, outside))
    return Near(tuple(out), total, int(same.sum()), most)


def _plain(cell: Any, text: bool) -> float | str | None:
    """Returns a cell as a label or as a number, days for dates and durations; None where it is missing."""
    if cell is None or cell != cell:
        return None
    if text:
        return f"{cell:g}" if isinstance(cell, float) and cell.is_integer() else str(cell)
    if isinstance(cell, datetime):
        return (cell.replace(tzinfo=None) - datetime(1970, 1, 1)) / timedelta(days=1)
    if isinstance(cell, date):
        return float((cell - _EPOCH).days)
    return cell / timedelta(days=1) if isinstance(cell, timedelta) else float(cell)


def _bin(spread: Spread, cell: float | str | None) -> tuple[str, int]:
    """Returns the bin of a cell, and the rows of the trial in it."""
    counts = spread.counts([cell] if spread.text else [np.nan if cell is None else cell])
    k = int(counts.argmax())
    return spread.bins[k], round(spread.shares[k] * spread.rows)


def _level(spread: Spread, cell: float | str | None) -> str:
    """Returns why a label, or a missing cell, lies outside of what the trial had."""
    if cell is None:
        return "" if spread.shares[-1] > 0 else "the trial had no row where it is missing"
    if spread.text and cell not in spread.levels:
        return f"{cell!r} was no frequent label of the trial"
    return ""


def _group(names: Sequence[str], cell: float | str | None, text: bool, kind: Kind) -> tuple[int | None, str]:
    """Returns the group that a cell lies in, None for none, and why it lies outside of the held-out rows."""
    if cell is None:
        return (names.index("missing") if "missing" in names else None), ""
    if text:
        for name in (str(cell), "all others"):
            if name in names:
                return names.index(name), ""
        return None, ""
    number = float(cell)
    shown = str(np.datetime64(int(number), "D")) if kind is Kind.DATE else written(number, 4)
    for name in (shown, {0.0: "no", 1.0: "yes"}.get(number, shown), *(["known"] if "known" in names else [])):
        if name in names:
            return names.index(name), ""
    ends = [(k, *pair) for k, name in enumerate(names) if (pair := _ends(name, kind)) is not None]
    if not ends:
        return None, f"{shown} is none of the values that the held-out rows have"
    low, high = ends[0][1], ends[-1][2]
    wide = 0.001 * max(abs(low), abs(high))  # the names have four digits
    if not low - wide <= number <= high + wide:
        first, last = names[ends[0][0]].split(" to ")[0], names[ends[-1][0]].split(" to ")[1]
        return None, f"{shown} is outside of the {first} to {last} that the held-out rows have"
    inner = [cut for (_, _, cut), _ in pairwise(ends)]
    return ends[int(np.searchsorted(inner, number, side="right"))][0], ""


def _ends(name: str, kind: Kind) -> tuple[float, float] | None:
    parts = name.split(" to ")
    if len(parts) != 2:
        return None
    try:
        if kind is Kind.DATE:
            low, high = (float((date.fromisoformat(part) - _EPOCH).days) for part in parts)
        else:
            low, high = (float(part.replace(",", "")) for part in parts)
    except ValueError:
        return None
    return low, high
