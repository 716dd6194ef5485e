"""The result of a tuning: its trials, the choice among them, and the evaluation of the choice."""

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

__all__ = ["Chosen", "Outcome", "Proven", "TuningResult", "chosen"]


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """Which trial was chosen, and why.

    Attributes:
        trials: Trials with a score, simplest first, (P,).
        trial: The chosen trial.
        untouched: The default that the same rows choose: the one that `fit` would use without tuning.
        best: The trial with the highest score.
        choice: Scores, standard errors of their differences from the best, and the reason.
        standard_errors: Differences of so many standard errors counted as noise.
        lead: Score of the best less that of the first of `trials`.
        luck: Mean of that difference by chance, if all trials were equally good.
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


_OUTCOME = {Verdict.BETTER: Outcome.BETTER, Verdict.WORSE: Outcome.WORSE, Verdict.UNCLEAR: Outcome.UNCLEAR}


@dataclass(frozen=True, slots=True, eq=False)
class Proven:
    """The chosen settings against the untouched ones on held-out rows.

    Attributes:
        table: Value per unit at each budget, with differences from the untouched settings.
        difference: Mean of the difference over the budgets; NaN where none is within reach, 0 if nothing was changed.
        low: Lower end of its paired 95 % interval.
        high: Upper end.
        changed: Whether the chosen settings differ from the untouched ones.
        events: Effective number of events that the interval rests on; NaN without an interval.
    """

    table: Comparison
    difference: float
    low: float
    high: float
    changed: bool
    events: float = float("nan")

    @property
    def outcome(self) -> Outcome:
        """The verdict of the interval."""
        return _OUTCOME[Verdict.of(self.low, self.high)] if self.changed else Outcome.UNCHANGED


@dataclass(frozen=True, slots=True, eq=False)
class TuningResult:
    """A finished search, the choice, its evaluation, and the held-out rows of that."""

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
    reason = _reason(trials, done, choice, untouched, at)
    if at[choice.name].default:  # no setting was changed
        choice = replace(choice, name=untouched.name)
    choice = replace(choice, reason=reason)
    best = int(np.argmax(score))
    luck = float((drawn - drawn[:, :1] - (score - score[0])).max(1).mean())
    return Chosen(
        done, at[choice.name], at[untouched.name], done[best], choice, errors, float(score[best] - score[0]), luck
    )


def _reason(
    trials: list[Trial], done: tuple[Trial, ...], choice: Choice, untouched: Choice, at: dict[str, Trial]
) -> str:
    """Returns how many trials were tried, which was best, and why the choice fell as it did."""
    defaults = sum(t.default for t in done)
    tried = "one trial was tried" if len(trials) == 1 else f"{len(trials)} trials were tried"
    scored = "" if len(done) == len(trials) else f", {len(done)} of them with a score"
    head = f"{tried}{scored}."
    if len(done) == 1:
        return f"{head} The default stays: no other settings have a score."
    why = f"{choice.reason[0].upper()}{choice.reason[1:]}"
    if not at[choice.name].default:
        return f"{head} {why}"
    if defaults == len(done):
        return f"{head} No other settings have a score. Of the {defaults} defaults: {untouched.reason}"
    among = f" Of the {defaults} defaults: {untouched.reason}" if defaults > 1 else ""
    return f"{head} {why} The default stays.{among}"
