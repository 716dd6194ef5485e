"""The page Unit: what one unit gets and why, what would change that, and what evidence the model has near it."""

from __future__ import annotations

from math import isfinite, isnan
from typing import Any, NamedTuple

from largesse.commands.run_folder import rules_of_run, safety_of
from largesse.commands.studio.near import Near, near
from largesse.commands.studio.unit import Choice, UnitPlan, budget_at, member_menus, unit_plan
from largesse.errors import DataError
from largesse.menu import Menu
from largesse.report.blocks import Badge, Block, Chart, Column, Row, Table, Text, Tone
from largesse.report.figures import signed_bars
from largesse.report.numbers import UNKNOWN, between, count, number
from largesse.result import plain
from largesse.web.opened import Studio
from largesse.web.pages.money import Money, money_fields, of_query
from largesse.web.pages.unit_fields import Named, encoder_of, feature_fields, lookup_fields, named
from largesse.web.query import Query
from largesse.web.view import Drawn, Field, Reading, View
from largesse.web.words import words

__all__ = ["PATH", "view"]

PATH = "/unit"
_REFUSED, _UNKNOWN = Badge("not valid", Tone.BAD), Badge("no such unit", Tone.MIND)


class _Answer(NamedTuple):
    """What the page says of a unit, in the money of the page.

    Attributes:
        who: The unit.
        name: It in words, e.g. ``"user 'u7'"``.
        plan: What it gets, with the costs of the trial.
        notes: What the model does with labels that it does not know.
        near: What evidence there is near it.
        members: Number of members of the model.
    """

    who: Named
    name: str
    plan: UnitPlan
    notes: tuple[str, ...]
    near: Near
    members: int


def view(studio: Studio, query: Query) -> View:
    """Returns the page.

    Raises:
        LargesseError: An assumption breaks a rule, or the budget is out of reach.
    """
    money = of_query(studio, query)
    encoder = encoder_of(money.run.encoder)
    who = named(query, money.units, encoder)
    fields = (
        *lookup_fields(query, who, money.units, money.head), *_of_money(money, query), *feature_fields(who, encoder)
    )  # fmt: skip
    if who.problem and who.empty:
        return View(headline=who.problem, badge=_UNKNOWN, action=words("unit.unknown.do"), fields=fields)
    if who.empty:
        return View(headline=words("unit.start", head=money.head), fields=fields, links=_example(money, query))
    try:
        answer = _answered(money, who)
    except DataError as error:
        return View(headline=str(error), badge=_REFUSED, action=words("unit.correct"), fields=fields)
    return _shown(money, answer, fields)


def _of_money(money: Money, query: Query) -> tuple[Field, ...]:
    run = query.text("run")
    return (*money_fields(money), *([Field(name="run", label="", value=run, kind="hidden")] if run else []))


def _example(money: Money, query: Query) -> tuple[tuple[str, str], ...]:
    units = money.units
    if units is None:
        return ()
    first = "1" if units.unit is None else str(units.table.columns([units.unit]).column(0)[0].as_py())
    return ((words("unit.example", head=money.head, unit=first), query.address(PATH, unit=first, of=None)),)


def _answered(money: Money, who: Named) -> _Answer:
    """Returns the answer; raises DataError where a field is not what its column holds, or the budget is out of reach."""
    policy, encoder = money.run.policy, encoder_of(money.run.policy.encoder)
    with money.run.lock:
        table, cells, notes = who.cells(encoder)
        own = money.units if who.row is not None and not who.changed else None
        menu = policy.model.predict(encoder.transform(table)) if own is None else own.menu.take([who.row or 0])
        members = member_menus(policy, table)
        groups = () if money.evidence is None else money.evidence.proof.groups
        ranked = [row["title"] for row in money.run.metrics.get("segments_by_column", []) if isinstance(row, dict)]
        evidence = near(money.run.folder, encoder, cells, groups, ranked)
    name = f"{money.head} {who.unit!r}" if who.row is not None and not who.changed else f"this {money.head}"
    return _Answer(who, name, unit_plan(_plain(menu), _price(money), members), notes, evidence, len(members))


def _plain(menu: Menu) -> Menu:
    return Menu(value=menu.value, cost=menu.cost, treatments=menu.treatments)


def _price(money: Money) -> float:
    """Returns the shadow price of the budget, in value per unit of money of the trial."""
    if money.units is not None:
        return money.units.decide(money.budget / money.what_if.cost, safety_of(money.run.config, money.safety)).price
    assert money.evidence is not None
    price = money.evidence.at(money.per_unit, money.what_if).price
    if isnan(price):
        raise DataError.at("budget", f" == {number(money.budget)}: is out of reach of this policy. Give a larger one.")
    return price * money.what_if.cost


