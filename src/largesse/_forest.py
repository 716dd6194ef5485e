"""Fast prediction with LightGBM's trees, for many rows and every treatment at once.

QuickScorer: each node masks the leaves that it rules out, one bit per leaf; the lowest remaining bit is the exit leaf. For a row
that goes right, a node rules out the leaves of its left branch. Control flow does not depend on the rows, so a node is one pass
over a block of rows. The masks of splits on the treatment are computed in advance, so all treatments share the other nodes.

Reference:
    Lucchese et al., SIGIR 2015, QuickScorer.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.special import expit

from largesse import _check
from largesse._lightgbm_trees import BoosterTrees

__all__ = ["Forest"]

Array = NDArray[Any]
Floats = NDArray[np.float64]
_BLOCK = 512  # rows per block: a column and the masks of a tree fit in the L1 cache
_ZERO = np.float32(1e-35)  # LightGBM treats numbers up to this size as 0
_MAGIC32, _MAGIC64 = 0x077CB531, 0x03F79D71B4CB0A89  # de Bruijn: the top bits of 2^k × constant are a hash of k
_MEANS: dict[str, Callable[[Floats], Floats]] = {
    "regression": np.asarray, "binary sigmoid:1": expit, "poisson": np.exp, "gamma": np.exp, "tweedie": np.exp,
}  # fmt: skip


class Forest:
    """A booster with predictions for every treatment.

    Raw scores equal LightGBM's to the last bit. Boosters outside the fast path (categorical splits other than on the treatment,
    missing values, linear leaves, more than 64 leaves) are predicted by LightGBM, treatment by treatment.

    Args:
        booster: A fitted `lightgbm.Booster`.
        m: Number of treatments to predict for.
        treatment: Column of the treatment code, the last column in training; None if there was none.
        own: Column of a feature that depends on the treatment, the last column before `treatment`; None if there was none.
    """

    def __init__(self, booster: Any, m: int = 1, *, treatment: int | None = None, own: int | None = None) -> None:
        self.booster, self.m, self.treatment, self.own = booster, m, treatment, own

    def raw(self, x: Array, n_threads: int = 1, own: Array | None = None) -> Floats:
        """Returns the sum of the trees, (N, M); for K classes, (N, K).

        Args:
            x: Features, finite float32 or float64, (N, d), without the columns `treatment` and `own`.
            n_threads: Threads.
            own: The treatment-dependent feature of each row, (N, M).
        """
        if self._layout is None:
            return self._by_lightgbm(x, n_threads, own, raw_score=True)
        out = np.empty((self._layout.width, len(x)))
        blocks = [slice(a, min(a + _BLOCK, len(x))) for a in range(0, len(x), _BLOCK)]
        score = self._scorer(x, own, out)
        n_threads = _check.threads(n_threads)
        if n_threads == 1 or len(blocks) == 1:
            for block in blocks:
                score(block)
        else:
            with ThreadPoolExecutor(n_threads) as pool:
                list(pool.map(score, blocks))
        return out.T

    def mean(self, x: Array, n_threads: int = 1) -> Floats:
        """Returns the predicted outcome, (N, M), as LightGBM's `predict` does."""
        if self._layout is None or self._layout.mean is None:
            return self._by_lightgbm(x, n_threads, None)
        return self._layout.mean(self.raw(x, n_threads))

    def _scorer(self, x: Array, own: Array | None, out: Floats) -> Callable[[slice], None]:
        """Returns the function that writes the scores of one block of rows into `out`, (width, N)."""
        layout, double = self._layout, x.dtype == np.float64
        assert layout is not None
        cuts = layout.trees.threshold if double else layout.trees.single

        def score(block: slice) -> None:
            columns = np.array(x[block].T, np.float64 if double else np.float32, order="C")  # a copy: modified below
            columns[np.abs(columns) <= _ZERO] = 0
            own_columns = np.empty((0, 0)) if own is None else np.array(own[block].T, np.float64, order="C")
            own_columns[np.abs(own_columns) <= _ZERO] = 0
            part = np.empty((len(out), columns.shape[1]))
            _score(columns, own_columns, layout.trees, cuts, part)
            out[:, block] = part

        return score

    def _by_lightgbm(self, x: Array, n_threads: int, own: Array | None, **options: bool) -> Floats:
        """Returns LightGBM's predictions, treatment by treatment."""
        scores = []
        for j in range(self.m):
            columns = [x] if own is None else [x, own[:, j]]
            rows = np.column_stack(columns if self.treatment is None else [*columns, np.full(len(x), j, x.dtype)])
            scores.append(
                self.booster.predict(rows, num_threads=_check.threads(n_threads), **options).reshape(len(x), -1)
            )
        return np.concatenate(scores, axis=1)

    @cached_property
    def _layout(self) -> _Layout | None:
        return _layout_of(BoosterTrees(self.booster), (self.treatment, self.own), self.m)


class _Trees(NamedTuple):
    """T trees as arrays, with the nodes of all trees concatenated.

    Attributes:
        feature: Column of each node; -1 for the treatment-dependent feature.
        threshold: Threshold of each node: rows above it go right.
        single: The threshold for rows in single precision.
        keep: Mask of the leaves that each node keeps for rows that go right.
        first: Index of the first node of each tree, then the number of nodes, (T + 1,).
        fixed: Mask of the leaves that the splits on the treatment keep, (T, M).
        same: The first treatment with the same mask in a tree, (T, M).
        leaf: Value of each leaf, at the hash of its bit, (T, 32 or 64).
        column: Class of each tree, (T,).
    """

    feature: NDArray[np.int64]
    threshold: Floats
    single: NDArray[np.float32]
    keep: Array
    first: NDArray[np.int64]
    fixed: Array
    same: NDArray[np.int64]
    leaf: Floats
    column: NDArray[np.int64]


