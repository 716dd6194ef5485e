"""Feature columns to numbers: the same columns, in the same order, for every table to come."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from largesse.errors import SchemaError, StoreError
from largesse.frames.columns import cells, coded, kind, texts
from largesse.frames.tables import distinct, pick, read

__all__ = ["Encoder"]

MAX_LEVELS = 31
MIN_ROWS = 10
OTHER = "other"
# Larger numbers are cut here: every 64-bit integer stays whole, and a square still fits in float32.
LIMIT = 1e19

_log = logging.getLogger(__name__)
Block = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Number:
    """How one column of numbers or dates is encoded.

    Attributes:
        name: Column.
        kind: ``"number"``, ``"date"`` (days since 1970-01-01) or ``"duration"`` (days).
        fill: What stands for a missing cell: the median of the finite training cells.
        varies: Whether the numbers differ; if not, only the indicator is kept.
        missing: Whether cells were missing in training, so that there is an indicator.
    """

    name: str
    kind: str
    fill: float
    varies: bool
    missing: bool

    @classmethod
    def fit(cls, name: str, what: str, column: pa.ChunkedArray) -> Number:
        """Learns the median, and whether cells differ or are missing."""
        values = cells(name, column)
        there = np.isfinite(values)
        known = np.clip(values[there], -LIMIT, LIMIT)
        single = known.astype(np.float32)
        varies = bool(len(single)) and bool((single != single[0]).any())
        fill = float(np.median(known)) if len(known) else 0.0
        return cls(name, what, fill, varies, bool(there.any()) and not bool(there.all()))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the encoded columns."""
        return (self.name,) * self.varies + (f"{self.name} is missing",) * self.missing

    def put(self, column: pa.ChunkedArray, out: Block) -> None:
        """Writes the encoded column into `out`, float32 (N, len(names))."""
        values = cells(self.name, column)
        if self.varies and not self.missing and _plain(values):
            out[:, 0] = values
            return
        there = np.isfinite(values)
        if self.missing:
            out[:, -1] = ~there
        if not self.varies:
            return
        values = np.where(there, values, self.fill)
        far = np.abs(values) > LIMIT
        if far.any():
            _log.warning(
                "%s[%d] == %g: cut to %g (%d such rows). Is this column an amount, or is it damaged?",
                self.name, np.argmax(far), values[far][0], LIMIT, np.count_nonzero(far),
            )  # fmt: skip
        out[:, 0] = np.clip(values, -LIMIT, LIMIT)


