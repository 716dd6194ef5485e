"""Clusters of a representation: their cells, their number, their plans."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.base import clone

from largesse.allocate import Chance, frontier, plan_clusters
from largesse.errors import DataError, NotFittedError
from largesse.menu import BUDGET_SHARES, Menu
from largesse.models import DFCL, HRC, MLP, BiDFCL, Boosting, Calibrated, Outcome, Schedule
from largesse.models.clusters import hrc
from largesse.models.clusters.cells import Means, cell_means, merged, shrunk
from largesse.models.clusters.representation import Body
from largesse.models.nets.weights import weights_of
from largesse.models.outcome import Response
from largesse.policy.saved import model_state, restored
from tests.common.worlds import WORLDS, orders

FAST = Schedule(epochs=2, least=150, batch=256)
NET = MLP(members=1, hidden=(16, 8), schedule=FAST)


def test_a_cluster_has_one_response_and_the_cells_are_it():
    logs = orders(4000)
    model = HRC(NET, sizes=(8,)).fit(logs)
    menu, of, cells = model.predict(logs.x), model.clusters(logs.x), model.cells(logs.x)
    np.testing.assert_array_equal(menu.value, cells.value[of])
    np.testing.assert_array_equal(menu.cost, cells.cost[of])
    assert cells.size.sum() == logs.n
    assert 1 < len(cells.size) <= 8
    (plan,) = plan_clusters(cells, [0.3 * float(menu.cost[:, 2].sum())], risk=Chance(0.1))
    assert plan.charged <= plan.budget
    assert plan.treatment.any()


def test_clusters_tell_who_responds():
    logs, fresh = orders(12_000, seed=5), orders(4000, seed=6)
    menu = HRC(sizes=(16,)).fit(logs).predict(fresh.x)
    gain = menu.value[:, 2] - menu.value[:, 0]
    assert gain[fresh.x[:, 0] > 0.5].mean() > gain[fresh.x[:, 0] < -0.5].mean() + 0.15


@pytest.mark.parametrize("world", sorted(WORLDS))
def test_every_outcome_has_cells(world: str):
    logs = WORLDS[world]()
    cells = HRC(NET, sizes=(6,)).fit(logs).cells(logs.x[:500])
    assert (cells.covariance[..., 1, 1] >= 0).all()
    if not logs.control_cost:
        assert not cells.variance[:, 0, 1, 1].any(), "what control costs is known: nothing"
    assert cells.covariance[:, 1, 0, 0].min() > 0


def test_it_is_saved_without_pickle():
    logs = orders(1500)
    model = HRC(NET, sizes=(8,)).fit(logs)
    again = restored(*model_state(model))
    np.testing.assert_array_equal(model.predict(logs.x).value, again.predict(logs.x).value)
    np.testing.assert_array_equal(model.cells(logs.x).covariance, again.cells(logs.x).covariance)


def test_the_fewest_clusters_that_will_do_are_taken():
    nothing = HRC(NET, sizes=(2, 30)).fit(orders(3000, effect=0.0), validation=orders(3000, seed=1, effect=0.0))
    assert len(nothing.groups_.centres) == 2
    strong = HRC(NET, sizes=(1, 12)).fit(orders(6000, effect=2.0), validation=orders(6000, seed=1, effect=2.0))
    assert len(strong.groups_.centres) == 12


def test_thin_clusters_join_the_nearest():
    rows = np.array([[90, 90], [90, 3], [90, 90], [4, 90]])
    into = merged(rows, np.array([[0.0], [1.0], [10.0], [12.0]]), 10)
    assert into.tolist() == [0, 0, 1, 1]
    assert merged(rows, np.zeros((4, 1)), 10**6).tolist() == [0, 0, 0, 0]
    assert merged(rows, np.zeros((4, 1)), 1).tolist() == [0, 1, 2, 3]


def test_cell_means_are_those_of_the_rows():
    logs = orders(900)
    cluster = (logs.x[:, 0] > 0).astype(np.int64)
    found = cell_means(logs, cluster, logs.value, 2)
    for k in range(2):
        for j in range(3):
            some = logs.value[(cluster == k) & (logs.treatment == j)]
            assert found.mean[k, j] == pytest.approx(some.mean())
            assert found.variance[k, j] == pytest.approx(some.var() / len(some), rel=0.2)


@pytest.mark.parametrize("levels", [True, False])
def test_shrunk_means_are_nearer_the_truth_and_their_errors_honest(levels: bool):
    rng = np.random.default_rng(0)
    guess = rng.normal(size=(400, 3))
    truth = guess + rng.normal(size=(400, 1)) + 0.1 * rng.normal(size=(400, 3))
    error = rng.uniform(0.05, 0.3, truth.shape)
    raw = truth + np.sqrt(error) * rng.normal(size=truth.shape)
    found = shrunk(Means(raw, error), guess, levels=levels)
    off = (found.mean - truth) ** 2
    assert off.mean() < (0.8 if levels else 0.95) * ((raw - truth) ** 2).mean()
    assert off.mean() < 0.2 * ((guess - truth) ** 2).mean()
    assert found.variance.mean() == pytest.approx(off.mean(), rel=0.2)


@pytest.mark.parametrize("levels", [True, False])
def test_a_guess_that_only_noise_contradicts_is_kept_and_not_taken_as_known(levels: bool):
    rng = np.random.default_rng(1)
    guess, noise = rng.normal(size=(200, 2)), np.sqrt(0.3) * rng.normal(size=(200, 2))
    found = shrunk(Means(guess + noise, np.full((200, 2), 0.3)), guess, levels=levels)
    off = (found.mean - guess) ** 2
    assert off.mean() < 0.02 * (noise**2).mean()
    assert (off.mean() < found.variance).all()
    assert found.variance.max() < 0.3 / 4


@pytest.mark.parametrize("arms", [2, 5])
@pytest.mark.parametrize("between", [0.0, 0.3, 1.0])
def test_intervals_of_shrunk_cells_hold_the_truth(arms: int, between: float):
    """Few cells: how much guesses miss is hardly known, and that is part of the errors."""
    rng, inside = np.random.default_rng(0), []
    for _ in range(60):
        truth = 2 * rng.normal(size=(8, 1)) + between * rng.normal(size=(8, arms))
        error = rng.uniform(0.5, 1.5, truth.shape)
        found = shrunk(Means(truth + np.sqrt(error) * rng.normal(size=truth.shape), error), 0 * truth, levels=True)
        inside.append((np.abs(found.mean - truth) < 1.96 * np.sqrt(found.variance)).mean())
    assert 0.92 < np.mean(inside) < 0.99


def test_one_treatment_is_shrunk_as_the_one_effect_that_it_has():
    """Two treatments add opposite amounts: they tell of one effect a cluster, not of two."""
    rng = np.random.default_rng(2)
    mean, error = rng.normal(size=(9, 2)), rng.uniform(0.2, 1, (9, 2))
    both = shrunk(Means(mean, error), np.zeros((9, 2)), levels=True).mean
    effect = Means(mean[:, 1:] - mean[:, :1], error.sum(1, keepdims=True))
    alone = shrunk(effect, np.zeros((9, 1)), levels=False).mean
    np.testing.assert_allclose(both[:, 1:] - both[:, :1], alone, rtol=1e-9)


def test_what_is_known_exactly_is_not_drawn_to_a_guess():
    mean = np.column_stack([np.zeros(5), np.arange(5.0)])
    found = shrunk(Means(mean, np.array([0.0, 1.0]) * np.ones((5, 2))), np.full((5, 2), 2.0), levels=False)
    assert not found.mean[:, 0].any()
    assert not found.variance[:, 0].any()
    assert found.variance[:, 1].min() > 0


def test_what_cannot_be_clustered_is_refused():
    for model, words in (
        (HRC(Boosting()), "must be a network"),  # type: ignore[arg-type]
        (HRC(Calibrated(NET)), "or be built on one"),  # type: ignore[arg-type]
        (HRC(DFCL(MLP(hidden=(8,)))), "at least two layers"),
        (HRC(MLP(hidden=(8,))), "at least two layers"),
        (HRC(NET, sizes=(0,)), r"sizes\[0\] == 0: must be numbers of clusters"),
        (HRC(NET, folds=1), r"folds\[0\] == 1"),
    ):
        with pytest.raises(DataError, match=words):
            model.fit(orders(300))


def test_what_shrinkage_leaves_of_the_error():
    """Against the integral over τ, entry by entry."""
    rng = np.random.default_rng(0)
    mean, e = 5 + rng.normal(size=12), rng.uniform(0.1, 2, 12)
    found = shrunk(Means(mean[:, None], e[:, None]), np.full((12, 1), 5.0), levels=False)
    off = mean - 5
    tau = np.linspace(0, 4 * np.sqrt(np.square(off).mean() + e.mean()), 200_001)[:, None]
    weight = np.exp(norm.logpdf(off, scale=np.sqrt(tau**2 + e)).sum(1))[:, None]
    weight /= weight.sum()
    kept = tau**2 / (tau**2 + e)
    at = (weight * kept).sum(0) * off
    left = (weight * (kept * e + (kept * off - at) ** 2)).sum(0)
    np.testing.assert_allclose(found.mean[:, 0], 5 + at, rtol=1e-4)
    np.testing.assert_allclose(found.variance[:, 0], left, rtol=1e-3)


@pytest.mark.parametrize(("rows", "nearer"), [(100, "network"), (30_000, "trial")])
def test_cells_are_the_networks_while_the_trial_is_small(rows: int, nearer: str):
    """A network that is off by a known amount: a small trial cannot tell, a large one corrects it."""
    net = MLP(members=1, hidden=(16, 8), schedule=FAST).fit(orders(6000, seed=4))
    with torch.no_grad():
        net.nets_[0].value.bias[2] += 0.35  # the logit of the last treatment
    away = []
    for seed in (3, 5, 7):
        rct = orders(rows, seed=seed)
        model = HRC(sizes=(6,), least=1).learn_from(net, rct)
        of, arm = model.clusters(rct.x), rct.treatment
        cells = model.groups_.value.mean
        told = np.array([net.predict_response(rct.x).value[of == k].mean(0) for k in range(len(cells))])
        seen = np.array([[rct.value[(of == k) & (arm == j)].mean() for j in range(3)] for k in range(len(cells))])
        effect = [table[:, 2] - table[:, 0] for table in (cells, told, seen)]
        away.append([np.abs(effect[0] - other).mean() for other in effect[1:]])
    to_network, to_trial = np.mean(away, axis=0)
    assert (to_network < 0.5 * to_trial) == (nearer == "network"), (to_network, to_trial)
    assert (to_trial < 0.5 * to_network) == (nearer == "trial"), (to_network, to_trial)


def test_guesses_are_the_weighted_means_of_the_networks_answers(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hrc, "shrunk", lambda cells, guess, levels: Means(guess, cells.variance))
    rng = np.random.default_rng(0)
    rct = replace(orders(600), weight=rng.uniform(0.2, 3, 600))
    told = Response(*rng.normal(size=(3, 600, rct.n_treatments)))
    h = rng.normal(size=(600, 2))
    view = hrc.View(h.mean(0), np.eye(2))
    groups, alike = (hrc._grouped(h, view, answer, rct, 4, 1, 0) for answer in (told, replace(told, conversion=None)))
    assert len(groups.value.mean) > 1
    assert not np.ptp(alike.conversion.mean, axis=0).any(), "of what the network does not tell, all clusters are alike"
    cluster = groups.number(h)
    for name in ("value", "conversion", "cost"):
        table = getattr(told, name)
        for k in range(len(groups.value.mean)):
            some = cluster == k
            expected = np.average(table[some], axis=0, weights=rct.weights[some])
            np.testing.assert_allclose(getattr(groups, name).mean[k], expected)


def test_the_representation_is_the_output_of_two_layers():
    net = MLP(members=1, hidden=(9, 5, 7), schedule=FAST)
    assert HRC(net, sizes=(2,)).fit(orders(400)).groups_.view.centre.shape == (5,)


def test_units_are_near_whose_treatments_are_worth_the_same():
    """What moves no treatment's worth against another's does not count, however much it varies."""
    rng = np.random.default_rng(0)
    h = rng.normal(size=(3000, 3)) * (1.0, 1.0, 50.0)
    level = 9 * h[:, 1] + h[:, 2]
    value = np.column_stack([level, level + 2 + h[:, 0], level + 3 + h[:, 0]])
    menu = Menu(value=value, cost=np.array([0.0, 1.0, 2.0]) + np.zeros((3000, 1)))
    view = hrc.View.of(h, menu, np.ones(3000))
    points, effect = view(h), h[:, 0] - h[:, 0].mean()
    assert (points**2).sum(1).mean() == pytest.approx(1, rel=0.01)
    assert np.sqrt((points**2).sum(1)) == pytest.approx(np.abs(effect) / effect.std(), abs=0.02)


def test_money_counts_at_the_prices_of_budgets():
    """Two treatments of the same effect, one of which costs some units more: the dearer money, the further are they apart."""
    rng = np.random.default_rng(1)
    h = rng.normal(size=(4000, 2))
    cost = np.column_stack([np.zeros(4000), np.exp(h[:, 1] / 4)])
    menu = Menu(value=np.column_stack([np.zeros(4000), 2 + 0.1 * h[:, 0]]), cost=cost)
    prices = frontier(menu).price_at(np.array(BUDGET_SHARES) * cost[:, 1].sum())
    view = hrc.View.of(h, menu, np.ones(4000))
    worth = np.column_stack([menu.value[:, 1] - price * cost[:, 1] for price in prices])
    fit = (
        np.column_stack([np.ones(4000), h]) @ np.linalg.lstsq(np.column_stack([np.ones(4000), h]), worth, rcond=None)[0]
    )
    a, b = rng.integers(0, 4000, (2, 500))
    expected = ((fit[a] - fit[b]) ** 2).sum(1)
    found = ((view(h[a]) - view(h[b])) ** 2).sum(1)
    np.testing.assert_allclose(found / found.mean(), expected / expected.mean(), atol=0.02)


def test_a_network_that_tells_no_unit_from_another_has_one_cluster():
    logs = orders(600)
    net = MLP(members=1, hidden=(6, 4), schedule=FAST).fit(logs)
    with torch.no_grad():
        net.nets_[0].body[0].weight.zero_()
    model = HRC(sizes=(8,)).learn_from(net, logs)
    assert model.n_clusters == 1
    assert np.isfinite(model.predict(logs.x).value).all()


def test_the_body_of_several_members_is_all_of_them_side_by_side():
    logs = orders(500)
    net = MLP(members=2, lengths=(1, 2), hidden=(9, 5), schedule=FAST).fit(logs)
    parts = []
    for one in net.nets_:
        with torch.inference_mode():
            parts.append(one.body(one.standardise(torch.tensor(logs.x))).numpy())
    np.testing.assert_allclose(Body.of(net).hidden(logs.x), np.column_stack(parts), rtol=1e-5, atol=1e-6)


def test_the_body_is_that_of_the_network():
    logs = orders(500)
    net = MLP(members=1, hidden=(9, 5, 7), dropout=0.3, schedule=FAST).fit(logs)
    body = Body.of(net)
    x = torch.tensor(logs.x)
    with torch.inference_mode():
        expected = net.nets_[0].body[:6](net.nets_[0].standardise(x))
    np.testing.assert_array_equal(body.hidden(logs.x), expected.numpy())
    np.testing.assert_array_equal(Body.restored(weights_of(body)).hidden(logs.x), body.hidden(logs.x))


STEERED = (
    pytest.param(DFCL(NET, shrinkage_weight=1.0, schedule=FAST), id="DFCL"),
    pytest.param(BiDFCL(NET, teacher=NET, schedule=FAST), id="BiDFCL"),
)


@pytest.mark.parametrize("base", STEERED)
def test_a_body_that_decisions_have_moved_can_be_clustered(base):
    rct, obs = orders(900), orders(1500, seed=1, design="obs")
    model = HRC(base, sizes=(6,)).fit(rct, obs)
    moved = clone(base).set_params(outcome=model.outcome_).fit(rct, obs)
    net = moved.target_ if isinstance(base, BiDFCL) else moved.tuned_
    np.testing.assert_array_equal(model.body_.hidden(rct.x), Body.of(net).hidden(rct.x))
    again = restored(*model_state(model))
    np.testing.assert_array_equal(model.predict(rct.x).value, again.predict(rct.x).value)
    taken = HRC(sizes=(6,)).learn_from(moved, rct)
    np.testing.assert_array_equal(model.clusters(rct.x), taken.clusters(rct.x))
    np.testing.assert_array_equal(model.predict(rct.x).value, taken.predict(rct.x).value)


def test_a_published_network_lends_its_body():
    logs, hold = orders(900), orders(600, seed=1)
    fitted = MLP.published(hidden=(16, 8), schedule=FAST).fit(logs)
    told = Outcome.infer(logs)
    model = HRC(sizes=(2, 8), outcome=told).learn_from(fitted, logs, validation=hold)
    assert model.outcome_ == told
    assert not model.predict(hold.x).cost[:, 0].any()
    again = restored(*model_state(model))
    np.testing.assert_array_equal(model.predict(hold.x).value, again.predict(hold.x).value)


def test_what_lends_no_body_is_refused():
    logs = orders(300)
    with pytest.raises(DataError, match=r"fitted == Boosting\(.*must be a network"):
        HRC(sizes=(4,)).learn_from(Boosting(rounds=2).fit(logs), logs)
    with pytest.raises(NotFittedError, match="Call fit"):
        HRC(sizes=(4,)).learn_from(NET, logs)
    with pytest.raises(DataError, match=r"sizes == \(32, 64, 128\): the network is given"):
        HRC().learn_from(NET, logs)
