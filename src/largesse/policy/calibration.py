"""The sums behind a price curve: on trial rows, how far a menu was off at each price, and how sure that is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

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
_ENOUGH = 4.0  # from this many rows with a cost on, κ is what they say


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class CalibrationCurve(Brief):
    """How far a menu's cost (or value) was off on trial rows, at each price of the grid.

    The total of new units is base · planned + size · residual, its variance (size · standard_error)² + size · noise. For cost,
    `size` is the planned spend (so base + residual = κ); for value it is the number of units.

    Attributes:
        base: One factor for all prices, κ₀.
        planned: Per head by the menu, on the calibration rows (G,).
        residual: What the factor leaves over (G,).
        standard_error: Standard error of the residual (G,).
        noise: Variance of what the units add, per unit of `size` (G,).
        margin: What an upper bound adds to the residual (G,): one row that costs something, as if seen once more.
    """

    base: float
    planned: Floats
    residual: Floats
    standard_error: Floats
    noise: Floats
    margin: Floats

    def total(self, grid: Floats, price: Any, planned: Any, size: Any) -> tuple[Any, Any]:
        """Returns the expected total and its standard deviation at each price."""
        residual, error, noise = (np.interp(price, grid, y) for y in (self.residual, self.standard_error, self.noise))
        return self.base * planned + size * residual, np.sqrt((size * error) ** 2 + size * noise)


@dataclass(frozen=True, slots=True)
class Sums:
    """Running sums over rows at each price of the grid: a row enters and leaves, a unit steps down its hull.

    Attributes:
        grid: Prices (G,).
        base: One factor for the menu's values and one for its costs, (2,).
        event: Spread of a row's residual cost, in money: E (cost - κ₀ menu cost)² / E cost.
        one: Cost per unit that one row with a cost stands for.
        total: W, the units that the rows stand for.
        residual: Events of w (outcome - base · menu) of rows that got the plan's treatment: row, cell, step (E, 3).
        square: The same with the squares.
        planned: Events of the menu's own value and cost.
    """

    grid: Floats
    base: Floats
    event: float
    one: float
    total: float
    residual: Events
    square: Events
    planned: Events

    @classmethod
    def of(cls, menu: Menu, logs: Logs) -> Sums:
        """Collects the events of a menu on trial rows."""
        increments, rows = steps(menu), np.arange(logs.n)
        grid, w = _grid(increments.slope), logs.inverse_propensity
        observed = np.column_stack([logs.value, logs.cost])
        predicted = np.column_stack([menu.value[rows, logs.treatment], menu.cost[rows, logs.treatment]]).astype(
            np.float64
        )
        base = _bases(w @ observed, w @ predicted, logs.total_weight)
        off = observed - base * predicted
        power = w * off[:, 1] ** 2
        event = float(power.sum() / (base[1] * (w @ predicted[:, 1])))
        one = event * float((w @ power) / (power.sum() or 1.0)) / logs.total_weight
        lo, hi = taken_interval(menu, logs.treatment)
        return cls(
            grid=grid, base=base, event=event, one=one, total=logs.total_weight,
            residual=_visits(grid, lo, hi, w[:, None] * off), square=_visits(grid, lo, hi, w[:, None] * off**2),
            planned=_descents(grid, menu, increments, logs.weights),
        )  # fmt: skip

    def at(self, multiplier: Floats) -> tuple[Floats, Floats]:
        """Returns the residual and the planned value and cost per unit for one set of row multipliers, each (G, 2)."""
        cells = len(self.grid)
        return self.residual.at(multiplier, cells) / self.total, self.planned.at(multiplier, cells) / self.total

    def tracks(self, draws: Iterable[Floats], n: int) -> tuple[CalibrationCurve, CalibrationCurve]:
        """Returns the tracks of cost and value; the draws of row multipliers (n,) give the standard errors."""
        base_v, base_c = map(float, self.base)
        off, planned = self.at(np.ones(n))
        square = np.maximum(self.square.at(np.ones(n), len(self.grid)) / self.total, 0)
        plan, one = planned[:, 1], self.one
        spent = np.maximum(falling(base_c * plan + off[:, 1]), 0)
        weight = plan + one / self._reference(spent, plan)
        kappa = over(spent + one, weight, base_c)  # c / p, and one row more at the reference
        drawn = [(r[:, 0], r[:, 1] + (base_c - kappa) * p[:, 1]) for r, p in map(self.at, draws)]
        error_v, error_c = np.std(drawn, axis=0, ddof=1)
        cost = CalibrationCurve(
            base=base_c, planned=plan.copy(), residual=kappa - base_c, standard_error=over(np.hypot(error_c, one), weight),
            noise=over(square[:, 1] + one * self.event, weight), margin=over(np.full_like(plan, one), weight),
        )  # fmt: skip
        value = CalibrationCurve(
            base=base_v, planned=planned[:, 0].copy(), residual=off[:, 0].copy(), standard_error=error_v,
            noise=square[:, 0].copy(), margin=np.zeros_like(plan),
        )  # fmt: skip
        return cost, value

    def _reference(self, spent: Floats, plan: Floats) -> Floats:
        """Returns c / p of the highest price, up to each, where enough rows with a cost are behind it."""
        enough = np.flatnonzero((spent >= _ENOUGH * self.one) & (plan > 0) & (spent > 0))
        known = np.append(over(spent[enough], plan[enough]), self.base[1])  # the last entry: where there is none yet
        return known[np.searchsorted(enough, np.arange(len(plan)), side="right") - 1]


@dataclass(frozen=True, slots=True)
class Events:
    """What happens to the sums at each price of the grid: `step` (E, 2) of value and cost, by `row`, at `cell`."""

    row: NDArray[np.int64]
    cell: NDArray[np.int64]
    step: Floats

    @classmethod
    def at_prices(cls, grid: Floats, price: Floats, row: NDArray[np.int64], step: Floats) -> Events:
        """Puts events at the first price of the grid at which they have happened."""
        return cls(row, np.searchsorted(grid, price, side="left"), np.column_stack([step, np.zeros(len(step))]))

    def at(self, weight: Floats, cells: int) -> Floats:
        """Returns the running sums of value and cost at each price, (G, 2)."""
        out: Floats = kernels.accumulate(self.row, self.cell, self.step, weight, cells)[:, :2]
        # Where all that entered has left, the sums are 0: what remains is rounding.
        return np.where(np.abs(out) > _ROUNDING * np.abs(out).max(axis=0), out, 0.0)


def _visits(grid: Floats, lo: Floats, hi: Floats, step: Floats) -> Events:
    """A row counts on [lo, hi)."""
    enter, leave = np.flatnonzero(np.isfinite(lo)), np.flatnonzero(np.isfinite(hi))
    rows = np.concatenate([enter, leave])
    return Events.at_prices(
        grid, np.concatenate([lo[enter], hi[leave]]), rows, np.concatenate([step[enter], -step[leave]])
    )


def _descents(grid: Floats, menu: Menu, increments: Steps, weight: Floats) -> Events:
    """As the price rises past a slope, the unit steps down its hull."""
    rows, unit = np.arange(menu.n), increments.unit.astype(np.int64)
    top = increments.start.copy()
    top[increments.unit] = increments.target  # increments are sorted by falling slope: the last one written is the top
    first = np.column_stack([menu.value[rows, top], menu.cost[rows, top]]).astype(np.float64)
    down = -np.column_stack([increments.change(menu.value), increments.change(menu.cost)])
    price = np.concatenate([np.zeros(menu.n), increments.slope])
    row = np.concatenate([rows, unit])
    return Events.at_prices(grid, price, row, weight[row][:, None] * np.concatenate([first, down]))


def _grid(slope: Floats) -> Floats:
    """Returns 0 and up to 255 slopes: half of them even in rank, half closer and closer towards the steepest."""
    if len(slope) < _PRICES:
        return np.unique(np.append(slope, 0.0))
    last, half = len(slope) - 1, _PRICES // 2
    rank = np.concatenate([np.linspace(0, last, half), np.geomspace(1, last, half - 1)]).astype(np.int64)
    return np.unique(np.append(slope[rank], 0.0))


def _bases(observed: Floats, predicted: Floats, total: float) -> Floats:
    """Returns observed over predicted totals of the treatments that were given: of value, and of cost."""
    value = observed[0] / predicted[0] if min(observed[0], predicted[0]) > 0 else 1.0
    if min(observed[1], predicted[1]) <= 0:
        raise DataError(
            f"cost: trial rows cost {observed[1] / total:g} per unit, the menu predicts {predicted[1] / total:g}; both must "
            "be > 0. Give the logs their cost column, or the model its cost rule.",
            field="cost",
        )
    return np.array([value, observed[1] / predicted[1]])


def over(top: Floats, bottom: Floats, empty: float = 0.0) -> Floats:
    """Returns top / bottom, and `empty` where the bottom is 0."""
    return np.divide(top, bottom, out=np.full_like(bottom, empty), where=bottom > 0)


def falling(mean: Floats) -> Floats:
    """Returns the non-increasing regression of the spend on the price: noise can make it rise."""
    return np.asarray(isotonic_regression(mean, increasing=False).x)
