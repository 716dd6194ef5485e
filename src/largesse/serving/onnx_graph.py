"""The classifier of a student as an ONNX graph: features in, class and probabilities out."""

from __future__ import annotations

import numpy as np

from largesse.models.clusters.classifier import ClassNet, ClassTrees
from largesse.models.clusters.student import Student
from largesse.serving.graph.builder import Graph, Port
from largesse.serving.graph.networks import layers, linear, standardised, weights
from largesse.serving.graph.trees import scores_of

__all__ = ["graph_of"]


def graph_of(student: Student) -> bytes:
    """Returns an ONNX model with input ``x`` (N, d) and outputs ``class`` (N,), ``probability`` (N, K), in single precision.

    The scores of trees equal those of the student exactly, also at the thresholds. The scores of a network differ by rounding,
    because matrix libraries sum in different orders.

    Raises:
        MissingDependency: The extra `serve` is not installed.
        DataError: A tree has a split other than `x <= threshold`.
    """
    g, classifier, k = Graph(), student.classifier_, len(student.base_.groups_.value.mean)
    assert isinstance(classifier, ClassNet | ClassTrees)
    scores = _network(g, classifier) if isinstance(classifier, ClassNet) else _trees(g, classifier)
    g.named(g("ArgMax", scores, axis=1, keepdims=0), "class")
    g.named(g("Softmax", g("Div", scores, np.float32(student.temperature_)), axis=1), "probability")
    outputs = [Port("class", "INT64", (None,)), Port("probability", "FLOAT", (None, k))]
    return g.model([Port("x", "FLOAT", (None, len(student.features_)))], outputs)


def _network(g: Graph, net: ClassNet) -> str:
    """Returns the scores of a network: those of the best centre of each class."""
    w = weights(net)
    scores = linear(g, layers(g, standardised(g, "x", w), w, "body"), w["linear.weight"], w["linear.bias"])
    if w["members"].shape == (len(w["linear.bias"]), 1):  # class k has only centre k
        return scores
    return g("ReduceMax", g("Gather", scores, w["members"], axis=1), np.array([2]), keepdims=0)


def _trees(g: Graph, trees: ClassTrees) -> str:
    """Returns the scores of trees: their start and their sums."""
    return g.single(g("Add", scores_of(g, trees.booster, "x"), trees.start[None]))
