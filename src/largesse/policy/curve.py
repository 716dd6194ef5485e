"""The price of a budget: spend at every price, calibrated on trial rows, for units that are still to be treated.

A menu's costs are predictions, and a plan picks the units whose predicted cost is too low. So the price of a budget is
taken from trial rows that the model has not seen. At price λ the menu plans to spend P(λ) on the new units; on the
calibration rows it planned p(λ) per head, and c(λ) was spent (unbiased). Then

    spend(λ) = κ(λ) · P(λ),    κ(λ) = c(λ) / p(λ)

corrects the model's costs and follows the new population where it differs from the old one: P is summed over the units
to be treated. The price of a budget B is the smallest λ with spend(λ) <= B. With a `safety` of 0.95 it is the smallest
λ from which on the upper 95 % bound of the money truly spent is within B; the bound covers the noise of κ and that of
the new units' own behaviour. Testing from the highest price down keeps the statement true at the price chosen.

c(λ) = κ₀ p(λ) + the inverse-propensity mean of (cost - κ₀ menu cost) over rows that got the plan's treatment, κ₀ one
factor for all rows: unbiased like the plain mean, and less noisy the better the menu is (with exact costs, exact).

What is assumed: at one price, κ is the same for the new units as for the calibration rows, and units behave
independently of each other. A season that changes how everybody reacts is in neither the menu nor the bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from largesse import _check
from largesse.allocate.budget_frontier import Frontier, frontier
from largesse.errors import InfeasibleBudget
from largesse.evaluate.bootstrap import row_weights
from largesse.logs import Logs
from largesse.menu import Menu, Plan
from largesse.policy.calibration import CalibrationCurve, Sums, falling, over
from largesse.result import Brief

__all__ = ["LEVEL", "Estimate", "PriceCurve", "SpendCurve", "amount", "normal_quantile", "same_rows", "same_treatments"]

Floats = NDArray[np.float64]

LEVEL = 0.95
"""Each end of an interval holds this often, where no safety is asked for."""


class Estimate(NamedTuple):
    """A total of the new units, in money or in value, with an interval for what will be seen.

    Attributes:
        mean: What is expected.
        low: Fallen short of in 5 % of cases (1 - safety where a safety was asked for).
        high: Exceeded in 5 % of cases (likewise).
    """

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class SpendCurve(Brief):
    """Spend of given units at every price that changes their plan.

    Attributes:
        price: Rising, from 0, (K,).
        mean: Expected spend, non-increasing, (K,).
        margin: What an upper bound adds to it first, (K,).
        sd: Standard deviation of the spend, (K,).
    """

    price: Floats
    mean: Floats
    margin: Floats
    sd: Floats

    def bound(self, z: float) -> Floats:
        """Returns the upper bound of spend, z standard deviations up, made non-increasing by its later maximum."""
        return np.maximum.accumulate(_gamma(self.mean + self.margin, self.sd, z)[::-1])[::-1]

    def price_for(self, budget: float, safety: float | None) -> float:
        """Returns the smallest price whose spend (with `safety`: whose bound, and that of all later prices) fits."""
        limit = self.mean if safety is None else self.bound(normal_quantile(safety, "safety"))
        if limit[-1] > budget:
            error = InfeasibleBudget(budget, float(limit[-1]))
            what = "its expected spend" if safety is None else f"its upper {100 * safety:g} % bound of spend"
            error.add_note(f"No price spends less; the cost named is {what}, {self.mean[-1]:g} is expected.")
            raise error
        return float(self.price[np.searchsorted(-limit, -budget, side="left")])

    def at(self, price: float, z: float) -> Estimate:
        """Returns the spend at one price."""
        k = np.searchsorted(self.price, price, side="right") - 1
        low = _gamma(self.mean[k], self.sd[k], -z)
        return Estimate(float(self.mean[k]), float(low), float(self.bound(z)[k]))


@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class PriceCurve(Brief):
    """Price → money, calibrated on trial rows that the model has not seen.

    Attributes:
        price: Grid of prices, rising, from 0 to one at which everybody gets the cheapest treatment, (G,), G <= 256.
        cost: How far the menu's costs were off.
        value: How far the menu's values were off.
        treatments: Names of the treatments.
        units: Units the calibration rows stand for.

    >>> rng = np.random.default_rng(0)
    >>> t = rng.integers(0, 2, 4000)
    >>> paid = (rng.random(4000) < 0.4) * t * 2.0  # 0.8 per head treated; the menu says 0.5
    >>> gain = rng.random(4000)
    >>> menu = Menu(value=np.column_stack([0 * gain, gain]), cost=np.tile([0.0, 0.5], (4000, 1)))
    >>> curve = PriceCurve.calibrate(menu, Logs(x=gain[:, None], treatment=t, value=gain * t, cost=paid))
    >>> abs(curve.price_for(menu, budget=1600.0) - 1.0) < 0.15  # half of them, at 0.8 each
    True
    """

    price: Floats
    cost: CalibrationCurve
    value: CalibrationCurve
    treatments: tuple[str, ...]
    units: float

    @classmethod
    def calibrate(cls, menu: Menu, logs: Logs, *, draws: int = 400, seed: int = 0) -> PriceCurve:
        """Returns the curve of a menu from trial rows.

        Args:
            menu: What the model believes of these rows, (N, M).
            logs: Rows with known propensities that the model has not seen.
            draws: Poisson bootstrap draws behind the standard errors.
            seed: Their seed.

        Raises:
            DataError: Unknown propensities, a menu of other units, or costs that are all 0 in one of the two.
        """
        same_rows(menu, logs)
        if not isinstance(draws, int) or draws < 20:
            raise _check.refuse("draws", draws, "must be a whole number >= 20", "The default is 400.")
        sums = Sums.of(menu, logs)
        cost, value = sums.tracks(row_weights(logs, draws, seed), logs.n)
        return cls(price=sums.grid, cost=cost, value=value, treatments=logs.treatments, units=logs.total_weight)

    @property
    def spend_per_head(self) -> Floats:
        """Money spent per head of the calibration rows at each price of the grid, non-increasing, (G,)."""
        mean, _ = self.cost.total(self.price, self.price, self.cost.planned, self.cost.planned)
        return falling(mean)

    @property
    def value_per_head(self) -> Floats:
        """Value per head of the calibration rows at each price of the grid, (G,)."""
        return self.value.base * self.value.planned + self.value.residual

    def price_for(self, menu: Menu, budget: float, *, safety: float | None = None) -> float:
        """Returns the price at which the units of a menu spend a budget.

        Args:
            menu: What the model believes of the units to be treated.
            budget: Money for all of them; infinity for no limit.
            safety: Probability that the money truly spent stays within the budget, in [0.5, 0.9999]; None: on average.

        Raises:
            InfeasibleBudget: Even the cheapest treatment for everybody is expected (or bound) to spend more.
        """
        return self.spend_curve(menu).price_for(amount(budget), safety)

    def price_per_head(self, budget: float, *, safety: float | None = None, n: int | None = None) -> float:
        """Returns the price of a budget per head for units like those of the calibration rows, none of them known yet.

        Args:
            budget: Money per head.
            safety: As for `price_for`.
            n: How many units there will be; None: as many as the calibration rows stand for.
        """
        size = float(self.units if n is None else n)
        return self.spend_curve_at(self.price, self.cost.planned * size).price_for(amount(budget) * size, safety)

    def spend_at(self, menu: Menu, price: float, *, level: float = LEVEL) -> Estimate:
        """Returns the money that the units of a menu will spend at a price; each end holds with probability `level`."""
        if not price >= 0:
            raise _check.refuse("price", price, "must be >= 0", "A price of 0 means that money is free.")
        return self.spend_curve(menu).at(price, normal_quantile(level))

    def value_at(self, plan: Plan, *, level: float = LEVEL) -> Estimate:
        """Returns the value of a plan made at `plan.price`; each end holds with probability `level`."""
        return self.value_of(plan.price, plan.value, plan.n, level=level)

    def value_of(self, price: float, planned: float, n: int, *, level: float = LEVEL) -> Estimate:
        """Returns the value of n units' plan at a price, of which the menu says `planned`; each end holds with `level`."""
        mean, sd = (float(q) for q in self.value.total(self.price, price, planned, n))
        return Estimate(mean, mean - normal_quantile(level) * sd, mean + normal_quantile(level) * sd)

    def spend_curve(self, menu: Menu) -> SpendCurve:
        """Returns the spend of a menu's units at every price that changes their plan."""
        same_treatments(self, menu.treatments)
        return self.spend_curve_at(*_corners(frontier(menu)))

    def spend_curve_at(self, price: Floats, planned: Floats) -> SpendCurve:
        """Returns the spend_curve of units whose plan spends, by the menu, `planned` at each price, rising, (K,)."""
        mean, sd = self.cost.total(self.price, price, planned, planned)
        return SpendCurve(price, falling(mean), planned * np.interp(price, self.price, self.cost.margin), sd)


