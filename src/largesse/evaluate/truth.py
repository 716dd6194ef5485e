"""The exact value of a policy where the true means are known: simulated worlds only."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from largesse import _check
from largesse._arguments import checked
from largesse.allocate.budget_frontier import frontier, steps
from largesse.evaluate import kernels
from largesse.evaluate.cost_curves import CostCurve
from largesse.evaluate.ties import differ, joined
from largesse.evaluate.untargeted import mix_value
from largesse.menu import Menu

__all__ = ["Room", "attainable_gain", "true_aucc", "true_value"]


@checked
def true_value(menu: Menu, truth: Menu, budgets: _check.Numbers) -> NDArray[np.float64]:
    """Returns the true value per unit when a menu's policy spends each budget.

    Args:
        menu: The policy's predictions, (N, M).
        truth: Exact conditional means of value and cost of the same units.
        budgets: Budget per unit, (B,).

    Returns:
        Value per unit, (B,); NaN where the budget is below the policy's smallest true spend.
    """
    if (menu.n, menu.treatments) != (truth.n, truth.treatments):
        raise _check.refuse(
            "menu", (menu.n, menu.treatments), "must have the units of the truth", "Predict for the same x."
        )
    increments, rows = steps(menu), np.arange(menu.n)
    change = np.column_stack(
        [increments.change(truth.cost), increments.change(truth.value), np.zeros(len(increments.slope))]
    )
    base = [
        truth.cost[rows, increments.start].sum(dtype=np.float64),
        truth.value[rows, increments.start].sum(dtype=np.float64),
        0.0,
    ]
    sums = kernels.cumulate(np.vstack([base, change]))[::-1] / menu.n  # the price rises
    last = np.append(True, differ(increments.slope)) if len(increments.slope) else np.zeros(0, bool)
    corners = np.append(last, True)[::-1]  # units tied in price change together
    _, cost, value = kernels.pool(np.ascontiguousarray(sums[corners, 0]), np.ascontiguousarray(sums[corners, 1]))
    limits = _check.numbers("budgets", budgets)
    return np.where(limits >= cost[-1] * (1 - 1e-12), np.interp(limits, cost[::-1], value[::-1]), np.nan)


@checked
def attainable_gain(menu: Menu, truth: Menu, budgets: _check.Numbers) -> NDArray[np.float64]:
    """Returns (V - V_arms) / (V_oracle - V_arms) at each budget per unit, (B,): see `Room`.

    V is the policy's true value at that true spend.
    """
    return Room.of(truth, budgets).gain(true_value(menu, truth, budgets))


class Room(NamedTuple):
    """The attainable gain at some budgets, each (B,).

    Attributes:
        arms: Value per unit of the best mix of whole-population arms.
        oracle: Value per unit of the best allocation on the exact conditional means given x.
    """

    arms: NDArray[np.float64]
    oracle: NDArray[np.float64]

    @classmethod
    def of(cls, truth: Menu, budgets: _check.Numbers) -> Room:
        """Returns both for the exact means of some units, at budgets per unit."""
        limits = _check.numbers("budgets", budgets)
        arms = mix_value(truth.value.mean(0, dtype=np.float64), truth.cost.mean(0, dtype=np.float64), limits)
        return cls(arms, frontier(truth).value_at(limits * truth.n) / truth.n)

    def gain(self, value: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns the share that a policy of this value per unit captures: 0 for the best mix of arms, 1 for the optimum.

        NaN where there is nothing to gain.
        """
        gain, room = value - self.arms, self.oracle - self.arms
        return np.divide(gain, room, out=np.full_like(gain, np.nan), where=room > 0)


def true_aucc(score: NDArray[Any], truth: Menu) -> float:
    """Returns the exact area under the cost curve of a score, which `aucc` estimates.

    Args:
        score: Priority of each unit, (N,); higher is treated first, equal scores in the order given.
        truth: Exact conditional means of value and cost, control and one treatment.

    Raises:
        DataError: More than one treatment, another number of units, or treating every unit gains or costs nothing.
    """
    if truth.n_treatments != 2 or np.shape(score) != (truth.n,):
        got = (truth.n_treatments, np.shape(score))
        raise _check.refuse("score", got, "needs one number per unit, control and one treatment", "Use roi_score.")
    order = np.argsort(-joined(np.asarray(score, np.float64)), kind="stable")
    value, cost = (
        np.append(0.0, np.diff(a.astype(np.float64), axis=1)[order, 0].cumsum()) for a in (truth.value, truth.cost)
    )
    if value[-1] <= 0 or cost[-1] <= 0:
        raise _check.refuse(
            "truth", (value[-1], cost[-1]), "treating every unit must gain and cost", "Use another world."
        )
    return CostCurve(cost=cost, value=value, share=np.linspace(0, 1, truth.n + 1)).area
