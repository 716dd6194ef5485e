"""The tables and charts of the page Live."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from math import ceil, isfinite
from typing import TYPE_CHECKING, Any

from largesse.report.blocks import Badge, Block, Chart, Column, Row, Table, Text, Tone
from largesse.report.numbers import UNKNOWN, between, count, number, percent, places
from largesse.web.view import Drawn
from largesse.web.words import words

if TYPE_CHECKING:
    from largesse.commands.studio.live import Now, Run, Watched
    from largesse.serving.ledger.runs import RunCount

__all__ = ["Names", "campaign_blocks", "date_of", "days_of", "money_of", "time_of"]

_DAY = 86_400.0
_LINES = 20  # of the journal
_LONG = 12  # signals of a table, above which those that are fine are folded


class Names:
    """The units of money, value and units; plain words where the run that decides does not say them."""

    def __init__(self, now: Now) -> None:
        report = None if now.config is None else now.config.report
        self.money = "units of money" if report is None or not report.money else report.money
        self.value = "units of value" if report is None else report.value_unit
        one = "unit of money" if report is None or not report.money else report.money
        self.price = f"{self.value} per {one}"
        self.head = "unit" if report is None else report.head


def campaign_blocks(now: Now, watched: Watched, names: Names) -> list[Block | Drawn]:
    """Returns what follows the answer: money and lift by day, signals, runs, decisions, the journal."""
    from largesse.commands.findings.journal import journal_table
    from largesse.commands.findings.monitor import sections

    out: list[Block | Drawn] = []
    if watched.monitored is not None and len(watched.monitored.day_spend) > 1:
        out.append(_spend(now, watched, names))
    if watched.monitored is not None and (lift := _lift(watched, names)) is not None:
        out.append(lift)
    for section in () if watched.monitored is None else sections(watched.monitored):
        for block in section.blocks:
            if isinstance(block, Table):
                out += _signals(section.title, block)
            elif isinstance(block, Text):
                out.append(replace(block, lead=f"{section.title}. "))
    runs = _run_table(now, watched, names)
    out.append(runs if runs.rows else Text(words("live.runs.none"), quiet=True))
    if missing := [one for one in (now.decides, now.tried, now.before) if one is not None and not one.here]:
        out += [_gone(one) for one in missing]
    if now.status.decided:
        out.append(_decisions(now))
    lines = now.journal[-_LINES:]
    out.append(
        journal_table(lines, title=words("live.journal")) if lines else Text(words("live.journal.none"), quiet=True)
    )
    return out


def _signals(title: str, table: Table) -> list[Table]:
    """Returns signals; where there are many, those that are fine in a table of their own, opened by a click."""
    if len(table.rows) <= _LONG:
        return [replace(table, title=title)]
    fine = tuple(row for row in table.rows if str(row.cells[1]) == "fine")
    others = tuple(row for row in table.rows if str(row.cells[1]) != "fine")
    folded = replace(table, rows=fine, title=words("live.fine", title=title, number=count(len(fine))), folded=True)
    return [*([replace(table, rows=others, title=title)] if others else []), folded]


def _spend(now: Now, watched: Watched, names: Names) -> Drawn:
    """Returns the money paid for the decisions of each day, beside an even spend."""
    assert watched.monitored is not None
    spend, decided = watched.monitored.day_spend, watched.monitored.day_decisions
    even, so_far, rows = now.status.budget / max(days_of(now)[1], 1), 0.0, list[Row]()
    for date, paid in spend.items():
        so_far += paid
        rows.append(Row((date, count(decided[date]), money_of(paid), money_of(so_far))))
    table = Table(
        columns=(Column("Day (UTC)", words=True), Column("Decisions"), Column(f"Paid for them, {names.money}"), Column("Sum")),
        rows=tuple(rows),
    )  # fmt: skip

    def figure() -> Any:
        from largesse.report.figures import LINE, day_chart

        shown = day_chart(spend, names.money)
        shown.add_hline(y=even, line={"color": LINE, "width": 2, "dash": "dash"})
        return shown

    caption = (
        f"Money paid for the decisions of each day; what the last days will still pay is not in it. Dashed: an even spend, "
        f"{money_of(even)} {names.money} a day."
    )
    chart = Chart(
        name="spend", label=f"{names.money} paid by day of the decision", figure=figure, title=words("live.spend"),
        caption=caption,
    )  # fmt: skip
    return Drawn(chart, table)


def _lift(watched: Watched, names: Names) -> Drawn | None:
    """Returns the lift beyond the holdout at the end of each day, with its interval; None where there is none yet."""
    assert watched.monitored is not None
    from largesse.commands.findings.monitor import lift_of

    looks = {date: look for date, look in watched.monitored.day_lift.items() if isfinite(look.lower + look.upper)}
    lift = lift_of(watched.monitored)
    if lift is None or len(looks) < 2:
        return None
    unit = f"{names.money if lift.name.startswith('net') else names.value} per {names.head}"
    days = list(watched.monitored.day_lift)
    x = [days.index(date) + 1 for date in looks]
    ends = [(look.estimate, look.lower, look.upper) for look in looks.values()]
    level = percent(next(iter(looks.values())).level, decimals=1)
    columns = (
        Column("Day (UTC)", words=True),
        Column(unit),
        Column(f"{level} interval", quiet=True),
        Column("Decisions", quiet=True),
    )
    digits = places((high - low) / 2 for _, low, high in ends)
    rows = (
        Row((date, number(look.estimate, decimals=digits, sign=True),
             between(look.lower, look.upper, decimals=digits, sign=True), count(look.t)))
        for date, look in looks.items()
    )  # fmt: skip

    def figure() -> Any:
        from largesse.report.figures import band_chart

        return band_chart(x, {lift.name: ends}, {}, "Day", unit)

    caption = (
        f"Units with the campaign less those of the holdout, all matured decisions until each day. The band is a {level} "
        "interval that holds on all days together: it may be looked at every day."
    )
    chart = Chart(name="lift", label=f"{lift.name}, by day", figure=figure, title=words("live.lift"), caption=caption)
    return Drawn(chart, Table(columns=columns, rows=tuple(rows)))


def _run_table(now: Now, watched: Watched, names: Names) -> Table:
    """Returns what each run decided, and what that brought."""
    roles = {one.version: role for one, role in ((now.tried, "tried"), (now.decides, "decides")) if one is not None}
    counts = {one.version: one for one in watched.runs}
    order = [*roles, *(one for one in counts if one not in roles)][:_LINES]
    columns = (
        Column("Run", words=True), Column("Now", words=True), Column("Since (UTC)", words=True), Column("Decisions"),
        Column(f"{names.value} per matured decision"), Column("95 % interval", quiet=True),
        Column(f"{names.money} paid per matured decision"), Column("95 % interval", quiet=True),
    )  # fmt: skip
    since = {one.version: time_of(one.since) for one in (now.decides, now.tried) if one is not None}
    rows = (
        Row((version, _role(roles.get(version), now), since.get(version, UNKNOWN), *_brought(counts.get(version))))
        for version in reversed(order)
    )
    return Table(columns=columns, rows=tuple(rows), title=words("live.runs"))


def _role(role: str | None, now: Now) -> Badge | str:
    if role == "decides":
        return Badge("decides", Tone.GOOD)
    return Badge(f"tried on {percent(now.tried.share)}", Tone.MIND) if role == "tried" and now.tried is not None else ""


def _brought(one: RunCount | None) -> tuple[str, ...]:
    if one is None:
        return ("0", UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN)
    out = [count(one.decisions)]
    for mean, low, high in (
        (one.value_mean, one.value_low, one.value_high),
        (one.spent_mean, one.spent_low, one.spent_high),
    ):
        if mean is None or low is None or high is None:
            out += [UNKNOWN, UNKNOWN]
        else:
            digits = places([(high - low) / 2])
            out += [number(mean, decimals=digits), between(low, high, decimals=digits)]
    return tuple(out)


def _gone(run: Run) -> Text:
    return Text(
        f"The folder of {run.version}, {run.place}, is not on this machine. Copy the run there, so that its features can be "
        "watched and it can be tried, promoted or put in service again.",
        lead="A run is missing: ",
    )  # fmt: skip


def _decisions(now: Now) -> Table:
    """Returns the decisions by the rule that drew them, and by treatment."""
    counts = now.status.counts
    names = [one for one in now.terms.treatments if any(one in several for several in counts.values())]
    rows = []
    for kind, several in counts.items():
        total = sum(several.values())
        shares = (percent(several.get(one, 0) / total, decimals=1) if total else UNKNOWN for one in names)
        rows.append(Row((words(f"live.kind.{kind}"), count(total), *shares)))
    columns = (Column("Drawn by", words=True), Column("Decisions"), *map(Column, names))
    return Table(columns=columns, rows=tuple(rows), title=words("live.decisions"))


def days_of(now: Now) -> tuple[int, int]:
    """Returns the number of the present day of the campaign, and of its days."""
    days = max(1, ceil((now.terms.until - now.started) / _DAY - 1e-9))
    return min(days, max(1, int((now.at - now.started) // _DAY) + 1)), days


def money_of(amount: float) -> str:
    """Returns an amount of money: whole units from 1,000 on."""
    return count(round(amount)) if abs(amount) >= 1000 else number(amount)


def date_of(seconds: float) -> str:
    """Returns a date (UTC) of seconds since 1970."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")


def time_of(seconds: float) -> str:
    """Returns date and time (UTC) of seconds since 1970."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
