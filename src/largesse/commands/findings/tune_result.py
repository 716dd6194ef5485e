"""What a tuning found: its trials, the choice among them, and the proof of the choice."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from largesse.commands.tune_search import Search, Trial, label
from largesse.evaluate.comparison import Comparison, Verdict
from largesse.logs import Logs
from largesse.models.registry import DECIDES
from largesse.models.selection import Choice, allowance, choose

__all__ = ["Chosen", "Found", "Outcome", "Proven", "chosen"]


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """Which trial was chosen, and why.

    Attributes:
        trials: Those with a score, simplest first, (P,).
        trial: The chosen one.
        untouched: The default that the same rows choose: what `fit` would use without tuning.
        best: The one with the highest score.
        choice: Scores, errors of their differences from the best, and the reason.
        standard_errors: How many standard errors counted as one.
        lead: By how much the best leads the first of `trials`.
        luck: By how much it would on average if all were worth the same, through the rows that score alone.
    """

    trials: tuple[Trial, ...]
    trial: Trial
    untouched: Trial
    best: Trial
    choice: Choice
    standard_errors: float
    lead: float
    luck: float


class Outcome(StrEnum):
    """The chosen settings against the untouched ones."""

    UNCHANGED = "nothing changed"
    BETTER = "better"
    WORSE = "worse"
    UNCLEAR = "no clear difference"


@dataclass(frozen=True, slots=True, eq=False)
class Proven:
    """The chosen settings against the untouched ones on the rows of the proof.

    Attributes:
        table: Value per head at each budget, differences from the untouched ones.
        difference: Mean over the budgets of the difference, nan where none is within reach; 0 if nothing was changed.
        low: Lower end of its paired 95 % interval.
        high: Upper end.
        changed: Whether the chosen settings are other ones.
    """

    table: Comparison
    difference: float
    low: float
    high: float
    changed: bool

    @property
    def outcome(self) -> Outcome:
        """What the interval shows."""
        return Outcome(Verdict.of(self.low, self.high).value) if self.changed else Outcome.UNCHANGED


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """All that a tuning found."""

    search: Search
    chosen: Chosen
    proven: Proven
    proof: Logs


def chosen(trials: list[Trial], counted: NDArray[np.bool_] | None) -> Chosen:
    """Returns the choice among the trials that have a score.

    Args:
        trials: In the order tried; a default has a score.
        counted: Which budgets count, (B,).
    """
    assert counted is not None
    done = tuple(sorted((t for t in trials if t.complete), key=lambda t: t.order))
    value = np.array([t.value[counted] for t in done])
    draws = np.stack([t.draws[:, counted] for t in done], axis=1)  # (D, P, B)
    score, drawn = value.mean(1), draws.mean(2)
    errors = allowance(score, drawn)
    labels = [label(t) for t in done]
    decides = {name for name, t in zip(labels, done, strict=True) if t.model in DECIDES}
    choice = choose(labels, value, draws, standard_errors=errors, decides=decides)
    default = [k for k, t in enumerate(done) if t.default]
    names, rows = [labels[k] for k in default], value[default]
    untouched = choose(names, rows, draws[:, default], standard_errors=None, decides=decides)  # as in `fit`
    at = dict(zip(labels, done, strict=True))
    if at[choice.name].default:  # nothing was tuned
        choice = replace(choice, name=untouched.name, reason=untouched.reason)
    best = int(np.argmax(score))
    luck = float((drawn - drawn[:, :1] - (score - score[0])).max(1).mean())
    return Chosen(
        done, at[choice.name], at[untouched.name], done[best], choice, errors, float(score[best] - score[0]), luck
    )
