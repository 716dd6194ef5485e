"""Checks of a log: the level of each test on sound data, its power on spoilt data, and its wording."""

import time

import numpy as np
import pytest

from largesse._workers import Workers
from largesse.checks.past_policy import overlap_beside
from largesse.checks.soundness import (
    Finding,
    Soundness,
    balance,
    check,
    menu_bias,
    outcome_bias,
    overlap,
    sample_ratio,
)
from largesse.errors import DataError
from largesse.logs import Logs
from largesse.menu import Menu
from largesse.result import json_text


def trial(n=3000, seed=0, m=2, x=None, shares=None, **columns):
    rng = np.random.default_rng(seed)
    t = np.r_[np.arange(m), rng.choice(m, n - m, p=shares)]
    x = rng.normal(size=(n, 4)) if x is None else x
    columns = {"value": t + rng.random(n), "cost": t.astype(float), "propensity": "uniform"} | columns
    return Logs(x=x, treatment=t, treatments=["control", "low", "high", "top"][:m], **columns)


def counts(*sizes, **columns):
    t = np.repeat(np.arange(len(sizes)), sizes)
    return Logs(x=np.zeros((len(t), 1)), treatment=t, value=0.0 * t, cost=0.0 * t, **columns)


# ---- sample ratio


def test_a_real_trial_with_a_slight_mismatch_is_a_warning():
    result = sample_ratio(counts(44_700, 45_489, propensity="uniform"))
    assert result.p_value == pytest.approx(0.0086, abs=5e-5)
    assert (result.status, result.ok) == ("warn", True)
    assert "p = 0.0086" in result.sentence
    assert "planned 45,094" in result.sentence


def test_tiny_p_values_have_no_exponent():
    t = np.arange(4000) % 2
    shifted = Logs(
        x=(t + np.random.default_rng(0).normal(size=4000))[:, None], treatment=t, value=0.0 * t, cost=0.0 * t
    )
    for result in (sample_ratio(counts(6000, 5000, propensity="uniform")), balance(shifted)):
        assert result.p_value < 1e-5
        assert "p < 0.0001" in result.sentence


def test_a_gross_mismatch_fails_and_a_match_does_not():
    assert sample_ratio(counts(4000, 4600, propensity="uniform")).status == "fail"
    assert sample_ratio(counts(4000, 4050, propensity="uniform")).status == "ok"
    assert sample_ratio(counts(9000, 1000, propensity={"0": 0.9, "1": 0.1})).p_value == 1


def test_without_planned_shares_there_is_nothing_to_test_unless_asked():
    logs = counts(4000, 4600)
    result = sample_ratio(logs)
    assert (result.status, result.ok) == ("untested", True)
    sound = check(trial(propensity=None))
    assert sound.sentence == "These rows look sound. Go on. Not tested: sample ratio."
    assert sound.status == "ok"
    weights = sample_ratio(logs, planned={"0": 40, "1": 46})
    assert weights.p_value == pytest.approx(1)
    with pytest.raises(DataError, match="shares must be > 0 and sum to 1, weights must be whole numbers"):
        sample_ratio(logs, planned={"0": 4.5, "1": 4.6})
    assert result.planned is None
    assert np.isnan(result.p_value)
    assert "not given" in result.sentence
    assert sample_ratio(logs, planned="uniform").status == "fail"
    assert sample_ratio(logs, planned={"0": 40 / 86, "1": 46 / 86}).p_value == pytest.approx(1)


def test_shares_per_row_of_a_trial_must_sum_to_one():
    t = np.arange(1000) % 2
    logs = Logs(x=np.zeros((1000, 1)), treatment=t, value=t, cost=t, propensity=np.where(t == 1, 0.5, 0.7))
    result = sample_ratio(logs)
    assert result.status == "fail"
    assert "sum to 1.2" in result.sentence


def test_planned_shares_must_name_every_arm():
    with pytest.raises(DataError, match=r"one share for each"):
        sample_ratio(counts(10, 10), planned={"1": 1.0})


def test_sample_ratio_holds_its_level():
    p = [sample_ratio(trial(500, seed, m=3, x=np.zeros((500, 1)))).p_value for seed in range(400)]
    assert 0.02 <= np.mean(np.array(p) < 0.05) <= 0.08


# ---- balance


