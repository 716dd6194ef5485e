"""The page Budget: what a budget buys, whether that pays, and what other budgets would."""

from __future__ import annotations

from math import isnan
from typing import Any

from largesse.commands.proof_rules import POLICY
from largesse.commands.run_folder import safety_of
from largesse.commands.studio.evidence import AtBudget
from largesse.errors import LargesseError
from largesse.evaluate.comparison import BEST_MIX
from largesse.evaluate.returns import PayVerdict, ReturnRow
from largesse.menu import PlanTotals
from largesse.policy.deployed import Allocation
from largesse.report.blocks import Chart, Column, Row, Table, Text
from largesse.report.figures import band_chart
from largesse.report.numbers import between, interval, number, percent, places, resting
from largesse.report.pays import BADGES, Pay, PayRow, limits, pay_table
from largesse.report.slide import Curve
from largesse.report.table import treatment_table
from largesse.result import plain
from largesse.web.opened import Studio
from largesse.web.pages.money import Money, money_fields, of_query, plain_number, planned_of, scaled, without_options
from largesse.web.query import Query
from largesse.web.view import Drawn, Field, Reading, Shown, View
from largesse.web.words import words

__all__ = ["PATH", "view"]

PATH = "/budget"


def view(studio: Studio, query: Query) -> View:
    """Returns the page.

    Raises:
        LargesseError: A parameter breaks a rule, or the budget is below the cheapest allocation.
    """
    money = of_query(studio, query)
    planned = None if money.units is None else planned_of(money)
    shown = None if money.evidence is None else money.evidence.at(money.per_unit, money.what_if)
    moving: list[Shown] = []
    if planned is not None:
        moving.append(treatment_table(planned.plan.mix, of=f"{money.head.capitalize()}s"))
    if shown is not None:
        moving.append(_evidence_table(money, shown))
        moving.append(Text(_HOW if shown.verdict is None else f"{_HOW} {_ALONE}", quiet=True))
    kept, fields = _kept(studio, query, money)
    moving += kept
    return View(
        headline=_headline(money, planned, shown),
        badge=None if shown is None or shown.verdict is None else BADGES[shown.verdict],
        summary=_summary(money, planned, shown), action=_action(money, shown),
        readings=_readings(money, planned, shown), moving=tuple(moving),
        fixed=tuple(_along(money)), fields=(*money_fields(money), *fields), links=_links(query, money),
        mark=money.per_unit, curve=_curve(money), document=_document(money, planned, shown),
    )  # fmt: skip


_HOW = (
    "On held-out rows of the trial, against giving nobody anything. In brackets: the interval, and the effective number of "
    "events that it rests on."
)
_ALONE = (
    "The verdict is of this budget alone: one that is chosen because its number is the highest looks better than it is."
)


def _headline(money: Money, planned: Allocation[PlanTotals] | None, shown: AtBudget | None) -> str:
    unit, head = money.money, money.head
    if planned is not None:
        got = scaled(planned, money.what_if)
        left = "" if got.net is None else f" and leave {number(got.net, sign=True)} {unit} after its cost"
        return (
            f"{number(money.budget)} {unit} for {planned.n:,} {head}s are expected to bring {number(got.value, sign=True)} "
            f"{money.value} beyond giving nobody anything{left}."
        )
    assert shown is not None
    return f"On held-out rows, {number(money.budget)} {unit} per {head} {_left(money, shown.policy)}."


def _left(money: Money, row: ReturnRow) -> str:
    """Returns what is left at a budget, as the end of a sentence."""
    per = f"per {money.head}"
    if isnan(row.value):
        return "cannot be kept by this policy: its cheapest allocation costs more"
    if isnan(row.net):
        return f"bring {interval(row.value, row.value_low, row.value_high, sign=True)} {money.value} {per}"
    return f"leave {interval(row.net, row.net_low, row.net_high, sign=True)} {money.money} {per} after its cost"


