"""`largesse update`: the rows it learns from and those that judge, against the ledger; what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

pytest.importorskip("sqlalchemy", reason="the extra 'serve' is not installed")

from largesse import frames
from largesse.cli.app import app
from largesse.commands.documents import DOCUMENTS
from largesse.commands.fit import fit
from largesse.commands.run_folder import open_run
from largesse.commands.update import CHALLENGER, CHAMPION, _like, update
from largesse.config import parse
from largesse.errors import DataError, SchemaError, StoreError
from largesse.serving import Campaign, Ledger, Outcome, trial_rows
from tests.common.campaigns import DATA, table
from tests.common.ledgers import Clock

N = 1_500
SMALL = (
    "[model]\ncandidates = ['lightgbm-rct']\n[run]\ndraws = 40\n[report]\nvalue_unit = 'orders'\nmoney_unit = 'EUR'\n"
)
LABELS = ("0", "5", "10")


def serve(place: Path, name: str, *, features: bool = True, explore: float = 0.5, n: int = N) -> str:
    """A ledger in which the run has decided for n units whose outcomes are those of the world, matured by now."""
    rng, config_policy = np.random.default_rng(9), open_run(place / "champion")[1]
    rows = table(n, 50).drop_columns(["arm", "orders", "spent", "note"])
    store, clock = f"sqlite:///{place}/{name}.db", Clock(1_000.0)
    assert config_policy.encoder is not None
    menu = config_policy.model.predict(config_policy.encoder.transform(rows))
    cells = rows.drop_columns(["user"]).to_pylist()
    with Ledger.open(store, clock=clock) as ledger:
        ledger.start(Campaign(name="spring", treatments=LABELS, budget=1e6, until=1e6, price=0.05, holdout=0.1, explore=explore,
                              matures=100.0))  # fmt: skip
        units = [f"customer {k}" if k >= 5 else str(k) for k in range(n)]  # five of them are in the trial, too
        got = ledger.decide_many(
            "spring",
            units,
            value=menu.value,
            cost=menu.cost,
            version="champion-1",
            features=cells if features else None,
        )
        x = np.column_stack([rows[f"f{k}"] for k in range(4)])
        t = np.array([LABELS.index(one) for one in got.treatment])
        order = rng.random(n) < 1 / (1 + np.exp(1.2 - 0.5 * x[:, 1] - t * (x[:, 0] > 0)))
        ledger.outcomes([
            Outcome(one, f"o{one}", value=1.0, cost=5.0 * code)
            for one, code, did in zip(got.id, t.tolist(), order, strict=True) if did
        ])  # fmt: skip
        clock.now = 5_000.0
        ledger.expire()
    return store


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("update")
    frames.write(table(1_200, 1), folder / "trial.parquet")
    text = DATA.format(more="folds = 1") + SMALL
    fit(parse(text, folder=folder), folder=folder / "champion")
    return folder


@pytest.fixture(scope="module")
def done(place: Path) -> Any:
    return update(place / "champion", serve(place, "spring"), place / "next", fast=True)


def test_every_decision_is_learned_from_or_judges(place, done):
    learned, judge = (pq.read_table(place / "next-rows" / name) for name in ("trial.parquet", "judge.parquet"))
    with Ledger.open(f"sqlite:///{place}/spring.db", create=False) as ledger:
        served = pa.Table.from_batches(list(trial_rows(ledger, "spring")))
    assert (learned.num_rows, judge.num_rows) == (done.old_rows + done.served_rows, done.judge_rows)
    assert done.old_rows == 1_200
    units = served["unit"].to_pylist()
    of_served = learned["user"].to_pylist()[1_200:]
    assert sorted(of_served + judge["user"].to_pylist()) == sorted(units)
    assert not set(learned["user"].to_pylist()) & set(judge["user"].to_pylist())
    assert 0.25 < judge.num_rows / N < 0.35
    both = pa.concat_tables([learned.slice(1_200), judge]).to_pandas().set_index("user").loc[units]
    probability = "propensity of the treatment"
    for name, own in (
        ("arm", "treatment"),
        ("orders", "value"),
        ("spent", "cost"),
        (probability, "propensity"),
        ("f0", "f0"),
        ("city", "city"),
    ):
        assert both[name].tolist() == served[own].to_pylist(), name
    age = both["age"].to_numpy()
    assert np.array_equal(age, served["age"].to_pandas().to_numpy(float), equal_nan=True)


def test_the_old_trial_is_kept_with_its_probabilities(place):
    old, learned = table(1_200, 1), pq.read_table(place / "next-rows" / "trial.parquet").slice(0, 1_200)
    for name in ("arm", "orders", "spent", "f0", "age"):
        assert learned[name].to_pylist() == old[name].to_pylist(), name
    shares = {arm: old["arm"].to_pylist().count(arm) / 1_200 for arm in ("0", "5", "10")}
    assert learned["propensity of the treatment"].to_pylist() == pytest.approx(
        [shares[arm] for arm in old["arm"].to_pylist()]
    )
    assert learned["user"].to_pylist() == [str(k) for k in range(1_200)]


def test_the_challenger_is_a_run_and_says_how_it_compares(place, done):
    config, policy = open_run(place / "next")
    assert config.design.stratified
    assert policy.encoder.features == open_run(place / "champion")[1].encoder.features
    document = json.loads((place / "next" / "update.json").read_text())
    DOCUMENTS["update"].model_validate(document)
    assert document["sentence"] == done.sentence
    rows = {(row["name"], row["budget"]): row for row in document["rows"]}
    names = {name for name, _ in rows}
    assert {CHAMPION, CHALLENGER} <= names
    assert done.table.level == pytest.approx(1 - 0.05 / 2)  # two budgets
    at = done.table.index(CHALLENGER)
    low, high = done.table.difference_low[at], done.table.difference_high[at]
    assert done.better == bool((low > 0).any() and not (high < 0).any())
    assert ("No difference is shown" in done.sentence) == bool(((low <= 0) & (high >= 0)).all())


def test_the_same_run_is_no_better_than_itself(place, done, monkeypatch):
    """With the champion in the challenger's place, every difference is 0, and the sentence says that the two decide alike."""
    from largesse.commands import update as module

    config = open_run(place / "next")[0]
    (place / "twin").mkdir(exist_ok=True)
    for name in ("config.toml", "metrics.json"):
        (place / "twin" / name).write_bytes((place / "champion" / name).read_bytes())
    monkeypatch.setattr(module, "open_run", lambda folder: open_run(place / "champion"))
    same = module._judged(
        (place / "champion", place / "twin"), config, place / "next-rows" / "judge.parquet", (1, 1, 1)
    )
    at = same.table.index(CHALLENGER)
    assert same.table.difference[at].tolist() == pytest.approx([0.0, 0.0])
    assert not same.better
    assert "decide nearly alike" in same.sentence


