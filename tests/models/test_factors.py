"""Decision factors: the losses against their formulas, the models against worlds whose answer is known."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch import nn

from largesse import __version__
from largesse.allocate import assign
from largesse.errors import DataError
from largesse.evaluate.ranking_metrics import aucc, roi_score
from largesse.logs import Logs
from largesse.menu import Menu
from largesse.models import DPM, DRM, DRP, DUM, FullBatch
from largesse.models.base import Model
from largesse.models.factors import base as factor_base
from largesse.models.factors.dhcl import falling_steps
from largesse.models.factors.losses import DPMLoss, DRMLoss, DRPLoss, DUMLoss, ScoreNet, gradient_noise
from largesse.models.nets import checkpoint, full_batch
from largesse.models.nets.checkpoint import Arrays, Checkpointer, digest
from largesse.models.nets.full_batch import accumulate_gradient, train_full_batch
from largesse.models.nets.rows import Rows
from largesse.policy.saved import model_state, restored

LOSSES = {"DUM": DUMLoss, "DRP": DRPLoss, "DRM": DRMLoss, "DPM": DPMLoss}
QUICK = FullBatch(steps=30)
EXACT = FullBatch(steps=2000, tolerance=1e-14)
MODELS = {
    "DUM": DUM(members=2, hidden=(8,), training=QUICK),
    "DRP": DRP(members=2, hidden=(8,), training=QUICK),
    "DRM": DRM(members=2, hidden=(8,), training=QUICK),
    "DPM": DPM(members=2, hidden=(8,), training=QUICK),
    "DRP published": DRP.published(training=FullBatch(optimiser="adam", steps=30)),
    "DPM published": DPM.published(training=FullBatch(optimiser="adam", steps=30)),
}


def planted(n: int, seed: int, m: int = 2, noise: float = 1.0) -> tuple[Logs, Menu]:
    """A trial, and the truth: cost rises with x0, the ROI with x1, control costs money, steps bring less and less."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4)).astype(np.float32)
    level = np.arange(m)
    cost = 0.5 + level * np.exp(0.5 * x[:, :1])
    value = 1 + x[:, 2:3] + (0.2 + 0.6 / (1 + np.exp(-2 * x[:, 1:2]))) * np.sqrt(level) * np.exp(0.5 * x[:, :1])
    t = rng.choice(m, n, p=np.arange(1.0, m + 1) / np.arange(1.0, m + 1).sum())
    each = np.arange(n), t
    logs = Logs(
        x=x, treatment=t, value=value[each] + noise * rng.normal(size=n), cost=cost[each] * rng.integers(0, 2, n) * 2,
        propensity="observed", control_cost=True,
    )  # fmt: skip
    return logs, Menu(value=value, cost=cost)


def rows_of(logs: Logs) -> Rows:
    return Rows.of(logs, unit_weight=logs.total_weight, dtype=torch.float64)


def weighted(logs: Logs, seed: int = 0) -> Logs:
    weight = np.random.default_rng(seed).uniform(0.5, 3, logs.n)
    return replace(logs, weight=weight, propensity="observed")


# ---- the losses


@pytest.mark.parametrize("chunk", [1, 64, 97, 100])
@pytest.mark.parametrize("name", LOSSES)
def test_the_streamed_gradient_is_that_of_one_batch(name: str, chunk: int):
    logs = weighted(planted(100, 0, 4 if name == "DPM" else 2)[0])
    rows = rows_of(logs)
    loss = LOSSES[name](rows)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2 if name == "DPM" else 1)).double()
    x = torch.tensor(logs.x).double()
    one = loss(net(x), slice(0, 100))
    expected = torch.autograd.grad(one, list(net.parameters()))
    value = accumulate_gradient(lambda part: net(x[part]), loss, 100, chunk)
    assert value == pytest.approx(one.item(), rel=1e-10, abs=1e-12)
    for p, g in zip(net.parameters(), expected, strict=True):
        torch.testing.assert_close(p.grad, g, rtol=1e-10, atol=1e-12)
    assert min(g.abs().max() for g in expected[:3]) > 1e-3