def worlds(kind, n, rng):
    if kind == "heavy":
        return np.c_[rng.standard_cauchy((n, 3)), rng.lognormal(0, 3, (n, 3)), rng.standard_t(1.5, (n, 2))]
    if kind == "mixed":  # mostly zero, correlated, one-hot, rare and constant features
        z = np.where(rng.random((n, 3)) < 0.8, 0, rng.lognormal(0, 2, (n, 3)))
        return np.c_[z, z.sum(axis=1), np.eye(4)[rng.integers(0, 4, n)], rng.random(n) < 3 / n, np.ones(n)]
    return rng.normal(size=(n, 30)) @ (np.eye(30) + 0.3)


@pytest.mark.parametrize(
    ("kind", "n", "shares"), [("heavy", 300, None), ("mixed", 600, (0.8, 0.1, 0.1)), ("wide", 400, (0.5, 0.5))]
)
def test_balance_holds_its_level_on_sound_trials(kind, n, shares):
    p = []
    for seed in range(500):
        rng = np.random.default_rng([seed, n])
        logs = trial(n, seed, m=3 if shares is None else len(shares), x=worlds(kind, n, rng), shares=shares)
        result = balance(logs)
        p.append((result.p_value, result.p_joint))
    overall, joint = np.mean(np.array(p) < 0.05, axis=0)
    assert 0.02 <= joint <= 0.08
    assert 0.015 <= overall <= 0.07  # doubling the smaller p-value costs a little


def test_one_broken_feature_among_many_is_found_and_named():
    logs = trial(4000, m=3)
    x = np.random.default_rng(5).lognormal(0, 2, (4000, 40))
    x[logs.treatment == 2, 17] *= 1.8
    broken = Logs(x=x, treatment=logs.treatment, value=logs.value, cost=logs.cost, treatments=logs.treatments)
    result = balance(broken)
    assert result.status == "fail"
    assert result.worst[0].feature == "x17"
    assert result.worst[0].treatment == "high"
    assert "'x17'" in result.sentence
    assert "Randomisation is suspicious" in result.sentence


def test_many_small_shifts_are_found_together():
    logs = trial(4000)
    x = np.random.default_rng(6).normal(size=(4000, 40)) + 0.04 * logs.treatment[:, None]
    result = balance(Logs(x=x, treatment=logs.treatment, value=logs.value, cost=logs.cost))
    assert result.p_joint < 0.001
    assert result.p_joint < result.p_features.min()


def test_imbalance_of_a_past_policy_is_no_fault():
    logs = trial(2000)
    obs = Logs(
        x=logs.x + logs.treatment[:, None], treatment=logs.treatment, value=logs.value, cost=logs.cost, design="obs"
    )
    result = balance(obs)
    assert result.status == "ok"
    assert "as expected of a past policy" in result.sentence


def test_standardised_differences_are_those_of_the_textbook():
    logs = trial(400, m=3)
    result = balance(logs)
    for j in (1, 2):
        a, b = logs.x[logs.treatment == j].astype(float), logs.x[logs.treatment == 0].astype(float)
        np.testing.assert_allclose(result.smd[j - 1], (a.mean(0) - b.mean(0)) / np.sqrt((a.var(0) + b.var(0)) / 2))


def test_balance_does_not_depend_on_row_order_or_the_scale_of_features():
    logs = trial(1000, m=3)
    rows = np.random.default_rng(0).permutation(1000)
    scaled = Logs(x=np.exp(logs.x), treatment=logs.treatment, value=logs.value, cost=logs.cost)
    first, second, third = balance(logs), balance(logs.take(rows)), balance(scaled)
    np.testing.assert_allclose(second.smd, first.smd, atol=1e-10)
    assert second.p_value == pytest.approx(first.p_value, rel=1e-8)
    assert third.p_value == pytest.approx(first.p_value, rel=1e-8)


WEIGHTS = {
    "1 or 20": lambda rng, n: np.where(rng.random(n) < 0.5, 1.0, 20.0),
    "all 2": lambda rng, n: np.full(n, 2.0),
    "all 0.1": lambda rng, n: np.full(n, 0.1),
    "log-normal": lambda rng, n: np.exp(rng.normal(size=n)),
    "of a feature": lambda rng, n: np.where(np.arange(n) % 10 == 0, 1.0, 10.0),
}


