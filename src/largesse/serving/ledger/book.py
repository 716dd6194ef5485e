"""`Ledger`: starts campaigns, decides, takes outcomes, expires reservations and renews prices, each in one transaction."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np
import sqlalchemy as sa
from numpy.typing import ArrayLike

from largesse import _check
from largesse._arguments import checked
from largesse.errors import DataError
from largesse.serving.ledger import pricing
from largesse.serving.ledger.accounts import terms_of
from largesse.serving.ledger.deciding import Many, decide, decide_many
from largesse.serving.ledger.erasing import erase
from largesse.serving.ledger.money import rounded_down
from largesse.serving.ledger.reporting import expire, record_outcomes
from largesse.serving.ledger.repricing import planned
from largesse.serving.ledger.sharing import divide, share
from largesse.serving.ledger.starting import start, status_of
from largesse.serving.ledger.store import forget, open_store, reading, writing
from largesse.serving.ledger.tables import campaigns
from largesse.serving.ledger.terms import (
    Answer,
    Answers,
    Ask,
    Campaign,
    Outcome,
    Receipt,
    Status,
    Verification,
    Written,
    WrittenColumn,
    text,
)
from largesse.serving.ledger.verifying import verify

__all__ = ["Ledger"]


class Ledger:
    """The decisions and the money of campaigns, in a file of SQLite or in PostgreSQL.

    Any number of processes and threads may use one store. Every method is one transaction (`expire`: several), committed durably
    before it returns: what it returned survives a crash, and what it did not return is stored completely or not at all.
    A decision never raises what is spent and reserved above the budget.

    Args:
        engine: An open store; `Ledger.open` makes it.
        clock: Returns the time in seconds since 1970 (UTC).

    >>> import tempfile
    >>> place = tempfile.TemporaryDirectory()
    >>> ledger = Ledger.open(f"sqlite:///{place.name}/spring.db", clock=lambda: 1000.0)
    >>> status = ledger.start(Campaign(
    ...     name="spring", treatments=("none", "coupon"), budget=5.0, until=2000.0, price=0.5, holdout=0, explore=0))
    >>> answers = ledger.decide([Ask("spring", unit, value=[0, 2], cost=[0, 2]) for unit in ("u1", "u2", "u3", "u1")])
    >>> [(a.unit, a.treatment, a.limited, a.repeated) for a in answers]
    [('u1', 'coupon', False, False), ('u2', 'coupon', False, False), ('u3', 'none', True, False), ('u1', 'coupon', False, True)]
    >>> ledger.outcomes([Outcome(answers[0].id, "order 17", cost=1.5, value=1)])[0].state
    'posted'
    >>> status = ledger.status("spring")
    >>> status.spent, status.reserved, status.left
    (1.5, 2.0, 1.5)
    >>> ledger.close(); place.cleanup()
    """

    def __init__(self, engine: sa.Engine, clock: Callable[[], float]) -> None:
        self.engine = engine
        self.clock = clock

    @classmethod
    @checked
    def open(cls, url: str, *, clock: Callable[[], float] = time.time, create: bool = True) -> Self:
        """Opens a store, and creates it or brings it to this version if necessary.

        Args:
            url: ``sqlite:///FILE``, or ``postgresql://USER@HOST/DATABASE`` (needs the extra `postgres`).
            clock: Returns the time in seconds since 1970 (UTC).
            create: Whether a file that is not there is made; else it is refused.

        Raises:
            StoreError: The store cannot be opened, or a newer version made it.
            MissingDependency: A package for it is not installed.
        """
        return cls(open_store(url, create=create), clock)

    def close(self) -> None:
        """Closes the connections; the ledger is not used afterwards."""
        self.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @checked
    def start(self, campaign: Campaign, *, keep_budget: bool = False) -> Status:
        """Starts a campaign, or changes one that was started; repeating it changes nothing.

        Budget, end, exploration and its mix, the most that treatments can cost, the time until reservations expire, and the
        expected units may change; each change is a line of the journal. The price given counts at the first start only.

        Args:
            campaign: The campaign.
            keep_budget: Whether a started campaign keeps the budget that it has, whatever the one given.

        Raises:
            DataError: A lower budget is below what is spent and reserved, the budget is shared, or another field differs.
            StoreError: The store failed.
        """
        now = self.clock()
        budget = None if keep_budget else rounded_down("budget", campaign.budget, campaign.scale)
        with writing(self.engine) as connection:
            start(connection, campaign, budget, now)
            return status_of(connection, campaign.name)

    @checked
    def share(self, name: str, budget: float, campaigns: Sequence[Campaign]) -> list[Status]:
        """Starts several campaigns on one budget, or changes them and the budget; repeating it changes nothing.

        The budgets of the campaigns always add up to the joint one: no decision of any of them raises what all have spent and
        reserved above it. `reprice` gives money one price, so their values must be in one unit, and moves what is left to where
        it is needed. `Campaign.budget` says in which proportion the money is divided at first, and what one gets that joins.
        A campaign joins when it starts, and shares the budget until its end; what it leaves then goes to the others.

        Args:
            name: Name of the joint budget.
            budget: Money that all may spend and reserve together; a changed one is a line of the journal of each campaign.
            campaigns: All campaigns that share it; those that are over may be left out.

        Returns:
            The status of each.

        Raises:
            DataError: A lower budget is below what is spent and reserved, a running campaign is left out, one was started with
                another budget, they have different scales, or a field differs that cannot change.
            StoreError: The store failed.

        >>> import tempfile
        >>> place = tempfile.TemporaryDirectory()
        >>> ledger = Ledger.open(f"sqlite:///{place.name}/a.db", clock=lambda: 1000.0)
        >>> one, other = (Campaign(name=name, treatments=("none", "coupon"), budget=part, until=2000.0, price=0.5)
        ...     for name, part in (("app", 2.0), ("mail", 1.0)))
        >>> [(status.campaign, status.budget, status.joint_budget) for status in ledger.share("growth", 300.0, [one, other])]
        [('app', 200.0, 300.0), ('mail', 100.0, 300.0)]
        >>> ledger.close(); place.cleanup()
        """
        _check.number("budget", budget, low=0)
        if not campaigns:
            raise _check.refuse("campaigns", [], "must be one or more", "Name the campaigns that share the budget.")
        now, total = self.clock(), rounded_down("budget", budget, campaigns[0].scale)
        with writing(self.engine) as connection:
            share(connection, text("name", name), total, campaigns, now)
            return [status_of(connection, one.name) for one in campaigns]

    @checked
    def decide(self, asks: Sequence[Ask]) -> list[Answer | DataError]:
        """Decides many asks in one transaction; more asks at once cost little more than one.

        A unit that has a decision in the campaign and period gets it again, counted once. An ask with a known key gets the stored
        answer if it is the same ask. Both hold also after the end of the campaign.

        Returns:
            For each ask, in their order, its answer, or why it has none: an error does not affect the other asks.

        Raises:
            StoreError: The store failed; repeat the asks.
        """
        if not asks:
            return []
        with writing(self.engine) as connection:
            return decide(connection, asks, self.clock())

    @checked
    def decide_many(
        self, campaign: str, units: Sequence[Any], value: ArrayLike, cost: ArrayLike, *, allowed: ArrayLike | None = None,
        keys: Sequence[str | None] | None = None, version: str = "",
        features: WrittenColumn | Sequence[Mapping[str, Any] | Written | None] | None = None,
        bodies: Sequence[str] | None = None, weights: ArrayLike | None = None,
    ) -> Answers:  # fmt: skip
        """Decides many units of one campaign in one transaction, as `decide` does, from columns: the fastest way.

        Args:
            campaign: Name of the campaign.
            units: Ids of n units.
            value: Predicted value of each treatment, (n, M), finite.
            cost: Predicted cost of each treatment, (n, M), >= 0.
            allowed: Which treatments each unit may get, (n, M), control among them; None: all.
            keys: The caller's name of each ask, None where the unit is the key; None: everywhere.
            version: Version of the policy that predicted the menus.
            features: What the policy read of each unit, stored with the decision; None: nothing is stored.
            bodies: What each key stands for, as `Ask.body`; None: unit, allowed treatments and features.
            weights: Weights of the treatments when each unit explores, (n, M), as `Ask.weights`; None: the mix.

        Returns:
            The answers by columns; an ask that is refused is in `errors`, and does not affect the others.

        Raises:
            DataError: The campaign is not in the ledger, or the columns are not of one length.
            StoreError: The store failed; repeat the asks.

        >>> import tempfile
        >>> place = tempfile.TemporaryDirectory()
        >>> ledger = Ledger.open(f"sqlite:///{place.name}/spring.db", clock=lambda: 1000.0)
        >>> status = ledger.start(Campaign(
        ...     name="spring", treatments=("none", "coupon"), budget=5.0, until=2000.0, price=0.5, holdout=0, explore=0))
        >>> ledger.decide_many("spring", ["u1", "u2"], value=[[0, 2], [0, 2]], cost=[[0, 2], [0, 5]]).treatment
        ['coupon', 'none']
        >>> ledger.close(); place.cleanup()
        """
        menus = [_check.array(name, got, ndim=2, dtype=np.float64) for name, got in (("value", value), ("cost", cost))]
        mask = None if allowed is None else _check.array("allowed", allowed, ndim=2, dtype=np.bool_)
        own = None if weights is None else _check.array("weights", weights, ndim=2, dtype=np.float64)
        n = len(units)
        for name, got in (
            ("value", menus[0]),
            ("cost", menus[1]),
            ("allowed", mask),
            ("weights", own),
            ("keys", keys),
            ("features", features),
            ("bodies", bodies),
        ):
            if got is not None and len(got) != n:
                rule = f"must be {n}, the number of units"
                raise _check.refuse(f"len({name})", len(got), rule, "Give one entry for each unit.")
        for name, rows in (("value", menus[0]), ("cost", menus[1]), ("allowed", mask), ("weights", own)):
            if rows is not None and rows.shape[1] != menus[0].shape[1]:
                rule = f"must be {menus[0].shape[1]}, as of value"
                raise _check.refuse(f"{name}.shape[1]", rows.shape[1], rule, "Give a column for each treatment.")
        many = Many(units, menus[0], menus[1], mask, keys, version, features, bodies, own)
        return decide_many(self.engine, campaign, many, self.clock)

    @checked
    def outcomes(self, given: Sequence[Outcome]) -> list[Receipt | DataError]:
        """Counts what decisions brought and cost, in one transaction.

        Outcomes may come in parts, in any order, after their reservation has expired, and as refunds. What was paid counts even
        if it is more than was reserved: `Status.beyond` is the sum of these differences.

        Returns:
            For each outcome, in their order, the state of its decision, or why it is refused: the decision is not in the ledger,
            or the key was given with another outcome.

        Raises:
            StoreError: The store failed; repeat the outcomes.
        """
        if not given:
            return []
        with writing(self.engine) as connection:
            return record_outcomes(connection, given, self.clock())

    def expire(self) -> int:
        """Releases the reservations of decisions that matured without a final outcome; returns their number.

        Raises:
            StoreError: The store failed.
        """
        now, total = self.clock(), 0
        with reading(self.engine) as connection:
            several = pricing.names(connection)
        for name in several:
            count = 1
            while count:
                with writing(self.engine) as connection:
                    count = expire(connection, name, now)
                total += count
        return total

    @checked
    def status(self, campaign: str) -> Status:
        """Returns the money and the counts of a campaign, all of one moment.

        Raises:
            DataError: The campaign is not in the ledger.
            StoreError: The store failed.
        """
        with reading(self.engine) as connection:
            return status_of(connection, campaign)

    @checked
    def treatments(self, campaign: str) -> tuple[str, ...]:
        """Returns the names of the treatments of a campaign, control first.

        Raises:
            DataError: The campaign is not in the ledger.
            StoreError: The store failed.
        """
        with reading(self.engine) as connection:
            status_of(connection, campaign)
            query = sa.select(campaigns.c.settings).where(campaigns.c.name == campaign)
            return terms_of(connection.execute(query).scalar_one()).campaign.treatments

    @checked
    def reprice(self, holder: str, *, hold: float = 60.0) -> dict[str, float]:
        """Renews the price of every campaign, in the one process that is elected for it; all processes read it.

        The price is the smallest at which the units to come, with menus like the last 2,000, reserve no more than there is,
        exploration and holdout included: so much that the budget is paid or reserved at the end. That counts on what reservations
        will release: what is paid of them, and when, is estimated from up to 4,000 decisions (`Status.ratio`, `Status.expected`;
        `survival.kept`), for the money alone and never for what proves something. Units to come: `Campaign.units` less those
        decided, else the time left by the last week's rate and the hours in which units arrive (`arrivals.profile_of`). Where
        few menus occur, units tie at the price and get the cheaper treatment; the money left by that lowers the next price.

        A reservation now is in part free again at the end, one at the end is not: the price rises towards the end by what is kept
        until then (`pricing.money_price`). Campaigns that share a budget have one price of money, at which all of them together
        reserve what is left of it; and what is left moves to where their units to come need it.

        Args:
            holder: Name of this process, e.g. host and process id.
            hold: Seconds for which this process stays elected unless it renews.

        Returns:
            The new prices, by campaign; none if another process is elected.

        Raises:
            StoreError: The store failed.
        """
        now = self.clock()
        _check.number("hold", hold, low=0)
        with writing(self.engine) as connection:
            if not pricing.elected(connection, "price", holder, now, hold):
                return {}
        with reading(self.engine) as connection:
            plan = planned(connection, now)
        with writing(self.engine) as connection:
            for name, priced in sorted(plan.own.items()):
                connection.execute(sa.update(campaigns).where(campaigns.c.name == name).values(priced.columns()))
        prices = {name: priced.price for name, priced in plan.own.items()}
        for name, joint in plan.joint.items():
            with writing(self.engine) as connection:
                prices |= divide(connection, name, joint.outlooks, joint.money, joint.end, now)
        return prices

    @checked
    def erase(self, unit: str | int) -> int:
        """Erases a unit from all campaigns: its id, features and menus, and the keys of its asks.

        Its decisions remain as rows of the trial without identity, so money, counts, propensities and outcomes stay right.
        Outcomes that name one of its decisions still count, once. A later ask of the unit is that of a new unit.

        Returns:
            The number of decisions erased.

        Raises:
            DataError: The id is not valid.
            StoreError: The store failed.
        """
        name = text("unit", unit)
        with reading(self.engine) as connection:
            several = pricing.names(connection)
        with writing(self.engine) as connection:
            count = erase(connection, several, name, self.clock())
        if count:
            forget(self.engine)
        return count

    @checked
    def verify(self, *, earlier: Mapping[str, Mapping[str, Any]] | None = None) -> Verification:
        """Verifies that the log is what was written: no decision or outcome was changed, inserted or deleted.

        Every row has a link, the hash of its content and of the link before it. Erased units do not break it. Somebody who may
        write in the store could write a whole log anew, links included: keep the result elsewhere, and give it as `earlier`.

        Args:
            earlier: The logs of an earlier verification by campaign, each with `decisions`, `decision_link`, `outcomes` and
                `outcome_link`.

        Raises:
            StoreError: The store failed.
        """
        with reading(self.engine, one_moment=True) as connection:
            return verify(connection, earlier or {})
