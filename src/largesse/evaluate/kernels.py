"""Compiled loops of intervals, of the bootstrap, of the monotone spend and of the best untargeted policy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = [
    "accumulate", "at_prices", "centred", "climb", "coupled_mixes", "cumulate", "pool", "power_sums", "reweigh",
]  # fmt: skip

Array = NDArray[Any]


@njit(cache=True, nogil=True)
def cumulate(steps: Array) -> NDArray[np.float64]:
    """Returns the running sums of the columns of (E, 3) by compensated summation (Neumaier)."""
    out = np.empty(steps.shape)
    for q in range(steps.shape[1]):
        s, lost = 0.0, 0.0
        for k in range(len(steps)):
            a = steps[k, q]
            t = s + a
            lost += (s - t) + a if abs(s) >= abs(a) else (a - t) + s
            s = t
            out[k, q] = s + lost
    return out


@njit(cache=True, nogil=True)
def reweigh(chance: Array, table: Array, base: Array, group: Array, total: Array) -> NDArray[np.float64]:
    """Returns Poisson row multipliers, scaled so that every group's weights sum to its total, (N,).

    Args:
        chance: Uniform uint16 (N,).
        table: The Poisson count of each, (65536,).
        base: Row weights (N,).
        group: Group of each row (N,).
        total: Sum of the row weights of each group.
    """
    out, sums = np.empty(len(chance)), np.zeros(len(total))
    for i in range(len(chance)):
        out[i] = table[chance[i]]
        sums[group[i]] += out[i] * base[i]
    scale = total / np.maximum(sums, 1e-300)
    for i in range(len(chance)):
        out[i] *= scale[group[i]]
    return out


@njit(cache=True, nogil=True)
def accumulate(row: Array, cell: Array, steps: Array, weight: Array, cells: int) -> NDArray[np.float64]:
    """Returns the curve at each grid price for one set of row weights, (cells, 3).

    Args:
        row: Row of each event (E,).
        cell: Position of its grid price (E,).
        steps: Its change of value, cost and weight (E, 3).
        weight: Weight of each row (N,).
        cells: Number of grid prices.
    """
    out = np.zeros((cells, 3))
    for e in range(len(row)):
        w = weight[row[e]]
        if w != 0.0:
            k = cell[e]
            for q in range(3):
                out[k, q] += w * steps[e, q]
    for k in range(1, cells):
        for q in range(3):
            out[k, q] += out[k - 1, q]
    return out


@njit(cache=True, nogil=True)
def at_prices(
    row: Array, price: Array, step: Array, low: float, high: float, part: float, n: int
) -> NDArray[np.float64]:
    """Returns what each row adds to the sums of a curve, (n, 3): 1 - part of it at the price low, part of it at high.

    Args:
        row: Row of each event (E,).
        price: Price of each event (E,).
        step: Its change of value, cost and weight (E, 3).
        low: Lower price.
        high: Higher price.
        part: Share of the units that are decided at the higher price.
        n: Number of rows.
    """
    out = np.zeros((n, 3))
    for e in range(len(row)):
        if price[e] <= high:
            share = 1.0 if price[e] <= low else part
            for q in range(3):
                out[row[e], q] += share * step[e, q]
    return out


@njit(cache=True, nogil=True)
def centred(terms: Array, weight: Array, arm: Array, correction: Array) -> NDArray[np.float64]:
    """Returns the terms of each row (N, K) less its weight times the weighted mean of its arm, times the arm's factor."""
    n, k = terms.shape
    sums, total = np.zeros((len(correction), k)), np.zeros(len(correction))
    for i in range(n):
        total[arm[i]] += weight[i]
        for q in range(k):
            sums[arm[i], q] += terms[i, q]
    for a in range(len(correction)):
        sums[a] /= max(total[a], 1e-300)
    out = np.empty((n, k))
    for i in range(n):
        for q in range(k):
            out[i, q] = (terms[i, q] - weight[i] * sums[arm[i], q]) * correction[arm[i]]
    return out


@njit(cache=True, nogil=True)
def power_sums(contributions: Array) -> NDArray[np.float64]:
    """Returns the sums of the second, third and fourth powers of each column of (G, K), (3, K)."""
    out = np.zeros((3, contributions.shape[1]))
    for i in range(len(contributions)):
        for q in range(contributions.shape[1]):
            x = contributions[i, q]
            square = x * x
            out[0, q] += square
            out[1, q] += square * x
            out[2, q] += square * square
    return out


