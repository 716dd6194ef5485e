"""The documents of `erase`, `verify-log` and `decisions export`."""

from __future__ import annotations

from pydantic import Field

from largesse.commands.schemas.shared import Object

__all__ = ["DecisionsExport", "Erase", "VerifyLog"]


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
