"""LightGBM's trees in the graph: the same leaf for every row, and sums in the precision of double numbers.

ONNX's trees compare and add in single precision. Features are single numbers, so a threshold is rounded to the largest single
number that goes left (`below`), and no row changes its branch. Each leaf is stored as two numbers: a multiple of a power of two,
whose sums are exact in single precision, and the small rest. Both sums are added in double precision.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from largesse._forest import below, below_double, goes_left
from largesse.errors import DataError
from largesse.serving.graph.builder import Graph

__all__ = ["scores_of"]

_BITS = 22  # of the 24 of a single-precision number: sums of so many bits stay exact
Tree = float | tuple[Any, ...]
"""A leaf, or (column, threshold, left, right)."""


class _Arms(NamedTuple):
    """Which columns of a booster depend on the treatment.

    Attributes:
        treatment: Column of the treatment code; None if there is none.
        own: Column of the feature that depends on the treatment; None if there is none.
        first: Column of the graph in which that feature of treatment 0 stands.
        cuts: Rising thresholds of that feature, each for the numbers <= it.
    """

    treatment: int | None
    own: int | None
    first: int
    cuts: NDArray[np.float64]

    def read(self, branch: dict[str, Any], arm: int) -> Tree:
        """Returns a dumped tree as it is for one treatment, without splits on the treatment."""
        if "leaf_value" in branch:
            if "leaf_coeff" in branch:
                raise _refused("has linear leaves")
            return float(branch["leaf_value"])
        feature = branch["split_feature"]
        if feature == self.treatment:
            return self.read(branch["left_child" if goes_left(branch, arm) else "right_child"], arm)
        if (branch["decision_type"], branch["missing_type"]) != ("<=", "None"):
            raise _refused(f"splits by {branch['decision_type']!r}, missing values {branch['missing_type']!r}")
        threshold = below(branch["threshold"])
        if feature == self.own:
            at = int(np.searchsorted(self.cuts, below_double(branch["threshold"])))
            feature, threshold = self.first + arm, at + 0.5
        return (
            int(feature), threshold, self.read(branch["left_child"], arm), self.read(branch["right_child"], arm),
        )  # fmt: skip


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
    dump = booster.dump_model()
    if dump.get("average_output"):
        raise _refused("is a mean of trees (boosting='rf')")
    classes, trees = dump["num_tree_per_iteration"], dump["tree_info"]
    cuts = np.empty(0) if own is None else np.unique([c for t in trees for c in _cuts(t["tree_structure"], own[0])])
    first = booster.num_feature() - (treatment is not None) - (own is not None)
    arms = _Arms(treatment, None if own is None else own[0], first, cuts)
    width = max(classes, m)
    groups: list[tuple[Tree, list[int]]] = []
    for i, tree in enumerate(trees):
        alike: dict[Tree, list[int]] = {}
        for j in range(m):
            alike.setdefault(arms.read(tree["tree_structure"], j), []).append(i % classes if classes > 1 else j)
        groups += alike.items()
    if own is not None and len(cuts):
        x = g.beside(x, _ranks(g, own[1], cuts))
    return _summed(g, x, groups, width)


def _cuts(branch: dict[str, Any], own: int) -> list[float]:
    if "leaf_value" in branch:
        return []
    here = [below_double(branch["threshold"])] if branch["split_feature"] == own else []
    return here + _cuts(branch["left_child"], own) + _cuts(branch["right_child"], own)


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
