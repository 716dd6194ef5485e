"""LightGBM's trees, asked for many rows and every treatment at once.

A leaf is a bit: each node keeps, for rows that it sends right, the leaves that are not below its left branch. What all nodes
of a tree keep of a row ends in its leaf, the lowest bit that is left. No branch depends on a row, so a node is one pass
over a block of rows; and what splits on the treatment is known before any row is seen, so that all treatments share the rest.

Reference:
    Lucchese et al., SIGIR 2015, QuickScorer.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.special import expit

__all__ = ["Forest", "below"]

Array = NDArray[Any]
Floats = NDArray[np.float64]
_BLOCK = 512  # rows at once: a column and the bits of a tree stay in the nearest cache
_ZERO = np.float32(1e-35)  # LightGBM reads smaller numbers as 0
_MAGIC32, _MAGIC64 = 0x077CB531, 0x03F79D71B4CB0A89  # de Bruijn: times a power of two, the first bits tell which
_MEANS: dict[str, Callable[[Floats], Floats]] = {
    "regression": np.asarray, "binary sigmoid:1": expit, "poisson": np.exp, "gamma": np.exp, "tweedie": np.exp,
}  # fmt: skip


class Forest:
    """A booster that answers for every treatment.

    Answers before the last transformation are LightGBM's own to the last bit. What has no such form (splits of categories
    other than the treatment, missing values, linear leaves, more than 64 leaves) is left to LightGBM, treatment by treatment.

    Args:
        booster: A fitted `lightgbm.Booster`.
        m: Number of treatments that are asked for.
        treatment: Column of the treatment's code, the last that the booster was shown; None: it was shown none.
        own: Column of a number that each treatment has of its own, the last before that; None: it was shown none.
    """

    def __init__(self, booster: Any, m: int = 1, *, treatment: int | None = None, own: int | None = None) -> None:
        self.booster, self.m, self.treatment, self.own = booster, m, treatment, own

    def raw(self, x: Array, n_threads: int = 1, own: Array | None = None) -> Floats:
        """Returns the sum of the trees, (N, M); of one tree per class, (N, K).

        Args:
            x: Features, finite float32 or float64, (N, d), the last columns left out.
            n_threads: Threads.
            own: The number of each row under each treatment, (N, M).
        """
        if self._laid is None:
            return self._asked(x, n_threads, own, raw_score=True)
        out = np.empty((self._laid.width, len(x)))
        blocks = [slice(a, min(a + _BLOCK, len(x))) for a in range(0, len(x), _BLOCK)]
        work = self._work(x, own, out)
        if n_threads == 1 or len(blocks) == 1:
            for block in blocks:
                work(block)
        else:
            with ThreadPoolExecutor(n_threads) as pool:
                list(pool.map(work, blocks))
        return out.T

    def mean(self, x: Array, n_threads: int = 1) -> Floats:
        """Returns the expected outcome, (N, M): of what LightGBM's `predict` gives."""
        if self._laid is None or self._laid.mean is None:
            return self._asked(x, n_threads, None)
        return self._laid.mean(self.raw(x, n_threads))

    def _work(self, x: Array, own: Array | None, out: Floats) -> Callable[[slice], None]:
        laid, double = self._laid, x.dtype == np.float64
        assert laid is not None
        cuts = laid.trees.threshold if double else laid.trees.single

        def work(block: slice) -> None:
            columns = np.array(x[block].T, np.float64 if double else np.float32, order="C")  # always a copy: written to
            columns[np.abs(columns) <= _ZERO] = 0
            beside = np.empty((0, 0)) if own is None else np.array(own[block].T, np.float64, order="C")
            beside[np.abs(beside) <= _ZERO] = 0
            part = np.empty((len(out), columns.shape[1]))
            _score(columns, beside, laid.trees, cuts, part)
            out[:, block] = part

        return work

    def _asked(self, x: Array, n_threads: int, own: Array | None, **how: bool) -> Floats:
        """Returns what LightGBM says, treatment by treatment."""
        told = []
        for j in range(self.m):
            more = [] if own is None else [own[:, j]]
            rows = [x, *more] if self.treatment is None else [x, *more, np.full(len(x), j, x.dtype)]
            told.append(self.booster.predict(np.column_stack(rows), num_threads=n_threads, **how).reshape(len(x), -1))
        return np.concatenate(told, axis=1)

    @cached_property
    def _laid(self) -> _Laid | None:
        return _laid_out(self.booster.dump_model(), (self.treatment, self.own), self.m)