class _Layout(NamedTuple):
    """The trees of a booster as arrays, the number of output columns, and the inverse link (None: left to LightGBM)."""

    trees: _Trees
    width: int
    mean: Callable[[Floats], Floats] | None


def _layout_of(trees: BoosterTrees, arm_columns: tuple[int | None, int | None], m: int) -> _Layout | None:
    """Returns the trees of a booster, or None if a tree is outside the fast path.

    Args:
        trees: The trees.
        arm_columns: Columns of the treatment code (its splits enter `fixed`) and of the treatment-dependent feature (column -1).
        m: Number of treatments.
    """
    most = int(trees.leaves.max(initial=1))
    if trees.averaged or trees.linear or most > 64 or (trees.classes > 1 and m > 1) or (trees.begin < 0).any():
        return None
    treatment, own = (-1 if column is None else column for column in arm_columns)
    on_arm = trees.feature == treatment
    if not (trees.plain | on_arm).all():
        return None
    n, bits = len(trees.leaves), 32 if most <= 32 else 64
    kind = np.uint32 if bits == 32 else np.uint64
    one, full = kind(1), ~kind(0)
    keep = ~(((one << trees.among_left.astype(kind)) - one) << trees.begin.astype(kind))
    fixed = np.full((n, m), full)
    arms = np.flatnonzero(on_arm)
    np.bitwise_and.at(fixed, trees.tree[arms], np.where(trees.goes_left(arms, m), full, keep[arms, None]))
    rest = np.flatnonzero(~on_arm)
    tree, feature = trees.tree[rest], np.where(trees.feature[rest] == own, -1, trees.feature[rest])
    uses_own = np.bincount(tree, feature < 0, n) > 0
    same = (fixed[:, :, None] == fixed[:, None, :]).argmax(2)
    leaf = np.zeros((n, bits))
    hashed = np.array([_place(k, bits) for k in range(bits)])
    leaf[np.repeat(np.arange(n), trees.leaves), hashed[trees.place]] = trees.leaf
    arrays = _Trees(
        feature=feature, threshold=trees.threshold[rest], single=trees.single[rest], keep=keep[rest],
        first=np.concatenate([[0], np.cumsum(np.bincount(tree, minlength=n))]), fixed=fixed,
        same=np.where(uses_own[:, None], np.arange(m), same), leaf=leaf, column=np.arange(n) % trees.classes,
    )  # fmt: skip
    return _Layout(arrays, width=max(trees.classes, m), mean=_MEANS.get(trees.objective))


def _place(leaf: int, bits: int) -> int:
    """Returns the index of a leaf's value: the de Bruijn hash of its bit."""
    return (((1 << leaf) * (_MAGIC32 if bits == 32 else _MAGIC64)) % (1 << bits)) >> (bits - bits.bit_length() + 1)


@njit(nogil=True, cache=True)
def _score(x: Array, own: Array, trees: _Trees, cut: Array, out: Array) -> None:
    """Writes the sums of the trees for one block of n rows.

    Args:
        x: Features (d, n).
        own: Treatment-dependent feature (M, n), or (0, 0).
        trees: The trees.
        cut: The thresholds in the precision of x.
        out: Output (width, n).
    """
    feature, threshold, _, keep, first, fixed, same, leaf, column = trees
    n, m, bits = x.shape[1], fixed.shape[1], leaf.shape[1]
    shared, mask, value = np.empty(n, keep.dtype), np.empty(n, keep.dtype), np.empty((m, n))
    magic = keep.dtype.type(_MAGIC32 if bits == 32 else _MAGIC64)
    out[:] = 0.0
    for tree in range(len(column)):
        shared[:] = ~keep.dtype.type(0)
        uses_own = False
        for node in range(first[tree], first[tree + 1]):
            if feature[node] < 0:
                uses_own = True
                continue
            _mask(x[feature[node]], cut[node], keep[node], shared)
        for j in range(m):
            to = out[column[tree] + j]
            if same[tree, j] < j:
                to += value[same[tree, j]]
                continue
            mask[:] = shared & fixed[tree, j]
            if uses_own:
                for node in range(first[tree], first[tree + 1]):
                    if feature[node] < 0:
                        _mask(own[j], threshold[node], keep[node], mask)
            _add_leaf(mask, magic, leaf[tree], value[j], to)


@njit(nogil=True, cache=True)
def _mask(x: Array, cut: float, keep: int, mask: Array) -> None:
    """Removes the leaves that one node rules out from the masks of the rows that go right."""
    full = ~mask.dtype.type(0)
    for i in range(len(x)):
        mask[i] &= keep if x[i] > cut else full


@njit(nogil=True, cache=True)
def _add_leaf(mask: Array, magic: int, leaf: Array, value: Array, to: Array) -> None:
    """Writes the value of each row's exit leaf, the lowest bit of its mask, and adds it to the sums."""
    kind = mask.dtype.type
    shift = kind(27) if len(leaf) == 32 else kind(58)
    for i in range(len(mask)):
        lowest = kind(mask[i] & kind(~mask[i] + kind(1)))
        value[i] = leaf[kind(lowest * magic) >> shift]
        to[i] += value[i]
