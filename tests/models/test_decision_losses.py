"""Decision losses against formulas written out again: gradients, unbiasedness, parity, and training that survives a kill."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import spearmanr
from sklearn.isotonic import IsotonicRegression
from torch import Tensor, nn

from largesse.errors import DataError
from largesse.evaluate import outcome_curve
from largesse.logs import Logs
from largesse.menu import Menu
from largesse.models import MLP, Outcome, Schedule
from largesse.models.decision.joint import trial_rows
from largesse.models.decision.losses import (
    DIFD,
    DPL,
    LOSSES,
    PIFD,
    PPL,
    Objective,
    flips,
)
from largesse.models.decision.trial import Trial, marginal_value, soft_policy, spend_price
from largesse.models.nets import checkpoint
from largesse.models.nets.checkpoint import Checkpointer, digest
from largesse.models.nets.minibatch import train
from largesse.models.nets.response import ResponseNet
from largesse.models.nets.rows import Rows
from largesse.models.outcome import Response
from tests.common.worlds import WORLDS, orders

VARIANCES = ("plain", "baseline", "dr")
KINDS = ("ppl", "pifd", "dpl", "difd")
SHARES = np.array([0.5, 0.3, 0.2])


class Case(NamedTuple):
    """A menu and the rows of a trial, in float64, and what every treatment would have brought."""

    value: NDArray[np.float64]  # menu (N, M)
    cost: NDArray[np.float64]
    taken: NDArray[np.int64]  # (N,)
    all_value: NDArray[np.float64]  # outcomes (N, M)
    all_cost: NDArray[np.float64]
    propensity: NDArray[np.float64]  # (N, M)
    weight: NDArray[np.float64]  # (N,), mean 1
    belief: tuple[NDArray[np.float64], NDArray[np.float64]]

    def trial(self, taken: NDArray[np.int64] | None = None) -> Trial:
        t = self.taken if taken is None else taken
        i = np.arange(len(t))
        tensor = lambda a: torch.tensor(a, dtype=torch.float64)  # noqa: E731
        outcomes = (self.all_value[i, t], self.all_cost[i, t], self.weight / self.propensity[i, t], self.weight)
        return rows_of(torch.tensor(t), *map(tensor, outcomes), menu=tuple(map(tensor, self.belief)))


def rows_of(
    t: Tensor, value: Tensor, cost: Tensor, inverse: Tensor, share: Tensor, menu: tuple[Tensor, ...] | None = None
) -> Trial:
    return Trial(Rows(treatment=t, value=value, cost=cost, weight=share, share=share, inverse=inverse), menu)


def without_propensities(trial: Trial) -> Trial:
    """The same rows, weighted by their row weights alone."""
    return replace(trial, rows=replace(trial.rows, inverse=trial.rows.share))


def case(n: int = 40, m: int = 3, seed: int = 0) -> Case:
    rng = np.random.default_rng(seed)
    chance = rng.dirichlet(np.full(m, 6.0), n) * 0.7 + 0.3 / m  # differs from row to row
    taken = np.array([rng.choice(m, p=p) for p in chance])
    level = np.arange(m)
    value = 0.4 * level**0.5 + 0.4 * rng.normal(size=(n, m))
    cost = level * np.exp(0.3 * rng.normal(size=(n, m)))
    weight = rng.uniform(0.4, 1.6, n)
    belief = (rng.normal(0.8, 0.4, (n, m)), level * rng.uniform(0.7, 1.3, (n, m)))
    all_value = 1 + 0.5 * level + rng.normal(size=(n, m))
    return Case(value, cost, taken, all_value, 1.1 * cost, chance, weight / weight.mean(), belief)


def softmax(score: NDArray[np.float64]) -> NDArray[np.float64]:
    e = np.exp(score - score.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def rivals(score: NDArray[np.float64], taken: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The best of the other treatments of each row, and how far it is from the one taken."""
    others = score.copy()
    i = np.arange(len(score))
    others[i, taken] = -np.inf
    rival = others.argmax(1)
    return rival, np.abs(score[i, rival] - score[i, taken])


def scores(c: Case, price: float) -> NDArray[np.float64]:
    return c.value - price * c.cost


def soft_value(z: Tensor, trial: Trial, mu: float, variance: str = "plain") -> Tensor:
    """The net value of a soft policy (N, M), by the formulas of `largesse.models.decision.trial`."""
    i, t = torch.arange(len(z)), trial.rows.treatment
    y, own = trial.rows.value - mu * trial.rows.cost, trial.inverse * z[i, t]
    if variance == "plain":
        return (own * y).mean()
    q = trial.menu[0] - mu * trial.menu[1]
    if variance == "baseline":
        return (own * (y - q.mean(1))).mean()
    return (trial.rows.share * (q * z).sum(1) + own * (y - q[i, t])).mean()


def objective_with(smooth: float, *args: Any) -> Objective:
    """A loss of batches with another weight of the past in its moving averages."""
    objective = Objective(*args)
    objective.smooth = smooth
    return objective


def close(a: Any, b: Any, rel: float = 1e-9) -> None:
    np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=rel, atol=1e-12)