class _Trees(NamedTuple):
    """T trees as arrays, their nodes one after another.

    Attributes:
        feature: Column of each node; -1: the row's own number under the treatment.
        threshold: Of each node: right is above it.
        single: The same for rows in single precision.
        keep: Leaves of each node for rows that it sends right.
        first: Where each tree's nodes begin, then their number, (T + 1,).
        fixed: Leaves that nodes of the treatment leave, (T, M).
        same: The first treatment with the same leaves in a tree, (T, M).
        leaf: Value of each leaf, at the place that its bit is hashed to, (T, 32 or 64).
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


@dataclass(frozen=True, slots=True, eq=False)
class _Laid:
    """The trees of a booster.

    Attributes:
        trees: As arrays.
        width: Columns of the answer.
        mean: From sums to means; None: not known here.
    """

    trees: _Trees
    width: int
    mean: Callable[[Floats], Floats] | None


def _laid_out(dump: dict[str, Any], apart: tuple[int | None, int | None], m: int) -> _Laid | None:
    """Returns the trees of a dumped model as arrays, or None where a tree has no such form."""
    trees, classes = dump["tree_info"], dump["num_tree_per_iteration"]
    most = max((tree["num_leaves"] for tree in trees), default=1)
    if dump.get("average_output") or most > 64 or (classes > 1 and m > 1):
        return None
    bits = 32 if most <= 32 else 64
    walks = [_Walk(apart, m, (1 << bits) - 1) for _ in trees]
    if not all(walk.down(tree["tree_structure"]) for walk, tree in zip(walks, trees, strict=True)):
        return None
    kind = np.uint32 if bits == 32 else np.uint64
    leaf = np.zeros((len(trees), bits))
    for i, walk in enumerate(walks):
        leaf[i, [_place(k, bits) for k in range(len(walk.leaves))]] = walk.leaves
    nodes = [node for walk in walks for node in walk.nodes]
    threshold = np.array([node[1] for node in nodes], np.float64)
    fixed = np.array([walk.fixed for walk in walks], kind).reshape(-1, m)
    own = np.array([any(f < 0 for f, _, _ in walk.nodes) for walk in walks], bool)
    alike = np.where(own[:, None], np.arange(m), [[row.tolist().index(v) for v in row] for row in fixed])
    arrays = _Trees(
        feature=np.array([node[0] for node in nodes], np.int64), threshold=threshold,
        single=np.array([below(c) for c in threshold], np.float32), keep=np.array([node[2] for node in nodes], kind),
        first=np.cumsum([0, *(len(walk.nodes) for walk in walks)]), fixed=fixed, same=alike.astype(np.int64).reshape(-1, m),
        leaf=leaf, column=np.arange(len(trees)) % classes,
    )  # fmt: skip
    return _Laid(arrays, width=max(classes, m), mean=_MEANS.get(dump.get("objective", "")))


class _Walk:
    """A tree read from its dumped form: nodes (column, threshold, leaves kept on the right), leaves from left to right.

    Args:
        apart: Columns of the treatment's code, whose splits end in `fixed`, and of its own number, which becomes column -1.
        m: Number of treatments.
        every: All bits.
    """

    def __init__(self, apart: tuple[int | None, int | None], m: int, every: int) -> None:
        (self.treatment, self.own), self.every = apart, every
        self.nodes: list[tuple[int, float, int]] = []
        self.fixed = [every] * m
        self.leaves: list[float] = []

    def down(self, branch: dict[str, Any]) -> bool:
        """Adds a branch and all below it; returns whether that could be done."""
        if "leaf_value" in branch:
            self.leaves.append(float(branch["leaf_value"]))
            return "leaf_coeff" not in branch
        first = len(self.leaves)
        if not self.down(branch["left_child"]):
            return False
        keep = self.every & ~(((1 << (len(self.leaves) - first)) - 1) << first)
        if branch["split_feature"] == self.treatment:
            for j in range(len(self.fixed)):
                if not _goes_left(branch, j):
                    self.fixed[j] &= keep
        elif branch["decision_type"] == "<=" and branch["missing_type"] == "None":
            column = -1 if branch["split_feature"] == self.own else branch["split_feature"]
            self.nodes.append((column, float(branch["threshold"]), keep))
        else:
            return False
        return self.down(branch["right_child"])


def _goes_left(branch: dict[str, Any], code: int) -> bool:
    if branch["decision_type"] == "==":
        return code in map(int, str(branch["threshold"]).split("||"))
    return bool(code <= branch["threshold"])


def _place(leaf: int, bits: int) -> int:
    """Returns where a leaf's value stands."""
    return (((1 << leaf) * (_MAGIC32 if bits == 32 else _MAGIC64)) % (1 << bits)) >> (bits - bits.bit_length() + 1)


