"""The report of an allocation: who gets what, use and shadow price of every rule, and the distance from the optimum."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from largesse._arguments import checked
from largesse._files import PathLike, atomic_bytes
from largesse.menu import Bound, PlanTotals
from largesse.report.blocks import Section, Text
from largesse.report.content import Headline
from largesse.report.numbers import count, number, percent
from largesse.report.page import document
from largesse.report.table import rule_table, treatment_table

__all__ = ["write_plan"]

_ONE_MORE = (
    "Shadow price: gain of the optimal allocation if the limit were one unit looser (a minimum: one unit lower). It holds near "
    "the limit; for a large change, compute a new allocation."
)


@checked
def write_plan(plan: PlanTotals, path: PathLike, *, title: str, note: str = "") -> Path:
    """Writes a page about an allocation as one HTML file, whole or not at all, and returns its path.

    Args:
        plan: The totals of the allocation, control first.
        path: The file.
        title: Title of the page.
        note: Source of the spend and the value.

    Raises:
        StoreError: The file cannot be written.
    """
    treated = plan.n - int(plan.counts[0])
    gap = f" ({percent(plan.gap / abs(plan.value))})" if plan.value else ""
    headline = Headline(
        title=title,
        sentence=f"{count(treated)} of {count(plan.n)} units are treated for {number(plan.spend)}; value {number(plan.value)}.",
        summary=(f"The optimum within the rules is at most {number(plan.gap)} higher{gap}.", note),
        action=_action(plan.rules),
    )
    sections = [
        Section("who", "Who gets what", [treatment_table(plan.mix)]),
        Section("rules", "What the rules cost", [rule_table(plan.rules), Text(_ONE_MORE, quiet=True)]),
    ]
    return atomic_bytes(Path(path), document(headline, sections).encode())


def _action(rules: Sequence[Bound]) -> str:
    """Returns a sentence about the rule, other than the budget, that costs most value."""
    costly = [rule for rule in rules if rule.price > 0 and not rule.of_spend]
    if not costly:
        return ""
    worst = max(costly, key=lambda rule: rule.price * abs(rule.limit))
    return (
        f"Apart from the budget, the rule that costs most value is “{worst.rule}”: check whether it must be so tight."
    )
