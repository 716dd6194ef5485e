"""One experiment from a table: predictions, the guard, tail diagnostics, checks, and errors that name the caller's columns."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
import tea_tasting as tt

from largesse import datasets, frames
from largesse.errors import DataError, SchemaError
from largesse.experiment import (
    METHODS,
    Columns,
    CrossFit,
    Measured,
    Metric,
    Sample,
    Settings,
    contrast,
    cross_fit,
    guard,
    measure,
    measure_sample,
    soundness,
    tails,
)
from largesse.experiment.data import crossfit
from largesse.experiment.data.columns import rows_of
from largesse.experiment.estimators.guard import Agreement
from largesse.experiment.estimators.tails import hill
from tests.common.shops import LINEAR, SPEND, shop

needs_data = pytest.mark.skipif(not os.environ.get("LARGESSE_DATA"), reason="LARGESSE_DATA names no folder of data")


# ---- predictions


def test_predictions_are_out_of_fold():
    """A learner that memorises its training rows would predict pure noise perfectly in sample."""

    class Memory:
        def get_params(self, deep: bool = True) -> dict[str, object]:
            return {}

        def fit(self, x: Any, y: Any) -> Memory:
            self.values = dict(zip(x[:, 0].tolist(), y.tolist(), strict=True))
            return self

        def predict(self, x: Any) -> Any:
            return np.array([self.values.get(value, 0.0) for value in x[:, 0].tolist()])

    noise = np.random.default_rng(0).normal(size=600)
    rows = pa.table({"x": np.arange(600.0)})
    g = cross_fit(rows, ["x"], noise, CrossFit(learner=Memory()))
    assert (g == 0).all()
    cluster = np.repeat(np.arange(60), 10)
    by_cluster = pa.table({"x": cluster.astype(float)})
    assert (cross_fit(by_cluster, ["x"], noise, CrossFit(learner=Memory()), cluster=cluster) == 0).all()
    assert (cross_fit(by_cluster, ["x"], noise, CrossFit(learner=Memory())) != 0).any()


def test_predictions_depend_on_rows_and_seed_only(monkeypatch: pytest.MonkeyPatch):
    data = pa.table({k: shop()[k] for k in ("age", "vip", "before")})
    y = shop()["spend"]
    first = cross_fit(data, data.column_names, y)
    np.testing.assert_array_equal(first, cross_fit(data, data.column_names, y))
    assert np.corrcoef(first, cross_fit(data, data.column_names, y, CrossFit(seed=1)))[0, 1] < 1
    linear = cross_fit(data, data.column_names, y, LINEAR.cross_fit)
    chunks = pa.concat_tables([data.slice(0, 7), data.slice(7)])
    np.testing.assert_allclose(cross_fit(chunks, data.column_names, y, LINEAR.cross_fit), linear)
    heavy = cross_fit(data, data.column_names, y, LINEAR.cross_fit, weight=np.where(data["vip"], 9.0, 1.0))
    assert np.corrcoef(heavy, linear)[0, 1] < 1
    monkeypatch.setattr(crossfit, "_TRAINING_ROWS", 300)
    few = cross_fit(data, data.column_names, y, LINEAR.cross_fit)
    assert 0.9 < np.corrcoef(few, linear)[0, 1] < 1


def test_predictions_refuse():
    rows = pa.table({"x": np.arange(3.0)})
    with pytest.raises(DataError, match="folds == 5: there are only 3 units"):
        cross_fit(rows, ["x"], np.arange(3.0))
    for given in ({"folds": 1}, {"seed": -1}):
        with pytest.raises(DataError, match=next(iter(given))):
            CrossFit(**given)


# ---- the result


def test_every_estimator_is_in_the_result():
    result = measure(shop(seed=2), SPEND)["spend"]
    assert [e.method for e in result.effects] == list(METHODS)
    assert result.rows == tuple(np.unique(shop(seed=2)["group"], return_counts=True)[1])
    difference, cuped, cupac, mlrate, state = result.effects
    assert cuped.se < 0.85 * difference.se
    assert cupac.se == pytest.approx(mlrate.se, rel=0.01)
    assert state.se < 0.85 * mlrate.se
    assert all(abs(e.effect - 1) < 3 * e.se for e in result.effects)
    assert result.guards[0].verdict == "not shown to be the mean effect", "its interval is much shorter than the mean's"
    assert result.reading() is cupac
    assert result.effect("CUPED") is result.effects[1]
    assert 0.4 < result.explained < 0.8


def test_p_values_are_adjusted_over_arms_and_metrics():
    columns = replace(SPEND, metrics=(*SPEND.metrics, Metric("spend", "visits"), Metric("visits")))
    result = measure(shop(2000, arms=3), columns, LINEAR)
    assert [m.metric for m in result.metrics] == ["spend", "spend/visits", "visits"]
    for method in ("difference in means", "STATE"):
        effects = [m.effect(method, arm) for m in result.metrics for arm in ("new", "newer")]
        p = np.array([e.p_value for e in effects])
        order = np.argsort(p)
        holm = np.empty(6)
        holm[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(6, 0, -1)))
        np.testing.assert_allclose([e.p_adjusted for e in effects], holm, rtol=1e-9)
    alone = measure(shop(), SPEND, LINEAR)["spend"].effect("STATE")
    assert alone.p_adjusted == pytest.approx(alone.p_value)
    with pytest.raises(DataError, match="arm == 'old'"):
        result["spend"].effect("STATE", "old")
    with pytest.raises(DataError, match="metric == 'gmv'"):
        result["gmv"]


def test_files_and_frames_give_the_same(tmp_path: Path):
    data = shop(800)
    frames.write(pa.table(data), tmp_path / "ab.parquet")
    frames.write(pa.table(data), tmp_path / "ab.csv")
    results = [measure(d, SPEND, LINEAR)["spend"] for d in (data, tmp_path / "ab.parquet", tmp_path / "ab.csv")]
    for other in results[1:]:
        for a, b in zip(results[0].effects, other.effects, strict=True):
            assert b.effect == pytest.approx(a.effect, rel=1e-9)


def test_a_prediction_made_elsewhere():
    data = shop()
    data["g"] = data.pop("before")
    columns = Columns(arm="group", metrics=(Metric("spend"),), prediction="g")
    result = measure(data, columns)["spend"]
    assert [e.method for e in result.effects] == ["difference in means", "CUPAC", "MLRATE", "STATE"]
    theirs = tt.Experiment(m=tt.Mean("spend", "g"), variant="group").analyze(pa.table(data), control="control")
    assert result.effect("CUPAC").effect == pytest.approx(theirs["m"].effect_size, rel=1e-9)


def test_weights_and_clusters_go_all_the_way():
    data = shop(2000)
    rng = np.random.default_rng(5)
    data["city"] = rng.integers(0, 80, 2000)
    data["group"] = np.where(data["city"] % 2, "new", "control")
    data["spend"] = data["spend"] + rng.normal(0, 4, 80)[data["city"]]
    data["w"] = rng.lognormal(0, 0.3, 2000)
    plain = measure(data, replace(SPEND, unit=None), LINEAR)
    columns = replace(SPEND, unit=None, cluster="city", weight="w")
    result = measure(data, columns, LINEAR)
    for method in METHODS:
        assert result["spend"].effect(method).se > 1.4 * plain["spend"].effect(method).se, method
    assert result.findings[0].observed.tolist() == [40, 40]  # type: ignore[attr-defined]


def test_the_numbers_are_plain():
    result = measure(shop(600, arms=3), SPEND, LINEAR).to_dict()
    assert result["metrics"][0]["guards"][1]["arm"] == "newer"
    assert json.loads(json.dumps(result))["findings"][0]["name"] == "sample ratio"


# ---- the guard


def judged(value: Any, arm: Any, g: Any = None, **how: float) -> Any:
    return guard(contrast(Sample(value=value, arm=arm, arms=("A", "B"), prediction=g), 1), **how)


def world(seed: int, share: float, n: int = 20_000) -> tuple[Any, Any, Any]:
    """Heavy tails; the mean effect is 14.7, from all units or from a share of them."""
    rng = np.random.default_rng(seed)
    g, arm = rng.normal(190, 45, n), rng.integers(0, 2, n)
    noise = np.where(rng.random(n) < 0.002, rng.uniform(150, 1100, n), rng.normal(0, 25, n))
    return g + noise + arm * (rng.random(n) < share) * 14.7 / share, arm, g


def test_the_guard_warns_where_few_react_and_not_where_all_do():
    few = [judged(*world(k, 0.1)) for k in range(60)]
    everyone = [judged(*world(k, 1.0)) for k in range(300)]
    assert np.mean([g.warns for g in few]) >= 0.95
    assert np.mean([g.warns for g in everyone]) <= 0.06
    assert "few units react" in few[0].sentence
    surest = min(few, key=lambda g: g.p_value)
    assert surest.p_value < 1e-5
    assert "(p < 0.0001)" in surest.sentence
    z = [g.statistic for g in everyone]
    assert 0.85 < np.std(z) < 1.1


def test_a_difference_that_is_not_found_is_not_agreement():
    everyone = [judged(*world(k, 1.0)) for k in range(40)]
    # the tails make STATE much more precise than the mean: whether it is the mean effect cannot be shown by these rows
    assert {g.verdict.value for g in everyone if not g.warns} == {"not shown to be the mean effect"}
    assert "up to" in everyone[0].sentence
    lone = np.random.default_rng(0).normal(100, 1, 2000)
    lone[3] += 500
    result = judged(lone, np.arange(2000) % 2)
    assert result.verdict == "not shown to be the mean effect"
    assert "a few rows decide" in result.sentence


def test_state_is_read_where_any_possible_difference_is_small():
    rng = np.random.default_rng(1)
    value, arm = rng.normal(100, 20, 4000), np.arange(4000) % 2
    pair = contrast(Sample(value=value, arm=arm, arms=("A", "B")), 1, nu=100.0)
    found = guard(pair)
    assert found.verdict == "agree"
    assert found.possible == pytest.approx(abs(pair.difference) + 1.96 * pair.difference_se)
    assert found.allowed == pytest.approx(0.2 * (pair.state.high - pair.state.effect))
    assert found.possible <= found.allowed
    assert guard(pair, spike=0.05).verdict == "not for a metric with a spike or few values"
    with pytest.raises(DataError, match="spike"):
        guard(pair, spike=-1)


@pytest.mark.parametrize(
    "value", [lambda r, n: r.random(n) < 0.3, lambda r, n: r.poisson(2, n), lambda r, n: r.integers(1, 6, n)]
)
def test_state_is_never_read_for_few_values(value: Any):
    rng = np.random.default_rng(3)
    metric = value(rng, 4000) * 1.0
    result = measure_sample(Sample(value=metric, arm=np.arange(4000) % 2, arms=("A", "B")))
    assert result.guards[0].verdict in (Agreement.SPIKE, Agreement.BULK)
    assert result.reading().method == "difference in means"


def few_react(rng: np.random.Generator) -> tuple[Any, Any, float]:
    arm = rng.integers(0, 2, 3000)
    return 50 + 7 * rng.standard_t(4, 3000) + 30 * arm * (rng.random(3000) < 0.1), arm, 3.0


def binary(rng: np.random.Generator) -> tuple[Any, Any, float]:
    arm = rng.integers(0, 2, 3000)
    return (rng.random(3000) < 0.12 + 0.03 * arm) * 1.0, arm, 0.03


def basket(rng: np.random.Generator) -> tuple[Any, Any, float]:
    arm = rng.integers(0, 2, 8000)
    return rng.gamma(2.0, 20.0, 8000) * (1 + 0.1 * arm), arm, 4.0


def symmetric(rng: np.random.Generator) -> tuple[Any, Any, float]:
    arm = rng.integers(0, 2, 3000)
    return 50 + 7 * rng.standard_t(4, 3000) + arm, arm, 1.0


@pytest.mark.parametrize("draw", [few_react, binary, basket, symmetric])
def test_the_effect_to_read_covers(draw: Any):
    hits = []
    for k in range(300):
        value, arm, truth = draw(np.random.default_rng([k, 5]))
        read = measure_sample(Sample(value=value, arm=arm, arms=("A", "B"))).reading()
        hits.append(read.low <= truth <= read.high)
    assert 0.915 <= np.mean(hits) <= 0.985, "95 % within 2.8 standard errors of 300 draws"


def test_a_metric_at_a_spike_is_reported():
    rng = np.random.default_rng(0)
    arm = rng.integers(0, 2, 40_000)
    value = np.where(rng.random(40_000) < 0.02 + 0.02 * arm, rng.lognormal(4, 1, 40_000), 0.0)
    result = measure_sample(Sample(value=value, arm=arm, arms=("A", "B")))
    assert result.guards[0].warns
    assert result.contrasts[0].status == "scale at its floor"
    assert "have the same value, which is what STATE measures" in result.tails.sentence


# ---- tails


def test_hill_finds_the_index_of_a_pareto_tail():
    for index in (1.5, 3.0):
        draws = [tails(1 + np.random.default_rng([k]).pareto(index, 20_000)) for k in range(100)]
        estimates = np.array([(t.tail_index, t.tail_index_se) for t in draws])
        assert estimates[:, 0].mean() == pytest.approx(index, rel=0.03)
        assert estimates[:, 1].mean() == pytest.approx(estimates[:, 0].std(), rel=0.2)
    assert "variance may be infinite" in tails(1 + np.random.default_rng(0).pareto(1.5, 20_000)).sentence


def test_tails_by_hand():
    value = np.r_[np.zeros(600), np.ones(399), 601.0]
    diagnostics = tails(value)
    assert diagnostics.top_share == pytest.approx(0.601)
    assert (diagnostics.largest, diagnostics.mode_share) == (601.0, 0.6)
    assert hill(np.array([np.e**2, np.e, 1.0, 0.0])) == (pytest.approx(1 / 1.5), pytest.approx(1 / 1.5 / 2**0.5), 2)
    flat = tails(np.ones(50))
    assert np.isnan(flat.tail_index)
    assert flat.mode_share == 1
    assert tails(-value).top_share == diagnostics.top_share


# ---- checks and refusals


def test_arm_sizes_are_tested_as_tea_tasting_does():
    data = shop(4000)
    keep = (data["group"] == "control") | (np.random.default_rng(0).random(4000) < 0.9)
    part = {k: v[keep] for k, v in data.items()}
    rows = rows_of(part, SPEND)
    ratio = soundness(rows, SPEND)[0]
    theirs = tt.Experiment(srm=tt.SampleRatio(correction=False), variant="group").analyze(pa.table(part), "control")
    assert ratio.p_value == pytest.approx(theirs["srm"].pvalue, rel=1e-9)  # type: ignore[attr-defined]
    assert ratio.sentence.endswith("Equal shares were assumed; if other shares were planned, name them.")
    shares = {"control": 1.0, "new": 0.9}
    assert soundness(rows, SPEND, planned=shares)[0].status == "ok"
    with pytest.raises(DataError, match="must name the arms"):
        soundness(rows, SPEND, planned={"control": 1.0})


def test_arm_sizes_of_clusters_are_numbers_of_clusters():
    data = {"c": np.repeat(np.arange(40), 10), "y": np.random.default_rng(0).normal(size=400)}
    data["group"] = np.where(data["c"] < 20, "control", "new")
    big = {k: np.r_[v, v[-10:], v[-10:], v[-10:], v[-10:], v[-10:], v[-10:]] for k, v in data.items()}
    columns = Columns(arm="group", metrics=(Metric("y"),), cluster="c")
    assert soundness(rows_of(big, columns), columns)[0].observed.tolist() == [20, 20]  # type: ignore[attr-defined]


def test_a_covariate_that_the_arm_has_changed_is_named():
    data = shop()
    data["age"] = data["age"] + 4.0 * (data["group"] == "new")
    result = measure(data, SPEND, LINEAR)
    assert [(f.name, f.status) for f in result.findings] == [("sample ratio", "ok"), ("covariates", "fail")]
    assert "'age' differs by arm: 'new' is +0.2" in result.findings[1].sentence
    assert "leave it out" in result.findings[1].sentence
    assert not result.ok
    assert measure(shop(), SPEND, LINEAR).ok


def refused(change: dict[str, Any], columns: Columns = SPEND) -> str:
    with pytest.raises(DataError) as error:
        measure(shop(400) | change, columns, LINEAR)
    return str(error.value)


def test_bad_input_is_refused_in_the_names_of_the_file():
    base = shop(400)
    hole = base["spend"].copy()
    hole[7] = np.nan
    cases = (
        ({"group": np.full(400, "control")}, "every row has the same treatment, at least two are needed"),
        ({"spend": hole}, "spend[7] == nan: must be a finite number (1 such row of 400). Drop the rows"),
        ({"spend": np.full(400, 2.0)}, "spend == 2.0: the metric is the same in all 400 rows"),
        ({"id": np.r_[5, np.arange(1, 400)]}, "id == 5: each unit may appear only once (1 rows too many, 1 ids repeated)"),
        ({"group": np.where(np.arange(400) == 0, "new", "control")}, "rows of arm 'new' == 1: every arm needs 2 rows"),
        ({"before": np.where(np.arange(400) == 3, np.inf, base["before"])}, "before[3] == inf"),
    )  # fmt: skip
    for change, words in cases:
        assert words in refused(change), words
    assert "is missing: every row needs a treatment" in refused({"group": pa.array([None, *base["group"][1:]])})
    ratio = replace(SPEND, metrics=(Metric("spend", "visits"),))
    assert "visits[0] == -1.0: must be >= 0" in refused({"visits": np.r_[-1, base["visits"][1:]]}, ratio)
    weights = replace(SPEND, weight="age")
    assert "age[0] == 0.0: must be > 0" in refused({"age": np.r_[0, base["age"][1:]]}, weights)
    flat = np.where(shop(400, arms=3)["group"] == "newer", np.arange(400.0), 1.0)
    two = measure(shop(400, arms=3) | {"spend": flat}, replace(SPEND, features=()), LINEAR)
    assert two["spend"].compared == ("newer",)
    (note,) = [f for f in two.findings if f.name == "nothing to compare"]
    assert note.sentence == "spend: no effect of 'new', since every row of it and of 'control' has the same value."
    with pytest.raises(DataError, match="arm == 'new': must be one of"):
        two["spend"].reading("new")
    assert two.ok

    both = replace(SPEND, unit=None, cluster="id")
    assert "id[1]: the unit has rows in the arms" in refused(
        {"id": np.arange(400) // 2, "group": np.tile(["control", "new"], 200)}, both
    )


def test_columns_refuse():
    for given, words in (
        ({"metrics": ()}, "name at least one"),
        ({"metrics": (Metric("y"), Metric("y"))}, "named twice"),
        ({"features": ("y",)}, "Features must be known before"),
        ({"features": ("group",)}, "Features must be known before"),
        ({"metrics": (Metric("y", covariate="y"),)}, "feature 'y'.*must be known before"),
        ({"metrics": (Metric("y", covariate="z"), Metric("z"))}, "feature 'z'.*must be known before"),
        ({"prediction": "g", "features": ("x",)}, "a prediction is for one metric"),
    ):
        with pytest.raises(SchemaError, match=words):
            Columns(**({"arm": "group", "metrics": (Metric("y"),)} | given))  # type: ignore[arg-type]
    with pytest.raises(SchemaError, match="'spent'.*Did you mean 'spend'"):
        measure(shop(100), Columns(arm="group", metrics=(Metric("spent"),)))
    for empty in ({"unit": ""}, {"cluster": ""}, {"weight": ""}, {"metrics": (Metric(""),)}):
        with pytest.raises(SchemaError, match="column '': not in the table"):
            measure(shop(100), Columns(**({"arm": "group", "metrics": (Metric("spend"),)} | empty)))  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"spend\[0\] == 1e\+308: must be between"):
        measure({**shop(100), "spend": [1e308] * 100}, Columns(arm="group", metrics=(Metric("spend"),)))
    for text in ("", "a/b/c", "a~", "~b"):
        with pytest.raises(SchemaError, match="must read value"):
            Metric.parse(text)
    assert Metric.parse(" a / b ") == Metric("a", "b")
    with pytest.raises(DataError, match="nu"):
        Settings(nu=0.1)


# ---- real trials


@needs_data
def test_cookie_cats_trips_the_sample_ratio():
    path = Path(os.environ["LARGESSE_DATA"]) / "cookie_cats"
    (file,) = [p for p in path.iterdir() if ".csv" in p.name]
    rows = pyarrow.csv.read_csv(file)
    result = measure(
        rows, Columns(arm="test_version", metrics=(Metric("sum_gamerounds"),), control="gate_30", unit="userid")
    )
    ratio = result.findings[0]
    assert ratio.status != "ok"
    assert ratio.p_value == pytest.approx(0.0086, abs=1e-4)  # type: ignore[attr-defined]
    one: Measured = result["sum_gamerounds"]
    assert one.contrasts[0].largest > 0.6  # one player of 49,854 rounds
    assert one.contrasts[0].influential[0].value == 49_854


@needs_data
def test_hillstrom_has_an_effect_that_state_does_not_see():
    data = datasets.hillstrom()
    columns = Columns(arm="segment", metrics=(Metric("spend"),), control="No E-Mail", features=data.features)
    result = measure(data.table, columns)
    assert result.ok
    mens = result["spend"].effect("MLRATE", "Mens E-Mail")
    assert mens.low > 0.4
    assert abs(result["spend"].effect("STATE", "Mens E-Mail").effect) < 0.01
    assert all(g.warns for g in result["spend"].guards)
