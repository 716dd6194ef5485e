"""The price of a campaign: at which units like the recent ones reserve the money that is left for each unit still to come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.exc import IntegrityError

from largesse.serving.increments import cheapest, steepest
from largesse.serving.ledger.accounts import Terms, terms_of
from largesse.serving.ledger.maturing import Prospect, prospect
from largesse.serving.ledger.rows import menus_of, place_of
from largesse.serving.ledger.survival import Kept
from largesse.serving.ledger.tables import campaigns, decisions, leases

__all__ = ["Outlook", "Priced", "elected", "joint_price", "names", "outlook", "price_at"]

Floats = NDArray[np.float64]
_WINDOW = 2_000  # recent units
_FEWEST = 50  # below that many decisions the campaign keeps its first price


class Priced(NamedTuple):
    """The new price of a campaign.

    Attributes:
        price: Shadow price λ.
        kept: What becomes of reservations.
        expected: What is still expected to be paid, over what is reserved.
    """

    price: float
    kept: Kept
    expected: float

    def columns(self) -> dict[str, float]:
        """Returns the columns of the campaign that change."""
        share = self.kept
        ratios = {"ratio": share.ratio, "ratio_low": share.low, "ratio_high": share.high}
        return {"price": self.price, "expected": self.expected, **ratios}


class _Menus(NamedTuple):
    """Menus of n recent units; treatments that a unit may not get have infinite cost."""

    value: Floats  # (n, M)
    cost: Floats  # (n, M)
    reservation: Floats  # (n, M), in smallest units; 0 where not allowed


def elected(connection: sa.Connection, task: str, holder: str, now: float, hold: float) -> bool:
    """Returns whether a process does a task from now on: it has the lease, or nobody's lease is valid."""
    # A lease that ends later than any that begins now is from a clock that was set back since.
    free = sa.or_(leases.c.holder == holder, leases.c.until <= now, leases.c.until > now + hold)
    change = sa.update(leases).where(leases.c.name == task, free).values(holder=holder, until=now + hold)
    if connection.execute(change).rowcount:
        return True
    if connection.execute(sa.select(leases.c.name).where(leases.c.name == task)).first():
        return False
    try:
        with connection.begin_nested():
            connection.execute(leases.insert().values(name=task, holder=holder, until=now + hold))
    except IntegrityError:  # another process was first
        return False
    return True


class Outlook(NamedTuple):
    """What the units to come of a campaign reserve at each price; amounts in smallest units per unit, on average.

    Attributes:
        row: The campaign's row.
        money: What is to be expected of its money.
        policy: Share of the units that get the policy's treatment.
        fixed: What holdout and exploration reserve, whatever the price.
        base: What a unit of the policy reserves where the price is highest.
        slopes: Prices below which a unit takes its next treatment, from the highest, (K,).
        extra: What is reserved more for it, (K,).
        largest: The largest reservation of a unit.
    """

    row: Any
    money: Prospect
    policy: float
    fixed: float
    base: float
    slopes: Floats
    extra: Floats
    largest: float

    def each(self, price: float) -> float:
        """Returns what a unit to come reserves at a price."""
        return self.fixed + self.policy * (self.base + float(self.extra[self.slopes > price].sum()))

    def price(self) -> float:
        """Returns the smallest price that the campaign's own money allows."""
        each = max(0.0, self.money.per_unit() - self.fixed) / self.policy
        return _smallest(self.slopes, self.base + np.cumsum(self.extra), each)

    def priced(self, price: float) -> Priced:
        """Returns what is written down with a price."""
        return Priced(price, self.money.share, self.money.expected())


def outlook(connection: sa.Connection, row: Any, now: float) -> Outlook | None:
    """Returns what the units to come of a campaign reserve at each price; None where its price stays.

    It stays before 50 decisions, after the end, where no unit gets the policy's treatment, and where all menus are erased.
    """
    terms = terms_of(row.settings)
    campaign = terms.campaign
    policy = (1 - campaign.holdout) * (1 - campaign.explore)
    if row.decided < _FEWEST or now >= campaign.until or not policy:
        return None
    menus = _recent(connection, row, terms)
    if not len(menus.value):  # all are erased
        return None
    # What holdout and exploration reserve does not depend on the price: the policy gets the rest.
    fixed = campaign.holdout * menus.reservation[:, 0] + (1 - campaign.holdout) * campaign.explore * _explored(
        menus, terms
    )
    base, slopes, extra = _increments(menus.value, menus.cost, menus.reservation)
    money = prospect(connection, row, campaign, now)
    return Outlook(row, money, policy, float(fixed.mean()), base, slopes, extra, float(menus.reservation.max()))


