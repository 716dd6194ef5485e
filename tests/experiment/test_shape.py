"""What an interval rests on: events by hand, the correction for skewness against a search, coverage, lifts that agree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats
from typer.testing import CliRunner

from largesse import frames
from largesse.cli.app import app
from largesse.experiment import Batches, Effect, Sample, contrast, means, measure_sample
from largesse.experiment.estimators.shape import FEW_EVENTS_IN_AN_ARM, ends, p_value
from tests.reference import skewed_quantiles, skewness_of_difference

ARMS = ("control", "new")


def sample(value: Any, arm: Any, **more: Any) -> Sample:
    return Sample(value=value, arm=np.asarray(arm, np.int32), arms=ARMS, **more)


def few_treated(n: int, seed: int = 0, share: float = 0.1) -> np.ndarray:
    return (np.random.default_rng([seed, 9]).permutation(n) < share * n).astype(np.int32)


# ---- events


def test_events_of_a_rare_outcome_are_counted():
    arm = np.repeat([0, 1], [9000, 1000])
    value = np.zeros(10_000)
    value[:45] = value[9000:9007] = 1.0
    plain = means(sample(value, arm), 1)[0]
    assert (plain.control_events, plain.treatment_events, plain.events) == pytest.approx((45, 7, 7))
    assert plain.caution == "rests on about 7 events: it may cover less than 95 %"
    assert means(sample(value, arm), 1, level=0.9)[0].caution.endswith("90 %")
    often = means(sample(1 - value, arm), 1)[0]
    assert often.events == pytest.approx(7), "the rarer outcome counts, whatever it is called"
    moved = means(sample(1e3 + 5 * value, arm), 1)[0]
    assert moved.events == pytest.approx(7), "neither a constant nor the unit of measurement counts"
    none = means(sample(np.where(arm == 1, 0.0, value), arm), 1)[0]
    assert none.caution == "rests on no event: it may cover less than 95 %"
    one = value.copy()
    one[9000:9006] = 0.0
    assert means(sample(one, arm), 1)[0].caution.startswith("rests on about 1 event:")


def test_events_of_sizes():
    rng = np.random.default_rng(3)
    value, arm = rng.lognormal(0, 1.5, 3000), few_treated(3000)
    plain = means(sample(value, arm), 1)[0]
    for k, got in enumerate((plain.control_events, plain.treatment_events)):
        z = np.abs(value[arm == k] - np.median(value[arm == k]))
        assert got == pytest.approx(min(z.sum() ** 2 / (z @ z), 2 * (z @ z) ** 2 / (z**4).sum()), rel=1e-9)
    normal = means(sample(rng.normal(size=20_000), np.arange(20_000) % 2), 1)[0]
    assert normal.events == pytest.approx(2 / np.pi * 10_000, rel=0.02)
    assert normal.caution == ""


def test_a_cluster_counts_once():
    rng = np.random.default_rng(1)
    code = np.repeat(np.arange(16), 50)
    value = rng.normal(size=16)[code] + 0.1 * rng.normal(size=800)
    measured = measure_sample(sample(value, code % 2, cluster=code, prediction=rng.normal(size=800)))
    for effect in measured.effects:
        assert effect.events <= 8, effect.method
        assert effect.caution.startswith("rests on about"), effect.method
    rows = measure_sample(sample(value, code % 2))
    assert all(effect.events > 50 and not effect.caution for effect in rows.effects)


def test_adjustment_leaves_the_events_of_what_is_not_explained():
    rng = np.random.default_rng(5)
    arm, g = few_treated(4000), rng.normal(size=4000)
    rare = 20.0 * (rng.random(4000) < 0.01)
    one = measure_sample(sample(3 * g + rare, arm, prediction=g, covariate=g))
    by_method = {e.method: e for e in one.effects}
    assert by_method["difference in means"].events > 1.3 * by_method["MLRATE"].events
    for method in ("CUPED", "CUPAC"):
        assert by_method[method].events == pytest.approx(by_method["MLRATE"].events, rel=0.15)


# ---- the interval


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.8])
def test_the_interval_is_hall_s_with_the_pooled_skewness(share: float):
    rng = np.random.default_rng(7)
    arm, value = few_treated(800, share=share), rng.lognormal(0, 1.5, 800)
    ours = means(sample(value, arm), 1, level=0.9)[0]
    control, treated = value[arm == 0], value[arm == 1]
    welch = stats.ttest_ind(treated, control, equal_var=False)
    low, high = skewed_quantiles(0.9, welch.df, skewness_of_difference(control, treated))
    assert (ours.low, ours.high) == pytest.approx((ours.effect - high * ours.se, ours.effect - low * ours.se), rel=1e-9)
    if share == 0.5:
        interval = welch.confidence_interval(0.9)
        assert (ours.low, ours.high) == pytest.approx((interval.low, interval.high), rel=1e-9)
        assert ours.p_value == pytest.approx(welch.pvalue, rel=1e-9)
    elif share < 0.5:
        assert ours.high - ours.effect > 1.1 * (ours.effect - ours.low), "a long right tail: longer to the right"


def test_units_of_clusters_weights_and_ratios_are_linearised():
    rng = np.random.default_rng(8)
    code = np.sort(rng.integers(0, 90, 900))
    value, size = rng.lognormal(0, 1.5, 90)[code] + rng.random(900), np.bincount(code)
    arm = (np.arange(90) < 15).astype(int)[code]
    ours = means(sample(value, arm, cluster=code), 1)[0]
    sums, of = np.bincount(code, value), np.arange(90) < 15
    u = [(sums[a] - sums[a].sum() / size[a].sum() * size[a]) / size[a].mean() for a in (~of, of)]
    variance = [x.var(ddof=1) / len(x) for x in u]
    freedom = sum(variance) ** 2 / sum(v**2 / (len(x) - 1) for v, x in zip(variance, u, strict=True))
    low, high = skewed_quantiles(0.95, freedom, skewness_of_difference(*u))
    assert (ours.low, ours.high) == pytest.approx((ours.effect - high * ours.se, ours.effect - low * ours.se), rel=1e-9)
    weighted = means(sample(sums / size, of, weight=size * 1.0), 1)[0]
    ratio = means(sample(sums, of, denominator=size * 1.0), 1)[0]
    for other in (weighted, ratio):
        assert (other.low, other.high, other.events) == pytest.approx((ours.low, ours.high, ours.events), rel=1e-9)
    adjusted = contrast(sample(sums, of, denominator=size * 1.0), 1).mlrate
    assert (adjusted.low, adjusted.high) == pytest.approx((ours.low, ours.high), rel=0.1), "15 clusters"


def test_streamed_rows_have_the_same_interval():
    rng = np.random.default_rng(2)
    g, arm = rng.normal(size=5000), few_treated(5000)
    value = np.exp(g + rng.normal(size=5000))
    rows = pa.table({"y": value, "g": g, "group": np.array(ARMS)[arm]})
    streamed = Batches(lambda: rows.to_batches(max_chunksize=700), value="y", arm="group", arms=ARMS, prediction="g")
    a, b = contrast(sample(value, arm, prediction=g), 1).mlrate, contrast(streamed, 1).mlrate
    assert (b.low, b.high, b.p_value) == pytest.approx((a.low, a.high, a.p_value), rel=1e-9)
    assert b.events == pytest.approx(a.events, rel=0.05), "medians are those of the first block"


@pytest.mark.parametrize("g", [-0.5, -0.01, 0.0, 1e-5, 0.2, 0.7])
def test_p_values_and_intervals_agree(g: float):
    for level in (0.5, 0.9, 0.95, 0.999):
        low, high = ends(level, 30.0, g)
        assert (low, high) == pytest.approx(skewed_quantiles(level, 30.0, g), rel=1e-6)
        for q in (low, high):
            assert p_value(q, 30.0, g) == pytest.approx(1 - level, rel=1e-5)


def test_intervals_of_many_units_do_not_move():
    """With 20,000 units at random in two arms, the ends move by less than a hundredth of the half-width."""
    rng = np.random.default_rng(0)
    for value in (rng.gamma(2, 20, 20_000), (rng.random(20_000) < 0.05) * 1.0, rng.standard_t(4, 20_000)):
        arm = rng.integers(0, 2, 20_000)
        ours = means(sample(value, arm), 1)[0]
        interval = stats.ttest_ind(value[arm == 1], value[arm == 0], equal_var=False).confidence_interval()
        half = (interval.high - interval.low) / 2
        assert max(abs(ours.low - interval.low), abs(ours.high - interval.high)) < 0.01 * half


def test_intervals_cover_in_a_small_arm_with_a_long_tail():
    """200 of 2,000 units treated, log-normal with σ = 2: Welch's interval covers 87 %."""
    rng, hits, welch = np.random.default_rng(11), [], []
    arm = few_treated(2000)
    for _ in range(400):
        value = np.exp(2 * rng.normal(size=2000))
        ours = means(sample(value, arm), 1)[0]
        hits.append(ours.low <= 0 <= ours.high)
        welch.append(stats.ttest_ind(value[arm == 1], value[arm == 0], equal_var=False).pvalue >= 0.05)
    assert np.mean(hits) >= 0.93
    assert np.mean(welch) <= 0.91


