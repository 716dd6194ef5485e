"""Ranking metrics against their definitions written out row by row."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from largesse.errors import DataError
from largesse.evaluate.ranking_metrics import (
    CostCurve,
    aucc,
    auuc,
    cost_curve,
    marginal_roi,
    mt_aucc,
    mt_cost_curve,
    qini,
    roi_score,
)
from largesse.logs import Logs
from largesse.menu import Menu


def trial(n=2000, seed=0, m=2, binary=False, weight=None, shares=None):
    """Logs of a trial and the latent trait that drives uplift; cost rises with the arm."""
    rng = np.random.default_rng(seed)
    t = np.r_[np.arange(m), rng.choice(m, n - m, p=shares)]
    z = rng.normal(size=n)
    lift = 0.15 * np.sqrt(t) * (z > 0)
    value = (rng.random(n) < 0.2 + lift).astype(float) if binary else rng.gamma(1 + 4 * lift)
    cost = t * (0.5 + rng.random(n))
    return Logs(x=z[:, None], treatment=t, value=value, cost=cost, weight=weight), z


def published(treatment, value, cost, score, points=200):
    """The published AUCC, transcribed line by line."""
    rows = sorted(range(len(score)), key=lambda i: score[i], reverse=True)
    n = [np.sum(treatment == 0), np.sum(treatment == 1)]
    dc, dr, spent, gained = [], [], [0.0, 0.0], [0.0, 0.0]
    for i in rows:
        spent[treatment[i]] += cost[i]
        gained[treatment[i]] += value[i]
        dc.append(spent[1] / n[1] - spent[0] / n[0])
        dr.append(gained[1] / n[1] - gained[0] / n[0])
    picked, j = [0.0], 1
    for i in range(len(rows)):
        if i == len(rows) - 1 or (j < points and dc[i] >= j * dc[-1] / points):
            picked.append(dr[i])
            j += 1
    return sum(picked) / (dr[-1] * (points + 1))


@pytest.mark.parametrize(("n", "points", "digits"), [(150, 200, 8), (3000, 200, 8), (3000, 20, 8), (3000, 200, 1)])
def test_published_aucc_equals_its_transcription(n, points, digits):
    logs, z = trial(n, seed=n + points)
    score = np.round(z + np.random.default_rng(1).normal(size=n), digits)
    assert aucc(logs, score, form="published", points=points) == pytest.approx(
        published(logs.treatment, logs.value, logs.cost, score, points), rel=1e-12, abs=0
    )


@pytest.mark.parametrize("form", ["normalised", "published"])
def test_random_scores_have_aucc_one_half(form):
    rng = np.random.default_rng(3)
    logs, z = trial(20_000, seed=4)
    draws = np.array([aucc(logs, rng.random(logs.n), form=form) for _ in range(60)])
    assert abs(draws.mean() - 0.5) < 4 * draws.std() / np.sqrt(60) + 0.003
    assert aucc(logs, z, form=form) > 0.5 + 5 * draws.std()


def test_one_score_for_all_has_aucc_exactly_one_half():
    logs, _ = trial()
    assert aucc(logs, np.zeros(logs.n)) == pytest.approx(0.5, abs=1e-12)


def test_both_forms_agree_on_a_smooth_curve():
    logs, z = trial(50_000, seed=5)
    assert aucc(logs, z, form="published") == pytest.approx(aucc(logs, z), abs=0.01)


METRICS = {
    "aucc": aucc,
    "auuc": auuc,
    "qini": qini,
    "uplift": lambda logs, score: auuc(logs, score, form="scikit-uplift"),
    "mt_aucc": lambda logs, score: mt_aucc(logs, score[:, None]),
}


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
class TestEveryMetric:
    def test_row_order_does_not_matter(self, metric):
        logs, z = trial(binary=True)
        score, rows = np.round(z, 1), np.random.default_rng(0).permutation(logs.n)
        assert metric(logs.take(rows), score[rows]) == pytest.approx(metric(logs, score), rel=1e-10)

    def test_weight_two_is_the_row_twice(self, metric):
        weight = np.random.default_rng(1).integers(1, 4, 1500)
        logs, z = trial(1500, binary=True, weight=weight)
        rows, score = np.repeat(np.arange(1500), weight), np.round(z, 2)
        twice, _ = trial(1500, binary=True)
        assert metric(logs, score) == pytest.approx(metric(twice.take(rows), score[rows]), rel=1e-10)

    def test_only_the_order_of_the_scores_matters(self, metric):
        logs, z = trial(binary=True)
        assert metric(logs, np.exp(z) * 7) == pytest.approx(metric(logs, z), rel=1e-12)

    def test_the_opposite_order_is_as_bad_as_the_order_is_good(self, metric):
        logs, z = trial(8000, binary=True)
        chance = metric(logs, np.zeros(logs.n))
        assert metric(logs, z) - chance > 0.05
        assert metric(logs, -z) - chance < -0.05

    def test_observational_rows_are_refused(self, metric):
        logs, z = trial(50, binary=True)
        log = Logs(x=logs.x, treatment=logs.treatment, value=logs.value, cost=logs.cost, design="obs")
        with pytest.raises(DataError, match=r"assigned at random.*trial"):
            metric(log, z)

    def test_a_score_that_is_not_a_number_is_refused(self, metric):
        logs, z = trial(50, binary=True)
        with pytest.raises(DataError, match=r"score.*\[3.*must be a finite number"):
            metric(logs, np.where(np.arange(50) == 3, np.nan, z))


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 3), st.integers(0, 3), st.integers(0, 4)), max_size=25))
@settings(max_examples=80, deadline=None)
def test_the_curve_ends_at_the_difference_of_means(rows):
    t, value, cost, score = np.array([(0, 0, 0, 0), (1, 1, 1, 0), *rows]).T
    logs = Logs(x=np.zeros((len(t), 1)), treatment=t, value=value, cost=cost, control_cost=True)
    curve = cost_curve(logs, score)
    assert len(curve.cost) == len(set(score)) + 1
    for column, got in ((value, curve.value), (cost, curve.cost)):
        assert got[0] == 0
        assert got[-1] == pytest.approx(column[t == 1].mean() - column[t == 0].mean(), abs=1e-12)
    assert curve.share[-1] == 1
    assert (np.diff(curve.share) > 0).all()


# ---- several treatments


def mt_transcription(logs, q, points=200):
    """MT-AUCC as published: expand the rows, scale by N / N_t, then AUCC."""
    out = []
    for i, t in enumerate(logs.treatment):
        a = logs.n / logs.arm_rows[t]
        if t < logs.n_treatments - 1:
            out.append((0, a * logs.value[i], a * logs.cost[i], q[i, t]))
        if t > 0:
            out.append((1, a * logs.value[i], a * logs.cost[i], q[i, t - 1]))
    treated, value, cost, score = (np.array(column) for column in zip(*out, strict=True))
    return published(treated, value, cost, score, points)


@pytest.mark.parametrize("shares", [None, (0.1, 0.4, 0.3, 0.2)])
def test_published_mt_aucc_equals_its_transcription(shares):
    logs, z = trial(2000, m=4, shares=shares)
    q = z[:, None] + np.random.default_rng(2).normal(size=(2000, 3))
    assert mt_aucc(logs, q, form="published") == pytest.approx(mt_transcription(logs, q), rel=1e-12, abs=0)


def test_mt_aucc_of_two_arms_is_aucc_whatever_the_shares():
    logs, z = trial(2000, shares=(0.8, 0.2))
    assert mt_aucc(logs, z[:, None]) == pytest.approx(aucc(logs, z), rel=1e-12)


def test_the_mt_curve_ends_at_the_last_arm_less_control():
    logs, z = trial(3000, m=4, shares=(0.1, 0.4, 0.3, 0.2))
    curve = mt_cost_curve(logs, np.c_[z, z, z])
    means = [logs.value[logs.treatment == j].mean() for j in (0, 3)]
    assert curve.value[-1] == pytest.approx(means[1] - means[0], rel=1e-9)


def test_random_steps_have_mt_aucc_one_half_and_good_ones_more():
    rng = np.random.default_rng(3)
    logs, z = trial(20_000, m=4, shares=(0.1, 0.4, 0.3, 0.2))
    draws = np.array([mt_aucc(logs, rng.random((logs.n, 3))) for _ in range(40)])
    assert abs(draws.mean() - 0.5) < 4 * draws.std() / np.sqrt(40)
    assert mt_aucc(logs, np.c_[z, z, z]) > 0.5 + 5 * draws.std()


def test_a_menu_stands_for_its_marginal_roi():
    logs, z = trial(500, m=3)
    menu = Menu(value=np.c_[0 * z, 2 + z, 3 + z], cost=np.c_[0 * z, 1 + 0 * z, 3 + 0 * z])
    np.testing.assert_allclose(marginal_roi(menu), np.c_[2 + z, 0.5 + 0 * z])
    assert mt_aucc(logs, menu) == mt_aucc(logs, marginal_roi(menu))


def test_a_tiny_cost_keeps_its_sign():
    menu = Menu(value=[[0.0, 1.0]] * 4, cost=[[0.0, 1e-9], [1e-9, 0.0], [0.5, 0.5], [0.0, 1e-3]])
    np.testing.assert_allclose(roi_score(menu), [1e6, -1e6, 1e6, 1e3])


# ---- other libraries' conventions


def sklift(y, s, t, kind):
    """qini_auc_score and uplift_auc_score of scikit-uplift 0.5.1, written out by thresholds."""

    def area(score):
        x, c = [0], [0.0]
        for cut in sorted(set(score), reverse=True):
            a, b = (score >= cut) & (t == 1), (score >= cut) & (t == 0)
            n1, n0, y1, y0 = a.sum(), b.sum(), y[a].sum(), y[b].sum()
            x.append(n1 + n0)
            if kind == "qini":
                c.append(y1 - (y0 * n1 / n0 if n0 else 0))
            else:
                c.append(((y1 / n1 if n1 else 0) - (y0 / n0 if n0 else 0)) * (n1 + n0))
        return sum((x[k] - x[k - 1]) * (c[k] + c[k - 1]) / 2 for k in range(1, len(x))) - x[-1] * c[-1] / 2

    if kind == "qini":
        perfect = y * t - y * (1 - t)
    else:
        perfect = 2 * (y == t) + (y if np.sum((y == 1) & (t == 0)) > np.sum((y == 0) & (t == 1)) else t)
    return area(s) / area(perfect)


def causalml(y, s, t):
    """auuc_score(normalize=True) of causalml 0.18.0, row by row; scores must differ."""
    order = np.argsort(-s)
    lift = [0.0]
    for k in range(1, len(s) + 1):
        top = order[:k]
        arms = [y[top][t[top] == j] for j in (0, 1)]
        lift.append(arms[1].mean() - arms[0].mean() if all(map(len, arms)) else np.nan)
    lift, k = np.array(lift), np.arange(len(s) + 1)
    gain = k * np.interp(k, k[~np.isnan(lift)], lift[~np.isnan(lift)])
    return np.mean(gain / abs(gain[-1]))


@pytest.mark.parametrize("seed", range(6))
def test_definitions_of_other_libraries(seed):
    rng = np.random.default_rng(seed)
    logs, z = trial(300, seed=seed, binary=True, shares=(0.3, 0.7))
    if seed % 2:  # many control responders: scikit-uplift's perfect order takes its other branch
        logs = Logs(x=logs.x, treatment=logs.treatment, value=1 - logs.value, cost=logs.cost)
    ties, y, t = np.round(z + rng.normal(size=300), 1), logs.value, logs.treatment
    assert qini(logs, ties) == pytest.approx(sklift(y, ties, t, "qini"), rel=1e-10)
    assert auuc(logs, ties, form="scikit-uplift") == pytest.approx(sklift(y, ties, t, "uplift"), rel=1e-10)
    assert auuc(logs, z) == pytest.approx(causalml(y, z, t), rel=1e-10)


def test_numbers_computed_by_the_other_libraries():
    rng = np.random.default_rng(7)
    n = 1000
    x, t = rng.normal(size=n), rng.integers(0, 2, n)
    y = (rng.random(n) < 0.2 + 0.1 * t * (x > 0)).astype(int)
    s = np.round(x + rng.normal(size=n), 1)
    u = s + 1e-6 * np.arange(n)  # no ties
    logs = Logs(x=x[:, None], treatment=t, value=y, cost=t)
    # scikit-uplift 0.5.1: sklift.metrics.qini_auc_score(y, s, t), uplift_auc_score(y, s, t), and the same with u
    assert qini(logs, s) == pytest.approx(0.052589074502885046, rel=1e-12)
    assert auuc(logs, s, form="scikit-uplift") == pytest.approx(0.03611550154066778, rel=1e-12)
    assert qini(logs, u) == pytest.approx(0.053411015872480996, rel=1e-12)
    assert auuc(logs, u, form="scikit-uplift") == pytest.approx(0.03679435878363308, rel=1e-12)
    # causalml 0.18.0: causalml.metrics.auuc_score(pd.DataFrame(dict(y=y, w=t, m=u)))["m"]
    assert auuc(logs, u) == pytest.approx(1.0492682790211643, rel=1e-12)


# ---- refusals


def refusals():
    two, z = trial(60, binary=True)
    many, _ = trial(60, m=3)
    loss = Logs(x=two.x, treatment=two.treatment, value=-two.treatment.astype(float), cost=two.cost)
    free = Logs(x=two.x, treatment=two.treatment, value=two.treatment, cost=0 * two.cost)
    heavy, _ = trial(60, weight=np.full(60, 2.0))
    flat = Logs(x=two.x, treatment=two.treatment, value=0 * two.value, cost=two.cost)
    return [
        (lambda: aucc(many, z), "logs.n_treatments == 3.*control and one treatment.*mt_aucc"),
        (lambda: roi_score(Menu(value=np.ones((2, 3)), cost=np.ones((2, 3)))), "n_treatments == 3.*marginal_roi"),
        (lambda: aucc(loss, z), "incremental value.*must be > 0.*more rows"),
        (lambda: aucc(free, z), "incremental cost.*must be > 0.*more rows"),
        (lambda: aucc(free, z, form="published"), "incremental cost"),
        (lambda: aucc(heavy, z, form="published"), "weight.*form='normalised'"),
        (lambda: mt_aucc(heavy, z[:, None], form="published"), "weight.*form='normalised'"),
        (lambda: aucc(two, z, form="best"), "form == 'best'.*'normalised', 'published'"),
        (lambda: aucc(two, z, form="published", points=0), "points == 0.*200"),
        (lambda: aucc(two, z[:5]), r"len\(score\) == 5.*60"),
        (lambda: aucc(two, z[:, None]), "score.ndim == 2"),
        (lambda: mt_aucc(many, z[:, None]), r"scores.shape == \(60, 1\).*2 steps"),
        (lambda: qini(trial(60)[0], z), "value.*0 and 1 only.*causalml"),
        (lambda: qini(flat, z), "perfect order == 0.0"),
        (lambda: auuc(flat, z), "uplift of all rows == 0.0.*qini"),
        (lambda: CostCurve(cost=[0, 1], value=[0], share=[0, 1]), r"len\(value\) == 1"),
    ]


@pytest.mark.parametrize("case", range(len(refusals())))
def test_refusals_say_what_is_wrong_and_what_to_do(case):
    call, words = refusals()[case]
    with pytest.raises(DataError, match=words):
        call()
