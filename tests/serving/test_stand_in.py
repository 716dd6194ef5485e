"""Without torch, or LightGBM, a run predicts, allocates and is evaluated by its ONNX form."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from largesse import frames
from largesse.commands.fit import fit
from largesse.config import load
from largesse.errors import DataError, StoreError
from largesse.progress import Note
from largesse.serving.policy import ABOUT, MODEL
from largesse.serving.stand_in import stand_in
from tests.common.campaigns import DATA, table
from tests.common.commands import results

pytest.importorskip("onnxruntime", reason="the extra 'serve' is not installed")
pytest.importorskip("onnx", reason="the extra 'serve' is not installed")

MODELS = {"torch": "mlp-rct", "lightgbm": "lightgbm-rct"}
MORE = (
    "[model]\ncandidates = [{model!r}]\nmembers = 1\nepochs = 1\n[outcome]\nvalue_per_unit = 20.0\n[run]\ndraws = 40\n"
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("without")
    frames.write(table(1500, 1), folder / "trial.parquet")
    frames.write(table(800, 3), folder / "later.parquet")
    frames.write(table(700, 4).drop(["arm", "orders", "spent"]), folder / "users.parquet")
    for package, model in MODELS.items():
        (folder / f"{package}.toml").write_text(DATA.format(more="folds = 1") + MORE.format(model=model))
        fit(load(folder / f"{package}.toml"), folder=folder / package)
    return folder


WITHOUT = """
import sys


class Without:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] == sys.argv[1] else self.finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self.finder, name)


sys.meta_path = [Without(finder) for finder in sys.meta_path]
"""
COMMANDS = (
    WITHOUT
    + """
import json
from pathlib import Path
from tests.common.commands import results
print(json.dumps(results(*map(Path, sys.argv[2:]))))
assert sys.argv[1] not in sys.modules
"""
)


@pytest.mark.parametrize("package", MODELS)
def test_the_commands_say_the_same_without_the_package(package: str, place: Path, tmp_path: Path):
    run = place / package
    own = results(run, place, tmp_path / "own")
    script = [sys.executable, "-c", COMMANDS, package, str(run), str(place), str(tmp_path / "without")]
    done = subprocess.run(script, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr[-800:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["counts"] == own["counts"]
    for name in ("price", "spend", "value", "planned"):
        np.testing.assert_allclose(np.array(found[name], float), np.array(own[name], float), rtol=1e-4)
    menus = [frames.read(tmp_path / name / "menu.parquet") for name in ("own", "without")]
    for name in menus[0].column_names:
        np.testing.assert_allclose(menus[1][name].to_numpy(), menus[0][name].to_numpy(), rtol=1e-5)


def test_a_run_without_an_onnx_form_says_what_to_install(place: Path, tmp_path: Path):
    run = shutil.copytree(place / "torch", tmp_path / "run")
    for name in (MODEL, ABOUT):
        (run / name).unlink()
    code = WITHOUT + "from largesse.commands.run_folder import open_run\nopen_run(sys.argv[2])"
    done = subprocess.run([sys.executable, "-c", code, "torch", str(run)], capture_output=True, text=True, check=False)
    assert "pip install 'largesse[learn]'" in done.stderr.splitlines()[-1]


def test_the_form_of_another_policy_is_refused(place: Path, tmp_path: Path):
    run = shutil.copytree(place / "torch", tmp_path / "run")
    shutil.rmtree(run / "policy")
    shutil.copytree(place / "lightgbm" / "policy", run / "policy")
    with pytest.raises(StoreError, match=r"policy.json: is of another policy than"):
        stand_in(run)


def test_it_cannot_be_fitted(place: Path):
    logs = frames.logs(place / "trial.parquet", load(place / "torch.toml").roles("rct"))[0]
    with pytest.raises(DataError, match="ONNX form of a run cannot be fitted"):
        stand_in(place / "torch").fit(logs)


def test_a_fit_without_onnx_says_what_to_install(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    said: list[str] = []
    fit(load(place / "lightgbm.toml"), folder=tmp_path / "run", say=lambda stage, _: said.append(stage))
    notes = [line for line in said if isinstance(line, Note) and "policy.onnx" in line]
    assert notes == ["policy.onnx was not written: The ONNX form of a policy needs the package 'onnx'. Install it with: "
                     "pip install 'largesse[serve]'"]  # fmt: skip
    names = {p.name for p in (tmp_path / "run").iterdir()}
    assert "policy" in names
    assert not names & {MODEL, ABOUT}


def test_the_price_of_the_run_and_its_columns_are_described(place: Path):
    about = json.loads((place / "torch" / ABOUT).read_text())
    assert about["price"] == 0.05
    assert {c["name"] for c in about["columns"]} == {"age", "city", "f0", "f1", "f2", "f3"}
    assert pa.array(about["rows"]["city"]).type == pa.string()
