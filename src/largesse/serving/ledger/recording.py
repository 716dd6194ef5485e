"""New decisions as rows of the store, each linked to the one before it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from largesse.serving.ledger.accounts import Account
from largesse.serving.ledger.audit import SEAL, decision_link, private_digest
from largesse.serving.ledger.rows import id_of, place_of

__all__ = ["New", "record"]

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
