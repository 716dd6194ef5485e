"""What came of decisions: outcomes turn reservations into payments, and reservations that nobody used expire."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import sqlalchemy as sa

from largesse import _check
from largesse.errors import Conflict, DataError
from largesse.serving.ledger.accounts import Account
from largesse.serving.ledger.audit import SEAL, outcome_link, private_digest
from largesse.serving.ledger.money import rounded_up
from largesse.serving.ledger.rows import place_in, place_of
from largesse.serving.ledger.sql import Having, Statement, inserting
from largesse.serving.ledger.store import locked
from largesse.serving.ledger.tables import decisions, outcomes
from largesse.serving.ledger.terms import Outcome, Receipt, text

__all__ = ["erased_key", "expire", "record_outcomes"]

_d, _o = decisions.c, outcomes.c
_HOMES = Having(lambda values: sa.select(_d.campaign).where(_d.place.in_(values)).distinct())
_STATES = Having(
    lambda values: sa.select(
        _d.place,
        _d.id,
        _d.campaign,
        _d.kind,
        _d.treatment,
        _d.state,
        _d.reserved,
        _d.paid,
        _d.gained,
        _d.unit.is_(None).label("erased"),
    ).where(_d.place.in_(values))
)
_EARLIER = Having(
    lambda values: sa.select(_o.campaign, _o.key, _o.decision, _o.cost, _o.value, _o.final, _o.void).where(
        _o.key.in_(values)
    )
)
_CHANGED = ("state", "reserved", "paid", "gained")
_CHANGE = Statement(
    sa.update(decisions)
    .where(_d.place == sa.bindparam("of"))
    .values({name: sa.bindparam(f"new_{name}") for name in _CHANGED}),
    [*(f"new_{name}" for name in _CHANGED), "of"],
)
_INSERT = inserting(outcomes)
_PART = 5_000  # reservations that expire in one transaction


class _State:
    """What outcomes change of a decision."""

    __slots__ = ("campaign", "erased", "gained", "id", "kind", "paid", "place", "reserved", "state", "treatment")

    def __init__(self, row: Any) -> None:
        self.place, self.id, self.campaign, self.kind, self.treatment, self.state = row[:6]
        self.reserved, self.paid, self.gained, self.erased = row[6:]


class _Content(NamedTuple):
    """An outcome that counts once by campaign and key."""

    decision: str
    cost: int
    value: float
    final: bool
    void: bool


def record_outcomes(connection: sa.Connection, given: Sequence[Outcome], now: float) -> list[Receipt | DataError]:
    """Returns the state of each outcome's decision afterwards, or why the outcome is refused, in their order."""
    places = [place for one in _clean(one.decision for one in given) if (place := place_in(one)) is not None]
    accounts = {
        name: Account(row)
        for name, row in locked(connection, (row[0] for row in _HOMES.rows(connection, places))).items()
    }
    # Their states are read under the lock: another process may have changed them meanwhile.
    stored = {row.id: _State(row) for row in _STATES.rows(connection, places)}
    book = _Book(connection, accounts, stored, given, now)
    receipts: list[Receipt | DataError] = []
    for one in given:
        try:
            receipts.append(book.record(one))
        except DataError as error:
            receipts.append(error)
    book.write(connection)
    return receipts


def erased_key(decision: str, key: str) -> str:
    """Returns what stands in the place of an outcome's key once the unit of its decision is erased; it still counts once."""
    return "erased " + private_digest(decision.encode(), key).hex()


def _clean(texts: Iterable[object]) -> set[str]:
    """Returns the texts that a store may have; the others are refused one by one."""
    out = set()
    for one in texts:
        with suppress(DataError):
            out.add(text("", one))
    return out


