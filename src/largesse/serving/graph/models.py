"""How each kind of fitted model becomes a response in the graph: one function for each class, by the name of the class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from largesse.errors import DataError
from largesse.models.base import Model
from largesse.models.families import BERNOULLI, Family
from largesse.serving.graph.builder import Graph
from largesse.serving.graph.factors import factors
from largesse.serving.graph.networks import averaged, layers, linear, standardised, weights
from largesse.serving.graph.outcome import Tables, clipped, link_of, mean_of, mean_of_trees, menu_of, mixed
from largesse.serving.graph.trees import scores_of

__all__ = ["members_of", "response_of"]

_EDGE = 1e-6  # as in `largesse.models.two_stage.calibrated`
Form = Callable[[Graph, Any, str], Tables]


def response_of(g: Graph, model: Model, x: str) -> Tables:
    """Adds a fitted model to a graph and returns its response, see `Model.predict_response`.

    Args:
        g: The graph.
        model: The model, or a part of one.
        x: Encoded features, (N, d).

    Raises:
        DataError: The model has no form in ONNX.
    """
    for kind in type(model).__mro__:
        if kind.__name__ in _FORMS:
            return _FORMS[kind.__name__](g, model, x)
    raise DataError(
        f"model: {type(model).__name__} has no ONNX form, only {', '.join(sorted(_FORMS))} have.", field="model"
    )


def _boosting(g: Graph, model: Any, x: str) -> Tables:
    tables = {name: _trees(g, trees, x, len(model.treatments_)) for name, trees in model.trees_.items()}
    if "bought" in tables:
        value = g("Mul", tables["bought"], tables["basket"])
        return Tables(value, tables["bought"], tables.get("cost"))
    value = tables["value"]
    conversion = value if model.outcome_.likelihood.value_is_conversion else tables.get("conversion")
    return Tables(value, conversion, tables.get("cost"))


def _trees(g: Graph, trees: Any, x: str, m: int) -> str:
    """Returns the quantity of `Trees` under every treatment; 0 for treatments that were not fitted."""
    blocks, shared = [], trees.strategy == "S"
    nothing = g("Mul", g.double(g.columns(x, [0])), np.float64(0))  # a row for each unit
    before = [nothing] * trees.arms.start
    for booster in trees.boosters:
        if isinstance(booster, float):
            width = len(trees.arms) if shared else 1
            blocks.append(g("Add", nothing, np.full((1, width), booster)))
            continue
        treatment = booster.num_feature() - 1 if shared else None
        raw = scores_of(g, booster, x, m if shared else 1, treatment=treatment)
        if shared and trees.arms.start:
            raw = g.columns(raw, trees.arms)
        blocks.append(mean_of_trees(g, booster.dump_model(num_iteration=1)["objective"], raw))
    return g.beside(*before, *blocks)


def members_of(model: Any) -> tuple[float, ...]:
    """Returns the weights of the members of an ensemble, of sum 1, the order in which a graph knows them; (): it is none.

    A stack is an ensemble of its models, a network one of its parts; calibration and correction apply to each member.
    """
    kinds = {kind.__name__ for kind in type(model).__mro__}
    if kinds & {"Calibrated", "Corrected"}:
        return members_of(model.base_)
    weights = (1 / len(model.nets_),) * len(model.nets_) if "MLP" in kinds and hasattr(model, "nets_") else ()
    weights = tuple(map(float, model.weights_)) if "Stack" in kinds else weights
    return weights if sum(weight > 0 for weight in weights) > 1 else ()


def _network(g: Graph, model: Any, x: str) -> Tables:
    nets = model.nets_ if hasattr(model, "nets_") else [model.net_]
    return averaged(g, nets if g.member is None else [nets[g.member]], x)


def _stack(g: Graph, model: Any, x: str) -> Tables:
    member, g.member = g.member, None
    if member is not None:
        return _once(g, model.models_[member], x)

    def mean(tables: list[str]) -> str:
        return g("Sum", *(g("Mul", table, np.float64(w)) for w, table in zip(model.weights_, tables, strict=True)))

    return mixed(g, [_once(g, part, x) for part in model.models_], mean)


def _once(g: Graph, part: Any, x: str) -> Tables:
    """Returns the response of a model that several outputs rest on."""
    key = id(part), x
    if key not in g.responses:
        g.responses[key] = response_of(g, part, x)
    out: Tables = g.responses[key]
    return out


def _between(g: Graph, base: Tables, other: Tables, weight: float) -> Tables:
    """Returns base + weight (other - base)."""

    def step(pair: list[str]) -> str:
        return g("Add", pair[0], g("Mul", g("Sub", pair[1], pair[0]), np.float64(weight)))

    return base if weight == 0 else mixed(g, [base, other], step)


def _dfcl(g: Graph, model: Any, x: str) -> Tables:
    base = response_of(g, model.base_, x)
    if model.shrinkage_weight_ == 0:
        return base
    return _between(g, base, response_of(g, model.tuned_, x), model.shrinkage_weight_)


def _bidfcl(g: Graph, model: Any, x: str) -> Tables:
    target = response_of(g, model.target_, x)
    if model.shrinkage_weight == 1:
        return target
    return _between(g, response_of(g, model.teacher_, x), target, model.shrinkage_weight)


def _calibrated(g: Graph, model: Any, x: str) -> Tables:
    response, family = response_of(g, model.base_, x), model.outcome_.likelihood

    def line(of: Family, table: str, name: str) -> str:
        lines = model.lines_[name]
        level, slope = lines.T[:, None, :]
        out = mean_of(g, of, g("Add", g("Mul", link_of(g, of, table), slope), level))
        untouched = (lines == (0.0, 1.0)).all(1)
        return g("Where", untouched[None], table, out) if untouched.any() else out

    if family.two_parts:
        assert response.conversion is not None
        conversion: str | None = line(BERNOULLI, response.conversion, "conversion")
        ratio = g("Div", conversion or "", g("Max", response.conversion, np.float64(_EDGE)))
        value = g("Mul", g("Mul", response.value, ratio), np.float64(model.scale_))
    else:
        value = line(family, response.value, "value")
        conversion = value if family.value_is_conversion else response.conversion
        if "conversion" in model.lines_ and response.conversion is not None:
            conversion = line(BERNOULLI, response.conversion, "conversion")
    cost = None if response.cost is None else line(model.outcome_.cost_likelihood, response.cost, "cost")
    return Tables(value, conversion, cost)


def _corrected(g: Graph, model: Any, x: str) -> Tables:
    tables = response_of(g, model.base_, x)._asdict()
    outcome, m, d = model.outcome_, len(model.treatments_), len(model.features_)
    families = {"value": outcome.likelihood, "conversion": BERNOULLI, "cost": outcome.cost_likelihood}
    for name, forest in model.trees_.items():
        if forest is None:
            continue
        before, family = tables[name], families[name]
        link = link_of(g, family, before)
        moved = g("Add", link, scores_of(g, forest.booster, x, m, treatment=d + 1, own=(d, link)))
        tables[name] = mean_of(g, family, moved)
        if name == "cost" and not outcome.control_cost:
            tables[name] = g("Where", (np.arange(m) == 0)[None], before, tables[name])
    if outcome.likelihood.value_is_conversion:
        tables["conversion"] = tables["value"]
    return Tables(**tables)


def _residual(g: Graph, model: Any, x: str) -> Tables:
    """Returns a decision residual on a frozen menu; its values are single numbers, as in training."""
    m = len(model.treatments_)
    frozen = menu_of(g, model.inner_, response_of(g, model.base_, x), m)
    if model.shrinkage_weight_ == 0:
        return frozen
    value = _moved(g, model, x, g.single(frozen.value), m)
    return _between(g, frozen, Tables(g.double(value), None, frozen.cost), model.shrinkage_weight_)


def _moved(g: Graph, model: Any, x: str, value: str, m: int) -> str:
    """Returns corrected values, single precision; the value of control stays."""
    correction, others = model.correction_, range(1, m)
    control, rest = g.columns(value, [0]), g.columns(value, others)
    if model.by == "trees":
        if correction.forest is None:
            return value
        unit = np.float32(correction.unit)
        scores = scores_of(g, correction.forest.booster, g.beside(x, g("Div", value, unit)))
        return g.beside(control, g("Add", rest, g("Mul", g.single(scores), unit)))
    w, scale = weights(correction), np.float32(correction.scale)
    if model.by == "arms":
        gain = g("Mul", g("Sub", rest, control), w["slope"][None])
        return g.beside(control, g("Add", g("Add", rest, scale * w["level"][None]), gain))
    columns = g.beside(standardised(g, x, w), g("Div", value, scale))
    hidden = g("Relu", linear(g, columns, w["body.weight"], w["body.bias"]))
    return g.beside(control, g("Add", rest, g("Mul", linear(g, hidden, w["out.weight"], w["out.bias"]), scale)))


def _clusters(g: Graph, model: Any, x: str) -> Tables:
    """Returns the response of each unit's cluster, that of its nearest centre."""
    w, groups, outcome = weights(model.body_), model.groups_, model.outcome_
    h = g.double(layers(g, standardised(g, x, w), w, "layers"))
    point = g("MatMul", g("Sub", h, groups.view.centre), groups.view.turn)
    near = g("MatMul", g("Mul", point, np.float64(2)), np.ascontiguousarray(groups.centres.T))
    square = (groups.centres**2).sum(1)
    cluster = g("ArgMin", g("Sub", square, near), axis=1, keepdims=0)

    def cells(table: Any, low: float = -np.inf, high: float = np.inf) -> str:
        return clipped(g, g("Gather", np.asarray(table[groups.into], np.float64), cluster, axis=0), low, high)

    family = outcome.likelihood
    cost = cells(groups.cost.mean) if outcome.rule is None else None
    return Tables(cells(groups.value.mean, family.low, family.high), cells(groups.conversion.mean, 0, 1), cost)


_FORMS: dict[str, Form] = {
    "Boosting": _boosting, "MLP": _network, "Baseline": _network, "Stack": _stack, "DFCL": _dfcl, "BiDFCL": _bidfcl,
    "Calibrated": _calibrated, "Corrected": _corrected, "DecisionResidual": _residual, "HRC": _clusters,
    "FactorModel": factors,
}  # fmt: skip
