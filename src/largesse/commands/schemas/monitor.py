"""The document of `monitor`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from largesse.commands.schemas.shared import Object

__all__ = ["Monitor"]


class Signal(Object):
    group: Literal["result", "trust", "model", "running"] = Field(
        description="result: what the campaign brings; trust: whether that can be believed; model: whether its predictions hold; "
        "running: money, outcomes and the server"
    )
    name: str = Field(description="what is watched")
    about: str = Field(description="the treatment or the feature; empty for the whole campaign")
    state: Literal["alarm", "over", "fine", "too early"] = Field(
        description="alarm, over (of a run that decides no longer), fine, too early"
    )
    number: float | None = Field(description="the number; null where there is none yet")
    low: float | None = Field(description="lower end of its interval on all days together; null where there is none")
    high: float | None = Field(description="upper end")
    threshold: str = Field(description="when it is an alarm, in words")
    first_bad_day: str | None = Field(description="first day on which it was one, a date (UTC); null: never")
    rests_on: int = Field(description="decisions that it rests on")
    next_step: str = Field(description="what to do about an alarm; empty where there is none")


class Monitor(Object):
    campaign: str = Field(description="name of the campaign")
    at: str = Field(description="the time (UTC)")
    ok: bool = Field(description="whether no signal is an alarm")
    decided: int = Field(description="number of decisions")
    budget: float = Field(description="budget")
    spent: float = Field(description="money paid")
    reserved: float = Field(description="money reserved for decisions whose outcome is not known")
    price: float = Field(description="shadow price now")
    false_alarm_rate: float = Field(
        description="probability that a campaign in which nothing is wrong ever has an alarm of a signal with an interval, or of "
        "a feature"
    )
    signals: list[Signal] = Field(description="all signals")
    not_watched: list[str] = Field(description="what is not watched, and why")
    day_spend: dict[str, float] = Field(description="money paid for the decisions of each day, by date (UTC)")
    day_decisions: dict[str, int] = Field(description="decisions of each day, by date (UTC)")
