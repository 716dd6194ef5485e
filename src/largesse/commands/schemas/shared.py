"""Fields that the documents of several commands have."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "Arm",
    "Finding",
    "NoBudget",
    "Number",
    "Object",
    "PolicyAtBudget",
    "Power",
    "Return",
    "Returns",
    "Rule",
    "Understood",
]


Number = float | None  # null where it is not known, or infinite


class Object(BaseModel):
    """An object with these fields and no others."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Finding(Object):
    name: str = Field(description="the check")
    status: str = Field(description="ok, warn, fail, or untested")
    sentence: str = Field(description="the result and the next step")


class Arm(Object):
    treatment: str = Field(description="label of the arm")
    rows: int = Field(description="rows of the trial")
    share: Number = Field(description="share of the rows")
    value: Number = Field(description="mean value")
    cost: Number = Field(description="mean cost")


class Understood(Object):
    rows: dict[str, int] = Field(description="rows by kind of data")
    arms: list[Arm] = Field(description="the arms of the trial, control first")
    control: str = Field(description="why this arm is control")
    outcome: str = Field(description="how value and cost are modelled")
    units: dict[str, str] = Field(description="what a row, the value and the cost count")
    features: list[str] = Field(description="columns that models use")
    left_out: list[list[str]] = Field(description="columns that they do not use, with the reason")
    suspects: list[list[str]] = Field(description="features that may be measured after the treatment, with the reason")
    undeclared: list[str] = Field(description="what to declare")


class PowerAtBudget(Object):
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


class Power(Object):
    advice: str = Field(description="whether decision-focused tuning can pay")
    rows: int = Field(description="rows of the trial")
    proof_rows: int = Field(description="rows of the proof")
    gains: list[Number] = Field(
        description="a usual and a large gain of targeting, as shares of the gain without targeting"
    )
    budgets: list[PowerAtBudget] = Field(description="one for each budget")


class PolicyAtBudget(Object):
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


class Return(Object):
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


class Returns(Object):
    value_per_unit: Number = Field(description="what one unit of value brings in money")
    level: Number = Field(description="level of the intervals")
    rows: list[Return] = Field(description="one for each policy and budget")


class NoBudget(Object):
    policy: Return = Field(description="the policy, where everybody gets what pays; numbers are null where nobody does")
    untargeted: Return = Field(description="the best single treatment for everyone; null where that is control")
    arm: str = Field(description="that treatment")
    verdict: str = Field(description="whether it pays")


class Rule(Object):
    rule: str = Field(description="the inequality")
    used: Number = Field(description="its left side, in units of the limit")
    limit: Number = Field(description="the limit")
    price: Number = Field(description="shadow price: value per unit of the limit")
    binds: bool = Field(description="whether it binds")
    of_spend: bool = Field(description="whether it limits the spend")
