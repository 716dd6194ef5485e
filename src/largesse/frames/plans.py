"""Plans as tables: who gets what, what it is predicted to bring and to cost, and which treatment comes next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from largesse import _check
from largesse._arguments import checked
from largesse.errors import SchemaError
from largesse.menu import Menu, Plan

__all__ = ["ARMS", "PlanColumns", "first_columns", "kept_names", "plan_table"]

ARMS = ("shipped", "holdout")
"""Labels of the units that get what the policy gives, and of those that are kept back."""
_DECIDED = ("treatment", "value", "incremental_value", "cost", "net_value", "runner_up", "margin")
_HOLDOUT = ("arm", "policy_treatment", "propensity")


@checked
@dataclass(frozen=True, slots=True, kw_only=True)
class PlanColumns:
    """The columns of a plan as a table.

    Attributes:
        treatments: Names of the treatments, control first.
        unit: The column of ids, which keeps its name; None: units are numbered in a column ``row``.
        keep: Columns of the units that are copied.
        unit_value: Money that one unit of value brings; None: not known, so there is no ``net_value``.
        holdout: Share of the units that are kept back with control; None: there is no such group.

    Raises:
        SchemaError: A column to keep, or that of the ids, has the name of a column of the plan, or is given twice.
    """

    treatments: tuple[str, ...]
    unit: str | None = None
    keep: tuple[str, ...] = ()
    unit_value: float | None = None
    holdout: float | None = None

    def __post_init__(self) -> None:
        if self.unit in self.names:
            rest = "is the name of a column of the plan, so it cannot be that of the ids. Rename it in the file."
            raise SchemaError(f"column {self.unit!r}: {rest}", field=str(self.unit))
        kept_names(self.keep, ("row" if self.unit is None else self.unit, *self.names))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns that the plan adds."""
        known = _DECIDED if self.unit_value is not None else tuple(name for name in _DECIDED if name != "net_value")
        return known if self.holdout is None else (*known, *_HOLDOUT)

    @property
    def copied(self) -> tuple[str, ...]:
        """Names of the columns of the units that the plan has too: the ids, and those to keep."""
        return self.keep if self.unit is None else (self.unit, *self.keep)

    def first(self, units: pa.Table | None, start: int, n: int) -> dict[str, Any]:
        """Returns the first columns of a plan: ids or numbers of rows, and what is kept.

        Args:
            units: n units with the columns `copied`; None where there are none.
            start: Number of the first unit.
            n: Number of units.
        """
        return first_columns(units, self.unit, self.keep, start, n)

    def table(
        self, first: dict[str, Any], value: NDArray[Any], cost: NDArray[Any], treatment: NDArray[np.int32],
        price: float | None, withheld: NDArray[np.bool_] | None = None,
    ) -> pa.Table:  # fmt: skip
        """Returns the table of some units' plan.

        Args:
            first: The first columns.
            value: Predicted values (M, n).
            cost: Predicted costs (M, n).
            treatment: What the policy gives each unit (n,).
            price: The price that decided; None where several did, so that no runner-up is known.
            withheld: Which units are kept back (n,); needed where there is a holdout.
        """
        labels = pa.array(list(self.treatments), pa.string())
        given = treatment if withheld is None else np.where(withheld, np.int32(0), treatment)
        columns: dict[str, Any] = {**first, "treatment": labels.take(pa.array(given))}
        if withheld is not None:
            share = _check.number("holdout", self.holdout)
            drawn = np.where(withheld, share, 1 - share)
            columns |= {
                "arm": pa.array(ARMS, pa.string()).take(pa.array(withheld.astype(np.int32))),
                "policy_treatment": labels.take(pa.array(treatment)),
                "propensity": np.where(treatment == 0, 1.0, drawn),
            }
        columns |= _amounts(value, cost, given, self.unit_value)
        return pa.table(columns | _next_best(labels, value, cost, treatment, price))


def first_columns(units: pa.Table | None, unit: str | None, keep: Sequence[str], start: int, n: int) -> dict[str, Any]:
    """Returns ids under their own name, or numbers of rows, and the columns to keep.

    Args:
        units: n units with these columns; None where there are none.
        unit: Column of the ids; None: units are numbered.
        keep: Columns to keep.
        start: Number of the first unit.
        n: Number of units.
    """
    rows = {"row": np.arange(start, start + n)} if unit is None else {}
    copied = keep if unit is None else (unit, *keep)
    return rows if units is None else rows | {name: units[name] for name in copied}


