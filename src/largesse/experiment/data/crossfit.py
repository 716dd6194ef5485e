"""Out-of-fold predictions of the metric from pre-experiment features: cross-fitting.

The arm is not among the features, so the predictions do not depend on the assignment. Rows are encoded and predicted in
chunks; a model is fitted to about 100,000 rows at most, since more rows hardly improve the predictions.

Reference:
    Guo et al. 2021 (MLRATE); Chernozhukov et al. 2018, "Double/debiased machine learning" (cross-fitting).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from largesse import _check
from largesse._arguments import checked
from largesse._forest import Forest
from largesse._random import child, number
from largesse.frames import Encoder
from largesse.frames.columns import Kind, cells, kind, named
from largesse.frames.order import content_order
from largesse.frames.tables import pick

__all__ = ["CrossFit", "Regressor", "cross_fit"]

Floats = NDArray[np.float64]
_CHUNK = 32_768
_MAX_BALANCED = 100_000  # units; with more, folds are drawn independently and differ a little in size
_TRAINING_ROWS = 100_000  # about so many rows at most, drawn at random, fit one fold's model


class Regressor(Protocol):
    """A regressor with scikit-learn's `fit` and `predict`; every fold fits a fresh copy."""

    def fit(self, x: Any, y: Any) -> Any:
        """Fits the model to the rows."""

    def predict(self, x: Any) -> Any:
        """Returns one number per row."""


@checked
@dataclass(frozen=True, slots=True, kw_only=True)
class CrossFit:
    """How out-of-fold predictions are made.

    Attributes:
        learner: A scikit-learn regressor; None for LightGBM.
        folds: Number of folds, >= 2; the rows of a fold are predicted by a model fitted to the other folds.
        seed: Seed of the folds, of the training rows and of the default learner.

    Raises:
        DataError: A number is out of its range.
    """

    learner: Regressor | None = None
    folds: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        _check.number("folds", self.folds, low=2, high=100)
        _check.number("seed", self.seed, low=0, high=2**63)

    def fresh(self, fold: int) -> Regressor:
        """Returns the unfitted learner of a fold; by default LightGBM with small trees, squared error, one thread."""
        if self.learner is not None:
            from sklearn.base import clone

            out: Regressor = clone(self.learner)
            return out
        from lightgbm import LGBMRegressor

        default: Regressor = LGBMRegressor(
            n_estimators=120, learning_rate=0.06, num_leaves=15, min_child_samples=30,
            random_state=number(self.seed, 1, fold), n_jobs=1, deterministic=True, force_row_wise=True, verbose=-1,
        )  # fmt: skip
        return default


@checked
def cross_fit(
    table: pa.Table, features: Sequence[str], target: Floats, how: CrossFit = CrossFit(), *,
    cluster: NDArray[np.int64] | None = None, weight: Floats | None = None,
) -> Floats:  # fmt: skip
    """Returns the out-of-fold prediction of each row, (N,).

    Args:
        table: The rows, with the features as columns.
        features: Names of pre-experiment columns: numbers, text or dates; cells may be missing.
        target: The values to predict, finite (N,).
        how: Learner, folds and seed.
        cluster: Cluster codes (N,); the rows of one cluster are in one fold.
        weight: Row weights (N,), for learners that take ``sample_weight``.

    Raises:
        SchemaError: A column is missing, or no column varies.

    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=2000)
    >>> g = cross_fit(pa.table({"x": x}), ["x"], 3 * x + rng.normal(size=2000))
    >>> bool(np.corrcoef(g, x)[0, 1] > 0.95)
    True
    """
    order = content_order(chain((target, weight), _cells(pick(table, features), features)), len(target))
    fold = _folds(order, how, cluster)
    training = [_training_rows(order, fold, how, k) for k in range(how.folds)]
    encoder = Encoder.fit(table.select(list(features)).take(pa.array(training[0])), features)
    models = [_fitted(how, k, table, encoder, rows, target, weight) for k, rows in enumerate(training)]
    out = np.empty(len(target))
    for start in range(0, len(target), _CHUNK):
        part = slice(start, min(start + _CHUNK, len(target)))
        x = encoder.transform(table.slice(part.start, part.stop - part.start))
        for k, model in enumerate(models):
            rows = np.flatnonzero(fold[part] == k)
            if len(rows):
                out[start + rows] = model(x[rows])
    return out


def _cells(table: pa.Table, features: Sequence[str]) -> Iterator[NDArray[Any]]:
    for name in features:
        text = kind(name, table[name]) is Kind.TEXT
        yield np.array([label or "" for label in named(table[name])]) if text else cells(name, table[name])


def _folds(order: NDArray[np.int64], how: CrossFit, cluster: NDArray[np.int64] | None) -> NDArray[np.int8]:
    """Returns the fold of each row (N,); folds have nearly equal numbers of units (of clusters where there are any).

    `order` lists the rows by their content, so that the same rows in another order get the same folds.
    """
    n = len(order)
    units = n if cluster is None else int(cluster.max()) + 1
    if units < how.folds:
        raise _check.refuse("folds", how.folds, f"there are only {units} units", "Give fewer folds.")
    rng = child(how.seed, 0)
    if units > _MAX_BALANCED:
        fold = rng.integers(0, how.folds, units, dtype=np.int8)
    else:
        fold = (np.arange(units) % how.folds).astype(np.int8)
        rng.shuffle(fold)
    if cluster is not None:
        return fold[cluster]
    of_row = np.empty(n, np.int8)
    of_row[order] = fold
    return of_row


def _training_rows(order: NDArray[np.int64], fold: NDArray[np.int8], how: CrossFit, k: int) -> NDArray[np.int64]:
    """Returns the training rows of fold k's model: rows of the other folds, all or a random sample."""
    most = _TRAINING_ROWS * how.folds // (how.folds - 1)
    rows = order
    if len(fold) > most:
        rows = order[np.sort(child(how.seed, 2, k).choice(len(fold), most, replace=False))]
    return rows[fold[rows] != k]


def _fitted(
    how: CrossFit, k: int, table: pa.Table, encoder: Encoder, rows: NDArray[np.int64], target: Floats,
    weight: Floats | None,
) -> Callable[[NDArray[np.float32]], Floats]:  # fmt: skip
    """Fits one fold's model and returns its predict function."""
    model, x = how.fresh(k), encoder.transform(table.select(encoder.features).take(pa.array(rows)))
    model.fit(x, target[rows], **({} if weight is None else {"sample_weight": weight[rows]}))
    booster = getattr(model, "booster_", None)
    if booster is not None:  # faster than LightGBM's predict, which checks every chunk
        forest = Forest(booster)
        return lambda part: forest.mean(part)[:, 0]
    return lambda part: np.asarray(model.predict(part), np.float64).reshape(len(part))
