"""Influences of single rows on the estimates: their paired covariance, and the most influential rows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from largesse.experiment.data.sample import Codes, Floats, Sample, Source
from largesse.experiment.estimators.shape import Contributions

__all__ = ["InfluenceSums", "Influences", "InfluentialRow"]

_TOP = 10


class InfluentialRow(NamedTuple):
    """A row that moves the adjusted mean most: the first-order change of each estimate if the row were left out."""

    row: int
    arm: str
    value: float
    mlrate: float
    state: float


class Influences(NamedTuple):
    """Influences of a block's rows on STATE, MLRATE and control's ratio (n, 3), with metric, arm and first row number."""

    each: Floats
    value: Floats
    arm: Codes
    start: int


class InfluenceSums:
    """Sums of influences over rows or clusters: products, fourth powers of the difference, and the largest rows."""

    def __init__(self, other: int) -> None:
        self.other = other
        self.shapes = (Contributions(), Contributions())  # of STATE and of MLRATE
        self.covariance, self.fourth, self.largest = np.zeros((3, 3)), 0.0, 0.0
        self.cluster: Floats | None = None
        self.arm: Codes = np.empty(0, np.int32)  # of each cluster
        self.top: list[InfluentialRow] = []

    def add(self, part: Influences, source: Source) -> None:
        """Adds a block."""
        each = part.each
        if isinstance(source, Sample) and source.cluster is not None:
            if self.cluster is None:
                self.cluster, self.arm = np.zeros((source.clusters, 3)), np.full(source.clusters, -1, np.int32)
            codes = source.cluster[part.start : part.start + len(each)]
            self.arm[codes] = part.arm
            for k in range(3):
                self.cluster[:, k] += np.bincount(codes, each[:, k], minlength=source.clusters)
        else:
            self._add_products(each, part.arm)
        size = np.abs(each[:, 1])
        top = np.argpartition(size, -_TOP)[-_TOP:] if len(size) > _TOP else np.arange(len(size))
        self.top += [
            InfluentialRow(
                part.start + int(k), source.arms[part.arm[k]], float(part.value[k]), -float(each[k, 1]), -float(each[k, 0])
            )
            for k in top
        ]  # fmt: skip
        self.top = sorted(self.top, key=lambda row: (-abs(row.mlrate), row.row))[:_TOP]

    def _add_products(self, each: Floats, arm: Codes) -> None:
        pair = (arm == 0) | (arm == self.other)
        for k, shape in enumerate(self.shapes):
            shape.add(each[pair, k], arm[pair] == self.other)
        squared = (each[:, 0] - each[:, 1]) ** 2
        self.covariance += each.T @ each
        self.fourth += float(squared @ squared)
        self.largest = max(self.largest, float((each[:, 1] ** 2).max()))

    def finish(self, rows: float) -> tuple[Floats, float, float, int]:
        """Returns the covariance (3, 3), the effective rows of the difference, MLRATE's largest share, the number of clusters."""
        clusters = np.empty((0, 3))
        if self.cluster is not None:
            some = self.cluster.any(axis=1)
            clusters = self.cluster[some]
            self._add_products(clusters, self.arm[some])
        cov = self.covariance
        variance = cov[0, 0] + cov[1, 1] - 2 * cov[0, 1]
        units = variance**2 / self.fourth if self.fourth > 0 else rows
        return cov, float(units), float(self.largest / cov[1, 1]) if cov[1, 1] else 0.0, len(clusters)
