"""New decisions as rows of the store, each linked to the one before it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from largesse.serving.ledger.accounts import Account
from largesse.serving.ledger.audit import SEAL, decision_link, decision_links, private_digest
from largesse.serving.ledger.packing import Stored
from largesse.serving.ledger.preparing import TOKEN, NewColumns
from largesse.serving.ledger.rows import id_of, ids_of, place_of

__all__ = ["New", "record", "record_columns"]

_SIZE = TOKEN + SEAL


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
        identity, seal = id_of(place + i, random[first : first + TOKEN]), random[first + TOKEN : first + _SIZE]
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


def record_columns(account: Account, period: int, new: NewColumns, now: float) -> tuple[list[str], Stored]:
    """Counts decisions in an account, and returns their ids and their rows; they are what `record` makes of them."""
    campaign, price, number = account.terms.campaign, account.price, account.number
    n, name, due, place = len(new.units), campaign.name, now + campaign.matures, place_of(account.row.code, number)
    ids = ids_of(place, new.tokens, n)
    several = list(zip(new.treatments, new.kinds, new.versions, strict=True))
    ends = {one: "\0".join(("", name, *one)) for one in set(several)}
    names = [identity + ends[one] for identity, one in zip(ids, several, strict=True)]
    numbers = number, period, new.reservations, price, now, due
    links = decision_links(account.decided_link, new.privates, numbers, new.propensities, names)
    reserved = new.reservations.tolist()
    stored = Stored(
        place, ids, new.who, name, number, period, new.units, new.treatments, new.kinds, new.versions, price, reserved, now, due,
        new.propensities, new.menus, new.features, new.seals, links,
    )  # fmt: skip
    account.decide(Counter(zip(new.kinds, new.treatments, strict=True)), sum(reserved), 0, links[-1])
    return ids, stored
