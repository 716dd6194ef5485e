"""The journal of a campaign in words."""

from __future__ import annotations

import pytest

pytest.importorskip("sqlalchemy", reason="the extra 'serve' is not installed")

from largesse.commands.findings.journal import change_words, journal_table
from largesse.serving.ledger.changes import CHALLENGER, RUN, Change, note_change
from largesse.serving.ledger.store import writing

DAY = 86_400.0


@pytest.mark.parametrize(
    ("got", "words"),
    [
        (None, "none"),
        (5.0, "5.0"),
        ("a unit", "a unit"),
        ({"version": None, "why": "it is worse"}, "none (it is worse)"),
        ({"version": "a-1", "share": 0.25, "shadow": True}, "a-1, 25.0% of the units, in the shadow"),
        ({"name": "growth", "budget": 300.0}, "name growth, budget 300.0"),
    ],
)
def test_what_a_line_says(got, words):
    assert change_words(got) == words


def test_the_table_has_the_newest_line_first_with_who_and_why():
    lines = [
        Change(0.0, "until", 9 * DAY, 10 * DAY),
        Change(DAY, "budget", 1000.0, 2500.5),
        Change(2 * DAY, RUN, {"version": "a"}, {"version": "b", "why": "it is better", "by": "studio"}),
        Change(3 * DAY, "erasure", "u7", "3 decisions"),
    ]
    assert [row.cells for row in journal_table(lines).rows] == [
        ("1970-01-04 00:00", "erasure", "u7", "3 decisions", "–", "–"),
        ("1970-01-03 00:00", "run", "a", "b", "studio", "it is better"),
        ("1970-01-02 00:00", "budget", "1,000", "2,500", "–", "–"),
        ("1970-01-01 00:00", "until", "1970-01-10 00:00", "1970-01-11 00:00", "–", "–"),
    ]


def test_a_line_is_not_written_where_only_who_and_why_differ(tmp_path):
    from largesse.serving import Campaign, Ledger
    from largesse.serving.ledger.changes import changes

    with Ledger.open(f"sqlite:///{tmp_path}/a.db", clock=lambda: 0.0) as ledger:
        ledger.start(Campaign(name="c", treatments=("none", "coupon"), budget=1.0, until=DAY, price=1.0))
        with writing(ledger.engine) as connection:
            for before, after in (
                (None, {"version": "a", "by": "studio"}),
                ({"version": "a"}, {"version": "a", "why": "as it was", "by": "somebody"}),
            ):
                note_change(connection, "c", CHALLENGER, before, after, 0.0)
        assert [one.after for one in changes(ledger, "c")] == [{"version": "a", "by": "studio"}]
