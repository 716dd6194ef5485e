"""The compiled loops over units. Value and cost are (M, N): the values of one treatment are contiguous.

For one unit the treatments that are best at some price lie on the upper-left concave hull of its points (cost, value).
`_next` walks that hull: from the cheapest point (ties: the higher value, then the lower code) along the steepest
slope, while the slope is > 0. A step along the hull is an increment. Arithmetic is float64, whatever the menu's dtype.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["assign_at", "audit", "bin_steps", "count_steps", "cumulate", "decide", "fill", "hull_steps", "interval_of",
           "intervals_of"]  # fmt: skip

_TOP = np.finfo(np.float64).max
_CHUNK = 2048  # units whose running best fits in the L1 cache
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

    Of several points on one line the farthest is next: those in between are best at no price. The slope is cut at `ceiling`,
    the slope before.
    """
    best, slope = -1, 0.0
    for j in range(len(v)):
        if c[j] > c[at] and v[j] > v[at]:
            s = (v[j] - v[at]) / (c[j] - c[at])
            if s > slope or (s == slope and best >= 0 and (c[j] > c[best])):
                best, slope = j, s
    return best, min(slope, ceiling)  # rounding must not make the hull convex


@njit(cache=True, nogil=True)
def count_steps(value: Array, cost: Array, low: float, high: float) -> int:
    """Returns the number of hull increments of all units whose slope is in (low, high]."""
    m, n = value.shape
    v, c = np.empty(m), np.empty(m)
    steps = 0
    for i in range(n):
        at, s = _next(v, c, _load(value, cost, i, v, c), _TOP)
        while at >= 0 and s > low:
            steps += s <= high
            at, s = _next(v, c, at, s)
    return steps


@njit(cache=True, nogil=True)
def hull_steps(
    value: Array, cost: Array, low: float, high: float
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32], NDArray[np.float64], NDArray[np.int32]]:
    """Returns every hull increment with a slope in (low, high], and each unit's treatment before the first of them.

    Returns:
        For each of K increments its unit, the treatment before it, the one after it and its slope, (K,) each; and each unit's
        treatment before its first increment, (N,).
    """
    m, n = value.shape
    steps = count_steps(value, cost, low, high)
    unit, source, target = np.empty(steps, np.int32), np.empty(steps, np.int32), np.empty(steps, np.int32)
    slope, start = np.empty(steps), np.empty(n, np.int32)
    v, c = np.empty(m), np.empty(m)
    k = 0
    for i in range(n):
        at = _load(value, cost, i, v, c)
        to, s = _next(v, c, at, _TOP)
        start[i] = at
        while to >= 0 and s > low:
            if s > high:
                start[i] = to
            else:
                unit[k], source[k], target[k], slope[k] = i, at, to, s
                k += 1
            at = to
            to, s = _next(v, c, at, s)
    return unit, source, target, slope, start


@njit(cache=True, nogil=True)
def bin_steps(
    value: Array, cost: Array, first: int, stop: int, edges: Array, keep: Array, sums: Array, kept: Array
) -> tuple[float, float]:
    """Sums the hull increments of some units in bins of prices, and collects those of the bins to keep.

    Args:
        value: (M, N).
        cost: (M, N).
        first: The first unit.
        stop: The unit after the last.
        edges: Prices, falling, (K,); bin k is [edges[k], edges[k - 1]), the first is open above, the last, K, below.
        keep: Whether the increments of a bin are kept, (K + 1,).
        sums: Receives the number of increments in each bin, their cost and their value, (K + 1, 3).
        kept: Receives slope, cost and value of each increment in the bins to keep, by unit, (rows, 3).

    Returns:
        Spend and value of these units before their first increment.
    """
    m, k = value.shape[0], 0
    v, c = np.empty(m), np.empty(m)
    spend, gained = 0.0, 0.0
    sums[:] = 0.0
    for i in range(first, stop):
        at = _load(value, cost, i, v, c)
        spend += c[at]
        gained += v[at]
        to, s = _next(v, c, at, _TOP)
        low = 0
        while to >= 0:
            high = len(edges)
            while low < high:  # the first edge that is not above s, not before the last one: slopes fall
                middle = (low + high) // 2
                if edges[middle] > s:
                    low = middle + 1
                else:
                    high = middle
            extra, gain = c[to] - c[at], v[to] - v[at]
            sums[low, 0] += 1
            sums[low, 1] += extra
            sums[low, 2] += gain
            if keep[low]:
                kept[k, 0], kept[k, 1], kept[k, 2] = s, extra, gain
                k += 1
            at = to
            to, s = _next(v, c, at, s)
    return spend, gained


@njit(cache=True, nogil=True)
def assign_at(value: Array, cost: Array, price: float) -> NDArray[np.int32]:
    """Returns each unit's treatment at one price: the end of its last increment steeper than the price."""
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


@njit(cache=True, nogil=True, error_model="numpy")
def _improve(v: Array, c: Array, j: int, price: float, best: Array, bv: Array, bc: Array) -> None:
    """Replaces each unit's best treatment so far by j (v, c) where j is better at a price; ties: the cheaper, the lower code.

    Differences are compared, not scores, so that a small difference between large scores keeps its digits. There are no
    branches, so that the loop is vectorised.
    """
    for i in range(len(v)):
        a, b = float(v[i]), float(c[i])
        dv, dc = a - bv[i], b - bc[i]
        gain = dv - price * dc
        wins = (gain > 0.0) | ((gain == 0.0) & (dc < 0.0))
        best[i] = j if wins else best[i]
        bv[i] = a if wins else bv[i]
        bc[i] = b if wins else bc[i]


@njit(cache=True, nogil=True, fastmath={"reassoc"})
def _sum(a: Array) -> float:
    s = 0.0
    for i in range(len(a)):
        s += a[i]
    return s


