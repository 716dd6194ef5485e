"""Published trials: row counts, arms and means as published; roles of columns; errors."""

from __future__ import annotations

import builtins
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
import pytest

from largesse import datasets
from largesse.datasets import Dataset
from largesse.errors import DataError, MissingDependency, SchemaError

needs_data = pytest.mark.skipif(not os.environ.get("LARGESSE_DATA"), reason="LARGESSE_DATA names no folder of data")

LATER = {"hillstrom": datasets.hillstrom, "ecoupon": datasets.ecoupon, "charitable": datasets.charitable,
         "criteo": datasets.criteo}  # fmt: skip


def column(data: Dataset, name: str) -> np.ndarray:
    return data.table[name].to_numpy()


def arms(data: Dataset) -> dict[str, int]:
    return {name: int((column(data, data.treatment) == name).sum()) for name in data.treatments}


def means(data: Dataset, name: str) -> list[float]:
    return [float(column(data, name)[column(data, data.treatment) == arm].mean()) for arm in data.treatments]


def assert_sound(data: Dataset) -> None:
    assert sum(arms(data).values()) == data.n
    assert column(data, data.value).dtype == np.float64
    cost, control = column(data, data.cost), column(data, data.treatment) == data.treatments[0]
    assert (cost >= 0).all()
    assert data.control_cost or (cost[control] == 0).all()
    assert not {data.treatment, data.value, data.cost} & set(data.features)
    assert data.source
    assert data.note


def test_thornton() -> None:
    data = datasets.thornton()
    assert_sound(data)
    assert data.features == ("distance", "age", "village")
    assert arms(data) == {"0": 623, "(0, 0.5]": 560, "(0.5, 1]": 580, "(1, 2]": 699, "(2, 3]": 372}
    assert means(data, "collected") == pytest.approx([0.3387, 0.6732, 0.7724, 0.8627, 0.8522], abs=1e-4)
    offer = column(data, "offer_usd")
    np.testing.assert_array_equal(column(data, "paid"), offer * column(data, "collected"))
    assert offer.max() == pytest.approx(2.8368)
    assert {name: data.table[name].null_count for name in data.features} == {"distance": 0, "age": 5, "village": 4}
    assert data.table["village"].type == pa.string()
    assert "hiv2004" not in data.table.column_names


def test_thornton_bins_hold_the_offers_their_names_say() -> None:
    data = datasets.thornton()
    offer, names = column(data, "offer_usd"), column(data, "offer")
    for name in data.treatments[1:]:
        low, high = (float(edge) for edge in name.strip("(]").split(","))
        inside = offer[names == name]
        assert low < inside.min()
        assert inside.max() <= high
    assert (offer[names == "0"] == 0).all()


@needs_data
def test_hillstrom() -> None:
    data = datasets.hillstrom(mail_cost=0.25)
    assert_sound(data)
    assert arms(data) == {"No E-Mail": 21_306, "Mens E-Mail": 21_307, "Womens E-Mail": 21_387}
    assert means(data, "spend") == pytest.approx([0.6528, 1.4226, 1.0772], abs=1e-4)
    assert column(data, "spend").mean() == pytest.approx(1.05091, abs=1e-5)
    assert means(data, "cost") == [0.0, 0.25, 0.25]
    assert not {"visit", "conversion", "spend"} & set(data.features)
    assert len(data.features) == 8


@needs_data
def test_ecoupon() -> None:
    data = datasets.ecoupon()
    assert_sound(data)
    assert data.n == 34_853
    assert arms(data)["coupon"] / data.n == pytest.approx(0.7476, abs=1e-4)
    assert means(data, "discount") == pytest.approx([0, 1.879], abs=1e-3)
    assert means(data, "gross") == pytest.approx([13.123, 14.237 + 1.879], abs=1e-3)
    assert len(data.features) == 27
    assert not {"eligibility", "ExpectedDiscount", "converted", "checkoutAmount"} & set(data.table.column_names)


@needs_data
def test_charitable() -> None:
    pytest.importorskip("rdata")
    data = datasets.charitable()
    assert_sound(data)
    assert data.n == 50_081
    assert arms(data) == {"control": 16_687, "1:1": 11_133, "2:1": 11_134, "3:1": 11_127}
    gift, names = column(data, "gift"), column(data, "match")
    assert gift[names == "control"].mean() == pytest.approx(0.8133, abs=1e-4)
    assert gift[names != "control"].mean() == pytest.approx(0.9652, abs=1e-4)
    assert gift.max() == 400
    assert (gift > 0).sum() == pytest.approx(1032, abs=2)
    ratio = np.array([0 if name == "control" else int(name[0]) for name in names])
    np.testing.assert_array_equal(column(data, "grant"), ratio * gift)
    assert not [name for name in data.features if name.startswith(("treat", "out_", "stateresponse"))]
    assert not any(pc.any(pc.equal(data.table[name], -999.0)).as_py() for name in data.features)
    assert data.table["female"].null_count == 1111


