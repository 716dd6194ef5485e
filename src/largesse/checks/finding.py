"""What every check of a log returns, and the arithmetic that several of them share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from largesse._random import child
from largesse.logs import Logs

__all__ = ["FAIL", "WARN", "Finding", "Floats", "Status", "arm_means", "grade", "over", "sample"]

Floats = NDArray[np.float64]
Status = Literal["ok", "warn", "fail"]
FAIL, WARN = 0.001, 0.01  # p-values below these


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Finding:
    """One question about the rows, and its answer.

    Attributes:
        name: What was asked, e.g. ``"sample ratio"``.
        status: ``"ok"``, ``"warn"`` (look at it) or ``"fail"`` (do not rely on these rows before it is explained).
        verdict: The answer and the next step, in plain words.
    """

    name: str
    status: Status
    verdict: str

    @property
    def ok(self) -> bool:
        """Whether the check did not fail."""
        return self.status != "fail"


def grade(p: float) -> Status:
    """Returns the status that goes with a p-value."""
    return "fail" if p < FAIL else "warn" if p < WARN else "ok"


def sample(logs: Logs, rows: int, seed: int) -> Logs:
    """Returns the logs, or so many rows of them drawn at random, in their order."""
    if logs.n <= rows:
        return logs
    return logs.take(np.sort(child(seed, 0).choice(logs.n, rows, replace=False)))


def over(top: Floats, bottom: Floats) -> Floats:
    """Returns top / bottom, where 0 / 0 is 0 and anything else over 0 is infinite with its sign."""
    out = np.where(top == 0, 0.0, np.copysign(np.inf, top))
    return np.divide(top, bottom, out=out, where=bottom > 0)


def arm_means(rows: Floats, arms: Floats) -> Floats:
    """Weighted mean of the columns of `rows` (N, d) by arm, (M, d); `arms` (N, M) holds the row weights; 0 for an empty arm."""
    return arms.T @ rows / np.maximum(arms.sum(axis=0), 1e-300)[:, None]
