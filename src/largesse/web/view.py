"""What a page of the studio shows: an answer, numbers, blocks of a report, and the fields that change them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from largesse.report.blocks import Badge, Block, Chart, Table
from largesse.report.slide import Curve

__all__ = ["Action", "Drawn", "Field", "Heading", "Reading", "Shown", "View", "blocks_of", "tables_of"]


@dataclass(frozen=True, slots=True)
class Reading:
    """A number that is read at a glance.

    Attributes:
        name: What it is, with its unit.
        value: The number.
        detail: Its interval, or what it stands beside; ``""``: nothing.
    """

    name: str
    value: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A chart and the table of what it draws.

    Attributes:
        chart: The chart.
        table: Its numbers.
        marked: Whether a line marks the amount that the page is about, on the x-axis.
        opened: Whether the table is shown at once, not after a click.
    """

    chart: Chart
    table: Table
    marked: bool = False
    opened: bool = False


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading between blocks; `anchor` is its address on the page, ``""`` where it has none."""

    anchor: str
    title: str


Shown = Block | Drawn | Heading


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A field of a form; its name is the parameter of the address that holds its value.

    Attributes:
        name: Name of the parameter.
        label: What it sets, with its unit.
        value: What it holds now, as text.
        kind: How it is entered: "amount" is a slider beside a number; "heading" is no field, it begins a group of fields that is
            opened by a click, and is open where its value is not "".
        low: Smallest number.
        high: Largest number.
        step: Step of the slider and of the number; ``"any"``: none.
        options: Value and label of every choice.
        help: A sentence below it.
        moving: Whether only what moves is shown anew when it changes.
        rows: Height of a text area, in lines.
    """

    name: str
    label: str
    value: str
    kind: Literal["amount", "number", "choice", "text", "area", "check", "hidden", "heading"] = "number"
    low: str = ""
    high: str = ""
    step: str = "any"
    options: tuple[tuple[str, str], ...] = ()
    help: str = ""
    moving: bool = False
    rows: int = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """A button that changes a campaign in service; it is confirmed before.

    Attributes:
        address: Where it is sent.
        label: The words on it.
        confirm: What is asked before.
        fields: Hidden values that it sends.
        role: The role that may press it.
    """

    address: str
    label: str
    confirm: str
    fields: Mapping[str, str] = field(default_factory=dict)
    role: str = "admin"


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The content of a page.

    Attributes:
        headline: A sentence: the answer to the question of the page.
        badge: A verdict beside it; None: none.
        summary: Further sentences.
        action: What to do next; ``""``: nothing.
        readings: Numbers that are read at a glance.
        moving: Blocks that follow the fields that move, such as a slider.
        fixed: Blocks that do not.
        fields: The fields of the form.
        actions: Buttons that change something.
        links: Further addresses: words and address.
        mark: The amount that charts mark; None: none.
        document: What the JSON form of the page has beside its tables.
        refresh: Seconds after which the page is read anew; 0: never.
        curve: What a slide of the page draws; None: nothing.
        rules: The rules of the page as TOML, for a download; "": there are none.
    """

    headline: str
    badge: Badge | None = None
    summary: tuple[str, ...] = ()
    action: str = ""
    readings: tuple[Reading, ...] = ()
    moving: tuple[Shown, ...] = ()
    fixed: tuple[Shown, ...] = ()
    fields: tuple[Field, ...] = ()
    actions: tuple[Action, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    mark: float | None = None
    document: Mapping[str, Any] = field(default_factory=dict)
    refresh: int = 0
    curve: Curve | None = None
    rules: str = ""


def blocks_of(view: View) -> tuple[Shown, ...]:
    """Returns all blocks of a page, in order."""
    return (*view.moving, *view.fixed)


def tables_of(view: View) -> list[Table]:
    """Returns all tables of a page, those of charts too, in order: their positions are their numbers in an address."""
    tables = []
    for block in blocks_of(view):
        if isinstance(block, Drawn):
            tables.append(block.table)
        elif isinstance(block, Table):
            tables.append(block)
    return tables
