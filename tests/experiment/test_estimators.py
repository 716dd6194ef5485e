"""STATE, MLRATE and the means against independent oracles: general optimisers, numeric derivatives, statsmodels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import statsmodels.api as sm
import tea_tasting as tt
from scipy import optimize, special, stats
from statsmodels.stats.weightstats import CompareMeans

from largesse.errors import DataError
from largesse.experiment import Batches, Effect, Sample, contrast, means
from largesse.experiment.data.sample import Floats
from largesse.experiment.estimators.contrast import Contrast
from largesse.experiment.estimators.state import FLOOR, Scaling, _pass, fit_student
from largesse.experiment.estimators.totals import totals, unit_totals
from tests.reference import fieller_ends

CLOSE = 1e-9
ARMS = ("A", "B")


def heavy(n: int = 400, seed: int = 0, **more: object) -> Sample:
    """Skewed heavy tails, an informative prediction, and a heterogeneous effect."""
    rng = np.random.default_rng(seed)
    g, arm = rng.normal(size=n), rng.integers(0, 2, n)
    value = 5 + 2 * g + arm * (0.5 + 0.3 * g) + rng.standard_t(3, size=n) + 0.5 * rng.exponential(size=n)
    return Sample(value=value, arm=arm, arms=ARMS, prediction=1.3 * g + 4, **more)  # type: ignore[arg-type]


def ratio(n: int = 400, seed: int = 0, **more: object) -> Sample:
    """Orders over sessions; the arm moves both."""
    base = heavy(n, seed)
    rng = np.random.default_rng([seed, 1])
    below = 1.0 + rng.poisson(3 + base.arm, n)
    return replace(base, value=base.value * below, denominator=below, **more)  # type: ignore[arg-type]


def weighted(n: int = 400, seed: int = 0) -> Sample:
    return heavy(n, seed, weight=np.random.default_rng([seed, 2]).lognormal(0, 0.5, n))


def clustered(n: int = 400, seed: int = 0) -> Sample:
    """Rows of 60 randomised units with a random effect per unit."""
    base, rng = heavy(n, seed), np.random.default_rng([seed, 3])
    code = rng.integers(0, 60, n)
    arm = (np.arange(60) % 2)[code]
    return replace(base, arm=arm, cluster=code, value=base.value + rng.normal(size=60)[code])


# ---- the Student-t regression


def scaled(sample: Sample) -> tuple[Scaling, Floats, Floats, Floats]:
    """Scaling, u, the design, and the least-squares start."""
    y, g = sample.value, sample.prediction
    assert g is not None
    s = Scaling(float(y[sample.arm == 0].mean()), float(y.std()), float(g.mean()), float(g.std()))
    design = np.column_stack([np.ones(sample.n), sample.arm, (g - s.centre) / s.spread])
    u = (y - s.ratio) / s.scale
    b = np.linalg.lstsq(design, u, rcond=None)[0]
    return s, u, design, np.r_[b, np.mean((u - design @ b) ** 2)]


def log_density(u: Floats, design: Floats, p: Floats) -> Floats:
    """Of each row; p is b0, b1, b2, ln σ², ln ν."""
    return np.asarray(stats.t.logpdf(u - design @ p[:3], np.exp(p[4]), scale=np.exp(p[3] / 2)))


@pytest.mark.parametrize("nu", [10.0, 2.0, None])
def test_the_fit_is_the_highest_point_of_the_likelihood(nu: float | None):
    sample = heavy(500)
    s, u, design, start = scaled(sample)
    fit = fit_student(sample, 1, s, start, nu=nu)
    log_nu = np.log(fit.theta[4])

    def loss(p: Floats) -> float:
        return -float(log_density(u, design, np.r_[p, log_nu][:5]).sum())

    free = np.r_[start[:3], np.log(start[3]), *([] if nu else [1.0])]
    best = optimize.minimize(loss, free, method="BFGS", options={"gtol": 1e-7})
    np.testing.assert_allclose(fit.theta[:3], best.x[:3], atol=2e-6)
    assert np.log(fit.theta[3]) == pytest.approx(best.x[3], abs=1e-5)
    if nu is None:
        assert log_nu == pytest.approx(best.x[4], abs=1e-4)
    assert fit.likelihood[-1] == pytest.approx(-best.fun, abs=1e-8)
    assert fit.likelihood[-1] >= -best.fun - 1e-10 * abs(best.fun)
    assert fit.status == "converged"


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("nu", [10.0, 1.0, None])
def test_the_likelihood_never_falls(seed: int, nu: float | None):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(20, 300))
    value = rng.standard_t(0.7, size=n) * 10.0 ** rng.integers(-6, 6)
    sample = Sample(value=value, arm=np.arange(n) % 2, arms=ARMS, prediction=rng.normal(size=n))
    s, _, _, start = scaled(sample)
    fit = fit_student(sample, 1, s, start, nu=nu)
    steps = np.diff(fit.likelihood)
    assert (steps >= -1e-11 * abs(fit.likelihood[-1])).all()
    assert fit.status == "converged"
    assert len(steps) > 1


@pytest.mark.parametrize("nu", [10.0, None])
def test_a_step_of_em_is_weighted_least_squares(nu: float | None):
    sample = heavy(300)
    s, u, design, start = scaled(sample)
    theta = np.r_[start + np.array([0.3, -0.2, 0.1, 0.5]), nu or 3.0]
    after = _pass(sample, 1, s, theta, 1).em(np.array([True, True, True, True, nu is None]))
    q = (u - design @ theta[:3]) ** 2 / theta[3]
    eta = (theta[4] + 1) / (theta[4] + q)
    b = np.linalg.solve(design.T @ (eta[:, None] * design), design.T @ (eta * u))
    np.testing.assert_allclose(after[:3], b, rtol=CLOSE)
    assert after[3] == pytest.approx(eta @ (u - design @ b) ** 2 / eta.sum(), rel=CLOSE)
    if nu is None:  # E ln u of a gamma with shape (ν + 1)/2 and rate (ν + q)/2
        mean_log = (special.digamma(2.0) - np.log((theta[4] + q) / 2)).mean() - np.log(eta.mean())
        assert special.digamma(after[4] / 2) - np.log(after[4] / 2) == pytest.approx(mean_log, rel=1e-8)


def test_a_start_far_away_ends_in_the_same_place():
    sample = heavy(300)
    s, _, _, start = scaled(sample)
    near = fit_student(sample, 1, s, start, nu=None)
    far = fit_student(sample, 1, s, np.array([2.0, -1.0, 0.5, 30.0]), nu=None)
    np.testing.assert_allclose(near.theta, far.theta, rtol=1e-7)


def test_many_rows_are_searched_on_a_part_first():
    sample = heavy(5000)
    s, _, _, start = scaled(sample)
    plain = fit_student(sample, 1, s, start)
    thin = fit_student(sample, 1, s, start, rows=10_000_000)  # every 50th row first
    np.testing.assert_allclose(thin.theta, plain.theta, rtol=1e-9)
    assert thin.passes < plain.passes


def test_the_derivatives_are_those_of_the_likelihood():
    sample = heavy(300)
    s, u, design, start = scaled(sample)
    fit = fit_student(sample, 1, s, start, nu=None)
    p = np.r_[fit.theta[:3], np.log(fit.theta[3:])]
    numeric = second_derivatives(lambda q: log_density(u, design, q).sum(), p)
    # ours is in ν, at the highest point: ∂²/∂(ln ν)² = ν² ∂²/∂ν²
    unit = np.array([1, 1, 1, 1, fit.theta[4]])
    np.testing.assert_allclose(fit.information * np.outer(unit, unit), -numeric, rtol=2e-4, atol=2e-3)


def second_derivatives(of: object, p: Floats, h: float = 1e-4) -> Floats:
    k, eye = len(p), np.eye(len(p)) * h
    out = np.empty((k, k))
    for i in range(k):
        for j in range(k):
            signs = ((1, 1), (1, -1), (-1, 1), (-1, -1))
            out[i, j] = sum(a * b * of(p + a * eye[i] + b * eye[j]) for a, b in signs) / (4 * h * h)  # type: ignore[operator]
    return out


@pytest.mark.parametrize("nu", [10.0, None])
def test_the_error_is_the_numeric_sandwich(nu: float | None):
    sample = heavy(600)
    s, u, design, _ = scaled(sample)
    pair = contrast(sample, 1, nu=nu)
    fit = fit_student(sample, 1, s, scaled(sample)[3], nu=nu)
    p = np.r_[fit.theta[:3], np.log(fit.theta[3:])]
    k, h = 4 if nu else 5, 1e-5
    scores = np.column_stack(
        [
            (log_density(u, design, p + h * e) - log_density(u, design, p - h * e)) / (2 * h)
            for e in np.eye(5)[:k]
        ]
    )  # fmt: skip
    bread = np.linalg.inv(second_derivatives(lambda q: log_density(u, design, np.r_[q, p[k:]]).sum(), p[:k]))
    cov = bread @ scores.T @ scores @ bread * sample.n / (sample.n - 4)
    assert pair.state.se == pytest.approx(np.sqrt(cov[1, 1]) * s.scale, rel=1e-5)
    assert pair.state.effect == pytest.approx(fit.theta[1] * s.scale, rel=1e-9)


# ---- influences: what a row adds is the derivative in its weight


def moved(sample: Sample, i: int, by: float, nu: float | None) -> tuple[float, float, float]:
    weight = np.ones(sample.n) if sample.weight is None else sample.weight.copy()
    weight[i] += by
    pair = contrast(replace(sample, weight=weight), 1, nu=nu)
    return pair.state.effect, pair.mlrate.effect, pair.state.control


@pytest.mark.parametrize("nu", [10.0, None])
@pytest.mark.parametrize("make", [heavy, ratio, weighted])
def test_errors_add_up_from_derivatives_in_the_weights(make: object, nu: float | None):
    sample: Sample = make(60)  # type: ignore[operator]
    pair, h = contrast(sample, 1, nu=nu), 1e-4
    weight = np.ones(sample.n) if sample.weight is None else sample.weight
    each = np.array(
        [np.subtract(moved(sample, i, h, nu), moved(sample, i, -h, nu)) / (2 * h) for i in range(sample.n)]
    ) * weight[:, None]  # fmt: skip
    cov = each.T @ each * sample.n / (sample.n - 4)
    assert pair.state.se == pytest.approx(np.sqrt(cov[0, 0]), rel=1e-4)
    assert pair.mlrate.se == pytest.approx(np.sqrt(cov[1, 1]), rel=1e-4)
    assert pair.difference_se == pytest.approx(np.sqrt(cov[0, 0] + cov[1, 1] - 2 * cov[0, 1]), rel=1e-4)
    reach = stats.t.ppf(0.975, sample.n - 4)
    lifts = fieller_ends(pair.state.effect, pair.state.control, cov[np.ix_([0, 2], [0, 2])], (-reach, reach))
    assert (pair.state.lift_low, pair.state.lift_high) == pytest.approx(lifts, rel=1e-4)
    gap = (each[:, 0] - each[:, 1]) ** 2
    assert pair.units == pytest.approx(gap.sum() ** 2 / (gap @ gap), rel=1e-3)
    assert pair.largest == pytest.approx((each[:, 1] ** 2).max() / (each[:, 1] @ each[:, 1]), rel=1e-3)
    first = pair.influential[0]
    assert first.row == np.argmax(np.abs(each[:, 1]))
    assert first.mlrate == pytest.approx(-each[first.row, 1], rel=1e-3)


def test_leaving_a_row_out_changes_the_estimates_as_stated():
    sample = heavy(2000)
    pair = contrast(sample, 1)
    for one in pair.influential[:3]:
        keep = np.arange(sample.n) != one.row
        rest = contrast(
            Sample(value=sample.value[keep], arm=sample.arm[keep], arms=ARMS, prediction=sample.prediction[keep]),  # type: ignore[index]
            1,
        )
        assert rest.mlrate.effect - pair.mlrate.effect == pytest.approx(one.mlrate, rel=0.02)
        assert rest.state.effect - pair.state.effect == pytest.approx(one.state, rel=0.05)
        assert one.value == sample.value[one.row]
        assert one.arm == ARMS[sample.arm[one.row]]


# ---- the adjusted mean


def test_mlrate_is_least_squares_with_robust_errors():
    sample = heavy(500)
    y, t, g = sample.value, sample.arm, sample.prediction
    assert g is not None
    design = np.column_stack([np.ones(sample.n), t, g, (g - g.mean()) * t])
    ours = contrast(sample, 1).mlrate
    theirs = sm.OLS(y, design).fit(cov_type="HC1")
    assert ours.effect == pytest.approx(theirs.params[1], rel=CLOSE)
    # statsmodels takes ḡ as known; the rows that made it add (slope_1 - slope_0)(g - ḡ) / n to each row's influence
    own = np.linalg.inv(design.T @ design)[1] @ (design * theirs.resid[:, None]).T
    each = own + theirs.params[3] * (g - g.mean()) / sample.n
    assert np.sqrt(own @ own * sample.n / (sample.n - 4)) == pytest.approx(theirs.bse[1], rel=CLOSE)
    assert ours.se == pytest.approx(np.sqrt(each @ each * sample.n / (sample.n - 4)), rel=CLOSE)


def test_clusters_have_the_errors_of_their_sums():
    sample = clustered()
    y, t, g, code = sample.value, sample.arm, sample.prediction, sample.cluster
    assert g is not None
    design = np.column_stack([np.ones(sample.n), t, g - g.mean(), (g - g.mean()) * t])
    theirs = sm.OLS(y, design).fit(cov_type="cluster", cov_kwds={"groups": code})
    ours = contrast(sample, 1).mlrate
    own = np.linalg.inv(design.T @ design)[1] @ (design * theirs.resid[:, None]).T
    each = np.bincount(code, own + theirs.params[3] * (g - g.mean()) / sample.n)
    factor = 60 / 59 * (sample.n - 1) / (sample.n - 4)
    assert np.sqrt(np.bincount(code, own) @ np.bincount(code, own) * factor) == pytest.approx(theirs.bse[1], rel=CLOSE)
    assert ours.se == pytest.approx(np.sqrt(each @ each * factor), rel=CLOSE)
    alone = contrast(replace(sample, cluster=None), 1)
    assert ours.effect == alone.mlrate.effect
    assert ours.se > 1.3 * alone.mlrate.se
    assert contrast(sample, 1).state.se > 1.3 * alone.state.se


def test_clusters_of_one_row_are_rows():
    sample = heavy(300)
    own = replace(sample, cluster=np.random.default_rng(0).permutation(300))
    a, b = contrast(sample, 1), contrast(own, 1)
    assert b.state.se == pytest.approx(a.state.se * np.sqrt(300 / 299 * 299 / 300), rel=CLOSE)
    for plain, by_cluster in zip(means(sample, 1), means(own, 1), strict=True):
        assert by_cluster.effect == pytest.approx(plain.effect, rel=CLOSE)
        assert by_cluster.se == pytest.approx(plain.se, rel=CLOSE)


def test_without_a_prediction_the_adjusted_mean_is_the_difference_in_means():
    sample = replace(heavy(300), prediction=None)
    pair, (plain,) = contrast(sample, 1), means(sample, 1)
    assert pair.mlrate.effect == pytest.approx(plain.effect, rel=CLOSE)
    assert pair.mlrate.se == pytest.approx(plain.se, rel=5e-3)
    flat = contrast(replace(sample, prediction=np.full(300, 7.3)), 1)
    assert flat.state.effect == pytest.approx(pair.state.effect, rel=CLOSE)
    assert flat.mlrate.effect == pytest.approx(pair.mlrate.effect, rel=CLOSE)


# ---- difference in means, CUPED, CUPAC, ratios: tea-tasting and statsmodels


def table(sample: Sample, covariate: Floats | None = None) -> pa.Table:
    columns = {"variant": sample.arm, "y": sample.value, "g": sample.prediction}
    columns |= {} if sample.denominator is None else {"z": sample.denominator}
    return pa.table(columns | ({} if covariate is None else {"x": covariate}))


def equal_arms(sample: Sample) -> Sample:
    """As many rows of either arm: the effect is not skewed, and its interval is that of a t-test."""
    each = np.bincount(sample.arm).min()
    keep = np.sort(np.concatenate([np.flatnonzero(sample.arm == arm)[:each] for arm in (0, 1)]))
    parts = ("value", "arm", "denominator", "prediction", "covariate", "weight")
    columns = {name: getattr(sample, name) for name in parts}
    return Sample(arms=ARMS, **{name: None if column is None else column[keep] for name, column in columns.items()})


def covariances(sample: Sample, ours: Effect) -> Floats:
    """Of an effect and of control's mean, where the means of the arms are independent."""
    of = {"difference in means": np.zeros(sample.n), "CUPED": sample.covariate, "CUPAC": sample.prediction}[ours.method]
    z = np.ones(sample.n) if sample.denominator is None else sample.denominator
    both = (sample.value - sample.value.sum() / z.sum() * z) / z.mean()
    slope = np.polyfit(of, both, 1)[0] if np.ptp(of) else 0.0  # type: ignore[arg-type]
    own = sample.arm == 0
    y, z, x = sample.value[own], z[own], of[own]  # type: ignore[index]
    control = ((y - y.sum() / z.sum() * z) / z.mean() - slope * (x - x.mean())).var(ddof=1) / own.sum()
    return np.array([[ours.se**2, -control], [-control, control]])


