"""Who gets what at a budget, and what that brings by the model's predictions: by the groups of any column of the units."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from largesse import _check
from largesse._check import written
from largesse.allocate import kernels
from largesse.commands.studio.population import Population
from largesse.frames.columns import Kind, cells, coded, decoded, kind, texts
from largesse.roles import nearest

__all__ = ["Group", "Grouping", "Who"]

_LEVELS, _PARTS = 24, 5  # groups of a column of words, and of one of numbers
_KEPT = 8  # columns whose groups stay in memory
_MISSING, _OTHERS = "missing", "all others"


_Each = tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]


class Grouping(NamedTuple):
    """The units by one column.

    Attributes:
        code: Group of each unit, (N,).
        names: The groups; those of numbers in order, those of words by size.
    """

    code: NDArray[np.int16]
    names: tuple[str, ...]


class Group(NamedTuple):
    """What the units of a group get and what that is predicted to bring, in total and beyond control for all of them.

    Attributes:
        name: The group.
        n: Number of its units.
        counts: Units with each treatment, (M,).
        value: Predicted value beyond control.
        cost: Predicted cost beyond control.
        moved: Units that get another treatment at the other budget; 0 where there is none.
        other_value: Predicted value beyond control at the other budget.
        other_cost: Predicted cost beyond control there.
    """

    name: str
    n: int
    counts: tuple[int, ...]
    value: float
    cost: float
    moved: int
    other_value: float
    other_cost: float


class Who:
    """The units of a studio by group.

    Args:
        units: The units.
    """

    def __init__(self, units: Population) -> None:
        self.units = units
        self.grouping = lru_cache(maxsize=_KEPT)(self._grouping)
        self._assigned = lru_cache(maxsize=4)(self._assign)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns by which units can be grouped: all but that of their ids."""
        fields = [field for field in self.units.table.schema if field.name != self.units.unit]
        return tuple(field.name for field in fields if not pa.types.is_nested(field.type))

    def groups(
        self, column: str, price: float, other: float | None = None, within: Mapping[str, str] | None = None
    ) -> tuple[Group, ...]:
        """Returns the groups of a column.

        Args:
            column: A column of the units.
            price: Shadow price λ of the budget.
            other: That of another budget, to see who would get something else; None: there is none.
            within: Column → group: only units that are in all of these.

        Raises:
            DataError: There is no such column or group.
        """
        grouping, rows = self.grouping(column), self._rows(within or {})
        code = grouping.code if rows is None else grouping.code[rows]
        size, m = len(grouping.names), self.units.menu.n_treatments
        now, value, cost = self._brought(price, rows)
        counts = np.bincount(code.astype(np.int64) * m + now, minlength=size * m).reshape(size, m)
        totals = [np.bincount(code, one, size) for one in (value, cost)]
        moved, others = np.zeros(size, np.int64), totals
        if other is not None:
            then, value, cost = self._brought(other, rows)
            moved = np.bincount(code[then != now], minlength=size)
            others = [np.bincount(code, one, size) for one in (value, cost)]
        each = zip(grouping.names, counts, *totals, moved, *others, strict=True)
        return tuple(
            Group(name, int(own.sum()), tuple(own.tolist()), float(v), float(c), int(k), float(ov), float(oc))
            for name, own, v, c, k, ov, oc in each if own.sum()
        )  # fmt: skip

    def _brought(self, price: float, rows: NDArray[np.intp] | None) -> _Each:
        """Returns the treatment of some units, and predicted value and cost beyond control, (n,) each."""
        now, value, cost = self._assigned(price)
        return (now, value, cost) if rows is None else (now[rows], value[rows], cost[rows])

    def _assign(self, price: float) -> _Each:
        value, cost = self.units.menu.value.T, self.units.menu.cost.T  # (M, N)
        now, at = kernels.assign_at(value, cost, price), np.arange(self.units.n)
        return now, value[now, at] - value[0], cost[now, at] - cost[0]

    def _rows(self, within: Mapping[str, str]) -> NDArray[np.intp] | None:
        if not within:
            return None
        inside = np.ones(self.units.n, np.bool_)
        for column, name in within.items():
            grouping = self.grouping(column)
            if name not in grouping.names:
                raise _check.refuse(
                    column,
                    name,
                    f"is none of its groups: {', '.join(map(repr, grouping.names[:8]))}",
                    "Choose one of them.",
                )
            inside &= grouping.code == grouping.names.index(name)
        return np.flatnonzero(inside)

    def _grouping(self, column: str) -> Grouping:
        if column not in self.columns:
            raise _check.refuse(
                "column", column, "the units have no such column",
                f"{nearest(column, self.columns)}They have {', '.join(map(repr, self.columns[:8]))}.",
            )  # fmt: skip
        cell = self.units.table.columns([column]).column(0)
        what = kind(column, cell)
        plain = pa.types.is_boolean(decoded(cell.slice(0, 0)).type)
        code, names = _levels(cell) if what is Kind.TEXT or plain else _numbers(cells(column, cell), what)
        return Grouping(code.astype(np.int16), tuple(names))


def _levels(column: pa.ChunkedArray) -> tuple[NDArray[np.int64], list[str]]:
    """Returns the level of each cell, the most frequent first; the rarest of many share a group."""
    code, values = coded(column)
    names = texts(values)
    missing = len(names)
    code = np.where(code < 0, missing, code)
    order = np.argsort(-np.bincount(code, minlength=missing + 1)[:missing], kind="stable")
    first = order if missing <= _LEVELS else order[: _LEVELS - 1]
    place = np.full(missing + 1, len(first), np.int64)
    place[first] = np.arange(len(first))
    rest = [] if len(first) == missing else [_OTHERS]
    place[missing] = len(first) + len(rest)
    return place[code], [*(names[k] for k in first), *rest, _MISSING]


def _numbers(values: NDArray[np.float64], what: Kind) -> tuple[NDArray[np.int64], list[str]]:
    """Returns the values themselves if they are few, else fifths of the units; units without a value are a group."""
    known = values[np.isfinite(values)]
    if not len(known):
        return np.zeros(len(values), np.int64), [_MISSING]
    some = known if len(known) <= 100_000 else np.random.default_rng(0).choice(known, 100_000, replace=False)
    kinds = np.unique(some)
    if len(kinds) <= 2 * _PARTS and np.isin(known, kinds).all():
        names = [_written(float(one), what) for one in kinds]
        code = np.searchsorted(kinds, values)
    else:
        cuts = np.unique(np.quantile(some, np.linspace(0, 1, _PARTS + 1)))
        names = [f"{_written(float(a), what)} to {_written(float(b), what)}" for a, b in pairwise(cuts)]
        code = np.clip(np.searchsorted(cuts, values, side="right") - 1, 0, max(len(cuts) - 2, 0))
    return np.where(np.isfinite(values), np.clip(code, 0, len(names) - 1), len(names)), [*names, _MISSING]


def _written(x: float, what: Kind) -> str:
    return str(np.datetime64(int(x), "D")) if what is Kind.DATE else written(x, 4)
