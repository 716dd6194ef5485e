"""Tests whether STATE may be read as the mean effect: a paired comparison with the regression-adjusted mean (MLRATE).

STATE estimates the location shift of the typical unit. It equals the mean effect if the effect adds the same to every
unit, or if the residuals have the same symmetric distribution in both arms. If only a few units react, the mean moves and
the typical unit does not. Both estimates use the same rows, so the standard error of their difference is small:

    H = (STATE - MLRATE) / se(STATE - MLRATE),    se from the paired influences

is standard normal if both estimate the same effect (Hausman 1978). Where H is significant they differ. Where it is not they
may differ all the same: STATE is read as the mean effect only where any difference that the rows leave possible is small.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from scipy import stats

from largesse import _check
from largesse._arguments import checked
from largesse.experiment.estimators.contrast import Contrast
from largesse.experiment.estimators.state import Convergence
from largesse.result import Result

__all__ = ["Agreement", "Guard", "guard"]

_ALPHA = 0.05  # level of the test
_FEW_UNITS = 8.0  # below this one or two rows may decide the sign of the difference
_SPIKE = 0.05  # share of the rows with one value from which the metric has a spike
_PART = 0.2  # of STATE's half-width: a bias within it leaves a 95 % interval a coverage of 93 % or more
_WIDE = 1.96  # standard errors to either end of the difference's interval


class Agreement(StrEnum):
    """The verdict on STATE against the regression-adjusted mean."""

    AGREE = "agree"
    BULK = "STATE measures the typical unit, not the mean"
    SPIKE = "not for a metric with a spike or few values"
    NOT_SHOWN = "not shown to be the mean effect"


@checked
@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class Guard(Result):
    """Whether STATE may be read as the mean effect.

    Attributes:
        verdict: Agreement, difference, a metric with a spike, or agreement not shown.
        sentence: The verdict with its numbers.
        statistic: H.
        p_value: p-value of H, two-sided.
        difference: STATE minus MLRATE.
        possible: The largest difference that these rows leave possible: |difference| + 1.96 standard errors.
        allowed: The largest difference at which STATE may be read as the mean effect: a fifth of its own half-width.
    """

    verdict: Agreement
    sentence: str
    statistic: float
    p_value: float
    difference: float
    possible: float
    allowed: float

    @property
    def warns(self) -> bool:
        """Whether STATE and the mean differ by more than chance explains."""
        return self.verdict is Agreement.BULK


@checked
def guard(estimates: Contrast, *, spike: float = 0.0) -> Guard:
    """Returns whether STATE may be read as the mean effect.

    It may if the two are shown to be equivalent: whatever difference the rows leave possible is within a fifth of STATE's
    half-width, so its interval covers the mean effect nearly as often as it says. That a test finds no difference is not
    enough, since a difference of a whole half-width is often not found.

    Args:
        estimates: STATE and MLRATE of one arm against control.
        spike: Share of the rows with the most frequent value, in [0, 1]; from 5 % STATE is never read as the mean effect.

    Raises:
        DataError: `spike` is out of its range.

    >>> from largesse.experiment import Sample, contrast
    >>> rng = np.random.default_rng(0)
    >>> arm = np.arange(20_000) % 2
    >>> few = (arm == 1) & (rng.random(20_000) < 0.1)
    >>> value = 100 + 50 * few + 10 * rng.normal(size=20_000)
    >>> guard(contrast(Sample(value=value, arm=arm, arms=("A", "B")), 1)).verdict.name
    'BULK'
    """
    _check.number("spike", spike, low=0, high=1)
    se, difference = estimates.difference_se, estimates.difference
    statistic = difference / se if se > 0 else (0.0 if difference == 0 else float(np.copysign(np.inf, difference)))
    p, possible = float(2 * stats.norm.sf(abs(statistic))), abs(difference) + _WIDE * se
    allowed = _PART * (estimates.state.high - estimates.state.low) / 2
    if p < _ALPHA:
        verdict = Agreement.BULK
    elif spike >= _SPIKE:
        verdict = Agreement.SPIKE
    elif estimates.units < _FEW_UNITS or not possible <= allowed or estimates.status is Convergence.STOPPED:
        verdict = Agreement.NOT_SHOWN
    else:
        verdict = Agreement.AGREE
    return Guard(
        verdict=verdict, sentence=_sentence(estimates, verdict, p, (possible, allowed), spike), statistic=statistic,
        p_value=p, difference=difference, possible=possible, allowed=allowed,
    )  # fmt: skip


def _sentence(estimates: Contrast, verdict: Agreement, p: float, limits: tuple[float, float], spike: float) -> str:
    possible, allowed = limits
    both = f"STATE {estimates.state.effect:+.4g}, adjusted mean {estimates.mlrate.effect:+.4g} (p {_check.p_value(p, '= ')})"
    if verdict is Agreement.AGREE:
        return (
            f"STATE may be read as the mean effect: {both}. They differ by at most {possible:.3g}, "
            "which is small beside STATE's interval."
        )
    if verdict is Agreement.BULK:
        return (
            f"STATE measures the typical unit, not the mean: {both}. The difference is larger than chance explains: a few units "
            "react strongly, or the arms have different spreads."
        )
    if verdict is Agreement.SPIKE:
        why = f"{spike:.0%} of the rows have the same value, and STATE measures the effect on smooth metrics only"
    elif estimates.status is Convergence.STOPPED:
        why = "the Student-t fit did not converge"
    elif estimates.units < _FEW_UNITS:
        why = f"a few rows decide the difference (effective number of rows {estimates.units:.0f})"
    else:
        why = f"they may differ by {possible:.3g}, and up to {allowed:.3g} would be small beside STATE's interval"
    return f"STATE is not shown to be the mean effect: {both}; {why}. Read the mean."
