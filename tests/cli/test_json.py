"""Every JSON that a command prints or writes is valid: no NaN and no infinity, which JSON does not have."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from largesse import frames
from largesse.cli.app import app
from largesse.commands import demo, demo_coupons
from largesse.commands.documents import DOCUMENTS, schema
from largesse.commands.fit import fit
from largesse.config import load
from largesse.serving import Ledger
from tests.common.campaigns import TEXT, table
from tests.common.ledgers import ask, campaign

RUNNER = CliRunner()
RULES = """
treatments = ["0", "5", "10"]
value = "value_{}"
cost = "cost_{}"
spend = [{at_most = 150.0}]
count = [{treatment = "10", at_most = 20}]
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder with a finished run whose proof has quantities that are not known."""
    folder = tmp_path_factory.mktemp("json")
    trial = table(900, 1)
    for name, rows in (("trial", trial), ("log", table(900, 2, "obs")), ("later", table(600, 3))):
        frames.write(rows, folder / f"{name}.parquet")
    users = table(200, 4).drop(["arm", "orders", "spent"])
    frames.write(users, folder / "users.parquet")
    rng = np.random.default_rng(0)
    menu = {f"{part}_{arm}": rng.random(200) * arm for part in ("value", "cost") for arm in (0, 5, 10)}
    frames.write(pa.table(menu), folder / "menu.parquet")
    (folder / "rules.toml").write_text(RULES)
    text = TEXT.format(more='obs = "log.parquet"\nfolds = 2').replace(', "mlp-rct"', ', "logs-then-correction"')
    text = text.replace("shares = [0.25, 0.5]", "per_unit = [1e-6, 9.0]")  # the first is out of reach of some policies
    (folder / "campaign.toml").write_text(text)
    fit(load(folder / "campaign.toml"), folder=folder / "run")
    with Ledger.open(f"sqlite:///{folder}/ledger.db") as ledger:
        ledger.start(campaign(until=4e9))
        ledger.decide([ask(f"u{i}") for i in range(3)])
    return folder


COMMANDS: dict[str, list[tuple[str, ...]]] = {
    "check": [("campaign.toml",)],
    "fit": [("campaign.toml", "-o", "again")],
    "tune": [("campaign.toml", "-o", "tuned", "--trials", "2")],
    "evaluate": [("run", "later.parquet", "--budget-per-unit", "1e-6", "--budget-per-unit", "2", "--draws", "20")],
    "compare": [("run", "again", "later.parquet", "--budget-per-unit", "1e-6", "--draws", "20")],
    "allocate": [
        ("run", "users.parquet", "-b", "inf", "-o", "all.parquet"),
        ("run", "users.parquet", "-b", "300", "--on-average", "-o", "some.csv"),
    ],
    "predict": [("run", "users.parquet", "-o", "predicted.parquet")],
    "plan": [("menu.parquet", "-r", "rules.toml", "-o", "plan.parquet")],
    "experiment": [
        ("trial.parquet", "--arm", "arm", "--metric", "orders", "--control", "0", "-o", "effects"),
        ("trial.parquet", "--arm", "arm", "--metric", "orders", "--control", "0", "--cost", "spent"),
    ],
    "replay": [
        ("later.parquet", "--metric", "orders", "--draws", "20", "--effect", "0.1"),
        ("later.parquet", "--metric", "orders", "--draws", "20"),
    ],
    "assign": [("users.parquet", "--unit", "user", "--shares", "A=1,B=1", "--salt", "s", "-o", "arms.csv")],
    "export": [],  # needs a run with clusters, as does --by-cluster: see test_app.py
    "demo": [("--no-open", "-o", "demo")],
    "studio": [],  # pages until it is stopped: see tests/web
    "serve": [],  # serves until it is stopped: see tests/serving/http
    "erase": [("--store", "sqlite:///ledger.db", "--unit", "u1")],
    "monitor": [("sqlite:///ledger.db",)],
    "promote": [("sqlite:///ledger.db", "--campaign", "c", "--history")],
    "update": [],  # needs a ledger whose decisions have features: see tests/commands/test_update.py
    "verify-log": [("--store", "sqlite:///ledger.db")],
    "init": [("empty.toml",)],
    "schema": [("check",)],
}

TEXT_ONLY = ("init", "schema")  # without --json; the second prints JSON all the same


def strictly(text: str) -> Any:
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_every_command_is_tried():
    assert {command.name or command.callback.__name__ for command in app.registered_commands} == set(COMMANDS)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_all_json_is_valid(place: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(place)
    small = demo.Size(trial=2000, log=1500, units=300)
    monkeypatch.setattr(demo, "make", partial(demo.make, size=small))
    monkeypatch.setattr(demo_coupons, "_ROUNDS", 5)
    monkeypatch.setattr(demo, "installed", lambda _: False)  # the real trial takes a minute
    nulls = 0
    for name in sorted(COMMANDS, key=lambda name: name == "compare"):  # it needs what `fit` leaves
        for words in COMMANDS[name]:
            done = RUNNER.invoke(app, [name, *words, *([] if name in TEXT_ONLY else ["--json"])])
            assert done.exception is None or isinstance(done.exception, SystemExit), (name, done.exception)
            if name != "init":
                document = strictly(done.stdout)
                nulls += str(document).count("None")
                if name not in TEXT_ONLY:
                    DOCUMENTS[name].model_validate_json(done.stdout)
    written = list(place.rglob("*.json"))
    assert {path.name for path in written} >= {"metrics.json", "trials.json", "effects.json", "manifest.json"}
    for path in written:
        strictly(path.read_text())
    assert nulls > 10, "quantities that are not known were among them"


@pytest.mark.parametrize("command", DOCUMENTS)
def test_a_schema_names_every_field_and_refuses_others(command: str):
    made = schema(command)
    assert made["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    for shown in (made, *made.get("$defs", {}).values()):
        assert shown["additionalProperties"] is False
        assert all(field["description"] for field in shown["properties"].values())
    printed = RUNNER.invoke(app, ["schema", command])
    assert strictly(printed.stdout) == made


def test_a_command_without_a_schema_is_refused():
    assert "must be one of" in str(RUNNER.invoke(app, ["schema", "init"]).exception)
