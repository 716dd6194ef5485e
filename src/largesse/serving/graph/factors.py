"""Decision factors in the graph: scores of each step, their factor, and the menu that counts treatments."""

from __future__ import annotations

from typing import Any

import numpy as np

from largesse.serving.graph.builder import Graph
from largesse.serving.graph.networks import linear, standardised, weights
from largesse.serving.graph.outcome import Tables, sigmoid

__all__ = ["factors"]

_BOUND = 12.0  # as in `largesse.models.factors.losses`


def factors(g: Graph, model: Any, x: str) -> Tables:
    """Returns the response of a `FactorModel`: values from 0 for control, and the number of the treatment as its cost."""
    mean = g("Div", g("Sum", *(_factor(g, model, net, x) for net in model.nets_)), np.float64(len(model.nets_)))
    steps = len(model.treatments_) - 1
    if type(model).__name__ == "DPM":
        mean = g("CumSum", g("Mul", _falling(g, mean, steps), np.float64(2)), np.int64(1))
    nothing = g("Mul", g.columns(mean, [0]), np.float64(0))
    return Tables(g.beside(nothing, mean), None, g("Add", nothing, np.arange(steps + 1.0)[None]))


def _factor(g: Graph, model: Any, net: Any, x: str) -> str:
    """Returns the factor of one network for every step, unit included, (N, M - 1)."""
    scores = g("Sub", g.beside(*_scores(g, net, x)), np.float64(net.offset.item()))
    kind = type(model).__name__
    if kind == "DUM":
        out = g("Exp", scores)
    elif kind == "DRM":
        out = g("Exp", g("Tanh", scores))
    else:
        out = sigmoid(g, scores)
    return g("Mul", out, np.float64(model.unit_))


def _scores(g: Graph, net: Any, x: str) -> list[str]:
    """Returns the score of each step, (N, 1) each, double precision."""
    w = weights(net)
    first = linear(g, standardised(g, x, w), w["first.weight"], w["first.bias"])
    layers, scores = (
        sorted(name.removesuffix(".weight") for name in w if name.startswith("body.") and "weight" in name),
        [],
    )
    for step in range(net.levels):
        h = first if net.level is None else g("Add", first, w["level.weight"][:, step])
        h = _silu(g, h)
        for layer in layers:
            h = _silu(g, linear(g, h, w[f"{layer}.weight"], w[f"{layer}.bias"]))
        raw = linear(g, h, w["last.weight"], w["start"][step : step + 1])
        scores.append(g("Mul", g("Tanh", g("Div", g.double(raw), np.float64(_BOUND))), np.float64(_BOUND)))
    return scores


def _silu(g: Graph, x: str) -> str:
    return g("Mul", x, g("Sigmoid", x))


def _falling(g: Graph, table: str, k: int) -> str:
    """Returns the decreasing isotonic projection of each row, (N, K): min over i <= j of max over l >= j of mean(i..l)."""
    pairs = [(i, e) for i in range(k) for e in range(i, k)]
    means = np.array([[(i <= row <= e) / (e - i + 1) for i, e in pairs] for row in range(k)])
    table, place = g("MatMul", table, means), {pair: n for n, pair in enumerate(pairs)}
    columns = []
    for j in range(k):
        tops = [
            g("ReduceMax", g.columns(table, [place[i, e] for e in range(j, k)]), np.array([1]), keepdims=1)
            for i in range(j + 1)
        ]
        columns.append(tops[0] if len(tops) == 1 else g("Min", *tops))
    return g.beside(*columns)
