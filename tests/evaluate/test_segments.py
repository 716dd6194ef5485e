"""What a policy brings in segments: by hand from raw rows, adding up, and honest where a tree chooses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from largesse import Logs, Menu
from largesse.errors import DataError
from largesse.evaluate import compare, leaves, outcome_curve, returns, segments
from largesse.evaluate.intervals import weighted_sum
from tests.common.worlds import orders


def policy(logs: Logs, seed: int = 0) -> Menu:
    """A menu with an opinion about the first feature."""
    rng = np.random.default_rng(seed)
    level = np.arange(logs.n_treatments)
    value = 0.2 + level * (0.1 + 0.1 * (logs.x[:, :1] > 0)) + rng.normal(0, 0.02, (logs.n, logs.n_treatments))
    return Menu(value=value, cost=np.tile(level * 0.5, (logs.n, 1)), treatments=logs.treatments)


def test_segments_by_hand_and_in_sum():
    logs = orders(3000, seed=3)
    rng = np.random.default_rng(0)
    logs = replace(logs, weight=rng.integers(1, 4, logs.n).astype(float))
    menu, budget, m = policy(logs), 0.5, 7.0
    counts = outcome_curve(logs, menu).matched(budget)[0]
    decided = rng.integers(0, logs.n_treatments, logs.n).astype(np.int32)
    code = rng.integers(0, 3, logs.n)
    made = segments(logs, counts, decided, code, ("a", "b", "c", "nobody"), value_per_unit=m)
    assert [row.name for row in made] == ["a", "b", "c"]
    for k, row in enumerate(made):
        own = [i for i in range(logs.n) if code[i] == k]
        size = sum(logs.weight[i] for i in own)
        value = sum(
            logs.weight[i] / logs.propensity[i] * (counts[i] - (logs.treatment[i] == 0)) * logs.value[i] for i in own
        )
        cost = sum(
            logs.weight[i] / logs.propensity[i] * (counts[i] - (logs.treatment[i] == 0)) * logs.cost[i] for i in own
        )
        assert row.share == pytest.approx(size / logs.weight.sum())
        assert (row.value, row.spend) == pytest.approx((value / size, cost / size))
        assert row.net == pytest.approx(m * row.value - row.spend)
        assert row.net_low < row.net < row.net_high
        shares = [sum(logs.weight[i] for i in own if decided[i] == j) / size for j in range(logs.n_treatments)]
        assert row.given == pytest.approx(tuple(shares))
    whole = returns(compare(logs, {"policy": menu}, [budget]), value_per_unit=m).of("policy")[0]
    for name in ("value", "spend", "net"):
        assert sum(row.share * getattr(row, name) for row in made) == pytest.approx(getattr(whole, name))


def test_one_segment_of_everybody_has_the_interval_of_a_weighted_sum():
    logs = orders(1000, seed=4)
    counts = outcome_curve(logs, policy(logs)).matched(0.5)[0]
    (row,) = segments(logs, counts, logs.treatment, np.zeros(logs.n, np.int64), ("all",))
    terms = logs.inverse_propensity * (counts - (logs.treatment == 0)) * logs.value
    _, ends, events = weighted_sum(logs, terms[:, None])
    assert (row.value_low, row.value_high, row.events) == pytest.approx((*ends[0], events[0]))
    assert np.isnan([row.net, row.net_low, row.net_high]).all()


def test_a_segment_may_lack_an_arm_and_rows_may_be_in_none():
    logs = orders(400, seed=4)
    counts = outcome_curve(logs, policy(logs)).matched(0.5)[0]
    code = np.where(logs.treatment == 0, 0, np.where(logs.treatment == 1, 1, -1))  # neither has every arm
    made = segments(logs, counts, logs.treatment, code, ("control", "first"))
    assert sum(row.share for row in made) == pytest.approx(1)
    own = code == 1
    expected = (logs.inverse_propensity * counts * logs.value)[own].sum() / own.sum()
    assert made[1].value == pytest.approx(expected)
    assert made[1].given[1] == 1


def test_what_cannot_be_a_segment_is_refused():
    logs = orders(50, seed=4)
    ones, code = np.ones(logs.n), np.zeros(logs.n, np.int64)
    with pytest.raises(DataError, match=r"code == 1: there are 1 segments"):
        segments(logs, ones, logs.treatment, code + 1, ("a",))
    with pytest.raises(DataError, match="value_per_unit"):
        segments(logs, ones, logs.treatment, code, ("a",), value_per_unit=-1.0)
    assert leaves(logs, ones) is None, "too few rows"


def trial(n: int, seed: int, effect: float, unit: bool = False) -> Logs:
    """Two arms; the treatment works for those whose first feature is above 0 only."""
    rng = np.random.default_rng(seed)
    x, t = rng.normal(size=(n, 3)).astype(np.float32), rng.integers(0, 2, n)
    value = (rng.random(n) < 0.3 + effect * t * (x[:, 0] > 0)).astype(float)
    return Logs(
        x=x,
        treatment=t,
        value=value,
        cost=0.05 * t,
        unit=np.arange(n) // 2 if unit else None,
        features=("age", "b", "c"),
    )


def test_a_tree_finds_who_gains_and_judges_on_other_units():
    logs = trial(20_000, 0, 0.3, unit=True)
    made = leaves(logs, (logs.treatment == 1) * 1.0, value_per_unit=1.0, seed=3)
    assert made is not None
    assert not set(logs.unit[made.judged]) & set(logs.unit[~made.judged])
    assert any(name.startswith("age above") for name in made.names)
    for k, name in enumerate(made.names):  # the words say which rows are in the leaf
        rows = made.code == k
        low, high = logs.x[rows, 0].min(), logs.x[rows, 0].max()
        if name.startswith("age up to"):
            assert high <= float(name.split("age up to ")[1].split(",")[0]) + 1e-3
        if name.startswith("age above"):
            assert low >= float(name.split("age above ")[1].split(",")[0]) - 1e-3
    assert sorted(set(made.code)) == list(range(len(made.names)))


def test_the_best_leaf_of_a_treatment_that_does_nothing_covers_nothing():
    """Chosen and valued on the same rows, the best leaf excludes 0 most of the time."""
    inside, flattered, draws = 0, 0, 120
    for seed in range(draws):
        logs = replace(trial(1500, 5000 + seed, 0.0), cost=np.zeros(1500))
        counts = (logs.treatment == 1) * 1.0
        made = leaves(logs, counts, seed=seed)
        assert made is not None
        best = {}
        for name, rows in (("other half", made.judged), ("own half", ~made.judged)):
            got = segments(logs, counts, logs.treatment, np.where(rows, made.code, -1), made.names)
            best[name] = max(got, key=lambda row: row.value) if name == "own half" else got
        inside += np.mean([row.value_low <= 0 <= row.value_high for row in best["other half"]])
        flattered += best["own half"].value_low > 0
    assert inside / draws > 0.92
    assert flattered / draws > 0.15


def test_dates_are_written_as_dates():
    logs = trial(4000, 0, 0.3)
    days = (20_000 + np.round(40 * logs.x[:, :1])).astype(np.float32)  # x > 0: after 2024-10-04
    made = leaves(
        replace(logs, x=days, features=("joined",)), (logs.treatment == 1) * 1.0, value_per_unit=1.0, dates=["joined"]
    )
    assert made is not None
    assert any("2024-10-0" in name for name in made.names), made.names
