"""The commands about a ledger: its decisions as a trial that `check` and `fit` read, erasing a unit, verifying the log."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

pytest.importorskip("sqlalchemy", reason="the extra 'serve' is not installed")

import sqlalchemy as sa
from typer.testing import CliRunner

from largesse.cli.app import app
from largesse.commands.decision_log import ExportedRows
from largesse.commands.documents import DOCUMENTS
from largesse.errors import DataError, StoreError
from largesse.serving import Answer, Ledger, Outcome
from tests.common.ledgers import NAMES, Clock, ask, campaign
from tests.common.shell import shell

N = 900


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Answer]]:
    """A ledger with a matured campaign, and what it answered."""
    folder, rng = tmp_path_factory.mktemp("log"), np.random.default_rng(0)
    x, cities = rng.normal(size=N), rng.choice(["Bonn", "Kiel"], N).tolist()
    with Ledger.open(f"sqlite:///{folder}/a.db", clock=Clock()) as ledger:
        ledger.start(campaign(budget=1e5, until=4e9, explore=0.8, holdout=0.2, matures=100.0))
        asks = [
            ask(f"u{i}", features={"x": float(x[i]), "city": cities[i], "visits": i % 5, "new": i % 2 == 0, "value": i})
            for i in range(N)
        ]
        got = [a for a in ledger.decide(asks) if isinstance(a, Answer)]
        pays = rng.random(N) < 0.3 + 0.2 * np.array([NAMES.index(a.treatment) for a in got]) * (x > 0)
        ledger.outcomes([
            Outcome(a.id, f"o{i}", cost=NAMES.index(a.treatment) * float(pays[i]), value=float(pays[i]))
            for i, a in enumerate(got)
        ])  # fmt: skip
        ledger.clock.now = time.time()
        ledger.decide([ask("young")])
    return folder, got


def run(*words: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, words)
    assert done.exit_code == code, done.output
    return str(done.stdout)


def store_of(folder: Path) -> list[str]:
    return ["--store", f"sqlite:///{folder}/a.db"]


def test_the_export_is_a_trial_that_check_and_fit_read(answers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder, got = answers
    monkeypatch.chdir(tmp_path)
    words = ["decisions", "export", *store_of(folder), "--campaign", "c", "-o", "trial.parquet"]
    document = json.loads(run(*words, "--json"))
    DOCUMENTS["decisions export"].model_validate(document)
    assert (document["rows"], document["left_out"], document["control"]) == (N, 1, "none")
    assert document["features"] == ["city", "new", "feature_value", "visits", "x"]
    table = pq.read_table("trial.parquet")
    rows = table.to_pylist()
    assert [str(table.schema.field(name).type) for name in document["features"]] == [
        "string", "bool", "int64", "int64", "double"
    ]  # fmt: skip
    for i, (row, a) in enumerate(zip(rows, got, strict=True)):
        assert (row["unit"], row["treatment"], row["propensity"]) == (a.unit, a.treatment, a.propensity)
        assert (row["visits"], row["new"], row["feature_value"]) == (i % 5, i % 2 == 0, i)
    text = run(*words)
    lines = "".join(text.split("In campaign.toml:")[1]).strip()
    (tmp_path / "campaign.toml").write_text(
        f"{lines}\n[budget]\nshares = [0.3]\n[model]\ncandidates = ['lightgbm-rct']\n[run]\ndraws = 40\n"
    )
    sound = json.loads(run("check", "campaign.toml", "--json"))
    assert sound["ok"], sound["findings"]
    assert N in sound["understood"]["rows"].values()
    run("fit", "campaign.toml", "--fast", "-o", "run", "--json")
    assert (tmp_path / "run" / "report.html").is_file()


def test_the_page_names_the_fields_that_the_command_prints():
    page = (Path(__file__).parents[2] / "docs" / "serve.md").read_text()
    shown = re.findall(r"```toml\n(.*?)```", page, flags=re.S)
    printed = ExportedRows(1, 0, "none", ("none", "coupon"), ()).campaign(Path("trial.parquet"))
    assert printed.strip() in [block.strip() for block in shown]


def test_what_cannot_be_exported_is_refused(answers, tmp_path: Path):
    from largesse.commands.decision_log import export_decisions

    store = store_of(answers[0])[1]
    with pytest.raises(DataError, match=r"must end in .parquet"):
        export_decisions(store, "c", tmp_path / "a.csv")
    with pytest.raises(DataError, match="campaign == 'd'"):
        export_decisions(store, "d", tmp_path / "a.parquet")
    with pytest.raises(StoreError, match="this file is not there"):
        export_decisions(f"sqlite:///{tmp_path}/none.db", "c", tmp_path / "a.parquet")
    with Ledger.open(f"sqlite:///{tmp_path}/b.db") as ledger:
        ledger.start(campaign())
        with pytest.raises(DataError, match="none of its 0 decisions has matured"):
            export_decisions(f"sqlite:///{tmp_path}/b.db", "c", tmp_path / "a.parquet")
    assert sorted(path.suffix for path in tmp_path.iterdir() if "parquet" in path.name) == []


def test_erase_and_verify(tmp_path: Path):
    with Ledger.open(f"sqlite:///{tmp_path}/a.db") as ledger:
        ledger.start(campaign(until=4e9))
        ledger.decide([ask(f"u{i}") for i in range(10)])
    store = store_of(tmp_path)
    before = tmp_path / "verified.json"
    before.write_text(run("verify-log", *store, "--json"))
    assert json.loads(before.read_text())["logs"]["c"]["decisions"] == 10
    assert "1 decision erased" in run("erase", *store, "--unit", "u3")
    assert json.loads(run("erase", *store, "--unit", "u3", "--json")) == {"decisions": 0}
    assert "nothing was changed" in run("verify-log", *store, "--earlier", str(before))
    with sa.create_engine(store[1]).begin() as connection:
        connection.execute(sa.text("update largesse_decision set price = 0.75 where number = 4"))
    document = json.loads(run("verify-log", *store, "--json", code=1))
    DOCUMENTS["verify-log"].model_validate(document)
    assert not document["ok"]
    assert "was changed" in run("verify-log", *store, code=1)


@pytest.mark.parametrize("content", ["no json", "{}", '{"logs": 3}', '{"logs": {"c": 3}}'])
def test_another_file_is_no_earlier_verification(tmp_path: Path, content):
    from largesse.commands.decision_log import verify_log

    (tmp_path / "v.json").write_text(content)
    with pytest.raises(DataError, match="is no earlier verification"):
        verify_log(f"sqlite:///{tmp_path}/a.db", tmp_path / "v.json")


def test_decisions_are_made_again_with_another_run(tmp_path: Path):
    served = pytest.importorskip("tests.common.served")
    with served.service(tmp_path, explore=0.5) as service:
        for i in range(40):
            assert service.decide(f"u{i}", features=served.NORTH | {"age": 10 + i}).status_code == 200
    store = ["--store", f"sqlite:///{tmp_path}/ledger.db", "--campaign", "spring"]
    cheap = served.make_run(tmp_path / "cheap", cost=(0.0, 1.0, 400.0))
    document = json.loads(run("decisions", "replay", str(cheap), *store, "--json"))
    DOCUMENTS["decisions replay"].model_validate(document)
    # Per unit of cost the coupon brings age / 40, and the gift beyond it 2 / 3 of that, against a price of .5.
    ages = np.arange(10, 50)
    gift, coupon = ages / 40 * 2 / 3 > 0.5, ages / 40 > 0.5
    assert document["before"] == {
        "none": int((~coupon).sum()), "coupon": int((coupon & ~gift).sum()), "gift": int(gift.sum())
    }  # fmt: skip
    assert document["after"] == {"none": int((~coupon).sum()), "coupon": int(coupon.sum()), "gift": 0}
    assert document["judged"] == 0
    assert document["value"] is None
    text = " ".join(run("decisions", "replay", str(cheap), *store).split())
    assert f"40 decisions: {gift.mean():.1%} would differ" in text
    strange = served.make_run(tmp_path / "strange", treatments=("none", "coupon", "cake"))
    refused = shell("decisions", "replay", str(strange), *store)
    assert refused.returncode == 2
    assert "none, coupon, cake" in " ".join(refused.stderr.split())


def test_answers_in_the_shadow_are_compared(tmp_path: Path):
    served = pytest.importorskip("tests.common.served")
    cheap = served.make_run(tmp_path / "cheap", cost=(0.0, 1.0, 400.0))
    with served.service(tmp_path, challenger=str(cheap), shadow=True) as service:
        for i in range(40):
            assert service.decide(f"u{i}", features=served.NORTH | {"age": 10 + i}).status_code == 200
    store = ["--store", f"sqlite:///{tmp_path}/ledger.db", "--campaign", "spring"]
    document = json.loads(run("decisions", "shadow", *store, "--json"))
    DOCUMENTS["decisions shadow"].model_validate(document)
    assert document == json.loads(run("decisions", "replay", str(cheap), *store, "--json"))
    assert document["after"]["coupon"] > document["before"]["coupon"]
    assert "40 decisions" in run("decisions", "shadow", *store)
    assert "has not answered" in run_error("decisions", "shadow", *store, "--version", "x")


def run_error(*words: str) -> str:
    done = CliRunner().invoke(app, words)
    assert done.exit_code
    return f"{done.output}{done.exception}"
