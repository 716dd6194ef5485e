"""The classifier of a student as an ONNX graph: features in, class and probabilities out."""

from __future__ import annotations

from typing import Any

import numpy as np

from largesse._extras import needed_for
from largesse._forest import below
from largesse.errors import DataError
from largesse.models.clusters.classifier import ClassNet, ClassTrees
from largesse.models.clusters.student import Student
from largesse.models.nets.standardise import WIDE

__all__ = ["graph_of"]

_OPSET, _TREES, _IR = 18, 3, 9  # old versions, which many releases of the runtime support
_Pieces = tuple[list[Any], list[Any]]  # nodes, tensors


def graph_of(student: Student) -> bytes:
    """Returns an ONNX model with input ``x`` (N, d) and outputs ``class`` (N,), ``probability`` (N, K), in single precision.

    The scores of trees equal those of the student exactly, also at the thresholds. The scores of a network differ by rounding,
    because matrix libraries sum in different orders.

    Raises:
        MissingDependency: The extra `serve` is not installed.
        DataError: A tree has a split other than `x <= threshold`.
    """
    with needed_for("Export"):
        import onnx
    classifier, k = student.classifier_, len(student.base_.groups_.value.mean)
    assert isinstance(classifier, ClassNet | ClassTrees)
    nodes, tensors = _network(onnx, classifier) if isinstance(classifier, ClassNet) else _trees(onnx, classifier)
    make, kind = onnx.helper, onnx.TensorProto
    nodes += [
        make.make_node("ArgMax", ["scores"], ["class"], axis=1, keepdims=0),
        make.make_node("Div", ["scores", "temperature"], ["calibrated"]),
        make.make_node("Softmax", ["calibrated"], ["probability"], axis=1),
    ]
    tensors.append(_tensor(onnx, "temperature", np.float32(student.temperature_)))
    graph = make.make_graph(
        nodes, "student", [make.make_tensor_value_info("x", kind.FLOAT, [None, len(student.features_)])],
        [make.make_tensor_value_info("class", kind.INT64, [None]),
         make.make_tensor_value_info("probability", kind.FLOAT, [None, k])],
        tensors,
    )  # fmt: skip
    sets = [make.make_opsetid("", _OPSET), make.make_opsetid("ai.onnx.ml", _TREES)]
    model = make.make_model(graph, producer_name="largesse", opset_imports=sets, ir_version=_IR)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def _tensor(onnx: Any, name: str, value: Any) -> Any:
    return onnx.numpy_helper.from_array(np.ascontiguousarray(value), name)


def _network(onnx: Any, net: ClassNet) -> _Pieces:
    """Returns nodes from ``x`` to ``scores``: standardise, clip, layers, and the best centre of each class."""
    weights = {name: w.numpy() for name, w in net.state_dict().items()}
    extra = {"low": np.float32(-WIDE), "high": np.float32(WIDE), "last": np.array([2])}
    steps: list[tuple[str, tuple[str, ...], dict[str, Any]]] = [
        ("Sub", ("centre",), {}), ("Div", ("spread",), {}), ("Clip", ("low", "high"), {}),
    ]  # fmt: skip
    for i in range(0, len(net.body), 2):
        steps += [("Gemm", (f"body.{i}.weight", f"body.{i}.bias"), {"transB": 1}), ("Relu", (), {})]
    steps.append(("Gemm", ("linear.weight", "linear.bias"), {"transB": 1}))
    if weights["members"].shape != (len(weights["linear.bias"]), 1):  # otherwise class k has only centre k
        steps += [("Gather", ("members",), {"axis": 1}), ("ReduceMax", ("last",), {"keepdims": 0})]
    names = ["x", *(f"h{i}" for i in range(1, len(steps))), "scores"]
    nodes = [
        onnx.helper.make_node(kind, [names[i], *inputs], [names[i + 1]], **attributes)
        for i, (kind, inputs, attributes) in enumerate(steps)
    ]
    used = {name for _, inputs, _ in steps for name in inputs}
    return nodes, [_tensor(onnx, name, value) for name, value in (weights | extra).items() if name in used]


def _trees(onnx: Any, trees: ClassTrees) -> _Pieces:
    """Returns one node from ``x`` to ``scores``."""
    k = len(trees.start)
    columns: list[list[Any]] = [[] for _ in range(8)]
    for i, tree in enumerate(trees.booster.dump_model()["tree_info"]):
        rows: list[Any] = []
        _walk(tree["tree_structure"], rows)
        for n, row in enumerate(rows):
            for column, value in zip(columns, (i, n, *row), strict=True):
                column.append(value)
    tree, node, feature, value, mode, true, false, leaf = columns
    leaves = [n for n, kind in enumerate(mode) if kind == "LEAF"]
    ensemble = onnx.helper.make_node(
        "TreeEnsembleRegressor", ["x"], ["scores"], domain="ai.onnx.ml", n_targets=k,
        base_values=np.float32(trees.start).tolist(), nodes_treeids=tree, nodes_nodeids=node, nodes_featureids=feature,
        nodes_values=value, nodes_modes=mode, nodes_truenodeids=true, nodes_falsenodeids=false,
        target_treeids=[tree[n] for n in leaves], target_nodeids=[node[n] for n in leaves],
        target_ids=[tree[n] % k for n in leaves], target_weights=[leaf[n] for n in leaves],
    )  # fmt: skip
    return [ensemble], []


def _walk(branch: dict[str, Any], rows: list[Any]) -> int:
    """Adds a node and its descendants as (feature, threshold, mode, true child, false child, value); returns its index."""
    here = len(rows)
    rows.append((0, 0.0, "LEAF", 0, 0, float(branch.get("leaf_value", 0))))
    if "leaf_value" not in branch:
        if (branch["decision_type"], branch["missing_type"]) != ("<=", "None"):
            raise DataError(
                f"params: a tree splits by {branch['decision_type']!r}, missing values {branch['missing_type']!r}; only splits "
                "of numbers by '<=' have an ONNX form. Leave categorical_feature and zero_as_missing out.", field="params",
            )  # fmt: skip
        true, false = _walk(branch["left_child"], rows), _walk(branch["right_child"], rows)
        rows[here] = (branch["split_feature"], below(branch["threshold"]), "BRANCH_LEQ", true, false, 0.0)
    return here
