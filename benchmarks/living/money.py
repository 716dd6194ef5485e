"""The money of a campaign: what a day may spend, the price of the moment, and what is paid days later."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from largesse.serving.ledger.pricing import price_at

__all__ = ["Given", "Till"]

Floats = NDArray[np.float64]
Codes = NDArray[np.intp]
_AT_ONCE = 250  # units that are decided at one price
_WINDOW = 2_000  # units whose menus the price rests on
_DAYS = 7  # days of payments from which the ratio to the predicted cost is known
_PRIOR = 30.0  # units of which a payment as predicted is assumed


class Given(NamedTuple):
    """What the units of a day got.

    Attributes:
        code: Treatment of each, (n,).
        price: Shadow price of each, (n,).
        limited: Whether the money left decided, (n,).
        reserved: Predicted cost of what was given, (n,).
    """

    code: Codes
    price: Floats
    limited: NDArray[np.bool_]
    reserved: Floats


class Till:
    """Every day may spend the budgets so far less what is paid or still reserved: days that spend too much are made up for.

    Args:
        budget: Budget of a day.
        units: Units of a day.
        delay: Days until what is paid for a unit is known.
    """

    def __init__(self, budget: float, units: int, delay: int) -> None:
        self.budget, self.units, self.delay = budget, units, delay
        self.value = self.cost = np.zeros((0, 1))
        self.reserved: list[float] = []
        self.paid: list[float] = []
        self.spending: list[float] = []  # what each day was meant to spend

    def ratio(self) -> float:
        """Returns what is paid of each unit of money that was predicted, from the last week that is known."""
        known = max(0, len(self.paid) - self.delay)
        days = slice(max(0, known - _DAYS), known)
        paid, reserved = sum(self.paid[days]), sum(self.reserved[days])
        prior = _PRIOR * self.budget / self.units
        return (paid + prior) / (reserved + prior)

    def day(
        self, value: Floats, cost: Floats, draw: Callable[[slice, float], Codes], random: tuple[float, Floats] | None = None,
    ) -> Given:  # fmt: skip
        """Returns what the units of a day get.

        Args:
            value: Predicted value, (n, M).
            cost: Predicted cost, (n, M); control costs nothing.
            draw: Returns the treatments of some units at a price, before the money is looked at.
            random: Share of the units that is drawn at random, and the probabilities of its treatments, (M,).
        """
        ratio, n = self.ratio(), len(value)
        known = max(0, len(self.paid) - self.delay)
        out = sum(self.paid[:known]) + ratio * sum(self.reserved[known:])
        money = max(0.0, self.budget * (len(self.paid) + 1) - out)
        self.spending.append(money)
        share, mix = (0.0, np.zeros(value.shape[1])) if random is None else random
        code, price = np.zeros(n, np.intp), np.zeros(n)
        limited, reserved, left = np.zeros(n, np.bool_), np.zeros(n), money
        for first in range(0, n, _AT_ONCE):
            rows = slice(first, min(n, first + _AT_ONCE))
            self._window(value[rows], cost[rows])
            each = left / (n - first) - share * ratio * float((self.cost * mix).sum(axis=1).mean())
            at = price_at(self.value, self.cost, ratio * self.cost, max(0.0, each) / (1 - share))
            got = draw(rows, at)
            needs = ratio * cost[rows][np.arange(len(got)), got]
            over = (np.cumsum(needs) > left) & (needs > 0)
            code[rows], price[rows], limited[rows] = np.where(over, 0, got), at, over
            reserved[rows] = np.where(over, 0.0, needs) / ratio
            left -= float(np.where(over, 0.0, needs).sum())
        return Given(code, price, limited, reserved)

    def _window(self, value: Floats, cost: Floats) -> None:
        if self.value.shape[1] != value.shape[1]:
            self.value, self.cost = value[:0], cost[:0]
        self.value = np.concatenate([self.value, value])[-_WINDOW:]
        self.cost = np.concatenate([self.cost, cost])[-_WINDOW:]

    def close(self, given: Given, paid: float) -> None:
        """Ends a day: what it reserved, and what it will turn out to have paid."""
        self.reserved.append(float(given.reserved.sum()))
        self.paid.append(paid)
