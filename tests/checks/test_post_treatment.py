"""Features that depend on the arm are detected, those that do not are not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from largesse.checks.post_treatment import arm_dependence
from largesse.commands.findings.suspects import named_after
from largesse.logs import Logs


def logs(columns: list[np.ndarray], arm: np.ndarray, **more: object) -> Logs:
    nothing = np.zeros(len(arm))
    return Logs(x=np.column_stack(columns), treatment=arm, value=nothing, cost=nothing, **more)


def test_a_binary_feature_gets_the_p_value_of_its_two_by_two_table() -> None:
    rng = np.random.default_rng(1)
    arm = rng.integers(0, 2, 2000)
    rare = (rng.random(2000) < 0.03 + 0.03 * arm).astype(float)
    table = [[np.sum((rare == a) & (arm == b)) for b in (0, 1)] for a in (0, 1)]
    assert arm_dependence(logs([rare], arm))[0] == pytest.approx(stats.chi2_contingency(table, correction=False).pvalue)


@pytest.mark.parametrize("mostly", [0.0, 1.0])
def test_a_feature_with_one_frequent_value_is_tested(mostly: float) -> None:
    arm = np.arange(4000) % 2
    column = np.full(4000, mostly)
    column[:200] = np.where(arm[:200] == 1, 1 - mostly, mostly)
    assert arm_dependence(logs([column], arm))[0] < 1e-6


def test_a_spread_that_depends_on_the_arm_is_seen_and_p_values_count_all_features() -> None:
    rng = np.random.default_rng(2)
    arm = np.arange(3000) % 3
    p = arm_dependence(logs([rng.normal(size=3000), rng.normal(size=3000) * (1 + (arm == 2))], arm))
    assert p[0] > 0.001 > p[1]


def test_few_false_alarms_without_dependence() -> None:
    rng = np.random.default_rng(3)
    p = [arm_dependence(logs([rng.normal(size=500)], rng.integers(0, 2, 500)))[0] for _ in range(400)]
    assert 0.02 < np.mean(np.array(p) < 0.05) < 0.09


def test_clusters_count_once_and_given_propensities_are_not_tested() -> None:
    rng = np.random.default_rng(4)
    arm = np.repeat(rng.integers(0, 2, 40), 50)
    shop = np.repeat(rng.normal(size=40), 50)  # the same in a shop: 40 numbers, not 2,000
    assert arm_dependence(logs([shop], arm, cluster=np.repeat(np.arange(40), 50)))[0] > 0.001
    p = np.where(arm == 1, 0.4, 0.6)
    assert arm_dependence(logs([arm.astype(float)], arm, propensity=p, design="obs"))[0] == 1


def test_a_constant_feature_is_not_tested() -> None:
    assert arm_dependence(logs([np.ones(100), np.arange(100.0)], np.arange(100) % 2))[0] == 1


@pytest.mark.parametrize(
    ("name", "after"),
    [("coupon_redeemed", True), ("ordersAfter", True), ("post_visits", True), ("Clicked", True), ("clicks_before", False),
     ("postcode", False), ("user_age", False), ("days_since_last_click", False)],
)  # fmt: skip
def test_names(name: str, after: bool) -> None:
    assert named_after(name) is after
