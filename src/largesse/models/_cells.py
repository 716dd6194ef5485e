"""Means of cells, one per cluster and treatment, from trial rows: weighted by inverse propensity, shrunk, with their errors.

Values are shrunk in two parts: the level of a cluster (the mean of its treatments) towards the mean of all clusters, and what
a treatment adds to that level towards what it adds on average. Levels differ far more between clusters than effects do, so
shrinking cells as they are would leave the effects nearly as noisy as they were. Costs are shrunk treatment by treatment.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from largesse.logs import Logs

__all__ = ["Means", "cell_means", "merged", "shrunk", "spreads"]

Floats = NDArray[np.float64]
_PRIOR_ROWS = (
    20.0  # the variance of an arm counts like so many rows in each of its cells: few rows show too little of it
)
_ROUNDS = 50


class Means(NamedTuple):
    """Means of cells and the variances of their errors, (K, M) each."""

    mean: Floats
    error: Floats


def merged(rows: NDArray[np.int64], centres: Floats, least: int) -> NDArray[np.int64]:
    """Returns which cluster each cluster becomes part of, (K,), numbered from 0, so that every cell has enough rows.

    The cluster with the emptiest cell joins the nearest other one until none is too thin, or one cluster is left.

    Args:
        rows: Trial rows of each cell, (K, M).
        centres: Centres, (K, d).
        least: Rows that every cell needs.
    """
    rows, centres, into = rows.copy(), centres.copy(), np.arange(len(rows))
    alive = np.ones(len(rows), np.bool_)
    while alive.sum() > 1 and rows[alive].min() < least:
        k = int(np.argmin(np.where(alive, rows.min(1), np.iinfo(np.int64).max)))
        alive[k] = False
        to = int(np.argmin(np.where(alive, ((centres - centres[k]) ** 2).sum(1), np.inf)))
        a, b = rows[k].sum(), rows[to].sum()
        centres[to] = (a * centres[k] + b * centres[to]) / max(a + b, 1)
        rows[to] += rows[k]
        into[into == k] = to
    return np.unique(into, return_inverse=True)[1]


def cell_means(logs: Logs, cluster: NDArray[np.int64], outcome: Floats, k: int) -> Means:
    """Returns the weighted mean of an outcome in each cell, and the variance of its error.

    Args:
        logs: Trial rows, with row weights and propensities.
        cluster: Cluster of each row, (N,).
        outcome: What is averaged, (N,).
        k: Number of clusters.
    """
    m, w = logs.n_treatments, logs.inverse_propensity
    cell = cluster * m + logs.treatment

    def sums(x: Floats) -> Floats:
        return np.asarray(np.bincount(cell, x, minlength=k * m).reshape(k, m), np.float64)

    total = np.maximum(sums(w), 1e-300)
    arm = np.bincount(logs.treatment, w * outcome, m) / np.bincount(logs.treatment, w, m)
    mean = np.where(sums(np.ones(logs.n)) > 0, sums(w * outcome) / total, arm)
    off = (outcome - mean.ravel()[cell]) ** 2
    rows = total**2 / np.maximum(sums(w**2), 1e-300)  # how many rows of equal weight tell as much
    pooled = sums(w * off).sum(0) / total.sum(0)
    within = (rows * sums(w * off) / total + _PRIOR_ROWS * pooled) / (rows + _PRIOR_ROWS)
    return Means(mean, within / np.maximum(rows, 1e-9))


def spreads(logs: Logs, cluster: NDArray[np.int64], k: int) -> Floats:
    """Returns the covariance of a unit's value and cost in each cell, (K, M, 2, 2); that of the arm counts as some rows."""
    m, w = logs.n_treatments, logs.inverse_propensity
    cell, both = cluster * m + logs.treatment, np.column_stack([logs.value, logs.cost])
    total = np.maximum(np.bincount(cell, w, minlength=k * m), 1e-300)
    count = np.bincount(cell, minlength=k * m)
    mean = np.column_stack([np.bincount(cell, w * x, minlength=k * m) / total for x in both.T])
    off = both - mean[cell]
    s = np.empty((k, m, 2, 2))
    for a, b in ((0, 0), (0, 1), (1, 1)):
        sums = np.bincount(cell, w * off[:, a] * off[:, b], minlength=k * m).reshape(k, m)
        pooled, n = sums.sum(0) / total.reshape(k, m).sum(0), count.reshape(k, m)
        s[..., a, b] = s[..., b, a] = (n * sums / total.reshape(k, m) + _PRIOR_ROWS * pooled) / (n + _PRIOR_ROWS)
    return s


def shrunk(cells: Means, *, levels: bool) -> Means:
    """Returns cells drawn to their mean by empirical Bayes, and the variance of what error is left.

    Args:
        cells: Means and errors, (K, M).
        levels: Whether the level of a cluster and what treatments add to it are shrunk apart.
    """
    if not levels:
        return _by_column(cells)
    m = cells.mean.shape[1]
    level = cells.mean.mean(1, keepdims=True)
    share = cells.error.sum(1, keepdims=True) / m**2  # of the mean of the treatments
    height = _by_column(Means(level, share))
    # Var(x_j - mean of x) = (1 - 2 / M) e_j + Σ e / M²
    adds = _by_column(Means(cells.mean - level, (1 - 2 / m) * cells.error + share))
    return Means(height.mean + adds.mean, height.error + adds.error)


def _by_column(cells: Means) -> Means:
    """Returns each column's entries drawn to the column's mean by τ² / (τ² + e), τ² by Paule and Mandel."""
    mean, error = cells
    found = [_column(mean[:, j], error[:, j]) for j in range(mean.shape[1])]
    return Means(np.column_stack([f.mean for f in found]), np.column_stack([f.error for f in found]))


def _column(mean: Floats, error: Floats) -> Means:
    e = np.maximum(error, 1e-12 * (1e-300 + float(np.square(mean).mean())) + 1e-300)

    def centre(between: float) -> tuple[float, float]:
        w = 1 / (between + e)
        at = float(w @ mean / w.sum())
        return at, float(w @ (mean - at) ** 2) - (len(mean) - 1)

    low, high = 0.0, float(np.square(mean - mean.mean()).sum()) + float(e.max())
    if centre(0.0)[1] <= 0:
        high = 0.0
    for _ in range(_ROUNDS if high > 0 else 0):
        middle = (low + high) / 2
        low, high = (middle, high) if centre(middle)[1] > 0 else (low, middle)
    between = (low + high) / 2
    at, kept = centre(between)[0], between / (between + e)
    # What is left of the entry's own error, and of the error of the mean that it is drawn to.
    left = kept * e + (1 - kept) ** 2 / float((1 / (between + e)).sum())
    return Means(at + kept * (mean - at), np.where(error > 0, left, 0.0))
