"""The section of a report that says whether the campaign pays: each budget with what it brings, what is left, and a verdict."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import isinf, isnan

from largesse import _check
from largesse._arguments import checked
from largesse.evaluate.comparison import BEST_MIX
from largesse.evaluate.returns import PayVerdict, ReturnRow
from largesse.report.blocks import Badge, Block, Column, Row, Table, Text, Tone
from largesse.report.numbers import UNKNOWN, between, number, percent, places, resting

__all__ = ["Frontier", "Pay", "PayRow", "pay_blocks", "pay_table"]

BADGES = {
    PayVerdict.TARGETED: Badge("spend this, targeted", Tone.GOOD),
    PayVerdict.UNTARGETED: Badge("spend this, untargeted", Tone.GOOD),
    PayVerdict.NOT_SHOWN: Badge("not shown to pay", Tone.MIND),
    PayVerdict.LOSES: Badge("shown not to pay", Tone.BAD),
    PayVerdict.OUT_OF_REACH: Badge("out of reach", Tone.MIND),
}


@checked
@dataclass(frozen=True, slots=True, kw_only=True)
class PayRow:
    """One policy at one budget, against control for everyone.

    Attributes:
        budget_label: The budget in the reader's words.
        returns: What it brings and costs, per unit.
        verdict: Whether the budget pays; None where that is not known, and for policies other than the one to ship.
    """

    budget_label: str
    returns: ReturnRow
    verdict: PayVerdict | None = None


@checked
@dataclass(frozen=True, slots=True, kw_only=True)
class Frontier:
    """The policy at budgets along the whole range, for the slider of the page.

    Attributes:
        rows: What the policy brings and costs, by rising budget, (K,).
        treatments: Names of the treatments, control first, (M,).
        shares: Share of each treatment at each budget, (K, M); NaN where the budget is out of reach.
        start: Position of the budget that is shown first.
    """

    rows: tuple[ReturnRow, ...]
    treatments: tuple[str, ...]
    shares: tuple[tuple[float, ...], ...]
    start: int

    def __post_init__(self) -> None:
        if len(self.shares) != len(self.rows):
            raise _check.refuse(
                "len(shares)", len(self.shares), f"must equal len(rows), {len(self.rows)}", "One per budget."
            )
        if not 0 <= self.start < len(self.rows):
            raise _check.refuse(
                "start", self.start, f"must be a position of the {len(self.rows)} rows", "Count from 0."
            )

    def begun_at(self, budget: float) -> Frontier:
        """Returns the same with one of its budgets shown first."""
        return replace(self, start=[row.budget for row in self.rows].index(budget))


@checked
@dataclass(frozen=True, slots=True, kw_only=True)
class Pay:
    """Whether the campaign pays.

    Attributes:
        rows: The policy and the best untargeted one at each budget, in the order to print them.
        known: Whether it is known what one unit of value brings in money, so that net values are.
        limits: Sentences about the budgets up to which the campaign pays.
        frontier: The policy along the whole range of budgets; None leaves the slider out.
    """

    rows: tuple[PayRow, ...]
    known: bool
    limits: tuple[str, ...] = ()
    frontier: Frontier | None = None

    def __post_init__(self) -> None:
        if not self.rows:
            raise _check.refuse("rows", self.rows, "must not be empty", "Give a row per policy and budget.")


def pay_blocks(pay: Pay, *, value: str, money: str, head: str, level: float, ours: str) -> list[Block]:
    """Returns the blocks of the section."""
    how = (
        "All numbers are differences from giving nobody anything, on held-out rows. "
        + ("Net: the value in money, less the spend. " if pay.known else "")
        + "In brackets: the interval, and the effective number of events that it rests on."
        + (
            " A verdict counts all budgets together, so it asks for a little more than its own interval."
            if pay.known
            else ""
        )
        + (
            f" The {BEST_MIX} is estimated without the optimism of having chosen it on these rows: where its arms hardly differ "
            "from control or from each other, it can lie below a plain share of one of them."
        )
    )
    return [
        *(Text(sentence) for sentence in pay.limits),
        pay_table(pay, value=value, money=money, head=head, level=level, ours=ours),
        Text(how, quiet=True),
    ]


def pay_table(pay: Pay, *, value: str, money: str, head: str, level: float, ours: str, brief: bool = False) -> Table:
    """Returns what each budget brings beyond doing nothing.

    Args:
        pay: The rows.
        value: Unit of the value, e.g. ``"orders"``.
        money: Unit of the cost, e.g. ``"EUR"``; empty if it is not declared.
        head: What one unit is, e.g. ``"user"``.
        level: Level of the intervals.
        ours: The policy to highlight.
        brief: Net values and verdicts only, where they are known: for a terminal.
    """
    unit, (digits, of_net) = f"{money} per {head}".strip(), decimals_of(pay)
    columns = return_columns(pay.known, value, money, head, level, brief)
    rows = tuple(
        Row(return_cells(row, pay.known, digits, of_net, brief), group=row.budget_label, ours=row.returns.name == ours)
        for row in pay.rows
    )
    notes = budget_notes(((row.budget_label, row.returns.budget) for row in pay.rows), unit)
    return Table(columns=columns, rows=rows, grouped="Budget", notes=notes)


def decimals_of(pay: Pay) -> tuple[int, int]:
    """Returns the decimals of values and of net values."""
    each = [row.returns for row in pay.rows]
    digits = places((row.value_high - row.value_low) / 2 for row in each)
    return digits, places((row.net_high - row.net_low) / 2 for row in each)


def value_columns(value: str, money: str, head: str, level: float) -> tuple[Column, ...]:
    """Returns the columns of the value, its interval and the spend."""
    spent = f"Extra {money} spent per {head}" if money else f"Extra spend per {head}"
    return Column(f"Extra {value} per {head}"), Column(f"{percent(level)} interval", quiet=True), Column(spent)


def return_columns(
    known: bool, value: str, money: str, head: str, level: float, brief: bool = False
) -> tuple[Column, ...]:
    """Returns the columns of the table, those of `return_cells`."""
    own, one = value_columns(value, money, head, level), money or "1 spent"
    ends = own[1]
    if known:
        net = Column(f"Net {f'{money} per {head}'.strip()}")
        verdict = (Column("Policy", words=True), Column("Verdict", words=True))
        return (*verdict, net, ends, Column(f"Back per {one}"), *(() if brief else own[:2]))
    cost = (Column(f"{money or 'Spend'} per extra {value}"), ends)
    return (Column("Policy", words=True), *(own[:2] if brief else (*own, Column(f"{value} per {one}"))), *cost)


def budget_notes(budgets: Iterable[tuple[str, float]], unit: str) -> dict[str, str]:
    """Returns the budget beside each label that does not name it already, by label; none beside "without a budget" (NaN)."""
    return {
        label: f"{number(budget)} {unit}" for label, budget in budgets if not label.endswith(unit) and not isnan(budget)
    }


def return_cells(shown: PayRow, known: bool, digits: int, of_net: int, brief: bool) -> tuple[str | Badge, ...]:
    """Returns the cells of a row under `return_columns`: the name, the verdict where it is known, the numbers."""
    row, gained = shown.returns, number(shown.returns.value, decimals=digits, sign=True)
    if known:
        verdict = "" if shown.verdict is None else BADGES[shown.verdict]
        net = resting(row.net_low, row.net_high, row.events, decimals=of_net, sign=True)
        first = (row.name, verdict, number(row.net, decimals=of_net, sign=True), net, _plain(row.per_spend))
        more = (gained, between(row.value_low, row.value_high, decimals=digits, sign=True))
        return first if brief else (*first, *more)
    ends = resting(row.value_low, row.value_high, row.events, decimals=digits, sign=True)
    cost = (_plain(row.per_value), cost_between(row.per_value_low, row.per_value_high))
    return (row.name, gained, ends, *(() if brief else (number(row.spend), _plain(row.per_spend))), *cost)


def _plain(x: float) -> str:
    return UNKNOWN if isnan(x) or isinf(x) else number(x)


def cost_between(low: float, high: float) -> str:
    """Returns the interval of a cost that may have no upper end.

    >>> cost_between(2.0, 3.5), cost_between(2.0, float("inf")), cost_between(float("inf"), float("inf"))
    ('2.00 to 3.50', 'at least 2.00', '–')
    """
    if isnan(low) or isinf(low) or (low <= 0 and isinf(high)):
        return UNKNOWN
    return f"at least {number(low)}" if isinf(high) else between(low, high)


def limits(budgets: Sequence[float], money: str, head: str, level: float) -> tuple[str, ...]:
    """Returns sentences about the break-even budget and the one with the highest net value.

    Args:
        budgets: The break-even budget with its interval, and the best budget with its own, (6,), as in `BreakEven`.
        money: Unit of the cost; empty if it is not declared.
        head: What one unit is.
        level: Level of the intervals.

    >>> limits([0.5, 0.4, 0.7, 0.2, 0.1, 0.4], "EUR", "user", 0.95)[0]
    'Break-even: up to a budget of 0.500 EUR per user the campaign brings back what it costs (95 % interval 0.40 to 0.70).'
    """
    point, low, high, best, best_low, best_high = budgets
    unit = f"{money} per {head}".strip()
    if isnan(point):
        return ()
    ends = "no upper end" if isinf(high) else f"to {number(high)}"
    span = (
        f"{percent(level)} interval {number(low)}, {ends}"
        if isinf(high)
        else f"{percent(level)} interval {between(low, high)}"
    )
    if isinf(low):
        first = (
            "Break-even: the campaign is shown to bring back what it costs at the largest budget that these treatments can "
            "spend."
        )
    elif isinf(point):
        first = (
            "Break-even: at the largest budget that these treatments can spend, the campaign brings back what it costs by these "
            f"rows ({percent(level)} interval of the break-even budget: from {number(low)} {unit})."
        )
    elif point == 0:
        first = f"Break-even: by these rows no budget brings back what it costs ({span} {unit})."
    else:
        first = f"Break-even: up to a budget of {number(point)} {unit} the campaign brings back what it costs ({span})."
    if not best > 0:
        return (first,)
    return (
        first,
        f"The net value is highest at about {number(best)} {unit}; it is not shown to be lower anywhere from {number(best_low)} "
        f"to {number(best_high)}.",
    )
