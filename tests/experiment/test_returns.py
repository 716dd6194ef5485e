"""Net effect and return of an experiment, recomputed from the raw rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from largesse.errors import DataError, SchemaError
from largesse.experiment import Columns, Metric, Sample, Settings, means, measure, returns


def rows(n: int = 3000, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    arm = rng.choice(["control", "10 off", "5 off"], n)
    amount = np.select([arm == "5 off", arm == "10 off"], [5.0, 10.0], 0.0)
    before = rng.normal(20, 5, n)
    used = rng.random(n) < 0.4
    value = before + rng.normal(0, 8, n) + 1.5 * amount * used
    return {"arm": arm, "value": value, "before": before, "paid": amount * used, "amount": amount}


COLUMNS = Columns(arm="arm", metrics=(Metric("value"),), cost="paid")


def test_net_effect_is_that_of_the_row_wise_difference() -> None:
    data = rows()
    one = {r.arm: r for r in measure(data, COLUMNS, Settings(value_per_unit=0.5)).returns}["10 off"]
    net = 0.5 * data["value"] - data["paid"]
    treated, control = (net[data["arm"] == name] for name in ("10 off", "control"))
    assert one.net == pytest.approx(treated.mean() - control.mean())
    assert one.net == pytest.approx(one.value - one.cost)
    se = np.sqrt(treated.var(ddof=1) / len(treated) + control.var(ddof=1) / len(control))
    assert (one.high - one.low) / 2 == pytest.approx(1.96 * se, rel=0.01)
    assert one.method == "difference in means"


def test_return_and_its_interval_by_fieller() -> None:
    data = rows()
    (one, _) = measure(data, COLUMNS).returns
    assert one.arm == "5 off"  # natural order
    t, c = data["arm"] == "5 off", data["arm"] == "control"
    v = data["value"][t].mean() - data["value"][c].mean()
    k = data["paid"][t].mean()
    assert one.roi == pytest.approx(v / k)
    a = data["value"][t].var(ddof=1) / t.sum() + data["value"][c].var(ddof=1) / c.sum()
    b = data["paid"][t].var(ddof=1) / t.sum()
    cov = np.cov(data["value"][t], data["paid"][t])[0, 1] / t.sum()
    z = 1.96  # θ² (k² - z² b) - 2 θ (v k - z² cov) + v² - z² a = 0
    ends = np.sort(np.roots([k**2 - z**2 * b, -2 * (v * k - z**2 * cov), v**2 - z**2 * a]))
    assert [one.roi_low, one.roi_high] == pytest.approx(ends.tolist(), rel=0.03)


def test_a_cost_fixed_by_arm_is_a_number() -> None:
    data = rows()
    (one, _) = measure(data, Columns(arm="arm", metrics=(Metric("value", covariate="before"),), cost="amount")).returns
    assert (one.fixed_cost, one.cost, one.method) == (True, 5.0, "CUPED")
    measured = measure(data, Columns(arm="arm", metrics=(Metric("value", covariate="before"),)))["value"]
    effect = measured.effect("CUPED", "5 off")
    assert (one.net, one.low, one.high) == pytest.approx((effect.effect - 5, effect.low - 5, effect.high - 5))
    assert one.roi == pytest.approx(effect.effect / 5)
    assert [one.roi_low, one.roi_high] == pytest.approx([effect.low / 5, effect.high / 5], rel=0.02)


def test_clusters_and_weights_are_those_of_the_net_metric() -> None:
    data = rows(2000, seed=3)
    shop = np.arange(2000) // 8
    arm = np.array(["control", "5 off"])[np.random.default_rng(1).integers(0, 2, 250)][shop]
    paid = np.where(arm == "5 off", data["amount"] / 2 + shop % 3, 0.0)
    weight = 1 + np.arange(2000) % 4
    columns = Columns(arm="arm", metrics=(Metric("value"),), cost="paid", cluster="shop", weight="w")
    (one,) = measure({**data, "arm": arm, "paid": paid, "shop": shop, "w": weight}, columns).returns
    net, t = data["value"] - paid, arm == "5 off"
    by_hand = np.average(net[t], weights=weight[t]) - np.average(net[~t], weights=weight[~t])
    assert one.net == pytest.approx(by_hand)
    variance = 0.0
    for member in (t, ~t):  # sums over shops, linearised
        mean = np.average(net[member], weights=weight[member])
        of_shop = np.bincount(shop[member], weight[member] * (net[member] - mean))[np.unique(shop[member])]
        variance += len(of_shop) / (len(of_shop) - 1) * np.square(of_shop).sum() / weight[member].sum() ** 2
    assert (one.high - one.low) / 2 == pytest.approx(1.97 * np.sqrt(variance), rel=0.02)
    spend = np.average(paid[t], weights=weight[t])
    assert (one.cost, one.roi) == (pytest.approx(spend), pytest.approx((by_hand + spend) / spend))


def test_an_arm_that_costs_no_more_has_no_return() -> None:
    data = rows()
    data["paid"] = np.where(data["arm"] == "control", 3.0, np.where(data["arm"] == "5 off", 1.0, 3.0 + data["paid"]))
    five, ten = measure(data, COLUMNS).returns
    assert np.isnan(five.roi)
    assert five.cost == -2
    assert ten.roi > 0


def test_an_extra_cost_that_may_be_zero_gives_no_ends() -> None:
    rng = np.random.default_rng(5)
    arm, value = np.arange(400) % 2, rng.normal(size=400)
    cost = rng.normal(10, 5, 400)
    cost -= np.where(arm == 1, cost[arm == 1].mean() - cost[arm == 0].mean() - 0.05, 0)
    (one,) = returns(Sample(value=value, arm=arm, arms=("A", "B")), cost)
    assert one.cost == pytest.approx(0.05)
    assert (one.roi_low, one.roi_high) == (-np.inf, np.inf)


def test_prediction_and_value_per_unit_enter_the_net_effect() -> None:
    data = rows()
    code = np.select([data["arm"] == "control", data["arm"] == "5 off"], [0, 1], 2)
    sample = Sample(value=data["value"], arm=code, arms=("control", "5 off", "10 off"), prediction=data["before"])
    net = Sample(value=3 * data["value"] - data["paid"], arm=code, arms=sample.arms, prediction=data["before"])
    one = returns(sample, data["paid"], value_per_unit=3.0)[1]
    effect = {e.method: e for e in means(net, 2)}["CUPAC"]
    assert (one.method, one.net, one.low) == ("CUPAC", pytest.approx(effect.effect), pytest.approx(effect.low))


@pytest.mark.parametrize(
    ("change", "words"),
    [({"paid": np.zeros(3000)}, "the same in every row"), ({"paid": np.full(3000, np.nan)}, "paid")],
)
def test_costs_that_are_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        measure({**rows(), **change}, COLUMNS)


def test_a_ratio_has_no_cost() -> None:
    with pytest.raises(SchemaError, match="is a ratio"):
        Columns(arm="arm", metrics=(Metric("value", "visits"),), cost="paid")
