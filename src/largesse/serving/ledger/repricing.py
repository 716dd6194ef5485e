"""The new prices of all campaigns: of each with a budget of its own, and the joint price of those that share one."""

from __future__ import annotations

from typing import Any, NamedTuple

import sqlalchemy as sa

from largesse.serving.ledger.accounts import terms_of
from largesse.serving.ledger.maturing import Prospect, prospect
from largesse.serving.ledger.pricing import Outlook, Priced, money_price, outlook
from largesse.serving.ledger.sharing import Shared, shared_budgets
from largesse.serving.ledger.tables import campaigns

__all__ = ["Joint", "Plan", "planned"]


class Joint(NamedTuple):
    """The price of campaigns that share a budget.

    Attributes:
        money: Price of money that is paid or reserved at the end.
        end: When that is, in seconds from now.
        outlooks: What the units to come of each reserve, without campaigns that are over or of which too little is known.
    """

    money: float
    end: float
    outlooks: dict[str, Outlook]


class Plan(NamedTuple):
    """New prices.

    Attributes:
        own: Of campaigns with a budget of their own, by name.
        joint: Of budgets that campaigns share, by name.
    """

    own: dict[str, Priced]
    joint: dict[str, Joint]


def planned(connection: sa.Connection, now: float) -> Plan:
    """Returns the new prices of all campaigns; those that keep their price are not in it."""
    rows = {row.name: row for row in connection.execute(sa.select(campaigns).order_by(campaigns.c.name)).all()}
    outlooks = {name: one for name, row in rows.items() if (one := outlook(connection, row, now)) is not None}
    shared = shared_budgets(connection)
    members = {name for of in shared for name in of.campaigns}
    own = {name: _own(one) for name, one in outlooks.items() if name not in members}
    joint = {of.name: got for of in shared if (got := _joint(connection, of, rows, outlooks, now)) is not None}
    return Plan(own, joint)


def _own(one: Outlook) -> Priced:
    row = one.row
    return one.priced(one.now(*money_price([one], [], row.budget - row.spent - row.reserved)))


def _joint(
    connection: sa.Connection, of: Shared, rows: dict[str, Any], outlooks: dict[str, Outlook], now: float
) -> Joint | None:
    known = {name: outlooks[name] for name in of.campaigns if name in outlooks}
    if not known:
        return None
    left, over = of.budget, list[Prospect]()
    for name in of.campaigns:
        row, campaign = rows[name], terms_of(rows[name].settings).campaign
        left -= row.spent + row.reserved
        if now >= campaign.until:
            over += [prospect(connection, row, campaign, now)] if row.reserved else []
        elif name not in known:  # what it has stays with it
            left -= max(0, row.budget - row.spent - row.reserved)
    return Joint(*money_price(list(known.values()), over, left), known)
