"""Shows results on a terminal: tables, progress, errors, or JSON."""

from __future__ import annotations

import csv
import json
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import markup
from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table as Grid
from rich.text import Text

from largesse.progress import Note
from largesse.report.blocks import Tone
from largesse.result import json_text, plain

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
    "planned_test",
    "print_data",
    "print_json",
    "progress",
    "prose",
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
_ANY_WIDTH = 1_000_000
_HEAD = 14  # characters of a heading that stay on one line
_COLOURS = {Tone.GOOD: "green", Tone.MIND: "yellow", Tone.BAD: "red", Tone.NONE: "default"}


def escape(text: str) -> str:
    """Returns text that a terminal shows as it is: no markup, and control characters as escapes, e.g. for ESC."""
    return markup.escape(text.translate(_CONTROLS))


def print_json(value: Any) -> None:
    """Prints one JSON document on standard output."""
    out.print(json_text(value).translate(_IN_JSON), soft_wrap=True, markup=False, highlight=False)


def print_data(document: Any, rows: Iterable[Any], *, as_csv: bool) -> None:
    """Prints the main table of a command as CSV, or else its JSON document; a cell that is a list or an object is JSON."""
    if not as_csv:
        print_json(document)
        return
    records: list[dict[str, Any]] = plain(list(rows))
    names = list(dict.fromkeys(name for record in records for name in record))
    lines = csv.writer(out.file, lineterminator="\n")
    lines.writerow(_clean(name) for name in names)
    lines.writerows([_csv_cell(record.get(name)) for name in names] for record in records)


def _csv_cell(value: Any) -> str:
    """Returns a cell as JSON writes it, but text without quotes and nothing for null."""
    if value is None:
        return ""
    return _clean(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _clean(text: str) -> str:
    return text.translate(_CONTROLS)


def prose(text: str) -> None:
    """Prints text with markup; lines break between words only, so a name or a number stays whole."""
    _whole(Text.from_markup(text))


def _whole(text: Text) -> None:
    long = any(cell_len(word) > out.width for word in text.plain.split())
    out.print(text, highlight=False, soft_wrap=long)


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


def table(shown: Table, title: str = "", *, wide: bool = False) -> None:
    """Prints a table of a report; columns of words are aligned left, numbers right.

    Where the terminal is too narrow for the cells, every row becomes a block of lines, ``name: value``, so no cell is cut or
    broken over lines. `wide` prints the table whatever its width.
    """
    columns, rows = shown.flat()
    cells = [[_text(cell) for cell in row] for row in rows]
    if title or shown.title:
        prose(f"[italic]{escape(title or shown.title)}[/]")
    grid = Grid(box=None, header_style="bold", pad_edge=False)
    for k, column in enumerate(columns):
        head = _clean(column.name)
        room = max((cell_len(row[k].plain) for row in cells), default=0)
        grid.add_column(
            Text(head if wide else _folded(head, room)), justify="left" if column.words else "right", no_wrap=True
        )
    for row in cells:
        grid.add_row(*row)
    if not _fitted(grid, wide):
        for row in cells:
            for column, cell in zip(columns, row, strict=True):
                _line(column.name, cell)
            out.print()


def _fitted(grid: Grid, wide: bool) -> bool:
    """Prints a grid at its own width if that is not too wide; returns whether it did."""
    width = out.measure(grid, options=out.options.update(width=_ANY_WIDTH)).maximum
    if width > out.width and not wide:
        return False
    grid.width = width
    out.print(grid, crop=False)
    return True


def _folded(head: str, room: int) -> str:
    """Returns a heading on as many lines as its column needs; words stay whole."""
    room = max(room, *map(len, head.split()), _HEAD)
    return "\n".join(textwrap.wrap(head, room, break_long_words=False, break_on_hyphens=False))


def _line(name: str, text: Text) -> None:
    """Prints one line of a record; a cell that does not fit beside its name begins on a line of its own."""
    line = Text(f"{_clean(name)}: ", style="bold") + text
    fits = cell_len(line.plain) <= out.width
    _whole(line if fits else Text(f"{_clean(name)}:\n", style="bold") + text)


def _text(cell: Cell) -> Text:
    return Text(_clean(cell)) if isinstance(cell, str) else Text(_clean(cell.text), style=_COLOURS[cell.tone])


def sentences(lines: Sequence[str]) -> None:
    """Prints the first paragraph of a report, its first sentence bold, and an empty line."""
    for k, line in enumerate(lines):
        prose(f"[bold]{escape(line)}[/]" if k == 0 else escape(line))
    out.print()


def blocks(parts: Iterable[Block], *, wide: bool = False) -> None:
    """Prints the tables, facts and sentences of a section, an empty line after each table."""
    from largesse.report import blocks as kinds

    for part in parts:
        if isinstance(part, kinds.Table):
            table(part, wide=wide)
        elif isinstance(part, kinds.Facts):
            _facts(part.entries, wide)
        elif isinstance(part, kinds.Text):
            prose(escape(part.lead + part.words))
            continue  # sentences follow each other
        out.print()


def _facts(entries: Sequence[tuple[str, str]], wide: bool) -> None:
    """Prints names and their texts in two columns; one below the other where a word would be broken."""
    room = out.width - 2 - max((cell_len(_clean(name)) for name, _ in entries), default=0)
    longest = max((cell_len(word) for _, text in entries for word in _clean(text).split()), default=0)
    if longest > room and not wide:
        for name, text in entries:
            prose(f"[bold]{escape(name)}:[/] {escape(text)}")
        return
    grid = Grid(box=None, show_header=False, pad_edge=False)
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=wide)
    for name, text in entries:
        grid.add_row(Text(_clean(name)), Text(_clean(text)))
    if not _fitted(grid, wide):
        out.print(grid)


