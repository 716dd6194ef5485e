"""Confidence sequence of the difference of two means or ratios: holdout lift, or two policies on the same rows."""

from __future__ import annotations

from typing import Self

import numpy as np

from largesse import _check
from largesse._arguments import checked
from largesse.evaluate.sequences.asymptotic import AsymptoticSequence
from largesse.evaluate.sequences.look import Look
from largesse.evaluate.sequences.sums import Rows, batch_column

__all__ = ["DifferenceSequence"]


class DifferenceSequence(AsymptoticSequence):
    """Confidence sequence of the difference of two means or ratios: holdout lift, or two policies by self-normalised scores.

    Both ratios are linearised on the same units, so what they share cancels. There is an interval once each of the two, and their
    difference, has `START` effective events: a holdout without a single order has no variance, and would look certain.

    >>> rng = np.random.default_rng(0)
    >>> treated = rng.random(50_000) < 0.9
    >>> orders = rng.random(50_000) < np.where(treated, 0.12, 0.1)
    >>> lift = DifferenceSequence(expected=50_000, side="lower").update_lift(orders, treated, 0.9)
    >>> lift.look().lower > 0
    True
    """

    __slots__ = ()
    _columns, _what = 4, "difference of means"

    @checked
    def update(
        self, first: Rows, second: Rows, *, first_per: Rows | None = None, second_per: Rows | None = None,
        weight: Rows | None = None, cluster: Rows | None = None, importance: Rows | None = None,
        outcome: Rows | None = None,
    ) -> Self:  # fmt: skip
        """Adds a batch of rows, and returns the sequence.

        Args:
            first: Scores of the first, (N,).
            second: Scores of the second, (N,).
            first_per: What the first are divided by in total, e.g. importance weights, (N,); 1 if omitted.
            second_per: The same for the second.
            weight: Weights of the rows, >= 0, (N,).
            cluster: Cluster of each row, (N,); rows of a cluster belong to one update.
            importance: Absolute difference of the two importance weights, (N,); see `MeanSequence.update`.
            outcome: Outcome of each row, beside `importance`, (N,).

        Raises:
            DataError: An array has another length or a number that is not finite, or a weight is negative.
        """
        columns = {"first": first, "first_per": first_per, "second": second, "second_per": second_per}
        self._add(columns, weight, cluster, importance, outcome)
        return self

    @checked
    def update_lift(
        self, value: Rows, treated: Rows, propensity: float | Rows, *, weight: Rows | None = None,
        cluster: Rows | None = None,
    ) -> Self:  # fmt: skip
        """Adds a batch of treated units and holdout, and returns the sequence: treated less holdout.

        Args:
            value: Outcome, (N,).
            treated: Whether the unit is outside the holdout, (N,).
            propensity: Probability of that, in (0, 1): one number, or one for each row (N,).
            weight: Weights of the rows, >= 0, (N,).
            cluster: Cluster of each row, (N,).

        Raises:
            DataError: An array has another length, or a propensity is not within (0, 1).
        """
        y, t = batch_column("value", value), batch_column("treated", treated)
        p = _check.numbers("propensity", propensity) + np.zeros(len(t))
        _check.lengths(value=y, treated=t, propensity=p)
        wrong = (t != 0) & (t != 1)
        if wrong.any():
            raise _check.refuse_cells("treated", t, wrong, "must be 0 or 1", "Give 1 outside the holdout.")
        wrong = ~((p > 0) & (p < 1))
        if wrong.any():
            raise _check.refuse_cells(
                "propensity", p, wrong, "must be in (0, 1)", "Leave out rows that were not drawn."
            )
        one, two = t / p, (1 - t) / (1 - p)
        columns = {"first": one * y, "first_per": one, "second": two * y, "second_per": two}
        self._add(columns, weight, cluster, one + two, y)
        return self

    def look(self) -> Look:
        """Returns the interval now."""
        if not self.sums.n or min((means := self.sums.means())[1], means[3]) <= 0:
            return self._none(self._what, "there is nothing to divide by yet in one of the two")
        a, b = means[0] / means[1], means[2] / means[3]
        first = np.array([1.0, -a, 0.0, 0.0]) / means[1]
        second = np.array([0.0, 0.0, 1.0, -b]) / means[3]
        least = min(self.sums.moments(first).events, self.sums.moments(second).events)
        return self._interval(self._what, float(a - b), first - second, least=least)