def test_the_command(place):
    words = [str(place / "champion"), f"sqlite:///{place}/spring.db", "-o", str(place / "again"), "--fast"]
    shown = CliRunner().invoke(app, ["update", *words])
    assert shown.exit_code == 0, shown.output
    assert "Learned from 1,200 rows of the trial and" in shown.output
    again = CliRunner().invoke(app, ["update", *words])
    assert isinstance(again.exception, StoreError)
    printed = CliRunner().invoke(app, ["update", *words, "--replace", "--json"])
    assert printed.exit_code == 0, printed.exception
    DOCUMENTS["update"].model_validate_json(printed.stdout)


def test_refusals(place, tmp_path):
    champion = place / "champion"
    store = serve(place, "plain", features=False, n=400)
    with pytest.raises(SchemaError, match=r"column 'age': is not stored with the decisions.*features = true"):
        update(champion, store, tmp_path / "a", fast=True)
    few = serve(place, "few", n=300)
    with pytest.raises(DataError, match=r"--judge-share == 0.3: \d+ matured decisions .* 200 are needed"):
        update(champion, few, tmp_path / "b", fast=True)
    with pytest.raises(DataError, match="--judge-share == 0.99"):
        update(champion, few, tmp_path / "b", judge_share=0.99)
    with Ledger.open(f"sqlite:///{tmp_path}/other.db", clock=Clock()) as ledger:
        ledger.start(Campaign(name="c", treatments=("0", "1"), budget=1.0, until=1e6, price=1.0))
    with pytest.raises(DataError, match="Give the run that it serves"):
        update(champion, f"sqlite:///{tmp_path}/other.db", tmp_path / "c")
    with Ledger.open(f"sqlite:///{tmp_path}/empty.db", clock=Clock()) as ledger:
        ledger.start(Campaign(name="c", treatments=LABELS, budget=1.0, until=1e6, price=1.0))
    with pytest.raises(DataError, match="none of its decisions has matured"):
        update(champion, f"sqlite:///{tmp_path}/empty.db", tmp_path / "c")
    assert not list(tmp_path.glob("*-rows"))


