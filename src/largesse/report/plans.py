"""What the report of a plan says: who gets what, what every rule uses and costs, and how good the plan is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from largesse._files import atomic_bytes
from largesse.report.content import Headline
from largesse.report.html import Safe, join, tag
from largesse.report.numbers import count, number, percent
from largesse.report.page import document
from largesse.report.parts import Section, table

__all__ = ["PlanPage", "RuleRow", "write_plan"]


class RuleRow(NamedTuple):
    """One inequality: in words, what the plan uses, the limit, and its shadow price, 0 where it does not bind."""

    rule: str
    used: float
    limit: float
    price: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanPage:
    """Everything the report of a plan shows.

    Attributes:
        title: Name of the plan.
        mix: Units per treatment, control first.
        spend: Money.
        value: What the plan is expected to bring.
        gap: No plan within the rules is worth more than so much beyond `value`.
        rules: Every rule.
        note: Whose money and value these are.
    """

    title: str
    mix: tuple[tuple[str, int], ...]
    spend: float
    value: float
    gap: float
    rules: tuple[RuleRow, ...]
    note: str


def write_plan(shown: PlanPage, path: str | Path) -> Path:
    """Writes the page as one HTML file, whole or not at all, and returns its path."""
    n, treated = sum(units for _, units in shown.mix), sum(units for _, units in shown.mix[1:])
    headline = Headline(
        title=shown.title,
        sentence=f"{count(treated)} of {count(n)} units are treated for {number(shown.spend)}; value {number(shown.value)}.",
        summary=(
            f"No plan within the rules is worth more than {number(shown.gap)} beyond that "
            f"({percent(shown.gap / abs(shown.value)) if shown.value else 'of nothing'}).", shown.note,
        ),
        action=_action(shown.rules),
    )  # fmt: skip
    return atomic_bytes(Path(path), document(headline, _sections(shown, n)).encode())


def _sections(shown: PlanPage, n: int) -> list[Section]:
    who = [_row(name, count(units), percent(units / n)) for name, units in shown.mix]
    rules = [
        _row(row.rule, number(row.used), number(row.limit), number(row.price) if row.price > 0 else "does not bind")
        for row in shown.rules
    ]
    return [
        ("who", "Who gets what", table(("Treatment", "Units", "Share"), who)),
        ("rules", "What the rules cost", join([table(("Rule", "Used", "Limit", "One more is worth"), rules), _NOTE])),
    ]


_NOTE = tag(
    "p",
    "One more: value that the best plan would gain if a limit were one unit looser (for a minimum: one unit lower). "
    "It holds near the limit; far from it, plan again.",
    class_="note",
)


def _row(name: str, *cells: str) -> Safe:
    return tag("tr", tag("th", name, scope="row", class_="text"), *(tag("td", cell) for cell in cells))


def _action(rules: Sequence[RuleRow]) -> str:
    dear = [row for row in rules if row.price > 0 and not row.rule.startswith("spend")]
    if not dear:
        return ""
    worst = max(dear, key=lambda row: row.price * abs(row.limit))
    return f"The rule that costs most beside money is “{worst.rule}”: ask whether it must be so tight."
