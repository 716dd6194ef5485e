"""Campaigns begin and change, and say what they have spent: what `Ledger.start` and `Ledger.status` do in a transaction."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import sqlalchemy as sa

from largesse import _check
from largesse.roles import nearest
from largesse.serving.ledger.accounts import COUNTERS, settings_of, terms_of
from largesse.serving.ledger.audit import FIRST
from largesse.serving.ledger.money import amount
from largesse.serving.ledger.pricing import names
from largesse.serving.ledger.store import locked
from largesse.serving.ledger.survival import HIGHEST, LOWEST
from largesse.serving.ledger.tables import budgets, campaigns, journal, shares, tallies
from largesse.serving.ledger.terms import Campaign, Status

__all__ = ["change", "start", "status_of"]

_FIXED = ("treatments", "salt", "holdout", "guarantee", "period", "scale")


def start(connection: sa.Connection, campaign: Campaign, budget: int | None, now: float) -> None:
    """Starts a campaign, or changes one that was started.

    Args:
        connection: The transaction.
        campaign: The campaign.
        budget: Its budget, in smallest units; None: a started campaign keeps the one that it has.
        now: The time.

    Raises:
        DataError: A lower budget is below what is spent and reserved, it is shared, or a field differs that cannot change.
    """
    row = locked(connection, [campaign.name]).get(campaign.name)
    if row is not None:
        of = connection.execute(sa.select(shares.c.budget).where(shares.c.campaign == campaign.name)).scalar()
        if of is not None and budget is not None:
            rule = f"the campaign {campaign.name!r} shares the budget {of!r}"
            raise _check.refuse("budget", campaign.budget, rule, "Change that one (Ledger.share, [budgets]).")
        change(connection, row, campaign, row.budget if budget is None else budget, now)
        return
    if budget is None:
        raise _check.refuse("campaign", campaign.name, "is not in this ledger", "Start it with a budget.")
    values = {"settings": settings_of(campaign), "budget": budget, "price": campaign.price, "started": now}
    code = connection.execute(sa.select(sa.func.coalesce(sa.func.max(campaigns.c.code), 0) + 1)).scalar_one()
    empty = dict.fromkeys(COUNTERS, 0) | {"decided_link": FIRST, "reported_link": FIRST}
    connection.execute(campaigns.insert().values(name=campaign.name, code=code, **values, **empty))


def change(connection: sa.Connection, row: Any, campaign: Campaign, budget: int, now: float) -> None:
    """Changes a started campaign, and writes a line of the journal for each field.

    Raises:
        DataError: A lower budget is below what is spent and reserved, or a field differs that cannot change.
    """
    old = terms_of(row.settings).campaign
    for name in _FIXED:
        if getattr(old, name) != getattr(campaign, name):
            rule = f"is {getattr(old, name)!r} in the started campaign and cannot change"
            raise _check.refuse(name, getattr(campaign, name), rule, "Start a campaign with another name.")
    if budget < min(row.budget, row.spent + row.reserved):  # outcomes may have cost more than the budget that stays
        low = _check.written(amount(row.spent + row.reserved, campaign.scale), 16)
        raise _check.refuse(
            "budget", campaign.budget, f"must be >= {low}, which is spent or reserved", "Give a larger one."
        )
    names = [f.name for f in fields(Campaign) if f.name not in (*_FIXED, "name", "price", "budget")]
    changes = [(n, getattr(old, n), getattr(campaign, n)) for n in names if getattr(old, n) != getattr(campaign, n)]
    if budget != row.budget:
        changes.append(("budget", amount(row.budget, campaign.scale), amount(budget, campaign.scale)))
    for name, before, after in changes:
        line = {
            "campaign": row.name,
            "time": now,
            "field": name,
            "before": json.dumps(before),
            "after": json.dumps(after),
        }
        connection.execute(journal.insert().values(**line))
    if changes:
        change = sa.update(campaigns).where(campaigns.c.name == row.name)
        connection.execute(change.values(settings=settings_of(campaign), budget=budget))


def status_of(connection: sa.Connection, name: str) -> Status:
    """Returns the money and the counts of a campaign.

    Raises:
        DataError: It is not in the ledger.
    """
    # One statement for money and counts: PostgreSQL's statements each see a moment of their own.
    joint = shares.c.budget.label("budget_of"), budgets.c.budget.label("joint_budget")
    query = sa.select(campaigns, tallies.c.kind, tallies.c.treatment, tallies.c.decisions, *joint).select_from(
        campaigns.outerjoin(tallies, tallies.c.campaign == campaigns.c.name)
        .outerjoin(shares, shares.c.campaign == campaigns.c.name)
        .outerjoin(budgets, budgets.c.name == shares.c.budget)
    )
    rows = connection.execute(query.where(campaigns.c.name == name).order_by(tallies.c.kind, tallies.c.treatment)).all()
    if not rows:
        hint = nearest(name, list(names(connection)))
        raise _check.refuse("campaign", name, "is not in this ledger", f"{hint}Start it first.")
    row, counts = rows[0], dict[str, dict[str, int]]()
    for one in rows:
        if one.kind is not None:
            counts.setdefault(one.kind, {})[one.treatment] = one.decisions
    campaign = terms_of(row.settings).campaign
    still = round(row.reserved * (1.0 if row.expected is None else row.expected))
    budget, spent, reserved, left, beyond, expected = (
        amount(n, campaign.scale)
        for n in (row.budget, row.spent, row.reserved, max(0, row.budget - row.spent - row.reserved), row.beyond, still)
    )
    ratio, low, high = (1.0, 1.0, 1.0) if row.ratio is None else (row.ratio, row.ratio_low, row.ratio_high)
    return Status(
        name, budget, spent, reserved, left, beyond, row.price, campaign.until, row.decided, row.limited, counts, ratio, low,
        high, not LOWEST <= ratio <= HIGHEST, expected, row.budget_of,
        None if row.joint_budget is None else amount(row.joint_budget, campaign.scale),
    )  # fmt: skip
