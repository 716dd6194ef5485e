"""Compiled loops of confidence sequences: power sums of several columns, and the capital of bets on a mean.

Both take the rows one after the other, so a stream cut into any batches gives the same bits as one pass.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["FOLD", "add_classes", "add_powers", "bet", "capital", "ends"]

Array = NDArray[Any]
FOLD = 16
"""Rows between two logarithms: so many factors of a capital stay within the range of a float."""
_LOOK = 16 * FOLD  # rows between two looks of the bets at their own interval


@njit(cache=True, nogil=True)
def add_powers(sums: Array, rows: Array, shift: Array, parent: Array, column: Array) -> None:
    """Adds Σ Π (row_k - shift_k)^e_k over the rows to the sum of every monomial, in place.

    Args:
        sums: One for each monomial, (M,); the first one counts the rows.
        rows: The columns of G units, (G, K).
        shift: Numbers near the means of the columns, (K,).
        parent: The monomial of one degree less, of which each one is a multiple, (M,).
        column: The column that it is multiplied by, (M,).
    """
    d, monomial = np.empty(len(shift)), np.ones(len(sums))
    for g in range(len(rows)):
        for k in range(len(shift)):
            d[k] = rows[g, k] - shift[k]
        sums[0] += 1.0
        for m in range(1, len(sums)):
            monomial[m] = monomial[parent[m]] * d[column[m]]
            sums[m] += monomial[m]


@njit(cache=True, nogil=True)
def add_classes(sums: Array, code: Array, weight: Array, outcome: Array) -> None:
    """Adds w², y² and y⁴ of every row to its class, in place; a negative class is left out.

    Args:
        sums: (C, 3).
        code: Class of each row, (N,).
        weight: w, (N,).
        outcome: y, (N,).
    """
    for i in range(len(code)):
        if code[i] >= 0:
            square = outcome[i] * outcome[i]
            sums[code[i], 0] += weight[i] * weight[i]
            sums[code[i], 1] += square
            sums[code[i], 2] += square * square


@njit(cache=True, nogil=True)
def bet(x: Array, facts: Array, grid: Array, logs: Array, parts: Array, sizes: Array, targets: Array) -> None:
    """Bets on the scores, one after the other, and updates the state in place: see `largesse.evaluate.sequences.betting`.

    Args:
        x: Scores in [0, 1], (G,).
        facts: Number of scores; Σ x; Σ (x - mean)²; lower and upper end of the interval, (5,).
        grid: Means m that are bet against, rising, (P,).
        logs: Logarithm of the capital without the last rows, of both sides, every size of bet and every m, (2, J, P).
        parts: The factor of the capital by the last rows, (2, J, P).
        sizes: Multiples of the base bet, (J,).
        targets: Expected number of scores; logarithm of the capital that rejects a mean, above and below, (3,).
    """
    points = len(grid)
    for g in range(len(x)):
        t = facts[0]
        variance = (0.25 + facts[2]) / (t + 1.0)
        # λ = √(2 ln(2/α) / (t* σ²)): the base bet, from the scores before this one
        base = np.sqrt(2.0 * max(targets[1], targets[2]) / (variance * targets[0]))
        most_up, most_down = 0.5 / grid[points - 1], 0.5 / (1.0 - grid[0])  # no factor is below 1/2
        for j in range(len(sizes)):
            up, down = min(base * sizes[j], most_up), min(base * sizes[j], most_down)
            for p in range(points):
                gain = x[g] - grid[p]
                parts[0, j, p] *= 1.0 + up * gain
                parts[1, j, p] *= 1.0 - down * gain
        facts[0] = t + 1.0
        facts[1] += x[g]
        gap = x[g] - (0.5 + facts[1]) / (t + 2.0)
        facts[2] += gap * gap
        if (t + 1.0) % FOLD == 0.0:
            logs += np.log(parts)
            parts[:] = 1.0
        if (t + 1.0) % _LOOK == 0.0:
            low, high = ends(grid, logs, parts, targets)
            facts[3], facts[4] = max(facts[3], low), min(facts[4], high)
            if facts[3] < facts[4] and facts[4] - facts[3] < 0.5 * (grid[points - 1] - grid[0]):
                _refine(facts[3], facts[4], grid, logs)


@njit(cache=True, nogil=True)
def capital(row: Array) -> NDArray[np.float64]:
    """Returns the logarithm of the mean over the sizes of bets of exp(row), (J, P) → (P,)."""
    out = np.empty(row.shape[1])
    for p in range(len(out)):
        top = row[:, p].max()
        out[p] = top + np.log(np.exp(row[:, p] - top).mean())
    return out


@njit(cache=True, nogil=True)
def ends(grid: Array, logs: Array, parts: Array, targets: Array) -> tuple[float, float]:
    """Returns the interval of the means whose capital has not reached the target on either side.

    The capital against m falls in m on the first side and rises on the second. Between two points of the grid, the chord of its
    logarithm is taken, for every size of bet; it is below the capital, which is concave there.
    """
    now = logs + np.log(parts)
    low, high = grid[0], grid[-1]
    above, below = capital(now[0]), capital(now[1])
    for p in range(len(grid) - 1, -1, -1):
        if above[p] >= targets[1]:
            low = grid[p] if p == len(grid) - 1 else _crossing(grid, now[0], p, targets[1], True)
            break
    for p in range(len(grid)):
        if below[p] >= targets[2]:
            high = grid[p] if p == 0 else _crossing(grid, now[1], p - 1, targets[2], False)
            break
    return low, high


@njit(cache=True, nogil=True)
def _crossing(grid: Array, row: Array, p: int, target: float, falls: bool) -> float:
    """Returns the rejected mean nearest to the interval between two points of the grid, by bisection on the chords."""
    inside, outside = (grid[p + 1], grid[p]) if falls else (grid[p], grid[p + 1])
    for _ in range(50):
        middle = 0.5 * (inside + outside)
        share = (middle - grid[p]) / (grid[p + 1] - grid[p])
        mixed = (1.0 - share) * row[:, p : p + 1] + share * row[:, p + 1 : p + 2]
        if capital(mixed)[0] >= target:
            outside = middle
        else:
            inside = middle
    return outside


@njit(cache=True, nogil=True)
def _refine(low: float, high: float, grid: Array, logs: Array) -> None:
    """Moves the grid to the interval and a margin on either side; new points get the chord of the logarithm, in place."""
    margin = 0.1 * (high - low)
    points = len(grid)
    fresh = np.linspace(max(grid[0], low - margin), min(grid[points - 1], high + margin), points)
    for side in range(2):
        for j in range(logs.shape[1]):
            logs[side, j] = np.interp(fresh, grid, logs[side, j].copy())
    grid[:] = fresh
