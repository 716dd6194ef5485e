"""What the JSON of a command holds: the definitions behind `largesse schema` and docs/json.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from largesse import _check

__all__ = ["DOCUMENTS", "schema", "table"]

Number = float | None  # null where it is not known, or infinite


class _Object(BaseModel):
    """An object with these fields and no others."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Finding(_Object):
    name: str = Field(description="the check")
    status: str = Field(description="ok, warn, fail, or untested")
    sentence: str = Field(description="the result and the next step")


class Arm(_Object):
    treatment: str = Field(description="label of the arm")
    rows: int = Field(description="rows of the trial")
    share: Number = Field(description="share of the rows")
    value: Number = Field(description="mean value")
    cost: Number = Field(description="mean cost")


class Understood(_Object):
    rows: dict[str, int] = Field(description="rows by kind of data")
    arms: list[Arm] = Field(description="the arms of the trial, control first")
    control: str = Field(description="why this arm is control")
    outcome: str = Field(description="how value and cost are modelled")
    units: dict[str, str] = Field(description="what a row, the value and the cost count")
    features: list[str] = Field(description="columns that models use")
    left_out: list[list[str]] = Field(description="columns that they do not use, with the reason")
    suspects: list[list[str]] = Field(description="features that may be measured after the treatment, with the reason")
    undeclared: list[str] = Field(description="what to declare")


class PowerAtBudget(_Object):
    budget: Number = Field(description="budget per unit")
    price: Number = Field(description="shadow price of the budget")
    bought: Number = Field(description="gain without targeting, per unit")
    differing: Number = Field(description="share of the units on which two policies differ")
    standard_error: Number = Field(description="standard error of a policy's value, all rows")
    standard_error_difference: Number = Field(description="standard error of the difference of two policies")
    detectable: Number = Field(description="smallest difference of two policies that is detected with 80 % power")
    relative: Number = Field(description="the same as a share of the gain without targeting")
    proof_standard_error: Number = Field(description="as standard_error, on the rows of the proof")
    proof_standard_error_difference: Number = Field(
        description="as standard_error_difference, on the rows of the proof"
    )
    proof_detectable: Number = Field(description="as detectable, on the rows of the proof")
    proof_relative: Number = Field(description="as relative, on the rows of the proof")
    rows_needed: Number = Field(description="rows that would show a gain of 5 %")


class Power(_Object):
    advice: str = Field(description="whether decision-focused tuning can pay")
    rows: int = Field(description="rows of the trial")
    proof_rows: int = Field(description="rows of the proof")
    gains: list[Number] = Field(
        description="a usual and a large gain of targeting, as shares of the gain without targeting"
    )
    budgets: list[PowerAtBudget] = Field(description="one for each budget")


class Check(_Object):
    ok: bool = Field(description="whether no check failed")
    status: str = Field(description="the worst status of the checks")
    outcome: str = Field(description="how value and cost are modelled")
    understood: Understood = Field(description="what was understood")
    findings: list[Finding] = Field(description="the checks")
    power: Power | None = Field(description="the smallest gains that the rows show; null where it is not computed")


class PolicyAtBudget(_Object):
    name: str = Field(description="the policy")
    budget: Number = Field(description="budget per unit")
    value: Number = Field(description="value per unit")
    low: Number = Field(description="lower end of its interval")
    high: Number = Field(description="upper end")
    spend: Number = Field(description="spend per unit")
    price: Number = Field(description="shadow price of the budget")
    difference: Number = Field(description="value less that of the reference, paired")
    difference_low: Number = Field(description="lower end of its interval")
    difference_high: Number = Field(description="upper end")
    events: Number = Field(description="effective number of events behind the value")
    difference_events: Number = Field(description="effective number of events behind the difference")


class Return(_Object):
    name: str = Field(description="the policy")
    budget: Number = Field(description="budget per unit")
    spend: Number = Field(description="spend per unit, less that of control")
    value: Number = Field(description="value per unit, less that of control")
    value_low: Number = Field(description="lower end of its interval")
    value_high: Number = Field(description="upper end")
    net: Number = Field(description="value in money less spend")
    net_low: Number = Field(description="lower end of its interval")
    net_high: Number = Field(description="upper end")
    per_spend: Number = Field(description="value per unit of spend, in money where the value of a unit is known")
    per_spend_low: Number = Field(description="lower end of its interval")
    per_spend_high: Number = Field(description="upper end")
    per_value: Number = Field(description="spend per unit of value")
    per_value_low: Number = Field(description="lower end of its interval")
    per_value_high: Number = Field(description="upper end")
    events: Number = Field(description="effective number of events")