@pytest.mark.parametrize("shares", [None, (0.2, 0.5, 0.3)])
@pytest.mark.parametrize("kind", WEIGHTS)
def test_sound_trials_pass_at_any_weights(kind, shares):
    """Of 200 sound trials, a test at 1 % warns in 0 to 7 (probability above .998), and its p-values are spread evenly."""
    p = {"balance": [], "sample ratio": [], "outcome bias": []}
    for seed in range(200):
        rng = np.random.default_rng([seed, 5])
        planned = None if shares is None else dict(zip(("control", "low", "high"), shares, strict=True))
        logs = trial(800, seed, 3, shares=shares, weight=WEIGHTS[kind](rng, 800), propensity=planned or "uniform")
        past = trial(800, seed + 1000, 3, shares=shares, weight=WEIGHTS[kind](rng, 800))
        p["balance"].append(balance(logs).p_value)
        p["sample ratio"].append(sample_ratio(logs).p_value)
        p["outcome bias"].append(outcome_bias(logs, past).p_value)
    for name, values in p.items():
        assert np.mean(np.array(values) < 0.01) <= 0.035, name
        assert np.mean(np.array(values) < 0.2) <= 0.31, name
        assert name == "outcome bias" or np.mean(np.array(values) < 0.5) >= 0.2, name


@pytest.mark.parametrize("weight", [0.01, 3.0, 1000.0])
def test_weights_that_are_all_alike_change_nothing(weight):
    plain, weighted = trial(700, m=3), trial(700, m=3, weight=np.full(700, weight))
    past, past_weighted = (
        trial(900, 1, m=3, design="obs"),
        trial(900, 1, m=3, design="obs", weight=np.full(900, weight)),
    )
    for test in (balance, sample_ratio, lambda got: outcome_bias(got, past), lambda got: outcome_bias(past, got)):
        assert test(weighted).p_value == pytest.approx(test(plain).p_value, rel=1e-8)
        assert test(weighted).sentence == test(plain).sentence
    np.testing.assert_allclose(overlap(past_weighted).ess, overlap(past).ess, rtol=0.05)
    assert overlap(past_weighted).ess_share.max() <= 1 + 1e-9
    rows = np.random.default_rng(0).uniform(0.2, 0.8, 900)
    given = {"propensity": rows, "design": "obs"}
    known = [overlap(trial(900, 1, m=3, **given, **more)).z_known for more in ({}, {"weight": np.full(900, weight)})]
    np.testing.assert_allclose(*known)


@pytest.mark.parametrize("kind", WEIGHTS)
def test_a_broken_trial_fails_at_any_weights(kind):
    n = 6000
    rng = np.random.default_rng(3)
    weight = WEIGHTS[kind](rng, n)
    lost = trial(n, m=2, shares=(0.35, 0.65), weight=weight)
    assert sample_ratio(lost).status == "fail"
    x = rng.normal(size=(n, 4))
    shifted = trial(n, m=2, x=x, weight=weight)
    x[shifted.treatment == 1, 2] += 0.5
    assert balance(trial(n, m=2, x=x, weight=weight)).status == "fail"
    assert balance(trial(n, m=2, x=x, weight=weight)).worst[0].feature == shifted.features[2]


def test_a_weighted_sample_ratio_by_hand():
    weight = np.array([1.0, 1, 1, 4, 4, 4, 4, 1, 1, 1])
    logs = counts(4, 6, propensity="uniform", weight=weight)
    result = sample_ratio(logs)
    first, total = weight[:4].sum(), weight.sum()
    assert result.chi2 == pytest.approx((first - total / 2) ** 2 / (np.square(weight).sum() / 4))
    np.testing.assert_allclose(result.observed, [first / total * 10, 10 - first / total * 10])


def test_degenerate_features_neither_warn_nor_fail():
    constant = balance(trial(300, x=np.full((300, 2), 0.1)))
    assert (constant.p_value, constant.status) == (1, "ok")
    assert (constant.smd == 0).all()
    assert balance(trial(20, x=np.random.default_rng(0).normal(size=(20, 50)))).p_joint == 1


def test_a_feature_that_is_the_arm_is_infinitely_far():
    logs = trial(1000)
    result = balance(Logs(x=logs.treatment[:, None], treatment=logs.treatment, value=logs.value, cost=logs.cost))
    assert result.smd.tolist() == [[np.inf]]
    assert (result.p_joint, result.status) == (0, "fail")


