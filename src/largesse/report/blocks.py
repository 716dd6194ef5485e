"""The blocks of a report: text, tables, charts and cards, which HTML, Markdown and the terminal render."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

__all__ = ["Badge", "Block", "Bullets", "Card", "Cards", "Cell", "Chart", "Code", "Column", "Facts", "Key", "Row", "Section",
           "Slider", "Stop", "Table", "Text", "Tone", "Where"]  # fmt: skip


class Tone(StrEnum):
    """The colour of a badge."""

    GOOD = "good"
    MIND = "mind"
    BAD = "bad"
    NONE = "none"


class Where(StrEnum):
    """Which forms of a report show a block."""

    EVERYWHERE = "everywhere"
    PAGE = "page"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Badge:
    """A word on a coloured ground, such as a verdict."""

    text: str
    tone: Tone

    def __str__(self) -> str:
        return self.text


Cell = str | Badge


@dataclass(frozen=True, slots=True)
class Column:
    """Heading of a column: `words` are aligned left, numbers right; `quiet` columns are printed fainter."""

    name: str
    words: bool = False
    quiet: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """Cells of a row, one for each column; the row's group; whether the row is highlighted."""

    cells: tuple[Cell, ...]
    group: str = ""
    ours: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table.

    Attributes:
        columns: Headings of the columns.
        rows: The rows.
        title: Printed above the table; ``""`` where the heading of the section is enough.
        grouped: Name of what the rows are grouped by, e.g. ``"Budget"``; ``""`` where they are not.
        notes: Group → a note beside its heading.
        folded: On a page, opened by a click.
        where: Which forms of the report show it.
    """

    template: ClassVar[str] = "table"
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    title: str = ""
    grouped: str = ""
    notes: dict[str, str] | None = None
    folded: bool = False
    where: Where = Where.EVERYWHERE

    @property
    def groups(self) -> list[tuple[str, list[Row]]]:
        """The rows by group, in order."""
        names = dict.fromkeys(row.group for row in self.rows)
        return [(name, [row for row in self.rows if row.group == name]) for name in names]

    def flat(self) -> tuple[list[Column], list[tuple[Cell, ...]]]:
        """Returns columns and rows with the group in a column of its own, for forms without group headings."""
        if not self.grouped:
            return list(self.columns), [row.cells for row in self.rows]
        rows = [(name, *row.cells) for name, some in self.groups for row in some]
        return [Column(self.grouped, words=True), *self.columns], rows


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph; `lead` is its bold beginning, a `quiet` paragraph is a note."""

    template: ClassVar[str] = "text"
    where: ClassVar[Where] = Where.EVERYWHERE
    words: str
    lead: str = ""
    quiet: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A chart on a page, a picture elsewhere.

    Attributes:
        name: Unique on the page.
        label: Description for screen readers.
        figure: Returns the Plotly figure.
        caption: How to read it.
        title: Title of the picture.
        picture: File name of the picture beside the summary; ``""`` where there is none.
    """

    template: ClassVar[str] = "chart"
    name: str
    label: str
    figure: Callable[[], Any]
    caption: str = ""
    title: str = ""
    picture: str = ""
    where: Where = Where.EVERYWHERE


@dataclass(frozen=True, slots=True)
class Key:
    """A legend: names with their colours."""

    template: ClassVar[str] = "key"
    where: ClassVar[Where] = Where.PAGE
    entries: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """A list of names with a text for each."""

    template: ClassVar[str] = "facts"
    where: ClassVar[Where] = Where.EVERYWHERE
    entries: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Bullets:
    """Sentences in a list."""

    template: ClassVar[str] = "bullets"
    where: ClassVar[Where] = Where.EVERYWHERE
    sentences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Code:
    """A preformatted text, opened by a click."""

    template: ClassVar[str] = "code"
    where: ClassVar[Where] = Where.PAGE
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Card:
    """Blocks under a title of their own."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Cards:
    """Cards side by side."""

    template: ClassVar[str] = "cards"
    where: ClassVar[Where] = Where.PAGE
    cards: tuple[Card, ...]


@dataclass(frozen=True, slots=True)
class Stop:
    """One position of a slider: its name, a note beside it, what is read there, and the shares of the bar."""

    name: str
    note: str
    cells: tuple[str, ...]
    shares: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Slider:
    """A slider that shows the numbers of one position at a time.

    Attributes:
        name: Unique on the page.
        title: Printed above the slider.
        label: What the slider sets.
        columns: What is read at each position; a `quiet` one stands in brackets behind the one before it.
        stops: The positions, in order.
        parts: Names of the parts of the bar with their colours.
        start: The position that is shown first.
        caption: How to read it.
    """

    template: ClassVar[str] = "slider"
    where: ClassVar[Where] = Where.PAGE
    name: str
    title: str
    label: str
    columns: tuple[Column, ...]
    stops: tuple[Stop, ...]
    parts: tuple[tuple[str, str], ...]
    start: int = 0
    caption: str = ""


Block = Table | Text | Chart | Key | Facts | Bullets | Code | Cards | Slider


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a report under a heading; `anchor` is its address on the page."""

    anchor: str
    title: str
    blocks: Sequence[Block]
