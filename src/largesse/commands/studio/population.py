"""The units of a studio: scored once, indexed by price, kept beside the run, so that a budget is a look-up."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from largesse import _check, frames
from largesse._files import MANIFEST, atomic_folder
from largesse.allocate.blocks import Sums, in_blocks
from largesse.allocate.price_index import PriceIndex
from largesse.commands.budget_notes import on_average, safety_note
from largesse.commands.run_folder import Safety, id_column, open_run, open_unread, safety_of, scorer
from largesse.commands.studio.table import UnitTable
from largesse.commands.wish import Wish
from largesse.config import Config
from largesse.errors import DataError, StoreError
from largesse.menu import Menu, PlanTotals
from largesse.policy.curve import same_treatments
from largesse.policy.deployed import Allocation, Policy, allocated, control_sums
from largesse.policy.descent import Descent, Searched, searched
from largesse.policy.safety import normal_quantile
from largesse.policy.unread import Unread
from largesse.progress import Say, silent

__all__ = ["FOLDER", "Population"]

FOLDER = "studio"
"""Name of the folder in a run folder that holds scored units."""
_MARKER, _MENU = "units.json", ("value", "cost")
_MOST = 20_000_000
_CHUNK = 1 << 14  # units that are scored at once


class Population(NamedTuple):
    """Units with their menu.

    Attributes:
        run: The run folder.
        config: The configuration of the run.
        policy: Its policy, without its model.
        table: The units' own columns.
        unit: Name of the column of their ids; None: they are numbered from 1.
        menu: Predicted value and cost of every treatment, (N, M).
        by_price: The menu by price.
        search: The predicted spend at some thousand prices.
        control: Totals where everybody gets control.
    """

    run: Path
    config: Config
    policy: Unread
    table: UnitTable
    unit: str | None
    menu: Menu
    by_price: PriceIndex
    search: Searched
    control: Sums

    @property
    def n(self) -> int:
        """Number of units."""
        return self.menu.n

    @property
    def most(self) -> float:
        """The budget beyond which nothing more is bought: expected spend at a price of 0."""
        return float(self.policy.curve.spend_curve_at(self.search.price, self.search.planned).mean[0])

    @property
    def least(self) -> float:
        """The expected spend of the cheapest allocation."""
        return float(self.policy.curve.spend_curve_at(self.search.price, self.search.planned).mean[-1])

    @classmethod
    def open(cls, run: Path, users: Path, *, unit: str | None = None, say: Say = silent) -> Population:
        """Scores the units of a file, or takes what was scored before.

        Args:
            run: A run folder. What is scored is kept in its folder `studio` if that can be written.
            users: The units, with the features of the run, as for `largesse allocate`.
            unit: Column of the ids; None: that of the run.
            say: Called with each stage and the share of the work that is done.

        Raises:
            LargesseError: The run or the units cannot be read.
        """
        config, policy = open_unread(run)
        if policy.encoder is None:
            raise DataError.at("RUN", f" == {str(run)!r}: it has no encoder. Fit it with `largesse fit`.")
        name = id_column(policy, unit)
        kept = tuple(
            dict.fromkeys((*(() if policy.roles is None else policy.roles.text), *(() if name is None else (name,))))
        )
        say("reading the units", 0.0)
        table = UnitTable.open(users, kept)
        if table.n > _MOST:
            raise _check.refuse(
                "--units", str(users), f"has {table.n:,} units; the studio holds at most {_MOST:,}",
                "Give a random part of them: budgets per unit are the same. `largesse allocate` takes all.",
            )  # fmt: skip
        place = _place(run, users, table)
        arrays = _restored(place)
        if arrays is None:
            if name is not None:
                _distinct(table.columns([name]), name)
            say("scoring the units", 0.05)
            arrays = _kept(place, _scored(open_run(run)[1], table, say))
        say("done", 1.0)
        menu = _menu(policy, arrays)
        by_price = PriceIndex.restored(menu, arrays)
        search = Searched(arrays["price"], arrays["planned"], menu.n)
        return cls(run, config, policy, table, name, menu, by_price, search, control_sums(in_blocks(menu)))

    def allocate(
        self, budget: float, *, safety: Safety = "configured", unit_value: float | None = None
    ) -> Allocation[PlanTotals]:
        """Returns what `largesse allocate` returns for these units and a budget, without writing who gets what.

        Args:
            budget: Total budget; infinity for no limit.
            safety: Probability of staying within it; ``"configured"``: that of the run; None: on average.
            unit_value: Money that one unit of value brings; None: as declared in the run.

        Raises:
            InfeasibleBudget: Even the cheapest treatment for every unit costs more.
        """
        money = self.config.outcome.unit_value if unit_value is None else unit_value
        sure = safety_of(self.config, safety)
        decision = self.decide(budget, sure)
        curve = self.policy.curve
        done = allocated(curve, decision, self.by_price.totals(decision.price), budget, sure, self.control, money)
        free = on_average(sure, budget, decision, lambda: self.decide(budget, None), self._between)
        wish = Wish.of(budget, None, 1.0, money)
        notes = (*safety_note(curve, done, free), *wish.notes_between(decision.price, self._between))
        return replace(done, notes=(*done.notes, *notes))

    def budget_at(self, price: float, safety: float | None) -> float:
        """Returns the budget of which a price is the price: the spend expected at it, or its upper bound.

        Args:
            price: Shadow price λ, value per unit of spend, >= 0.
            safety: Probability of staying within the budget; None: on average.
        """
        curve = self.policy.curve.spend_curve_at(np.array([price]), np.array([self.by_price.totals(price).spend]))
        spend = curve.at(price, 0.0 if safety is None else normal_quantile(safety))
        return spend.mean if safety is None else spend.high

    def _between(self, low: float, high: float) -> tuple[float, float]:
        """Returns predicted spend and value of what is bought at a lower price and not at a higher one."""
        more, less = self.by_price.totals(low), self.by_price.totals(high)
        return more.spend - less.spend, more.value - less.value

    def decide(self, budget: float, safety: float | None) -> Descent:
        """Returns the price of a budget.

        Args:
            budget: Total budget; infinity for no limit.
            safety: Probability of staying within it; None: on average.

        Raises:
            InfeasibleBudget: Even the cheapest treatment for every unit costs more.
        """
        return self.search.descend(self.policy.curve, budget, safety, self.by_price.inside)

    def place_of(self, unit: str) -> int | None:
        """Returns the row of a unit by its id, or by its number from 1 where there are no ids; None: there is no such unit."""
        if self.unit is None:
            return int(unit) - 1 if unit.isdecimal() and 1 <= int(unit) <= self.n else None
        column = self.table.columns([self.unit]).column(0)
        if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
            column = pc.cast(column, pa.string())
        row = int(pc.index(column, pa.scalar(unit, column.type)).as_py())
        return None if row < 0 else row


def _distinct(table: pa.Table, name: str) -> None:
    """Refuses ids that are missing, no ids, or given twice; the array of ids is made for the message only."""
    column = table.column(0)
    if column.null_count or pc.count_distinct(column).as_py() < len(column) or pa.types.is_floating(column.type):
        _check.unique("unit", frames.ids(table, name))


def _menu(policy: Unread, arrays: dict[str, NDArray[Any]]) -> Menu:
    menu = Menu(value=arrays["value"].T, cost=arrays["cost"].T, treatments=policy.curve.treatments)
    same_treatments(policy.curve, menu.treatments)
    return menu


def _scored(policy: Policy, table: UnitTable, say: Say) -> dict[str, NDArray[Any]]:
    """Returns the menu of all units, (M, N) each, and what is looked up in it."""
    columns, predict = scorer(policy)
    treatments = policy.curve.treatments
    value = cost = np.empty((0, 0), np.float32)
    done = 0
    for part in table.parts(columns, _CHUNK):
        made = predict(part)
        if not done:  # one array for all, so that nothing is in memory twice
            value, cost = (np.empty((made.n_treatments, table.n), made.value.dtype) for _ in _MENU)
        value[:, done : done + made.n], cost[:, done : done + made.n] = made.value.T, made.cost.T
        done += made.n
        say("scoring the units", 0.05 + 0.8 * done / table.n)
    del policy, predict, made, part
    pa.default_memory_pool().release_unused()
    menu = Menu(value=value.T, cost=cost.T, treatments=treatments)
    say("sorting them by price", 0.9)
    search = searched(in_blocks(menu))
    return {
        "value": value, "cost": cost, "price": search.price, "planned": search.planned, **PriceIndex.of(menu).arrays
    }  # fmt: skip


def _place(run: Path, users: Path, table: UnitTable) -> Path:
    """Returns the folder of what is kept of these units: its name changes with the policy and with the file."""
    policy = hashlib.sha256((run / "policy" / MANIFEST).read_bytes()).hexdigest()
    key = json.dumps([1, policy, str(users.resolve()), table.stamp])
    return run / FOLDER / hashlib.sha256(key.encode()).hexdigest()[:16]


def _restored(place: Path) -> dict[str, NDArray[Any]] | None:
    """Returns the arrays in a folder, mapped into memory; None: there are none, or they are damaged."""
    try:
        names: Sequence[str] = json.loads((place / _MARKER).read_text(encoding="utf-8"))["arrays"]
        return {name: np.load(place / f"{name}.npy", mmap_mode="r") for name in names}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _kept(place: Path, arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Writes arrays into a folder and returns them mapped into memory; where nothing can be written, as they are."""
    try:
        with atomic_folder(place, replace=True, marker=_MARKER) as folder:
            for name, array in arrays.items():
                np.save(folder / f"{name}.npy", array)
            (folder / _MARKER).write_text(json.dumps({"arrays": list(arrays)}), encoding="utf-8")
    except (OSError, StoreError):
        return arrays
    return _restored(place) or arrays
