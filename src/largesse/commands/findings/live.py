"""The page of `largesse demo --live`: what three weeks brought beside the run that stays, what happened, and the last signals."""

from __future__ import annotations

from typing import Any

import numpy as np

from largesse.commands.findings.monitor import sections as monitored_sections
from largesse.commands.live_shop import ORDER, Live
from largesse.report.blocks import Bullets, Chart, Code, Column, Row, Section, Table, Text
from largesse.report.content import Headline
from largesse.report.numbers import count, percent

__all__ = ["document", "headline", "sections"]

_COMMANDS = """largesse monitor sqlite:///{folder}/ledger.db --run {folder}/first
largesse promote sqlite:///{folder}/ledger.db --history
largesse decisions export --store sqlite:///{folder}/ledger.db --campaign live -o decisions.parquet
largesse verify-log --store sqlite:///{folder}/ledger.db"""


def document(done: Live) -> dict[str, Any]:
    """Returns the content of the JSON document."""
    return {"headline": headline(done).sentence, **done.to_dict()}


def _promoted(done: Live) -> int | None:
    """Returns the day on which the challenger was promoted; None: it was not."""
    days = [one.day for one in done.events if one.command == "largesse promote" and " is promoted" in one.sentence]
    return days[0] if days else None


def _means(done: Live, first: int) -> tuple[float, float, float]:
    """Returns orders per customer from a day on: of what was given, of the first run alone, with perfect knowledge."""
    days = [one for one in done.days if one.day > first]
    return tuple(float(np.mean([getattr(one, name) for one in days])) for name in ("value", "stays", "best"))  # type: ignore[return-value]


def headline(done: Live) -> Headline:
    """Returns what the loop brought, and what to do with it."""
    day, last = _promoted(done), done.days[-1]
    customers = done.scale.per_day
    if day is not None and day < len(done.days):
        value, stays, best = _means(done, day)
        more = (value - stays) * customers
        part = percent((value - stays) / (best - stays)) if best > stays else ""
        sentence = (
            f"The loop pays: since the second run decides (day {day + 1}), {count(round(more))} more orders a day than the first "
            f"run alone would bring for the same money"
        )
        sentence += f", {part} of what perfect knowledge would add." if part else "."
    else:
        sentence = "The second run was not promoted within these days: the evidence did not show that it is better."
    return Headline(
        title="largesse, live: a campaign that watches, learns and promotes (simulated)",
        sentence=sentence,
        summary=(
            f"{count(last.decisions)} decisions by a server, {count(round(last.spent))} of {count(round(done.budget))} EUR paid. "
            "No decision raised what is paid or reserved above the budget"
            + (", though some coupons cost more than was reserved for them." if last.spent > done.budget else "."),
            "Customers respond otherwise than in the trial from which the first run was learned, which the server does not know. "
            "Every night `largesse monitor` looks; `largesse update` learns a second run from the decisions; `largesse promote` "
            "lets it decide once an interval that holds however often one looks shows that it is better.",
        ),
        action="Serve a run of your own: `largesse serve RUN --budget 100000 --until 2026-12-31 --store sqlite:///spring.db`.",
    )


def sections(done: Live) -> list[Section]:
    """Returns the sections of the page."""
    happened = tuple(f"Day {one.day}, {one.command}: {one.sentence}" for one in done.events)
    return [
        Section("brought", "What it brought", [_chart(done), _table(done)]),
        Section("happened", "What happened", [Bullets(happened)]),
        Section("money", "Money", [_money(done)]),
        *monitored_sections(done.monitored),
        Section("yourself", "Look for yourself", [
            Text("The ledger and both runs are in the folder of this page."),
            Code("Commands", _COMMANDS.format(folder=done.folder)),
        ]),
    ]  # fmt: skip


def _table(done: Live) -> Table:
    day = _promoted(done)
    spans = [("All days", 0)] + ([] if day is None or day >= len(done.days) else [(f"From day {day + 1} on", day)])
    columns = Column("Who decides", words=True), Column("Orders a day"), Column("EUR of orders a day")
    rows = []
    for words, first in spans:
        names = ("the loop", "the first run alone", "perfect knowledge")
        for name, value in zip(names, _means(done, first), strict=True):
            a_day = value * done.scale.per_day
            cells = (name, count(round(a_day)), count(round(ORDER * a_day)))
            rows.append(Row(cells, group=words, ours=name == "the loop"))
    title = "On average over chance, for the same money; the loop with its holdout and its exploration"
    return Table(columns=columns, rows=tuple(rows), title=title, grouped="Days")


def _chart(done: Live) -> Chart:
    def figure() -> Any:
        from largesse.report.figures import lines_chart

        lines = {
            "perfect knowledge": [one.best for one in done.days], "the loop": [one.value for one in done.days],
            "the first run alone": [one.stays for one in done.days],
        }  # fmt: skip
        return lines_chart([one.day for one in done.days], lines, "Day", "Orders per customer", bold="the loop")

    return Chart(
        name="value-by-day", label="Orders per customer by day: the loop, the first run alone, perfect knowledge", figure=figure,
        title="Orders per customer, for the same money",
        caption="The truth of the simulation; in service, the holdout and the exploration estimate it.",
    )  # fmt: skip


def _money(done: Live) -> Chart:
    def figure() -> Any:
        from largesse.report.figures import lines_chart

        lines = {"paid": [one.spent for one in done.days], "an even spend": [one.planned for one in done.days]}
        return lines_chart([one.day for one in done.days], lines, "Day", "EUR", bold="paid")

    return Chart(
        name="paid-by-day", label="Money paid so far by day, beside an even spend", figure=figure, title="Paid so far",
        caption=f"Budget: {count(round(done.budget))} EUR.",
    )  # fmt: skip
