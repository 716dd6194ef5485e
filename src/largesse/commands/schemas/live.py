"""The document of `demo --live`."""

from __future__ import annotations

from pydantic import Field

from largesse.commands.schemas.monitor import Signal
from largesse.commands.schemas.shared import Object

__all__ = ["Live"]


class LivedDay(Object):
    day: int = Field(description="its number, from 1")
    decisions: int = Field(description="decisions so far")
    spent: float = Field(description="paid so far, in EUR")
    planned: float = Field(description="what an even spend would have paid by then")
    price: float = Field(description="shadow price at its end")
    value: float = Field(description="orders per customer that what was given brings on average")
    stays: float = Field(description="the same if the first run decided alone, at the same spend")
    best: float = Field(description="the same with perfect knowledge, at the same spend")


class Event(Object):
    day: int = Field(description="day of the campaign, from 1")
    command: str = Field(description="the command that it is from")
    sentence: str = Field(description="what happened")


class Live(Object):
    headline: str = Field(description="what the loop brought")
    folder: str = Field(description="folder of the page, the ledger and the runs")
    budget: float = Field(description="budget of the campaign, in EUR")
    days: list[LivedDay] = Field(description="the days")
    events: list[Event] = Field(description="what happened")
    alarms: list[Signal] = Field(description="alarms at the end")
