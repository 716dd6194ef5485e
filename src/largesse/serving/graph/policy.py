"""`graph_of`: encoder, model, menu and decision composed to one ONNX model."""

from __future__ import annotations

from largesse.frames import Encoder
from largesse.models.base import Model
from largesse.serving.graph.builder import Graph, Port
from largesse.serving.graph.features import features_of
from largesse.serving.graph.models import members_of, response_of
from largesse.serving.graph.outcome import decision_of, menu_of

__all__ = ["graph_of"]


def graph_of(model: Model, encoder: Encoder) -> bytes:
    """Returns the ONNX model of a fitted model and the encoder of its features, as the content of a file.

    Inputs are one column for each feature of the encoder, (N, 1), numbers in double precision or text, and ``price`` (1,).
    Outputs are ``value`` and ``cost``, (N, M), in double precision, and ``treatment`` (N,), the code of the argmax of
    value - price · cost. An ensemble also has ``member_value`` and ``member_cost``, (N, B · M), the menus of its B members one
    beside the other; they are computed only when they are fetched.

    Args:
        model: A fitted model.
        encoder: The encoder of its features.

    Raises:
        MissingDependency: The extra `serve` is not installed.
        DataError: The model has no form in ONNX.
    """
    g, m = Graph(), len(model.treatments_)
    columns = features_of(g, encoder)
    menu = menu_of(g, model.outcome_, response_of(g, model, "features"), m)
    assert menu.cost is not None, "a menu has costs"
    g.named(decision_of(g, menu.value, menu.cost, "price", m), "treatment")
    g.named(menu.value, "value")
    g.named(menu.cost, "cost")
    inputs = (*columns, Port("price", "DOUBLE", (1,)))
    outputs = [
        Port("value", "DOUBLE", (None, m)),
        Port("cost", "DOUBLE", (None, m)),
        Port("treatment", "INT64", (None,)),
    ]
    members = []
    for member in range(len(members_of(model))):
        g.member = member
        members.append(menu_of(g, model.outcome_, response_of(g, model, "features"), m))
    if members:
        g.named(g.beside(*(one.value for one in members)), "member_value")
        g.named(g.beside(*(one.cost for one in members if one.cost is not None)), "member_cost")
        outputs += [Port(name, "DOUBLE", (None, m * len(members))) for name in ("member_value", "member_cost")]
    return g.model(inputs, outputs)