def effects(one: Measured, methods: Sequence[str], level: float, *, wide: bool = False) -> None:
    """Prints one metric of an experiment: every arm by every estimator, the guard of STATE, the tails."""
    from largesse.commands.experiment import rows_of
    from largesse.report.effects import cautions, effect_table

    size = ", ".join(f"{arm} {n:,}" for arm, n in zip(one.arms, one.rows, strict=True))
    rows = rows_of(one, methods)
    table(effect_table(rows, level), f"{one.metric} against {one.arms[0]} ({size} rows)", wide=wide)
    for text in cautions(rows):
        prose(f"[yellow]{escape(text)}.[/]")
    for arm, guard in zip(one.compared, one.guards, strict=True):
        name = f"{arm}: " if len(one.guards) > 1 else ""
        prose(f"[{'yellow' if guard.warns else 'default'}]{escape(name + guard.sentence)}[/]")
    prose(f"{escape(one.tails.sentence)}\n")


def replayed(metric: str, replay: Replay, *, wide: bool = False) -> None:
    """Prints the false positives and the power of each estimator on replayed past data."""
    from largesse.report.tests import replay_table

    units = f"{replay.units:,} past units in {replay.draws:,} simulated experiments without an effect"
    table(replay_table(replay), f"{metric}, level {replay.level:.4g}: {units}", wide=wide)
    prose(
        f"Tests at {replay.alpha:.0%}. Relative variance: as a share of that of the difference in means. The guard warned of "
        f"STATE in {replay.warned:.1%} of the experiments; {replay.alpha:.0%} are expected."
    )


def planned_test(plan: TestPlan, *, wide: bool = False) -> None:
    """Prints the units and days that a test needs with each estimator."""
    from largesse.report.tests import plan_table

    (a, _), (b, _) = plan.shares[:2]
    arms = ", ".join(f"{name} {share:.0%}" for name, share in plan.shares)
    table(
        plan_table(plan),
        f"To detect {plan.effect:+.4g} {plan.metric} of {b} over {a} with {plan.power:.0%} power ({arms})",
        wide=wide,
    )
    if plan.looks:
        looks = ", ".join(f"{share:.0%}: {z:.3f}" for share, z in zip(plan.looks, plan.z, strict=True))
        prose(f"Looks at shares of the units, and the |z| that ends the test: {looks}.")


def page(folder: Path | None) -> None:
    """Prints where the page is, if one was written."""
    if folder is not None:
        out.print(f"Report: {escape(str(folder / 'report.html'))}", highlight=False, soft_wrap=True)


def findings(checks: Iterable[Finding], conclusion: str = "") -> None:
    """Prints the checks of the data, and the conclusion from all of them."""
    from largesse.report.table import BADGES

    for f in checks:
        colour = _COLOURS[BADGES[f.status].tone]
        prose(f"[{colour}]{f.status.value:4}[/] [bold]{escape(f.name)}[/]: {escape(f.sentence)}")
    if conclusion:
        prose(f"\n{escape(conclusion)}")


def comparison(shown: Comparison, *, wide: bool = False) -> None:
    """Prints a comparison: value per unit with interval, and the paired difference from the reference."""
    from largesse.report.numbers import number
    from largesse.report.table import budget_table, comparison_rows

    roles = dict.fromkeys(shown.names, "policy")
    rows = comparison_rows(shown, [number(float(budget)) for budget in shown.budgets], roles)
    grid = budget_table(
        rows, value="Value", spend="", level=shown.level, reference=shown.reference, ours=shown.names[0]
    )
    table(grid, "Value per unit on trial rows", wide=wide)
    for note in shown.notes:
        prose(f"note: {escape(note)}")


def tuning(content: dict[str, Any], folder: Path, *, wide: bool = False) -> None:
    """Prints the result of a tuning: the best trials, the choice, its evaluation."""
    from largesse.commands.findings.tune import MARKER, trial_table

    table(trial_table(content), "Best trials, by value per unit on validation rows", wide=wide)
    for name in ("sentence", "caution", "stopped", "proof_sentence", "action"):
        if content[name]:
            prose(f"{'[bold]' if name == 'sentence' else ''}{escape(content[name])}")
    out.print(f"\nConfiguration to fit: {escape(str(folder / MARKER))}", highlight=False, soft_wrap=True)
    page(folder)
