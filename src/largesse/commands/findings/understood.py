"""What a run understood: rows, arms, control, features, columns left out, units, and what is still to be declared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from largesse._check import written
from largesse.checks.soundness import Soundness
from largesse.commands.findings.suspects import PostTreatment
from largesse.commands.load import Rows
from largesse.config import Config
from largesse.report.blocks import Block, Column, Facts, Row, Table, Text
from largesse.report.numbers import count, number, percent
from largesse.result import Result

__all__ = ["ArmRows", "Understood", "understood"]


class ArmRows(NamedTuple):
    """The rows of one arm of the trial: how many, their share, and the weighted means of value and cost."""

    treatment: str
    rows: int
    share: float
    value: float
    cost: float


@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class Understood(Result):
    """What was taken from the files and the configuration.

    Attributes:
        rows: Number of rows by file: trial, past campaign data, test.
        arms: The arms of the trial, control first.
        control: Why the first arm is control.
        outcome: Distribution of the value and rule of the cost.
        units: What one row is, by which column rows belong together, and the units of value and money.
        features: Columns that the models use.
        left_out: Each column that they do not use, with the reason.
        suspects: Features that may be measured after the treatment, with the reason.
        undeclared: What to add to the configuration, one line each.
    """

    rows: dict[str, int]
    arms: tuple[ArmRows, ...]
    control: str
    outcome: str
    units: dict[str, str]
    features: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...]
    suspects: tuple[tuple[str, str], ...]
    undeclared: tuple[str, ...]

    def blocks(self) -> tuple[Block, ...]:
        """Returns the section of a report, which a terminal shows too."""
        facts = (
            ("Rows", ", ".join(f"{count(n)} {what}" for what, n in self.rows.items())),
            ("Control", f"{self.arms[0].treatment!r}, {self.control}"),
            ("Outcome", self.outcome),
            *self.units.items(),
            ("Features", f"{len(self.features)}: {', '.join(self.features)}"),
        )
        return (
            Facts(facts),
            self._arm_table(),
            *_reasons("Columns left out", "Column", self.left_out),
            *_reasons("May be measured after the treatment", "Feature", self.suspects),
            *(Text(line, lead="To declare: ") for line in self.undeclared),
        )

    def _arm_table(self) -> Table:
        head = (Column("Arm", words=True), *map(Column, ("Rows", "Share", "Mean value", "Mean cost")))
        rows = (
            Row((arm.treatment, count(arm.rows), percent(arm.share, decimals=1), number(arm.value), number(arm.cost)))
            for arm in self.arms
        )
        return Table(columns=head, rows=tuple(rows), title="Arms of the trial")


def _reasons(title: str, what: str, each: tuple[tuple[str, str], ...]) -> tuple[Table, ...]:
    if not each:
        return ()
    head = (Column(what, words=True), Column("Reason", words=True))
    return (Table(columns=head, rows=tuple(Row(pair) for pair in each), title=title),)


def understood(config: Config, rows: Rows, sound: Soundness) -> Understood:
    """Returns what a run takes from its files and its configuration.

    Args:
        config: The campaign.
        rows: Its rows.
        sound: The checks of the rows.
    """
    parts = {"of the trial": rows.rct, "of past campaign data": rows.obs, "of the test file": rows.test}
    return Understood(
        rows={what: part.n for what, part in parts.items() if part is not None},
        arms=_arms(rows), control=_why_control(config), outcome=rows.outcome.describe(), units=_units(config),
        features=rows.encoder.features, left_out=rows.left_out,
        suspects=next((f.suspects for f in sound if isinstance(f, PostTreatment)), ()), undeclared=_undeclared(config),
    )  # fmt: skip


def _arms(rows: Rows) -> tuple[ArmRows, ...]:
    logs = rows.rct
    means = [
        np.bincount(logs.treatment, logs.weights * amount, logs.n_treatments)
        / np.bincount(logs.treatment, logs.weights, logs.n_treatments)
        for amount in (logs.value, logs.cost)
    ]
    return tuple(
        ArmRows(name, int(n), float(n / logs.n), float(value), float(cost))
        for name, n, value, cost in zip(logs.treatments, logs.arm_rows, *means, strict=True)
    )


def _why_control(config: Config) -> str:
    if config.columns.treatments is not None:
        return "declared: the first of columns.treatments"
    if config.columns.control is not None:
        return "declared in columns.control"
    return "recognised by its label (not declared in columns.control)"


def _units(config: Config) -> dict[str, str]:
    columns, words = config.columns, config.report
    together = columns.cluster or columns.unit
    brings, unit = config.outcome.unit_value, f"in {words.value_unit}"
    unit = unit if "value_unit" in words.model_fields_set else "its unit is not declared"
    left = "not declared" if brings is None else f"{written(brings)} {words.money}".strip() + ", after variable costs"
    return {
        "One row": f"one {words.head}" if together is None else f"rows with the same {together!r} belong together",
        "Value": f"column {columns.value!r}, {unit}",
        "One of it brings": left,
        "Cost": f"column {columns.cost!r}" if columns.cost is not None else f"by the rule {config.outcome.cost}",
        "Unit of money": words.money_unit or "not declared",
    }  # fmt: skip


def _undeclared(config: Config) -> tuple[str, ...]:
    out = []
    if config.report.money_unit is None:
        out.append('the unit of the cost, e.g. money_unit = "EUR" under [report].')
    if "value_unit" not in config.report.model_fields_set:
        out.append('the unit of the value, e.g. value_unit = "orders" under [report].')
    if config.outcome.value_per_unit is None:
        out.append(
            "what one unit of value brings in money, e.g. value_per_unit = 10.0 under [outcome]; then budgets are judged by what "
            "is left after their cost."
        )
    return tuple(out)
