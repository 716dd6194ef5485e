"""A signal of a monitored campaign: a number, its interval, when it is an alarm, since when, and what to do then."""

from __future__ import annotations

from typing import Literal, NamedTuple

__all__ = ["Group", "Signal", "State", "ruled"]

Group = Literal["result", "trust", "model", "running"]
State = Literal["alarm", "over", "fine", "too early"]


class Signal(NamedTuple):
    """One signal of a monitored campaign.

    Attributes:
        group: "result": what the campaign brings; "trust": whether that can be believed; "model": whether its predictions hold;
            "running": money, outcomes and the server.
        name: What is watched, e.g. "value against prediction".
        about: The treatment, or the feature; "" for the whole campaign.
        state: "alarm"; "over": an alarm about a run that decides no longer; "fine"; or "too early" where there is not
            enough yet to tell.
        number: The number; None where there is none yet.
        low: Lower end of its interval, which holds on all days together; None where there is none.
        high: Upper end.
        threshold: When it is an alarm, in words.
        first_bad_day: First day on which it was one, a date (UTC); None: never.
        rests_on: Decisions that it rests on.
        next_step: What to do about an alarm; "" where there is none.
    """

    group: Group
    name: str
    about: str
    state: State
    number: float | None
    low: float | None
    high: float | None
    threshold: str
    first_bad_day: str | None
    rests_on: int
    next_step: str


def ruled(
    group: Group, name: str, number: float | None, *, alarm: bool, threshold: str, next_step: str, rests_on: int, about: str = "",
    first: str | None = None, ends: tuple[float, float] | None = None,
) -> Signal:  # fmt: skip
    """Returns a signal without a sequence; the arguments are its attributes, `ends` those of an interval.

    >>> ruled("model", "age in days", 3.0, alarm=False, threshold="above 90", next_step="Fit again.", rests_on=0).state
    'fine'
    """
    bad = alarm and number is not None
    state: State = "alarm" if bad else "too early" if number is None else "fine"
    low, high = (None, None) if ends is None else ends
    return Signal(group, name, about, state, number, low, high, threshold, first, rests_on, next_step if bad else "")