class TestSoftPolicy:
    @pytest.mark.parametrize("variance", VARIANCES)
    @pytest.mark.parametrize(("price", "slope"), [(0.6, 0.9), (0.6, 0.6), (0.6, 0.0)], ids=["ppl", "dpl", "published"])
    def test_the_gradient_in_the_menu(self, variance: str, price: float, slope: float):
        c = case(12, 4)
        trial = c.trial()
        leaves = [torch.tensor(a, requires_grad=True) for a in (c.value, c.cost)]
        loss = lambda v, k: -soft_value(soft_policy(v, k, price, 0.3), trial, slope, variance)  # noqa: E731
        assert torch.autograd.gradcheck(loss, leaves)

    @pytest.mark.parametrize("variance", VARIANCES)
    @pytest.mark.parametrize("kind", ["ppl", "dpl"])
    def test_the_gradient_of_an_objective_that_keeps_its_price(self, kind: str, variance: str):
        c = case(12, 4)
        objective = objective_with(1.0, LOSSES[kind](variance=variance), c.trial(), (0.3, 0.8), 2.0)
        objective.prime(torch.tensor(c.value), torch.tensor(c.cost))
        assert (objective.price > 0).all()
        leaves = [torch.tensor(a, requires_grad=True) for a in (c.value, c.cost)]
        assert torch.autograd.gradcheck(lambda v, k: objective(v, k, torch.arange(12)), leaves)

    @pytest.mark.parametrize("variance", VARIANCES)
    @pytest.mark.parametrize("kind", ["ppl", "dpl"])
    def test_an_objective_is_the_mean_of_its_definition_over_the_budgets(self, kind: str, variance: str):
        c = case(60, 4)
        value, cost, trial = torch.tensor(c.value), torch.tensor(c.cost), c.trial()
        objective = objective_with(1.0, LOSSES[kind](variance=variance), trial, (0.3, 0.8), 2.0)
        objective.prime(value, cost)
        found = float(objective(value, cost, torch.arange(60)))
        worth = [
            float(soft_value(soft_policy(value, cost, price, 0.5 * gap), trial, slope, variance))
            for price, gap, slope in zip(objective.price, objective.gap, objective.marginal, strict=True)
        ]
        assert found == pytest.approx(-np.mean(worth) / 2.0, rel=1e-12)

    def test_it_is_the_softmax_of_the_scores(self):
        c = case()
        z = soft_policy(torch.tensor(c.value), torch.tensor(c.cost), 0.7, 0.2)
        close(z, softmax((c.value - 0.7 * c.cost) / 0.2))

    def test_values_are_the_sums_of_their_definition(self):
        c = case()
        z, i, t, slope = softmax(scores(c, 0.7) / 0.3), np.arange(40), c.taken, 0.9
        y = (c.all_value - slope * c.all_cost)[i, t]
        q = c.belief[0] - slope * c.belief[1]
        w, s = c.weight / c.propensity[i, t], c.weight
        found = {v: float(soft_value(torch.tensor(z), c.trial(), slope, v)) for v in VARIANCES}
        close(found["plain"], np.mean(w * y * z[i, t]))
        close(found["baseline"], np.mean(w * (y - q.mean(1)) * z[i, t]))
        close(found["dr"], np.mean(s * (q * z).sum(1) + w * (y - q[i, t]) * z[i, t]))

    def test_the_marginal_value_is_the_ratio_of_the_slopes_in_the_price(self):
        c = case(200)
        v, k, trial = torch.tensor(c.value), torch.tensor(c.cost), c.trial()
        i, w = np.arange(200), c.weight / c.propensity[np.arange(200), c.taken]

        def sums(price: float) -> NDArray[np.float64]:
            z = softmax(scores(c, price) / 0.25)[i, c.taken]
            return np.array([np.mean(w * z * y[i, c.taken]) for y in (c.all_value, c.all_cost)])

        gain, spend = marginal_value(soft_policy(v, k, 0.6, 0.25), k, 0.25, trial)
        slopes = -(sums(0.6 + 1e-5) - sums(0.6 - 1e-5)) / 2e-5
        close([float(gain), float(spend)], slopes, rel=1e-6)


