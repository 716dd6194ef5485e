"""What another policy would have decided for the units of a ledger, and what that would have brought and cost."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import sqlalchemy as sa
from numpy.typing import ArrayLike, NDArray

from largesse._arguments import checked
from largesse.errors import DataError
from largesse.serving.increments import best_treatments
from largesse.serving.ledger.accounts import terms_of
from largesse.serving.ledger.book import Ledger
from largesse.serving.ledger.log import parts, row_of
from largesse.serving.ledger.rows import menus_of
from largesse.serving.ledger.tables import decisions
from largesse.serving.ledger.terms import FALLBACK

__all__ = ["Change", "Replayed", "Sums", "replay"]

Floats = NDArray[np.float64]
Predict = Callable[[Sequence[Mapping[str, Any]]], tuple[Sequence[Sequence[float]], Sequence[Sequence[float]]]]
_95 = NormalDist().inv_cdf(0.975)


class Change(NamedTuple):
    """Difference of a mean per unit between the other policy and the one that decided, estimated from what units brought.

    Attributes:
        difference: The estimate, by inverse propensity weights on the matured decisions.
        low: Lower end of its 95 % interval.
        high: Upper end.
    """

    difference: float
    low: float
    high: float


class Replayed(NamedTuple):
    """The decisions of a log by another policy.

    Attributes:
        decisions: Number of decisions that were decided again.
        left_out: Decisions whose features (in the shadow: whose other answer) are not stored, those of erased units, and those
            made without a model.
        changed: Share of the decisions that differ.
        before: How often each treatment was the policy's, by name.
        after: How often it is the other policy's.
        cost_before: Mean of the predicted cost per unit, by the menus of then.
        cost_after: The same of the other policy, by its own menus.
        judged: Number of matured decisions that value and cost are estimated from.
        informative: How many of these had a treatment that only one of the two policies gives.
        value: Difference of the value per unit; None if no decision has matured.
        cost: Difference of the money paid per unit; None likewise.
    """

    decisions: int
    left_out: int
    changed: float
    before: dict[str, int]
    after: dict[str, int]
    cost_before: float
    cost_after: float
    judged: int
    informative: int
    value: Change | None
    cost: Change | None


@checked
def replay(ledger: Ledger, campaign: str, predict: Predict, *, price: float | None = None) -> Replayed:
    """Returns what another policy would have decided, at the prices of then, without holdout, exploration and budget.

    Both policies are compared by their own choices, also for units of the holdout and of the exploration. Differences of value
    and cost follow from the exploration: a row counts for a policy if it had that policy's treatment, with the inverse of
    the probability of it. Rows that the budget limited are left out of them, since some treatments were out of reach.
    An estimate is too good if the other policy was learned from these decisions.

    Args:
        ledger: An open ledger.
        campaign: Name of the campaign.
        predict: Takes the features of n units and returns predicted value and cost of every treatment of the campaign,
            (n, M) each.
        price: Shadow price λ of the other policy; None: that of each decision.

    Raises:
        DataError: The campaign is not in the ledger, or no decision has features.
        StoreError: The store failed.
    """
    row, d = row_of(ledger, campaign), decisions.c
    sums = Sums(row.settings, price, ledger.clock())
    query = sa.select(decisions).where(d.campaign == campaign, d.features.is_not(None), d.version != FALLBACK)
    for part in parts(ledger, row, query.order_by(d.place)):
        sums.add(part, *predict([json.loads(one.features) for one in part]))
    if not sums.n:
        rule = f": none of its {row.decided:,} decisions has stored features. Serve it with `features = true` first."
        raise DataError.at("campaign", f" == {campaign!r}{rule}")
    return sums.result(row.decided)


class Sums:
    """What is counted over the parts of a log.

    Args:
        settings: Settings of the campaign, as stored.
        price: Shadow price λ of the other policy; None: that of each decision.
        now: The time, in seconds since 1970 (UTC).
    """

    def __init__(self, settings: str, price: float | None, now: float) -> None:
        self.terms, self.price, self.now = terms_of(settings), price, now
        self.n = self.changed = self.informative = 0
        self.m = m = len(self.terms.campaign.treatments)
        self.before, self.after = np.zeros(m, np.int64), np.zeros(m, np.int64)
        self.planned = np.zeros(2)
        self.gains: list[Floats] = []

    def add(self, rows: Sequence[Any], others_value: ArrayLike, others_cost: ArrayLike) -> None:
        """Counts some decisions, with the menus of the other policy, (n, M) each."""
        n, m = len(rows), self.m
        at = np.arange(n)
        value, cost, allowed = menus_of([row.menu for row in rows], m)
        new_value, new_cost = np.asarray(others_value, np.float64), np.asarray(others_cost, np.float64)
        then = np.array([row.price for row in rows])
        old = _choice(value, cost, allowed, then)
        new = _choice(new_value, new_cost, allowed, then if self.price is None else np.full(n, self.price))
        self.n += n
        self.changed += int((old != new).sum())
        self.before += np.bincount(old, minlength=m)
        self.after += np.bincount(new, minlength=m)
        self.planned += cost[at, old].sum(), new_cost[at, new].sum()
        self._judge(rows, old, new)

    def _judge(self, rows: Sequence[Any], old: NDArray[np.intp], new: NDArray[np.intp]) -> None:
        codes, scale, m = self.terms.codes, self.terms.campaign.scale, self.m
        given = np.array([codes[row.treatment] for row in rows])
        every = np.frombuffer(b"".join([row.propensities for row in rows]), "<f8").reshape(len(rows), m)
        sound = np.array([row.due <= self.now and not row.limited for row in rows])
        weight = ((given == new) * 1.0 - (given == old)) / every[np.arange(len(rows)), given]
        outcome = np.array([(row.gained, row.paid / scale) for row in rows])
        self.gains.append((weight[:, None] * outcome)[sound])
        self.informative += int((weight[sound] != 0).sum())

    def result(self, decided: int) -> Replayed:
        """Returns the counts."""
        names, gains = self.terms.campaign.treatments, np.concatenate(self.gains)
        value, cost = (_change(gains[:, k]) if len(gains) > 1 else None for k in (0, 1))
        before, after = (dict(zip(names, count.tolist(), strict=True)) for count in (self.before, self.after))
        spent, planned = (self.planned / self.n).tolist()
        return Replayed(
            self.n, decided - self.n, self.changed / self.n, before, after, spent, planned, len(gains), self.informative, value,
            cost,
        )  # fmt: skip


def _choice(value: Floats, cost: Floats, allowed: NDArray[np.bool_], price: Floats) -> NDArray[np.intp]:
    """Returns the best allowed treatment of each unit at its price."""
    reached, out = np.where(allowed, cost, np.inf), np.zeros(len(value), np.intp)
    for one in np.unique(price):
        units = price == one
        out[units] = best_treatments(value[units], reached[units], float(one))
    return out


def _change(terms: Floats) -> Change:
    mean, error = float(terms.mean()), float(terms.std(ddof=1) / np.sqrt(len(terms)))
    return Change(mean, mean - _95 * error, mean + _95 * error)
