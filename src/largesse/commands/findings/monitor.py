"""The page about a campaign in service: what it brings, whether that can be believed, what goes wrong and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from largesse.report.blocks import Badge, Bullets, Chart, Column, Row, Section, Table, Text, Tone
from largesse.report.content import Headline
from largesse.report.numbers import UNKNOWN, between, count, number, percent, places
from largesse.serving.watch.cells import NET_LIFT, VALUE_LIFT
from largesse.serving.watch.monitored import Monitored
from largesse.serving.watch.signals import Signal

__all__ = ["document", "headline", "lift_of", "sections", "signal_table", "steps"]

_TITLES = {
    "result": ("result", "What it brings"),
    "trust": ("trust", "Can that be believed"),
    "model": ("model", "Does the model hold"),
    "running": ("running", "Money, outcomes and the server"),
}
_TONES = {"alarm": Tone.BAD, "over": Tone.NONE, "fine": Tone.GOOD, "too early": Tone.NONE}
_NO_BREAK = "\N{NON-BREAKING HYPHEN}"


def document(done: Monitored) -> dict[str, Any]:
    """Returns the content of the JSON document."""
    return {
        "campaign": done.campaign, "at": _time(done.at), "ok": not done.alarms, "decided": done.status.decided,
        "budget": done.status.budget, "spent": done.status.spent, "reserved": done.status.reserved, "price": done.status.price,
        "false_alarm_rate": done.false_alarm_rate, "signals": [one._asdict() for one in done.signals],
        "not_watched": list(done.not_watched), "day_spend": done.day_spend, "day_decisions": done.day_decisions,
    }  # fmt: skip


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def headline(done: Monitored) -> Headline:
    """Returns whether the campaign pays so far, and what to do now."""
    status, alarms = done.status, done.alarms
    spent = percent(status.spent / status.budget) if status.budget else UNKNOWN
    summary = [
        f"{count(status.decided)} decisions; {number(status.spent)} of the budget of {number(status.budget)} is spent ({spent}), "
        f"{number(status.reserved)} reserved.",
        f"Intervals hold on all days together. Where nothing is wrong, {percent(1 - done.false_alarm_rate)} of campaigns end "
        "without an alarm of a signal that has an interval, or of a feature, however often one looks.",
    ]
    if not alarms:
        action = "Nothing: no signal is an alarm."
    else:
        worst = min(alarms, key=lambda one: (tuple(_TITLES).index(one.group), one.first_bad_day or ""))
        others = f" {len(alarms) - 1} more {'alarm follows' if len(alarms) == 2 else 'alarms follow'} below." * (
            len(alarms) > 1
        )
        action = f"{worst.next_step} (An alarm: {_named(worst)}.){others}"
    return Headline(
        title=f"Campaign {done.campaign}, {_time(done.at)[:10]}",
        sentence=_answer(done),
        summary=tuple(summary),
        action=action,
    )


def lift_of(done: Monitored) -> Signal | None:
    """Returns the signal of what the campaign brings: its net value where it is known, else its value; None without a holdout."""
    by_name = {one.name: one for one in done.signals}
    return by_name.get(NET_LIFT, by_name.get(VALUE_LIFT))


def _answer(done: Monitored) -> str:
    lift = lift_of(done)
    if lift is None:
        return "Without a holdout, nothing says what the campaign brings."
    what = "net value (value in money less what is paid)" if lift.name == NET_LIFT else "value"
    if lift.low is None or lift.high is None or lift.number is None:
        return f"It is too early to say what the campaign brings: {count(lift.rests_on)} decisions have matured."
    ends = between(lift.low, lift.high, sign=True)
    if lift.low > 0:
        verdict = "The campaign pays" if lift.name == NET_LIFT else "The campaign brings value"
    elif lift.high < 0:
        verdict = "The campaign loses" if lift.name == NET_LIFT else "The campaign costs value"
    else:
        verdict = "It is not shown yet that the campaign pays" if lift.name == NET_LIFT else "No effect is shown yet"
    shown = number(lift.number, decimals=places([(lift.high - lift.low) / 2]), sign=True)
    return f"{verdict}: {shown} {what} per unit beyond the holdout ({ends})."


def _named(one: Signal) -> str:
    since = f", since {one.first_bad_day}" if one.first_bad_day else ""
    return f"{_titled(one)}{since}"


def _titled(one: Signal) -> str:
    return f"{one.name}: {one.about}" if one.about else one.name


def steps(done: Monitored) -> tuple[str, ...]:
    """Returns what to do about each alarm."""
    return tuple(f"{_named(one)}: {one.next_step}" for one in done.alarms)


def signal_table(signals: Sequence[Signal], *, short: bool = False) -> Table:
    """Returns signals as a table; a short one fits a terminal of 80 columns."""
    columns = [Column("Signal", words=True), Column("State", words=True), Column("Number (interval)")]
    if not short:
        more = Column("Since", words=True), Column("An alarm", words=True, quiet=True), Column("Decisions", quiet=True)
        columns += more
    return Table(columns=tuple(columns), rows=tuple(_row(one, short) for one in signals))


def _row(one: Signal, short: bool) -> Row:
    width = [(one.high - one.low) / 2] if one.low is not None and one.high is not None else []
    decimals = places(width) if width and width[0] > 0 else None
    shown = UNKNOWN if one.number is None else number(one.number, decimals=decimals)
    if one.low is not None and one.high is not None:
        shown += f" ({between(one.low, one.high, decimals=decimals)})"
    cells = (_titled(one), Badge(one.state, _TONES[one.state]), shown)
    more = (
        (one.first_bad_day or "").replace("-", _NO_BREAK),
        one.threshold,
        count(one.rests_on) if one.rests_on else "",
    )
    return Row(cells if short else (*cells, *more))


def sections(done: Monitored) -> list[Section]:
    """Returns the sections of the page."""
    parts = []
    if done.alarms:
        parts.append(Section("alarms", "What to do", [Bullets(steps(done))]))
    for group, (anchor, title) in _TITLES.items():
        several = [one for one in done.signals if one.group == group]
        if several:
            blocks: list[Any] = [signal_table(several)]
            if group == "running" and len(done.day_spend) > 1:
                blocks.append(_chart(done))
            parts.append(Section(anchor, title, blocks))
    if done.not_watched:
        words = "; ".join(done.not_watched)
        parts.append(
            Section("not-watched", "What is not watched", [Text(f"{words[:1].upper()}{words[1:]}.", quiet=True)])
        )
    return parts


def _chart(done: Monitored) -> Chart:
    def figure() -> Any:
        from largesse.report.figures import day_chart

        return day_chart(done.day_spend, "Money paid")

    return Chart(
        name="spend-by-day", label="Money paid for the decisions of each day", figure=figure, title="Spend by day",
        caption="By the day of the decision: what the last days will still pay is not in it.",
    )  # fmt: skip
