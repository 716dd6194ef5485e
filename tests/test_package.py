"""What the package as a whole promises."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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


def test_every_module_has_its_line_in_the_architecture():
    text = (ROOT / "ARCHITECTURE.md").read_text()
    for path in (ROOT / "src" / "largesse").rglob("*.py"):
        if path.name != "__init__.py":
            assert f"`{path.stem}`" in text, path
