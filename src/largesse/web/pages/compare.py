"""The page Compare: runs beside each other at one budget."""

from __future__ import annotations

from math import isnan
from typing import Any

from largesse.commands.run_folder import safety_of
from largesse.commands.studio.evidence import AtBudget
from largesse.commands.studio.versus import Differently, Versus, differently, versus
from largesse.errors import LargesseError
from largesse.menu import PlanTotals
from largesse.policy.deployed import Allocation
from largesse.report.blocks import Cell, Chart, Column, Row, Table, Text
from largesse.report.figures import lines_chart
from largesse.report.numbers import between, count, number, percent, places, resting
from largesse.report.pays import BADGES
from largesse.report.table import BADGES as VERDICTS
from largesse.result import plain
from largesse.web.opened import Studio
from largesse.web.pages.money import Money, money_fields, of_query, planned_of, scaled
from largesse.web.query import Query
from largesse.web.view import Drawn, Field, Shown, View
from largesse.web.words import words

__all__ = ["PATH", "view"]

PATH = "/compare"


def view(studio: Studio, query: Query) -> View:
    """Returns the page: every run at the budget, and two of them against each other.

    Raises:
        LargesseError: A parameter breaks a rule.
    """
    names = list(studio.runs)
    first = query.choice("first", names, names[0])
    second = query.choice("second", names, next(name for name in names if name != first))
    monies = {name: of_query(studio, _of(query, name)) for name in names}
    ours, theirs = monies[first], monies[second]
    budget = ours.budget
    monies = {name: one._replace(budget=budget) for name, one in monies.items()}
    paired = None
    if ours.evidence is not None and theirs.evidence is not None and first != second:
        paired = versus(ours.evidence, theirs.evidence, monies[first].per_unit / ours.what_if.cost)
    moving: list[Shown] = [_all(monies), *_moves(monies[first], monies[second])]
    choices = tuple((name, name) for name in names)
    fields = (
        Field(name="first", label=words("compare.first"), kind="choice", value=first, options=choices),
        Field(name="second", label=words("compare.second"), kind="choice", value=second, options=choices),
        *money_fields(monies[first], moving=False),
    )
    return View(
        headline=_headline(ours, first, second, paired), badge=None if paired is None else VERDICTS[paired.verdict],
        summary=(words("compare.paired"),) if paired is not None else (words("compare.unpaired"),), moving=tuple(moving),
        fixed=tuple(_lines(monies)), fields=fields, mark=monies[first].per_unit,
        document=plain({"first": first, "second": second, "budget": budget, "paired": paired}),
    )  # fmt: skip


def _of(query: Query, run: str) -> Query:
    return Query([*((name, value) for name, value in query.pairs if name != "run"), ("run", run)])


def _headline(money: Money, first: str, second: str, paired: Versus | None) -> str:
    if first == second:
        return words("compare.same")
    if paired is None:
        return words("compare.not")
    if isnan(paired.difference):
        return f"At {number(money.budget)} {money.money}, the budget is out of reach of one of the two."
    digits = places([(paired.high - paired.low) / 2])
    ends = resting(paired.low, paired.high, paired.events, decimals=digits, sign=True)
    got = number(paired.difference, decimals=digits, sign=True)
    return f"{second!r} brings {got} {money.value} per {money.head} against {first!r} at this budget ({ends})."


def _all(monies: dict[str, Money]) -> Table:
    """Returns every run at the budget: what it is planned to bring, and what its held-out rows say."""
    one = next(iter(monies.values()))
    unit, head, known = one.money, one.head, one.what_if.unit_value is not None
    net = f"net {unit}" if known else f"extra {one.value}"
    columns = (
        Column(words("run"), words=True), Column("Model", words=True),
        *((Column(f"Expected spend, {unit}"), Column(f"Extra {one.value}"), Column(f"Net {unit}")) if one.units else ()),
        Column(f"Held-out rows: {net} per {head}"), Column("95 % interval", quiet=True), Column("Verdict", words=True),
    )  # fmt: skip
    return Table(columns=columns, rows=tuple(_row(name, money) for name, money in monies.items()))


