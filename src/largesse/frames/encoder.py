"""Encoding of feature columns as numbers, with the same encoded columns for every later table."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from largesse._arguments import checked
from largesse.errors import SchemaError, StoreError, why_damaged
from largesse.frames.columns import Kind, cells, coded, kind, refuse_mixed_zones, texts
from largesse.frames.tables import Source, distinct, pick, read

__all__ = ["Encoder"]

MAX_LEVELS = 31
MIN_ROWS = 10
OTHER = "other"
# Larger numbers are clipped to this limit: it exceeds every 64-bit integer, and its square still fits in float32.
LIMIT = 1e19

_log = logging.getLogger(__name__)
Block = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Number:
    """How one column of numbers or dates is encoded.

    Attributes:
        name: Column.
        kind: Number, date (in days since 1970-01-01) or duration (in days).
        fill: Value for a missing cell: the median of the finite training cells.
        varies: Whether the training cells differ; if not, only the indicator is kept.
        missing: Whether training cells were missing, so that there is an indicator column.
    """

    name: str
    kind: Kind
    fill: float
    varies: bool
    missing: bool

    @classmethod
    def fit(cls, name: str, column: pa.ChunkedArray) -> Number:
        """Returns the encoding fitted to the training cells."""
        values = cells(name, column)
        present = np.isfinite(values)
        known = np.clip(values[present], -LIMIT, LIMIT)
        single = known.astype(np.float32)
        varies = bool(len(single)) and bool((single != single[0]).any())
        fill = float(np.median(known)) if len(known) else 0.0
        return cls(name, kind(name, column), fill, varies, bool(present.any()) and not bool(present.all()))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the encoded columns."""
        return (self.name,) * self.varies + (f"{self.name} is missing",) * self.missing

    def put(self, column: pa.ChunkedArray, out: Block) -> None:
        """Writes the encoded column into `out`, float32 (N, len(names))."""
        values = cells(self.name, column)
        if self.varies and not self.missing and _within_limit(values):
            out[:, 0] = values
            return
        present = np.isfinite(values)
        if self.missing:
            out[:, -1] = ~present
        if not self.varies:
            return
        values = np.where(present, values, self.fill)
        far = np.abs(values) > LIMIT
        if far.any():
            _log.warning(
                "%s[%d] == %g: clipped to %g (%d such rows). Check whether this column is an amount, or damaged.",
                self.name, np.argmax(far), values[far][0], LIMIT, np.count_nonzero(far),
            )  # fmt: skip
        out[:, 0] = np.clip(values, -LIMIT, LIMIT)


@dataclass(frozen=True, slots=True)
class Levels:
    """How one column of text or categories is encoded: one 0/1 column per level.

    Attributes:
        name: Column.
        levels: The most frequent labels, most frequent first.
        other: Whether the training rows had further labels, so that these share a column.
        missing: Whether training cells were missing, so that there is an indicator column.
    """

    name: str
    levels: tuple[str, ...]
    other: bool
    missing: bool

    kind = Kind.TEXT

    @classmethod
    def fit(cls, name: str, column: pa.ChunkedArray) -> Levels:
        """Returns the encoding with one level for each frequent label of the training rows."""
        codes, values = coded(column)
        refuse_mixed_zones(name, values)
        counts = np.bincount(codes + 1, minlength=len(values) + 1)
        rows: dict[str, int] = {}
        for text, count in zip(texts(values), counts[1:].tolist(), strict=True):
            rows[text] = rows.get(text, 0) + count  # blanks around a label do not count
        ranked = sorted((-count, text) for text, count in rows.items() if count >= MIN_ROWS)
        levels = tuple(text for _, text in ranked if text != OTHER)[:MAX_LEVELS]
        covered = sum(-count for count, text in ranked if text in set(levels))
        return cls(name, levels, bool(covered < counts[1:].sum()), bool(counts[0]))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the encoded columns; empty if all training rows had the same label."""
        own = tuple(f"{self.name} = {level}" for level in self.levels)
        all_names = own + (f"{self.name} = {OTHER}",) * self.other + (f"{self.name} is missing",) * self.missing
        return all_names if len(all_names) > 1 else ()

    def put(self, column: pa.ChunkedArray, out: Block) -> None:
        """Writes the encoded column into `out`, float32 (N, len(names)), which must contain zeros."""
        codes, values = coded(column)
        # Columns: one per level, then other, then missing; -1 if the training rows had no such cells.
        other = len(self.levels) if self.other else -1
        position = {level: k for k, level in enumerate(self.levels)}
        missing = out.shape[1] - 1 if self.missing else other
        columns = np.array([position.get(text, other) for text in texts(values)] + [missing], np.int64)[codes]
        rows = np.flatnonzero(columns >= 0)
        out[rows, columns[rows]] = 1


Column = Number | Levels


def _or_nothing(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Returns a column without a type if all its cells are missing: their type, floats in pandas, says nothing then."""
    missing = column.is_null(nan_is_null=True) if pa.types.is_floating(column.type) else column.is_null()
    known = not pc.all(missing).as_py()
    return column if known else pa.chunked_array([pa.nulls(len(column))])


def is_number(level: str) -> bool:
    """Returns whether a label is that of a number, so that a later table may have the numbers themselves."""
    try:
        return bool(np.isfinite(float(level)))
    except ValueError:
        return False


