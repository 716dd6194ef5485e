"""Means of cells, one per cluster and treatment, from trial rows: weighted by inverse propensity, shrunk, with their errors.

The estimate of a cell is shrunk towards the network's mean prediction for it. Values are shrunk in two parts: the level of a
cluster (the mean over its treatments), and the difference of a treatment from that level. A network often predicts levels worse
than effects; shrinking whole cells would then leave the effects nearly as noisy as before.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from largesse.logs import Logs

__all__ = ["Means", "cell_means", "merged", "shrunk", "spreads"]

Floats = NDArray[np.float64]
_PRIOR_ROWS = 20.0  # weight of the arm's variance in each cell, in rows: few rows underestimate a variance
_POINTS = 400  # grid of τ


class Means(NamedTuple):
    """Means of cells and the variances of their errors, (K, M) each."""

    mean: Floats
    variance: Floats


def merged(rows: NDArray[np.int64], centres: Floats, least: int) -> NDArray[np.int64]:
    """Returns the new number of each cluster, (K,), from 0, after merging until every cell has enough rows.

    The cluster with the emptiest cell joins the nearest other one, until no cell has too few rows or one cluster is left.

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
        outcome: The outcome, (N,).
        k: Number of clusters.
    """
    m, w = logs.n_treatments, logs.inverse_propensity
    cell = cluster * m + logs.treatment

    def sums(x: Floats) -> Floats:
        return np.asarray(np.bincount(cell, x, minlength=k * m).reshape(k, m), np.float64)

    total = np.maximum(sums(w), 1e-300)
    arm = np.bincount(logs.treatment, w * outcome, m) / np.bincount(logs.treatment, w, m)
    mean = np.where(sums(np.ones(logs.n)) > 0, sums(w * outcome) / total, arm)
    squares = (outcome - mean.ravel()[cell]) ** 2
    rows = total**2 / np.maximum(sums(w**2), 1e-300)  # effective sample size
    pooled = sums(w * squares).sum(0) / total.sum(0)
    within = (rows * sums(w * squares) / total + _PRIOR_ROWS * pooled) / (rows + _PRIOR_ROWS)
    return Means(mean, within / np.maximum(rows, 1e-9))


def spreads(logs: Logs, cluster: NDArray[np.int64], k: int) -> Floats:
    """Returns the covariance of a unit's value and cost in each cell, (K, M, 2, 2), shrunk towards that of the arm."""
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


def shrunk(cells: Means, guess: Floats, *, levels: bool) -> Means:
    """Returns cells shrunk towards a guess by empirical Bayes, and the variance of the remaining error.

    Each cell keeps τ² / (τ² + e) of its distance from the guess. τ² is common to all cells, because the few treatments give
    little information about a τ² of their own.

    Args:
        cells: Means and variances, (K, M).
        guess: Prior means of the cells, (K, M).
        levels: Whether levels of clusters and differences of treatments from them are shrunk separately.
    """
    off = cells.mean - guess
    if not levels:
        kept = _to_zero(Means(off, cells.variance))
        return Means(guess + kept.mean, kept.variance)
    m = off.shape[1]
    level = off.mean(1, keepdims=True)
    share = cells.variance.sum(1, keepdims=True) / m**2  # of the mean of the treatments
    height = _to_zero(Means(level, share))
    # Var(x_j - mean of x) = (1 - 2 / M) e_j + Σ e / M²; these M differences have M - 1 degrees of freedom.
    adds = _to_zero(Means(off - level, (1 - 2 / m) * cells.variance + share), 1 - 1 / m)
    return Means(guess + height.mean + adds.mean, height.variance + adds.variance)


def _to_zero(off: Means, entries: float = 1.0) -> Means:
    """Returns entries shrunk to zero by τ² / (τ² + e), averaged over the posterior of τ; entries without error stay.

    `entries` is the number of independent values per entry.
    """
    uncertain = off.variance > 0
    mean, variance = off.mean.copy(), np.zeros_like(off.variance)
    if uncertain.any():
        mean[uncertain], variance[uncertain] = _posterior(off.mean[uncertain], off.variance[uncertain], entries)
    return Means(mean, variance)


def _posterior(off: Floats, variance: Floats, entries: float) -> Means:
    """Returns posterior mean and variance of entries ~ N(0, τ²) observed with an error, averaged over the posterior of τ.

    The prior of τ is uniform up to four times the size of entries and errors. The posterior is never concentrated at zero,
    so that a guess is not taken as exact because too few rows contradict it.
    """
    spread = np.square(np.linspace(0, 1, _POINTS)) * 4 * np.sqrt(np.square(off).mean() + variance.mean())
    like = np.array([-entries * (np.log(t**2 + variance) + off**2 / (t**2 + variance)).sum() / 2 for t in spread])
    weight = np.exp(like - like.max()) * np.gradient(spread)
    weight /= weight.sum()
    kept, square = np.zeros_like(off), np.zeros_like(off)
    for t, w in zip(spread, weight, strict=True):
        share = t**2 / (t**2 + variance)
        kept += w * share
        square += w * share**2
    return Means(kept * off, kept * variance + np.maximum(square - kept**2, 0.0) * off**2)
