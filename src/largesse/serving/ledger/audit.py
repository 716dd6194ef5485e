"""The digests that chain the log of a campaign: a change, an insertion or a deletion of a row breaks the chain at that row.

Every row has a link, the hash of the link before it and of its own content. What identifies somebody enters only as a digest
of its own, salted by random bytes (the seal) that nobody else has. Erasing deletes it, and puts that digest in the place of the
seal: the links stay as they were, and since the seal is gone, nobody can confirm a guess of what was erased.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "FIRST", "SEAL", "decision_link", "decision_links", "outcome_link", "private_digest", "private_digests",
]  # fmt: skip

FIRST = bytes(32)
"""The link before the first row."""
SEAL = 16
"""Bytes of a salt."""
_PRIVATE = struct.Struct("<iii")
_DECISION = struct.Struct("<qqqddd?i")
_NUMBERS = np.dtype([
    ("number", "<i8"), ("period", "<i8"), ("reservation", "<i8"), ("price", "<f8"), ("time", "<f8"), ("due", "<f8"),
    ("limited", "?"), ("size", "<i4"),
])  # fmt: skip
"""The same as `_DECISION`, for many decisions."""
_OUTCOME = struct.Struct("<qqdd??")


def private_digest(seal: bytes, text: str, menu: bytes = b"", features: str | None = None) -> bytes:
    """Returns the digest of what identifies somebody: the unit of a decision with menu and features, or the key of an outcome."""
    name = text.encode()
    if features is None:
        sizes, rest = _PRIVATE.pack(len(name), len(menu), -1), b""
    else:
        rest = features.encode()
        sizes = _PRIVATE.pack(len(name), len(menu), len(rest))
    return blake2b(seal + sizes + name + menu + rest, digest_size=32).digest()


def private_digests(
    seals: bytes, texts: Sequence[str], menus: Sequence[bytes], features: Sequence[str | None]
) -> list[bytes]:
    """Returns `private_digest` of many decisions; their seals are one text of `SEAL` bytes each."""
    names = [text.encode() for text in texts]
    rest = [b"" if one is None else one.encode() for one in features]
    sizes = np.empty((len(names), 3), "<i4")
    for k, column in enumerate((names, menus, rest)):
        sizes[:, k] = np.fromiter(map(len, column), np.int32, len(names))
    sizes[[one is None for one in features], 2] = -1
    salts = np.frombuffer(seals, np.uint8).reshape(-1, SEAL)
    first, width = np.hstack([salts, sizes.view(np.uint8)]).tobytes(), SEAL + _PRIVATE.size
    return [
        blake2b(first[at : at + width] + name + menu + last, digest_size=32).digest()
        for at, name, menu, last in zip(range(0, len(first), width), names, menus, rest, strict=True)
    ]


def decision_link(
    before: bytes,
    private: bytes,
    numbers: tuple[int, int, int, float, float, float, bool],
    propensities: bytes,
    names: str,
) -> bytes:
    """Returns the link of a decision.

    Args:
        before: Link of the decision before it.
        private: Digest of what identifies the unit.
        numbers: Number, period, reservation, price, time, time at which it is due, and whether it was limited.
        propensities: Probability of every treatment, as stored.
        names: Id, campaign, treatment, kind and version, separated by zero bytes.
    """
    fixed = _DECISION.pack(*numbers, len(propensities))
    return blake2b(before + private + fixed + propensities + names.encode(), digest_size=32).digest()


def decision_links(
    before: bytes, privates: Iterable[bytes], numbers: tuple[int, int, NDArray[np.int64], float, float, float],
    propensities: NDArray[np.float64], names: Iterable[str],
) -> list[bytes]:  # fmt: skip
    """Returns the links of n decisions in a row that the budget has not limited, as `decision_link` does one by one.

    Args:
        before: Link of the decision before them.
        privates: Digests of what identifies their units.
        numbers: Number of the first; period; reservations, (n,); price, time, and time at which they are due.
        propensities: Probability of every treatment, (n, M).
        names: Id, campaign, treatment, kind and version of each, separated by zero bytes.
    """
    n, size = len(propensities), 8 * propensities.shape[1]
    fixed = np.zeros(n, _NUMBERS)
    first, *rest = numbers
    fixed["number"], fixed["size"] = np.arange(first, first + n), size
    for name, got in zip(("period", "reservation", "price", "time", "due"), rest, strict=True):
        fixed[name] = got
    given = np.ascontiguousarray(propensities, "<f8").view(np.uint8)
    both, width = np.hstack([fixed.view(np.uint8).reshape(n, -1), given]).tobytes(), _NUMBERS.itemsize + size
    out = []
    for at, private, name in zip(range(0, len(both), width), privates, names, strict=True):
        before = blake2b(before + private + both[at : at + width] + name.encode(), digest_size=32).digest()
        out.append(before)
    return out


def outcome_link(
    before: bytes, private: bytes, numbers: tuple[int, int, float, float, bool, bool], names: str
) -> bytes:
    """Returns the link of an outcome.

    Args:
        before: Link of the outcome before it.
        private: Digest of its key.
        numbers: Number, cost, value, time, and whether it was final or void.
        names: Campaign and id of the decision, separated by a zero byte.
    """
    return blake2b(before + private + _OUTCOME.pack(*numbers) + names.encode(), digest_size=32).digest()