def _shown(money: Money, answer: _Answer, fields: tuple[Field, ...]) -> View:
    plan = answer.plan
    return View(
        headline=_headline(money, answer), summary=_summary(money, answer), readings=_readings(money, answer),
        moving=(_bars(money, answer), _menu(money, answer), Text(_members(answer), quiet=True)),
        fixed=tuple(_evidence(money, answer)), fields=fields,
        document=plain({
            "run": money.run.name, "unit": answer.who.unit, "changed": answer.who.changed, "budget": money.budget,
            "given": plan.choices[plan.given].treatment, "price": plan.price, "plan": plan, "evidence": answer.near,
        }),
    )  # fmt: skip


# ---- sentences


def _headline(money: Money, answer: _Answer) -> str:
    """Returns what the unit gets and why, in one sentence."""
    plan = answer.plan
    given = plan.choices[plan.given]
    name = f"{answer.name[:1].upper()}{answer.name[1:]}"
    if plan.given == 0:
        return f"{name} gets {given.treatment!r}, which is control: {_why_nothing(money, plan)}."
    return f"{name} gets {given.treatment!r}: {_why(money, plan)}."


def _why_nothing(money: Money, plan: UnitPlan) -> str:
    step = plan.next
    if step is None:
        return f"nothing else is predicted to bring it more {money.value}"
    f = money.what_if.cost
    return (
        f"{step.treatment!r}, the best value for money of the others, would bring {number(step.value)} {money.value} for "
        f"{number(step.cost * f)} {money.money}: {_slope(money, step.slope)}, below the price {number(plan.price / f)}"
    )


def _why(money: Money, plan: UnitPlan) -> str:
    given, f = plan.choices[plan.given], money.what_if.cost
    cost = f"for {number(given.extra_cost * f)} {money.money}" if given.extra_cost > 0 else "and costs nothing more"
    first = f"it is predicted to bring {number(given.extra)} {money.value} beyond {plan.choices[0].treatment!r} {cost}"
    step = plan.next
    if step is None:
        return f"{first}, and nothing else would bring more"
    return (
        f"{first}; the next step, {step.treatment!r}, would bring {number(step.value)} more for {number(step.cost * f)} "
        f"{money.money} more: {_slope(money, step.slope)}, below the price {number(plan.price / f)}"
    )


def _slope(money: Money, slope: float) -> str:
    return f"{number(slope / money.what_if.cost)} {money.value} per {money.money}"


def _summary(money: Money, answer: _Answer) -> tuple[str, ...]:
    plan, out = answer.plan, list(answer.notes)
    if answer.who.problem:
        out.insert(0, answer.who.problem)
    if answer.who.changed:
        some = ", ".join(answer.who.changed[:5]) + (", …" if len(answer.who.changed) > 5 else "")
        out.insert(0, words("unit.changed", unit=answer.who.unit, columns=some))
    if isfinite(plan.price):
        second, f = plan.choices[plan.runner_up], money.what_if.cost
        m = money.what_if.unit_value
        less = f"{number(plan.margin)} {money.value}" + (
            "" if m is None else f" ({number(m * plan.margin)} {money.money})"
        )
        out.append(
            f"At the price of {number(plan.price / f)} {money.value} per {money.money}, the second best is {second.treatment!r}: "
            f"its net value is {less} lower."
        )
    out += _changes(money, plan)
    if rules_of_run(money.run.folder) is not None:
        out.append(words("unit.rules"))
    out.append(_evidence_sentence(answer.near))
    return tuple(out)


def _changes(money: Money, plan: UnitPlan) -> list[str]:
    """Returns at which prices, and at which total budgets, the decision changes."""
    ways, f, units = [], money.what_if.cost, money.units
    for change, way in ((plan.dearer, "below"), (plan.cheaper, "above")):
        if change is None:
            continue
        at = f"{change.treatment!r} at a price {way} {number(change.price / f)}"
        if units is not None:
            more = "more" if way == "below" else "less"
            total = budget_at(units, change.price, money.safety) * f
            at += f", that is with a total budget of about {number(total)} {money.money} or {more}"
        ways.append(at)
    return [f"It would get {'; and '.join(ways)}."] if ways else ["It would get the same at any price."]


def _members(answer: _Answer) -> str:
    if answer.members:
        return words("unit.members", n=answer.members)
    return words("unit.no_members")


