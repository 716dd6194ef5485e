"""A campaign as the ledger keeps it: its terms read from the store, and changes of its counters within a transaction."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from largesse.errors import StoreError
from largesse.serving.draws import Draws
from largesse.serving.ledger.sql import Statement
from largesse.serving.ledger.tables import campaigns, tallies
from largesse.serving.ledger.terms import Campaign

__all__ = ["COUNTERS", "Account", "Terms", "settings_of", "terms_of"]

COUNTERS = ("spent", "reserved", "beyond", "decided", "limited", "reported")
_c = campaigns.c
_LINKS = ("decided_link", "reported_link")
_NAMES = [f"new_{name}" for name in (*COUNTERS, *_LINKS)] + ["of"]
_CHANGE = (
    sa.update(campaigns)
    .where(_c.name == sa.bindparam("of"))
    .values({name: _c[name] + sa.bindparam(f"new_{name}", type_=sa.BigInteger) for name in COUNTERS})
    .values({name: sa.bindparam(f"new_{name}") for name in _LINKS})
)
_WITHIN = _CHANGE.where(_c.spent + _c.reserved + sa.bindparam("more", type_=sa.BigInteger) <= _c.budget)
_CHANGED = Statement(_CHANGE, _NAMES)
_CHANGED_WITHIN = Statement(_WITHIN, [*_NAMES, "more"])
_TALLIES = Statement(
    sa.text(  # both stores have this form of an upsert
        f"insert into {tallies.name} (campaign, kind, treatment, decisions, paid) "
        "values (:campaign, :kind, :treatment, :decisions, :paid) on conflict (campaign, kind, treatment) do update "
        f"set decisions = {tallies.name}.decisions + excluded.decisions, paid = {tallies.name}.paid + excluded.paid"
    ),
    ["campaign", "kind", "treatment", "decisions", "paid"],
)


@dataclass(frozen=True, slots=True)
class Terms:
    """What decisions need of a campaign.

    Attributes:
        campaign: The campaign, with the budget and price that it began with.
        draws: How units are drawn.
        worst: The most that each treatment can cost, in smallest units; zeros without a hard guarantee.
        codes: Number of each treatment.
    """

    campaign: Campaign
    draws: Draws
    worst: tuple[int, ...]
    codes: dict[str, int]


def settings_of(campaign: Campaign) -> str:
    """Returns the settings of a campaign as JSON, all but budget and price, which change in columns of their own."""
    content = asdict(campaign)
    return json.dumps({k: v for k, v in content.items() if k not in ("budget", "price")}, sort_keys=True)


@lru_cache(maxsize=1024)
def terms_of(settings: str) -> Terms:
    """Returns the terms of stored settings."""
    content = json.loads(settings)
    campaign = Campaign(**(content | {"treatments": tuple(content["treatments"]), "budget": 0.0, "price": 0.0}))
    codes = {name: code for code, name in enumerate(campaign.treatments)}
    return Terms(campaign, campaign.drawn(), campaign.worst_amounts(), codes)


class Account:
    """A locked campaign, and the changes that a transaction makes to it.

    Attributes:
        row: The campaign's row.
        terms: Its terms.
        left: Money neither paid nor reserved, in smallest units.
        number: Number of the next decision.
        price: Shadow price λ.
        tilt: How exploration is tilted, see `largesse.serving.exploring.tilted`; 0: it is the mix.
        changes: Changes of the counters, in the order of `COUNTERS`.
        tallies: Changes of the number of decisions and of payments by (kind, treatment).
        decided_link: Link of the last decision.
        reported_link: Link of the last outcome.
    """

    __slots__ = (
        "changes",
        "decided_link",
        "left",
        "number",
        "price",
        "reported_link",
        "row",
        "tallies",
        "terms",
        "tilt",
    )

    def __init__(self, row: Any) -> None:
        self.row, self.terms = row, terms_of(row.settings)
        self.left: int = row.budget - row.spent - row.reserved
        self.number: int = row.decided
        self.price: float = row.price
        self.tilt: float = (row.tilt or 0.0) if self.terms.campaign.exploration == "cost-neutral" else 0.0
        self.changes = dict.fromkeys(COUNTERS, 0)
        self.tallies: dict[tuple[str, str], list[int]] = {}
        self.decided_link: bytes = row.decided_link
        self.reported_link: bytes = row.reported_link

    def decide(self, groups: Mapping[tuple[str, str], int], reservation: int, limited: int, link: bytes) -> None:
        """Counts new decisions by kind and treatment, reserves their money, and keeps the link of the last."""
        count, changes = sum(groups.values()), self.changes
        changes["reserved"] += reservation
        changes["decided"] += count
        changes["limited"] += limited
        self.left -= reservation
        self.number += count
        self.decided_link = link
        for group, n in groups.items():
            self.tallies.setdefault(group, [0, 0])[0] += n

    def pay(self, kind: str, treatment: str, cost: int, released: int, link: bytes) -> None:
        """Counts an outcome: what was paid, what it released, and its link."""
        changes = self.changes
        changes["spent"] += cost
        changes["beyond"] += max(0, cost - released)
        changes["reported"] += 1
        self.reported_link = link
        self.release(released)
        self.left -= cost
        self.tallies.setdefault((kind, treatment), [0, 0])[1] += cost

    def release(self, amount: int) -> None:
        """Gives back money that was reserved."""
        self.changes["reserved"] -= amount
        self.left += amount

    def write(self, connection: sa.Connection, *, within_budget: bool) -> None:
        """Writes the changes.

        Args:
            connection: The transaction that locked the row.
            within_budget: Change the row only if spent and reserved stay within the budget afterwards.

        Raises:
            StoreError: They would not; the transaction must be given up.
        """
        changes, name = self.changes, self.row.name
        if any(changes.values()):
            values = (*changes.values(), self.decided_link, self.reported_link, name)
            if within_budget and changes["reserved"] > 0:
                done = _CHANGED_WITHIN.run(connection, (*values, changes["reserved"]))
            else:
                done = _CHANGED.run(connection, values)
            if done.rowcount != 1:
                raise StoreError(f"campaign {name!r}: its money changed under a lock; nothing was decided. Ask again.")
        _TALLIES.run_all(connection, [(name, *key, *counts) for key, counts in sorted(self.tallies.items())])
