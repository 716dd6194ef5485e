"""A campaign as the ledger keeps it: its terms read from the store, and changes of its counters within a transaction."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from largesse.errors import StoreError
from largesse.serving.draws import Draws
from largesse.serving.ledger.tables import campaigns, tallies
from largesse.serving.ledger.terms import Campaign

__all__ = ["Account", "Terms", "settings_of", "terms_of"]

_COUNTERS = ("spent", "reserved", "beyond", "decided", "limited")
_c = campaigns.c
_CHANGE = (
    sa.update(campaigns)
    .where(_c.name == sa.bindparam("of"))
    .values({name: _c[name] + sa.bindparam(f"new_{name}", type_=sa.BigInteger) for name in _COUNTERS})
)
_CHANGE_WITHIN = _CHANGE.where(_c.spent + _c.reserved + sa.bindparam("new_reserved", type_=sa.BigInteger) <= _c.budget)
_TALLY = sa.text(  # both stores have this form of an upsert
    f"insert into {tallies.name} (campaign, kind, treatment, decisions, paid) "
    "values (:campaign, :kind, :treatment, :decisions, :paid) on conflict (campaign, kind, treatment) do update "
    f"set decisions = {tallies.name}.decisions + excluded.decisions, paid = {tallies.name}.paid + excluded.paid"
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


@dataclass(slots=True)
class Account:
    """A locked campaign, and the changes that a transaction makes to it.

    Attributes:
        row: The campaign's row.
        terms: Its terms.
        changes: Sum of the changes of each counter: spent, reserved, beyond, decided, limited.
        tallies: Changes of the counts and payments by (kind, treatment).
    """

    row: Any
    terms: Terms
    changes: Counter[str] = field(default_factory=Counter)
    tallies: dict[tuple[str, str], Counter[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, row: Any) -> Account:
        """Returns the account of a locked row without changes."""
        return cls(row, terms_of(row.settings))

    @property
    def left(self) -> int:
        """Money neither paid nor reserved, in smallest units."""
        changes = self.changes
        return int(self.row.budget - self.row.spent - self.row.reserved - changes["spent"] - changes["reserved"])

    def change(self, **amounts: int) -> None:
        """Adds to the counters."""
        for name, n in amounts.items():
            self.changes[name] += n

    def tally(self, kind: str, treatment: str, *, decisions: int = 0, paid: int = 0) -> None:
        """Adds to the counts of a kind and treatment."""
        counts = self.tallies.setdefault((kind, treatment), Counter())
        counts["decisions"] += decisions
        counts["paid"] += paid

    def write(self, connection: sa.Connection, *, within_budget: bool) -> None:
        """Writes the changes.

        Args:
            connection: The transaction that locked the row.
            within_budget: Change the row only if spent and reserved stay within the budget afterwards.

        Raises:
            StoreError: They would not; the transaction must be given up.
        """
        if any(self.changes.values()):
            change = _CHANGE_WITHIN if within_budget and self.changes["reserved"] > 0 else _CHANGE
            values = {f"new_{name}": self.changes[name] for name in _COUNTERS}
            if connection.execute(change, {"of": self.row.name, **values}).rowcount != 1:
                raise StoreError(
                    f"campaign {self.row.name!r}: its money changed under a lock; nothing was decided. Ask again."
                )
        if self.tallies:
            rows = [
                {"campaign": self.row.name, "kind": k, "treatment": t, "decisions": n["decisions"], "paid": n["paid"]}
                for (k, t), n in sorted(self.tallies.items())
            ]
            connection.execute(_TALLY, rows)
