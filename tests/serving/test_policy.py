"""`ServedPolicy`: one unit or many, what it refuses, what it imports; a damaged folder is refused."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from largesse.errors import DataError, MissingDependency, SchemaError, StoreError
from largesse.policy import Policy
from largesse.serving.cells import Column
from largesse.serving.policy import ABOUT, MODEL, ServedPolicy, about_digest
from largesse.serving.policy_files import write_policy
from tests.common.policies import learned, raw, saved, table

pytest.importorskip("onnxruntime", reason="the extra 'serve' is not installed")
pytest.importorskip("onnx", reason="the extra 'serve' is not installed")

USERS = raw(table("orders", 60, 5, odd=True))
NAMES = ("amount", "big", "city", "clock", "f0", "f1", "f2", "f3", "price", "rare", "since", "size", "wait")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("served")
    model, rows = learned("lightgbm-rct", "orders")
    saved(model, rows, place, price=0.05, units={"value": "orders", "money": "EUR"})
    return place


@pytest.fixture(scope="module")
def served(folder: Path) -> ServedPolicy:
    return ServedPolicy.load(folder)


def unit(k: int, **changes: Any) -> dict[str, Any]:
    """One unit, its cells as Python has them."""
    cells = {name: USERS[name][k] for name in NAMES}
    return {name: cell.item() if isinstance(cell, np.generic) else cell for name, cell in cells.items()} | changes


def test_one_unit_gets_what_it_gets_among_many(served: ServedPolicy):
    menu, net = served.menu(USERS), None
    for price in (0.0, 0.05, 0.2, float("inf")):
        codes = served.assign(USERS, price)
        for k in range(60):
            one = served.decide(unit(k), price)
            assert (one.code, one.treatment) == (codes[k], served.treatments[codes[k]])
            assert one.value == pytest.approx(menu.value[k, one.code], rel=1e-12)
            assert one.cost == pytest.approx(menu.cost[k, one.code], rel=1e-12)
        if price < float("inf"):
            net = menu.value - price * menu.cost
            np.testing.assert_array_equal(net.argmax(1), codes)
        else:
            assert not codes.any(), "at this price everyone gets control, which is free"
    assert served.decide(unit(0)) == served.decide(unit(0), 0.05), "the price of the run"
    assert len(set(served.assign(USERS).tolist())) > 1


def test_only_what_is_allowed_is_given(served: ServedPolicy):
    menu = served.menu(USERS)
    for k in range(20):
        some = served.decide(unit(k), 0.05, allowed=["2", "1"])
        net = menu.value[k, 1:] - 0.05 * menu.cost[k, 1:]
        assert some.code == 1 + net.argmax()
        assert served.decide(unit(k), 0.05, allowed={"2"}).treatment == "2"
    with pytest.raises(DataError, match=r"allowed == '5': must be among '0', '1', '2'"):
        served.decide(unit(0), 0.05, allowed=["5"])
    with pytest.raises(DataError, match="must name at least one treatment"):
        served.decide(unit(0), 0.05, allowed=[])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"f0": "high"}, "f0 == 'high': the policy learned from number. Give numbers"),
        ({"city": 3}, "city == 3: the policy learned from text. Give text"),
        ({"since": "2020-01-01"}, "since == '2020-01-01': the policy learned from date. Give dates"),
        ({"since": timedelta(1)}, "the policy learned from date"),
        ({"wait": date(2020, 1, 1)}, "the policy learned from duration. Give durations"),
        ({"f1": [1.0]}, "the policy learned from number"),
        ({"city": ["a"]}, "the policy learned from text"),
    ],
)
def test_a_cell_of_another_kind_is_refused(served: ServedPolicy, changes: dict[str, Any], words: str):
    with pytest.raises(SchemaError) as one:
        served.decide(unit(0, **changes))
    assert words in str(one.value)
    assert one.value.field == next(iter(changes))
    many = {name: [cell, cell] for name, cell in unit(0, **changes).items()}
    with pytest.raises(SchemaError, match="learned from|must have one axis"):
        served.menu(many)


def test_a_missing_column_and_another_length_are_refused(served: ServedPolicy):
    less = {name: cell for name, cell in unit(0).items() if name != "city"}
    for call in (lambda: served.decide(less | {"cty": "x"}), lambda: served.menu({k: [v] for k, v in less.items()})):
        with pytest.raises(SchemaError, match="column 'city': missing") as error:
            call()
        assert error.value.field == "city"
    with pytest.raises(SchemaError, match=r"len\(f0\) == 59: must be 60, the length of 'amount'"):
        served.menu(USERS | {"f0": USERS["f0"][:59]})
    with pytest.raises(SchemaError, match="at least one unit"):
        served.menu({name: [] for name in NAMES})


def test_a_price_is_checked_and_needed_where_the_run_knows_none(served: ServedPolicy, tmp_path: Path):
    for price in (-1.0, float("nan")):
        with pytest.raises(DataError, match="price == "):
            served.decide(unit(0), price)
    model, rows = learned("lightgbm-rct", "orders")
    saved(model, rows, tmp_path)
    with pytest.raises(DataError, match="the run declares no value of one unit"):
        ServedPolicy.load(tmp_path).decide(unit(0))


def test_cells_mean_what_they_mean_to_the_encoder():
    day, wait, number = (Column("c", "c", kind) for kind in ("date", "duration", "number"))
    label, sizes = Column("c", "c", "text"), Column("c", "c", "text", ("38", "39"), True)
    noon = datetime(1970, 1, 3, 12, tzinfo=UTC)
    east = datetime(1970, 1, 3, 14, tzinfo=timezone(timedelta(hours=2)))
    for cell, expected in (
        (date(1970, 1, 3), 2.0),
        (noon, 2.5),
        (east, 2.5),
        (np.datetime64("1970-01-03"), 2.0),
        (2.25, 2.25),
    ):
        assert day.one(cell, "-")[0, 0] == expected
    for cell, expected in ((timedelta(hours=36), 1.5), (time(6), 0.25), (np.timedelta64(36, "h"), 1.5), (2, 2.0)):
        assert wait.one(cell, "-")[0, 0] == expected
    for cell, expected in ((True, 1.0), (Decimal("2.5"), 2.5), (2**60, 2.0**60), (np.float32(0.5), 0.5)):
        assert number.one(cell, "-")[0, 0] == expected
    assert all(np.isnan(column.one(None, "-")[0, 0]) for column in (day, wait, number))
    assert np.isnan(day.many(np.array(["NaT"], "datetime64[D]"), "-")[0, 0])
    assert np.isnan(number.many([None, 1], "-")[0, 0])
    assert [label.one(cell, "-")[0, 0] for cell in (" a ", None, float("nan"))] == ["a", "-", "-"]
    assert sizes.many([38, 38.0, True, " 39", None], "-")[:, 0].tolist() == ["38", "38", "true", "39", "-"]


def test_what_is_described_is_what_another_language_needs(folder: Path):
    about = json.loads((folder / ABOUT).read_text())
    kinds = {"city": "text", "rare": "text", "size": "text", "clock": "date", "since": "date", "wait": "duration"}
    assert [(c["name"], c["kind"]) for c in about["columns"]] == [(name, kinds.get(name, "number")) for name in NAMES]
    inputs = {c["name"]: c["input"] for c in about["columns"]}
    assert inputs["price"] == "column price", "the graph has an input of this name"
    assert all(inputs[n] == n for n in NAMES if n != "price")
    assert (about["treatments"], about["control"], about["price"]) == (["0", "1", "2"], "0", 0.05)
    assert about["units"] == {"value": "orders", "money": "EUR"}
    assert (about["opset"], about["opset_of_trees"], about["ir"]) == (18, 3, 9)
    assert len(about["menu"]["value"]) == len(about["rows"]["city"]) == 8


def rewritten(folder: Path, place: Path, change: dict[str, Any]) -> Path:
    """A copy whose description is changed, with a checksum that fits."""
    copy = shutil.copytree(folder, place)
    about = json.loads((copy / ABOUT).read_text()) | change
    (copy / ABOUT).write_text(json.dumps(about | {"sha256": about_digest(about)}))
    return copy


def test_a_damaged_run_is_refused(folder: Path, tmp_path: Path):
    about = json.loads((folder / ABOUT).read_text())
    menu = about["menu"] | {"value": (np.array(about["menu"]["value"]) * 1.001).tolist()}
    for k, (change, words) in enumerate((
        ({"format": 2}, "written in format 2, this version reads up to 1"),
        ({"columns": about["columns"][:-1]}, "reads other columns"),
        ({"columns": about["columns"][:1] * 2}, "names must differ"),
        ({"menu": menu}, "the value of the stored rows is not that of the run"),
        ({"rows": {}}, "column 'amount': missing"),
        ({"treatments": ["0", "1"]}, "the value of the stored rows|treatments"),
        ({"price": -1}, "price == -1"),
        ({"columns": 3}, "is no description"),
    )):  # fmt: skip
        with pytest.raises(StoreError, match=words):
            ServedPolicy.load(rewritten(folder, tmp_path / str(k), change))
    copy = shutil.copytree(folder, tmp_path / "copy")
    text = (copy / ABOUT).read_text()
    (copy / ABOUT).write_text(text.replace('"price": 0.05', '"price": 0.06'))
    with pytest.raises(StoreError, match="its checksum differs"):
        ServedPolicy.load(copy)
    (copy / ABOUT).write_text(text)
    (copy / MODEL).write_bytes((folder / MODEL).read_bytes()[:-1])
    with pytest.raises(StoreError, match="is not the file that was saved. Copy the whole folder"):
        ServedPolicy.load(copy)
    (copy / MODEL).unlink()
    with pytest.raises(StoreError, match="no such file"):
        ServedPolicy.load(copy)
    (copy / ABOUT).unlink()
    with pytest.raises(StoreError, match=r"has no policy.json.*largesse\[serve\]"):
        ServedPolicy.load(copy)


def test_hostile_models_end_no_process(folder: Path, tmp_path: Path):
    """Sixty models with checksums that fit, as one who means harm would write them."""
    rng, model = np.random.default_rng(0), (folder / MODEL).read_bytes()
    for k in range(60):
        data = bytearray(model)
        at = int(rng.integers(0, len(data) - 8))
        if k % 3 == 0:
            data[at : at + 4] = rng.bytes(4)
        elif k % 3 == 1:
            del data[at:]
        else:
            data[at:at] = rng.bytes(20)
        copy = rewritten(folder, tmp_path / f"m{k}", {"model_sha256": hashlib.sha256(data).hexdigest()})
        (copy / MODEL).write_bytes(data)
    script = (
        "import sys; from pathlib import Path; from largesse.errors import LargesseError\n"
        "from largesse.serving.policy import ServedPolicy\n"
        "for place in sorted(Path(sys.argv[1]).glob('m*')):\n"
        "    try: ServedPolicy.load(place); print('loaded')\n"
        "    except LargesseError as error: print('refused', error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.returncode, done.stderr[-400:])
    assert sum(line.startswith("refused") for line in done.stdout.splitlines()) >= 30


ALONE = """
import sys
for name in ("torch", "lightgbm", "pandas", "pyarrow", "scipy", "numba", "sklearn", "polars", "narwhals", "pydantic",
             "safetensors", "onnx"):
    sys.modules[name] = None