def _summary(money: Money, planned: Allocation[PlanTotals] | None, shown: AtBudget | None) -> tuple[str, ...]:
    out = []
    if planned is not None and shown is not None:
        out.append(
            f"Held-out rows of the trial: {number(money.per_unit)} {money.money} per {money.head} {_left(money, shown.policy)}."
        )
    if shown is not None and not isnan(shown.difference):
        ends = resting(shown.low, shown.high, shown.events, decimals=places([(shown.high - shown.low) / 2]), sign=True)
        digits = places([(shown.high - shown.low) / 2])
        sure = "more than" if shown.low > 0 else "less than" if shown.high < 0 else "no clear difference from"
        out.append(
            f"Targeting against the best untargeted policy for the same money: "
            f"{number(shown.difference, decimals=digits, sign=True)} {money.value} per {money.head} ({ends}): {sure} it."
        )
    if planned is not None and shown is not None:
        out += _differs(money, scaled(planned, money.what_if).value / planned.n, shown.policy)
    if planned is not None and money.what_if.cost == 1:  # they name money of the trial
        out += map(without_options, planned.notes)
    return tuple(out)


def _differs(money: Money, expected: float, row: ReturnRow) -> tuple[str, ...]:
    """Returns a sentence where the plan expects something else than the held-out rows show."""
    if not (expected < row.value_low or expected > row.value_high):
        return ()
    more = "more" if expected > row.value_high else "less"
    digits = places([(row.value_high - row.value_low) / 2])
    plan, ends = (
        number(expected, decimals=digits, sign=True),
        between(row.value_low, row.value_high, decimals=digits, sign=True),
    )
    return (
        f"The plan expects {more} than the held-out rows show: {plan} {money.value} per {money.head}, where they show {ends}. It "
        f"is calibrated on other and fewer rows, and these {money.head}s may differ from those of the trial. Trust the held-out "
        "rows for what the policy brings.",
    )


def _action(money: Money, shown: AtBudget | None) -> str:
    """Returns what to do with the budget, by its verdict and by the budgets that pay."""
    if shown is None or shown.verdict is None or money.evidence is None:
        return ""
    turning, unit = money.evidence.turning(money.what_if), f"{money.money} per {money.head}"
    if shown.verdict is PayVerdict.NOT_SHOWN and turning is not None:
        if 0 < turning.low < money.per_unit:
            return words("budget.less", budget=f"{number(turning.low)} {unit}")
        key = "budget.around" if turning.best > 0 else "budget.nothing"
        return words(key, budget=f"{number(turning.best)} {unit}")
    return words(f"budget.{shown.verdict.name.lower()}")


def _readings(money: Money, planned: Allocation[PlanTotals] | None, shown: AtBudget | None) -> tuple[Reading, ...]:
    unit, head, value, m = money.money, money.head, money.value, money.what_if.unit_value
    if planned is None:
        assert shown is not None
        row = shown.policy
        treated = 1 - shown.shares[0]
        return (
            Reading(f"Extra spend, {unit} per {head}", number(row.spend)),
            Reading(f"Extra {value} per {head}", number(row.value, sign=True), between(row.value_low, row.value_high, sign=True)),
            *((Reading(f"Net {unit} per {head}", number(row.net, sign=True), between(row.net_low, row.net_high, sign=True)),
               Reading(f"Back per {unit} spent", number(row.per_spend), between(row.per_spend_low, row.per_spend_high)))
              if m is not None else
              (Reading(f"{unit} per extra {value}", number(row.per_value), between(row.per_value_low, row.per_value_high)),)),
            *_next_brings(money, shown.price), Reading("Treated", percent(treated)),
        )  # fmt: skip
    got, treated = scaled(planned, money.what_if), planned.n - int(planned.plan.counts[0])
    back = (m or 1.0) * got.value / got.cost if got.cost > 0 else float("nan")
    per = f"Back per {unit} spent" if m is not None else f"Extra {value} per {unit} spent"
    return (
        Reading(f"Expected spend, {unit}", number(got.spend), between(got.spend_low, got.spend_high)),
        Reading(f"Extra {value}", number(got.value, sign=True), f"{interval(*planned.value)} with control's"),
        *((Reading(f"Net {unit}", number(got.net, sign=True)),) if got.net is not None else ()),
        Reading(per, "–" if isnan(back) else number(back)), *_next_brings(money, planned.price / money.what_if.cost),
        Reading("Treated", percent(treated / planned.n), f"{treated:,} of {planned.n:,}"),
    )  # fmt: skip


