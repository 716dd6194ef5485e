"""Sums of an experiment's columns by arm, from which every estimator of a mean is computed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from largesse.experiment.data.sample import BLOCK, Block, Codes, Floats, Sample, Source
from largesse.experiment.estimators.kernels import moments

__all__ = ["Totals", "totals", "unit_columns", "unit_totals"]

_COLUMNS = ("value", "denominator", "prediction")


@dataclass(frozen=True, slots=True, eq=False)
class Totals:
    """Weighted sums by arm of K columns, each minus its shift. The sums of two sets of rows can be added: ``a + b``.

    Attributes:
        names: Column names (K,).
        shift: Value subtracted from each column (K,).
        rows: Number of rows by arm (M,).
        weight: Sum of the weights by arm (M,).
        total: Sums (M, K).
        product: Sums of products (M, K, K).
    """

    names: tuple[str, ...]
    shift: Floats
    rows: Floats
    weight: Floats
    total: Floats
    product: Floats

    def __add__(self, other: Totals) -> Totals:
        assert self.names == other.names
        assert (self.shift == other.shift).all()
        added = (getattr(self, k) + getattr(other, k) for k in ("rows", "weight", "total", "product"))
        return Totals(self.names, self.shift, *added)

    def of(self, *arms: int) -> Totals:
        """Returns the sums of several arms, pooled into one."""
        pick = (getattr(self, k)[list(arms)].sum(axis=0, keepdims=True) for k in ("rows", "weight", "total", "product"))
        return Totals(self.names, self.shift, *pick)

    def mean(self, arm: int, name: str) -> float:
        """Returns the weighted mean of a column in an arm; 1 for an absent column."""
        if name not in self.names:
            return 1.0
        k = self.names.index(name)
        return float(self.shift[k] + self.total[arm, k] / self.weight[arm])

    def spread(self, arm: int, left: str, right: str) -> float:
        """Returns the weighted sum of products of two centred columns in an arm; 0 if a column is absent."""
        if left not in self.names or right not in self.names:
            return 0.0
        p, q = self.names.index(left), self.names.index(right)
        return float(self.product[arm, p, q] - self.total[arm, p] * self.total[arm, q] / self.weight[arm])

    def linearised(self, arm: int, ratio: float) -> float:
        """Returns the weighted sum of squares of value - ratio · denominator about its mean in an arm."""
        y, z = "value", "denominator"
        return self.spread(arm, y, y) - 2 * ratio * self.spread(arm, y, z) + ratio**2 * self.spread(arm, z, z)


def totals(source: Source) -> Totals:
    """Returns the weighted sums of metric, denominator and prediction by arm, in one pass over the rows."""
    shift: Floats | None = None
    parts = []
    for block in source.blocks():
        names, columns = _columns(block)
        shift = columns.mean(axis=1) if shift is None else shift
        parts.append(_sums(names, columns, block.weight, block.arm, len(source.arms), shift))
    return reduce(Totals.__add__, parts)


def unit_columns(sample: Sample) -> tuple[dict[str, Floats], Codes]:
    """Returns columns over randomised units, each unit with the weighted sums of its rows (G,), and the units' arms (G,).

    The columns are ``value`` and, where given, ``denominator``, ``prediction`` and ``covariate``. With clusters or weights
    there is also ``size``, the weight of a unit: means are then ratios of sums.
    """
    fields = (*_COLUMNS, "covariate")
    columns: dict[str, Floats] = {name: getattr(sample, name) for name in fields if getattr(sample, name) is not None}
    arm = sample.arm
    if sample.weight is not None or sample.cluster is not None:
        weight = np.ones(sample.n) if sample.weight is None else sample.weight
        columns = {name: weight * column for name, column in columns.items()} | {"size": weight}
    if sample.cluster is not None:
        columns = {name: np.bincount(sample.cluster, column).astype(np.float64) for name, column in columns.items()}
        code = np.zeros(sample.clusters, np.int32)
        code[sample.cluster] = sample.arm
        present = columns["size"] > 0
        arm, columns = code[present], {name: column[present] for name, column in columns.items()}
    return columns, arm


def unit_totals(sample: Sample) -> Totals:
    """Returns the unweighted sums of `unit_columns` by arm."""
    columns, arm = unit_columns(sample)
    names, step = tuple(columns), BLOCK
    shift = np.array([column[:step].mean() for column in columns.values()])
    parts = [
        _sums(names, np.array([c[k : k + step] for c in columns.values()]), np.empty(0), arm[k : k + step],
              len(sample.arms), shift)
        for k in range(0, len(arm), step)
    ]  # fmt: skip
    return reduce(Totals.__add__, parts)


def _columns(block: Block) -> tuple[tuple[str, ...], Floats]:
    names = tuple(name for name in _COLUMNS if len(getattr(block, name)))
    return names, np.array([getattr(block, name) for name in names])


def _sums(
    names: tuple[str, ...], columns: Floats, weight: Floats, arm: NDArray[Any], arms: int, shift: Floats
) -> Totals:
    size, total, product = moments(columns, weight, arm, arms, shift)
    return Totals(names, shift, size[:, 0], size[:, 1], total, product)
