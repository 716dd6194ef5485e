"""Decides many asks of one campaign as columns, where none of them needs a look of its own.

What comes out is what deciding them one by one gives: the draws are the same numbers, and where an ask is refused, the budget
may limit one, or a key was given before, nothing is decided here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy import exc

from largesse import _check
from largesse.errors import DataError
from largesse.serving.draws import KINDS, ManyDraws
from largesse.serving.ledger.accounts import Account
from largesse.serving.ledger.checking import body_of, codes_of, json_of, period_of, weights_of
from largesse.serving.ledger.packing import insert
from largesse.serving.ledger.preparing import Columns, Prepared, Raced, prepared
from largesse.serving.ledger.recording import record_columns
from largesse.serving.ledger.rows import BY_WHO, again, answer_of, parts_of, who_prefix, whos_of
from largesse.serving.ledger.sql import Having
from largesse.serving.ledger.tables import keys
from largesse.serving.ledger.terms import Answer, Answers, Ask, Written, WrittenColumn, text

__all__ = ["KEYS", "Decided", "columns_of", "decide_columns", "keys_of", "many_columns"]

Floats = NDArray[np.float64]
_NUMBERS = ("value", "cost", "price", "reservation", "time")
KEYS = Having(lambda values: keys.select().where(keys.c.key.in_(values)))


class Decided(NamedTuple):
    """What columns of asks got.

    Attributes:
        period: Number of the period.
        which: For each ask, the place of its new decision in the others, -1 where the decision was stored before.
        stored: The answers that were stored before, by the place of the ask.
        first: For each new decision, the place of its ask.
        ids: Ids of the new decisions.
        draws: Their draws.
        reservations: What they reserve, in smallest units.
    """

    period: int
    which: list[int]
    stored: dict[int, Answer]
    first: list[int]
    ids: list[str]
    draws: ManyDraws
    reservations: NDArray[np.int64]

    def id_of(self, i: int) -> str:
        """Returns the id of the decision that answers an ask."""
        k = self.which[i]
        return self.ids[k] if k >= 0 else self.stored[i].id

    def answers(self, account: Account, columns: Columns, now: float) -> list[Answer]:
        """Returns the answers to the asks, in their order."""
        campaign, price, period = account.terms.campaign, account.price, self.period
        name, treatments, scale = campaign.name, campaign.treatments, campaign.scale
        codes, rows = self.draws.codes, np.array(self.first, np.intp)
        new = [
            Answer(
                identity, name, period, columns.units[i], treatments[code], KINDS[kind], given[code],
                dict(zip(treatments, given, strict=True)), value, cost, price, columns.versions[i], reserved / scale, False, now,
                False,
            )
            for i, identity, code, kind, given, value, cost, reserved in zip(
                self.first, self.ids, codes.tolist(), self.draws.kinds.tolist(), self.draws.propensities.tolist(),
                columns.value[rows, codes].tolist(), columns.cost[rows, codes].tolist(), self.reservations.tolist(),
                strict=True,
            )
        ]  # fmt: skip
        if len(new) == len(self.which):
            return new
        return [
            again(self.stored[i]) if k < 0 else new[k] if self.first[k] == i else again(new[k])
            for i, k in enumerate(self.which)
        ]

    def columns(self, account: Account, columns: Columns, now: float) -> Answers:
        """Returns the answers to the asks by columns, in their order."""
        rows, codes, scale = np.array(self.first, np.intp), self.draws.codes, account.terms.campaign.scale
        treatments, given, n = account.terms.campaign.treatments, self.draws.propensities, len(rows)
        new = Answers(
            self.ids, [treatments[code] for code in codes.tolist()], [KINDS[kind] for kind in self.draws.kinds.tolist()],
            given[np.arange(n), codes], given, columns.value[rows, codes], columns.cost[rows, codes],
            np.full(n, account.price), self.reservations / scale, np.full(n, now), np.full(n, self.period),
            [columns.versions[i] for i in self.first], np.zeros(n, np.bool_),
            np.zeros(n, np.bool_), {},
        )  # fmt: skip
        if n == len(self.which):
            return new
        return columns_from(account, self.answers(account, columns, now))


def columns_from(account: Account, answers: Sequence[Answer | DataError]) -> Answers:
    """Returns answers by columns."""
    treatments = account.terms.campaign.treatments
    nobody = Answer(
        "", "", -1, "", "", "", math.nan, dict.fromkeys(treatments, math.nan), math.nan, math.nan, math.nan, "", math.nan, False,
        math.nan, False,
    )  # fmt: skip
    several = [nobody if isinstance(one, DataError) else one for one in answers]
    every = np.array([[one.propensities[name] for name in treatments] for one in several])
    value, cost, price, reservation, time = (
        np.array([one[k] for one in several], np.float64) for k in map(Answer._fields.index, _NUMBERS)
    )
    return Answers(
        [one.id for one in several], [one.treatment for one in several], [one.kind for one in several],
        np.array([one.propensity for one in several]), every, value, cost, price, reservation, time,
        np.array([one.period for one in several], np.int64), [one.version for one in several],
        np.array([one.limited for one in several]), np.array([one.repeated for one in several]),
        {i: one for i, one in enumerate(answers) if isinstance(one, DataError)},
    )  # fmt: skip


def columns_of(account: Account, asks: Sequence[Ask]) -> Columns | None:
    """Returns asks as columns; None where one is to be refused or has parts of unusual kinds."""
    _, units, value, cost, allowed, _, bodies, versions, features, weights = zip(*asks, strict=True)
    try:
        names = [text("unit", unit) for unit in units] if set(map(type, units)) != {str} else _texts(units)
        for version in set(versions) - {""}:
            text("version", version)
        written = [None if one is None else json_of("features", one) for one in features]
        several = [codes_of(one, account.terms) for one in allowed]
        menu, own = np.array((value, cost), np.float64), None
        if any(one is not None for one in weights):
            nothing = [0.0] * len(account.terms.codes)
            own = np.array([nothing if one is None else weights_of(one, account.terms) for one in weights])
    except (DataError, TypeError, ValueError, OverflowError):
        return None
    mask = None
    if any(codes is not None for codes in several):
        mask = np.array([[codes is None or j in codes for j in account.terms.codes.values()] for codes in several])
    if set(map(type, bodies)) != {str}:
        return None
    return checked_columns(account, names, menu, mask, versions, written, own)


def checked_columns(
    account: Account, units: Sequence[str], menu: Floats, allowed: NDArray[np.bool_] | None, versions: Sequence[str],
    features: Sequence[str | None], weights: Floats | None,
) -> Columns | None:  # fmt: skip
    """Returns columns if their menus (2, n, M) are sound, else None."""
    if menu.shape != (2, len(units), len(account.terms.codes)):
        return None
    if not np.abs(menu).max() <= _check.LARGEST or menu[1].min() < 0:
        return None
    size, content = 16 * menu.shape[2], np.ascontiguousarray(menu.transpose(1, 0, 2), "<f8").tobytes()
    menus = parts_of(content, size)
    if allowed is not None:
        menus = [
            one if row.all() else one + np.flatnonzero(row).astype("<u4").tobytes()
            for one, row in zip(menus, allowed, strict=True)
        ]
    return Columns(units, menu[0], menu[1], menus, allowed, versions, features, weights)


def _texts(units: Sequence[str]) -> Sequence[str]:
    """Returns units of type str if all may be stored; raises DataError otherwise."""
    whole = "".join(units)
    if whole.isascii() and "\0" not in whole and max(map(len, units)) <= 500 and min(map(len, units)):
        return units
    return [text("unit", unit) for unit in units]


def keys_of(
    connection: sa.Connection, campaign: str, columns: Columns, given: Sequence[str | None], bodies: Sequence[str]
) -> list[tuple[int, str, str]] | None:
    """Returns place, key and hash of the body of the asks with a key; None where one was given before, or twice."""
    places = [i for i, key in enumerate(given) if key is not None]
    if not places:
        return []
    try:
        names = [text("key", given[i]) for i in places]
    except DataError:
        return None
    if len(set(names)) < len(names) or any(row.campaign == campaign for row in KEYS.rows(connection, names)):
        return None
    out = []
    for i, key in zip(places, names, strict=True):
        open_ = None if columns.allowed is None or columns.allowed[i].all() else columns.allowed[i]
        codes = None if open_ is None else np.flatnonzero(open_).tolist()
        out.append((i, key, body_of(bodies[i], columns.units[i], columns.menus[i], columns.features[i], codes)))
    return out


def many_columns(
    account: Account, units: Sequence[Any], value: Floats, cost: Floats, allowed: NDArray[np.bool_] | None, version: str,
    features: WrittenColumn | Sequence[Mapping[str, Any] | Written | None] | None, weights: Floats | None,
) -> Columns | None:  # fmt: skip
    """Returns columns of asks that were given as columns; None where one is to be refused."""
    try:
        names = _texts(units) if set(map(type, units)) == {str} else [text("unit", unit) for unit in units]
        written: Sequence[str | None]
        if isinstance(features, WrittenColumn):
            written = features
        else:
            written = [None if one is None else json_of("features", one) for one in features or ()]
    except DataError:
        return None
    if allowed is not None and not allowed[:, 0].all():
        return None
    way = account.terms.campaign.exploration
    if weights is not None and not (way == "thompson" and weights.min() >= 0 and weights.max() <= _check.LARGEST):
        return None
    menu = np.array((value, cost))
    return checked_columns(
        account, names, menu, allowed, (version,) * len(names), written or (None,) * len(names), weights
    )


def decide_columns(
    connection: sa.Connection, account: Account, columns: Columns, now: float, ready: Prepared | None = None
) -> Decided | None:
    """Returns what columns of asks get, and writes it; None where they must be decided one by one.

    Args:
        connection: The transaction that locked the campaign.
        account: The campaign.
        columns: The asks.
        now: Time of the decisions.
        ready: What was prepared for all of them: none had a decision. It counts if the campaign is still the same.

    Raises:
        Raced: One of them has a decision by now.
    """
    period, n = period_of(account, now), len(columns.units)
    unseen = ready is not None and ready.fits(account, period)
    first, which, repeated = list(range(n)), list(range(n)), dict[int, Answer]()
    if not unseen:
        who = whos_of(who_prefix(account.terms, period), columns.units)
        stored = {bytes(row.who): answer_of(row, account.terms) for row in BY_WHO.rows(connection, who)}
        if stored or len(set(who)) < n:
            if columns.allowed is not None:  # the earlier treatment may not be allowed
                return None
            first, which, repeated = _first(who, stored)
            if not first:
                none = np.zeros(0, np.intp)
                draws = ManyDraws(none, none, np.zeros((0, columns.value.shape[1])))
                return Decided(period, which, repeated, [], [], draws, none.astype(np.int64))
        ready = prepared(account, period, columns, first, who)
    if ready is None or now >= account.terms.campaign.until:
        return None
    if ready.needs is not None and ready.needs > account.left:  # the budget may limit one
        return None
    ids, rows = record_columns(account, period, ready.new, now)
    with _races(connection) if unseen else nullcontext():
        insert(connection, account.terms.campaign.treatments, rows, ready.new.packed)
    return Decided(period, which, repeated, first, ids, ready.draws, ready.new.reservations)


@contextmanager
def _races(connection: sa.Connection) -> Iterator[None]:
    driver: Any = connection.dialect.dbapi
    try:
        yield
    except (exc.IntegrityError, driver.IntegrityError) as error:
        raise Raced from error


def _first(who: Sequence[bytes], stored: dict[bytes, Answer]) -> tuple[list[int], list[int], dict[int, Answer]]:
    """Returns `first`, `which` and `stored` of `Decided`."""
    first, which, repeated, places = list[int](), list[int](), dict[int, Answer](), dict[bytes, int]()
    for i, one in enumerate(who):
        if (known := stored.get(one)) is not None:
            repeated[i] = known
            which.append(-1)
            continue
        if (k := places.get(one)) is None:
            k = places[one] = len(first)
            first.append(i)
        which.append(k)
    return first, which, repeated
