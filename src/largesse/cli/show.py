"""Shows results on a terminal: tables, progress, errors, or JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import markup
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table as Grid

from largesse.progress import Note
from largesse.report.blocks import Tone
from largesse.result import json_text

if TYPE_CHECKING:  # a terminal needs no learners
    from largesse.checks.finding import Finding
    from largesse.evaluate.comparison import Comparison
    from largesse.experiment.design.plan import TestPlan
    from largesse.experiment.design.replay import Replay
    from largesse.experiment.measurement import Measured
    from largesse.progress import Say
    from largesse.report.blocks import Block, Cell, Table

__all__ = [
    "blocks",
    "comparison",
    "effects",
    "err",
    "escape",
    "findings",
    "out",
    "print_json",
    "progress",
    "replayed",
    "sentences",
    "table",
    "tuning",
]

out = Console()
err = Console(stderr=True)
_HIDDEN = [*range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x2028, 0x2029]
_IN_JSON = {code: f"\\u{code:04x}" for code in _HIDDEN}  # JSON itself escapes those below 0x20
_CONTROLS = {code: repr(chr(code))[1:-1] for code in (*range(0x20), *_HIDDEN) if chr(code) not in "\n\t"}
_COLOURS = {Tone.GOOD: "green", Tone.MIND: "yellow", Tone.BAD: "red", Tone.NONE: "default"}


def escape(text: str) -> str:
    """Returns text that a terminal shows as it is: no markup, and control characters as escapes, e.g. for ESC."""
    return markup.escape(text.translate(_CONTROLS))


def print_json(value: Any) -> None:
    """Prints one JSON document on standard output."""
    out.print(json_text(value).translate(_IN_JSON), soft_wrap=True, markup=False, highlight=False)


@contextmanager
def progress(quiet: bool) -> Iterator[Say]:
    """Yields the function that shows each stage; the progress bar goes to standard error."""
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
            if isinstance(stage, Note):
                bar.console.print(escape(stage), highlight=False)
            else:
                bar.update(job, description=escape(stage), completed=share)

        yield show


def table(shown: Table, title: str = "") -> None:
    """Prints a table of a report; columns of words are aligned left, numbers right."""
    columns, rows = shown.flat()
    grid = Grid(
        title=escape(title or shown.title) or None, title_justify="left", box=None, header_style="bold", pad_edge=False
    )
    for column in columns:
        grid.add_column(escape(column.name), justify="left" if column.words else "right", overflow="fold")
    for row in rows:
        grid.add_row(*(_cell(cell) for cell in row))
    out.print(grid)


def sentences(lines: Sequence[str]) -> None:
    """Prints the first paragraph of a report, its first sentence bold, and an empty line."""
    for k, line in enumerate(lines):
        out.print(f"[bold]{escape(line)}[/]" if k == 0 else escape(line), highlight=False)
    out.print()


def blocks(parts: Iterable[Block]) -> None:
    """Prints the tables, facts and sentences of a section, an empty line after each table."""
    from largesse.report import blocks as kinds

    for part in parts:
        if isinstance(part, kinds.Table):
            table(part)
        elif isinstance(part, kinds.Facts):
            grid = Grid(box=None, show_header=False, pad_edge=False)
            grid.add_column(overflow="fold", no_wrap=True)
            grid.add_column(overflow="fold")
            for name, text in part.entries:
                grid.add_row(escape(name), escape(text))
            out.print(grid)
        elif isinstance(part, kinds.Text):
            out.print(escape(part.lead + part.words), highlight=False)
            continue  # sentences follow each other
        out.print()


def _cell(cell: Cell) -> str:
    if isinstance(cell, str):
        return escape(cell)
    return f"[{_COLOURS[cell.tone]}]{escape(cell.text)}[/]"


def effects(one: Measured, methods: Sequence[str], level: float) -> None:
    """Prints one metric of an experiment: every arm by every estimator, the guard of STATE, the tails."""
    from largesse.commands.experiment import rows_of
    from largesse.report.effects import cautions, effect_table

    size = ", ".join(f"{arm} {n:,}" for arm, n in zip(one.arms, one.rows, strict=True))
    rows = rows_of(one, methods)
    table(effect_table(rows, level), f"{one.metric} against {one.arms[0]} ({size} rows)")
    for text in cautions(rows):
        out.print(f"[yellow]{escape(text)}.[/]", highlight=False)
    for arm, guard in zip(one.compared, one.guards, strict=True):
        name = f"{arm}: " if len(one.guards) > 1 else ""
        out.print(f"[{'yellow' if guard.warns else 'default'}]{escape(name + guard.sentence)}[/]", highlight=False)
    out.print(f"{escape(one.tails.sentence)}\n", highlight=False)


def replayed(metric: str, replay: Replay) -> None:
    """Prints the false positives and the power of each estimator on replayed past data."""
    from largesse.report.tests import replay_table

    units = f"{replay.units:,} past units in {replay.draws:,} simulated experiments without an effect"
    table(replay_table(replay), f"{metric}, level {replay.level:.4g}: {units}")
    out.print(
        f"Tests at {replay.alpha:.0%}. Relative variance: as a share of that of the difference in means. The guard warned of "
        f"STATE in {replay.warned:.1%} of the experiments; {replay.alpha:.0%} are expected.",
        highlight=False,
    )


def test_plan(plan: TestPlan) -> None:
    """Prints the units and days that a test needs with each estimator."""
    from largesse.report.tests import plan_table

    (a, _), (b, _) = plan.shares[:2]
    arms = ", ".join(f"{name} {share:.0%}" for name, share in plan.shares)
    table(
        plan_table(plan),
        f"To detect {plan.effect:+.4g} {plan.metric} of {b} over {a} with {plan.power:.0%} power ({arms})",
    )
    if plan.looks:
        looks = ", ".join(f"{share:.0%}: {z:.3f}" for share, z in zip(plan.looks, plan.z, strict=True))
        out.print(f"Looks at shares of the units, and the |z| that ends the test: {looks}.", highlight=False)


def findings(checks: Iterable[Finding], conclusion: str = "") -> None:
    """Prints the checks of the data, and the conclusion from all of them."""
    from largesse.report.table import BADGES

    for f in checks:
        colour = _COLOURS[BADGES[f.status].tone]
        out.print(f"[{colour}]{f.status.value:4}[/] [bold]{escape(f.name)}[/]: {escape(f.sentence)}", highlight=False)
    if conclusion:
        out.print(f"\n{escape(conclusion)}", highlight=False)


def comparison(shown: Comparison) -> None:
    """Prints a comparison: value per unit with interval, and the paired difference from the reference."""
    from largesse.report.numbers import number
    from largesse.report.table import budget_table, comparison_rows

    roles = dict.fromkeys(shown.names, "policy")
    rows = comparison_rows(shown, [number(float(budget)) for budget in shown.budgets], roles)
    grid = budget_table(
        rows, value="Value", spend="", level=shown.level, reference=shown.reference, ours=shown.names[0]
    )
    table(grid, "Value per unit on trial rows")
    for note in shown.notes:
        out.print(f"note: {escape(note)}", highlight=False)


def tuning(content: dict[str, Any], folder: Path) -> None:
    """Prints the result of a tuning: the best trials, the choice, its evaluation."""
    from largesse.commands.findings.tune import MARKER, trial_table

    table(trial_table(content), "Best trials, by value per unit on validation rows")
    for name in ("sentence", "caution", "stopped", "proof_sentence", "action"):
        if content[name]:
            out.print(f"{'[bold]' if name == 'sentence' else ''}{escape(content[name])}", highlight=False)
    out.print(f"\nConfiguration to fit: {escape(str(folder / MARKER))}", highlight=False, soft_wrap=True)
