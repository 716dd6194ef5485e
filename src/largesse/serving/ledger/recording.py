"""New decisions as rows of the store, each linked to the one before it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from largesse.serving.ledger.accounts import Account
from largesse.serving.ledger.audit import SEAL, decision_link, decision_links, private_digest, private_digests
from largesse.serving.ledger.rows import id_of, ids_of, parts_of, place_of

__all__ = ["New", "NewColumns", "record", "record_columns"]

_TOKEN = 8  # random bytes of an id
_SIZE = _TOKEN + SEAL


class New(NamedTuple):
    """A decision before it is stored; the columns of the store mean the same."""

    who: bytes
    unit: str
    code: int
    kind: str
    version: str
    reservation: int
    limited: bool
    propensities: bytes
    menu: bytes
    features: str | None


def record(account: Account, period: int, new: Iterable[New], now: float) -> list[tuple[Any, ...]]:
    """Counts decisions in an account, and returns their rows; the second entry of each is the id."""
    campaign, price = account.terms.campaign, account.price
    name, treatments, due = campaign.name, campaign.treatments, now + campaign.matures
    number, link, rows = account.number, account.decided_link, []
    several = list(new)
    random = os.urandom(_SIZE * len(several))
    place, end = place_of(account.row.code, number), f"\0{name}\0"
    for i, (who, unit, code, kind, version, reservation, limited, propensities, menu, features) in enumerate(several):
        first, treatment = _SIZE * i, treatments[code]
        identity, seal = id_of(place + i, random[first : first + _TOKEN]), random[first + _TOKEN : first + _SIZE]
        private = private_digest(seal, unit, menu, features)
        numbers = number + i, period, reservation, price, now, due, limited
        names = f"{identity}{end}{treatment}\0{kind}\0{version}"
        link = decision_link(link, private, numbers, propensities, names)
        rows.append((
            place + i, identity, who, name, number + i, period, unit, treatment, kind, version, price, reservation, limited, now,
            due, propensities, menu, features, seal, link, "pending", reservation, 0, 0.0,
        ))  # fmt: skip
    groups = Counter((one.kind, treatments[one.code]) for one in several)
    account.decide(groups, sum(one.reservation for one in several), sum(one.limited for one in several), link)
    return rows


class NewColumns(NamedTuple):
    """n decisions before they are stored, by columns, each as in `New`; the budget has limited none of them."""

    who: Sequence[bytes]
    units: Sequence[str]
    treatments: Sequence[str]
    kinds: Sequence[str]
    versions: Sequence[str]
    reservations: NDArray[np.int64]
    propensities: NDArray[np.float64]
    menus: Sequence[bytes]
    features: Sequence[str | None]


def record_columns(
    account: Account, period: int, new: NewColumns, now: float
) -> tuple[list[str], Iterable[tuple[Any, ...]]]:
    """Counts decisions in an account, and returns their ids and their rows; they are what `record` makes of them."""
    campaign, price, number = account.terms.campaign, account.price, account.number
    n, name, due, place = len(new.units), campaign.name, now + campaign.matures, place_of(account.row.code, number)
    random = os.urandom(_SIZE * n)
    tokens, seals = random[: _TOKEN * n], random[_TOKEN * n :]
    ids = ids_of(place, tokens, n)
    privates = private_digests(seals, new.units, new.menus, new.features)
    several = list(zip(new.treatments, new.kinds, new.versions, strict=True))
    ends = {one: "\0".join(("", name, *one)) for one in set(several)}
    names = [identity + ends[one] for identity, one in zip(ids, several, strict=True)]
    numbers = number, period, new.reservations, price, now, due
    links = decision_links(account.decided_link, privates, numbers, new.propensities, names)
    reserved = new.reservations.tolist()
    given = parts_of(np.ascontiguousarray(new.propensities, "<f8").tobytes(), 8 * new.propensities.shape[1])
    rows = zip(  # columns and not rows: the driver takes one row after the other
        range(place, place + n), ids, new.who, repeat(name), range(number, number + n), repeat(period), new.units,
        new.treatments, new.kinds, new.versions, repeat(price), reserved, repeat(False), repeat(now), repeat(due), given,
        new.menus, new.features, parts_of(seals, SEAL), links, repeat("pending"), reserved, repeat(0), repeat(0.0),
    )  # fmt: skip
    account.decide(Counter(zip(new.kinds, new.treatments, strict=True)), sum(reserved), 0, links[-1])
    return ids, rows