def _row(name: str, money: Money) -> Row:
    cells: list[Cell] = [name, str(money.run.metrics.get("chosen", "–"))]
    try:
        planned = planned_of(money) if money.units is not None else None
        shown = None if money.evidence is None else money.evidence.at(money.per_unit, money.what_if)
    except LargesseError as error:
        return Row((*cells, str(error), *([""] * (5 if money.units is not None else 2))))
    return Row((*cells, *_planned(money, planned), *_shown(money, shown)))


def _planned(money: Money, planned: Allocation[PlanTotals] | None) -> tuple[Cell, ...]:
    if planned is None:
        return ()
    got = scaled(planned, money.what_if)
    return number(got.spend), number(got.value, sign=True), "–" if got.net is None else number(got.net, sign=True)


def _shown(money: Money, shown: AtBudget | None) -> tuple[Cell, ...]:
    if shown is None:
        return "–", "–", "–"
    row, known = shown.policy, money.what_if.unit_value is not None
    point, low, high = (row.net, row.net_low, row.net_high) if known else (row.value, row.value_low, row.value_high)
    verdict: Cell = "–" if shown.verdict is None else BADGES[shown.verdict]
    return number(point, sign=True), between(low, high, sign=True), verdict


def _moves(first: Money, second: Money) -> list[Shown]:
    """Returns how many units the two treat differently, and how."""
    if first.units is None or second.units is None or first.run is second.run:
        return []
    prices = tuple(
        one.units.decide(one.budget / one.what_if.cost, safety_of(one.run.config, one.safety)).price  # type: ignore[union-attr]
        for one in (first, second)
    )
    got = differently(first.units, second.units, (prices[0], prices[1]))
    if got is None:
        return [Text(words("compare.other"))]
    sentence = (
        f"{count(got.n)} of {count(first.units.n)} {first.head}s ({percent(got.share)}) would get another treatment."
    )
    return [Text(sentence), _moved(got, first.units.menu.treatments, first.run.name, second.run.name)]


def _moved(got: Differently, treatments: tuple[str, ...], first: str, second: str) -> Table:
    columns = (Column(f"{first} ↓  {second} →", words=True), *(Column(f"{name!r}") for name in treatments))
    rows = tuple(Row((repr(name), *map(count, row))) for name, row in zip(treatments, got.moves.tolist(), strict=True))
    return Table(columns=columns, rows=rows, title=words("compare.moves"))


def _lines(monies: dict[str, Money]) -> list[Drawn]:
    """Returns what every run brings along all budgets, by its own held-out rows."""
    known = {name: one for name, one in monies.items() if one.evidence is not None}
    if not known:
        return []
    one = next(iter(known.values()))
    net, unit = one.what_if.unit_value is not None, f"{one.money} per {one.head}"
    y_title = f"Net {unit}" if net else f"Extra {one.value} per {one.head}"
    lines: dict[str, list[float]] = {}
    x: list[float] = []
    for name, money in known.items():
        assert money.evidence is not None
        rows = money.evidence.along(money.what_if)[0]
        x = x or [row.budget for row in rows]
        own = [row.net if net else row.value for row in rows]
        lines[name] = _at(x, [row.budget for row in rows], own)
    columns = (Column(f"Budget, {unit}"), *map(Column, lines))
    rows_ = tuple(Row((number(at), *(number(line[k], sign=True) for line in lines.values()))) for k, at in enumerate(x))

    def figure() -> Any:
        return lines_chart(x, lines, f"Budget, {unit}", y_title, bold=next(iter(lines)))

    label = f"{y_title} by budget, for each run on its own held-out rows"
    chart = Chart(
        name="runs", label=label, figure=figure, title=words("compare.lines"), caption=words("compare.lines.how")
    )
    return [Drawn(chart, Table(columns=columns, rows=rows_), marked=True)]


def _at(x: list[float], budgets: list[float], values: list[float]) -> list[float]:
    """Returns a line at the budgets of another; NaN beyond its own."""
    import numpy as np

    inside = np.interp(x, budgets, values, left=np.nan, right=np.nan)
    return [float(one) for one in inside]
