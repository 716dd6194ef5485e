"""The wish of the caller of `allocate`: a budget, or a price; and what is spent past break-even."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from largesse import _check
from largesse.allocate.blocks import Run
from largesse.allocate.dual_kernels import cells_of, total
from largesse.allocate.price_intervals import assign
from largesse.commands.run_folder import Safety
from largesse.menu import Menu
from largesse.policy.descent import between
from largesse.policy.safety import amount

__all__ = ["Wish"]


class Wish(NamedTuple):
    """The wish of the caller: a budget, or a price; and what one unit of value brings.

    Attributes:
        budget: Total budget; None: it is given per unit, or there is a price instead.
        price: The price: given, or the one at which each unit of spend brings back `least`; NaN where that is not known.
        least: Money that each unit of spend must bring back.
        unit_value: Money that one unit of value brings; None: not known.
        per_unit: Budget per unit; None: there is a total, or a price.
    """

    budget: float | None
    price: float
    least: float
    unit_value: float | None
    per_unit: float | None = None

    @classmethod
    def of(
        cls, budget: float | None, price: float | None, least: float, unit_value: float | None, *,
        per_unit: float | None = None, safety: Safety = "configured",
    ) -> Wish:  # fmt: skip
        """Returns the checked wish.

        Args:
            budget: As given.
            price: As given.
            least: As given.
            unit_value: As given, or as declared in the run.
            per_unit: As given.
            safety: As given; it is checked only, as a price has no use for it.

        Raises:
            DataError: Two of total, budget per unit and price are given, or none of them and what pays is not known, a safety is
                given without a budget, or a number is out of range.
        """
        least = _check.number("--min-return", least, low=0)
        if unit_value is not None:
            unit_value = _check.number("--value-per-unit", unit_value, low=1e-12)
        limited = budget is not None or per_unit is not None
        if budget is not None and per_unit is not None:
            raise _check.refuse("--budget-per-unit", per_unit, "cannot be used with --budget", "Give one of the two.")
        if limited and price is not None:
            raise _check.refuse("--price", price, "cannot be used with a budget", "Give one of the two.")
        if not limited and safety != "configured":
            name, got = ("--on-average", True) if safety is None else ("--safety", safety)
            raise _check.refuse(
                name, got, "says how surely a budget is kept, and there is none", "Give --budget, or leave it out."
            )
        if price is not None and least != 1:
            raise _check.refuse("--min-return", least, "cannot be used with --price", "Give one of the two.")
        if price is not None:
            return cls(None, _check.number("--price", price, low=0), least, unit_value)
        if not limited and unit_value is None:
            raise _check.refuse(
                "--budget", None, "is missing, and the run does not say what one unit of value brings in money, so it is not "
                "known what pays", "Give --budget, --budget-per-unit or --price, or the money: --value-per-unit, or "
                "outcome.value_per_unit in fit.",
            )  # fmt: skip
        pays = float("nan") if unit_value is None else least / unit_value
        if per_unit is not None and per_unit != float("inf"):
            per_unit = _check.number("--budget-per-unit", per_unit)
        return cls(None if budget is None else amount(budget), pays, least, unit_value, per_unit)

    @property
    def limited(self) -> bool:
        """Whether there is a budget."""
        return self.budget is not None or self.per_unit is not None

    def total(self, n: int) -> float:
        """Returns the total budget of n units.

        Args:
            n: Number of units; of use only where the budget is per unit.
        """
        if self.budget is not None:
            return self.budget
        assert self.per_unit is not None
        return amount(self.per_unit * n)

    def notes_at(self, run: Run, price: float) -> tuple[str, ...]:
        """Returns a sentence about what is bought at the price of a budget, but brings back less than it must, if any is.

        Args:
            run: Passes over the units.
            price: The price of the budget.
        """
        return self.notes_between(price, lambda low, high: between(run, low, high))

    def notes_between(self, price: float, sums: Callable[[float, float], tuple[float, float]]) -> tuple[str, ...]:
        """Returns the same from a function that returns predicted spend and value between two prices.

        Args:
            price: The price of the budget.
            sums: The function.
        """
        return self._notes(*sums(price, self.price)) if self.limited and price < self.price else ()

    def notes_of(self, menu: Menu, treatment: NDArray[np.int32]) -> tuple[str, ...]:
        """Returns the same for a plan under rules, which no single price decides.

        What a unit gets beyond its best treatment at break-even brings back less than it must.

        Args:
            menu: The menu, with the model's costs.
            treatment: The plan, (N,).
        """
        if not self.price >= 0:
            return ()
        best = assign(menu, self.price)
        rows = np.flatnonzero(treatment != best)
        spend, value = (
            cells_of(part.T, treatment[rows], rows).astype(np.float64) - cells_of(part.T, best[rows], rows)
            for part in (menu.cost, menu.value)
        )
        beyond = spend > 0
        return self._notes(total(spend[beyond]), total(value[beyond]))

    def _notes(self, spend: float, value: float) -> tuple[str, ...]:
        if not spend > 0 or self.unit_value is None:
            return ()
        back = value * self.unit_value
        spent, brought, lost = (_check.written(x, 4) for x in (spend, back, spend - back))
        if self.least != 1:
            return (
                f"Of this spend, {spent} brings back less than {_check.written(self.least)} for each unit of money: {brought} by "
                "the model's predictions. Without --budget, only what brings back as much is given.",
            )
        return (
            f"Of this spend, {spent} is past break-even: by the model's predictions it brings back {brought}, {lost} less than "
            "it costs. Without --budget, only what pays is given.",
        )
