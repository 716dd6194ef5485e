"""The advice of a report: ship the policy, run a larger trial, do not ship, or explain the data first."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from largesse._arguments import checked
from largesse.evaluate.comparison import Verdict
from largesse.evaluate.returns import PayVerdict

__all__ = ["Advice", "advise", "advise_spending"]


class Advice(StrEnum):
    """What to do with a policy that was evaluated on held-out rows of a trial."""

    SHIP = "ship"
    LARGER_TRIAL = "larger trial"
    SHIP_UNTARGETED = "ship untargeted"
    SHIP_ONE_TREATMENT = "ship one treatment"
    SPEND_LESS = "spend less"
    SPEND_NOTHING_YET = "spend nothing yet"
    SPEND_NOTHING = "spend nothing"
    DO_NOT_SHIP = "do not ship"
    EXPLAIN_FIRST = "explain first"

    @property
    def sentence(self) -> str:
        """The advice in words."""
        return _SENTENCES[self]


_SENTENCES = {
    Advice.SHIP: "Ship the policy, and confirm it with an experiment against the best mix of arms.",
    Advice.SHIP_UNTARGETED: (
        "Give the best mix of arms to random units: it pays. Targeting is not shown to beat it at this budget."
    ),
    Advice.SHIP_ONE_TREATMENT: "Give everybody that treatment: it pays. Targeting is not shown to leave more.",
    Advice.SPEND_LESS: "Plan for less: these budgets are not shown to pay, smaller ones are (see the break-even budget below).",
    Advice.SPEND_NOTHING_YET: "Spend nothing yet.",
    Advice.SPEND_NOTHING: "Spend nothing on these treatments: they cost more than they bring.",
    Advice.LARGER_TRIAL: "Targeting is not shown to beat the best mix of arms: run a larger trial, or ship the best mix.",
    Advice.DO_NOT_SHIP: "Do not ship this policy: the best mix of arms is better.",
    Advice.EXPLAIN_FIRST: "First explain the failed checks of the data: until then, do not rely on any number below.",
}


_PAYS = {
    PayVerdict.TARGETED: Advice.SHIP, PayVerdict.UNTARGETED: Advice.SHIP_UNTARGETED,
    PayVerdict.LOSES: Advice.SPEND_NOTHING, PayVerdict.NOT_SHOWN: Advice.SPEND_NOTHING_YET,
    PayVerdict.OUT_OF_REACH: Advice.SPEND_NOTHING_YET,
}  # fmt: skip


@checked
def advise_spending(
    verdicts: Sequence[PayVerdict],
    lead: PayVerdict,
    *,
    sound: bool,
    smaller_pays: bool = False,
    unlimited: bool = False,
) -> Advice:
    """Returns what to do where it is known what one unit of value brings in money.

    Args:
        verdicts: Whether each budget pays, and what is spent without one.
        lead: The verdict that the report leads with.
        sound: Whether no check of the data failed.
        smaller_pays: Whether a smaller budget is shown to pay.
        unlimited: Whether the report leads with what is spent without a budget.

    >>> both = (PayVerdict.NOT_SHOWN, PayVerdict.LOSES)
    >>> advise_spending(both, both[1], sound=True)
    <Advice.SPEND_NOTHING_YET: 'spend nothing yet'>
    """
    if not sound:
        return Advice.EXPLAIN_FIRST
    if not any(verdict.spends for verdict in verdicts) and smaller_pays:
        return Advice.SPEND_LESS
    if any(verdict is PayVerdict.NOT_SHOWN for verdict in verdicts) and not lead.spends:
        return Advice.SPEND_NOTHING_YET
    if unlimited and lead is PayVerdict.UNTARGETED:
        return Advice.SHIP_ONE_TREATMENT
    return _PAYS[lead]


@checked
def advise(verdict: Verdict, *, sound: bool) -> Advice:
    """Returns what to do.

    Args:
        verdict: The policy against the best mix of arms at the headline budget.
        sound: Whether no check of the data failed.

    >>> advise(Verdict.BETTER, sound=True), advise(Verdict.BETTER, sound=False)
    (<Advice.SHIP: 'ship'>, <Advice.EXPLAIN_FIRST: 'explain first'>)
    """
    if not sound:
        return Advice.EXPLAIN_FIRST
    if verdict is Verdict.BETTER:
        return Advice.SHIP
    return Advice.DO_NOT_SHIP if verdict is Verdict.WORSE else Advice.LARGER_TRIAL
