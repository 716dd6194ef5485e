"""Choice among candidate models by the value of their policies on validation rows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Choice", "allowance", "choose"]

Floats = NDArray[np.float64]
_ONE_SIDED = 0.8413  # P(a standard normal variable < 1)
_CONFIDENCE = 0.95  # needed to replace the first candidate, or to adopt a decision-focused one


@dataclass(frozen=True, slots=True)
class Choice:
    """The chosen candidate, and why.

    Attributes:
        name: Name of the chosen candidate.
        score: Mean value per unit over the budgets that count, one per candidate, (P,).
        standard_error: Standard error of each score's difference to the best score, (P,).
        counted: Whether each budget counts, (B,): whether every candidate that was considered meets it.
        reason: One sentence.
    """

    name: str
    score: Floats
    standard_error: Floats
    counted: NDArray[np.bool_]
    reason: str


def choose(
    names: Sequence[str],
    value: Floats,
    draws: Floats,
    *,
    standard_errors: float | None = 1.0,
    decides: Collection[str] = (),
) -> Choice:
    """Returns the first candidate whose score is within so many paired standard errors of the best score.

    A decision-focused candidate is chosen only if it beats the choice among the others with 95 % confidence: its
    training loss and its score share the same weighting noise.

    Args:
        names: Candidates, simplest first, (P,).
        value: Value per unit at each budget, (P, B); nan where a candidate cannot meet the budget. Candidates that meet
            fewer budgets than the best are dropped; a budget that one of the others does not meet does not count.
        draws: The values in each bootstrap draw, (D, P, B), with the same row weights for all candidates.
        standard_errors: Differences of up to so many standard errors count as noise. None: the 95 % quantile of the lead
            of the best of equally good candidates over the first (`allowance`); another candidate is then chosen only if
            its lead over the first is larger.
        decides: Names of the decision-focused candidates.
    """
    met = np.isfinite(value)
    able = met.sum(1) == met.sum(1).max()
    counted = met[able].all(0)
    if not counted.any():
        unknown = np.full(len(names), np.nan)
        return Choice(names[0], unknown, unknown, counted, "No budget is met by every candidate.")
    score, drawn = value[:, counted].mean(1), draws[:, :, counted].mean(2)
    two_stage, focused = ([k for k, n in enumerate(names) if able[k] and (n in decides) == d] for d in (False, True))
    first, reason = _simplest(names, score, drawn, two_stage or focused, standard_errors)
    if two_stage and focused:
        first, reason = _adopted(names, score, drawn, (two_stage, focused), (first, reason))
    best = int(np.nanargmax(np.where(able, score, np.nan)))
    dropped = [name for name, kept in zip(names, able, strict=True) if not kept]
    if dropped:
        reason = f"{', '.join(dropped)}: cannot meet every budget at any price, so not considered. {reason}"
    return Choice(names[first], score, (drawn - drawn[:, [best]]).std(0), counted, reason)


def _adopted(
    names: Sequence[str], score: Floats, drawn: Floats, groups: tuple[list[int], list[int]], chosen: tuple[int, str]
) -> tuple[int, str]:
    """Returns the best decision-focused candidate if it beats the choice among the others with confidence, and why."""
    (two_stage, focused), (first, reason) = groups, chosen
    gain = score[focused] - score[first]
    centred = drawn[:, focused] - drawn[:, [first]] - gain
    standard_error = np.maximum(centred.std(0), 1e-300)
    # A simultaneous bound for all of them: the 95 % quantile of max_k centred_k / standard_error_k.
    low = gain - float(np.quantile((centred / standard_error).max(1), _CONFIDENCE)) * standard_error
    k = int(np.argmax(gain))
    words = f"{names[focused[k]]}, which is decision-focused, gains {gain[k]:+.3g} per unit"
    if low[k] > 0 and score[focused[k]] >= score[two_stage].max():
        reason = f"{words} against {names[first]}, and at least {low[k]:.3g} with 95 % confidence: it is adopted."
        return focused[k], reason
    return first, f"{reason} {words} against it (95 % confidence: at least {low[k]:.3g}): the two-stage model is kept."


def _simplest(
    names: Sequence[str], score: Floats, drawn: Floats, among: list[int], standard_errors: float | None
) -> tuple[int, str]:
    """Returns the first of some candidates within so many paired standard errors of the best of them, and why."""
    if len(among) == 1:
        only = "the only candidate" if len(names) == 1 else "the only two-stage candidate"
        return among[0], f"{names[among[0]]} was {only}."
    best = max(among, key=lambda k: (score[k], -k))

    def noise_limit(k: int) -> float:
        """Returns how many standard errors of a difference to k count as noise."""
        k_first = [k, *(other for other in among if other != k)]
        return allowance(score[k_first], drawn[:, k_first], _CONFIDENCE) if standard_errors is None else standard_errors

    def standard_error(k: int, rival: int) -> float:
        return float((drawn[:, k] - drawn[:, rival]).std())

    default, eligible, before = among[0], among, "none before it comes within"
    if standard_errors is None:  # only candidates that beat the first with confidence can replace it
        limit = noise_limit(default)
        eligible = [
            default, *(k for k in among if score[k] - score[default] > limit * standard_error(default, k))
        ]  # fmt: skip
        before = "of those that beat the first with confidence, none before it comes within"
    first, limit = next(
        (k, n) for k in eligible if score[best] - score[k] <= (n := noise_limit(k)) * standard_error(k, best)
    )
    bound = "one standard error" if limit == 1 else f"{limit:.2g} standard errors"
    if first == best:
        others = "" if first == default else f", and {before} {bound} of it"
        return first, f"{names[first]} has the highest value on the validation rows{others}."
    return first, (
        f"{names[best]} has the highest value, but {names[first]} is listed before it and is within {bound} of it "
        f"({score[best] - score[first]:.3g} against {limit * standard_error(first, best):.3g}): the difference may be noise."
    )


def allowance(score: Floats, drawn: Floats, probability: float = _ONE_SIDED) -> float:
    """Returns a quantile of the lead, in standard errors, of the best of equally good candidates over the first; >= 1.

    With t_k the centred difference of k and the first over its standard error, in each draw: a quantile of max_k t_k. At
    the default probability it is about 1 for two candidates, as for one normal deviate, and about 2 for twenty.

    Args:
        score: Value per unit, (P,); the first is the simplest.
        drawn: The scores in each bootstrap draw, (D, P).
        probability: Of the quantile.

    Reference:
        White 2000, A reality check for data snooping; Breiman et al. 1984 (the rule of one standard error).
    """
    centred = drawn - drawn[:, :1] - (score - score[0])
    standard_error = centred.std(0)
    differs = standard_error > 0
    if not differs.any():
        return 1.0
    return max(1.0, float(np.quantile((centred[:, differs] / standard_error[differs]).max(1), probability)))
