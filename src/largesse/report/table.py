"""The tables of all reports, made here once and rendered as HTML, as Markdown and on the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from math import isnan

from largesse import _check
from largesse.allocate.cluster_plan import ClusterPlan
from largesse.checks.finding import Finding, Grade
from largesse.evaluate.comparison import Comparison, Verdict
from largesse.menu import Bound
from largesse.policy.held_out import Realised
from largesse.report.blocks import Badge, Cell, Column, Row, Table, Tone, Where
from largesse.report.cluster_cards import Clusters, cluster_rows
from largesse.report.content import BudgetRow, Leaderboard, MixTable, Results, TrustRow
from largesse.report.numbers import UNKNOWN, count, duration, interval, number, percent, places, resting
from largesse.report.pays import budget_notes
from largesse.report.spend import SpendVerdict

__all__ = [
    "BADGES", "budget_table", "cluster_table", "comparison_rows", "export_table", "finding_table", "leaderboard_table",
    "mix_table", "realised_table", "rule_table", "spend_table", "treatment_table", "trust_table",
]  # fmt: skip

BADGES: dict[StrEnum, Badge] = {
    Grade.UNTESTED: Badge("not tested", Tone.NONE),
    Grade.OK: Badge("✓ ok", Tone.GOOD),
    Grade.WARN: Badge("! look", Tone.MIND),
    Grade.FAIL: Badge("✕ fail", Tone.BAD),
    Verdict.BETTER: Badge("better", Tone.GOOD),
    Verdict.WORSE: Badge("worse", Tone.BAD),
    Verdict.UNCLEAR: Badge("no clear difference", Tone.NONE),
    Verdict.REFERENCE: Badge("reference", Tone.NONE),
    Verdict.OUT_OF_REACH: Badge("out of reach", Tone.MIND),
    SpendVerdict.ON_BUDGET: Badge("on budget", Tone.GOOD),
    SpendVerdict.OVER_BUDGET: Badge("over budget", Tone.BAD),
    SpendVerdict.UNDER_BUDGET: Badge("under budget", Tone.MIND),
    SpendVerdict.OUT_OF_REACH: Badge("out of reach", Tone.MIND),
    SpendVerdict.NOT_KNOWN: Badge("not known", Tone.NONE),
}
"""How each verdict is shown."""


def finding_table(findings: Iterable[Finding]) -> Table:
    """Returns the checks of the data: name, result, explanation."""
    return Table(
        columns=(Column("Check", words=True), Column("Result", words=True), Column("Explanation", words=True)),
        rows=tuple(Row((f.name, BADGES[f.status], f.sentence)) for f in findings),
    )


def budget_table(
    rows: Sequence[BudgetRow], *, value: str, spend: str, level: float, reference: str, ours: str
) -> Table:
    """Returns the value of every policy at every budget, with its difference from the reference.

    Args:
        rows: One for each policy and budget.
        value: Unit of the value, e.g. ``"orders per customer"``.
        spend: Unit of the budget, e.g. ``"EUR per customer"``.
        level: Level of the intervals.
        reference: The policy that all are compared with.
        ours: The policy to highlight.
    """
    digits = places((row.high - row.low) / 2 for row in rows)
    paired = places((row.difference_high - row.difference_low) / 2 for row in rows)
    ends = f"{percent(level)} interval"
    return Table(
        columns=(
            Column("Policy", words=True), Column(value), Column(ends, quiet=True), Column(f"Against {reference}"),
            Column(ends, quiet=True), Column("Verdict", words=True),
        ),
        rows=tuple(
            Row(
                (row.policy, number(row.value, decimals=digits), resting(row.low, row.high, row.events, decimals=digits),
                 *_difference(row, paired), BADGES[row.verdict]),
                group=row.budget_label, ours=row.policy == ours,
            )
            for row in rows
        ),
        grouped="Budget", notes=budget_notes(((row.budget_label, row.budget) for row in rows), spend),
    )  # fmt: skip


def _difference(row: BudgetRow, decimals: int) -> tuple[str, str]:
    if row.difference is None or isnan(row.value):
        return UNKNOWN, UNKNOWN
    ends = resting(row.difference_low, row.difference_high, row.difference_events, decimals=decimals, sign=True)
    return number(row.difference, decimals=decimals, sign=True), ends


def comparison_rows(table: Comparison, labels: Sequence[str], roles: dict[str, str]) -> list[BudgetRow]:
    """Returns the rows of a comparison for a report.

    Args:
        table: The comparison.
        labels: Name of each budget (B,).
        roles: Policy → its role; policies without a role are left out.
    """
    at = dict(zip(table.budgets.tolist(), labels, strict=True))
    return [
        BudgetRow(
            policy=r.name, budget=r.budget, budget_label=at[r.budget], value=r.value, low=r.low, high=r.high,
            difference=None if r.name == table.reference else r.difference, difference_low=r.difference_low,
            difference_high=r.difference_high, events=r.events, difference_events=r.difference_events, role=roles[r.name],  # type: ignore[arg-type]  # checked by the row
        )
        for r in table.rows() if r.name in roles
    ]  # fmt: skip


def leaderboard_table(board: Leaderboard, level: float) -> Table:
    """Returns the candidate models on validation rows."""
    digits = places((row.high - row.low) / 2 for row in board.rows)
    noted = any(row.note for row in board.rows)
    columns = [
        Column("Model", words=True), Column(board.score), Column(f"{percent(level)} interval", quiet=True),
        Column("Training time"), Column("Choice", words=True), *([Column("Note", words=True)] if noted else []),
    ]  # fmt: skip
    rows = []
    for row in board.rows:
        chosen: Cell = Badge("chosen", Tone.GOOD) if row.chosen else ""
        cells = (row.name, number(row.score, decimals=digits), resting(row.low, row.high, row.events, decimals=digits),
                 duration(row.seconds), chosen, *([row.note] if noted else []))  # fmt: skip
        rows.append(Row(cells, ours=row.chosen))
    return Table(columns=tuple(columns), rows=tuple(rows))


def trust_table(rows: Sequence[TrustRow], level: float) -> Table:
    """Returns how far the past campaign data can be trusted; a quantity that no treatment has gets no column."""
    raw = places((row.raw_bias_high - row.raw_bias_low) / 2 for row in rows)
    left = places((row.residual_bias_high - row.residual_bias_low) / 2 for row in rows)
    ends = f"{percent(level)} interval"
    cells: dict[str, list[str]] = {
        "Treatment": [row.treatment for row in rows],
        "Rows of the log": [count(row.rows) for row in rows],
        "Effective sample size": [UNKNOWN if isnan(row.effective_rows) else count(row.effective_rows) for row in rows],
        f"Raw bias ({ends})": [
            _signed(row.raw_bias, row.raw_bias_low, row.raw_bias_high, raw) for row in rows
        ],
        f"Residual bias ({ends})": [
            _signed(row.residual_bias, row.residual_bias_low, row.residual_bias_high, left) for row in rows
        ],
        "Gate (90 % of units)": [
            UNKNOWN if isnan(row.gate) else interval(row.gate, row.gate_low, row.gate_high, decimals=2) for row in rows
        ],
    }  # fmt: skip
    known = {name: column for name, column in cells.items() if set(column) != {UNKNOWN}}
    return Table(
        columns=tuple(Column(name, words=k == 0) for k, name in enumerate(known)),
        rows=tuple(Row(row) for row in zip(*known.values(), strict=True)),
    )


def _signed(x: float, low: float, high: float, decimals: int) -> str:
    return UNKNOWN if isnan(x) else interval(x, low, high, decimals=decimals, sign=True)


def mix_table(mix: MixTable) -> Table:
    """Returns the share of each treatment in each group."""
    return Table(
        columns=(Column(mix.title, words=True), *map(Column, mix.treatments)),
        rows=tuple(
            Row((label, *(percent(share, decimals=1) for share in row)))
            for label, row in zip(mix.labels, mix.shares, strict=True)
        ),
        folded=True,
    )


def spend_table(results: Results) -> Table:
    """Returns planned and realised spend at every budget."""
    rows = results.spend
    digits = places((row.high - row.low) / 2 for row in rows)
    return Table(
        columns=(
            Column("Budget", words=True), Column(results.spend_name), Column("Planned by the model"),
            Column("Planned by the spend curve"), Column("Realised"), Column(f"{percent(results.level)} interval", quiet=True),
            Column("Verdict", words=True),
        ),
        rows=tuple(
            Row(
                (row.budget_label,
                 *(number(x, decimals=digits)
                   for x in (row.budget, row.planned_by_model, row.planned_by_curve, row.realised)),
                 resting(row.low, row.high, row.events, decimals=digits), BADGES[row.verdict])
            )
            for row in rows
        ),
    )  # fmt: skip


def realised_table(planned: Realised) -> Table:
    """Returns the spend that the model planned at each budget, and the spend realised on trial rows."""
    return Table(
        columns=(Column("Budget", words=True), *map(Column, ("Price", "Planned by the model", "Realised", "95 % interval"))),
        rows=tuple(
            Row((number(r["budget"]), number(r["price"]), number(r["planned_cost"]), number(r["cost"]),
                 resting(r["cost_low"], r["cost_high"], r["cost_events"])))
            for r in planned.to_records()
        ),
    )  # fmt: skip


def export_table(plans: Sequence[ClusterPlan], mixes: Sequence[dict[str, int]]) -> Table:
    """Returns the allocation at every budget of an export."""
    head = ("Budget", "Expected spend", "Expected value", "Probability of overspending", "Units")
    return Table(
        columns=tuple(Column(name, words=k in (0, 4)) for k, name in enumerate(head)),
        rows=tuple(
            Row((_check.written(p.budget), number(p.spend), number(p.value), f"{p.overspends:.1%}",
                 ", ".join(f"{n} {name}" for name, n in mix.items())))
            for p, mix in zip(plans, mixes, strict=True)
        ),
    )  # fmt: skip


def cluster_table(clusters: Clusters, level: float) -> Table:
    """Returns all clusters in one table, for forms without cards."""
    head = ("Cluster", "Units", "Trial rows", "Units differ in", *clusters.treatments)
    return Table(
        columns=tuple(Column(name, words=k in (0, 3)) for k, name in enumerate(head)),
        rows=tuple(map(Row, cluster_rows(clusters))), where=Where.TEXT,
    )  # fmt: skip


def treatment_table(mix: dict[str, int], *, name: str = "Treatment", of: str = "Units") -> Table:
    """Returns the number and share of units (or of `of`) that get each treatment."""
    n = max(sum(mix.values()), 1)
    return Table(
        columns=(Column(name, words=True), Column(of), Column("Share")),
        rows=tuple(Row((arm, count(units), percent(units / n))) for arm, units in mix.items()),
    )


def rule_table(rules: Iterable[Bound]) -> Table:
    """Returns use, limit and shadow price of every rule."""
    return Table(
        columns=(Column("Rule", words=True), Column("Used"), Column("Limit"), Column("Shadow price")),
        rows=tuple(
            Row((b.rule, number(b.used), number(b.limit), number(b.price) if b.price > 0 else "0: does not bind"))
            for b in rules
        ),
    )