def _next_brings(money: Money, price: float) -> tuple[Reading, ...]:
    """Returns what one more unit of money brings, by the model: the shadow price λ, in money where that is known."""
    if isnan(price):
        return ()
    m = money.what_if.unit_value
    if m is None:
        return (Reading(f"The next {money.money} brings, {money.value}", number(price), "by the model"),)
    return (Reading(f"The next {money.money} brings back, {money.money}", number(m * price), "by the model"),)


def _evidence_table(money: Money, shown: AtBudget) -> Table:
    label = f"{number(money.per_unit)} {money.money} per {money.head}"
    rows = (
        PayRow(budget_label=label, returns=shown.policy, verdict=shown.verdict),
        PayRow(budget_label=label, returns=shown.untargeted),
    )
    config = money.run.config.report
    return pay_table(
        Pay(rows=rows, known=money.what_if.unit_value is not None), value=config.value_unit, money=config.money,
        head=config.head, level=0.95, ours=POLICY,
    )  # fmt: skip


# ---- along all budgets


def _curve(money: Money) -> Curve | None:
    """Returns what the policy brings along all budgets, on held-out rows, and the best untargeted one beside it."""
    evidence, what_if = money.evidence, money.what_if
    if evidence is None:
        return None
    ours, theirs = evidence.along(what_if)
    net, unit = what_if.unit_value is not None, f"{money.money} per {money.head}"
    ends = [(r.net, r.net_low, r.net_high) if net else (r.value, r.value_low, r.value_high) for r in ours]
    y, low, high = zip(*ends, strict=True)
    return Curve(
        x=[row.budget for row in ours], y=y, low=low, high=high, other=[r.net if net else r.value for r in theirs],
        names=("policy", BEST_MIX), x_title=f"Budget, {unit}", mark=money.per_unit,
        y_title=f"Net {unit}" if net else f"Extra {money.value} per {money.head}",
    )  # fmt: skip


def _along(money: Money) -> list[Shown]:
    curve, evidence = _curve(money), money.evidence
    if evidence is None or curve is None:
        return []
    line, config, y_title = evidence.line(), money.run.config.report, curve.y_title
    ends = list(zip(curve.y, curve.low, curve.high, strict=True))
    digits = places((high - low) / 2 for _, low, high in ends)
    table = Table(
        columns=(
            Column(curve.x_title), Column(f"{y_title}: policy"), Column("95 % interval", quiet=True), Column(BEST_MIX),
        ),
        rows=tuple(
            Row((number(at), number(y, decimals=digits, sign=True), between(low, high, decimals=digits, sign=True),
                 number(flat, decimals=digits, sign=True)))
            for at, (y, low, high), flat in zip(curve.x, ends, curve.other, strict=True)
        ),
    )  # fmt: skip

    def figure() -> Any:
        return band_chart(curve.x, {"policy": ends}, {BEST_MIX: curve.other}, curve.x_title, y_title)

    caption = "On held-out rows. The line marks the budget above; the coloured band is the 95 % interval."
    label = f"{y_title} by budget: the policy with its 95 % interval, and the best untargeted policy"
    chart = Chart(name="along", label=label, figure=figure, title="All budgets", caption=caption)
    turning = evidence.turning(money.what_if)
    sentences = () if turning is None else limits(turning, config.money, config.head, line.level)
    return [Drawn(chart, table, marked=True), *(Text(sentence) for sentence in sentences)]


# ---- scenarios that are kept


