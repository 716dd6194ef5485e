"""What came of decisions: outcomes turn reservations into payments, and reservations that nobody used expire."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import sqlalchemy as sa

from largesse import _check
from largesse.errors import Conflict, DataError
from largesse.serving.ledger.accounts import Account
from largesse.serving.ledger.money import amount, rounded_up
from largesse.serving.ledger.store import having, locked, rows_where
from largesse.serving.ledger.tables import decisions, outcomes
from largesse.serving.ledger.terms import Outcome, Receipt, text

__all__ = ["expire", "record_outcomes"]

Record = dict[str, Any]
_HOMES = having(sa.select(decisions.c.id, decisions.c.campaign), decisions.c.id)
_DECISIONS, _OUTCOMES = having(sa.select(decisions), decisions.c.id), having(sa.select(outcomes), outcomes.c.key)
_CHANGED = ("state", "reserved", "paid", "gained")
_PART = 5_000  # reservations that expire in one transaction


def record_outcomes(connection: sa.Connection, given: Sequence[Outcome], now: float) -> list[Receipt | DataError]:
    """Returns the state of each outcome's decision afterwards, or why the outcome is refused, in their order."""
    ids = _clean(one.decision for one in given)
    homes = rows_where(connection, _HOMES, ids)
    accounts = {name: Account.of(row) for name, row in locked(connection, (row.campaign for row in homes)).items()}
    # Read again under the lock: another process may have changed them meanwhile.
    stored = {row.id: dict(row._mapping) for row in rows_where(connection, _DECISIONS, ids)}
    same_keys = rows_where(connection, _OUTCOMES, _clean(one.key for one in given))
    earlier = {(row.campaign, row.key): dict(row._mapping) for row in same_keys}
    fresh: list[Record] = []
    receipts: list[Receipt | DataError] = []
    for one in given:
        try:
            receipts.append(_record(one, accounts, stored, earlier, fresh, now))
        except DataError as error:
            receipts.append(error)
    _write(connection, fresh, stored, accounts)
    return receipts


def _clean(texts: Iterable[object]) -> set[str]:
    """Returns the texts that a store may have; the others are refused one by one."""
    out = set()
    for one in texts:
        with suppress(DataError):
            out.add(text("", one))
    return out


def _record(
    one: Outcome, accounts: Mapping[str, Account], stored: Mapping[str, Record], earlier: dict[tuple[str, str], Record],
    fresh: list[Record], now: float,
) -> Receipt:  # fmt: skip
    decision = stored.get(text("decision", one.decision))
    if decision is None:
        raise _check.refuse("decision", one.decision, "is not in this ledger", "Give the id of an answer.")
    account = accounts[decision["campaign"]]
    scale = account.terms.campaign.scale
    row = {
        "campaign": decision["campaign"], "key": text("key", one.key), "decision": decision["id"],
        "cost": rounded_up("cost", one.cost, scale), "value": _check.number("value", one.value, low=-1e15, high=1e15),
        "final": bool(one.final), "void": bool(one.void), "time": now,
    }  # fmt: skip
    known = earlier.get((row["campaign"], row["key"]))
    if known is not None:
        if any(known[name] != row[name] for name in row if name != "time"):
            raise _check.refuse(
                "key", one.key, "it was given with another outcome", "Give every outcome its own key.", Conflict
            )
    else:
        _book(account, decision, row)
        earlier[row["campaign"], row["key"]] = row
        fresh.append(row)
    paid = amount(decision["paid"], scale)
    return Receipt(one.decision, row["key"], decision["state"], paid, decision["gained"], known is not None)


def _book(account: Account, decision: Record, row: Record) -> None:
    """Changes a decision and the counters of its campaign by a new outcome."""
    if row["void"]:
        if row["cost"] or row["value"]:
            raise _check.refuse("void", True, "cost and value must be 0", "Report what was paid without `void`.")
        if decision["state"] not in ("pending", "voided") or decision["paid"] or decision["gained"]:
            raise _check.refuse(
                "void", True, f"the decision is {decision['state']}", "Only a pending one can be void.", Conflict
            )
        released, state = decision["reserved"], "voided"
    elif row["final"]:
        released, state = decision["reserved"], "posted"
    else:
        released, state = min(decision["reserved"], max(row["cost"], 0)), decision["state"]
    decision["reserved"] -= released
    decision["paid"] += row["cost"]
    decision["gained"] += row["value"]
    decision["state"] = state
    account.change(spent=row["cost"], reserved=-released, beyond=max(0, row["cost"] - released))
    account.tally(decision["kind"], decision["treatment"], paid=row["cost"])


def _write(
    connection: sa.Connection, fresh: list[Record], stored: Mapping[str, Record], accounts: Mapping[str, Account]
) -> None:
    if not fresh:
        return
    changed = [
        {"of": name, **{f"new_{c}": stored[name][c] for c in _CHANGED}}
        for name in sorted({r["decision"] for r in fresh})
    ]
    change = sa.update(decisions).where(decisions.c.id == sa.bindparam("of"))
    connection.execute(change.values({c: sa.bindparam(f"new_{c}") for c in _CHANGED}), changed)
    connection.execute(outcomes.insert(), fresh)
    for name in sorted(accounts):
        accounts[name].write(connection, within_budget=False)


def expire(connection: sa.Connection, name: str, now: float) -> int:
    """Releases the reservations of some matured decisions of a campaign; returns their number, 0 if none is left."""
    account = Account.of(locked(connection, [name])[name])
    d = decisions.c
    query = sa.select(d.id, d.reserved).where(d.campaign == name, d.state == "pending", d.due <= now).limit(_PART)
    rows = connection.execute(query).all()
    if rows:
        change = sa.update(decisions).where(d.id == sa.bindparam("of")).values(state="expired", reserved=0)
        connection.execute(change, [{"of": row.id} for row in rows])
        account.change(reserved=-sum(row.reserved for row in rows))
        account.write(connection, within_budget=False)
    return len(rows)