@pytest.mark.parametrize("equal", [True, False])
@pytest.mark.parametrize("make", [heavy, ratio])
def test_means_agree_with_tea_tasting(make: object, equal: bool):
    base: Sample = make(700)  # type: ignore[operator]
    base = equal_arms(base) if equal else base
    before = np.random.default_rng(9).normal(size=base.n) + base.value
    sample = replace(base, covariate=before)
    below = None if sample.denominator is None else "z"
    metrics = {
        "difference in means": tt.RatioOfMeans("y", below), "CUPED": tt.RatioOfMeans("y", below, "x"),
        "CUPAC": tt.RatioOfMeans("y", below, "g"),
    }  # fmt: skip
    theirs = tt.Experiment(metrics).analyze(table(sample, before))
    for ours in means(sample, 1):
        other = theirs[ours.method]
        pairs = (
            (ours.control, other.control), (ours.treatment, other.treatment), (ours.effect, other.effect_size),
            (ours.lift, other.rel_effect_size), (ours.effect / ours.se, other.statistic),
        )  # fmt: skip
        if equal:
            pairs += (
                (ours.low, other.effect_size_ci_lower), (ours.high, other.effect_size_ci_upper), (ours.p_value, other.pvalue),
            )  # fmt: skip
        for mine, given in pairs:
            assert mine == pytest.approx(given, rel=CLOSE, abs=CLOSE), ours.method
        if equal:
            reach = (ours.high - ours.effect) / ours.se
            lifts = fieller_ends(ours.effect, ours.control, covariances(sample, ours), (-reach, reach))
            assert (ours.lift_low, ours.lift_high) == pytest.approx(lifts, rel=1e-7)
            # tea-tasting takes logarithms of both means: the same to second order
            near = (other.rel_effect_size_ci_lower, other.rel_effect_size_ci_upper)
            assert (ours.lift_low, ours.lift_high) == pytest.approx(near, abs=0.05 * (near[1] - near[0]))
    assert [ours.method for ours in means(sample, 1)] == list(metrics)


