"""The cost curve of an order of the units, and the area under it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from largesse import _check
from largesse.logs import frozen
from largesse.result import Tabular

__all__ = ["CostCurve", "positive_totals", "trapezoid"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class CostCurve(Tabular):
    """Incremental value against incremental spend, as more and more units are treated in the order of a score.

    Attributes:
        cost: Incremental cost per unit of the population, float64 (K,), first entry 0.
        value: Incremental value per unit of the population, float64 (K,), first entry 0.
        share: Share of the population treated so far, float64 (K,), from 0 to 1.
    """

    cost: Floats
    value: Floats
    share: Floats

    def _columns(self) -> dict[str, Floats]:
        return {"cost": self.cost, "value": self.value, "share": self.share}

    def __post_init__(self) -> None:
        for name in ("cost", "value", "share"):
            object.__setattr__(self, name, frozen(_check.array(name, getattr(self, name), ndim=1, dtype=np.float64)))
        _check.lengths(cost=self.cost, value=self.value, share=self.share)

    @property
    def area(self) -> float:
        """Trapezoid area under value / total value against cost / total cost: 0.5 for a random order, higher is better.

        Raises:
            DataError: Treating every unit costs nothing or brings nothing, so there is no scale.
        """
        positive_totals(self.cost[-1], self.value[-1])
        return trapezoid(self.value / self.value[-1], self.cost / self.cost[-1])


def positive_totals(cost: float, value: float) -> None:
    """Raises DataError unless the total cost and the total value are positive."""
    for name, total in (("cost", cost), ("value", value)):
        if not total > 0:
            field, rule = f"incremental {name} of treating every unit", "must be > 0 to scale the curve"
            remedy = f"Treatment shows no {name} in these rows: use more rows, or draw cost_curve, which is not scaled."
            raise _check.refuse(field, float(total), rule, remedy)


def trapezoid(y: Floats, x: Floats) -> float:
    """Returns the area under y (K,) over x (K,)."""
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1])) / 2)
