"""Units that arrive one by one: the price follows from the remaining budget per unit and the most recent units."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from largesse import _check
from largesse.allocate.budget_frontier import frontier
from largesse.errors import InfeasibleBudget
from largesse.menu import Menu

__all__ = ["Pacer"]

Floats = NDArray[np.float64]
_WINDOW = 2_000  # most recent units from which the price is computed
_EVERY = 50  # units between two computations of the price


class Pacer:
    """Spends a budget over units that arrive one by one, each to be decided at once.

    The price is that of the last 2,000 units at the remaining budget per remaining unit; it is updated every 50 units. A
    treatment that costs more than the remaining budget is never given, so the budget is never exceeded as long as each unit
    has a treatment that costs nothing.

    Args:
        budget: Budget of the whole horizon.
        horizon: Expected number of units.
        history: Menu of earlier units, which gives the first price; None: the first units do.

    Attributes:
        price: Current shadow price λ: the value that one more unit of spend must bring.
        spent: Spend so far.
        decided: Number of units decided so far.

    Raises:
        DataError: The budget is negative or not a number, or the horizon is not a whole number >= 1.

    Reference:
        Jasin and Kumar 2012 (re-solving); Balseiro and Gur 2019 (pacing).

    >>> pacer = Pacer(2.0, horizon=4, history=Menu(value=[[0.0, 1.0], [0.0, 3.0]], cost=[[0.0, 1.0]] * 2))
    >>> [pacer.decide([0.0, v], [0.0, 1.0]) for v in (0.5, 4.0, 2.0, 5.0)], pacer.spent
    ([0, 1, 0, 1], 2.0)
    """

    def __init__(self, budget: float, horizon: int, *, history: Menu | None = None) -> None:
        self.budget = _check.number("budget", budget, low=0)
        _check.integers("horizon", [horizon], low=1, high=2**31 - 1, rule="must be >= 1", remedy="It counts units.")
        self.horizon = int(horizon)
        self.price, self.spent, self.decided = 0.0, 0.0, 0
        self._lost = 0.0  # rounding remainder of the running sum
        self._recent: Floats = np.empty((2, 0, 0))  # values and costs of the window, (2, units, M)
        self._recorded = 0
        if history is not None:
            for value, cost in zip(history.value[-_WINDOW:], history.cost[-_WINDOW:], strict=True):
                self._record(value.astype(np.float64), cost.astype(np.float64))
            self._reprice()

    @property
    def left(self) -> float:
        """Remaining budget."""
        return max(0.0, (self.budget - self.spent) - self._lost)

    def decide(self, value: ArrayLike, cost: ArrayLike) -> int:
        """Returns the treatment of the next unit, and counts its cost as spent.

        Args:
            value: Predicted value of each treatment, (M,).
            cost: Predicted cost of each treatment, (M,), >= 0.

        Raises:
            DataError: A value or cost is missing, not finite or, for costs, negative.
            InfeasibleBudget: The remaining budget does not pay for the cheapest treatment.
        """
        v, c = self._checked(value, cost)
        self._record(v, c)
        if self.decided % _EVERY == 0 or (self.decided < _EVERY and self._recorded < _EVERY):
            self._reprice()
        affordable = c <= self.left
        if not affordable.any():
            raise InfeasibleBudget(self.left, float(c.min()))
        score = np.where(affordable, v - self.price * c, -np.inf)
        best = np.flatnonzero(score == score.max())
        chosen = int(best[np.argmin(c[best])])
        self._spend(float(c[chosen]))
        self.decided += 1
        return chosen

    def change(self, *, budget: float | None = None, horizon: int | None = None) -> None:
        """Sets a new total budget or horizon, spend and units so far included, and updates the price.

        Raises:
            DataError: The budget is below the spend so far, or the horizon below the number of units decided.
        """
        if budget is not None:
            remedy = f"{self.spent:g} is spent already."
            self.budget = _check.number("budget", budget, low=self.spent, remedy=remedy)
        if horizon is not None:
            low, remedy = max(1, self.decided), f"{self.decided} units are decided already."
            _check.integers("horizon", [horizon], low=low, high=2**31 - 1, rule=f"must be >= {low}", remedy=remedy)
            self.horizon = int(horizon)
        self._reprice()

    def _checked(self, value: Any, cost: Any) -> tuple[Floats, Floats]:
        v, c = (_check.array(name, a, ndim=1, dtype=np.float64) for name, a in (("value", value), ("cost", cost)))
        for name, a in (("value", v), ("cost", c)):
            _check.finite(name, a, "Give a number for each treatment.")
        _check.nonnegative("cost", c, "Income belongs to value.")
        m = self._recent.shape[2] if self._recorded else len(v)
        if not len(v) == len(c) == m:
            raise _check.refuse("len(value), len(cost)", (len(v), len(c)), f"both must be {m}", "Give every treatment.")
        return v, c

    def _record(self, v: Floats, c: Floats) -> None:
        """Stores the values and costs of a unit, in place of the oldest one once the window is full."""
        if not self._recorded:
            self._recent = np.empty((2, _WINDOW, len(v)))
        self._recent[:, self._recorded % _WINDOW] = v, c
        self._recorded += 1

    def _spend(self, cost: float) -> None:
        """Adds a cost to the spend, with compensation (Neumaier)."""
        total = self.spent + cost
        self._lost += (self.spent - total) + cost if self.spent >= cost else (cost - total) + self.spent
        self.spent = total + self._lost
        self._lost -= self.spent - total

    def _reprice(self) -> None:
        """Sets the price at which the units of the window would spend the remaining budget per remaining unit."""
        n = min(self._recorded, _WINDOW)
        if not n:
            return
        front = frontier(Menu(value=self._recent[0, :n], cost=self._recent[1, :n]))
        per_unit = self.left / max(1, self.horizon - self.decided)
        self.price = float(front.price_at(max(per_unit * n, front.spend[0])))
