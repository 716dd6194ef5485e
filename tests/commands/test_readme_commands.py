"""Every command of README.md runs as it is printed, on small files; only `tune` has fewer trials and `replay` fewer draws."""

from __future__ import annotations

import re
import shlex
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from largesse import datasets, frames
from largesse.cli.app import app
from largesse.commands import demo
from largesse.commands.fit import fit
from largesse.commands.run_folder import open_run
from largesse.config import Config
from largesse.serving import Ledger, Outcome
from tests.common.ledgers import Clock, ask, campaign

README = Path(__file__).parents[2] / "README.md"
CAMPAIGN = """[data]
rct = "trial.parquet"
test_share = 0.3
folds = 1
[columns]
treatment = "coupon"
value = "orders"
cost = "spent"
unit = "user"
[model]
candidates = ["{model}"]
members = 1
epochs = 1
settings.lightgbm-rct = {{rounds = 20}}
[run]
draws = 40
folder = "runs"
"""
RULES = """treatments = ["0", "5"]
value = "value_{}"
cost = "cost_{}"
unit = "user"
spend = [{at_most = 500.0}]
"""


def commands() -> list[list[str]]:
    """Returns the words of each command that README.md prints, in its order."""
    text = README.read_text(encoding="utf-8")
    blocks = "\n".join(re.findall(r"```console\n(.*?)```", text, flags=re.S))
    lines = re.findall(r"^\$ largesse (.*)$", blocks, flags=re.M)
    return [
        shlex.split(line, comments=True) for line in (*lines, *re.findall(r"^\| `largesse ([^`]*)`", text, flags=re.M))
    ]


def trial(n: int, seed: int) -> pa.Table:
    rng = np.random.default_rng(seed)
    amount = rng.choice([0, 5, 10], n)
    age = rng.normal(40, 10, n)
    orders = rng.poisson(np.exp(-0.5 + 0.01 * (age - 40) + 0.05 * amount))
    used = rng.random(n) < 0.5
    return pa.table({"user": np.arange(n) + 10_000 * seed, "coupon": amount, "age": age, "gmv_before": rng.normal(20, 5, n),
                     "orders": orders, "spent": (amount * used).astype(float)})  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("readme")
    for k, name in enumerate(("trial", "later_trial", "users"), 1):
        frames.write(trial(1500, k), place / f"{name}.parquet")
    rng = np.random.default_rng(9)
    group = rng.choice(["control", "new"], 1200)
    before = rng.normal(20, 5, 1200)
    shop = {
        "age": rng.normal(40, 9, 1200),
        "gmv_before": before,
        "gmv": before + rng.normal(0, 5, 1200) + (group == "new"),
    }
    frames.write({"group": group, **shop}, place / "ab.parquet")
    frames.write(shop, place / "past.parquet")
    menu = {"value_0": np.zeros(500), "value_5": rng.random(500), "cost_0": np.zeros(500), "cost_5": np.full(500, 5.0)}
    frames.write({"user": np.arange(500), **menu}, place / "menu.parquet")
    (place / "rules.toml").write_text(RULES, encoding="utf-8")
    with Ledger.open(f"sqlite:///{place}/spring.db", clock=Clock()) as ledger:
        ledger.start(campaign(name="spring", treatments=("0", "5", "10")))
        ledger.decide([ask(f"customer {i}", campaign="spring") for i in range(80, 90)])
    return place


def decide(run_folder: Path) -> None:
    """The run decides for 900 users, and their orders are reported."""
    policy, users = open_run(run_folder)[1], frames.read("users.parquet").slice(0, 900)
    assert policy.encoder is not None
    menu = policy.model.predict(policy.encoder.transform(users))
    features = users.select(list(policy.encoder.features)).to_pylist()
    with Ledger.open("sqlite:///spring.db", clock=Clock()) as ledger:
        got = ledger.decide_many("spring", range(900), value=menu.value, cost=menu.cost, features=features)
        ledger.outcomes([Outcome(name, name, value=float(k % 3)) for k, name in enumerate(got.id)])


def run(words: list[str]) -> None:
    done = CliRunner().invoke(app, words)
    alarm = words[0] == "monitor" and "alarm" in done.output  # nobody spends the money of the ledger here
    assert done.exit_code == int(alarm), f"largesse {shlex.join(words)}: {done.output} {done.exception!r}"


