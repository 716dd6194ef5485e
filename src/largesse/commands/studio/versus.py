"""Two runs beside each other: paired on their held-out rows where these are the same, and by what each would give the units."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from largesse.allocate import kernels
from largesse.commands.studio.evidence import Evidence
from largesse.commands.studio.population import Population
from largesse.evaluate.comparison import Verdict, compare
from largesse.logs import Logs

__all__ = ["Differently", "Versus", "differently", "versus"]


class Versus(NamedTuple):
    """The second run less the first, at the same budget per unit, on the same held-out rows.

    Attributes:
        difference: Value per unit.
        low: Lower end of its paired interval.
        high: Upper end.
        events: Effective number of events that it rests on.
        verdict: Of the second run against the first.
    """

    difference: float
    low: float
    high: float
    events: float
    verdict: Verdict


class Differently(NamedTuple):
    """Units that two runs treat differently at the same budget.

    Attributes:
        n: How many.
        share: Their share of all units.
        moves: Units by treatment of the first run and of the second, (M, M).
    """

    n: int
    share: float
    moves: NDArray[np.int64]


def versus(first: Evidence, second: Evidence, budget: float) -> Versus | None:
    """Returns the second run less the first; None where they were not proven on the same rows.

    Args:
        first: The first run.
        second: The second run.
        budget: Budget per unit.

    Raises:
        DataError: The budget is not a number, or is negative.
    """
    if not _same(first.proof.logs, second.proof.logs):
        return None
    menus = {"first": first.proof.menu, "second": second.proof.menu}
    table = compare(first.proof.logs, menus, [budget], reference="first")
    p = table.index("second")
    parts = (table.difference, table.difference_low, table.difference_high, table.difference_events)
    difference, low, high, events = (float(part[p, 0]) for part in parts)
    verdict = Verdict.OUT_OF_REACH if np.isnan(difference) else Verdict.of(low, high)
    return Versus(difference, low, high, events, verdict)


def _same(first: Logs, second: Logs) -> bool:
    """Returns whether two proofs have the same rows in the same order."""
    return (
        first.treatments == second.treatments
        and first.n == second.n
        and all(
            np.array_equal(getattr(first, name), getattr(second, name))
            for name in ("treatment", "value", "cost", "weights", "propensity")
        )
        and _alike(first.unit, second.unit)
    )


def _alike(first: NDArray[Any] | None, second: NDArray[Any] | None) -> bool:
    if first is None or second is None:
        return first is second
    return np.array_equal(first, second)


def differently(first: Population, second: Population, prices: tuple[float, float]) -> Differently | None:
    """Returns the units that two runs treat differently; None where their treatments are not the same.

    Args:
        first: The units as the first run sees them.
        second: The same units as the second run sees them.
        prices: Shadow price λ of the budget in each run.
    """
    if first.menu.treatments != second.menu.treatments or first.n != second.n:
        return None
    m = first.menu.n_treatments
    a, b = (
        kernels.assign_at(one.menu.value.T, one.menu.cost.T, price)
        for one, price in zip((first, second), prices, strict=True)
    )
    moves = np.bincount(a.astype(np.int64) * m + b, minlength=m * m).reshape(m, m)
    n = int(moves.sum() - np.trace(moves))
    return Differently(n, n / first.n, moves)
