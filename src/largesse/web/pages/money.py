"""What several pages share about money: the run, the budget and the assumptions that an address names."""

from __future__ import annotations

from typing import NamedTuple

from largesse import _check
from largesse.commands.run_folder import Safety
from largesse.commands.studio.evidence import Evidence, WhatIf
from largesse.commands.studio.population import Population
from largesse.errors import DataError
from largesse.menu import PlanTotals
from largesse.policy.deployed import Allocation
from largesse.report.numbers import number
from largesse.web.opened import Opened, Studio
from largesse.web.query import Query
from largesse.web.view import Field
from largesse.web.words import words

__all__ = [
    "Money",
    "Scaled",
    "money_fields",
    "of_query",
    "plain_number",
    "planned_of",
    "run_of",
    "scaled",
    "without_options",
]

_STEPS = 200  # of the slider


class Money(NamedTuple):
    """The budget and the assumptions that an address names.

    Attributes:
        run: The run.
        units: The units that it is to decide; None: there are none.
        evidence: What its held-out rows say; None: it keeps none.
        what_if: Assumptions about money.
        safety: Probability of staying within the budget, as for `allocate_run`.
        budget: Total budget; per unit where there are no units.
        most: The largest amount of the slider.
        least: The smallest one.
    """

    run: Opened
    units: Population | None
    evidence: Evidence | None
    what_if: WhatIf
    safety: Safety
    budget: float
    most: float
    least: float

    @property
    def per_unit(self) -> float:
        """The budget per unit."""
        return self.budget if self.units is None else self.budget / self.units.n

    @property
    def money(self) -> str:
        """The unit of money, e.g. "EUR"; "money" where it is not declared."""
        return self.run.config.report.money or "money"

    @property
    def head(self) -> str:
        """What one unit is, e.g. "customer"."""
        return self.run.config.report.head

    @property
    def value(self) -> str:
        """The unit of value, e.g. "orders"."""
        return self.run.config.report.value_unit


def run_of(studio: Studio, query: Query) -> Opened:
    """Returns the run that an address names; the first one where it names none.

    Raises:
        DataError: There is no such run.
    """
    name = query.text("run", studio.first.name)
    if name not in studio.runs:
        raise _check.refuse("run", name, "is not open here", f"Open are {', '.join(map(repr, studio.runs))}.")
    return studio.runs[name]


def of_query(studio: Studio, query: Query) -> Money:
    """Returns budget and assumptions of an address.

    Raises:
        DataError: A number is out of its range, or the run can say nothing of any budget.
    """
    run = run_of(studio, query)
    units, evidence = run.population, run.evidence
    if units is None and evidence is None:
        raise DataError.at(
            "run", f" == {run.name!r}: was fitted by an earlier version and keeps no proof. Fit it again, or name the units: "
            "largesse studio RUN --units FILE.",
        )  # fmt: skip
    cost = query.number("cost", 100.0, low=1e-4, high=1e8) / 100
    what_if = WhatIf.of(run.config, query.optional("value"), cost)
    least, most = (units.least, units.most) if units is not None else (0.0, evidence.most if evidence else 0.0)
    budget = query.number("budget", _first(run, units, evidence, what_if))
    return Money(run, units, evidence, what_if, _safety(query), budget, most * cost, least * cost)


def _safety(query: Query) -> Safety:
    got = query.text("safety", "configured")
    if got in ("configured", "average"):
        return None if got == "average" else "configured"
    return query.number("safety", 0.95, low=0.5, high=0.9999)


def _first(run: Opened, units: Population | None, evidence: Evidence | None, what_if: WhatIf) -> float:
    """Returns the budget that is shown first: the one that the report leads with, of all units where there are any."""
    try:
        per_unit = float(run.metrics["lead"]["budget"])
    except (KeyError, TypeError, ValueError):
        per_unit = run.evidence.budgets[0] if evidence is not None and run.evidence is not None else 0.0
    budget = per_unit * what_if.cost * (1 if units is None else units.n)
    return float(_check.written(budget, 4).replace(",", ""))


def money_fields(money: Money, *, moving: bool = True) -> tuple[Field, ...]:
    """Returns the fields of budget and assumptions."""
    config, unit = money.run.config, f"{money.money} per {money.head}"
    declared = config.outcome.unit_value
    known = words("value.unknown") if declared is None else words("value.help", declared=number(declared))
    label = (
        words("budget.total", money=money.money) if money.units is not None else words("budget.per_unit", money=unit)
    )
    sure = config.budget.safety
    options = [("average", words("safety.average"))]
    if sure is not None:
        options.append(("configured", words("safety.sure", percent=f"{100 * sure:g} %")))
    options += [(f"{p:g}", words("safety.sure", percent=f"{100 * p:g} %")) for p in (0.8, 0.9, 0.95, 0.99) if p != sure]
    chosen = (
        "average" if money.safety is None else "configured" if money.safety == "configured" else f"{money.safety:g}"
    )
    if chosen == "configured" and sure is None:
        chosen = "average"
    step = (money.most - money.least) / _STEPS
    given = money.what_if.unit_value
    return (
        Field(
            name="budget", label=label, value=plain_number(money.budget), kind="amount", low=plain_number(money.least),
            high=plain_number(money.most), step=plain_number(step) if step > 0 else "any", moving=moving,
        ),
        Field(
            name="value", label=words("value", money=money.money), help=known,
            value="" if given is None or given == declared else plain_number(given),
        ),
        Field(
            name="cost", label=words("cost"), help=words("cost.help"),
            value="" if money.what_if.cost == 1 else plain_number(100 * money.what_if.cost),
        ),
        *(() if money.units is None else (
            Field(name="safety", label=words("safety"), kind="choice", value=chosen, options=tuple(options)),
        )),
    )  # fmt: skip


def plain_number(x: float) -> str:
    """Returns a number with six digits, without commas, for a field.

    >>> plain_number(12000.0), plain_number(0.1234567)
    ('12000', '0.123457')
    """
    return f"{x:.6g}" if abs(x) < 1e6 else f"{x:.0f}"


class Scaled(NamedTuple):
    """What an allocation is expected to cost and bring under the assumptions of the page, beyond control for everyone."""

    spend: float
    spend_low: float
    spend_high: float
    value: float
    cost: float
    net: float | None


def planned_of(money: Money) -> Allocation[PlanTotals]:
    """Returns the allocation of the units within the budget, in the money of the trial.

    Raises:
        InfeasibleBudget: The cheapest allocation costs more.
    """
    assert money.units is not None
    return money.units.allocate(
        money.budget / money.what_if.cost, safety=money.safety, unit_value=money.what_if.inner
    )  # fmt: skip


def scaled(planned: Allocation[PlanTotals], what_if: WhatIf) -> Scaled:
    """Returns spend and what is brought where all costs are those of the trial times a factor."""
    assert planned.brought is not None
    spend, brought, f = planned.spend, planned.brought, what_if.cost
    return Scaled(
        spend.mean * f, spend.low * f, spend.high * f, brought.value, brought.cost * f,
        None if brought.net is None else brought.net * f,
    )  # fmt: skip


def without_options(note: str) -> str:
    """Returns a note without the options of the command line, which the page has fields for."""
    for words_, instead in (
        (" (--on-average)", ""),
        ("; --safety sets levels between", ""),
        ("Without --budget", "Without a budget"),
    ):
        note = note.replace(words_, instead)
    return note
