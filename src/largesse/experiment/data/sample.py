"""Rows of an experiment: the assigned arm, the metric, and pre-experiment data of each unit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from largesse import _check
from largesse._arguments import checked
from largesse.errors import DataError, UndefinedMetric

__all__ = ["MISSING", "Batches", "Block", "Sample", "Source", "refuse_constant", "sound_clusters"]

Floats = NDArray[np.float64]
Codes = NDArray[np.int32]
BLOCK = 65_536
MISSING = "Drop the rows, or fill the missing values (often with 0)."
_LARGEST = 1e60  # squares and their products stay finite
_NONE: Floats = np.empty(0)


class Block(NamedTuple):
    """Consecutive rows, each column (n,). A column that is not given is an empty array."""

    value: Floats
    arm: Codes
    denominator: Floats
    prediction: Floats
    weight: Floats


@runtime_checkable
class Source(Protocol):
    """Rows that can be read in blocks several times; estimators keep only sums between passes."""

    @property
    def arms(self) -> tuple[str, ...]:
        """Labels of the arms, control first."""

    def blocks(self) -> Iterator[Block]:
        """Yields the rows, in the same order in every pass."""


@checked
@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Sample:
    """Rows of an experiment as checked arrays.

    Attributes:
        value: The metric, or the numerator of a ratio metric, finite (N,).
        arm: Arm codes (N,), 0 is control.
        arms: Labels of the arms, control first (M,); each arm has two rows or more.
        denominator: Denominator of a ratio metric, >= 0 (N,); None for a metric per row.
        prediction: Prediction of `value` (for a ratio: of value - ratio · denominator) from pre-experiment features, by a
            model that was not fitted to the row (N,).
        covariate: The metric before the experiment, for CUPED (N,).
        weight: Row weights, > 0 (N,). A row of weight 2 counts as two units in sums and means, but as one observation in
            standard errors.
        cluster: Codes of the randomised units, where a unit has several rows (N,), 0 to G - 1.

    Raises:
        DataError: A column breaks one of these rules, an arm has fewer than two units, or a cluster has rows in two arms.

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
            column = getattr(self, name)
            if column is not None:
                object.__setattr__(self, name, _floats(name, column))
        _check_arms(self.arms)
        arm = _check.integers(
            "arm", self.arm, low=0, high=len(self.arms), rule=f"must be the code of one of {len(self.arms)} arms",
            remedy="Give codes from 0, control first.",
        )  # fmt: skip
        object.__setattr__(self, "arm", arm)
        _check.lengths(
            value=self.value, arm=arm, denominator=self.denominator, prediction=self.prediction,
            covariate=self.covariate, weight=self.weight, cluster=self.cluster,
        )  # fmt: skip
        _check_arm_sizes(np.bincount(arm, minlength=len(self.arms)), self.arms)
        refuse_constant(self.value, self.denominator)
        if self.weight is not None and (self.weight <= 0).any():
            raise _check.refuse_cells("weight", self.weight, self.weight <= 0, "must be > 0", "Drop the rows.")
        if self.denominator is not None:
            _check.nonnegative("denominator", self.denominator)
            sums = np.bincount(arm, self.denominator, minlength=len(self.arms))
            if (sums <= 0).any():
                rest = f": its sum is 0 in arm {self.arms[int(np.argmin(sums))]!r}, so the ratio is undefined."
                raise UndefinedMetric.at("denominator", f"{rest} Check whether this is the right column.")
        if self.cluster is not None:
            sound_clusters("cluster", self.cluster, arm, self.arms)

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.value)

    @property
    def clusters(self) -> int:
        """Number of clusters, 0 where the rows are the randomised units."""
        return 0 if self.cluster is None else int(self.cluster.max()) + 1

    def blocks(self) -> Iterator[Block]:
        """Yields views of the rows in blocks."""
        columns = (self.value, self.arm, self.denominator, self.prediction, self.weight)
        for start in range(0, self.n, BLOCK):
            yield Block(*(_NONE if c is None else c[start : start + BLOCK] for c in columns))  # type: ignore[arg-type]