# ---- lifts


def either(effect: Effect) -> tuple[int, int]:
    """The signs of the ends of effect and lift: -1, 1, or 0 where the interval contains 0."""
    signs = [
        int(low > 0) - int(high < 0) for low, high in ((effect.low, effect.high), (effect.lift_low, effect.lift_high))
    ]
    return signs[0], signs[1]


@pytest.mark.parametrize("form", ["plain", "ratio", "clusters", "small arm"])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_lift_contains_0_where_the_effect_does(form: str, sign: int):
    near = 0
    for seed in range(60):
        rng = np.random.default_rng([seed, 3])
        arm = few_treated(600, seed, 0.1 if form == "small arm" else 0.5)
        g = rng.normal(size=600)
        value = sign * np.exp(1.2 * rng.normal(size=600) + 0.5 * g + 0.25 * arm)
        more: dict[str, Any] = {"prediction": g, "covariate": g}
        if form == "ratio":
            more["denominator"] = 1.0 + rng.poisson(2, 600)
        if form == "clusters":
            order = np.argsort(arm, kind="stable")
            more["cluster"] = np.empty(600, np.int64)
            more["cluster"][order] = np.arange(600) // 5
        for effect in measure_sample(sample(value, arm, **more)).effects:
            if np.isfinite(effect.lift):
                of_effect, of_lift = either(effect)
                assert of_lift == sign * of_effect, (seed, effect)
                near += of_effect != 0
                assert effect.lift_low < effect.lift < effect.lift_high
                assert effect.lift == pytest.approx(effect.effect / effect.control)
    assert near > 20