def test_large_logs_are_sampled_with_a_seed():
    logs = trial(3000)
    assert balance(logs, rows=500, seed=1).p_value == balance(logs, rows=500, seed=1).p_value
    assert balance(logs, rows=500, seed=1).p_value != balance(logs, rows=500, seed=2).p_value


# ---- overlap


def policy(strength, n=4000, seed=0, known=False, wrong=1.0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3))
    p = np.exp(strength * x)
    p /= p.sum(axis=1, keepdims=True)
    t = (rng.random(n)[:, None] > np.cumsum(p, axis=1)).sum(axis=1).clip(0, 2)
    chance = np.clip(p[np.arange(n), t] ** wrong, 1e-9, 1)
    return Logs(x=x, treatment=t, value=rng.random(n), cost=1.0 * t, design="obs", propensity=chance if known else None)


def test_overlap_tells_chance_from_rules():
    random, mild, strict = (overlap(policy(s)) for s in (0, 0.7, 8))
    assert abs(random.auc - 0.5) < 0.03
    assert abs(random.pseudo_r2) < 0.02
    assert random.status == mild.status == "ok"
    assert random.auc < mild.auc < strict.auc
    assert random.ess_share.min() > 0.9
    assert strict.status == "warn"
    assert "trial" in strict.sentence
    assert random.rare_share == 0 < strict.rare_share


def test_right_propensities_pass_and_wrong_ones_fail():
    z = np.array([overlap_z(seed) for seed in range(200)])
    assert abs(z.mean()) < 0.15
    assert 0.85 < z.std() < 1.15
    result = overlap(policy(0.7, known=True, wrong=0.8))
    assert result.status == "fail"
    assert "propensities are wrong" in result.sentence
    assert np.isnan(overlap(policy(0.7)).p_known)


def overlap_z(seed):

    return policy(0.7, n=2000, seed=seed, known=True).propensity_excess


def test_overlap_is_reproducible_and_needs_rows():
    logs = policy(1.0)
    assert overlap(logs, rows=1000).auc == overlap(logs, rows=1000).auc
    rct, logs = trial(3000, m=3), policy_like(3000)
    with Workers(2) as workers:
        for one in workers.ready:
            one.result()
        taken = overlap_beside(logs, workers, rows=1000)
        time.sleep(0.5)  # it is fitted there, not here
        assert json_text(taken().to_dict()) == json_text(overlap(logs, rows=1000).to_dict())
        assert json_text(check(rct, logs, workers=workers).to_dict()) == json_text(check(rct, logs).to_dict())
    with pytest.raises(DataError, match=r"rows of treatment '1' == 5.*at least 20.*leave the arm out"):
        overlap(counts(100, 5, design="obs"))


# ---- outcome bias


def test_outcome_bias_holds_its_level_and_finds_the_lying_arm():
    p = [outcome_bias(trial(400, s, m=3), trial(400, s + 10_000, m=3)).p_value for s in range(300)]
    assert np.mean(np.array(p) < 0.05) <= 0.08
    rct, obs = trial(4000, m=3), trial(4000, 1, m=3)
    lie = Logs(
        x=obs.x, treatment=obs.treatment, value=obs.value + 0.2 * (obs.treatment == 1), cost=obs.cost,
        treatments=obs.treatments, design="obs",
    )  # fmt: skip
    result = outcome_bias(rct, lie)
    assert result.status == "warn"
    assert result.value[1] == pytest.approx(0.2, abs=0.03)
    assert "mean value of 'low' is +0." in result.sentence


def test_outcome_bias_is_the_difference_of_means():
    rct, obs = trial(500, 1, m=3), trial(700, 2, m=3)
    result, shuffled = outcome_bias(rct, obs), outcome_bias(rct, obs.take(np.arange(700)[::-1]))
    for j in range(3):
        a, b = rct.value[rct.treatment == j], obs.value[obs.treatment == j]
        assert result.value[j] == pytest.approx(b.mean() - a.mean())
        assert result.value_standard_error[j] == pytest.approx(np.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b)))
    np.testing.assert_allclose(shuffled.value_z, result.value_z, rtol=1e-8)
    assert (result.cost_z == 0).all()  # cost is the arm's number in both


