"""What tables are made of: mean ± sd, paired differences with intervals, files that appear whole or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import stats

from largesse._files import atomic_text, may_write

__all__ = ["Paired", "mean_sd", "paired", "seeds", "write_whole"]


class Paired(NamedTuple):
    """The mean of paired differences and its 95 % t-interval; nan where there is one pair, or no difference anywhere.

    Attributes:
        mean: Of the pairs that are known.
        low: Lower end.
        high: Upper end.
        lost: How many pairs are not known (nan).
    """

    mean: float
    low: float
    high: float
    lost: int

    def __format__(self, spec: str) -> str:
        """Returns it as a cell of a table, numbers written by `spec`."""
        if np.isnan(self.mean):
            return "out of reach"
        ends = "" if np.isnan(self.low) else f" ({self.low:{spec}} to {self.high:{spec}})"
        return f"{self.mean:{spec}}{ends}" + (f" ({self.lost} out of reach)" if self.lost else "")


def paired(differences: Sequence[float]) -> Paired:
    """Returns the mean of paired differences; those that are nan are counted apart."""
    every = np.asarray(differences, np.float64)
    seen = every[np.isfinite(every)]
    lost, mean = len(every) - len(seen), float(seen.mean()) if len(seen) else np.nan
    if len(seen) < 2 or not seen.any():
        return Paired(mean, np.nan, np.nan, lost)
    half = float(stats.t.ppf(0.975, len(seen) - 1) * seen.std(ddof=1) / len(seen) ** 0.5)
    return Paired(mean, mean - half, mean + half, lost)


def mean_sd(values: Sequence[float], spec: str = ".1f") -> str:
    """Returns mean ± sd, the mean alone where there is one value, numbers written by `spec`; nan is counted apart."""
    every = np.asarray(values, np.float64)
    known = every[np.isfinite(every)]
    if not len(known):
        return "out of reach"
    sd = f" ± {known.std(ddof=1):{spec}}" if len(known) > 1 else ""
    lost = f" ({len(every) - len(known)} out of reach)" if len(known) < len(every) else ""
    return f"{known.mean():{spec}}{sd}{lost}"


def seeds(n: int) -> str:
    """Returns how many seeds, in words."""
    return f"{n} seed{'s' * (n != 1)}"


def write_whole(place: Path, text: str) -> None:
    """Writes a file, whole or not at all.

    Raises:
        StoreError: Nothing can be written there.
    """
    may_write(place.parent / "new", replace=True)
    atomic_text(place, text)
