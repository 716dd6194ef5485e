"""One limit, one treatment per cluster: the best plan and a bound, by dynamic programming from the linear programme outwards.

At the shadow price λ of the limit each cluster has a best treatment. A better plan within the limit deviates from these in few
clusters, whose increments have a slope near λ. Deviations are enumerated cluster by cluster, slopes nearest to λ first. A
partial plan is dropped if another has at least its value and at most its weight, or if its upper bound does not exceed the
value of the best plan so far.

Reference:
    Pisinger 1995, A minimal algorithm for the multiple-choice knapsack problem.
"""

from __future__ import annotations

from math import inf
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Better", "better"]

Floats = NDArray[np.float64]
Positions = NDArray[np.intp]
_MOST = 20_000  # most partial plans


class Better(NamedTuple):
    """The best plan above a floor, (K,), or None if there is none; and an upper bound on the value of any plan."""

    treatment: NDArray[np.int32] | None
    bound: float


def better(
    value: Floats, weight: Floats, allowed: NDArray[np.bool_], limit: float, price: float, floor: float, tol: float
) -> Better | None:
    """Returns the best plan of value above the floor, up to a tolerance; None if there are too many partial plans.

    Args:
        value: Value of each treatment of each cluster, (K, M).
        weight: Its use of the limit, (K, M).
        allowed: The treatments that a cluster may get, (K, M).
        limit: Upper bound on Σ weight of a plan.
        price: Shadow price λ of the limit, >= 0.
        floor: Value of a known plan.
        tol: A plan that is better by no more than this may be missed, >= 0.
    """
    rows = np.arange(len(value))
    reduced = np.where(allowed, value - price * weight, -inf)
    first = reduced.argmax(1)
    loss = reduced[rows, first][:, None] - reduced
    more, extra = value - value[rows, first][:, None], weight - weight[rows, first][:, None]
    v, w = np.array([value[rows, first].sum()]), np.array([weight[rows, first].sum() - limit])
    near = loss < v[0] - price * w[0] - floor - tol  # no other cell can be part of a better plan
    near[rows, first] = True
    order, up, down = _order(more, extra, near, price)
    trail: list[tuple[Positions, Positions]] = []
    last: tuple[int, int] | None = None  # the best plan: position in the order of clusters, and of the partial plan
    if w[0] <= 0 and v[0] > floor:
        floor, last = float(v[0]), (-1, 0)
    for s, k in enumerate(order):
        cells = np.flatnonzero(near[k])
        v, w = (v[:, None] + more[k, cells]).ravel(), (w[:, None] + extra[k, cells]).ravel()
        feasible = np.where(w <= 0, v, -inf)
        if feasible.max() > floor:
            floor, last = float(feasible.max()), (s, int(feasible.argmax()))
        # Upper bound: slack is filled at the best slope of the remaining clusters; excess weight is given up at the lowest.
        bound = v - w * np.where(w <= 0, max(up[s + 1], 0.0), down[s + 1])
        kept = _efficient(v, w, np.flatnonzero(bound > floor + tol))
        trail.append((kept, cells))
        if len(kept) > _MOST:
            return None
        v, w = v[kept], w[kept]
        if not len(kept):
            break
    return Better(None if last is None else _plan(first, order, trail, last), floor + tol)


def _order(more: Floats, extra: Floats, near: NDArray[np.bool_], price: float) -> tuple[Positions, Floats, Floats]:
    """Returns the clusters that may deviate, nearest to the price first; from each position on, the highest and lowest slope."""
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = more / extra
    up = np.where(near & (extra > 0), slope, -inf).max(1)
    down = np.where(near & (extra < 0), slope, inf).min(1)
    order = np.flatnonzero(near.sum(1) > 1)
    order = order[np.argsort(np.minimum(price - up, down - price)[order], kind="stable")]
    ups, downs = np.maximum.accumulate(up[order][::-1])[::-1], np.minimum.accumulate(down[order][::-1])[::-1]
    return order, np.append(ups, -inf), np.append(downs, inf)


def _efficient(v: Floats, w: Floats, some: Positions) -> Positions:
    """Returns those of some partial plans that no other dominates: at least their value, at most their weight."""
    rising = some[np.lexsort((-v[some], w[some]))]
    before = np.append(-inf, np.maximum.accumulate(v[rising])[:-1])[: len(rising)]
    return rising[v[rising] > before]


def _plan(
    first: Positions, order: Positions, trail: list[tuple[Positions, Positions]], last: tuple[int, int]
) -> NDArray[np.int32]:
    """Returns the plan (K,) of a partial plan, by tracing back its deviations from the first treatments."""
    plan = first.astype(np.int32)
    s, i = last
    while s >= 0:
        cells = trail[s][1]
        plan[order[s]] = cells[i % len(cells)]
        i, s = i // len(cells), s - 1
        if s >= 0:
            i = int(trail[s][0][i])
    return plan
