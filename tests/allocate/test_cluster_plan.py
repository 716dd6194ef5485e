"""Programmes over clusters: against enumeration of all plans, in simulated periods, and nested over the budgets."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from scipy.special import ndtri

from largesse.allocate import (
    Chance,
    ClusterCells,
    ClusterPlan,
    Expected,
    Tail,
    cluster_core,
    cluster_plan,
    cluster_programme,
    frontier,
    plan_clusters,
)
from largesse.allocate.cluster_core import better
from largesse.errors import DataError, InfeasibleBudget
from largesse.menu import Menu, Status

K, M = 6, 3


def cells(seed: int = 0, k: int = K, m: int = M, *, control: float = 0.0) -> ClusterCells:
    rng = np.random.default_rng(seed)
    cost = np.sort(rng.gamma(2.0, 1.0, (k, m)), 1)
    cost[:, 0] = control
    error, spread = np.zeros((2, k, m, 2, 2))
    error[..., 0, 0], error[..., 1, 1] = 0.04, (0.2 * cost * rng.uniform(0.3, 2, (k, m))) ** 2
    error[..., 0, 1] = error[..., 1, 0] = 0.5 * np.sqrt(error[..., 0, 0] * error[..., 1, 1])
    spread[..., 0, 0], spread[..., 1, 1] = 1.0, cost**2
    value = np.sort(rng.gamma(2.0, 1.0, (k, m)), 1) * rng.random((k, 1))
    return ClusterCells(size=rng.integers(50, 500, k), value=value, cost=cost, covariance=error, spread=spread)


def full(estimates: ClusterCells) -> float:
    return float((estimates.size * estimates.cost[:, -1]).sum())


def charge(estimates: ClusterCells, plan: Any, risk: Any) -> float:
    """The charge of a plan, computed independently of the library."""
    k = np.arange(len(estimates.size))
    mean = float((estimates.size * estimates.cost[k, plan]).sum())
    if isinstance(risk, Tail):
        cost = estimates.draw(risk.draws, risk.seed)[1] if risk.cost is None else risk.cost * estimates.size[:, None]
        spend = np.sort(cost[:, k, plan].sum(1))
        worst = round(risk.share * len(spend))
        return float(spend[-worst:].mean())
    sd = np.sqrt(
        (
            estimates.size**2 * estimates.covariance[k, plan, 1, 1] + estimates.size * estimates.spread[k, plan, 1, 1]
        ).sum()
    )
    return mean + (ndtri(1 - risk.epsilon) * sd if isinstance(risk, Chance) else 0.0)


def every_plan(estimates: ClusterCells, risk: Any) -> tuple[np.ndarray, np.ndarray]:
    plans = [np.array(p) for p in product(range(estimates.value.shape[1]), repeat=len(estimates.size))]
    k = np.arange(len(estimates.size))
    value = np.array([(estimates.size * estimates.value[k, p]).sum() for p in plans])
    return value, np.array([charge(estimates, p, risk) for p in plans])


RISKS = (Expected(), Chance(0.05), Chance(0.3), Tail(0.1, draws=40), Tail(0.25, draws=20, seed=3))


@pytest.mark.parametrize("risk", RISKS, ids=repr)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_plan_within_the_budget_is_worth_more(risk: Any, seed: int):
    estimates = cells(seed)
    value, charged = every_plan(estimates, risk)
    budgets = np.array([0.1, 0.35, 0.6, 0.9]) * full(estimates)
    for plan in plan_clusters(estimates, budgets, risk=risk, nested=False):
        best = value[charged <= plan.budget].max()
        stake = (estimates.size * (estimates.value.max(1) - estimates.value.min(1))).sum()
        assert best - 1e-6 * stake <= plan.value <= best * (1 + 1e-12)
        assert plan.bound >= best * (1 - 1e-9)
        assert plan.status is Status.OPTIMAL
        assert plan.charged == pytest.approx(charge(estimates, plan.treatment, risk), rel=1e-9)
        assert plan.charged <= plan.budget


@pytest.mark.parametrize("risk", RISKS, ids=repr)
def test_nested_plans_are_the_best_that_spend_nowhere_less(risk: Any):
    estimates, rows = cells(4), np.arange(K)
    plans = [np.array(p) for p in product(range(M), repeat=K)]
    value, charged = every_plan(estimates, risk)
    before = np.zeros(K)
    nested = plan_clusters(estimates, np.linspace(0.1, 1.1, 9) * full(estimates), risk=risk)
    for plan in nested:
        fits = np.array([(estimates.cost[rows, p] >= before).all() for p in plans]) & (charged <= plan.budget)
        assert plan.value == pytest.approx(value[fits].max(), rel=1e-6)
        before = estimates.cost[rows, plan.treatment]
    assert nested[0].spend < nested[-1].spend


def test_plans_come_in_the_order_of_the_budgets():
    estimates = cells()
    up = plan_clusters(estimates, [100.0, 900.0, 400.0], risk=Chance())
    assert [plan.budget for plan in up] == [100.0, 900.0, 400.0]
    assert up[0].value < up[2].value < up[1].value


def overspent(estimates: ClusterCells, plan: ClusterPlan, periods: int = 1000) -> float:
    """The share of simulated periods, each with its own true means, in which the spend of a plan exceeds the budget."""
    k, rng = np.arange(len(estimates.size)), np.random.default_rng(9)
    mean = estimates.cost[k, plan.treatment] + rng.normal(size=(periods, len(k))) * np.sqrt(
        estimates.covariance[k, plan.treatment, 1, 1]
    )
    noise = rng.normal(size=mean.shape) * np.sqrt(estimates.spread[k, plan.treatment, 1, 1] / estimates.size)
    return float((((mean + noise) * estimates.size).sum(1) > plan.budget).mean())


@pytest.mark.parametrize("epsilon", [0.05, 0.1])
def test_the_chance_of_overspending_is_kept_where_the_expected_spend_is_not(epsilon: float):
    estimates = cells(5, 30, 4)
    budget = [0.4 * full(estimates)]
    (surely,), (plain,) = (plan_clusters(estimates, budget, risk=risk) for risk in (Chance(epsilon), Expected()))
    assert surely.overspends <= epsilon
    assert overspent(estimates, surely) <= epsilon + 0.02
    assert 0.4 < overspent(estimates, plain) < 0.6
    assert plain.value > surely.value


def test_the_worst_scenarios_are_paid_for():
    estimates = cells(6)
    scenarios = np.repeat(estimates.cost[None], 10, 0)
    scenarios[0, :, 2] *= 3.0  # one of ten: the dearest treatment costs three times as much
    budget = [0.7 * full(estimates)]
    (plan,) = plan_clusters(estimates, budget, risk=Tail(0.1, cost=scenarios))
    (mean,) = plan_clusters(estimates, budget, risk=Tail(1.0, cost=scenarios))
    k = np.arange(K)
    worst = (estimates.size * scenarios[0, k, plan.treatment]).sum()
    assert worst <= budget[0] < (estimates.size * scenarios[0, k, mean.treatment]).sum()


def test_one_cluster_is_split_to_spend_the_budget_exactly():
    estimates = cells(7)
    lp = frontier(Menu(value=estimates.size[:, None] * estimates.value, cost=estimates.size[:, None] * estimates.cost))
    budgets = np.array([0.15, 0.4, 0.8]) * full(estimates)
    for plan, whole in zip(
        plan_clusters(estimates, budgets, split=True), plan_clusters(estimates, budgets, nested=False), strict=True
    ):
        assert plan.value == pytest.approx(lp.value_at(plan.budget))
        assert plan.value >= whole.value
        assert plan.spend == plan.budget
        assert plan.split is not None
        c, j, share = plan.split
        assert 0 < share < 1
        mixed = estimates.size * estimates.cost[np.arange(K), plan.treatment]
        mixed[c] += share * estimates.size[c] * (estimates.cost[c, j] - estimates.cost[c, plan.treatment[c]])
        assert mixed.sum() == pytest.approx(plan.budget)
    (rich,) = plan_clusters(estimates, [2 * full(estimates)], split=True)
    assert rich.split is None


def test_a_budget_that_spends_to_the_cent_is_used():
    estimates = ClusterCells(size=[10, 20, 30], value=[[0.0, 1.0], [0.0, 1.1], [0.0, 1.2]], cost=[[0.0, 0.1]] * 3)
    plans = plan_clusters(estimates, [3.0, 5.0, 6.0], nested=False)
    assert [plan.treatment.tolist() for plan in plans] == [[0, 0, 1], [0, 1, 1], [1, 1, 1]]
    assert [plan.overspends for plan in plans] == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("risk", RISKS, ids=repr)
def test_a_budget_below_the_cheapest_plan_is_refused(risk: Any):
    estimates = cells(8, control=0.5)
    least = every_plan(estimates, risk)[1].min()
    with pytest.raises(InfeasibleBudget) as refused:
        plan_clusters(estimates, [0.9 * least], risk=risk)
    assert refused.value.cheapest == pytest.approx(least)
    assert plan_clusters(estimates, [1.001 * least], risk=risk)[0].charged <= 1.001 * least


def test_money_in_other_units_gives_the_same_plans():
    estimates = cells(9)
    scale = np.array([[1.0, 1e4], [1e4, 1e8]])
    other = ClusterCells(
        size=estimates.size,
        value=estimates.value,
        cost=1e4 * estimates.cost,
        covariance=scale * estimates.covariance,
        spread=scale * estimates.spread,
    )
    budgets = np.array([0.2, 0.5]) * full(estimates)
    for a, b in zip(
        plan_clusters(estimates, budgets, risk=Chance()),
        plan_clusters(other, 1e4 * budgets, risk=Chance()),
        strict=True,
    ):
        assert a.treatment.tolist() == b.treatment.tolist()


def test_scenarios_have_the_moments_of_the_cells():
    estimates = cells(1)
    value, cost = estimates.draw(20_000, seed=1)
    np.testing.assert_allclose(cost.mean(0), estimates.size[:, None] * estimates.cost, atol=1e-9)
    both = np.stack([value, cost], -1) - np.stack([value, cost], -1).mean(0)
    covariance = np.einsum("skma,skmb->kmab", both, both) / len(value)
    near = 0.05 * np.sqrt(estimates.variance[..., [0], [0]] * estimates.variance[..., [1], [1]]).max()
    np.testing.assert_allclose(covariance, estimates.variance, rtol=0.1, atol=near)


def test_what_makes_no_sense_is_refused():
    estimates = cells()
    for change, words in (
        ({"size": [-1.0, *[1.0] * (K - 1)]}, r"size\[0\] == -1.0: must be >= 0"),
        ({"cost": -estimates.cost}, "must be >= 0"),
        ({"size": estimates.size[:-1]}, rf"len\(value\) == {K}: must equal len\(size\), which is {K - 1}"),
        ({"size": [*estimates.size, 1.0]}, rf"len\(value\) == {K}: must equal len\(size\), which is {K + 1}"),
        ({"value": estimates.value[:, :2]}, r"cost.shape"),
        ({"covariance": estimates.covariance[:, :2]}, r"covariance.shape"),
        ({"covariance": -estimates.covariance}, "is not a covariance"),
    ):
        with pytest.raises(DataError, match=words):
            ClusterCells(**{"size": estimates.size, "value": estimates.value, "cost": estimates.cost, **change})
    with pytest.raises(DataError, match=r"risk.epsilon == 0.7"):
        Chance(0.7)
    with pytest.raises(DataError, match=r"budgets\[0\] == inf"):
        plan_clusters(estimates, [np.inf])
    with pytest.raises(DataError, match=r"risk.cost.shape"):
        plan_clusters(estimates, [1.0], risk=Tail(cost=np.ones((5, 2, M))))
    with pytest.raises(DataError, match="split cluster"):
        plan_clusters(estimates, [1.0], risk=Chance(), split=True)


@pytest.mark.parametrize("risk", RISKS, ids=repr)
def test_a_cluster_gets_only_what_it_may(risk: Any):
    free = cells(6)
    allowed = np.random.default_rng(2).random((K, M)) < 0.6
    allowed[~allowed.any(1), 0] = True
    assert not allowed[:, 0].all()
    estimates = replace(free, allowed=allowed)
    plans = [np.array(p) for p in product(range(M), repeat=K)]
    value, charged = every_plan(estimates, risk)
    may = np.array([allowed[np.arange(K), p].all() for p in plans])
    low = charged[may].min()
    for plan in plan_clusters(
        estimates, [low + 1e-6, low + 0.2 * full(estimates), 2 * full(estimates)], risk=risk, nested=False
    ):
        assert allowed[np.arange(K), plan.treatment].all()
        assert plan.value == pytest.approx(value[may & (charged <= plan.budget)].max(), rel=1e-6)
    with pytest.raises(InfeasibleBudget):
        plan_clusters(estimates, [0.9 * low], risk=risk)


def test_a_split_obeys_what_may_be_given():
    estimates = cells(7)
    allowed = np.ones((K, M), np.bool_)
    allowed[:, 1] = False
    allowed[0, 0] = False
    (plan,) = plan_clusters(replace(estimates, allowed=allowed), [0.5 * full(estimates)], split=True)
    keep = np.delete(np.arange(M), 1)
    bare = ClusterCells(size=estimates.size, value=estimates.value[:, keep], cost=estimates.cost[:, keep])
    (other,) = plan_clusters(replace(bare, allowed=allowed[:, keep]), [0.5 * full(estimates)], split=True)
    assert allowed[np.arange(K), plan.treatment].all()
    assert plan.value == pytest.approx(other.value, rel=1e-12)
    assert plan.split is not None
    assert allowed[plan.split.cluster, plan.split.treatment]


def test_groups_of_a_cluster_never_vary_more_than_is_counted():
    estimates, rng = cells(8), np.random.default_rng(0)
    cluster = np.repeat(np.arange(K), 3)
    size = rng.integers(1, 400, len(cluster))
    parts = estimates.parted(cluster, size, np.ones((len(cluster), M), np.bool_))
    for plan in (rng.integers(0, M, len(cluster)) for _ in range(50)):
        group = np.arange(len(cluster))
        counted = parts.variance[group, plan, 1, 1].sum()
        together = np.zeros((K, M))
        np.add.at(together, (cluster, plan), size)
        true = (together**2 * estimates.covariance[..., 1, 1] + together * estimates.spread[..., 1, 1]).sum()
        assert true <= counted * (1 + 1e-12)
    same = np.repeat(rng.integers(0, M, K), 3)
    whole = replace(estimates, size=np.bincount(cluster, size))
    counted = parts.variance[np.arange(len(cluster)), same, 1, 1].sum()
    assert counted == pytest.approx(whole.variance[np.arange(K), same[::3], 1, 1].sum())


def test_what_may_be_given_is_checked():
    estimates = cells()
    with pytest.raises(DataError, match=r"allowed\.shape == \(2, 2\): must be \(6, 3\)"):
        replace(estimates, allowed=np.ones((2, 2), np.bool_))
    with pytest.raises(DataError, match=r"allowed\[0\] == \[False, False, False\]: must allow at least one treatment"):
        replace(estimates, allowed=np.zeros((K, M), np.bool_))


@pytest.mark.parametrize("price", [0.0, 0.3, 1.0, 5.0])
@pytest.mark.parametrize("whole", [True, False])
def test_one_limit_is_kept_by_the_best_plan_whatever_the_price(price: float, whole: bool):
    rng = np.random.default_rng(int(10 * price))
    for _ in range(30):
        value, weight = rng.gamma(2.0, 2.0, (2, 5, 3))
        if whole:  # many ties
            value, weight = np.round(value), np.round(weight)
        allowed = rng.random((5, 3)) < 0.8
        allowed[~allowed.any(1), 0] = True
        k, limit = np.arange(5), rng.uniform(0, 30)
        plans = [p for p in product(range(3), repeat=5) if allowed[k, p].all() and weight[k, p].sum() <= limit]
        best = max((value[k, p].sum() for p in plans), default=-np.inf)
        best_plan = better(value, weight, allowed, limit, price, -1.0, 0.0)
        assert best_plan is not None
        assert (best_plan.treatment is not None) == bool(plans)
        assert best_plan.bound >= best - 1e-9
        if best_plan.treatment is None:
            continue
        assert allowed[k, best_plan.treatment].all()
        assert weight[k, best_plan.treatment].sum() <= limit + 1e-9
        assert value[k, best_plan.treatment].sum() == pytest.approx(best) == pytest.approx(best_plan.bound)
        none = better(value, weight, allowed, limit, price, best + 1e-9, 0.0)
        assert none is not None
        assert none.treatment is None
        roomy = better(value, weight, allowed, limit, price, -1.0, 2.0)
        assert roomy is not None
        assert best - 1e-9 <= roomy.bound
        assert roomy.treatment is None or value[k, roomy.treatment].sum() >= best - 2 - 1e-9


@pytest.mark.parametrize("risk", RISKS[:3], ids=repr)
def test_with_too_many_partial_plans_the_solver_takes_over(risk: Any, monkeypatch: pytest.MonkeyPatch):
    estimates = cells(9, 12)
    budgets = np.array([0.2, 0.5, 0.8]) * full(estimates)
    wanted = plan_clusters(estimates, budgets, risk=risk, nested=False)
    monkeypatch.setattr(cluster_core, "_MOST", 0)
    called: list[int] = []
    real = cluster_programme.by_highs
    monkeypatch.setattr(cluster_programme, "by_highs", lambda *given: called.append(1) or real(*given))
    stake = (estimates.size * (estimates.value.max(1) - estimates.value.min(1))).sum()
    for one, other in zip(plan_clusters(estimates, budgets, risk=risk, nested=False), wanted, strict=True):
        assert one.value == pytest.approx(other.value, abs=1e-6 * stake)
        assert one.charged <= one.budget
        assert one.status is Status.OPTIMAL
    assert called


@pytest.mark.parametrize("seed", range(20))
def test_the_core_finds_the_best_plan_though_all_are_nearly_as_good(seed: int):
    """Values of a million with differences of one, against enumeration of all plans."""
    rng = np.random.default_rng(seed)
    value, weight = 1e6 + rng.integers(0, 30, (7, 3)), rng.integers(0, 20, (7, 3)).astype(float)
    allowed = rng.random((7, 3)) < 0.9
    allowed[:, 0] = True
    limit = float(weight.min(1).sum() + rng.integers(5, 40))
    plans = np.array([plan for plan in product(range(3), repeat=7) if allowed[np.arange(7), plan].all()])
    values, spent = (table[np.arange(7), plans].sum(1) for table in (value, weight))
    fits = spent <= limit
    if not fits.any():
        limit, fits = float(spent.min()), spent <= spent.min()
    price = float(rng.uniform(0, 2))
    best_plan = better(value, weight, allowed, limit, price, -np.inf, 0.0)
    assert best_plan is not None
    assert best_plan.treatment is not None
    assert value[np.arange(7), best_plan.treatment].sum() == values[fits].max() == best_plan.bound
    assert weight[np.arange(7), best_plan.treatment].sum() <= limit
    assert better(value, weight, allowed, limit, price, float(values[fits].max()), 0.0).treatment is None


def test_a_plan_above_the_budget_by_the_solvers_tolerance_is_solved_with_a_lower_one(monkeypatch: pytest.MonkeyPatch):
    estimates, risk = cells(2), Tail(0.25, draws=20, seed=3)
    budget = 0.4 * full(estimates)
    (plan,) = plan_clusters(estimates, [budget], risk=risk)
    solver, rule = cluster_programme.by_highs, cluster_plan._Rule.charged
    limits: list[float] = []

    def recorded(totals: Any, budget: Any, more: Any) -> Any:
        limits.append(float(more.limits[0]))
        return solver(totals, budget, more)

    def off_once(self: Any, treatment: Any) -> float:
        return budget * (1 + 1e-6) if len(limits) == 1 else rule(self, treatment)

    monkeypatch.setattr(cluster_programme, "by_highs", recorded)
    monkeypatch.setattr(cluster_plan._Rule, "charged", off_once)
    (again,) = plan_clusters(estimates, [budget], risk=risk)
    assert limits[1] == pytest.approx(limits[0] * (1 - 2e-6), rel=1e-9)
    np.testing.assert_array_equal(again.treatment, plan.treatment)
