"""Tail diagnostics of a metric: how heavy its tails are, and how much of its sum a few rows contribute."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from largesse import _check
from largesse._arguments import checked
from largesse.experiment.data.sample import Floats
from largesse.result import Result

__all__ = ["Tails", "hill", "mode_share", "tails"]

_TAIL_SHARE, _TAIL_ROWS = 0.005, 20  # the upper tail: this share of the rows, and so many at least


@checked
@dataclass(frozen=True, slots=True, repr=False)
class Tails(Result):
    """Tail diagnostics of a metric; the size of a row is its absolute value.

    Attributes:
        tail_index: Hill's index of the upper tail of the sizes: P(size > s) falls like s^-index. Below 2 the variance is
            infinite and intervals of a mean are not reliable; NaN if fewer than two sizes differ.
        tail_index_se: Standard error of the index.
        used: Number of largest rows from which the index is estimated.
        top_share: Share of the sum of sizes in the largest 0.1 % of the rows (one row or more).
        largest: The largest size.
        mode_share: Share of the rows with the most frequent value (found in 100,000 rows, then counted in all): at a spike,
            often at zero, STATE does not measure the mean.
    """

    tail_index: float
    tail_index_se: float
    used: int
    top_share: float
    largest: float
    mode_share: float
    _computed: ClassVar[tuple[str, ...]] = ("sentence",)

    @property
    def sentence(self) -> str:
        """The diagnostics as a sentence."""
        text = f"The largest 0.1 % of the rows make up {_check.written(self.top_share, 2)} of the sum"
        if np.isfinite(self.tail_index):
            index, half = (_check.written(x, 2) for x in (self.tail_index, 1.96 * self.tail_index_se))
            text += f"; the tail index is {index} (± {half}, {self.used} rows)"
            if self.tail_index < 2:
                text += ", below 2: the variance may be infinite, and intervals of means too narrow"
        if self.mode_share > 0.5:
            text += f"; {self.mode_share:.1%} of the rows have the same value, which is what STATE measures"
        return text + "."


@checked
def tails(value: Floats) -> Tails:
    """Returns the tail diagnostics of a metric, finite (N,).

    >>> diagnostics = tails(np.random.default_rng(0).pareto(3.0, 100_000) + 1)
    >>> round(diagnostics.tail_index, 1), diagnostics.used
    (2.9, 500)
    """
    value = _check.array("value", value, ndim=1, dtype=np.float64)
    _check.amounts("value", value, "Drop the row.")
    size = np.abs(value)
    k = max(1, round(0.001 * len(size)))
    used = min(max(_TAIL_ROWS, int(_TAIL_SHARE * len(size))), len(size) - 1)
    top = np.sort(np.partition(size, len(size) - used - 1)[len(size) - used - 1 :])[::-1]
    total = float(size.sum())
    index, index_se, used = hill(top)
    share = float(top[:k].sum() / total) if total > 0 else 0.0
    return Tails(index, index_se, used, share, float(top[0]), mode_share(value))


def hill(top: Floats) -> tuple[float, float, int]:
    """Returns Hill's index from the k + 1 largest sizes in descending order, its standard error, and k; sizes of 0 are dropped.

    Reference:
        Hill 1975, "A simple general approach to inference about the tail of a distribution", Annals of Statistics 3(5).
    """
    top = top[top > 0]
    k = len(top) - 1
    mean = float(np.log(top[:k] / top[k]).mean()) if k > 0 else 0.0
    if mean <= 0:
        return float("nan"), float("nan"), max(k, 0)
    return 1 / mean, 1 / mean / k**0.5, k


def mode_share(value: Floats) -> float:
    """Returns the share of the rows with the most frequent value."""
    values, counts = np.unique(value[:: max(1, len(value) // 100_000)], return_counts=True)
    return float((value == values[np.argmax(counts)]).mean())
