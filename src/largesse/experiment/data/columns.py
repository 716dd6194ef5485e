"""Converts a table to a `Sample`: the role of each column, and errors that name the caller's columns."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from largesse import _check, frames
from largesse._arguments import checked
from largesse.errors import DataError, SchemaError
from largesse.experiment.data.crossfit import CrossFit, cross_fit
from largesse.experiment.data.sample import MISSING, Floats, Sample, refuse_constant, sound_clusters
from largesse.frames.columns import cells, coded, exact, texts

__all__ = ["Columns", "Metric", "Rows", "clusters_and_weights", "cost_of", "history_of", "rows_of", "sample_of"]


class Metric(NamedTuple):
    """A metric: the mean of a column or the ratio of two columns' sums; and its pre-experiment column, for CUPED."""

    value: str
    denominator: str | None = None
    covariate: str | None = None

    @property
    def name(self) -> str:
        """The metric's name in tables."""
        return self.value if self.denominator is None else f"{self.value}/{self.denominator}"

    @classmethod
    def parse(cls, text: str) -> Metric:
        """Returns the metric written as ``value``, ``value/denominator``, either with ``~covariate``.

        Raises:
            SchemaError: The text has another form.

        >>> Metric.parse("orders/sessions~orders_before")
        Metric(value='orders', denominator='sessions', covariate='orders_before')
        """
        match = re.fullmatch(r"([^/~]+)(?:/([^/~]+))?(?:~([^/~]+))?", text)
        if match is None:
            raise SchemaError(
                f"metric == {text!r}: must read value, value/denominator or value~covariate. Name columns of the file.",
                field="metric",
            )
        return cls(*(part and part.strip() for part in match.groups()))


@checked
@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """The role of each column.

    Attributes:
        arm: The arm of each row; empty for historical rows, which have no arms.
        metrics: The metrics to compare.
        control: Label of control; None to recognise it by its label, e.g. "control".
        features: Columns known before the experiment, from which the metric is predicted.
        unit: Unit ids, one row per id.
        cluster: Ids of the randomised units, where a unit has several rows.
        weight: Row weights.
        prediction: A prediction made elsewhere, instead of `features`, for a single metric.
        cost: What each row cost, to be set against the first metric.

    Raises:
        SchemaError: There is no metric, a prediction comes with several metrics or with features, or a feature or a
            covariate is also the arm, the unit or a metric.
    """

    arm: str
    metrics: tuple[Metric, ...]
    control: str | None = None
    features: tuple[str, ...] = ()
    unit: str | None = None
    cluster: str | None = None
    weight: str | None = None
    prediction: str | None = None
    cost: str | None = None

    def __post_init__(self) -> None:
        for field in ("metrics", "features"):
            object.__setattr__(self, field, tuple(getattr(self, field)))
        if not self.metrics:
            raise SchemaError("metrics == (): name at least one column to compare.", field="metrics")
        if len({metric.name for metric in self.metrics}) < len(self.metrics):
            raise SchemaError("metrics: a metric is named twice. Name each metric once.", field="metrics")
        if self.prediction and (self.features or len(self.metrics) > 1):
            raise SchemaError(
                f"prediction == {self.prediction!r}: a prediction is for one metric and replaces the features. "
                "Leave out the features, and measure one metric at a time.",
                field="prediction",
            )
        if self.cost is not None and self.metrics[0].denominator is not None:
            raise SchemaError(
                f"cost == {self.cost!r}: is set against the first metric, and {self.metrics[0].name!r} is a ratio. "
                "Name a value per row as the first metric, or leave the cost out.",
                field="cost",
            )
        outcomes = {
            self.arm,
            self.unit,
            self.cost,
            *(m.value for m in self.metrics),
            *(m.denominator for m in self.metrics),
        }
        for name in (*self.known_before, self.prediction):
            if name and name in outcomes:
                raise SchemaError(
                    f"feature {name!r}: is the arm, the unit id, the cost or a metric of the experiment. "
                    "Features must be known before it; leave this one out.",
                    field=name,
                )

    @property
    def known_before(self) -> tuple[str, ...]:
        """Features and CUPED covariates, all recorded before the assignment."""
        return tuple(dict.fromkeys((*self.features, *(m.covariate for m in self.metrics if m.covariate is not None))))

    @property
    def needed(self) -> tuple[str, ...]:
        """Every column to read from the table."""
        single = (self.arm or None, self.unit, self.cluster, self.weight, self.prediction, self.cost)
        of_metrics = (name for m in self.metrics for name in (m.value, m.denominator))
        return tuple(dict.fromkeys(name for name in (*single, *of_metrics, *self.known_before) if name is not None))

    @property
    def text(self) -> tuple[str, ...]:
        """Names of the columns of ids and labels: cells of a CSV file stay in them as they are."""
        return tuple(name for name in (self.arm, self.unit, self.cluster) if name)


class Rows(NamedTuple):
    """The part common to all metrics: the table, arm codes (N,), arm labels (M,), cluster codes (N,) and weights (N,)."""

    table: pa.Table
    arm: NDArray[np.int32]
    arms: tuple[str, ...]
    cluster: NDArray[np.int64] | None
    weight: Floats | None


