"""The gate of a challenger: is it better than the run that decides, at equal spend, on evidence that one may look at every day.

Every decision has known propensities, so it says what either run would have brought: with w₁ and w₀ the importance weights of
challenger and champion, the mean of (w₁ - w₀) (y - λ c) is their difference in value at equal spend, each decision's money at the
price λ of its time (`largesse.evaluate.EqualSpendSequence`). The interval holds on all days together.

Which run decides is drawn, too. So the weights have the probability of the treatment over both draws, (1-s) p by the champion
plus s p by the challenger, with the share s of its time: where both runs decide for many units, no weight is large, and a
difference is known from several times fewer decisions than with the probability given the run that decided.

While that is not known, the share of the units that the challenger decides is bounded: were the difference at the lower end of
its interval, challenger and exploration together would cost at most a stated part of what the champion brings.

Reference:
    Wu, Shariff, Lattimore & Szepesvári 2016, Conservative bandits (the bound).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from largesse.evaluate.sequences.look import Look
from largesse.evaluate.sequences.spend import EqualSpendSequence
from largesse.serving.draws import Draws
from largesse.serving.increments import best_treatments
from largesse.serving.watch.reading import Decisions

__all__ = ["EVENTS", "Gate", "Gated", "Verdict"]

Codes = NDArray[np.intp]
Floats = NDArray[np.float64]
Verdict = Literal["better", "worse", "unclear"]
EVENTS = 20
"""Effective number of events of the difference below which nothing is decided."""
_THIRD = 3  # intervals that share the probability of error: the difference, and two of the bound


class Gated(NamedTuple):
    """What is known of a challenger.

    Attributes:
        verdict: "better" or "worse" where the interval shows it, beyond the margin; otherwise "unclear".
        difference: Challenger less champion, value per unit at equal spend; None where there is no estimate yet.
        low: Lower end of its interval; None where there is none yet.
        high: Upper end.
        champion: Value per unit of the champion; None where there is no estimate yet.
        informative: Decisions whose treatment only one of the two gives.
        decisions: Matured decisions since the trial of the challenger began.
        most: The largest share of the units that the challenger may decide.
    """

    verdict: Verdict
    difference: float | None
    low: float | None
    high: float | None
    champion: float | None
    informative: int
    decisions: int
    most: float


class Gate:
    """The evidence about a challenger, from decisions in the order in which they were made.

    Args:
        mix: Weight of each treatment in exploration, (M,).
        explored: Share of all units that explore.
        expected: Number of decisions at which the interval should be narrowest.
        draws: How units are drawn, where those that explore have weights of their own; None: by the mix.
        decided: Share of all units that get a run's own treatment, without holdout and exploration; used where exploration is by
            the mix.
        level: Probability that no interval is ever wrong.
    """

    def __init__(
        self,
        mix: tuple[float, ...],
        explored: float,
        expected: float,
        *,
        draws: Draws | None = None,
        decided: float = 0.0,
        level: float = 0.95,
    ) -> None:
        part = 1 - (1 - level) / _THIRD
        self.mix, self.explored, self.draws, self.decided = np.array(mix), explored, draws, decided
        self.difference = EqualSpendSequence(expected, level=part)
        self.exploring = EqualSpendSequence(expected, level=part, side="upper")
        self.informative = self.decisions = 0

    def add(self, part: Decisions, champion: Codes, challenger: Codes, share: float | Floats = 0.0) -> None:
        """Adds decisions.

        Args:
            part: Matured decisions with a model's menu that the budget did not limit, (n,).
            champion: The treatment that the champion gives each of them, (n,).
            challenger: The one that the challenger gives, (n,).
            share: Share of the units that the challenger decided when each decision was made, (n,).
        """
        n = len(part.time)
        if not n:
            return
        own = self._own(part, champion, challenger, share)
        first, second = ((code == part.given) / own for code in (champion, challenger))
        drawn = part.explored(self.mix, self.draws) / own
        spent = part.price * part.paid  # in units of value
        for sequence, weight, other in ((self.difference, second, first), (self.exploring, first, drawn)):
            sequence.update(
                weight * part.gained, weight * spent, other * part.gained, other * spent,
                importance=np.abs(weight - other), outcome=part.gained - spent,
            )  # fmt: skip
        self.informative += int((champion != challenger)[(first > 0) | (second > 0)].sum())
        self.decisions += n

    def _own(self, part: Decisions, champion: Codes, challenger: Codes, share: float | Floats) -> Floats:
        """Returns the probability of each treatment given, over the draws of the run and of the treatment, (n,)."""
        own = part.propensities[np.arange(len(part.time)), part.given]
        if self.draws is not None or not self.decided:  # exploration differs between the runs
            return own
        policy = best_treatments(part.value, np.where(part.propensities > 0, part.cost, np.inf), part.price)
        random = own - self.decided * (policy == part.given)  # by holdout and exploration
        chosen = (1 - share) * (champion == part.given) + share * (challenger == part.given)
        return np.asarray(np.maximum(random, 0.0) + self.decided * chosen)

    def look(self, *, margin: float = 0.0, loss: float = 0.01) -> Gated:
        """Returns what is known now.

        Args:
            margin: Part of the champion's value by which the challenger may be worse and is "better" all the same; 0: it must be
                shown to bring more.
            loss: Part of the champion's value that challenger and exploration may cost together.
        """
        look, value = self.difference.look(price=1.0), self.difference.of("champion_value")
        champion = _known(value.estimate)
        allowed = margin * max(0.0, champion or 0.0)
        known = self.informative > 0 and look.events >= EVENTS and np.isfinite(look.lower)
        verdict: Verdict = "unclear"
        if known and look.lower > -allowed:
            verdict = "better"
        elif known and look.upper < -allowed:
            verdict = "worse"
        return Gated(
            verdict, _known(look.estimate), _known(look.lower), _known(look.upper), champion, self.informative,
            self.decisions, self._most(look, loss),
        )  # fmt: skip

    def _most(self, look: Look, loss: float) -> float:
        """Returns the largest share of the challenger: 0 until the evidence bounds what it can cost."""
        least, explored = self.difference.of("champion_value"), self.exploring.look(price=1.0)
        if not (np.isfinite(look.lower) and np.isfinite(least.lower) and np.isfinite(explored.upper)):
            return 0.0
        charged = self.explored * max(0.0, explored.upper)
        budget = loss * max(0.0, least.lower) - charged
        if look.lower >= 0:
            return 1.0 if budget >= 0 else 0.0
        return float(np.clip(budget / -look.lower, 0.0, 1.0))


def _known(x: float) -> float | None:
    return float(x) if np.isfinite(x) else None
