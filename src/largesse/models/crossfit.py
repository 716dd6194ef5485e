"""Cross-fitting: out-of-fold predictions for the rows of a trial."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from largesse.logs import Logs
from largesse.models.base import Model
from largesse.models.outcome import Response

__all__ = ["cross_fitted", "of_others", "out_of_fold", "train_test_rows"]

Rows = NDArray[np.int64]


def of_others(obs: Logs | None, test: Logs) -> Logs | None:
    """Returns the rows of an OBS log whose units have no row in the test fold; None without a log."""
    return None if obs is None else obs.without_units_of(test)


def train_test_rows(rct: Logs, folds: int, seed: int) -> list[tuple[Rows, Rows]]:
    """Returns the numbers of the training rows and of the held-out rows of each fold; no unit is split."""
    part = rct.parts(*[1.0] * folds, seed=seed)
    return [(np.flatnonzero(part != k), np.flatnonzero(part == k)) for k in range(folds)]


def out_of_fold(
    rct: Logs, folds: int, seed: int, predict: Callable[[Rows, Rows, int], tuple[Response, ...]]
) -> tuple[Response, ...]:
    """Returns responses of all rows of the trial, each row's from models that were fitted on the other folds.

    Args:
        rct: The trial.
        folds: Number of folds, >= 2.
        seed: Of the random split.
        predict: Called as predict(training rows, held-out rows, fold); returns responses of the held-out rows, the same
            number in every fold.
    """
    filled: list[dict[str, NDArray[Any]]] = []
    for k, (train, test) in enumerate(train_test_rows(rct, folds, seed)):
        responses = predict(train, test, k)
        filled = filled or [{} for _ in responses]
        for tables, response in zip(filled, responses, strict=True):
            for name in ("value", "conversion", "cost"):
                table = getattr(response, name)
                if table is not None:
                    tables.setdefault(name, np.empty((rct.n, rct.n_treatments)))[test] = table
    return tuple(Response(tables["value"], tables.get("conversion"), tables.get("cost")) for tables in filled)


def cross_fitted(model: Model, rct: Logs, obs: Logs | None, seed: int = 0) -> Response:
    """Returns out-of-fold responses of clones of a model, each fitted on half of the trial and on the log."""

    def predict(train: Rows, test: Rows, fold: int) -> tuple[Response]:
        return (clone(model).fit(rct.take(train), of_others(obs, rct.take(test))).predict_response(rct.x[test]),)

    return out_of_fold(rct, 2, seed, predict)[0]
