"""What the package as a whole promises."""

from __future__ import annotations

import re
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


def test_every_module_has_its_line_in_its_room_of_the_architecture():
    _, *parts = re.split(
        r"^## [\d½]+ · ", (ROOT / "ARCHITECTURE.md").read_text().partition("## Decisions")[0], flags=re.M
    )
    told = {
        (room.strip(), name)
        for title, _, lines in (part.partition("\n") for part in parts)
        for room in title.partition(":")[0].split(",")
        for name in re.findall(r"^\| `(\w+)` \|", lines, flags=re.M)
    }
    source = ROOT / "src" / "largesse"
    paths = [path.relative_to(source) for path in source.rglob("*.py") if path.name != "__init__.py"]
    for path in paths:
        room = "cli" if path.stem == "__main__" else path.parts[0].removesuffix(".py")
        assert (room, path.stem) in told, path
    assert {name for _, name in told} == {path.stem for path in paths}, "a line of a module that is gone"
