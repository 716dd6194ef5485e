"""Price intervals: the range of shadow prices λ at which each treatment is the best choice."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from largesse import _check
from largesse._arguments import checked
from largesse.allocate import kernels
from largesse.menu import Menu

__all__ = ["assign", "intervals", "taken_interval"]


@checked
def intervals(menu: Menu) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns the prices [lo, hi) at which each treatment is the argmax of value - price * cost.

    A tie in price goes to the cheaper treatment; a treatment chosen at no price has [inf, inf).
    Every price in [0, inf) lies in exactly one interval of a unit.

    Args:
        menu: Value and cost of N units and M treatments.

    Returns:
        lo, hi: Each (N, M), value per unit of spend.

    >>> lo, hi = intervals(Menu(value=[[0.0, 2.0, 3.0]], cost=[[0.0, 1.0, 2.0]]))
    >>> lo.tolist(), hi.tolist()
    ([[2.0, 1.0, 0.0]], [[inf, 2.0, 1.0]])
    """
    lo, hi = (np.full(menu.value.T.shape, np.inf) for _ in range(2))
    kernels.intervals_of(menu.value.T, menu.cost.T, lo, hi)
    return lo.T, hi.T


@checked
def taken_interval(menu: Menu, treatment: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns the prices [lo, hi) at which each unit's given treatment is chosen.

    Args:
        menu: Value and cost of N units.
        treatment: Codes (N,), e.g. as assigned in a trial.

    Returns:
        lo, hi: Each (N,); [inf, inf) where it is chosen at no price.

    Raises:
        DataError: A code is outside 0..M-1, or there are not N of them.
    """
    codes = _check.integers(
        "treatment", treatment, low=0, high=menu.n_treatments, rule=f"must be a code in 0..{menu.n_treatments - 1}",
        remedy="Use the menu's treatments.",
    )  # fmt: skip
    _check.lengths(menu=menu.value, treatment=codes)
    return kernels.interval_of(menu.value.T, menu.cost.T, codes)


@checked
def assign(menu: Menu, price: float) -> NDArray[np.int32]:
    """Returns argmax_j value - price * cost for each unit, (N,); ties go to the cheaper treatment.

    Args:
        menu: Value and cost of N units.
        price: Value per unit of spend, >= 0; at infinity every unit gets its cheapest treatment.

    Raises:
        DataError: The price is negative or not a number.

    >>> assign(Menu(value=[[0.0, 2.0, 3.0]], cost=[[0.0, 1.0, 2.0]]), price=1.0).tolist()
    [1]
    """
    if price != np.inf:
        _check.number("price", price, low=0, remedy="At a price of 0 costs do not count.")
    return kernels.assign_at(menu.value.T, menu.cost.T, float(price))
