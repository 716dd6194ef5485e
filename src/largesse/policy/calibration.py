"""Calibration on trial rows: the bias of a menu's cost and value at each price, with standard errors."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from largesse._check import written
from largesse.allocate.budget_frontier import Steps, steps
from largesse.allocate.price_intervals import taken_interval
from largesse.errors import DataError
from largesse.evaluate import kernels
from largesse.logs import Logs
from largesse.menu import Menu
from largesse.result import Brief

__all__ = ["CalibrationCurve", "Sums", "falling", "over"]

Floats = NDArray[np.float64]
_PRICES = 256
_ROUNDING = 1e-11
_ENOUGH = 4.0  # rows with a cost from which on κ is estimated from them alone


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class CalibrationCurve(Brief):
    """The bias of a menu's cost (or value) on trial rows, at each price of the grid.

    The total of new units is base · planned + size · residual, its variance (size · standard_error)² + size · noise. For cost,
    `size` is the planned spend (so base + residual = κ); for value it is the number of units.

    Attributes:
        base: One factor for all prices, κ₀.
        planned: Predicted by the menu, per unit of the calibration rows (G,).
        residual: Remaining bias per unit of `size` (G,).
        standard_error: Standard error of the residual (G,).
        noise: Variance between units, per unit of `size` (G,).
        margin: Added to the residual in an upper bound (G,). Conservative pseudo-count: one extra row with a cost.
        events: Effective number of rows that the calibration rests on, (Σ z)² / Σ z² of their weighted outcomes z (G,); NaN
            where a curve that was saved by an earlier version does not say.
    """

    base: float
    planned: Floats
    residual: Floats
    standard_error: Floats
    noise: Floats
    margin: Floats
    events: Floats

    def total(self, grid: Floats, price: Any, planned: Any, size: Any) -> tuple[Any, Any]:
        """Returns the expected total and its standard deviation at each price."""
        residual, error, noise = (np.interp(price, grid, y) for y in (self.residual, self.standard_error, self.noise))
        return self.base * planned + size * residual, np.sqrt((size * error) ** 2 + size * noise)


@dataclass(frozen=True, slots=True)
class Sums:
    """Running sums over rows at each price of the grid: rows enter and leave, units move down their hulls.

    Attributes:
        grid: Prices (G,).
        base: One factor for the menu's values and one for its costs, (2,).
        event: Typical size of a row's residual cost: E (cost - κ₀ menu cost)² / E cost.
        one: Cost per unit of one row with a cost.
        total: W, the number of units that the rows stand for.
        residual: Events of w (outcome - base · menu) of rows that got the allocated treatment: row, cell, step (E, 3).
        square: The same with the squares.
        outcome: The same with the absolute outcomes w |outcome|.
        power: The same with their squares.
        planned: Events of the menu's value and cost.
    """

    grid: Floats
    base: Floats
    event: float
    one: float
    total: float
    residual: Events
    square: Events
    outcome: Events
    power: Events
    planned: Events

    @classmethod
    def of(cls, menu: Menu, logs: Logs) -> Sums:
        """Returns the events of a menu on trial rows."""
        increments, rows = steps(menu), np.arange(logs.n)
        grid, w = _grid(increments.slope), logs.inverse_propensity
        observed = np.column_stack([logs.value, logs.cost])
        predicted = np.column_stack([menu.value[rows, logs.treatment], menu.cost[rows, logs.treatment]]).astype(
            np.float64
        )
        base = _bases(w @ observed, w @ predicted, logs.total_weight)
        residual = observed - base * predicted
        power = w * residual[:, 1] ** 2
        event = float(power.sum() / (base[1] * (w @ predicted[:, 1])))
        one = event * float((w @ power) / (power.sum() or 1.0)) / logs.total_weight
        lo, hi = taken_interval(menu, logs.treatment)
        size = w[:, None] * np.abs(observed)
        return cls(
            grid=grid, base=base, event=event, one=one, total=logs.total_weight,
            residual=_visits(grid, lo, hi, w[:, None] * residual), square=_visits(grid, lo, hi, w[:, None] * residual**2),
            outcome=_visits(grid, lo, hi, size), power=_visits(grid, lo, hi, size**2),
            planned=_descents(grid, menu, increments, logs.weights),
        )  # fmt: skip

    def at(self, multiplier: Floats) -> tuple[Floats, Floats]:
        """Returns the residual and the planned value and cost per unit for one set of row multipliers, each (G, 2)."""
        cells = len(self.grid)
        return self.residual.at(multiplier, cells) / self.total, self.planned.at(multiplier, cells) / self.total

    def curves(self, draws: Iterable[Floats], n: int) -> tuple[CalibrationCurve, CalibrationCurve]:
        """Returns the calibration curves of cost and value; draws of row multipliers (n,) give the standard errors."""
        base_v, base_c = map(float, self.base)
        residual, planned = self.at(np.ones(n))
        square = np.maximum(self.square.at(np.ones(n), len(self.grid)) / self.total, 0)
        plan, one = planned[:, 1], self.one
        spent = np.maximum(falling(base_c * plan + residual[:, 1]), 0)
        weight = plan + one / self._reference(spent, plan)
        kappa = over(spent + one, weight, base_c)  # c / p, with one extra row at the reference
        events = self._effective(n)
        drawn = [(r[:, 0], r[:, 1] + (base_c - kappa) * p[:, 1]) for r, p in map(self.at, draws)]
        error_v, error_c = np.std(drawn, axis=0, ddof=1)
        cost = CalibrationCurve(
            base=base_c, planned=plan.copy(), residual=kappa - base_c, standard_error=over(np.hypot(error_c, one), weight),
            noise=over(square[:, 1] + one * self.event, weight), margin=over(np.full_like(plan, one), weight),
            events=events[:, 1].copy(),
        )  # fmt: skip
        value = CalibrationCurve(
            base=base_v, planned=planned[:, 0].copy(), residual=residual[:, 0].copy(), standard_error=error_v,
            noise=square[:, 0].copy(), margin=np.zeros_like(plan), events=events[:, 0].copy(),
        )  # fmt: skip
        return cost, value

    def _effective(self, n: int) -> Floats:
        """Returns the effective number of rows behind value and cost at each price, (G, 2)."""
        sums, squares = (part.at(np.ones(n), len(self.grid)) for part in (self.outcome, self.power))
        return np.column_stack([over(sums[:, k] ** 2, np.maximum(squares[:, k], 0)) for k in range(2)])

    def _reference(self, spent: Floats, plan: Floats) -> Floats:
        """Returns c / p at the highest price, up to each, that enough rows with a cost support."""
        enough = np.flatnonzero((spent >= _ENOUGH * self.one) & (plan > 0) & (spent > 0))
        # The last entry is for the prices before any has enough rows.
        known = np.append(over(spent[enough], plan[enough]), self.base[1])
        return known[np.searchsorted(enough, np.arange(len(plan)), side="right") - 1]


@dataclass(frozen=True, slots=True)
class Events:
    """Changes of the sums at prices of the grid: `step` (E, 2) of value and cost, by `row`, at `cell`."""

    row: NDArray[np.int64]
    cell: NDArray[np.int64]
    step: Floats

    @classmethod
    def at_prices(cls, grid: Floats, price: Floats, row: NDArray[np.int64], step: Floats) -> Events:
        """Returns events at the first price of the grid at or above their own."""
        return cls(row, np.searchsorted(grid, price, side="left"), np.column_stack([step, np.zeros(len(step))]))

    def at(self, weight: Floats, cells: int) -> Floats:
        """Returns the running sums of value and cost at each price, (G, 2)."""
        out: Floats = kernels.accumulate(self.row, self.cell, self.step, weight, cells)[:, :2]
        # Where all rows that entered have left, the sums are 0 up to rounding.
        return np.where(np.abs(out) > _ROUNDING * np.abs(out).max(axis=0), out, 0.0)


def _visits(grid: Floats, lo: Floats, hi: Floats, step: Floats) -> Events:
    """Returns the events of rows that count on [lo, hi)."""
    enter, leave = np.flatnonzero(np.isfinite(lo)), np.flatnonzero(np.isfinite(hi))
    rows = np.concatenate([enter, leave])
    return Events.at_prices(
        grid, np.concatenate([lo[enter], hi[leave]]), rows, np.concatenate([step[enter], -step[leave]])
    )


def _descents(grid: Floats, menu: Menu, increments: Steps, weight: Floats) -> Events:
    """Returns the events of units that move down their hull as the price rises above a slope."""
    rows, unit = np.arange(menu.n), increments.unit.astype(np.int64)
    top = increments.start.copy()
    top[increments.unit] = increments.target  # increments are sorted by falling slope: the last one written is the top
    first = np.column_stack([menu.value[rows, top], menu.cost[rows, top]]).astype(np.float64)
    down = -np.column_stack([increments.change(menu.value), increments.change(menu.cost)])
    price = np.concatenate([np.zeros(menu.n), increments.slope])
    row = np.concatenate([rows, unit])
    return Events.at_prices(grid, price, row, weight[row][:, None] * np.concatenate([first, down]))


def _grid(slope: Floats) -> Floats:
    """Returns 0 and up to 255 slopes: half at equal steps of rank, half denser and denser towards the steepest."""
    if len(slope) < _PRICES:
        return np.unique(np.append(slope, 0.0))
    last, half = len(slope) - 1, _PRICES // 2
    rank = np.concatenate([np.linspace(0, last, half), np.geomspace(1, last, half - 1)]).astype(np.int64)
    return np.unique(np.append(slope[rank], 0.0))


def _bases(observed: Floats, predicted: Floats, total: float) -> Floats:
    """Returns observed over predicted totals of the treatments that were given: of value, and of cost."""
    value = observed[0] / predicted[0] if min(observed[0], predicted[0]) > 0 else 1.0
    if min(observed[1], predicted[1]) <= 0:
        paid, planned = (written(float(x / total)) for x in (observed[1], predicted[1]))
        raise DataError(
            f"cost: trial rows cost {paid} per unit, the menu predicts {planned}; both must be > 0. Give the logs their "
            "cost column, or the model its cost rule.",
            field="cost",
        )
    return np.array([value, observed[1] / predicted[1]])


def over(top: Floats, bottom: Floats, empty: float = 0.0) -> Floats:
    """Returns top / bottom, and `empty` where the bottom is 0."""
    return np.divide(top, bottom, out=np.full_like(bottom, empty), where=bottom > 0)


def falling(mean: Floats) -> Floats:
    """Returns the non-increasing regression of the spend on the price: noise can make it rise."""
    return np.asarray(isotonic_regression(mean, increasing=False).x)
