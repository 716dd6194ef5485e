"""What a fit concludes from the numbers of its evaluation."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from largesse.commands.findings.fit import POLICY, _headline
from largesse.commands.findings.pays import Payback, pay, remedies
from largesse.config import Config
from largesse.evaluate import BreakEven, NoBudget, PayVerdict, ReturnRow, Returns
from largesse.evaluate.full_effect import EffectShare
from largesse.report.advice import Advice
from largesse.report.numbers import resting
from largesse.report.pays import pay_table

SHARE = EffectShare("policy", "20", 0.46, 0.58, 0.4, 0.7, 0.95, 409.2)


def row(name: str, budget: float, net: float, half: float, m: float | None = 10.0) -> ReturnRow:
    """A row with that net value; spend is the budget."""
    value = (net + budget) / (m or 10.0)
    ends = (value - half / (m or 10.0), value + half / (m or 10.0))
    nets = (net, net - half, net + half) if m else (np.nan,) * 3
    return ReturnRow(
        name,
        budget,
        budget,
        value,
        *ends,
        *nets,
        value / budget * (m or 1.0),
        0.1,
        0.2,
        budget / value,
        1.0,
        2.0,
        120.0,
    )


def payback(
    nets: list[float], verdicts: list[PayVerdict], at: int, turning: BreakEven | None, m: float | None = 10.0
) -> Payback:
    """Returns at budgets 1, 2, ... with these net values, ± .5."""
    rows = [row(name, k + 1.0, net, 0.5, m) for name in (POLICY, "best mix of arms") for k, net in enumerate(nets)]
    return Payback(Returns(rows=tuple(rows), value_per_unit=m, level=0.95), tuple(verdicts), turning, at)


UNKNOWN = payback([1.0, 1.0, 1.0], [], 1, None, None)
T, U, N, L = PayVerdict.TARGETED, PayVerdict.UNTARGETED, PayVerdict.NOT_SHOWN, PayVerdict.LOSES
TURNING = BreakEven(2.5, 2.0, 3.1, 1.0, 0.5, 1.5)


def headline(low: float, high: float, *, sound: bool, share: EffectShare = SHARE, pays: Payback = UNKNOWN) -> object:
    """The headline where the policy at the middle budget leads by so much, and at the other budgets says the contrary."""
    ends = np.array([[0.0] * 3, [-high, low, -high]]), np.array([[0.0] * 3, [-low, high, -low]])
    table = SimpleNamespace(
        index=("best mix of arms", POLICY).index, difference_low=ends[0], difference_high=ends[1],
        difference=(ends[0] + ends[1]) / 2, spend=np.full((2, 3), 0.5),
        difference_events=np.array([[9.0] * 3, [500.0, 71.0, 500.0]]),
    )  # fmt: skip
    found = SimpleNamespace(
        evidence=SimpleNamespace(table=table, at=1, share=share, payback=pays),
        sound=SimpleNamespace(ok=sound, sentence="Sound."),
        proof=SimpleNamespace(chosen=("a",), logs=SimpleNamespace(n=1000)),
        about=SimpleNamespace(rows=(("trial", 3000), ("proof", 1000))),
    )  # fmt: skip
    config = Config.model_validate({
        "data": {"rct": "a.csv"}, "columns": {"treatment": "t", "value": "v", "cost": "c"}, "budget": {"shares": [0.5]},
        "report": {"value_unit": "orders", "money_unit": "EUR", "head": "user"},
    })  # fmt: skip
    task = SimpleNamespace(budgets=(0.1, 0.5, 0.9), labels=("small", "middle", "large"))
    return _headline(config, task, found)  # type: ignore[arg-type]


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


def test_the_sentence_says_what_the_policy_brings_and_what_one_costs():
    found = headline(0.1, 0.3, sound=True)
    assert found.sentence == (
        "At a budget of 2.00 EUR per user, the policy brings +0.300 orders per user against giving nobody anything (95 % "
        "interval +0.250 to +0.350, 120 events). One more of these costs 6.67 EUR (95 % interval 1.00 to 2.00)."
    )
    assert (
        "At 46 % of the cost of giving everyone '20', the policy keeps 58 % of that treatment's total effect (95 % interval "
        "40 % to 70 %, 409 events)."
    ) in found.summary
    unknown = headline(0.1, 0.3, sound=True, share=SHARE.__class__("policy", "20", 0.46, 0.58, -np.inf, np.inf, 0.95))
    assert any("no share of an effect is given" in part for part in unknown.summary)


@pytest.mark.parametrize(
    ("nets", "verdicts", "at", "turning", "words", "advice"),
    [
        ([1.0, 2.0], [T, T], 1, TURNING, "Spend 2.00 EUR per user, targeted by the policy: it leaves +2.00 EUR", Advice.SHIP),
        ([1.0, 2.0], [U, N], 0, TURNING, "Spend 1.00 EUR per user, untargeted, by the best", Advice.SHIP_UNTARGETED),
        ([-0.8, -1.8], [L, L], 1, BreakEven(0.2, 0.0, 0.4, 0.1, 0.1, 0.2), "Spend nothing: every", Advice.SPEND_NOTHING),
        ([-0.8, -1.8], [L, L], 1, BreakEven(0.5, 0.3, 0.6, 0.2, 0.1, 0.4), "None of these budgets is shown to pay, smaller ones "
         "are: the campaign is shown to bring back what it costs up to 0.300 EUR per user.", Advice.SPEND_LESS),
        ([0.1, -1.8], [N, L], 0, BreakEven(1.2, 0.0, 1.6, 0.6, 0.1, 1.0), "Spend nothing yet: no budget is shown to pay",
         Advice.SPEND_NOTHING_YET),
    ],
)  # fmt: skip
def test_the_budget_that_is_best_supported_leads(nets, verdicts, at, turning, words: str, advice: Advice):
    pays = payback(nets, verdicts, at, turning)
    found = headline(0.1, 0.3, sound=True, pays=pays)
    assert found.sentence.startswith(words), found.sentence
    assert found.action.startswith(advice.sentence)
    assert headline(0.1, 0.3, sound=False, pays=pays).action == Advice.EXPLAIN_FIRST.sentence


def free(verdict: PayVerdict, net: float, other: float = -9.0) -> NoBudget:
    """Returns without a budget: the policy and '2' for everyone with these net values, ± .5."""
    rows = (row(POLICY, 3.0, net, 0.5), row("2 for everyone", 4.0, other, 0.5))
    return NoBudget(*(one._replace(budget=np.nan) for one in rows), "2", verdict)


@pytest.mark.parametrize(
    ("nets", "verdicts", "at", "no_budget", "words", "advice"),
    [  # what may be spent comes first, then the highest net value; where nothing may, the interval that begins highest
        ([1.0, 2.0], [T, T], 1, free(T, 2.5), "Give everybody what pays by the model, without a budget: that spends 3.00 EUR per "
         "user and leaves +2.50 EUR per user after its cost", Advice.SHIP),
        ([1.0, 2.0], [T, T], 1, free(T, 1.5), "Spend 2.00 EUR per user, targeted", Advice.SHIP),
        ([1.0, 2.0], [T, T], 1, free(N, 2.5), "Spend 2.00 EUR per user, targeted", Advice.SHIP),
        ([0.1, 0.2], [N, N], 1, free(U, 0.3, 2.1), "Give everybody '2', without a budget: that spends 4.00 EUR per user and "
         "leaves +2.10 EUR", Advice.SHIP_ONE_TREATMENT),
        ([-0.1, -0.2], [N, N], 0, free(N, 0.3), "Spend nothing yet: nothing is shown to pay, with or without",
         Advice.SPEND_NOTHING_YET),
        ([0.4, -0.2], [N, N], 0, free(N, 0.3), "Spend nothing yet: no budget is shown to pay. At 1.00 EUR",
         Advice.SPEND_NOTHING_YET),
        ([-0.9, -1.8], [L, L], 0, free(L, -0.8), "Spend nothing: every budget costs more than it brings, −0.80 EUR per user "
         "without one", Advice.SPEND_NOTHING),
        ([-0.9, -1.8], [L, L], 0, free(N, 0.1), "Spend nothing yet", Advice.SPEND_NOTHING_YET),
    ],
)  # fmt: skip
def test_no_budget_is_one_of_the_candidates(nets, verdicts, at, no_budget: NoBudget, words: str, advice: Advice):
    pays = replace(payback(nets, verdicts, at, None), free=no_budget)
    found = headline(0.1, 0.3, sound=True, pays=pays)
    assert found.sentence.startswith(words), found.sentence
    assert found.action.startswith(advice.sentence), found.action
    assert ("Of the budgets, middle is the best supported." in found.summary[0]) == pays.unlimited
    assert pays.verdict is verdicts[at]


def test_no_budget_has_a_row_and_a_verdict_in_the_table():
    config = Config.model_validate({
        "data": {"rct": "a.csv"}, "columns": {"treatment": "t", "value": "v", "cost": "c"},
        "report": {"value_unit": "orders", "money_unit": "EUR", "head": "user"},
    })  # fmt: skip
    shown = pay(replace(payback([1.0], [T], 0, TURNING), free=free(U, 0.3, 2.1)), ("small",), config)
    assert [(r.budget_label, r.returns.name, r.verdict) for r in shown.rows[2:]] == [
        ("without a budget", POLICY, U), ("without a budget", "2 for everyone", None),
    ]  # fmt: skip
    table = pay_table(shown, value="orders", money="EUR", head="user", level=0.95, ours=POLICY)
    assert table.notes == {"small": "1.00 EUR per user"}


def test_a_budget_out_of_reach_is_not_led_with():
    unclear = payback([float("nan"), 0.1], [PayVerdict.OUT_OF_REACH, N], 0, TURNING)
    assert headline(0.1, 0.3, sound=True, pays=unclear).sentence == "Spend nothing yet: no budget is shown to pay."


def test_where_nothing_is_shown_the_cheapest_remedy_comes_first():
    unclear = payback([0.1, -1.8], [N, L], 0, TURNING)
    first, second = remedies(unclear, rows=1000, all_rows=False)
    assert "leave out --fast" in first
    # .5 / 1.96 = .255 is the standard error of .1 at 1,000 rows: (2.8 · .255 / .1)² · 1,000 = 51,020
    assert "about 52,000 rows" in second
    assert remedies(unclear, rows=1000, all_rows=True) == (second,)
    assert remedies(payback([-0.1], [N], 0, TURNING), rows=1000, all_rows=True) == ()
    assert remedies(payback([0.001], [N], 0, TURNING), rows=1000, all_rows=True) == ()  # 500 million rows are no remedy
    both = payback([0.02, 0.1], [N, N], 0, TURNING)
    assert remedies(both, rows=1000, all_rows=True) == (second,)  # the smallest of those that a budget needs


def test_the_section_names_the_verdict_once_a_budget():
    config = Config.model_validate({
        "data": {"rct": "a.csv"}, "columns": {"treatment": "t", "value": "v", "cost": "c"},
        "report": {"value_unit": "orders", "money_unit": "EUR", "head": "user"},
    })  # fmt: skip
    shown = pay(payback([1.0, 2.0], [T, N], 0, TURNING), ("small", "large"), config)
    assert [r.verdict for r in shown.rows] == [T, None, N, None]
    assert "Break-even: up to a budget of 2.50 EUR per user" in shown.limits[0]
    assert "highest at about 1.00 EUR per user" in shown.limits[1]
    bare = pay(UNKNOWN, ("a", "b", "c"), config)
    assert not bare.known
    assert "outcome.value_per_unit" in bare.limits[0]
