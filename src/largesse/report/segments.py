"""Who gets what and what that brings, by segment of the units, for all forms of a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from largesse._arguments import checked
from largesse.evaluate.segments import SegmentRow
from largesse.report.blocks import Block, Column, Row, Table, Text
from largesse.report.numbers import number, percent, places, resting

__all__ = ["Segments", "gets", "segment_blocks", "segment_table"]

_MOST = 3  # treatments that are named in a cell
_LEAST = 0.005  # share of a treatment that is named


@checked
@dataclass(frozen=True, slots=True, kw_only=True)
class Segments:
    """What the policy gives and brings in each segment at one budget.

    Attributes:
        title: What the segments are, e.g. the name of a column.
        rows: The segments.
        treatments: Names of the treatments, control first, (M,).
        known: Whether it is known what one unit of value brings in money, so that net values are.
        note: How they were made; ``""`` leaves it out.
    """

    title: str
    rows: tuple[SegmentRow, ...]
    treatments: tuple[str, ...]
    known: bool
    note: str = ""


def segment_blocks(segments: Segments, *, value: str, money: str, head: str, level: float) -> list[Block]:
    """Returns the table of the segments with all its columns, and the note below it."""
    table = segment_table(segments, value=value, money=money, head=head, level=level)
    return [table, *([Text(segments.note, quiet=True)] if segments.note else [])]


def segment_table(segments: Segments, *, value: str, money: str, head: str, level: float, brief: bool = False) -> Table:
    """Returns what each segment gets and what that brings.

    Args:
        segments: The segments.
        value: Unit of the value, e.g. ``"orders"``.
        money: Unit of the cost, e.g. ``"EUR"``; empty if it is not declared.
        head: What one unit is, e.g. ``"user"``.
        level: Level of the intervals.
        brief: Without what is given, spent and, where net values are known, without the extra value.
    """
    known, rows = segments.known, segments.rows
    digits = places((row.net_high - row.net_low if known else row.value_high - row.value_low) / 2 for row in rows)
    of_value = places((row.value_high - row.value_low) / 2 for row in rows)
    main = f"Net {money} per {head}".replace("  ", " ") if known else f"Extra {value} per {head}"
    columns = (
        Column(segments.title, words=True), Column("Units"), *(() if brief else (Column("Gets", words=True),)), Column(main),
        Column(f"{percent(level)} interval", quiet=True),
        *(() if brief else (Column(f"Extra {money} spent per {head}" if money else f"Extra spend per {head}"),)),
        *((Column(f"Extra {value} per {head}"),) if known and not brief else ()),
    )  # fmt: skip
    out = []
    for row in rows:
        point, low, high = (row.net, row.net_low, row.net_high) if known else (row.value, row.value_low, row.value_high)
        out.append(Row((
            row.name, percent(row.share), *(() if brief else (gets(row.given, segments.treatments),)),
            number(point, decimals=digits, sign=True), resting(low, high, row.events, decimals=digits, sign=True),
            *(() if brief else (number(row.spend),)),
            *((number(row.value, decimals=of_value, sign=True),) if known and not brief else ()),
        )))  # fmt: skip
    return Table(columns=columns, rows=tuple(out))


def gets(given: Sequence[float], treatments: Sequence[str]) -> str:
    """Returns the treatments that most of a segment get.

    >>> gets([0.25, 0.0, 0.75], ["0", "5", "10"])
    "75 % '10', 25 % '0'"
    """
    ranked = sorted(zip(given, treatments, strict=True), key=lambda pair: -pair[0])
    named = [f"{percent(share)} {name!r}" for share, name in ranked[:_MOST] if share >= _LEAST]
    rest = sum(share for share, _ in ranked[_MOST:])
    return ", ".join([*named, *([f"{percent(rest)} others"] if rest >= _LEAST else [])])
