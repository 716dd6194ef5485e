"""Confidence sequence of the lift over a holdout: the mean of the treated less that of the holdout, however small this is."""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from largesse import _check
from largesse._arguments import checked
from largesse.evaluate.sequences.asymptotic import AsymptoticSequence
from largesse.evaluate.sequences.look import Look
from largesse.evaluate.sequences.sums import Moments, Rows, batch_column

__all__ = ["LiftSequence"]

_FEWEST = 10  # effective units in each arm


class _Arm(NamedTuple):
    """Mean of one arm, effective number of units (Σw)² / Σw², and second and fourth moment of a unit's deviations."""

    mean: float
    units: float
    second: float
    fourth: float


class LiftSequence(AsymptoticSequence):
    """Confidence sequence of the difference in means between treated units and holdout.

    The means are self-normalised, Σ w y / Σ w with w the inverse propensity of the unit's arm: with one propensity for all, the
    plain means of the arms.

    A small holdout with a heavy-tailed outcome has few large orders, and while it has none, its mean and its variance are both
    too small: an interval from its own variance excludes the truth in one campaign of ten. So a unit's variance in either arm is
    taken to be at least that of both arms together, and the degrees of freedom follow from the fourth moment of both:

        s² = Σ_arm max(v_arm, v) / n_arm,    v = Σ_arm n_arm v_arm / Σ_arm n_arm,    ν = 2 Σ_arm n_arm / (m₄ / v² - 1)

    With the variance borrowed from the large arm, the holdout's luck is no longer in it, and there is an interval before the
    holdout has had an event. Where the treated vary more than the holdout, the interval is wider than it need be; where the
    holdout varies more, its own variance counts as soon as it shows.

    Args:
        expected: Number of units in both arms at which the interval should be narrowest, > 0: rows, or clusters.
        level: Probability that the intervals of all looks contain the lift, in [0.5, 1).
        side: Which ends the interval has: ``"both"``, ``"lower"`` or ``"upper"``.
        variance: As of `MeanSequence`.

    >>> rng = np.random.default_rng(0)
    >>> treated = rng.random(50_000) < 0.9
    >>> orders = rng.random(50_000) < np.where(treated, 0.12, 0.1)
    >>> lift = LiftSequence(expected=50_000, side="lower").update(orders, treated, 0.9)
    >>> lift.look().lower > 0
    True
    """

    __slots__ = ()
    _columns, _what = 4, "lift over the holdout"

    @checked
    def update(
        self,
        value: Rows,
        treated: Rows,
        propensity: float | Rows,
        *,
        weight: Rows | None = None,
        cluster: Rows | None = None,
    ) -> Self:
        """Adds a batch of treated units and holdout, and returns the sequence.

        Args:
            value: Outcome, (N,).
            treated: Whether the unit is outside the holdout, (N,).
            propensity: Probability of that, in (0, 1): one number, or one for each row (N,).
            weight: Weights of the rows, >= 0, (N,).
            cluster: Cluster of each row, (N,); its rows are in one arm and belong to one update.

        Raises:
            DataError: An array has another length, or a propensity is not within (0, 1).
        """
        y, t = batch_column("value", value), batch_column("treated", treated)
        p = _check.numbers("propensity", propensity) + np.zeros(len(t) if np.ndim(propensity) == 0 else 1)
        _check.lengths(value=y, treated=t, propensity=p)
        wrong = (t != 0) & (t != 1)
        if wrong.any():
            raise _check.refuse_cells("treated", t, wrong, "must be 0 or 1", "Give 1 outside the holdout.")
        wrong = ~((p > 0) & (p < 1))
        if wrong.any():
            remedy = "Leave out rows that were not drawn."
            raise _check.refuse_cells("propensity", p, wrong, "must be in (0, 1)", remedy)
        one, two = t / p, (1 - t) / (1 - p)
        columns = {"value": one * y, "treated": one, "holdout_value": two * y, "holdout": two}
        self._add(columns, weight, cluster, None, None)
        return self

    def look(self) -> Look:
        """Returns the interval now."""
        if not self.sums.n or min((means := self.sums.means())[1], means[3]) <= 0:
            return self._none(self._what, "one of the two arms has no unit yet")
        arms = [self._arm(means, first) for first in (0, 2)]
        estimate, units = arms[0].mean - arms[1].mean, arms[0].units + arms[1].units
        second, fourth = (sum(arm.units * arm[k] for arm in arms) / units for k in (2, 3))
        if second <= 0:
            return self._show(self._what, estimate, Moments(0.0, 0.0, 2.0, 0.0))
        kurtosis = max(fourth / second**2, 1.0)
        variance = sum(max(arm.second, second) / arm.units for arm in arms) * self.sums.n
        freedom = float(np.clip(2 * units / max(kurtosis - 1, 2e-9 * units), 2, 1e9))
        moments = Moments(variance, 0.0, freedom, units / kurtosis)
        if (fewest := min(arm.units for arm in arms)) < _FEWEST:
            return self._none(self._what, f"{fewest:.0f} units of {_FEWEST} in one of the two arms", estimate)
        return self._show(self._what, estimate, moments)

    def _arm(self, means: NDArray[np.float64], first: int) -> _Arm:
        """Returns the arm whose columns w y and w begin at `first`."""
        mean, deviation, own = means[first] / means[first + 1], np.zeros(4), np.zeros(4)
        deviation[first], deviation[first + 1], own[first + 1] = 1.0, -mean, 1.0
        psi, w = self.sums.totals(deviation), self.sums.totals(own)  # Σ (w (y - mean))^p and Σ w^p
        return _Arm(
            float(mean), float(w[1] ** 2 / w[2]), max(float(psi[2] / w[2]), 0.0), max(float(psi[4] / w[4]), 0.0)
        )
