"""The documents of `check`, `evaluate` and `compare`."""

from __future__ import annotations

from pydantic import Field

from largesse.commands.schemas.shared import (
    Finding,
    NoBudget,
    Number,
    Object,
    PolicyAtBudget,
    Power,
    Returns,
    Understood,
)

__all__ = ["Check", "Compare", "Evaluate"]


class Check(Object):
    ok: bool = Field(description="whether no check failed")
    status: str = Field(description="the worst status of the checks")
    outcome: str = Field(description="how value and cost are modelled")
    understood: Understood = Field(description="what was understood")
    findings: list[Finding] = Field(description="the checks")
    power: Power | None = Field(description="the smallest gains that the rows show; null where it is not computed")


class SpendAtBudget(Object):
    budget: Number = Field(description="budget per unit")
    price: Number = Field(description="its price by the spend curve")
    planned_cost: Number = Field(description="spend that the model predicts at that price")
    cost: Number = Field(description="realised spend")
    cost_low: Number = Field(description="lower end of its interval")
    cost_high: Number = Field(description="upper end")
    cost_events: Number = Field(description="effective number of events behind it")
    value: Number = Field(description="realised value")
    value_low: Number = Field(description="lower end of its interval")
    value_high: Number = Field(description="upper end")
    value_events: Number = Field(description="effective number of events behind it")


class _Evaluated(Object):
    ok: bool = Field(description="false where a run was trained on some of the rows; then `error` says so")
    rows: list[PolicyAtBudget] = Field(description="one for each policy and budget")
    notes: list[str] = Field(description="what to know about the numbers")
    error: str = Field("", description="the refusal; only where `ok` is false, like the next three")
    kind: str = Field("", description="the class of the error")
    trained_on: int = Field(0, description="rows that a run was trained on")
    of: int = Field(0, description="all rows")


class Evaluate(_Evaluated):
    returns: Returns = Field(description="against giving nobody anything")
    verdicts: list[str] = Field(description="one for each budget; none where the value of a unit is not known")
    without_a_budget: NoBudget | None = Field(
        description="the same without a budget; null where it is not known or nobody would get anything"
    )
    spend: list[SpendAtBudget] = Field(description="planned and realised spend")
    ranking: dict[str, Number] = Field(description="areas under the cost curve by name")


class Compare(_Evaluated):
    reference: str = Field(description="the run with which the others are compared")
    returns: Returns = Field(description="against giving nobody anything")
