"""Ids and labels stay as they stand in a file, and equal ones are equal whatever type a frame gives them."""

from __future__ import annotations

import decimal
import gzip
import logging
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from largesse.errors import DataError, SchemaError
from largesse.frames import Encoder, Roles, arms, ids, logs, read
from largesse.frames.columns import cells, exact
from largesse.roles import label


def csv(folder: Path, text: str, name: str = "a.csv") -> Path:
    place = folder / name
    if name.endswith(".gz"):
        place.write_bytes(gzip.compress(text.encode()))
    else:
        place.write_text(text)
    return place


IDS = {
    "leading zeros": ["000388907", "101044572", "7"],
    "20 digits": ["98765432109876543210", "98765432109876543211", "1"],
    "exponents": ["1e5", "100000", "2e5"],
    "signs": ["+5", "5", "-5"],
    "trailing zeros": ["1.10", "1.1", "1.100"],
    "dates": ["2024-01-01", "2024-01-02", "2024-1-1"],
    "times": ["12:30", "12:30:00", "1:30"],
    "hexadecimal": ["0x10", "16", "10"],
    "words for missing": ["NA", "NULL", "nan"],
    "19 digits": ["9223372036854775808", "9223372036854775809", "5"],
    "many digits after the point": ["0.12345678901234567", "0.12345678901234568", "1"],
    "mixed case": ["true", "TRUE1", "True"],
}


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
@pytest.mark.parametrize("kept", IDS.values(), ids=IDS)
def test_cells_of_a_csv_file_stay_as_they_are(tmp_path: Path, kept: list[str], name: str):
    place = csv(tmp_path, "user,x\n" + "".join(f"{cell},{k}\n" for k, cell in enumerate(kept)), name)
    assert read(place, text=["user", "not there"])["user"].to_pylist() == kept
    assert ids(place, "user").tolist() == kept
    assert len(set(ids(place, "user").tolist())) == 3


def test_numbers_that_lose_nothing_are_numbers(tmp_path: Path):
    place = csv(tmp_path, "a,b,c\n1,0.5,true\n-20,1.0,False\n9223372036854775807,2,TRUE\n")
    table = read(place, text=["a", "b", "c"])
    assert [str(kind) for kind in table.schema.types] == ["int64", "double", "bool"]
    assert table.to_pydict() == {"a": [1, -20, 2**63 - 1], "b": [0.5, 1.0, 2.0], "c": [True, False, True]}


def test_only_an_empty_cell_of_an_id_or_label_is_missing(tmp_path: Path):
    place = csv(tmp_path, "arm,x\nNA,1\nnull,NA\nn/a,3\n")
    assert read(place, text=["arm"]).to_pydict() == {"arm": ["NA", "null", "n/a"], "x": [1, None, 3]}
    assert arms(read(place, text=["arm"]), "arm", control="NA")[1] == ("NA", "n/a", "null")
    place = csv(tmp_path, "arm,x\nNA,1\n,2\n")
    with pytest.raises(DataError, match=r"arm\[1\] is missing: every row needs a treatment \(1 such row of 2\)"):
        arms(read(place, text=["arm"]), "arm", control="NA")


def test_labels_that_read_alike_as_numbers_are_several_arms(tmp_path: Path):
    place = csv(tmp_path, "arm,y,x\n" + "".join(f"{arm},1,{k}\n" for k, arm in enumerate(["00", "05", "5", "010"] * 5)))
    rows, _ = logs(place, Roles(treatment="arm", value="y", control="00"))
    assert rows.treatments == ("00", "05", "5", "010")
    assert rows.arm_rows.tolist() == [5, 5, 5, 5]


@pytest.mark.parametrize("sign", [";", "\t", "|"])
def test_other_delimiters_are_recognised(tmp_path: Path, sign: str):
    text = "user,age,town\n01,20,Lyon\n02,30,Nice\n".replace(",", sign)
    assert read(csv(tmp_path, text), text=["user"]).to_pydict() == {
        "user": ["01", "02"],
        "age": [20, 30],
        "town": ["Lyon", "Nice"],
    }


def test_semicolons_with_decimal_commas(tmp_path: Path):
    assert read(csv(tmp_path, 'a;b\n1,5;"x;y"\n2;z\n')).to_pydict() == {"a": [1.5, 2.0], "b": ["x;y", "z"]}
    assert read(csv(tmp_path, 'a,b\n1.5,"x;y;z"\n2,"u;v"\n')).to_pydict() == {"a": [1.5, 2.0], "b": ["x;y;z", "u;v"]}
    assert read(csv(tmp_path, "a\n1\n2\n")).to_pydict() == {"a": [1, 2]}
    assert read(csv(tmp_path, "a;b\n1,5;2.5\n")).to_pydict() == {"a": ["1,5"], "b": [2.5]}, (
        "two signs: neither is guessed"
    )


WHOLE: dict[str, Any] = {
    "int64": pa.array([1, 2, 10]),
    "float64": pa.array([1.0, 2.0, 10.0]),
    "float32": pa.array([1.0, 2.0, 10.0], pa.float32()),
    "uint8": pa.array([1, 2, 10], pa.uint8()),
    "pandas Int64": pa.array(pd.array([1, 2, 10], dtype="Int64")),
    "decimal": pa.array([decimal.Decimal(k) for k in (1, 2, 10)], pa.decimal128(20, 0)),
    "decimal with places": pa.array([decimal.Decimal(f"{k}.00") for k in (1, 2, 10)], pa.decimal128(20, 2)),
    "categories": pa.array([1.0, 2.0, 10.0]).dictionary_encode(),
}


