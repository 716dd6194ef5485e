"""The page Rules: what caps, floors, budgets of groups and eligibility cost, and which of them costs most."""

from __future__ import annotations

from dataclasses import replace
from math import isclose
from typing import Any

from largesse._check import written
from largesse.commands.run_folder import safety_of
from largesse.commands.studio.rules import UnitRules
from largesse.config.rules import RulesFile
from largesse.errors import InfeasibleRules, LargesseError
from largesse.menu import PlanTotals
from largesse.policy.deployed import Allocation
from largesse.report.blocks import Badge, Block, Bullets, Text, Tone
from largesse.report.numbers import count, number, percent
from largesse.report.plans import SHADOW_PRICE, costliest, rule_cost_table
from largesse.report.table import rule_table, treatment_table
from largesse.result import plain
from largesse.web.opened import Opened, Studio
from largesse.web.pages.money import Money, money_fields, of_query, plain_number, run_of, without_options
from largesse.web.pages.rule_fields import canonical, exclusions, form_fields, rules_of_query
from largesse.web.query import Query
from largesse.web.view import Drawn, Field, Reading, View
from largesse.web.words import words

__all__ = ["PATH", "rules_of_units", "view"]

PATH = "/rules"
_CONFLICT, _REFUSED = Badge("cannot hold", Tone.BAD), Badge("not valid", Tone.BAD)


def view(studio: Studio, query: Query) -> View:
    """Returns the page.

    Raises:
        LargesseError: The budget or an assumption breaks a rule; what a rule breaks is on the page.
    """
    if run_of(studio, query).population is None:
        return View(headline=words("rules.no_units"), action=words("rules.no_units.do"))
    money = of_query(studio, Query([pair for pair in query.pairs if pair[0] != "cost"]))
    desk = rules_of_units(money.run)
    fields = (*_money_fields(money, query), *form_fields(
        query, desk, money=money.money, value=money.value, head=money.head, pays=_pays(money)
    ))  # fmt: skip
    try:
        file = rules_of_query(query, desk)
        with money.run.lock:
            free = desk.plan(RulesFile(), money.budget, safety=money.safety, unit_value=money.what_if.unit_value)
            ruled = desk.plan(file, money.budget, safety=money.safety, unit_value=money.what_if.unit_value)
    except InfeasibleRules as error:
        return _conflict(error, money, fields, query, desk)
    except LargesseError as error:
        return View(headline=str(error), badge=_REFUSED, fields=fields, action=words("rules.correct"))
    return _shown(money, query, desk, file, free, ruled, fields)


def rules_of_units(run: Opened) -> UnitRules:
    """Returns the units of a run under rules; made once."""
    with run.lock:
        assert run.population is not None
        made: UnitRules = run.__dict__.get("rules") or UnitRules(run.population)
        run.__dict__["rules"] = made
        return made


def _money_fields(money: Money, query: Query) -> tuple[Field, ...]:
    """Returns the fields of money without that of costs: rules are amounts of money, and `allocate` knows no other costs."""
    kept = [
        Field(name=name, label="", value=query.text(name), kind="hidden")
        for name in ("cost", "run")
        if query.text(name)
    ]
    return (*(one for one in money_fields(money) if one.name != "cost"), *kept)


def _pays(money: Money) -> str:
    m = money.what_if.unit_value
    return "" if m is None else words("rules.back.help", money=money.money, value=money.value, pays=number(1 / m))


