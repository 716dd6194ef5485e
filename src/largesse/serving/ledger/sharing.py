"""Several campaigns that share one budget: how it is set and changed, and how `reprice` moves the money between them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import sqlalchemy as sa

from largesse import _check
from largesse.serving.ledger.accounts import terms_of
from largesse.serving.ledger.money import amount
from largesse.serving.ledger.pricing import Outlook
from largesse.serving.ledger.starting import change, start
from largesse.serving.ledger.store import locked
from largesse.serving.ledger.tables import budgets, campaigns, journal, shares
from largesse.serving.ledger.terms import Campaign

__all__ = ["Shared", "divide", "share", "shared_budgets"]

JOINT = "joint budget"
"""The field of the journal's lines about a budget that campaigns share."""
_SOON = 600.0  # seconds whose reservations every campaign has money for, twice, if there is enough
_SEVERAL = 10  # of the largest reservation, likewise


class Shared(NamedTuple):
    """A budget that campaigns share.

    Attributes:
        name: Its name.
        budget: Money, in smallest units.
        campaigns: Names of the campaigns.
    """

    name: str
    budget: int
    campaigns: tuple[str, ...]


def shared_budgets(connection: sa.Connection, name: str | None = None) -> list[Shared]:
    """Returns all budgets that campaigns share, or the one of a name."""
    query = sa.select(budgets.c.name, budgets.c.budget, shares.c.campaign).join(
        shares, shares.c.budget == budgets.c.name
    )
    if name is not None:
        query = query.where(budgets.c.name == name)
    out: dict[str, Shared] = {}
    for of, money, campaign in connection.execute(query.order_by(budgets.c.name, shares.c.campaign)).all():
        so_far = out.get(of, Shared(of, money, ()))
        out[of] = so_far._replace(campaigns=(*so_far.campaigns, campaign))
    return list(out.values())


def share(connection: sa.Connection, name: str, budget: int, several: Sequence[Campaign], now: float) -> None:
    """Starts campaigns on one budget, or changes them and the budget.

    Raises:
        DataError: See `Ledger.share`.
    """
    old = next(iter(shared_budgets(connection, name)), Shared(name, budget, ()))
    given = {one.name: one for one in several}
    rows = locked(connection, {*given, *old.campaigns})
    old = next(iter(shared_budgets(connection, name)), old)  # under the lock
    _check_campaigns(connection, old, given, several, rows, now)
    scale = several[0].scale
    out = sum(rows[one].spent + rows[one].reserved for one in old.campaigns)
    if budget < min(old.budget, out):
        low = _check.written(amount(out, scale), 16)
        rule = f"must be >= {low}, which its campaigns have spent or reserved"
        raise _check.refuse("budget", amount(budget, scale), rule, "Give a larger one.")
    for one in several:
        if one.name in rows:
            change(connection, rows[one.name], one, rows[one.name].budget, now)
        else:
            start(connection, one, 0, now)
            connection.execute(shares.insert().values(campaign=one.name, budget=name))
    if not old.campaigns:
        connection.execute(budgets.insert().values(name=name, budget=budget))
    elif budget != old.budget:
        connection.execute(sa.update(budgets).where(budgets.c.name == name).values(budget=budget))
        before, after = ({"name": name, "budget": amount(of, scale)} for of in (old.budget, budget))
        for member in old.campaigns:
            line = {
                "campaign": member,
                "time": now,
                "field": JOINT,
                "before": json.dumps(before),
                "after": json.dumps(after),
            }
            connection.execute(journal.insert().values(**line))
    fresh = [one for one in several if one.name not in rows]
    if fresh or budget != old.budget:
        every = locked(connection, {*given, *old.campaigns})
        _write(connection, every, _parts(every, budget, _weights(every, several, fresh, now)))


def _check_campaigns(
    connection: sa.Connection, old: Shared, given: Mapping[str, Campaign], several: Sequence[Campaign], rows: Mapping[str, Any],
    now: float,
) -> None:  # fmt: skip
    if len(given) < max(1, len(several)):
        names = [one.name for one in several]
        raise _check.refuse("campaigns", names, "must be one or more different ones", "Name each once.")
    scales = {one.scale for one in several} | {terms_of(rows[one].settings).campaign.scale for one in old.campaigns}
    if len(scales) > 1:
        rule = "must be the same for all campaigns that share a budget"
        raise _check.refuse("scale", sorted(scales), rule, "Give all the same.")
    of = {row.campaign: row.budget for row in connection.execute(sa.select(shares)).all()}
    for one in given:
        if one in rows and one not in old.campaigns:
            other = f"shares the budget {of[one]!r}" if one in of else "was started with a budget of its own"
            remedy = "A campaign joins a budget when it starts: start one with another name."
            raise _check.refuse("campaigns", one, other, remedy)
    for one in old.campaigns:
        if one not in given and now < terms_of(rows[one].settings).campaign.until:
            rule = f"must have {one!r}, which shares the budget {old.name!r} until its end"
            remedy = "Name it too; to end it, give it an earlier `until`."
            raise _check.refuse("campaigns", sorted(given), rule, remedy)


