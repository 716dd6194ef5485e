"""What an expected spend or value rests on: events by hand, at every price, and the sentence where they are few."""

from __future__ import annotations

import numpy as np
import pytest

from largesse import Logs, Menu
from largesse.allocate import assign
from largesse.models import Boosting
from largesse.policy import Policy, PriceCurve
from largesse.policy import deployed as module


def rows(n: int, rate: float, seed: int = 0, weighted: bool = False) -> tuple[Logs, Menu]:
    rng = np.random.default_rng(seed)
    x, t = rng.random((n, 2)), rng.integers(0, 3, n)
    orders = (rng.random(n) < rate * (1 + x[:, 0] * t)) * 1.0
    logs = Logs(
        x=x, treatment=t, value=orders * rng.lognormal(0, 1, n), cost=orders * t,
        weight=rng.integers(1, 4, n) * 1.0 if weighted else None,
    )  # fmt: skip
    value = rate * (1 + x[:, :1] * np.arange(3))
    return logs, Menu(value=value, cost=value * np.arange(3))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_events_are_those_of_the_rows_that_got_what_the_price_gives(seed: int, weighted: bool):
    logs, menu = rows(900, 0.2, seed, weighted)
    curve = PriceCurve.calibrate(menu, logs, draws=20)
    for k in (0, len(curve.price) // 3, len(curve.price) // 2):
        same = assign(menu, float(curve.price[k])) == logs.treatment
        for part, outcome in ((curve.cost, logs.cost), (curve.value, logs.value)):
            z = (logs.inverse_propensity * outcome)[same]
            wanted = z.sum() ** 2 / (z**2).sum() if z.any() else 0.0
            assert part.events[k] == pytest.approx(wanted, rel=1e-9)


def test_few_events_are_named_beside_the_expectations():
    logs, menu = rows(1200, 0.02)
    policy = Policy.calibrated(Boosting().fit(logs), logs)
    done = policy.allocate(menu, 8.0)
    k = int(np.searchsorted(policy.curve.price, done.price, side="right") - 1)
    counts = [f"{part.events[k]:.0f}" for part in (policy.curve.cost, policy.curve.value)]
    (note,) = done.notes
    assert note.startswith("The intervals of the expected spend and value rest on few events")
    assert f"calibration rows ({counts[0]} and {counts[1]})" in note
    many, large = rows(60_000, 0.2)
    assert PriceCurve.calibrate(large, many, draws=20).notes_at(0.1) == ()


def test_a_policy_keeps_its_events_and_one_of_an_earlier_version_has_none(tmp_path, monkeypatch):
    logs, menu = rows(1200, 0.02)
    policy = Policy.calibrated(Boosting().fit(logs), logs)
    policy.save(tmp_path / "now")
    again = Policy.load(tmp_path / "now")
    np.testing.assert_array_equal(again.curve.value.events, policy.curve.value.events)
    assert again.allocate(menu, 8.0).notes == policy.allocate(menu, 8.0).notes != ()
    kept = {name: part for name, part in module.CURVE_ARRAYS.items() if name != "events"}
    monkeypatch.setattr(module, "CURVE_ARRAYS", kept)
    policy.save(tmp_path / "before")
    monkeypatch.undo()
    earlier = Policy.load(tmp_path / "before")
    assert np.isnan(earlier.curve.cost.events).all()
    assert earlier.allocate(menu, 8.0).notes == ()
