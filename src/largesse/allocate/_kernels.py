"""The loops over units, compiled. Layout: value and cost are (M, N), one treatment of all units lies together.

For one unit the treatments that any price can choose lie on the upper-left concave hull of its points (cost, value).
`_next` walks that hull: from the cheapest point (ties: the higher value, then the lower code) along the steepest
slope, while the slope is > 0. Arithmetic is float64, whatever the menu's dtype.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = [
    "assign_at",
    "count_steps",
    "cumulate",
    "fill",
    "fill_steps",
    "interval_of",
    "intervals_of",
    "starts",
    "total",
]

_TOP = np.finfo(np.float64).max
Array = NDArray[Any]


@njit(cache=True, nogil=True, inline="always")
def _load(value: Array, cost: Array, i: int, v: Array, c: Array) -> int:
    """Copies unit i into the buffers v, c and returns its cheapest treatment."""
    start = 0
    for j in range(value.shape[0]):
        v[j] = value[j, i]
        c[j] = cost[j, i]
        if c[j] < c[start] or (c[j] == c[start] and v[j] > v[start]):
            start = j
    return start


@njit(cache=True, nogil=True, inline="always")
def _next(v: Array, c: Array, at: int, ceiling: float) -> tuple[int, float]:
    """Returns the next treatment on the hull and the slope towards it, or (-1, 0) at its end.

    Of several points on one line the farthest is next: those between are chosen at no price.
    """
    best, slope = -1, 0.0
    for j in range(len(v)):
        if c[j] > c[at] and v[j] > v[at]:
            s = (v[j] - v[at]) / (c[j] - c[at])
            if s > slope or (s == slope and best >= 0 and (c[j] > c[best])):
                best, slope = j, s
    return best, min(slope, ceiling)  # rounding must not make a hull that turns upwards


@njit(cache=True, nogil=True)
def starts(value: Array, cost: Array) -> NDArray[np.int32]:
    """Returns each unit's cheapest treatment, (N,)."""
    m, n = value.shape
    v, c = np.empty(m), np.empty(m)
    out = np.empty(n, np.int32)
    for i in range(n):
        out[i] = _load(value, cost, i, v, c)
    return out


@njit(cache=True, nogil=True)
def count_steps(value: Array, cost: Array) -> int:
    """Returns the number of hull increments of all units."""
    m, n = value.shape
    v, c = np.empty(m), np.empty(m)
    steps = 0
    for i in range(n):
        at, s = _next(v, c, _load(value, cost, i, v, c), _TOP)
        while at >= 0:
            steps += 1
            at, s = _next(v, c, at, s)
    return steps


@njit(cache=True, nogil=True)
def fill_steps(value: Array, cost: Array, unit: Array, source: Array, target: Array, slope: Array) -> None:
    """Writes every hull increment: whose it is, from which treatment to which, at which price."""
    m, n = value.shape
    v, c = np.empty(m), np.empty(m)
    k = 0
    for i in range(n):
        at = _load(value, cost, i, v, c)
        to, s = _next(v, c, at, _TOP)
        while to >= 0:
            unit[k], source[k], target[k], slope[k] = i, at, to, s
            k += 1
            at = to
            to, s = _next(v, c, at, s)


@njit(cache=True, nogil=True)
def assign_at(value: Array, cost: Array, price: float) -> NDArray[np.int32]:
    """Returns each unit's treatment at one price: climbs while the slope is above the price."""
    m, n = value.shape
    v, c = np.empty(m), np.empty(m)
    out = np.empty(n, np.int32)
    for i in range(n):
        at = _load(value, cost, i, v, c)
        to, s = _next(v, c, at, _TOP)
        while to >= 0 and s > price:
            at = to
            to, s = _next(v, c, at, s)
        out[i] = at
    return out


@njit(cache=True, nogil=True)
def interval_of(value: Array, cost: Array, treatment: Array) -> tuple[Array, Array]:
    """Returns the prices [lo, hi) at which each unit's given treatment is chosen; [inf, inf) if at none."""
    m, n = value.shape
    v, c = np.empty(m), np.empty(m)
    lo, hi = np.full(n, np.inf), np.full(n, np.inf)
    for i in range(n):
        at = _load(value, cost, i, v, c)
        above = np.inf
        to, s = _next(v, c, at, _TOP)
        while to >= 0 and at != treatment[i]:
            at, above = to, s
            to, s = _next(v, c, at, s)
        if at == treatment[i]:
            hi[i] = above
            lo[i] = s if to >= 0 else 0.0
    return lo, hi


@njit(cache=True, nogil=True)
def intervals_of(value: Array, cost: Array, lo: Array, hi: Array) -> None:
    """Writes the prices [lo, hi) of every treatment of every unit into arrays (M, N) full of inf."""
    m, n = value.shape
    v, c = np.empty(m), np.empty(m)
    for i in range(n):
        at = _load(value, cost, i, v, c)
        above = np.inf
        to, s = _next(v, c, at, _TOP)
        while to >= 0:
            lo[at, i], hi[at, i] = s, above
            at, above = to, s
            to, s = _next(v, c, at, s)
        lo[at, i], hi[at, i] = 0.0, above


@njit(cache=True, nogil=True)
def total(table: Array, treatment: Array) -> float:
    """Returns Σ_i table[treatment[i], i] by compensated summation (Neumaier)."""
    s, lost = 0.0, 0.0
    for i in range(len(treatment)):
        a = float(table[treatment[i], i])
        t = s + a
        lost += (s - t) + a if abs(s) >= abs(a) else (a - t) + s
        s = t
    return s + lost


@njit(cache=True, nogil=True)
def cumulate(start: float, steps: Array) -> NDArray[np.float64]:
    """Returns start, start + steps[0], ... by compensated summation, (K + 1,)."""
    out = np.empty(len(steps) + 1)
    s, lost = start, 0.0
    out[0] = start
    for k in range(len(steps)):
        a = float(steps[k])
        t = s + a
        lost += (s - t) + a if abs(s) >= abs(a) else (a - t) + s
        s = t
        out[k + 1] = s + lost
    return out


@njit(cache=True, nogil=True)
def fill(
    spent: float, limit: float, first: int, unit: Array, source: Array, target: Array, price: Array, state: Array
) -> int:
    """Takes, in order, every increment that still fits and whose predecessor was taken.

    Args:
        spent: Money spent so far.
        limit: Money there is.
        first: The increment to begin with.
        unit: Whose increment it is, per increment, by falling slope.
        source: The treatment it leaves.
        target: The treatment it reaches.
        price: What it costs in money.
        state: Treatment of each unit, changed in place.

    Returns:
        The last increment taken, `first` - 1 if none was.
    """
    s, lost, last = spent, 0.0, first - 1
    for k in range(first, len(unit)):
        if state[unit[k]] != source[k]:
            continue
        a = price[k]
        t = s + a
        gone = lost + ((s - t) + a if abs(s) >= abs(a) else (a - t) + s)
        if t + gone <= limit:
            s, lost, last = t, gone, k
            state[unit[k]] = target[k]
    return last
