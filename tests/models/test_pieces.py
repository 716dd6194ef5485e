"""A mean of networks, fitted piece by piece: the same model as fitted at once."""

from __future__ import annotations

import numpy as np
import pytest

from largesse._workers import Workers
from largesse.commands.procedure import Task, Trainings, fit_in_folds
from largesse.models import MLP
from largesse.models.outcome import Outcome
from largesse.models.registry import NAMES, Settings, make, pieces_of
from tests.common.worlds import orders


def test_pieces_make_the_model_fitted_at_once():
    rct, hold = orders(400), orders(200, seed=1)
    settings = Settings(outcome=Outcome.infer(rct), members=3, epochs=2)
    whole = make("mlp-rct", settings).fit(rct, validation=hold)
    pieces = [make("mlp-rct", settings).piece(k).fit(rct, validation=hold) for k in range(3)]
    assert [len(piece.nets_) for piece in pieces] == [1, 1, 1]
    joined = pieces[0].joined(pieces)
    assert isinstance(joined, MLP)
    for name in ("value", "cost"):
        table = getattr(joined.predict(hold), name)
        assert np.array_equal(table, getattr(whole.predict(hold), name)), name
        assert not np.array_equal(table, getattr(pieces[0].predict(hold), name)) or name == "cost"
    assert repr(joined) == repr(whole)
    assert len(joined.fit(rct).nets_) == 3, "fitted again, it is fitted as a whole"


def test_only_what_nothing_is_learned_on_top_of_is_fitted_in_pieces():
    settings = Settings(outcome=Outcome.infer(orders(300)), members=2)
    assert {name: n for name in NAMES if (n := pieces_of(name, settings)) > 1} == {"mlp-rct": 2}


@pytest.mark.parametrize("processes", [1, 2])
def test_a_candidate_in_pieces_is_that_of_one_fit(processes: int):
    rct = orders(600)
    settings = Settings(outcome=Outcome.infer(rct), members=3, epochs=1)
    part = rct.parts(1.0, 1.0, seed=0)
    task = Task(("lightgbm-rct", "mlp-rct"), settings, (0.2,), ("some",), draws=40)
    trainings = Trainings(rct, None, part, task)
    with Workers(processes) as workers:
        for one in workers.ready:
            one.result()
        done = fit_in_folds(trainings, (None, 0, 1), lambda stage, share: None, workers)
    for fold, candidates in done.items():
        train, hold, _ = trainings.rows(fold)
        alone = make("mlp-rct", settings).fit(train, None, validation=hold)
        own = candidates.models["mlp-rct"].predict(rct)
        assert np.array_equal(own.value, alone.predict(rct).value)
        assert candidates.seconds["mlp-rct"] > 0