def test_the_losses_are_those_of_the_paper():
    logs, _ = planted(60, 1)
    s = np.random.default_rng(0).normal(size=60)
    t, r, c = logs.treatment, logs.value, logs.cost
    treated, control = t == 1, t == 0

    def loss(name: str) -> float:
        return float(LOSSES[name](rows_of(logs))(torch.tensor(s)[:, None], slice(0, 60)))

    p = np.exp(s) / np.exp(s).sum()
    dum = -((r * np.log(p))[treated].mean() - (r * np.log(p))[control].mean())
    assert loss("DUM") == pytest.approx(dum, rel=1e-10)

    soft = np.log1p(np.exp(s))
    drp = -((r * s)[treated].mean() - (r * s)[control].mean()) + (c * soft)[treated].mean() - (c * soft)[control].mean()
    assert loss("DRP") == pytest.approx(drp, rel=1e-10)

    w = [np.exp(np.tanh(s[arm])) / np.exp(np.tanh(s[arm])).sum() for arm in (control, treated)]
    drm = (w[1] @ c[treated] - w[0] @ c[control]) / (w[1] @ r[treated] - w[0] @ r[control])
    assert w[1] @ r[treated] - w[0] @ r[control] > 0.05
    assert loss("DRM") == pytest.approx(drm, rel=1e-10)


@pytest.mark.parametrize("m", [2, 3, 5])
def test_the_loss_of_levels_is_that_of_the_paper(m: int):
    logs, _ = planted(80, 2, m)
    score = np.random.default_rng(0).normal(size=(80, m - 1))
    q = 1 / (1 + np.exp(-score))
    total = 0.0
    for i in range(80):
        t, r, c = logs.treatment[i], logs.value[i], logs.cost[i]
        a = 80 / (m * logs.arm_rows[t])
        into = q[i, t - 1] if t > 0 else 0.0
        out = q[i, t] if t < m - 1 else 0.0
        total += a * (c * (into**2 - out**2) - r * (into - out)) / 80
    sides = np.clip(np.stack([logs.treatment - 1, logs.treatment], 1), 0, m - 2)
    table = torch.tensor(np.take_along_axis(score, sides, 1))
    assert float(DPMLoss(rows_of(logs))(table, slice(0, 80))) == pytest.approx(total, rel=1e-10)


@pytest.mark.parametrize("name", ["DUM", "DRP", "DPM"])
def test_a_loss_is_unbiased_over_assignments(name: str):
    """Against the loss of full information: both means of every unit, whatever the shares and the weights."""
    n, m = 60, 3 if name == "DPM" else 2
    rng = np.random.default_rng(3)
    x, value, weight = rng.normal(size=(n, 1)), rng.normal(1, 1, (n, m)), rng.uniform(0.5, 3, n)
    cost = rng.uniform(0, 2, (n, m))
    shares = np.arange(1.0, m + 1) / np.arange(1.0, m + 1).sum()  # unequal
    score = rng.normal(size=(n, m - 1))
    names = tuple(map(str, range(m)))

    def loss(t: np.ndarray) -> float:
        logs = Logs(
            x=x, treatment=t, value=value[np.arange(n), t], cost=cost[np.arange(n), t], treatments=names, weight=weight,
            propensity=dict(zip(names, shares, strict=True)), control_cost=True,
        )  # fmt: skip
        sides = np.clip(np.stack([t - 1, t], 1), 0, m - 2) if name == "DPM" else np.zeros((n, 1), int)
        return float(LOSSES[name](rows_of(logs))(torch.tensor(np.take_along_axis(score, sides, 1)), slice(0, n)))

    w, s = weight / weight.sum(), score[:, 0]
    gain, price = np.diff(value), np.diff(cost)
    q = 1 / (1 + np.exp(-score))
    full = {
        "DUM": -w @ (gain[:, 0] * (s - np.log(weight @ np.exp(s)))),
        "DRP": w @ (price[:, 0] * np.log1p(np.exp(s)) - gain[:, 0] * s),
        "DPM": w @ (price * q**2 - gain * q).sum(1) / m,
    }[name]
    drawn = np.array([loss(rng.choice(m, n, p=shares)) for _ in range(2000)])
    assert drawn.std() > 0.01
    assert abs(drawn.mean() - full) < 3 * drawn.std() / np.sqrt(2000)


