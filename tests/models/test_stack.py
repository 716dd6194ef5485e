"""Means of models: weights, what fits together, and what is kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone

from largesse.checks.log_benefit import benefit_of_the_log
from largesse.commands import procedure
from largesse.commands.findings.fit import _leaderboard
from largesse.commands.procedure import FittedCandidates, Task, fit_candidates
from largesse.errors import DataError
from largesse.logs import Logs
from largesse.menu import Menu
from largesse.models import DPM, MLP, Boosting, Model, Outcome, Schedule, Stack
from largesse.models.outcome import Response
from largesse.models.registry import ALONE, AUTO, PARTS, Settings, default_names
from largesse.models.two_stage.stack import cautious_weights, stacking_weights
from largesse.policy.saved import model_state, restored
from tests.common.worlds import WORLDS, baskets, orders

FAST = Schedule(epochs=2, least=60, batch=256)


def stack(**how: Any) -> Stack:
    models = (Boosting(rounds=10), MLP(members=1, hidden=(8,), schedule=FAST))
    return Stack(models, **{"weights": "even"} | how)


@pytest.mark.parametrize("world", list(WORLDS))
def test_it_is_the_mean_of_its_models_in_every_world(world: str):
    logs = WORLDS[world](1200)
    model = stack().fit(logs)
    for name in ("value", "conversion", "cost"):
        mean, *parts = (getattr(m.predict_response(logs.x), name) for m in (model, *model.models_))
        if mean is None:
            assert any(part is None for part in parts)
        else:
            np.testing.assert_allclose(mean, (parts[0] + parts[1]) / 2, rtol=1e-6, atol=1e-9)
    assert np.isfinite(model.predict(logs.x).value).all()


def test_the_contract():
    rct, obs = orders(800), orders(900, seed=2, design="obs")
    model = stack()
    first = model.fit(rct, obs).predict(rct.x)
    np.testing.assert_array_equal(first.value, model.fit(rct, obs).predict(rct.x).value)
    np.testing.assert_array_equal(first.value, clone(model).fit(rct, obs).predict(rct.x).value)
    settings, arrays = model_state(model)
    other = restored(json.loads(json.dumps(settings)), {k: np.array(v) for k, v in arrays.items()})
    np.testing.assert_array_equal(first.value, other.predict(rct.x).value)
    np.testing.assert_array_equal(first.cost, other.predict(rct.x).cost)


def test_fitted_models_are_taken_as_they_are():
    rct = orders(800)
    models = [m.fit(rct) for m in (Boosting(rounds=10), Boosting(rounds=20))]
    model = Stack.of(models, weights=(1, 3))
    assert model.weights_ == (0.25, 0.75)
    a, b = (m.predict_response(rct.x).value for m in models)
    np.testing.assert_allclose(model.predict(rct.x).value, 0.25 * a + 0.75 * b, rtol=1e-12)


def test_fitted_weights_find_the_model_that_knows():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(4000, 3))
    t = rng.integers(0, 3, 4000)
    logs = Logs(x=rng.normal(size=(4000, 2)), treatment=t, value=truth[np.arange(4000), t], cost=1.0 * t)
    noise = rng.normal(size=truth.shape)
    told = (Response(truth + noise, None, None), Response(truth - 0.5 * noise, None, None), Response(noise, None, None))
    weights = stacking_weights(logs, told)
    # 1/3 (truth + noise) + 2/3 (truth - noise / 2) is the truth itself.
    np.testing.assert_allclose(weights, (1 / 3, 2 / 3, 0.0), atol=1e-6)
    assert sum(weights) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(("n", "taken"), [(2_000, 0.2), (8_000, 0.5), (24_000, 0.75)])
def test_fitted_weights_go_from_even_as_far_as_rows_tell(n, taken):
    rng = np.random.default_rng(0)
    truth, t = rng.normal(size=(n, 2)), rng.integers(0, 2, n)
    logs = Logs(x=rng.normal(size=(n, 2)), treatment=t, value=truth[np.arange(n), t], cost=1.0 * t)
    told = (Response(truth, None, None), Response(rng.normal(size=truth.shape), None, None))
    assert stacking_weights(logs, told) == pytest.approx((1, 0), abs=1e-6)
    assert cautious_weights(logs, told) == pytest.approx((0.5 + taken / 2, 0.5 - taken / 2), abs=1e-6)
    heavy = replace(logs, weight=np.where(np.arange(n) < n // 2, 1.0, 1e-9), propensity="uniform")
    half = taken / (2 - taken)  # as many rows as have a weight
    assert cautious_weights(heavy, told) == pytest.approx((0.5 + half / 2, 0.5 - half / 2), abs=1e-5)


@pytest.mark.parametrize("apart", [3.0, 1.1])
def test_weights_of_models_that_tell_who_buys_are_the_most_likely(apart):
    rng = np.random.default_rng(0)
    n = 20_000
    p, t = rng.uniform(0.001, 0.02, size=(n, 2)), rng.integers(0, 2, n)
    bought = rng.random(n) < p[np.arange(n), t]
    value = bought * rng.lognormal(2, 1, n)
    logs = Logs(x=np.zeros((n, 1)), treatment=t, value=value, cost=1.0 * t, weight=rng.uniform(0.5, 2, n),
                propensity="uniform")  # fmt: skip
    low = np.log(apart)
    tables = [p * np.exp(rng.uniform(-low, low, size=(n, 2))) for _ in range(2)] + [np.full((n, 2), 0.01)]
    told = tuple(Response(9 * a, a, None) for a in tables)
    weights = np.array(stacking_weights(logs, told))
    assert weights.sum() == pytest.approx(1)

    def likelihood(w):
        q = sum(a * r.conversion[np.arange(n), t] for a, r in zip(w, told, strict=True))
        return logs.weights @ np.where(bought, np.log(q), np.log(1 - q))

    best = likelihood(weights)
    grid = [(a, b, 1 - a - b) for a in np.linspace(0, 1, 41) for b in np.linspace(0, 1 - a, 41)]
    assert best >= max(map(likelihood, grid)) - 1e-6
    squares = stacking_weights(logs, [Response(r.value / 9) for r in told])
    assert likelihood(squares) < best


def test_validation_rows_set_the_weights_if_there_are_any():
    rct, hold = orders(800, seed=1, effect=2.0), orders(4000, seed=2, effect=2.0)
    eager = Boosting(rounds=60, params={"min_data_in_leaf": 5, "lambda_l2": 0.0})
    model = Stack((Boosting(rounds=8), eager)).fit(rct, validation=hold)
    told = [m.predict_response(hold.x) for m in model.models_]
    assert model.weights_ == cautious_weights(hold, told)
    assert model.weights_ != cautious_weights(hold, [Response(r.value) for r in told])
    assert abs(model.weights_[0] - 0.5) > 0.01


def test_weights_of_rows_count_in_the_weights_of_models():
    logs = Logs(
        x=np.zeros((2, 1)), treatment=[0, 1], value=[1.0, 0.0], cost=[0.0, 1.0], weight=[3.0, 1.0],
        propensity="uniform",
    )  # fmt: skip
    told = (Response(np.ones((2, 2))), Response(np.zeros((2, 2))))
    np.testing.assert_allclose(stacking_weights(logs, told), (0.75, 0.25), atol=1e-6)


def test_weights_are_fitted_on_rows_that_no_model_has_seen():
    rct = orders(1500, effect=2.0)
    greedy = Boosting(rounds=300, params={"num_leaves": 60, "min_data_in_leaf": 2, "lambda_l2": 0.0})
    model = Stack((greedy, Boosting(rounds=30)), weights="fit", outcome=Outcome.infer(rct)).fit(rct)
    assert model.weights_[0] < 0.5, "it knows its own rows by heart, not others"
    assert sum(model.weights_) == pytest.approx(1)


def test_what_does_not_fit_together_is_refused():
    rct = orders(400)
    with pytest.raises(DataError, match="a stack needs at least two"):
        Stack((Boosting(rounds=5),)).fit(rct)
    with pytest.raises(DataError, match="counts treatments"):
        Stack((Boosting(rounds=5), DPM())).fit(rct)
    with pytest.raises(DataError, match="has another outcome"):
        Stack((Boosting(rounds=5), MLP.published(hidden=(8,), schedule=FAST))).fit(rct)
    refused = {(1.0,): "for each of 2 models", (0.0, 0.0): "not all 0", (-1.0, 2.0): "weights", "odd": "weights"}
    for weights, words in refused.items():
        with pytest.raises(DataError, match=words):
            stack(weights=weights).fit(rct)
    with pytest.raises(DataError, match="folds"):
        stack(weights="fit", folds=1).fit(rct)


def test_a_run_learns_the_parts_of_a_mean_once(monkeypatch):
    rct = baskets(1500)
    task = Task(
        candidates=("stack-rct", "lightgbm-rct", "mlp-rct"), budgets=(0.3, 1.0), labels=("a", "b"), draws=50,
        settings=Settings(outcome=Outcome.infer(rct), members=1, epochs=1),
    )  # fmt: skip
    learned = fit_candidates(rct, None, task, lambda *_: None)
    found = learned.models["stack-rct"]
    assert isinstance(found, Stack)
    assert found.models_ == (learned.models["lightgbm-rct"], learned.models["mlp-rct"])
    assert learned.leaderboard.names[:3] == task.candidates, "in the order of trust"
    asked: list[str] = []
    own = Boosting.predict_response
    monkeypatch.setattr(Boosting, "predict_response", lambda self, x: asked.append("once") or own(self, x))
    menus = procedure.menus_of(learned.models, rct.x, {})
    assert asked == ["once"], "a part is asked once, for itself and for the mean"
    for name, model in learned.models.items():
        np.testing.assert_array_equal(menus[name].value, model.predict(rct.x).value)
    alone = fit_candidates(rct, None, Task(("stack-rct",), task.settings, task.budgets, task.labels), lambda *_: None)
    np.testing.assert_allclose(alone.model.predict(rct.x).value, found.predict(rct.x).value, rtol=1e-6)


def misled(n: int, seed: int) -> Logs:
    """A log whose outcomes are noise, and better the less was given."""
    rows = orders(n, seed=seed, design="obs")
    value = (np.random.default_rng(seed).random(n) < 0.9 - 0.4 * rows.treatment).astype(float)
    return replace(rows, value=value, cost=rows.treatment * value)


@pytest.mark.parametrize("seed", range(3))
def test_a_log_of_noise_is_not_believed(seed: int):
    rct, obs, fresh = (
        orders(6000, seed=seed, effect=2.0),
        misled(12_000, seed + 50),
        orders(20_000, seed=99, effect=2.0),
    )
    both, alone = (
        Task(
            candidates=AUTO[both], budgets=(0.1, 0.3), labels=("a", "b"), draws=50,
            settings=Settings(outcome=Outcome.infer(rct), members=1, epochs=3, seed=seed),
        )
        for both in (True, False)
    )  # fmt: skip
    learned, safe = fit_candidates(rct, obs, both, lambda *_: None), fit_candidates(rct, None, alone, lambda *_: None)
    assert learned.choice.reason.startswith("The log misleads")
    assert learned.name in ALONE
    assert learned.name == safe.name
    np.testing.assert_array_equal(learned.model.predict(fresh.x).value, safe.model.predict(fresh.x).value)


def test_a_log_that_helps_is_used_and_one_that_does_not_is_said_to():
    rct, more = orders(1000, effect=2.0), orders(20_000, seed=5, effect=2.0)
    settings = Settings(outcome=Outcome.infer(rct), members=1, epochs=2)
    task = Task(
        candidates=("lightgbm", "lightgbm-rct"), budgets=(0.1, 0.3), labels=("a", "b"), draws=50, settings=settings
    )
    found = fit_candidates(rct, replace(more, design="obs", propensity=None), task, lambda *_: None)
    assert not found.choice.reason.startswith("The log misleads")
    hold = orders(4000, seed=9, effect=2.0)
    menus = {name: model.predict(hold.x) for name, model in found.models.items()}
    told = benefit_of_the_log(hold, menus)
    assert told is not None
    assert (told.gain > 0, told.sentence) == (True, "")
    rows, t = np.arange(hold.n), hold.treatment
    squares = {name: ((hold.value - menu.value[rows, t]) ** 2) for name, menu in menus.items()}
    wanted = (squares["lightgbm-rct"] - squares["lightgbm"]).mean() / hold.value.var()
    assert told.gain == pytest.approx(wanted, rel=0.02)  # the shares of the arms are as good as equal
    even = benefit_of_the_log(hold, {"lightgbm": menus["lightgbm"], "lightgbm-rct": menus["lightgbm"]})
    assert even is not None
    assert "is not shown to help" in even.sentence
    assert benefit_of_the_log(hold, {"lightgbm": menus["lightgbm"]}) is None


def test_the_benefit_of_a_log_counts_every_arm_by_its_inverse_propensity():
    hold = Logs(
        x=np.zeros((4, 1)), treatment=[0, 0, 0, 1], value=[0.0, 0.0, 0.0, 1.0], cost=[0.0, 0.0, 0.0, 1.0],
        propensity=[0.75, 0.75, 0.75, 0.25],
    )  # fmt: skip
    menus = {
        name: Menu(value=np.tile(value, (4, 1)), cost=np.tile([0.0, 1.0], (4, 1)))
        for name, value in {"lightgbm": [0.0, 0.5], "lightgbm-rct": [0.5, 0.5]}.items()
    }
    told = benefit_of_the_log(hold, menus)
    assert told is not None
    # Shares 1/6, 1/6, 1/6, 1/2; errors 1/4 without the log, 0, 0, 0, 1/4 with it; variance 1/4.
    assert told.gain == pytest.approx(0.125 / 0.25)
    assert told.standard_error == pytest.approx(0.125 * (3 / 36 + 1 / 4) ** 0.5 / 0.25)


class Says(Model):
    """What is worth giving, as a function of the features, known before any rows are seen."""

    def __init__(self, worth: Callable[[np.ndarray], np.ndarray]) -> None:
        self.worth = worth

    def _learn(self, rct: Logs, obs: Logs | None, validation: Logs | None) -> None:
        pass

    def _predict_response(self, x: np.ndarray) -> Response:
        worth = self.worth(x)
        return Response(np.column_stack([0 * worth, worth]), None, np.tile([0.0, 1.0], (len(x), 1)))


def said(
    monkeypatch: pytest.MonkeyPatch, rct: Logs, worths: dict[str, Callable[[np.ndarray], np.ndarray]]
) -> FittedCandidates:
    """Returns what a run learns where every candidate says the same whatever it is fitted on."""
    monkeypatch.setattr(procedure, "make", lambda name, settings: Says(worths[name]))
    return fit_candidates(rct, None, half(tuple(worths)), lambda *_: None)


def half(candidates: tuple[str, ...]) -> Task:
    """Half of the rows choose, at money for half of the units."""
    settings = Settings(outcome=Outcome(family="gaussian", cost_rule="learned"), members=1)
    return Task(candidates, settings, (0.5,), ("half",), validation_share=0.5, draws=50)


def worth_giving(n: int, worth: float, seed: int) -> Logs:
    """A trial of one treatment that costs 1 and brings so much times the first feature."""
    rng = np.random.default_rng(seed)
    x, t = rng.normal(size=(n, 11)), rng.integers(0, 2, n)
    return Logs(x=x, treatment=t, value=worth * t * x[:, 0] + rng.normal(size=n), cost=1.0 * t, propensity="uniform")


def test_the_luckiest_of_many_candidates_is_seldom_chosen(monkeypatch):
    worths = {str(k): partial(np.take, indices=k, axis=1) for k in range(11)}  # none knows more than another
    first = [said(monkeypatch, worth_giving(200, 0.0, seed), worths).name == "0" for seed in range(8)]
    assert sum(first) > 5  # 95 % are to be expected


def test_a_leaderboard_after_a_log_that_misleads_shows_every_candidate_with_its_own_score(monkeypatch):
    right = {"lightgbm-rct": lambda x: x[:, 0], "mlp-rct": lambda x: 0 * x[:, 0]}
    final = said(monkeypatch, worth_giving(2000, 1.0, 0), {"lightgbm": lambda x: -x[:, 0], **right})
    assert final.choice.reason.startswith("The log misleads")
    rows = {row.name: row for row in _leaderboard(final, half(tuple(final.models))).rows}
    assert {name: row.score for name, row in rows.items()} == {
        name: final.leaderboard.value[final.leaderboard.index(name)].mean()
        for name in ("lightgbm", "lightgbm-rct", "mlp-rct")
    }
    assert rows["lightgbm"].score < rows["mlp-rct"].score < rows["lightgbm-rct"].score
    assert all(row.low < row.score < row.high for row in rows.values())


def test_the_default_candidates_begin_with_the_mean_of_their_parts():
    for both in (True, False):
        first = AUTO[both][0]
        assert set(PARTS[first]) <= set(AUTO[both])
        assert default_names(both, can_pay=False) == AUTO[both]
