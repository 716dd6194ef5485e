"""Assignment of units to arms by a salted hash of the id, reproducible in any service without a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from largesse import _check
from largesse._arguments import checked

__all__ = ["assign", "shares_of", "uniform_of"]


@checked
def assign(ids: Iterable[object], shares: Mapping[str, float], *, salt: str) -> NDArray[np.str_]:
    """Returns the arm of each id (N,): the same for the same id, salt and shares, on any machine.

    The hash of ``salt:id`` is a number in [0, 1), which the arms divide in the order given. Assignments with different salts
    are independent. If an arm's share grows at the expense of the next arm, the arm keeps its units.

    Args:
        ids: Unit ids, hashed as text: 7 and "7" are the same unit.
        shares: Share of each arm, > 0, divided by their sum.
        salt: Name of the experiment.

    Raises:
        DataError: The salt is empty, there are fewer than two arms, or a share is not > 0.

    >>> assign(["u1", "u2", "u6"], {"A": 0.45, "B": 0.45, "holdout": 0.1}, salt="spring").tolist()
    ['A', 'A', 'B']
    """
    if not salt:
        raise _check.refuse(
            "salt", salt, "must not be empty", "Name the experiment; every experiment needs its own salt."
        )
    edges = np.cumsum(shares_of(shares))[:-1]
    names = np.array(list(shares))
    uniform = np.fromiter((uniform_of(salt, unit) for unit in ids), np.float64)
    return np.asarray(names[np.searchsorted(edges, uniform, side="right")])


def uniform_of(salt: str, unit: object) -> float:
    """Returns the number in [0, 1) of a unit, which `assign` compares with the shares of the arms.

    >>> round(uniform_of("spring", "u1"), 4)
    0.3819
    """
    return (int.from_bytes(blake2b(f"{salt}:{unit}".encode(), digest_size=8).digest(), "big") >> 11) / 2**53  # 53 bits


def shares_of(shares: Mapping[str, float]) -> NDArray[np.float64]:
    """Returns the shares of the arms divided by their sum (M,).

    Raises:
        DataError: There are fewer than two arms, or a share is not > 0.
    """
    if len(shares) < 2:
        raise _check.refuse("shares", dict(shares), "two arms or more are needed", "Give a share for each.")
    parts = np.array([_check.number(f"shares[{name!r}]", share, low=1e-9, high=1e9) for name, share in shares.items()])
    return np.asarray(parts / parts.sum())
