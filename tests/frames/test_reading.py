"""`largesse.read`: every carrier gives the same rows, and errors name the column and the argument that named it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import largesse
from largesse import Logs
from largesse.errors import DataError, SchemaError
from largesse.frames import write

N = 48
AGE = [20.0 + k % 30 if k % 7 else None for k in range(N)]
CITY = ["north", "south"] * (N // 2)
ARM = ["none", "5 off", "10 off"] * (N // 3)
ORDERS = [k % 4 // 3 for k in range(N)]
SPENT = [0.0 if arm == "none" else 5.0 * order for arm, order in zip(ARM, ORDERS, strict=True)]
TRIAL = {"age": AGE, "city": CITY, "arm": ARM, "orders": ORDERS, "spent": SPENT, "user": [f"{k:03d}" for k in range(N)]}
NAMED: dict[str, Any] = {"treatment": "arm", "value": "orders", "cost": "spent", "unit": "user"}


def folder(table: pa.Table, path: Path) -> Path:
    (path / "trial").mkdir()
    for k in range(2):
        write(table.slice(24 * k, 24), path / "trial" / f"part-{k}.parquet")
    return path / "trial"


def file(suffix: str) -> Any:
    def made(table: pa.Table, path: Path) -> Path:
        write(table, path / f"trial{suffix}")
        return path / f"trial{suffix}"

    return made


CARRIERS = {
    "pandas": lambda table, _: table.to_pandas(), "polars": lambda table, _: pl.from_arrow(table),
    "polars lazy": lambda table, _: pl.from_arrow(table).lazy(), "arrow": lambda table, _: table,
    "dict": lambda table, _: table.to_pydict(), "folder": folder, "text path": lambda t, path: str(file(".csv")(t, path)),
    **{suffix: file(suffix) for suffix in (".parquet", ".csv", ".csv.gz", ".feather")},
}  # fmt: skip


@pytest.mark.parametrize("name", CARRIERS)
def test_every_carrier_gives_the_same_rows(name: str, tmp_path: Path) -> None:
    rows = largesse.read(CARRIERS[name](pa.table(TRIAL), tmp_path), **NAMED)
    assert rows.treatments == ("none", "5 off", "10 off")
    assert rows.features == ("age", "age is missing", "city = north", "city = south")
    median = float(np.median([age for age in AGE if age is not None]))
    north = [city == "north" for city in CITY]
    assert rows.x.tolist() == [
        [median if age is None else age, age is None, first, not first] for age, first in zip(AGE, north, strict=True)
    ]
    assert rows.treatment.tolist() == [rows.treatments.index(arm) for arm in ARM]
    assert rows.value.tolist() == ORDERS
    assert rows.cost.tolist() == SPENT
    assert rows.unit is not None
    assert rows.unit.tolist() == TRIAL["user"]


def test_what_is_named_is_used() -> None:
    frame = pd.DataFrame(TRIAL).assign(p=1 / 3, house=np.arange(N) // 2, w=2.0, day=np.arange(N), note="x", spent=0.0)
    rows = largesse.read(
        frame,
        **NAMED,
        cluster="house",
        weight="w",
        propensity="p",
        timestamp="day",
        ignore=["city", "note"],
        control="5 off",
    )
    assert rows.features == ("age", "age is missing")
    assert rows.treatments == ("5 off", "none", "10 off") or rows.treatments == ("5 off", "10 off", "none")
    assert rows.assignment == "rows"
    for got, expected in ((rows.weight, [2.0] * N), (rows.cluster, np.arange(N) // 2), (rows.timestamp, np.arange(N))):
        np.testing.assert_array_equal(got, expected)


def test_features_treatments_and_shares_may_be_named() -> None:
    rows = largesse.read(
        TRIAL, **NAMED, features=["city"], treatments=["none", "10 off", "5 off"], propensity="uniform"
    )
    assert rows.features == ("city = north", "city = south")
    assert rows.treatments == ("none", "10 off", "5 off")
    np.testing.assert_allclose(rows.propensity, 1 / 3)
    rows = largesse.read(TRIAL, **NAMED, propensity={"none": 0.2, "5 off": 0.3, "10 off": 0.5})
    np.testing.assert_array_equal(rows.propensity[:3], [0.2, 0.3, 0.5])


def test_the_rows_of_a_split_keep_the_encoder() -> None:
    rows = largesse.read(TRIAL, **NAMED)
    for part in (*rows.split(0.5, 0.5), rows.take(np.arange(N)), rows.with_cost(rows.cost), rows | rows):
        assert part.encoder is rows.encoder
        assert part.roles is rows.roles
    assert "encoder" not in repr(rows)


class TestLike:
    def test_another_table_is_encoded_alike(self) -> None:
        rows = largesse.read(TRIAL, **NAMED)
        later = pd.DataFrame(TRIAL).iloc[::-1].assign(city="east", extra=1.0).drop(columns="age").assign(age=1.0)
        again = largesse.read(later, like=rows)
        assert (again.features, again.treatments) == (rows.features, rows.treatments)
        assert again.x.tolist() == [[1.0, 0.0, 0.0, 0.0]] * N
        assert again.treatment.tolist() == rows.treatment.tolist()[::-1]

    def test_columns_may_have_other_names_there(self) -> None:
        rows = largesse.read(TRIAL, **NAMED)
        renamed = pd.DataFrame(TRIAL).rename(columns={"orders": "bought"})
        assert largesse.read(renamed, like=rows, value="bought").value.tolist() == ORDERS

    def test_a_rule_takes_the_place_of_a_column_of_probabilities(self) -> None:
        frame = pd.DataFrame(TRIAL).assign(p=1 / 3)
        rows = largesse.read(frame, **NAMED, propensity="p")
        assert largesse.read(frame, like=rows).assignment == "rows"
        assert largesse.read(frame, like=rows, propensity="observed").assignment == "observed"
        past = largesse.read(frame.drop(columns="p"), like=rows, design="obs")
        assert past.propensity is None

    def test_control_may_cost_there_too(self) -> None:
        paid = TRIAL | {"spent": [1.0] * N}
        rows = largesse.read(paid, **NAMED, control_cost=True)
        assert largesse.read(paid, like=rows).control_cost

    @pytest.mark.parametrize(
        "given", [{"features": ["age"]}, {"treatments": ["a", "b"]}, {"control": "none"}, {"ignore": ["age"]}]
    )
    def test_what_only_the_encoder_determines_is_refused(self, given: dict[str, Any]) -> None:
        (name,) = given
        with pytest.raises(SchemaError, match=rf"^{name} == .*those of the rows in `like=`. Leave `{name}=` out"):
            largesse.read(TRIAL, like=largesse.read(TRIAL, **NAMED), **given)

    def test_rows_of_arrays_have_no_columns(self) -> None:
        rows = Logs(x=[[0.0], [1.0]], treatment=[0, 1], value=[0, 1], cost=[0, 1])
        with pytest.raises(SchemaError, match=r"^like: these rows were made from arrays.*largesse\.read"):
            largesse.read(TRIAL, like=rows)


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "no value": ({}, {"value": None}, r"^`value=` is missing: name the column of the outcome\. The table has \['age', 'city',"),
    "no cost": ({}, {"cost": None}, r"^`cost=` is missing: name the column of the spend"),
    "no treatment": ({}, {"treatment": None}, r"^`treatment=` is missing"),
    "misspelt": ({}, {"value": "order"}, r"^column 'order': not in the table.*Did you mean 'orders'\?.*\(`value='order'`\)$"),
    "misspelt feature": ({}, {"features": ["agee"]}, r"^column 'agee': not in the table.*Did you mean 'age'\?"),
    "negative cost": ({"spent": [0.0, -1.0] * 24}, {}, r"^spent\[1\] == -1.0: must be >= 0 \(24 such.*\(`cost='spent'`\)$"),
    "text as value": ({"orders": ["many"] * N}, {}, r"^column 'orders': holds text .*\(`value='orders'`\)$"),
    "gap in treatment": ({"arm": [None, *ARM[1:]]}, {}, r"^arm\[0\] is missing: .*\(`treatment='arm'`\)$"),
    "control that costs": ({"spent": [1.0] * N}, {}, r"control row must cost nothing.*`control_cost=True`\. \(`cost='spent'`\)$"),
    "which control": ({"arm": ["a", "b", "c"] * 16}, {}, r"^arm: which label is the control\?.*Name it in `control=`"),
    "a role twice": ({}, {"unit": "orders"}, r"^unit == 'orders': the column is already the value"),
    "a leak": ({}, {"features": ["age", "orders"]}, r"^features == 'orders': is the value column"),
    "gap in ids": ({"user": [None] * N}, {}, r"^user\[0\] is missing.*\(`unit='user'`\)$"),
    "no probability": ({"p": [0.0] * N}, {"propensity": "p"}, r"^p\[0\] == 0.0: must be in \(0, 1\].*\(`propensity='p'`\)$"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_errors_name_the_column_and_the_argument(case: str) -> None:
    cells, changes, words = REFUSED[case]
    with pytest.raises(DataError, match=words) as refusal:
        largesse.read(TRIAL | cells, **NAMED | changes)
    assert "columns." not in str(refusal.value)


def test_other_kinds_are_refused() -> None:
    with pytest.raises(SchemaError, match="^value == 3: must be"):
        largesse.read(TRIAL, treatment="arm", value=3, cost="spent")  # type: ignore[arg-type]
    with pytest.raises(SchemaError, match="cannot be turned into an Arrow"):
        largesse.read(3, **NAMED)
    with pytest.raises(DataError, match="no such file"):
        largesse.read("nowhere.parquet", **NAMED)


def test_an_encoder_of_other_features_is_refused() -> None:
    rows = largesse.read(TRIAL, **NAMED)
    with pytest.raises(DataError, match="^features == .*the encoder has others"):
        Logs(x=[[0.0], [1.0]], treatment=[0, 1], value=[0, 1], cost=[0, 1], encoder=rows.encoder)
