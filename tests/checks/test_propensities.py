"""Propensities given by row: right ones pass and wrong ones do not; balance is judged given the design."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from largesse import Menu, compare, outcome_curve
from largesse.checks import balance, check
from largesse.checks.propensities import propensities
from largesse.errors import DataError
from largesse.logs import Logs

N = 3000


def chances(kind: str, x: Any) -> Any:
    """The probability of every treatment for every unit, (N, M)."""
    first = np.where(x[:, 0] > 0, 1.0, 0.0)[:, None]
    score = np.column_stack([0 * x[:, 1], x[:, 1], x[:, 0] - x[:, 1]])
    soft = np.exp(score) / np.exp(score).sum(axis=1, keepdims=True)
    return {
        "10 % and 50 %": first * [0.9, 0.1] + (1 - first) * [0.5, 0.5],
        "three arms by stratum": first * [0.2, 0.2, 0.6] + (1 - first) * [0.5, 0.4, 0.1],
        "a bandit": 0.7 * soft + 0.3 / 3,
        "equal": np.full((len(x), 4), 0.25),
    }[kind]


KINDS = ("10 % and 50 %", "three arms by stratum", "a bandit", "equal")


def logs_of(kind: str, seed: int, n: int = N, **change: Any) -> Logs:
    rng = np.random.default_rng([seed, 3])
    x = rng.normal(size=(n, 4))
    p = chances(kind, x)
    t = (p.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    rows: dict[str, Any] = {
        "x": x, "treatment": t, "value": x[:, 0] + 0.5 * t + rng.gamma(2, 1, n), "cost": 1.0 * t,
        "propensity": p[np.arange(n), t], "treatments": ("none", "a", "b", "c")[: p.shape[1]], "design": "obs",
    }  # fmt: skip
    return Logs(**(rows | change))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_right_propensities_and_features_that_drive_them_pass(kind: str, weighted: bool) -> None:
    given, features = [], []
    for seed in range(150):
        weight = np.random.default_rng(seed).choice([1.0, 8.0], 1200) if weighted else None
        logs = logs_of(kind, seed, 1200, weight=weight)
        result = propensities(logs)
        assert result is not None
        given.append(result.p_value)
        features.append(balance(logs).p_value)
    for p in (np.array(given), np.array(features)):
        assert (p < 0.01).mean() <= 0.04
        assert (p < 0.2).mean() <= 0.31
    assert np.median(given) > 0.2


@pytest.mark.parametrize("kind", KINDS[:3])
def test_all_checks_accept_a_sound_design(kind: str) -> None:
    sound = check(logs_of(kind, 1, 6000))
    assert sound.ok, sound
    assert [f.name for f in sound][:3] == ["propensities", "balance", "post-treatment features"]
    assert np.abs(balance(logs_of(kind, 1, 6000)).smd).max() < 0.25


def wrong(kind: str) -> Any:
    right = logs_of("10 % and 50 %", 0)
    treated = np.where(right.x[:, 0] > 0, 0.1, 0.5)
    return {
        "of being treated": treated,
        "all 1": np.ones(N),
        "halved": right.propensity / 2,  # type: ignore[operator]
        "of the other arm": 1 - right.propensity,  # type: ignore[operator]
        "uniform": np.full(N, 0.5),
    }[kind]


@pytest.mark.parametrize("kind", ["of being treated", "all 1", "halved", "of the other arm", "uniform"])
def test_wrong_propensities_are_found(kind: str) -> None:
    logs = logs_of("10 % and 50 %", 0, propensity=wrong(kind))
    result = propensities(logs)
    assert result is not None
    assert result.status == "fail"
    assert "Each row needs the probability of the treatment that it got, not of being treated" in result.sentence
    assert "inf" not in result.sentence
    sound = check(logs)
    assert not sound.ok
    assert "power" not in [f.name for f in sound]
    menu = Menu(value=np.zeros((N, 2)), cost=np.tile([0.0, 1.0], (N, 1)), treatments=logs.treatments)
    for judge in (lambda: outcome_curve(logs, menu), lambda: compare(logs, {"m": menu}, [0.5])):
        with pytest.raises(DataError, match=r"propensity: over the rows of .* must be about 1"):
            judge()


def test_a_treatment_that_some_units_cannot_get_is_found() -> None:
    rng = np.random.default_rng(7)
    may = np.column_stack([np.ones(N, bool), rng.random(N) < 0.75, rng.random(N) < 0.5])
    p = may / may.sum(axis=1, keepdims=True)
    t = (p.cumsum(axis=1) > rng.random((N, 1))).argmax(axis=1)
    logs = Logs(x=rng.normal(size=(N, 2)), treatment=t, value=1.0 * t, cost=1.0 * t, propensity=p[np.arange(N), t],
                treatments=("0", "5", "10"), design="obs")  # fmt: skip
    result = propensities(logs)
    assert result is not None
    np.testing.assert_allclose(result.share, [1, 0.75, 0.5], atol=0.06)
    assert "over the rows of '10', Σ 1/p is 0.5" in result.sentence
    assert "every unit a chance of every treatment" in result.sentence


def test_a_treatment_that_nobody_got_has_no_value() -> None:
    logs = logs_of("10 % and 50 %", 0, treatments=("none", "a", "never"))
    assert logs.propensity_excess[2] == -np.inf
    menu = Menu(value=np.zeros((N, 3)), cost=np.zeros((N, 3)), treatments=logs.treatments)
    with pytest.raises(DataError, match="over the rows of 'never', Σ 1/p is 0 times"):
        compare(logs, {"m": menu}, [0.5])


def test_a_feature_that_the_arm_has_changed_is_found_given_the_design() -> None:
    logs = logs_of("a bandit", 2)
    x = logs.x + 0.3 * np.outer(logs.treatment == 2, [0, 0, 1, 0])
    result = balance(logs_of("a bandit", 2, x=x))
    assert result.status == "fail"
    assert result.worst[0].feature == "x2"
    assert "than chance and the given probabilities explain" in result.sentence.replace("propensities", "probabilities")


def test_shares_by_arm_are_the_sample_ratios_to_test() -> None:
    t = np.arange(N) % 2
    logs = Logs(x=np.zeros((N, 1)), treatment=t, value=t, cost=t, propensity=np.full(N, 0.5))
    assert propensities(logs) is None
    assert next(iter(check(logs))).name == "sample ratio"
