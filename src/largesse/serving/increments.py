"""The increments of the hulls of many menus at once, and the best treatments at a price."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["best_treatments", "cheapest", "steepest"]

Floats = NDArray[np.float64]


def cheapest(value: Floats, cost: Floats) -> NDArray[np.intp]:
    """Returns the cheapest treatment of each unit, the best of several."""
    least = cost == cost.min(axis=1, keepdims=True)
    return np.asarray(np.where(least, value, -np.inf).argmax(axis=1))


def steepest(value: Floats, cost: Floats, at: NDArray[np.intp]) -> tuple[Floats, NDArray[np.intp]]:
    """Returns the slope of each unit's next increment, 0 where there is none, and the treatment it leads to."""
    rows = np.arange(len(value))
    gain, extra = value - value[rows, at][:, None], cost - cost[rows, at][:, None]
    onward = (gain > 0) & (extra > 0) & np.isfinite(cost)
    slope = np.divide(gain, extra, out=np.zeros_like(gain), where=onward)
    best = slope.max(axis=1)
    to = np.where(onward & (slope == best[:, None]), cost, -np.inf).argmax(axis=1)
    return np.asarray(best), np.asarray(to)


def best_treatments(value: Floats, cost: Floats, price: float | Floats) -> NDArray[np.intp]:
    """Returns the best treatment of each unit, as `best_treatment` for one unit.

    Args:
        value: Predicted value, (n, M).
        cost: Predicted cost, (n, M), >= 0; infinite where a treatment is not allowed.
        price: Shadow price λ, >= 0, or that of each unit, (n,).

    >>> best_treatments(np.array([[0.0, 2.0, 3.0]]), np.array([[0.0, 1.0, 4.0]]), 1.0)
    array([1])
    """
    at = cheapest(value, cost)
    for _ in range(value.shape[1] - 1):
        slope, to = steepest(value, cost, at)
        going = slope > price
        if not going.any():
            break
        at = np.where(going, to, at)
    return at
