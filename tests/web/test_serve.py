"""How the studio starts: on this machine alone, or with keys; a port that is taken; what its link does."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from largesse.cli.app import app
from largesse.errors import DataError
from largesse.serving import Ledger
from largesse.serving.http.access import create_key
from largesse.web.opened import Studio
from largesse.web.serve import _role_of, run_studio, warm
from tests.common.studios import TEXT, made_run, made_units


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_run(tmp_path_factory.mktemp("serve"))


def test_an_address_that_others_reach_needs_keys(run: Path) -> None:
    with pytest.raises(DataError, match=r"--host == '0\.0\.0\.0'.*--store"):
        run_studio(Studio([run]), host="0.0.0.0", port=0)


def test_a_port_that_is_taken_is_named(run: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(DataError, match=rf"--port == {port}.*another one"):
            run_studio(Studio([run]), port=port)


def test_the_role_of_a_key_is_that_of_the_store(run: Path, tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/keys.db"
    with Ledger.open(store) as ledger:
        keys = {role: create_key(ledger.engine, role)[1] for role in ("report", "admin", "decide")}
    role_of = _role_of(Studio([run], store=store))
    assert {role: role_of(key) for role, key in keys.items()} == {role: role for role in keys}
    assert role_of("largesse_000000000000_" + "a" * 43) is None
    assert role_of("nonsense") is None
    gone = _role_of(Studio([run], store=f"sqlite:///{tmp_path}/gone.db"))
    assert gone(keys["admin"]) is None


def test_the_solver_is_loaded_before_a_visitor_needs_it(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    studio = Studio([run], users=made_units(run.parent))
    warm(studio)  # nothing is open yet: nothing to do
    studio.prepare()
    taken: list[int] = []
    monkeypatch.setattr("largesse.allocate.solve_under", lambda menu, rules: taken.append(menu.n), raising=False)
    warm(studio)
    assert taken == [1000]
    assert studio.first.__dict__["rules"].__dict__["groups"]["city"] == ("east", "north", "south")
    monkeypatch.undo()
    warm(studio)  # and its rules can be obeyed


def test_a_studio_in_a_process_of_its_own(run: Path) -> None:
    words = [sys.executable, "-m", "largesse", "studio", str(run), "--no-open", "--port", "0"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        shown = ""
        while "Ctrl" not in shown:
            shown += process.stdout.readline()
        link = re.search(r"http://\S+", shown)
        assert link is not None
        for _ in range(200):
            try:
                with httpx.Client(follow_redirects=True) as client:
                    got = client.get(link[0])
                break
            except httpx.ConnectError:
                time.sleep(0.05)
        assert got.status_code == 200
        assert "What does a budget buy" in got.text
    finally:
        process.terminate()
        assert process.wait(20) in (0, -15, 143, 130)
        assert process.stdout is not None
        process.stdout.close()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "holds no config.toml"),
        (["{run}", "{run}"], "named twice"),
        (["{run}", "--units", "nowhere.parquet"], "nowhere.parquet"),
        (["{run}", "--host", "0.0.0.0"], "--store"),
    ],
)
def test_what_cannot_be_opened_is_named(run: Path, words: list[str], message: str) -> None:
    done = CliRunner().invoke(app, ["studio", *(word.format(run=run) for word in words), "--no-open", "--port", "0"])
    assert done.exit_code != 0
    assert message in f"{done.output} {done.exception}"


def test_runs_of_the_same_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    first, second = (made_run(tmp_path / name, text=TEXT) for name in ("a", "b"))
    assert list(Studio([first, second]).runs) == ["a/spring", "b/spring"]
