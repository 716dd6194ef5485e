"""The price of a campaign: at which units like the recent ones reserve the money that is left for each unit still to come."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.exc import IntegrityError

from largesse.serving.exploring import tilt_at_cost, tilted
from largesse.serving.increments import best_treatments, cheapest, steepest
from largesse.serving.ledger.accounts import Terms, terms_of
from largesse.serving.ledger.maturing import Prospect, prospect
from largesse.serving.ledger.rows import menus_of, place_of
from largesse.serving.ledger.survival import LOWEST, PRESENT, Kept
from largesse.serving.ledger.tables import campaigns, decisions, leases

__all__ = ["Outlook", "Priced", "elected", "money_price", "names", "outlook", "price_at"]

Floats = NDArray[np.float64]
_WINDOW = 2_000  # recent units
_HALVINGS = 50  # of the interval that the price is in
_SPARE, _SPARED = 5, 0.05  # of the largest reservation, and at most this share of what is free
_FEWEST = 50  # below that many decisions the campaign keeps its first price


class Priced(NamedTuple):
    """The new price of a campaign.

    Attributes:
        price: Shadow price λ.
        kept: What becomes of reservations.
        expected: What is still expected to be paid, over what is reserved.
        tilt: Tilt of the exploration at which it costs what the policy costs; None where it is not tilted.
    """

    price: float
    kept: Kept
    expected: float
    tilt: float | None

    def columns(self) -> dict[str, float | None]:
        """Returns the columns of the campaign that change."""
        share = self.kept
        ratios = {"ratio": share.ratio, "ratio_low": share.low, "ratio_high": share.high}
        return {"price": self.price, "expected": self.expected, "tilt": self.tilt, **ratios}


class _Menus(NamedTuple):
    """Menus of n recent units; treatments that a unit may not get have infinite cost."""

    value: Floats  # (n, M)
    cost: Floats  # (n, M)
    reservation: Floats  # (n, M), in smallest units; 0 where not allowed
    propensities: Floats  # (n, M)
    price: Floats  # (n,), that of the decision
    limited: NDArray[np.bool_]  # (n,)


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


def _untilted(price: float) -> float | None:
    return None


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
        tilt: Returns the tilt of the exploration at a price; None where it is not tilted.
    """

    row: Any
    money: Prospect
    policy: float
    fixed: float
    base: float
    slopes: Floats
    extra: Floats
    largest: float
    tilt: Callable[[float], float | None] = _untilted

    def each(self, price: Floats) -> Floats:
        """Returns what a unit to come reserves at some prices."""
        more = np.concatenate([[0.0], np.cumsum(self.extra)])
        below = np.searchsorted(-self.slopes, -price, side="left")
        return np.asarray(self.fixed + self.policy * (self.base + more[below]))

    def kept(self, horizons: Floats, end: float) -> Callable[[float], Floats]:
        """Returns the function from the price of money to what the units to come keep paid or reserved at some times, (H,).

        Args:
            horizons: Times, in seconds from now, (H,).
            end: When the budget must have been used, in seconds from now.
        """
        units, at, last = self.money.arrivals(horizons, end)
        weights = units * at
        return lambda money: np.asarray((weights * self.each(money * last)).sum(axis=1))

    def now(self, money: float, end: float) -> float:
        """Returns the campaign's price at a price of money: times what is kept until the end of what is reserved now."""
        return money * float(self.money.share_at_end(np.array([end]))[0])

    def priced(self, price: float) -> Priced:
        """Returns what is written down with a price."""
        return Priced(price, self.money.next, self.money.expected(), self.tilt(price))


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
    # What the holdout reserves does not depend on the price, nor does exploration, unless it costs what the policy costs.
    fixed, neutral = campaign.holdout * float(menus.reservation[:, 0].mean()), campaign.exploration == "cost-neutral"
    if neutral:
        policy = 1 - campaign.holdout
    else:
        fixed += (1 - campaign.holdout) * campaign.explore * _explored(menus, terms)
    base, slopes, extra = _increments(menus.value, menus.cost, menus.reservation)
    money = prospect(connection, row, campaign, now)
    return Outlook(
        row, money, policy, fixed, base, slopes, extra, float(menus.reservation.max()),
        lambda price: _tilt(menus, terms, price) if neutral else None,
    )  # fmt: skip


