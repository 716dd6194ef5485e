"""Guarantees of the package as a whole."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import largesse

ROOT = Path(__file__).parent.parent
HEAVY = ("torch", "lightgbm", "pyspark", "fastapi", "typer", "plotly", "matplotlib", "numba", "pandas", "sklearn")


def test_import_is_light():
    code = f"import largesse, sys; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_can_be_had():
    for name in largesse.__all__:
        assert getattr(largesse, name) is not None
    assert set(largesse.__all__) <= set(dir(largesse))


def test_what_is_made_from_the_code_is_what_the_code_says(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """One line per package and per module in ARCHITECTURE.md, in the order of the import contract."""
    monkeypatch.setattr(sys, "argv", ["generate.py", "--check"])
    monkeypatch.setattr(sys, "path", list(sys.path))
    main = runpy.run_path(str(ROOT / "docs" / "generate.py"))["main"]
    assert main() == 0, capsys.readouterr().out


def test_every_package_says_what_of_it_is_stable():
    for path in (ROOT / "src" / "largesse").rglob("__init__.py"):
        assert re.search(r"^(Stable|Private): ", path.read_text(), flags=re.M), path


def test_tests_mirror_the_tree():
    """Every folder of tests is a room, and no test module imports from another one."""
    rooms = {path.name for path in (ROOT / "src" / "largesse").iterdir() if path.is_dir()} | {
        "common",
        "benchmarks",
        "browser",
        "light",
    }
    assert {
        path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and not path.name.startswith("__")
    } <= rooms
    for path in (ROOT / "tests").rglob("*.py"):
        assert not re.findall(r"^\s*(?:from|import) tests\.(?!common|reference)", path.read_text(), flags=re.M), path
