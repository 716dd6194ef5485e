"""Describes the clusters of a model for the report: their units, and value and cost under each treatment."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from largesse.checks.finding import sample
from largesse.logs import Logs
from largesse.models.base import Model
from largesse.policy.safety import normal_quantile
from largesse.report.cluster_cards import ClusterCard, Clusters, Trait

__all__ = ["clusters", "traits"]

_ROWS = 200_000  # a sample of so many is precise enough
_CARDS, _TRAITS = 12, 4
_LEAST = 0.2  # standard deviations: a smaller difference is not shown
_Z = normal_quantile(0.975)
Table = NDArray[np.float64]


def clusters(rct: Logs, models: dict[str, Model], chosen: str) -> Clusters | None:
    """Returns the clusters of the chosen candidate or else of the first that has clusters; None if none has.

    Args:
        rct: The rows of the trial.
        models: The fitted candidates.
        chosen: Name of the chosen candidate.
    """
    able = [name for name in (chosen, *models) if hasattr(models[name], "cells_of")]
    if not able:
        return None
    model: Any = models[able[0]]
    some = sample(rct, _ROWS, seed=0)
    of = model.clusters(some.x)
    size = np.bincount(of, some.weights, model.n_clusters)
    cells, shown = model.cells_of(size), traits(some, of, model.n_clusters)
    rows = np.bincount(model.clusters(rct.x), minlength=model.n_clusters) if some is not rct else np.bincount(of)
    largest = np.argsort(-size, kind="stable")[:_CARDS]
    cards = [
        ClusterCard(
            name=str(k), share=float(size[k] / size.sum()), rows=int(rows[k]), traits=shown[k],
            value=_ends(cells.value[k], cells.covariance[k, :, 0, 0]), cost=_ends(cells.cost[k], cells.covariance[k, :, 1, 1]),
        )
        for k in largest.tolist() if size[k] > 0
    ]  # fmt: skip
    return Clusters(
        cards=tuple(cards),
        treatments=rct.treatments,
        total=int((size > 0).sum()),
        model=able[0],
        chosen=able[0] == chosen,
    )


def _ends(mean: Table, variance: Table) -> tuple[tuple[float, float, float], ...]:
    wide = _Z * np.sqrt(variance)
    return tuple(zip(mean.tolist(), (mean - wide).tolist(), (mean + wide).tolist(), strict=True))


def traits(logs: Logs, of: NDArray[np.int64], k: int) -> tuple[tuple[Trait, ...], ...]:
    """Returns the features, at most four, in which each cluster differs most from all units, in standard deviations.

    Args:
        logs: The units, with row weights.
        of: Cluster of each unit, (N,).
        k: Number of clusters.
    """
    w = logs.weights
    size = np.maximum(np.bincount(of, w, k), 1e-300)
    inside = np.column_stack([np.bincount(of, w * column, k) / size for column in logs.x.T])  # (K, d)
    mean = np.average(logs.x.astype(np.float64), axis=0, weights=w)
    sd = np.sqrt(np.average((logs.x - mean) ** 2, axis=0, weights=w))
    difference = np.divide(inside - mean, sd, out=np.zeros_like(inside), where=sd > 1e-9 * np.abs(mean))
    yes_no = np.array([bool(np.isin(column, (0.0, 1.0)).all()) for column in logs.x.T])
    order = np.argsort(-np.abs(difference), axis=1, kind="stable")[:, :_TRAITS]
    return tuple(
        tuple(
            Trait(feature=logs.features[f], inside=float(inside[c, f]), everywhere=float(mean[f]),
                  difference=float(difference[c, f]), share=bool(yes_no[f]))
            for f in order[c].tolist() if abs(difference[c, f]) >= _LEAST
        )
        for c in range(k)
    )  # fmt: skip