# ---- where it is shown


def test_every_page_says_what_an_interval_rests_on(tmp_path: Path):
    rng = np.random.default_rng(4)
    arm = few_treated(3000)
    value = np.zeros(3000)
    value[rng.choice(np.flatnonzero(arm == 0), 60, False)] = 1.0
    value[rng.choice(np.flatnonzero(arm == 1), 6, False)] = 1.0
    rows = pa.table({"group": np.array(ARMS)[arm], "order": value, "spend": rng.normal(50, 5, 3000)})
    frames.write(rows, tmp_path / "t.parquet")
    words = ["experiment", str(tmp_path / "t.parquet"), "--arm", "group", "--metric", "order", "--metric", "spend"]
    words += ["--planned", "control=9,new=1"]
    caution = "rests on about 6 events: it may cover less than 95 %"
    out = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    rare, often = (one["effects"][0] for one in out["metrics"])
    assert (rare["events"], rare["control_events"], rare["treatment_events"]) == pytest.approx((6, 60, 6))
    assert (rare["caution"], often["caution"]) == (caution, "")
    done = CliRunner().invoke(app, [*words, "-o", str(tmp_path / "out")], env={"COLUMNS": "100"})
    text = " ".join(done.output.split())
    assert "Events" in text
    both = f"order: new: each interval by difference in means and STATE {caution}."
    assert both in text
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert both in page
    assert f"; {caution}." in page, "in the first sentence, which people copy"
    assert "spend: new: each interval" not in page


def test_noise_around_a_few_large_values_does_not_raise_their_number():
    """A covariate that explains nothing moves every unit a little: the interval still rests on the six orders."""
    rng = np.random.default_rng(6)
    arm, noise = few_treated(3000), rng.normal(size=3000)
    value = np.zeros(3000)
    value[np.flatnonzero(arm == 1)[:6]] = value[np.flatnonzero(arm == 0)[:60]] = 30.0
    plain, cuped = means(sample(value, arm, covariate=value + 0.02 * noise * 30 + rng.permutation(value)), 1)
    noisy = means(sample(value + noise, arm), 1)[0]
    assert plain.events == pytest.approx(6)
    assert noisy.events < 15, "300 treated units with noise, six of them with an order"
    assert cuped.events < 30


def test_the_bar_is_between_what_covers_and_what_does_not():
    assert FEW_EVENTS_IN_AN_ARM == 10
    value, arm = np.zeros(400), np.arange(400) % 2
    value[:20] = 1.0
    assert means(sample(value, arm), 1)[0].caution == ""
    value[18:20] = 0.0
    assert means(sample(value, arm), 1)[0].caution != ""