@needs_data
def test_criteo_sample() -> None:
    data = datasets.criteo()
    assert_sound(data)
    assert data.n == 1000
    assert arms(data)["treated"] == 863
    assert column(data, "visit").mean() == pytest.approx(0.035)
    assert column(data, "conversion").mean() == pytest.approx(0.002)
    assert "exposure" not in data.table.column_names
    assert data.control_cost


@pytest.fixture
def twin(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    table = {f"f{k}": rng.standard_normal(500) for k in range(12)}
    visit = (rng.random(500) < 0.3).astype(int)
    table |= {"treatment": (rng.random(500) < 0.85).astype(int), "conversion": visit * (rng.random(500) < 0.3),
              "visit": visit, "exposure": visit}  # fmt: skip
    path = tmp_path / "twin.csv"
    pyarrow.csv.write_csv(pa.table(table), path)
    return path


def rewritten(path: Path, **columns: Any) -> Path:
    table = pyarrow.csv.read_csv(path)
    for name, values in columns.items():
        table = table.drop_columns([name])
        if values is not None:
            table = table.append_column(name, pa.array(values))
    pyarrow.csv.write_csv(table, path)
    return path


def test_criteo_reads_every_carrier_alike(twin: Path, tmp_path: Path) -> None:
    table, parquet, zipped = pyarrow.csv.read_csv(twin), tmp_path / "twin.parquet", tmp_path / "twin.csv.gz"
    pyarrow.parquet.write_table(table, parquet)
    with pa.output_stream(str(zipped), compression="gzip") as stream:
        pyarrow.csv.write_csv(table, stream)
    plain = datasets.criteo(twin)
    assert_sound(plain)
    assert plain.table["f0"].type == pa.float32()
    for other in (parquet, zipped):
        assert datasets.criteo(other).table.combine_chunks().equals(plain.table.combine_chunks())


def test_criteo_reads_the_first_rows(twin: Path) -> None:
    some = datasets.criteo(twin, rows=120)
    assert some.n == 120
    np.testing.assert_array_equal(column(some, "f3"), column(datasets.criteo(twin), "f3")[:120])


def test_criteo_refuses_other_files(twin: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file"):
        datasets.criteo(tmp_path / "nothing.csv")
    with pytest.raises(DataError, match=r"rows == 0"):
        datasets.criteo(twin, rows=0)
    text = rewritten(twin, f4=["word"] * 500)
    with pytest.raises(DataError, match="has cells that are not numbers"):
        datasets.criteo(text)


@pytest.mark.parametrize(
    ("columns", "error", "words"),
    [
        ({"f7": None}, SchemaError, r"columns \['f7'\] are missing"),
        ({"treatment": [2] * 500}, DataError, r"treatment\[0\] == 2.0: must be 0 or 1 \(500 such rows"),
        ({"conversion": [1] * 500, "visit": [0] * 500}, DataError, r"conversion\[0\] == 1.0: needs a visit"),
    ],
)
def test_criteo_refuses_broken_columns(twin: Path, columns: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        datasets.criteo(rewritten(twin, **columns))


@pytest.mark.parametrize("name", sorted(LATER))
def test_without_the_folder_the_refusal_says_what_to_do(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("LARGESSE_DATA", raising=False)
    with pytest.raises(DataError, match=r"LARGESSE_DATA: is not set. Set LARGESSE_DATA to the folder") as caught:
        LATER[name]()
    assert "The data come from" in str(caught.value)
    monkeypatch.setenv("LARGESSE_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"does not exist. Set LARGESSE_DATA"):
        LATER[name]()


def test_charitable_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "charitable_giving"
    folder.mkdir()
    (folder / "charitable.rda").write_bytes(b"")
    monkeypatch.setenv("LARGESSE_DATA", str(tmp_path))
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == "rdata":
            raise ModuleNotFoundError(name, name=name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingDependency, match=r"largesse\[rda\]"):
        datasets.charitable()


def test_mail_cost_must_not_be_negative() -> None:
    with pytest.raises(DataError, match=r"mail_cost == -1"):
        datasets.hillstrom(mail_cost=-1)


def test_dataset_checks_its_columns() -> None:
    table = pa.table({"t": ["a", "b"], "v": [0.0, 1.0], "c": [0.0, 1.0]})
    roles: dict[str, Any] = {"treatment": "t", "value": "v", "cost": "c", "source": "here", "note": "none"}
    with pytest.raises(SchemaError, match="x1"):
        Dataset(name="tiny", table=table, features=("x1",), treatments=("a", "b"), **roles)
    with pytest.raises(SchemaError, match="are not the treatments"):
        Dataset(name="tiny", table=table, features=(), treatments=("a", "z"), **roles)
    assert Dataset(name="tiny", table=table, features=(), treatments=("a", "b"), **roles).n == 2