def test_features_of_another_kind_are_refused_by_name(place):
    old = {
        "arm": ["0"],
        "orders": [1.0],
        "spent": [0.0],
        "propensity of the treatment": [0.5],
        "user": ["1"],
        "age": [40.0],
    }
    served = {
        "treatment": ["5"],
        "value": [1.0],
        "cost": [5.0],
        "propensity": [0.5],
        "unit": ["2"],
        "feature age": ["forty"],
    }
    with pytest.raises(
        SchemaError, match=r"column 'age': the decisions hold string, the trial double .*as in the trial"
    ):
        _like(pa.table(served), pa.table(old), open_run(place / "champion")[0])


def test_since_a_day_only_later_decisions_count_and_the_old_trial_does_not(place: Path) -> None:
    store, clock = f"sqlite:///{place}/later.db", Clock(1_000.0)
    policy = open_run(place / "champion")[1]
    assert policy.encoder is not None
    with Ledger.open(store, clock=clock) as ledger:
        ledger.start(
            Campaign(name="spring", treatments=LABELS, budget=1e6, until=1e6, price=0.05, explore=1.0, matures=100.0)
        )
        for day, seed in ((0, 60), (1, 61)):
            clock.now = 1_000.0 + 86_400.0 * day
            rows = table(N, seed).drop_columns(["arm", "orders", "spent", "note"])
            menu = policy.model.predict(policy.encoder.transform(rows))
            made = ledger.decide_many(
                "spring", [f"day {day} unit {k}" for k in range(N)], value=menu.value, cost=menu.cost, version="champion-1",
                features=rows.drop_columns(["user"]).to_pylist(),
            )  # fmt: skip
            paid = [(one, 5.0 * LABELS.index(t)) for one, t in zip(made.id, made.treatment, strict=True)]
            ledger.outcomes([Outcome(one, f"o{one}", value=1.0, cost=c) for k, (one, c) in enumerate(paid) if k % 3])
        clock.now += 5_000.0
        ledger.expire()
    got = update(place / "champion", store, place / "later", since="1970-01-02", fast=True)
    learned, judge = (
        pq.read_table(place / "later-rows" / name)["user"].to_pylist() for name in ("trial.parquet", "judge.parquet")
    )
    assert sorted(learned + judge) == sorted(f"day 1 unit {k}" for k in range(N))
    assert (got.old_rows, got.served_rows + got.judge_rows) == (0, N)
    with pytest.raises(DataError, match=r"--since == '1970-01-04.*1970-01-02"):
        update(place / "champion", store, place / "never", since="1970-01-04")
    with pytest.raises(DataError, match="is no date"):
        update(place / "champion", store, place / "never", since="yesterday")
