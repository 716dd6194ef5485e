"""Every kind of table gives the same containers; every error names column, value, rule, count and next step."""

from __future__ import annotations

import datetime
import decimal
import gzip
import logging
import tempfile
from pathlib import Path
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from largesse.errors import DataError, LargesseError, SchemaError, StoreError
from largesse.frames import Encoder, logs, plan_table, read, tables, units, write
from largesse.logs import Logs
from largesse.menu import Menu, Plan, Status
from largesse.roles import Roles, label

ROLES = Roles(treatment="arm", value="orders", cost="spent", unit="id")
FILES = (".parquet", ".csv", ".csv.gz", ".feather", ".arrow")


class Capsule:
    """A frame that offers the Arrow C stream and nothing else."""

    def __init__(self, table):
        self.table = table

    def __arrow_c_stream__(self, requested_schema=None):
        return self.table.__arrow_c_stream__(requested_schema)


FRAMES = {
    "pandas": lambda t: t.to_pandas(),
    "pandas-arrow": lambda t: t.to_pandas(types_mapper=pd.ArrowDtype),
    "polars": pl.from_arrow,
    "polars-lazy": lambda t: pl.from_arrow(t).lazy(),
    "pyarrow": lambda t: t,
    "reader": lambda t: t.to_reader(),
    "capsule": Capsule,
}


def trial(n: int = 60, **changed) -> pa.Table:
    """A valid table: numbers with a gap, truth values, text with a gap, dates, and the outcome."""
    i = np.arange(n)
    arm = np.array(["control", "five", "ten"])[i % 3]
    columns = {
        "age": pa.array([None if k == 4 else 20.5 + k % 7 for k in i]),
        "vip": i % 2 == 0,
        "city": pa.array([None if k in (1, 2) else ("Rome", "Oslo", "Bern")[k % 5 % 3] for k in i]),
        "since": pa.array([datetime.date(2024, 1, 1 + int(k) % 9) for k in i]),
        "same": np.ones(n),
        "arm": arm,
        "orders": i % 4,
        "spent": np.where(arm == "control", 0.0, i % 5 + 0.25),
        "id": 1000 + i,
    }
    return pa.table({name: column for name, column in (columns | changed).items() if column is not None})


def with_cells(name: str, values, kind=None) -> pa.Table:
    """The trial with the first cells of one column replaced."""
    old = trial()[name].to_pylist()
    return trial(**{name: pa.array([*values, *old[len(values) :]], kind)})


@pytest.fixture(params=[*FRAMES, *FILES])
def carrier(request, tmp_path):
    """Carries an Arrow table as a dataframe or a file."""

    def carry(table, name="rows"):
        if request.param in FRAMES:
            return FRAMES[request.param](table)
        write(table, tmp_path / f"{name}{request.param}")
        return str(tmp_path / f"{name}{request.param}")

    return carry


# ---------------------------------------------------------------- the same from every carrier


def test_every_carrier_gives_the_same_logs(carrier):
    expected, encoder = logs(trial(), ROLES)
    got, learned = logs(carrier(trial()), ROLES)
    assert learned == encoder
    assert got.treatments == ("control", "five", "ten")
    assert got.features == expected.features
    for name in ("x", "treatment", "value", "cost", "unit", "propensity"):
        np.testing.assert_array_equal(getattr(got, name), getattr(expected, name))
    np.testing.assert_array_equal(units(carrier(trial()), ROLES), 1000 + np.arange(60))


def test_every_carrier_is_encoded_by_an_encoder_learned_elsewhere(carrier):
    encoder = Encoder.fit(trial(), ["age", "vip", "city", "since", "same"])
    shuffled = trial().select(["city", "same", "since", "id", "vip", "age"])
    np.testing.assert_array_equal(encoder.transform(carrier(shuffled)), encoder.transform(trial()))


def test_every_carrier_refuses_the_same(carrier):
    with pytest.raises(DataError, match=r"^spent\[3\] == -2.0: must be >= 0 \(1 such row of 60\)\. Clip"):
        logs(carrier(with_cells("spent", [0, 1, 1, -2.0])), ROLES)
    with pytest.raises(
        SchemaError, match=r"column 'sent': not in the table \(1 such column\)\. Did you mean 'spent'\?"
    ):
        logs(carrier(trial()), Roles(treatment="arm", value="orders", cost="sent"))
    with pytest.raises((SchemaError, DataError), match=r"table has 0 rows: at least one is needed\. Check the filter"):
        read(carrier(trial().slice(0, 0)))