def test_means_agree_with_statsmodels():
    sample = equal_arms(replace(heavy(700), covariate=heavy(700).value + np.random.default_rng(9).normal(size=700)))
    plain, cuped, _ = means(sample, 1)
    y, t, x = sample.value, sample.arm, sample.covariate
    assert x is not None
    theirs = CompareMeans.from_data(y[t == 1], y[t == 0])
    _, p, _ = theirs.ttest_ind(usevar="unequal")
    assert plain.p_value == pytest.approx(p, rel=CLOSE)
    np.testing.assert_allclose((plain.low, plain.high), theirs.tconfint_diff(usevar="unequal"), rtol=CLOSE)
    slope = sm.OLS(y, sm.add_constant(x)).fit().params[1]
    adjusted = y - slope * (x - x.mean())
    theirs = CompareMeans.from_data(adjusted[t == 1], adjusted[t == 0])
    np.testing.assert_allclose((cuped.low, cuped.high), theirs.tconfint_diff(usevar="unequal"), rtol=CLOSE)
    assert cuped.se < 0.7 * plain.se


def test_means_over_clusters_are_ratios_of_sums():
    sample = clustered()
    frame = pa.TableGroupBy(
        pa.table({"c": sample.cluster, "variant": sample.arm, "y": sample.value, "g": sample.prediction}), ["c", "variant"]
    ).aggregate([("y", "sum"), ("g", "sum"), ("y", "count")])  # fmt: skip
    frame = frame.append_column("size", frame["y_count"])  # tea-tasting wants another name
    theirs = tt.Experiment(
        plain=tt.RatioOfMeans("y_sum", "y_count"), cupac=tt.RatioOfMeans("y_sum", "y_count", "g_sum", "size")
    ).analyze(frame)
    for ours, name in zip(means(sample, 1), ("plain", "cupac"), strict=True):
        assert ours.effect == pytest.approx(theirs[name].effect_size, rel=CLOSE)
        assert ours.p_value == pytest.approx(theirs[name].pvalue, rel=1e-7)


