"""Who is in which arm: by a salted hash of the id, so that any service can tell it again without a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from largesse import _check

__all__ = ["assign"]


def assign(ids: Iterable[object], shares: Mapping[str, float], *, salt: str) -> NDArray[np.str_]:
    """Returns the arm of each id, text (N,): the same for the same id, salt and shares, on any machine.

    The hash of ``salt:id`` is a number in [0, 1), and the arms take up that range in the order given. Another salt is another
    experiment, independent of this one. An arm that is enlarged at the cost of the next keeps its units.

    Args:
        ids: Unit ids, written as text: 7 and "7" are the same unit.
        shares: Share of each arm, > 0; they are divided by their sum.
        salt: Name of the experiment.

    Raises:
        DataError: No salt, fewer than two arms, or a share that is not > 0.

    >>> assign(["u1", "u2", "u6"], {"A": 0.45, "B": 0.45, "holdout": 0.1}, salt="spring").tolist()
    ['A', 'A', 'B']
    """
    if not salt:
        raise _check.refuse("salt", salt, "must not be empty", "Name the experiment: each one needs its own.")
    if len(shares) < 2:
        raise _check.refuse("shares", dict(shares), "two arms or more are needed", "Give a share for each.")
    names = np.array(list(shares))
    parts = np.array([_check.number(f"shares[{name!r}]", shares[name], low=1e-9, high=1e9) for name in shares])
    edges = np.cumsum(parts / parts.sum())[:-1]
    place = np.fromiter((_number(salt, one) for one in ids), np.float64)
    return np.asarray(names[np.searchsorted(edges, place, side="right")])


def _number(salt: str, one: object) -> float:
    """A number in [0, 1): the first 53 bits of the hash."""
    return (int.from_bytes(blake2b(f"{salt}:{one}".encode(), digest_size=8).digest(), "big") >> 11) / 2**53