def test_constant_costs_that_differ_are_infinitely_far():
    a, b = trial(100), trial(100, 1)
    b = Logs(x=b.x, treatment=b.treatment, value=b.value, cost=2 * b.cost, treatments=b.treatments, design="obs")
    result = outcome_bias(a, b)
    assert result.cost_z[1] == np.inf
    assert result.status == "fail"


def test_logs_of_different_treatments_are_refused():
    with pytest.raises(DataError, match=r"obs.treatments.*must equal the trial's"):
        outcome_bias(trial(100), trial(100, m=3))


# ---- bias of a menu


def test_the_bias_of_a_menu_is_unbiased_and_its_error_right():
    """Trials with propensities that depend on the unit; the menu promises .3 and .1 too much, more where x is high."""
    off, found = np.array([0.3, 0.1]), []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=600)
        p = 1 / (1 + np.exp(-x))
        t = (rng.random(600) < p).astype(int)
        mean = np.column_stack([np.sin(x), np.sin(x) + x])
        rct = Logs(
            x=x[:, None], treatment=t, value=mean[np.arange(600), t] + rng.normal(size=600), cost=2.0 * t,
            propensity=np.where(t == 1, p, 1 - p), design="obs",
        )  # fmt: skip
        promised = mean + off * (1 + np.tanh(x))[:, None]
        got = menu_bias(rct, Menu(value=promised, cost=np.tile([0.0, 1.5], (600, 1))))
        found.append((got.value, got.value_standard_error))
    mean, error = np.array(found).transpose(1, 0, 2)
    assert (np.abs(mean.mean(0) - off) < 3 * mean.std(0) / 20).all()
    np.testing.assert_allclose(error.mean(0), mean.std(0), rtol=0.12)
    inside = (np.abs(mean - off) < 1.96 * error).mean(0)
    assert ((inside > 0.91) & (inside < 0.98)).all()
    np.testing.assert_allclose((got.cost, got.cost_standard_error), [[0, -0.5], [0, 0]], atol=1e-12)


def test_the_bias_of_an_arm_without_rows_is_unknown_and_a_menu_of_other_rows_is_refused():
    rct = counts(3, 0, 2, propensity="uniform", design="obs")
    got = menu_bias(rct, Menu(value=np.ones((5, 3)), cost=np.ones((5, 3))))
    np.testing.assert_array_equal(got.value, [1, np.nan, 1])
    assert np.isnan(got.cost_standard_error[1])
    with pytest.raises(DataError, match=r"menu.value.shape == \(4, 3\).*trial"):
        menu_bias(rct, Menu(value=np.ones((4, 3)), cost=np.ones((4, 3))))


# ---- everything


def status(soundness):
    return {f.name: f.status for f in soundness}


def test_a_sound_trial_is_sound():
    result = check(trial(6000, m=3, unit=np.arange(6000), timestamp=np.arange(6000)), policy_like(6000))
    assert set(status(result).values()) == {"ok"}, status(result)
    assert result.ok
    assert result.sentence == "These rows look sound. Go on."


def policy_like(n):
    logs = trial(n, 9, m=3)
    return Logs(
        x=logs.x, treatment=logs.treatment, value=logs.value, cost=logs.cost, treatments=logs.treatments, design="obs"
    )


