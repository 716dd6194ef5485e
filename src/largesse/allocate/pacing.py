"""Units that come one by one: the price follows from the money and the units that are left, and from those seen lately."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from largesse import _check
from largesse.allocate.budget_frontier import frontier
from largesse.errors import InfeasibleBudget
from largesse.menu import Menu

__all__ = ["Pacer"]


class Pacer:
    """Spends a budget over units that come one by one, each to be decided at once.

    The price is that of the latest units at the money per head that is left; it is found anew as they come. Nobody gets what
    the money left does not pay, so the budget is never exceeded as long as some treatment of each unit costs nothing.

    Args:
        budget: Money for the whole horizon.
        horizon: How many units will come, about.
        history: Menus of units that came before, which give the first price; None: the first units do.
        memory: How many of the latest units the price is read off. Fewer follow a drift faster, more are less noisy.
        every: The price is found anew after so many units; earlier at the start.

    Attributes:
        price: What a unit of money must bring now.
        spent: Money spent so far.
        seen: Units decided so far.

    Raises:
        DataError: An argument breaks a rule.

    Reference:
        Jasin and Kumar 2012 (re-solving); Balseiro and Gur 2019 (pacing).

    >>> pacer = Pacer(2.0, horizon=4, history=Menu(value=[[0.0, 1.0], [0.0, 3.0]], cost=[[0.0, 1.0]] * 2))
    >>> [pacer.decide([0.0, v], [0.0, 1.0]) for v in (0.5, 4.0, 2.0, 5.0)], pacer.spent
    ([0, 1, 0, 1], 2.0)
    """

    def __init__(
        self, budget: float, horizon: int, *, history: Menu | None = None, memory: int = 2_000, every: int = 50
    ) -> None:
        self.budget = _check.number("budget", budget, low=0)
        sizes = {"horizon": horizon, "memory": memory, "every": every}
        for name, size in sizes.items():
            _check.integers(name, [size], low=1, high=2**31 - 1, rule="must be >= 1", remedy="It counts units.")
        self.horizon, self.memory, self.every = int(horizon), int(memory), int(every)
        self.price, self.spent, self.seen = 0.0, 0.0, 0
        self._lost = 0.0  # digits that the running sum has lost
        self._value: NDArray[np.float64] = np.empty((0, 0))
        self._cost: NDArray[np.float64] = np.empty((0, 0))
        self._held = 0
        if history is not None:
            for value, cost in zip(history.value[-self.memory :], history.cost[-self.memory :], strict=True):
                self._remember(value.astype(np.float64), cost.astype(np.float64))
            self._reprice()

    @property
    def left(self) -> float:
        """Money left."""
        return max(0.0, (self.budget - self.spent) - self._lost)

    def decide(self, value: ArrayLike, cost: ArrayLike) -> int:
        """Returns the treatment of the next unit, and counts its cost as spent.

        Args:
            value: Value of each treatment, (M,).
            cost: Cost of each, (M,), >= 0.

        Raises:
            DataError: Not as many numbers as for the units before, or a number that is none.
            InfeasibleBudget: The money left does not pay the cheapest treatment.
        """
        v, c = self._checked(value, cost)
        self._remember(v, c)
        if self.seen % self.every == 0 or (self.seen < self.every and self._held < self.every):
            self._reprice()
        affordable = c <= self.left
        if not affordable.any():
            raise InfeasibleBudget(self.left, float(c.min()))
        score = np.where(affordable, v - self.price * c, -np.inf)
        best = np.flatnonzero(score == score.max())
        chosen = int(best[np.argmin(c[best])])
        self._spend(float(c[chosen]))
        self.seen += 1
        return chosen

    def change(self, *, budget: float | None = None, horizon: int | None = None) -> None:
        """Takes a new budget or horizon, for the whole of it, from the next unit on.

        Raises:
            DataError: The new budget is below what is spent, or the horizon below what is seen.
        """
        if budget is not None:
            remedy = f"{self.spent:g} is spent already."
            self.budget = _check.number("budget", budget, low=self.spent, remedy=remedy)
        if horizon is not None:
            rule, remedy = f"must be >= {max(1, self.seen)}", f"{self.seen} units are decided already."
            _check.integers("horizon", [horizon], low=max(1, self.seen), high=2**31 - 1, rule=rule, remedy=remedy)
            self.horizon = int(horizon)
        self._reprice()

    def _checked(self, value: Any, cost: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        v, c = (_check.array(name, a, ndim=1, dtype=np.float64) for name, a in (("value", value), ("cost", cost)))
        for name, a in (("value", v), ("cost", c)):
            _check.finite(name, a, "Give a number for each treatment.")
        _check.nonnegative("cost", c, "Money that comes in belongs to value.")
        m = self._value.shape[1] if self._held else len(v)
        if not len(v) == len(c) == m:
            raise _check.refuse("len(value), len(cost)", (len(v), len(c)), f"both must be {m}", "Give every treatment.")
        return v, c

    def _remember(self, v: NDArray[np.float64], c: NDArray[np.float64]) -> None:
        if not self._held:
            self._value, self._cost = np.empty((self.memory, len(v))), np.empty((self.memory, len(v)))
        at = self._held % self.memory
        self._value[at], self._cost[at] = v, c
        self._held += 1

    def _spend(self, money: float) -> None:
        total = self.spent + money
        self._lost += (self.spent - total) + money if self.spent >= money else (money - total) + self.spent
        self.spent = total + self._lost
        self._lost -= self.spent - total

    def _reprice(self) -> None:
        """Finds the price at which the latest units would spend what is left per head."""
        n = min(self._held, self.memory)
        if not n:
            return
        front = frontier(Menu(value=self._value[:n], cost=self._cost[:n]))
        per_head = self.left / max(1, self.horizon - self.seen)
        self.price = float(front.price_at(max(per_head * n, front.spend[0])))
