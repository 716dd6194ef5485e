"""`predict` writes a menu that `plan` reads, the same in memory and from file to file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from largesse import frames
from largesse.allocate import price_plan
from largesse.cli.app import app
from largesse.commands.allocate import allocate_run
from largesse.commands.fit import fit
from largesse.commands.plan import plan_under
from largesse.commands.predict import predict_run
from largesse.config import load
from largesse.engines import parquet as engine
from largesse.errors import DataError, SchemaError, StoreError
from largesse.policy import Policy
from tests.common.campaigns import DATA, table

N = 500
TEXT = DATA.format(more="folds = 2") + '[model]\ncandidates = ["lightgbm-rct"]\n[run]\ndraws = 40\n'


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("predict")
    frames.write(table(1500, 1), folder / "trial.parquet")
    users = table(N, 4).drop(["arm", "orders", "spent"]).append_column("value_5", pa.array(np.zeros(N)))
    for kind in ("parquet", "feather", "csv"):
        frames.write(users, folder / f"users.{kind}")
    (folder / "campaign.toml").write_text(TEXT)
    fit(load(folder / "campaign.toml"), folder=folder / "run")
    return folder


@pytest.mark.parametrize("size", [64, engine.BLOCK])
def test_the_menu_is_the_policy_s_own(place: Path, tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(engine, "BLOCK", size)
    for kind in ("parquet", "feather"):
        done = predict_run(place / "run", place / f"users.{kind}", tmp_path / f"{kind}.parquet", keep=["city"])
        assert (done.n, done.treatments, done.unit) == (N, ("0", "5", "10"), "user")
    streamed, whole = (frames.read(tmp_path / f"{kind}.parquet") for kind in ("parquet", "feather"))
    assert streamed.equals(whole)
    assert streamed.column_names == ["user", "city", *(f"{part}_{t}" for part in ("value", "cost") for t in (0, 5, 10))]
    users = frames.read(place / "users.parquet")
    assert streamed.select(["user", "city"]).equals(users.select(["user", "city"]))
    menu = Policy.load(place / "run" / "policy").menu(users)
    for j, name in enumerate(menu.treatments):
        np.testing.assert_array_equal(streamed[f"value_{name}"].to_numpy(), menu.value[:, j])
        np.testing.assert_array_equal(streamed[f"cost_{name}"].to_numpy(), menu.cost[:, j])


def test_predict_then_plan_is_allocate_where_both_spend_the_same(place: Path, tmp_path: Path):
    """`allocate` stops where its calibrated spend reaches the budget, `plan` where the model's own does."""
    rules, menu = tmp_path / "rules.toml", tmp_path / "menu.parquet"
    done = predict_run(place / "run", place / "users.parquet", menu)
    given = allocate_run(place / "run", place / "users.parquet", 80.0, tmp_path / "given.parquet", safety=None)
    rules.write_text(f"{done.rules}\nspend = [{{at_most = {given.planned_spend!r}}}]\n")
    plan = plan_under(menu, rules, tmp_path / "plan.parquet")
    assert plan.spend <= given.planned_spend
    assert plan.value == pytest.approx(given.plan.value, rel=0.01)
    one, two = (frames.read(tmp_path / f"{name}.parquet") for name in ("given", "plan"))
    assert one.column_names == two.column_names
    same = np.array(one["treatment"].to_pylist()) == np.array(two["treatment"].to_pylist())
    assert same.mean() > 0.98
    priced = price_plan(Policy.load(place / "run" / "policy").menu(frames.read(place / "users.parquet")), given.price)
    assert priced.counts.tolist() == list(given.plan.mix.values())


def test_what_rules_name_is_kept(place: Path, tmp_path: Path):
    rules, menu = tmp_path / "rules.toml", tmp_path / "menu.csv"
    done = predict_run(place / "run", place / "users.csv", menu, keep=["city"])
    rules.write_text(f'{done.rules}\nspend = [{{by = "city", at_most = 15.0}}]\n')
    plan_under(menu, rules, tmp_path / "plan.csv", keep=["city"])
    plan = frames.read(tmp_path / "plan.csv").to_pandas()
    assert plan.groupby("city")["cost"].sum().max() <= 15.0
    assert plan["runner_up"].isna().all()


@pytest.mark.parametrize("kind", ["parquet", "csv"])
@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"keep": ["cty"]}, "Did you mean 'city'"), ({"keep": ["value_5"]}, "'value_5' is a column of the menu itself"),
        ({"keep": ["city", "city"]}, "named twice"), ({"unit": "value_5"}, "'value_5': is a column of the menu too"),
        ({"unit": "usr"}, "Did you mean 'user'"),
    ],
)  # fmt: skip
def test_refusals(place: Path, tmp_path: Path, more, words: str, kind: str):
    with pytest.raises((DataError, SchemaError), match=words):
        predict_run(place / "run", place / f"users.{kind}", tmp_path / f"menu.{kind}", **more)
    assert list(tmp_path.iterdir()) == []


def test_nothing_half_written_is_left(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(engine, "BLOCK", 64)
    users, menu = tmp_path / "users.parquet", tmp_path / "menu.parquet"
    broken = frames.read(place / "users.parquet")
    city = broken["city"].to_pylist()
    menu.write_bytes(b"older")
    frames.write(broken.set_column(0, "f0", pa.array([[1.0]] * N)).set_column(4, "city", pa.array(city)), users)
    with pytest.raises((DataError, SchemaError)):
        predict_run(place / "run", users, menu)
    assert menu.read_bytes() == b"older"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["menu.parquet", "users.parquet"]
    with pytest.raises(StoreError, match="would overwrite"):
        predict_run(place / "run", place / "users.parquet", place / "users.parquet")


def test_the_command_says_how_a_rules_file_begins(place: Path, tmp_path: Path):
    line = ["predict", str(place / "run"), str(place / "users.parquet"), "-o", str(tmp_path / "menu.parquet")]
    done = CliRunner().invoke(app, line)
    assert done.exit_code == 0, done.exception
    assert 'treatments = ["0", "5", "10"]\nunit = "user"' in done.output
