"""The page about replayed experiments: which estimator is read, what it can show, and the size of a test."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from largesse._files import atomic_folder, may_write
from largesse.commands.findings.later import MARKER
from largesse.commands.replay import Replayed
from largesse.experiment.design.replay import ReplayRow
from largesse.report.blocks import Section, Text
from largesse.report.content import Headline
from largesse.report.files import write_report
from largesse.report.numbers import count, number, percent
from largesse.report.tests import plan_table, replay_table
from largesse.result import json_text

__all__ = ["headline", "write_replay"]

_HOW = (
    "Past units are split into two arms at random, again and again, without any effect: a sound estimator reports one in as many "
    "experiments as its level says. The true standard error is the spread of its estimates; power is the share of experiments in "
    "which it detects an effect of that size."
)


def headline(metric: str, done: Replayed) -> Headline:
    """Returns which estimator is the most precise of those that keep their level, and what a test with it takes."""
    replay, test = done.replay, done.plan
    sound = [row for row in replay.rows if row.low <= replay.alpha]
    off = [row.method for row in replay.rows if row.low > replay.alpha]
    summary = [
        f"{count(replay.units)} past units in {count(replay.draws)} simulated experiments without an effect; tests at "
        f"{percent(replay.alpha)}.",
        f"The guard warned of STATE in {percent(replay.warned)} of them; {percent(replay.alpha)} are expected.",
    ]
    if off:
        summary.append(f"More false positives than that: {', '.join(off)}. Do not read them on this metric.")
    if not sound:
        return Headline(
            title=f"Replay of {metric}", sentence="No estimator keeps its level on these rows.", summary=tuple(summary),
            action="Replay another metric, or one per cluster of units that belong together.",
        )  # fmt: skip
    best = min(sound, key=lambda row: row.sd)
    sentence = (
        f"{best.method} is the most precise estimator that keeps its level: its variance is {percent(best.relative)} of that of "
        f"the difference in means."
    )
    action = _power(best, replay.lifts)
    if test is not None:
        (needed,) = (row for row in test.rows if row.method == best.method)
        action = (
            f"To detect {number(test.effect, sign=True)} with {percent(test.power)} power, the test needs "
            f"{count(needed.units)} {test.unit}s with it."
        )
    return Headline(title=f"Replay of {metric}", sentence=sentence, summary=tuple(summary), action=action)


def _power(row: ReplayRow, lifts: tuple[float, ...]) -> str:
    shown = ", ".join(
        f"{percent(lift, sign=True)} in {percent(power)}" for lift, power in zip(lifts, row.power, strict=True)
    )
    return f"A test of this size detects an effect of {shown} of the experiments."


def write_replay(
    metric: str, done: Replayed, document: Mapping[str, Any], folder: Path, *, replace: bool = False
) -> None:
    """Writes report.html, summary.md and metrics.json into a new folder, whole or not at all.

    Args:
        metric: Name of the metric.
        done: The replayed experiments.
        document: The content of metrics.json: what `--json` prints.
        folder: The folder to make.
        replace: Whether it may replace an older one of that name.

    Raises:
        StoreError: The folder exists and may not be replaced, or cannot be written.
    """
    may_write(folder, replace=replace, marker=MARKER)
    parts = [Section("estimators", "Estimators on past data", [replay_table(done.replay), Text(_HOW, quiet=True)])]
    if done.plan is not None:
        parts.append(Section("plan", "Size of the test", [plan_table(done.plan)]))
    with atomic_folder(folder, replace=replace, marker=MARKER) as place:
        write_report(headline(metric, done), parts, {}, place)
        (place / MARKER).write_text(json_text(document), encoding="utf-8")
