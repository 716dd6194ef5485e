"""Intervals by the Poisson bootstrap, with the same row weights for every policy.

A draw gives each unit a Poisson(1) weight, the same for all of its rows and for every policy, so differences between
policies are paired. Where propensities were estimated by the shares of the arms, each draw estimates them again. Curves
are evaluated on a grid of up to 2048 quantiles of their own event prices, exactly at each of them. Percentiles are
corrected for skewness (`interval`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from largesse import _check
from largesse._random import child
from largesse.allocate.budget_frontier import frontier, steps
from largesse.evaluate import kernels
from largesse.evaluate.curve import Estimator, OutcomeCurve
from largesse.logs import Logs
from largesse.menu import Menu

__all__ = [
    "Arms", "Grid", "arm_means", "decided_shares", "interval", "mix_value", "quantiles", "row_weights",
    "values_at",
]  # fmt: skip

_CELLS = 2048
MIX_FOLDS = 10
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


def values_at(grid: Grid, budgets: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the value per unit at each budget for one set of row multipliers, (B,).

    A budget outside the range of this draw's spend counts as the nearest end of that range.
    """
    _, cost, value = grid.pools(weight)
    return np.interp(budgets, cost[::-1], value[::-1])


def decided_shares(menu: Menu, weight: NDArray[np.float64], price: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the share of each treatment in the decisions at each price, (P, M).

    Args:
        menu: Value and cost of N units.
        weight: Weight of each unit, (N,).
        price: Rising prices, (P,).
    """
    increments, m, p = steps(menu), menu.n_treatments, len(price)
    shares = np.zeros((p + 1, m))
    # A step is taken at every price below its slope: count it at the highest of these, then sum downwards.
    taken = np.searchsorted(price, increments.slope, side="left")  # the number of prices below the slope
    moved = weight[increments.unit]
    for treatment, sign in ((increments.target, 1.0), (increments.source, -1.0)):
        shares += sign * np.bincount(taken * m + treatment, moved, minlength=(p + 1) * m).reshape(p + 1, m)
    shares = shares[::-1].cumsum(axis=0)[::-1][1:]
    return (shares + np.bincount(increments.start, weight, minlength=m)) / weight.sum()


@dataclass(frozen=True, slots=True, eq=False)
class Arms:
    """Value and cost of one treatment for everyone, prepared for bootstrap draws of row weights.

    Attributes:
        logs: The rows.
        row: The rows with a value or a cost, (R,).
        step: Their w r, w c and w, (R, 3); r and c less their predictions if there are any.
        predicted: Predicted value and cost of each treatment (N, 2 M), times the row's weight; or None.
        normalised: Divide by the rows of the arm (``"sn"``) rather than by their expected number.
        fold: Fold of each row, (N,), for the best mix of arms; all rows of a unit are in one fold.
    """

    logs: Logs
    row: NDArray[np.int64]
    step: NDArray[np.float64]
    predicted: NDArray[np.float64] | None
    normalised: bool
    fold: NDArray[np.int64]

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
        fold = logs.parts(*[1.0] * MIX_FOLDS, seed=0)
        return cls(logs, row, step, predicted, normalised, fold)

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

    def best_mix(self, budgets: NDArray[np.float64], weight: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """Returns the value per unit of the best mix of arms at each budget, (B,), for one set of row multipliers.

        The best of several means is too high on the rows that chose it. So the mix is chosen on nine folds and valued on the
        tenth, in turn, also in each draw: the interval includes the choice.
        """
        logs, m = self.logs, self.logs.n_treatments
        k = np.ones(logs.n) if weight is None else weight
        place, multiplier = self.fold[self.row] * m + logs.treatment[self.row], k[self.row]
        value, cost, rows = (
            np.bincount(place, multiplier * y, MIX_FOLDS * m).reshape(MIX_FOLDS, m) for y in self.step.T
        )
        if self.normalised:
            scale = logs.total_weight / np.maximum(rows.sum(axis=0), 1e-300)
            value, cost = value * scale, cost * scale
        if self.predicted is not None:
            more = np.array([k[own] @ self.predicted[own] for own in (self.fold == f for f in range(MIX_FOLDS))])
            value, cost = value + more[:, :m], cost + more[:, m:]
        return kernels.mix_of_others(value, cost, np.bincount(self.fold, k * logs.weights, MIX_FOLDS), budgets)


def arm_means(logs: Logs, weight: NDArray[np.float64] | None = None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns value and cost per unit if everyone got treatment j, each (M,), Horvitz-Thompson."""
    return Arms.of(logs).means(weight)


def mix_value(value: NDArray[Any], cost: NDArray[Any], budgets: _check.Numbers) -> NDArray[np.float64]:
    """Returns the best mix of whole-population arms at each budget per unit, (B,): the frontier of the arm means.

    A budget below the cheapest arm counts as the cheapest arm.
    """
    least = min(0.0, float(np.min(cost)))  # a doubly robust mean may fall below zero
    front = frontier(Menu(value=value[None, :], cost=cost[None, :] - least))
    return np.asarray(front.value_at(np.maximum(np.asarray(budgets) - least, front.spend[0])), np.float64)


@dataclass(frozen=True, slots=True)
class BestMix:
    """The best mix of arms at budgets.

    Attributes:
        budgets: Budget per unit, (B,).
        share: Share of each arm, (B, M).
        price: Shadow price λ of the budget, (B,); 0 where it does not bind.
    """

    budgets: NDArray[np.float64]
    share: NDArray[np.float64]
    price: NDArray[np.float64]

    @classmethod
    def of(cls, value: NDArray[np.float64], cost: NDArray[np.float64], budgets: NDArray[np.float64]) -> BestMix:
        """Returns the best mix for these arm means."""
        least = min(0.0, float(cost.min()))
        menu = Menu(value=value[None, :], cost=cost[None, :] - least)
        increments, front = steps(menu), frontier(menu)
        corners = np.append(increments.start, increments.target)  # the arms along the frontier, from the cheapest
        room = np.maximum(budgets - least, front.spend[0])
        place = np.interp(room, front.spend, np.arange(len(corners)))
        k = np.minimum(np.floor(place).astype(np.int64), len(corners) - 1)
        after = np.minimum(k + 1, len(corners) - 1)
        arms = np.eye(len(value))
        share = (1 - (place - k))[:, None] * arms[corners[k]] + (place - k)[:, None] * arms[corners[after]]
        return cls(budgets, share, np.asarray(front.price_at(room), np.float64))


def quantiles(draws: NDArray[np.float64], level: float) -> NDArray[np.float64]:
    """Returns the plain percentile interval along the first axis, (..., 2): for ratios and other curved statistics."""
    _check.number("level", level, low=0.5, high=0.9999)
    return np.moveaxis(np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0), 0, -1)