# ---------------------------------------------------------------- read and write


@pytest.mark.parametrize("suffix", FILES)
def test_files_keep_every_cell(suffix, tmp_path):
    path = tmp_path / f"t{suffix}"
    table = pa.table({"a": [1.5, None], "b": ["x", ""], "c.d": pa.array([True, False]), "e": pa.array([None, "NA "])})
    write(table, path)
    assert read(path).to_pydict() == table.to_pydict()
    assert read(path, ["c.d", "a"]).column_names == ["c.d", "a"]
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", FILES)
def test_damaged_files_are_named(suffix, tmp_path):
    path = tmp_path / f"t{suffix}"
    with pytest.raises(DataError, match=rf"t{suffix}: no such file\. Check the name"):
        read(path)
    path.write_bytes(b"")
    with pytest.raises(DataError, match=rf"t{suffix}: cannot be read as {suffix} .* truncated"):
        read(path)
    path.write_bytes(b"\x00\xff\x01" * 50)
    with pytest.raises((DataError, SchemaError)):
        logs(path, ROLES)


@pytest.mark.parametrize("suffix", [".parquet", ".csv.gz", ".feather", ".arrow"])
def test_truncated_files_are_refused(suffix, tmp_path):
    path = tmp_path / f"t{suffix}"
    write(trial(5000), path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match="cannot be read"):
        read(path)


def test_failed_writes_leave_nothing_and_keep_the_old_file(tmp_path):
    path = tmp_path / "t.csv"
    write(pa.table({"a": [1]}), path)
    with pytest.raises(SchemaError, match=r"t.csv: cannot hold this table .* Write Parquet"):
        write(pa.table({"a": [[1, 2]]}), path)
    assert [p.name for p in tmp_path.iterdir()] == ["t.csv"]
    assert read(path).to_pydict() == {"a": [1]}
    with pytest.raises(DataError, match=r"cannot be written .* Create the folder"):
        write(trial(), tmp_path / "nowhere" / "t.parquet")
    for use in (read, lambda p: write(trial(), p)):
        with pytest.raises(SchemaError, match=r"suffix '.xlsx' is unknown, it must be one of .parquet, .*Rename"):
            use(tmp_path / "t.xlsx")


def test_folders_of_parquet_and_single_batches(tmp_path):
    folder = tmp_path / "rows"
    folder.mkdir()
    for k in range(2):
        write(trial().slice(30 * k, 30), folder / f"part{k}.parquet")
    assert read(folder).equals(trial())
    assert read(trial().to_batches()[0]).equals(trial())
    coded = trial(orders=trial()["orders"].dictionary_encode())
    np.testing.assert_array_equal(logs(coded, ROLES)[0].value, np.arange(60) % 4)


