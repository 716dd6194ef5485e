"""The page about replayed experiments: which estimator is read, what it can show, and the size of a test."""

from __future__ import annotations

from largesse.commands.replay import Replayed
from largesse.experiment.design.replay import ReplayRow
from largesse.report.blocks import Section, Text
from largesse.report.content import Headline
from largesse.report.numbers import count, number, percent
from largesse.report.tests import plan_table, replay_table

__all__ = ["headline", "sections"]

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


def sections(done: Replayed) -> list[Section]:
    """Returns the sections of the page."""
    parts = [Section("estimators", "Estimators on past data", [replay_table(done.replay), Text(_HOW, quiet=True)])]
    if done.plan is not None:
        parts.append(Section("plan", "Size of the test", [plan_table(done.plan)]))
    return parts
