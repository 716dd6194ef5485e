"""The report of a plan: who gets what, what every rule uses and costs, and how good the plan is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from largesse._files import PathLike, atomic_bytes
from largesse.menu import Bound, PlanTotals
from largesse.report.blocks import Section, Text
from largesse.report.content import Headline
from largesse.report.numbers import count, number, percent
from largesse.report.page import document
from largesse.report.table import rule_table, treatment_table

__all__ = ["write_plan"]

_ONE_MORE = (
    "Value of one more: what the best plan would gain if a limit were one unit looser (a minimum: one unit lower). It holds "
    "near the limit; far from it, plan again."
)


def write_plan(plan: PlanTotals, path: PathLike, *, title: str, note: str = "") -> Path:
    """Writes a page about a plan as one HTML file, whole or not at all, and returns its path.

    Args:
        plan: The totals of the plan, control first.
        path: The file.
        title: Name of the plan.
        note: Where its spend and its value come from.

    Raises:
        StoreError: The file cannot be written.
    """
    treated = plan.n - int(plan.counts[0])
    gap = f" ({percent(plan.gap / abs(plan.value))})" if plan.value else ""
    headline = Headline(
        title=title,
        sentence=f"{count(treated)} of {count(plan.n)} units are treated for {number(plan.spend)}; value {number(plan.value)}.",
        summary=(f"No plan within the rules is worth more than {number(plan.gap)} beyond that{gap}.", note),
        action=_action(plan.rules),
    )
    sections = [
        Section("who", "Who gets what", [treatment_table(plan.mix)]),
        Section("rules", "What the rules cost", [rule_table(plan.rules), Text(_ONE_MORE, quiet=True)]),
    ]
    return atomic_bytes(Path(path), document(headline, sections).encode())


def _action(rules: Sequence[Bound]) -> str:
    """Returns the question that the costliest rule beside the budget raises."""
    costly = [rule for rule in rules if rule.price > 0 and not rule.of_spend]
    if not costly:
        return ""
    worst = max(costly, key=lambda rule: rule.price * abs(rule.limit))
    return f"The rule that costs most beside the budget is “{worst.rule}”: ask whether it must be so tight."
