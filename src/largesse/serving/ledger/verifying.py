"""Verifies the log of a ledger: rows against their links, counters against rows, and both against an earlier verification."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from largesse.serving.ledger.accounts import Terms, terms_of
from largesse.serving.ledger.audit import FIRST, decision_link, outcome_link, private_digest
from largesse.serving.ledger.rows import place_of, private_of, who_of, who_prefix
from largesse.serving.ledger.tables import campaigns, decisions, outcomes, tallies
from largesse.serving.ledger.terms import Log, Verification

__all__ = ["verify"]

_PART = 20_000  # rows read at once
_MOST = 100  # problems that are listed
_d, _o = decisions.c, outcomes.c


_FOLLOWED = 3  # links that a row after a changed one may follow, beside the stored one


class _Kind(NamedTuple):
    """The rows of one chain."""

    noun: str
    table: sa.Table
    counter: str  # of the campaign
    last: str  # its last link
    link: Callable[[bytes, Any], bytes]
    named: Callable[[Any], str]


def _decision(before: bytes, row: Any) -> bytes:
    names = f"{row.id}\0{row.campaign}\0{row.treatment}\0{row.kind}\0{row.version}"
    numbers = row.number, row.period, row.reservation, row.price, row.time, row.due, bool(row.limited)
    return decision_link(before, private_of(row), numbers, row.propensities, names)


def _outcome(before: bytes, row: Any) -> bytes:
    erased = len(row.seal) == len(FIRST)
    private = bytes(row.seal) if erased else private_digest(row.seal, row.key)
    numbers = row.number, row.cost, row.value, row.time, bool(row.final), bool(row.void)
    return outcome_link(before, private, numbers, f"{row.campaign}\0{row.decision}")


_DECISIONS = _Kind("decision", decisions, "decided", "decided_link", _decision, lambda row: str(row.id))
_OUTCOMES = _Kind("outcome", outcomes, "reported", "reported_link", _outcome, lambda row: f"of decision {row.decision}")


def verify(connection: sa.Connection, earlier: Mapping[str, Mapping[str, Any]]) -> Verification:
    """Verifies every campaign within a transaction that sees one moment.

    Args:
        connection: The transaction.
        earlier: `logs` of an earlier verification, by campaign.
    """
    logs, problems = {}, list[str]()
    for row in connection.execute(sa.select(campaigns).order_by(campaigns.c.name)).all():
        check = _Check(connection, row, dict(earlier.get(row.name, {})))
        logs[row.name] = check.log()
        problems += [f"campaign {row.name!r}: {one}" for one in check.problems]
    problems += [f"campaign {name!r}: is no longer in the ledger" for name in earlier if name not in logs]
    more = len(problems) - _MOST
    return Verification(logs, [*problems[:_MOST], *([f"and {more:,} more"] if more > 0 else [])])


class _Check:
    """The verification of one campaign."""

    def __init__(self, connection: sa.Connection, row: Any, earlier: Mapping[str, Any]) -> None:
        self.connection, self.row, self.earlier = connection, row, earlier
        self.terms: Terms = terms_of(row.settings)
        self.problems: list[str] = []
        self.erased, self.days, self.sums = 0, dict[str, str](), dict[str, int]()

    def log(self) -> Log:
        """Checks the rows and the counters, and returns what a later verification compares."""
        self._chain(_DECISIONS, self._of_decision)
        self._chain(_OUTCOMES, lambda row: None)
        self._payments()
        self._counters()
        row = self.row
        return Log(
            row.decided,
            bytes(row.decided_link).hex(),
            row.reported,
            bytes(row.reported_link).hex(),
            self.erased,
            self.days,
        )

    def _rows(self, table: sa.Table) -> Iterator[Any]:
        """Yields all rows of a campaign in their order, those beyond its counter included."""
        at, end = place_of(self.row.code, 0), place_of(self.row.code + 1, 0)
        while rows := self.connection.execute(
            table.select().where(table.c.place >= at, table.c.place < end).order_by(table.c.place).limit(_PART)
        ).all():
            yield from rows
            at = rows[-1].place + 1

    def _chain(self, kind: _Kind, each: Callable[[Any], None]) -> None:
        """Compares the numbers and the links of rows with what they should be."""
        count, last = getattr(self.row, kind.counter), bytes(getattr(self.row, kind.last))
        old = self.earlier.get(f"{kind.noun}s", 0)
        before: tuple[bytes, ...] = (FIRST,)  # links that the next row may follow; none after a gap
        number = 0
        for row in self._rows(kind.table):
            at = row.place - place_of(self.row.code, 0)
            name = f"{kind.noun} {at:,} ({kind.named(row)})"
            if at >= count:
                self.problems.append(f"{name} was inserted: the campaign has counted {count:,}")
                continue
            if at > number:
                self._gap(kind, number, at)
                before = ()
            each(row)
            links = [kind.link(one, row) for one in before]
            stored = bytes(row.link)
            if (before and stored not in links) or row.number != at:
                self.problems.append(f"{name} was changed: it does not agree with its link")
            before, number = ((stored,) if stored in links else (stored, *links[:_FOLLOWED])), at + 1
            if number == old and stored.hex() != self.earlier.get(f"{kind.noun}_link"):
                self.problems.append(f"{name} is not the one that was verified earlier")
        if number < count:
            self._gap(kind, number, count)
        elif last not in before:
            self.problems.append(f"the last {kind.noun} does not have the link that the campaign has kept")
        if count < old:
            self.problems.append(f"{old - count:,} {kind.noun}s that were verified earlier are missing")

    def _gap(self, kind: _Kind, first: int, end: int) -> None:
        what = f"{kind.noun} {first:,} was" if end == first + 1 else f"{kind.noun}s {first:,} to {end - 1:,} were"
        self.problems.append(f"{what} deleted")

    def _of_decision(self, row: Any) -> None:
        self.days[datetime.fromtimestamp(row.time, UTC).date().isoformat()] = bytes(row.link).hex()
        if row.unit is None:
            self.erased += 1
        elif bytes(row.who) != who_of(who_prefix(self.terms, row.period), row.unit):
            self.problems.append(f"decision {row.number:,} ({row.id}) was changed: it cannot be sought by its unit")
        sums = self.sums
        for name, amount in (("reserved", row.reserved), ("spent", row.paid), ("limited", int(row.limited))):
            sums[name] = sums.get(name, 0) + amount
        if not 0 <= row.reserved <= row.reservation or (row.reserved and row.state != "pending"):
            self.problems.append(f"decision {row.number:,} ({row.id}) was changed: it reserves {row.reserved:,}")

    def _payments(self) -> None:
        """Compares what decisions say was paid and gained with their outcomes."""
        name = self.row.name
        by_decision = (
            sa.select(_o.decision, sa.func.sum(_o.cost).label("cost"), sa.func.sum(_o.value).label("value"))
            .where(_o.campaign == name)
            .group_by(_o.decision)
            .subquery()
        )
        query = sa.select(_d.number, _d.id, _d.paid, _d.gained, by_decision.c.cost, by_decision.c.value).select_from(
            decisions.join(by_decision, by_decision.c.decision == _d.id, isouter=True)
        )
        moved = sa.or_(_d.paid != 0, _d.gained != 0, by_decision.c.cost.is_not(None))
        for number, identity, paid, gained, cost, value in self.connection.execute(
            query.where(_d.campaign == name, moved).order_by(_d.place)
        ):
            if paid != int(cost or 0) or not math.isclose(gained, value or 0.0, rel_tol=1e-9, abs_tol=1e-9):
                self.problems.append(f"decision {number:,} ({identity}) was changed: its payments are not its outcomes")

    def _counters(self) -> None:
        for name in ("spent", "reserved", "limited"):
            counted, kept = self.sums.get(name, 0), getattr(self.row, name)
            if counted != kept:
                self.problems.append(f"its counter {name!r} is {kept:,}, the decisions have {counted:,}")
        groups = sa.select(_d.kind, _d.treatment, sa.func.count(), sa.func.sum(_d.paid)).where(
            _d.campaign == self.row.name
        )
        counted_ = {
            (k, t): (n, int(p)) for k, t, n, p in self.connection.execute(groups.group_by(_d.kind, _d.treatment))
        }
        t = tallies.c
        rows = self.connection.execute(sa.select(tallies).where(t.campaign == self.row.name)).all()
        if {(r.kind, r.treatment): (r.decisions, r.paid) for r in rows} != counted_:
            self.problems.append("its counts by kind and treatment are not those of the decisions")
