"""Predicted value and cost of every treatment for every unit (`Menu`), and one treatment for each unit (`Plan`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from largesse import _check
from largesse._arguments import checked
from largesse.logs import frozen, labels
from largesse.result import Framed, Result, Tabular

__all__ = ["BUDGET_SHARES", "Bound", "Menu", "Plan", "PlanTotals", "Status"]

BUDGET_SHARES = (0.1, 0.25, 0.5, 0.75)
"""Default budgets, as fractions between the cost of the cheapest arm for everyone and that of the most expensive arm."""


@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class Menu(Framed):
    """Predicted value and cost of every treatment for every unit.

    Attributes:
        value: (N, M), float32 or float64, finite, at most 1e15; any sign. Outcome (orders, revenue) per unit and decision period.
        cost: (N, M), same dtype, in 0..1e15. Spend per unit and decision period.
        treatments: Names of the M treatments, control first.
        unit: Unit ids (N,), optional.

    Raises:
        DataError: A field violates a rule above.

    >>> menu = Menu(value=[[0.0, 3.0], [0.0, 1.0]], cost=[[0.0, 1.0], [0.0, 1.0]])
    >>> menu.n, menu.n_treatments
    (2, 2)
    """

    value: NDArray[Any]
    cost: NDArray[Any]
    treatments: tuple[str, ...] = ()
    unit: NDArray[Any] | None = None

    if TYPE_CHECKING:  # what the constructor accepts; the fields above are what it stores

        def __init__(
            self, *, value: ArrayLike, cost: ArrayLike, treatments: Sequence[str] = (), unit: ArrayLike | None = None
        ) -> None: ...

    def __post_init__(self) -> None:
        value, cost = (_check.array(name, getattr(self, name), ndim=2) for name in ("value", "cost"))
        single = value.dtype == np.float32 and cost.dtype == np.float32
        for name, cells in (("value", value), ("cost", cost)):
            _check.amounts(name, cells, "Fill or drop these units.")
            # Column-major: the kernels read one treatment of many units at once.
            cells = np.asfortranarray(cells, np.float32 if single else np.float64)
            object.__setattr__(self, name, frozen(cells))
        if value.shape != cost.shape:
            rule = f"must equal value.shape, {value.shape}"
            raise _check.refuse("cost.shape", cost.shape, rule, "Give one cost per value.")
        _check.nonnegative("cost", cost, "Clip them; income belongs to value.")
        object.__setattr__(self, "treatments", labels(self.treatments, value.shape[1]))
        if len(self.treatments) != value.shape[1]:
            rule = f"value has {value.shape[1]} columns"
            raise _check.refuse("len(treatments)", len(self.treatments), rule, "Name each one.")
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

    def _columns(self) -> Mapping[str, NDArray[Any]]:
        key = {"row": np.arange(self.n)} if self.unit is None else {"unit": self.unit}
        amounts = {"value": self.value, "cost": self.cost}
        cells = {f"{k}_{name}": table[:, j] for k, table in amounts.items() for j, name in enumerate(self.treatments)}
        return {**key, **cells}

    def take(self, rows: NDArray[Any] | Sequence[int]) -> Menu:
        """Returns the menu of the selected units (a boolean mask or row numbers), in that order."""
        rows = _check.selection(rows, self.n)
        unit = None if self.unit is None else self.unit[rows]
        return Menu(value=self.value[rows], cost=self.cost[rows], treatments=self.treatments, unit=unit)


class Status(StrEnum):
    """How good a plan is."""

    OPTIMAL = "optimal"
    WITHIN_ONE_INCREMENT = "within one increment"
    WITHIN_GAP = "within gap"
    NON_BINDING = "non-binding"
    PRICED = "priced"

    @property
    def advice(self) -> str:
        """The status as a sentence."""
        return _ADVICE[self]


_ADVICE = {
    Status.OPTIMAL: "The plan is optimal: no other plan of whole units has a higher value.",
    Status.WITHIN_ONE_INCREMENT: "The plan is within one unit's increment of the best fractional plan; `gap` bounds the loss.",
    Status.WITHIN_GAP: "The plan obeys every rule; `gap` bounds how much more value any other plan could have.",
    Status.NON_BINDING: "The budget does not bind: a larger budget would not raise the value.",
    Status.PRICED: "The plan was made at a given price, not for a budget.",
}


class Bound(NamedTuple):
    """One inequality that a plan satisfies.

    Attributes:
        rule: The inequality as text, e.g. ``"spend at most 500"``.
        used: Left side of the inequality for this plan, in units of the limit.
        limit: Upper or lower limit.
        price: Shadow price: value per unit of the limit; 0 if the inequality does not bind.
        binds: Whether the inequality binds.
        of_spend: Whether the inequality limits the spend.
    """

    rule: str
    used: float
    limit: float
    price: float
    binds: bool
    of_spend: bool = False


class _Planned(Result):
    """Properties that `Plan` and `PlanTotals` share."""

    __slots__ = ()
    _computed: ClassVar[tuple[str, ...]] = ("n", "gap", "mix")
    _pictured: ClassVar[bool] = True
    treatments: tuple[str, ...]
    counts: NDArray[np.int64]
    value: float
    bound: float

    @property
    def n(self) -> int:
        """Number of units."""
        return int(self.counts.sum())

    @property
    def gap(self) -> float:
        """Upper bound on the value that a better plan could add, >= 0, in units of value."""
        return max(0.0, self.bound - self.value)

    @property
    def mix(self) -> dict[str, int]:
        """Units per treatment, by name."""
        return dict(zip(self.treatments, self.counts.tolist(), strict=True))


@checked
@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class PlanTotals(_Planned):
    """The totals of a plan, e.g. where its units are in a file.

    Attributes:
        treatments: Names of the treatments, control first (M,).
        counts: Units per treatment (M,).
        price: Shadow price λ of the budget: value per unit of spend.
        spend: Σ cost of the plan by the menu.
        value: Σ value of the plan by the menu.
        bound: Upper bound on the value of any plan within the budget and the rules.
        rules: Every inequality that the plan satisfies: use, limit and shadow price.
    """

    treatments: tuple[str, ...]
    counts: NDArray[np.int64]
    price: float
    spend: float
    value: float
    bound: float
    rules: tuple[Bound, ...] = ()


@checked
@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class Plan(_Planned, Tabular):
    """An allocation: one treatment for each unit, with an upper bound on the value of any other allocation.

    Attributes:
        treatment: Code of the treatment, int32 (N,).
        price: Shadow price λ*, the marginal value of budget: value per unit of spend.
        spend: Σ cost of the plan by the menu, audited in float64.
        value: Σ value of the plan by the menu, audited in float64.
        bound: Upper bound on the value of any plan within the budget (Lagrangian dual).
        budget: The budget, in units of cost; infinity if there was none.
        status: How good the plan is.
        treatments: Names of the treatments.
        unit: Unit ids (N,), optional; each may appear only once.
        rules: Every inequality that the plan satisfies: use, limit and shadow price; () if only a budget was given.
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
    rules: tuple[Bound, ...] = ()

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
    def counts(self) -> NDArray[np.int64]:  # type: ignore[override]  # a property here, a field of `PlanTotals`
        """Units per treatment (M,)."""
        return np.bincount(self.treatment, minlength=len(self.treatments))

    @property
    def plan(self) -> Plan:
        """The plan itself, so that results of `solve`, `solve_under` and `Policy.allocate` are read alike."""
        return self

    @property
    def totals(self) -> PlanTotals:
        """The plan without its units."""
        return PlanTotals(
            treatments=self.treatments, counts=self.counts, price=self.price, spend=self.spend, value=self.value,
            bound=self.bound, rules=self.rules,
        )  # fmt: skip

    def _columns(self) -> Mapping[str, Any]:
        key = {"row": np.arange(self.n)} if self.unit is None else {"unit": self.unit}
        return {**key, "treatment": np.array(self.treatments)[self.treatment]}