def money_price(outlooks: Sequence[Outlook], others: Sequence[Prospect], left: float) -> tuple[float, float]:
    """Returns the price of money that is paid or reserved at the end, and when that is, in seconds from now.

    What a unit reserves now is in part free again at the end, and what a unit reserves at the end is not. So a reservation costs
    μ times what is kept of it until the end, with one μ for all units to come, of one campaign or of several that share their
    money: λ = μ K, K from what has become of reservations. μ is the smallest at which at no time more is paid or reserved than
    the budget: with c units that come until t, each of which reserves r(μ K) and has kept C of it then,

        sum of c r(μ K) C  <=  left + G(t),

    G(t): what today's reservations release until then; at 20 times until the end of each campaign, at some soon, and when its
    last decisions have matured: more than was reserved may be paid for them.

    Args:
        outlooks: The campaigns.
        others: Campaigns that are over, whose reservations come free.
        left: Money that is neither paid nor reserved, in smallest units.
    """
    end = max(one.money.course.time for one in outlooks)
    horizons = np.unique(np.concatenate([one.money.horizons() for one in outlooks]))
    every = (*(one.money for one in outlooks), *others)
    free = left + np.sum([one.released(horizons) for one in every], axis=0)
    # Before the end something is spared: between two prices some units would find nothing left.
    spare = min(_SPARE * sum(one.largest for one in outlooks), _SPARED * max(0.0, float(free.max())))
    free -= np.where(horizons < end, spare, 0.0)
    kept = [one.kept(horizons, end) for one in outlooks]

    def fits(money: float) -> bool:
        return bool((np.sum([of(money) for of in kept], axis=0) <= free + 1e-9 * np.maximum(1.0, np.abs(free))).all())

    highest = max(float(one.slopes[0]) if len(one.slopes) else 0.0 for one in outlooks)
    if not highest or fits(0.0):
        return 0.0, end
    low, high = 0.0, highest / LOWEST * (1 + 1e-9)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return high, end


def _recent(connection: sa.Connection, row: Any, terms: Terms) -> _Menus:
    d, last = decisions.c, place_of(row.code, row.decided)
    query = sa.select(d.menu, d.propensities, d.price, d.version, d.limited).where(
        d.place >= last - min(_WINDOW, row.decided), d.place < last, d.menu.is_not(None)
    )
    rows, m = connection.execute(query.order_by(d.place)).all(), len(terms.codes)
    present = {one.version for one in rows[-PRESENT:]}  # another version predicts other values and costs
    now = [one for one in rows if one.version in present]
    rows = now if len(now) >= _FEWEST else rows
    value, cost, allowed = menus_of([one.menu for one in rows], m)
    reservation = np.maximum(np.ceil(cost * terms.campaign.scale * (1 - 1e-15)), np.array(terms.worst, np.float64))
    given = np.frombuffer(b"".join([one.propensities for one in rows]), "<f8").reshape(len(rows), m)
    return _Menus(
        value, np.where(allowed, cost, np.inf), np.where(allowed, reservation, 0.0), given, np.array([one.price for one in rows]),
        np.array([bool(one.limited) for one in rows]),
    )  # fmt: skip


def _tilt(menus: _Menus, terms: Terms, price: float) -> float:
    """Returns the tilt at which exploration reserves what the policy reserves at a price."""
    at = best_treatments(menus.value, menus.cost, price)
    spent = float(menus.reservation[np.arange(len(at)), at].mean()) / terms.campaign.scale
    return tilt_at_cost(np.array(terms.draws.mix), menus.cost, spent, terms.campaign.mix_share)


def _explored(menus: _Menus, terms: Terms) -> float:
    """Returns the expected reservation of a unit when it explores by the mix, or by weights of its own."""
    draws, weights = terms.draws, tilted(np.array(terms.draws.mix), menus.cost, 0.0)
    if terms.campaign.exploration == "thompson":
        own = draws.explored(menus.propensities, best_treatments(menus.value, menus.cost, menus.price))
        weights = np.where(menus.limited[:, None], weights, own)
    return float((weights * menus.reservation).sum(axis=1).mean())


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
