"""`DecisionAnswer`: what the caller of a decision gets."""

from __future__ import annotations

import msgspec

from largesse.serving.http.menus import Why

__all__ = ["DecisionAnswer"]


class DecisionAnswer(msgspec.Struct, gc=False):
    """The answer to a decision; `documents.DecisionAnswer` says what the fields mean. Propensities may be JSON already."""

    id: str
    campaign: str
    unit: str
    period: int
    treatment: str
    kind: str
    propensity: float
    propensities: dict[str, float] | msgspec.Raw
    value: float
    cost: float
    price: float
    version: str
    limited: bool
    repeated: bool
    why: Why | None
