"""What a fit concludes from the numbers of its evaluation."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from largesse.commands.findings.fit import POLICY, _headline
from largesse.config import Config
from largesse.evaluate.full_effect import EffectShare
from largesse.report.advice import Advice
from largesse.report.numbers import resting

SHARE = EffectShare("policy", "20", 0.46, 0.58, 0.4, 0.7, 0.95, 409.2)


def headline(low: float, high: float, *, sound: bool, share: EffectShare = SHARE) -> object:
    """The headline where the policy at the middle budget leads by so much, and at the other budgets says the contrary."""
    ends = np.array([[0.0] * 3, [-high, low, -high]]), np.array([[0.0] * 3, [-low, high, -low]])
    table = SimpleNamespace(
        index=("best mix of arms", POLICY).index, difference_low=ends[0], difference_high=ends[1],
        difference=(ends[0] + ends[1]) / 2, spend=np.full((2, 3), 0.5),
        difference_events=np.array([[9.0] * 3, [500.0, 71.0, 500.0]]),
    )  # fmt: skip
    found = SimpleNamespace(
        evidence=SimpleNamespace(table=table, at=1, share=share), sound=SimpleNamespace(ok=sound, sentence="Sound."),
        proof=SimpleNamespace(chosen=("a",), logs=SimpleNamespace(n=1000)),
    )  # fmt: skip
    config = Config.model_validate({
        "data": {"rct": "a.csv"}, "columns": {"treatment": "t", "value": "v", "cost": "c"}, "budget": {"shares": [0.5]},
    })  # fmt: skip
    return _headline(config, SimpleNamespace(budgets=(0.1, 0.5, 0.9)), found)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("low", "high", "sound", "wanted"),
    [
        (0.1, 0.3, True, Advice.SHIP),
        (-0.3, -0.1, True, Advice.DO_NOT_SHIP),
        (-0.1, 0.3, True, Advice.LARGER_TRIAL),
        (0.1, 0.3, False, Advice.EXPLAIN_FIRST),
        (-0.3, -0.1, False, Advice.EXPLAIN_FIRST),
        (-0.1, 0.3, False, Advice.EXPLAIN_FIRST),
    ],
)
def test_the_advice_follows_the_middle_budget_and_the_checks(low: float, high: float, sound: bool, wanted: Advice):
    found = headline(low, high, sound=sound)
    assert found.action == wanted.sentence
    verdict = "better" if low > 0 else "worse" if high < 0 else "no clear difference"
    assert f"(95 % interval {resting(low, high, 71, sign=True)}): {verdict}." in " ".join(found.summary)
    assert found.summary[-1] == "Sound."


def test_the_sentence_says_what_the_policy_costs_and_keeps():
    found = headline(0.1, 0.3, sound=True)
    assert found.sentence == (
        "At 46 % of the cost of giving everyone '20', the policy keeps 58 % of that treatment's total effect "
        "(95 % interval 40 % to 70 %, 409 events)."
    )
    unknown = headline(0.1, 0.3, sound=True, share=SHARE.__class__("policy", "20", 0.46, 0.58, -np.inf, np.inf, 0.95))
    assert "no share of an effect is given" in unknown.sentence
