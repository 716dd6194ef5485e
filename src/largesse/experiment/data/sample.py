"""Rows of an experiment: the arm that each unit was given, its metric, and what was known of it before."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from largesse import _check
from largesse.errors import DataError

__all__ = ["Batches", "Block", "Sample", "Source", "refuse_constant", "sound_clusters"]

Floats = NDArray[np.float64]
Codes = NDArray[np.int32]
BLOCK = 65_536
_NONE: Floats = np.empty(0)


class Block(NamedTuple):
    """Some rows. A column that is not given is an array without entries."""

    value: Floats
    arm: Codes
    denominator: Floats
    prediction: Floats
    weight: Floats


class Source(Protocol):
    """What the estimators read: rows in blocks, as often as they ask; only sums pass from one reading to the next."""

    @property
    def arms(self) -> tuple[str, ...]:
        """Names of the arms, control first."""

    def blocks(self) -> Iterator[Block]:
        """Yields the rows, in the same order every time."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Sample:
    """Rows of an experiment, checked once, arrays only.

    Attributes:
        value: The metric, or its numerator, finite (N,).
        arm: Code of the arm (N,), 0 is control.
        arms: Names of the arms, control first (M,); each has two rows or more.
        denominator: Of a ratio metric, >= 0 (N,); None for a metric per row.
        prediction: What is expected of `value` (of value less ratio × denominator for a ratio) by what was known before
            the experiment, made by a model that has not seen the row (N,).
        covariate: The metric before the experiment, for CUPED (N,).
        weight: > 0 (N,). A row of weight 2 stands for two units, but it is one draw.
        cluster: Code of the randomised unit where it is not the row (N,), 0 to G - 1.

    Raises:
        DataError: A column breaks a rule, an arm is empty, or a cluster has rows in two arms.

    >>> sample = Sample(value=[1.0, 2.0, 3.0, 5.0], arm=[0, 1, 0, 1], arms=("A", "B"))
    >>> sample.n, sample.clusters
    (4, 0)
    """

    value: Floats
    arm: Codes
    arms: tuple[str, ...]
    denominator: Floats | None = None
    prediction: Floats | None = None
    covariate: Floats | None = None
    weight: Floats | None = None
    cluster: NDArray[np.int64] | None = None

    if TYPE_CHECKING:  # what the constructor accepts; the fields above are what it stores

        def __init__(
            self, *, value: ArrayLike, arm: ArrayLike, arms: tuple[str, ...], denominator: ArrayLike | None = None,
            prediction: ArrayLike | None = None, covariate: ArrayLike | None = None, weight: ArrayLike | None = None,
            cluster: NDArray[np.int64] | None = None,
        ) -> None: ...  # fmt: skip

    def __post_init__(self) -> None:
        for name in ("value", "denominator", "prediction", "covariate", "weight"):
            given = getattr(self, name)
            if given is not None:
                object.__setattr__(self, name, _floats(name, given))
        _two_arms(self.arms)
        arm = _check.integers(
            "arm", self.arm, low=0, high=len(self.arms), rule=f"must be the code of one of {len(self.arms)} arms",
            remedy="Give codes from 0, control first.",
        )  # fmt: skip
        object.__setattr__(self, "arm", arm)
        _check.lengths(
            value=self.value, arm=arm, denominator=self.denominator, prediction=self.prediction,
            covariate=self.covariate, weight=self.weight, cluster=self.cluster,
        )  # fmt: skip
        _full_arms(np.bincount(arm, minlength=len(self.arms)), self.arms)
        refuse_constant(self.value, self.denominator)
        if self.weight is not None and (self.weight <= 0).any():
            raise _check.refuse_cells("weight", self.weight, self.weight <= 0, "must be > 0", "Drop the rows.")
        if self.denominator is not None:
            _check.nonnegative("denominator", self.denominator)
            _positive_arms(self.denominator, arm, self.arms)
        if self.cluster is not None:
            sound_clusters("cluster", self.cluster, arm, self.arms)

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.value)

    @property
    def clusters(self) -> int:
        """Number of randomised units where they are not the rows, else 0."""
        return 0 if self.cluster is None else int(self.cluster.max()) + 1

    def blocks(self) -> Iterator[Block]:
        """Yields views of the rows."""
        columns = (self.value, self.arm, self.denominator, self.prediction, self.weight)
        for start in range(0, self.n, BLOCK):
            yield Block(*(_NONE if c is None else c[start : start + BLOCK] for c in columns))  # type: ignore[arg-type]


