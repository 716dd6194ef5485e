"""What each run decided in a campaign, what that was predicted to bring and cost, and what it brought and cost."""

from __future__ import annotations

from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import sqlalchemy as sa

from largesse._arguments import checked
from largesse.serving.ledger.accounts import terms_of
from largesse.serving.ledger.book import Ledger
from largesse.serving.ledger.log import parts, row_of
from largesse.serving.ledger.rows import menus_of
from largesse.serving.ledger.tables import decisions

__all__ = ["RunCount", "by_run"]

_95 = NormalDist().inv_cdf(0.975)
_SUMS = 12


class RunCount(NamedTuple):
    """The decisions of one version of the policy, exploration and holdout included.

    Means are per matured decision, with 95 % intervals of one look; None where fewer than two have matured. Which units a
    challenger decides for does not depend on them, so of two runs that decided in the same time, the means compare the runs;
    otherwise they compare the times, too.

    Attributes:
        version: The version that decided; "fallback": without a model.
        decisions: Number of decisions.
        predicted_value: Sum of the predicted values of the treatments given.
        predicted_cost: Sum of their predicted costs.
        spent: Money paid.
        reserved: Money reserved.
        value: Value reported.
        matured: Number of decisions older than the campaign's `matures`.
        matured_value: Value reported for these.
        matured_spent: Money paid for these.
        erased: Decisions of erased units: their predictions are erased, too, and in no sum.
        value_mean: Mean of the value reported.
        value_low: Lower end of its interval.
        value_high: Upper end.
        spent_mean: Mean of the money paid.
        spent_low: Lower end of its interval.
        spent_high: Upper end.
    """

    version: str
    decisions: int
    predicted_value: float
    predicted_cost: float
    spent: float
    reserved: float
    value: float
    matured: int
    matured_value: float
    matured_spent: float
    erased: int
    value_mean: float | None
    value_low: float | None
    value_high: float | None
    spent_mean: float | None
    spent_low: float | None
    spent_high: float | None


@checked
def by_run(ledger: Ledger, campaign: str) -> list[RunCount]:
    """Returns the counts and sums of each run that decided in a campaign, by version; it reads the whole log of the campaign.

    Args:
        ledger: An open ledger.
        campaign: Name of the campaign.

    Raises:
        DataError: The campaign is not in the ledger.
        StoreError: The store failed.
    """
    row, d, now = row_of(ledger, campaign), decisions.c, ledger.clock()
    terms = terms_of(row.settings)
    columns = d.version, d.treatment, d.menu, d.paid, d.reserved, d.gained, d.due
    m, scale = len(terms.codes), terms.campaign.scale
    sums: dict[str, np.ndarray] = {}
    for part in parts(ledger, row, sa.select(*columns).where(d.campaign == campaign).order_by(d.place)):
        known = np.array([one.menu is not None for one in part])
        table = np.zeros((len(part), _SUMS))
        codes = np.array([terms.codes[one.treatment] for one in part])
        value, cost, _ = menus_of([one.menu for one in part if one.menu is not None], m)
        at = np.arange(len(value))
        table[:, 0] = 1
        table[known, 1], table[known, 2] = value[at, codes[known]], cost[at, codes[known]]
        table[:, 3:6] = [(one.paid / scale, one.reserved / scale, one.gained) for one in part]
        old = np.array([one.due <= now for one in part])
        table[old, 6], table[old, 7], table[old, 8] = 1, table[old, 5], table[old, 3]
        table[:, 9] = ~known
        table[:, 10:12] = table[:, 7:9] ** 2
        names, which = np.unique([one.version for one in part], return_inverse=True)
        for k, name in enumerate(names.tolist()):
            sums[name] = sums.get(name, np.zeros(_SUMS)) + table[which == k].sum(0)
    return [_count(name, total.tolist()) for name, total in sorted(sums.items())]


def _count(name: str, t: list[float]) -> RunCount:
    value, spent = (_mean(t[6], t[k], t[k + 3]) for k in (7, 8))
    counts = int(t[0]), t[1], t[2], t[3], t[4], t[5], int(t[6]), t[7], t[8], int(t[9])
    return RunCount(name, *counts, *value, *spent)


def _mean(n: float, total: float, squares: float) -> tuple[float, float, float] | tuple[None, None, None]:
    """Returns a mean and its 95 % interval."""
    if n < 2:
        return None, None, None
    mean = total / n
    half = _95 * (max(0.0, squares - total * mean) / (n - 1) / n) ** 0.5
    return mean, mean - half, mean + half