def test_csv_details(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n" + "1,x\n" * 400_000 + '2.5,"two\nlines"\n')
    table = read(path)
    assert table["a"].type == pa.float64()
    assert table["b"][-1].as_py() == "two\nlines"
    write(pa.table({"c": pa.array(["x", "y"]).dictionary_encode()}), path)
    assert read(path).to_pydict() == {"c": ["x", "y"]}
    path.write_text("a,b,a\n1,2,3\n")
    with pytest.raises(SchemaError, match=r"t.csv: column 'a': appears 2 times, names must differ .*Rename"):
        read(path)
    path.write_bytes("name\ncafé\n".encode("latin-1"))
    with pytest.raises(SchemaError, match=r"column 'name': holds binary.*UTF-8"):
        Encoder.fit(path, ["name"])
    (tmp_path / "bad.csv.gz").write_bytes(gzip.compress(b"a\n1\n")[:-9])
    with pytest.raises(DataError, match=r"bad\.csv\.gz: cannot be read"):
        read(tmp_path / "bad.csv.gz")


def test_frames_without_an_arrow_form_are_refused():
    mixed = pd.DataFrame({"a": pd.Series([1, "x"], dtype=object)})
    with pytest.raises(SchemaError, match=r"dataframe of kind pandas.* cannot be turned .*one kind of value"):
        read(mixed)
    with pytest.raises(SchemaError, match=r"dataframe of kind builtins\.int: cannot be turned"):
        read(3)
    twice = pd.concat([trial().to_pandas()] * 2, axis=1)
    with pytest.raises(SchemaError, match=r"column 'age': appears 2 times"):
        read(twice)
    with pytest.raises(SchemaError, match=r"column 'a': appears 2 times"):
        read(pa.Table.from_arrays([pa.array([1]), pa.array([1])], ["a", "a"]))
    with pytest.raises(SchemaError, match="table has 0 columns"):
        read(pa.table({}))
    with pytest.raises(SchemaError, match=r"columns == 'age': must be a list of names\. Write \['age'\]"):
        read(trial(), columns="age")
    spans = pd.DataFrame({"span": pd.cut(range(40), 3), "n": range(40)})
    with pytest.raises(SchemaError, match=r"column 'span': holds .*must hold numbers, text"):
        Encoder.fit(spans, ["span"])
    months = pd.DataFrame({"month": pd.period_range("2024-01", periods=3, freq="M")})
    assert Encoder.fit(months, ["month"]).transform(months).tolist() == [[648], [649], [650]]
    assert read(nw.from_native(pl.from_arrow(trial()))).column_names == trial().column_names
    indexed = trial().to_pandas().set_index("id", drop=False).iloc[::2]
    assert read(indexed).column_names == trial().column_names


# ---------------------------------------------------------------- encoder


def test_numbers_gaps_and_dates():
    table = pa.table({
        "n": [1.0, None, 5.0, 3.0], "i": pa.array([1, 2, None, 4], pa.uint8()),
        "d": [decimal.Decimal(k) / 4 for k in range(4)],
        "f": [1.0, float("inf"), float("nan"), 2.0], "b": [True, False, None, True],
        "day": [datetime.date(1970, 1, k) for k in (1, 2, 3, 4)],
        "at": [datetime.datetime(1970, 1, 1, 12, tzinfo=datetime.UTC)] * 3 + [None],
        "took": pa.array([86_400, 43_200, 0, 0], pa.duration("s")), "h": np.array([1, 2, 3, 4], np.float16),
        "t": pa.array([43_200, 0, 0, 0], pa.time32("s")), "void": pa.nulls(4),
    })  # fmt: skip
    encoder = Encoder.fit(table, table.column_names)
    x = dict(zip(encoder.names, encoder.transform(table).T.tolist(), strict=True))
    assert x == {
        "n": [1, 3, 5, 3], "n is missing": [0, 1, 0, 0], "i": [1, 2, 2, 4], "i is missing": [0, 0, 1, 0],
        "d": [0, 0.25, 0.5, 0.75], "f": [1, 1.5, 1.5, 2], "f is missing": [0, 1, 1, 0],
        "b": [1, 0, 1, 1], "b is missing": [0, 0, 1, 0], "day": [0, 1, 2, 3], "at is missing": [0, 0, 0, 1],
        "took": [1, 0.5, 0, 0], "h": [1, 2, 3, 4], "t": [0.5, 0, 0, 0],
    }  # fmt: skip
    assert encoder.dropped == ("void",)
    late = table.set_column(5, "day", pa.array([None] * 4, pa.date32()))
    assert encoder.transform(late)[:, encoder.names.index("day")].tolist() == [1.5] * 4


def test_levels_are_the_frequent_ones():
    labels = [f"l{k:02d}" for k in range(40) for _ in range(10 + k)] + ["rare"] * 9 + [None] * 3
    encoder = Encoder.fit(pa.table({"c": labels, "n": range(len(labels))}), ["c"])
    kept = [f"c = l{k:02d}" for k in range(39, 8, -1)]
    assert encoder.names == (*kept, "c = other", "c is missing")
    x = encoder.transform(pa.table({"c": ["l39", "l00", "rare", "new", None]}))
    assert x.argmax(1).tolist() == [0, 31, 31, 31, 32]
    assert x.sum(1).tolist() == [1] * 5
    assert encoder.transform(pa.table({"c": pa.nulls(2)})).argmax(1).tolist() == [32, 32]


def test_levels_without_an_other_or_a_gap_give_zeros():
    table = pa.table({"c": ["a", "b"] * 10})
    encoder = Encoder.fit(table, ["c"])
    assert encoder.names == ("c = a", "c = b")
    assert encoder.transform(pa.table({"c": ["b", "new", None]})).tolist() == [[0, 1], [0, 0], [0, 0]]
    named = Encoder.fit(pa.table({"c": ["other", "b"] * 10}), ["c"])
    assert named.names == ("c = b", "c = other")
    assert named.transform(pa.table({"c": ["other", "new"]})).tolist() == [[0, 1], [0, 1]]


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())]
)
def test_text_of_any_arrow_kind(kind):
    table = pa.table({"c": ["a", "b"] * 10})
    chunks = pa.chunked_array([pa.array(["b", "a"]).cast(kind), pa.array(["a", None]).cast(kind)])
    assert Encoder.fit(table, ["c"]).transform(pa.table({"c": chunks})).tolist() == [[0, 1], [1, 0], [1, 0], [0, 0]]


