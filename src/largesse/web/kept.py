"""A report that a folder keeps, as blocks of a page: every chart with a table of its numbers."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from largesse.report.blocks import Block, Card, Cards, Chart, Column, Row, Section, Slider, Table, Where
from largesse.report.numbers import number
from largesse.web.view import Drawn, Heading, Shown

__all__ = ["blocks_of_report", "table_of_chart"]

_ROWS = 400  # of the table of a chart


def blocks_of_report(sections: Iterable[Section], without: Collection[str] = ()) -> tuple[Shown, ...]:
    """Returns the blocks of sections under their headings.

    Args:
        sections: The sections, as `kept_sections` returns them.
        without: Anchors of sections that are left out.
    """
    out: list[Shown] = []
    for section in sections:
        if section.anchor in without:
            continue
        blocks = [block for block in section.blocks if block.where is not Where.TEXT and not isinstance(block, Slider)]
        if blocks:
            out += [Heading(section.anchor, section.title), *_with_tables(blocks)]
    return tuple(out)


def _with_tables(blocks: Sequence[Block]) -> list[Shown]:
    """Returns blocks in which each chart has a table: the one that follows it, or one of what it draws."""
    out: list[Shown] = []
    taken = False
    for block, following in zip(blocks, [*blocks[1:], None], strict=True):
        if taken:
            taken = False
        elif isinstance(block, Chart):
            taken = isinstance(following, Table)
            out.append(Drawn(block, following if isinstance(following, Table) else table_of_chart(block)))
        elif isinstance(block, Cards):
            out += [part for card in block.cards for part in _card(card)]
        else:
            out.append(block)
    return out


def _card(card: Card) -> list[Shown]:
    blocks = _with_tables([block for block in card.blocks if block.where is not Where.TEXT])
    return [Heading("", card.title), *blocks]


def table_of_chart(chart: Chart) -> Table:
    """Returns what a chart draws, series by series.

    Args:
        chart: A chart whose figure consists of lines, dots or bars.
    """
    figure: dict[str, Any] = json.loads(chart.figure().to_json(engine="json"))
    layout = figure.get("layout", {})
    names = [_title(layout, axis) or axis[0] for axis in ("xaxis", "yaxis")]
    rows = []
    for trace in figure.get("data", []):
        if trace.get("hoverinfo") == "skip" or trace.get("mode") == "text":
            continue
        x, y = (_plain(trace.get(axis)) for axis in "xy")
        rows += [Row((str(trace.get("name") or ""), _cell(a), _cell(b))) for a, b in zip(x, y, strict=False)]
    columns = (Column("Series", words=True), *map(Column, names))
    return Table(columns=columns, rows=tuple(rows[:_ROWS]))


def _title(layout: dict[str, Any], axis: str) -> str:
    title = layout.get(axis, {}).get("title", {})
    return str(title.get("text", "") if isinstance(title, dict) else title)


def _plain(values: Any) -> list[Any]:
    """Returns the values of a trace; Plotly writes arrays of numbers as base64 of their type."""
    if isinstance(values, dict) and "bdata" in values:
        import base64

        import numpy as np

        return [float(one) for one in np.frombuffer(base64.b64decode(values["bdata"]), np.dtype(values["dtype"]))]
    return list(values or [])


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return number(float(value)) if isinstance(value, int | float) else str(value)