def _shown(
    money: Money, query: Query, desk: UnitRules, file: RulesFile, free: Allocation[PlanTotals],
    ruled: Allocation[PlanTotals], fields: tuple[Field, ...],
) -> View:  # fmt: skip
    """Returns the page of rules that hold together."""
    some, moving = not file.empty, _excluded(query, desk)
    if some:
        moving += [
            rule_cost_table(free, ruled, value=money.value, money=money.money, head=money.head),
            Text(words("rules.level"), quiet=True),
            replace(rule_table(ruled.plan.rules), title=words("rules.used")), Text(_how(money, ruled), quiet=True),
        ]  # fmt: skip
    else:
        moving.append(treatment_table(free.plan.mix, of=f"{money.head.capitalize()}s"))
    return View(
        headline=_headline(money, free, ruled, some), summary=_summary(money, query, ruled, some),
        action=_action(money, ruled), readings=_readings(money, free, ruled), moving=tuple(moving), fields=fields,
        links=_links(money, query, desk, some), rules=_download(file, money), document=_document(money, file, free, ruled),
    )  # fmt: skip


def _how(money: Money, ruled: Allocation[PlanTotals]) -> str:
    sure = "" if ruled.safety is None else words("rules.sure", percent=f"{100 * ruled.safety:g} %") + " "
    return f"{sure}{words('rules.shadow', value=money.value)} {SHADOW_PRICE}"


def _headline(money: Money, free: Allocation[PlanTotals], ruled: Allocation[PlanTotals], some: bool) -> str:
    assert free.brought is not None
    assert ruled.brought is not None
    before, now = free.brought, ruled.brought
    if not some:
        return (
            f"There are no rules yet. Without any, {number(money.budget)} {money.money} are expected to bring "
            f"{number(before.value, sign=True)} {money.value} beyond giving nobody anything. Set a limit to see what it costs."
        )
    if ruled.plan.counts.tolist() == free.plan.counts.tolist() and isclose(now.value, before.value, rel_tol=1e-9):
        return "The rules cost nothing: what the budget alone gives breaks none of them."
    less, verb = before.value - now.value, "cost" if before.value >= now.value else "bring"
    net = ""
    if before.net is not None and now.net is not None:
        lost = before.net - now.net
        if verb == "cost" and lost >= 0:
            net = f", {number(lost)} {money.money} net"
        else:
            net = f", and leave {number(abs(lost))} {money.money} {'less' if lost > 0 else 'more'} after the cost"
    return (
        f"The rules {verb} {number(abs(less))} {money.value}{net}: {number(now.value, sign=True)} instead of "
        f"{number(before.value, sign=True)} {money.value} beyond control, for {number(ruled.spend.mean)} instead of "
        f"{number(free.spend.mean)} {money.money}."
    )


def _summary(money: Money, query: Query, ruled: Allocation[PlanTotals], some: bool) -> tuple[str, ...]:
    out = []
    if some and ruled.safety is not None:
        out.append(words("rules.safety"))
    if query.text("cost") not in ("", "100"):
        out.append(words("rules.cost"))
    return (*out, *map(without_options, ruled.notes))


def _action(money: Money, ruled: Allocation[PlanTotals]) -> str:
    """Returns a sentence on the rule that costs most."""
    worst = costliest(ruled.plan.rules[1:])  # the first is the budget
    if worst is None:
        return ""
    m = money.what_if.unit_value
    per = f"one {money.money} more" if worst.of_spend else "one more"
    gain = f"{number(worst.price)} {money.value}" + ("" if m is None else f" ({number(m * worst.price)} {money.money})")
    loose = "one less" if " at least " in worst.rule and not worst.of_spend else per
    return f"The rule that costs most is “{worst.rule}”: {loose} would bring {gain}. Check whether it must be so tight."


def _readings(money: Money, free: Allocation[PlanTotals], ruled: Allocation[PlanTotals]) -> tuple[Reading, ...]:
    assert free.brought is not None
    assert ruled.brought is not None
    before, now, unit = free.brought, ruled.brought, money.money
    treated = ruled.plan.n - int(ruled.plan.counts[0])
    return (
        Reading(f"Expected spend, {unit}", number(ruled.spend.mean), f"{number(free.spend.mean)} without rules"),
        Reading(f"Extra {money.value}", number(now.value, sign=True), f"{number(before.value, sign=True)} without rules"),
        *((Reading(f"Net {unit}", number(now.net, sign=True), f"{number(before.net, sign=True)} without rules"),)
          if now.net is not None and before.net is not None else ()),
        Reading("Treated", percent(treated / ruled.plan.n), f"{count(treated)} of {count(ruled.plan.n)}"),
    )  # fmt: skip


