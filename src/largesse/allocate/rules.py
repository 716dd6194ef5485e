"""Constraints of a campaign beside its budget: on the spend, on the use of treatments and other resources, on the return.

Every rule bounds sums over units of an amount per unit and treatment, Σ_i amount[i, z_i] <= at_most and >= at_least, for
all units, for some of them, or for each group of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from largesse import _check
from largesse._arguments import checked
from largesse.allocate.dual_kernels import cells_of, total
from largesse.menu import Menu

__all__ = ["Count", "Return", "Row", "Rule", "Spend", "Use", "rows_of"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One inequality Σ_i amount[i, z_i] <= limit over the units it covers.

    The amount of a unit and treatment is cost_weight · cost + value_weight · value + table.

    Attributes:
        name: The inequality in words.
        rule: Position of its rule.
        sign: -1 for a lower bound, 1 for an upper bound: amounts and limit are multiplied by it.
        limit: The right-hand side, after the sign.
        codes: Group of each unit (N,), shared by all rows of a rule; None: the row covers all units.
        group: The group it covers.
        cost_weight: Weight of the cost in an amount.
        value_weight: Weight of the value in an amount.
        table: Further terms of the amounts, (N, M) or (1, M), or None.
    """

    name: str
    rule: int
    sign: float
    limit: float
    codes: NDArray[np.int32] | None
    group: int
    cost_weight: float
    value_weight: float
    table: Floats | None

    def covered(self, rows: NDArray[np.intp]) -> NDArray[np.intp]:
        """Returns the positions, within some units, of those that the inequality covers."""
        return np.arange(len(rows)) if self.codes is None else np.flatnonzero(self.codes[rows] == self.group)

    def amounts(self, menu: Menu, rows: NDArray[np.intp]) -> Floats:
        """Returns sign · amount of each treatment of some covered units, (n, M)."""
        out = self.cost_weight * menu.cost[rows].astype(np.float64) + self.value_weight * menu.value[rows]
        if self.table is not None:
            out += self.table if len(self.table) == 1 else self.table[rows]
        return np.asarray(self.sign * out)

    def taken(
        self, menu: Menu, rows: NDArray[np.intp], treatment: NDArray[np.int32], costs: NDArray[Any] | None = None
    ) -> Floats:
        """Returns the amount of one treatment for each of some units, (n,), without the sign.

        Args:
            menu: Value and cost of all units.
            rows: The units, (n,).
            treatment: A treatment for each, (n,).
            costs: The costs of these treatments, (n,), where they are known already.
        """
        out = np.zeros(len(rows))
        if self.cost_weight:
            out += self.cost_weight * (cells_of(menu.cost.T, treatment, rows) if costs is None else costs)
        if self.value_weight:
            out += self.value_weight * cells_of(menu.value.T, treatment, rows)
        if self.table is not None:
            out += self.table[0, treatment] if len(self.table) == 1 else self.table[rows, treatment]
        return out

    def used(self, menu: Menu, treatment: NDArray[np.int32]) -> float:
        """Returns sign · Σ amount of a plan."""
        rows = self.covered(np.arange(menu.n))
        return self.sign * total(self.taken(menu, rows, treatment[rows]))


@checked
@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Rule(ABC):
    """A constraint that a plan must obey; the base of `Spend`, `Count`, `Use` and `Return`.

    Attributes:
        at_most: Upper bound: a number, or one for each group of `by`; None: no upper bound.
        at_least: Lower bound, likewise.
        units: Mask of the units it covers, (N,); None for all.
        by: Group of each unit, (N,), codes 0 to G - 1, -1 for none: the rule holds for each group. None: one group.
        groups: Names of the groups by code, G, for errors and results; None: their codes.
    """

    at_most: float | Sequence[float] | None = None
    at_least: float | Sequence[float] | None = None
    units: NDArray[Any] | None = None
    by: NDArray[Any] | None = None
    groups: Sequence[str] | None = None

    @abstractmethod
    def _parts(self, menu: Menu) -> tuple[str, float, float, Floats | None]:
        """Returns the bounded quantity in words, and the weights and the table of its amounts, as in `Row`."""

    @property
    def _bounds(self) -> tuple[tuple[float, Any], ...]:
        """Sign and limit of each inequality; a limit of None bounds nothing."""
        return (1.0, self.at_most), (-1.0, self.at_least)


@checked
@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Spend(Rule):
    """Bounds the spend: a budget, a budget of some units or of each group, a minimum spend. Fields: see `Rule`."""

    def _parts(self, menu: Menu) -> tuple[str, float, float, Floats | None]:
        return "spend", 1.0, 0.0, None


@checked
@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Count(Rule):
    """Bounds the number of units that get one treatment, or any of several. Other fields: see `Rule`.

    Attributes:
        treatment: Name of the treatment, or names.
    """

    treatment: str | tuple[str, ...]

    def _parts(self, menu: Menu) -> tuple[str, float, float, Floats | None]:
        names = (self.treatment,) if isinstance(self.treatment, str) else tuple(self.treatment)
        for name in names:
            _check.choice("treatment", name, menu.treatments)
        table = np.isin(menu.treatments, names)[None].astype(float)
        return f"units with {' or '.join(map(repr, names))}", 0.0, 0.0, table


