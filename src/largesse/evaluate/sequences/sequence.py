"""`confidence_sequence`: the intervals of a mean at many looks, from all rows at once."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from largesse import _check
from largesse._arguments import checked
from largesse.evaluate.sequences.betting import BettingSequence
from largesse.evaluate.sequences.boundary import Side
from largesse.evaluate.sequences.look import Looks
from largesse.evaluate.sequences.mean import MeanSequence
from largesse.evaluate.sequences.sums import Rows, batch_labels

__all__ = ["METHODS", "confidence_sequence"]

METHODS = ("asymptotic", "betting")


@checked
def confidence_sequence(
    scores: Rows, *, looks: int | Rows = 20, expected: float | None = None,
    method: Literal["asymptotic", "betting"] = "asymptotic", bounds: tuple[float, float] | None = None,
    per: Rows | None = None, weight: Rows | None = None, cluster: Rows | None = None, level: float = 0.95,
    side: Side = "both",
) -> Looks:  # fmt: skip
    """Returns the intervals of a mean at several looks, which contain it at all of them together with the stated probability.

    An interval of a fixed time that is read every day is wrong on some day far more often than its level says; these are not. At
    the expected size they are about 1.5 times as wide. For rows that arrive batch by batch, use `MeanSequence` or
    `BettingSequence`, which give the same intervals; `LiftSequence` is for a holdout, `EqualSpendSequence` for two policies.

    Args:
        scores: In the order of arrival, (N,): outcomes, or scores of a policy's value (`policy_scores`).
        looks: Number of looks, evenly spaced, or after which rows to look, rising, (L,).
        expected: Number of units at which the interval should be narrowest, decided before the first look; all if omitted.
        method: ``"asymptotic"`` for any scores with a variance, also a ratio, weights and drifting means; ``"betting"`` for
            bounded scores with one mean, exact for any number of them.
        bounds: Least and greatest score, for betting. See `BettingSequence` for scores that are clipped.
        per: What the scores are divided by in total, (N,): with it, a ratio is estimated (asymptotic only).
        weight: Weights of the rows, >= 0, (N,) (asymptotic only).
        cluster: Cluster of each row, (N,); rows of a cluster belong to one look.
        level: Probability that all intervals contain what they estimate.
        side: Which ends the interval has: ``"both"``, ``"lower"`` or ``"upper"``.

    Raises:
        DataError: An argument breaks a rule, or betting has no bounds, or has weights or a ratio.

    Reference:
        Waudby-Smith et al. 2024, arXiv 2103.06476 (asymptotic); Waudby-Smith & Ramdas 2024, arXiv 2010.09686 (betting).

    Example:
        >>> orders = np.random.default_rng(0).random(6000) < 0.2
        >>> intervals = confidence_sequence(orders, looks=60)
        >>> all(look.contains(0.2) for look in intervals.looks), len(intervals.looks)
        (True, 60)
        >>> print(confidence_sequence(orders, method="betting", bounds=(0, 1), side="lower"))
        mean after 6,000 units: 0.207, at least 0.1932 (95 % at all looks together, betting, 1,243 events)
    """
    x = _check.array("scores", scores, ndim=1)
    columns = {"per": per, "weight": weight}
    rows = {name: _check.array(name, got, ndim=1) for name, got in columns.items() if got is not None}
    labels = None if cluster is None else batch_labels(cluster)
    _check.lengths(scores=x, cluster=labels, **rows)
    ends = _ends(looks, len(x))
    size = len(x) if labels is None else len(np.unique(labels))
    expected = float(size) if expected is None else expected
    if labels is not None:
        _whole_clusters(labels, ends)
    sequence: MeanSequence | BettingSequence
    if _check.choice("method", method, METHODS) == "betting":
        if rows or bounds is None:
            field, rule = (
                ("bounds", "is needed for betting") if bounds is None else (next(iter(rows)), "is not for betting")
            )
            raise _check.refuse(field, columns.get(field), rule, 'Or use method="asymptotic".')
        sequence = BettingSequence(expected, bounds, level=level, side=side)
    else:
        sequence = MeanSequence(expected, level=level, side=side)
    out, start = [], 0
    for end in ends.tolist():
        part = slice(start, end)
        more = {name: got[part] for name, got in rows.items()}
        sequence.update(x[part], cluster=None if labels is None else labels[part], **more)
        out.append(sequence.look())
        start = end
    return Looks(tuple(out))


def _ends(looks: int | Rows, n: int) -> NDArray[np.int64]:
    """Returns after which rows to look."""
    if np.ndim(looks) == 0:
        count = int(_check.number("looks", looks, low=1, high=n))
        return np.unique(np.round(np.arange(1, count + 1) * n / count).astype(np.int64))
    rule, remedy = f"must be whole numbers from 1 to {n}", "Give numbers of rows."
    out = _check.integers("looks", looks, low=1, high=n + 1, rule=rule, remedy=remedy).astype(np.int64)
    if (np.diff(out) <= 0).any():
        raise _check.refuse("looks", out.tolist(), "must rise", "Sort them, and leave out repeated ones.")
    return out


def _whole_clusters(labels: NDArray[np.generic], ends: NDArray[np.int64]) -> None:
    """Raises DataError where rows of a cluster are on both sides of a look."""
    look = np.searchsorted(ends, np.arange(len(labels)), side="right")
    _, code = np.unique(labels, return_inverse=True)
    first, last = np.full(code.max() + 1, len(ends) + 1), np.full(code.max() + 1, -1)
    np.minimum.at(first, code, look)
    np.maximum.at(last, code, look)
    wrong = (first != last)[code]
    if wrong.any():
        rule = "must have all its rows between two looks"
        raise _check.refuse_cells(
            "cluster", labels, wrong, rule, "Sort the rows by cluster, and look after whole clusters."
        )