def kept_names(keep: Sequence[str], taken: Sequence[str] = (), what: str = "plan") -> list[str]:
    """Returns the names of columns to keep.

    Args:
        keep: The names.
        taken: Names of the output's own columns.
        what: Name of the output.

    Raises:
        SchemaError: A name is given twice, or is taken.
    """
    for k, name in enumerate(keep):
        if name in keep[:k] or name in taken:
            rule = "is named twice" if name in keep[:k] else f"is a column of the {what} itself"
            raise SchemaError(f"keep: column {name!r} {rule}. Rename it in the table, or leave it out.", field="keep")
    return list(keep)


@checked
def plan_table(plan: Plan, menu: Menu | None = None) -> pa.Table:
    """Returns one row per unit: ``unit`` (or ``row``, counted from 0) and ``treatment``.

    With the menu of the plan, also the predictions for the assigned treatment, ``value``, ``incremental_value`` (against
    control) and ``cost``; and the next best treatment at the plan's price, ``runner_up``, with its ``margin`` in units of value
    (empty for a plan under rules).

    Raises:
        DataError: Plan and menu differ in units or treatments.
    """
    key = {"row": np.arange(plan.n)} if plan.unit is None else {"unit": pa.array(plan.unit)}
    if menu is None:
        labels = pa.array(list(plan.treatments), pa.string())
        return pa.table({**key, "treatment": labels.take(pa.array(plan.treatment))})
    remedy = "Give the menu the plan was made from."
    if menu.treatments != plan.treatments:
        raise _check.refuse("menu.treatments", menu.treatments, f"the plan has {plan.treatments}", remedy)
    _check.lengths(plan=plan.treatment, menu=menu.value)
    if plan.unit is not None and menu.unit is not None and not np.array_equal(plan.unit, menu.unit):
        rule = "the plan has other units, or another order"
        raise _check.refuse("menu.unit", menu.unit[:3].tolist(), rule, remedy)
    columns = PlanColumns(treatments=plan.treatments)
    return columns.table(key, menu.value.T, menu.cost.T, plan.treatment, None if plan.rules else plan.price)


def _amounts(
    value: NDArray[Any], cost: NDArray[Any], treatment: NDArray[np.int32], unit_value: float | None
) -> dict[str, NDArray[Any]]:
    """Returns what the treatments bring and cost, (n,) each, in the precision of the menu."""
    rows, kind = np.arange(len(treatment)), value.dtype
    brought, paid = value[treatment, rows], cost[treatment, rows]
    more = brought.astype(np.float64) - value[0]
    out = {"value": brought, "incremental_value": more.astype(kind), "cost": paid}
    if unit_value is not None:
        out["net_value"] = (unit_value * more - (paid.astype(np.float64) - cost[0])).astype(kind)
    return out


def _next_best(
    labels: pa.Array, value: NDArray[Any], cost: NDArray[Any], treatment: NDArray[np.int32], price: float | None
) -> dict[str, pa.Array]:
    """Returns the best other treatment of each unit at a price, and by how much the unit's own is better."""
    n = len(treatment)
    if price is None or not isfinite(price) or len(labels) < 2:
        return {"runner_up": pa.nulls(n, pa.string()), "margin": pa.nulls(n, pa.from_numpy_dtype(value.dtype))}
    rows = np.arange(n)
    brought, paid = (part[treatment, rows].astype(np.float64) for part in (value, cost))
    best, code = np.full(n, -np.inf), np.zeros(n, np.int32)
    for j in range(len(labels)):
        # Differences are compared, not scores, so that a small difference between large scores keeps its digits.
        gain = (value[j] - brought) - price * (cost[j] - paid)
        better = (treatment != j) & (gain > best)
        best, code = np.where(better, gain, best), np.where(better, np.int32(j), code)
    return {"runner_up": labels.take(pa.array(code)), "margin": pa.array((0.0 - best).astype(value.dtype))}
