"""Confidence sequence of the difference of two means or ratios on the same rows: two policies, or two metrics."""

from __future__ import annotations

from typing import Self

import numpy as np

from largesse._arguments import checked
from largesse.evaluate.sequences.asymptotic import AsymptoticSequence
from largesse.evaluate.sequences.look import Look
from largesse.evaluate.sequences.sums import Rows

__all__ = ["DifferenceSequence"]


class DifferenceSequence(AsymptoticSequence):
    """Confidence sequence of the difference of two means or ratios of the same rows: two policies by self-normalised scores.

    Both ratios are linearised on the same units, so what they share cancels. There is an interval once each of the two, and their
    difference, has `START` effective events. For two arms of different units, use `LiftSequence`.

    >>> rng = np.random.default_rng(0)
    >>> visits, orders = rng.poisson(3, 5000), rng.poisson(1, (2, 5000))
    >>> sequence = DifferenceSequence(5000).update(orders[0], orders[1], first_per=visits, second_per=visits)
    >>> sequence.look().contains(0)
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

    def look(self) -> Look:
        """Returns the interval now."""
        if not self.sums.n or min((means := self.sums.means())[1], means[3]) <= 0:
            return self._none(self._what, "there is nothing to divide by yet in one of the two")
        a, b = means[0] / means[1], means[2] / means[3]
        first = np.array([1.0, -a, 0.0, 0.0]) / means[1]
        second = np.array([0.0, 0.0, 1.0, -b]) / means[3]
        least = min(self.sums.moments(first).events, self.sums.moments(second).events)
        return self._interval(self._what, float(a - b), first - second, least=least)