@njit(cache=True, nogil=True)
def decide(
    value: Array, cost: Array, units: tuple[int, int], prices: tuple[float, float],
    state: Array, undecided: Array, sums: Array,
) -> int:  # fmt: skip
    """Gives each unit its treatment at the higher of two prices, and lists those whose treatment differs at the lower one.

    Args:
        value: (M, N).
        cost: (M, N).
        units: The first unit, and the one after the last.
        prices: The lower price and the higher; at infinity every unit gets its cheapest treatment.
        state: Receives each unit's treatment at the higher price, (N,).
        undecided: Receives the positions of the units whose treatments differ, with space for all n units.
        sums: Receives spend and value at the higher price and spend at the lower one, without compensation, (3,).

    Returns:
        The number of undecided units.
    """
    m, k = value.shape[0], 0
    (first, stop), (low, high) = units, prices
    high = min(high, _TOP)
    top, end = np.empty(_CHUNK, np.int64), np.empty(_CHUNK, np.int64)
    tv, tc, ev, ec = np.empty(_CHUNK), np.empty(_CHUNK), np.empty(_CHUNK), np.empty(_CHUNK)
    sums[:] = 0.0
    for a in range(first, stop, _CHUNK):
        b = min(a + _CHUNK, stop)
        q = b - a
        for i in range(q):
            top[i], tv[i], tc[i] = 0, value[0, a + i], cost[0, a + i]
            end[i], ev[i], ec[i] = 0, tv[i], tc[i]
        for j in range(1, m):
            _improve(value[j, a:b], cost[j, a:b], j, high, top[:q], tv[:q], tc[:q])
            _improve(value[j, a:b], cost[j, a:b], j, low, end[:q], ev[:q], ec[:q])
        sums[0] += _sum(tc[:q])
        sums[1] += _sum(tv[:q])
        sums[2] += _sum(ec[:q])
        for i in range(q):
            state[a + i] = top[i]
            if top[i] != end[i]:
                undecided[k] = a + i
                k += 1
    return k


@njit(cache=True, nogil=True, error_model="numpy")
def _affordable(v: Array, c: Array, bv: Array, bc: Array, left: float, marked: Array) -> None:
    """Marks the units of a chunk for which a treatment (v, c) is better than the current one and costs at most `left` more."""
    for i in range(len(v)):
        dc = c[i] - bc[i]
        marked[i] |= (dc > 0.0) & (dc <= left) & (v[i] > bv[i])


@njit(cache=True, nogil=True)
def audit(value: Array, cost: Array, first: int, stop: int, state: Array, left: float, rows: Array, sums: Array) -> int:
    """Sums spend and value of a plan (Neumaier), and lists the units for which a better treatment costs at most `left` more.

    Args:
        value: (M, N).
        cost: (M, N).
        first: The first unit.
        stop: The unit after the last.
        state: Treatment of each unit, (N,).
        left: Largest difference in cost; at 0 no unit is listed.
        rows: Receives the positions of those units, with space for all n units; may be empty if `left` is 0.
        sums: Receives spend and its rounding remainder, value and its remainder, (4,).

    Returns:
        The number of units listed.
    """
    m, k = value.shape[0], 0
    bv, bc, marked = np.empty(_CHUNK), np.empty(_CHUNK), np.empty(_CHUNK, np.int64)
    s, s_lost, w, w_lost = 0.0, 0.0, 0.0, 0.0
    for a in range(first, stop, _CHUNK):
        b = min(a + _CHUNK, stop)
        q = b - a
        for i in range(q):
            c, v = float(cost[state[a + i], a + i]), float(value[state[a + i], a + i])
            bc[i], bv[i], marked[i] = c, v, 0
            t = s + c
            s_lost += (s - t) + c if abs(s) >= abs(c) else (c - t) + s
            s = t
            t = w + v
            w_lost += (w - t) + v if abs(w) >= abs(v) else (v - t) + w
            w = t
        if left > 0.0:
            for j in range(m):
                _affordable(value[j, a:b], cost[j, a:b], bv[:q], bc[:q], left, marked[:q])
            for i in range(q):
                if marked[i]:
                    rows[k] = a + i
                    k += 1
    sums[0], sums[1], sums[2], sums[3] = s, s_lost, w, w_lost
    return k


@njit(cache=True, nogil=True)
def interval_of(value: Array, cost: Array, treatment: Array) -> tuple[Array, Array]:
    """Returns the prices [lo, hi) at which each unit's given treatment is chosen, (N,) each; [inf, inf) if at none."""
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
    """Writes the prices [lo, hi) of every treatment of every unit into arrays (M, N) filled with inf."""
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
    spent: float, limit: float, first: int, unit: Array, source: Array, target: Array, cost: Array, state: Array
) -> tuple[int, float]:
    """Takes, in order, every increment that still fits and whose predecessor was taken.

    Args:
        spent: Spend so far.
        limit: The budget.
        first: The increment to begin with.
        unit: Unit of each increment, by falling slope, (K,).
        source: The treatment before it, (K,).
        target: The treatment after it, (K,).
        cost: Its cost, (K,).
        state: Treatment of each unit, changed in place.

    Returns:
        The last increment taken, `first` - 1 if none was; and the spend after it.
    """
    s, lost, last = spent, 0.0, first - 1
    for k in range(first, len(unit)):
        if state[unit[k]] != source[k]:
            continue
        a = cost[k]
        t = s + a
        gone = lost + ((s - t) + a if abs(s) >= abs(a) else (a - t) + s)
        if t + gone <= limit:
            s, lost, last = t, gone, k
            state[unit[k]] = target[k]
    return last, s + lost
