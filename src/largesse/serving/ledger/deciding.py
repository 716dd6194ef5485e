"""Decides many asks in one transaction: sticky, idempotent by key, and never above the budget."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

import sqlalchemy as sa

from largesse import _check
from largesse.errors import Conflict, DataError, SchemaError
from largesse.roles import nearest
from largesse.serving.draws import Draw
from largesse.serving.ledger.accounts import Account, Terms
from largesse.serving.ledger.money import amount, rounded_up
from largesse.serving.ledger.store import having, locked, rows_where
from largesse.serving.ledger.tables import decisions, keys
from largesse.serving.ledger.terms import Answer, Ask, text

__all__ = ["decide"]

Record = dict[str, Any]
_KEYS, _DECISIONS = having(sa.select(keys), keys.c.key), having(sa.select(decisions), decisions.c.id)


class _Checked(NamedTuple):
    """An ask that can be decided."""

    ask: Ask
    unit: str
    value: list[float]
    cost: list[float]
    codes: list[int]
    menu: str
    period: int
    id: str
    key: str | None
    body: str
    features: str | None


def decide(connection: sa.Connection, asks: Sequence[Ask], now: float) -> list[Answer | DataError]:
    """Returns the answer to each ask, or why it has none, in the order of the asks."""
    accounts = {name: Account.of(row) for name, row in locked(connection, (str(a.campaign) for a in asks)).items()}
    given = [_tried(_checked, accounts, ask, now) for ask in asks]
    book = _Book(connection, accounts, [one for one in given if isinstance(one, _Checked)], now)
    answers = [_tried(book.answer, one) if isinstance(one, _Checked) else one for one in given]
    book.write(connection)
    return answers


def _tried(function: Any, *args: Any) -> Any:
    try:
        return function(*args)
    except DataError as error:
        return error


class _Book:
    """What is stored already for some asks, and what is added."""

    def __init__(
        self, connection: sa.Connection, accounts: Mapping[str, Account], sound: Sequence[_Checked], now: float
    ) -> None:
        self.accounts, self.now = accounts, now
        named = [one.key for one in sound if one.key is not None]
        stored_keys = rows_where(connection, _KEYS, named)
        self.keys = {(row.campaign, row.key): _Key(row.body, row.decision) for row in stored_keys}
        wanted = {one.id for one in sound} | {key.decision for key in self.keys.values()}
        stored = rows_where(connection, _DECISIONS, wanted)
        self.decisions: dict[str, Record] = {row.id: dict(row._mapping) for row in stored}
        self.fresh: list[Record] = []
        self.fresh_keys: list[Record] = []

    def answer(self, one: _Checked) -> Answer:
        """Returns the stored answer to an ask, or a new one.

        Raises:
            Conflict: The key stands for another ask, or the unit has a treatment that this ask does not allow.
            DataError: The campaign is over, or the budget does not even pay for control.
        """
        account = self.accounts[one.ask.campaign]
        known = None if one.key is None else self.keys.get((one.ask.campaign, one.key))
        if known is not None:
            if known.body != one.body:
                rule = "it was given with another ask"
                raise _check.refuse(
                    "key", one.key, rule, "Give every ask its own key; repeat an ask unchanged.", Conflict
                )
            return _answer(self.decisions[known.decision], account.terms, repeated=True)
        record = self.decisions.get(one.id)
        repeated = record is not None
        if record is None:
            record = self._new(account, one)
            self.decisions[one.id] = record
            self.fresh.append(record)
        elif account.terms.codes[record["treatment"]] not in one.codes:
            rule = f"must have {record['treatment']!r}, which unit {one.unit!r} has in this period"
            raise _check.refuse(
                "allowed", list(one.ask.allowed or ()), rule, "A unit is decided once a period.", Conflict
            )
        if one.key is not None:
            row = {"campaign": one.ask.campaign, "key": one.key, "body": one.body, "decision": one.id}
            self.fresh_keys.append(row)
            self.keys[one.ask.campaign, one.key] = _Key(one.body, one.id)
        return _answer(record, account.terms, repeated)

    def _new(self, account: Account, one: _Checked) -> Record:
        terms, ask = account.terms, one.ask
        campaign = terms.campaign
        if self.now >= campaign.until:
            raise _check.refuse("campaign", ask.campaign, "it is over", "Start it again with a later `until`.")
        amounts = {j: max(rounded_up("cost", one.cost[j], campaign.scale), terms.worst[j]) for j in one.codes}
        left = account.left
        pays = {j for j, reservation in amounts.items() if reservation <= left or reservation == 0}
        price = account.row.price
        draw = terms.draws.draw(one.period, one.unit, one.value, one.cost, price, allowed=one.codes, affordable=pays)
        record = self._record(account, one, draw, amounts[draw.code])
        account.change(reserved=amounts[draw.code], decided=1, limited=int(draw.limited))
        account.tally(draw.kind, record["treatment"], decisions=1)
        return record

    def _record(self, account: Account, one: _Checked, draw: Draw, reservation: int) -> Record:
        campaign = account.terms.campaign
        return {
            "id": one.id, "campaign": campaign.name, "number": account.row.decided + account.changes["decided"],
            "period": one.period, "unit": one.unit, "treatment": campaign.treatments[draw.code], "kind": draw.kind,
            "propensity": draw.propensities[draw.code], "propensities": json.dumps(draw.propensities),
            "menu": one.menu, "value": one.value[draw.code],
            "cost": one.cost[draw.code], "price": account.row.price, "version": one.ask.version,
            "reservation": reservation, "reserved": reservation, "limited": draw.limited, "state": "pending", "paid": 0,
            "gained": 0.0, "time": self.now, "due": self.now + campaign.matures, "features": one.features,
        }  # fmt: skip

    def write(self, connection: sa.Connection) -> None:
        """Writes what was added."""
        for table, rows in ((decisions, self.fresh), (keys, self.fresh_keys)):
            if rows:
                connection.execute(table.insert(), rows)
        for name in sorted(self.accounts):
            self.accounts[name].write(connection, within_budget=True)


class _Key(NamedTuple):
    body: str
    decision: str


def _checked(accounts: Mapping[str, Account], ask: Ask, now: float) -> _Checked:
    """Returns an ask in the form that is decided, or raises DataError."""
    account = accounts.get(text("campaign", ask.campaign))
    if account is None:
        hint = nearest(str(ask.campaign), list(accounts))
        raise _check.refuse("campaign", ask.campaign, "is not in this ledger", f"{hint}Start it first.")
    terms = account.terms
    campaign, unit = terms.campaign, text("unit", ask.unit)
    value, cost = (_menu(name, row, campaign.treatments) for name, row in (("value", ask.value), ("cost", ask.cost)))
    if min(cost) < 0:
        raise _check.refuse("cost", cost, "must be >= 0", "Income belongs to value.")
    key = None if ask.key is None else text("key", ask.key)
    if ask.version != "":
        text("version", ask.version)
    features = None if ask.features is None else _json("features", ask.features)
    codes = _codes(ask.allowed, terms)
    period = 0 if campaign.period is None else max(0, math.floor((now - account.row.started) / campaign.period))
    if not isinstance(ask.body, str):
        raise _check.refuse("body", ask.body, "must be text", "Give the body of the request, or its hash.", SchemaError)
    menu = json.dumps([value, cost, codes])
    body = ask.body or f"{unit}\0{menu if features is None else features}\0{codes}"
    return _Checked(ask, unit, value, cost, codes, menu, period, _id(terms, period, unit), key, _hash(body), features)


def _menu(field: str, row: Sequence[float], treatments: Sequence[str]) -> list[float]:
    try:
        out = [float(x) for x in row]
    except (TypeError, ValueError, OverflowError):
        raise _check.refuse(
            field, row, "must be numbers", f"Give one for each of {len(treatments)} treatments."
        ) from None
    if len(out) != len(treatments):
        rule = f"must be {len(treatments)}, one for each of {', '.join(map(repr, treatments))}"
        raise _check.refuse(f"len({field})", len(out), rule, "Give the menu of all treatments.")
    if not all(abs(x) <= _check.LARGEST for x in out):
        rule = f"must be finite numbers, at most {_check.LARGEST:,.0f}"
        raise _check.refuse(field, out, rule, "Check what the model predicts.")
    return out


def _codes(allowed: object, terms: Terms) -> list[int]:
    """Returns the numbers of the allowed treatments, control among them."""
    if allowed is None:
        return list(range(len(terms.codes)))
    if isinstance(allowed, str) or not isinstance(allowed, Collection):
        raise _check.refuse("allowed", allowed, "must be several names of treatments", "Give a list; None allows all.")
    names = list(allowed)
    for name in names:
        if not isinstance(name, str) or name not in terms.codes:
            hint = nearest(str(name), list(terms.codes))
            rule = f"must be among {', '.join(map(repr, terms.codes))}"
            raise _check.refuse("allowed", name, rule, f"{hint}Choose from these.")
    control = terms.campaign.treatments[0]
    if control not in names:
        rule = f"must have control, {control!r}, since the holdout gets it"
        raise _check.refuse("allowed", names, rule, "Add it to the allowed treatments.")
    return sorted({terms.codes[name] for name in names})


def _json(field: str, got: Mapping[str, Any]) -> str:
    try:
        return json.dumps(got, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        rest = f": must be JSON ({error}). Give text, numbers and true or false; None where a cell is missing."
        raise SchemaError.at(field, rest) from None


def _id(terms: Terms, period: int, unit: str) -> str:
    """Returns the id of a decision: one for each campaign, period and unit."""
    name = f"{terms.draws.salt}\0{terms.campaign.name}\0{period}\0{unit}"
    return blake2b(name.encode(), digest_size=16, person=b"largesse id").hexdigest()


def _hash(body: str) -> str:
    return blake2b(body.encode(errors="surrogatepass"), digest_size=16).hexdigest()


def _answer(record: Record, terms: Terms, repeated: bool) -> Answer:
    """Returns a stored decision as an answer."""
    given = json.loads(record["propensities"])
    return Answer(
        **{name: record[name] for name in Answer._fields if name not in ("propensities", "reservation", "repeated")},
        propensities=dict(zip(terms.campaign.treatments, given, strict=True)),
        reservation=amount(record["reservation"], terms.campaign.scale), repeated=repeated,
    )  # fmt: skip