def below(threshold: float) -> float:
    """Returns the largest single-precision number that LightGBM sends where it sends what is not above a threshold.

    That is the largest not above the threshold itself, but near 0: LightGBM reads numbers up to 1e-35 in size as 0.
    """
    if abs(threshold) <= float(_ZERO):
        return float(_ZERO if threshold >= 0 else np.nextafter(-_ZERO, np.float32(-np.inf)))
    near = np.float32(threshold)
    return float(np.nextafter(near, np.float32(-np.inf)) if float(near) > threshold else near)


@njit(nogil=True, cache=True)
def _score(x: Array, own: Array, trees: _Trees, cut: Array, out: Array) -> None:
    """Sums the trees of one block of rows.

    Args:
        x: Features (d, n).
        own: Each treatment's own numbers (M, n), or (0, 0).
        trees: The trees.
        cut: Their thresholds in the precision of x.
        out: Receives the sums (width, n).
    """
    feature, threshold, _, keep, first, fixed, same, leaf, column = trees
    n, m, bits = x.shape[1], fixed.shape[1], leaf.shape[1]
    left, here, found = np.empty(n, keep.dtype), np.empty(n, keep.dtype), np.empty((m, n))
    magic = keep.dtype.type(_MAGIC32 if bits == 32 else _MAGIC64)
    out[:] = 0.0
    for tree in range(len(column)):
        left[:] = ~keep.dtype.type(0)
        apart = False
        for node in range(first[tree], first[tree + 1]):
            if feature[node] < 0:
                apart = True
                continue
            _pass(x[feature[node]], cut[node], keep[node], left)
        for j in range(m):
            to = out[column[tree] + j]
            if same[tree, j] < j:
                to += found[same[tree, j]]
                continue
            here[:] = left & fixed[tree, j]
            if apart:
                for node in range(first[tree], first[tree + 1]):
                    if feature[node] < 0:
                        _pass(own[j], threshold[node], keep[node], here)
            _take(here, magic, leaf[tree], found[j], to)


@njit(nogil=True, cache=True)
def _pass(x: Array, cut: float, keep: int, left: Array) -> None:
    """Takes one node's leaves from the rows that it sends right."""
    every = ~left.dtype.type(0)
    for i in range(len(x)):
        left[i] &= keep if x[i] > cut else every


@njit(nogil=True, cache=True)
def _take(left: Array, magic: int, leaf: Array, found: Array, to: Array) -> None:
    """Finds the value of each row's leaf, its lowest bit, and adds it."""
    kind = left.dtype.type
    away = kind(27) if len(leaf) == 32 else kind(58)
    for i in range(len(left)):
        lowest = kind(left[i] & kind(~left[i] + kind(1)))
        found[i] = leaf[kind(lowest * magic) >> away]
        to[i] += found[i]
