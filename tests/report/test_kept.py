"""The sections of a report as data: every kind of block comes back as it was, and what was not written so is refused."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args

import plotly.graph_objects as go
import pytest

from largesse import report
from largesse.errors import StoreError
from largesse.report.blocks import (
    Badge,
    Block,
    Bullets,
    Card,
    Cards,
    Chart,
    Code,
    Column,
    Facts,
    Key,
    Row,
    Section,
    Slider,
    Stop,
    Table,
    Text,
    Tone,
    Where,
)
from largesse.report.content import Headline
from largesse.report.kept import KEPT, as_kept, keep_sections, kept_sections, of_kept
from largesse.report.page import document, page
from largesse.report.sections import sections
from tests.common.results import results

HEAD = Headline(title="Größe <b>", sentence="It pays.", summary=("Here.", "There."), action="Do it.")
TABLE = Table(
    columns=(Column("Arm", words=True), Column("EUR"), Column("95 %", quiet=True)),
    rows=(
        Row((Badge("better", Tone.GOOD), "−1", "0 to 1"), group="a", ours=True),
        Row(("'x' | <y>", "2", ""), group="b"),
    ),
    title="Arms", grouped="Budget", notes={"a": "the first"}, folded=True, where=Where.TEXT,
)  # fmt: skip


def chart(height: int = 240) -> Chart:
    def figure() -> go.Figure:
        return go.Figure(go.Bar(x=["ä", "b"], y=[1.5, float("nan")]), layout={"height": height})

    return Chart(name="bars", label="Bars", figure=figure, caption="c", title="t", picture="p.png", where=Where.PAGE)


BLOCKS: tuple[Block, ...] = (
    TABLE, Text("words", lead="Lead.", quiet=True), chart(), Key((("a", "#fff"), ("b", "#000"))), Facts((("a", "1"),)),
    Bullets(("One.", "Two.")), Code("t", "x = 1\n"), Cards((Card("c", (TABLE, chart(300), Text("in"))), Card("empty", ()))),
    Slider(
        name="s", title="t", label="l", columns=(Column("Value"), Column("CI", quiet=True)), start=1, caption="c",
        stops=(Stop("0", "", ("1", "2"), ("100 %",)), Stop("1", "n", ("3", "4"), ("0 %",))), parts=(("none", "#999"),),
    ),
)  # fmt: skip


def plain(part: Any) -> Any:
    """What a part holds, its figure as JSON: another way than the one that is tested."""
    if isinstance(part, Chart):
        own = {one.name: getattr(part, one.name) for one in fields(part) if one.name != "figure"}
        return own | {"figure": json.loads(part.figure().to_json(engine="json"))}
    if is_dataclass(part):
        return type(part).__name__, {one.name: plain(getattr(part, one.name)) for one in fields(part)}
    if isinstance(part, list | tuple):
        return [plain(one) for one in part]
    return part


def test_there_is_an_example_of_every_kind_of_block():
    assert {type(block) for block in BLOCKS} == set(get_args(Block))


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.template)
def test_every_kind_of_block_comes_back(block, tmp_path):
    keep_sections(tmp_path, HEAD, [Section("a", "A", [block])])
    kept = kept_sections(tmp_path)
    assert kept is not None
    assert kept.headline == HEAD
    (part,) = kept.sections
    assert (part.anchor, part.title) == ("a", "A")
    assert plain(part.blocks) == plain([block])
    assert type(part.blocks[0]) is type(block)


def test_what_is_read_back_renders_to_the_same_page(tmp_path):
    shown = results()
    paths = report.write(shown, tmp_path)
    kept = kept_sections(tmp_path)
    assert kept is not None
    assert document(kept.headline, kept.sections) == page(shown) == paths["report.html"].read_text()
    assert as_kept(*kept) == as_kept(shown.headline, sections(shown)) == paths[KEPT].read_bytes()


def test_a_report_of_an_earlier_version_keeps_none(tmp_path):
    assert kept_sections(tmp_path) is None


def damaged(change: Any) -> bytes:
    content = json.loads(as_kept(HEAD, [Section("a", "A", BLOCKS)]))
    change(content)
    return json.dumps(content).encode()


def block(content: Any, kind: str) -> Any:
    return next(one for one in content["sections"][0]["blocks"] if one["kind"] == kind)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: block(c, "text").update(kind="video"), "blocks.1. == 'video'"),
        (lambda c: block(c, "text").pop("kind"), r"blocks\[1\]"),
        (lambda c: block(c, "text").update(kind=["text"]), r"blocks\[1\]"),
        (lambda c: block(c, "text").update(colour="red"), "colour is unknown"),
        (lambda c: block(c, "text").pop("words"), "words is missing"),
        (lambda c: block(c, "text").update(words=3), "words == '3'"),
        (lambda c: block(c, "text").update(quiet=1), "quiet == '1'"),
        (lambda c: block(c, "table").update(where="nowhere"), "where == 'nowhere'"),
        (lambda c: block(c, "table").update(notes=["a"]), "notes"),
        (lambda c: block(c, "table")["rows"][0]["cells"].pop(), "number of cells"),
        (lambda c: block(c, "table")["rows"][0]["cells"].__setitem__(0, 5), "cells"),
        (lambda c: block(c, "table").update(rows={"a": 1}), "rows"),
        (lambda c: block(c, "key").update(entries=[["a", "b", "c"]]), "entries"),
        (lambda c: block(c, "slider").update(start=2), "number of cells"),
        (lambda c: block(c, "slider").update(start=True), "start == 'True'"),
        (lambda c: block(c, "chart").update(figure=[1]), "figure"),
        (lambda c: block(c, "chart")["figure"].pop("data"), "figure"),
        (lambda c: block(c, "chart")["figure"]["layout"].pop("height"), "height"),
        (lambda c: c.pop("headline"), "headline"),
        (lambda c: c.update(sections="none"), "sections"),
        (lambda c: c["sections"].append("x"), r"sections\[1\]"),
        (lambda c: c.update(format=2), "its format is 2"),
    ],
)  # fmt: skip
def test_what_was_not_written_so_is_refused(change, words, tmp_path: Path):
    (tmp_path / KEPT).write_bytes(damaged(change))
    with pytest.raises(StoreError, match=words) as refused:
        kept_sections(tmp_path)
    assert str(refused.value).startswith(f"{tmp_path / KEPT}: is damaged (")
    assert "again" in str(refused.value)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"3", b"\xff\xfe", b'{"format":1,"x":NaN}', b"[" * 100_000])
def test_a_file_that_is_no_json_of_a_report_is_refused(data, tmp_path: Path):
    (tmp_path / KEPT).write_bytes(data)
    with pytest.raises(StoreError, match="is damaged"):
        kept_sections(tmp_path)


def test_a_folder_in_its_place_is_refused(tmp_path: Path):
    (tmp_path / KEPT).mkdir()
    with pytest.raises(StoreError, match="is no file"):
        kept_sections(tmp_path)


def test_a_part_without_a_form_is_refused():
    with pytest.raises(TypeError, match="has no form in sections.json"):
        as_kept(HEAD, [Section("a", "A", [Code("t", object())])])


def test_figures_are_drawn_once(tmp_path: Path):
    drawn = []

    def figure() -> go.Figure:
        drawn.append(1)
        return go.Figure(layout={"height": 100})

    one = Chart(name="n", label="l", figure=figure)
    report.files.write_report(HEAD, [Section("a", "A", [one])], {}, tmp_path)
    assert drawn == [1]
    stored = of_kept((tmp_path / KEPT).read_bytes()).sections[0].blocks[0]
    assert isinstance(stored, Chart)
    assert json.loads(stored.figure().to_json(engine="json"))["layout"]["height"] == 100
