"""The page Who: who gets what at a budget, what that brings, and who would lose by another budget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from largesse import _check
from largesse.commands.run_folder import safety_of
from largesse.commands.studio.who import Group, Who
from largesse.evaluate.segments import SegmentRow
from largesse.report.blocks import Block, Cell, Chart, Column, Key, Row, Table, Text
from largesse.report.content import MixTable
from largesse.report.numbers import count, number, percent
from largesse.report.segments import Segments, gets, segment_table
from largesse.report.style import treatment_colours
from largesse.report.table import mix_table
from largesse.result import plain
from largesse.web.opened import Opened, Studio
from largesse.web.pages.money import Money, money_fields, of_query, plain_number
from largesse.web.query import Query
from largesse.web.view import Drawn, Field, Shown, View
from largesse.web.words import words

__all__ = ["PATH", "view"]

PATH = "/who"
_LESS = 10.0  # percent of the budget


class _Split(NamedTuple):
    """By what the units are shown.

    Attributes:
        column: The column.
        within: Column → group that they are limited to.
        less: Percent of the budget that would be taken away; 0: none.
    """

    column: str
    within: dict[str, str]
    less: float


def view(studio: Studio, query: Query) -> View:
    """Returns the page.

    Raises:
        LargesseError: A parameter breaks a rule, or a budget is below the cheapest allocation.
    """
    money = of_query(studio, query)
    if money.units is None:
        return _of_trial(money, query)
    who = who_of(money.run)
    split = _split(query, who, money)
    price = _price(money, money.budget)
    other = _price(money, money.budget * (1 - split.less / 100)) if split.less else None
    groups = who.groups(split.column, price, other, split.within)
    treatments = money.units.menu.treatments
    moving: list[Shown] = [
        Key(tuple(zip(treatments, treatment_colours(len(treatments)), strict=True))), _mix(groups, split, treatments),
        _table(money, groups, split), Text(_how(money, split), quiet=True), *_evidence(money, split.column),
    ]  # fmt: skip
    return View(
        headline=_headline(money, groups, split), summary=_summary(groups, split), moving=tuple(moving),
        fields=(*money_fields(money), *_fields(who, split)), links=_links(query, groups, split),
        document=plain({"run": money.run.name, "column": split.column, "within": split.within, "price": price, "groups": groups}),
    )  # fmt: skip


def who_of(run: Opened) -> Who:
    """Returns the units of a run by group; made once."""
    with run.lock:
        assert run.population is not None
        made: Who = run.__dict__.get("who") or Who(run.population)
        run.__dict__["who"] = made
        return made


def _price(money: Money, budget: float) -> float:
    assert money.units is not None
    sure = safety_of(money.run.config, money.safety)
    return money.units.decide(budget / money.what_if.cost, sure).price


def _split(query: Query, who: Who, money: Money) -> _Split:
    columns = who.columns
    if not columns:
        raise _check.refuse("--units", str(money.run.name), "the units have no column beside their ids", "Add some.")
    differs = [one.column for one in money.evidence.proof.groups] if money.evidence is not None else []
    ranked = [row["title"] for row in money.run.metrics.get("segments_by_column", []) if isinstance(row, dict)]
    first = next((name for name in (*ranked, *differs, *columns) if name in columns), columns[0])
    within = {}
    for one in query.all("within"):
        column, _, name = one.partition("=")
        within[column] = name
    return _Split(query.text("column", first), within, query.number("less", 0.0, low=0.0, high=100.0))


def _fields(who: Who, split: _Split) -> tuple[Field, ...]:
    return (
        Field(
            name="column", label=words("who.column"), kind="choice", value=split.column,
            options=tuple((name, name) for name in who.columns),
        ),
        Field(
            name="less", label=words("who.less"), help=words("who.less.help"),
            value=plain_number(split.less) if split.less else "",
        ),
        *(Field(name="within", label="", value=f"{name}={group}", kind="hidden") for name, group in split.within.items()),
    )  # fmt: skip


def _links(query: Query, groups: Sequence[Group], split: _Split) -> tuple[tuple[str, str], ...]:
    """Returns links that limit the units to a group, or undo that."""
    out = [] if split.less else [(words("who.try"), query.address(PATH, less=f"{_LESS:g}"))]
    if split.within:
        out.append((words("who.all"), query.address(PATH, within=None)))
    if len(groups) > 1:
        out += [
            (
                words("who.only", group=f"{split.column}: {one.name}"),
                query.with_more(PATH, "within", f"{split.column}={one.name}"),
            )
            for one in groups[:8]
        ]
    return tuple(out)


def _headline(money: Money, groups: Sequence[Group], split: _Split) -> str:
    n = sum(one.n for one in groups)
    treated = n - sum(one.counts[0] for one in groups)
    where = (
        "" if not split.within else " with " + " and ".join(f"{name} {group!r}" for name, group in split.within.items())
    )
    if split.less and n:
        moved = count(sum(one.moved for one in groups))
        lost = sum(one.value - one.other_value for one in groups)
        worst = max(groups, key=lambda one: one.value - one.other_value)
        share = (worst.value - worst.other_value) / lost if lost > 0 else 0.0
        who = (
            f"; {percent(share)} of that is lost by {split.column} {worst.name!r}"
            if len(groups) > 1 and lost > 0
            else ""
        )
        return (
            f"With {split.less:g} % less budget, {moved} of {count(n)} {money.head}s{where} would get another treatment, and "
            f" {number(lost)} {money.value} would be lost by the model's predictions{who}."
        )
    return f"{count(treated)} of {count(n)} {money.head}s{where} get something other than control."


def _summary(groups: Sequence[Group], split: _Split) -> tuple[str, ...]:
    shares = [(1 - one.counts[0] / one.n, one.name) for one in groups]
    if len(shares) < 2:
        return ()
    (high, most), (low, least) = max(shares), min(shares)
    return (f"By {split.column}: {percent(high)} are treated in {most!r}, {percent(low)} in {least!r}.",)


def _mix(groups: Sequence[Group], split: _Split, treatments: tuple[str, ...]) -> Drawn:
    table = MixTable(
        title=split.column, labels=tuple(one.name for one in groups), treatments=treatments,
        shares=tuple(tuple(k / one.n for k in one.counts) for one in groups),
    )  # fmt: skip

    def figure() -> Any:
        from largesse.report.charts import mix_chart

        return mix_chart(table)

    chart = Chart(
        name="who", label=f"Share of each treatment by {split.column}", figure=figure, title=words("who.mix"),
        caption=words("who.mix.caption"),
    )  # fmt: skip
    return Drawn(chart, mix_table(table))


def _table(money: Money, groups: Sequence[Group], split: _Split) -> Table:
    assert money.units is not None
    head, unit, treatments = money.head, money.money, money.units.menu.treatments
    m, f = money.what_if.unit_value, money.what_if.cost
    columns = [
        Column(split.column, words=True), Column(f"{head.capitalize()}s"), Column("Treated"), Column("Most get", words=True),
        Column(f"Extra {money.value}"), Column(f"Extra {unit} spent"), *([Column(f"Net {unit}")] if m is not None else []),
    ]  # fmt: skip
    if split.less:
        columns += [Column(f"{words('who.moved')} at −{split.less:g} %"), Column(f"{money.value.capitalize()} lost")]
    rows = []
    for one in groups:
        cells: list[Cell] = [
            one.name, count(one.n), percent(1 - one.counts[0] / one.n), gets([k / one.n for k in one.counts], treatments),
            number(one.value, sign=True), number(one.cost * f, sign=True),
        ]  # fmt: skip
        if m is not None:
            cells.append(number(m * one.value - one.cost * f, sign=True))
        if split.less:
            cells += [count(one.moved), number(one.value - one.other_value)]
        rows.append(Row(tuple(cells)))
    return Table(columns=tuple(columns), rows=tuple(rows), title=words("who.table"))


def _how(money: Money, split: _Split) -> str:
    part = (
        f" At −{split.less:g} %, the budget is {number(money.budget * (1 - split.less / 100))} {money.money}."
        if split.less
        else ""
    )
    return f"{words('who.how')}{part}"


def _evidence(money: Money, column: str) -> list[Block]:
    """Returns what held-out rows say of the groups of a column, if it is one of the campaign."""
    evidence = money.evidence
    if evidence is None or column not in {one.column for one in evidence.proof.groups}:
        return [Text(words("who.unproven"), quiet=True)]
    rows = evidence.segments(column, money.per_unit, money.what_if)
    known, config = money.what_if.unit_value is not None, money.run.config.report
    table = segment_table(
        Segments(title=column, rows=rows, treatments=evidence.treatments, known=known), value=config.value_unit,
        money=config.money, head=config.head, level=0.95,
    )  # fmt: skip
    return [
        Table(columns=table.columns, rows=table.rows, title=words("who.evidence")), Text(words("who.evidence.how"), quiet=True)
    ]  # fmt: skip


def _differs_most(rows: Sequence[SegmentRow], treatments: Sequence[str], column: str) -> str:
    """Returns a sentence about the treatment whose share differs most between groups."""
    j = max(range(len(treatments)), key=lambda k: max(row.given[k] for row in rows) - min(row.given[k] for row in rows))
    most, least = (choose(rows, key=lambda row: row.given[j]) for choose in (max, min))
    if most.given[j] == least.given[j]:
        return f"On held-out rows, all groups of {column} get the same mix of treatments."
    return (
        f"On held-out rows, {treatments[j]!r} goes to {percent(most.given[j])} where {column} is {most.name!r}, and to "
        f"{percent(least.given[j])} where it is {least.name!r}."
    )


def _of_trial(money: Money, query: Query) -> View:
    """Returns the page of a run without units: what the held-out rows say."""
    assert money.evidence is not None
    names = tuple(one.column for one in money.evidence.proof.groups)
    if not names:
        return View(headline=words("who.alike"), fields=money_fields(money))
    column = query.choice("column", names, names[0])
    field = Field(
        name="column", label=words("who.column"), kind="choice", value=column, options=tuple((n, n) for n in names)
    )
    rows = money.evidence.segments(column, money.per_unit, money.what_if)
    treatments = money.evidence.treatments
    table = MixTable(
        title=column,
        labels=tuple(one.name for one in rows),
        treatments=treatments,
        shares=tuple(one.given for one in rows),
    )

    def figure() -> Any:
        from largesse.report.charts import mix_chart

        return mix_chart(table)

    chart = Chart(
        name="who", label=f"Share of each treatment by {column}", figure=figure, title=words("who.mix"),
        caption=words("who.mix.caption"),
    )  # fmt: skip
    return View(
        headline=_differs_most(rows, treatments, column),
        summary=(words("who.units"),), fields=(*money_fields(money), field),
        moving=(
            Key(tuple(zip(treatments, treatment_colours(len(treatments)), strict=True))), Drawn(chart, mix_table(table)),
            *_evidence(money, column),
        ),
        document=plain({"run": money.run.name, "column": column, "groups": rows}),
    )  # fmt: skip
