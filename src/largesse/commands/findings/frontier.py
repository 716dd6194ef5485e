"""The policy at budgets along the whole range that can be spent, for the slider of the report."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from largesse import report
from largesse.evaluate.bootstrap import Arms
from largesse.evaluate.comparison import without_intervals
from largesse.evaluate.paths import DecisionPath
from largesse.evaluate.returns import returns
from largesse.logs import Logs
from largesse.menu import Menu

__all__ = ["frontier"]

_STEPS = 60  # of the slider, besides the budgets of the run


def frontier(
    logs: Logs, policy: str, menu: Menu | DecisionPath, budgets: Sequence[float], value_per_unit: float | None
) -> report.Frontier:
    """Returns what the policy brings, costs and gives at each budget, by the same code as the table of returns.

    Args:
        logs: The held-out rows.
        policy: Name of the policy.
        menu: Its predictions for these rows, or its decisions at rising budgets.
        budgets: The budgets of the table, (B,); each is one of the positions. The range ends at the cost of giving everyone the
            most expensive treatment, or at the largest of them.
        value_per_unit: What one unit of value brings in money; None: not known.
    """
    most = float(Arms.of(logs).means()[1].max())
    money = _positions(np.asarray(budgets, np.float64), most)
    made = without_intervals(logs, {policy: menu}, money)
    rows = returns(made, value_per_unit=value_per_unit, names=(policy,)).rows
    shares = tuple(tuple(map(float, np.clip(share, 0, 1))) for share in made.parts.mix)
    return report.Frontier(rows=rows, treatments=logs.treatments, shares=shares, start=0)


def _positions(budgets: NDArray[np.float64], most: float) -> NDArray[np.float64]:
    """Returns steps from 0 to the largest amount and the budgets, rising; a step that is a budget up to rounding is left out."""
    top = max(most, float(budgets.max()))
    steps = np.linspace(0, top, _STEPS + 1)
    new = np.abs(steps[:, None] - budgets).min(axis=1) > 1e-9 * top
    return np.unique(np.concatenate([steps[new], budgets]))
