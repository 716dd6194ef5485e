"""Commands that fit no model load no heavy library, and none of ours needs pandas."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow.parquet
import pytest

from tests.common.campaigns import TEXT, table

HEAVY = ("causaldata", "polars", "plotly", "matplotlib", "torch", "pyspark", "optuna", "onnx", "onnxruntime", "econml")
# pandas is made impossible to import: where it is installed, pyarrow and scikit-learn import it by themselves.
CODE = f"""
import sys
class Refused:
    def find_spec(self, name, path=None, target=None):
        if name == "pandas":
            raise ModuleNotFoundError("No module named 'pandas'", name="pandas")
sys.meta_path.insert(0, Refused())
import largesse.cli
from largesse.cli.app import app
for kept in ("numba", "lightgbm", "sklearn", "scipy"):
    assert kept not in sys.modules, kept
try:
    app(sys.argv[1:], standalone_mode=False)
finally:
    print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)
"""
COMMANDS = {
    "help": ["--help"],
    "init": ["init", "new.toml"],
    "check": ["check", "campaign.toml", "--json"],
    "assign": [
        "assign",
        "trial.parquet",
        "--unit",
        "user",
        "--shares",
        "A=50,B=50",
        "--salt",
        "s",
        "-o",
        "arms.parquet",
        "--json",
    ],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_without_a_model_are_light(name: str, tmp_path: Path):
    pyarrow.parquet.write_table(table(600, seed=1), tmp_path / "trial.parquet")
    (tmp_path / "campaign.toml").write_text(TEXT.format(more=""))
    done = subprocess.run(
        [sys.executable, "-c", CODE, *COMMANDS[name]], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "[]"