def _evidence_sentence(near_: Near) -> str:
    parts = []
    if near_.held_out and near_.main:
        parts.append(
            f"of {count(near_.held_out)} held-out rows of the trial, {count(near_.alike)} lie in the same groups of "
            f"{' and '.join(near_.main)}, the columns along which decisions differ most"
        )
    some = near_.outside
    if some:
        which = "; ".join(f"{one.column}: {one.outside}" for one in some[:3]) + ("; …" if len(some) > 3 else "")
        parts.append(f"the prediction goes beyond the trial in {len(some)} of {len(near_.columns)} columns ({which})")
    elif any(one.rows >= 0 or one.held_out >= 0 for one in near_.columns):
        parts.append("every value lies within what the trial had")
    text = "; ".join(parts) or words("unit.no_evidence")
    return f"{text[:1].upper()}{text[1:]}."


# ---- numbers


def _readings(money: Money, answer: _Answer) -> tuple[Reading, ...]:
    plan, f, m = answer.plan, money.what_if.cost, money.what_if.unit_value
    given = plan.choices[plan.given]
    net = None if m is None else m * given.extra - given.extra_cost * f
    return (
        Reading("Gets", given.treatment),
        Reading(f"Extra {money.value}, predicted", number(given.extra, sign=True), _range(given) if plan.given else ""),
        Reading(f"Extra {money.money} spent, predicted", number(given.extra_cost * f, sign=True)),
        *((Reading(f"Net {money.money}, predicted", number(net, sign=True)),) if net is not None else ()),
        Reading(f"Price, {money.value} per {money.money}", number(plan.price / f), "of the budget above"),
    )  # fmt: skip


def _range(one: Choice) -> str:
    return "" if isnan(one.low) else between(one.low, one.high, sign=True)


def _menu(money: Money, answer: _Answer) -> Table:
    plan, f, m = answer.plan, money.what_if.cost, money.what_if.unit_value
    columns = [
        Column("Treatment", words=True), Column(f"{money.value.capitalize()}, predicted"), Column(f"{money.money}, predicted"),
        Column(f"Extra {money.value}"), *([Column("Range of the members", quiet=True)] if answer.members else []),
        Column(f"Extra {money.money}"), Column(f"Net {money.value} at the price"),
        *([Column(f"Net {money.money}")] if m is not None else []), Column("Decision", words=True),
    ]  # fmt: skip
    rows = []
    for k, one in enumerate(plan.choices):
        note = "given" if k == plan.given else "second" if k == plan.runner_up else ""
        net = [] if m is None else [number(m * one.extra - one.extra_cost * f, sign=True)]
        cells = [
            one.treatment, number(one.value), number(one.cost * f), number(one.extra, sign=True),
            *([_range(one) or UNKNOWN] if answer.members else []), number(one.extra_cost * f, sign=True),
            number(one.net, sign=True), *net, note,
        ]  # fmt: skip
        rows.append(Row(tuple(cells), ours=k == plan.given))
    return Table(columns=tuple(columns), rows=tuple(rows), title=words("unit.menu"))


def _bars(money: Money, answer: _Answer) -> Drawn:
    plan = answer.plan
    finite = [one for one in plan.choices if isfinite(one.net)]
    title = f"Net {money.value} at the price"
    ends = None
    if answer.members:
        ends = {one.treatment: (one.net - one.extra + one.low, one.net - one.extra + one.high) for one in finite}

    def figure() -> Any:
        nets = {one.treatment: one.net for one in finite}
        return signed_bars(nets, "Treatment", title, marked=plan.choices[plan.given].treatment, ends=ends)

    columns = (Column("Treatment", words=True), Column(title), *([Column("Range of the members")] if ends else []))
    table = Table(
        columns=columns,
        rows=tuple(
            Row((one.treatment, number(one.net, sign=True), *([between(*ends[one.treatment], sign=True)] if ends else [])))
            for one in finite
        ),
    )  # fmt: skip
    chart = Chart(
        name="unit", label=f"{title} by treatment, against control; the highest bar is what {answer.name} gets", figure=figure,
        title=words("unit.bars"), caption=words("unit.bars.caption"),
    )  # fmt: skip
    return Drawn(chart, table)


def _evidence(money: Money, answer: _Answer) -> list[Block | Drawn]:
    columns = (
        Column("Column", words=True), Column("Value", words=True), Column("Trial rows: range", words=True),
        Column("Trial rows in it"), Column("Held-out rows alike"), Column("Note", words=True),
    )  # fmt: skip
    rows = tuple(
        Row((one.column, answer.who.text.get(one.column, "") or "missing", one.bin or UNKNOWN, _known(one.rows),
             _known(one.held_out), f"! {one.outside}" if one.outside else ""))
        for one in answer.near.columns
    )  # fmt: skip
    if all(one.rows < 0 and one.held_out < 0 for one in answer.near.columns):
        return []
    table = Table(columns=columns, rows=rows, title=words("unit.evidence"), folded=len(rows) > 12)
    return [table, Text(words("unit.evidence.how"), quiet=True)]


def _known(rows: int) -> str:
    return UNKNOWN if rows < 0 else count(rows)
