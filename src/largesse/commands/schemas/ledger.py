"""The documents of `erase`, `verify-log`, `decisions export`, `decisions replay` and `decisions shadow`."""

from __future__ import annotations

from pydantic import Field

from largesse.commands.schemas.shared import Object

__all__ = ["DecisionsExport", "DecisionsReplay", "DecisionsShadow", "Erase", "VerifyLog"]


class Erase(Object):
    decisions: int = Field(description="number of decisions of the unit, now erased")


class Log(Object):
    decisions: int = Field(description="number of decisions")
    decision_link: str = Field(description="link of the last decision, hexadecimal")
    outcomes: int = Field(description="number of outcomes")
    outcome_link: str = Field(description="link of the last outcome, hexadecimal")
    erased: int = Field(description="decisions whose unit was erased")
    days: dict[str, str] = Field(description="link of the last decision of each day (UTC), by date")


class VerifyLog(Object):
    ok: bool = Field(description="whether there is no problem")
    logs: dict[str, Log] = Field(description="the log of each campaign; keep it elsewhere, for --earlier")
    problems: list[str] = Field(description="what was changed, inserted or deleted")


class DecisionsExport(Object):
    output: str = Field(description="the file of the rows")
    rows: int = Field(description="number of decisions in it")
    left_out: int = Field(description="decisions that are too young, or that the budget limited")
    control: str = Field(description="name of control")
    treatments: list[str] = Field(description="names of the treatments, control first")
    features: list[str] = Field(description="columns of features")


class Change(Object):
    difference: float = Field(description="the other run less the one that decided, per unit")
    low: float = Field(description="lower end of the 95 % interval")
    high: float = Field(description="upper end")


class DecisionsReplay(Object):
    decisions: int = Field(description="number of decisions that were decided again")
    left_out: int = Field(description="decisions without stored features, of erased units, or made without a model")
    changed: float = Field(description="share of the decisions that differ")
    before: dict[str, int] = Field(description="how often each treatment was the policy's")
    after: dict[str, int] = Field(description="how often it is the other run's")
    cost_before: float = Field(description="mean predicted cost per unit, by the menus of then")
    cost_after: float = Field(description="the same of the other run, by its own menus")
    judged: int = Field(description="matured decisions that value and cost are estimated from")
    informative: int = Field(description="how many of these had a treatment that only one of the two gives")
    value: Change | None = Field(description="difference of the value per unit; null if no decision has matured")
    cost: Change | None = Field(description="difference of the money paid per unit; null likewise")


class DecisionsShadow(DecisionsReplay):
    left_out: int = Field(
        description="decisions without an answer in the shadow, of erased units, or made without a model"
    )