def spoilt():
    n = 6000
    base = trial(n)
    t, x = base.treatment, base.x
    tail = np.where(np.arange(n) % 1000 == 0, 1e5, 1.0)
    day = np.datetime64("2024-01-01") + np.arange(n)
    return {
        "post-treatment features": (
            trial(n, x=np.c_[x, t + 0.1 * x[:, 0]]), "fail", "'x4' looks post-treatment.*Drop what was recorded after",
        ),
        "sample ratio": (trial(n, shares=(0.45, 0.55)), "fail", "contradict the planned shares"),
        "balance": (trial(n, x=np.c_[x, x[:, 0] + 0.3 * t]), "fail", "check the assignment"),
        "arm sizes": (trial(1500), "warn", "imprecise"),
        "outcome rates": (trial(n, value=(np.arange(n) % 200 == 0)), "warn", "Use an outcome that occurs more often"),
        "heavy tail": (trial(n, value=tail), "warn", "top 0.1 % of rows make up 9.*revenue outcome family"),
        "repeated units": (trial(n, unit=np.arange(n) // 2), "fail", "are in several arms"),
        "timing of arms": (trial(n, timestamp=np.arange(n) + n * t), "warn", "different times: only 0%.*common period"),
        "timing of arms ": (trial(n, timestamp=day + (n * t).astype("m8[D]")), "warn", "different times"),
    }  # fmt: skip


@pytest.mark.parametrize("name", spoilt())
def test_each_trap_is_named_with_the_next_step(name):
    import re

    logs, want, words = spoilt()[name]
    finding = check(logs)[name.strip()]
    assert finding.status == want
    assert re.search(words, finding.sentence), finding.sentence


def test_rows_that_repeat_a_unit_within_its_arm_are_a_warning():
    logs = trial(2000)
    rows = np.r_[np.arange(2000), np.arange(50)]
    twice = Logs(
        x=logs.x[rows], treatment=logs.treatment[rows], value=logs.value[rows], cost=logs.cost[rows], unit=rows
    )
    finding = check(twice)["repeated units"]
    assert finding.status == "ok"
    assert finding.sentence.startswith("50 rows repeat a unit")
    assert "as they must" in finding.sentence


def test_tiny_arms_fail_and_tiny_observational_arms_are_not_judged():
    obs = counts(3000, 5, design="obs")
    result = check(counts(3000, 50), obs)
    assert result["arm sizes"].status == "fail"
    assert result["overlap"].status == "warn"
    assert "5 rows only" in result["overlap"].sentence
    assert result.sentence.startswith("Do not rely on these rows yet. Explain first: arm sizes")


def test_strings_and_missing_times_are_passed_over():
    t = np.arange(2000) % 2
    for times in (np.array(["a", "b"])[t], np.where(t == 1, np.nan, 1.0)):
        logs = Logs(x=np.zeros((2000, 1)), treatment=t, value=1.0 * t, cost=t, timestamp=times)
        assert "timing of arms" not in status(check(logs))


def test_the_verdict_follows_the_worst_finding():
    ok, warn = (Finding(name=s, status=s, sentence="") for s in ("ok", "warn"))
    assert Soundness(findings=(ok, warn)).sentence == "These rows can be used with care. Look at: warn."
    assert Soundness(findings=()).status == "ok"
    with pytest.raises(KeyError, match=r"no finding 'x'; there are: ok, warn"):
        Soundness(findings=(ok, warn))["x"]


def test_every_finding_says_what_to_do_next():
    for finding in check(trial(500, m=3, unit=np.arange(500)), policy_like(500)):
        assert finding.sentence.endswith(".")
        assert len(finding.sentence.split(". ")) >= 2, finding


def test_the_arm_with_fewest_responses_is_named():
    n = 4000
    t = np.arange(n) % 2
    rare = np.where(t == 0, np.arange(n) % 200 == 0, np.arange(n) % 3 == 0) * 1.0  # control: 20 rows; treated: 666
    logs = Logs(
        x=np.zeros((n, 1)), treatment=t, value=rare, cost=t, treatments=("control", "coupon"), propensity="uniform"
    )
    found = check(logs)["outcome rates"]
    assert found.status == "warn"
    assert "'control' has only 20 such rows" in found.sentence


def test_sentences_name_the_arm_that_they_are_about():
    n = 4000
    t = (np.arange(n) % 10 == 0) * 1 + (np.arange(n) % 4 == 1) * 2
    t = np.minimum(t, 2)  # about 2,600 control, 400 small, 1,000 late
    time = np.where(t == 2, 10_000 + np.arange(n), np.arange(n))
    logs = Logs(
        x=np.zeros((n, 1)), treatment=t, value=np.ones(n), cost=t, treatments=("control", "small", "late"), timestamp=time,
        propensity="uniform",
    )  # fmt: skip
    found = check(logs)
    assert f"The smallest arm, 'small', has {int((t == 1).sum()):,} rows" in found["arm sizes"].sentence
    assert found["timing of arms"].sentence.startswith("'late' and control ran at different times")
    seldom = np.where(np.arange(n) < 5, 1, np.where(np.arange(n) % 2, 0, 2))
    past = Logs(
        x=np.zeros((n, 1)), treatment=seldom, value=np.ones(n), cost=seldom, treatments=logs.treatments, design="obs"
    )
    assert "gave 'small' to 5 rows only" in check(logs, past)["overlap"].sentence