def interval(draws: NDArray[np.float64], level: float) -> NDArray[np.float64]:
    """Returns the percentile interval along the first axis, corrected for skewness, (..., 2).

    A mean of a few large amounts (orders are rare) is skewed, so that plain percentiles cover too little on one side.
    Efron's corrected percentiles take the draws at Φ(b + (b + z) / (1 - a (b + z))); for a weighted sum, which these
    estimates are to first order, b = a = skewness / 6.

    Reference:
        Efron 1987, Better bootstrap confidence intervals, sections 2 and 4.
    """
    _check.number("level", level, low=0.5, high=0.9999)
    ranked = np.sort(draws, axis=0)
    centred = ranked - ranked.mean(axis=0)
    spread = np.sqrt((centred**2).mean(axis=0))
    skew = np.divide((centred**3).mean(axis=0), spread**3, out=np.zeros_like(spread), where=spread > 1e-100)
    a = np.clip(skew, -1.5, 1.5) / 6
    ends = []
    for z in ndtri([(1 - level) / 2, (1 + level) / 2]):
        place = ndtr(a + (a + z) / np.maximum(1 - a * (a + z), 0.1)) * (len(ranked) - 1)
        k = np.minimum(np.floor(place).astype(np.int64), len(ranked) - 2)
        below, above = (np.take_along_axis(ranked, (k + step)[None], axis=0)[0] for step in (0, 1))
        ends.append(below + (place - k) * (above - below))
    return np.stack(ends, axis=-1)
