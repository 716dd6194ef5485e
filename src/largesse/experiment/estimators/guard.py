"""Tests whether STATE may be read as the mean effect: a paired comparison with the regression-adjusted mean (MLRATE).

STATE estimates the location shift of the typical unit. It equals the mean effect if the effect adds the same to every
unit, or if the residuals have the same symmetric distribution in both arms. If only a few units react, the mean moves and
the typical unit does not. Both estimates use the same rows, so the standard error of their difference is small:

    H = (STATE - MLRATE) / se(STATE - MLRATE),    se from the paired influences

is standard normal if both estimate the same effect (Hausman 1978).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from scipy import stats

from largesse import _check
from largesse.experiment.estimators.contrast import Contrast
from largesse.experiment.estimators.state import Convergence
from largesse.result import Result

__all__ = ["Agreement", "Guard", "guard"]

RELEVANT = 0.01  # share of control's mean
_ALPHA = 0.05  # level of the test
_FEW_UNITS = 8.0  # below this one or two rows may decide the sign of the difference
_DETECTABLE = 2.8016  # 1.96 + 0.84 standard errors: detected with 80 % probability by a two-sided test at 5 %


class Agreement(StrEnum):
    """The verdict on STATE against the regression-adjusted mean."""

    AGREE = "agree"
    BULK = "STATE measures the bulk, not the mean: use CUPAC"
    TOO_LITTLE_DATA = "too little data to tell"


@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class Guard(Result):
    """Whether STATE and the regression-adjusted mean agree.

    Attributes:
        verdict: Agreement, difference, or too little data.
        sentence: The verdict with its numbers.
        statistic: H.
        p_value: p-value of H, two-sided.
        difference: STATE minus MLRATE.
        detectable: The smallest difference that these rows would detect with 80 % probability.
        relevant: The difference that must be detectable for the verdict ``AGREE``.
    """

    verdict: Agreement
    sentence: str
    statistic: float
    p_value: float
    difference: float
    detectable: float
    relevant: float

    @property
    def warns(self) -> bool:
        """Whether STATE must not be read as the mean effect."""
        return self.verdict is Agreement.BULK


def guard(estimates: Contrast, *, relevant: float = RELEVANT) -> Guard:
    """Returns whether STATE and the regression-adjusted mean agree, by a two-sided test at 5 %.

    Args:
        estimates: STATE and MLRATE of one arm against control.
        relevant: The difference that matters, as a share of control's mean, in [0, 10]; a difference as large as the
            larger of the two effects matters in any case.

    Raises:
        DataError: `relevant` is out of its range.

    >>> from largesse.experiment import Sample, contrast
    >>> rng = np.random.default_rng(0)
    >>> arm = np.arange(20_000) % 2
    >>> few = (arm == 1) & (rng.random(20_000) < 0.1)
    >>> value = 100 + 50 * few + 10 * rng.normal(size=20_000)
    >>> guard(contrast(Sample(value=value, arm=arm, arms=("A", "B")), 1)).verdict.name
    'BULK'
    """
    _check.number("relevant", relevant, low=0, high=10)
    se, difference = estimates.difference_se, estimates.difference
    statistic = difference / se if se > 0 else (0.0 if difference == 0 else float(np.copysign(np.inf, difference)))
    p, detectable = float(2 * stats.norm.sf(abs(statistic))), _DETECTABLE * se
    matters = max(relevant * abs(estimates.mlrate.control), abs(estimates.state.effect), abs(estimates.mlrate.effect))
    if p < _ALPHA:
        verdict = Agreement.BULK
    elif estimates.units < _FEW_UNITS or not detectable <= matters or estimates.status is Convergence.STOPPED:
        verdict = Agreement.TOO_LITTLE_DATA
    else:
        verdict = Agreement.AGREE
    return Guard(
        verdict=verdict, sentence=_sentence(estimates, verdict, p, detectable, matters), statistic=statistic, p_value=p,
        difference=difference, detectable=detectable, relevant=matters,
    )  # fmt: skip


def _sentence(estimates: Contrast, verdict: Agreement, p: float, detectable: float, matters: float) -> str:
    both = f"STATE {estimates.state.effect:+.4g}, adjusted mean {estimates.mlrate.effect:+.4g} (p = {p:.2g})"
    if verdict is Agreement.AGREE:
        return f"STATE and the adjusted mean agree: {both}. A difference of {detectable:.3g} would have been detected."
    if verdict is Agreement.BULK:
        return (
            f"STATE measures the typical unit, not the mean: {both}. The difference is larger than chance explains: a few units "
            "react strongly, or the arms have different spreads. Use CUPAC for the mean effect."
        )
    if estimates.status is Convergence.STOPPED:
        why = "the Student-t fit did not converge"
    elif estimates.units < _FEW_UNITS:
        why = f"a few rows decide the difference (effective number of rows {estimates.units:.0f})"
    else:
        why = f"a difference below {detectable:.3g} would not be detected, and one of {matters:.3g} matters"
    return f"Too little data to tell whether STATE is the mean effect: {both}; {why}. Report CUPAC beside it."
