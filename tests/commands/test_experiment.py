"""The command `experiment`: a file in; a table, JSON, and a folder with the report and a picture out."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from largesse import frames, report
from largesse.cli.app import app
from largesse.commands.experiment import experiment
from largesse.errors import DataError, StoreError
from largesse.experiment import Columns, CrossFit, Metric, Settings, measure
from largesse.report.charts import forest_chart
from largesse.report.effects import sections
from largesse.report.forest_plot import EffectRow, forest
from tests.common.shops import LINEAR, SPEND, shop

RUNNER = CliRunner()
PNG = b"\x89PNG"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("experiment")
    frames.write(pa.table(shop(1500, arms=3, seed=2)), folder / "ab.parquet")
    few = shop(4000, seed=1)
    few["spend"] = 40 + few["age"] + 80 * ((few["group"] == "new") & (np.random.default_rng(0).random(4000) < 0.1))
    frames.write(pa.table(few), folder / "few.csv")
    frames.write(pa.table(few).filter(pa.array((few["group"] == "new") | (few["age"] > 30))), folder / "skewed.parquet")
    return folder


def told(place: Path, *words: str) -> tuple[int, str]:
    done = RUNNER.invoke(app, ["experiment", *(str(place / w) if w.endswith(("parquet", "csv")) else w for w in words)])
    return done.exit_code, done.output


WORDS = ("ab.parquet", "--arm", "group", "--metric", "spend~before", "--features", "age, vip,before", "--unit", "id")


def test_the_table_and_the_folder(place: Path):
    code, text = told(place, *WORDS, "--metric", "visits", "-o", str(place / "out"))
    assert code == 0, text
    text = " ".join(text.split())
    for words in (
        "spend against control",
        "visits against control",
        "newer",
        "CUPED",
        "sample ratio",
        "Report:",
    ):
        assert words in text, words
    out = place / "out"
    assert sorted(p.name for p in out.iterdir()) == [
        ".largesse.json",
        "effects.json",
        "forest.png",
        "report.html",
        "sections.json",
        "summary.md",
    ]
    said = json.loads((out / "effects.json").read_text())
    columns = Columns(
        arm="group", metrics=(Metric("spend", covariate="before"), Metric("visits")),
        features=("age", "vip", "before"), unit="id",
    )  # fmt: skip
    found = measure(place / "ab.parquet", columns)
    for one, metric in zip(said["metrics"], found.metrics, strict=True):
        for written, effect in zip(one["effects"], metric.effects, strict=True):
            assert written["effect"] == pytest.approx(effect.effect, rel=1e-9)
            assert written["p_adjusted"] == pytest.approx(effect.p_adjusted, rel=1e-9)
    page, summary = (out / "report.html").read_text(), (out / "summary.md").read_text()
    for words in (
        "Is the experiment sound?",
        "What each arm brings",
        "Does STATE measure the mean effect?",
        "spend: newer",
    ):
        assert words in page
    assert "lift over control" in page
    assert 'src="http' not in page
    assert "| spend: new | CUPAC |" in summary
    assert (out / "forest.png").read_bytes().startswith(PNG)
    again = told(place, *WORDS, "-o", str(out))
    assert again[0] != 0
    assert told(place, *WORDS, "-o", str(out), "--replace", "--method", "state")[0] == 0
    assert "CUPAC |" not in (out / "summary.md").read_text()


def test_json_and_what_is_warned_of(place: Path):
    code, text = told(place, "few.csv", "--arm", "group", "--metric", "spend", "--features", "age", "--json")
    assert code == 0
    said = json.loads(text)
    assert (said["ok"], said["folder"]) == (True, None)
    assert said["metrics"][0]["guards"][0]["verdict"].startswith("STATE measures the typical unit")
    assert {e["method"] for e in said["metrics"][0]["effects"]} == {"difference in means", "CUPAC", "MLRATE", "STATE"}
    text = told(place, "few.csv", "--arm", "group", "--metric", "spend", "--nu", "estimate", "--level", "0.9")[1]
    assert "90 %" in text
    assert "STATE measures the typical unit" in " ".join(text.split())


def test_an_unsound_experiment_leaves_by_one(place: Path):
    words = ("skewed.parquet", "--arm", "group", "--metric", "spend", "--features", "age")
    code, text = told(place, *words)
    assert code == 1
    assert "fail sample ratio" in " ".join(text.split())
    assert "'age' differs by arm" in " ".join(text.split())
    planned = told(place, *words, "--planned", "control=77,new=100", "--json")[1]
    assert [f["status"] for f in json.loads(planned)["findings"]] == ["ok", "fail"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--nu", "many"), "must be a number or 'estimate'"),
        (("--nu", "0.1"), "nu == 0.1"),
        (("--planned", "control"), "must be label=share"),
        (("--planned", "control=1"), "must name the arms"),
        (("--method", "magic"), "must be one of difference, cuped"),
        (("--control", "old"), "is not a label of 'group'"),
        (("--metric", "a/b/c"), "must read value"),
    ],
)
def test_the_command_refuses(place: Path, words: tuple[str, ...], said: str):
    done = RUNNER.invoke(app, ["experiment", str(place / "ab.parquet"), "--arm", "group", "--metric", "spend", *words])
    assert isinstance(done.exception, DataError)
    assert said in str(done.exception)


def test_nothing_is_written_where_something_is_wrong(tmp_path: Path):
    rows = shop(300)
    with pytest.raises(DataError):
        experiment(rows | {"spend": np.ones(300)}, SPEND, LINEAR, folder=tmp_path / "a")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(StoreError, match="is not replaced"):
        experiment(rows, SPEND, LINEAR, folder=tmp_path / "mine", replace=True)
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


def test_what_the_report_says(tmp_path: Path):
    done = experiment(shop(3000, seed=2), SPEND, LINEAR, folder=tmp_path / "out")
    words = done.shown.headline
    assert "by CUPAC" in words.sentence
    assert "95 %" in words.sentence
    assert [e.method for e in done.shown.effects if e.reading] == ["CUPAC"]
    assert done.shown.effects[0].relative_error == 1
    assert done.shown.effects[-1].relative_error < 0.7
    few = shop(4000, seed=1)
    few["spend"] = 40 + few["age"] + 80 * ((few["group"] == "new") & (np.random.default_rng(0).random(4000) < 0.1))
    done = experiment(few, SPEND, LINEAR)
    assert done.folder is None
    assert "by CUPAC" in done.shown.headline.sentence
    assert [e.method for e in done.shown.effects if e.reading] == ["CUPAC"]
    assert "STATE measures the typical unit here" in done.shown.headline.action
    bare = Columns(arm="group", metrics=(Metric("spend"),))
    lone = shop(2000)
    lone["spend"][5] = 1e6
    lone["age"] = lone["age"] + 9 * (lone["group"] == "new")
    done = experiment(lone, bare, Settings(cross_fit=CrossFit(seed=3)))
    assert any("one row makes up 100 %" in c for c in done.shown.cautions)
    assert any("they need features" in c for c in done.shown.cautions)
    one_of_three = shop(3000, arms=3)
    one_of_three["spend"][int(np.flatnonzero(one_of_three["group"] == "newer")[0])] = 1e6
    shares = [c.largest for c in measure(one_of_three, bare)["spend"].contrasts]
    assert min(shares) < 0.1 < 0.9 < max(shares)
    cautions = experiment(one_of_three, bare, Settings()).shown.cautions
    assert any(f"one row makes up {max(shares):.0%}".replace("%", " %") in c for c in cautions)
    predicted = Columns(arm="group", metrics=(Metric("spend"),), prediction="age")
    for columns in (predicted, Columns(arm="group", metrics=(Metric("spend"),), features=("age",))):
        shown = experiment(shop(2000), columns, LINEAR).shown
        assert not any("they need features" in c for c in shown.cautions)
        assert {"CUPAC", "MLRATE"} <= {e.method for e in shown.effects}
    failed = experiment(lone, Columns(arm="group", metrics=(Metric("spend"),), features=("age",)), LINEAR)
    assert "Explain the failed check (covariates)" in failed.shown.headline.action


def row(**more: Any) -> EffectRow:
    return EffectRow(**({"metric": "m", "arm": "B", "method": "STATE", "effect": 1.0, "low": 0.5, "high": 1.5} | more))


def test_a_forest_of_one_metric_shows_effects_of_several_lifts():
    one = forest([row(), row(method="CUPAC", effect=2.0)])
    assert (one.label, one.ends[1][0]) == ("effect on m", 2.0)
    two = forest([row(lift=0.1), row(metric="n"), row(metric="n", method="CUPED", lift=0.3)])
    assert two.relative
    assert [r.lift for r in two.rows] == [0.1, 0.3]
    chart = forest_chart([row(lift=0.1), row(metric="n", method="CUPED", lift=0.3)], 0.9)
    assert [t.name for t in chart.data] == ["STATE", "CUPED"]
    assert "90 % intervals" in chart.layout.xaxis.title.text


def test_a_report_of_nothing_is_a_headline(tmp_path: Path):
    empty = report.Effects(headline=report.Headline(title="<t>", sentence="s"))
    assert sections(empty) == []
    written = report.write_effects(empty, tmp_path)
    assert list(written) == ["report.html", "summary.md", "sections.json"]
    assert "&lt;t&gt;" in written["report.html"].read_text()
    rows = report.Effects(headline=empty.headline, effects=(row(),), tails=(("m", "t."),))
    assert [section.anchor for section in sections(rows)] == ["effects", "tails"]
    assert math.isnan(rows.effects[0].lift)
