"""The commands in an environment without torch: `make test-light` builds one, and `.ci/run` runs this there."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from largesse import frames, store
from largesse.cli.app import app
from largesse.errors import MissingDependency
from tests.common.campaigns import DATA, table

pytestmark = pytest.mark.skipif(
    find_spec("torch") is not None, reason="torch is installed here; `make test-light` builds an environment without it"
)
INSTALL = "pip install 'largesse[learn]'"
CONFIG = DATA + "{model}\n[run]\ndraws = 40\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("light")
    for name, n in (("trial", 2000), ("past", 2500), ("later", 1500)):
        frames.write(table(n, len(name)), folder / f"{name}.parquet")
    frames.write(table(400, 9).drop(["arm", "orders", "spent"]), folder / "users.parquet")
    (folder / "campaign.toml").write_text(CONFIG.format(more='obs = "past.parquet"', model=""))
    (folder / "network.toml").write_text(CONFIG.format(more="", model='[model]\ncandidates = ["mlp-rct"]'))
    values = {f"value_{t}": np.arange(50) * k * 0.01 for k, t in enumerate(("none", "coupon"))}
    costs = {f"cost_{t}": np.full(50, 1.0 * k) for k, t in enumerate(("none", "coupon"))}
    frames.write(pa.table({"user": np.arange(50), **values, **costs}), folder / "menu.parquet")
    (folder / "rules.toml").write_text(
        'treatments = ["none", "coupon"]\nunit = "user"\nspend = [{at_most = 9}]\ncount = [{treatment = "coupon", at_most = 5}]\n'
    )
    return folder


def done(place: Path, *words: str) -> str:
    """The output of a command that succeeds; names of files are those of the place."""
    found = CliRunner().invoke(app, [str(place / w) if "." in w and not w.startswith("-") else w for w in words])
    assert found.exit_code == 0, found.output
    return found.output


@pytest.fixture(scope="module")
def run(place: Path) -> Path:
    done(place, "fit", "campaign.toml", "--folder", str(place / "run"))
    return place / "run"


def test_check(place: Path):
    assert json.loads(done(place, "check", "campaign.toml", "--json"))["ok"]


def test_fit_learns_trees_and_the_report_says_what_was_left_out(run: Path):
    metrics = json.loads((run / "metrics.json").read_text(), parse_constant=pytest.fail)
    assert set(metrics["seconds_to_learn"]) == {"stack", "lightgbm", "logs-then-correction", "lightgbm-rct"}
    for report in ("report.html", "summary.md"):
        text = (run / report).read_text()
        assert "Left out: mlp, stack-rct, mlp-rct." in text
        assert "largesse[learn]" in text.replace("\\", "")
    kinds = store.load(run / "policy").settings["model"]["recipe"]
    assert set(kinds) <= {"Stack", "Calibrated", "Corrected", "Boosting"}


def test_a_policy_of_trees_allocates_and_is_evaluated(run: Path, place: Path):
    plan = json.loads(done(place, "allocate", str(run), "users.parquet", "-b", "60", "-o", "plan.parquet", "--json"))
    assert plan["units"] == sum(plan["mix"].values()) == 400
    assert plan["spend"]["high"] <= 60 * (1 + 1e-9)
    found = json.loads(done(place, "evaluate", str(run), "later.parquet", "--draws", "30", "--json"))
    assert {row["name"] for row in found["rows"]} >= {"policy", "best mix of arms"}


def test_plan(place: Path):
    found = json.loads(done(place, "plan", "menu.parquet", "--rules", "rules.toml", "-o", "who.parquet", "--json"))
    assert found["mix"] == {"none": 45, "coupon": 5}
    done(place, "plan", "menu.parquet", "--rules", "rules.toml", "-o", "who.csv", "--report", "who.html")


def test_experiment_replay_and_assign(place: Path):
    rows = ("--metric", "orders", "--features", "f0,f1")
    out = str(place / "experiment")
    found = json.loads(done(place, "experiment", "trial.parquet", "--arm", "arm", *rows, "-o", out, "--json"))
    assert {e["method"] for e in found["metrics"][0]["effects"]} >= {"STATE", "CUPAC", "difference in means"}
    assert json.loads(done(place, "replay", "trial.parquet", *rows, "--draws", "20", "--json"))["units"] == 2000
    arms = done(place, "assign", "users.parquet", "--unit", "user", "--shares", "A=50,B=50", "--salt", "s", "-o", "arms.parquet",
                "--json")  # fmt: skip
    assert sum(json.loads(arms)["arms"].values()) == 400


def test_a_network_is_refused_in_one_sentence(place: Path):
    command = [sys.executable, "-m", "largesse", "fit", str(place / "network.toml"), "--folder", str(place / "no")]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 2
    assert "Traceback" not in found.stderr
    assert INSTALL in " ".join(found.stderr.split())
    assert not (place / "no").exists()


@pytest.mark.parametrize("name", ["MLP", "DFCL", "BiDFCL", "PPL", "DRP"])
def test_names_that_need_torch_say_so(name: str):
    import largesse

    assert name in dir(largesse)
    with pytest.raises(MissingDependency, match=r"largesse\[learn\]"):
        getattr(largesse, name)


def test_a_saved_network_says_what_reads_it():
    from largesse.policy import Policy

    saved = Path(__file__).parents[1] / "policy" / "saved"
    networks = [m.parent for m in sorted(saved.glob("*/manifest.json")) if "MLP" in m.read_text()]
    assert networks
    with pytest.raises(MissingDependency, match=r"largesse\[learn\]"):
        Policy.load(networks[0])
