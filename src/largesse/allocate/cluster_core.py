"""One limit, one treatment for each cluster: the best plan exactly, from the answer of the linear programme outwards.

At the price λ of the limit each cluster has a best treatment. A better plan within the limit differs from those in few
clusters, whose increments are worth nearly λ. Their differences are gone through cluster by cluster, the nearest to λ first; a
partial plan is dropped where another has no less value and no more weight, and where the increments that are left cannot make it
better than the best plan known.

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
_MOST = 20_000  # partial plans that are kept


class Better(NamedTuple):
    """The best plan above a floor, (K,), None if there is none; and what no plan exceeds."""

    treatment: NDArray[np.int32] | None
    bound: float


def better(
    value: Floats, weight: Floats, allowed: NDArray[np.bool_], limit: float, price: float, floor: float, room: float
) -> Better | None:
    """Returns the best plan of value above the floor, up to some room; None if there are too many partial plans.

    Args:
        value: What each treatment of each cluster is worth, (K, M).
        weight: What it takes of the limit, (K, M).
        allowed: What a cluster may get, (K, M).
        limit: Σ weight of a plan may not exceed it.
        price: λ, >= 0.
        floor: Value of a plan that is known.
        room: A plan that is better by no more than this may be missed, >= 0.
    """
    rows = np.arange(len(value))
    reduced = np.where(allowed, value - price * weight, -inf)
    first = reduced.argmax(1)
    lost = reduced[rows, first][:, None] - reduced
    more, extra = value - value[rows, first][:, None], weight - weight[rows, first][:, None]
    v, w = np.array([value[rows, first].sum()]), np.array([weight[rows, first].sum() - limit])
    near = lost < v[0] - price * w[0] - floor - room  # no other cell can be part of a better plan
    near[rows, first] = True
    order, up, down = _order(more, extra, near, price)
    trail: list[tuple[NDArray[np.intp], NDArray[np.intp]]] = []
    found: tuple[int, int] | None = None
    if w[0] <= 0 and v[0] > floor:
        floor, found = float(v[0]), (-1, 0)
    for s, k in enumerate(order):
        cells = np.flatnonzero(near[k])
        v, w = (v[:, None] + more[k, cells]).ravel(), (w[:, None] + extra[k, cells]).ravel()
        whole = np.where(w <= 0, v, -inf)
        if whole.max() > floor:
            floor, found = float(whole.max()), (s, int(whole.argmax()))
        # What is left of the limit can be filled at the best slope that is left; what is too much must be saved at one.
        best = v - w * np.where(w <= 0, max(up[s + 1], 0.0), down[s + 1])
        kept = _efficient(v, w, np.flatnonzero(best > floor + room))
        trail.append((kept, cells))
        if len(kept) > _MOST:
            return None
        v, w = v[kept], w[kept]
        if not len(kept):
            break
    return Better(None if found is None else _plan(first, order, trail, found), floor + room)


def _order(
    more: Floats, extra: Floats, near: NDArray[np.bool_], price: float
) -> tuple[NDArray[np.intp], Floats, Floats]:
    """Returns the clusters in question, nearest to the price first, and the best slopes up and down from each on."""
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = more / extra
    up = np.where(near & (extra > 0), slope, -inf).max(1)
    down = np.where(near & (extra < 0), slope, inf).min(1)
    some = np.flatnonzero(near.sum(1) > 1)
    some = some[np.argsort(np.minimum(price - up, down - price)[some], kind="stable")]
    ups, downs = np.maximum.accumulate(up[some][::-1])[::-1], np.minimum.accumulate(down[some][::-1])[::-1]
    return some, np.append(ups, -inf), np.append(downs, inf)


def _efficient(v: Floats, w: Floats, some: NDArray[np.intp]) -> NDArray[np.intp]:
    """Returns those of some partial plans that no other has at least the value of with no more weight."""
    rising = some[np.lexsort((-v[some], w[some]))]
    before = np.append(-inf, np.maximum.accumulate(v[rising])[:-1])[: len(rising)]
    return rising[v[rising] > before]


def _plan(
    first: NDArray[np.intp], order: NDArray[np.intp], trail: list[tuple[NDArray[np.intp], NDArray[np.intp]]],
    found: tuple[int, int],
) -> NDArray[np.int32]:  # fmt: skip
    """Returns the plan that a partial plan completes with the best treatments at the price."""
    plan = first.astype(np.int32)
    s, i = found
    while s >= 0:
        cells = trail[s][1]
        plan[order[s]] = cells[i % len(cells)]
        i, s = i // len(cells), s - 1
        if s >= 0:
            i = int(trail[s][0][i])
    return plan
