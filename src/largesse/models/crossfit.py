"""Rows in turns: what models that have not seen a row of the trial say of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from largesse.logs import Logs
from largesse.models.base import Model
from largesse.models.outcome import Response

__all__ = ["cross_fitted", "of_others", "others", "out_of_fold"]

Rows = NDArray[np.int64]


def of_others(obs: Logs | None, held: Logs) -> Logs | None:
    """Returns the rows of an observational log whose units are not among those that are held back."""
    return None if obs is None else obs.without_units_of(held)


def others(rct: Logs, folds: int, seed: int) -> list[tuple[Rows, Rows]]:
    """Returns, for each fold, the numbers of the rows to learn from and of those held back."""
    part = rct.parts(*[1.0] * folds, seed=seed)
    return [(np.flatnonzero(part != k), np.flatnonzero(part == k)) for k in range(folds)]


def out_of_fold(
    rct: Logs, folds: int, seed: int, answer: Callable[[Rows, Rows, int], tuple[Response, ...]]
) -> tuple[Response, ...]:
    """Returns responses to every row of the trial from models that learned from the other folds.

    Args:
        rct: The trial.
        folds: Number of parts, >= 2.
        seed: Draws the parts.
        answer: Called as answer(rows to learn from, rows held back, fold); returns responses to the rows held back, as
            many in every fold.
    """
    tables: list[dict[str, NDArray[Any]]] = []
    for k, (seen, held) in enumerate(others(rct, folds, seed)):
        found = answer(seen, held, k)
        tables = tables or [{} for _ in found]
        for into, response in zip(tables, found, strict=True):
            for name in ("value", "conversion", "cost"):
                table = getattr(response, name)
                if table is not None:
                    into.setdefault(name, np.empty((rct.n, rct.n_treatments)))[held] = table
    return tuple(Response(into["value"], into.get("conversion"), into.get("cost")) for into in tables)


def cross_fitted(model: Model, rct: Logs, obs: Logs | None, seed: int = 0) -> Response:
    """Returns what clones of a fitted model say of each half of the trial, learned from the other half and the log."""

    def answer(seen: Rows, held: Rows, fold: int) -> tuple[Response]:
        return (clone(model).fit(rct.take(seen), of_others(obs, rct.take(held))).predict_response(rct.x[held]),)

    return out_of_fold(rct, 2, seed, answer)[0]
