"""How features are spread: in the trial, as a run keeps it, and day by day in a campaign; where the two differ.

The population stability index of a feature is Σ (a_k - b_k) ln(a_k / b_k) over its bins, a_k the share of a day, b_k that of the
trial. Without any change, PSI / (1/n + 1/N) of n and N rows is about χ² distributed with one degree of freedom less than bins: so
a small day is not taken for a drift, and a large one not for a drift that is too small to matter.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri

from largesse.errors import StoreError
from largesse.frames.encoder import Encoder, Levels

__all__ = ["DRIFT", "FEATURES", "Spread", "Worst", "read_spreads", "spreads", "stability", "write_spreads"]

Floats = NDArray[np.float64]
FEATURES = "features.json"
"""How the features of a run's trial are spread, in its folder."""
DRIFT = 0.2
"""A population stability index below this is no alarm; 0.2 is the usual threshold for a change that needs action."""
_BINS = 10
_OTHER, _MISSING = "another label", "missing"


class Spread(NamedTuple):
    """How one feature is spread in the trial.

    Attributes:
        name: Column.
        text: Whether it holds text; otherwise numbers, or dates as days since 1970.
        edges: Numbers between the bins of a column of numbers, increasing; empty for text.
        levels: Labels of a column of text, a bin each; empty for numbers.
        shares: Share of the trial's rows in each bin: the bins of numbers or labels, other labels (text only), missing.
        rows: Number of rows of the trial.
    """

    name: str
    text: bool
    edges: tuple[float, ...]
    levels: tuple[str, ...]
    shares: tuple[float, ...]
    rows: int

    @property
    def bins(self) -> tuple[str, ...]:
        """Names of the bins."""
        if self.text:
            return (*(repr(one) for one in self.levels), _OTHER, _MISSING)
        if not self.edges:
            return ("any number", _MISSING)
        low, *others = (f"{edge:.6g}" for edge in self.edges)
        ends = [low, *others]
        return (
            f"below {low}",
            *(f"{a} to {b}" for a, b in zip(ends, others, strict=False)),
            f"from {ends[-1]}",
            _MISSING,
        )

    def counts(self, cells: Sequence[Any] | Floats) -> NDArray[np.int64]:
        """Returns how many cells are in each bin.

        Args:
            cells: Numbers, NaN where missing; or labels, None where missing.
        """
        if self.text:
            place = {name: k for k, name in enumerate(self.levels)}
            last = len(self.levels) + 1
            labels = [last if one is None else place.get(one, last - 1) for one in cells]
            return np.bincount(labels, minlength=last + 1)
        numbers = np.asarray(cells, np.float64)
        codes = np.where(np.isnan(numbers), len(self.edges) + 1, np.searchsorted(self.edges, numbers, "right"))
        return np.bincount(codes, minlength=len(self.edges) + 2)


class Worst(NamedTuple):
    """The stability index of a day, and the bin that adds most to it.

    Attributes:
        psi: The population stability index.
        threshold: What it must reach for an alarm.
        bin: Name of the bin.
        now: Its share on that day.
        then: Its share in the trial.
    """

    psi: float
    threshold: float
    bin: str
    now: float
    then: float


def stability(spread: Spread, counts: NDArray[np.int64], alpha: float) -> Worst:
    """Returns the population stability index of some rows.

    Args:
        spread: The feature in the trial.
        counts: Rows in each bin.
        alpha: Probability of an alarm where nothing has changed.

    >>> spread = Spread("age", False, (40.0,), (), (0.5, 0.5, 0.0), 10_000)
    >>> worst = stability(spread, np.array([500, 100, 400]), 0.001)
    >>> round(worst.psi, 2), worst.bin, worst.now
    (4.24, 'missing', 0.4)
    """
    n, then = int(counts.sum()), np.array(spread.shares)
    used = (counts > 0) | (then > 0)
    a, b = (counts[used] + 0.5) / (n + 0.5 * used.sum()), (then[used] * spread.rows + 0.5)
    b = b / b.sum()
    parts = (a - b) * np.log(a / b)
    noise = float(chdtri(max(1, int(used.sum()) - 1), alpha)) * (1 / max(n, 1) + 1 / max(spread.rows, 1))
    k = int(np.flatnonzero(used)[parts.argmax()])
    return Worst(float(parts.sum()), max(DRIFT, noise), spread.bins[k], float(counts[k] / max(n, 1)), float(then[k]))


def spreads(encoder: Encoder, x: NDArray[Any]) -> tuple[Spread, ...]:
    """Returns how the features of a trial are spread.

    Args:
        encoder: How its columns were encoded.
        x: Its encoded features, (N, d).
    """
    out, start = [], 0
    for column in encoder.columns:
        own = x[:, start : start + len(column.names)]
        start += len(column.names)
        if isinstance(column, Levels):
            shares = own.mean(axis=0, dtype=np.float64).tolist()
            known, rest = shares[: len(column.levels)], shares[len(column.levels) :]
            other = rest.pop(0) if column.other else 0.0
            absent = rest.pop(0) if column.missing else 0.0
            out.append(Spread(column.name, True, (), column.levels, (*known, other, absent), len(x)))
            continue
        missing = own[:, -1] > 0 if column.missing else np.zeros(len(x), np.bool_)
        numbers = own[~missing, 0].astype(np.float64) if column.varies else np.empty(0)
        edges = _edges(numbers)
        spread = Spread(column.name, False, edges, (), (0.0,) * (len(edges) + 2), len(x))
        counts = spread.counts(np.concatenate([numbers, np.full(len(x) - len(numbers), np.nan)]))
        if not column.varies:  # all that is not missing is one number
            counts = np.array([(~missing).sum(), missing.sum()])
        out.append(spread._replace(shares=tuple((counts / max(len(x), 1)).tolist())))
    return tuple(out)


def _edges(numbers: Floats) -> tuple[float, ...]:
    """Returns numbers that cut others into at most ten bins of about equal size, each halfway between two of them."""
    if not len(numbers):
        return ()
    distinct = np.unique(numbers)
    cuts = np.arange(1, len(distinct))
    if len(distinct) > _BINS:
        at = np.quantile(numbers, np.arange(1, _BINS) / _BINS, method="higher")
        cuts = np.unique(np.searchsorted(distinct, at))
        cuts = cuts[cuts > 0]
    return tuple(((distinct[cuts] + distinct[cuts - 1]) / 2).tolist())


def write_spreads(folder: Path, several: Sequence[Spread]) -> None:
    """Writes the spread of the features into a run folder."""
    text = json.dumps({"features": [one._asdict() for one in several]}, ensure_ascii=False, allow_nan=False)
    (folder / FEATURES).write_text(text + "\n", encoding="utf-8", newline="\n")


def read_spreads(folder: Path) -> tuple[Spread, ...]:
    """Returns the spread of the features of a run; none where the run has no such file.

    Raises:
        StoreError: The file is damaged.
    """
    place = folder / FEATURES
    if not place.is_file():
        return ()
    try:
        content: Mapping[str, Any] = json.loads(place.read_text(encoding="utf-8"))
        return tuple(_spread(**one) for one in content["features"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise StoreError(f"{place}: is damaged ({type(error).__name__}). Copy the whole run folder again.") from error


def _spread(
    name: str, text: bool, edges: Sequence[float], levels: Sequence[str], shares: Sequence[float], rows: int
) -> Spread:
    if not isinstance(name, str) or len(shares) != len(levels if text else edges) + 1 + 1:
        raise ValueError(name)
    return Spread(
        name, bool(text), tuple(map(float, edges)), tuple(map(str, levels)), tuple(map(float, shares)), int(rows)
    )