@pytest.mark.parametrize("column", WHOLE.values(), ids=WHOLE)
def test_whole_numbers_are_the_same_ids_and_labels_in_any_type(column: pa.Array):
    assert ids(pa.table({"u": column}), "u").tolist() == [1, 2, 10]
    assert arms(pa.table({"u": column}), "u", control="1")[1] == ("1", "2", "10")


@pytest.mark.parametrize("kind", ["u", "treatment"])
@pytest.mark.parametrize("large", [2.0**53, -(2.0**53), 1e300])
def test_floats_that_stand_for_several_integers_are_refused(kind: str, large: float):
    with pytest.raises(
        DataError, match=rf"{kind}\[1\] == .*stands for several integers.*\(1 such row of 3\).*as integers or as text"
    ):
        exact(kind, pa.chunked_array([[1.0, large, 3.0]]))


def test_integers_beyond_2_53_are_exact():
    kept = [2**53 + k for k in range(5)]
    assert ids(pa.table({"u": kept}), "u").tolist() == kept
    assert ids(pa.table({"u": pa.array([2**64 - 1, 2**64 - 2], pa.uint64())}), "u").tolist() == [2**64 - 1, 2**64 - 2]


def test_uuids_and_bytes_are_ids():
    names = [uuid.UUID(int=k) for k in (1, 2)]
    raw = pa.array([one.bytes for one in names], pa.binary(16))
    assert ids(pa.table({"u": pa.ExtensionArray.from_storage(pa.uuid(), raw)}), "u").tolist() == [
        str(one) for one in names
    ]
    assert ids(pa.table({"u": pa.array([b"anna", b"bert"])}), "u").tolist() == ["anna", "bert"]
    assert ids(pa.table({"u": pa.array([b"\xff\x00", b"\x01\x02"])}), "u").tolist() == ["ff00", "0102"]
    with pytest.raises(SchemaError, match="holds list"):
        ids(pa.table({"u": [[1], [2]]}), "u")


def test_blanks_around_labels_do_not_count_and_are_noted(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING):
        codes, names = arms(pa.table({"arm": [" 5", "5 ", "control", "5"]}), "arm")
    assert (codes.tolist(), names) == ([1, 1, 0, 1], ("control", "5"))
    assert "blanks around a label do not count (2 such labels)" in caplog.text
    with pytest.raises(DataError, match=r"arm\[1\] is missing"):
        arms(pa.table({"arm": ["a", "  ", "control"]}), "arm")
    assert label("  x ") == "x"
    table = pa.table({"town": ["Nice"] * 9 + [" Nice"] * 3 + ["Lyon"] * 12})
    encoder = Encoder.fit(table, ["town"])
    assert encoder.names == ("town = Lyon", "town = Nice")
    assert encoder.transform(table).sum(0).tolist() == [12, 12]


@pytest.mark.parametrize(("yes", "no"), [("yes", "no"), ("Yes", "NO"), ("true", "false"), ("Y", "n"), ("t", "F")])
def test_yes_and_no_are_outcomes(yes: str, no: str):
    assert cells("bought", pa.chunked_array([[yes, no, None, yes]])).tolist()[:2] == [1, 0]
    assert np.isnan(cells("bought", pa.chunked_array([[yes, no, None]]))[2])
    with pytest.raises(SchemaError, match=r"'bought': holds text \(e\.g\. 'perhaps'\), it must hold numbers"):
        cells("bought", pa.chunked_array([[yes, "perhaps"]]))


@pytest.mark.parametrize("money", ["€ 5", "$1,000.50", "1.234,50 €", "EUR 12", "12 %", "(1,000)", "1 000,00"])
def test_amounts_with_signs_are_refused_with_the_remedy(money: str):
    with pytest.raises(SchemaError, match="Remove signs of currency"):
        cells("spent", pa.chunked_array([[money, money]]))


def test_times_with_and_without_zones_are_refused():
    mixed = ["2026-01-01 10:00:00", "2026-01-01T10:00:00Z"] * 20
    with pytest.raises(SchemaError, match=r"'seen': some times have a zone .*T10:00:00Z.* and some have none"):
        Encoder.fit(pa.table({"seen": mixed, "x": list(range(40))}), ["seen", "x"])
    table = pa.table({"arm": ["control", "a"] * 20, "y": [1.0] * 40, "x": list(range(40)), "at": mixed})
    with pytest.raises(SchemaError, match="'at': some times have a zone"):
        logs(table, Roles(treatment="arm", value="y", timestamp="at"))
    Encoder.fit(pa.table({"seen": mixed[1::2] * 2, "x": list(range(40))}), ["seen", "x"])


def test_categories_and_numbers_of_two_tables_are_read_alike():
    train = pa.table({"level": pa.array([1, 2, 3] * 12).dictionary_encode()})
    encoder = Encoder.fit(train, ["level"])
    same = encoder.transform(pa.table({"level": [1, 2, 3] * 12}))
    np.testing.assert_array_equal(encoder.transform(train), same)
    words = Encoder.fit(pa.table({"level": ["a", "b"] * 12}), ["level"])
    with pytest.raises(SchemaError, match="holds number"):
        words.transform(pa.table({"level": [1, 2]}))
