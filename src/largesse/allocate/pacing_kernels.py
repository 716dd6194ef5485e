"""The compiled loops of `Pacer`: hull increments of arriving units, the price among them, and the decisions.

An increment is a step along the hull of a unit's points (cost, value), as in `kernels`. At a price λ with share q a unit takes
every increment steeper than λ, and increments whose slope is λ with probability q.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from largesse.allocate.kernels import _TOP, _load, _next

__all__ = ["add", "choose", "price_among", "record", "spend_among"]

_TIE = 1e-12  # slopes that differ by less, relative to them, are one slope: rounding
_NEAR = 1.2  # a price is sought within this factor of the last one first
_SMALLEST = np.finfo(np.float64).tiny
Array = NDArray[Any]


@njit(cache=True, nogil=True)
def record(value: Array, cost: Array, first: int, slope: Array, extra: Array, base: Array) -> None:
    """Writes the increments of n units into a ring of W units, in place of the oldest.

    Args:
        value: (n, M).
        cost: (n, M).
        first: The number of units recorded before.
        slope: Slope of each increment, 0 after a unit's last one, (W, M - 1).
        extra: Cost of each increment, (W, M - 1).
        base: Cost of each unit's cheapest treatment, (W,).
    """
    n, m = value.shape
    v, c = np.empty(m), np.empty(m)
    for i in range(n):
        row = (first + i) % len(base)
        at = _load(value.T, cost.T, i, v, c)
        base[row] = c[at]
        slope[row] = 0.0
        to, s = _next(v, c, at, _TOP)
        k = 0
        while to >= 0:
            slope[row, k], extra[row, k] = s, c[to] - c[at]
            at, k = to, k + 1
            to, s = _next(v, c, at, s)


@njit(cache=True, nogil=True)
def add(sums: Array, amount: float) -> None:
    """Adds an amount to a sum (2,) and its rounding remainder (Neumaier)."""
    total = sums[0] + amount
    if abs(sums[0]) >= abs(amount):
        sums[1] += (sums[0] - total) + amount
    else:
        sums[1] += (amount - total) + sums[0]
    sums[0] = total + sums[1]
    sums[1] -= sums[0] - total


@njit(cache=True, nogil=True)
def choose(
    value: Array, cost: Array, draws: Array, price: float, share: float, budget: float, sums: Array, out: Array
) -> int:
    """Decides units in their order and adds their costs to the spend; stops before one that cannot be paid for.

    Args:
        value: (n, M).
        cost: (n, M).
        draws: Numbers in [0, 1): a unit takes an increment at the price if its number is below `share`, (n,).
        price: Shadow price λ.
        share: Share of the increments at the price that is taken.
        budget: The budget.
        sums: Spend so far and its rounding remainder, changed in place, (2,).
        out: Receives the treatments, (n,).

    Returns:
        The number of units decided.
    """
    n, m = value.shape
    v, c = np.empty(m), np.empty(m)
    for i in range(n):
        at = _load(value.T, cost.T, i, v, c)
        left = max(0.0, (budget - sums[0]) - sums[1])
        if c[at] > left:
            return i
        bar = price * (1 + _TIE) if draws[i] >= share else price * (1 - _TIE)
        to, s = _next(v, c, at, _TOP)
        while to >= 0 and s > bar:
            at = to
            to, s = _next(v, c, at, s)
        if c[at] > left:  # the best of those that the budget still pays for; ties: the cheaper
            at = -1
            for j in range(m):
                if c[j] <= left:
                    ahead = 1.0 if at < 0 else (v[j] - v[at]) - price * (c[j] - c[at])
                    if ahead > 0 or (ahead == 0 and c[j] < c[at]):
                        at = j
        out[i] = at
        add(sums, c[at])
    return n


@njit(cache=True, nogil=True)
def spend_among(slope: Array, extra: Array, price: float, share: float) -> float:
    """Returns the expected spend on increments at a price. Slopes and costs are (K,), in any order."""
    spend, high, low = 0.0, price * (1 + _TIE), max(price * (1 - _TIE), _SMALLEST)
    for k in range(len(slope)):
        spend += extra[k] * ((slope[k] > high) + share * ((slope[k] >= low) & (slope[k] <= high)))
    return spend


@njit(cache=True, nogil=True)
def _selected(s: Array, c: Array, rest: float) -> tuple[float, float]:
    """Returns `price_among` for slopes s and costs c, which it rearranges: quickselect by sums of costs."""
    low, high = 0, len(s)
    while low < high:
        a, b, d = s[low], s[(low + high) // 2], s[high - 1]
        pivot = max(min(a, b), min(max(a, b), d))  # the median of three
        above, same, i, j, k = 0.0, 0.0, low, low, high  # [low, i) steeper, [i, j) at the pivot, [k, high) flatter
        while j < k:
            if s[j] > pivot * (1 + _TIE):
                above += c[j]
                s[i], s[j], c[i], c[j] = s[j], s[i], c[j], c[i]
                i, j = i + 1, j + 1
            elif s[j] < pivot * (1 - _TIE):
                k -= 1
                s[k], s[j], c[k], c[j] = s[j], s[k], c[j], c[k]
            else:
                same += c[j]
                j += 1
        if above > rest:
            high = i
        elif above + same > rest:
            return pivot, (rest - above) / same
        else:
            rest -= above + same
            low = k
    return 0.0, 1.0


@njit(cache=True, nogil=True)
def price_among(slope: Array, extra: Array, budget: float, guess: float) -> tuple[float, float]:
    """Returns the price at which increments cost the budget, and the share of those at the price; (0, 1) if all fit.

    Args:
        slope: Slopes, in any order; those of 0 do not count, (K,).
        extra: Their costs, > 0, (K,).
        budget: Budget of these increments, >= 0.
        guess: A price near the answer saves time; 0 if none is known.
    """
    s, c = np.empty(len(slope) + 1), np.empty(len(slope) + 1)
    low, high = max(guess / _NEAR, _SMALLEST), guess * _NEAR
    while True:
        above, inside, n = 0.0, 0.0, 0
        for k in range(len(slope)):  # without branches
            near = (slope[k] >= low) & (slope[k] <= high)
            above += extra[k] * (slope[k] > high)
            inside += extra[k] * near
            s[n], c[n] = slope[k], extra[k]
            n += near
        if high == np.inf or above <= budget < above + inside:
            return _selected(s[:n], c[:n], budget - above)
        low, high = _SMALLEST, np.inf
