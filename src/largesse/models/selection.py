"""The rule that chooses among candidates by what their policies are worth on rows that none has seen."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Choice", "allowance", "choose"]

_ONE_SIDED = 0.8413  # of a normal deviate is below one standard error
_SURE = 0.95  # before the first candidate makes room for another, or one that learns from decisions is adopted


@dataclass(frozen=True, slots=True)
class Choice:
    """Which candidate was chosen, and why.

    Attributes:
        name: The winner.
        score: Mean value per head over the budgets, one per candidate, (P,).
        standard_error: Standard error of each score's difference to the best, (P,).
        counted: Budgets that count, (B,): those that every candidate in question meets.
        reason: One plain sentence.
    """

    name: str
    score: NDArray[np.float64]
    standard_error: NDArray[np.float64]
    counted: NDArray[np.bool_]
    reason: str


def choose(
    names: Sequence[str],
    value: NDArray[np.float64],
    draws: NDArray[np.float64],
    *,
    standard_errors: float | None = 1.0,
    decides: Collection[str] = (),
) -> Choice:
    """Returns the first candidate that noise cannot tell from the best: within so many paired standard errors of it.

    A candidate that learns from decisions is taken only where it beats the choice among the others with 95 %
    confidence: its loss and this proof are made of the same noisy kind of sum, and it must not be believed for that.

    Args:
        names: Candidates, simplest first, (P,).
        value: Value per head at each budget, (P, B); nan where it is out of reach: who meets fewer budgets than others is
            not considered, and a budget that none of the rest meets does not count.
        draws: The same in each bootstrap draw, (D, P, B), drawn with the same row weights.
        standard_errors: Differences of so many standard errors count as noise. None: as many as the best of equally good
            candidates leads the first by in 95 % of trials (`allowance`); another candidate is then chosen only if its lead
            over the first is larger.
        decides: Names of the candidates that learn from decisions.
    """
    met = np.isfinite(value)
    able = met.sum(1) == met.sum(1).max()  # who cannot meet a budget is not excused from it
    counted = met[able].all(0)
    if not counted.any():
        unknown = np.full(len(names), np.nan)
        return Choice(names[0], unknown, unknown, counted, "No budget is within every candidate's reach.")
    score, drawn = value[:, counted].mean(1), draws[:, :, counted].mean(2)
    plain, bold = ([k for k, n in enumerate(names) if able[k] and (n in decides) == d] for d in (False, True))
    among = plain or bold
    first, reason = _simplest(names, score, drawn, among, standard_errors)
    if plain and bold:
        first, reason = _adopted(names, score, drawn, (plain, bold), (first, reason))
    error = (drawn - drawn[:, [int(np.nanargmax(np.where(able, score, np.nan)))]]).std(0)
    lost = [n for n, fine in zip(names, able, strict=True) if not fine]
    if lost:
        reason = f"{', '.join(lost)}: cannot meet every budget at any price, so not considered. {reason}"
    return Choice(names[first], score, error, counted, reason)


def _adopted(
    names: Sequence[str],
    score: NDArray[np.float64],
    drawn: NDArray[np.float64],
    among: tuple[list[int], list[int]],
    kept: tuple[int, str],
) -> tuple[int, str]:
    """Returns the best of those that learn from decisions, if it surely beats the choice among the others, and why."""
    (plain, bold), (first, reason) = among, kept
    gain = score[bold] - score[first]
    gap = drawn[:, bold] - drawn[:, [first]] - gain
    error = np.maximum(gap.std(0), 1e-300)
    # The luckiest of several must clear what the luckiest of several would by chance: 95 % point of max_k gap_k / error_k.
    low = gain - float(np.quantile((gap / error).max(1), _SURE)) * error
    k = int(np.argmax(gain))
    words = f"{names[bold[k]]}, which learns from decisions, brings {gain[k]:+.3g} per head"
    if low[k] > 0 and score[bold[k]] >= score[plain].max():
        reason = f"{words} against {names[first]}, and at least {low[k]:.3g} with 95 % confidence: it is adopted."
        return bold[k], reason
    return first, f"{reason} {words} against it (95 % confidence: at least {low[k]:.3g}): the two-stage model is kept."


def _simplest(
    names: Sequence[str],
    score: NDArray[np.float64],
    drawn: NDArray[np.float64],
    among: list[int],
    standard_errors: float | None,
) -> tuple[int, str]:
    """Returns the first candidate within so many paired standard errors of the best among some, and why."""
    if len(among) == 1:
        only = "the only candidate" if len(names) == 1 else "the only one learned in two stages"
        return among[0], f"{names[among[0]]} was {only}."
    best = max(among, key=lambda k: (score[k], -k))

    def count(k: int) -> float:
        """Returns how many standard errors of a difference to k count as noise."""
        some = [k, *(other for other in among if other != k)]
        return allowance(score[some], drawn[:, some], _SURE) if standard_errors is None else standard_errors

    def error(k: int, rival: int) -> float:
        return float((drawn[:, k] - drawn[:, rival]).std())

    trusted, left, before = among[0], among, "none before it comes within"
    if standard_errors is None:  # it makes room only for those that surely beat it
        noise = count(trusted)
        left = [trusted, *(k for k in among if score[k] - score[trusted] > noise * error(trusted, k))]
        before = "of those that surely beat the first, none before it comes within"
    first, many = next((k, n) for k in left if score[best] - score[k] <= (n := count(k)) * error(k, best))
    bound = "one standard error" if many == 1 else f"{many:.2g} standard errors"
    if first == best:
        others = "" if first == trusted else f", and {before} {bound} of it"
        return first, f"{names[first]} has the highest value on rows that no candidate has seen{others}."
    return first, (
        f"{names[best]} is highest, but {names[first]} stands before it and is within {bound} of it "
        f"({score[best] - score[first]:.3g} against {many * error(first, best):.3g}): noise does not decide."
    )


def allowance(score: NDArray[np.float64], drawn: NDArray[np.float64], sure: float = _ONE_SIDED) -> float:
    """Returns by how many standard errors, at most, the best of many that are all alike leads the first.

    With t_k the centred difference of k and the first over its standard error, in each draw: a quantile of max_k t_k. The
    default is about 1 for two candidates, as often as one leads the other by one standard error, and about 2 for twenty: the
    best of many is the luckiest of many.

    Args:
        score: Value per head, (P,); the first is the simplest.
        drawn: The same in each bootstrap draw, (D, P).
        sure: How probably.

    Reference:
        White 2000, A reality check for data snooping; Breiman et al. 1984 (the rule of one standard error).
    """
    gap = drawn - drawn[:, :1] - (score - score[0])
    error = gap.std(0)
    apart = error > 0
    return max(1.0, float(np.quantile((gap[:, apart] / error[apart]).max(1), sure))) if apart.any() else 1.0