class Returns(_Object):
    value_per_unit: Number = Field(description="what one unit of value brings in money")
    level: Number = Field(description="level of the intervals")
    rows: list[Return] = Field(description="one for each policy and budget")


class NoBudget(_Object):
    policy: Return = Field(description="the policy, where everybody gets what pays; numbers are null where nobody does")
    untargeted: Return = Field(description="the best single treatment for everyone; null where that is control")
    arm: str = Field(description="that treatment")
    verdict: str = Field(description="whether it pays")


class SpendAtBudget(_Object):
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


class _Evaluated(_Object):
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


class Estimate(_Object):
    mean: Number = Field(description="expected value")
    low: Number = Field(description="lower end of its interval")
    high: Number = Field(description="upper end")


class Rule(_Object):
    rule: str = Field(description="the inequality")
    used: Number = Field(description="its left side, in units of the limit")
    limit: Number = Field(description="the limit")
    price: Number = Field(description="shadow price: value per unit of the limit")
    binds: bool = Field(description="whether it binds")
    of_spend: bool = Field(description="whether it limits the spend")


class Brought(_Object):
    value: Number = Field(description="expected value")
    cost: Number = Field(description="expected spend")
    net: Number = Field(description="the value in money less the spend; null where the value of a unit is not known")


class Allocate(_Object):
    output: str = Field(description="the file of the allocation")
    units: int = Field(description="number of units")
    budget: Number = Field(description="total budget; null where there is none")
    price: Number = Field(description="shadow price of the budget")
    spend: Estimate = Field(description="expected total spend")
    value: Estimate = Field(description="expected total value, with what control brings")
    brought: Brought = Field(description="expected beyond control for everyone")
    planned_spend: Number = Field(description="spend that the model predicts")
    safety: Number = Field(description="probability of staying within the budget")
    mix: dict[str, int] = Field(description="units of each treatment")
    rules: list[Rule] = Field(description="the rules beside the budget")
    held_out: int = Field(description="units that are kept back with control")
    notes: list[str] = Field(description="what to know about the allocation")


class Plan(_Object):
    output: str = Field(description="the file of the allocation")
    units: int = Field(description="number of units")
    spend: Number = Field(description="total spend")
    value: Number = Field(description="total value")
    gap: Number = Field(description="at most so much below the optimum within the rules")
    mix: dict[str, int] = Field(description="units of each treatment")
    rules: list[Rule] = Field(description="the rules")


class Assign(_Object):
    output: str = Field(description="the file of the arms")
    arms: dict[str, int] = Field(description="rows of each arm")


class Predict(_Object):
    output: str = Field(description="the file of the menu")
    units: int = Field(description="number of units")
    treatments: list[str] = Field(description="labels of the treatments, control first")
    unit: str | None = Field(description="column of the units' ids")


DOCUMENTS: Mapping[str, type[BaseModel]] = {
    "allocate": Allocate, "assign": Assign, "check": Check, "compare": Compare, "evaluate": Evaluate, "plan": Plan,
    "predict": Predict,
}  # fmt: skip
"""The document of each command."""


def schema(command: str) -> dict[str, Any]:
    """Returns the JSON Schema (draft 2020-12) of a command's document.

    Raises:
        DataError: There is no schema of this command.

    >>> schema("assign")["required"]
    ['output', 'arms']
    """
    made = DOCUMENTS[_check.choice("command", command, tuple(DOCUMENTS))].model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made}


def table(command: str) -> str:
    """Returns the fields of a command's document as a table in Markdown."""
    made = schema(command)
    return "\n".join(["| field | type | meaning |", "|---|---|---|", *_lines(made, "", made.get("$defs", {}))])


def _lines(shown: dict[str, Any], before: str, inner: dict[str, Any]) -> Iterator[str]:
    for name, field in shown["properties"].items():
        kind, of = _type(field)
        yield f"| `{before}{name}` | {kind} | {field.get('description', '')} |"
        if of:
            yield from _lines(inner[of], f"{before}{name}{'[]' if kind.startswith('array') else ''}.", inner)


def _type(field: dict[str, Any]) -> tuple[str, str]:
    """Returns the type of a field in words, and the name of the objects in it ("" for none)."""
    if "$ref" in field:
        return "object", field["$ref"].rpartition("/")[2]
    if "anyOf" in field:
        words, names = zip(*map(_type, field["anyOf"]), strict=True)
        return " or ".join(words), "".join(names)
    if field["type"] == "array":
        word, name = _type(field["items"])
        return f"array of {_many(word)}", name
    if field["type"] == "object":
        word, name = _type(field["additionalProperties"])
        return f"object of {_many(word)}", name
    return field["type"], ""


def _many(word: str) -> str:
    first, *rest = word.split(" ")
    return " ".join([f"{first}s", *rest])