def test_the_ratio_has_no_pole():
    one, value, cost = (torch.tensor(a).double() for a in ([1, 1, 1], [1, -1, 0], [1, 1, 0]))
    rows = Rows(treatment=torch.tensor([1, 1, 0]), value=value, cost=cost, weight=one, share=one, inverse=one)
    at = [float(DRMLoss(rows)(torch.tensor([[s], [-s], [0.0]]).double(), slice(0, 3))) for s in np.linspace(-2, 2, 101)]
    assert (np.diff(at) < 0).all(), "the more value, the less loss: through zero too"


def test_weight_two_is_the_row_twice_in_every_loss():
    for name, loss in LOSSES.items():
        logs = planted(50, 4, 3 if name == "DPM" else 2)[0]
        weight = np.random.default_rng(0).integers(1, 3, 50)
        many = np.repeat(np.arange(50), weight)
        heavy = replace(logs, weight=weight.astype(float), propensity="observed")
        s = torch.tensor(np.random.default_rng(1).normal(size=(50, 2 if name == "DPM" else 1)))
        one, two = loss(rows_of(heavy)), loss(rows_of(logs.take(many)))
        assert float(one(s, slice(0, 50))) == pytest.approx(float(two(s[many], slice(0, len(many)))), rel=1e-10)
        error = [
            gradient_noise(loss, torch.tensor(which.x), rows_of(which).weight, s.shape[1])
            for loss, which in ((one, heavy), (two, logs.take(many)))
        ]
        assert error[0] == pytest.approx(error[1], rel=0.02)  # DUM's softmax alone makes them differ


# ---- what they find


def cells(means: np.ndarray, cost: np.ndarray, copies: int = 25, noise: float = 0.0, seed: int = 0) -> Logs:
    """Rows of a few kinds of units, one-hot, with their mean value and cost (K, M), plus noise that sums to no pattern."""
    k, m = means.shape
    kind, t = (a.ravel() for a in np.meshgrid(np.arange(k), np.arange(m), indexing="ij"))
    kind, t = np.tile(kind, copies), np.tile(t, copies)
    rng = np.random.default_rng(seed)
    return Logs(
        x=np.eye(k)[kind], treatment=t, value=means[kind, t] + noise * rng.normal(size=len(t)), cost=cost[kind, t],
        control_cost=True,
    )  # fmt: skip


GAIN = np.array([0.1, 0.3, 0.5, 0.8, 1.0])
PRICE = np.array([0.5, 0.6, 1.0, 2.0, 1.0])
VALUE = np.column_stack([np.arange(5.0), np.arange(5) + GAIN])
COST = np.column_stack([0.3 + 0 * PRICE, 0.3 + PRICE])


def test_drp_finds_the_roi_of_every_cell():
    logs = cells(VALUE, COST)
    model = DRP(members=1, l2=0.0, hidden=(16,), training=EXACT).fit(logs)
    menu = model.predict(np.eye(5))
    np.testing.assert_allclose(menu.value[:, 1], GAIN / PRICE, rtol=0.01)
    assert menu.cost.tolist() == [[0.0, 1.0]] * 5
    assert not menu.value[:, 0].any()
    assert model.roi_scale_ == pytest.approx(4 * GAIN.mean() / PRICE.mean())
    assert model.finish_[0].done


def test_noise_costs_less_and_less():
    error = []
    for copies in (100, 6400):
        off = [
            DRP(members=1, l2=0.01, hidden=(8,))
            .fit(cells(VALUE, COST, copies, noise=1.0, seed=s))
            .predict(np.eye(5))
            .value[:, 1]
            - GAIN / PRICE
            for s in range(2)
        ]
        error.append(float(np.sqrt(np.mean(np.square(off)))))
    assert error[1] < 0.3 * error[0]  # 64 times the rows: about an eighth


