"""The simulated campaigns of `python -m benchmarks loop`, small: the money of a day, a broken feature, and the same again."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sqlalchemy", reason="the extra 'serve' is not installed")

from benchmarks.living.deciders import Oracle, Static, Untargeted
from benchmarks.living.money import Till
from benchmarks.living.scene import Scene, days_of, trial_of
from benchmarks.living.whole import Loop
from benchmarks.loop import campaign

SMALL = Scene(days=9, per_day=1_000, trial=1_500)


def test_nobody_plans_more_than_the_money_of_the_day():
    trial = trial_of(SMALL, 1000)
    best = campaign(SMALL, 1000, Oracle())
    stays = campaign(SMALL, 1000, Static(trial, 1000))
    flat = campaign(SMALL, 1000, Untargeted(1000))
    for one in (best, stays, flat):
        assert max(one["planned"]) <= 1 + 1e-9
        assert one["so far"][-1] == pytest.approx(1.0, abs=0.1)
    assert np.mean(best["value"]) > np.mean(stays["value"])
    assert np.mean(best["value"]) > np.mean(flat["value"])


def test_the_loop_names_a_broken_feature_on_its_day():
    scene = SMALL._replace(breaks=5)
    one, two = (campaign(scene, 1000, Loop(scene, trial_of(scene, 1000), 1000)) for _ in range(2))
    assert one == two
    named = [event for event in one["events"] if event[1] == "left out"]
    assert [event[0] for event in named] == [5]
    assert max(one["planned"]) <= 1 + 1e-9


def test_worlds_move_and_stop():
    still, moved = (list(days_of(SMALL._replace(**change), 1000)) for change in ({}, {"drift": (0, 4)}))
    assert (still[0].value == moved[0].value).all()
    assert (still[0].x == moved[0].x).all()
    assert abs(still[8].value - moved[8].value).mean() > 0.02
    stopped = list(days_of(SMALL._replace(stops=3), 1000))
    assert (stopped[2].value == still[2].value).all()
    assert (stopped[3].value[:, -1] == stopped[3].value[:, 0]).all()


def test_money_that_is_left_is_carried_over_and_what_is_paid_too_much_is_made_up_for():
    value, cost = np.tile([0.0, 1.0], (100, 1)), np.tile([0.0, 1.0], (100, 1))
    till = Till(50.0, 100, 0)

    def take(rows: slice, price: float) -> np.ndarray:
        return np.ones(rows.stop - rows.start, np.intp)

    first = till.day(value, cost, take)
    assert (first.code.sum(), first.limited.sum()) == (50, 50)
    till.close(first, 40.0)
    second = till.day(value, cost, take)
    assert till.spending == [50.0, 60.0]
    assert second.code.sum() == int(60 / till.ratio())
    till.close(second, 80.0)
    assert till.day(value, cost, take).reserved.sum() * till.ratio() <= 30.0 + 1e-9
