"""Whether a campaign pays: returns at its budgets, the break-even budget, a verdict for each budget, and the headline."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, inf, isfinite, isnan, log10

import numpy as np
from numpy.typing import NDArray

from largesse.config import Config
from largesse.evaluate.break_even import BreakEven, break_even
from largesse.evaluate.comparison import BEST_MIX, Comparison
from largesse.evaluate.no_budget import NoBudget, verdicts_with_no_budget
from largesse.evaluate.returns import PayVerdict, ReturnRow, Returns, returns
from largesse.evaluate.segments import SegmentRow
from largesse.report.blocks import Table
from largesse.report.numbers import count, number, percent, places, resting
from largesse.report.pays import Frontier, Pay, PayRow, cost_between, limits, pay_table

__all__ = ["Payback", "pay", "payback", "remedies", "sentence", "smaller_pays", "table_of"]

_MOST = 100  # times the rows: a trial that is larger is no remedy
_UNLIMITED = "without a budget"
POWER = 2.8  # standard errors: 80 % power of a two-sided test at 5 %


@dataclass(frozen=True, slots=True, eq=False)
class Payback:
    """Whether the budgets of a campaign pay.

    Attributes:
        table: What the policy and the best untargeted one bring and cost at each budget.
        verdicts: One per budget; none where it is not known what one unit of value brings in money.
        turning: Budgets at which the campaign stops paying; None where that is not known.
        at: Position of the budget with the best support: of those to be spent, the one with the highest net value; of none,
            the one whose interval of the net value begins highest; the middle one where net values are not known.
        free: The same without a budget; None where that is not known, or nobody would get anything.
    """

    table: Returns
    verdicts: tuple[PayVerdict, ...]
    turning: BreakEven | None
    at: int
    free: NoBudget | None = None

    @property
    def verdict(self) -> PayVerdict | None:
        """The verdict on the budget with the best support."""
        return self.verdicts[self.at] if self.verdicts else None

    @property
    def unlimited(self) -> bool:
        """Whether the report leads with what is spent without a budget: it has more support than any budget, as for `at`."""
        if self.free is None or self.verdict is None:
            return False
        if self.free.verdict.spends or self.verdict.spends:
            return self.free.verdict.spends and not (self.verdict.spends and self._best.net >= self._free.net)
        return not isnan(self._free.net_low) and not self._best.net_low >= self._free.net_low

    @property
    def lead(self) -> PayVerdict | None:
        """The verdict that the report leads with."""
        return self.free.verdict if self.free is not None and self.unlimited else self.verdict

    @property
    def every(self) -> tuple[PayVerdict, ...]:
        """The verdicts on the budgets, and on no budget."""
        return self.verdicts if self.free is None else (*self.verdicts, self.free.verdict)

    @property
    def row(self) -> ReturnRow:
        """The policy or the best untargeted one, at the budget or without one: what the report leads with."""
        return self._free if self.unlimited else self._best

    @property
    def _best(self) -> ReturnRow:
        return self.table.of(BEST_MIX if self.verdict is PayVerdict.UNTARGETED else "policy")[self.at]

    @property
    def _free(self) -> ReturnRow:
        assert self.free is not None
        return self.free.untargeted if self.free.verdict is PayVerdict.UNTARGETED else self.free.policy


def payback(
    table: Comparison, line: Comparison | None, value_per_unit: float | None, policy: str,
    paying: NDArray[np.int32] | None = None,
) -> Payback:  # fmt: skip
    """Returns whether the budgets pay.

    Args:
        table: The comparison at the budgets.
        line: The same along the whole range of budgets; None: the budgets at which it stops paying are not looked for.
        value_per_unit: What one unit of value brings in money; None: not known.
        policy: Name of the policy.
        paying: Treatment that it gives each row without a budget, (N,); None: by its menu in the comparison.
    """
    made, middle = returns(table, value_per_unit=value_per_unit), len(table.budgets) // 2
    if value_per_unit is None:
        return Payback(made, (), None, middle)
    result, free = verdicts_with_no_budget(made, table, policy, paying)
    spent = [b for b, verdict in enumerate(result) if verdict.spends]
    rows = {PayVerdict.TARGETED: made.of(policy), PayVerdict.UNTARGETED: made.of(BEST_MIX)}
    own = rows[PayVerdict.TARGETED]
    reached = [b for b, row in enumerate(own) if not np.isnan(row.net)]
    at = middle
    if spent:
        at = max(spent, key=lambda b: rows[result[b]][b].net)
    elif reached:
        at = max(reached, key=lambda b: own[b].net_low)
    turning = None if line is None else break_even(line, policy, value_per_unit=value_per_unit)
    return Payback(made, result, turning, at, free)


def pay(
    result: Payback,
    labels: tuple[str, ...],
    config: Config,
    free: SegmentRow | None = None,
    frontier: Frontier | None = None,
) -> Pay:
    """Returns the section of the report.

    Args:
        result: The returns.
        labels: The budgets in words.
        config: The words for value and money.
        free: What the policy brings without a budget; None: not known.
        frontier: The policy along the whole range of budgets; None leaves the slider out.
    """
    rows = []
    for b, label in enumerate(labels):
        for name in ("policy", BEST_MIX):
            verdict = result.verdicts[b] if result.verdicts and name == "policy" else None
            rows.append(PayRow(budget_label=label, returns=result.table.of(name)[b], verdict=verdict))
    if result.free is not None:
        shown = [row for row in (result.free.policy, result.free.untargeted) if not isnan(row.net)]
        rows += [
            PayRow(budget_label=_UNLIMITED, returns=row, verdict=None if k else result.free.verdict)
            for k, row in enumerate(shown)
        ]
    known = result.table.value_per_unit is not None
    sentences: tuple[str, ...] = ()
    if not known:
        sentences = (
            f"What one unit of value{_named(config)} brings in money is not declared (outcome.value_per_unit), so "
            "this page does not say which budget pays: compare the cost of one, on the right, with what one brings.",
        )
    elif result.turning is not None:
        sentences = limits(result.turning, config.report.money, config.report.head, result.table.level)
    if free is not None:
        sentences = (*sentences, _free_sentence(free, config, result.table.level))
    return Pay(rows=tuple(rows), known=known, limits=sentences, frontier=frontier)


def _free_sentence(free: SegmentRow, config: Config, level: float) -> str:
    """Returns what `allocate` without a budget would bring by the rows of the proof."""
    unit, treated = _unit(config), 1 - free.given[0]
    if treated == 0:
        return (
            "Without a budget, the policy gives nobody anything: by its model, no treatment brings back what it costs."
        )
    digits = places([(free.net_high - free.net_low) / 2])
    ends = resting(free.net_low, free.net_high, free.events, decimals=digits, sign=True)
    return (
        f"Without a budget (largesse allocate without --budget), everybody gets what pays by the model: {percent(treated)} are "
        f"treated, the policy spends {number(free.spend)} {unit} more than doing nothing and leaves "
        f"{number(free.net, decimals=digits, sign=True)} {unit} after its cost ({percent(level)} interval {ends})."
    )


def table_of(result: Payback, labels: tuple[str, ...], config: Config) -> Table:
    """Returns the table of the section, for the terminal."""
    words = config.report
    return pay_table(
        pay(result, labels, config), value=words.value_unit, money=words.money, head=words.head,
        level=result.table.level, ours="policy",
        brief=True,
    )  # fmt: skip


def sentence(result: Payback, config: Config) -> str:
    """Returns the first sentence of the report: which budget to spend and what it leaves, or what the value costs."""
    if result.lead is None:
        return _cost_sentence(result, config)
    if result.lead.spends:
        return _spend_sentence(result, config)
    row, unit = result.row, _unit(config)
    if isnan(row.net):
        return "Spend nothing yet: no budget is shown to pay."
    if smaller_pays(result):
        assert result.turning is not None
        return (
            f"None of these budgets is shown to pay, smaller ones are: the campaign is shown to bring back what it costs up to "
            f"{number(result.turning.low)} {unit}."
        )
    net, ends = _net(result)
    if all(verdict in (PayVerdict.LOSES, PayVerdict.OUT_OF_REACH) for verdict in result.every):
        where = "without one" if result.unlimited else f"at {number(row.budget)}"
        return f"Spend nothing: every budget costs more than it brings, {net} {unit} {where} ({ends})."
    if result.unlimited:
        return (
            f"Spend nothing yet: nothing is shown to pay, with or without a budget. Without one the policy spends "
            f"{number(row.spend)} {unit} and leaves {net} {unit} after its cost ({ends})."
        )
    return (
        f"Spend nothing yet: no budget is shown to pay. At {number(row.budget)} {unit} the policy leaves {net} {unit} after its "
        f"cost ({ends})."
    )


def _named(config: Config) -> str:
    """Returns the unit of the value in brackets, where it is declared."""
    return f" ({config.report.value_unit})" if "value_unit" in config.report.model_fields_set else ""


def _unit(config: Config) -> str:
    return config.report.spend_unit


def _net(result: Payback) -> tuple[str, str]:
    """Returns the net value that the report leads with, and its interval, in words."""
    row = result.row
    digits = places([(row.net_high - row.net_low) / 2])
    ends = resting(row.net_low, row.net_high, row.events, decimals=digits, sign=True)
    return number(row.net, decimals=digits, sign=True), f"{percent(result.table.level)} interval {ends}"


def _spend_sentence(result: Payback, config: Config) -> str:
    (net, ends), unit, money = _net(result), _unit(config), config.report.money
    how = "targeted by the policy" if result.lead is PayVerdict.TARGETED else "untargeted, by the best mix of arms"
    per = result.row.per_spend
    back = (
        f", a return of {f'{number(per)} {money}'.strip()} for each {'one' if money else '1'} spent"
        if isfinite(per)
        else ""
    )
    if result.free is not None and result.unlimited:
        who = "what pays by the model" if result.lead is PayVerdict.TARGETED else repr(result.free.arm)
        return (
            f"Give everybody {who}, without a budget: that spends {number(result.row.spend)} {unit} and leaves {net} {unit} "
            f"after its cost ({ends}){back}."
        )
    return f"Spend {number(result.row.budget)} {unit}, {how}: it leaves {net} {unit} after its cost ({ends}){back}."


def _cost_sentence(result: Payback, config: Config) -> str:
    row, unit, level = result.row, _unit(config), percent(result.table.level)
    if isnan(row.value):
        return f"At a budget of {number(row.budget)} {unit} the policy has no value: it never spends so little."
    digits = places([(row.value_high - row.value_low) / 2])
    ends = resting(row.value_low, row.value_high, row.events, decimals=digits, sign=True)
    gained = f"{number(row.value, decimals=digits, sign=True)} {config.report.value_unit} per {config.report.head}"
    first = (
        f"At a budget of {number(row.budget)} {unit}, the policy brings {gained} against giving nobody anything ({level} "
        f"interval {ends})."
    )
    if not isfinite(row.per_value):
        return first
    return (
        f"{first} One more of these costs {f'{number(row.per_value)} {config.report.money}'.strip()} ({level} interval "
        f"{cost_between(row.per_value_low, row.per_value_high)})."
    )


def smaller_pays(result: Payback) -> bool:
    """Returns whether no budget is to be spent, but one below all of them is shown to pay."""
    least = min(row.budget for row in result.table.of("policy"))
    spends = any(verdict.spends for verdict in result.every)
    return result.turning is not None and not spends and 0 < result.turning.low < least


def remedies(result: Payback, *, rows: int, all_rows: bool) -> tuple[str, ...]:
    """Returns what could show whether the campaign pays, the cheapest first.

    Args:
        result: The returns.
        rows: Rows that the proof rests on.
        all_rows: Whether these are all rows of the trial.
    """
    out = (
        []
        if all_rows
        else ["use all rows of the trial for the proof (leave out --fast and data.folds, or raise run.minutes)"]
    )
    if not result.verdicts:
        return tuple(out)
    known = [row for row in result.table.of("policy") if row.net > 0]
    if result.free is not None and result.free.policy.net > 0:
        known.append(result.free.policy)
    needed = min(
        (rows * (POWER * (row.net_high - row.net_low) / 2 / 1.96 / row.net) ** 2 for row in known), default=inf
    )
    if rows < needed < _MOST * rows:
        digits = 10 ** max(0, int(np.floor(log10(needed))) - 1)
        out.append(
            f"run a trial of about {count(ceil(needed / digits) * digits)} rows, which would show a net value as here"
        )
    return tuple(out)
