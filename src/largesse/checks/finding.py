"""The result type of the checks, and the arithmetic that several of them share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from largesse import _check
from largesse._arguments import checked
from largesse._random import child
from largesse.logs import Logs
from largesse.result import Result

__all__ = ["P_FAIL", "P_WARN", "Finding", "Floats", "Grade", "arm_means", "grade", "over", "randomised", "sample"]

Floats = NDArray[np.float64]
P_FAIL, P_WARN = 0.001, 0.01  # p-values below these


class Grade(StrEnum):
    """The outcome of a check, from good to bad."""

    UNTESTED = "untested"
    """There was nothing to test."""
    OK = "ok"
    WARN = "warn"
    """Look at it."""
    FAIL = "fail"
    """Do not rely on these rows before it is explained."""

    @classmethod
    def worst(cls, grades: Iterable[Grade]) -> Grade:
        """Returns the worst of some grades; ``OK`` where there are none."""
        return max(grades, key=tuple(cls).index, default=cls.OK)


@checked
@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class Finding(Result):
    """The result of one check of the rows.

    Attributes:
        name: The check, e.g. ``"sample ratio"``.
        status: Its grade; its text, e.g. ``"warn"``, is accepted too.
        sentence: The result and the next step, in plain words.

    Raises:
        DataError: There is no such status.
    """

    name: str
    status: Grade
    sentence: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "status", Grade(_check.choice("status", self.status, tuple(Grade))))

    @property
    def ok(self) -> bool:
        """Whether the check did not fail."""
        return self.status is not Grade.FAIL

    @property
    def verdict(self) -> str:
        """The same as `sentence`, its earlier name."""
        return self.sentence

    @property
    def row(self) -> dict[str, Any]:
        """Name, status and sentence alone."""
        return {"name": self.name, "status": self.status.value, "sentence": self.sentence}


def grade(p: float) -> Grade:
    """Returns the grade of a p-value."""
    return Grade.FAIL if p < P_FAIL else Grade.WARN if p < P_WARN else Grade.OK


def sample(logs: Logs, rows: int, seed: int) -> Logs:
    """Returns the logs, or a random sample of so many rows in their order."""
    _check.integers("rows", [int(rows)], low=1, high=2**62, rule="must be >= 1", remedy="A sample needs rows.")
    if logs.n <= rows:
        return logs
    return logs.take(np.sort(child(seed, 0).choice(logs.n, int(rows), replace=False)))


def randomised(logs: Logs) -> Logs | None:
    """Returns one row per cluster (else unit) if each of them is in one arm as a whole, so that it was what was randomised.

    Features and weights are the means of its rows. None where rows were assigned one by one, or each group has one row.
    """
    groups = logs.groups
    if groups is None:
        return None
    _, first, size = np.unique(groups, return_index=True, return_counts=True)
    if (logs.treatment != logs.treatment[first][groups]).any():
        return None
    x = np.column_stack([np.bincount(groups, column) / size for column in logs.x.T]).astype(np.float32)
    weight = None if logs.weight is None else np.bincount(groups, logs.weight) / size
    p = None if logs.propensity is None else logs.propensity[first]
    if logs.assignment == "observed":
        p = "observed"
    elif logs.assignment in ("uniform", "shares"):
        shares = [float(logs.propensity[np.argmax(logs.treatment == j)]) for j in range(logs.n_treatments)]
        p = dict(zip(logs.treatments, shares, strict=True))
    nothing = np.zeros(len(first))
    return Logs(
        x=x, treatment=logs.treatment[first], value=nothing, cost=nothing, treatments=logs.treatments, weight=weight,
        features=logs.features, design=logs.design, propensity=p,
    )  # fmt: skip


def over(top: Floats, bottom: Floats) -> Floats:
    """Returns top / bottom, where 0 / 0 is 0 and anything else over 0 is infinite with its sign."""
    out = np.where(top == 0, 0.0, np.copysign(np.inf, top))
    return np.divide(top, bottom, out=out, where=bottom > 0)


def arm_means(rows: Floats, arms: Floats) -> Floats:
    """Returns weighted means of the columns of `rows` (N, d) by arm, (M, d), 0 for an empty arm; `arms`: row weights (N, M)."""
    return arms.T @ rows / np.maximum(arms.sum(axis=0), 1e-300)[:, None]
