"""Predictions of the metric from what was known before the experiment, each row by a model that has not seen it.

The arm is not shown to the learner, so the predictions are the same whatever the assignment was. Rows are encoded and
predicted in chunks; the learner sees at most so many rows, since a better prediction hardly pays beyond that.

Reference:
    Guo et al. 2021 (MLRATE); Chernozhukov et al. 2018, "Double/debiased machine learning" (cross-fitting).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from largesse import _check
from largesse._forest import Forest
from largesse._random import child, number
from largesse.frames import Encoder

__all__ = ["CrossFit", "Regressor", "cross_fit", "lightgbm"]

Floats = NDArray[np.float64]
_CHUNK = 32_768
_MANY = 100_000  # units whose parts need not be exactly even


class Regressor(Protocol):
    """Anything with the `fit` and `predict` of scikit-learn; a fresh copy is made for every fold."""

    def fit(self, x: Any, y: Any) -> Any:
        """Learns the rows."""

    def predict(self, x: Any) -> Any:
        """Returns one number a row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossFit:
    """How predictions are made.

    Attributes:
        learner: A scikit-learn regressor; None for LightGBM.
        folds: Parts of the rows; each is predicted by a model of the others, >= 2.
        rows: A model learns from about so many rows at most, drawn at random, >= 100.
        seed: Of the folds, of that draw and of the default learner.

    Raises:
        DataError: A number is out of its range.
    """

    learner: Regressor | None = None
    folds: int = 5
    rows: int = 100_000
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low, high in (("folds", 2, 100), ("rows", 100, 1e9), ("seed", 0, 2**63)):
            _check.number(name, getattr(self, name), low=low, high=high)

    def fresh(self, fold: int) -> Regressor:
        """Returns the learner of a fold, not yet fitted."""
        if self.learner is None:
            return lightgbm(number(self.seed, 1, fold))
        from sklearn.base import clone

        out: Regressor = clone(self.learner)
        return out


def lightgbm(seed: int = 0) -> Regressor:
    """Returns the default learner: LightGBM with small trees, squared errors, one thread."""
    from lightgbm import LGBMRegressor

    out: Regressor = LGBMRegressor(
        n_estimators=120, learning_rate=0.06, num_leaves=15, min_child_samples=30, random_state=seed, n_jobs=1,
        deterministic=True, force_row_wise=True, verbose=-1,
    )  # fmt: skip
    return out


def cross_fit(
    table: pa.Table, features: Sequence[str], target: Floats, how: CrossFit = CrossFit(), *,
    cluster: NDArray[np.int64] | None = None, weight: Floats | None = None,
) -> Floats:  # fmt: skip
    """Returns the prediction of each row by a model that has not seen it, (N,).

    Args:
        table: The rows; what was known before the experiment is in `features`.
        features: Names of columns; numbers, text, dates, with missing cells.
        target: What is predicted, finite (N,).
        how: Learner, folds, rows.
        cluster: Rows of one cluster fall into one fold (N,).
        weight: Of the rows, for learners that take ``sample_weight`` (N,).

    Raises:
        SchemaError: A column is missing, or none varies.

    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=2000)
    >>> g = cross_fit(pa.table({"x": x}), ["x"], 3 * x + rng.normal(size=2000))
    >>> bool(np.corrcoef(g, x)[0, 1] > 0.95)
    True
    """
    fold = _folds(len(target), how, cluster)
    learn = [_drawn(fold, how, k) for k in range(how.folds)]
    encoder = Encoder.fit(table.select(list(features)).take(pa.array(learn[0])), features)
    models = [_fitted(how, k, table, encoder, rows, target, weight) for k, rows in enumerate(learn)]
    out = np.empty(len(target))
    for start in range(0, len(target), _CHUNK):
        part = slice(start, min(start + _CHUNK, len(target)))
        x = encoder.transform(table.slice(part.start, part.stop - part.start))
        for k, model in enumerate(models):
            here = np.flatnonzero(fold[part] == k)
            if len(here):
                out[start + here] = model(x[here])
    return out


def _folds(n: int, how: CrossFit, cluster: NDArray[np.int64] | None) -> NDArray[np.int8]:
    """The fold of each row: parts as even as can be, of clusters where there are any."""
    units = n if cluster is None else int(cluster.max()) + 1
    if units < how.folds:
        raise _check.refuse("folds", how.folds, f"there are only {units} units", "Give fewer folds.")
    rng = child(how.seed, 0)
    if units > _MANY:
        fold = rng.integers(0, how.folds, units, dtype=np.int8)
    else:
        fold = (np.arange(units) % how.folds).astype(np.int8)
        rng.shuffle(fold)
    return fold if cluster is None else fold[cluster]


def _drawn(fold: NDArray[np.int8], how: CrossFit, k: int) -> NDArray[np.int64]:
    """Rows that fold k's model learns from: of the other folds, all of them or so many drawn at random."""
    most = how.rows * how.folds // (how.folds - 1)
    rows = np.arange(len(fold))
    if len(fold) > most:
        rows = np.sort(child(how.seed, 2, k).choice(len(fold), most, replace=False))
    return rows[fold[rows] != k]


def _fitted(
    how: CrossFit, k: int, table: pa.Table, encoder: Encoder, rows: NDArray[np.int64], target: Floats,
    weight: Floats | None,
) -> Callable[[NDArray[np.float32]], Floats]:  # fmt: skip
    """Learns one fold's model and returns how it predicts."""
    model, x = how.fresh(k), encoder.transform(table.select(encoder.features).take(pa.array(rows)))
    more = {} if weight is None else {"sample_weight": weight[rows]}
    model.fit(x, target[rows], **more)
    booster = getattr(model, "booster_", None)
    if booster is not None:  # without scikit-learn's checks of every chunk
        forest = Forest(booster)
        return lambda part: forest.mean(part)[:, 0]
    return lambda part: np.asarray(model.predict(part), np.float64).reshape(len(part))
