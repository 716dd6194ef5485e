"""Rows that a run was trained on: refused, left out or noted, by `evaluate` and by `compare`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from largesse import frames
from largesse.cli.app import app
from largesse.commands.compare import compare_runs
from largesse.commands.evaluate import evaluate_run
from largesse.commands.fit import fit
from largesse.config import load
from largesse.errors import DataError, StoreError, UsedInTraining

RUNNER = CliRunner()
TEXT = """
[data]
rct = "trial.parquet"
{data}
[columns]
treatment = "arm"
value = "orders"
cost = "spent"
{unit}
[budget]
per_unit = [0.3]
[model]
candidates = ["lightgbm-rct"]
[run]
draws = 40
"""
UNIT, NO_UNIT = 'unit = "user"', 'ignore = ["user"]'


def rows(n: int, seed: int, first: int = 0, effect: float = 0.5) -> pa.Table:
    rng = np.random.default_rng(seed)
    x, arm = rng.random((n, 3)), rng.integers(0, 2, n)
    y = (rng.random(n) < 0.2 + effect * arm * (x[:, 0] > 0.5)).astype(float)
    features = {name: x[:, k] for k, name in enumerate("abc")}
    return pa.table({"user": first + np.arange(n), **features, "arm": arm.astype(str), "orders": y, "spent": arm * 1.0})


def made(place: Path, name: str, data: str = "folds = 2", unit: str = UNIT) -> Path:
    (place / f"{name}.toml").write_text(TEXT.format(data=data, unit=unit))
    return fit(load(place / f"{name}.toml"), folder=place / name).folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluated")
    trial = rows(1500, 1)
    others = rows(900, 4, first=20_000)
    tables = {
        "trial": trial,
        "later": rows(1200, 2, first=10_000),
        "same_users": rows(1500, 3),  # ids used again, treatments drawn anew
        "mixed": pa.concat_tables([trial.slice(0, 300), others]),
        "rest": others,  # of "mixed": those that no run was trained on
        "test": rows(600, 5, first=30_000),
    }
    for name, table in tables.items():
        frames.write(table, folder / f"{name}.parquet")
    made(folder, "folded")
    made(folder, "held", "folds = 1\ntest_share = 0.4")
    made(folder, "refitted", "folds = 1\ntest_share = 0.4\nrefit = true")
    made(folder, "tested", 'test = "test.parquet"')
    made(folder, "nameless", unit=NO_UNIT)
    return folder


class TestRefused:
    @pytest.mark.parametrize(
        ("run", "used"), [("folded", 1500), ("held", 900), ("refitted", 1500), ("tested", 1500), ("nameless", 1500)]
    )
    def test_the_rows_of_its_own_trial(self, place: Path, run: str, used: int):
        with pytest.raises(UsedInTraining, match="learned from") as refused:
            evaluate_run(place / run, place / "trial.parquet")
        assert refused.value.used == pytest.approx(used, abs=2)  # of a random share
        assert refused.value.rows == 1500
        for words in ("report.html", "--anyway", "later trial"):
            assert words in str(refused.value)
        assert ("--fresh-only" in str(refused.value)) is (run == "held")

    @pytest.mark.parametrize("run", ["folded", "nameless"])
    def test_some_of_them(self, place: Path, run: str):
        with pytest.raises(UsedInTraining, match="300 of 1,200 rows") as refused:
            evaluate_run(place / run, place / "mixed.parquet")
        assert "900 remain" in str(refused.value)

    @pytest.mark.parametrize("run", ["folded", "held", "tested", "nameless"])
    def test_not_others(self, place: Path, run: str):
        table, _, _ = evaluate_run(place / run, place / "later.parquet")
        assert table.notes == ()

    def test_not_the_test_file_of_the_run(self, place: Path):
        table, _, _ = evaluate_run(place / "tested", place / "test.parquet")
        assert not any("trained" in note for note in table.notes), "300 rows rest on few events, which is said"

    def test_not_the_same_users_in_a_new_trial(self, place: Path):
        table, _, _ = evaluate_run(place / "folded", place / "same_users.parquet")
        (note,) = table.notes
        assert "drawn anew" in note

    def test_where_one_of_two_runs_was_trained_on_them(self, place: Path):
        runs = (place / "tested", place / "folded")
        with pytest.raises(UsedInTraining) as refused:
            compare_runs(*runs, place / "mixed.parquet")
        assert refused.value.used == 300
        assert all(f"{run}: 300 of 1,200" in str(refused.value) for run in runs)
        with pytest.raises(UsedInTraining) as refused:
            compare_runs(place / "tested", place / "folded", place / "trial.parquet")
        assert compare_runs(*runs, place / "later.parquet").notes == ()

    def test_an_unknown_wish(self, place: Path):
        with pytest.raises(DataError, match="trained_on"):
            evaluate_run(place / "folded", place / "later.parquet", trained_on="ignore")  # type: ignore[arg-type]


class TestLeftOut:
    @pytest.mark.parametrize("run", ["folded", "nameless"])
    def test_the_others_are_evaluated(self, place: Path, run: str):
        table, planned, _ = evaluate_run(place / run, place / "mixed.parquet", trained_on="drop")
        alone, spend, _ = evaluate_run(place / run, place / "rest.parquet")
        np.testing.assert_array_equal(table.value, alone.value)
        np.testing.assert_array_equal(planned.cost, spend.cost)
        assert "300 of 1,200" in table.notes[0]
        assert "left out" in table.notes[1]

    def test_the_held_out_rows_of_the_run_give_its_report(self, place: Path):
        """What `fit` kept for its proof is exactly what is left of the trial."""
        table, _, _ = evaluate_run(place / "held", place / "trial.parquet", trained_on="drop")
        stored = json.loads((place / "held" / "metrics.json").read_text())["rows"]
        proven = {r["name"]: r["value"] for r in stored}
        assert table.value[0, 0] == pytest.approx(proven["policy"])
        assert table.value[1, 0] == pytest.approx(proven["no one"])

    def test_of_both_runs(self, place: Path):
        table = compare_runs(place / "held", place / "folded", place / "mixed.parquet", trained_on="drop")
        alone = compare_runs(place / "held", place / "folded", place / "rest.parquet")
        np.testing.assert_array_equal(table.value[:2], alone.value[:2])

    def test_nothing_is_left(self, place: Path):
        with pytest.raises(DataError, match="no row of treatment '0' is left"):
            evaluate_run(place / "folded", place / "trial.parquet", trained_on="drop")

    def test_rows_that_are_alike_cannot_be_left_out(self, place: Path):
        """Dropping rows that equal a training row by chance would drop frequent outcomes."""
        table = rows(1500, 7)
        few = np.round(np.asarray(table["a"]) * 400)
        table = table.drop(["b", "c"]).set_column(1, "a", pa.array(few))
        alike = place / "alike"
        alike.mkdir()
        frames.write(table, alike / "trial.parquet")
        run = made(alike, "run", unit=NO_UNIT)
        with pytest.raises(UsedInTraining, match="by chance") as refused:
            evaluate_run(run, alike / "trial.parquet")
        assert "--fresh-only" not in str(refused.value)
        with pytest.raises(DataError, match=r"columns\.unit"):
            evaluate_run(run, alike / "trial.parquet", trained_on="drop")


class TestKept:
    def test_the_output_says_so(self, place: Path):
        table, _, _ = evaluate_run(place / "folded", place / "mixed.parquet", trained_on="keep")
        assert "300 of 1,200" in table.notes[0]
        assert "looks better than it is" in table.notes[-1]

    def test_a_policy_looks_better_on_its_own_rows(self, tmp_path: Path):
        """Why they are refused: nothing has an effect, yet on its own rows the policy beats its own random mix."""
        for name, seed in (("trial", 8), ("later", 9)):
            frames.write(rows(1500, seed, first=seed * 10_000, effect=0.0), tmp_path / f"{name}.parquet")
        run = made(tmp_path, "run")
        own = evaluate_run(run, tmp_path / "trial.parquet", trained_on="keep")[0].against("random, same mix")
        fresh = evaluate_run(run, tmp_path / "later.parquet")[0].against("random, same mix")
        assert own.difference_low[0, 0] > 0
        assert fresh.difference_low[0, 0] < 0 < fresh.difference_high[0, 0]


class TestRecord:
    def test_a_run_without_one_is_evaluated_with_a_note(self, place: Path):
        older = place / "older"
        shutil.copytree(place / "folded", older)
        shutil.rmtree(older / "training_rows")
        table, _, _ = evaluate_run(older, place / "trial.parquet")
        assert "not known" in table.notes[0]
        assert "no record" in table.notes[0]

    def test_a_damaged_one_is_refused(self, place: Path):
        broken = place / "broken"
        shutil.copytree(place / "folded", broken)
        arrays = broken / "training_rows" / "arrays.safetensors"
        arrays.write_bytes(arrays.read_bytes()[:-1] + b"x")
        with pytest.raises(StoreError, match="checksum"):
            evaluate_run(broken, place / "later.parquet")


class TestCommands:
    @pytest.mark.parametrize("command", [("evaluate", "folded"), ("compare", "folded", "held")])
    def test_refused_noted_or_left_out(self, place: Path, command: tuple[str, ...]):
        name, *runs = command
        given = [name, *(str(place / run) for run in runs), str(place / "mixed.parquet"), "--draws", "20"]
        refused = RUNNER.invoke(app, given)
        assert isinstance(refused.exception, UsedInTraining)
        assert not refused.stdout
        noted = RUNNER.invoke(app, [*given, "--anyway"])
        assert noted.exit_code == 0
        assert "300 of 1,200" in noted.stdout
        assert "better than it is" in " ".join(noted.stdout.split())
        left_out = RUNNER.invoke(app, [*given, "--fresh-only"])
        assert left_out.exit_code == 0
        assert "left out" in " ".join(left_out.stdout.split())
        both = RUNNER.invoke(app, [*given, "--fresh-only", "--anyway"])
        assert isinstance(both.exception, DataError)

    @pytest.mark.parametrize("command", [("evaluate", "folded"), ("compare", "folded", "held")])
    def test_a_refused_document_says_so(self, place: Path, command: tuple[str, ...]):
        name, *runs = command
        given = [name, *(str(place / run) for run in runs), str(place / "mixed.parquet"), "--draws", "20", "--json"]
        refused = RUNNER.invoke(app, given)
        assert refused.exit_code == 2
        document = json.loads(refused.stdout)
        assert document["ok"] is False
        assert document["kind"] == "UsedInTraining"
        assert (document["trained_on"], document["of"]) == (300, 1200)
        assert "--anyway" in document["error"]
        assert any("300 of 1,200" in note for note in document["notes"])
        for option in ("--anyway", "--fresh-only"):
            done = RUNNER.invoke(app, [*given, option])
            assert done.exit_code == 0
            assert json.loads(done.stdout)["ok"] is True
            assert any("300 of 1,200" in note for note in json.loads(done.stdout)["notes"])
