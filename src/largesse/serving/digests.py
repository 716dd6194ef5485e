"""Hashes of many texts that begin with the same words: those words are hashed once."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

__all__ = ["digests"]


def digests(prefix: str, texts: Iterable[str], size: int, person: bytes = b"") -> list[bytes]:
    """Returns the BLAKE2b hash of the prefix and each text.

    Args:
        prefix: What all begin with.
        texts: What follows.
        size: Bytes of a hash.
        person: What the hashes are for, at most 16 bytes: other purposes have other hashes.

    >>> digests("spring:", ["u1"], 8) == [blake2b(b"spring:u1", digest_size=8).digest()]
    True
    """
    begun = blake2b(prefix.encode(), digest_size=size, person=person).copy
    out = []
    for text in texts:
        one = begun()
        one.update(text.encode())
        out.append(one.digest())
    return out
