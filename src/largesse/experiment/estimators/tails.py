"""How heavy are the tails of a metric, and how much hangs on a few rows?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from largesse import _check
from largesse.experiment.data.sample import Floats
from largesse.result import Result

__all__ = ["Tails", "hill", "tails"]

_SHARE, _LEAST = 0.005, 20


@dataclass(frozen=True, slots=True, repr=False)
class Tails(Result):
    """What the largest rows are like.

    Attributes:
        tail_index: Hill's index of the upper tail of the sizes: P(size > s) falls like s^-index. Below 2 the variance is
            infinite and no interval of a mean can be trusted; NaN where fewer than two sizes differ.
        tail_index_se: Its standard error.
        used: How many of the largest rows it is from.
        top_share: Share of the sum of sizes in the largest 0.1 % of the rows (one row or more).
        largest: The largest size.
        mode_share: Share of the rows at the most frequent value, where that is above a half, else 0: at a spike (often
            at zero) STATE measures the spike.
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
        """The same in plain words."""
        words = f"The largest 0.1 % of the rows hold {self.top_share:.2g} of the sum"
        if np.isfinite(self.tail_index):
            words += f"; the tail falls with index {self.tail_index:.2g} (± {1.96 * self.tail_index_se:.2g}, {self.used} rows)"
            if self.tail_index < 2:
                words += ", below 2: the variance may be infinite, and intervals of means too narrow"
        if self.mode_share:
            words += f"; {self.mode_share:.1%} of the rows have the same value, which is what STATE measures"
        return words + "."


def tails(value: Floats) -> Tails:
    """Returns the tail diagnostics of a metric.

    Args:
        value: Finite (N,).

    >>> found = tails(np.random.default_rng(0).pareto(3.0, 100_000) + 1)
    >>> round(found.tail_index, 1), found.used
    (2.9, 500)
    """
    size = np.abs(_check.array("value", value, ndim=1, dtype=np.float64))
    k = max(1, round(0.001 * len(size)))
    used = min(max(_LEAST, int(_SHARE * len(size))), len(size) - 1)
    top = np.sort(np.partition(size, len(size) - used - 1)[len(size) - used - 1 :])[::-1]
    total = float(size.sum())
    index, error, used = hill(top)
    share = float(top[:k].sum() / total) if total > 0 else 0.0
    return Tails(index, error, used, share, float(top[0]), _mode_share(value))


def hill(top: Floats) -> tuple[float, float, int]:
    """Returns Hill's index from the k + 1 largest sizes in falling order, its standard error, and k.

    Sizes of 0 are left out.

    Reference:
        Hill 1975, "A simple general approach to inference about the tail of a distribution", Annals of Statistics 3(5).
    """
    top = top[top > 0]
    k = len(top) - 1
    mean = float(np.log(top[:k] / top[k]).mean()) if k > 0 else 0.0
    if mean <= 0:
        return float("nan"), float("nan"), max(k, 0)
    return 1 / mean, 1 / mean / k**0.5, k


def _mode_share(value: Floats) -> float:
    """Share of the most frequent value if above a half: then it is the median, of an even part of the rows too."""
    middle = np.median(value[:: max(1, len(value) // 100_000)])
    share = float((value == middle).mean())
    return share if share > 0.5 else 0.0
