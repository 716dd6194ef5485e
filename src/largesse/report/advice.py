"""The advice of a report: ship the policy, run a larger trial, do not ship, or explain the data first."""

from __future__ import annotations

from enum import StrEnum

from largesse._arguments import checked
from largesse.evaluate.comparison import Verdict

__all__ = ["Advice", "advise"]


class Advice(StrEnum):
    """What to do with a policy that was evaluated on held-out rows of a trial."""

    SHIP = "ship"
    LARGER_TRIAL = "larger trial"
    DO_NOT_SHIP = "do not ship"
    EXPLAIN_FIRST = "explain first"

    @property
    def sentence(self) -> str:
        """The advice in words."""
        return _SENTENCES[self]


_SENTENCES = {
    Advice.SHIP: "Ship the policy, and confirm it with an experiment against the best mix of arms.",
    Advice.LARGER_TRIAL: "Targeting is not shown to beat the best mix of arms: run a larger trial, or ship the best mix.",
    Advice.DO_NOT_SHIP: "Do not ship this policy: the best mix of arms is better.",
    Advice.EXPLAIN_FIRST: "First explain the failed checks of the data: until then, do not rely on any number below.",
}


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
