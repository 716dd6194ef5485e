"""Levels at or near 0: every effect is reported, a lift only where a ratio of the levels says something."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats
from typer.testing import CliRunner

from largesse import frames
from largesse.cli.app import app
from largesse.errors import UndefinedMetric
from largesse.experiment import Columns, Effect, Metric, Sample, Settings, measure, measure_sample

N = 3000
ARM = np.arange(N) % 2
GROUP = np.where(ARM == 1, "new", "control")


def values(kind: str, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=N)
    return {
        "no event in control": (rng.random(N) < 0.03) * (ARM == 1) * 1.0,
        "no event in the arm": (rng.random(N) < 0.03) * (ARM == 0) * 1.0,
        "one event in control": np.where(ARM == 1, rng.random(N) < 0.03, np.arange(N) == 0) * 1.0,
        "profit near 0": noise + 0.1 * ARM,
        "loss turned into gain": noise - 0.5 + ARM,
        "gain turned into loss": noise + 0.5 - ARM,
        "losses": noise - 5 + ARM,
        "gains": noise + 5 + ARM,
        "nothing in control to the last bit": np.where(ARM == 1, noise, 0.0),
        "tiny": 1e-12 * noise + 1e-13 * ARM,
    }[kind]


def effects(value: Any, **more: Any) -> dict[str, Effect]:
    one = measure_sample(Sample(value=value, arm=ARM.astype(np.int32), arms=("control", "new"), **more))
    return {effect.method: effect for effect in one.effects}


WITHOUT = ("no event in control", "no event in the arm", "one event in control", "profit near 0", "tiny",
           "nothing in control to the last bit")  # fmt: skip
WITH = ("loss turned into gain", "gain turned into loss", "losses", "gains")


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kind", WITHOUT + WITH)
def test_effects_do_not_need_a_lift(kind: str, seed: int) -> None:
    value = values(kind, seed)
    covariate = np.random.default_rng(seed + 100).normal(size=N) + value
    by_method = effects(value, covariate=covariate, prediction=covariate)
    welch = stats.ttest_ind(value[ARM == 1], value[ARM == 0], equal_var=False)
    interval = welch.confidence_interval()
    plain = by_method["difference in means"]
    size = max(abs(interval.low), abs(interval.high))
    assert (plain.effect, plain.low, plain.high) == pytest.approx(
        (value[ARM == 1].mean() - value[ARM == 0].mean(), interval.low, interval.high), abs=1e-9 * size
    )
    assert plain.p_value == pytest.approx(welch.pvalue, rel=1e-6)
    assert plain.control == pytest.approx(value[ARM == 0].mean(), abs=1e-9 * size)
    assert plain.treatment == pytest.approx(value[ARM == 1].mean(), abs=1e-9 * size)
    for effect in by_method.values():
        known = kind in WITH
        assert np.isfinite([effect.lift, effect.lift_low, effect.lift_high]).all() == known, effect.method
        if known:
            assert effect.lift_low < effect.lift < effect.lift_high
            assert effect.lift == pytest.approx(effect.effect / effect.control, rel=0.02)


@pytest.mark.parametrize("form", ["plain", "ratio", "weights", "clusters"])
@pytest.mark.parametrize("kind", ["loss turned into gain", "profit near 0", "no event in control"])
def test_no_number_but_the_lift_depends_on_a_constant(kind: str, form: str) -> None:
    """A metric near 0 and the same metric plus 7 (times its denominator) have the same effects, errors and p-values."""
    rng = np.random.default_rng(4)
    value = values(kind, 1)
    more: dict[str, Any] = {"covariate": rng.normal(size=N) + value}
    if form == "ratio":
        more["denominator"] = 1 + rng.poisson(2, N) * 1.0
    elif form == "weights":
        more["weight"] = rng.uniform(0.5, 3, N)
    elif form == "clusters":
        more["cluster"] = np.arange(N) // 6 * 2 + ARM
    low, high = effects(value, **more), effects(value + 7.0 * more.get("denominator", 1.0), **more)
    for method in ("difference in means", "CUPED"):
        a, b = low[method], high[method]
        ends = [(e.effect, e.se, e.low, e.high, e.p_value) for e in (a, b)]
        assert ends[0] == pytest.approx(ends[1], rel=1e-7, abs=1e-10), method
        assert b.control - a.control == pytest.approx(7.0)
        assert np.isfinite(b.lift_low)


def test_intervals_of_a_lift_across_0_cover() -> None:
    """Control at -0.5, the arm at 0.5: the ratio less one is -2."""
    covered = 0
    for seed in range(400):
        lift = effects(values("loss turned into gain", seed))["difference in means"]
        covered += lift.lift_low <= -2 <= lift.lift_high
    assert 0.92 <= covered / 400 <= 0.98


def test_an_arm_or_a_metric_of_zeros_does_not_end_the_experiment() -> None:
    rng = np.random.default_rng(0)
    group = np.array(["control", "a", "b"])[np.arange(N) % 3]
    data = {
        "group": group, "spend": rng.lognormal(3, 1, N), "refunds": np.zeros(N),
        "rare": (group == "a") * (rng.random(N) < 0.05) * 1.0, "visits": (group != "control") * 1.0,
    }  # fmt: skip
    names = ("spend", "refunds", "rare", "spend/visits")
    columns = Columns(arm="group", metrics=tuple(map(Metric.parse, names)), control="control")
    result = measure(data, columns)
    assert [one.metric for one in result.metrics] == ["spend", "rare"]
    assert [one.compared for one in result.metrics] == [("a", "b"), ("a",)]
    notes = [f.sentence for f in result.findings if f.name == "nothing to compare"]
    assert len(notes) == 3
    assert notes[0].startswith("refunds == 0.0: the metric is the same in all 3000 rows")
    assert notes[1].startswith("visits: its sum is 0 in arm 'control'")
    assert notes[2] == "rare: no effect of 'b', since every row of it and of 'control' has the same value."
    assert result["rare"].effect("difference in means").effect == pytest.approx(data["rare"][group == "a"].mean())
    with pytest.raises(UndefinedMetric, match=r"refunds == 0\.0"):
        measure(data, Columns(arm="group", metrics=(Metric("refunds"),), control="control"))
    pair = {name: column[group != "a"] for name, column in data.items()} | {"rare": np.zeros(2000)}
    with pytest.raises(UndefinedMetric, match=r"rare == 0\.0: the metric is the same in all 2000 rows"):
        measure(pair, Columns(arm="group", metrics=(Metric("rare"),), control="control"))


@pytest.mark.parametrize("metrics", [("net",), ("net", "rare"), ("net", "rare", "spend")])
def test_pages_say_where_there_is_no_lift(metrics: tuple[str, ...], tmp_path: Path) -> None:
    columns = {"net": values("profit near 0", 3), "rare": values("no event in control", 3), "spend": values("gains", 3)}
    frames.write(pa.table({"group": GROUP, **columns}), tmp_path / "t.parquet")
    words = [word for name in metrics for word in ("--metric", name)]
    done = CliRunner().invoke(
        app, ["experiment", str(tmp_path / "t.parquet"), "--arm", "group", *words, "-o", str(tmp_path / "out")]
    )
    assert done.exit_code == 0, done.output
    summary = (tmp_path / "out" / "summary.md").read_text()
    assert "nan" not in summary.lower().replace("finan", "")
    assert (tmp_path / "out" / "forest.png").exists() == (metrics != ("net", "rare"))
    assert ("An effect without a lift is not in the picture" in (tmp_path / "out" / "report.html").read_text()) == (
        len(metrics) > 1
    )
    assert measure_sample(Sample(value=columns["net"], arm=ARM.astype(np.int32), arms=("a", "b")), Settings()).effects
