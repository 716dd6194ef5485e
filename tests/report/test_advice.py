"""The sentence that says what to do: every condition of it, swapped, fails here."""

from __future__ import annotations

import pytest

from largesse.evaluate.comparison import Verdict
from largesse.evaluate.returns import PayVerdict
from largesse.report.advice import Advice, advise, advise_spending

UNSOUND = "First explain the failed checks of the data"
WORDS = {
    (Verdict.BETTER, True): (Advice.SHIP, "Ship the policy, and confirm it with an experiment"),
    (Verdict.WORSE, True): (Advice.DO_NOT_SHIP, "Do not ship this policy"),
    (Verdict.UNCLEAR, True): (Advice.LARGER_TRIAL, "run a larger trial, or ship the best mix"),
    (Verdict.OUT_OF_REACH, True): (Advice.LARGER_TRIAL, "run a larger trial, or ship the best mix"),
    (Verdict.BETTER, False): (Advice.EXPLAIN_FIRST, UNSOUND),
    (Verdict.WORSE, False): (Advice.EXPLAIN_FIRST, UNSOUND),
    (Verdict.UNCLEAR, False): (Advice.EXPLAIN_FIRST, UNSOUND),
}


@pytest.mark.parametrize(("verdict", "sound"), WORDS)
def test_advice(verdict: Verdict, sound: bool):
    wanted, words = WORDS[verdict, sound]
    found = advise(verdict, sound=sound)
    assert found is wanted
    assert words in found.sentence


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [
        (0.1, 0.3, Verdict.BETTER),
        (-0.3, -0.1, Verdict.WORSE),
        (-0.1, 0.3, Verdict.UNCLEAR),
        (0.0, 0.3, Verdict.UNCLEAR),
        (-0.3, 0.0, Verdict.UNCLEAR),
        (float("nan"), float("nan"), Verdict.UNCLEAR),
    ],
)
def test_a_verdict_is_where_zero_lies(low: float, high: float, wanted: Verdict):
    assert Verdict.of(low, high) is wanted


T, U, N, L = PayVerdict.TARGETED, PayVerdict.UNTARGETED, PayVerdict.NOT_SHOWN, PayVerdict.LOSES


@pytest.mark.parametrize(
    ("verdicts", "lead", "smaller", "wanted"),
    [
        ((N, T), T, False, Advice.SHIP),
        ((U, N), U, True, Advice.SHIP_UNTARGETED),
        ((N, N), N, False, Advice.SPEND_NOTHING_YET),
        ((N, L), L, False, Advice.SPEND_NOTHING_YET),
        ((L, L), L, False, Advice.SPEND_NOTHING),
        ((L, L), L, True, Advice.SPEND_LESS),
        ((N, L), N, True, Advice.SPEND_LESS),
        ((N,), N, True, Advice.SPEND_LESS),
        ((PayVerdict.OUT_OF_REACH, L, L), L, False, Advice.SPEND_NOTHING),
        ((PayVerdict.OUT_OF_REACH,), PayVerdict.OUT_OF_REACH, False, Advice.SPEND_NOTHING_YET),
    ],
)
def test_what_to_spend_follows_from_all_budgets(verdicts, lead: PayVerdict, smaller: bool, wanted: Advice):
    assert advise_spending(verdicts, lead, sound=True, smaller_pays=smaller) is wanted
    assert advise_spending(verdicts, lead, sound=False, smaller_pays=smaller) is Advice.EXPLAIN_FIRST


def test_without_a_budget_one_treatment_is_given_to_everybody():
    assert advise_spending((N, U), U, sound=True, unlimited=True) is Advice.SHIP_ONE_TREATMENT
    assert advise_spending((N, T), T, sound=True, unlimited=True) is Advice.SHIP
    assert advise_spending((N, U), U, sound=False, unlimited=True) is Advice.EXPLAIN_FIRST
