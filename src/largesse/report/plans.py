"""What the report of a plan says: who gets what, what every rule uses and costs, and how good the plan is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from largesse._files import atomic_bytes
from largesse.menu import Bound, PlanTotals
from largesse.report.content import Headline
from largesse.report.html import Safe, join, tag
from largesse.report.numbers import count, number, percent
from largesse.report.page import document
from largesse.report.parts import Section, table

__all__ = ["write_plan"]


def write_plan(plan: PlanTotals, path: str | Path, *, title: str, note: str = "") -> Path:
    """Writes a page about a plan as one HTML file, whole or not at all, and returns its path.

    Args:
        plan: The totals of the plan, control first.
        path: The file.
        title: Name of the plan.
        note: Where its spend and its value come from.
    """
    treated = plan.n - int(plan.counts[0])
    headline = Headline(
        title=title,
        sentence=f"{count(treated)} of {count(plan.n)} units are treated for {number(plan.spend)}; value {number(plan.value)}.",
        summary=(
            f"No plan within the rules is worth more than {number(plan.gap)} beyond that "
            f"({percent(plan.gap / abs(plan.value)) if plan.value else 'of nothing'}).", note,
        ),
        action=_action(plan.rules),
    )  # fmt: skip
    return atomic_bytes(Path(path), document(headline, _sections(plan)).encode())


def _sections(plan: PlanTotals) -> list[Section]:
    who = [_row(name, count(units), percent(units / plan.n)) for name, units in plan.mix.items()]
    rules = [
        _row(row.rule, number(row.used), number(row.limit), number(row.price) if row.price > 0 else "does not bind")
        for row in plan.rules
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


def _action(rules: Sequence[Bound]) -> str:
    dear = [row for row in rules if row.price > 0 and not row.of_spend]
    if not dear:
        return ""
    worst = max(dear, key=lambda row: row.price * abs(row.limit))
    return f"The rule that costs most beside money is “{worst.rule}”: ask whether it must be so tight."
