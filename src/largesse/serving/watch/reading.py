"""The log of a campaign as columns, part by part in the order of its decisions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from largesse.serving.draws import KINDS, Draws
from largesse.serving.increments import best_treatments
from largesse.serving.ledger.accounts import Terms
from largesse.serving.ledger.book import Ledger
from largesse.serving.ledger.rows import place_of
from largesse.serving.ledger.sql import Statement
from largesse.serving.ledger.store import reading
from largesse.serving.ledger.tables import decisions
from largesse.serving.ledger.terms import FALLBACK

__all__ = ["DAY", "Decisions", "read_log", "read_log_with_features", "read_texts"]

Floats = NDArray[np.float64]
Codes = NDArray[np.intp]
Flags = NDArray[np.bool_]
DAY = 86_400
_PART = 5_000  # decisions read at once: more objects than that are costly for the collector of garbage
_d = decisions.c
_COLUMNS = (
    _d.time, _d.due, _d.treatment, _d.kind, _d.version, _d.state, _d.limited, _d.price, _d.paid, _d.gained, _d.propensities,
    _d.menu, _d.period,
)  # fmt: skip
_LOG = Statement(
    sa.select(*_COLUMNS).where(_d.place >= sa.bindparam("first"), _d.place < sa.bindparam("end")).order_by(_d.place),
    ["first", "end"],
)
_LOG_WITH_FEATURES = Statement(
    sa.select(*_COLUMNS, _d.features)
    .where(_d.place >= sa.bindparam("first"), _d.place < sa.bindparam("end"))
    .order_by(_d.place),
    ["first", "end"],
)
_TEXTS = Statement(
    sa.select(_d.features).where(
        _d.place >= sa.bindparam("first"), _d.place < sa.bindparam("end"), _d.features.is_not(None)
    ),
    ["first", "end"],
)


class Decisions(NamedTuple):
    """Some decisions of a campaign with M treatments, in the order of their numbers.

    Attributes:
        time: When each was made, in seconds since 1970 (UTC), (n,).
        due: When its outcome window ends, (n,).
        given: Number of its treatment, (n,).
        kind: Place of its kind in `KINDS`, (n,).
        version: Number of its policy in `Log.versions`, (n,).
        reported: Whether something came back: an outcome, or that the treatment did not reach the unit, (n,).
        limited: Whether the budget limited it, (n,).
        modelled: Whether a model made its menu and the unit is not erased: only then value and cost are known, (n,).
        price: Shadow price λ, (n,).
        paid: What was paid, in units of money, (n,).
        gained: Value reported, (n,).
        propensities: Probability of every treatment, (n, M).
        value: Predicted value, (n, M); 0 where no model made it.
        cost: Predicted cost, (n, M); likewise.
        period: Number of its period, (n,).
    """

    time: Floats
    due: Floats
    given: Codes
    kind: Codes
    version: Codes
    reported: Flags
    limited: Flags
    modelled: Flags
    price: Floats
    paid: Floats
    gained: Floats
    propensities: Floats
    value: Floats
    cost: Floats
    period: NDArray[np.int64]

    def explored(self, mix: Floats, draws: Draws | None = None) -> Floats:
        """Returns how probable exploration alone makes each treatment given, (n,).

        Args:
            mix: Weight of each treatment, (M,).
            draws: How units are drawn, where they have weights of their own; then the budget must have limited none.
        """
        open_ = self.propensities > 0
        weights = np.where(open_, mix, 0.0)
        shares = weights / weights.sum(axis=1, keepdims=True)
        if draws is not None:
            policy = best_treatments(self.value, np.where(open_, self.cost, np.inf), self.price)
            shares = draws.explored(self.propensities, policy)
        return np.asarray(shares[np.arange(len(self.given)), self.given])

    def where(self, rows: slice | Flags) -> Decisions:
        """Returns some of the decisions."""
        if not isinstance(rows, slice) and rows.all():
            return self
        columns: list[Any] = [column[rows] for column in self]
        return Decisions(*columns)


def read_log(ledger: Ledger, row: Any, terms: Terms, versions: list[str]) -> Iterator[Decisions]:
    """Yields the decisions of a campaign; versions that appear are added to the list.

    Args:
        ledger: An open ledger.
        row: The campaign's row.
        terms: Its terms.
        versions: Names of the versions that are known already.

    Raises:
        StoreError: The store failed.
    """
    numbers = {name: k for k, name in enumerate(versions)}
    for rows in _parts(ledger, row, _LOG):
        part = _columns(rows, terms, numbers)
        versions[:] = numbers
        yield part


def read_log_with_features(
    ledger: Ledger, row: Any, terms: Terms, versions: list[str]
) -> Iterator[tuple[Decisions, tuple[str | None, ...]]]:
    """Yields the decisions of a campaign, and what is stored of the features of each, as JSON; None: nothing is.

    Args:
        ledger: An open ledger.
        row: The campaign's row.
        terms: Its terms.
        versions: Names of the versions that are known already; versions that appear are added.

    Raises:
        StoreError: The store failed.
    """
    numbers = {name: k for k, name in enumerate(versions)}
    for rows in _parts(ledger, row, _LOG_WITH_FEATURES):
        part = _columns([one[:-1] for one in rows], terms, numbers)
        versions[:] = numbers
        yield part, tuple(one[-1] for one in rows)


def read_texts(ledger: Ledger, row: Any, first: int, end: int) -> list[str]:
    """Returns the stored features of the decisions from one number to another, as JSON.

    Raises:
        StoreError: The store failed.
    """
    with reading(ledger.engine) as connection:
        rows = _TEXTS.run(connection, (place_of(row.code, first), place_of(row.code, end))).fetchall()
    return [one[0] for one in rows]


def _parts(ledger: Ledger, row: Any, query: Statement) -> Iterator[list[tuple[Any, ...]]]:
    last = place_of(row.code, row.decided)
    for first in range(place_of(row.code, 0), last, _PART):
        with reading(ledger.engine) as connection:
            rows = query.run(connection, (first, min(first + _PART, last))).fetchall()
        if rows:
            yield rows


def _columns(rows: list[tuple[Any, ...]], terms: Terms, numbers: dict[str, int]) -> Decisions:
    n, m, codes = len(rows), len(terms.codes), terms.codes
    time, due, treatment, kind, version, state, limited, price, paid, gained, given, menu, period = zip(
        *rows, strict=True
    )
    for name in dict.fromkeys(version):
        numbers.setdefault(name, len(numbers))
    kinds = {name: k for k, name in enumerate(KINDS)}
    size, empty = 16 * m, bytes(16 * m)
    menus = b"".join([empty if one is None else one if len(one) == size else one[:size] for one in menu])
    both = np.frombuffer(menus, "<f8").reshape(n, 2, m)
    amount, value = np.array(paid, np.float64), np.array(gained, np.float64)
    pending = np.array([one == "pending" or one == "expired" for one in state])
    return Decisions(
        np.array(time, np.float64), np.array(due, np.float64), np.array([codes[one] for one in treatment], np.intp),
        np.array([kinds[one] for one in kind], np.intp), np.array([numbers[one] for one in version], np.intp),
        ~pending | (amount != 0) | (value != 0), np.array(limited, np.bool_),
        np.array([one is not None for one in menu]) & (np.array(version) != FALLBACK), np.array(price, np.float64),
        amount / terms.campaign.scale, value, np.frombuffer(b"".join(given), "<f8").reshape(n, m), both[:, 0], both[:, 1],
        np.array(period, np.int64),
    )  # fmt: skip
