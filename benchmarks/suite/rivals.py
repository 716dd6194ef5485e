"""Bisection for the price of a budget, compiled and well bracketed: what a careful engineer would write instead of `solve`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba import njit

from largesse.logs import Logs
from largesse.menu import Menu

__all__ = ["bisect_curve", "bisect_plan", "steepest"]
BLOCK = 2048  # units whose best scores stay in the cache
NEAR = 1e-7  # prices this near to each other, relative, are one: that is single precision


@njit(cache=True, fastmath=True, nogil=True)
def _steepest(value, cost):
    """Returns the largest return of any treatment over the first one. Arrays are (M, N)."""
    top = np.float32(0)
    for j in range(1, value.shape[0]):
        for i in range(value.shape[1]):
            more = cost[j, i] - cost[0, i]
            if more > 0:
                top = max(top, (value[j, i] - value[0, i]) / more)
    return top


@njit(cache=True, fastmath=True, nogil=True)
def _spend(value, cost, price, best, paid):
    """Returns the spend at a price, block by block. Arrays are (M, N); `best` and `paid` hold one block."""
    total = 0.0
    for first in range(0, value.shape[1], BLOCK):
        size = min(BLOCK, value.shape[1] - first)
        for i in range(size):
            best[i] = value[0, first + i] - price * cost[0, first + i]
            paid[i] = cost[0, first + i]
        for j in range(1, value.shape[0]):
            for i in range(size):
                net = value[j, first + i] - price * cost[j, first + i]
                paid[i] = cost[j, first + i] if net > best[i] else paid[i]
                best[i] = max(best[i], net)
        total += paid[:size].sum()
    return total


@njit(cache=True, fastmath=True, nogil=True)
def _agreeing(value, cost, price, taken, paid, brought, best, chosen):
    """Returns the sums of `paid` and `brought` over the rows whose treatment is the best one at a price."""
    spend, total = 0.0, 0.0
    for first in range(0, value.shape[1], BLOCK):
        size = min(BLOCK, value.shape[1] - first)
        for i in range(size):
            best[i], chosen[i] = value[0, first + i] - price * cost[0, first + i], 0
        for j in range(1, value.shape[0]):
            for i in range(size):
                net = value[j, first + i] - price * cost[j, first + i]
                chosen[i] = j if net > best[i] else chosen[i]
                best[i] = max(best[i], net)
        for i in range(size):
            if chosen[i] == taken[first + i]:
                spend += paid[first + i]
                total += brought[first + i]
    return spend, total


def steepest(menu: Menu) -> float:
    """Returns the price above which every unit keeps its first treatment, which must be its cheapest."""
    return float(_steepest(menu.value.T, menu.cost.T))


def _halved(high: float, spend: Callable[[np.float32], float], budget: float) -> float:
    """Returns the lowest price, to single precision, at which the spend is within the budget."""
    low = 0.0
    while high - low > NEAR * high:
        price = (low + high) / 2
        low, high = (price, high) if spend(np.float32(price)) > budget else (low, price)
    return high


def bisect_plan(menu: Menu, budget: float) -> float:
    """Returns the price of a budget. There is no plan of whole units, no bound and no audit."""
    value, cost = menu.value.T, menu.cost.T
    best, paid = np.empty((2, BLOCK), value.dtype)
    return _halved(steepest(menu), lambda price: _spend(value, cost, price, best, paid), budget)


def bisect_curve(menu: Menu, logs: Logs, budget: float) -> float:
    """Returns the value per unit of the policy that spends a budget per unit, on rows of a trial."""
    value, cost, weight = menu.value.T, menu.cost.T, logs.inverse_propensity / logs.n
    paid, brought = weight * logs.cost, weight * logs.value
    best, chosen = np.empty(BLOCK, value.dtype), np.empty(BLOCK, np.int64)

    def sums(price: np.float32) -> tuple[float, float]:
        return _agreeing(value, cost, price, logs.treatment, paid, brought, best, chosen)

    return float(sums(np.float32(_halved(steepest(menu), lambda price: sums(price)[0], budget)))[1])