class Batches:
    """Rows that are read anew at every pass: Arrow record batches, so that only one of them is in memory.

    Args:
        read: Returns the batches; it is called once for every pass and must give the same rows.
        value: Column of the metric.
        arm: Column of the arms, as text.
        arms: Names of the arms, control first; rows of others are refused.
        denominator: Column of the denominator, for a ratio metric.
        prediction: Column of the prediction, see `Sample`.
        weight: Column of the weights.

    >>> table = pa.table({"y": [1.0, 2.0, 3.0, 5.0], "group": ["A", "B", "A", "B"]})
    >>> rows = Batches(table.to_batches, value="y", arm="group", arms=("A", "B"))
    >>> [block.arm.tolist() for block in rows.blocks()]
    [[0, 1, 0, 1]]
    """

    def __init__(
        self, read: Callable[[], Iterable[pa.RecordBatch]], *, value: str, arm: str, arms: tuple[str, ...],
        denominator: str | None = None, prediction: str | None = None, weight: str | None = None,
    ) -> None:  # fmt: skip
        self._read = read
        self._names = {"value": value, "denominator": denominator, "prediction": prediction, "weight": weight}
        self._arm = arm
        self.arms = tuple(arms)
        _two_arms(self.arms)

    def blocks(self) -> Iterator[Block]:
        """Yields one block for every batch that has rows.

        Raises:
            DataError: A cell is missing or not finite, or an arm is unknown.
        """
        for batch in self._read():
            if batch.num_rows == 0:
                continue
            arm = self._codes(batch.column(self._arm))
            column = {
                field: _NONE if name is None else _floats(name, batch.column(name).to_numpy(zero_copy_only=False))
                for field, name in self._names.items()
            }
            yield Block(arm=arm, **column)

    def _codes(self, column: Any) -> Codes:
        packed = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
        names = [str(name) for name in packed.dictionary.to_pylist()]
        unknown = [name for name in names if name not in self.arms]
        if unknown or packed.null_count:
            got = unknown[0] if unknown else None
            raise _check.refuse(self._arm, got, f"must be one of the arms {self.arms}", "Name it, or drop its rows.")
        place = np.array([self.arms.index(name) for name in names], np.int32)
        return place[packed.indices.to_numpy(zero_copy_only=False)]


def _floats(name: str, given: object) -> Floats:
    out: Floats = _check.array(name, given, ndim=1, dtype=np.float64)
    _check.finite(name, out, "Drop the rows, or say what a missing value stands for (often 0).")
    return np.ascontiguousarray(out)


def _two_arms(arms: tuple[str, ...]) -> None:
    if len(arms) < 2:
        raise _check.refuse(
            "arms", tuple(arms), "an experiment has two arms or more, control first",
            "Is the column of the arms the right one, or was the file filtered?",
        )  # fmt: skip
    if len(set(arms)) < len(arms):
        raise _check.refuse("arms", tuple(arms), "names of arms must differ", "Rename one of them.")


def _full_arms(rows: NDArray[Any], arms: tuple[str, ...]) -> None:
    for name, count in zip(arms, rows, strict=True):
        if count < 2:
            raise _check.refuse(
                f"units of arm {name!r}", int(count), "every arm needs 2 randomised units or more",
                "Check its name and the filter, or leave the arm out.",
            )  # fmt: skip


def refuse_constant(value: Floats, denominator: Floats | None) -> None:
    """Refuses a metric that is the same in every row.

    Raises:
        DataError: It is.
    """
    same = value.min() == value.max() and (denominator is None or denominator.min() == denominator.max())
    if same:
        raise _check.refuse(
            "value", float(value[0]), f"the metric is the same in all {len(value)} rows, so there is nothing to compare",
            "Is the column the right one?",
        )  # fmt: skip


def _positive_arms(denominator: Floats, arm: Codes, arms: tuple[str, ...]) -> None:
    sums = np.bincount(arm, denominator, minlength=len(arms))
    if (sums <= 0).any():
        name = arms[int(np.argmin(sums))]
        rest = f": its sum is 0 in arm {name!r}, so the ratio has no value. Is the column the right one?"
        raise DataError.at("denominator", rest)


def sound_clusters(field: str, cluster: NDArray[np.int64], arm: Codes, arms: tuple[str, ...]) -> None:
    """Refuses a randomised unit with rows in two arms, and an arm with fewer than two units.

    Raises:
        DataError: One of these.
    """
    first = np.full(int(cluster.max()) + 1, -1, np.int64)
    first[cluster[::-1]] = arm[::-1]
    bad = first[cluster] != arm
    if bad.any():
        k = int(np.argmax(bad))
        many = f"{int(bad.sum())} such row{'s' if bad.sum() > 1 else ''}"
        both = f"{arms[int(first[cluster[k]])]!r} and {arms[int(arm[k])]!r}"
        raise DataError.at(
            field, f"[{k}]: the unit has rows in the arms {both}, a randomised unit has one arm ({many}). Drop these units, and "
            "find out how it came.",
        )  # fmt: skip
    _full_arms(np.bincount(first[first >= 0], minlength=len(arms)), arms)
