"""The digests that chain the log of a campaign: a change, an insertion or a deletion of a row breaks the chain at that row.

Every row has a link, the hash of the link before it and of its own content. What identifies somebody enters only as a digest
of its own, salted by random bytes (the seal) that nobody else has. Erasing deletes it, and puts that digest in the place of the
seal: the links stay as they were, and since the seal is gone, nobody can confirm a guess of what was erased.
"""

from __future__ import annotations

import struct
from hashlib import blake2b

__all__ = ["FIRST", "SEAL", "decision_link", "outcome_link", "private_digest"]

FIRST = bytes(32)
"""The link before the first row."""
SEAL = 16
"""Bytes of a salt."""
_PRIVATE = struct.Struct("<iii")
_DECISION = struct.Struct("<qqqddd?i")
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