def test_a_roi_far_above_the_mean_doubles_the_scale():
    gain = np.array([0.1] * 9 + [4.0])
    value, cost = np.column_stack([0 * gain, gain]), np.tile([0.0, 1.0], (10, 1))
    model = DRP(members=1, l2=0.0, hidden=(16,), training=EXACT).fit(cells(value, cost))
    assert model.roi_scale_ == pytest.approx(
        2 ** np.round(np.log2(model.roi_scale_ / (4 * gain.mean()))) * 4 * gain.mean()
    )
    assert model.roi_scale_ > 4.0
    np.testing.assert_allclose(model.predict(np.eye(10)).value[:, 1], gain, rtol=0.01)


def test_dum_finds_the_uplift_of_every_cell():
    model = DUM(members=1, l2=0.0, hidden=(16,), training=EXACT).fit(cells(VALUE, COST))
    np.testing.assert_allclose(model.predict(np.eye(5)).value[:, 1], GAIN, rtol=0.01)


def test_drm_puts_the_cells_in_the_order_of_their_roi():
    menu = DRM(members=1, l2=0.0, hidden=(16,)).fit(cells(VALUE, COST)).predict(np.eye(5))
    roi = GAIN / PRICE
    best, worst = menu.value[roi > 0.9, 1].min(), menu.value[roi < 0.3, 1].max()
    assert best > 2 * worst
    assert (menu.value[:, 1] > 0).all()


def test_dpm_finds_the_roi_of_every_step():
    gains = np.array([[0.9, 0.5, 0.2], [0.6, 0.3, 0.1], [1.2, 1.0, 0.4], [0.2, 0.15, 0.05]])
    prices = np.array([[1.0, 1.0, 1.0], [1.0, 0.7, 0.5], [2.0, 2.0, 1.0], [0.5, 0.5, 0.5]])
    value = np.hstack([np.ones((4, 1)), 1 + gains.cumsum(1)])
    cost = np.hstack([np.zeros((4, 1)), prices.cumsum(1)]) + 0.2
    model = DPM(members=1, l2=0.0, hidden=(32,), training=EXACT).fit(cells(value, cost))
    factors = model._factors(np.eye(4, dtype=np.float32))  # q, in units of the value per money
    np.testing.assert_allclose(factors, gains / (2 * prices), rtol=0.01)
    menu = model.predict(np.eye(4))
    np.testing.assert_allclose(np.diff(menu.value), gains / prices, rtol=0.01)
    assert model.roi_scale_ == pytest.approx(2 * (gains.mean(0) / prices.mean(0)).max())


def test_a_menu_of_levels_climbs_while_a_step_is_worth_its_price():
    logs, _ = planted(800, 5, 5)
    model = DPM(members=2, hidden=(8,), l2=0.1, training=QUICK).fit(logs)
    q = model._factors(logs.x)
    assert (np.diff(q) > 0).any(), "before the projection some steps rise"
    q = falling_steps(q)
    assert (np.diff(q) <= 0).all()
    menu = model.predict(logs.x)
    for price in np.random.default_rng(0).uniform(0, 2.2 * q.max(), 60):
        level = np.zeros(logs.n, int)
        for i in range(logs.n):
            while level[i] < 4 and 2 * q[i, level[i]] > price:
                level[i] += 1
        np.testing.assert_array_equal(assign(menu, price), level)


def test_steps_are_pooled_to_the_nearest_falling_ones():
    rng = np.random.default_rng(0)
    table = rng.random((50, 6))
    falling = falling_steps(table)
    assert (np.diff(falling) <= 0).all()
    np.testing.assert_allclose(falling.sum(1), table.sum(1))
    for _ in range(200):  # no other falling row is nearer
        other = -np.sort(-rng.random((50, 6)))
        assert (((falling - table) ** 2).sum(1) <= ((other - table) ** 2).sum(1) + 1e-12).all()
    falling = -np.sort(-table)
    np.testing.assert_array_equal(falling_steps(falling), falling)


def test_the_fitted_order_is_nearly_the_true_one():
    train, _ = planted(12_000, 6)
    test, truth = planted(40_000, 7)
    best = aucc(test, roi_score(truth))
    random = aucc(test, np.random.default_rng(0).normal(size=test.n))
    assert abs(random - 0.5) < 0.02
    assert best > 0.55
    for model in (DRP(members=1), DRM(members=1)):
        area = aucc(test, model.fit(train).predict(test.x).value[:, 1])
        assert area > 0.5 + 0.75 * (best - 0.5), type(model).__name__


