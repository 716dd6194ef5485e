"""The report of an allocation: who gets what, use and shadow price of every rule, and the distance from the optimum."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from largesse._arguments import checked
from largesse._files import PathLike, atomic_bytes
from largesse.menu import Bound, PlanTotals
from largesse.policy.deployed import Allocation
from largesse.policy.safety import Estimate
from largesse.report.blocks import Column, Row, Section, Table, Text
from largesse.report.content import Headline
from largesse.report.numbers import count, interval, number, percent, places
from largesse.report.page import document
from largesse.report.table import rule_table, treatment_table

__all__ = ["SHADOW_PRICE", "costliest", "rule_cost_table", "write_plan"]

SHADOW_PRICE = (
    "Shadow price: gain of the optimal allocation if the limit were one unit looser (a minimum: one unit lower). It holds near "
    "the limit; for a large change, compute a new allocation."
)
"""What a shadow price of a rule is."""


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
        Section("rules", "What the rules cost", [rule_table(plan.rules), Text(SHADOW_PRICE, quiet=True)]),
    ]
    return atomic_bytes(Path(path), document(headline, sections).encode())


def _action(rules: Sequence[Bound]) -> str:
    """Returns a sentence about the rule, other than the budget, that costs most value."""
    worst = costliest([rule for rule in rules if not rule.of_spend])
    if worst is None:
        return ""
    return (
        f"Apart from the budget, the rule that costs most value is “{worst.rule}”: check whether it must be so tight."
    )


def costliest(rules: Sequence[Bound]) -> Bound | None:
    """Returns the rule that costs most value, by its shadow price times its limit; None where none binds."""
    costly = [rule for rule in rules if rule.price > 0]
    return max(costly, key=lambda rule: rule.price * abs(rule.limit), default=None)


def rule_cost_table(
    free: Allocation[PlanTotals], ruled: Allocation[PlanTotals], *, value: str, money: str, head: str
) -> Table:
    """Returns an allocation without rules and the one under them, side by side.

    Args:
        free: Without rules, with what it brings beyond control.
        ruled: Under rules, likewise.
        value: Unit of the value, e.g. ``"orders"``.
        money: Unit of money.
        head: What one unit is, e.g. ``"customer"``.
    """
    assert free.brought is not None
    assert ruled.brought is not None
    before, now = free.brought, ruled.brought
    rows = [
        Row((f"Expected spend, {money}", *(_estimate(one.spend) for one in (free, ruled)),
             _change(free.spend.mean, ruled.spend.mean))),
        Row((f"Extra {value}, beyond control for everyone", *_and_difference(before.value, now.value))),
        *([Row((f"Net {money}, after the cost", *_and_difference(before.net, now.net)))]
          if before.net is not None and now.net is not None else []),
        *(Row((f"{head.capitalize()}s with {name!r}", count(a), count(b), signed_count(b - a)))
          for name, a, b in zip(free.plan.treatments, free.plan.counts, ruled.plan.counts, strict=True)),
    ]  # fmt: skip
    names = ("Without rules", "Under the rules", "Difference")
    return Table(columns=(Column("", words=True), *map(Column, names)), rows=tuple(rows), title="What the rules cost")


def _estimate(spend: Estimate) -> str:
    """Returns an amount with its interval; where that is no wider than rounding, as with a fixed cost, the amount alone."""
    certain = spend.high - spend.low <= 1e-9 * abs(spend.mean)
    return number(spend.mean) if certain else interval(spend.mean, spend.low, spend.high)


def _and_difference(before: float, now: float) -> tuple[str, str, str]:
    return number(before, sign=True), number(now, sign=True), _change(before, now)


def _change(before: float, now: float) -> str:
    """Returns a difference with as many decimals as the numbers have, so that a remainder of rounding is 0."""
    return number(now - before, decimals=places([before or now], 3), sign=True)


def signed_count(n: float) -> str:
    """Returns a difference of counts.

    >>> signed_count(1200), signed_count(-3), signed_count(0)
    ('+1,200', '−3', '0')
    """
    return f"{'+' if n > 0 else '−' if n < 0 else ''}{count(abs(n))}"
