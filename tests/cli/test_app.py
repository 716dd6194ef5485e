"""The commands as a user runs them: in a process of their own for what a process shows, in this one for the rest."""

from __future__ import annotations

import errno
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from largesse import frames
from largesse.cli import app as application
from largesse.cli import show
from largesse.cli.app import app
from largesse.cli.units import _threads
from largesse.commands import export
from largesse.commands.documents import DOCUMENTS
from largesse.commands.load import load_rows
from largesse.config import load
from largesse.errors import StoreError
from largesse.models import HRC, MLP, Student
from largesse.policy import Policy
from largesse.serving.runtime import Served
from tests.common.campaigns import TEXT, table
from tests.common.shell import shell

RUNNER = CliRunner()
COMMANDS = (
    "demo",
    "init",
    "check",
    "fit",
    "tune",
    "evaluate",
    "allocate",
    "predict",
    "plan",
    "export",
    "compare",
    "experiment",
    "replay",
    "assign",
    "monitor",
    "update",
    "promote",
    "erase",
    "verify-log",
    "schema",
    "serve",
    "studio",
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    frames.write(table(1200, 1), folder / "trial.parquet")
    frames.write(table(600, 3), folder / "later.csv")
    frames.write(table(300, 4).drop(["arm", "orders", "spent"]), folder / "users.csv")
    (folder / "campaign.toml").write_text(TEXT.format(more="folds = 2").replace(', "mlp-rct"', ""))
    return folder


@pytest.fixture(scope="module")
def run(place: Path) -> Path:
    done = shell("fit", "campaign.toml", "-o", "run", "--json", cwd=place)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["chosen"] == "lightgbm-rct"
    return place / "run"


@pytest.fixture(scope="module")
def clusters(place: Path) -> Path:
    """Returns what `fit` leaves behind where the model is an HRC, as far as `export` reads it."""
    config = load(place / "campaign.toml")
    rows, folder = load_rows(config), place / "clusters"
    model = HRC(MLP(members=1, hidden=(16, 8)), sizes=(8,)).fit(rows.rct)
    Policy.calibrated(model, rows.rct, encoder=rows.encoder, roles=config.roles("rct"), draws=20).save(
        folder / "policy"
    )
    (folder / "config.toml").write_text((place / "campaign.toml").read_text())
    return folder


def test_export_writes_what_a_server_reads(clusters: Path, place: Path):
    pytest.importorskip("onnxruntime", reason="the extra 'serve' is not installed")
    words = ["export", str(clusters), str(place / "users.csv"), "-b", "200", "-b", "50", "-o", str(place / "served")]
    done = RUNNER.invoke(app, [*words, "--json"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    DOCUMENTS["export"].model_validate_json(done.stdout)
    assert [p["budget"] for p in said["plans"]] == [50, 200]
    assert all(p["overspends"] <= 0.05 for p in said["plans"]), "the run's own safety"
    served, policy = Served.load(place / "served"), Policy.load(clusters / "policy")
    x = policy.encoder.transform(frames.read(place / "users.csv"))
    for plan in said["plans"]:
        counts = np.bincount(served.decide(x, plan["budget"]), minlength=3)
        assert dict(zip(served.treatments, counts.tolist(), strict=True)) == plan["mix"]
    each = ["export", str(clusters), str(place / "users.csv"), "--budget-per-unit", "0.5", "-o", str(place / "each")]
    (one,) = json.loads(RUNNER.invoke(app, [*each, "--json"]).stdout)["plans"]
    assert one["budget"] == 0.5 * 300
    again = RUNNER.invoke(app, [*words, "--on-average", "--form", "mlp"])
    assert isinstance(again.exception, StoreError)
    shown = RUNNER.invoke(app, [*words, "--on-average", "--replace"])
    assert shown.exit_code == 0, shown.output
    assert "get the same cluster as in the run" in shown.output


def test_export_keeps_the_rows_of_a_unit_together(clusters: Path, place: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("onnxruntime", reason="the extra 'serve' is not installed")
    users = frames.read(place / "users.csv")
    units = np.arange(users.num_rows) // 3 + 7
    frames.write(users.set_column(users.column_names.index("user"), "user", pa.array(units)), place / "panel.parquet")
    given, distil = [], Student.distil

    def spied(self: Student, teacher: HRC, x: np.ndarray, *, groups: np.ndarray | None = None) -> Student:
        given.append(groups)
        return distil(self, teacher, x, groups=groups)

    monkeypatch.setattr(Student, "distil", spied)
    for name in ("panel.parquet", "users.csv"):
        words = [
            "export",
            str(clusters),
            str(place / name),
            "-b",
            "200",
            "-o",
            str(place / f"out-{name}"),
            "--form",
            "mlp",
        ]
        done = RUNNER.invoke(app, [*words, "--on-average"])
        assert done.exit_code == 0, done.exception
    np.testing.assert_array_equal(given[0], units - 7)
    assert len(np.unique(given[1])) == users.num_rows


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_plan_by_cluster_gives_each_cluster_one_treatment(clusters: Path, place: Path, form: str):
    units, output = place / f"some.{form}", place / f"by_cluster.{form}"
    frames.write(frames.read(place / "users.csv").append_column("may_0", pa.array([True] * 300))
                 .append_column("may_5", pa.array([k % 2 == 0 for k in range(300)]))
                 .append_column("may_10", pa.array([False] * 300)), units)  # fmt: skip
    words = ["allocate", str(clusters), str(units), "-b", "400", "-o", str(output), "--by-cluster"]
    done = RUNNER.invoke(app, [*words, "--json"])
    assert done.exit_code == 0, done.output
    said, found = json.loads(done.stdout), frames.read(output).to_pydict()
    DOCUMENTS["allocate"].model_validate_json(done.stdout)
    assert len(said["mix"]) == 3
    assert said["mix"]["0"] < 300
    assert Counter(map(str, found["treatment"])) == {k: n for k, n in said["mix"].items() if n}
    assert (
        len(set(zip(found["cluster"], found["treatment"], strict=True))) == len(set(found["cluster"])) == said["groups"]
    )
    assert said["overspends"] <= 1 - said["safety"] == pytest.approx(0.05)
    assert found["user"] == list(range(300))
    assert sum(found["cost"]) == pytest.approx(said["spend"]["mean"], rel=1e-4)
    each = [word if word != "-b" else "--budget-per-unit" for word in words]
    each[each.index("400")] = "2"
    assert json.loads(RUNNER.invoke(app, [*each, "--json"]).stdout)["budget"] == 2 * 300
    endless = RUNNER.invoke(app, [*words, "-b", "inf"])
    assert "budget == inf" in str(endless.exception)
    shown = RUNNER.invoke(app, [*words, "--on-average", "--eligible", "may_{}"])
    assert shown.exit_code == 0, shown.output
    assert "groups; budget 400" in shown.output
    given = list(map(str, frames.read(output)["treatment"].to_pylist()))
    assert set(given) == {"0", "5"}
    assert set(given[1::2]) == {"0"}


@pytest.mark.parametrize(
    ("how", "epsilon"),
    [({}, 0.05), ({"safety": 0.8}, 0.2), ({"safety": None}, None)],
    ids=["the run's", "given", "none"],
)
def test_export_keeps_the_budgets_as_surely_as_it_is_told(clusters: Path, place: Path, monkeypatch, how, epsilon):
    asked: list[object] = []

    def told(*_: object, risk: object, **__: object) -> None:
        asked.append(risk)
        raise KeyboardInterrupt

    monkeypatch.setattr(export, "export", told)
    with pytest.raises(KeyboardInterrupt):
        export.export_run(clusters, place / "users.csv", (50.0,), place / "never", **how)
    (risk,) = asked
    assert risk is None if epsilon is None else risk.epsilon == pytest.approx(epsilon)


def test_every_command_has_help():
    for name in COMMANDS:
        told = RUNNER.invoke(app, [name, "--help"])
        assert told.exit_code == 0
        assert name in told.output
    assert {c.name or c.callback.__name__ for c in app.registered_commands if c.callback} == set(COMMANDS)


def test_every_command_is_in_the_readme():
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    for name in COMMANDS:
        assert f"largesse {name}" in readme or f"make {name}" in readme, name


def test_init_writes_a_template_once(tmp_path: Path):
    path = tmp_path / "c.toml"
    assert RUNNER.invoke(app, ["init", str(path), "--data", "rows.parquet"]).exit_code == 0
    assert "rows.parquet" in path.read_text()
    long = path.parent / ("a_long_name_of_a_campaign_" * 5 + ".toml")
    told = RUNNER.invoke(app, ["init", str(long)], env={"COLUMNS": "60"}).output
    assert f"run `largesse check {long}`." in told  # on one line, to be copied
    again = shell("init", str(path))
    assert again.returncode == 2
    assert "exists already" in again.stderr


def test_check_says_what_it_finds(place: Path):
    done = RUNNER.invoke(app, ["check", str(place / "campaign.toml"), "--json"])
    assert done.exit_code == 0
    said = json.loads(done.stdout)
    assert said["ok"]
    assert said["outcome"].startswith("Value is bernoulli")


def test_check_fails_on_a_broken_trial(place: Path):
    rows = table(2000, 1)
    keep = (rows["f0"].to_numpy() > 0) | (rows["arm"].to_numpy(zero_copy_only=False) == "0")
    frames.write(rows.filter(keep), place / "skewed.parquet")
    text = (place / "campaign.toml").read_text().replace("trial.parquet", "skewed.parquet")
    (place / "skewed.toml").write_text(text)
    assert RUNNER.invoke(app, ["check", str(place / "skewed.toml")]).exit_code == 1


def test_allocate_writes_the_plan(run: Path, place: Path):
    out = place / "plan.csv"
    words = [
        "allocate",
        str(run),
        str(place / "users.csv"),
        "--budget",
        "90",
        "--safety",
        "0.9",
        "-o",
        str(out),
        "--json",
    ]
    done = RUNNER.invoke(app, words)
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    plan = frames.read(out)
    assert plan.num_rows == said["units"] == 300
    assert sum(said["mix"].values()) == 300
    assert said["spend"]["high"] <= 90 * (1 + 1e-9)
    assert plan.column_names == ["user", "treatment", "value", "incremental_value", "cost", "runner_up", "margin"]


def test_evaluate_and_compare(run: Path, place: Path, monkeypatch: pytest.MonkeyPatch):
    said = json.loads(
        RUNNER.invoke(app, ["evaluate", str(run), str(place / "later.csv"), "--draws", "30", "--json"]).stdout
    )
    assert {r["name"] for r in said["rows"]} >= {"policy", "best mix of arms"}
    assert len(said["spend"]) == 2
    text = RUNNER.invoke(
        app, ["evaluate", str(run), str(place / "later.csv"), "--draws", "30", "--budget-per-unit", "1.0"]
    )
    assert text.exit_code == 0
    assert "Planned against realised" in text.output
    both = RUNNER.invoke(app, ["compare", str(run), str(run), str(place / "later.csv"), "--draws", "30"])
    assert both.exit_code == 0
    assert "Against A" in both.output
    monkeypatch.setattr(show, "out", show.Console(width=80))
    narrow = RUNNER.invoke(app, ["compare", str(run), str(run), str(place / "later.csv"), "--draws", "30"])
    assert max(map(len, narrow.output.splitlines())) <= 80
    assert "…" not in narrow.output, "cells are wrapped, not cut"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("fit", "nowhere.toml"), "nowhere.toml: cannot be read"),
        (("check", "bad.toml"), "Did you mean"),
        (("allocate", "run", "gone.parquet", "-b", "9", "-o", "p.csv"), "gone.parquet"),
        (("allocate", "run", "users.csv", "-b", "-9", "-o", "p.csv"), "budget"),
        (("allocate", "run", "users.csv", "-b", "9", "-o", "p.xls"), ".xls"),
        (("export", "run", "users.csv", "-b", "9", "-o", "served"), "which has no clusters"),
        (("allocate", "run", "users.csv", "-b", "9", "-o", "p.csv", "--by-cluster"), "which has no clusters"),
        (("allocate", "run", "users.csv", "-b", "9", "-o", "p.csv", "--by-cluster", "-r", "r.toml"), "--eligible"),
        (("allocate", "run", "users.csv", "-b", "9", "-o", "p.csv", "--eligible", "may_{}"), "needs --by-cluster"),
        (("allocate", "run", "users.csv", "-b", "9", "-o", "p.csv", "--keep", "cty"), "Did you mean 'city'"),
        (
            ("allocate", "run", "users.csv", "-b", "9", "-o", "p.csv", "--safety", "0.9", "--on-average"),
            "--safety == 0.9",
        ),
        (
            ("allocate", "run", "users.csv", "-b", "9", "--budget-per-unit", "1", "-o", "p.csv"),
            "cannot be used with --budget",
        ),
        (("export", "run", "users.csv", "-b", "9", "--budget-per-unit", "1", "-o", "served"), "--budget-per-unit"),
        (("export", "run", "users.csv", "-o", "served"), "--budget == None"),
        (("evaluate", "run", "later.csv", "--budget", "9"), "Give --budget-per-unit"),
        (("compare", "run", "run", "later.csv", "--budget", "9"), "Give --budget-per-unit"),
        (("evaluate", "nowhere", "later.csv"), "run folder"),
        (("compare", "run", "run", "users.csv"), "arm"),
    ],
)
def test_refusals_are_one_message_and_exit_code_two(
    run: Path,
    place: Path,
    words: tuple[str, ...],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    (place / "bad.toml").write_text((place / "campaign.toml").read_text().replace("treatment =", "treatmnt ="))
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "argv", ["largesse", *words])
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as left:
        application.run()
    told = capsys.readouterr()
    assert left.value.code == 2, told.out + told.err
    assert said in told.err
    assert "Traceback" not in told.err
    assert not (place / "p.csv").exists()


def test_a_refusal_in_a_process_of_its_own(run: Path, place: Path):
    done = shell("allocate", "run", "users.csv", "-b", "-9", "-o", "p.csv", cwd=place)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "budget" in done.stderr
    assert "Traceback" not in done.stderr


def test_json_errors_are_json(place: Path):
    done = shell("fit", "nowhere.toml", "--json", cwd=place)
    assert done.returncode == 2
    assert "cannot be read" in json.loads(done.stdout)["error"]


def test_an_interrupt_leaves_by_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def interrupted(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(application, "app", interrupted)
    with pytest.raises(SystemExit) as left:
        application.run()
    assert left.value.code == 130
    assert "nothing half-written" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("allowed", "cores", "threads"),
    [("3", 16, 3), (None, 16, 8), (None, 2, 2), (None, None, 1), ("0", 4, 4), ("many", 4, 4)],
)
def test_passes_use_the_threads_that_the_process_may_use(
    allowed: str | None, cores: int | None, threads: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if allowed is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", allowed)
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    assert _threads() == threads


# ---- what a terminal must not obey, and errors by their names


@pytest.mark.parametrize("text", ["\x1b[2J", "\x07", "\x9b31m", "\u202egnp", "\x7f", "\r"])
def test_control_characters_are_shown_not_obeyed(text: str, capsys: pytest.CaptureFixture[str]):
    from largesse.report.blocks import Column, Row, Table

    assert text not in show.escape(f"a{text}b")
    assert show.escape("[bold] \n\té") == "\\[bold] \n\té"
    show.print_json({"name": text})
    grid = Table(columns=(Column(f"x{text}", words=True),), rows=(Row((f"y{text}",)),))
    show.table(grid, f"title{text}")
    printed = capsys.readouterr().out
    assert text not in printed
    assert json.loads(printed[: printed.index("}") + 1]) == {"name": text}


def ended(monkeypatch: pytest.MonkeyPatch, error: BaseException, *more: str) -> tuple[int, str, str]:
    from io import StringIO

    from largesse.cli import app

    out, err = StringIO(), StringIO()
    monkeypatch.setattr(show.out, "_file", out)
    monkeypatch.setattr(show.err, "_file", err)

    def fail(**_: Any) -> None:
        raise error

    monkeypatch.setattr(app, "app", fail)
    monkeypatch.setattr(sys, "argv", ["largesse", "check", *more])
    with pytest.raises(SystemExit) as left:
        app.run()
    return int(str(left.value.code)), out.getvalue(), " ".join(err.getvalue().split())


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "out of memory"),
        (OSError(errno.EMFILE, "Too many open files"), "too many open files: raise the limit"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "out of memory"),
        (pa.ArrowMemoryError("malloc of size 10 failed"), "out of memory"),
    ],
)
def test_errors_of_the_machine_are_called_by_their_names(monkeypatch: pytest.MonkeyPatch, error: Any, words: str):
    code, _, err = ended(monkeypatch, error)
    assert code == 2
    assert words in err
    code, out, _ = ended(monkeypatch, error, "--json")
    assert code == 2
    assert words in json.loads(out)["error"]


def test_ctrl_c_says_that_the_same_command_goes_on(monkeypatch: pytest.MonkeyPatch):
    code, _, err = ended(monkeypatch, KeyboardInterrupt())
    assert code == 130
    assert "The same command goes on" in err