def test_categories_of_numbers_and_run_lengths():
    coded = pd.DataFrame({"c": pd.Categorical([1, 2] * 10), "n": range(20)})
    assert Encoder.fit(coded, ["c"]).names == ("c = 1", "c = 2")
    import pyarrow.compute as pc

    runs = pa.table({"r": pc.run_end_encode(pa.array([1.0, 1.0, 2.0]))})
    assert Encoder.fit(runs, ["r"]).transform(runs).tolist() == [[1], [1], [2]]


@pytest.mark.parametrize("column", [[[1], [2]], [{"a": 1}, {"a": 2}], [b"x", b"y"]])
def test_features_without_numbers_are_refused(column):
    with pytest.raises(
        SchemaError, match=r"column 'f': holds .*must hold numbers, text.*one per entry.*`ignore=`"
    ) as caught:
        Encoder.fit(pa.table({"f": column}), ["f"])
    assert caught.value.field == "f"


def test_far_numbers_are_cut_with_a_message(caplog):
    table = pa.table({"n": [1e300, -1e300, 0.0], "big": pa.array([2**64 - 1, 2**63, 5], pa.uint64())})
    with caplog.at_level(logging.WARNING):
        x = Encoder.fit(table, ["n", "big"]).transform(table)
    assert np.isfinite(x).all()
    assert x[0, 0] == np.float32(1e19)
    assert "n[0] == 1e+300: clipped to 1e+19 (2 such rows)" in caplog.text


def test_changed_tables_are_refused_by_the_encoder():
    encoder = Encoder.fit(trial(), ["age", "vip", "city", "since"])
    with pytest.raises(
        SchemaError, match=r"column 'age', 'city', 'since': not in the table \(3 such columns\).*Add the col"
    ):
        encoder.transform(trial().select(["vip", "id"]))
    text = trial(age=["12.5"] * 60)
    with pytest.raises(SchemaError, match=r"column 'age': holds text \(string\), it held number in training\. Turn it"):
        encoder.transform(text)
    with pytest.raises(SchemaError, match=r"column 'city': holds number \(int64\), it held text"):
        encoder.transform(trial(city=range(60)))
    with pytest.raises(SchemaError, match=r"none of the 2 columns varies in these 60 rows.*Name columns that differ"):
        Encoder.fit(trial(name=[f"n{k}" for k in range(60)]), ["same", "name"])
    wide = Encoder.fit(pa.table({f"f{k:02d}": [k, k + 1.0] for k in range(9)}), [f"f{k:02d}" for k in range(9)])
    with pytest.raises(SchemaError, match=r"'f00', 'f01', 'f02', 'f03', 'f04', \.\.\.: not in the table \(9 such"):
        wide.transform(pa.table({"x": [1]}))


def test_constant_columns_are_not_needed_later():
    encoder = Encoder.fit(trial(), ["age", "same"])
    assert encoder.dropped == ("same",)
    assert encoder.features == ("age",)
    assert encoder.transform(trial().select(["age"])).shape == (60, 2)


def test_state_survives_json():
    import json

    _, encoder = logs(trial(), ROLES)
    again = Encoder.from_state(json.loads(json.dumps(encoder.state())))
    assert again == encoder
    assert again.treatments == ("control", "five", "ten")
    np.testing.assert_array_equal(again.transform(trial()), encoder.transform(trial()))
    for damage in ({}, {"columns": [{"encoding": "number"}], "dropped": [], "treatments": []}, {"columns": 3}):
        with pytest.raises(StoreError, match=r"encoder state: is damaged .* save the encoder again"):
            Encoder.from_state(damage)


# ---------------------------------------------------------------- logs


