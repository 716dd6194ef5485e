"""Tables of reports, whatever they are about."""

from __future__ import annotations

import re

import numpy as np

from largesse.experiment import Sample, plan_test, replay
from largesse.report.blocks import Column, Row, Table
from largesse.report.markdown import table as markdown_table
from largesse.report.numbers import OUT_OF_REACH, UNKNOWN
from largesse.report.sections import sections
from largesse.report.tests import plan_table, replay_table
from tests.common.results import results


def test_a_table_without_rows_is_not_shown() -> None:
    columns = (Column("Name", words=True), Column("Number"))
    assert markdown_table(Table(columns=columns, rows=(), title="Empty")) == ""
    assert markdown_table(Table(columns=columns, rows=(), grouped="Budget")) == ""
    full = markdown_table(Table(columns=columns, rows=(Row(("a", "1")),), title="Full"))
    assert full.startswith("### Full\n\n| Name | Number |\n| :-- | --: |\n")


def test_words_stand_left_and_numbers_right() -> None:
    """In every table: words in their natural order from the left, numbers below each other from the right."""
    rng = np.random.default_rng(0)
    past = Sample(value=rng.normal(5, 1, 300), arm=np.arange(300) % 2, arms=("A", "B"), prediction=rng.normal(size=300))
    history = replay(past, draws=20, lifts=(0.1,))
    plan = plan_test(history, effect=0.3, shares={"A": 0.5, "B": 0.5}, per_day=50)
    tables = [replay_table(history), plan_table(plan)]
    tables += [block for section in sections(results()) for block in section.blocks if isinstance(block, Table)]
    assert len(tables) > 8
    number = re.compile(r"(±\s?)?[−+]?[\d.,]+")
    for shown in tables:
        columns, rows = shown.flat()
        for column, cells in zip(columns, zip(*rows, strict=True), strict=True):
            told = [str(cell) for cell in cells if str(cell) not in ("", UNKNOWN, OUT_OF_REACH)]
            words = [text for text in told if not number.match(text)]
            assert column.words or not words, column.name
        assert columns[0].words
