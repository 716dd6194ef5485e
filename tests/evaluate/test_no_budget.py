"""Without a budget: the policy and the best single treatment against sums by hand; verdicts, and how often chance spends."""

from __future__ import annotations

import numpy as np
import pytest

from largesse import Logs, Menu
from largesse.errors import DataError
from largesse.evaluate import NoBudget, PayVerdict, compare, returns, verdicts, verdicts_with_no_budget
from largesse.evaluate.no_budget import _best_arm
from largesse.evaluate.paths import DecisionPath
from largesse.evaluate.returns import Sums

M = 4.0


def trial(n: int, seed: int, effect: float = 0.3, cost: float = 0.5, dearer: float = 1.2) -> tuple[Logs, Menu]:
    """Half of the units react to two treatments; the model knows which half."""
    rng = np.random.default_rng(seed)
    x, t = rng.random((n, 1)), rng.integers(0, 3, n)
    gain = effect * (x[:, 0] > 0.5)
    p = 0.3 + np.column_stack([0 * gain, gain, dearer * gain])
    value = (rng.random(n) < p[np.arange(n), t]) * 1.0
    logs = Logs(x=x, treatment=t, value=value, cost=cost * t, propensity="uniform")
    return logs, Menu(value=p, cost=np.tile(cost * np.arange(3.0), (n, 1)))


def judged(logs: Logs, menu: Menu, paying: np.ndarray | None = None) -> tuple[tuple[PayVerdict, ...], NoBudget | None]:
    table = compare(logs, {"p": menu}, [0.05, 0.1])
    return verdicts_with_no_budget(returns(table, value_per_unit=M), table, "p", paying)


def best(net: np.ndarray) -> np.ndarray:
    """The treatment with the highest net value, (N,)."""
    return net.argmax(axis=1).astype(np.int32)


def test_the_policy_by_hand():
    """Rows that got what pays, by inverse propensity, less control; with Welch-like errors."""
    logs, menu = trial(6000, 0)
    paying = best(M * menu.value - menu.cost)
    free = judged(logs, menu, paying)[1]
    assert free is not None
    part = 3.0 * ((paying == logs.treatment) * 1.0 - (logs.treatment == 0))
    each = part * (M * logs.value - logs.cost)
    assert free.policy.value == pytest.approx((part * logs.value).mean(), rel=1e-12)
    assert free.policy.spend == pytest.approx((part * logs.cost).mean(), rel=1e-12)
    assert free.policy.net == pytest.approx(each.mean(), rel=1e-12)
    error = each.std(ddof=1) / np.sqrt(logs.n)
    assert (free.policy.net_high - free.policy.net_low) / 2 / 1.96 == pytest.approx(error, rel=0.02)
    assert judged(logs, menu)[1] == free  # by the menu of the comparison, at the price 1 / M


def test_one_treatment_for_everyone_by_hand():
    """Where one treatment is far better than the others there is no choice: a difference of two means."""
    logs, menu = trial(20_000, 1, effect=0.6, cost=0.2, dearer=0.0)
    free = judged(logs, menu, best(M * menu.value - menu.cost))[1]
    assert free is not None
    means = [(3 * (M * logs.value - logs.cost) * (logs.treatment == k)).mean() for k in range(3)]
    assert free.arm == "1"
    assert free.untargeted.name == "1 for everyone"
    assert free.untargeted.net == pytest.approx(means[1] - means[0], rel=1e-6)
    assert free.untargeted.spend == pytest.approx((3 * logs.cost * (logs.treatment == 1)).mean(), rel=1e-12)
    each = 3 * (M * logs.value - logs.cost) * ((logs.treatment == 1) * 1.0 - (logs.treatment == 0))
    error = each.std(ddof=1) / np.sqrt(logs.n)
    assert (free.untargeted.net_high - free.untargeted.net_low) / 2 / 1.96 == pytest.approx(error, rel=0.02)
    assert free.verdict is PayVerdict.TARGETED  # half of the units do not react: for them .2 is lost