@pytest.mark.parametrize(
    ("arms", "names"),
    [
        ([0, 1, 10, 2], ("0", "1", "2", "10")),
        ([0.0, 1.0, 2.5], ("0", "1", "2.5")),
        ([False, True], ("false", "true")),
        (["none", "b", "a"], ("none", "a", "b")),
        ([decimal.Decimal("0"), decimal.Decimal("1.0")], ("0", "1")),
        (pd.Categorical(["b", "control", "a"], categories=["control", "b", "a"]), ("control", "a", "b")),
    ],
)
def test_treatment_labels_of_any_kind(arms, names):
    arms = list(arms) * 4
    spent = np.array([0.0 if label(a) == names[0] else 1.0 for a in arms])
    table = pa.table(
        {"x": np.arange(len(arms)), "arm": arms, "orders": pa.array([1] * len(arms), pa.uint8()), "spent": spent}
    )
    got, encoder = logs(table, Roles(treatment="arm", value="orders", cost="spent"))
    assert got.treatments == names == encoder.treatments
    assert [names[code] for code in got.treatment] == [label(a) for a in arms]


def test_treatments_and_control_may_be_named():
    roles = Roles(treatment="arm", value="orders", treatments=("ten", "control", "five"))
    got, _ = logs(trial(), roles)
    assert got.treatments == ("ten", "control", "five")
    assert got.cost.tolist() == [0.0] * 60
    assert logs(trial(), Roles(treatment="arm", value="orders", control="ten"))[0].treatments == (
        "ten",
        "control",
        "five",
    )


def test_further_tables_keep_the_codes_of_the_first():
    _, encoder = logs(trial(), ROLES)
    turned = trial().take(pa.array(range(59, -1, -1)))
    got, same = logs(turned, ROLES, encoder, design="obs")
    assert same is encoder
    assert got.treatment.tolist() == [k % 3 for k in range(59, -1, -1)]
    assert got.propensity is None
    with pytest.raises(SchemaError, match=r"treatments == .*the encoder was fitted with \('control', 'five', 'ten'\)"):
        logs(trial(), Roles(treatment="arm", value="orders", treatments=("five", "control", "ten")), encoder)


def test_propensity_column_wins_and_shares_are_by_label():
    table = trial(
        p=np.array([0.5, 0.3, 0.2])[np.arange(60) % 3], w=np.full(60, 2.0), day=pa.array(range(60), pa.date32())
    )
    roles = Roles(treatment="arm", value="orders", propensity="p", weight="w", timestamp="day")
    got, _ = logs(table, roles, propensity="uniform")
    assert got.propensity[:3].tolist() == [0.5, 0.3, 0.2]
    assert got.assignment == "rows"
    assert got.weight.tolist() == [2.0] * 60
    assert got.timestamp.dtype == "datetime64[D]"
    assert not {"p", "w", "day"} & set(got.features)
    numbered = trial(arm=np.arange(60) % 3)
    got, _ = logs(numbered, ROLES, propensity={0: 0.5, 1.0: 0.3, "2": 0.2})
    assert got.propensity[:3].tolist() == [0.5, 0.3, 0.2]