from largesse.serving import ServedPolicy
policy = ServedPolicy.load(sys.argv[1])
row = {c.name: None for c in policy.columns} | {"f0": 1.0, "city": "south"}
print(policy.decide(row).treatment in policy.treatments, policy.menu({k: [v] for k, v in row.items()}).n)
print(sorted(m for m in sys.modules if m.startswith("largesse.") and sys.modules[m] is not None))
"""


def test_a_server_needs_onnxruntime_and_numpy_only(folder: Path):
    done = subprocess.run([sys.executable, "-c", ALONE, str(folder)], capture_output=True, text=True, check=False)
    first, modules = done.stdout.splitlines() or ["", "nothing"]
    assert first == "True 1", done.stderr
    assert "largesse.frames" not in modules
    assert "largesse.models" not in modules


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_what_is_missing_is_named(package: str, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    policy = Policy.load(folder / "policy")
    policy.save(tmp_path / "policy")
    monkeypatch.setitem(sys.modules, package, None)
    x = np.zeros((1, len(policy.model.features_)), np.float32)
    sentence = write_policy(policy, tmp_path, x=x)
    assert sentence.startswith("policy.onnx was not written: ")
    assert f"'{package}'. Install it with: pip install 'largesse[serve]'" in sentence
    assert os.listdir(tmp_path) == ["policy"]
    if package == "onnxruntime":
        with pytest.raises(MissingDependency, match=r"largesse\[serve\]"):
            ServedPolicy.load(folder)
