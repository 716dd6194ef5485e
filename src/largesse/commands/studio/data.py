"""What a run was learned from, and how far the units that it is to decide are spread like its trial."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from largesse.commands.findings.understood import ArmRows, Understood
from largesse.commands.studio.table import UnitTable
from largesse.errors import LargesseError, StoreError, why_damaged
from largesse.frames.columns import cells, coded, texts
from largesse.report.numbers import number
from largesse.serving.watch.features import Spread, Worst, stability

__all__ = ["ALPHA", "Beside", "counts_of", "drift_of", "shares_of", "understood_of"]

ALPHA = 0.05
"""Probability that any feature is said to have changed where none has, all features together."""


class Beside(NamedTuple):
    """A feature of the units beside the trial.

    Attributes:
        spread: How it is spread in the trial.
        counts: Units in each of its bins, (K,); None where the units do not have it.
        worst: How far the two are from each other; None where that is not known.
        problem: Why it is not known; "" where it is.
    """

    spread: Spread
    counts: NDArray[np.int64] | None
    worst: Worst | None
    problem: str = ""

    @property
    def changed(self) -> bool:
        """Whether it is not as in the trial: the index reaches the threshold, or the units do not have it."""
        return self.worst is None or self.worst.psi > self.worst.threshold


def drift_of(table: UnitTable, spreads: tuple[Spread, ...]) -> tuple[Beside, ...]:
    """Returns each feature of some units beside the trial, the one that differs most first.

    The units are read column by column, so that one column is in memory at a time.

    Args:
        table: The units.
        spreads: How the features are spread in the trial.
    """
    several = [_beside(table, one, ALPHA / max(1, len(spreads))) for one in spreads]
    return tuple(sorted(several, key=_rank, reverse=True))


def _rank(one: Beside) -> tuple[bool, float]:
    return (one.worst is None, 0.0 if one.worst is None else one.worst.psi / one.worst.threshold)


def _beside(table: UnitTable, spread: Spread, alpha: float) -> Beside:
    if spread.name not in table.names:
        return Beside(spread, None, None, "the units have no such column")
    try:
        counts = counts_of(spread, table.columns([spread.name]).column(0))
    except LargesseError as error:
        return Beside(spread, None, None, str(error))
    return Beside(spread, counts, stability(spread, counts, alpha))


def counts_of(spread: Spread, column: pa.ChunkedArray) -> NDArray[np.int64]:
    """Returns how many cells of a column are in each bin of a feature, as the encoder of a run reads them.

    Raises:
        SchemaError: The cells are of another kind than in the trial.

    >>> spread = Spread("city", True, (), ("north", "south"), (0.5, 0.5, 0.0, 0.0), 100)
    >>> counts_of(spread, pa.chunked_array([["north", " north", "east", None]])).tolist()
    [2, 0, 1, 1]
    """
    if not spread.text:
        numbers = cells(spread.name, column).astype(np.float32).astype(np.float64)
        return spread.counts(np.where(np.isfinite(numbers), numbers, np.nan))
    codes, values = coded(column)
    place = {name: k for k, name in enumerate(spread.levels)}
    other, missing = len(spread.levels), len(spread.levels) + 1
    bins = np.array([*(place.get(name, other) for name in texts(values)), missing], np.int64)
    return np.bincount(bins[codes], minlength=missing + 1)  # a missing cell has the code -1, the last bin


def shares_of(one: Beside) -> tuple[tuple[str, float, float | None], ...]:
    """Returns the bins of a feature: name, share in the trial, share of the units; bins that nobody is in are left out."""
    names = _names(one.spread)
    total = 0 if one.counts is None else int(one.counts.sum())
    now = [None] * len(names) if one.counts is None else (one.counts / max(total, 1)).tolist()
    return tuple(
        (name, then, share) for name, then, share in zip(names, one.spread.shares, now, strict=True) if then or share
    )


def _names(spread: Spread) -> tuple[str, ...]:
    """Returns short names of the bins of a feature."""
    if spread.text:
        return (*spread.levels, *spread.bins[-2:])
    short = [number(edge) for edge in spread.edges]
    if len(short) < 1 or len(set(short)) < len(short):
        return spread.bins
    between = (f"{low} to {high}" for low, high in pairwise(short))
    return (f"below {short[0]}", *between, f"from {short[-1]}", spread.bins[-1])


def understood_of(metrics: dict[str, Any], place: object) -> Understood:
    """Returns what a run understood, from its metrics.

    Args:
        metrics: Content of metrics.json.
        place: The file, for the message.

    Raises:
        StoreError: It is damaged.
    """
    try:
        about = metrics["understood"]
        pairs = {name: tuple((str(a), str(b)) for a, b in about[name]) for name in ("left_out", "suspects")}
        return Understood(
            rows=dict(about["rows"]), arms=tuple(ArmRows(**one) for one in about["arms"]), control=about["control"],
            outcome=about["outcome"], units=dict(about["units"]), features=tuple(about["features"]),
            left_out=pairs["left_out"], suspects=pairs["suspects"], undeclared=tuple(about["undeclared"]),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{place}: is damaged ({why_damaged(error)}). Fit the run again.") from error
