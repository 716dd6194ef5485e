"""A unit that is typed in, of every kind of column."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from largesse.commands.studio.typed import text_of, typed
from largesse.errors import DataError
from largesse.frames import Encoder
from tests.common.campaigns import table

ROWS = 200


def rows() -> pa.Table:
    rng = np.random.default_rng(0)
    return pa.table({
        "age": pa.array([None if k % 9 == 0 else float(k % 50) / 3 for k in range(ROWS)]),
        "vip": rng.random(ROWS) < 0.5,
        "city": rng.choice(["north", "south", "rare 1", "rare 2"], ROWS, p=[0.5, 0.48, 0.01, 0.01]),
        "size": pa.array(rng.integers(36, 40, ROWS).astype(str)).dictionary_encode(),
        "since": pa.array(np.datetime64("2019-03-01") + rng.integers(0, 900, ROWS)),
        "clock": pa.array(np.datetime64("2024-01-01T00:00:00", "us") + rng.integers(0, 10**13, ROWS).astype("timedelta64[us]")),
        "wait": pa.array(rng.integers(0, 10**6, ROWS).astype("timedelta64[s]")),
        "points": rng.integers(0, 3_000, ROWS),
    })  # fmt: skip


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder.fit(rows(), rows().column_names)


@pytest.mark.parametrize("k", [0, 1, 7, 63])
def test_a_unit_whose_cells_are_written_as_text_is_the_same_unit(encoder: Encoder, k: int) -> None:
    one = rows().slice(k, 1)
    made = typed(encoder, {name: text_of(cell) for name, cell in one.to_pylist()[0].items()})
    assert encoder.transform(made.table).tolist() == encoder.transform(one).tolist()
    frequent = one["city"][0].as_py() in ("north", "south")
    assert (made.notes == ()) == frequent


def test_what_is_left_out_is_missing(encoder: Encoder) -> None:
    nothing = typed(encoder, {"age": "  "}).table
    assert all(cell is None for cell in nothing.to_pylist()[0].values())
    encoder.transform(nothing)


def test_people_write_numbers_and_truth_values_in_several_ways(encoder: Encoder) -> None:
    cells = typed(
        encoder, {"points": "1,200", "vip": "Yes", "since": "2020-02-29", "clock": "2024-01-02 03:04", "wait": "0.5"}
    )
    got = cells.table.to_pylist()[0]
    assert (got["points"], got["vip"]) == (1200.0, 1.0)
    assert got["since"] == datetime(2020, 2, 29, tzinfo=UTC)
    assert got["clock"] == datetime(2024, 1, 2, 3, 4, tzinfo=UTC)
    assert got["wait"] == timedelta(hours=12)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("age", "old", "age == 'old': must be a number"), ("points", "inf", "points == 'inf': must be a number"),
        ("since", "31.1.2026", "since == '31.1.2026': must be a date"),
        ("wait", "long", "wait == 'long': must be a number of days"),
    ],
)  # fmt: skip
def test_other_texts_are_refused(encoder: Encoder, name: str, text: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        typed(encoder, {name: text})


def test_a_label_that_the_trial_did_not_have_is_named(encoder: Encoder) -> None:
    (note,) = typed(encoder, {"city": "norht"}).notes
    assert "reads it as one of the rare labels" in note
    assert "Did you mean 'north'?" in note
    plain = Encoder.fit(table(300, 1), ["city", "f0"])
    assert "reads it as none of them" in typed(plain, {"city": "west"}).notes[0]


def test_single_precision_has_fewer_digits() -> None:
    cell = float(np.float32(0.1))
    assert text_of(cell, single=True) == "0.1"
    assert np.float32(text_of(cell)) == np.float32(0.1)


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (date(2026, 1, 31), "2026-01-31"),
        (timedelta(hours=36), "1.5"),
        (float("nan"), ""),
        (1e20, "1e+20"),
        (-2.5, "-2.5"),
    ],
)
def test_cells_as_text(cell: object, text: str) -> None:
    assert text_of(cell) == text
