"""Results on a terminal: tables, progress, errors; or JSON where asked for."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from largesse.result import json_text

if TYPE_CHECKING:  # a terminal needs no learners
    from largesse.checks.finding import Finding
    from largesse.checks.soundness import Soundness
    from largesse.commands.procedure import Say
    from largesse.evaluate.comparison import Comparison
    from largesse.experiment.design.plan import TestPlan
    from largesse.experiment.design.replay import Replay
    from largesse.experiment.estimators.effect import Effect
    from largesse.experiment.measurement import Measured

__all__ = [
    "comparison",
    "effects",
    "err",
    "findings",
    "out",
    "print_json",
    "progress",
    "replayed",
    "table",
    "tuning",
]

out = Console()
err = Console(stderr=True)
_COLOUR = {"ok": "green", "warn": "yellow", "fail": "red"}


def print_json(value: Any) -> None:
    """Prints one JSON document on standard output."""
    out.print(json_text(value), soft_wrap=True, markup=False, highlight=False)


@contextmanager
def progress(quiet: bool) -> Iterator[Say]:
    """Yields the function that is told each stage; the bar goes to standard error."""
    if quiet or not err.is_terminal:
        last: list[str] = []

        def note(stage: str, share: float) -> None:
            if not quiet and last[-1:] != [stage]:
                last.append(stage)
                err.print(f"{share:4.0%} {escape(stage)}", highlight=False, soft_wrap=True)

        yield note
        return
    with Progress(
        TextColumn("{task.description:32}"), BarColumn(), TimeElapsedColumn(), console=err, transient=True
    ) as bar:
        job = bar.add_task("", total=1.0)

        def show(stage: str, share: float) -> None:
            if stage.endswith("."):  # a finding stays on the screen
                bar.console.print(escape(stage), highlight=False)
            else:
                bar.update(job, description=stage, completed=share)

        yield show


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Prints a table; every column but the first is aligned right."""
    shown = Table(title=title, title_justify="left", box=None, header_style="bold", pad_edge=False)
    for k, name in enumerate(columns):
        shown.add_column(escape(name), justify="left" if k == 0 else "right", no_wrap=k > 0)
    for row in rows:
        shown.add_row(*(escape(_text(cell)) for cell in row))
    out.print(shown)


def _text(cell: object) -> str:
    if isinstance(cell, float):
        return "out of reach" if math.isnan(cell) else f"{cell:.4g}"
    return str(cell)


def effects(one: Measured, shown: Sequence[Effect], level: float) -> None:
    """Prints one metric of an experiment: every arm by every estimator, what the guard says, the tails."""
    rows = [
        (f"{e.arm}: {e.method}", e.effect, f"{e.low:.4g} to {e.high:.4g}",
         "" if math.isnan(e.lift) else f"{e.lift:+.2%} ({e.lift_low:+.2%} to {e.lift_high:+.2%})", f"{e.p_adjusted:.2g}")
        for e in shown
    ]  # fmt: skip
    size = ", ".join(f"{arm} {n:,}" for arm, n in zip(one.arms, one.rows, strict=True))
    table(
        f"{one.metric} against {one.arms[0]} ({size} rows), {level:.0%} intervals",
        ("", "effect", "interval", "lift", "p"), rows,
    )  # fmt: skip
    for arm, guard in zip(one.arms[1:], one.guards, strict=True):
        colour = "yellow" if guard.warns else "default"
        out.print(
            f"[{colour}]{escape(f'{arm}: ' if len(one.guards) > 1 else '')}{escape(guard.sentence)}[/]", highlight=False
        )
    out.print(f"{escape(one.tails.sentence)}\n", highlight=False)


def replayed(metric: str, found: Replay) -> None:
    """Prints what a replay of history says of each estimator."""
    rows = [
        (r.method, f"{r.false_positives:.1%} ({r.low:.1%} to {r.high:.1%})", r.sd, r.se, f"{r.relative:.1%}",
         *(f"{p:.0%}" for p in r.power))
        for r in found.rows
    ]  # fmt: skip
    table(
        f"{metric}, level {found.level:.4g}: {found.units:,} units of the past in {found.draws:,} experiments without an effect",
        ("", "false positives", "error", "error as stated", "variance", *(f"power at {lift:+.1%}" for lift in found.lifts)),
        rows,
    )  # fmt: skip
    out.print(
        f"Tests at {found.alpha:.0%}. Variance: as a share of that of the difference in means. The guard warned of STATE in "
        f"{found.warned:.1%} of the experiments; it may in {found.alpha:.0%}.",
        highlight=False,
    )


def test_plan(plan: TestPlan) -> None:
    """Prints how many units and days a test needs by each estimator."""
    (a, _), (b, _) = plan.shares[:2]
    arms = ", ".join(f"{name} {share:.0%}" for name, share in plan.shares)
    table(
        f"To see {plan.effect:+.4g} {plan.metric} of {b} over {a} with {plan.power:.0%} probability ({arms})",
        ("", f"{plan.unit}s", "days", "95 % interval"),
        [
            (r.method, f"{r.units:,}", "" if math.isnan(r.days) else f"{r.days:.1f}", f"± {r.half_width:.4g}")
            for r in plan.rows
        ],
    )
    if plan.looks:
        looks = ", ".join(f"{share:.0%}: {z:.3f}" for share, z in zip(plan.looks, plan.z, strict=True))
        out.print(f"Looks at shares of the units, and the |z| that ends the test: {looks}.", highlight=False)


def findings(sound: Soundness | Sequence[Finding]) -> None:
    """Prints what the checks found."""
    for f in sound:
        out.print(
            f"[{_COLOUR[f.status]}]{f.status:4}[/] [bold]{escape(f.name)}[/]: {escape(f.verdict)}", highlight=False
        )
    if hasattr(sound, "verdict"):
        out.print(f"\n{escape(sound.verdict)}", highlight=False)


def comparison(found: Comparison) -> None:
    """Prints a comparison: value per head with interval, and the paired difference from the reference."""
    rows = [
        (r.name, r.budget, r.value, f"{r.low:.4g} to {r.high:.4g}", r.spend,
         "" if r.name == found.reference else f"{r.difference:+.4g} ({r.difference_low:+.4g} to {r.difference_high:+.4g})")
        for r in found.rows()
    ]  # fmt: skip
    table(
        f"Value per head on trial rows, {found.level:.0%} intervals",
        ("policy", "budget", "value", "interval", "spend", f"against {found.reference}"),
        rows,
    )
    for note in found.notes:
        out.print(f"note: {escape(note)}", highlight=False)


def tuning(found: dict[str, Any], folder: Path) -> None:
    """Prints what a tuning found: the best trials, the choice, its proof."""
    from largesse.commands.findings.tune import MARKER, best_first, in_words

    rows = [
        (in_words(t["settings"]), t["model"], t["number"], t["value"], f"{t['error']:.2g}",
         "chosen" if t["number"] == found["chosen"]["trial"] else "")
        for t in best_first(found)
    ]  # fmt: skip
    table(
        "Best trials, by value per head on validation rows", ("settings", "model", "trial", "score", "error", ""), rows
    )
    for name in ("sentence", "caution", "stopped", "proof_sentence", "action"):
        if found[name]:
            out.print(f"{'[bold]' if name == 'sentence' else ''}{escape(found[name])}", highlight=False)
    out.print(f"\nConfiguration to fit: {escape(str(folder / MARKER))}", highlight=False, soft_wrap=True)