def test_all_that_react_alike_get_one_treatment():
    logs, _ = trial(20_000, 2, effect=0.0)
    alike = Logs(x=logs.x, treatment=logs.treatment, value=0.1 * logs.treatment + logs.value, cost=logs.cost * 0.2)
    everyone = Menu(value=np.tile([0.0, 0.1, 0.2], (logs.n, 1)), cost=np.tile([0.0, 0.1, 0.2], (logs.n, 1)))
    free = judged(alike, everyone)[1]
    assert free is not None
    assert (free.arm, free.verdict) == ("2", PayVerdict.UNTARGETED)


def test_the_best_of_equal_treatments_is_not_optimistic():
    """Two treatments of the same net value, 0: the better of the two means is 0.56 standard errors too high, this is not."""
    off = []
    for seed in range(1000, 1500):
        rng = np.random.default_rng(seed)
        t = rng.integers(0, 3, 600)
        logs = Logs(x=np.zeros((600, 1)), treatment=t, value=rng.random(600) + 0.25 * (t > 0), cost=1.0 * (t > 0),
                    propensity="uniform")  # fmt: skip
        table = compare(logs, {"p": Menu(value=np.zeros((600, 3)), cost=np.tile([0.0, 1.0, 1.0], (600, 1)))}, [0.5])
        row = _best_arm(Sums(table), M)[0].row
        if not np.isnan(row.net):
            off.append(row.net / ((row.net_high - row.net_low) / 3.92))
        else:  # control, whose net value is 0
            off.append(0.0)
    assert abs(np.mean(off)) < 0.2


def test_who_gives_nobody_anything_is_no_way_to_spend():
    logs, menu = trial(4000, 3, effect=0.0)
    nobody = np.zeros(logs.n, np.int32)
    budgets, free = judged(logs, menu, nobody)
    assert free is None
    table = compare(logs, {"p": menu}, [0.05, 0.1])
    assert budgets == verdicts(returns(table, value_per_unit=M), table, "p")
    logs, menu = trial(4000, 3, effect=0.5, cost=0.1)
    free = judged(logs, menu, nobody)[1]  # one treatment for everyone pays
    assert free is not None
    assert np.isnan(free.policy.net)
    assert free.verdict is PayVerdict.UNTARGETED


def test_chance_does_not_spend_more_often():
    """A treatment without effect that costs next to nothing: of 120 trials at most 7 are to be spent in, with or without."""
    with_, without = 0, 0
    for seed in range(120):
        logs, menu = trial(1500, 4000 + seed, effect=0.0, cost=1e-4)
        noise = np.random.default_rng(seed).normal(size=(logs.n, 3))
        menu = Menu(value=0.3 + 0.1 * noise, cost=menu.cost)
        table = compare(logs, {"p": menu}, [5e-5, 1e-4])
        made = returns(table, value_per_unit=M)
        budgets, free = verdicts_with_no_budget(made, table, "p")
        with_ += any(v.spends for v in budgets) or (free is not None and free.verdict.spends)
        without += any(v.spends for v in verdicts(made, table, "p"))
    assert with_ <= 7  # 3 at 2.5 %, standard deviation 1.7
    assert with_ <= without + 4


def test_a_policy_that_is_given_at_budgets_has_no_price_without_one():
    """A plan under rules: what everybody would get without a budget is not known."""
    logs, menu = trial(2000, 6)
    decided = np.stack([np.zeros(logs.n, np.int32), best(M * menu.value - menu.cost)])
    path = DecisionPath(decided=decided, price=np.array([1.0, 0.0]), treatments=logs.treatments)
    table = compare(logs, {"p": path}, [0.05, 0.1])
    made = returns(table, value_per_unit=M)
    assert verdicts_with_no_budget(made, table, "p") == (verdicts(made, table, "p"), None)


def test_it_needs_money_and_a_treatment_per_row():
    logs, menu = trial(400, 5)
    table = compare(logs, {"p": menu}, [0.1])
    with pytest.raises(DataError, match="value_per_unit"):
        verdicts_with_no_budget(returns(table), table, "p")
    with pytest.raises(DataError, match="paying"):
        verdicts_with_no_budget(returns(table, value_per_unit=M), table, "p", np.zeros(3, np.int32))
