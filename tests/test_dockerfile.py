"""The Dockerfile: what it copies exists, the image runs as an unprivileged user, its packages are those of the light tests."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text())
    lines = [line.partition(" ") for line in text.splitlines() if line and not line.startswith("#")]
    return [(name, rest) for name, _, rest in lines]


def test_what_is_copied_exists_and_is_not_ignored():
    kept = {line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line[0] == "!"}
    copied = [
        word for name, rest in instructions() if name == "COPY" and "--from" not in rest for word in rest.split()[:-1]
    ]
    assert set(copied) == kept
    assert all((ROOT / name).exists() for name in copied)


def test_the_image_runs_as_an_unprivileged_user_and_stops_on_term():
    names = [name for name, _ in instructions()]
    last = dict(instructions()[len(names) - 1 - names[::-1].index("FROM") :])
    assert last["USER"].isdigit()
    assert int(last["USER"]) > 0
    assert last["STOPSIGNAL"] == "SIGTERM"
    assert json.loads(last["ENTRYPOINT"]) == ["/venv/bin/python", "-m", "largesse.serving"]
    assert json.loads(last["CMD"]) == ["server.toml"]
    compile(json.loads(last["HEALTHCHECK"].partition("CMD ")[2])[2], "healthcheck", "exec")


def test_base_images_have_a_tag_of_a_supported_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for name, rest in instructions():
        if name == "FROM":
            version = re.match(r"python:(3\.\d+)-slim-\w+", rest)
            assert version is not None
            assert f"Programming Language :: Python :: {version[1]}" in project["classifiers"]


def test_every_package_has_a_version_and_is_one_of_the_extra():
    packages = [line for line in (ROOT / "requirements-serve.txt").read_text().split("\n") if line and line[0] != "#"]
    pinned = {
        line.partition("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
    }
    assert set(packages) <= pinned
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extra = {re.split(r"[><=;\[ ]", text)[0] for text in project["optional-dependencies"]["serve"]}
    base = {re.split(r"[><=;\[ ]", text)[0] for text in project["dependencies"]}
    assert extra - {"onnx"} <= set(packages) <= extra | base


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="hadolint is not installed")
def test_hadolint_has_nothing_to_say():
    done = subprocess.run(["hadolint", str(ROOT / "Dockerfile")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
