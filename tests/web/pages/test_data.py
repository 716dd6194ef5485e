"""The page Data: rows, arms, checks and features of a run, and its units beside the trial."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from largesse import frames
from largesse.commands.studio import data
from largesse.errors import DataError
from largesse.report.blocks import Facts, Table
from largesse.serving.watch.features import read_spreads
from largesse.web.opened import Studio
from largesse.web.pages.data import view
from largesse.web.query import Query
from largesse.web.render import as_csv, as_json
from largesse.web.view import Drawn, View, tables_of
from tests.common.campaigns import table
from tests.common.studios import TEXT, made_run, made_units


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_run(tmp_path_factory.mktemp("data"), more="folds = 1")


@pytest.fixture(scope="module")
def drifted(run: Path) -> Path:
    """Units that are older than those of the trial, a third of them without an age."""
    units = table(3000, 7).drop_columns(["arm", "orders", "spent", "age"])
    ages = [None if k % 3 == 0 else float(60 + k % 50) for k in range(3000)]
    pq.write_table(units.append_column("age", pa.array(ages)), run.parent / "drifted.parquet")
    return run.parent / "drifted.parquet"


def named(page: View, title: str) -> Table:
    (got,) = (one for one in tables_of(page) if one.title == title)
    return got


def test_without_units_it_says_what_the_run_was_learned_from(run):
    page = view(Studio([run]), Query())
    metrics = json.loads((run / "metrics.json").read_text())
    arms, features = metrics["understood"]["arms"], metrics["understood"]["features"]
    assert page.headline == (
        f"Learned from 1,500 rows of the trial, with {len(arms)} arms and {len(features)} features."
    )
    assert page.action == "Start the studio with --units to see whether the units to be decided are like the trial."
    shown = named(page, "Arms of the trial")
    assert [(row.cells[0], row.cells[1]) for row in shown.rows] == [
        (one["treatment"], f"{one['rows']:,}") for one in arms
    ]
    (checks,) = (one for one in tables_of(page) if one.columns[0].name == "Check")
    assert [row.cells[0] for row in checks.rows] == [one["name"] for one in metrics["findings"]]
    read = {one.name: one.value for one in page.readings}
    assert read["Held-out rows, which prove it"] == f"{metrics['power']['proof_rows']:,}"
    (chart,) = (one for one in page.moving if isinstance(one, Drawn))
    assert len(chart.chart.figure().data) == 1
    listed = named(page, "The features in the trial")
    assert [row.cells[0] for row in listed.rows] == [one.name for one in read_spreads(run)]
    assert next(row.cells[3] for row in listed.rows if row.cells[0] == "age") == "5.9 %"  # one of 17


def test_units_like_the_trial(run):
    page = view(Studio([run], users=made_units(run.parent)), Query())
    assert page.headline.endswith("the 3,000 units to be decided are spread like that in every feature.")
    assert page.badge.text != "drift"
    assert named(page, "The features that are as in the trial").rows


def test_a_feature_that_changed_leads_and_says_what_to_do(run, drifted):
    studio = Studio([run], users=drifted)
    page = view(studio, Query())
    assert page.headline.endswith("the 3,000 units to be decided differ in 1 of 6 features: 'age'.")
    assert "Find out what changed in 'age'" in page.action
    assert page.badge.text == "drift"
    (row,) = named(page, "Your units beside the trial, what differs most first").rows
    cells = dict(zip((one.name for one in tables_of(page)[0].columns), map(str, row.cells), strict=True))
    worst = data.drift_of(studio.first.population.table, read_spreads(run))[0].worst
    assert (cells["Feature"], cells["State"], cells["PSI"]) == ("age", "changed", f"{worst.psi:.3g}")
    assert (cells["Missing, trial"], cells["Missing, units"]) == ("5.9 %", "33.3 %")
    assert (cells["What changed most"], cells["Trial"], cells["Units"]) == (
        worst.bin, f"{100 * worst.then:.1f} %", f"{100 * worst.now:.1f} %",
    )  # fmt: skip
    assert page.document["drift"][0]["psi"] == worst.psi


def test_the_chart_of_a_feature_has_the_shares_of_both(run, drifted):
    page = view(Studio([run], users=drifted), Query([("column", "city")]))
    (chart,) = (one for one in page.moving if isinstance(one, Drawn))
    cities = pq.read_table(drifted).column("city").to_pylist()
    trial = frames.read(run.parent / "trial.parquet").column("city").to_pylist()
    rows = {row.cells[0]: row.cells[1:] for row in chart.table.rows}
    assert rows == {
        name: (f"{100 * trial.count(name) / 1500:.1f} %", f"{100 * cities.count(name) / 3000:.1f} %")
        for name in ("north", "south", "east")
    }
    bars = chart.chart.figure().data
    assert [one.name for one in bars] == ["trial", "your units"]
    assert sum(bars[1].y) == pytest.approx(1.0)
    assert page.fields[0].value == "city"
    with pytest.raises(DataError, match="must be one of"):
        view(Studio([run], users=drifted), Query([("column", "weight")]))


def test_the_units_are_read_once(run, drifted, monkeypatch):
    studio, read = Studio([run], users=drifted), []
    real = data.counts_of
    monkeypatch.setattr(data, "counts_of", lambda *args: read.append(1) or real(*args))
    view(studio, Query())
    view(studio, Query([("column", "f1")]))
    assert len(read) == 6


def test_a_run_of_an_earlier_version_without_spreads(run, tmp_path):
    other = tmp_path / "old"
    shutil.copytree(run, other)
    (other / "features.json").unlink()
    page = view(Studio([other], users=made_units(tmp_path)), Query())
    assert page.headline.startswith("Learned from 1,500 rows")
    assert page.action.startswith("This run does not keep how its features are spread.")
    assert page.fields == ()


def test_planned_propensities_and_failed_checks_are_said(run, tmp_path):
    other = tmp_path / "planned"
    shutil.copytree(run, other)
    config, metrics = (other / "config.toml").read_text(), json.loads((other / "metrics.json").read_text())
    arms = [one["treatment"] for one in metrics["understood"]["arms"]]
    shares = ", ".join(f'"{arm}" = 1' for arm in arms)
    (other / "config.toml").write_text(
        config.replace('rct_propensity = "observed"', f"rct_propensity = {{ {shares} }}")
    )
    metrics["findings"][1] |= {"status": "fail", "sentence": "Arms differ. Ask who assigned them."}
    (other / "metrics.json").write_text(json.dumps(metrics))
    page = view(Studio([other]), Query())
    facts = dict(next(one for one in page.fixed if isinstance(one, Facts)).entries)
    assert facts["Propensities"].startswith(f"as planned: {arms[0]} {100 / len(arms):.1f} %")
    assert page.badge.text == "unsound"
    assert page.action == "Explain this first: Arms differ. Ask who assigned them."
    assert f"{metrics['findings'][1]['name']}: Arms differ. Ask who assigned them." in page.summary


def test_other_forms(run, drifted):
    page = view(Studio([run], users=drifted), Query())
    json.loads(as_json("Data", page))
    assert all(as_csv(one) for one in tables_of(page))


def test_past_campaign_data_is_named(tmp_path):
    frames.write(table(1500, 1), tmp_path / "trial.parquet")
    frames.write(table(1000, 3, "obs"), tmp_path / "log.parquet")
    place = made_run(tmp_path, more='folds = 1\nobs = "log.parquet"', text=TEXT)
    page = view(Studio([place]), Query())
    assert page.headline.startswith("Learned from 1,500 rows of the trial, 1,000 rows of past campaign data, with ")
