"""What single rows add to estimates: their errors, paired, and the rows that move them most."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from largesse.experiment.data.sample import Codes, Floats, Sample, Source

__all__ = ["Errors", "Influential", "Parts"]

_TOP = 10


class Influential(NamedTuple):
    """A row that moves an estimate most: what each estimate would change by, to first order, if it were left out."""

    row: int
    arm: str
    value: float
    mlrate: float
    state: float


class Parts(NamedTuple):
    """Influences of the rows of a block (n, 3): on STATE, on MLRATE, on control's ratio; and which rows are of the pair."""

    each: Floats
    value: Floats
    arm: Codes
    start: int


class Errors:
    """Adds up influences: squares and products, fourth powers of the difference, the largest rows."""

    def __init__(self) -> None:
        self.cov, self.fourth, self.largest = np.zeros((3, 3)), 0.0, 0.0
        self.cluster: Floats | None = None
        self.top: list[tuple[float, int, int, float, float, float]] = []

    def add(self, part: Parts, source: Source) -> None:
        """Takes in a block."""
        each = part.each
        if isinstance(source, Sample) and source.cluster is not None:
            self.cluster = np.zeros((source.clusters, 3)) if self.cluster is None else self.cluster
            codes = source.cluster[part.start : part.start + len(each)]
            for k in range(3):
                self.cluster[:, k] += np.bincount(codes, each[:, k], minlength=source.clusters)
        else:
            self._square(each)
        size = np.abs(each[:, 1])
        often = np.argpartition(size, -_TOP)[-_TOP:] if len(size) > _TOP else np.arange(len(size))
        self.top += [
            (float(size[k]), part.start + int(k), int(part.arm[k]), float(part.value[k]), float(each[k, 0]), float(each[k, 1]))
            for k in often
        ]  # fmt: skip
        self.top = sorted(self.top, key=lambda one: (-one[0], one[1]))[:_TOP]

    def _square(self, each: Floats) -> None:
        gap = (each[:, 0] - each[:, 1]) ** 2
        self.cov += each.T @ each
        self.fourth += float(gap @ gap)
        self.largest = max(self.largest, float((each[:, 1] ** 2).max()))

    def finish(self, rows: float) -> tuple[Floats, float, float, int]:
        """Returns the covariance, the equal rows behind the difference, the largest share, the number of clusters."""
        n = 0
        if self.cluster is not None:
            there = self.cluster.any(axis=1)
            self._square(self.cluster[there])
            n = int(there.sum())
        gap = self.cov[0, 0] + self.cov[1, 1] - 2 * self.cov[0, 1]
        units = gap**2 / self.fourth if self.fourth > 0 else rows
        return self.cov, float(units), float(self.largest / self.cov[1, 1]) if self.cov[1, 1] else 0.0, n
