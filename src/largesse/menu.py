"""What each treatment would bring and cost for each unit (`Menu`), and the decision (`Plan`): frozen, arrays only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from largesse import _check
from largesse.logs import frozen, labels

__all__ = ["BUDGET_SHARES", "Menu", "Plan", "Status"]

BUDGET_SHARES = (0.1, 0.25, 0.5, 0.75)
"""Budgets that are looked at where none are named: shares of the way from the cheapest arm for everyone to the dearest."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Menu:
    """Value and cost of every treatment for every unit.

    Attributes:
        value: (N, M), float32 or float64, finite; any sign. Orders or money per unit and decision period.
        cost: (N, M), same dtype, finite, >= 0. Money per unit and decision period.
        treatments: Names of the M treatments, control first.
        unit: Unit ids (N,), optional.

    Raises:
        DataError: A rule above is broken.

    >>> menu = Menu(value=[[0.0, 3.0], [0.0, 1.0]], cost=[[0.0, 1.0], [0.0, 1.0]])
    >>> menu.n, menu.n_treatments
    (2, 2)
    """

    value: NDArray[Any]
    cost: NDArray[Any]
    treatments: tuple[str, ...] = ()
    unit: NDArray[Any] | None = None

    def __post_init__(self) -> None:
        value, cost = (_check.array(name, getattr(self, name), ndim=2) for name in ("value", "cost"))
        single = value.dtype == np.float32 and cost.dtype == np.float32
        for name, cells in (("value", value), ("cost", cost)):
            _check.finite(name, cells, "Fill or drop these units.")
            # Column-major: the kernels read one treatment of many units at a time.
            cells = np.asfortranarray(cells, np.float32 if single else np.float64)
            object.__setattr__(self, name, frozen(cells))
        if value.shape != cost.shape:
            raise _check.refuse(
                "cost.shape", cost.shape, f"must equal value.shape, {value.shape}", "One cost per value."
            )
        _check.nonnegative("cost", cost, "Clip them; money that comes in belongs to value.")
        object.__setattr__(self, "treatments", labels(self.treatments, value.shape[1]))
        if len(self.treatments) != value.shape[1]:
            raise _check.refuse(
                "len(treatments)", len(self.treatments), f"value has {value.shape[1]} columns", "Name each one."
            )
        if self.unit is not None:
            object.__setattr__(self, "unit", frozen(np.asarray(self.unit)))
            _check.lengths(value=value, unit=self.unit)

    @property
    def n(self) -> int:
        """Number of units."""
        return self.value.shape[0]

    @property
    def n_treatments(self) -> int:
        """Number of treatments M, control included."""
        return self.value.shape[1]

    def take(self, rows: NDArray[Any]) -> Menu:
        """Returns the menu of some units (a mask or row numbers), in that order."""
        unit = None if self.unit is None else self.unit[rows]
        return Menu(value=self.value[rows], cost=self.cost[rows], treatments=self.treatments, unit=unit)


class Status(Enum):
    """How good a plan is; the value is the advice that goes with it."""

    OPTIMAL = "the plan is optimal: no plan of whole units is worth more"
    WITHIN_ONE_INCREMENT = "the plan is within one unit's increment of the best fractional plan; `gap` bounds the loss"
    WITHIN_GAP = "the plan obeys every rule; `gap` bounds what any other plan could be worth beyond it"
    NON_BINDING = "the budget does not bind: more money would buy nothing more"
    PRICED = "the plan was decided by a given price, not by a budget"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Plan:
    """One treatment for each unit, and the certificate of how good that is.

    Attributes:
        treatment: Code of the treatment, int32 (N,).
        price: λ*, the marginal value of money: value per unit of money at the budget.
        spend: Σ cost of the plan by the menu, audited in float64.
        value: Σ value of the plan by the menu, audited in float64.
        bound: No plan within the budget is worth more than this (Lagrangian dual).
        budget: The budget in money; infinity where there was none.
        status: How good the plan is, in words.
        treatments: Names of the treatments.
        unit: Unit ids (N,), optional; each may stand only once.
    """

    treatment: NDArray[np.int32]
    price: float
    spend: float
    value: float
    bound: float
    budget: float
    status: Status
    treatments: tuple[str, ...]
    unit: NDArray[Any] | None = None

    def __post_init__(self) -> None:
        codes = _check.integers(
            "treatment", self.treatment, low=0, high=len(self.treatments),
            rule="must be a treatment code", remedy="Codes count from 0, control first.",
        )  # fmt: skip
        object.__setattr__(self, "treatment", frozen(codes))
        if self.unit is not None:
            object.__setattr__(self, "unit", frozen(np.asarray(self.unit)))
            _check.lengths(treatment=self.treatment, unit=self.unit)
            _check.unique("unit", self.unit)

    @property
    def n(self) -> int:
        """Number of units."""
        return len(self.treatment)

    @property
    def gap(self) -> float:
        """The most that a better plan could add, >= 0, in units of value."""
        return max(0.0, self.bound - self.value)

    @property
    def counts(self) -> NDArray[np.int64]:
        """Units per treatment, (M,)."""
        return np.bincount(self.treatment, minlength=len(self.treatments))
