"""Families, cost rules, the menu and the decision in the graph, in double precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from largesse.errors import DataError
from largesse.models.families import Family
from largesse.models.outcome import Outcome
from largesse.serving.graph.builder import Graph

__all__ = [
    "Tables",
    "clipped",
    "decision_of",
    "link_of",
    "mean_of",
    "mean_of_trees",
    "menu_of",
    "mixed",
    "sigmoid",
    "softplus",
]

_EDGE = 1e-6  # as in `largesse.models.families`
_LARGEST_LOG = 30.0
_LARGEST_PRICE = 1e300  # stands for infinity, at which the cheapest treatment wins


class Tables(NamedTuple):
    """A response in the graph: names of tables (N, M) in double precision; None where the model predicts none.

    Attributes:
        value: E value.
        conversion: P(value > 0).
        cost: E cost.
    """

    value: str
    conversion: str | None = None
    cost: str | None = None


def mixed(g: Graph, tables: list[Tables], function: Callable[[list[str]], str]) -> Tables:
    """Returns the response of a function of several responses, table by table; None where one of them has none."""
    columns = [[getattr(one, name) for one in tables] for name in Tables._fields]
    return Tables(*(None if None in column else function(column) for column in columns))  # type: ignore[arg-type]


def sigmoid(g: Graph, x: str) -> str:
    """Returns 1 / (1 + exp(-x)); the operator of this name is less precise far from 0."""
    return g("Reciprocal", g("Add", g("Exp", g("Neg", x)), np.float64(1)))


def softplus(g: Graph, x: str) -> str:
    """Returns log(1 + exp(x)), as max(x, 0) + log(1 + exp(-|x|))."""
    small = g("Log", g("Add", g("Exp", g("Neg", g("Abs", x))), np.float64(1)))
    return g("Add", g("Max", x, np.float64(0)), small)


def clipped(g: Graph, x: str, low: float, high: float) -> str:
    """Returns numbers clipped to [low, high]; an infinite end is no bound."""
    x = x if np.isneginf(low) else g("Max", x, np.float64(low))
    return x if np.isposinf(high) else g("Min", x, np.float64(high))


def link_of(g: Graph, family: Family, mean: str) -> str:
    """Returns η of a mean, see `Family.link`."""
    if family.linear:
        return mean
    if family.high == 1:
        p = clipped(g, mean, _EDGE, 1 - _EDGE)
        return g("Sub", g("Log", p), g("Log", g("Sub", np.float64(1), p)))
    return g("Log", g("Max", mean, np.float64(_EDGE)))


def mean_of(g: Graph, family: Family, link: str) -> str:
    """Returns the mean of η, see `Family.mean`."""
    if family.linear:
        return link
    return sigmoid(g, link) if family.high == 1 else g("Exp", g("Min", link, np.float64(_LARGEST_LOG)))


def mean_of_trees(g: Graph, objective: str, score: str) -> str:
    """Returns the mean of a LightGBM score.

    Raises:
        DataError: The objective is none of those that the families have.
    """
    if objective == "regression":
        return score
    if objective == "binary sigmoid:1":
        return sigmoid(g, score)
    if objective in ("poisson", "gamma", "tweedie"):
        return g("Exp", score)
    raise DataError(
        f"params: the objective {objective!r} has no ONNX form. Leave it out of params: the outcome has one.",
        field="params",
    )


def _rising(g: Graph, table: str, m: int) -> str:
    """Returns rows that do not fall with the level, see `largesse.models.outcome.rising`."""
    above, below, shift = table, table, 1
    while shift < m:
        above = g("Max", above, g.columns(above, np.maximum(np.arange(m) - shift, 0)))
        below = g("Min", below, g.columns(below, np.minimum(np.arange(m) + shift, m - 1)))
        shift *= 2
    return g("Div", g("Add", above, below), np.float64(2))


def menu_of(g: Graph, outcome: Outcome, response: Tables, m: int) -> Tables:
    """Returns value and cost of a response, as `Outcome.menu` computes them."""
    value, conversion = response.value, response.conversion
    if outcome.monotone:
        value, conversion = _rising(g, value, m), None if conversion is None else _rising(g, conversion, m)
    if outcome.rule is None:
        assert response.cost is not None, "a learned cost is predicted"
        cost = g("Max", response.cost, np.float64(0))
        return Tables(value, None, _rising(g, cost, m) if outcome.ordered else cost)
    family, amounts = outcome.likelihood, np.array([outcome.amounts], np.float64)
    if outcome.rule.needs_conversion:
        base = clipped(g, value, family.low, family.high) if family.value_is_conversion else conversion
        assert base is not None, "the rule needs P(value > 0)"
    elif outcome.cost_rule == "share_of_value":
        base = g("Max", value, np.float64(0))
    else:  # the amount itself, for every unit
        return Tables(value, None, g("Add", g("Mul", value, np.float64(0)), amounts))
    return Tables(value, None, g("Mul", base, amounts))


def decision_of(g: Graph, value: str, cost: str, price: str, m: int) -> str:
    """Returns the code of argmax value - price · cost, (N,); ties go to the cheaper treatment, then to the lower code.

    Each treatment is compared with each other one by the slope between them, value per unit of spend, as the allocation does: a
    price that is the slope of a unit is a tie.
    """
    price = g("Min", price, np.float64(_LARGEST_PRICE))
    of, other = np.array([2]), np.array([1])  # (N, M, 1) is treatment j, (N, 1, M) the one that it is compared with
    dv = g("Sub", g("Unsqueeze", value, of), g("Unsqueeze", value, other))
    dc = g("Sub", g("Unsqueeze", cost, of), g("Unsqueeze", cost, other))
    zero = np.float64(0)
    dearer, cheaper = g("Greater", dc, zero), g("Less", dc, zero)
    differs = g("Or", dearer, cheaper)
    slope = g("Div", dv, g("Where", differs, dc, np.float64(1)))
    steep = g("Greater", slope, price)
    first: NDArray[np.bool_] = np.tri(m, dtype=bool).T  # of equal ones, the lower code; each is equal to itself
    equal = g("Or", g("Greater", dv, zero), g("And", g("Equal", dv, zero), first))
    by_slope = g("Or", g("And", dearer, steep), g("And", cheaper, g("Not", steep)))
    wins = g("Or", by_slope, g("And", g("Not", differs), equal))
    return g("ArgMax", g("ReduceSum", g.single(wins), np.array([2]), keepdims=0), axis=1, keepdims=0)
