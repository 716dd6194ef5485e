"""The OpenAPI description of all routes."""

from __future__ import annotations

import json
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from largesse.serving.http import documents as d

__all__ = ["BATCH", "DECISIONS", "document_of", "schema_of"]

DECISIONS, BATCH = "/v1/decisions", "/v1/decisions:batch"
_PLACE = "#/components/schemas/{model}"
_MODELS = (
    d.DecisionAsk, d.DecisionAnswer, d.WhyDocument, d.OutcomeDocument, d.ReceiptDocument, d.CampaignDocument, d.CampaignChange,
    d.PolicyChange, d.PolicyDocument, d.ChallengerChange, d.ChallengerDocument, d.EndedDocument, d.RunDocument,
    d.ErasedDocument, d.ProblemDocument, d.ReadyDocument,
)  # fmt: skip
_PROBLEMS = {
    "400": "The body is not JSON", "401": "No valid key", "403": "The key's role does not allow this", "404": "No such campaign",
    "409": "The key or the unit has another decision", "413": "The body is too large", "415": "The body is of another kind",
    "422": "A field violates a rule", "503": "The server cannot answer now; Retry-After says when to ask again",
}  # fmt: skip
_BODIES: dict[tuple[str, str], Any] = {
    ("/v1/outcomes", "post"): (d.OutcomeDocument, "list"), ("/v1/campaigns/{campaign}", "patch"): (d.CampaignChange, ""),
    ("/v1/campaigns/{campaign}/policy", "put"): (d.PolicyChange, ""),
    ("/v1/campaigns/{campaign}/challenger", "put"): (d.ChallengerChange, ""),
}  # fmt: skip
_OPEN = ("/healthz", "/readyz")
_DECIDE = (DECISIONS, BATCH, "/v1/outcomes")
_ROLES = {
    ("get", path) for path in ("/v1/campaigns", "/v1/campaigns/{campaign}", "/v1/campaigns/{campaign}/runs", "/metrics")
}


def schema_of(app: FastAPI) -> bytes:
    """Returns the OpenAPI document of the routes as JSON."""
    return json.dumps(document_of(app)).encode()


def document_of(app: FastAPI) -> dict[str, Any]:
    """Returns the OpenAPI document of FastAPI's routes and of the two routes of decisions."""
    made = app.openapi()
    _, defs = models_json_schema([(model, "validation") for model in _MODELS], ref_template=_PLACE)
    parts = made.setdefault("components", {})
    parts["schemas"] = defs["$defs"]  # in place of FastAPI's own: its refusals are none of ours
    parts["securitySchemes"] = {
        "key": {"type": "http", "scheme": "bearer", "description": "A key of `largesse keys create`"}
    }
    made["info"]["description"] = "Decides who gets which incentive, one unit at a time and within a budget."
    made["paths"] = {DECISIONS: {"post": _decision()}, BATCH: {"post": _batch()}, **made["paths"]}
    for path, methods in made["paths"].items():
        for method, one in methods.items():
            one["operationId"] = f"{method} {path}"
            if (body := _BODIES.get((path, method))) is not None:
                one["requestBody"] = _content(*body)
            one["responses"].pop("422", None)
            if path == "/v1/outcomes":
                one["responses"]["207"] = {**one["responses"]["200"], "description": "Some outcomes have a problem"}
            if path not in _OPEN:
                one["security"] = [{"key": []}]
                role = "report" if (method, path) in _ROLES else "decide" if path in _DECIDE else "admin"
                one["description"] = f"{one.get('description', '')} Role: {role} or admin.".strip().replace(
                    "admin or admin", "admin"
                )
                one["responses"] |= {status: _problem(words) for status, words in _PROBLEMS.items()}
    return made


def _ref(model: type[BaseModel]) -> dict[str, Any]:
    return {"$ref": _PLACE.format(model=model.__name__)}


def _list(model: type[BaseModel]) -> dict[str, Any]:
    return {"type": "array", "items": _ref(model)}


def _content(model: type[BaseModel], also: str) -> dict[str, Any]:
    one = {"anyOf": [_ref(model), _list(model)]} if also else _ref(model)
    return {"required": True, "content": {"application/json": {"schema": one}}}


def _problem(words: str) -> dict[str, Any]:
    return {"description": words, "content": {"application/problem+json": {"schema": _ref(d.ProblemDocument)}}}


def _decision() -> dict[str, Any]:
    key = {"name": "Idempotency-Key", "in": "header", "required": False, "schema": {"type": "string"},
           "description": "In place of `key` in the body"}  # fmt: skip
    answer = {"description": "The decision", "content": {"application/json": {"schema": _ref(d.DecisionAnswer)}}}
    return {
        "summary": "Decide what one unit gets", "parameters": [key], "requestBody": _content(d.DecisionAsk, ""),
        "description": "Answered after the decision is stored. A unit has one decision per campaign and period.",
        "responses": {"200": answer},
    }  # fmt: skip


def _batch() -> dict[str, Any]:
    forms = ("application/json", "application/x-ndjson", "application/vnd.apache.arrow.stream")
    bodies = {forms[0]: {"schema": _list(d.DecisionAsk)}, forms[1]: {"schema": _ref(d.DecisionAsk)}, forms[2]: {}}
    given = {forms[0]: {"schema": _list(d.DecisionAnswer)}, forms[1]: {"schema": _ref(d.DecisionAnswer)}, forms[2]: {}}
    return {
        "summary": "Decide what many units get", "requestBody": {"required": True, "content": bodies},
        "description": "A list, one object per line, or an Arrow stream with the columns unit, key, campaign and the features; "
        "the answer has the same form and order. A unit that is refused has a problem in its place (Arrow: column problem), and "
        "the status is then 207.",
        "responses": {"200": {"description": "All are decided", "content": given},
                      "207": {"description": "Some units have a problem", "content": given}},
    }  # fmt: skip
