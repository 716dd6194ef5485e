"""May STATE be read as the mean effect? A paired test against the regression-adjusted mean, in plain words.

STATE estimates by how much the bulk of the units has moved. That is the mean effect where the effect adds the same to
everybody, or where what is left unexplained is spread alike on both sides and in both arms. Where few units react,
it is not: the mean moves, the bulk stays. Both estimates are of the same rows, so their difference has a small error:

    H = (STATE - MLRATE) / se(STATE - MLRATE),    se from the paired influences

is standard normal where both estimate the same thing (Hausman 1978).
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

RELEVANT = 0.01  # of control's level
FEW_UNITS = 8.0  # below this one or two rows may decide the sign of the difference
_POWER = 2.8016  # 1.96 + 0.84: found with 80 % probability by a two-sided test at 5 %


class Agreement(StrEnum):
    """STATE against the regression-adjusted mean."""

    AGREE = "agree"
    BULK = "STATE measures the bulk, not the mean: use CUPAC"
    TOO_LITTLE_DATA = "too little data to tell"


@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class Guard(Result):
    """Whether STATE and the mean agree.

    Attributes:
        verdict: Whether they do.
        sentence: The same with its numbers.
        statistic: H.
        p_value: Of H, two-sided.
        difference: STATE less MLRATE.
        detectable: The smallest disagreement that these rows would show with 80 % probability.
        relevant: The disagreement that must be detectable for the verdict to be ``AGREE``.
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


def guard(found: Contrast, *, relevant: float = RELEVANT, alpha: float = 0.05) -> Guard:
    """Returns whether STATE and the mean agree.

    Args:
        found: STATE and MLRATE of one arm against control.
        relevant: A disagreement that would matter, as a share of control's level; one as large as the larger of the two
            effects matters in any case.
        alpha: Level of the test.

    Raises:
        DataError: A number is out of its range.

    >>> from largesse.experiment import Sample, contrast
    >>> rng = np.random.default_rng(0)
    >>> arm = np.arange(20_000) % 2
    >>> few = (arm == 1) & (rng.random(20_000) < 0.1)
    >>> value = 100 + 50 * few + 10 * rng.normal(size=20_000)
    >>> guard(contrast(Sample(value=value, arm=arm, arms=("A", "B")), 1)).verdict.name
    'BULK'
    """
    _check.number("relevant", relevant, low=0, high=10)
    _check.number("alpha", alpha, low=1e-6, high=0.5)
    se, gap = found.difference_se, found.difference
    statistic = gap / se if se > 0 else (0.0 if gap == 0 else float(np.copysign(np.inf, gap)))
    p = float(2 * stats.norm.sf(abs(statistic)))
    matters = max(relevant * abs(found.mlrate.control), abs(found.state.effect), abs(found.mlrate.effect))
    verdict = _verdict(found, p < alpha, _POWER * se <= matters)
    return Guard(
        verdict=verdict, sentence=_sentence(found, verdict, p, _POWER * se, matters), statistic=statistic, p_value=p,
        difference=gap, detectable=_POWER * se, relevant=matters,
    )  # fmt: skip


def _verdict(found: Contrast, apart: bool, seen: bool) -> Agreement:
    if apart:
        return Agreement.BULK
    if found.units < FEW_UNITS or not seen or found.status is Convergence.STOPPED:
        return Agreement.TOO_LITTLE_DATA
    return Agreement.AGREE


def _sentence(found: Contrast, verdict: Agreement, p: float, detectable: float, matters: float) -> str:
    both = f"STATE {found.state.effect:+.4g}, adjusted mean {found.mlrate.effect:+.4g} (p = {p:.2g})"
    if verdict is Agreement.AGREE:
        return f"STATE and the adjusted mean agree: {both}. A disagreement of {detectable:.3g} would have been seen."
    if verdict is Agreement.BULK:
        return (
            f"STATE measures the bulk, not the mean: {both}. They differ by more than chance explains, as where few units "
            "react or where the arms are spread differently. Use CUPAC for the mean effect."
        )
    if found.status is Convergence.STOPPED:
        why = "the Student-t fit did not settle"
    elif found.units < FEW_UNITS:
        why = f"a few rows decide the difference (as much as {found.units:.0f} equal rows)"
    else:
        why = f"a disagreement below {detectable:.3g} would not be seen, one of {matters:.3g} matters"
    return f"Too little data to tell whether STATE is the mean effect: {both}; {why}. Report CUPAC beside it."