def test_every_command_runs_as_printed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("onnx")
    monkeypatch.chdir(folder)
    opened: list[Any] = []
    monkeypatch.setattr("largesse.web.serve.run_studio", lambda studio, **options: opened.append(studio))
    done = []
    for words in commands():
        if words[0] == "tune":
            words[words.index("--trials") + 1] = "2"
        if words[0] == "replay":
            words += ["--draws", "50"]
        if words[0] == "compare":
            run(["fit", "campaign.toml", "-o", "runs/summer"])
        if words[0] == "update":
            decide(Path("runs/spring"))
        if words[0] == "export":
            Path("clusters.toml").write_text(CAMPAIGN.format(model="hrc"), encoding="utf-8")
            run(["fit", "clusters.toml", "-o", "runs/clusters"])
        if words[0] == "allocate":
            words[words.index("--budget") + 1] = "1500"  # the README's is that of more users
        run(words)
        if words[0] == "init":
            Path("campaign.toml").write_text(CAMPAIGN.format(model="lightgbm-rct"), encoding="utf-8")
        done.append(words[0])
    assert done == ["init", "check", "fit", "allocate", "evaluate", "tune", "compare", "predict", "plan", "export", "experiment",
                    "replay", "assign", "monitor", "update", "promote", "decisions", "studio", "erase", "verify-log",
                    "schema"]  # fmt: skip
    (studio,) = opened
    assert studio.first.population.n == 1500
    assert Path("runs/spring/report.html").exists()
    assert Path("served/table.json").exists()


def test_the_first_decision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands below "One decision at a time", with a run like that of the demo."""
    pytest.importorskip("causaldata")
    served = pytest.importorskip("tests.common.served")
    from largesse.serving.http import workers
    from largesse.serving.http.app import App
    from largesse.serving.http.begin import begin, maker

    serve, curl = re.findall(r"^\$ (\S*largesse serve .*|curl .*)$", README.read_text(encoding="utf-8"), flags=re.M)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "fit", partial(quick, fit))
    demo.cash(Path("runs/demo/cash"), lambda *_: None)
    taken: list[Any] = []
    monkeypatch.setattr(workers, "serve", lambda load: taken.append(load()))
    run(shlex.split(serve)[1:])
    (settings,) = taken
    begin(settings)
    url, _, header, _, body = shlex.split(curl)[1:]
    assert url.startswith(f"http://{settings.server.host}:{settings.server.port}/v1/")
    with served.InLoop(App(maker(settings))) as here:
        name, _, kind = header.partition(": ")
        answer = here.request("POST", url.partition(":8000")[2], content=body, headers={name: kind})
    assert answer.status_code == 200, answer.text
    assert answer.json()["treatment"] in datasets.thornton().treatments


def quick(real: Any, config: Config, **options: Any) -> Any:
    """`fit` with few trees in place of the candidates that it would learn."""
    model = config.model.model_copy(update={"candidates": ("lightgbm-rct",)})
    return real(config.model_copy(update={"model": model}), fast=True, **options)


@pytest.mark.parametrize(
    "labels", [("control", "new"), ("0", "1"), ("none", "coupon"), ("A", "B"), ("holdout", "policy")]
)
def test_an_experiment_recognises_common_labels_of_control(labels: tuple[str, str], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arm = np.array(labels)[rng.integers(0, 2, 400)]
    frames.write({"group": arm, "gmv": rng.normal(size=400) + 5}, tmp_path / "ab.parquet")
    done = CliRunner().invoke(app, ["experiment", str(tmp_path / "ab.parquet"), "--arm", "group", "--metric", "gmv"])
    assert done.exit_code == 0, done.output
    assert f"{labels[1]} against {labels[0]}" in " ".join(done.output.split())


@pytest.mark.parametrize("labels", [("old", "new"), ("control", "none"), ("A", "C")])
def test_other_labels_are_refused_with_the_option_to_give(labels: tuple[str, str], tmp_path: Path) -> None:
    frames.write({"group": np.array(labels * 50), "gmv": np.arange(100.0)}, tmp_path / "ab.parquet")
    words = ["experiment", str(tmp_path / "ab.parquet"), "--arm", "group", "--metric", "gmv"]
    refused = CliRunner().invoke(app, words)
    assert refused.exception is not None
    assert "which label is the control?" in str(refused.exception)
    assert CliRunner().invoke(app, [*words, "--control", labels[0]]).exit_code == 0
