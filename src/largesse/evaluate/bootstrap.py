"""Curves and arms, prepared for intervals and for Poisson bootstrap draws with the same row weights for every policy.

A draw gives each unit a Poisson(1) weight, the same for all of its rows and for every policy, so differences between
policies are paired. Where propensities were estimated by the shares of the arms, each draw estimates them again. Curves
are evaluated on a grid of up to 2048 quantiles of their own event prices, exactly at each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from largesse import _check
from largesse._arguments import checked
from largesse._random import child
from largesse.allocate.budget_frontier import steps
from largesse.evaluate import kernels
from largesse.evaluate.curve import Estimator, OutcomeCurve
from largesse.evaluate.intervals import centred
from largesse.evaluate.paths import DecisionPath
from largesse.logs import Logs
from largesse.menu import Menu

__all__ = [
    "Arms", "FixedPrices", "Grid", "arm_means", "around", "decided_shares", "row_weights", "shares_of", "values_at",
]  # fmt: skip

_CELLS = 2048
_BELOW = np.cumsum(np.exp(-1.0) / np.array([1, 1, 2, 6, 24, 120, 720, 5040, 40320]))  # P(Poisson(1) <= k)
_POISSON = np.searchsorted(np.round(65536 * _BELOW), np.arange(65536), side="right").astype(np.uint8)


def row_weights(logs: Logs, draws: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Yields one set of row multipliers (N,) per draw, the same for all rows of a unit; draw d depends on seed and d only.

    The weights of a draw are w = weight / p times the multipliers; they are scaled so that Σ weight · multiplier is W
    again, in every arm where the propensities are the observed shares of the arms.
    """
    base = logs.weights
    arms = logs.treatment if logs.assignment == "observed" else np.zeros(logs.n, np.int32)
    total, groups = np.bincount(arms, base), logs.groups
    units = logs.n if groups is None else int(groups.max()) + 1
    for d in range(draws):
        chance = child(seed, d).integers(0, 65536, units, dtype=np.uint16)
        if groups is not None:
            chance = chance[groups]
        yield kernels.reweigh(chance, _POISSON, base, arms, total)


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """A curve on a grid of prices, prepared for bootstrap draws of row weights.

    Attributes:
        curve: The curve.
        price: The grid, rising, (G,).
        row: Row of each event, (E,).
        cell: First grid price at or above the price of the event, (E,).
        step: Change of Σ w r, Σ w c and Σ w at the event, (E, 3).
    """

    curve: OutcomeCurve
    price: NDArray[np.float64]
    row: NDArray[np.int64]
    cell: NDArray[np.int64]
    step: NDArray[np.float64]

    @classmethod
    def of(cls, curve: OutcomeCurve, cells: int = _CELLS) -> Grid:
        """Returns the grid of a curve: all its prices if they are few, else quantiles of its events."""
        events, prices = curve.events, curve.price
        if len(prices) > cells:
            ranks = np.linspace(0, len(events.price) - 1, cells).round().astype(np.int64)
            prices = np.unique(np.sort(events.price)[ranks])
        # Rows without value and cost change only the sum of the weights, which only "sn" needs.
        used = slice(None) if curve.estimator == "sn" else np.flatnonzero(events.step[:, :2].any(axis=1))
        cell = np.searchsorted(prices, events.price[used], side="left")
        return cls(curve, prices, events.row[used], cell, events.step[used])

    def draw(self, weight: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Returns value and cost per unit at each grid price for one set of row multipliers."""
        total = self.curve.logs.total_weight
        sums = kernels.accumulate(self.row, self.cell, self.step, weight, len(self.price)) / total
        scale = np.where(sums[:, 2] > 0, sums[:, 2], np.inf) if self.curve.estimator == "sn" else 1.0
        return sums[:, 0] / scale, sums[:, 1] / scale

    def pools(self, weight: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
        """Returns the draw with its spend made monotone: first grid price, cost and value of each pool, each (P,)."""
        value, cost = self.draw(weight)
        return kernels.pool(cost, value)


def around(curve: OutcomeCurve, budgets: NDArray[np.float64], value: Callable[[Any], Any]) -> NDArray[np.float64]:
    """Returns the slope of a function of the budget over a quarter of the range of a curve's spends to either side, (B,).

    It is 0 where the curve never spends the budget.
    """
    least, most = curve.reach
    below, above = (np.clip(budgets + side * 0.25 * (most - least), least, most) for side in (-1, 1))
    binds = (budgets < most) & (above > below)
    return np.divide(value(above) - value(below), above - below, out=np.zeros_like(budgets), where=binds)


@dataclass(frozen=True, slots=True, eq=False)
class FixedPrices:
    """A curve's value at budgets, to first order: at the prices that spend them, corrected by the slope for what is spent.

    A draw that looked for its own price would follow every step of its own noisy curve: intervals were 5-25 % too wide.

    Attributes:
        curve: The curve.
        low: Price of each budget, (B,); part of the units are decided at `high`.
        high: Next price of the curve, (B,).
        part: Share of the units decided at `high`, (B,).
        slope: Value that one more unit of spend brings at the budget, (B,); 0 where the budget does not bind.
        value: Value per unit at each budget, (B,).
    """

    curve: OutcomeCurve
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    part: NDArray[np.float64]
    slope: NDArray[np.float64]
    value: NDArray[np.float64]

    @classmethod
    def of(cls, curve: OutcomeCurve, budgets: NDArray[np.float64]) -> FixedPrices:
        """Returns the prices of these budgets; the slope is taken over a quarter of the range of spends to either side."""
        slope = around(curve, budgets, lambda money: np.nan_to_num(curve.value_at(money)))
        return cls(curve, *curve.split_at(budgets), slope, np.asarray(curve.value_at(budgets)))

    def terms(self, b: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Returns what each row adds to value and cost at the prices of budget b, and its outcomes in the value, (N,) each."""
        curve, n = self.curve, self.curve.logs.n
        e, low, high, part = curve.events, self.low[b], self.high[b], self.part[b]
        value, cost, _ = kernels.at_prices(e.row, e.price, e.step, low, high, part, n).T
        if curve.estimator != "sn":
            return value, cost, value
        sums = np.zeros((2, n))
        for price, share in ((low, 1 - part), (high, part)):  # ratios of two sums, to first order
            *both, w = kernels.at_prices(e.row, e.price, e.step, price, price, 0.0, n).T
            total = max(float(w.sum()), 1e-300)
            sums += share * np.array([y - w * (y.sum() / total) for y in both]) * (curve.logs.total_weight / total)
        return sums[0], sums[1], value

    def at(self, grid: Grid, weight: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns value and cost at the prices of each budget for one set of row multipliers, (2, B), up to a constant."""
        low, high = (np.searchsorted(grid.price, price, side="right") - 1 for price in (self.low, self.high))
        drawn = np.array(grid.draw(weight))
        return np.asarray((1 - self.part) * drawn[:, np.maximum(low, 0)] + self.part * drawn[:, np.maximum(high, 0)])


def values_at(grid: Grid, budgets: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the value per unit at each budget for one set of row multipliers, (B,).

    A budget outside the range of this draw's spend counts as the nearest end of that range.
    """
    _, cost, value = grid.pools(weight)
    return np.interp(budgets, cost[::-1], value[::-1])


def decided_shares(
    menu: Menu | DecisionPath, weight: NDArray[np.float64], price: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Returns the share of each treatment in the decisions at each price, (P, M).

    Args:
        menu: Value and cost of N units, or their decisions at rising budgets.
        weight: Weight of each unit, (N,).
        price: Rising prices, (P,).
    """
    return shares_of(menu, weight)(price)


def shares_of(
    menu: Menu | DecisionPath, weight: NDArray[np.float64]
) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """Returns the function from rising prices, (P,), to `decided_shares`, (P, M); what needs no prices is done once."""
    if isinstance(menu, DecisionPath):
        return lambda price: menu.shares(weight, price)
    increments, m, total = steps(menu), menu.n_treatments, weight.sum()
    moved, start = weight[increments.unit], np.bincount(increments.start, weight, minlength=m)

    def shares(price: NDArray[np.float64]) -> NDArray[np.float64]:
        p, out = len(price), np.zeros((len(price) + 1, m))
        # A step is taken at every price below its slope: count it at the highest of these, then sum downwards.
        taken = np.searchsorted(price, increments.slope, side="left")  # the number of prices below the slope
        for treatment, sign in ((increments.target, 1.0), (increments.source, -1.0)):
            out += sign * np.bincount(taken * m + treatment, moved, minlength=(p + 1) * m).reshape(p + 1, m)
        return np.asarray((out[::-1].cumsum(axis=0)[::-1][1:] + start) / total)

    return shares


@dataclass(frozen=True, slots=True, eq=False)
class Arms:
    """Value and cost of one treatment for everyone, prepared for intervals and for bootstrap draws of row weights.

    Attributes:
        logs: The rows.
        row: The rows with a value or a cost, (R,).
        step: Their w r, w c and w, (R, 3); r and c less their predictions if there are any.
        predicted: Predicted value and cost of each treatment (N, 2 M), times the row's weight; or None.
        normalised: Divide by the rows of the arm (``"sn"``) rather than by their expected number.
    """

    logs: Logs
    row: NDArray[np.int64]
    step: NDArray[np.float64]
    predicted: NDArray[np.float64] | None
    normalised: bool

    @classmethod
    def of(cls, logs: Logs, estimator: Estimator = "ht", outcomes: Menu | None = None) -> Arms:
        """Returns the arms of some rows, estimated in the same way as the outcome curve of this estimator."""
        logs.check_support()
        w, value, cost, predicted = logs.inverse_propensity, logs.value, logs.cost, None
        if outcomes is not None:
            rows = np.arange(logs.n)
            value = value - outcomes.value[rows, logs.treatment]
            cost = cost - outcomes.cost[rows, logs.treatment]
            predicted = logs.weights[:, None] * np.hstack([outcomes.value, outcomes.cost], dtype=np.float64)
        normalised = estimator == "sn"
        row = np.arange(logs.n) if normalised else np.flatnonzero((value != 0) | (cost != 0))
        step = np.column_stack([w * value, w * cost, w])[row]
        return cls(logs, row, step, predicted, normalised)

    def means(self, weight: NDArray[np.float64] | None = None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Returns value and cost per unit if everyone got treatment j, each (M,), for one set of row multipliers."""
        logs, k = self.logs, np.ones(self.logs.n) if weight is None else weight
        arm, multiplier = logs.treatment[self.row], k[self.row]
        sums = [np.bincount(arm, multiplier * y, logs.n_treatments) for y in self.step.T]
        scale = np.maximum(sums[2], 1e-300) if self.normalised else logs.total_weight
        value, cost = sums[0] / scale, sums[1] / scale
        if self.predicted is not None:
            more = k @ self.predicted / logs.total_weight
            value, cost = value + more[: logs.n_treatments], cost + more[logs.n_treatments :]
        return value, cost

    def terms(self, coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns what each row adds to Σ_j a_j value_j + b_j cost_j, (N,), of which the sum is W times that.

        Args:
            coefficients: The a_j and the b_j, (2, M).
        """
        logs = self.logs
        arm, (a, b) = logs.treatment[self.row], coefficients
        value, cost, w = self.step.T
        out = np.zeros(logs.n)
        out[self.row] = a[arm] * value + b[arm] * cost
        if self.normalised:  # the ratio of two sums, to first order, about its value
            sums = np.array([np.bincount(arm, y, logs.n_treatments) for y in self.step.T])
            scale = np.maximum(sums[2], 1e-300)
            mean = (a * sums[0] + b * sums[1]) / scale
            out[self.row] = (out[self.row] - w * mean[arm]) * (logs.total_weight / scale)[arm]
            out += logs.weights * mean.sum()
        if self.predicted is not None:
            out += self.predicted @ coefficients.ravel()
        return out

    def outcomes(self, coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns the outcomes of the rows in the sums of `terms`, (N,)."""
        out = np.zeros(self.logs.n)
        out[self.row] = coefficients[0][self.logs.treatment[self.row]] * self.step[:, 0]
        return out

    def covariance(self) -> NDArray[np.float64]:
        """Returns the covariance of the arms' means, values first, then costs, (2 M, 2 M)."""
        size = 2 * self.logs.n_treatments
        units = np.eye(size).reshape(size, 2, -1)
        each = np.hstack([centred(self.logs, self.terms(one)[:, None]) for one in units])
        return np.asarray(each.T @ each)


@checked
def arm_means(logs: Logs, weight: NDArray[np.float64] | None = None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns value and cost per unit if everyone got treatment j, each (M,), Horvitz-Thompson.

    Raises:
        DataError: There is not one weight per row.
    """
    if weight is not None:
        weight = _check.array("weight", weight, ndim=1, dtype=np.float64)
        _check.lengths(logs=logs.treatment, weight=weight)
    return Arms.of(logs).means(weight)
