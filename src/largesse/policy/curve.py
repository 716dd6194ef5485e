"""Spend and value of an allocation at every price, calibrated on trial rows, for units that are still to be treated.

A menu's costs are predictions, and an allocation picks the units whose predicted cost is too low. So the curve is
calibrated on trial rows that the model was not trained on. At the shadow price λ the menu predicts a spend of P(λ) for
the new units; for the calibration rows it predicted p(λ) per unit, and c(λ) was spent (estimated without bias). Then

    spend(λ) = κ(λ) · P(λ),    κ(λ) = c(λ) / p(λ)

corrects the costs of the model and follows the new population where it differs from the old one, because P is the sum
over the units to be treated. The price of a budget B is the smallest λ with spend(λ) <= B, or with an upper bound of the
spend within B: see `largesse.policy.safety`.

c(λ) = κ₀ p(λ) + the inverse-propensity mean of (cost - κ₀ predicted cost) over rows that got the allocated treatment, with
one factor κ₀ for all rows: unbiased like the plain mean, and less noisy the better the predictions are.

Assumptions: at one price, κ is the same for the new units as for the calibration rows, and units behave independently
of each other. Neither the predictions nor the bound include a season that changes how all units react.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from largesse import _check
from largesse._arguments import checked
from largesse.allocate.budget_frontier import Frontier, frontier
from largesse.evaluate.bootstrap import row_weights
from largesse.evaluate.intervals import FEW_EVENTS
from largesse.logs import Logs
from largesse.menu import Menu, Plan
from largesse.policy.calibration import CalibrationCurve, Sums, falling
from largesse.policy.safety import LEVEL, Estimate, SpendCurve, amount, normal_quantile
from largesse.result import Framed

__all__ = ["PriceCurve", "same_rows", "same_treatments"]

Floats = NDArray[np.float64]


@checked
@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class PriceCurve(Framed):
    """Spend and value by price, calibrated on trial rows that the model was not trained on.

    Attributes:
        price: Grid of prices, rising, from 0 to one at which every unit gets the cheapest treatment, (G,), G <= 256.
        cost: Calibration of the menu's costs.
        value: Calibration of the menu's values.
        treatments: Names of the treatments.
        units: Number of units that the calibration rows stand for.

    >>> rng = np.random.default_rng(0)
    >>> t = rng.integers(0, 2, 4000)
    >>> paid = (rng.random(4000) < 0.4) * t * 2.0  # 0.8 per treated unit; the menu predicts 0.5
    >>> gain = rng.random(4000)
    >>> menu = Menu(value=np.column_stack([0 * gain, gain]), cost=np.tile([0.0, 0.5], (4000, 1)))
    >>> curve = PriceCurve.calibrate(menu, Logs(x=gain[:, None], treatment=t, value=gain * t, cost=paid))
    >>> abs(curve.price_for(menu, budget=1600.0) - 1.0) < 0.15  # half of them, at 0.8 each
    True
    """

    _pictured: ClassVar[bool] = True
    price: Floats
    cost: CalibrationCurve
    value: CalibrationCurve
    treatments: tuple[str, ...]
    units: float

    @classmethod
    @checked
    def calibrate(cls, menu: Menu, logs: Logs, *, draws: int = 400, seed: int = 0) -> PriceCurve:
        """Returns the curve of a menu from trial rows.

        Args:
            menu: The model's predictions for these rows, (N, M).
            logs: Rows with known propensities that the model was not trained on.
            draws: Poisson bootstrap draws for the standard errors.
            seed: Seed of the draws.

        Raises:
            DataError: Unknown propensities, a menu of other units, or costs that are all 0 in one of the two.
        """
        same_rows(menu, logs)
        if not isinstance(draws, int) or draws < 20:
            raise _check.refuse("draws", draws, "must be a whole number >= 20", "The default is 400.")
        sums = Sums.of(menu, logs)
        cost, value = sums.curves(row_weights(logs, draws, seed), logs.n)
        return cls(price=sums.grid, cost=cost, value=value, treatments=logs.treatments, units=logs.total_weight)

    @property
    def spend_per_head(self) -> Floats:
        """Spend per unit of the calibration rows at each price of the grid, non-increasing, (G,)."""
        mean, _ = self.cost.total(self.price, self.price, self.cost.planned, self.cost.planned)
        return falling(mean)

    @property
    def value_per_head(self) -> Floats:
        """Value per unit of the calibration rows at each price of the grid, (G,)."""
        return self.value.base * self.value.planned + self.value.residual

    def price_for(self, menu: Menu, budget: float, *, safety: float | None = None) -> float:
        """Returns the price at which the units of a menu spend a budget.

        Args:
            menu: The model's predictions for the units to be treated.
            budget: Their total budget; infinity for no limit.
            safety: Probability of staying within the budget, in [0.5, 0.9999]; None: on average.

        Raises:
            InfeasibleBudget: Even the cheapest treatment for every unit has a higher expected spend (or bound).
        """
        return self.spend_curve(menu).price_for(amount(budget), safety)

    def price_per_head(self, budget: float, *, safety: float | None = None, n: int | None = None) -> float:
        """Returns the price of a budget per unit for unknown units like those of the calibration rows.

        Args:
            budget: Budget per unit.
            safety: As for `price_for`.
            n: Number of units; None: as many as the calibration rows stand for.
        """
        size = float(self.units if n is None else n)
        return self.spend_curve_at(self.price, self.cost.planned * size).price_for(amount(budget) * size, safety)

    def spend_at(self, menu: Menu, price: float, *, level: float = LEVEL) -> Estimate:
        """Returns the spend of the units of a menu at a price; each end holds with probability `level`."""
        if not price >= 0:
            raise _check.refuse("price", price, "must be >= 0", "At a price of 0 costs do not count.")
        return self.spend_curve(menu).at(price, normal_quantile(level))

    def notes_at(self, price: float) -> tuple[str, ...]:
        """Returns a sentence where the calibration of spend, value or both rests on few events at a price."""
        k = int(np.clip(np.searchsorted(self.price, price, side="right") - 1, 0, len(self.price) - 1))
        events = {name: part.events[k] for name, part in (("spend", self.cost), ("value", self.value))}
        few = {name: n for name, n in events.items() if 0 < n < FEW_EVENTS}
        if not few:
            return ()
        many, names = len(few) > 1, " and ".join(few)
        counts = " and ".join(f"{n:.0f}" for n in few.values())
        return (
            f"The interval{'s' * many} of the expected {names} rest{'s' * (not many)} on few events of the calibration rows "
            f"({counts}): below {FEW_EVENTS}, {'they' if many else 'it'} may hold the truth less often than "
            f"{'they say' if many else 'it says'}. Calibrate on more trial rows.",
        )

    def value_at(self, plan: Plan, *, level: float = LEVEL) -> Estimate:
        """Returns the value of an allocation at `plan.price`; each end holds with probability `level`."""
        return self.value_of(plan.price, plan.value, plan.n, level=level)

    def value_of(self, price: float, planned: float, n: int, *, level: float = LEVEL) -> Estimate:
        """Returns the value of n units at a price, for which the menu predicts `planned`; each end holds with `level`."""
        mean, sd = (float(q) for q in self.value.total(self.price, price, planned, n))
        return Estimate(mean, mean - normal_quantile(level) * sd, mean + normal_quantile(level) * sd)

    def value_under_rules(
        self, price: float, share: float, planned: float, n: int, *, level: float = LEVEL
    ) -> Estimate:
        """Returns the value of n units of which rules allow a part of what the policy gives at a price.

        The bias of the menu's values is that of control and that at the price, weighted by the share; so are the standard
        errors, as if they were fully correlated.

        Args:
            price: Shadow price λ of the plan without rules.
            share: Predicted spend under the rules, as a share of that without; more than 1 counts as 1.
            planned: Value that the menu predicts under the rules.
            n: Number of units.
            level: Probability of each end.
        """
        part = min(max(share, 0.0), 1.0)
        ends = (self.value.total(self.price, at, 0.0, n) for at in (np.inf, price))
        (none, wide), (full, wider) = ((float(mean), float(sd)) for mean, sd in ends)
        mean = self.value.base * planned + (1 - part) * none + part * full
        sd = (1 - part) * wide + part * wider
        return Estimate(mean, mean - normal_quantile(level) * sd, mean + normal_quantile(level) * sd)

    def _columns(self) -> dict[str, Floats]:
        """Returns spend and value per unit at each price, of as many units as the calibration rows stand for; see `Estimate`."""
        n, z, at = float(self.units), normal_quantile(LEVEL), self.price
        planned = {"spend": self.cost.planned * n, "value": self.value.planned * n}
        spend, spend_sd = self.cost.total(at, at, planned["spend"], planned["spend"])
        value, value_sd = self.value.total(at, at, planned["value"], n)
        out: dict[str, Floats] = {"price": at}
        for name, mean, sd in (("spend", falling(spend), spend_sd), ("value", value, value_sd)):
            out |= {f"planned_{name}": planned[name] / n, name: mean / n}
            out |= {f"{name}_low": (mean - z * sd) / n, f"{name}_high": (mean + z * sd) / n}
        return out

    def spend_curve(self, menu: Menu) -> SpendCurve:
        """Returns the spend of the units of a menu at every price that changes their allocation."""
        same_treatments(self, menu.treatments)
        return self.spend_curve_at(*_corners(frontier(menu)))

    def spend_curve_at(self, price: Floats, planned: Floats) -> SpendCurve:
        """Returns the spend curve of units for which the menu predicts the spend `planned` at each price, rising, (K,)."""
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


def _corners(front: Frontier) -> tuple[Floats, Floats]:
    """Returns the prices, rising from 0, at which the allocation changes, and the spend that the menu predicts there."""
    # front.price falls; ties change together, and a unit steps down at its slope: the spend before the first of them.
    new = np.append(True, front.price[1:] != front.price[:-1]) if len(front.price) else np.zeros(0, bool)
    price, planned = front.price[new][::-1], front.spend[:-1][new][::-1]
    return np.append(0.0, price), np.append(front.spend[-1], planned)