@checked
class Batches:
    """Rows read as Arrow record batches in every pass, so that only one batch is in memory at a time.

    Args:
        read: Returns the batches; it is called once per pass and must return the same rows every time.
        value: Column of the metric, or of a ratio's numerator.
        arm: Column of the arm labels (text).
        arms: Labels of the arms, control first; rows with another label are refused.
        denominator: Column of a ratio metric's denominator.
        prediction: Column of the predictions, see `Sample`.
        weight: Column of the row weights.

    Raises:
        DataError: There are fewer than two arms, or two have the same label.

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
        _check_arms(self.arms)

    def blocks(self) -> Iterator[Block]:
        """Yields one block per non-empty batch.

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
        encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
        labels = [str(label) for label in encoded.dictionary.to_pylist()]
        unknown = [label for label in labels if label not in self.arms]
        if unknown or encoded.null_count:
            got = unknown[0] if unknown else None
            raise _check.refuse(
                self._arm, got, f"must be one of the arms {self.arms}", "Add the arm, or drop its rows."
            )  # fmt: skip
        codes = np.array([self.arms.index(label) for label in labels], np.int32)
        return codes[encoded.indices.to_numpy(zero_copy_only=False)]


def _floats(name: str, values: object) -> Floats:
    out: Floats = _check.array(name, values, ndim=1, dtype=np.float64)
    _check.amounts(name, out, MISSING, _LARGEST)
    return np.ascontiguousarray(out)


def _check_arms(arms: tuple[str, ...]) -> None:
    if len(arms) < 2:
        raise _check.refuse(
            "arms", tuple(arms), "an experiment has two arms or more, control first",
            "Check the column of the arms and the filter of the file.",
        )  # fmt: skip
    if len(set(arms)) < len(arms):
        raise _check.refuse("arms", tuple(arms), "labels of arms must differ", "Rename one of them.")


def _check_arm_sizes(units: NDArray[Any], arms: tuple[str, ...]) -> None:
    for name, count in zip(arms, units, strict=True):
        if count < 2:
            raise _check.refuse(
                f"units of arm {name!r}", int(count), "every arm needs 2 randomised units or more",
                "Check its label and the filter, or leave the arm out.",
            )  # fmt: skip


def refuse_constant(value: Floats, denominator: Floats | None) -> None:
    """Refuses a metric that has the same value in every row.

    Raises:
        UndefinedMetric: The metric is constant.
    """
    if value.min() == value.max() and (denominator is None or denominator.min() == denominator.max()):
        raise _check.refuse(
            "value", float(value[0]), f"the metric is the same in all {len(value)} rows, so there is nothing to compare",
            "Check whether this is the right column.", UndefinedMetric,
        )  # fmt: skip


def sound_clusters(field: str, cluster: NDArray[np.int64], arm: Codes, arms: tuple[str, ...]) -> None:
    """Checks that every cluster has one arm and every arm two clusters or more.

    Raises:
        DataError: A cluster has rows in two arms, or an arm has fewer than two clusters.
    """
    first = np.full(int(cluster.max()) + 1, -1, np.int64)
    first[cluster[::-1]] = arm[::-1]
    bad = first[cluster] != arm
    if bad.any():
        k, count = int(np.argmax(bad)), int(bad.sum())
        both = f"{arms[int(first[cluster[k]])]!r} and {arms[int(arm[k])]!r}"
        raise DataError.at(
            field, f"[{k}]: the unit has rows in the arms {both}, a randomised unit has one arm "
            f"({count} such row{'s' if count > 1 else ''}). Drop these units, and check how they were assigned.",
        )  # fmt: skip
    _check_arm_sizes(np.bincount(first[first >= 0], minlength=len(arms)), arms)
