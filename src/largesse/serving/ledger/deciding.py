"""Decides many asks in one transaction: sticky, idempotent by key, and never above the budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from largesse import _check
from largesse.errors import Conflict, DataError
from largesse.serving.exploring import tilted
from largesse.serving.ledger.accounts import Account
from largesse.serving.ledger.checking import Checked, Checks, period_of, unknown
from largesse.serving.ledger.columns import (
    KEYS,
    Decided,
    columns_from,
    columns_of,
    decide_columns,
    keys_of,
    many_columns,
)  # fmt: skip
from largesse.serving.ledger.money import MOST, rounded_up
from largesse.serving.ledger.preparing import Columns, Prepared, Raced, prepared
from largesse.serving.ledger.recording import New, record
from largesse.serving.ledger.rows import (
    BY_PLACE,
    BY_WHO,
    INSERT,
    again,
    answer_of,
    packed,
    packed_menu,
    place_in,
    who_prefix,
    whos_of,
)  # fmt: skip
from largesse.serving.ledger.sql import Having, inserting
from largesse.serving.ledger.store import locked, reading, writing
from largesse.serving.ledger.tables import campaigns, keys
from largesse.serving.ledger.terms import Answer, Answers, Ask, Written, WrittenColumn

__all__ = ["Many", "decide", "decide_many", "ready_for"]

T = TypeVar("T")
_INSERT_KEYS = inserting(keys)
_FEW = 16  # fewer asks of a campaign are decided one by one
_MANY = 256  # so many are prepared before the transaction
_PROBES = 32  # so many of them are looked for; if one of the others has a decision, the transaction is done again
_CAMPAIGN = Having(lambda names: campaigns.select().where(campaigns.c.name.in_(names)))


class _Key(NamedTuple):
    body: str
    decision: str


def decide(connection: sa.Connection, asks: Sequence[Ask], now: float) -> list[Answer | DataError]:
    """Returns the answer to each ask, or why it has none, in the order of the asks."""
    accounts = {name: Account(row) for name, row in locked(connection, (str(a.campaign) for a in asks)).items()}
    answers: list[Any] = [None] * len(asks)
    if len(asks) >= _FEW:
        for name, account in accounts.items():
            places = [i for i, ask in enumerate(asks) if ask.campaign == name]
            several = _together(connection, account, [asks[i] for i in places], now) if len(places) >= _FEW else None
            for i, answer in zip(places, several or (), strict=False):
                answers[i] = answer
    rest = [i for i, answer in enumerate(answers) if answer is None]
    if rest:
        for i, result in zip(rest, _singly(connection, accounts, [asks[i] for i in rest], now), strict=True):
            answers[i] = result
    for name in sorted(accounts):
        accounts[name].write(connection, within_budget=True)
    return answers


def decide_many(engine: sa.Engine, campaign: str, many: Many, clock: Callable[[], float]) -> Answers:
    """Returns the answers to asks of one campaign that are given as columns, decided in one transaction.

    What needs no lock is done before it, so that others wait for less.

    Raises:
        DataError: The campaign is not in the ledger.
        StoreError: The store failed.
    """
    several = len(many.units) >= _MANY
    ready = ready_for(engine, campaign, many, clock()) if several else None
    try:
        with writing(engine, patient=several) as connection:
            return _decided(connection, campaign, many, clock(), ready)
    except Raced:
        with writing(engine, patient=several) as connection:
            return _decided(connection, campaign, many, clock(), None)


def ready_for(engine: sa.Engine, campaign: str, many: Many, now: float) -> tuple[Columns, Prepared] | None:
    """Returns columns and what they get if no unit has a decision; None where one has, or where they are not to be prepared."""
    with reading(engine) as connection:
        rows = _CAMPAIGN.rows(connection, [campaign])
        if not rows:
            return None
        account = Account(rows[0])
        columns = many.columns(account)
        if columns is None:
            return None
        period = period_of(account, now)
        who = whos_of(who_prefix(account.terms, period), columns.units)
        if len(set(who)) < len(who) or BY_WHO.rows(connection, who[:: len(who) // _PROBES]):
            return None
    made = prepared(account, period, columns, range(len(who)), who)
    return None if made is None else (columns, made)


def _decided(
    connection: sa.Connection, campaign: str, many: Many, now: float, ready: tuple[Columns, Prepared] | None
) -> Answers:
    accounts = {name: Account(row) for name, row in locked(connection, [campaign]).items()}
    if (account := accounts.get(campaign)) is None:
        raise unknown(campaign, ())
    keys_, bodies = many.keys or (None,) * len(many.units), many.bodies or ("",) * len(many.units)
    columns, made = ready or (None, None)
    if columns is None and len(many.units) >= _FEW:
        columns = many.columns(account)
    decided = None if columns is None else _columns(connection, account, columns, keys_, bodies, now, made)
    if columns is not None and decided is not None:
        answers = decided.columns(account, columns, now)
    else:
        asks = many.asks(campaign, account.terms.campaign.treatments)
        answers = columns_from(account, _singly(connection, accounts, asks, now))
    account.write(connection, within_budget=True)
    return answers


def _together(connection: sa.Connection, account: Account, asks: Sequence[Ask], now: float) -> list[Answer] | None:
    """Returns the answers to asks of one campaign, decided as columns; None where they must be decided one by one."""
    if (columns := columns_of(account, asks)) is None:
        return None
    given, bodies = [ask.key for ask in asks], [ask.body for ask in asks]
    decided = _columns(connection, account, columns, given, bodies, now)
    return None if decided is None else decided.answers(account, columns, now)


def _columns(
    connection: sa.Connection, account: Account, columns: Columns, given: Sequence[str | None], bodies: Sequence[str],
    now: float, ready: Prepared | None = None,
) -> Decided | None:  # fmt: skip
    """Decides columns of asks with their keys; None where they must be decided one by one."""
    name = account.row.name
    if (named := keys_of(connection, name, columns, given, bodies)) is None:
        return None
    if (decided := decide_columns(connection, account, columns, now, ready)) is None:
        return None
    _INSERT_KEYS.run_all(connection, [(key, name, body, decided.id_of(i)) for i, key, body in named])
    return decided


class Many(NamedTuple):
    """Asks of one campaign by columns, as `Ledger.decide_many` takes them."""

    units: Sequence[Any]
    value: NDArray[np.float64]
    cost: NDArray[np.float64]
    allowed: NDArray[np.bool_] | None
    keys: Sequence[str | None] | None
    version: str
    features: WrittenColumn | Sequence[Mapping[str, Any] | Written | None] | None
    bodies: Sequence[str] | None
    weights: NDArray[np.float64] | None

    def columns(self, account: Account) -> Columns | None:
        """Returns the asks as columns; None where one is to be refused."""
        return many_columns(
            account, self.units, self.value, self.cost, self.allowed, self.version, self.features, self.weights
        )

    def asks(self, campaign: str, treatments: Sequence[str]) -> list[Ask]:
        """Returns the asks one by one."""
        features = self.features
        if isinstance(features, WrittenColumn):
            features = [Written(one) for one in features]
        return [
            Ask(
                campaign, unit, self.value[i].tolist(), self.cost[i].tolist(),
                None if self.allowed is None else [t for t, open_ in zip(treatments, self.allowed[i], strict=True) if open_],
                None if self.keys is None else self.keys[i], "" if self.bodies is None else self.bodies[i],
                self.version,
                None if features is None else features[i],
                None if self.weights is None else self.weights[i].tolist(),
            )
            for i, unit in enumerate(self.units)
        ]  # fmt: skip


def _singly(
    connection: sa.Connection, accounts: Mapping[str, Account], asks: Sequence[Ask], now: float
) -> list[Answer | DataError]:
    check = Checks(accounts, now)
    given = [_tried(check, ask) for ask in asks]
    book = _Book(connection, [one for one in given if isinstance(one, Checked)], now)
    answers = [_tried(book.answer, one) if isinstance(one, Checked) else one for one in given]
    book.write(connection)
    return answers


def _tried(function: Callable[[Any], T], one: Any) -> T | DataError:
    try:
        return function(one)
    except DataError as error:
        return error


def _weights(one: Checked) -> list[float] | None:
    """Returns the weights of a unit in exploration; None: the mix."""
    account = one.account
    if not account.tilt:
        return one.weights
    cost = np.array([one.cost])
    if one.codes is not None:
        cost[:, [j for j in range(cost.shape[1]) if j not in one.codes]] = np.inf
    own: list[float] = tilted(np.array(account.terms.draws.mix), cost, account.tilt)[0].tolist()
    return own


class _Book:
    """What is stored already for some asks, and what is added."""

    def __init__(self, connection: sa.Connection, sound: Sequence[Checked], now: float) -> None:
        self.now = now
        self.keys: dict[tuple[str, str], _Key] = {}
        stored = BY_WHO.rows(connection, [one.who for one in sound])
        if named := [one.key for one in sound if one.key is not None]:
            rows = KEYS.rows(connection, named)
            self.keys = {(row.campaign, row.key): _Key(row.body, row.decision) for row in rows}
            have = {row.id for row in stored}
            places = [place_in(key.decision) for key in self.keys.values() if key.decision not in have]
            stored += BY_PLACE.rows(connection, [place for place in places if place is not None])
        terms = {one.account.row.name: one.account.terms for one in sound}
        self.by_id = {row.id: answer_of(row, terms[row.campaign]) for row in stored if row.campaign in terms}
        self.by_who = {bytes(row.who): self.by_id[row.id] for row in stored if row.id in self.by_id}
        self.fresh: list[tuple[Any, ...]] = []
        self.fresh_keys: list[tuple[str, str, str, str]] = []

    def answer(self, one: Checked) -> Answer:
        """Returns the stored answer to an ask, or a new one.

        Raises:
            Conflict: The key stands for another ask, or the unit has a treatment that this ask does not allow.
            DataError: The campaign is over, or the budget does not even pay for control.
        """
        campaign = one.account.row.name
        known = None if one.key is None else self.keys.get((campaign, one.key))
        if known is not None:
            if known.body != one.body:
                rule = "it was given with another ask"
                raise _check.refuse(
                    "key", one.key, rule, "Give every ask its own key; repeat an ask unchanged.", Conflict
                )
            return again(self.by_id[known.decision])
        stored = self.by_who.get(one.who)
        answer = self._new(one) if stored is None else again(stored)
        if stored is not None and one.codes is not None and one.account.terms.codes[stored.treatment] not in one.codes:
            rule = f"must have {stored.treatment!r}, which unit {one.unit!r} has in this period"
            raise _check.refuse(
                "allowed", list(one.ask.allowed or ()), rule, "A unit is decided once a period.", Conflict
            )
        if one.key is not None:
            self.fresh_keys.append((one.key, campaign, one.body, answer.id))
            self.keys[campaign, one.key] = _Key(one.body, answer.id)
        return answer

    def _new(self, one: Checked) -> Answer:
        account = one.account
        terms, left, cost = account.terms, account.left, one.cost
        campaign = terms.campaign
        if self.now >= campaign.until:
            raise _check.refuse("campaign", one.ask.campaign, "it is over", "Start it again with a later `until`.")
        if max(cost) * campaign.scale + 1 <= min(left, MOST) and max(terms.worst) <= left:
            pays = None
        else:  # the budget may not pay for everything
            codes = range(len(cost)) if one.codes is None else one.codes
            amounts = {j: max(rounded_up("cost", cost[j], campaign.scale), terms.worst[j]) for j in codes}
            pays = {j for j, reservation in amounts.items() if reservation <= left or reservation == 0}
        price = account.price
        draw = terms.draws.draw(
            one.period, one.unit, one.value, cost, price, allowed=one.codes, affordable=pays, weights=_weights(one)
        )
        reservation = max(rounded_up("cost", cost[draw.code], campaign.scale), terms.worst[draw.code])
        menu, given = packed_menu(one.value, cost, one.codes), packed(draw.propensities)
        new = New(
            one.who, one.unit, draw.code, draw.kind, one.ask.version, reservation, draw.limited, given, menu, one.features
        )  # fmt: skip
        (row,) = record(account, one.period, [new], self.now)
        self.fresh.append(row)
        answer = Answer(
            row[1], campaign.name, one.period, one.unit, campaign.treatments[draw.code], draw.kind,
            draw.propensities[draw.code], dict(zip(campaign.treatments, draw.propensities, strict=True)),
            one.value[draw.code], cost[draw.code], price, one.ask.version, reservation / campaign.scale, draw.limited,
            self.now, False,
        )  # fmt: skip
        self.by_who[one.who] = self.by_id[answer.id] = answer
        return answer

    def write(self, connection: sa.Connection) -> None:
        """Writes what was added."""
        INSERT.run_all(connection, self.fresh)
        _INSERT_KEYS.run_all(connection, self.fresh_keys)