def _weights(
    rows: Mapping[str, Any], several: Sequence[Campaign], fresh: Sequence[Campaign], now: float
) -> dict[str, float]:
    """Returns in which proportion the campaigns get what is left: new ones by the budgets given, the others as before."""
    given = {one.name: max(one.budget, 0.0) for one in several if now < one.until}
    total = sum(given.values())
    if not total:
        given, total = dict.fromkeys(given, 1.0), float(len(given))
    new = {one.name for one in fresh}
    left = {
        name: float(max(0, rows[name].budget - rows[name].spent - rows[name].reserved))
        for name in given
        if name not in new
    }
    if not sum(left.values()):
        return given
    rest = sum(given[name] for name in left) / total / sum(left.values())
    return {name: left[name] * rest if name in left else given[name] / total for name in given}


def divide(
    connection: sa.Connection, name: str, outlooks: Mapping[str, Outlook], money: float, end: float, now: float
) -> dict[str, float]:  # fmt: skip
    """Moves the money of a shared budget to where the units to come need it at a price of money; returns the campaigns' prices.

    Every campaign keeps what it has spent and reserved. Of the rest each gets first what it soon needs, then in proportion to
    what its units to come need until its end beyond what its own reservations release. Campaigns that are over get no more, and
    those of which too little is known keep what they have left.

    Args:
        connection: The transaction.
        name: Name of the budget.
        outlooks: What the units to come of the campaigns reserve.
        money: Price of money that is paid or reserved at the end.
        end: When that is, in seconds from now.
        now: The time.

    Returns:
        The new price of each campaign that has one; none if too little is known of all, or one has joined meanwhile.
    """
    of = next(iter(shared_budgets(connection, name)), None)
    rows = {} if of is None else locked(connection, of.campaigns)
    of = next(iter(shared_budgets(connection, name)), None)
    if of is None or set(rows) != set(of.campaigns):  # one has joined meanwhile
        return {}
    running = [one for one in rows if now < terms_of(rows[one].settings).campaign.until]
    known = [one for one in running if one in outlooks]
    if not known:
        return {}
    left = of.budget - sum(row.spent + row.reserved for row in rows.values())
    weights = {
        one: float(max(0, rows[one].budget - rows[one].spent - rows[one].reserved))
        for one in running
        if one not in known
    }
    rest = max(0.0, left - sum(weights.values()))
    prices = {one: outlooks[one].now(money, end) for one in known}
    soon = {one: _soon(outlooks[one], prices[one]) for one in known}
    first = min(1.0, rest / (2 * max(sum(soon.values()), 1e-9)))
    needs = {one: _need(outlooks[one], money, end) for one in known}
    if not (total := sum(needs.values())):
        needs, total = dict.fromkeys(known, 1.0), float(len(known))
    more = rest - first * sum(soon.values())
    weights |= {one: first * soon[one] + more * needs[one] / total for one in known}
    _write(connection, rows, _parts(rows, of.budget, weights))
    for one in running:
        values = outlooks[one].priced(prices[one]).columns() if one in outlooks else {"price": money}
        connection.execute(sa.update(campaigns).where(campaigns.c.name == one).values(values))
    return prices


def _soon(of: Outlook, price: float) -> float:
    """Returns what the units of the next minutes reserve, twice, and several of the largest reservation."""
    units = float(of.money.course.come(np.array([_SOON]))[0])
    return 2 * units * float(of.each(np.array([price]))[0]) + _SEVERAL * of.largest


def _need(of: Outlook, money: float, end: float) -> float:
    """Returns what the units to come of a campaign need until its end, beyond what its own reservations release."""
    horizons = of.money.horizons()
    return max(0.0, float((of.kept(horizons, end)(money) - of.money.released(horizons)).max()))


def _parts(rows: Mapping[str, Any], budget: int, weights: Mapping[str, float]) -> dict[str, int]:
    """Returns the budget of each campaign: what it has spent and reserved, and its part of what is left; they add up."""
    out = {name: row.spent + row.reserved for name, row in rows.items()}
    left = budget - sum(out.values())
    if left < 0:  # more was paid than was reserved, so nobody has anything left
        return _divided(budget, {name: float(of) for name, of in out.items()})
    parts = _divided(left, weights if weights else dict.fromkeys(rows, 1.0))
    return {name: out[name] + parts.get(name, 0) for name in rows}


def _divided(total: int, weights: Mapping[str, float]) -> dict[str, int]:
    """Returns whole parts of a sum in proportion to weights >= 0; the largest gets what rounding leaves."""
    of = sum(weights.values())
    parts = {name: int(total * weight / of) if of else total // len(weights) for name, weight in weights.items()}
    parts[max(weights, key=lambda name: weights[name])] += total - sum(parts.values())
    return parts


def _write(connection: sa.Connection, rows: Mapping[str, Any], parts: Mapping[str, int]) -> None:
    for name, part in sorted(parts.items()):
        if part != rows[name].budget:
            connection.execute(sa.update(campaigns).where(campaigns.c.name == name).values(budget=part))