def test_weighted_means():
    sample = weighted()
    w, t = sample.weight, sample.arm
    ours = means(sample, 1)[0]
    by_arm = [np.average(sample.value[t == a], weights=w[t == a]) for a in (0, 1)]  # type: ignore[index]
    assert ours.effect == pytest.approx(by_arm[1] - by_arm[0], rel=CLOSE)
    pair = contrast(replace(sample, prediction=None), 1)
    assert pair.mlrate.effect == pytest.approx(ours.effect, rel=CLOSE)
    assert pair.mlrate.se == pytest.approx(ours.se, rel=5e-3)


def test_a_ratio_by_the_delta_method_either_way():
    sample = replace(ratio(4000), prediction=None)
    pair, ours = contrast(sample, 1), means(sample, 1)[0]
    assert pair.mlrate.effect == pytest.approx(ours.effect, rel=CLOSE)
    assert pair.mlrate.se == pytest.approx(ours.se, rel=1e-3)
    assert pair.mlrate.control == pytest.approx(ours.control, rel=CLOSE)


# ---- invariances


def same(a: Contrast, b: Contrast, unit: float = 1.0, rel: float = 1e-8) -> None:
    for name in ("mlrate", "state"):
        for field in ("effect", "se", "low", "high"):
            assert getattr(getattr(b, name), field) == pytest.approx(unit * getattr(getattr(a, name), field), rel=rel)
    assert b.difference_se == pytest.approx(unit * a.difference_se, rel=rel)
    assert b.units == pytest.approx(a.units, rel=1e-6)


