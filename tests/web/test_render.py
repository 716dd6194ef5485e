"""The forms of a page: cells that a spreadsheet reads as numbers and does not compute, and sentences in Markdown."""

from __future__ import annotations

import csv
import io
import json

import plotly.graph_objects as go
import pytest

from largesse.report.blocks import Badge, Card, Cards, Chart, Column, Row, Section, Slider, Table, Text, Tone
from largesse.web.kept import blocks_of_report, table_of_chart
from largesse.web.render import as_csv, as_json, as_markdown
from largesse.web.view import Drawn, Heading, Reading, View, blocks_of, tables_of


@pytest.mark.parametrize(
    ("shown", "cell"),
    [
        ("12,345.6", "12345.6"), ("−0.5", "-0.5"), ("+7", "7"), ("0.1 to 0.2, 7 events: few", "0.1 to 0.2, 7 events: few"),
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"), ("@x", "'@x"), ("-cmd", "'-cmd"), ("+0.1 to +0.2", "+0.1 to +0.2"), ("", ""),
        ("60 %", "60 %"), ("\tx", "'\tx"),
    ],
)  # fmt: skip
def test_a_cell_is_a_number_or_words(shown: str, cell: str) -> None:
    table = Table(columns=(Column("a"), Column("b", words=True)), rows=(Row((shown, Badge(shown, Tone.NONE))),))
    rows = list(csv.reader(io.StringIO(as_csv(table))))
    assert rows == [["a", "b"], [cell, cell]]


def chart(name: str = "c") -> Chart:
    figure = go.Figure(go.Scatter(x=[1, 2], y=[3.0, 4.5], name="line"))
    figure.update_xaxes(title_text="Budget, EUR")
    return Chart(name=name, label="a chart", figure=lambda: figure, title="A chart")


def test_the_table_of_a_chart_has_its_points() -> None:
    table = table_of_chart(chart())
    assert [one.name for one in table.columns] == ["Series", "Budget, EUR", "y"]
    assert [row.cells for row in table.rows] == [("line", "1.00", "3.00"), ("line", "2.00", "4.50")]


def test_every_chart_of_a_report_gets_a_table() -> None:
    own = Table(columns=(Column("n"),), rows=(Row(("1",)),))
    slider = Slider(name="s", title="", label="", columns=(), stops=(), parts=())
    sections = [
        Section("one", "One", [chart("a"), own, slider, Text("words")]),
        Section("two", "Two", [Cards((Card("a card", (chart("b"), Text("more"))),))]),
        Section("gone", "Gone", [Text("left out")]),
    ]
    blocks = blocks_of_report(sections, without=("gone",))
    assert [type(one) for one in blocks] == [Heading, Drawn, Text, Heading, Heading, Drawn, Text]
    drawn = [one for one in blocks if isinstance(one, Drawn)]
    assert drawn[0].table is own
    assert len(drawn[1].table.rows) == 2


def test_a_page_as_json_and_as_markdown() -> None:
    table = Table(columns=(Column("Name", words=True), Column("n")), rows=(Row(("a *b*", "1,000")),), title="Counts")
    view = View(
        headline="It pays.", badge=Badge("better", Tone.GOOD), summary=("Because.",), action="Go on.",
        readings=(Reading("Net EUR", "+5", "1 to 9"),), moving=(Drawn(chart(), table),), fixed=(Heading("x", "More"), table),
        document={"budget": 5.0, "none": float("nan")},
    )  # fmt: skip
    content = json.loads(as_json("Budget", view))
    assert (content["headline"], content["verdict"], content["data"]) == (
        "It pays.",
        "better",
        {"budget": 5.0, "none": None},
    )
    assert [one["rows"] for one in content["tables"]] == [[["a *b*", "1,000"]]] * 2
    text = as_markdown("Budget", view, "From a test.")
    assert text.startswith("# Budget\n\n**It pays.**")
    for part in ("Verdict: better.", "Go on.", "- Net EUR: +5 (1 to 9)", r"a \*b\*", "**More**", "From a test."):
        assert part in text, part
    assert tables_of(view) == [table, table]
    assert len(blocks_of(view)) == 3
