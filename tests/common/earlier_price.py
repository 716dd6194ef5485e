"""The price before there was survival analysis: what is still reserved counts as if it were paid; constant arrivals."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
LOWEST, HIGHEST, PRIOR, GROUP, GROUPS = 0.2, 3.0, 30, 100, 25


def share_by_age(
    age: Floats, reservation: Floats, kept: Floats, matures: float
) -> tuple[Callable[[Floats], Floats], float]:
    """Returns the share of a reservation that is paid or still reserved at an age, and that at the end.

    Args:
        age: Age of each decision, (n,).
        reservation: What it reserved, (n,).
        kept: What of it is paid or still reserved, (n,).
        matures: Age at which a reservation expires.
    """
    order = np.argsort(age, kind="stable")
    young, old = order[age[order] < matures], order[age[order] >= matures]
    groups = np.array_split(young, min(GROUPS, max(1, len(young) // GROUP))) if len(young) else []
    prior = PRIOR * float(reservation.mean()) if len(age) else 0.0
    ages, shares, share = [0.0], [1.0], 1.0

    def shrunk(rows: NDArray[np.intp], before: float) -> float:
        total = float(reservation[rows].sum()) + prior
        return (float(kept[rows].sum()) + prior * before) / total if total else before

    for rows in groups:
        share = shrunk(rows, share)
        ages.append(float(age[rows].mean()))
        shares.append(share)
    if len(old):
        ages += [matures, matures]
        shares += [share, share := shrunk(old, share)]
    within = np.clip(shares, LOWEST, HIGHEST)
    return lambda at: np.interp(at, ages, within), share


def per_unit(
    left: float, reserved: float, age: Floats, reservation: Floats, kept: Floats, matures: float, time: float, units: float,
    each: float = 1.0,
) -> float:  # fmt: skip
    """Returns what each unit to come may reserve.

    Args:
        left: Money neither paid nor reserved.
        reserved: Money reserved.
        age: Age of each decision, (n,).
        reservation: What it reserved, (n,).
        kept: What of it is paid or still reserved, (n,).
        matures: Age at which a reservation expires.
        time: Time to the end.
        units: Units to come.
        each: Decisions that one of these stands for.
    """
    share, _ = share_by_age(age, reservation, kept, matures)
    horizons, points = np.append(np.linspace(0, time, 21)[1:], time + matures), (np.arange(33) + 0.5) / 33
    released = [each * float((reservation * (share(age) - share(age + t))).sum()) for t in horizons]
    come = units * np.minimum(horizons / time, 1.0)
    mean = np.array([share(np.maximum(t - time, 0) + min(t, time) * points).mean() for t in horizons])
    return max(0.0, float(((left + np.minimum(released, reserved)) / (come * mean)).min()))
