"""The tables for planning an experiment: replays of past data, and sizes of tests."""

from __future__ import annotations

from math import isnan

from largesse.experiment.design.plan import TestPlan
from largesse.experiment.design.replay import Replay
from largesse.report.blocks import Column, Row, Table
from largesse.report.numbers import UNKNOWN, count, number, percent

__all__ = ["plan_table", "replay_table"]


def replay_table(replay: Replay) -> Table:
    """Returns false positives, standard errors and power of every estimator on replayed past data."""
    head = ("False positives", "True standard error", "Mean estimated standard error", "Relative variance")
    power = (f"Power at {percent(lift, sign=True)}" for lift in replay.lifts)
    return Table(
        columns=(Column("Estimator", words=True), *map(Column, (*head, *power))),
        rows=tuple(
            Row((r.method, f"{r.false_positives:.1%} ({r.low:.1%} to {r.high:.1%})", number(r.sd), number(r.se),
                 f"{r.relative:.1%}", *(f"{p:.0%}" for p in r.power)))
            for r in replay.rows
        ),
    )  # fmt: skip


def plan_table(plan: TestPlan) -> Table:
    """Returns the units and the days that a test needs with every estimator."""
    return Table(
        columns=(Column("Estimator", words=True), Column(f"{plan.unit}s"), Column("Days"), Column("95 % interval")),
        rows=tuple(
            Row((r.method, count(r.units), UNKNOWN if isnan(r.days) else f"{r.days:.1f}", f"± {number(r.half_width)}"))
            for r in plan.rows
        ),
    )
