"""The documents of `allocate`, `assign`, `export`, `plan` and `predict`."""

from __future__ import annotations

from pydantic import Field

from largesse.commands.schemas.shared import Number, Object, Rule

__all__ = ["Allocate", "Assign", "Export", "Plan", "Predict"]


class Estimate(Object):
    mean: Number = Field(description="expected value")
    low: Number = Field(description="lower end of its interval; null with --by-cluster, like the upper end")
    high: Number = Field(description="upper end")


class Brought(Object):
    value: Number = Field(description="expected value")
    cost: Number = Field(description="expected spend")
    net: Number = Field(description="the value in money less the spend; null where the value of a unit is not known")


class Allocate(Object):
    output: str = Field(description="the file of the allocation")
    units: int = Field(description="number of units")
    budget: Number = Field(description="total budget; null where there is none")
    price: Number = Field(description="shadow price of the budget")
    spend: Estimate = Field(description="expected total spend")
    value: Estimate = Field(description="expected total value, with what control brings")
    brought: Brought | None = Field(description="expected beyond control for everyone; null with --by-cluster")
    planned_spend: Number = Field(description="spend that the model predicts")
    safety: Number = Field(description="probability of staying within the budget")
    mix: dict[str, int] = Field(description="units of each treatment")
    rules: list[Rule] = Field(description="the rules beside the budget")
    held_out: int = Field(description="units that are kept back with control")
    notes: list[str] = Field(description="what to know about the allocation")
    groups: int | None = Field(
        description="groups that get one treatment each; null without --by-cluster, as the next two"
    )
    gap: Number = Field(description="at most so much below the optimum for these groups")
    overspends: Number = Field(description="probability of spending more than the budget")


class Plan(Object):
    output: str = Field(description="the file of the allocation")
    units: int = Field(description="number of units")
    spend: Number = Field(description="total spend")
    value: Number = Field(description="total value")
    gap: Number = Field(description="at most so much below the optimum within the rules")
    mix: dict[str, int] = Field(description="units of each treatment")
    rules: list[Rule] = Field(description="the rules")


class Assign(Object):
    output: str = Field(description="the file of the arms")
    arms: dict[str, int] = Field(description="rows of each arm")


class Predict(Object):
    output: str = Field(description="the file of the menu")
    units: int = Field(description="number of units")
    treatments: list[str] = Field(description="labels of the treatments, control first")
    unit: str | None = Field(description="column of the units' ids")


class PlanAtBudget(Object):
    budget: Number = Field(description="total budget")
    spend: Number = Field(description="expected total spend")
    value: Number = Field(description="expected total value")
    overspends: Number = Field(description="probability of spending more than the budget")
    mix: dict[str, int] = Field(description="units of each treatment")


class Export(Object):
    output: str = Field(description="the folder of the export")
    units: int = Field(description="units that the budgets are for")
    agreement: Number = Field(description="share of these units that get the same cluster as in the run")
    log_loss: Number = Field(
        description="mean of -log of the probability that the classifier gives to the cluster of the run"
    )
    ece: Number = Field(description="mean distance of the probability of the classifier's class from its accuracy")
    raw_log_loss: Number = Field(description="as log_loss, before the calibration of the probabilities")
    raw_ece: Number = Field(description="as ece, before the calibration of the probabilities")
    plans: list[PlanAtBudget] = Field(description="one for each budget, the smallest first")