class Shaped:
    """A menu with six parameters, on rows of a trial whose truth it misses."""

    def __init__(self, n: int = 4000, seed: int = 1) -> None:
        rng = np.random.default_rng(seed)
        self.x = torch.tensor(rng.normal(size=(n, 3)))
        t = rng.choice(3, n, p=SHARES)
        x, level = self.x.numpy(), np.array([0.0, 1.0, 1.6])
        self.level = torch.tensor(level)
        gain = level[t] * np.exp(0.4 * x[:, 0] - 0.3 * x[:, 1])
        value = 0.5 + gain + 0.3 * rng.normal(size=n)
        cost = np.arange(3)[t] * np.exp(0.3 * x[:, 2] + 0.1 * rng.normal(size=n))
        w = torch.tensor(1 / SHARES[t])
        self.trial = rows_of(torch.tensor(t), torch.tensor(value), torch.tensor(cost), w, torch.ones(n).double())
        self.theta = torch.tensor([-0.1, 0.2, -0.2, 0.3, 0.1, 0.1], dtype=torch.float64, requires_grad=True)

    def menu(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        x, steps = self.x, torch.arange(3, dtype=torch.float64)
        value = self.level * torch.exp(theta[0] + theta[1] * x[:, :1] + theta[2] * x[:, 1:2])
        value = value + 0.1 * theta[3] * x[:, 2:] * steps
        return value, steps * torch.exp(theta[4] + theta[5] * x[:, 2:])

    def sums(self, theta: Tensor, price: float, tau: float) -> tuple[float, float]:
        """Soft value and cost per head, by their definition."""
        value, cost = (a.detach().numpy() for a in self.menu(theta))
        i, t = np.arange(len(value)), self.trial.rows.treatment.numpy()
        z = self.trial.inverse.numpy() * softmax((value - price * cost) / tau)[i, t]
        return float(np.mean(z * self.trial.rows.value.numpy())), float(np.mean(z * self.trial.rows.cost.numpy()))

    def at_equal_spend(self, price: float, tau: float, step: float = 1e-4) -> NDArray[np.float64]:
        """Finite differences of the value in every parameter, the price solved anew so that the spend stays."""
        theta = self.theta.detach()
        spend = self.sums(theta, price, tau)[1]
        out = []
        for k in range(len(theta)):
            worth = []
            for sign in (1.0, -1.0):
                moved = theta.clone()
                moved[k] += sign * step
                off = lambda p, moved=moved: self.sums(moved, p, tau)[1] - spend  # noqa: E731
                again = brentq(off, price - 0.1, price + 0.1, xtol=1e-14, rtol=1e-14)
                worth.append(self.sums(moved, again, tau)[0])
            out.append((worth[0] - worth[1]) / (2 * step))
        return np.array(out)


def off_by(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """The largest difference of two gradients, as a share of the largest entry."""
    return float(np.abs(a - b).max() / np.abs(b).max())


class TestTheBudgetTakesBack:
    def test_the_gradient_is_that_of_the_value_at_equal_spend(self):
        world, price, tau = Shaped(), 0.7, 0.15
        truth = world.at_equal_spend(price, tau)

        def gradient(slope: float) -> NDArray[np.float64]:
            z = soft_policy(*world.menu(world.theta), price, tau)
            return torch.autograd.grad(soft_value(z, world.trial, slope), world.theta)[0].numpy()

        with torch.no_grad():
            value, cost = world.menu(world.theta)
            gain, spend = marginal_value(soft_policy(value, cost, price, tau), cost, tau, world.trial)
        mu = float(gain / spend)
        assert mu > 0
        assert off_by(gradient(mu), truth) < 0.02
        assert off_by(gradient(0.0), truth) > 0.5, "as published, money is spent that is not there"
        assert off_by(gradient(price), truth) > 0.02, "the price is not the marginal value of a menu that is off"

    @pytest.mark.parametrize("shares", [(0.4,), (0.2, 0.6)])
    def test_an_objective_gives_that_gradient(self, shares: tuple[float, ...]):
        world = Shaped()
        budgets = tuple(share * 2.0 for share in shares)
        rows = torch.arange(len(world.x))

        def run(net_of: str) -> tuple[Objective, NDArray[np.float64]]:
            how = PPL(variance="plain", net_of=net_of)
            objective = objective_with(0.0, how, world.trial, budgets, 2.5)
            loss = objective(*world.menu(world.theta), rows)
            return objective, -2.5 * torch.autograd.grad(loss, world.theta)[0].numpy()

        objective, found = run("batch")
        assert (objective.price > 0).all()
        assert (objective.marginal < 2.9 * objective.price).all()
        truth = np.mean(
            [world.at_equal_spend(p, 0.5 * gap) for p, gap in zip(objective.price, objective.gap, strict=True)], axis=0
        )
        assert off_by(found, truth) < 0.02
        assert off_by(run("nothing")[1], truth) > 0.5

    def test_its_price_is_where_the_hard_policy_spends_the_budget(self):
        world = Shaped()
        objective = Objective(PPL(variance="plain"), world.trial, (0.8,), 1.0)
        with torch.no_grad():
            objective.prime(*world.menu(world.theta))
            value, cost = (a.numpy() for a in world.menu(world.theta))
        decided = (value - objective.price * cost).argmax(1)
        seen = decided == world.trial.rows.treatment.numpy()
        spent = float((world.trial.inverse * world.trial.rows.cost).numpy()[seen].sum() / len(value))
        assert spent == pytest.approx(0.8, rel=0.03)


class TestFlips:
    """Against what the outcome curve says when one score is moved past the point where the row's decision changes."""

    def instance(self, n: int = 300, m: int = 4, seed: int = 2) -> tuple[Logs, Menu, Trial]:
        rng = np.random.default_rng(seed)
        share = np.array([0.4, 0.3, 0.2, 0.1])
        t = rng.choice(m, n, p=share)
        cost = np.cumsum(rng.uniform(0.5, 1.5, (n, m)), 1) - 0.5
        value = np.cumsum(rng.exponential(0.6, (n, m)), 1)
        r, c = rng.normal(1, 1, n), np.where(t > 0, rng.exponential(1.0, n), 0.0)
        logs = Logs(x=np.zeros((n, 1)), treatment=t, value=r, cost=c, propensity=dict(zip("0123", share, strict=True)))
        tensors = (torch.tensor(a, dtype=torch.float64) for a in (r, c, logs.inverse_propensity, np.ones(n)))
        return logs, Menu(value=value, cost=cost), rows_of(torch.tensor(t), *tensors)

    def jumps(self, logs: Logs, menu: Menu, price: float, column: NDArray[Any], sign: NDArray[Any]) -> NDArray[Any]:
        """Change of V = r - price c when `column` of a row moves just past h in the direction of `sign`, by its direction."""

        def worth(value: NDArray[Any]) -> float:
            r, c = outcome_curve(logs, Menu(value=value, cost=menu.cost)).at_price(price)
            return float(r - price * c)

        _, h = rivals(menu.value - price * menu.cost, logs.treatment)
        base, out = worth(menu.value), []
        for i, j in enumerate(column):
            moved = menu.value.copy()
            moved[i, j] += sign[i] * (h[i] + 1e-9)
            out.append(sign[i] * (worth(moved) - base))
        return np.array(out)

    def test_a_fixed_price(self):
        logs, menu, trial = self.instance()
        price = 0.55
        score = menu.value - price * menu.cost
        rival, h = rivals(score, logs.treatment)
        counts = score.argmax(1) == logs.treatment
        assert 40 < counts.sum() < 260
        exact = self.jumps(logs, menu, price, logs.treatment, np.where(counts, -1.0, 1.0)) / h
        reach = float(np.quantile(h, 0.6))
        g, found = (a.numpy() for a in flips(torch.tensor(score), trial, price, reach, "fix"))
        np.testing.assert_array_equal(found, rival)
        near = h <= reach
        assert not g[~near].any(), "rows out of reach do not move it"
        close(g[near] * reach / h[near], exact[near], rel=1e-6)  # the clip undone: the exact difference quotient
        assert (np.sign(g[near]) == np.sign(exact[near])).all()
        widest = flips(torch.tensor(score), trial, price, reach, "max")[0].numpy()
        close(widest * h.max() / h, exact, rel=1e-6)

    def test_the_rival_of_a_row_moves_it_the_other_way(self):
        logs, menu, trial = self.instance()
        price = 0.55
        score = menu.value - price * menu.cost
        rival, _ = rivals(score, logs.treatment)
        counts = score.argmax(1) == logs.treatment
        second = np.argsort(-score, 1)[:, 1] == logs.treatment
        exact = self.jumps(logs, menu, price, rival, np.where(counts, 1.0, -1.0))
        g = flips(torch.tensor(score), trial, price, 1e9, "fix")[0].numpy() * 1e9
        either = counts | second  # a third-best treatment is not chosen when the best one falls
        close(-g[either], exact[either], rel=1e-6)
        assert np.abs(g[either]).min() > 0
        close(exact[~either], 0.0)

    def test_a_budget_that_takes_money_back(self):
        """The value at the budget, priced anew after a row's flip; averaged over budgets nearby, since the curve has steps."""
        rng = np.random.default_rng(0)
        n, level, at = 4000, np.arange(3), np.arange(4000)
        t, x = rng.choice(3, n, p=SHARES), rng.normal(size=(n, 2))
        gain, cost = np.exp(0.5 * x[:, :1]) * level**0.5, level * np.exp(0.3 * x[:, 1:])
        value = gain + 0.2 * rng.normal(size=(n, 3))
        r = (gain * np.exp(0.4 * x[:, :1]) + 0.3 * rng.normal(size=(n, 3)))[at, t]
        c = (cost * np.exp(0.2 * rng.normal(size=(n, 3))))[at, t]
        logs = Logs(x=x, treatment=t, value=r, cost=c, propensity=dict(zip("012", SHARES, strict=True)))
        curve = outcome_curve(logs, Menu(value=value, cost=cost))
        budget = 0.4 * curve.reach[1]
        near = budget * np.linspace(0.85, 1.15, 201)
        base = curve.value_at(near)
        mu = (base[-1] - base[0]) / (near[-1] - near[0])  # the realised marginal value of money
        # Rows that count, or do not, at every price of these budgets; how far their treatment's score is from changing that.
        prices = np.linspace(curve.price_at(near[-1]), curve.price_at(near[0]), 9)
        gaps = []
        for p in prices:
            score = value - p * cost
            rival, h = rivals(score, t)
            gaps.append(np.where(score[at, t] > score[at, rival], h, -h))
        gap = np.array(gaps)  # (P, N)
        inside, outside = (gap > 0).all(0), (gap < 0).all(0)
        move = np.abs(gap).max(0) + 1e-3
        rows = np.flatnonzero(inside | outside)
        rows = rows[np.argsort(move[rows])][:150]
        exact = []
        for i in rows:
            sign = -1.0 if inside[i] else 1.0
            moved = value.copy()
            moved[i, t[i]] += sign * move[i]
            exact.append(sign * (outcome_curve(logs, Menu(value=moved, cost=cost)).value_at(near) - base).mean())
        w = torch.tensor(logs.inverse_propensity)
        trial = rows_of(torch.tensor(t), torch.tensor(r), torch.tensor(c), w, torch.ones(n).double())
        score = torch.tensor(value - float(curve.price_at(budget)) * cost)

        def gradient(slope: float) -> NDArray[np.float64]:
            return flips(score, trial, slope, 1e9, "fix")[0].numpy()[rows] * 1e9

        found, published = gradient(mu), gradient(0.0)
        assert spearmanr(found, exact)[0] > 0.95
        sure = np.abs(found) > 0.15 * np.abs(found).mean()  # the rest is within the noise of the curve's own slope
        assert sure.mean() > 0.7
        assert (np.sign(found) == np.sign(exact))[sure].all()
        assert np.corrcoef(found, exact)[0, 1] > 0.95
        assert (np.sign(published) != np.sign(exact))[sure].mean() > 0.1, "as published, many flips look like gains"

    @pytest.mark.parametrize("variance", ["baseline", "dr"])
    def test_with_a_frozen_menu_the_worth_is_net_of_its_mean(self, variance: str):
        c = case()
        i, slope = np.arange(40), 0.8
        score = scores(c, 0.6)
        y = (c.all_value - slope * c.all_cost)[i, c.taken] - (c.belief[0] - slope * c.belief[1]).mean(1)
        _, h = rivals(score, c.taken)
        g = flips(torch.tensor(score), c.trial(), slope, 0.5, "fix", variance)[0]
        close(g, np.where(h <= 0.5, c.weight / c.propensity[i, c.taken] * y / (40 * 0.5), 0.0))


class TestUnbiased:
    """The mean over assignments, drawn with their propensities, is what all arms' outcomes give."""

    DRAWS = 2000

    def z(self, c: Case, draw: Callable[[Trial], float], truth: float) -> float:
        rng = np.random.default_rng(7)
        below = c.propensity.cumsum(1)
        below[:, -1] = 1.0
        taken = (rng.random((self.DRAWS, len(below), 1)) > below).sum(2)
        found = np.array([draw(c.trial(t)) for t in taken])
        return float((found.mean() - truth) / (found.std(ddof=1) / np.sqrt(self.DRAWS)))

    @pytest.mark.parametrize("variance", VARIANCES)
    @pytest.mark.parametrize(("price", "slope"), [(0.6, 0.6), (0.6, 0.9)], ids=["dpl", "ppl"])
    def test_soft(self, variance: str, price: float, slope: float):
        c = case(60)
        z = softmax(scores(c, price) / 0.3)
        full = np.mean(c.weight * (z * (c.all_value - slope * c.all_cost)).sum(1))
        if variance == "baseline":  # what is subtracted does not depend on the policy: Σ_j z_ij = 1
            full -= np.mean(c.weight * (c.belief[0] - slope * c.belief[1]).mean(1))
        policy = torch.tensor(z)
        assert abs(self.z(c, lambda trial: float(soft_value(policy, trial, slope, variance)), full)) < 3
        if variance == "plain":
            bare = lambda t: float(soft_value(policy, without_propensities(t), slope))  # noqa: E731
            assert abs(self.z(c, bare, full)) > 10, "without propensities it is another number"

    @pytest.mark.parametrize("variance", VARIANCES)
    def test_the_gradient_of_soft_policies(self, variance: str):
        c, price, slope, tau = case(30), 0.6, 0.9, 0.3
        rng = np.random.default_rng(3)
        way = rng.normal(size=c.value.shape)  # the derivative in one direction of the values
        z = softmax(scores(c, price) / tau)
        turn = z * (way - (z * way).sum(1, keepdims=True)) / tau
        full = np.mean(c.weight * (turn * (c.all_value - slope * c.all_cost)).sum(1))

        def draw(trial: Trial) -> float:
            v = torch.tensor(c.value, requires_grad=True)
            worth = soft_value(soft_policy(v, torch.tensor(c.cost), price, tau), trial, slope, variance)
            return float((torch.autograd.grad(worth, v)[0].numpy() * way).sum())

        assert abs(self.z(c, draw, full)) < 3

    @pytest.mark.parametrize("variance", ["plain", "baseline"])
    @pytest.mark.parametrize(("kind", "slope"), [("difd", 0.6), ("pifd", 0.9)])
    def test_hard(self, kind: str, slope: float, variance: str):
        """With all arms seen the loss is the sum over arms of the same formula, each with the row's weight alone."""
        c, price, reach = case(60), 0.6, 0.6
        score = scores(c, price)
        full = 0.0
        for j in range(3):
            rival, h = rivals(score, np.full(60, j))
            y = c.all_value[:, j] - slope * c.all_cost[:, j]
            if variance == "baseline":
                y = y - (c.belief[0] - slope * c.belief[1]).mean(1)
            full -= np.mean(c.weight * y * (h <= reach) / reach * (score[:, j] - score[np.arange(60), rival]))
        a = torch.tensor(score)

        def draw(trial: Trial) -> float:
            g, rival = flips(a, trial, slope, reach, "fix", variance)
            return -float(
                (g * (a.gather(1, trial.rows.treatment[:, None]) - a.gather(1, rival[:, None])).squeeze(1)).sum()
            )

        assert abs(self.z(c, draw, full)) < 3
        if variance == "baseline":
            assert abs(self.z(c, lambda t: draw(without_propensities(t)), full)) > 5


class TestParity:
    """The published demonstration: no weights, temperature and reach in units of the value, costs without a gradient."""

    PRICES = (0.1, 0.5, 1.0)

    def objective(self, c: Case, made: Callable[..., Any], price: float, **how: float) -> Objective:
        """One price, at which temperature and reach are given in units of the value."""
        rows, value, cost = c.trial().rows, torch.tensor(c.value), torch.tensor(c.cost)
        trial = Trial(replace(rows, inverse=torch.ones_like(rows.share)))
        gap = Objective(made(prices=(price,)), trial, (), 1.7)
        gap.prime(value, cost)
        in_gaps = {
            name: number / float(gap.gap[0]) if isinstance(number, float) else number for name, number in how.items()
        }
        return Objective(made(prices=(price,), variance="plain", **in_gaps), trial, (), 1.7)

    @pytest.mark.parametrize("tau", [0.5, 1.0, 3.0])
    def test_policy_learning_loss(self, tau: float):
        c = case(50)
        i = np.arange(50)
        r, k = c.all_value[i, c.taken], c.all_cost[i, c.taken]
        for p in self.PRICES:
            published = -np.mean((r - p * k) * softmax(scores(c, p) / tau)[i, c.taken])
            loss = self.objective(c, DPL, p, temperature=tau)(
                torch.tensor(c.value), torch.tensor(c.cost), torch.arange(50)
            )
            close(float(loss) * 1.7, published)  # ours is in units of the value's scale

    @pytest.mark.parametrize("clip", ["fix", "max"])
    def test_improved_finite_differences(self, clip: str):
        c, reach = case(50), 0.3
        i = np.arange(50)
        r, k = c.all_value[i, c.taken], c.all_cost[i, c.taken]
        kept = 0
        for p in self.PRICES:
            rival, h = rivals(scores(c, p), c.taken)
            near = h <= reach if clip == "fix" else np.full(50, True)
            step = np.where(near, (r - p * k) / (50 * (reach if clip == "fix" else h.max())), 0.0)
            expected = np.zeros((50, 3))
            expected[i, c.taken] -= step
            expected[i, rival] += step
            kept += near.sum()
            value, cost = torch.tensor(c.value, requires_grad=True), torch.tensor(c.cost)
            self.objective(c, DIFD, p, clip=clip, reach=reach)(value, cost, torch.arange(50)).backward()
            np.testing.assert_allclose(value.grad.numpy() * 1.7, expected, rtol=1e-6, atol=1e-12)
        assert kept > 20

    def test_the_correct_form_moves_costs_by_the_price(self):
        c = case(50)
        value, cost = (torch.tensor(a, requires_grad=True) for a in (c.value, c.cost))
        Objective(DIFD(prices=(0.5,), variance="plain"), c.trial(), (), 1.0)(value, cost, torch.arange(50)).backward()
        assert value.grad.abs().max() > 0
        close(cost.grad, -0.5 * value.grad)

    def test_the_cost_heads_of_a_network_move(self):
        logs = WORLDS["profits"](400)
        outcome = Outcome(family="gaussian", cost_rule="learned")
        torch.manual_seed(0)
        net = ResponseNet(4, 3, outcome, (8,), True, (1.0, 1.0))
        loss = Objective(DIFD(prices=(0.5,), variance="plain"), single(logs), (), 1.0)
        loss(*net.menu(net(torch.tensor(logs.x))), torch.arange(400)).backward()
        assert net.value.weight.grad.abs().max() > 0
        assert net.cost.weight.grad.abs().max() > 0


def single(logs: Logs) -> Trial:
    """The rows of a trial in float32."""
    return Trial(trial_rows(logs))


def priced(seed: int, ties: bool, free: bool) -> tuple[Logs, Menu]:
    rng = np.random.default_rng(seed)
    n, m = 120, 3
    t = np.append(np.arange(m), rng.integers(0, m, n - m))
    paid = (0.2 + rng.exponential(0.5, n)) * (0.3 + 2.0 * t)
    value = rng.normal(1, 0.5, (n, m)).cumsum(1)
    cost = np.abs(rng.normal(1, 0.5, (n, m))).cumsum(1) - np.array([[0.0, 0.2, 0.2]])
    cost[:, 0] = 0
    cost = np.maximum(cost, 0)
    if ties:
        value, cost, paid = np.round(2 * value) / 2, np.round(2 * cost) / 2, 1 + np.round(paid)
    if free:
        paid = paid * (t > 0) * (rng.random(n) < 0.6)
    shares = np.array([0.2, 0.3, 0.5])
    logs = Logs(
        x=np.zeros((n, 1)), treatment=t, value=np.ones(n), cost=paid, control_cost=True,
        propensity=dict(zip("012", shares, strict=True)),
    )  # fmt: skip
    return logs, Menu(value=value, cost=cost)


def searched(logs: Logs, menu: Menu, budgets: NDArray[Any]) -> NDArray[np.float64]:
    """The lowest price at which the monotone spend is within each budget: every price at which a row changes is tried."""
    i, changes = np.arange(logs.n), {0.0}
    for row, t in enumerate(logs.treatment):
        v, c = menu.value[row], menu.cost[row]
        with np.errstate(divide="ignore", invalid="ignore"):
            kinks = (v[:, None] - v) / (c[:, None] - c)
        kinks = np.unique(np.append(kinks[np.isfinite(kinks) & (kinks > 0)], 0.0))
        middle = np.append((kinks[1:] + kinks[:-1]) / 2, kinks[-1] + 1)
        best = np.array([max(range(3), key=lambda j, p=p: (v[j] - p * c[j], -c[j])) for p in middle])
        here = np.append(False, best == t)  # nothing counts before a price of 0
        changes.update(kinks[here[1:] != here[:-1]].tolist())
    price = np.array(sorted(changes))
    middle = np.append((price[1:] + price[:-1]) / 2, price[-1] + 1)
    spend = []
    for p in middle:
        score = np.where(np.isclose(menu.cost, 0), menu.value, menu.value - p * menu.cost)
        spend.append(np.sum((logs.inverse_propensity * logs.cost)[i[score.argmax(1) == logs.treatment]]) / logs.n)
    level = IsotonicRegression(increasing=False).fit_transform(np.arange(len(price)), np.array(spend))
    within = level[:, None] <= budgets + 1e-9
    return np.where(within.any(0), price[within.argmax(0)], price[np.argmax(level <= level[-1] + 1e-9)])


class TestSpendPrice:
    def prices(self, logs: Logs, menu: Menu) -> tuple[Any, ...]:
        curve = outcome_curve(logs, menu)
        low, high = curve.reach
        budgets = low + (high - low) * np.linspace(0.013, 0.987, 23)
        paid = logs.inverse_propensity * logs.cost / logs.n
        return spend_price(menu.value, menu.cost, logs.treatment, paid, budgets), curve, budgets

    @pytest.mark.parametrize("ties", [False, True], ids=["untied", "tied"])
    @pytest.mark.parametrize("free", [False, True], ids=["every row paid", "some rows free"])
    def test_it_is_the_price_of_the_outcome_curve(self, ties: bool, free: bool):
        wrong = []
        for seed in range(30):
            found, curve, budgets = self.prices(*priced(seed, ties, free))
            wrong.append(np.abs(found - curve.price_at(budgets)).max())
        assert np.max(wrong) < 1e-12, f"{np.count_nonzero(np.array(wrong) > 1e-12)} of 30 instances"

    def test_it_is_found_by_trying_every_price(self):
        for seed in range(15):
            logs, menu = priced(seed, False, False)
            found, _, budgets = self.prices(logs, menu)
            close(found, searched(logs, menu, budgets))
            assert len(np.unique(found)) > 5

    @pytest.mark.parametrize("ties", [False, True])
    def test_budgets_out_of_reach(self, ties: bool):
        for seed in range(10):
            logs, menu = priced(seed, ties, False)
            curve = outcome_curve(logs, menu)
            low, high = curve.reach
            assert low > 0
            paid = logs.inverse_propensity * logs.cost / logs.n
            wanted = np.array([0.5 * low, low * (1 + 1e-9), high * (1 + 1e-9), 2 * high])
            found = spend_price(menu.value, menu.cost, logs.treatment, paid, wanted)
            assert found[0] == found[1] == curve.price_at(wanted[1]) > 0
            assert found[2] == found[3] == 0

    def test_nobody_pays(self):
        logs, menu = priced(0, False, False)
        assert spend_price(menu.value, menu.cost, logs.treatment, np.zeros(logs.n), np.array([0.0, 1.0])).tolist() == [
            0,
            0,
        ]


class TestDecision:
    @pytest.mark.parametrize(
        ("made", "how", "field"),
        [
            (PPL, {"variance": "ipw"}, "decision.variance"), (DIFD, {"clip": "none"}, "decision.clip"),
            (PIFD, {"variance": "dr"}, "decision.variance"), (DIFD, {"variance": "dr"}, "decision.variance"),
            (PPL, {"net_of": "money"}, "decision.net_of"), (DPL, {"temperature": -0.1}, "decision.temperature"),
            (PPL, {"temperature": 0.0}, "decision.temperature"), (PIFD, {"temperature": float("nan")}, "decision.temperature"),
            (PIFD, {"reach": -1.0}, "decision.reach"), (PPL, {"budgets": (1.0, float("nan"))}, "decision.budgets"),
            (DPL, {"budgets": (-1.0,)}, "decision.budgets"), (DPL, {"prices": (float("inf"),)}, "decision.prices"),
            (DIFD, {"prices": ("cheap",)}, "prices"),
        ],
    )  # fmt: skip
    def test_what_cannot_be_is_refused_by_name(self, made: Callable[..., Any], how: dict[str, Any], field: str):
        with pytest.raises(DataError, match=field.replace(".", r"\.")) as error:
            made(**how)
        assert error.value.field == field

    @pytest.mark.parametrize(
        ("made", "how"),
        [(PPL, {"prices": (1.0,)}), (PPL, {"reach": 1.0}), (DPL, {"net_of": "price"}), (DIFD, {"temperature": 0.1})],
    )
    def test_a_loss_takes_no_setting_that_it_would_not_look_at(self, made: Callable[..., Any], how: dict[str, Any]):
        with pytest.raises(TypeError):
            made(**how)

    def test_kinds(self):
        assert tuple(LOSSES) == KINDS
        assert [made.primal for made in LOSSES.values()] == [True, True, False, False]
        assert [made.soft for made in LOSSES.values()] == [True, False, True, False]

    def test_another_kind_keeps_the_settings_that_both_have(self):
        loss = PPL(budgets=(0.2,), temperature=0.7, variance="plain")
        assert loss.as_kind("difd") == DIFD(budgets=(0.2,), variance="plain")
        assert loss.as_kind("dpl") == DPL(budgets=(0.2,), temperature=0.7, variance="plain")

    @pytest.mark.parametrize("kind", KINDS)
    def test_published(self, kind: str):
        loss = LOSSES[kind].published()
        assert loss.variance == "plain"
        assert getattr(loss, "net_of", "nothing") == "nothing"


class TestObjective:
    def parts(self, n: int = 400) -> tuple[Case, Tensor, Tensor]:
        c = case(n)
        return c, torch.tensor(c.value), torch.tensor(c.cost)

    def batch(self, k: int) -> Tensor:
        return torch.arange(100 * k, 100 * (k + 1))

    @pytest.mark.parametrize("kind", ["dpl", "difd"])
    def test_a_dual_loss_keeps_its_prices(self, kind: str):
        c, value, cost = self.parts()
        for how in (LOSSES[kind](prices=(0.2, 0.9)), LOSSES[kind]()):
            objective = Objective(how, c.trial(), (0.3, 0.8), 1.0)
            objective.prime(value, cost)
            before = objective.price.copy()
            for k in range(4):
                objective(2 * value[self.batch(k)], cost[self.batch(k)], self.batch(k))
            np.testing.assert_array_equal(objective.price, before)
            np.testing.assert_array_equal(objective.marginal, before)
            if how.prices:
                assert before.tolist() == [0.2, 0.9]
            else:
                paid = c.trial().inverse.numpy() * c.trial().rows.cost.numpy() / 400
                expected = spend_price(c.value, c.cost, c.taken, paid, np.array([0.3, 0.8]))
                np.testing.assert_array_equal(before, expected)
                assert (before > 0).all()

    @pytest.mark.parametrize("smooth", [0.0, 0.8, 1.0])
    def test_a_primal_price_follows_the_batch_smoothly(self, smooth: float):
        c, value, cost = self.parts()
        trial = c.trial()
        objective = objective_with(smooth, PPL(), trial, (0.3, 0.8), 1.0)
        objective.prime(value, cost)
        price, gap = objective.price.copy(), objective.gap.copy()
        for k in range(3):
            i = self.batch(k).numpy()
            objective(value[i], cost[i], self.batch(k))
            paid = (trial.inverse * trial.rows.cost).numpy()[i] / 100
            price = smooth * price + (1 - smooth) * spend_price(
                c.value[i], c.cost[i], c.taken[i], paid, np.array([0.3, 0.8])
            )
            two = [np.sort(c.value[i] - p * c.cost[i], 1)[:, -2:] for p in price]
            # The middle of an even number of gaps is the lower one.
            now = [np.sort(t[:, 1] - t[:, 0])[49] for t in two]
            gap = smooth * gap + (1 - smooth) * np.array(now)
            close(objective.price, price)
            close(objective.gap, gap)
        assert (price > 0).all()

    def test_an_unprimed_loss_takes_its_first_batch_whole(self):
        c, value, cost = self.parts()
        first, second = (objective_with(s, PPL(), c.trial(), (0.5,), 1.0) for s in (0.0, 0.9))
        i = self.batch(1)
        losses = [float(o(value[i], cost[i], i)) for o in (first, second)]
        assert losses[0] == losses[1]
        assert first.price == second.price
        assert first.price > 0

    def test_the_marginal_value_is_bounded(self):
        c, _, _ = self.parts()
        objective = Objective(PPL(), c.trial(), (0.1, 0.2, 0.3, 0.4, 0.5), 1.0)
        objective.price = np.array([0.5, 0.5, 0.5, 0.5, 0.0])
        objective.slopes = np.array([[0.6, 1.0], [9.0, 1.0], [-9.0, 1.0], [1.0, -1.0], [1.0, 1.0]])
        # As it is; at most three prices; not below nothing; the price where the spend does not fall; nothing where money is free.
        assert objective.marginal.tolist() == [0.6, 1.5, 0.0, 0.5, 0.0]

    @pytest.mark.parametrize(("net_of", "price"), [("price", 1.0), ("nothing", 0.0)])
    def test_what_money_is_worth_may_be_set(self, net_of: str, price: float):
        c, value, cost = self.parts()
        objective = Objective(PIFD(net_of=net_of), c.trial(), (0.3, 0.8), 1.0)
        objective.prime(value, cost)
        assert (objective.price > 0).all()
        close(objective.marginal, price * objective.price)

    @pytest.mark.parametrize("kind", KINDS)
    def test_what_it_remembers_is_the_whole_of_it(self, kind: str):
        c, value, cost = self.parts()
        how = LOSSES[kind]()
        old, new = (Objective(how, c.trial(), (0.3, 0.8), 1.3) for _ in range(2))
        old.prime(value, cost)
        for k in range(2):
            old(value[self.batch(k)], cost[self.batch(k)], self.batch(k))
        new.restore({k: v.copy() for k, v in old.state().items()})
        fresh = Objective(how, c.trial(), (0.3, 0.8), 1.3)
        i = self.batch(3)
        losses = [float(o(value[i], cost[i], i)) for o in (old, new, fresh)]
        assert losses[0] == losses[1]
        assert losses[0] != losses[2]

    def test_a_state_stays_what_it_was(self):
        c, value, cost = self.parts()
        objective = Objective(PPL(), c.trial(), (0.3, 0.8), 1.0)
        objective.prime(value, cost)
        state = objective.state()
        before = {k: v.copy() for k, v in state.items()}
        objective(value[self.batch(0)], cost[self.batch(0)], self.batch(0))
        for name, array in before.items():
            np.testing.assert_array_equal(state[name], array, err_msg=name)

    @pytest.mark.parametrize("kind", KINDS)
    def test_units_of_money_and_value_do_not_matter(self, kind: str):
        c, value, cost = self.parts()
        i, trial = torch.arange(400), c.trial()
        menu = (trial.menu[0] * 4, trial.menu[1] * 8)
        other = Trial(replace(trial.rows, value=trial.rows.value * 4, cost=trial.rows.cost * 8), menu)
        a = Objective(LOSSES[kind](), trial, (0.3, 0.8), 1.5)(value, cost, i)
        b = Objective(LOSSES[kind](), other, (2.4, 6.4), 6.0)(4 * value, 8 * cost, i)
        assert float(a) == pytest.approx(float(b), rel=1e-12)


class Killed(Exception):  # noqa: N818
    """The process is gone."""


ROWS, BATCH = 400, 64  # six steps per epoch
SHORT = Schedule(epochs=4, batch=BATCH, rate=1e-2, least=1, average=0.3)


def plain_job(dropout: float = 0.3, seed: int = 0) -> tuple[nn.Module, Callable[[Tensor], Tensor], None]:
    draw = torch.Generator().manual_seed(seed)
    net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, 1))
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=draw) / 2)
    x = torch.randn(ROWS, 3, generator=draw)
    y = x.sum(1, keepdim=True) ** 2
    return net, lambda i: ((net(x[i]) - y[i]) ** 2).mean(), None