def _kept(studio: Studio, query: Query, money: Money) -> tuple[list[Shown], tuple[Field, ...]]:
    """Returns the table of the scenarios that the address keeps, and the fields that keep them in it."""
    kept = query.all("keep")
    if not kept:
        return [], ()
    rows = []
    for k, one in enumerate(kept):
        rows.append(Row((f"{k + 1}", *_scenario(studio, query, one))))
    unit, head = money.money, money.head
    known = money.what_if.unit_value is not None
    columns = (
        Column("", words=True), Column(f"Budget, {unit}"), Column(words("safety"), words=True), Column("Value of one"),
        Column("Costs, %"), Column(f"Extra {money.value}"), Column(f"Net {unit}"),
        Column(f"Held-out rows: {'net' if known else 'extra'} per {head}"),
        Column("95 % interval", quiet=True), Column("Verdict", words=True),
    )  # fmt: skip
    table = Table(columns=columns, rows=tuple(rows), title="Side by side")
    hidden = tuple(Field(name="keep", label="", value=one, kind="hidden") for one in kept)
    return [table], (Field(name="run", label="", value=money.run.name, kind="hidden"), *hidden)


def _scenario(studio: Studio, query: Query, text: str) -> tuple[Any, ...]:
    budget, value, cost, safety = [*text.split(";"), "", "", ""][:4]
    pairs = [("run", query.text("run")), ("budget", budget), ("value", value), ("cost", cost), ("safety", safety)]
    try:
        money = of_query(studio, Query(pairs))
        planned = None if money.units is None else planned_of(money)
        shown = None if money.evidence is None else money.evidence.at(money.per_unit, money.what_if)
    except LargesseError as error:
        return (budget, str(error), *("" for _ in range(7)))
    got = None if planned is None else scaled(planned, money.what_if)
    row, dash = None if shown is None else shown.policy, "–"
    known = money.what_if.unit_value is not None
    ends = (
        None
        if row is None
        else (row.net, row.net_low, row.net_high)
        if known
        else (row.value, row.value_low, row.value_high)
    )
    sure = words("safety.average") if money.safety is None else dash if money.units is None else str(money.safety)
    return (
        number(money.budget), sure, dash if money.what_if.unit_value is None else number(money.what_if.unit_value),
        number(100 * money.what_if.cost), dash if got is None else number(got.value, sign=True),
        dash if got is None or got.net is None else number(got.net, sign=True),
        dash if ends is None else number(ends[0], sign=True), dash if ends is None else between(*ends[1:], sign=True),
        dash if shown is None or shown.verdict is None else BADGES[shown.verdict],
    )  # fmt: skip


def _links(query: Query, money: Money) -> tuple[tuple[str, str], ...]:
    safety = "average" if money.safety is None else str(money.safety)
    this = f"{plain_number(money.budget)};{query.text('value')};{query.text('cost')};{safety}"
    out = [(words("keep"), query.with_more(PATH, "keep", this)), *_where_one_comes_back(query, money)]
    if query.all("keep"):
        out.append((words("forget"), query.address(PATH, keep=None)))
    return tuple(out)


def _where_one_comes_back(query: Query, money: Money) -> list[tuple[str, str]]:
    """Returns the link to the budget at which the next unit of money brings back one, by the model."""
    inner = money.what_if.inner
    if money.units is None or inner is None:
        return []
    budget = money.units.budget_at(1 / inner, safety_of(money.run.config, money.safety)) * money.what_if.cost
    shown = words("budget.one", money=money.money, budget=number(budget))
    return [(shown, query.address(PATH, budget=plain_number(budget)))]


def _document(money: Money, planned: Allocation[PlanTotals] | None, shown: AtBudget | None) -> dict[str, Any]:
    """Returns the numbers behind the page, as `allocate` and the proof of the run give them, in the trial's money."""
    return plain({
        "run": money.run.name, "budget": money.budget, "per_unit": money.per_unit, "what_if": money.what_if,
        "allocation": None if planned is None else {
            "units": planned.n, "price": planned.price, "spend": planned.spend, "value": planned.value,
            "brought": planned.brought, "mix": planned.plan.mix, "planned_spend": planned.planned_spend,
        },
        "held_out": shown,
    })  # fmt: skip
