"""Estimates on rows of a trial for decision losses: net value of a soft policy, marginal value of budget, price of a budget.

The soft policy of a menu is z_ij = softmax_j((value_ij - price cost_ij) / temperature). With w_i = row weight / propensity,
s_i the row weight, y_i = r_i - μ c_i and q_ij the net value in a frozen menu, its net value per unit is estimated without bias
up to a constant by

| variance | estimate |
|---|---|
| plain | 1/N Σ w_i y_i z_{i,t_i} |
| baseline | 1/N Σ w_i (y_i - m_i) z_{i,t_i}, m_i the mean of q_ij over the arms; its gradient is unbiased since Σ_j z_ij = 1 |
| dr (doubly robust) | 1/N Σ (s_i Σ_j q_ij z_ij + w_i (y_i - q_{i,t_i}) z_{i,t_i}) |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from largesse.allocate import kernels as hulls
from largesse.evaluate import kernels as sums
from largesse.models.nets.rows import Rows

__all__ = ["Trial", "Variance", "marginal_value", "net_value_terms", "net_value_weights", "soft_policy", "spend_price"]

Variance = Literal["plain", "baseline", "dr"]


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """Rows of a trial, and a frozen menu that reduces the variance of a decision loss.

    Attributes:
        rows: The rows, with `inverse`.
        menu: Value and cost of a frozen menu, each (N, M); None: no variance reduction.
    """

    rows: Rows
    menu: tuple[Tensor, Tensor] | None = None

    @property
    def inverse(self) -> Tensor:
        """Row weight over propensity, (N,)."""
        assert self.rows.inverse is not None
        return self.rows.inverse

    def take(self, i: Tensor) -> Trial:
        """Returns the rows with these numbers."""
        return Trial(self.rows.take(i), None if self.menu is None else (self.menu[0][i], self.menu[1][i]))

    def taken(self, table: Tensor) -> Tensor:
        """Returns the entries of a table (N, M) for the treatment that each row was given, (N,)."""
        return table.gather(1, self.rows.treatment[:, None]).squeeze(1)

    def net_outcome(self, mu: float) -> Tensor:
        """Returns y = r - mu c of each row, (N,)."""
        return self.rows.value - mu * self.rows.cost

    def predicted(self, mu: float) -> Tensor:
        """Returns the net value q of every treatment in the frozen menu, (N, M): a control variate."""
        assert self.menu is not None
        return self.menu[0] - mu * self.menu[1]

    def baseline(self, mu: float) -> Tensor:
        """Returns the mean of `predicted` over the arms, (N,)."""
        return self.predicted(mu).mean(1)


def soft_policy(value: Tensor, cost: Tensor, price: Tensor | float, temperature: Tensor | float) -> Tensor:
    """Returns z_ij = softmax_j((value_ij - price cost_ij) / temperature), (N, M)."""
    # Arms side by side in memory: torch's softmax is slow over a short last axis.
    return ((value - price * cost) / temperature).T.contiguous().softmax(0).T


def net_value_weights(trial: Trial, mu: float, variance: Variance) -> tuple[Tensor, Tensor | None]:
    """Returns the factors of z_{i,t_i}, (N,), and of every z_ij, (N, M) or None, in the estimate of the net value."""
    outcome = trial.net_outcome(mu)
    if variance == "plain" or trial.menu is None:
        return trial.inverse * outcome, None
    if variance == "baseline":
        return trial.inverse * (outcome - trial.baseline(mu)), None
    predicted = trial.predicted(mu)
    return trial.inverse * (outcome - trial.taken(predicted)), trial.rows.share[:, None] * predicted


def net_value_terms(z: Tensor, trial: Trial, own: Tensor, every: Tensor | None) -> tuple[Tensor, Tensor]:
    """Returns each row's term of the net value, (N,): the part of the treatment it was given, and the whole term.

    `own` and `every` are the factors of `net_value_weights`; the mean of the whole terms is the estimate.
    """
    taken = own * trial.taken(z)
    return taken, taken if every is None else taken + (every * z).sum(1)


def marginal_value(z: Tensor, cost: Tensor, temperature: Tensor | float, trial: Trial) -> tuple[Tensor, Tensor]:
    """Returns -∂R/∂price and -∂C/∂price of the soft policy on the rows; their ratio is the marginal value of budget μ.

    ∂z_ij/∂price = -z_ij (cost_ij - Σ_k z_ik cost_ik) / temperature
    """
    own, paid = trial.taken(z), trial.taken(cost)
    slope = trial.inverse * own * (paid - (z * cost).sum(1)) / temperature  # -w ∂z_{i,t_i}/∂price
    return (slope * trial.rows.value).mean(), (slope * trial.rows.cost).mean()


def spend_price(
    value: NDArray[Any], cost: NDArray[Any], treatment: NDArray[Any], paid: NDArray[Any], budgets: NDArray[Any]
) -> NDArray[np.float64]:
    """Returns the prices at which the outcome curve of these rows spends each budget, (B,): exact, without a search.

    Args:
        value: Values of the menu, (N, M).
        cost: Costs of the menu, (N, M).
        treatment: Treatment that each row was given, (N,).
        paid: w_i c_i / N, (N,).
        budgets: Budgets per unit, (B,). Above the largest spend of the policy: price 0; below its smallest: its highest price.
    """
    lo, hi = hulls.interval_of(value.T, cost.T, treatment)
    enter = np.flatnonzero(np.isfinite(lo))
    leave = enter[np.isfinite(hi[enter])]
    price = np.concatenate([[0.0], lo[enter], hi[leave]])
    order = np.argsort(price, kind="stable")
    spend = np.cumsum(np.concatenate([[0.0], paid[enter], -paid[leave]])[order])
    price = price[order]
    last = np.append(price[1:] != price[:-1], True)
    first, falling, _ = sums.pool(spend[last], spend[last])
    k = np.searchsorted(-falling, -budgets, side="left")
    return price[last][first[np.minimum(k, len(first) - 1)]]
