"""Rules of a campaign beside its budget: what a plan may spend, how often it may use a treatment, what must come back.

Every rule bounds sums over units of a number per unit and treatment: Σ_i amount[i, z_i] <= at_most and >= at_least, for all
units, for some, or for each group of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from largesse import _check
from largesse.menu import Menu

__all__ = ["Count", "Return", "Row", "Rule", "Spend", "Use", "rows_of"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One inequality Σ_i amount[i, z_i] <= limit over its units, as the solver sees it.

    Attributes:
        name: What it says, in words.
        rule: Position of the rule it comes from.
        sign: -1 where the rule is a lower bound: amounts and limit are multiplied by it.
        limit: The right-hand side, after the sign.
        codes: Group of each unit (N,), shared by all rows of a rule; None: it is about all units.
        group: The group it is about.
        spend: What an amount has of the cost.
        value: What it has of the value.
        table: What it has beside, (N, M) or (1, M), or None.
    """

    name: str
    rule: int
    sign: float
    limit: float
    codes: NDArray[np.int32] | None
    group: int
    spend: float
    value: float
    table: Floats | None

    def about(self, rows: NDArray[np.intp]) -> NDArray[np.intp]:
        """Returns the positions, within some units, of those it is about."""
        return np.arange(len(rows)) if self.codes is None else np.flatnonzero(self.codes[rows] == self.group)

    def amounts(self, menu: Menu, rows: NDArray[np.intp]) -> Floats:
        """Returns sign · amount of some units that it is about, (n, M)."""
        out = self.spend * menu.cost[rows].astype(np.float64) + self.value * menu.value[rows]
        if self.table is not None:
            out += self.table if len(self.table) == 1 else self.table[rows]
        return np.asarray(self.sign * out)

    def taken(self, menu: Menu, rows: NDArray[np.intp], treatment: NDArray[np.int32]) -> Floats:
        """Returns the amount of the treatment that each of some units takes, (n,), without the sign."""
        out = np.zeros(len(rows))
        for share, source in ((self.spend, menu.cost), (self.value, menu.value)):
            if share:
                out += share * source[rows, treatment]
        if self.table is not None:
            out += self.table[0, treatment] if len(self.table) == 1 else self.table[rows, treatment]
        return out

    def used(self, menu: Menu, treatment: NDArray[np.int32]) -> float:
        """Returns sign · Σ amount of a plan."""
        rows = self.about(np.arange(menu.n))
        return self.sign * fsum(self.taken(menu, rows, treatment[rows]))


