"""What the wheel holds: the package alone, with its templates, types and stubs."""

from __future__ import annotations

import os
import subprocess
import sys
from email import message_from_bytes
from importlib.util import find_spec
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "largesse"

pytestmark = pytest.mark.skipif(
    find_spec("hatchling") is None or find_spec("pip") is None,
    reason="the build backend is not installed: pip install hatchling",
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    build = [
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--disable-pip-version-check",
        str(ROOT),
    ]
    made = subprocess.run(
        [sys.executable, *build, "--wheel-dir", str(folder)], capture_output=True, text=True, check=False,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    (file,) = folder.glob("largesse-*.whl")
    return ZipFile(file)


def test_the_wheel_holds_the_package_and_nothing_else(wheel: ZipFile):
    names = wheel.namelist()
    tops = {name.partition("/")[0] for name in names}
    assert tops == {"largesse", next(top for top in tops if top.endswith(".dist-info"))}
    assert not [
        name for name in names if "test_" in name or "/tests/" in name or "benchmarks" in name or "__pycache__" in name
    ]


def test_every_file_of_the_source_is_in_the_wheel(wheel: ZipFile):
    wanted = {
        f"largesse/{path.relative_to(SOURCE).as_posix()}"
        for path in SOURCE.rglob("*")
        if path.suffix in (".py", ".pyi", ".html", ".css", ".js", ".toml", ".txt") or path.name == "py.typed"
    }
    assert wanted <= set(wheel.namelist())
    assert "largesse/py.typed" in wanted
    assert {Path(name).suffix for name in wanted} >= {".py", ".pyi", ".html", ".js"}
    assert {f"largesse/report/vendor/plotly-basic{end}" for end in (".min.js", ".txt")} <= wanted


def test_the_metadata_names_the_project(wheel: ZipFile):
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = message_from_bytes(wheel.read(name))
    assert metadata["Name"] == "largesse"
    assert any("https://" in url for url in metadata.get_all("Project-URL", []))
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert "Decide who gets which incentive" in metadata.get_payload()
    assert "torch" not in {
        requirement.split(">")[0]
        for requirement in metadata.get_all("Requires-Dist", [])
        if "extra ==" not in requirement
    }