_ARMS = ["control", "five", "ten"] * 20
REFUSED = {
    "gap in treatment": (
        with_cells("arm", ["control", None]),
        {},
        r"^arm\[1\] is missing: every row needs a treatment \(1 such row of 60\)\. Fill",
    ),
    "nan in treatment": (
        trial(arm=[0.0, 1.0, float("nan")] * 20),
        {},
        r"^arm\[2\] is missing: .*\(20 such rows of 60\)",
    ),
    "gap in value": (
        with_cells("orders", [1, 1, None]),
        {},
        r"^orders\[2\] == nan: must be a finite number \(1 such row of 60\)\. Drop",
    ),
    "infinite cost": (
        with_cells("spent", [0, float("inf")]),
        {},
        r"^spent\[1\] == inf: must be a finite number .*`cost='spent'`",
    ),
    "negative cost": (
        with_cells("spent", [0, -1.0, -3.0]),
        {},
        r"^spent\[1\] == -1.0: must be >= 0 \(2 such rows of 60\)\. Clip them",
    ),
    "cost of control": (
        with_cells("spent", [3.0]),
        {},
        r"^spent\[0\] == 3.0: a control row must cost nothing .*`control_cost=True`",
    ),
    "text value": (
        trial(orders=["12.5"] * 60),
        {},
        r"^column 'orders': holds text \(e\.g\. '12.5'\), it must hold numbers\. Turn",
    ),
    "dates as value": (trial(orders=trial()["since"]), {}, r"^column 'orders': holds date32.*must hold numbers"),
    "lists as value": (trial(orders=[[1]] * 60), {}, r"^column 'orders': holds list"),
    "id as value": (with_cells("orders", [10**17]), {}, r"^orders\[0\] == 1e\+17: must be between .*Is it an id\?"),
    "one arm": (
        trial(arm=["control"] * 60),
        {},
        r"^arm == 'control': every row has the same treatment, at least two .*other arm",
    ),
    "which control": (
        trial(arm=["x", "five", "ten"] * 20),
        {},
        r"^arm: which label is the control\? None of 'five', 'ten', 'x'.*`control=`",
    ),
    "two controls": (
        trial(arm=["control", "none", "ten"] * 20),
        {},
        r"^arm: which label is the control\? 2 of 'control', 'none', 'ten'",
    ),
    "unknown control": (
        trial(),
        {"control": "nil"},
        r"^control == 'nil': is not a label of 'arm', which has 'control', 'five', 'ten'",
    ),
    "unknown label": (
        with_cells("arm", ["control", "oops"]),
        {"treatments": ("control", "five", "ten")},
        r"^arm\[1\] == 'oops': must be one of the treatments 'control', 'five', 'ten' \(1 such row of 60\)\. Add",
    ),
    "arm without rows": (
        trial(),
        {"treatments": ("control", "five", "ten", "20")},
        r"^treatment: no row has '20', every arm needs rows. .*`treatment='arm'`",
    ),
    "too many arms": (trial(300, arm=range(300)), {}, r"^arm == '300 distinct labels': at most 256 .*Is this an id"),
    "gap in unit": (
        trial(id=pa.array([None, *range(59)])),
        {},
        r"^id\[0\] is missing: every row needs a unit id \(1 such row of 60\)",
    ),
    "zero weight": (
        trial(w=[0.0] + [1.0] * 59),
        {"weight": "w"},
        r"^w\[0\] == 0.0: must be > 0 \(1 such row of 60\)\. Drop .*`weight='w'`",
    ),
    "text as time": (
        trial(day=["monday"] * 60),
        {"timestamp": "day"},
        r"^column 'day': holds text, it must hold dates",
    ),
    "propensity above 1": (
        trial(p=[1.5] * 60),
        {"propensity": "p"},
        r"^p\[0\] == 1.5: must be in \(0, 1\] \(60 such rows of 60\)",
    ),
    "gap in propensity": (
        trial(p=pa.array([None] + [0.5] * 59)),
        {"propensity": "p"},
        r"^p\[0\] == nan: must be in \(0, 1\]",
    ),
    "propensity moves": (
        trial(p=np.linspace(0.1, 0.9, 60)),
        {"propensity": "p"},
        r"^p\[3\] == .*constant by arm.*`design='obs'`",
    ),
    "nothing to learn from": (
        trial().select(["arm", "orders", "spent", "id"]),
        {},
        r"^features == None: no column is left",
    ),
    "missing feature": (
        trial(),
        {"features": ("age", "agee")},
        r"^column 'agee': not in the table .*Did you mean 'age'\?",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_name_the_column(case):
    table, changes, wording = REFUSED[case]
    parts = {"treatment": "arm", "value": "orders", "cost": "spent", "unit": "id"} | changes
    with pytest.raises(DataError, match=wording) as caught:
        logs(table, Roles(**parts))
    assert caught.value.field


@pytest.mark.parametrize(
    ("given", "wording"),
    [
        ("even", r"^propensity == 'even': must be one of 'uniform', 'observed'"),
        ({"control": 0.5, "five": 0.5}, r"^propensity == .*needs one share for each of .*Name every arm"),
        ({"control": 0.5, "five": 0.4, "ten": 0.4}, r"^propensity == .*shares must be > 0 and sum to 1"),
        ([0.5, 0.5], r"propensity"),
    ],
)
def test_bad_shares_are_refused(given, wording):
    with pytest.raises(DataError, match=wording):
        logs(trial(), ROLES, propensity=given)


@pytest.mark.parametrize(
    ("changes", "wording"),
    [
        ({"cost": "orders"}, r"^cost == 'orders': the column is already the value\. Give each role its own"),
        ({"features": ("age", "orders")}, r"^features == 'orders': is the value column, which must not be a feature"),
        ({"features": ("age", "age")}, r"^features == 'age': the column appears twice"),
        ({"features": "age"}, r"^features == 'age': must be a list of names\. Write features=\('age',\)"),
        ({"features": ()}, r"^features == \(\): must name at least one"),
        ({"features": ("age",), "ignore": ("age",)}, r"^features == 'age': the column is also in `ignore`"),
        ({"ignore": (3,)}, r"^ignore == 3: must be the name of a column"),
        ({"treatment": None}, r"^treatment == None: must be the name of a column"),
        ({"value": ""}, r"^value == '': must be the name of a column"),
        ({"treatments": ("a",)}, r"^treatments == \('a',\): at least two"),
        ({"treatments": ("1", 1.0)}, r"^treatments == \('1', '1'\): labels must differ"),
        ({"treatments": ("a", "b"), "control": "b"}, r"^control == 'b': must be the first of treatments, which is 'a'"),
    ],
)
def test_roles_that_contradict_themselves_are_refused(changes, wording):
    with pytest.raises(SchemaError, match=wording):
        Roles(**{"treatment": "arm", "value": "orders"} | changes)


def test_only_the_columns_that_are_named_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked: list[Any] = []
    whole = tables.pa_parquet.read_table

    def recorded(path: Any, **given: Any) -> Any:
        asked.append(given["columns"])
        return whole(path, **given)

    monkeypatch.setattr(tables.pa_parquet, "read_table", recorded)
    write(pa.table({"a": [1, 2], "b": [3, 4], "c.d": [5, 6]}), tmp_path / "t.parquet")
    assert read(tmp_path / "t.parquet", columns=["b"]).column_names == ["b"]
    assert read(tmp_path / "t.parquet", columns=["b", "c.d"])["c.d"].to_pylist() == [5, 6]
    assert asked == [["b"], None]  # pyarrow would read a dotted name as a nested field


# ---------------------------------------------------------------- plans


def test_plan_table():
    menu = Menu(
        value=[[0, 2.0], [0, 3.0]], cost=[[0, 1.0], [0, 1.5]], treatments=("no", "yes"), unit=np.array(["u", "v"])
    )
    parts = {"price": 1.0, "spend": 1.5, "value": 3.0, "bound": 3.0, "budget": 2.0, "status": Status.OPTIMAL}
    plan = Plan(treatment=[0, 1], treatments=("no", "yes"), unit=np.array(["u", "v"]), **parts)
    assert plan_table(plan).to_pydict() == {"unit": ["u", "v"], "treatment": ["no", "yes"]}
    assert plan_table(plan, menu).to_pydict() == {
        "unit": ["u", "v"], "treatment": ["no", "yes"], "value": [0, 3], "incremental_value": [0, 3], "cost": [0, 1.5],
        "runner_up": ["yes", "no"], "margin": [-1, 1.5],
    }  # fmt: skip
    bare = Plan(treatment=[1, 1], treatments=("no", "yes"), **parts)
    assert plan_table(bare).to_pydict() == {"row": [0, 1], "treatment": ["yes", "yes"]}
    with pytest.raises(DataError, match=r"menu.unit == \['u'\]|len\(menu\) == 1"):
        plan_table(plan, menu.take(np.array([0])))
    for n in (1, 3):  # without ids the numbers of rows must agree
        with pytest.raises(DataError, match=rf"len\(menu\) == {n}"):
            plan_table(bare, Menu(value=np.zeros((n, 2)), cost=np.zeros((n, 2)), treatments=("no", "yes")))
    with pytest.raises(DataError, match=r"menu.unit == \['v', 'u'\]: the plan has other units"):
        plan_table(plan, menu.take(np.array([1, 0])))
    with pytest.raises(DataError, match=r"menu.treatments == .*Give the menu the plan was made from"):
        plan_table(plan, Menu(value=menu.value, cost=menu.cost))


# ---------------------------------------------------------------- broken tables

CELLS = st.sampled_from([
    None, float("nan"), float("inf"), -float("inf"), -1, 0, 1, 2.5, 1e300, -1e300, 5e-324,
    2**63, 2**70, True, "", "x", "control", "12.5", b"x", [1], {"a": 1}, decimal.Decimal("1.5"),
    datetime.date(2024, 1, 1), datetime.datetime(1, 1, 1), "five\0", "é",
])  # fmt: skip
COLUMNS = ("age", "vip", "city", "since", "same", "arm", "orders", "spent", "id", "p", "w")
MUTATIONS = st.one_of(
    st.tuples(st.just("cell"), st.sampled_from(COLUMNS), st.integers(0, 59), CELLS),
    st.tuples(st.just("fill"), st.sampled_from(COLUMNS), st.just(0), CELLS),
    st.tuples(st.just("drop"), st.sampled_from(COLUMNS), st.just(0), st.none()),
    st.tuples(st.just("twice"), st.sampled_from(COLUMNS), st.just(0), st.none()),
    st.tuples(st.just("text"), st.sampled_from(COLUMNS), st.just(0), st.none()),
    st.tuples(st.just("swap"), st.sampled_from(COLUMNS), st.just(0), st.sampled_from(COLUMNS)),
    st.tuples(st.just("head"), st.just("age"), st.sampled_from([0, 1, 2, 3, 7]), st.none()),
)
PROPENSITY = st.sampled_from([
    None, "uniform", "observed", "even", {"control": 0.5, "five": 0.25, "ten": 0.25}, {"control": 1},
    {0: "x", 1: None}, 3, [0.5] * 60, [[0.5]], "", {"control": float("nan"), "five": 0.5, "ten": 0.5},
])  # fmt: skip


def broken(mutations) -> dict[str, list]:
    """The columns of the trial after some accidents."""
    columns = {name: column.to_pylist() for name, column in zip(trial().column_names, trial().columns, strict=True)}
    columns |= {"p": [0.4, 0.3, 0.3] * 20, "w": [1.0, 2.0] * 30}
    for what, name, row, value in mutations:
        cells = columns.get(name)
        if what == "head":
            columns = {other: cells[:row] for other, cells in columns.items()}
        elif cells is None or not cells:
            continue
        elif what == "cell":
            cells[row % len(cells)] = value
        elif what == "fill":
            columns[name] = [value] * len(cells)
        elif what == "drop":
            del columns[name]
        elif what == "text":
            columns[name] = [str(cell) for cell in cells]
        elif what == "twice":
            columns["\0" + name] = cells
        elif value in columns:
            columns[name], columns[value] = columns[value], cells
    return columns


def carried(columns, how):
    """A dataframe of any columns: values that its library rejects become pandas objects."""
    names, lists = [name.lstrip("\0") for name in columns], list(columns.values())
    try:
        if how == "polars":
            return pl.DataFrame(dict(zip(names, lists, strict=True)), strict=False)
        if how == "pyarrow":
            return pa.Table.from_arrays([pa.array(cells) for cells in lists], names)
    except (pa.ArrowException, TypeError, ValueError, OverflowError, pl.exceptions.PolarsError):
        pass
    series = [pd.Series(cells, dtype=object if how != "numpy" else None) for cells in lists]
    frame = pd.concat(series, axis=1) if series else pd.DataFrame()
    frame.columns = names
    return frame


def outcome(call, given):
    """The result of a call or the error of largesse; any other exception is a failure."""
    try:
        return call(given)
    except LargesseError as refusal:
        return refusal


@given(
    mutations=st.lists(MUTATIONS, min_size=1, max_size=4),
    how=st.sampled_from(["polars", "pyarrow", "numpy", "object"]),
    extra=st.sets(st.sampled_from(["propensity", "weight", "unit", "timestamp", "treatments", "features"])),
    design=st.sampled_from(["rct", "obs"]),
    propensity=st.one_of(st.none(), PROPENSITY),
)
@settings(max_examples=300, deadline=None)
def test_broken_tables_give_logs_or_a_refusal_that_names_a_field(mutations, how, extra, design, propensity):
    options = {
        "propensity": "p", "weight": "w", "unit": "id", "timestamp": "since", "features": ("age", "city", "vip"),
        "treatments": ("control", "five", "ten"),
    }  # fmt: skip
    roles = Roles(treatment="arm", value="orders", cost="spent", **{name: options[name] for name in sorted(extra)})
    frame = carried(broken(mutations), how)
    _, encoder = logs(trial(p=[0.4, 0.3, 0.3] * 20, w=[1.0] * 60), roles)
    for given_encoder in (None, encoder):
        got = outcome(lambda e: logs(frame, roles, e, design=design, propensity=propensity)[0], given_encoder)
        if isinstance(got, Logs):
            assert np.isfinite(got.x).all()
        else:
            fields = (*COLUMNS, "features", "treatments", "propensity", "table", "dataframe", "control")
            assert any(field in str(got) for field in fields)
            assert got.field


@given(suffix=st.sampled_from(FILES), cut=st.floats(0, 1), flip=st.integers(0, 400), byte=st.integers(0, 255))
@settings(max_examples=100, deadline=None)
def test_damaged_files_give_a_table_or_a_refusal(suffix, cut, flip, byte):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"t{suffix}"
        write(trial().drop_columns(["since"]), path)
        data = bytearray(path.read_bytes())
        data[flip % len(data)] = byte
        path.write_bytes(data[: int(cut * len(data)) + 1])
        got = outcome(read, path)
        assert got.num_rows if isinstance(got, pa.Table) else "t." in str(got)
