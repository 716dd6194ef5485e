"""Units that were randomised or are alike together: households, shops, a city's week."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from largesse.checks import balance, check, power, sample_ratio
from largesse.checks.log_benefit import benefit_of_the_log
from largesse.checks.past_policy import outcome_bias
from largesse.errors import DataError
from largesse.evaluate import Bootstrap, compare
from largesse.frames import Roles, logs
from largesse.logs import Logs
from largesse.menu import Menu


def shops(seed: int, shops_: int = 60, size: int = 40, spread: float = 0.3, **more: Any) -> Logs:
    """Shops are assigned to two arms as a whole; customers of a shop are alike; the treatment does nothing."""
    rng = np.random.default_rng(seed)
    shop = np.repeat(np.arange(shops_), size)
    arm = (rng.permutation(shops_) % 2)[shop]
    level = rng.normal(0, 1, shops_)[shop]
    value = np.maximum(1 + spread * level + rng.normal(0, 0.5, len(shop)), 0)
    x = np.column_stack([level + rng.normal(0, 0.3, len(shop)), rng.normal(size=len(shop))])
    return Logs(x=x, treatment=arm, value=value, cost=arm * 1.0, cluster=shop, **more)


def test_balance_and_sample_ratio_count_what_was_randomised():
    found = [shops(k, propensity="uniform") for k in range(100)]
    assert np.mean([balance(one).p_value < 0.05 for one in found]) <= 0.12
    bare = [balance(Logs(x=one.x, treatment=one.treatment, value=one.value, cost=one.cost)) for one in found[:20]]
    assert np.mean([one.p_value < 0.001 for one in bare]) > 0.4, "rows are not what was randomised"
    assert sample_ratio(found[0]).observed.tolist() == [30, 30]
    lost = found[0].take(np.flatnonzero((found[0].treatment == 0) | (found[0].cluster < 20)))
    assert sample_ratio(lost).status == "warn" or sample_ratio(lost).status == "fail"


def test_shops_of_which_one_arm_differs_are_found():
    rng = np.random.default_rng(0)
    one = shops(0)
    moved = one.x + (one.treatment * 2.0)[:, None] + rng.normal(0, 0.1, one.x.shape)
    other = Logs(x=moved, treatment=one.treatment, value=one.value, cost=one.cost, cluster=one.cluster)
    assert balance(other).status == "fail"


@pytest.mark.parametrize(("count", "low"), [(60, 0.88), (200, 0.89)])
def test_intervals_of_clusters_cover(count: int, low: float):
    hits, bare = [], []
    for k in range(150):
        one = shops(1000 + k, count, 20)
        menu = Menu(value=np.tile([0.0, 1.0], (one.n, 1)), cost=np.tile([0.0, 1.0], (one.n, 1)))
        alone = Logs(x=one.x, treatment=one.treatment, value=one.value, cost=one.cost)
        for rows, into in ((one, hits), (alone, bare)):
            table = compare(rows, {"all": menu}, [1.0], bootstrap=Bootstrap(draws=200, seed=k), reference="no one")
            into.append(table.difference_low[0, 0] <= 0 <= table.difference_high[0, 0])
    assert np.mean(hits) >= low
    assert np.mean(bare) < 0.75, "as if every customer had been assigned by himself"


def test_power_counts_clusters():
    one = shops(3)
    alone = Logs(x=one.x, treatment=one.treatment, value=one.value, cost=one.cost)
    for name in ("standard_error", "detectable"):
        assert getattr(power(one, [0.5]), name)[0] > 1.5 * getattr(power(alone, [0.5]), name)[0], name
    single = Logs(x=one.x, treatment=one.treatment, value=one.value, cost=one.cost, cluster=np.arange(one.n))
    np.testing.assert_allclose(power(single, [0.5]).detectable, power(alone, [0.5]).detectable, rtol=1e-12)


def test_outcomes_of_a_log_and_the_benefit_of_it_count_clusters():
    """A log of other shops under the same treatment: its means differ by chance, as much as shops do."""
    flagged, bare = [], []
    for k in range(60):
        rct, past = shops(2000 + k), shops(3000 + k)
        obs = Logs(
            x=past.x, treatment=past.treatment, value=past.value, cost=past.cost, cluster=past.cluster, design="obs"
        )
        flagged.append(outcome_bias(rct, obs).status != "ok")
        no = {"x": past.x, "treatment": past.treatment, "value": past.value, "cost": past.cost}
        bare.append(
            outcome_bias(
                Logs(x=rct.x, treatment=rct.treatment, value=rct.value, cost=rct.cost), Logs(**no, design="obs")
            ).status
            != "ok"
        )
    assert np.mean(flagged) <= 0.1
    assert np.mean(bare) > 0.5
    hold = shops(1)
    menus = {name: Menu(value=np.tile([shift, shift], (hold.n, 1)), cost=np.tile([0.0, 1.0], (hold.n, 1)))
             for name, shift in (("lightgbm", 0.9), ("lightgbm-rct", 1.0))}  # fmt: skip
    alone = Logs(x=hold.x, treatment=hold.treatment, value=hold.value, cost=hold.cost)
    found, other = benefit_of_the_log(hold, menus), benefit_of_the_log(alone, menus)
    assert found is not None
    assert other is not None
    assert found.standard_error > 2 * other.standard_error


def test_few_clusters_are_said():
    assert "has only 10 clusters" in check(shops(0, 20))["number of clusters"].sentence
    assert check(shops(0, 200, 10))["number of clusters"].status == "ok"


def test_members_of_a_household_who_were_assigned_one_by_one():
    rng = np.random.default_rng(1)
    home, t = np.repeat(np.arange(500), 3), rng.integers(0, 2, 1500)
    rows = Logs(
        x=rng.normal(size=(1500, 2)),
        treatment=t,
        value=rng.random(1500),
        cost=t * 1.0,
        cluster=home,
        propensity="uniform",
    )
    assert sample_ratio(rows).observed.sum() == 1500, "rows were randomised here"
    assert balance(rows).status == "ok"
    part = rows.parts(1, 1)
    assert all(len(set(part[home == h])) == 1 for h in range(500))


def test_units_and_clusters_stay_whole():
    rng = np.random.default_rng(1)
    shop = np.repeat(np.arange(40), 10)
    unit = np.arange(400) // 2
    t = (np.arange(40) % 2)[shop]
    rows = Logs(x=rng.normal(size=(400, 1)), treatment=t, value=rng.random(400), cost=t * 1.0, unit=unit, cluster=shop)
    first, second = rows.split(1, 1)
    assert not set(first.cluster) & set(second.cluster)
    assert not set(first.unit) & set(second.unit)
    np.testing.assert_allclose(rows.by_group(np.ones(400)), np.full(40, 10.0))
    others = rows.take(np.arange(0, 15))
    assert set(rows.without_units_of(others).cluster) == set(range(2, 40)), "rows 10 to 14 are of shop 1"
    both = first | second
    assert sorted(both.cluster) == sorted(shop)
    with pytest.raises(DataError, match=r"unit\[.*\] == .*rows in several clusters.*coarser cluster"):
        _ = Logs(x=rows.x, treatment=t, value=rows.value, cost=rows.cost, unit=unit % 7, cluster=shop).groups


def test_clusters_of_a_table():
    table = {"shop": ["a", "a", "b", "b"], "arm": [0, 0, 1, 1], "y": [1.0, 2, 3, 4], "x": [1.0, 2, 3, 4]}
    rows, encoder = logs(table, Roles(treatment="arm", value="y", cluster="shop"))
    assert rows.cluster is not None
    assert rows.cluster.tolist() == ["a", "a", "b", "b"]
    assert encoder.features == ("x",)
    with pytest.raises(DataError, match=r"shop\[1\] is missing: every row needs a cluster"):
        logs(table | {"shop": ["a", None, "b", "b"]}, Roles(treatment="arm", value="y", cluster="shop"))


def test_propensities_by_row_of_clusters_assigned_together():
    z = []
    for k in range(200):
        rng = np.random.default_rng(k)
        shop = np.repeat(np.arange(80), 10)
        chance = rng.uniform(0.2, 0.8, 80)
        t = (rng.random(80) < chance)[shop].astype(int)
        p = np.where(t == 1, chance[shop], 1 - chance[shop])
        rows = Logs(x=np.zeros((800, 1)), treatment=t, value=t, cost=t, cluster=shop, design="obs", propensity=p)
        z.append(rows.propensity_excess)
    assert 0.85 < np.std(z) < 1.2


def weeks(seed: int, late: float) -> Logs:
    """Eight weeks of rows; a share `late` of the newest week's outcomes has not arrived."""
    rng = np.random.default_rng(seed)
    n = 8000
    week, t = rng.integers(0, 8, n), rng.integers(0, 2, n)
    value = (rng.random(n) < 0.3) * (rng.random(n) >= late * (week == 7))
    return Logs(x=rng.normal(size=(n, 1)), treatment=t, value=value, cost=t * 1.0, timestamp=week)


def test_outcomes_that_have_not_arrived_are_said():
    assert check(weeks(0, 0.6))["young rows"].status == "warn"
    assert "have arrived" in check(weeks(0, 0.6))["young rows"].sentence
    assert not any(check(weeks(k, 0.0))["young rows"].status == "warn" for k in range(20))
    bare = weeks(0, 0.6)
    alone = Logs(x=bare.x, treatment=bare.treatment, value=bare.value, cost=bare.cost)
    assert "young rows" not in [one.name for one in check(alone)]


def test_units_assigned_anew_every_week_risk_carry_over():
    rng = np.random.default_rng(0)
    unit, week = np.tile(np.arange(500), 8), np.repeat(np.arange(8), 500)
    t = rng.integers(0, 2, 4000)
    rows = {"x": rng.normal(size=(4000, 1)), "treatment": t, "value": rng.random(4000), "cost": t * 1.0, "unit": unit}
    found = check(Logs(**rows, timestamp=week))["repeated units"]
    assert found.status == "warn"
    assert "carry-over" in found.sentence
    assert check(Logs(**rows))["repeated units"].status == "fail"
