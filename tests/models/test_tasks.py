"""Task weights of a network, and balanced arms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from largesse.errors import DataError
from largesse.models import MLP, Outcome, Schedule
from largesse.models.nets.balance import imbalance
from largesse.models.nets.minibatch import train, weights_from
from largesse.models.nets.response import ResponseNet
from largesse.models.nets.rows import Rows
from largesse.models.nets.tasks import Tasks, Weighted, learner
from largesse.models.two_stage.mlp import scales_of, start
from largesse.policy.saved import model_state, restored
from tests.common.worlds import WORLDS, orders, profits

FAST = Schedule(epochs=2, least=150, batch=256)
LEARNED = Tasks(weights="learned")


def untrained(logs, tasks: Tasks = LEARNED) -> tuple[Weighted, Rows]:
    """Returns an untrained network for some rows, and those rows."""
    rows = Rows.of(logs, observed=torch.zeros(logs.n))
    with weights_from(0):
        net = ResponseNet(logs.x.shape[1], logs.n_treatments, Outcome.infer(logs), (16, 8), False, scales_of(rows), 0.1)
    start(net, logs, rows.features)
    weighted, _ = learner(tasks, net, rows)
    assert isinstance(weighted, Weighted)
    return weighted, rows


@pytest.mark.parametrize("shares", [False, True], ids=["drawn", "shares"])
def test_a_network_of_a_probability_starts_at_the_mean(shares: bool):
    logs = orders(400)
    if shares:
        logs = replace(logs, value=0.1 + 0.5 * logs.value)
    with weights_from(0):
        net = ResponseNet(
            logs.x.shape[1], logs.n_treatments, Outcome(family="bernoulli", cost_rule="learned"), (8,), False, (1, 1)
        )
    start(net, logs, torch.tensor(logs.x))
    wanted = np.log(logs.value.mean() / (1 - logs.value.mean()))
    assert net.common.bias[0].item() == pytest.approx(wanted, rel=1e-5)


def means(weighted: Weighted, rows) -> torch.Tensor:
    with torch.no_grad():
        return weighted._means(weighted.net.represent(rows.features), rows)


@pytest.mark.parametrize("world", sorted(WORLDS))
def test_losses_are_never_below_the_lowest_possible(world: str):
    logs = WORLDS[world]()
    net = untrained(logs)[0].net
    value = torch.tensor(logs.value, dtype=torch.float32)
    rng = torch.Generator().manual_seed(0)
    for size in (0.1, 1.0, 5.0):
        heads = size * torch.randn(logs.n, net.parts, generator=rng)
        off = net.value_heads.losses(heads, value)[0] - net.value_heads.lowest_loss(value)
        assert float(off.min()) >= -1e-4
    if net.outcome.family == "poisson":
        exact = torch.zeros(logs.n, net.parts)
        exact[:, 0] = value.clamp_min(1e-9).log()
        torch.testing.assert_close(
            net.value_heads.losses(exact, value)[0], net.value_heads.lowest_loss(value), rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize("world", ["profits", "baskets"])
def test_weights_begin_where_nothing_pulls_at_them(world: str):
    logs = WORLDS[world]()
    weighted, rows = untrained(replace(logs, weight=1 + (logs.x[:, 0] > 0), propensity="observed"))
    weighted.eval()
    weighted.loss(rows).backward()
    assert weighted.log_variance is not None
    assert weighted.log_variance.shape == (2,)
    assert float(weighted.log_variance.grad.abs().max()) < 1e-5
    torch.testing.assert_close(weighted.log_variance.detach().exp(), 2 * means(weighted, rows))
    value_loss, other = weighted.net.tasks(weighted.net(rows.features, rows.observed), rows)
    losses, weight = (value_loss - weighted.net.value_heads.lowest_loss(rows.value), other), rows.weight
    expected = [(weight * loss).sum() / weight.sum() for loss in losses]
    torch.testing.assert_close(means(weighted, rows), torch.stack(expected).detach())


def test_a_task_that_cannot_be_predicted_gets_less_weight():
    logs = profits(4000)
    noise = 50 * np.random.default_rng(0).normal(size=logs.n)
    weighted, rows = untrained(replace(logs, value=logs.value + noise, propensity="observed"))
    train(weighted, lambda i: weighted.loss(rows.take(i)), logs.n, Schedule(least=600), 0)
    left = means(weighted, rows)
    s = weighted.log_variance.detach()
    assert left[0] > 3 * left[1]
    assert s[0] > s[1] + 0.5, "the weight of the value is the lower one"


def test_one_task_has_nothing_to_be_weighed_against():
    weighted, rows = untrained(orders())
    assert weighted.log_variance is None
    torch.testing.assert_close(weighted.eval().loss(rows), weighted.net.loss(rows))


def test_without_options_it_is_the_network_itself():
    weighted, rows = untrained(profits())
    net, loss = learner(Tasks(), weighted.net.eval(), rows)
    assert net is weighted.net
    i = torch.arange(100)
    torch.testing.assert_close(loss(i), weighted.net.loss(rows.take(i)), rtol=0, atol=0)


@pytest.mark.parametrize("distance", ["mmd", "wasserstein"])
def test_arms_of_the_log_are_balanced(distance: str):
    rct, obs = orders(1500), orders(4000, seed=1, design="obs")
    distances = []
    for balance in (0.0, 5.0):
        tasks = Tasks(balance=balance, distance=distance)
        net = MLP(members=1, hidden=(16, 8), schedule=FAST, tasks=tasks).fit(rct, obs).nets_[0]
        with torch.no_grad():
            h = net.represent(torch.tensor(obs.x))
        distances.append(float(imbalance(h, torch.tensor(obs.treatment).long(), 3, distance)))
    assert distances[1] < 0.7 * distances[0]


def test_a_trial_needs_no_balance():
    logs = orders(800)
    one, other = (
        MLP(members=1, hidden=(8,), schedule=FAST, tasks=Tasks(balance=b)).fit(logs).predict(logs.x).value
        for b in (0.0, 5.0)
    )
    np.testing.assert_allclose(one, other, rtol=1e-5)


def test_rows_of_the_trial_do_not_count_in_the_balance():
    logs = orders(600)
    net = MLP(members=1, hidden=(8,), schedule=FAST).fit(logs).nets_[0]
    same = logs.x[:100]  # of the log each arm has the same rows, of the trial the arms are far apart
    arms = np.concatenate([np.repeat(np.arange(3), 100), logs.treatment])
    x = np.concatenate([np.tile(same, (3, 1)), logs.x + 3 * logs.treatment[:, None]]).astype(np.float32)
    value, cost = (np.concatenate([np.tile(y[:100], 3), y]).astype(np.float32) for y in (logs.value, logs.cost))
    observed = (np.arange(len(x)) < 300).astype(np.float32)
    v, c, one, logged = map(torch.tensor, (value, cost, np.ones_like(value), observed))
    rows = Rows(
        x=torch.tensor(x), treatment=torch.tensor(arms).long(), value=v, cost=c, weight=one, share=one, observed=logged
    )
    every = torch.arange(len(x))
    plain, balanced = (learner(Tasks(balance=b), net, rows)[1](every) for b in (0.0, 5.0))
    assert balanced.item() == pytest.approx(plain.item(), rel=1e-4)
    mixed = replace(rows, observed=torch.ones(len(x)))
    assert learner(Tasks(balance=5.0), net, mixed)[1](every).item() > plain.item() + 0.1


def test_a_network_with_learned_weights_is_saved_and_goes_on_after_a_kill(tmp_path, monkeypatch):
    logs = profits(900)
    monkeypatch.setattr("largesse.models.nets.checkpoint._INTERVAL", 0.0)
    how = {"members": 1, "hidden": (8, 4), "schedule": FAST, "tasks": LEARNED}
    model = MLP(**how).fit(logs)
    again = restored(*model_state(model))
    assert again.tasks == LEARNED
    np.testing.assert_array_equal(model.predict(logs.x).value, again.predict(logs.x).value)

    def stop(step: int, steps: int, loss: float) -> None:
        if step == steps // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        MLP(**how, checkpoint=str(tmp_path / "kept"), on_step=stop).fit(logs)
    steps: list[int] = []
    weighted = MLP(**how, checkpoint=str(tmp_path / "kept"), on_step=lambda step, *_: steps.append(step)).fit(logs)
    assert steps[0] > 1
    np.testing.assert_array_equal(model.predict(logs.x).value, weighted.predict(logs.x).value)


def test_settings_out_of_range_are_refused():
    for given, words in (
        ({"weights": "even"}, r"tasks\.weights == 'even'"),
        ({"balance": -1}, r"tasks\.balance == -1"),
        ({"distance": "cosine"}, r"tasks\.distance == 'cosine'"),
    ):
        with pytest.raises(DataError, match=words):
            Tasks(**given)