def decision_job(kind: str = "ppl") -> tuple[nn.Module, Callable[[Tensor], Tensor], Objective]:
    logs = orders(ROWS)
    net = MLP(members=1, hidden=(8,), dropout=0.2, schedule=SHORT).fit(logs).nets_[0]
    x = torch.tensor(logs.x)
    with torch.no_grad():
        value, cost = net.menu(net(x))
    objective = Objective(LOSSES[kind](), replace(single(logs), menu=(value, cost)), (0.1, 0.3), 0.5)
    objective.prime(value, cost)
    return net, lambda i: objective(*net.menu(net(x[i])), i), objective


def weights(net: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in net.parameters()])


def learned(
    job: Callable[[], Any], checkpointer: Checkpointer | None = None, kill: int | None = None, seed: int = 3, **how: Any
) -> Tensor:
    net, loss, memory = job()

    def on_step(step: int, steps: int, value: float) -> None:
        if step == kill:
            raise Killed

    train(net, loss, ROWS, replace(SHORT, **how), seed, on_step, checkpointer, memory)
    return weights(net)


class TestTraining:
    @pytest.fixture(autouse=True)
    def every_step_is_saved(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(checkpoint, "_INTERVAL", 0.0)

    @pytest.mark.parametrize("kept", [1, 3, 5, 6, 7, 12, 17, 20, 23])
    def test_a_killed_run_goes_on_to_the_same_weights(self, kept: int, tmp_path: Path):
        """Epochs end at 6, 12, 18 and 24; the last 8 steps are averaged; the step that is killed is not kept."""
        checkpointer = Checkpointer(tmp_path / "state", "job")
        with pytest.raises(Killed):
            learned(plain_job, checkpointer, kill=kept + 1)
        assert int(checkpointer.latest()["step"]) == kept
        assert torch.equal(learned(plain_job, checkpointer), learned(plain_job))

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("kept", [4, 6, 20])
    def test_a_killed_run_remembers_what_its_loss_knew(self, kept: int, kind: str, tmp_path: Path):
        checkpointer = Checkpointer(tmp_path / "state", "job")
        with pytest.raises(Killed):
            learned(lambda: decision_job(kind), checkpointer, kill=kept + 1)
        assert torch.equal(learned(lambda: decision_job(kind), checkpointer), learned(lambda: decision_job(kind)))

    def test_killed_again_and_again(self, tmp_path: Path):
        checkpointer = Checkpointer(tmp_path / "state", "job")
        for kill in (3, 5, 9, 10, 16):
            with pytest.raises(Killed):
                learned(plain_job, checkpointer, kill=kill)
        assert torch.equal(learned(plain_job, checkpointer), learned(plain_job))

    def test_one_step_per_epoch(self, tmp_path: Path):
        """Every step ends an epoch: the smallest batch is all rows."""
        schedule, checkpointer = replace(SHORT, epochs=12), Checkpointer(tmp_path / "state", "job")

        def stop(step: int, steps: int, value: float) -> None:
            if step == 6:
                raise Killed

        net, loss, _ = plain_job()
        with pytest.raises(Killed):
            train(net, loss, 64, schedule, 3, stop, checkpointer)
        results = []
        for kept in (checkpointer, None):
            net, loss, _ = plain_job()
            train(net, loss, 64, schedule, 3, None, kept)
            results.append(weights(net))
        assert torch.equal(*results)

    def test_a_finished_run_is_not_run_again(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(checkpoint, "_INTERVAL", 1e9)
        checkpointer = Checkpointer(tmp_path / "state", "job")
        first = learned(plain_job, checkpointer)
        assert torch.equal(learned(plain_job, checkpointer, kill=1), first), "no step is taken, so none is killed"

    def test_a_state_of_another_job_is_ignored(self, tmp_path: Path):
        place = tmp_path / "state"
        with pytest.raises(Killed):
            learned(plain_job, Checkpointer(place, digest([1.0])), kill=10, seed=99)
        other = Checkpointer(place, digest([2.0]))
        assert other.latest() is None
        assert torch.equal(learned(plain_job, other), learned(plain_job))
        assert int(other.latest()["step"]) == 24, "and it takes its place"

    @pytest.mark.parametrize("file", ["arrays.safetensors", "manifest.json"])
    @pytest.mark.parametrize("harm", ["cut", "garbled"])
    def test_a_damaged_folder_is_ignored(self, file: str, harm: str, tmp_path: Path):
        checkpointer = Checkpointer(tmp_path / "state", "job")
        with pytest.raises(Killed):
            learned(plain_job, checkpointer, kill=10, seed=99)
        place = checkpointer.folder / file
        good = place.read_bytes()
        place.write_bytes(good[: len(good) // 2] if harm == "cut" else good[:-9] + bytes(255 - b for b in good[-9:]))
        assert checkpointer.latest() is None
        assert torch.equal(learned(plain_job, checkpointer), learned(plain_job))

    @pytest.mark.parametrize("key", ["format", "kind", "settings", "arrays_sha256", "settings_sha256"])
    def test_a_manifest_that_lost_an_entry_is_ignored(self, key: str, tmp_path: Path):
        checkpointer = Checkpointer(tmp_path / "state", "job")
        checkpointer.keep(lambda: {"step": np.array(3)})
        assert checkpointer.latest() is not None
        place = checkpointer.folder / "manifest.json"
        manifest = json.loads(place.read_text())
        del manifest[key]
        place.write_text(json.dumps(manifest))
        assert checkpointer.latest() is None

    def test_states_are_kept_in_time(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(checkpoint, "_INTERVAL", 1e9)
        checkpointer = Checkpointer(tmp_path / "state", "job")
        checkpointer.keep(dict)
        assert checkpointer.latest() is None
        checkpointer.keep(lambda: {"a": np.ones(2)}, now=True)
        assert checkpointer.latest()["a"].tolist() == [1, 1]

    @pytest.mark.parametrize("dropout", [0.0, 0.5])
    def test_the_seed_decides(self, dropout: float):
        job = lambda: plain_job(dropout)  # noqa: E731
        first = learned(job)
        torch.manual_seed(1234)
        net, loss, _ = job()
        outside = torch.get_rng_state()
        train(net, loss, ROWS, SHORT, 3)
        assert torch.equal(weights(net), first)
        assert torch.equal(torch.get_rng_state(), outside), "nobody else's draws are used up"
        assert not torch.equal(learned(job, seed=4), first)

    def test_what_is_dropped_is_drawn_anew_in_each_step(self):
        net = nn.Sequential(nn.Dropout(0.5), nn.Linear(64, 1, bias=False))
        seen: list[Tensor] = []

        def loss(i: Tensor) -> Tensor:
            seen.append(net[0](torch.ones(1, 64)).detach())
            return net[1](seen[-1]).mean()

        runs = []
        for seed in (0, 0, 1):
            seen.clear()
            train(net, loss, 64, replace(SHORT, epochs=3), seed)
            runs.append(torch.stack(seen))
        assert torch.equal(runs[0], runs[1])
        assert not torch.equal(runs[0], runs[2])
        assert not torch.equal(runs[0][0], runs[0][1])

    def test_what_a_training_depends_on_changes_its_digest(self):
        base = [np.arange(4.0), torch.ones(3), "ppl", 0.5]
        others = (
            [np.arange(4.0) + 1, *base[1:]], [np.arange(4.0, dtype=np.float32), *base[1:]],
            [np.arange(4.0).reshape(2, 2), *base[1:]], [base[0], torch.zeros(3), *base[2:]], [*base[:2], "dpl", 0.5],
            [*base[:3], 0.25], base[:3],
        )  # fmt: skip
        assert digest(base) == digest([np.arange(4.0), torch.ones(3), "ppl", 0.5])
        assert len({digest(base), *map(digest, others)}) == len(others) + 1


class TestMenuOfTheNetwork:
    @pytest.mark.parametrize("monotone", [False, True])
    @pytest.mark.parametrize("world", WORLDS)
    def test_it_is_the_menu_of_the_response(self, world: str, monotone: bool):
        logs = WORLDS[world](1200)
        outcome = replace(Outcome.infer(logs), monotone=monotone, ordered=monotone or Outcome.infer(logs).ordered)
        net = MLP(outcome=outcome, members=1, hidden=(16,), schedule=replace(SHORT, rate=0.05)).fit(logs).nets_[0]
        x = torch.tensor(logs.x)
        with torch.no_grad():
            value, conversion, cost = (None if a is None else a.numpy() for a in net.predict_response(x))
            found = [a.numpy() for a in net.menu(net(x))]
        menu = outcome.menu(Response(value, conversion, cost), logs.treatments)
        np.testing.assert_allclose(found[0], menu.value, rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(found[1], menu.cost, rtol=1e-6, atol=1e-7)
        assert (np.diff(value, axis=1) < -1e-4).any(), "some response falls with the level"
        assert (np.diff(found[0], axis=1) >= 0).all() == monotone

    def test_redemptions_of_counts(self):
        base = WORLDS["counts"](1200)
        logs = Logs(x=base.x, treatment=base.treatment, value=base.value, cost=1.5 * base.treatment * (base.value > 0))
        outcome = replace(Outcome.infer(logs), monotone=True)
        assert outcome.cost_rule == "per_redemption"
        net = MLP(outcome=outcome, members=1, hidden=(16,), schedule=SHORT).fit(logs).nets_[0]
        with torch.no_grad():
            value, conversion, _ = net.predict_response(torch.tensor(logs.x))
            found = net.menu(net(torch.tensor(logs.x)))
        menu = outcome.menu(Response(value.numpy(), conversion.numpy()), logs.treatments)
        np.testing.assert_allclose(found[0], menu.value, rtol=1e-6)
        np.testing.assert_allclose(found[1], menu.cost, rtol=1e-6)

    def test_it_can_be_learned_from(self):
        for world, make in WORLDS.items():
            logs = make(300)
            net = MLP(members=1, hidden=(8,), schedule=SHORT).fit(logs).nets_[0]
            net.zero_grad(set_to_none=True)
            value, cost = net.menu(net(torch.tensor(logs.x)))
            (value - cost).sum().backward()
            assert net.value.weight.grad.abs().max() > 0, world
