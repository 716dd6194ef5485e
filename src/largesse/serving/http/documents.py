"""The JSON documents of the service, with examples: what docs/reference/http.md and /openapi.json are made from."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from largesse.serving.http.settings import end_of

__all__ = [
    "CampaignChange", "CampaignDocument", "ChallengerChange", "ChallengerDocument", "DecisionAnswer", "DecisionAsk",
    "EndedDocument", "ErasedDocument", "OutcomeDocument", "PolicyChange", "PolicyDocument", "ProblemDocument", "ReadyDocument",
    "ReceiptDocument", "RunDocument", "WhyDocument",
]  # fmt: skip

Cell = bool | int | float | str | None
Amount = Annotated[float, Field(ge=-1e12, le=1e12)]
End = Annotated[float, BeforeValidator(end_of), Field(ge=0, le=1e12)]
Weights = dict[str, Annotated[float, Field(ge=0)]]


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, strict=True)


def _with(example: dict[str, Any]) -> ConfigDict:
    return ConfigDict(extra="forbid", allow_inf_nan=False, strict=True, json_schema_extra={"examples": [example]})


class DecisionAsk(_Document):
    """The question what one unit gets."""

    model_config = _with({"unit": "customer 81", "features": {"age": 34, "city": "north"}, "key": "request 17"})
    unit: Annotated[str | int, Field(description='Id of the unit; 7 and "7" are the same unit')]
    features: Annotated[
        dict[str, Cell], Field(description="A cell for each column that the policy reads; null: missing")
    ]
    campaign: Annotated[str | None, Field(description="Name of the campaign; may be left out if there is one")] = None
    allowed: Annotated[list[str] | None, Field(description="Treatments that the unit may get, control among them")] = (
        None
    )
    key: Annotated[str | None, Field(description="Name of this ask: the same key gets the same answer")] = None


class WhyDocument(_Document):
    """Why the policy chooses a treatment."""

    treatment: Annotated[str, Field(description="The policy's treatment at this price")]
    runner_up: Annotated[str | None, Field(description="The treatment with the next highest net value")]
    margin: Annotated[float | None, Field(description="By how much its net value (value - price · cost) is lower")]
    switch_price: Annotated[
        float | None, Field(description="The nearest price at which the policy's treatment changes")
    ]


class DecisionAnswer(_Document):
    """A decision, as stored."""

    model_config = _with({
        "id": "0b3c9f0d2c1e4f5a8b7c6d5e4f3a2b1c", "campaign": "spring", "unit": "customer 81", "period": 0, "treatment": "coupon",
        "kind": "policy", "propensity": 0.9555, "propensities": {"none": 0.0445, "coupon": 0.9555}, "value": 1.2, "cost": 2.0,
        "price": 0.4, "version": "spring-1a2b3c4d5e", "limited": False, "repeated": False,
        "why": {"treatment": "coupon", "runner_up": "none", "margin": 0.4, "switch_price": 0.6},
    })  # fmt: skip
    id: Annotated[str, Field(description="Id of the decision, which outcomes name")]
    campaign: Annotated[str, Field(description="Name of the campaign")]
    unit: Annotated[str, Field(description="Id of the unit")]
    period: Annotated[int, Field(description="Number of the period, from 0")]
    treatment: Annotated[str, Field(description="What the unit gets")]
    kind: Annotated[str, Field(description='"holdout", "explore" or "policy": by which rule it was drawn')]
    propensity: Annotated[float, Field(description="Probability of this treatment")]
    propensities: Annotated[dict[str, float], Field(description="Probability of every treatment")]
    value: Annotated[float, Field(description="Predicted value of the treatment")]
    cost: Annotated[float, Field(description="Predicted cost of it, in units of money")]
    price: Annotated[float, Field(description="Shadow price λ of the decision")]
    version: Annotated[str, Field(description='Version of the policy; "fallback": control, without a model')]
    limited: Annotated[
        bool, Field(description="True if the budget did not pay for every treatment that could be drawn")
    ]
    repeated: Annotated[bool, Field(description="True if the decision was stored before this request")]
    why: Annotated[WhyDocument | None, Field(description="Null without a model, or for a decision of another menu")]


class OutcomeDocument(_Document):
    """What a decision brought and cost, or a part of it."""

    model_config = _with(
        {"decision": "0b3c9f0d2c1e4f5a8b7c6d5e4f3a2b1c", "key": "order 5512", "cost": 1.5, "value": 1.0}
    )
    decision: Annotated[str, Field(description="Id of the decision")]
    key: Annotated[str, Field(description="Name of this outcome within the campaign; it counts once")]
    cost: Annotated[Amount, Field(description="Money paid since the last outcome; negative for a refund")] = 0.0
    value: Annotated[Amount, Field(description="Value since the last outcome")] = 0.0
    final: Annotated[bool, Field(description="False: more may follow, the rest stays reserved")] = True
    void: Annotated[bool, Field(description="True: the treatment never reached the unit")] = False


class ReceiptDocument(_Document):
    """The state of a decision after an outcome."""

    model_config = _with({
        "decision": "0b3c9f0d2c1e4f5a8b7c6d5e4f3a2b1c", "key": "order 5512", "state": "posted", "paid": 1.5, "value": 1.0,
        "repeated": False,
    })  # fmt: skip
    decision: Annotated[str, Field(description="Id of the decision")]
    key: Annotated[str, Field(description="Key of the outcome")]
    state: Annotated[str, Field(description='"pending", "posted", "voided" or "expired"')]
    paid: Annotated[float, Field(description="Money paid for the decision so far")]
    value: Annotated[float, Field(description="Value of the decision so far")]
    repeated: Annotated[bool, Field(description="True if the outcome was counted before")]


class ChallengerDocument(_Document):
    """A run that is tried beside the one that decides."""

    model_config = _with({"run": "/srv/runs/summer", "version": "summer-5e4d3c2b1a", "share": 0.05, "shadow": True})
    run: Annotated[str, Field(description="Run folder")]
    version: Annotated[str, Field(description="Version of its policy")]
    share: Annotated[float, Field(description="Share of the units that it decides")]
    shadow: Annotated[bool, Field(description="Whether its answers to the other units are stored")]


class ChallengerChange(_Document):
    """The run to try in a campaign, in place of any other."""

    model_config = _with({"run": "runs/summer", "share": 0.05, "shadow": True})
    run: Annotated[
        str, Field(min_length=1, max_length=1_000, description="Run folder on the server, with its ONNX form")
    ]
    share: Annotated[float, Field(ge=0, le=1, description="Share of the units that it decides")] = 0.0
    shadow: Annotated[bool, Field(description="Whether its answers to the other units are stored, not given")] = False


class EndedDocument(_Document):
    """Whether a challenger was removed."""

    model_config = _with({"campaign": "spring", "removed": True})
    campaign: Annotated[str, Field(description="Name of the campaign")]
    removed: Annotated[bool, Field(description="False if there was none")]


class RunDocument(_Document):
    """What one run decided in a campaign, and what came of it."""

    model_config = _with({
        "version": "spring-1a2b3c4d5e", "decisions": 2, "predicted_value": 2.4, "predicted_cost": 3.0, "spent": 1.5,
        "reserved": 2.0, "value": 1.0, "matured": 1, "matured_value": 1.0, "matured_spent": 1.5, "erased": 0,
        "value_mean": None, "value_low": None, "value_high": None, "spent_mean": None, "spent_low": None, "spent_high": None,
    })  # fmt: skip
    version: Annotated[str, Field(description='Version of the policy; "fallback": without a model')]
    decisions: Annotated[int, Field(description="Number of decisions")]
    predicted_value: Annotated[float, Field(description="Sum of the predicted values of the treatments given")]
    predicted_cost: Annotated[float, Field(description="Sum of their predicted costs")]
    spent: Annotated[float, Field(description="Money paid")]
    reserved: Annotated[float, Field(description="Money reserved")]
    value: Annotated[float, Field(description="Value reported")]
    matured: Annotated[int, Field(description="Number of decisions older than `matures`")]
    matured_value: Annotated[float, Field(description="Value reported for these")]
    matured_spent: Annotated[float, Field(description="Money paid for these")]
    erased: Annotated[int, Field(description="Decisions of erased units, whose predictions are in no sum")]
    value_mean: Annotated[
        float | None,
        Field(description="Mean value reported per matured decision; null where fewer than two have matured"),
    ]
    value_low: Annotated[float | None, Field(description="Lower end of its 95 % interval, for one look")]
    value_high: Annotated[float | None, Field(description="Upper end")]
    spent_mean: Annotated[float | None, Field(description="Mean money paid per matured decision; null likewise")]
    spent_low: Annotated[float | None, Field(description="Lower end of its 95 % interval, for one look")]
    spent_high: Annotated[float | None, Field(description="Upper end")]


class CampaignDocument(_Document):
    """The money, the counts and the policy of a campaign."""

    model_config = _with({
        "campaign": "spring", "treatments": ["none", "coupon"], "version": "spring-1a2b3c4d5e", "budget": 100_000.0,
        "spent": 1.5, "reserved": 2.0, "left": 99_996.5, "beyond": 0.0, "price": 0.4, "until": "2027-01-01T00:00:00Z",
        "decided": 2, "limited": 0, "counts": {"policy": {"coupon": 2}}, "ratio": 0.8, "ratio_low": 0.7, "ratio_high": 0.9,
        "clamped": False, "expected": 1.6,
        "budget_of": None, "joint_budget": None, "holdout": 0.02, "explore": 0.05,
        "challenger": {"run": "/srv/runs/summer", "version": "summer-5e4d3c2b1a", "share": 0.05, "shadow": True},
    })  # fmt: skip
    campaign: Annotated[str, Field(description="Name of the campaign")]
    treatments: Annotated[list[str], Field(description="Treatments, control first")]
    version: Annotated[str, Field(description="Version of the policy that decides")]
    budget: Annotated[float, Field(description="Budget")]
    spent: Annotated[float, Field(description="Money paid")]
    reserved: Annotated[float, Field(description="Money reserved for decisions without a final outcome")]
    left: Annotated[float, Field(description="Budget less spent and reserved")]
    beyond: Annotated[float, Field(description="Sum of the payments beyond their reservations")]
    price: Annotated[float, Field(description="Shadow price λ")]
    until: Annotated[str, Field(description="End, in UTC")]
    decided: Annotated[int, Field(description="Number of decisions")]
    limited: Annotated[int, Field(description="Number of decisions that the budget limited")]
    counts: Annotated[dict[str, dict[str, int]], Field(description="Number of decisions by kind and treatment")]
    ratio: Annotated[float, Field(description="What is paid of one unit of money reserved, as estimated for the price")]
    ratio_low: Annotated[float, Field(description="Lower end of its 95 % interval")]
    ratio_high: Annotated[float, Field(description="Upper end")]
    clamped: Annotated[
        bool, Field(description="True if it is outside 0.2 to 3: the price counts on the nearer of these")
    ]
    expected: Annotated[float, Field(description="What is still expected to be paid for the decisions so far")]
    budget_of: Annotated[
        str | None, Field(description="Budget that it shares; `budget` is its part now. Null: its own")
    ]
    joint_budget: Annotated[float | None, Field(description="That budget")]
    holdout: Annotated[float, Field(description="Share of the units that get control")]
    explore: Annotated[float, Field(description="Share of the other units whose treatment is drawn")]
    challenger: Annotated[ChallengerDocument | None, Field(description="The run that is tried; null: none")]


class CampaignChange(_Document):
    """A change of a campaign; fields that are left out stay."""

    model_config = _with({"budget": 120_000.0, "until": "2027-01-31"})
    budget: Annotated[
        float | None,
        Field(ge=0, description="Budget; at least what is spent and reserved. A shared one is changed in the file"),
    ] = None
    until: Annotated[End | None, Field(description="End: a date (its end, UTC) or a time")] = None
    explore: Annotated[float | None, Field(ge=0, le=1, description="Share of the units whose treatment is drawn")] = (
        None
    )
    mix: Annotated[Weights | None, Field(description="Weight of each treatment in exploration")] = None
    worst: Annotated[Weights | None, Field(description="The most that each treatment can cost")] = None
    matures: Annotated[float | None, Field(gt=0, description="Seconds until a reservation expires")] = None
    units: Annotated[float | None, Field(gt=0, description="Expected number of decisions")] = None


class PolicyChange(_Document):
    """Another run for a campaign."""

    model_config = _with({"run": "runs/summer"})
    run: Annotated[
        str, Field(min_length=1, max_length=1_000, description="Run folder on the server, with its ONNX form")
    ]


class PolicyDocument(_Document):
    """The policy that decides from now on."""

    model_config = _with({"campaign": "spring", "run": "/srv/runs/summer", "version": "summer-5e4d3c2b1a"})
    campaign: Annotated[str, Field(description="Name of the campaign")]
    run: Annotated[str, Field(description="Run folder")]
    version: Annotated[str, Field(description="Version of the policy")]


class ErasedDocument(_Document):
    """What an erasure found."""

    model_config = _with({"decisions": 1})
    decisions: Annotated[int, Field(description="Decisions of the unit, now without its id and features")]


class ProblemDocument(BaseModel):
    """What went wrong with a request (RFC 9457)."""

    model_config = ConfigDict(json_schema_extra={"examples": [{
        "type": "urn:largesse:problem:invalid", "title": "A field violates a rule", "status": 422,
        "detail": "allowed == ['coupon']: must have control, 'none', since the holdout gets it. "
        "Add it to the allowed treatments.",
        "instance": "urn:largesse:request:4d2-1f", "field": "allowed", "value": "['coupon']",
    }]})  # fmt: skip
    type: Annotated[str, Field(description='Kind of the problem; see docs/serve.md, "Errors"')]
    title: Annotated[str, Field(description="The kind in words")]
    status: Annotated[int, Field(description="HTTP status")]
    detail: Annotated[str, Field(description="Field, value, rule and next step")]
    instance: Annotated[str, Field(description="The request, as in the log of the server")] = ""
    field: Annotated[str, Field(description="Name of the field, if it is one")] = ""
    value: Annotated[str, Field(description="Its value, shortened")] = ""


class ReadyDocument(_Document):
    """Whether the process lives, or can answer."""

    model_config = _with({"status": "ok"})
    status: Literal["ok"]