# ---- the contract


def for_model(name: str, n: int = 400, seed: int = 8) -> Logs:
    return planted(n, seed, 4 if name.startswith("DPM") else 2, noise=0.5)[0]


@pytest.mark.parametrize("name", MODELS)
def test_the_contract_of_a_decision_factor(name: str):
    logs = for_model(name)
    before = [a.copy() for a in (logs.x, logs.value, logs.cost)]
    state = torch.random.get_rng_state()
    model = clone(MODELS[name])
    first = model.fit(logs).predict(logs.x)
    assert torch.equal(state, torch.random.get_rng_state())
    for other in (model.fit(logs), clone(model).fit(logs, replace(logs, design="obs", propensity=None))):
        np.testing.assert_array_equal(first.value, other.predict(logs.x).value)
    for a, b in zip(before, (logs.x, logs.value, logs.cost), strict=True):
        np.testing.assert_array_equal(a, b)
    elsewhere = clone(model).set_params(seed=1).fit(logs).predict(logs.x)
    assert not np.array_equal(first.value, elsewhere.value)
    assert (np.diff(first.value) > 0).all()
    assert first.value.std() > 0.01
    assert model.get_params()["members"] == len(model.nets_) == len(model.finish_)
    settings, arrays = model_state(model)
    again = restored(settings, arrays)
    assert type(again) is type(model)
    np.testing.assert_array_equal(first.value, again.predict(logs.x).value)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("money", "worth"), [(4.0, 1.0), (1.0, 0.125), (2.0, 16.0)])
def test_units_do_not_matter(name: str, money: float, worth: float):
    logs = for_model(name)
    other = replace(logs, cost=money * logs.cost, value=worth * logs.value, propensity="observed")
    a, b = (clone(MODELS[name]).fit(rows).predict(logs.x) for rows in (logs, other))
    factor = {"DUM": worth, "DRM": 1.0}.get(name, worth / money)
    np.testing.assert_allclose(b.value, factor * a.value, rtol=1e-5)
    np.testing.assert_array_equal(a.cost, b.cost)


@pytest.mark.parametrize("name", ["DUM", "DRP", "DRM", "DPM"])
def test_a_weight_of_two_is_the_row_twice(name: str):
    logs = for_model(name)
    weight = np.random.default_rng(0).integers(1, 3, logs.n)
    heavy = replace(logs, weight=weight.astype(float), propensity="observed")
    twice = logs.take(np.repeat(np.arange(logs.n), weight))
    model: Model = clone(MODELS[name]).set_params(members=1, training=FullBatch(steps=3000, tolerance=1e-13), l2=2.0)
    a, b = (model.fit(rows).predict(logs.x).value for rows in (heavy, twice))
    plain = model.fit(logs).predict(logs.x).value
    assert np.abs(a - b).max() < 0.02 * np.ptp(a)
    assert np.abs(a - b).max() < 0.2 * np.abs(a - plain).max()


