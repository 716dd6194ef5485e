"""A table into a `Sample`: which column is what, and refusals in the caller's names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from largesse import _check, frames
from largesse.errors import DataError, SchemaError
from largesse.experiment.data.crossfit import CrossFit, cross_fit
from largesse.experiment.data.sample import Floats, Sample, refuse_constant, sound_clusters
from largesse.frames.columns import cells, coded

__all__ = ["Columns", "Metric", "Rows", "clusters_of", "history_of", "numbers_of", "rows_of", "sample_of"]

_MISSING = "Drop the rows, or say what a missing value stands for (often 0)."


class Metric(NamedTuple):
    """What is compared: the mean of a column, or the ratio of two columns' sums; and, for CUPED, its column before."""

    value: str
    denominator: str | None = None
    covariate: str | None = None

    @property
    def name(self) -> str:
        """How it is called in tables."""
        return self.value if self.denominator is None else f"{self.value}/{self.denominator}"

    @classmethod
    def parse(cls, text: str) -> Metric:
        """Returns the metric written as ``value``, ``value/denominator``, either with ``~covariate``.

        Raises:
            SchemaError: The text has another form.

        >>> Metric.parse("orders/sessions~orders_before")
        Metric(value='orders', denominator='sessions', covariate='orders_before')
        """
        found = re.fullmatch(r"([^/~]+)(?:/([^/~]+))?(?:~([^/~]+))?", text)
        if found is None:
            raise SchemaError(
                f"metric == {text!r}: must read value, value/denominator or value~covariate. Name columns of the file.",
                field="metric",
            )
        return cls(*(part and part.strip() for part in found.groups()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Which column is what.

    Attributes:
        arm: The arm of each row; empty for rows of the past, which have none.
        metrics: What is compared.
        control: Label of control; None where one label reads like it.
        arms: Labels of the arms, control first; None for those seen.
        features: Known before the experiment, for predictions.
        unit: Ids of the rows; each may stand once.
        cluster: Ids of the randomised units, where several rows are of one.
        weight: Row weights.
        prediction: A prediction made elsewhere, in place of `features`, for a single metric.

    Raises:
        SchemaError: No metric, a prediction for several metrics or beside features, or a column in two parts.
    """

    arm: str
    metrics: tuple[Metric, ...]
    control: str | None = None
    arms: tuple[str, ...] | None = None
    features: tuple[str, ...] = ()
    unit: str | None = None
    cluster: str | None = None
    weight: str | None = None
    prediction: str | None = None

    def __post_init__(self) -> None:
        if not self.metrics:
            raise SchemaError("metrics == (): name at least one column to compare.", field="metrics")
        if len({metric.name for metric in self.metrics}) < len(self.metrics):
            raise SchemaError("metrics: a metric stands there twice. Name each once.", field="metrics")
        if self.prediction and (self.features or len(self.metrics) > 1):
            raise SchemaError(
                f"prediction == {self.prediction!r}: a prediction is of one metric and takes the place of features. "
                "Leave out the features, and measure one metric at a time.",
                field="prediction",
            )
        outcomes = {self.arm, self.unit, *(m.value for m in self.metrics), *(m.denominator for m in self.metrics)}
        both = [name for name in (*self.features, self.prediction) if name and name in outcomes]
        if both:
            raise SchemaError(
                f"feature {both[0]!r}: is the arm, an id or a metric of the experiment. "
                "Features must be known before it; leave this one out.",
                field=both[0],
            )

    @property
    def known_before(self) -> tuple[str, ...]:
        """Features and covariates, which the arm cannot have changed."""
        return tuple(dict.fromkeys((*self.features, *(m.covariate for m in self.metrics if m.covariate))))

    @property
    def needed(self) -> tuple[str, ...]:
        """Every column that is read."""
        single = (self.arm, self.unit, self.cluster, self.weight, self.prediction)
        of_metrics = (name for m in self.metrics for name in (m.value, m.denominator))
        return tuple(dict.fromkeys(name for name in (*single, *of_metrics, *self.known_before) if name))


class Rows(NamedTuple):
    """What all metrics share: the table, arm codes (N,), labels, cluster codes and weights."""

    table: pa.Table
    arm: NDArray[np.int32]
    arms: tuple[str, ...]
    cluster: NDArray[np.int64] | None
    weight: Floats | None


def rows_of(table: Any, columns: Columns) -> Rows:
    """Returns the rows with their arms, or refuses: one arm, an empty arm, a unit that stands there twice.

    Raises:
        DataError: A cell is missing, an arm has fewer than two rows, or an id stands there twice.
        SchemaError: A column is missing.

    >>> rows_of({"group": ["A", "B"] * 2, "y": [1, 2, 3, 4]}, Columns(arm="group", metrics=(Metric("y"),), control="A")).arms
    ('A', 'B')
    """
    table = frames.read(table, columns.needed)
    arm, arms = frames.arms(table, columns.arm, named=columns.arms, control=columns.control)
    for name, count in zip(arms, np.bincount(arm, minlength=len(arms)), strict=True):
        if count < 2:
            raise _check.refuse(
                f"rows of arm {name!r}", int(count), "every arm needs 2 rows or more",
                f"Check the labels of {columns.arm!r} and the filter, or leave the arm out.",
            )  # fmt: skip
    if columns.unit is not None:
        _unique(table[columns.unit], columns.unit)
    cluster = None if columns.cluster is None else clusters_of(table, columns.cluster)
    if cluster is not None:
        sound_clusters(str(columns.cluster), cluster, arm, arms)
    weight = None if columns.weight is None else numbers_of(table, columns.weight)
    return Rows(table, arm, arms, cluster, weight)


def history_of(table: Any, columns: Columns, how: CrossFit) -> Sample:
    """Returns rows of the past as a sample whose arms mean nothing, for `replay`: of the first metric.

    Args:
        table: A file or a dataframe.
        columns: Which column is what; `arm` is not read.
        how: How predictions are made.

    Raises:
        DataError: A cell is missing, a unit stands there twice, or the metric is the same everywhere.
        SchemaError: A column is missing.

    >>> past = history_of({"y": [1.0, 2.0, 4.0, 3.0]}, Columns(arm="", metrics=(Metric("y"),)), CrossFit())
    >>> past.n, past.arms
    (4, ('A', 'B'))
    """
    table = frames.read(table, [name for name in columns.needed if name != columns.arm])
    if columns.unit is not None:
        _unique(table[columns.unit], columns.unit)
    cluster = None if columns.cluster is None else clusters_of(table, columns.cluster)
    weight = None if columns.weight is None else numbers_of(table, columns.weight)
    arm = ((np.arange(table.num_rows) if cluster is None else cluster) % 2).astype(np.int32)
    return sample_of(Rows(table, arm, ("A", "B"), cluster, weight), columns, columns.metrics[0], how)


def sample_of(rows: Rows, columns: Columns, metric: Metric, how: CrossFit) -> Sample:
    """Returns one metric's sample, with its prediction where there are features.

    Raises:
        DataError: A cell is missing or the metric is the same everywhere; the message names the column.
    """
    value = numbers_of(rows.table, metric.value)
    below = None if metric.denominator is None else numbers_of(rows.table, metric.denominator)
    given = {"covariate": metric.covariate, "prediction": columns.prediction}
    more = {part: numbers_of(rows.table, name) for part, name in given.items() if name is not None}
    try:
        refuse_constant(value, below)  # before the learner is asked to explain it
        if columns.features:
            target = value if below is None else value - value.sum() / max(below.sum(), 1e-300) * below
            more["prediction"] = cross_fit(
                rows.table, columns.features, target, how, cluster=rows.cluster, weight=rows.weight
            )  # fmt: skip
        return Sample(
            value=value, arm=rows.arm, arms=rows.arms, denominator=below, weight=rows.weight, cluster=rows.cluster, **more
        )  # fmt: skip
    except DataError as error:
        raise _in_columns(error, columns, metric) from error


def numbers_of(table: pa.Table, name: str) -> Floats:
    """Returns a column's numbers (N,), or refuses missing cells."""
    values = cells(name, table[name])
    _check.finite(name, values, _MISSING)
    return values


def _unique(column: pa.ChunkedArray, name: str) -> None:
    distinct = pc.count_distinct(column, mode="all").as_py()
    if distinct == len(column):
        return
    counts = column.value_counts()
    twice = counts.filter(pc.greater(counts.field("counts"), 1)) if isinstance(counts, pa.StructArray) else counts
    first = twice.field("values")[0].as_py()
    raise _check.refuse(
        name, first,
        f"each unit may stand only once ({len(column) - distinct} rows too many, {len(twice)} ids repeated)",
        "Aggregate them to one row per unit; or, if a unit has several rows by design, name the column as the cluster.",
    )  # fmt: skip


def clusters_of(table: pa.Table, name: str) -> NDArray[np.int64]:
    """Returns the codes of a column of ids (N,), or refuses missing cells."""
    codes, _ = coded(table[name])
    if (codes < 0).any():
        raise _check.refuse_cells(name, codes, codes < 0, "is missing: every row needs its unit", "Drop the rows.")
    return codes


def _in_columns(error: DataError, columns: Columns, metric: Metric) -> DataError:
    """Returns the refusal with the caller's column in place of the name of the array."""
    names: dict[str, str | None] = {
        "value": metric.value, "denominator": metric.denominator, "weight": columns.weight,
    }  # fmt: skip
    column = names.get(error.field)
    return error if column is None or error.rest is None else error.about(column)
