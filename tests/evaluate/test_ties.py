"""Scores and prices that differ by rounding alone are ties, wherever units are ranked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from largesse import Logs, Menu, outcome_curve
from largesse.evaluate import aucc, auuc, cost_curve, mt_aucc, qini
from largesse.evaluate.ties import differ, joined
from largesse.evaluate.truth import attainable_gain, true_aucc

N = 400


def trial(m: int = 2) -> Logs:
    rng = np.random.default_rng(0)
    t = np.arange(N) % m
    value = (rng.random(N) < 0.3 + 0.3 * (t > 0)).astype(float)
    return Logs(x=np.zeros((N, 1)), treatment=t, value=value, cost=1.0 * t * (0.5 + value), propensity="uniform")


def rounded(score: Any, seed: int) -> Any:
    """The same scores as another formula would compute them."""
    return score * (1 + np.random.default_rng(seed).integers(-4, 5, np.shape(score)) * 2.0**-52)


SCORE = np.random.default_rng(1).integers(1, 9, N) / 10.0
TRUTH = Menu(value=np.column_stack([np.zeros(N), SCORE**2]), cost=np.tile([0.0, 1.0], (N, 1)))
RANKED: dict[str, Any] = {
    "aucc": lambda score: aucc(trial(), score),
    "aucc as published": lambda score: aucc(trial(), score, form="published"),
    "qini": lambda score: qini(trial(), score),
    "auuc": lambda score: auuc(trial(), score),
    "cost curve": lambda score: cost_curve(trial(), score).area,
    "mt_aucc": lambda score: mt_aucc(trial(3), np.column_stack([score, score[::-1]])),
    "true aucc": lambda score: true_aucc(score, TRUTH),
}  # fmt: skip


@pytest.mark.parametrize("kind", RANKED)
def test_rankings_do_not_depend_on_rounding(kind: str) -> None:
    exact = RANKED[kind](SCORE)
    assert not np.array_equal(rounded(SCORE, 0), SCORE)
    for seed in range(5):
        assert RANKED[kind](rounded(SCORE, seed)) == pytest.approx(exact, rel=1e-13), seed


@pytest.mark.parametrize("estimator", ["ht", "sn"])
def test_curves_do_not_depend_on_rounding(estimator: Any) -> None:
    logs = trial()
    menus = [
        Menu(value=np.column_stack([np.zeros(N), score]), cost=np.tile([0.0, 0.1], (N, 1)))
        for score in (SCORE, rounded(SCORE, 3))
    ]
    exact, other = (outcome_curve(logs, menu, estimator=estimator) for menu in menus)
    assert len(exact.price) == len(other.price) == 9
    np.testing.assert_allclose(other.value, exact.value, rtol=1e-12)
    np.testing.assert_allclose(other.cost, exact.cost, rtol=1e-12)
    truth = Menu(value=np.column_stack([np.zeros(N), SCORE[::-1]]), cost=np.tile([0.0, 0.1], (N, 1)))
    budgets = np.array([0.02, 0.05])
    gains = [attainable_gain(menu, truth, budgets) for menu in menus]
    np.testing.assert_allclose(gains[0], gains[1], rtol=1e-10)


def test_what_differs_by_more_than_rounding_is_no_tie() -> None:
    assert differ(np.array([1.0, 1 + 1e-11, 1 + 1.05e-11])).tolist() == [True, False]
    assert differ(np.array([np.inf, np.inf, 1.0, 0.0, 0.0, -np.inf])).tolist() == [False, True, True, False, True]
    assert differ(np.array([1e-300, 3e-300])).tolist() == [True]
    assert differ(np.zeros(1)).tolist() == []
    score = np.array([3.0, 1.0, np.nextafter(3.0, 0), 2.0])
    np.testing.assert_array_equal(joined(score), [3.0, 1.0, 3.0, 2.0])
