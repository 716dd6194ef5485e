"""Scores and prices that differ by rounding alone are ties: 0.3 / 0.1 and 0.6 / 0.2 are one return, not two."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["differ", "joined"]

Floats = NDArray[np.float64]
_ROUNDING = 1e-12  # relative distance within which two numbers are the same


def differ(ordered: Floats) -> NDArray[np.bool_]:
    """Returns whether each number but the first differs from the one before it by more than rounding, (N - 1,).

    Args:
        ordered: Numbers in rising or falling order, (N,).

    >>> differ(np.array([0.1 + 0.2, 0.3, 0.2, 0.2])).tolist()
    [False, True, False]
    """
    a, b = ordered[:-1], ordered[1:]
    with np.errstate(invalid="ignore"):  # two infinite numbers are a tie
        return np.asarray(np.abs(b - a) > _ROUNDING * np.minimum(np.maximum(np.abs(a), np.abs(b)), 1e300))


def joined(score: Floats) -> Floats:
    """Returns the scores, where those that are ties have the largest of them, (N,).

    >>> joined(np.array([0.3, 1.0, 0.1 + 0.2])).tolist()
    [0.30000000000000004, 1.0, 0.30000000000000004]
    """
    order = np.argsort(-score, kind="stable")
    first = np.append(True, differ(score[order]))
    out = np.empty_like(score)
    out[order] = score[order][first][np.cumsum(first) - 1]
    return out
