"""An order of rows that follows from their content, so that results do not depend on the order of a file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from largesse.logs import Logs

__all__ = ["by_content", "content_order", "order_of"]

_FIRST = 4  # columns before rows are compared

Words = NDArray[np.uint64]


def by_content(logs: Logs) -> Logs:
    """Returns the rows in an order that depends on their content only.

    Splits, samples and bootstrap draws go by the place of a row. With this order, an export without ORDER BY gives the same
    run. Rows that are equal in everything may change places.

    >>> logs = Logs(x=[[1.0], [2.0], [3.0]], treatment=[0, 1, 0], value=[0, 1, 1], cost=[0, 1, 0])
    >>> again = by_content(logs.take([2, 0, 1]))
    >>> bool((again.x == by_content(logs).x).all())
    True
    """
    return logs.take(order_of(logs))


def order_of(logs: Logs) -> NDArray[np.int64]:
    """Returns the numbers of the rows in the order of `by_content`, (N,)."""
    named = (logs.unit, logs.cluster, logs.treatment, logs.value, logs.weight, logs.propensity, logs.timestamp)
    return content_order((*named, *logs.x.T, logs.cost), logs.n)  # a cost may be derived from the value


def content_order(columns: Iterable[NDArray[Any] | None], n: int) -> NDArray[np.int64]:
    """Returns the numbers of n rows in an order that follows from their cells, (n,).

    Args:
        columns: The columns, (n,) each; None is left out. Later ones are used only as long as rows are equal.
        n: Number of rows.
    """
    key, used = np.zeros(n, np.uint64), 0
    order = np.arange(n)
    for k, column in enumerate(columns):
        if column is None:
            continue
        key = _mixed(key ^ _mixed(_words(column) + np.uint64(k + 1)))
        used += 1
        if used >= _FIRST:
            order = np.argsort(key, kind="stable")
            if (np.diff(key[order]) != 0).all():
                return order
    return np.argsort(key, kind="stable")


def _words(column: NDArray[Any]) -> Words:
    """Returns a number for each cell, equal for equal cells, that does not depend on the order of the rows."""
    if column.dtype.kind == "f":
        return np.ascontiguousarray(column + 0.0, np.float64).view(np.uint64)  # -0.0 becomes 0.0
    if column.dtype.kind in "iub":
        return column.astype(np.int64, copy=False).view(np.uint64)
    _, codes = np.unique(column.astype(str) if column.dtype.kind == "O" else column, return_inverse=True)
    return codes.reshape(-1).astype(np.uint64)


def _mixed(words: Words) -> Words:
    """Returns well-mixed bits of each number: the finaliser of SplitMix64 (Steele, Lea and Flood 2014)."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
