"""The page about replayed experiments names the estimator to read, and the size of the test with it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from largesse import frames
from largesse.cli.app import app
from largesse.errors import StoreError


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(5)
    before = rng.normal(10, 3, 800)
    path = tmp_path_factory.mktemp("history") / "past.parquet"
    frames.write(pa.table({"before": before, "spend": before + rng.normal(0, 1, 800)}), path)
    return path


def replayed(history: Path, folder: Path, *more: str):
    words = ["replay", str(history), "--metric", "spend~before", "--draws", "80", "-o", str(folder), *more]
    return CliRunner().invoke(app, words)


def test_the_most_precise_estimator_leads_and_the_test_is_planned_with_it(history: Path, tmp_path: Path):
    done = replayed(history, tmp_path / "page", "--effect", "0.2")
    assert done.exit_code == 0, done.output
    assert "report.html" in done.output
    document = json.loads((tmp_path / "page" / "metrics.json").read_text())
    sound = [row for row in document["rows"] if row["low"] <= 0.05]
    best = min(sound, key=lambda row: row["sd"])
    (needed,) = (row for row in document["plan"]["rows"] if row["method"] == best["method"])
    words = (tmp_path / "page" / "summary.md").read_text()
    assert f"{best['method']} is the most precise estimator that keeps its level" in words
    assert f"the test needs {needed['units']:,.0f} units with it" in words
    assert best["method"] != "difference in means", "the covariate explains nine tenths of the variance"


def test_nothing_is_replaced_unasked(history: Path, tmp_path: Path):
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "mine.txt").write_text("mine")
    done = replayed(history, tmp_path / "page")
    assert isinstance(done.exception, StoreError)
    assert (tmp_path / "page" / "mine.txt").read_text() == "mine"