@pytest.mark.parametrize("name", ["DUM", "DRP", "DRM", "DPM"])
def test_planned_shares_are_used(name: str):
    """Half of the treated rows are dropped and the plan says so: the same is learned."""
    logs = cells(VALUE, COST, 40)
    fewer = np.flatnonzero((logs.treatment == 0) | (np.arange(logs.n) < logs.n // 2))
    halved = replace(logs.take(fewer), propensity={"0": 2 / 3, "1": 1 / 3})
    model: Model = clone(MODELS[name]).set_params(members=1, l2=0.0)
    a, b = (np.diff(model.fit(rows).predict(np.eye(5)).value) for rows in (logs, halved))
    assert a.std() > 0.1
    if name != "DUM":  # its softmax runs over the rows of both arms
        np.testing.assert_allclose(a, b, rtol=0.02)
    assert np.corrcoef(a[:, 0], b[:, 0])[0, 1] > 0.99


def test_what_cannot_be_learned_is_refused():
    three = for_model("DPM")
    for model in (DUM(), DRP(), DRM()):
        with pytest.raises(DataError, match=r"rct.n_treatments == 4: .* Use DPM"):
            model.fit(three)
    logs = for_model("DRP")
    free = replace(logs, cost=0 * logs.cost, propensity="observed")
    harmful = replace(logs, value=-logs.value, propensity="observed")
    for model in (DRP(), DRM(), DPM()):
        with pytest.raises(
            DataError, match=r"mean cost of '1' less that of '0' == 0.0: must be > 0 .* order of their cost"
        ):
            model.fit(free)
    for model in (DUM(), DRM()):
        with pytest.raises(DataError, match=r"mean value of '1' less that of '0' == -.* Use DRP"):
            model.fit(harmful)
    roi = clone(MODELS["DRP"]).fit(harmful).predict(logs.x).value[:, 1]
    assert (roi > 0).all(), "a harmful treatment comes last, at no price before control"
    with pytest.raises(DataError, match="members"):
        DRP(members=0).fit(logs)
    with pytest.raises(DataError, match="l2"):
        DRP(l2=-1).fit(logs)
    for wrong in ({"optimiser": "sgd"}, {"steps": 0}, {"tolerance": -1.0}, {"rate": -1.0}):
        with pytest.raises(DataError, match=next(iter(wrong))):
            FullBatch(**wrong)


def test_no_value_at_all_is_learned_as_none():
    logs = for_model("DRP")
    nothing = replace(logs, value=0 * logs.value, propensity="observed")
    value = clone(MODELS["DRP"]).fit(nothing).predict(logs.x).value
    assert np.isfinite(value).all()
    assert value.max() < 0.1


def test_a_constant_feature_does_no_harm():
    logs = for_model("DRP")
    wide = replace(logs, x=np.column_stack([logs.x, np.full(logs.n, 1e6)]), features=(), propensity="observed")
    menu = clone(MODELS["DRP"]).set_params(l2=0.01).fit(wide).predict(wide.x)
    assert np.isfinite(menu.value).all()
    assert menu.value[:, 1].std() > 0.01


# ---- the training


def test_both_optimisers_reach_the_same_loss():
    logs, _ = planted(500, 9)
    rows, x = rows_of(logs), torch.tensor(logs.x)
    finishes = {}
    for optimiser, steps, rate in (("lbfgs", 400, 0.0), ("adam", 1000, 0.02)):
        net = ScoreNet(4, 1, (4,), torch.Generator().manual_seed(0))
        settings = FullBatch(optimiser=optimiser, steps=steps, rate=rate)
        score = lambda part, net=net: net(x[part]).double()  # noqa: E731
        finish = train_full_batch(net, score, DRPLoss(rows), 500, settings, 0.3)
        with torch.no_grad():
            penalty = 0.15 * sum(float((p**2).sum()) for name, p in net.named_parameters() if name.endswith("weight"))
            reached = float(DRPLoss(rows)(score(slice(0, 500)), slice(0, 500))) + penalty
        assert reached == pytest.approx(finish.loss, abs=1e-3)
        assert finish.passes >= finish.steps
        finishes[optimiser] = finish
    assert finishes["lbfgs"].loss == pytest.approx(finishes["adam"].loss, abs=0.003)
    assert finishes["lbfgs"].steps < 400
    assert finishes["lbfgs"].done
    assert finishes["adam"].steps == finishes["adam"].passes == 1000


def test_chunks_change_nothing_but_speed(monkeypatch: pytest.MonkeyPatch):
    logs, menus = for_model("DUM"), []
    for chunk in (10_000, 123):
        monkeypatch.setattr(full_batch, "_CHUNK", chunk)
        menus.append(DUM(members=1, hidden=(8,), training=FullBatch(steps=10)).fit(logs).predict(logs.x).value)
    np.testing.assert_allclose(*menus, rtol=1e-3)


def test_starts_differ_and_averaging_lowers_their_spread():
    logs = for_model("DRP")

    def spread(members: int) -> float:
        model = DRP(members=members, hidden=(8,), l2=0.1, training=QUICK)
        return float(
            np.std([clone(model).set_params(seed=s).fit(logs).predict(logs.x).value[:, 1] for s in range(4)], 0).mean()
        )

    assert 0 < spread(4) < 0.8 * spread(1)


# ---- killed, and begun again


class Killed(BaseException):
    pass


Steps = list[tuple[str, int, float]]  # of each step: the job, its passes and its last loss


@pytest.fixture
def every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings are saved after every step, not every twenty seconds."""
    monkeypatch.setattr(checkpoint, "_INTERVAL", 0.0)


class Recorder(Checkpointer):
    """Records each new state, at the state `kill` raises before it is saved; without a folder nothing is saved."""

    steps: Steps
    kill: int | None

    def keep(self, state: Callable[[], Arrays], *, now: bool = False) -> None:
        arrays = state()
        loss = np.atleast_1d(arrays["loss"])
        step = self.job, int(arrays.get("step", len(loss))), float(loss[-1])
        if step not in self.steps[-1:]:  # L-BFGS saves its last state again at the end
            self.steps.append(step)
            if len(self.steps) == self.kill:
                raise Killed
        if self.folder.name:
            super().keep(state, now=now)


def recorded(model: Model, logs: Logs, kill: int | None = None, **how: Any) -> tuple[Model, Steps]:
    """Returns a fitted clone and its steps; at the step `kill` of all, it is killed."""
    steps: Steps = []
    real = factor_base.checkpointer

    def recorder(root: str | None, *parts: Any) -> Recorder:
        saved = real(root, *parts)
        one = Recorder(Path() if saved is None else saved.folder, digest((__version__, *parts)))
        assert saved is None or one.job == saved.job
        one.steps, one.kill = steps, kill
        return one

    fitted = clone(model).set_params(**how)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(factor_base, "checkpointer", recorder)
        try:
            return fitted.fit(logs), steps
        except Killed:
            return fitted, steps


def same(a: Model, b: Model) -> bool:
    (settings, arrays), (others, parts) = a.state(), b.state()
    equal = all(np.array_equal(arrays[name], parts[name]) for name in arrays | parts)
    return equal and settings == others and a.finish_ == b.finish_


@pytest.mark.usefixtures("every_step")
@pytest.mark.parametrize("name", MODELS)
def test_killed_again_and_again_it_goes_on_to_the_same_networks(name: str, tmp_path: Path):
    logs = for_model(name)
    straight, steps = recorded(MODELS[name], logs)
    assert len(steps) >= 20
    done = 0
    for end in (1, 2, 3, len(steps) // 3, len(steps) // 2, len(steps) // 2 + 1, len(steps)):
        _, taken = recorded(MODELS[name], logs, kill=end - done, checkpoint=str(tmp_path / "kept"))
        assert taken == steps[done:end], "no step is taken twice, but for the one that was killed"
        done = end - 1
    last, taken = recorded(MODELS[name], logs, checkpoint=str(tmp_path / "kept"))
    assert taken == steps[done:]
    assert same(last, straight)


@pytest.mark.usefixtures("every_step")
def test_a_scale_that_was_doubled_is_doubled_again(tmp_path: Path):
    gain = np.array([0.1] * 9 + [4.0])
    logs = cells(np.column_stack([0 * gain, gain]), np.tile([0.0, 1.0], (10, 1)))
    model = DRP(members=2, l2=0.0, hidden=(16,), training=FullBatch(steps=200))
    straight, steps = recorded(model, logs)
    starts = [k for k, (job, *_) in enumerate(steps) if k == 0 or job != steps[k - 1][0]]
    assert len(starts) > 3, "the first network is trained once for each scale, the second once"
    folder = tmp_path / "kept"
    for begun, start in enumerate(starts[1:], 2):
        _, taken = recorded(model, logs, kill=start + 5, checkpoint=str(folder / str(begun)))
        assert taken == steps[: start + 5]
        assert len(list((folder / str(begun)).iterdir())) == begun
        again, taken = recorded(model, logs, checkpoint=str(folder / str(begun)))
        assert taken == steps[start + 4 :]
        assert same(again, straight)


@pytest.mark.parametrize("name", ["DPM", "DPM published"])
def test_a_finished_fit_is_not_trained_again_and_its_folder_is_not_saved(name: str, tmp_path: Path):
    logs = for_model(name)
    folder = tmp_path / "kept"
    first, steps = recorded(MODELS[name], logs, checkpoint=str(folder))
    assert steps
    kept = {p.name: (p / "manifest.json").stat().st_mtime_ns for p in folder.iterdir()}
    assert len(kept) == first.members
    again, steps = recorded(MODELS[name], logs, kill=1, checkpoint=str(folder))
    assert steps == []
    assert same(again, first)
    assert {p.name: (p / "manifest.json").stat().st_mtime_ns for p in folder.iterdir()} == kept
    assert str(tmp_path) not in json.dumps(model_state(first)[0])


CHANGES: dict[str, tuple[dict[str, Any], Callable[[Logs], Logs]]] = {
    "features": ({}, lambda logs: replace(logs, x=logs.x + (logs.x > 0), propensity="observed")),
    "value": ({}, lambda logs: replace(logs, value=np.roll(logs.value, 1), propensity="observed")),
    "cost": ({}, lambda logs: replace(logs, cost=np.where(logs.x[:, 0] > 0, 2, 1) * logs.cost, propensity="observed")),
    "treatment": ({}, lambda logs: replace(logs, treatment=np.roll(logs.treatment, 1), propensity="observed")),
    "propensity": ({}, lambda logs: replace(logs, propensity={"0": 0.5, "1": 0.5})),
    "weight": ({}, weighted),
    "penalty": ({"l2": 2.0}, lambda logs: logs),
    "steps": ({"training": FullBatch(steps=20)}, lambda logs: logs),
    "optimiser": ({"training": FullBatch(optimiser="adam", steps=30)}, lambda logs: logs),
    "start": ({"seed": 1}, lambda logs: logs),
    "network": ({"hidden": (8, 8)}, lambda logs: logs),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_the_training_of_another_job_is_not_taken_over(change: str, tmp_path: Path):
    logs, (how, changed) = for_model("DRP"), CHANGES[change]
    kept = {"checkpoint": str(tmp_path / "kept")}
    first, _ = recorded(MODELS["DRP"], logs, **kept)
    second, steps = recorded(MODELS["DRP"], changed(logs), **kept, **how)
    anew, expected = recorded(MODELS["DRP"], changed(logs), **how)
    assert steps == expected
    assert same(second, anew)
    assert not same(second, first)


def test_the_training_of_another_loss_is_not_taken_over(tmp_path: Path):
    """Two losses of the very same numbers."""
    logs, how = cells(VALUE, COST), {"members": 1, "l2": 0.0, "hidden": (8,), "training": QUICK}
    first, _ = recorded(DRP(**how), logs, checkpoint=str(tmp_path / "kept"))

    class Other(DRP):
        def _loss(self, rows: Rows) -> Any:
            return DUMLoss(rows)

    second, steps = recorded(Other(**how), logs, checkpoint=str(tmp_path / "kept"))
    assert steps
    assert not np.array_equal(first.predict(logs.x).value, second.predict(logs.x).value)


def test_where_the_log_and_the_descent_differ_passes_are_made_again(tmp_path: Path):
    """As where another processor rounds otherwise: losses at other weights are not reused."""
    logs = for_model("DRP")
    model = clone(MODELS["DRP"]).set_params(members=1)
    straight, steps = recorded(model, logs, checkpoint=str(tmp_path / "kept"))
    (folder,) = (tmp_path / "kept").iterdir()
    checkpointer = Checkpointer(folder, folder.name)
    evaluations = {name: column.copy() for name, column in checkpointer.latest().items()}
    assert (
        len(evaluations["point"])
        == len(evaluations["loss"])
        == len(evaluations["gradient"])
        == straight.finish_[0].passes
    )
    for column in evaluations.values():
        column[7:] = column[7:] // 2
    checkpointer.keep(lambda: evaluations, now=True)
    again, taken = recorded(model, logs, checkpoint=str(tmp_path / "kept"))
    assert 0 < len(taken) < len(steps)
    assert taken == steps[-len(taken) :]
    assert same(again, straight)
    for name, column in checkpointer.latest().items():
        assert len(column) == straight.finish_[0].passes, name