def same_rows(menu: Menu, logs: Logs) -> None:
    """Refuses a menu of other rows or treatments than those of the logs."""
    if (menu.n, menu.treatments) != (logs.n, logs.treatments):
        raise _check.refuse(
            "menu", (menu.n, menu.treatments), f"the logs have {logs.n} rows and treatments {logs.treatments}",
            "Predict for the rows of these logs.",
        )  # fmt: skip


def same_treatments(curve: PriceCurve, treatments: tuple[str, ...]) -> None:
    """Refuses a menu of other treatments than those of a price curve."""
    if treatments != curve.treatments:
        raise _check.refuse("menu.treatments", treatments, f"the curve is of {curve.treatments}", "Use its model.")


def amount(budget: Any) -> float:
    """Returns a budget as a number; infinity is one."""
    return float("inf") if budget == np.inf else _check.number("budget", budget)


def normal_quantile(level: float, field: str = "level") -> float:
    """Returns how many standard deviations up a probability lies."""
    return NormalDist().inv_cdf(_check.number(field, level, low=0.5, high=0.9999))


def _corners(front: Frontier) -> tuple[Floats, Floats]:
    """Returns the prices, rising from 0, at which a plan changes, and what the menu plans to spend there."""
    # front.price falls; ties change together, and a unit steps down at its slope: the spend before the first of them.
    new = np.append(True, front.price[1:] != front.price[:-1]) if len(front.price) else np.zeros(0, bool)
    price, planned = front.price[new][::-1], front.spend[:-1][new][::-1]
    return np.append(0.0, price), np.append(front.spend[-1], planned)


def _gamma(mean: Floats, sd: Floats, z: float) -> Floats:
    """Returns the quantile of a gamma law with this mean and deviation, z normal deviations up (or down).

    A small spend is a sum of few large amounts, skewed like a Poisson count, whose exact bound is a gamma quantile.
    """
    # Wilson and Hilferty 1931: mean · (1 - 1/(9k) + z / (3 √k))³, k = mean² / sd²
    spread = over(np.atleast_1d(sd), np.atleast_1d(mean)) / 3
    out: Floats = (mean * np.maximum(1 - spread**2 + z * spread, 0) ** 3).reshape(np.shape(mean))
    return out