@runtime_checkable
class Rule(Protocol):
    """What a plan must obey."""

    def parts(self, menu: Menu) -> tuple[str, float, float, Floats | None]:
        """Returns the rule in words, and what its amounts have of cost, of value, and beside."""
        ...

    @property
    def at_most(self) -> Any:
        """Upper bound, of all or by group."""

    @property
    def at_least(self) -> Any:
        """Lower bound, of all or by group."""

    @property
    def units(self) -> Any:
        """Mask of the units it is about."""

    @property
    def by(self) -> Any:
        """Group of each unit."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Spend:
    """Money spent: a budget, a budget of some units or of each group, a minimum that must be spent.

    Attributes:
        at_most: Money; a number, or one for each group of `by`.
        at_least: Money, as `at_most`.
        units: Mask of the units it is about, (N,); None for all.
        by: Group of each unit, (N,), codes 0 to G - 1: the rule holds for each group, -1 for none.
    """

    at_most: float | Sequence[float] | None = None
    at_least: float | Sequence[float] | None = None
    units: NDArray[Any] | None = None
    by: NDArray[Any] | None = None

    def parts(self, menu: Menu) -> tuple[str, float, float, Floats | None]:
        """Returns the rule in words, and what its amounts have of cost, of value, and beside."""
        return "spend", 1.0, 0.0, None


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Count:
    """Units that get one treatment, or any of several.

    Attributes:
        treatment: Its name, or names.
        at_most: Units; a number, or one for each group of `by`.
        at_least: Units, as `at_most`.
        units: Mask of the units it is about, (N,); None for all.
        by: Group of each unit, as in `Spend`.
    """

    treatment: str | tuple[str, ...]
    at_most: float | Sequence[float] | None = None
    at_least: float | Sequence[float] | None = None
    units: NDArray[Any] | None = None
    by: NDArray[Any] | None = None

    def parts(self, menu: Menu) -> tuple[str, float, float, Floats | None]:
        """Returns the rule in words, and what its amounts have of cost, of value, and beside."""
        names = (self.treatment,) if isinstance(self.treatment, str) else tuple(self.treatment)
        for name in names:
            _check.choice("treatment", name, menu.treatments)
        return (
            f"units with {' or '.join(map(repr, names))}",
            0.0,
            0.0,
            np.isin(menu.treatments, names)[None].astype(float),
        )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Use:
    """Use of another resource: contacts, stock, minutes of staff.

    Attributes:
        amount: How much each treatment uses, (M,), or of each unit, (N, M).
        name: What it is.
        at_most: A number, or one for each group of `by`.
        at_least: As `at_most`.
        units: Mask of the units it is about, (N,); None for all.
        by: Group of each unit, as in `Spend`.
    """

    amount: NDArray[Any]
    name: str = "use"
    at_most: float | Sequence[float] | None = None
    at_least: float | Sequence[float] | None = None
    units: NDArray[Any] | None = None
    by: NDArray[Any] | None = None

    def parts(self, menu: Menu) -> tuple[str, float, float, Floats | None]:
        """Returns the rule in words, and what its amounts have of cost, of value, and beside."""
        table = np.atleast_2d(np.asarray(self.amount, np.float64))
        _check.finite("amount", table, "Give a number for each treatment.")
        if table.shape not in ((1, menu.n_treatments), (menu.n, menu.n_treatments)):
            rule = f"must be ({menu.n_treatments},) or {(menu.n, menu.n_treatments)}"
            raise _check.refuse("amount.shape", np.shape(self.amount), rule, "One number per treatment.")
        return self.name, 0.0, 0.0, table


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Return:
    """Value that must come back for the money: Σ value >= at_least · Σ cost.

    Attributes:
        at_least: Value per unit of money.
        units: Mask of the units it is about, (N,); None for all.
        by: Group of each unit, as in `Spend`.
    """

    at_least: float
    units: NDArray[Any] | None = None
    by: NDArray[Any] | None = None
    at_most: None = None

    def parts(self, menu: Menu) -> tuple[str, float, float, Floats | None]:
        """Returns the rule in words, and what its amounts have of cost, of value, and beside."""
        floor = _check.number("at_least", self.at_least, low=0, remedy="Value per unit of money.")
        return f"value less {floor:g} times the spend", -floor, 1.0, None


def rows_of(rules: Sequence[Rule], menu: Menu) -> list[Row]:
    """Returns the inequalities of some rules, upper bounds before lower ones, groups in order.

    Raises:
        DataError: A rule names no bound, a treatment that the menu has not, or units of another number.
    """
    found: list[Row] = []
    for k, rule in enumerate(rules):
        if not isinstance(rule, Rule):
            raise _check.refuse(f"rules[{k}]", rule, "must be a rule", "Use Spend, Count, Use or Return.")
        words, spend, value, table = rule.parts(menu)
        codes, labels = _groups(rule, menu.n)
        bounds = ((-1.0, 0.0),) if isinstance(rule, Return) else ((1.0, rule.at_most), (-1.0, rule.at_least))
        if all(bound is None for _, bound in bounds):
            raise _check.refuse(f"rules[{k}]", words, "bounds nothing", "Give at_most, at_least, or both.")
        for sign, bound in bounds:
            if bound is None:
                continue
            limits = np.broadcast_to(np.asarray(bound, np.float64), (len(labels),))
            _check.finite("at_most" if sign > 0 else "at_least", limits, "Leave the rule out where there is no bound.")
            for g, (label, limit) in enumerate(zip(labels, limits, strict=True)):
                name = f"{words}{label} {'at most' if sign > 0 else 'at least'} {limit:g}"
                found.append(Row(name, k, sign, sign * float(limit), codes, g, spend, value, table))
    return found


def _groups(rule: Rule, n: int) -> tuple[NDArray[np.int32] | None, list[str]]:
    """Returns the group of each unit, -1 for none (None: one group of all), and each group in words."""
    units = None if rule.units is None else np.asarray(rule.units)
    if units is not None and (units.shape != (n,) or units.dtype != np.bool_):
        got, remedy = f"{units.dtype} {units.shape}", "Compare a column with something."
        raise _check.refuse("units", got, f"must be a mask of {n} units", remedy)
    several = [len(bound) for bound in (rule.at_most, rule.at_least) if bound is not None and np.ndim(bound) > 0]
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
    held = codes if units is None else np.where(units, codes, -1)
    return held.astype(np.int32), [f" of group {g}" for g in range(count)]
