"""Power sums of several columns, to which units are added batch by batch: the whole state of an asymptotic sequence.

With the sums of all products of up to four columns, the variance, the skewness and the fourth moment of any linear combination
of the columns follow: of a mean, of a ratio by its linearisation, of a difference at any price.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from itertools import combinations_with_replacement
from math import comb, factorial, prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from largesse import _check
from largesse.evaluate.sequences import kernels

__all__ = ["Moments", "PowerSums", "Rows", "batch_column", "batch_labels", "by_cluster", "check_state"]

Floats = NDArray[np.float64]
Rows = Sequence[Any] | NDArray[Any]
"""One number for each row, or one for each row and treatment: a list, an array or a column of a table."""
_CANCELS = 1e-13  # share of the second moment below which what is left of it is rounding


class Moments(NamedTuple):
    """Moments of Σ c_k (column_k - its mean) over the units.

    Attributes:
        variance: Of one unit.
        skewness: Σ ψ³ / (Σ ψ²)^(3/2), of the sum over all units.
        freedom: Degrees of freedom of the variance, 2 (Σψ²)² / (Σψ⁴ - (Σψ²)²/n) (Satterthwaite).
        events: Effective number of units that carry the variance, (Σψ²)² / Σψ⁴; of rare 0/1 scores, the number of ones.
    """

    variance: float
    skewness: float
    freedom: float
    events: float


class PowerSums:
    """Σ Π (column_k - shift_k)^e_k over the units, for all exponents whose sum is at most 4.

    The units are added one after the other, so the bits of the sums do not depend on how the stream was cut into batches. The
    shift is the first unit, so little is lost where the mean is large beside the variation.

    Attributes:
        shift: The first unit, (K,).
        sums: (M,), the number of units first.
    """

    __slots__ = ("shift", "sums")

    def __init__(self, columns: int, shift: Floats | None = None, sums: Floats | None = None) -> None:
        self.shift = np.zeros(columns) if shift is None else shift
        self.sums = np.zeros(len(_monomials(columns)[0])) if sums is None else sums

    @property
    def n(self) -> int:
        """Number of units."""
        return int(self.sums[0])

    def add(self, rows: Floats) -> None:
        """Adds units, (G, K)."""
        if not len(rows):
            return
        if not self.sums[0]:
            self.shift = rows[0].copy()
        _, parent, column = _monomials(len(self.shift))
        kernels.add_powers(self.sums, np.ascontiguousarray(rows), self.shift, parent, column)

    def means(self) -> Floats:
        """Returns the means of the columns, (K,); there is at least one unit."""
        index = [_monomials(len(self.shift))[0].index((k,)) for k in range(len(self.shift))]
        return np.asarray(self.shift + self.sums[index] / self.sums[0])

    def moments(self, weights: Floats) -> Moments:
        """Returns the moments of a linear combination of the columns.

        Args:
            weights: c, one for each column, (K,).
        """
        n, raw = self.sums[0], self._about_shift(weights) / self.sums[0]
        second, third, fourth = (
            sum(comb(p, j) * raw[j] * (-raw[1]) ** (p - j) for j in range(p + 1)) for p in (2, 3, 4)
        )
        if n < 2 or second <= _CANCELS * raw[2]:
            return Moments(0.0, 0.0, 2.0, 0.0)
        kurtosis = max(fourth / second**2, 1.0)
        freedom = 2 * n / max(kurtosis - 1, 2e-9 * n)
        skewness = third / second**1.5 / np.sqrt(n)
        return Moments(
            float(second * n / (n - 1)), float(skewness), float(np.clip(freedom, 2, 1e9)), float(n / kurtosis)
        )

    def totals(self, weights: Floats) -> Floats:
        """Returns Σ (Σ c_k column_k)^p over the units for p = 0 to 4, (5,)."""
        raw, base = self._about_shift(weights), float(weights @ self.shift)
        return np.array([sum(comb(p, j) * raw[j] * base ** (p - j) for j in range(p + 1)) for p in range(5)])

    def _about_shift(self, weights: Floats) -> Floats:
        """Returns Σ (Σ c_k (column_k - shift_k))^p for p = 0 to 4, by the multinomial theorem, (5,)."""
        powers, degree, ways = _expansion(len(self.shift))
        return np.asarray(np.bincount(degree, ways * np.prod(weights**powers, axis=1) * self.sums), np.float64)


@cache
def _monomials(columns: int) -> tuple[list[tuple[int, ...]], NDArray[np.int64], NDArray[np.int64]]:
    """Returns the products of up to four columns as tuples of column numbers, and each as a multiple of an earlier one."""
    names = [m for degree in range(5) for m in combinations_with_replacement(range(columns), degree)]
    place = {name: k for k, name in enumerate(names)}
    parent = np.array([0] + [place[name[:-1]] for name in names[1:]], np.int64)
    column = np.array([0] + [name[-1] for name in names[1:]], np.int64)
    return names, parent, column


@cache
def _expansion(columns: int) -> tuple[Floats, NDArray[np.int64], Floats]:
    """Returns the exponents of each monomial (M, K), their sum (M,), and the multinomial coefficient (M,)."""
    names = _monomials(columns)[0]
    powers = np.array([[name.count(k) for k in range(columns)] for name in names], np.float64)
    ways = [factorial(len(name)) / prod(factorial(name.count(k)) for k in range(columns)) for name in names]
    return powers, powers.sum(axis=1).astype(np.int64), np.array(ways)


def by_cluster(rows: Floats, cluster: NDArray[np.generic] | None) -> Floats:
    """Returns the sums of the rows of each cluster, in the order in which the clusters first appear, (G, K).

    >>> by_cluster(np.array([[1.0], [2.0], [5.0]]), np.array(["b", "a", "b"])).tolist()
    [[6.0], [2.0]]
    """
    if cluster is None or not len(rows):
        return rows
    _, first, code = np.unique(cluster, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return np.column_stack([np.bincount(rank[code], column, len(first)) for column in rows.T])


def batch_column(name: str, got: Rows) -> Floats:
    """Returns a column of a batch as finite floats; a batch may be empty, as on a day without decisions."""
    if np.size(got) == 0:
        return np.empty(0)
    out = np.asarray(_check.array(name, got, ndim=1), np.float64)
    _check.amounts(name, out, "Leave out rows without an outcome.")
    return out


def batch_labels(cluster: Rows) -> NDArray[np.generic]:
    """Returns the clusters of a batch as an array with one axis."""
    out = np.asarray(cluster)
    if out.ndim != 1:
        raise _check.refuse("cluster", cluster, "must be an array with one axis", "Give one label for each row.")
    return out


def check_state(state: Mapping[str, Any], kind: str, parts: Sequence[str]) -> None:
    """Raises DataError for a saved state of another class or a newer version, or without one of its parts."""
    remedy = f"Give what `{kind}.to_dict` returned."
    if state.get("kind") != kind or any(part not in state for part in parts):
        raise _check.refuse("state", dict(state), f"must be the state of a {kind}", remedy)
    if state.get("format") != 1:
        raise _check.refuse("format", state.get("format"), "must be 1", "Read it with the version that wrote it.")