def _within_limit(values: NDArray[np.float64]) -> bool:
    """Returns whether all values are numbers within the limit; a NaN makes both minimum and maximum NaN."""
    return len(values) > 0 and bool(values.min() >= -LIMIT and values.max() <= LIMIT)


class Encoder:
    """Encodes the feature columns of any table as float32 numbers, and keeps the labels of the treatments.

    Numbers and booleans are kept, dates become days since 1970-01-01. A missing or infinite number becomes the median of the
    training rows; if the training rows had such cells, a column ``name is missing`` marks them. Text and categories become one
    0/1 column per level: the 31 most frequent with at least 10 training rows each, ``name = other`` for the rest and for levels
    absent from training, and ``name is missing``; a cell without such a column gives zeros. Constant columns are dropped.

    Attributes:
        columns: How each column is encoded, in order.
        dropped: Columns that were constant in training.
        treatments: Labels of the treatments, control first; empty if not given.

    >>> table = read({"age": [20.0, None, 40.0], "vip": [True, False, True]})
    >>> encoder = Encoder.fit(table, ["age", "vip"])
    >>> encoder.names
    ('age', 'age is missing', 'vip')
    >>> encoder.transform(table).tolist()
    [[20.0, 0.0, 1.0], [30.0, 1.0, 0.0], [40.0, 0.0, 1.0]]
    """

    @checked
    def __init__(self, columns: Sequence[Column], dropped: Sequence[str] = (), treatments: Sequence[str] = ()) -> None:
        self.columns = tuple(columns)
        self.dropped = tuple(dropped)
        self.treatments = tuple(treatments)

    @classmethod
    @checked
    def fit(cls, table: Source, features: Sequence[str], treatments: Sequence[str] = ()) -> Encoder:
        """Returns the encoder fitted to these rows.

        Args:
            table: The training rows, anything `read` takes.
            features: Names of the columns to encode; the encoded columns keep this order.
            treatments: Labels of the treatments, control first, used for all later tables.

        Raises:
            SchemaError: A column is missing or holds lists, structs or bytes, or all columns are constant.
        """
        distinct(list(features))
        rows = pick(read(table), features)
        columns: list[Column] = []
        for name in features:
            encoding: type[Column] = Levels if kind(name, rows[name]) is Kind.TEXT else Number
            columns.append(encoding.fit(name, rows[name]))
        dropped = tuple(column.name for column in columns if not column.names)
        if len(dropped) == len(columns):
            raise SchemaError(
                f"features == {list(features)[:5]}: none of the {len(columns)} columns varies in these {rows.num_rows} "
                f"rows. Name columns that differ between units (text needs a level with at least {MIN_ROWS} rows).",
                field="features",
            )
        if dropped:
            _log.info("features %s are constant: dropped", ", ".join(map(repr, dropped)))
        return cls([column for column in columns if column.names], dropped, treatments)

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the columns that a table must have."""
        return tuple(column.name for column in self.columns)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the d encoded columns."""
        return tuple(name for column in self.columns for name in column.names)

    def transform(self, table: Source) -> Block:
        """Returns the encoded features, float32 (N, d), finite. The order of the table's columns does not matter.

        Args:
            table: Anything `read` takes; other columns are ignored.

        Raises:
            SchemaError: A column is missing, or its kind differs from that in training.
        """
        rows = pick(read(table), self.features, remedy="Add the columns: the encoder was fitted with them.")
        out = np.zeros((rows.num_rows, len(self.names)), np.float32)
        start = 0
        for column in self.columns:
            source, width = _or_nothing(rows[column.name]), len(column.names)
            self._same_kind(column, source)
            column.put(source, out[:, start : start + width])
            start += width
        return out

    @staticmethod
    def _same_kind(column: Column, source: pa.ChunkedArray) -> None:
        current = kind(column.name, source)
        if current is Kind.NUMBER and isinstance(column, Levels) and all(map(is_number, column.levels)):
            return  # categories 1, 2, 3 of one table are numbers in another
        if current not in (Kind.NOTHING, column.kind):
            raise SchemaError(
                f"column {column.name!r}: holds {current} ({source.type}), it held {column.kind} in training. "
                f"Turn it back into {column.kind}, or fit again on tables of the new kind.",
                field=column.name,
            )

    def state(self) -> dict[str, Any]:
        """Returns the fitted encoder as plain JSON values."""
        columns = [{"encoding": "levels" if isinstance(c, Levels) else "number", **asdict(c)} for c in self.columns]
        for column in columns:
            column.update({k: list(v) for k, v in column.items() if isinstance(v, tuple)})
        return {"columns": columns, "dropped": list(self.dropped), "treatments": list(self.treatments)}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Encoder:
        """Returns the encoder with a given `state()`.

        Raises:
            StoreError: The state was not made by `state`.
        """
        try:
            columns = [_column(**column) for column in state["columns"]]
            return cls(columns, state["dropped"], state["treatments"])
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
            why = why_damaged(error)
            raise StoreError(f"encoder state: is damaged ({why}). Fit and save the encoder again.") from error

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Encoder) and self.state() == other.state()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Encoder({len(self.columns)} columns, {len(self.names)} numbers, {len(self.dropped)} dropped)"


def _column(encoding: str, **saved: Any) -> Column:
    if not all(isinstance(one, str) for one in (saved["name"], *saved.get("levels", ()))):
        raise TypeError("names and levels must be text")
    if encoding == "levels":
        return Levels(saved.pop("name"), tuple(saved.pop("levels")), **saved)
    return Number(kind=Kind(saved.pop("kind")), **saved)
