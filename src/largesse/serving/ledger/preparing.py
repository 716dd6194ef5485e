"""What of new decisions needs no lock: their draws, what they reserve, and the digests of what is private."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from largesse.serving.draws import KINDS, ManyDraws
from largesse.serving.exploring import tilted
from largesse.serving.ledger.accounts import Account
from largesse.serving.ledger.audit import SEAL, private_digests
from largesse.serving.ledger.money import MOST, NOISE
from largesse.serving.ledger.packing import Packed, packed_columns

__all__ = ["TOKEN", "Columns", "NewColumns", "Prepared", "Raced", "prepared"]

TOKEN = 8
"""Random bytes of an id."""


class Raced(Exception):  # noqa: N818  (the name is the condition)
    """Another transaction decided one of the units after they were looked for."""


class Columns(NamedTuple):
    """Asks of one campaign that are sound, n of them.

    Attributes:
        units: Ids of the units.
        value: Predicted values, (n, M).
        cost: Predicted costs, (n, M).
        menus: Menus as stored.
        allowed: Which treatments each unit may get, (n, M); None: all.
        versions: Versions of the policy.
        features: Features as JSON; None where an ask has none.
        weights: Weights of the treatments in exploration, (n, M); 0 for all of them, or None: the mix.
    """

    units: Sequence[str]
    value: NDArray[np.float64]
    cost: NDArray[np.float64]
    menus: list[bytes]
    allowed: NDArray[np.bool_] | None
    versions: Sequence[str]
    features: Sequence[str | None]
    weights: NDArray[np.float64] | None


class NewColumns(NamedTuple):
    """n decisions before they are stored, by columns, each as in `New`; the budget has limited none of them.

    `tokens` and `seals` are the random bytes of ids and rows, one after the other; `privates` are the digests that the seals
    belong to; `packed` is what SQLite takes of them, None: their rows.
    """

    who: Sequence[bytes]
    units: Sequence[str]
    treatments: Sequence[str]
    kinds: Sequence[str]
    versions: Sequence[str]
    reservations: NDArray[np.int64]
    propensities: NDArray[np.float64]
    menus: Sequence[bytes]
    features: Sequence[str | None]
    tokens: bytes
    seals: bytes
    privates: list[bytes]
    packed: Packed | None


class Prepared(NamedTuple):
    """New decisions of one campaign, at the price and in the period that they were drawn for.

    Attributes:
        settings: The settings of the campaign.
        price: Its price.
        tilt: Tilt of its exploration.
        period: Number of the period.
        new: The decisions.
        draws: Their draws.
        needs: Money that must be left, in smallest units, so that the budget limits none of them; None: none costs anything.
    """

    settings: str
    price: float
    tilt: float
    period: int
    new: NewColumns
    draws: ManyDraws
    needs: int | None

    def fits(self, account: Account, period: int) -> bool:
        """Whether a campaign is as it was when the decisions were drawn."""
        now = account.row.settings, account.price, account.tilt, period
        return now == (self.settings, self.price, self.tilt, self.period)


def prepared(
    account: Account, period: int, columns: Columns, first: Sequence[int], who: Sequence[bytes]
) -> Prepared | None:
    """Returns new decisions; None where a cost is too large.

    Args:
        account: The campaign.
        period: Number of the period.
        columns: The asks.
        first: Places of those asks that get a new decision, at least one, in their order.
        who: Hashes of the units of all asks.
    """
    terms, whole = account.terms, len(first) == len(columns.units)
    rows: Any = slice(None) if whole else np.array(first, np.intp)
    value, cost, allowed = columns.value[rows], columns.cost[rows], columns.allowed
    exact = cost * terms.campaign.scale
    if exact.max() > MOST:
        return None
    given: tuple[Sequence[Any], ...] = who, columns.units, columns.versions, columns.menus, columns.features
    if not whole:
        given = tuple([column[i] for i in first] for column in given)
    hashes, units, versions, menus, features = given
    open_ = None if allowed is None else allowed[rows]
    own = None if columns.weights is None else columns.weights[rows]
    if account.tilt:
        own = tilted(np.array(terms.draws.mix), cost if open_ is None else np.where(open_, cost, np.inf), account.tilt)
    draws = terms.draws.draw_many(period, units, value, cost, account.price, open_, own)
    amounts = np.maximum(np.ceil(exact - exact * NOISE).astype(np.int64), np.array(terms.worst, np.int64))
    reservations = amounts[np.arange(len(first)), draws.codes]
    treatments, n = terms.campaign.treatments, len(first)
    random = os.urandom((TOKEN + SEAL) * n)
    tokens, seals = random[: TOKEN * n], random[TOKEN * n :]
    new = NewColumns(
        hashes, units, [treatments[code] for code in draws.codes.tolist()], [KINDS[kind] for kind in draws.kinds.tolist()],
        versions, reservations, draws.propensities, menus, features, tokens, seals,
        private_digests(seals, units, menus, features),
        packed_columns(hashes, units, draws, reservations, versions, menus, features, seals),
    )  # fmt: skip
    return Prepared(
        account.row.settings, account.price, account.tilt, period, new, draws, _needs(amounts, draws, reservations)
    )


def _needs(amounts: NDArray[np.int64], draws: ManyDraws, reservations: NDArray[np.int64]) -> int | None:
    """Returns the money that pays for all that the last and every earlier unit could draw, after what those before it reserve."""
    dearest = np.where(draws.propensities > 0, amounts, 0).max(axis=1)
    before = np.concatenate([[0], np.cumsum(reservations[:-1])])
    several = (before + dearest)[dearest > 0]
    return int(several.max()) if len(several) else None