class _Book:
    """The outcomes that are stored already, and those that are added."""

    def __init__(
        self, connection: sa.Connection, accounts: Mapping[str, Account], stored: Mapping[str, _State],
        given: Sequence[Outcome], now: float,
    ) -> None:  # fmt: skip
        self.accounts, self.stored, self.now = accounts, stored, now
        names = _clean(one.key for one in given)
        if any(state.erased for state in stored.values()):
            erased = [one for one in given if (known := stored.get(str(one.decision))) is not None and known.erased]
            names |= {erased_key(str(one.decision), key) for one in erased for key in _clean([one.key])}
        rows = _EARLIER.rows(connection, names)
        self.earlier = {(row[0], row[1]): _Content(row[2], row[3], row[4], bool(row[5]), bool(row[6])) for row in rows}
        self.changed: dict[int, _State] = {}
        self.fresh: list[tuple[Any, ...]] = []
        self.seals = os.urandom(SEAL * len(given))

    def record(self, one: Outcome) -> Receipt:
        """Counts an outcome unless it was counted before.

        Raises:
            Conflict: The key stands for another outcome, or the decision cannot be void.
            DataError: A field is wrong, or the decision is not in the ledger.
        """
        decision = self.stored.get(text("decision", one.decision))
        if decision is None:
            raise _check.refuse("decision", one.decision, "is not in this ledger", "Give the id of an answer.")
        account = self.accounts[decision.campaign]
        scale, key = account.terms.campaign.scale, text("key", one.key)
        name = erased_key(decision.id, key) if decision.erased else key
        cost = rounded_up("cost", one.cost, scale)
        value = one.value
        if type(value) is not float or not -_check.LARGEST <= value <= _check.LARGEST:
            value = _check.number("value", value, low=-_check.LARGEST, high=_check.LARGEST)
        content = _Content(decision.id, cost, value, bool(one.final), bool(one.void))
        known = self.earlier.get((decision.campaign, name))
        if known is None:
            released = _release(decision, content)
            self._write_down(account, decision, name, content, released)
        elif known != content:
            raise _check.refuse(
                "key", one.key, "it was given with another outcome", "Give every outcome its own key.", Conflict
            )
        repeated = known is not None
        return Receipt(decision.id, key, decision.state, decision.paid / scale, decision.gained, repeated)

    def _write_down(self, account: Account, decision: _State, key: str, content: _Content, released: int) -> None:
        campaign, number = decision.campaign, account.row.reported + account.changes["reported"]
        seal = self.seals[SEAL * len(self.fresh) :][:SEAL]
        numbers = number, content.cost, content.value, self.now, content.final, content.void
        names = f"{campaign}\0{decision.id}"
        private = private_digest(seal, key)
        link = outcome_link(account.reported_link, private, numbers, names)
        self.fresh.append((
            place_of(account.row.code, number), campaign, number, key, *content, self.now, seal, link
        ))  # fmt: skip
        account.pay(decision.kind, decision.treatment, content.cost, released, link)
        self.earlier[campaign, key] = content
        self.changed[decision.place] = decision

    def write(self, connection: sa.Connection) -> None:
        """Writes what was added."""
        if not self.fresh:
            return
        changes = [(one.state, one.reserved, one.paid, one.gained, place) for place, one in self.changed.items()]
        _CHANGE.run_all(connection, changes)
        _INSERT.run_all(connection, self.fresh)
        for name in sorted(self.accounts):
            self.accounts[name].write(connection, within_budget=False)


def _release(decision: _State, content: _Content) -> int:
    """Changes a decision by a new outcome; returns what leaves its reservation."""
    if content.void:
        if content.cost or content.value:
            raise _check.refuse("void", True, "cost and value must be 0", "Report what was paid without `void`.")
        if decision.state not in ("pending", "voided") or decision.paid or decision.gained:
            raise _check.refuse(
                "void", True, f"the decision is {decision.state}", "Only a pending one can be void.", Conflict
            )
        released, decision.state = decision.reserved, "voided"
    elif content.final:
        released, decision.state = decision.reserved, "posted"
    else:
        released = min(decision.reserved, max(content.cost, 0))
    decision.reserved -= released
    decision.paid += content.cost
    decision.gained += content.value
    return released


def expire(connection: sa.Connection, name: str, now: float) -> int:
    """Releases the reservations of some matured decisions of a campaign; returns their number, 0 if none is left."""
    account = Account(locked(connection, [name])[name])
    query = sa.select(_d.place, _d.reserved, _d.paid, _d.gained).where(
        _d.campaign == name, _d.state == "pending", _d.due <= now
    )
    rows = connection.execute(query.limit(_PART)).all()
    if rows:
        _CHANGE.run_all(connection, [("expired", 0, row.paid, row.gained, row.place) for row in rows])
        account.release(sum(row.reserved for row in rows))
        account.write(connection, within_budget=False)
    return len(rows)
