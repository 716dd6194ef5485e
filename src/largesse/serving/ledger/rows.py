"""A decision as a row of the store: how its numbers are packed, its id, its link, and the answer that it stands for."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from largesse.serving.digests import digests
from largesse.serving.ledger.accounts import Terms
from largesse.serving.ledger.audit import private_digest
from largesse.serving.ledger.sql import Having, inserting
from largesse.serving.ledger.tables import decisions
from largesse.serving.ledger.terms import Answer

__all__ = [
    "BY_PLACE", "BY_WHO", "INSERT", "WHO", "again", "answer_of", "id_of", "ids_of", "menus_of", "packed", "packed_menu",
    "parts_of", "place_in", "place_of", "private_of", "unpacked", "who_of", "who_prefix", "whos_of",
]  # fmt: skip

INSERT = inserting(decisions)
BY_PLACE = Having(lambda values: decisions.select().where(decisions.c.place.in_(values)))
BY_WHO = Having(lambda values: decisions.select().where(decisions.c.who.in_(values)))
_PLACE = re.compile("[0-7][0-9a-f]{15}")
WHO = 16
"""Bytes of the hash of a unit."""
_PERSON = b"largesse id"
_ID = 32  # digits of an id
_BITS = 40  # of the number of a decision within its campaign


def place_of(code: int, number: int) -> int:
    """Returns the place of a decision, or of an outcome: by campaign, then by number."""
    return (code << _BITS) + number


def id_of(place: int, token: bytes) -> str:
    """Returns the id of a decision: its place and 8 random bytes, so that it says nothing of the unit."""
    return f"{place:016x}{token.hex()}"


def ids_of(place: int, tokens: bytes, n: int) -> list[str]:
    """Returns the ids of n decisions in a row, as `id_of`; the tokens are one text."""
    places = np.arange(place, place + n, dtype=">i8").view(np.uint8).reshape(n, -1)
    both = np.hstack([places, np.frombuffer(tokens, np.uint8).reshape(n, -1)]).tobytes().hex()
    return [both[at : at + _ID] for at in range(0, len(both), _ID)]


def parts_of(content: bytes, size: int) -> list[bytes]:
    """Returns bytes in parts of one size."""
    return [content[at : at + size] for at in range(0, len(content), size)]


def place_in(name: str) -> int | None:
    """Returns the place in an id; None if no decision has such an id."""
    digits = name[:16]
    return int(digits, 16) if len(name) == _ID and _PLACE.fullmatch(digits) else None


def who_prefix(terms: Terms, period: int) -> str:
    """Returns what the hashes of the units of a campaign and a period begin with."""
    return f"{terms.draws.salt}\0{terms.campaign.name}\0{period}\0"


def who_of(prefix: str, unit: str) -> bytes:
    """Returns the hash by which the decision of a unit is sought."""
    return blake2b((prefix + unit).encode(), digest_size=WHO, person=_PERSON).digest()


def whos_of(prefix: str, units: Sequence[str]) -> list[bytes]:
    """Returns the hashes by which the decisions of many units are sought."""
    return digests(prefix, units, WHO, _PERSON)


@lru_cache(maxsize=64)
def _doubles(n: int) -> struct.Struct:
    return struct.Struct(f"<{n}d")


def packed(numbers: Sequence[float]) -> bytes:
    """Returns numbers as bytes, 8 for each."""
    return _doubles(len(numbers)).pack(*numbers)


def unpacked(content: bytes, n: int) -> tuple[float, ...]:
    """Returns the first n numbers of `packed`."""
    return _doubles(n).unpack_from(content)


def packed_menu(value: list[float], cost: list[float], codes: Sequence[int] | None) -> bytes:
    """Returns the menu of a unit as bytes: values, costs, and the allowed treatments unless all are."""
    numbers = _doubles(2 * len(value)).pack(*value, *cost)
    return numbers if codes is None else numbers + struct.pack(f"<{len(codes)}I", *codes)


def allowed_in(menu: bytes, n: int) -> Sequence[int]:
    """Returns the numbers of the allowed treatments in a menu of n treatments."""
    return np.frombuffer(menu, "<u4", offset=16 * n).tolist() or range(n)


def menus_of(menus: Sequence[bytes], n: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Returns values, costs and allowed treatments of menus, each (units, n)."""
    size = 16 * n
    both = np.frombuffer(b"".join([menu[:size] for menu in menus]), "<f8").reshape(len(menus), 2, n)
    allowed = np.ones((len(menus), n), np.bool_)
    for i, menu in enumerate(menus):
        if len(menu) > size:
            allowed[i] = False
            allowed[i, allowed_in(menu, n)] = True
    return both[:, 0], both[:, 1], allowed


def private_of(row: Any) -> bytes:
    """Returns the digest of what identifies the unit of a stored decision; of an erased one it is what the row has kept."""
    return bytes(row.seal) if row.unit is None else private_digest(row.seal, row.unit, row.menu, row.features)


def answer_of(row: Any, terms: Terms) -> Answer:
    """Returns a stored decision as an answer that is repeated."""
    treatments = terms.campaign.treatments
    n, code = len(treatments), terms.codes[row.treatment]
    given, menu = unpacked(row.propensities, n), unpacked(row.menu, 2 * n)
    return Answer(
        row.id, row.campaign, row.period, row.unit, row.treatment, row.kind, given[code],
        dict(zip(treatments, given, strict=True)), menu[code], menu[n + code], row.price, row.version,
        row.reservation / terms.campaign.scale, bool(row.limited), row.time, True,
    )  # fmt: skip


def again(answer: Answer) -> Answer:
    """Returns an answer as one that is repeated, with nothing that two callers could change for each other."""
    return answer._replace(propensities=answer.propensities.copy(), repeated=True)