def rows_of(table: Any, columns: Columns) -> Rows:
    """Returns the table's rows with their arms.

    Raises:
        DataError: A cell is missing, an arm has fewer than two rows, or a unit has two rows.
        SchemaError: A column is missing.

    >>> rows_of({"group": ["A", "B"] * 2, "y": [1, 2, 3, 4]}, Columns(arm="group", metrics=(Metric("y"),), control="A")).arms
    ('A', 'B')
    """
    table = frames.read(table, columns.needed, text=columns.text)
    arm, arms = frames.arms(table, columns.arm, control=columns.control)
    for name, count in zip(arms, np.bincount(arm, minlength=len(arms)), strict=True):
        if count < 2:
            raise _check.refuse(
                f"rows of arm {name!r}", int(count), "every arm needs 2 rows or more",
                f"Check the labels of {columns.arm!r} and the filter, or leave the arm out.",
            )  # fmt: skip
    cluster, weight = clusters_and_weights(table, columns)
    if cluster is not None:
        sound_clusters(str(columns.cluster), cluster, arm, arms)
    return Rows(table, arm, arms, cluster, weight)


@checked
def history_of(table: Any, columns: Columns, how: CrossFit) -> Sample:
    """Returns historical rows as a sample of the first metric for `replay`; its arms are arbitrary.

    Args:
        table: A file or a dataframe.
        columns: The role of each column; `arm` is not read.
        how: How the metric is predicted.

    Raises:
        DataError: A cell is missing, a unit has two rows, or the metric is constant.
        SchemaError: A column is missing.

    >>> past = history_of({"y": [1.0, 2.0, 4.0, 3.0]}, Columns(arm="", metrics=(Metric("y"),)), CrossFit())
    >>> past.n, past.arms
    (4, ('A', 'B'))
    """
    table = frames.read(table, [name for name in columns.needed if name != columns.arm], text=columns.text)
    cluster, weight = clusters_and_weights(table, columns)
    arm = ((np.arange(table.num_rows) if cluster is None else cluster) % 2).astype(np.int32)
    return sample_of(Rows(table, arm, ("A", "B"), cluster, weight), columns, columns.metrics[0], how)


def clusters_and_weights(table: pa.Table, columns: Columns) -> tuple[NDArray[np.int64] | None, Floats | None]:
    """Returns the cluster codes and the weights of the rows, each (N,), or None where there is no such column.

    Raises:
        DataError: A cell is missing, or a unit has two rows.
    """
    if columns.unit is not None:
        _unique(exact(columns.unit, table[columns.unit]), columns.unit)
    cluster = None
    if columns.cluster is not None:
        codes, values = coded(exact(columns.cluster, table[columns.cluster]))
        rank = np.argsort(np.argsort(np.array([*texts(values), ""])[:-1], kind="stable"), kind="stable")
        cluster = np.append(rank, -1)[codes]  # in the order of the labels, not of the rows
        if (cluster < 0).any():
            raise _check.refuse_cells(
                columns.cluster, cluster, cluster < 0, "is missing: every row needs its unit", "Drop the rows."
            )  # fmt: skip
    return cluster, None if columns.weight is None else _numbers(table, columns.weight)


def sample_of(rows: Rows, columns: Columns, metric: Metric, how: CrossFit) -> Sample:
    """Returns the sample of one metric, with out-of-fold predictions if there are features.

    Raises:
        DataError: A cell is missing or the metric is constant; the message names the column.
    """
    value = _numbers(rows.table, metric.value)
    denominator = None if metric.denominator is None else _numbers(rows.table, metric.denominator)
    names = {"covariate": metric.covariate, "prediction": columns.prediction}
    optional = {part: _numbers(rows.table, name) for part, name in names.items() if name is not None}
    try:
        refuse_constant(value, denominator)  # a constant cannot be predicted: refused before the learner is fitted
        if columns.features:
            target = value
            if denominator is not None:
                target = value - value.sum() / max(denominator.sum(), 1e-300) * denominator
            optional["prediction"] = cross_fit(
                rows.table, columns.features, target, how, cluster=rows.cluster, weight=rows.weight
            )  # fmt: skip
        return Sample(
            value=value, arm=rows.arm, arms=rows.arms, denominator=denominator, weight=rows.weight, cluster=rows.cluster,
            **optional,
        )  # fmt: skip
    except DataError as error:
        column = {"value": metric.value, "denominator": metric.denominator, "weight": columns.weight}.get(error.field)
        if column is None or error.rest is None:
            raise
        raise error.about(column) from error


def cost_of(rows: Rows, columns: Columns) -> Floats:
    """Returns the cost of each row (N,).

    Raises:
        DataError: A cell is missing, or the cost is the same in every row.
    """
    assert columns.cost is not None
    cost = _numbers(rows.table, columns.cost)
    if (cost == cost[0]).all():
        raise _check.refuse(
            columns.cost, float(cost[0]), "is the same in every row, so no arm costs more than control",
            "Name the column of what was spent on each unit, or leave --cost out.",
        )  # fmt: skip
    return cost


def _numbers(table: pa.Table, name: str) -> Floats:
    """Returns the numbers of a column (N,); refuses missing cells."""
    values = cells(name, table[name])
    _check.amounts(name, values, MISSING)
    return values


def _unique(column: pa.ChunkedArray, name: str) -> None:
    distinct = pc.count_distinct(column, mode="all").as_py()
    if distinct == len(column):
        return
    counts = column.value_counts()
    repeated = counts.filter(pc.greater(counts.field("counts"), 1)) if isinstance(counts, pa.StructArray) else counts
    raise _check.refuse(
        name, repeated.field("values")[0].as_py(),
        f"each unit may appear only once ({len(column) - distinct} rows too many, {len(repeated)} ids repeated)",
        "Aggregate them to one row per unit; or, if a unit has several rows by design, name the column as the cluster.",
    )  # fmt: skip
