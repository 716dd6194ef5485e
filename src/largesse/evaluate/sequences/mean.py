"""Confidence sequence of a mean or of a ratio: the value of a policy, by any kind of score."""

from __future__ import annotations

from typing import Self

import numpy as np

from largesse._arguments import checked
from largesse.evaluate.sequences.asymptotic import AsymptoticSequence
from largesse.evaluate.sequences.look import Look
from largesse.evaluate.sequences.sums import Rows

__all__ = ["MeanSequence"]


class MeanSequence(AsymptoticSequence):
    """Confidence sequence of a mean, or of a ratio of two: the value of a policy, from rows that arrive batch by batch.

    Scores of a policy's value are inverse-propensity weighted outcomes w y, or doubly robust scores (`policy_scores`), whose mean
    is estimated; or w y `per` w, the self-normalised estimate Σ w y / Σ w, which is usually less variable. A ratio θ = Σa/Σb
    has the interval of its linearisation, the mean of (a - θ b) / mean(b): asymptotic in any case.

    A cluster's scores are summed first, and the interval rests on the clusters; rows of a cluster belong to one update (a unit
    that comes back in a later one counts as another unit). Weights multiply scores and `per`.

    Importance weights that differ much should be given beside the scores: a policy that rarely contradicts the one in service
    has few large ones, and without an outcome among these its value would look certain.

    >>> rng = np.random.default_rng(0)
    >>> orders = MeanSequence(expected=20_000)
    >>> for day in range(20):
    ...     orders = orders.update(rng.random(1000) < 0.1)
    >>> print(orders.look())
    mean after 20,000 units: 0.1017, 0.09534 to 0.1083 (95 % at all looks together, asymptotic, 2,517 events)
    """

    __slots__ = ()
    _columns, _what = 2, "mean"

    @checked
    def update(
        self,
        scores: Rows,
        *,
        per: Rows | None = None,
        weight: Rows | None = None,
        cluster: Rows | None = None,
        importance: Rows | None = None,
        outcome: Rows | None = None,
    ) -> Self:
        """Adds a batch of rows, and returns the sequence.

        Args:
            scores: One for each row, (N,).
            per: What they are divided by in total, e.g. importance weights or visits, (N,); 1 if omitted.
            weight: Weights of the rows, >= 0, (N,).
            cluster: Cluster of each row, (N,).
            importance: Importance weight of each row where the scores are weighted, >= 0, (N,) (`policy_weights`). With it, there
                is no interval before large weights have had outcomes.
            outcome: Outcome of each row, beside `importance`, (N,).

        Raises:
            DataError: An array has another length or a number that is not finite, or a weight is negative.
        """
        self._add({"scores": scores, "per": per}, weight, cluster, importance, outcome)
        return self

    def look(self) -> Look:
        """Returns the interval now."""
        if not self.sums.n or (means := self.sums.means())[1] <= 0:
            return self._none(self._what, "there is nothing to divide by yet")
        estimate = float(means[0] / means[1])
        return self._interval(self._what, estimate, np.array([1.0, -estimate]) / means[1])
