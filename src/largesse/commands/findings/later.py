"""Pages about later rows: the evaluation of a run, and the comparison of two."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from largesse import report
from largesse._check import written
from largesse._files import PathLike, atomic_folder, may_write
from largesse.commands.findings.fit import POLICY
from largesse.commands.findings.frontier import frontier
from largesse.commands.findings.pays import pay, payback, sentence
from largesse.config import Config
from largesse.evaluate.comparison import BASELINES, BEST_MIX, Comparison, Verdict
from largesse.policy.held_out import Realised
from largesse.report.numbers import number, places, resting
from largesse.report.table import comparison_rows
from largesse.result import json_text

__all__ = ["MARKER", "may_write_page", "of_comparison", "of_evaluation", "returns_of", "write_page"]

MARKER = "metrics.json"
_CURVE = 25  # budgets along a cost curve
_LATER = "Values are per unit and decision period of these rows. Another season or population may differ."


def of_evaluation(config: Config, table: Comparison, planned: Realised, source: PathLike) -> report.Results:
    """Returns the page about a run's policy on further trial rows.

    Args:
        config: The configuration of the run.
        table: The policy at the budgets.
        planned: Its planned and realised spend.
        source: The file of the rows.
    """
    table = table.against(BEST_MIX)
    pays = payback(table, None, config.outcome.unit_value, POLICY)
    labels = _labels(config, table)
    at = table.index(POLICY)
    gain, low, high = (float(a[at, pays.at]) for a in (table.difference, table.difference_low, table.difference_high))
    summary = _rows(table, source)
    if not np.isnan(gain):
        ends = resting(
            low, high, float(table.difference_events[at, pays.at]), decimals=places([(high - low) / 2]), sign=True
        )
        summary += (
            f"Against {table.reference} it brings {number(gain, decimals=places([(high - low) / 2]), sign=True)} "
            f"{config.report.value_unit} per {config.report.head} at this budget (95 % interval {ends}): "
            f"{Verdict.of(low, high).value}.",
        )
    # A price above 0 is the one at which the calibrated spend curve meets the budget.
    spend = tuple(
        report.SpendRow(
            budget=float(b), budget_label=labels[k], planned_by_model=float(planned.planned_cost[k]),
            planned_by_curve=float(b if planned.price[k] > 0 else planned.planned_cost[k]), realised=float(planned.cost[k]),
            low=float(planned.cost_low[k]), high=float(planned.cost_high[k]), events=float(planned.cost_events[k]),
        )
        for k, b in enumerate(planned.budget)
    )  # fmt: skip
    headline = report.Headline(
        title=f"{config.report.title}: later rows", sentence=sentence(pays, config), summary=summary
    )
    parts = table.parts
    along = frontier(
        parts.made.arms.logs, POLICY, parts.home, tuple(map(float, table.budgets)), config.outcome.unit_value
    ).begun_at(float(table.budgets[pays.at]))  # fmt: skip
    return _page(config, table, headline, labels, pay=pay(pays, labels, config, frontier=along), spend=spend)


def of_comparison(config: Config, table: Comparison, source: PathLike) -> report.Results:
    """Returns the page about two runs on the same rows: the second against the first.

    Args:
        config: The configuration of the first run.
        table: Both policies at the budgets; the first is the reference.
        source: The file of the rows.
    """
    labels, first, second = _labels(config, table), *table.names[:2]
    at, words = table.index(second), []
    for k, label in enumerate(labels):
        gain, low, high = (float(a[at, k]) for a in (table.difference, table.difference_low, table.difference_high))
        if np.isnan(gain):
            words.append(f"at {label} one of the two is out of reach")
            continue
        digits = places([(high - low) / 2])
        ends = resting(low, high, float(table.difference_events[at, k]), decimals=digits, sign=True)
        words.append(
            f"at {label} {number(gain, decimals=digits, sign=True)} (95 % interval {ends}): {Verdict.of(low, high).value}"
        )
    unit = f"{config.report.value_unit} per {config.report.head}"
    answer = f"{second!r} against {first!r}, in {unit}: {'; '.join(words)}."
    headline = report.Headline(title=f"{second} against {first}", sentence=answer, summary=_rows(table, source))
    return _page(config, table, headline, labels, pay=returns_of(config, table))


def returns_of(config: Config, table: Comparison) -> report.Pay | None:
    """Returns what both policies of a comparison bring and cost, and leave, at each budget; None where money is not declared.

    Each policy has the verdict that `evaluate` would give it on these rows.

    Args:
        config: The configuration of the first run, with what one unit of value brings.
        table: Both policies at the budgets.
    """
    if config.outcome.unit_value is None:
        return None
    labels, names, rows = _labels(config, table), table.names[:2], []
    each = {name: payback(table, None, config.outcome.unit_value, name) for name in names}
    for b, label in enumerate(labels):
        rows += [
            report.PayRow(budget_label=label, returns=one.table.of(name)[b], verdict=one.verdicts[b])
            for name, one in each.items()
        ]
        mix = each[names[0]].table.of(BEST_MIX)[b]
        rows.append(report.PayRow(budget_label=label, returns=mix))
    note = "The verdict of each run is the one that `largesse evaluate` gives it on these rows."
    return report.Pay(rows=tuple(rows), known=True, limits=(note,))


def may_write_page(folder: Path | None, *, replace: bool) -> None:
    """Raises StoreError, before any work, where `write_page` would."""
    if folder is not None:
        may_write(folder, replace=replace, marker=MARKER)


def write_page(
    write: Callable[[Path], object], document: Mapping[str, Any], folder: Path, *, replace: bool = False
) -> None:
    """Writes report.html, summary.md, sections.json, pictures and metrics.json into a new folder, whole or not at all.

    Args:
        write: Writes the report into a folder.
        document: The content of metrics.json: what `--json` prints.
        folder: The folder to make.
        replace: Whether it may replace an older one of that name.

    Raises:
        StoreError: The folder exists and may not be replaced, or cannot be written.
    """
    may_write(folder, replace=replace, marker=MARKER)
    with atomic_folder(folder, replace=replace, marker=MARKER) as place:
        write(place)
        (place / MARKER).write_text(json_text(document), encoding="utf-8")


def _page(
    config: Config, table: Comparison, headline: report.Headline, labels: tuple[str, ...], **parts: Any
) -> report.Results:
    policies = [name for name in table.names if name not in BASELINES]
    roles = {name: "baseline" if name in BASELINES else "candidate" for name in table.names} | {policies[0]: "policy"}
    most = max(arm.cost for arm in table.arms)
    lines = []
    for name in policies:
        curve = table.parts.made.policies[table.index(name)].curve
        budgets = np.linspace(0, most, _CURVE)
        role: Any = roles[name]
        lines.append(report.CurveLine(name=name, cost=tuple(budgets), value=tuple(curve.value_at(budgets)), role=role))
    arms = tuple(
        report.ArmPoint(name=a.name, cost=a.cost, value=a.value, low=a.value_low, high=a.value_high, control=j == 0)
        for j, a in enumerate(table.arms)
    )
    return report.Results(
        headline=headline, value_unit=config.report.value_unit, money_unit=config.report.money, head=config.report.head,
        level=table.level, reference=table.reference, curves=tuple(lines), arms=arms,
        budgets=tuple(comparison_rows(table, list(labels), roles)), cautions=(*table.notes, _LATER), **parts,
    )  # fmt: skip


def _labels(config: Config, table: Comparison) -> tuple[str, ...]:
    return tuple(f"{written(float(b), 4)} {config.report.spend_unit}" for b in table.budgets)


def _rows(table: Comparison, source: PathLike) -> tuple[str, ...]:
    logs = table.parts.made.arms.logs
    return (f"Evaluated on {logs.n:,} rows of {Path(source).name}.",)
