"""Many decisions for SQLite in one statement: their columns as a few long values, cut into rows within the store.

The driver's own way for many rows holds Python's lock for each value and asks for it again for each row, so that threads that
compute hold up the transaction. This statement runs without that lock from its first row to its last.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from largesse.serving.draws import KINDS, ManyDraws
from largesse.serving.ledger.audit import SEAL
from largesse.serving.ledger.rows import INSERT, WHO, parts_of
from largesse.serving.ledger.sql import executed
from largesse.serving.ledger.tables import decisions

__all__ = ["Packed", "Stored", "insert", "packed_columns"]

_FEW, _MANY = 256, 100_000  # rows that are packed, at least and at most
_LONGEST, _TREATMENTS = 2**28, 500  # bytes of one value, and treatments, that all versions of SQLite take
_ID, _LINK, _MONEY, _END, _GROUP = 32, 32, 16, 10, 5  # bytes of an id, a link, an amount, a place in the texts, a group


class Packed(NamedTuple):
    """Columns of decisions, each as one value: rows of one width, or texts one after the other and where each begins.

    `groups` has the number of treatment and kind of each row, `ends` where its unit and its features end in `texts`.
    """

    who: bytes
    propensities: bytes
    menus: bytes
    seals: bytes
    reservations: bytes
    groups: bytes
    texts: bytes
    ends: bytes
    features: bool


def _digits(numbers: NDArray[np.int64], width: int) -> bytes:
    """Returns whole numbers >= 0 in decimal digits, all of one width."""
    powers = 10 ** np.arange(width - 1, -1, -1, dtype=np.int64)
    return (numbers[:, None] // powers % 10 + ord("0")).astype(np.uint8).tobytes()


def packed_columns(
    who: Sequence[bytes], units: Sequence[str], draws: ManyDraws, reservations: NDArray[np.int64], versions: Sequence[str],
    menus: Sequence[bytes], features: Sequence[str | None], seals: bytes,
) -> Packed | None:  # fmt: skip
    """Returns decisions as SQLite takes them; None where they are few, or of several kinds."""
    m, ordinary = draws.propensities.shape[1], len(set(versions)) == 1 and len(set(map(len, menus))) == 1
    if not (_FEW <= len(units) <= _MANY and m <= _TREATMENTS and ordinary):
        return None
    missing = sum(one is None for one in features)
    if missing not in (0, len(units)):
        return None
    texts = [one.encode() for pair in zip(units, features, strict=True) for one in pair if one is not None]
    ends = np.concatenate([[0], np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)))])
    if max(ends[-1], 16 * m * len(units)) > _LONGEST:
        return None
    groups = draws.codes.astype(np.int64) * len(KINDS) + draws.kinds
    return Packed(
        b"".join(who), np.ascontiguousarray(draws.propensities, "<f8").tobytes(), b"".join(menus), seals,
        _digits(reservations, _MONEY), _digits(groups, _GROUP), b"".join(texts), _digits(ends, _END), not missing,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Stored:
    """Rows of new decisions by columns; the columns of the store mean the same, and one value is that of every row."""

    place: int
    ids: list[str]
    who: Sequence[bytes]
    campaign: str
    number: int
    period: int
    units: Sequence[str]
    treatments: Sequence[str]
    kinds: Sequence[str]
    versions: Sequence[str]
    price: float
    reservations: list[int]
    now: float
    due: float
    propensities: NDArray[np.float64]
    menus: Sequence[bytes]
    features: Sequence[str | None]
    seals: bytes
    links: list[bytes]

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        """Iterates over the rows."""
        n = len(self.ids)
        given = parts_of(np.ascontiguousarray(self.propensities, "<f8").tobytes(), 8 * self.propensities.shape[1])
        return zip(  # columns and not rows: the driver takes one row after the other
            range(self.place, self.place + n), self.ids, self.who, repeat(self.campaign), range(self.number, self.number + n),
            repeat(self.period), self.units, self.treatments, self.kinds, self.versions, repeat(self.price), self.reservations,
            repeat(False), repeat(self.now), repeat(self.due), given, self.menus, self.features, parts_of(self.seals, SEAL),
            self.links, repeat("pending"), self.reservations, repeat(0), repeat(0.0),
        )  # fmt: skip


def insert(connection: sa.Connection, treatments: Sequence[str], stored: Stored, packed: Packed | None) -> None:
    """Inserts new decisions.

    Args:
        connection: The transaction that locked the campaign.
        treatments: Treatments of the campaign.
        stored: The rows.
        packed: The same as `packed_columns` gives them; None: they are not packed.
    """
    if packed is None or connection.dialect.name != "sqlite":
        INSERT.run_all(connection, stored)
        return
    n, m = len(stored.ids), len(treatments)
    values = (
        n, stored.place, "".join(stored.ids).encode(), packed.who, stored.campaign, stored.number, stored.period, packed.texts,
        packed.ends, packed.groups, stored.versions[0], stored.price, packed.reservations, stored.now, stored.due,
        packed.propensities, packed.menus, packed.seals, b"".join(stored.links), *treatments, *KINDS,
    )  # fmt: skip
    executed(connection, _statement(m, len(packed.menus) // n, packed.features), values)


_VALUES = (
    "n", "place", "ids", "who", "campaign", "number", "period", "texts", "ends", "groups", "version", "price", "reservations",
    "now", "due", "propensities", "menus", "seals", "links",
)  # fmt: skip


@lru_cache(maxsize=64)
def _statement(m: int, menu: int, features: bool) -> str:
    """Returns the statement for m treatments and menus of so many bytes.

    A value ?k is the k-th of `_VALUES`, then of the treatments, then of the kinds; i counts the rows from 0.
    """
    v = {name: f"?{k}" for k, name in enumerate(_VALUES, 1)}
    names, step = len(_VALUES) + 1, 2 if features else 1

    def text(name: str, width: int, row: str = "i") -> str:
        return f"cast(substr({v[name]}, ({row}) * {width} + 1, {width}) as text)"

    def whole(name: str, width: int, row: str = "i") -> str:
        return f"cast({text(name, width, row)} as integer)"

    def part(name: str, width: int) -> str:
        return f"substr({v[name]}, i * {width} + 1, {width})"

    def between(k: int) -> str:
        first, last = (whole("ends", _END, f"i * {step} + {j}") for j in (k, k + 1))
        return f"cast(substr({v['texts']}, {first} + 1, {last} - {first}) as text)"

    group, reserved = whole("groups", _GROUP), whole("reservations", _MONEY)
    treatment = " ".join(f"when {j} then ?{names + j}" for j in range(m))
    kind = " ".join(f"when {j} then ?{names + m + j}" for j in range(len(KINDS)))
    columns = {
        "place": f"{v['place']} + i", "id": text("ids", _ID), "who": part("who", WHO), "campaign": v["campaign"],
        "number": f"{v['number']} + i", "period": v["period"], "unit": between(0),
        "treatment": f"case {group} / {len(KINDS)} {treatment} end", "kind": f"case {group} % {len(KINDS)} {kind} end",
        "version": v["version"], "price": v["price"], "reservation": reserved, "limited": "0", "time": v["now"], "due": v["due"],
        "propensities": part("propensities", 8 * m), "menu": part("menus", menu),
        "features": between(1) if features else "null", "seal": part("seals", SEAL), "link": part("links", _LINK),
        "state": "'pending'", "reserved": reserved, "paid": "0", "gained": "0.0",
    }  # fmt: skip
    rows = f"with recursive counted(i) as (values (0) union all select i + 1 from counted where i + 1 < {v['n']})"
    return (
        f"{rows} insert or fail into {decisions.name} ({', '.join(columns)}) "
        f"select {', '.join(columns.values())} from counted"
    )