@pytest.mark.parametrize("make", [heavy, ratio, weighted, clustered])
def test_order_blocks_and_units_of_measurement_do_not_matter(make: object, monkeypatch: pytest.MonkeyPatch):
    sample: Sample = make(500)  # type: ignore[operator]
    pair = contrast(sample, 1, nu=None)
    order = np.random.default_rng(1).permutation(500)
    parts = {f: getattr(sample, f) for f in ("value", "arm", "denominator", "prediction", "weight", "cluster")}
    shuffled = Sample(arms=ARMS, **{k: None if v is None else v[order] for k, v in parts.items()})
    same(pair, contrast(shuffled, 1, nu=None))
    same(pair, contrast(replace(sample, value=1e6 * sample.value), 1, nu=None), 1e6)
    same(pair, contrast(replace(sample, prediction=3 - 1e-4 * sample.prediction), 1, nu=None))  # type: ignore[operator]
    if sample.denominator is None:
        same(pair, contrast(replace(sample, value=sample.value + 1e5), 1, nu=None), rel=1e-6)
    monkeypatch.setattr("largesse.experiment.data.sample.BLOCK", 33)
    same(pair, contrast(sample, 1, nu=None))


def test_arms_exchanged_change_the_sign():
    sample = heavy(500)
    a, b = contrast(sample, 1), contrast(replace(sample, arm=1 - sample.arm), 1)
    assert b.state.effect == pytest.approx(-a.state.effect, rel=1e-8)
    assert b.state.se == pytest.approx(a.state.se, rel=1e-8)
    assert b.mlrate.se == pytest.approx(a.mlrate.se, rel=1e-8)


