"""The examples of the guide decide what the run decides, in Python and in JavaScript."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from largesse.serving.policy import ABOUT, ServedPolicy
from tests.common.policies import learned, saved

pytest.importorskip("onnxruntime", reason="the extra 'serve' is not installed")
pytest.importorskip("onnx", reason="the extra 'serve' is not installed")

GUIDE = (Path(__file__).parents[2] / "docs" / "guide.md").read_text()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("guide")
    (folder / "runs").mkdir()
    model, rows = learned("lightgbm-rct", "orders")
    saved(model, rows, folder / "runs" / "spring", price=0.05)
    return folder


def example(language: str) -> str:
    (code,) = re.findall(rf"```{language}\n(.*?)```", GUIDE, flags=re.S)
    return code


def test_python(place: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(place)
    names: dict[str, Any] = {}
    exec(example("py"), names)
    assert names["decision"].treatment in ("0", "1", "2")
    assert names["decision"] == names["policy"].decide(names["unit"])


def _node() -> str:
    """Why the JavaScript cannot run here; "" where it can."""
    if shutil.which("node") is None:
        return "node is not installed"
    found = subprocess.run(["node", "-e", "require('onnxruntime-node')"], capture_output=True, check=False)
    return "" if found.returncode == 0 else "node does not have the package onnxruntime-node (NODE_PATH)"


@pytest.mark.skipif(bool(_node()), reason=_node())
def test_javascript(place: Path):
    about = json.loads((place / "runs" / "spring" / ABOUT).read_text())
    more = """
(async () => {
  const session = await policy, names = about.columns.map((c) => c.name), out = [];
  for (let k = 0; k < 8; k++) {
    const unit = Object.fromEntries(names.map((name) => [name, about.rows[name][k]]));
    const found = await decide(session, unit, 0.05);
    out.push([Number(found.treatment.data[0]), Array.from(found.value.data), Array.from(found.cost.data)]);
  }
  console.log(JSON.stringify(out));
})();
"""
    (place / "decide.js").write_text(example("js") + more)
    done = subprocess.run(["node", "decide.js"], cwd=place, capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 0, done.stderr
    codes, value, cost = (np.array(part) for part in zip(*json.loads(done.stdout), strict=True))
    served = ServedPolicy.load(place / "runs" / "spring")
    np.testing.assert_allclose(value, about["menu"]["value"], rtol=1e-5)
    np.testing.assert_allclose(cost, about["menu"]["cost"], rtol=1e-5, atol=1e-9)
    np.testing.assert_array_equal(codes, served.assign(about["rows"], 0.05))