@njit(cache=True, nogil=True)
def joint_sums(first: Array, second: Array) -> NDArray[np.float64]:
    """Returns Σ firstⁱ secondʲ over (G,) values of each for all i + j <= 4, (5, 5); 0 elsewhere."""
    out = np.zeros((5, 5))
    for g in range(len(first)):
        left = 1.0
        for i in range(5):
            both = left
            for j in range(5 - i):
                out[i, j] += both
                both *= second[g]
            left *= first[g]
    return out


@njit(cache=True, nogil=True)
def pool(cost: Array, value: Array) -> tuple[Array, Array, Array]:
    """Makes the cost non-increasing by pooling neighbours, and averages the value over the same pools.

    Pool adjacent violators (Barlow et al. 1972), with equal weights of the prices.

    Returns:
        first: Index of the first price of each pool (P,).
        cost: Pooled cost (P,), strictly falling.
        value: Value averaged over the pool (P,).
    """
    n = len(cost)
    first, size = np.empty(n, np.int64), np.empty(n, np.int64)
    c, v = np.empty(n), np.empty(n)
    top = -1
    for k in range(n):
        top += 1
        first[top], size[top], c[top], v[top] = k, 1, cost[k], value[k]
        while top > 0 and c[top] >= c[top - 1]:
            a, b = size[top - 1], size[top]
            if c[top] > c[top - 1]:  # equal costs keep their exact sum
                c[top - 1] = (a * c[top - 1] + b * c[top]) / (a + b)
            v[top - 1] = (a * v[top - 1] + b * v[top]) / (a + b)
            size[top - 1] = a + b
            top -= 1
    return first[: top + 1].copy(), c[: top + 1].copy(), v[: top + 1].copy()


@njit(cache=True, nogil=True)
def coupled_mixes(means: Array, noise: Array, budgets: Array, tau: float, plain: float) -> NDArray[np.float64]:
    """Returns the value per unit of the best mix of arms for each set of means, (D, B): see `largesse.evaluate.untargeted`.

    Args:
        means: Value and cost of each arm, (D, 2, M).
        noise: Errors e of the means, (J, 2, M).
        budgets: Budget per unit, (B,).
        tau: The mix is chosen at m ± τ e and valued at m ∓ e / τ.
        plain: Share of the value of the mix that is chosen at m and valued there.
    """
    out = np.zeros((len(means), len(budgets)))
    hull = np.empty(means.shape[2], np.int64)
    for d in range(len(means)):
        m = means[d]
        _add_mix(out[d], m, m, budgets, hull, plain)
        for e in noise:
            for sign in (-1.0, 1.0):
                _add_mix(out[d], m + sign * tau * e, m - sign / tau * e, budgets, hull, (1 - plain) / (2 * len(noise)))
    return out


@njit(cache=True, nogil=True)
def _add_mix(out: Array, chosen: Array, valued: Array, budgets: Array, hull: Array, factor: float) -> None:
    """Adds factor · (mix · v + price (b - mix · c)): mix and price of the means `chosen`, v and c of the means `valued`.

    A mix that costs more or less than the budget there pays for it at the price, the slope of the frontier.
    """
    v, c, n = chosen[0], chosen[1], 0
    for j in np.argsort(c):
        if n > 0 and v[j] <= v[hull[n - 1]]:
            continue
        while n > 0 and c[hull[n - 1]] >= c[j]:  # the same cost and a lower value
            n -= 1
        while n > 1 and (v[j] - v[hull[n - 1]]) * (c[hull[n - 1]] - c[hull[n - 2]]) >= (
            v[hull[n - 1]] - v[hull[n - 2]]
        ) * (c[j] - c[hull[n - 1]]):
            n -= 1
        hull[n] = j
        n += 1
    for b in range(len(budgets)):
        place = 0
        while place + 1 < n and c[hull[place + 1]] <= budgets[b]:
            place += 1
        low, part, price = hull[place], 0.0, 0.0
        high = low
        if place + 1 < n:
            high = hull[place + 1]
            price = (v[high] - v[low]) / (c[high] - c[low])
            part = max((budgets[b] - c[low]) / (c[high] - c[low]), 0.0)
        gained = (1.0 - part) * valued[0, low] + part * valued[0, high]
        spent = (1.0 - part) * valued[1, low] + part * valued[1, high]
        out[b] += factor * (gained + price * (budgets[b] - spent))


@njit(cache=True, nogil=True)
def climb(value: Array, unit: Array, source: Array, target: Array, gain: Array) -> None:
    """Sets the value (N, M) of the target of each increment to that of its source plus the gain, steepest first, in place."""
    for k in range(len(gain)):
        value[unit[k], target[k]] = value[unit[k], source[k]] + gain[k]