def _excluded(query: Query, desk: UnitRules) -> list[Block | Drawn]:
    some = exclusions(query, desk)
    if not some:
        return []
    return [Bullets(tuple(f"{one.treatment!r} is not for units with {one.column} {one.group!r}." for one in some))]


def _links(money: Money, query: Query, desk: UnitRules, some: bool) -> tuple[tuple[str, str], ...]:
    kept = exclusions(query, desk)
    whole = canonical(query, kept)
    out = [(words("rules.download"), whole.address(PATH, form="toml"))] if some else []
    out += [
        (words("rules.allow", treatment=one.treatment, column=one.column, group=one.group),
         canonical(query, [other for other in kept if other != one]).address(PATH))
        for one in kept
    ]  # fmt: skip
    if some:
        carried = [pair for pair in query.pairs if pair[0] in ("run", "budget", "value", "cost", "safety")]
        out.append((words("rules.clear"), Query(carried).address(PATH)))
    return tuple(out)


def _download(file: RulesFile, money: Money) -> str:
    """Returns the rules as a file that `allocate --rules` reads."""
    if file.empty:
        return ""
    chosen = safety_of(money.run.config, money.safety)
    sure = "--on-average" if chosen is None else f"--safety {chosen:g}"
    budget = plain_number(money.budget)
    return (
        f"{words('rules.file', budget=budget, sure=sure)}\n{file.dump()}\n\n"
        f"{words('rules.file.plan')}\n# [[spend]]\n# at_most = {budget}\n"
    )


def _document(
    money: Money, file: RulesFile, free: Allocation[PlanTotals], ruled: Allocation[PlanTotals]
) -> dict[str, Any]:
    """Returns the numbers behind the page, as `allocate --rules` gives them."""

    def numbers(one: Allocation[PlanTotals]) -> dict[str, Any]:
        return {"spend": one.spend, "value": one.value, "brought": one.brought, "mix": one.plan.mix, "price": one.price,
                "rules": one.plan.rules, "planned_spend": one.planned_spend}  # fmt: skip

    return plain({
        "run": money.run.name, "budget": money.budget, "safety": ruled.safety, "rules": file.dump(),
        "without": numbers(free), "under": numbers(ruled),
    })  # fmt: skip


def _conflict(error: InfeasibleRules, money: Money, fields: tuple[Field, ...], query: Query, desk: UnitRules) -> View:
    """Returns the page of rules that cannot hold together."""
    named = [f"“{one}”" for one in error.rules]
    budget = f"spend at most {written(money.budget)}"
    ways = []
    if any(" at most " in one and not one.startswith("spend at most") for one in error.rules):
        ways.append("raise a maximum")
    if any(" at least " in one for one in error.rules):
        ways.append("lower a minimum")
    if any(one.startswith("spend at most") for one in error.rules):
        ways.append(f"give a larger budget than {number(money.budget)} {money.money}")
    how = ", or ".join(ways) if ways else "loosen one of them"
    if len(named) == 1:
        headline = f"No allocation obeys {named[0]}."
    else:
        headline = f"These {len(named)} rules cannot hold together: {'; '.join(named[:-1])}; and {named[-1]}."
    summary = () if error.proven else (words("rules.unproven"),)
    return View(
        headline=headline, badge=_CONFLICT, summary=summary, action=f"{how[0].upper()}{how[1:]}.", fields=fields,
        moving=tuple(_excluded(query, desk)), links=_links(money, query, desk, True)[1:],
        document=plain({"run": money.run.name, "budget": budget, "conflict": error.rules, "proven": error.proven}),
    )  # fmt: skip
