"""The compiled loops of a plan under rules: the best treatment of each unit at some prices, and sums over a plan.

Value and cost are (M, N): the values of one treatment are contiguous. Arithmetic is float64, whatever the menu's dtype.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["best_two", "cells_of", "total"]

_CHUNK = 2048  # units whose running best fits in the L1 cache
Array = NDArray[Any]


@njit(cache=True, nogil=True)
def best_two(
    value: Array, cost: Array, weights: tuple[Array, Array], terms: Array, allowed: Array, treatment: Array, best: Array,
    margin: Array,
) -> None:  # fmt: skip
    """Writes the treatment of highest score of each unit, its score, and by how much it exceeds the next best.

    The score is weights[0] · value - weights[1] · cost - terms; of equal ones the lower code is the best.

    Args:
        value: (M, N).
        cost: (M, N).
        weights: Of the value and of the cost, float64 (N,) each.
        terms: Further terms, (M, N), or (M, 0) for none.
        allowed: Whether a unit may get a treatment, (M, N), or (M, 0) where it may get any.
        treatment: Written, (N,).
        best: Written, (N,).
        margin: Written, (N,); infinity where there is no other treatment.
    """
    m, n = value.shape
    more, some = terms.shape[1] > 0, allowed.shape[1] > 0
    score, second, at = np.empty(_CHUNK), np.empty(_CHUNK), np.empty(_CHUNK, np.int64)
    for a in range(0, n, _CHUNK):
        q = min(_CHUNK, n - a)
        first = best[a : a + q]
        first[:], second[:q], at[:q] = -np.inf, -np.inf, 0
        for j in range(m):
            _scores(value[j, a : a + q], cost[j, a : a + q], weights[0][a : a + q], weights[1][a : a + q], score[:q])
            if more:
                score[:q] -= terms[j, a : a + q]
            if some:
                for i in range(q):
                    score[i] = score[i] if allowed[j, a + i] else -np.inf
            _rank(score[:q], j, first, second[:q], at[:q])
        for i in range(q):
            treatment[a + i], margin[a + i] = at[i], first[i] - second[i]


@njit(cache=True, nogil=True)
def _scores(value: Array, cost: Array, of_value: Array, of_cost: Array, score: Array) -> None:
    for i in range(len(score)):
        score[i] = of_value[i] * np.float64(value[i]) - of_cost[i] * np.float64(cost[i])


@njit(cache=True, nogil=True)
def _rank(score: Array, j: int, first: Array, second: Array, at: Array) -> None:
    """Puts the score of treatment j among the best and the next best."""
    for i in range(len(score)):
        s, f = score[i], first[i]
        wins = s > f
        low = f if wins else s
        second[i] = low if low > second[i] else second[i]
        first[i] = s if wins else f
        at[i] = j if wins else at[i]


@njit(cache=True, nogil=True)
def cells_of(table: Array, treatment: NDArray[np.int32], rows: NDArray[np.intp]) -> Array:
    """Returns table[treatment[k], rows[k]] of a table (M, N), (n,)."""
    out = np.empty(len(rows), table.dtype)
    for k in range(len(rows)):
        out[k] = table[treatment[k], rows[k]]
    return out


@njit(cache=True, nogil=True)
def total(amounts: NDArray[np.float64]) -> float:
    """Returns a sum with twice the digits of its terms, rounded at the end (Knuth's sum of two numbers and its error)."""
    high, low = 0.0, 0.0
    for k in range(len(amounts)):
        x = amounts[k]
        s = high + x
        part = s - high
        low += (high - (s - part)) + (x - part)
        high = s
    return high + low
