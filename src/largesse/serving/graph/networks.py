"""Networks in the graph: layers in single precision as in training, the likelihood's functions in double precision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from largesse.serving.graph.builder import Graph
from largesse.serving.graph.outcome import Tables, clipped, mixed, sigmoid, softplus

__all__ = ["WIDE", "averaged", "layers", "linear", "standardised", "weights"]

WIDE = 6.0  # as in `largesse.models.nets.standardise`, which needs torch
_SIGMA, _LARGEST_RATE, _LARGEST_LOG = (0.05, 5.0), 20.0, 30.0  # as in `largesse.models.nets.heads`
Weights = Mapping[str, NDArray[Any]]


def weights(module: Any) -> dict[str, NDArray[Any]]:
    """Returns the parameters and buffers of a torch module as arrays."""
    return {name: w.detach().cpu().numpy() for name, w in module.state_dict().items()}


def linear(g: Graph, x: str, weight: NDArray[Any], bias: NDArray[Any]) -> str:
    """Returns x weightᵀ + bias, single precision."""
    return g("Gemm", x, weight.astype(np.float32), bias.astype(np.float32), transB=1)


def standardised(g: Graph, x: str, w: Weights) -> str:
    """Returns features in standard deviations from their mean, clipped."""
    z = g("Div", g("Sub", x, w["centre"]), w["spread"])
    return g("Clip", z, np.float32(-WIDE), np.float32(WIDE))


def layers(g: Graph, x: str, w: Weights, prefix: str) -> str:
    """Returns the last of the ReLU layers whose weights are named ``prefix.k.weight``."""
    numbers = sorted(
        int(n.removeprefix(prefix + ".").split(".")[0])
        for n in w
        if n.startswith(prefix + ".") and n.endswith("weight")
    )
    for k in numbers:
        x = g("Relu", linear(g, x, w[f"{prefix}.{k}.weight"], w[f"{prefix}.{k}.bias"]))
    return x


def averaged(g: Graph, nets: Sequence[Any], x: str) -> Tables:
    """Returns the mean response of response networks."""
    responses = [_response(g, net, x) for net in nets]
    if len(responses) == 1:
        return responses[0]

    def mean(tables: list[str]) -> str:
        return g("Div", g("Sum", *tables), np.float64(len(tables)))

    return mixed(g, responses, mean)


def _response(g: Graph, net: Any, x: str) -> Tables:
    """Returns the response of one `ResponseNet`."""
    w = weights(net)
    h = layers(g, standardised(g, x, w), w, "body")
    if "teacher.centre" in w:  # a network of two bodies side by side
        other = {name.removeprefix("teacher."): array for name, array in w.items() if name.startswith("teacher.")}
        h = g.beside(h, layers(g, standardised(g, x, other), other, "body"))
    m, parts = net.m, net.parts
    weight, bias = w["value.weight"], w["value.bias"]
    if not net.plain:  # head p of arm j is common_p + value_pj, or common_p + shift_pj
        weight = np.concatenate([weight, np.zeros(((parts - net.free) * m, weight.shape[1]), np.float32)])
        bias = np.concatenate([bias, w["shift"].reshape(-1)])
        weight = weight + np.repeat(w["common.weight"], m, axis=0)
        bias = bias + np.repeat(w["common.bias"], m)
    if net.cost is not None:
        weight, bias = np.concatenate([weight, w["cost.weight"]]), np.concatenate([bias, w["cost.bias"]])
    raw = g.double(linear(g, h, weight, bias))
    heads = [raw] if len(bias) == m else [g.columns(raw, range(k, k + m)) for k in range(0, len(bias), m)]
    value, conversion = _value(g, net, heads[:parts])
    return Tables(value, conversion, None if net.cost is None else _cost(g, net, heads[parts]))


def _value(g: Graph, net: Any, raw: list[str]) -> tuple[str, str | None]:
    """Returns E value and P(value > 0) of raw heads, as `largesse.models.nets.heads` computes them."""
    family = "gaussian" if net.plain else net.outcome.family
    conversion = sigmoid(g, raw[1]) if net.value_heads.conversion else None
    if family == "bernoulli":
        p = sigmoid(g, raw[0])
        return p, p
    if family == "poisson":
        return g("Exp", g("Min", raw[0], np.float64(_LARGEST_RATE))), conversion
    if family == "gaussian":
        return g("Mul", raw[0], np.float64(net.value_heads.scale)), conversion
    p, sigma = sigmoid(g, raw[0]), clipped(g, softplus(g, raw[2]), *_SIGMA)
    basket = g("Add", raw[1], g("Div", g("Mul", sigma, sigma), np.float64(2)))
    return g("Mul", p, g("Exp", g("Min", basket, np.float64(_LARGEST_LOG)))), p


def _cost(g: Graph, net: Any, raw: str) -> str:
    """Returns E cost of raw heads."""
    outcome, m, scale = net.outcome, net.m, np.float64(net.cost_heads.scale)
    if net.plain:
        return g("Mul", raw, scale)
    paid = np.ones((1, m))
    paid[0, 0] = outcome.control_cost  # 0: control costs nothing
    if not outcome.cost_binary:
        steps = g("Mul", softplus(g, raw), paid)
        return g("Mul", g("CumSum", steps, np.int64(1)) if outcome.ordered else steps, scale)
    if outcome.ordered:
        above = np.ones((1, m))
        above[0, 0] = 0
        rises = g("CumSum", g("Mul", softplus(g, raw), above), np.int64(1))
        raw = g("Add", g.columns(raw, [0]), rises)
    return g("Mul", sigmoid(g, raw), paid)