@checked
@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Use(Rule):
    """Bounds the use of another resource: contacts, stock, minutes of staff. Other fields: see `Rule`.

    Attributes:
        amount: Use by treatment, (M,), or by unit and treatment, (N, M).
        name: Name of the resource.
    """

    amount: NDArray[Any]
    name: str = "use"

    def _parts(self, menu: Menu) -> tuple[str, float, float, Floats | None]:
        table = np.atleast_2d(np.asarray(self.amount, np.float64))
        _check.amounts("amount", table, "Give a number for each treatment.")
        if table.shape not in ((1, menu.n_treatments), (menu.n, menu.n_treatments)):
            rule = f"must be ({menu.n_treatments},) or {(menu.n, menu.n_treatments)}"
            raise _check.refuse("amount.shape", np.shape(self.amount), rule, "One number per treatment.")
        return self.name, 0.0, 0.0, table


@checked
@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Return(Rule):
    """Demands a return on the spend: Σ (value - value of control) >= at_least · Σ (cost - cost of control).

    Control is the menu's first treatment: what units bring anyway is no return. Other fields: see `Rule`.

    Attributes:
        at_least: Incremental value per unit of incremental spend.
    """

    at_least: float
    at_most: None = field(default=None, init=False)

    def _parts(self, menu: Menu) -> tuple[str, float, float, Floats | None]:
        floor = _check.number(
            "at_least", self.at_least, low=0, high=_check.LARGEST, remedy="Incremental value per unit of spend."
        )
        control = menu.value[:, :1].astype(np.float64) - floor * menu.cost[:, :1]
        table = np.broadcast_to(-control, (menu.n, menu.n_treatments))
        return f"value added against control less {floor:g} times the spend added", -floor, 1.0, table

    @property
    def _bounds(self) -> tuple[tuple[float, Any], ...]:
        return ((-1.0, 0.0),)


def rows_of(rules: Sequence[Rule], menu: Menu) -> list[Row]:
    """Returns the inequalities of some rules, upper bounds before lower ones, groups in order.

    Raises:
        DataError: A rule has no bound, or does not suit the menu's treatments or units.
    """
    rows: list[Row] = []
    for k, rule in enumerate(rules):
        if not isinstance(rule, Rule):
            raise _check.refuse(f"rules[{k}]", rule, "must be a rule", "Use Spend, Count, Use or Return.")
        words, cost_weight, value_weight, table = rule._parts(menu)
        codes, labels = _groups(rule, menu.n)
        if all(bound is None for _, bound in rule._bounds):
            raise _check.refuse(f"rules[{k}]", words, "bounds nothing", "Give at_most, at_least, or both.")
        for sign, bound in rule._bounds:
            if bound is None:
                continue
            limits = np.broadcast_to(np.asarray(bound, np.float64), (len(labels),))
            _check.finite("at_most" if sign > 0 else "at_least", limits, "Leave the rule out where there is no bound.")
            for g, (label, limit) in enumerate(zip(labels, limits, strict=True)):
                name = f"{words}{label} {'at most' if sign > 0 else 'at least'} {limit:g}"
                rows.append(Row(name, k, sign, sign * float(limit), codes, g, cost_weight, value_weight, table))
    return rows


def _groups(rule: Rule, n: int) -> tuple[NDArray[np.int32] | None, list[str]]:
    """Returns the group of each unit, -1 for none (None: one group of all), and each group in words."""
    units = None if rule.units is None else np.asarray(rule.units)
    if units is not None and (units.shape != (n,) or units.dtype != np.bool_):
        got, remedy = f"{units.dtype} {units.shape}", "Compare a column with something."
        raise _check.refuse("units", got, f"must be a mask of {n} units", remedy)
    limits: list[Any] = [rule.at_most, rule.at_least]
    several = [len(limit) for limit in limits if limit is not None and np.ndim(limit) > 0]
    if rule.by is None:
        if several:
            raise _check.refuse("by", None, "one limit for each group needs the groups", "Give the code of each unit.")
        if units is None:
            return None, [""]
        return np.where(units, 0, -1).astype(np.int32), [f" of {int(units.sum()):,} units"]
    codes = np.asarray(rule.by)
    if codes.shape != (n,) or codes.dtype.kind not in "iu" or codes.min() < -1:
        got, remedy = f"{codes.dtype} {codes.shape}", "Give a code of each unit, -1 for none."
        raise _check.refuse("by", got, f"must be whole numbers >= -1, one for each of {n} units", remedy)
    count = max([int(codes.max(initial=-1)) + 1, *several])
    if any(size != count for size in several):
        raise _check.refuse("by", int(codes.max()), f"limits are given for {several[0]} groups", "One for each group.")
    names = [f"group {g}" for g in range(count)] if rule.groups is None else [repr(name) for name in rule.groups]
    if len(names) < count:
        raise _check.refuse("groups", rule.groups, f"there are {count} groups", "Give the name of each, by its code.")
    covered = codes if units is None else np.where(units, codes, -1)
    return covered.astype(np.int32), [f" of {name}" for name in names[:count]]
