"""LightGBM's trees in the graph: the same leaf for every row, and sums in the precision of double numbers.

ONNX's trees compare and add in single precision. Features are single numbers, so a threshold is rounded to the largest single
number that goes left (`below`), and no row changes its branch. Each leaf is stored as two numbers: a multiple of a power of two,
whose sums are exact in single precision, and the small rest. Both sums are added in double precision.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from largesse._lightgbm_trees import BoosterTrees, below_double
from largesse.errors import DataError
from largesse.serving.graph.builder import Graph

__all__ = ["scores_of"]

_MISSING = ("None", "Zero", "NaN", "NaN")  # by the bits 2 and 3 of a split
_BITS = 22  # of the 24 of a single-precision number: sums of so many bits stay exact
Tree = float | tuple[Any, ...]
"""A leaf, or (column, threshold, left, right)."""


class _Arms(NamedTuple):
    """The trees of a booster, and which columns depend on the treatment.

    Attributes:
        trees: The trees.
        left: Whether each treatment goes left at each node that splits on it, by the number of the node.
        own: Column of the feature that depends on the treatment; None if there is none.
        first: Column of the graph in which that feature of treatment 0 stands.
        cuts: Rising thresholds of that feature, each for the numbers <= it.
    """

    trees: BoosterTrees
    left: dict[int, NDArray[np.bool_]]
    own: int | None
    first: int
    cuts: NDArray[np.float64]

    def read(self, tree: int, child: int, arm: int) -> Tree:
        """Returns a branch of a tree as it is for one treatment, without splits on the treatment."""
        start = int(self.trees.first[tree])
        if child < 0:
            return float(self.trees.leaf[start + tree - 1 - child])
        node = start + child
        left, right = int(self.trees.left[node]), int(self.trees.right[node])
        if node in self.left:
            return self.read(tree, left if self.left[node][arm] else right, arm)
        feature, threshold = int(self.trees.feature[node]), float(self.trees.single[node])
        if feature == self.own:
            at = int(np.searchsorted(self.cuts, below_double(self.trees.threshold[node])))
            feature, threshold = self.first + arm, at + 0.5
        return feature, threshold, self.read(tree, left, arm), self.read(tree, right, arm)


def scores_of(
    g: Graph, booster: Any, x: str, m: int = 1, *, treatment: int | None = None, own: tuple[int, str] | None = None
) -> str:
    """Returns the sum of a booster's trees for every treatment, (N, M), in double precision; for K classes, (N, K).

    Args:
        g: The graph.
        booster: A `lightgbm.Booster`.
        x: Features, (N, d), single precision.
        m: Number of treatments.
        treatment: Column of the treatment code in the booster; None if there was none.
        own: Column of the feature that depends on the treatment, and its table (N, M) in double precision; None if there is none.

    Raises:
        DataError: A split or a leaf has no form in ONNX.
    """
    trees = BoosterTrees(booster)
    on_arm = trees.feature == (-1 if treatment is None else treatment)
    _refuse_what_has_no_form(trees, on_arm)
    classes, at = trees.classes, np.flatnonzero(on_arm)
    cuts = np.empty(0) if own is None else np.unique(below_double(trees.threshold[trees.feature == own[0]]))
    first = booster.num_feature() - (treatment is not None) - (own is not None)
    left = dict(zip(at.tolist(), trees.goes_left(at, m), strict=True))
    arms = _Arms(trees, left, None if own is None else own[0], first, cuts)
    width = max(classes, m)
    groups: list[tuple[Tree, list[int]]] = []
    for i, leaves in enumerate(trees.leaves):
        alike: dict[Tree, list[int]] = {}
        for j in range(m):
            alike.setdefault(arms.read(i, 0 if leaves > 1 else -1, j), []).append(i % classes if classes > 1 else j)
        groups += alike.items()
    if own is not None and len(cuts):
        x = g.beside(x, _ranks(g, own[1], cuts))
    return _summed(g, x, groups, width)


def _refuse_what_has_no_form(trees: BoosterTrees, on_arm: NDArray[np.bool_]) -> None:
    if trees.averaged:
        raise _refused("is a mean of trees (boosting='rf')")
    if trees.linear:
        raise _refused("has linear leaves")
    for kind in trees.kind[~(trees.plain | on_arm)][:1]:
        raise _refused(f"splits by {'==' if kind & 1 else '<='!r}, missing values {_MISSING[kind >> 2 & 3]!r}")


def _ranks(g: Graph, own: str, cuts: NDArray[np.float64]) -> str:
    """Returns how many thresholds each number exceeds: a comparison in double precision whose result is a single number."""
    above = g("Greater", g("Unsqueeze", own, np.array([2])), cuts)
    return g("ReduceSum", g.single(above), np.array([2]), keepdims=0)


def _summed(g: Graph, x: str, groups: list[tuple[Tree, list[int]]], width: int) -> str:
    constant = np.zeros((1, width))
    rows: list[tuple[Any, ...]] = []  # (tree, node, column, threshold, mode, true child, false child)
    leaves: list[tuple[int, int, int, float]] = []  # (tree, node, target, value)
    for k, (tree, targets) in enumerate(groups):
        if isinstance(tree, float):
            constant[0, targets] += tree
        else:
            _put(tree, k, targets, rows, leaves)
    if not rows:  # a table of constants, with a row for each unit
        return g("Add", g("Mul", g.double(g.columns(x, [0])), np.float64(0)), constant)
    value = np.array([leaf[3] for leaf in leaves])
    most = np.zeros(len(groups))  # the largest leaf of each tree
    np.maximum.at(most, [leaf[0] for leaf in leaves], np.abs(value))
    bound = np.zeros(width)  # of any partial sum
    for k, (_, targets) in enumerate(groups):
        bound[targets] += most[k]
    grid = 2.0 ** (np.ceil(np.log2(bound.max() + 1e-300)) - _BITS)
    coarse = np.round(value / grid) * grid
    parts = [coarse, value - coarse] if (value != coarse).any() else [coarse]
    trees, node, column, threshold, mode, true, false = (list(part) for part in zip(*rows, strict=True))
    at_tree, at_node, target, _ = (list(part) for part in zip(*leaves, strict=True))
    n = len(parts)
    sums = g.ml(
        "TreeEnsembleRegressor", x, n_targets=n * width, nodes_treeids=trees, nodes_nodeids=node, nodes_featureids=column,
        nodes_values=threshold, nodes_modes=mode, nodes_truenodeids=true, nodes_falsenodeids=false,
        target_treeids=at_tree * n, target_nodeids=at_node * n, target_ids=[t + k * width for k in range(n) for t in target],
        target_weights=np.concatenate(parts).tolist(),
    )  # fmt: skip
    total = g("MatMul", g.double(sums), np.vstack([np.eye(width)] * n)) if n > 1 else g.double(sums)
    return g("Add", total, constant) if constant.any() else total


def _put(tree: Tree, k: int, targets: list[int], rows: list[Any], leaves: list[Any]) -> int:
    """Adds a tree's nodes and leaves; returns the number of its first node within the tree."""
    first = rows[-1][1] + 1 if rows and rows[-1][0] == k else 0
    if isinstance(tree, float):
        rows.append((k, first, 0, 0.0, "LEAF", 0, 0))
        leaves += [(k, first, target, tree) for target in targets]
        return first
    at = len(rows)
    column, threshold, left, right = tree
    rows.append((k, first))
    true, false = _put(left, k, targets, rows, leaves), _put(right, k, targets, rows, leaves)
    rows[at] = (k, first, column, threshold, "BRANCH_LEQ", true, false)
    return first


def _refused(what: str) -> DataError:
    return DataError(
        f"params: a tree {what}; only splits of numbers by '<=' have an ONNX form. Leave categorical_feature, zero_as_missing, "
        "linear_tree and boosting out.", field="params",
    )  # fmt: skip
