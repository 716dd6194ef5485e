"""What is no file, no amount or an odd type is refused, or read for what it shows."""

from __future__ import annotations

import os
from datetime import date, timedelta
from decimal import Decimal

import pyarrow as pa
import pytest

from largesse.errors import DataError, StoreError
from largesse.frames import read
from largesse.frames.columns import coded, exact, texts
from largesse.frames.convert import menu
from largesse.frames.tables import writable

FILES = (".parquet", ".csv", ".csv.gz", ".feather", ".arrow")


@pytest.mark.parametrize("suffix", FILES)
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: os.symlink(path.name, path), "cannot be opened"),
        (os.mkfifo, "is neither a file nor a folder"),
        (lambda path: os.symlink("/dev/zero", path), "is neither a file nor a folder"),
        (lambda path: os.symlink("nowhere", path), "no such file"),
    ],
    ids=["loop", "pipe", "device", "dangling"],
)
def test_only_files_and_folders_are_read(suffix, make, words, tmp_path):
    path = tmp_path / f"t{suffix}"
    make(path)
    with pytest.raises(DataError, match=words):
        read(path)
    with pytest.raises(StoreError, match="would overwrite an input"):
        writable(path, path)
    writable(tmp_path / "other.csv", path)


@pytest.mark.parametrize("name", ["x" * 300 + ".csv", "a\0b.csv"])
def test_impossible_names_are_refused(name, tmp_path):
    with pytest.raises(DataError, match="cannot be opened"):
        read(tmp_path / name)


VIEWS = {"text": (["a", "b", "a"], pa.string_view()), "bytes": ([b"a", b"b", b"a"], pa.binary_view())}


@pytest.mark.parametrize("name", VIEWS)
def test_views_are_read_as_what_they_show(name):
    cells, kind = VIEWS[name]
    column = pa.chunked_array([pa.array(cells, kind)])
    assert exact("c", column).to_pylist() == ["a", "b", "a"]
    assert read({"c": column})["c"].take(pa.array([2, 1])).to_pylist() == [cells[2], cells[1]]
    codes, values = coded(exact("c", column))
    assert codes.tolist() == [0, 1, 0]
    assert texts(values) == ["a", "b"]


def test_decimal_ids_keep_every_digit():
    wide = [Decimal(10**40 + k) for k in range(3)]
    column = pa.chunked_array([pa.array(wide, pa.decimal256(60, 2))])
    assert exact("id", column).to_pylist() == [str(10**40 + k) for k in range(3)]
    mixed = pa.chunked_array([pa.array([Decimal("1.50"), Decimal("2.00"), None, Decimal("-0.00")])])
    assert exact("id", mixed).to_pylist() == ["1.5", "2", None, "0"]
    whole = pa.chunked_array([pa.array([Decimal("7.00"), Decimal("-3.00")])])
    assert exact("id", whole).to_pylist() == [7, -3]


@pytest.mark.parametrize(
    ("part", "cells", "words"),
    [
        ("v 1", [date(2020, 1, 1), date(2020, 1, 2)], "column 'v 1': holds date32"),
        ("v 1", [timedelta(1), timedelta(2)], "column 'v 1': holds duration"),
        ("c 1", pa.array([1, 2], pa.time32("s")), "column 'c 1': holds time32"),
        ("v 0", [1e308, 1e308], r"v 0\[0\] == 1e\+308: must be between .* \(2 such rows of 2\)"),
        ("c 1", [1.0, -1e300], r"c 1\[1\] == -1e\+300"),
    ],
)
def test_dates_and_damaged_cells_are_no_amounts_of_a_menu(part, cells, words):
    table = pa.table({"v 0": [0.0, 0.0], "v 1": [1.0, 2.0], "c 0": [0.0, 0.0], "c 1": [1.0, 1.0], part: cells})
    with pytest.raises(DataError, match=words):
        menu(table, ["v 0", "v 1"], ["c 0", "c 1"], ("0", "1"))
