"""What a plan under rules is expected to bring: nothing where the rules leave nothing, and less wrong than before elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from largesse import Boosting, Policy, simulate
from largesse.allocate.blocks import in_blocks
from largesse.commands.under_rules import under_rules
from largesse.config.rules import RulesFile
from largesse.menu import Menu
from largesse.policy.curve import PriceCurve
from largesse.policy.deployed import control_sums


class Campaign:
    """A policy, units that it decides, and what the units would bring in truth."""

    def __init__(self, seed: int) -> None:
        world = simulate.money_off(seed=seed, n_features=40, rate=0.3)
        trial, rows, units = world.rct(6000, seed=1), world.rct(3000, seed=2), world.rct(6000, seed=3)
        self.policy = Policy.calibrated(Boosting(seed=0).fit(trial), rows, draws=20)
        self.menu, self.truth = self.policy.model.predict(units.x), world.truth(units.x)
        self.free = self.policy.allocate(self.menu, 0.5 * units.n)
        self.mix = self.free.plan.mix
        self.table = pa.table({"row": np.arange(units.n)})

    def expected(self, rules: dict[str, Any]) -> tuple[float, float, Any]:
        """Returns value and cost that are expected beyond control, and the treatments."""
        file, control = RulesFile.model_validate(rules), control_sums(in_blocks(self.menu))
        got = under_rules(self.policy.curve, self.menu, self.free, file, self.table, control)
        assert got.allocation.brought is not None
        return got.allocation.brought.value, got.allocation.brought.cost, got.treatment

    def brings(self, treatment: Any) -> float:
        """Returns what an allocation brings beyond control, in truth."""
        value = self.truth.value
        return float((value[np.arange(len(value)), treatment] - value[:, 0]).sum())


@pytest.fixture(scope="module")
def campaigns() -> list[Campaign]:
    return [Campaign(seed) for seed in range(6)]


def test_where_nobody_may_get_anything_nothing_is_brought(campaigns: list[Campaign]) -> None:
    for one in campaigns:
        treated = list(one.mix)[1:]
        value, cost, given = one.expected({"count": [{"treatment": treated, "at_most": 0.0}]})
        assert not given.any()
        assert (value, cost) == (pytest.approx(0.0, abs=1e-6), pytest.approx(0.0, abs=1e-6))


def test_strong_caps_are_valued_less_wrongly_than_at_the_price_of_the_plan_without_rules(
    campaigns: list[Campaign], monkeypatch: pytest.MonkeyPatch
) -> None:
    def errors() -> list[float]:
        out = []
        for one in campaigns:
            caps = [{"treatment": name, "at_most": float(int(0.2 * n))} for name, n in list(one.mix.items())[1:]]
            value, _, given = one.expected({"count": caps})
            out.append(value - one.brings(given))
        return out

    now = errors()

    def at_the_price(self: PriceCurve, price: float, share: float, planned: float, n: int, *, level: float) -> Any:
        return self.value_of(price, planned, n, level=level)

    monkeypatch.setattr(PriceCurve, "value_under_rules", at_the_price)
    before = errors()
    assert np.square(now).mean() < 0.6 * np.square(before).mean()


def test_rules_that_change_nothing_change_no_expectation(campaigns: list[Campaign]) -> None:
    one = campaigns[0]
    assert isinstance(one.menu, Menu)
    file = RulesFile.model_validate({"count": [{"treatment": list(one.mix)[1:], "at_most": 1e9}]})
    got = under_rules(one.policy.curve, one.menu, one.free, file, one.table, control_sums(in_blocks(one.menu)))
    assert got.allocation.value == one.free.value
    assert got.allocation.brought == one.free.brought