def test_equal_weights_are_none():
    sample = ratio(400)
    same(contrast(sample, 1), contrast(replace(sample, weight=np.full(400, 7.0)), 1))


def test_rows_of_other_arms_do_not_matter():
    sample = heavy(600)
    arm = np.random.default_rng(3).integers(0, 3, 600)
    three = replace(sample, arm=arm, arms=("A", "B", "C"))
    keep = arm != 1
    pair = Sample(value=sample.value[keep], arm=arm[keep] // 2, arms=("A", "C"), prediction=sample.prediction[keep])  # type: ignore[index]
    same(contrast(pair, 1), contrast(three, 2))
    assert contrast(three, 2).state.arm == "C"
    for a, b in zip(means(pair, 1), means(three, 2), strict=True):
        assert (b.effect, b.se) == pytest.approx((a.effect, a.se), rel=CLOSE)


def test_batches_are_read_and_give_the_same():
    sample = ratio(3000)
    columns = {"y": sample.value, "z": sample.denominator, "g": sample.prediction}
    rows = pa.table({**columns, "group": np.array(ARMS)[sample.arm]})
    read: list[int] = []

    def batches() -> list[pa.RecordBatch]:
        read.append(1)
        return rows.to_batches(max_chunksize=700)

    source = Batches(batches, value="y", arm="group", arms=ARMS, denominator="z", prediction="g")
    same(contrast(sample, 1), contrast(source, 1), rel=1e-10)
    assert len(read) > 5


def test_sums_of_parts_add_up():
    sample = ratio(500)
    half = np.arange(500) < 200
    parts = [
        Sample(value=sample.value[k], arm=sample.arm[k], arms=ARMS, denominator=sample.denominator[k],  # type: ignore[index]
               prediction=sample.prediction[k])  # type: ignore[index]
        for k in (half, ~half)
    ]  # fmt: skip
    whole, (a, b) = totals(sample), (totals(p) for p in parts)
    same_shift = replace(b, shift=a.shift) if (a.shift == b.shift).all() else None
    assert same_shift is None  # each takes its own centre, so the sums are compared through their meaning
    for arm in (0, 1):
        n = a.rows[arm] + b.rows[arm]
        assert n == whole.rows[arm]
        mean = (a.rows[arm] * a.mean(arm, "value") + b.rows[arm] * b.mean(arm, "value")) / n
        assert whole.mean(arm, "value") == pytest.approx(mean, rel=1e-12)
        assert whole.spread(arm, "value", "prediction") / (n - 1) == pytest.approx(
            np.cov(sample.value[sample.arm == arm], sample.prediction[sample.arm == arm])[0, 1],  # type: ignore[index]
            rel=1e-10,
        )
    again = a + a
    assert again.mean(0, "value") == pytest.approx(a.mean(0, "value"))
    assert again.rows.tolist() == (2 * a.rows).tolist()


def test_digits_are_not_lost_far_from_zero():
    rng = np.random.default_rng(0)
    value = 1e9 + rng.normal(size=1000)
    sample = Sample(value=value, arm=np.arange(1000) % 2, arms=ARMS)
    assert unit_totals(sample).spread(0, "value", "value") / 499 == pytest.approx(value[::2].var(ddof=1), rel=1e-6)


# ---- edges


def test_where_most_rows_are_the_same_the_scale_has_a_floor():
    rng = np.random.default_rng(0)
    value = np.where(rng.random(5000) < 0.03, rng.lognormal(3, 1, 5000), 0.0)
    sample = Sample(value=value, arm=np.arange(5000) % 2, arms=ARMS)
    pair = contrast(sample, 1)
    assert pair.status == "scale at its floor"
    assert pair.scale == pytest.approx(FLOOR * value.std(), rel=1e-3)
    assert 0 < pair.state.se < 1e-3 * pair.mlrate.se
    assert pair.nu == 10


def test_nu_stays_within_its_bounds():
    rng = np.random.default_rng(0)
    arm = np.arange(2000) % 2
    flat = contrast(Sample(value=rng.random(2000), arm=arm, arms=ARMS), 1, nu=None)
    wild = Sample(value=rng.standard_t(0.2, size=2000), arm=arm, arms=ARMS)
    fit = fit_student(wild, 1, Scaling(0.0, 1.0, 0.0, np.inf), np.array([0.0, 0.0, 0.0, 1.0]), nu=None)
    assert (flat.nu, fit.theta[4]) == (500.0, 0.3)
    assert not fit.free[4]
    assert flat.state.effect == pytest.approx(flat.mlrate.effect, abs=0.1 * flat.mlrate.se)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"arm": np.zeros(60, int)}, "units of arm 'B' == 0"),
        ({"arms": ("A",)}, "two arms or more"),
        ({"arms": ("A", "A")}, "labels of arms must differ"),
        ({"value": np.full(60, 3.0)}, "the metric is the same in all 60 rows"),
        ({"value": np.r_[np.nan, np.ones(59)]}, r"value\[0\] == nan: must be a finite number \(1 such row of 60\)"),
        ({"weight": np.r_[np.ones(59), 0.0]}, r"weight\[59\]"),
        ({"denominator": -np.ones(60)}, r"denominator\[0\]"),
        ({"denominator": np.zeros(60)}, "its sum is 0 in arm 'A'"),
        ({"prediction": np.ones(59)}, r"len\(prediction\)"),
        ({"cluster": np.zeros(60, int)}, r"has rows in the arms 'A' and 'B'.*\(30 such rows\)"),
        ({"cluster": np.arange(60) % 2}, "units of arm 'A' == 1"),
    ],
)
def test_a_sample_refuses(change: dict[str, object], words: str):
    rng = np.random.default_rng(0)
    given = {"value": rng.normal(size=60), "arm": np.arange(60) % 2, "arms": ARMS} | change
    with pytest.raises(DataError, match=words):
        Sample(**given)  # type: ignore[arg-type]


def test_a_metric_that_does_not_vary_in_a_pair_is_refused():
    arm = np.arange(90) % 3
    sample = Sample(value=(arm == 2) * np.arange(90.0), arm=arm, arms=("A", "B", "C"))
    with pytest.raises(DataError, match="the same in every row of the arms 'A' and 'B'"):
        contrast(sample, 1)
    assert contrast(sample, 2).mlrate.effect > 0


def test_batches_refuse():
    rows = pa.table({"y": [1.0, 2.0, None, 4.0], "group": ["A", "B", "A", "C"]})
    for chosen, words in ((("A", "B"), "'C'"), (("A", "B", "C"), r"y\[2\] == nan")):
        source = Batches(rows.to_batches, value="y", arm="group", arms=chosen)
        with pytest.raises(DataError, match=words):
            contrast(source, 1)
