"""Amounts of money as whole numbers of the smallest unit; reservations and payments are rounded up, budgets down."""

from __future__ import annotations

import math

from largesse import _check

__all__ = ["MOST", "NOISE", "amount", "rounded_down", "rounded_up"]

MOST = 10**15
"""The largest amount, in smallest units: sums of a thousand such amounts are whole numbers of 64 bits."""
NOISE = 4 * 2.0**-52
"""Relative: 1.1 · 100 is 110.00000000000001."""


def rounded_up(field: str, money: float, scale: int) -> int:
    """Returns an amount in smallest units, rounded up: 0.301 of a unit with scale 100 is 31.

    Raises:
        DataError: It is not finite, or too large.

    >>> rounded_up("cost", 1.1, 100), rounded_up("cost", 1.101, 100), rounded_up("cost", -1.109, 100)
    (110, 111, -110)
    """
    exact = _finite(field, money, scale)
    return math.ceil(exact - abs(exact) * NOISE)


def rounded_down(field: str, money: float, scale: int) -> int:
    """Returns an amount in smallest units, rounded down.

    Raises:
        DataError: It is not finite, or too large.

    >>> rounded_down("budget", 0.29, 100), rounded_down("budget", 0.299, 100)
    (29, 29)
    """
    exact = _finite(field, money, scale)
    return math.floor(exact + abs(exact) * NOISE)


def amount(smallest: int, scale: int) -> float:
    """Returns smallest units as an amount of money."""
    return smallest / scale


def _finite(field: str, money: float, scale: int) -> float:
    try:
        exact = float(money) * scale
    except (TypeError, ValueError, OverflowError):
        exact = math.nan
    if not abs(exact) <= MOST:
        most = _check.written(MOST / scale, 16)
        raise _check.refuse(
            field, money, f"must be a finite number, at most {most}", "Correct it, or use a larger unit."
        )
    return exact
