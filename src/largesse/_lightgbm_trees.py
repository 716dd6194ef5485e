"""LightGBM's trees as arrays, read from the text of a booster: its JSON has the same content and takes ten times as long."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["BoosterTrees", "below", "below_double"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
_ZERO = np.float32(1e-35)  # LightGBM treats numbers up to this size as 0
_CATEGORICAL, _MISSING = 1, 12  # bits of decision_type: split by category; how missing values go, 0 if there are none
_WORD = 32  # bits of an entry of cat_threshold
_KEYS = frozenset((
    "num_leaves", "split_feature", "threshold", "decision_type", "left_child", "right_child", "leaf_value", "is_linear",
    "cat_boundaries", "cat_threshold",
))  # fmt: skip


class BoosterTrees:
    """The trees of a booster, with the nodes and the leaves of all trees concatenated.

    A tree with n nodes has n + 1 leaves; its first node is node 0. A child >= 0 is a node of the same tree, a child k < 0 is its
    leaf -1 - k.

    Attributes:
        classes: Number of trees of one round.
        objective: With its parameters, as LightGBM writes it; "" if it is a function.
        averaged: Whether the prediction is the mean of the trees (random forest), not their sum.
        linear: Whether a leaf is a linear function.
        leaves: Number of leaves of each tree, (T,).
        first: Index of the first node of each tree, then the number of nodes, (T + 1,). Leaves of tree t begin at first[t] + t.
        feature: Column of each node.
        threshold: Threshold of each node; for a split by category, the number of its set of categories.
        kind: LightGBM's bits of each node: split by category, default side, missing values.
        left, right: Children of each node.
        leaf: Value of each leaf.
        begin: Where the leaves below each node begin among those of its tree, from left to right; -1 if they form no tree.
        among_left: How many of them are on its left.
        place: Position of each leaf among those of its tree, from left to right.

    Args:
        booster: A `lightgbm.Booster`.
    """

    def __init__(self, booster: Any) -> None:
        head, _, rest = booster.model_to_string().partition("\nTree=")
        header = dict(line.partition("=")[::2] for line in head.split("\n"))
        parts: dict[str, list[str]] = {key: [] for key in _KEYS}
        for line in rest.partition("\nend of trees")[0].split("\n"):
            key, _, value = line.partition("=")
            if key in _KEYS:
                parts[key].append(value)
        self.classes = int(header["num_tree_per_iteration"])
        self.objective: str = header.get("objective", "")
        self.averaged = "average_output" in header
        self.linear = "1" in parts["is_linear"]
        self.leaves = _ints(parts["num_leaves"])
        self.first = np.concatenate([[0], np.cumsum(self.leaves - 1)])
        self.feature, self.kind = _ints(parts["split_feature"]), _ints(parts["decision_type"])
        self.threshold, self.leaf = _floats(parts["threshold"]), _floats(parts["leaf_value"])
        self.left, self.right = _ints(parts["left_child"]), _ints(parts["right_child"])
        self._boundaries = [_ints([text]) for text in parts["cat_boundaries"]]
        self._sets = [_ints([text]) for text in parts["cat_threshold"]]
        self.begin, self.among_left, self.place = _ordered(self.left, self.right, self.first)

    @cached_property
    def tree(self) -> Ints:
        """The tree of each node."""
        return np.repeat(np.arange(len(self.leaves)), self.leaves - 1)

    @cached_property
    def plain(self) -> NDArray[np.bool_]:
        """Whether each node splits a number that is never missing."""
        return (self.kind & (_CATEGORICAL | _MISSING)) == 0

    @cached_property
    def single(self) -> NDArray[np.float32]:
        """The thresholds for rows in single precision, see `below`."""
        return below(self.threshold)

    def goes_left(self, nodes: Ints, m: int) -> NDArray[np.bool_]:
        """Returns whether the codes 0 to m - 1 go left at each of the nodes, which split on the code: (nodes, m)."""
        left = np.arange(m) <= self.threshold[nodes, None]
        by_set = np.flatnonzero(self.kind[nodes] & _CATEGORICAL)
        if len(by_set):
            with_sets = np.cumsum(np.bincount(self.tree, (self.kind & _CATEGORICAL) != 0, len(self.leaves)) > 0) - 1
            for k in by_set:
                which, number = with_sets[self.tree[nodes[k]]], int(self.threshold[nodes[k]])
                words = self._sets[which][slice(*self._boundaries[which][number : number + 2])]
                left[k] = [j // _WORD < len(words) and words[j // _WORD] >> j % _WORD & 1 for j in range(m)]
        return left


def _ints(parts: list[str]) -> Ints:
    return np.array(" ".join(parts).split(), np.int64)


def _floats(parts: list[str]) -> Floats:
    return np.array(" ".join(parts).split(), np.float64)


@njit(cache=True)
def _ordered(left: Ints, right: Ints, first: Ints) -> tuple[Ints, Ints, Ints]:
    """Returns `begin`, `among_left` and `place`. LightGBM numbers a node after its parent."""
    trees = len(first) - 1
    begin, among_left, below = np.full(len(left), -1), np.zeros(len(left), np.int64), np.ones(len(left), np.int64)
    place = np.zeros(first[trees] + trees, np.int64)
    for tree in range(trees):
        start, n = first[tree], first[tree + 1] - first[tree]
        for node in range(n - 1, -1, -1):
            i = start + node
            for child in (left[i], right[i]):
                if child >= n or child < -n - 1 or 0 <= child <= node:
                    begin[:] = -1
                    return begin, among_left, place
            among_left[i] = below[start + left[i]] if left[i] >= 0 else 1
            below[i] = among_left[i] + (below[start + right[i]] if right[i] >= 0 else 1)
        if n:
            begin[start] = 0
        for i in range(start, start + n):
            for child, at in ((left[i], begin[i]), (right[i], begin[i] + among_left[i])):
                if child >= 0:
                    begin[start + child] = at
                else:
                    place[start + tree - 1 - child] = at
    return begin, among_left, place


def below(threshold: Floats) -> NDArray[np.float32]:
    """Returns the largest float32 numbers that LightGBM sends left at thresholds.

    These are the largest float32 numbers <= threshold, except near 0, where LightGBM treats numbers of size up to 1e-35 as 0.
    """
    down = np.float32(-np.inf)
    with np.errstate(
        over="ignore"
    ):  # thresholds beyond single precision become infinite, then the largest number below
        near = np.asarray(threshold, np.float64).astype(np.float32)
    at_most = np.where(near.astype(np.float64) > threshold, np.nextafter(near, down), near)
    around_zero = np.where(np.asarray(threshold) >= 0, _ZERO, np.nextafter(-_ZERO, down))
    return np.where(np.abs(threshold) <= float(_ZERO), around_zero, at_most).astype(np.float32)


def below_double(threshold: Floats) -> Floats:
    """Returns the largest float64 numbers that LightGBM sends left at thresholds: the thresholds, except near 0."""
    zero = float(_ZERO)
    return np.where(np.abs(threshold) <= zero, np.where(threshold >= 0, zero, np.nextafter(-zero, -np.inf)), threshold)