@dataclass(frozen=True, slots=True)
class Levels:
    """How one column of text or categories is encoded: one column of zeros and ones per level.

    Attributes:
        name: Column.
        levels: The most frequent labels, most frequent first.
        other: Whether training had rows of further labels, so that these have a column.
        missing: Whether cells were missing in training, so that there is an indicator.
    """

    name: str
    levels: tuple[str, ...]
    other: bool
    missing: bool

    kind = "text"

    @classmethod
    def fit(cls, name: str, what: str, column: pa.ChunkedArray) -> Levels:
        """Learns which labels are frequent enough to have a column of their own."""
        codes, values = coded(column)
        counts = np.bincount(codes + 1, minlength=len(values) + 1)
        often = np.flatnonzero(counts[1:] >= MIN_ROWS)
        ranked = sorted(zip(-counts[1:][often], texts(values.take(pa.array(often))), strict=True))
        kept = tuple(text for _, text in ranked if text != OTHER)[:MAX_LEVELS]
        own = sum(-count for count, text in ranked if text in set(kept))
        return cls(name, kept, bool(own < counts[1:].sum()), bool(counts[0]))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the encoded columns; none where every training row had the same."""
        own = tuple(f"{self.name} = {level}" for level in self.levels)
        all_names = own + (f"{self.name} = {OTHER}",) * self.other + (f"{self.name} is missing",) * self.missing
        return all_names if len(all_names) > 1 else ()

    def put(self, column: pa.ChunkedArray, out: Block) -> None:
        """Writes the encoded column into `out`, float32 (N, len(names)), which holds zeros."""
        codes, values = coded(column)
        # Places: one per level, then other, then missing; -1 where training had no such rows.
        other = len(self.levels) if self.other else -1
        place = {level: k for k, level in enumerate(self.levels)}
        absent = out.shape[1] - 1 if self.missing else other
        to = np.array([place.get(text, other) for text in texts(values)] + [absent], np.int64)[codes]
        rows = np.flatnonzero(to >= 0)
        out[rows, to[rows]] = 1


Column = Number | Levels


def _plain(values: NDArray[np.float64]) -> bool:
    """Tells whether all numbers can stay as they are; a NaN is the smallest and the largest number."""
    return len(values) > 0 and bool(values.min() >= -LIMIT and values.max() <= LIMIT)


class Encoder:
    """How the feature columns of any table become float32 numbers, and which treatments there are.

    Numbers and truth values stay as they are, dates become days since 1970-01-01. A missing or infinite number becomes
    the median of the training rows; where training had such cells a column ``name is missing`` says so, and where it
    had none the median is filled in silently. Text and categories become one column of zeros and ones per level: the
    31 most frequent with at least 10 training rows each, ``name = other`` for the rest and for levels unseen in
    training, and ``name is missing``. A cell for which training had neither gives zeros. Columns that do not vary are
    dropped.

    Attributes:
        columns: How each column is encoded, in order.
        dropped: Columns that did not vary in training.
        treatments: Labels of the treatments, control first; empty where they were not given.

    >>> table = read({"age": [20.0, None, 40.0], "vip": [True, False, True]})
    >>> encoder = Encoder.fit(table, ["age", "vip"])
    >>> encoder.names
    ('age', 'age is missing', 'vip')
    >>> encoder.transform(table).tolist()
    [[20.0, 0.0, 1.0], [30.0, 1.0, 0.0], [40.0, 0.0, 1.0]]
    """

    def __init__(self, columns: Sequence[Column], dropped: Sequence[str] = (), treatments: Sequence[str] = ()) -> None:
        self.columns = tuple(columns)
        self.dropped = tuple(dropped)
        self.treatments = tuple(treatments)

    @classmethod
    def fit(cls, table: Any, features: Sequence[str], treatments: Sequence[str] = ()) -> Encoder:
        """Returns the encoder learned from these rows.

        Args:
            table: The training rows, anything `read` takes.
            features: Names of the columns to encode; the encoded columns keep this order.
            treatments: Labels of the treatments, control first, kept for the tables to come.

        Raises:
            SchemaError: A column is missing or holds lists, structs or bytes, or no column varies.
        """
        distinct(list(features))
        table = pick(read(table), features)
        kept: list[Column] = []
        for name in features:
            column = table[name]
            what = kind(name, column)
            learn: type[Column] = Levels if what == "text" else Number
            kept.append(learn.fit(name, what, column))
        dropped = tuple(column.name for column in kept if not column.names)
        if len(dropped) == len(kept):
            raise SchemaError(
                f"features == {list(features)[:5]}: none of the {len(kept)} columns varies in these {table.num_rows} "
                "rows, so units cannot be told apart. Name columns that differ between units "
                f"(text needs a level with at least {MIN_ROWS} rows).",
                field="features",
            )
        if dropped:
            _log.info("features %s do not vary: dropped", ", ".join(map(repr, dropped)))
        return cls([column for column in kept if column.names], dropped, treatments)

    @property
    def features(self) -> tuple[str, ...]:
        """Columns a table must have."""
        return tuple(column.name for column in self.columns)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the d encoded columns."""
        return tuple(name for column in self.columns for name in column.names)

    def transform(self, table: Any) -> Block:
        """Returns the encoded features, float32 (N, d), finite. The order of the table's columns does not matter.

        Args:
            table: Anything `read` takes; further columns are passed over.

        Raises:
            SchemaError: A column is missing, or its kind is not what it was in training.
        """
        table = pick(read(table), self.features)
        out = np.zeros((table.num_rows, len(self.names)), np.float32)
        start = 0
        for column in self.columns:
            source, width = table[column.name], len(column.names)
            self._same_kind(column, source)
            column.put(source, out[:, start : start + width])
            start += width
        return out

    @staticmethod
    def _same_kind(column: Column, source: pa.ChunkedArray) -> None:
        now = kind(column.name, source)
        if now not in ("nothing", column.kind):
            raise SchemaError(
                f"column {column.name!r}: holds {now} ({source.type}), it held {column.kind} in training. "
                f"Turn it back into {column.kind}, or fit again on tables of the new kind.",
                field=column.name,
            )

    def state(self) -> dict[str, Any]:
        """Returns all that was learned, as plain values that JSON can hold."""
        columns = [{"encoding": "levels" if isinstance(c, Levels) else "number", **asdict(c)} for c in self.columns]
        for column in columns:
            column.update({k: list(v) for k, v in column.items() if isinstance(v, tuple)})
        return {"columns": columns, "dropped": list(self.dropped), "treatments": list(self.treatments)}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Encoder:
        """Returns the encoder that gave this state.

        Raises:
            StoreError: The state is not one that `state` gives.
        """
        try:
            columns = [_column(**column) for column in state["columns"]]
            return cls(columns, state["dropped"], state["treatments"])
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(f"encoder state: is damaged ({error!r}). Fit and save the encoder again.") from error

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Encoder) and self.state() == other.state()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Encoder({len(self.columns)} columns, {len(self.names)} numbers, {len(self.dropped)} dropped)"


def _column(encoding: str, **saved: Any) -> Column:
    if encoding == "levels":
        return Levels(saved.pop("name"), tuple(saved.pop("levels")), **saved)
    return Number(**saved)