def joint_price(outlooks: Sequence[Outlook], others: Sequence[Prospect], left: float) -> float:
    """Returns the smallest price at which several campaigns together reserve no more than the money that they share.

    As for one campaign (`Prospect.per_unit`): at every horizon of each, what their units to come keep until then is at most what
    is left and what comes free.

    Args:
        outlooks: The campaigns.
        others: Campaigns that are over, whose reservations come free.
        left: Money that is neither paid nor reserved, in smallest units.
    """
    horizons = np.unique(np.concatenate([one.money.horizons() for one in outlooks]))
    every = (*(one.money for one in outlooks), *others)
    free = left + np.sum([one.released(horizons) for one in every], axis=0)
    keep = [one.money.keep(horizons) for one in outlooks]
    base = np.sum([k * (one.fixed + one.policy * one.base) for k, one in zip(keep, outlooks, strict=True)], axis=0)
    slopes = np.concatenate([one.slopes for one in outlooks])
    order = np.argsort(-slopes, kind="stable")
    extra = np.concatenate([one.policy * one.extra for one in outlooks])[order]
    of = np.repeat(np.arange(len(outlooks)), [len(one.slopes) for one in outlooks])[order]
    several = np.array(keep)
    prices = [
        _smallest(slopes[order], start + np.cumsum(extra * several[of, j]), most)
        for j, (start, most) in enumerate(zip(base.tolist(), free.tolist(), strict=True))
    ]
    return max(prices)


def _recent(connection: sa.Connection, row: Any, terms: Terms) -> _Menus:
    d, last = decisions.c, place_of(row.code, row.decided)
    query = sa.select(d.menu).where(d.place >= last - min(_WINDOW, row.decided), d.place < last, d.menu.is_not(None))
    menus = connection.execute(query.order_by(d.place)).scalars().all()
    value, cost, allowed = menus_of(menus, len(terms.codes))
    reservation = np.maximum(np.ceil(cost * terms.campaign.scale * (1 - 1e-15)), np.array(terms.worst, np.float64))
    return _Menus(value, np.where(allowed, cost, np.inf), np.where(allowed, reservation, 0.0))


def _explored(menus: _Menus, terms: Terms) -> Floats:
    """Returns the expected reservation of each unit when it explores, (n,)."""
    weights = np.where(np.isfinite(menus.cost), np.array(terms.draws.mix), 0.0)
    return np.asarray((weights * menus.reservation).sum(axis=1) / weights.sum(axis=1))


def price_at(value: Floats, cost: Floats, reservation: Floats, per_unit: float) -> float:
    """Returns the smallest price at which units reserve at most so much each; at the price, units take the cheaper treatment.

    Args:
        value: Predicted value of each unit and treatment, (n, M).
        cost: Predicted cost, (n, M), >= 0; infinite where a treatment is not allowed.
        reservation: What each treatment reserves, (n, M).
        per_unit: What a unit may reserve, on average.

    >>> value, cost = np.array([[0.0, 3.0], [0.0, 2.0]]), np.array([[0.0, 1.0], [0.0, 1.0]])
    >>> price_at(value, cost, cost, 0.5), price_at(value, cost, cost, 1.0)
    (2.0, 0.0)
    """
    base, slopes, extra = _increments(value, cost, reservation)
    return _smallest(slopes, base + np.cumsum(extra), per_unit)


def _increments(value: Floats, cost: Floats, reservation: Floats) -> tuple[float, Floats, Floats]:
    """Returns what units reserve at least, and the slopes of their increments, from the steepest, with what each reserves more.

    Amounts are means over the units: each is divided by their number.
    """
    at = cheapest(value, cost)
    rows = np.arange(len(value))
    base = float(reservation[rows, at].mean())
    slopes, extra = [np.zeros(0)], [np.zeros(0)]
    for _ in range(value.shape[1] - 1):  # each unit's next increment along its hull
        slope, to = steepest(value, cost, at)
        going = slope > 0
        if not going.any():
            break
        slopes.append(slope[going])
        extra.append((reservation[rows, to] - reservation[rows, at])[going] / len(value))
        at = np.where(going, to, at)
    every = np.concatenate(slopes)
    order = np.argsort(-every, kind="stable")
    return base, every[order], np.concatenate(extra)[order]


def _smallest(slopes: Floats, reserved: Floats, most: float) -> float:
    """Returns the price at which so much is reserved at most; `reserved` has what is reserved just below each slope."""
    over = np.flatnonzero(reserved > most + 1e-9 * max(1.0, abs(most)))
    return float(slopes[over[0]]) if len(over) else 0.0


def names(connection: sa.Connection) -> Sequence[str]:
    """Returns the names of all campaigns."""
    return list(connection.execute(sa.select(campaigns.c.name).order_by(campaigns.c.name)).scalars())
