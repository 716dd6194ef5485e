"""A deployable policy: gives units treatments within a budget, and is saved and loaded as one folder."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from largesse import _check, store
from largesse._arguments import checked
from largesse._check import Numbers
from largesse._files import PathLike
from largesse.allocate.blocks import Block, Run, Sums, in_blocks
from largesse.allocate.price_intervals import assign
from largesse.allocate.solver import price_plan
from largesse.errors import DataError
from largesse.frames import Encoder, ids, read, units
from largesse.logs import Logs
from largesse.menu import Menu, Plan, PlanTotals
from largesse.models.base import Model
from largesse.policy.curve import PriceCurve, same_treatments
from largesse.policy.descent import Descent, descend, priced
from largesse.policy.held_out import Realised, realised
from largesse.policy.safety import LEVEL, Estimate, amount, normal_quantile
from largesse.policy.saved import model_state, restored
from largesse.policy.unread import CURVE_ARRAYS, parts_of, saved_policy, undamaged
from largesse.result import Brief, Result
from largesse.roles import Roles

__all__ = ["Allocation", "Brought", "Policy", "allocated", "allocation_at", "control_sums"]


P = TypeVar("P", Plan, PlanTotals)


class Brought(NamedTuple):
    """What an allocation is expected to bring and to cost beyond control for everyone, calibrated on trial rows.

    `net` is the value in money less the cost; None where it is not known what one unit of value brings in money.
    """

    value: float
    cost: float
    net: float | None = None

    @classmethod
    def of(
        cls, curve: PriceCurve, value: float, spend: float, control: Sums, unit_value: float | None = None
    ) -> Brought:
        """Returns the differences from control.

        Args:
            curve: The price curve of the model; at its highest price everybody gets the cheapest treatment.
            value: Expected value of the allocation.
            spend: Expected spend of the allocation.
            control: The sums that the menu predicts where everybody gets control.
            unit_value: What one unit of value brings in money; None: not known.
        """
        idle = float(curve.cost.total(curve.price, np.inf, control.spend, control.spend)[0])
        more, paid = value - curve.value_of(np.inf, control.value, control.n).mean, spend - idle
        return cls(more, paid, None if unit_value is None else unit_value * more - paid)


@checked
@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class Allocation(Result, Generic[P]):
    """A plan for new units, with its expected spend and value.

    Attributes:
        plan: The treatment of each unit, argmax value - price · cost; or its totals where the units are in a file.
        planned_spend: Spend predicted by the menu, before calibration.
        spend: Expected spend, with its interval; with a safety, `spend.high` is the bound that stays within the budget.
        value: Expected value, with its interval: all that the units bring, which includes what they bring under control.
        budget: Total budget of the units.
        safety: Required probability of staying within the budget; None: within it on average.
        notes: Intervals that rest on few events, in sentences.
        held_out: Number of units that are kept back as a control group; plan, spend and value are those of the others.
        brought: What is expected beyond control for everyone; None where it was not computed.
    """

    _computed: ClassVar[tuple[str, ...]] = ("n", "price")
    _pictured: ClassVar[bool] = True
    plan: P
    planned_spend: float
    spend: Estimate
    value: Estimate
    budget: float
    safety: float | None
    notes: tuple[str, ...] = ()
    held_out: int = 0
    brought: Brought | None = None

    @property
    def n(self) -> int:
        """Number of units that are decided."""
        return self.plan.n

    @property
    def price(self) -> float:
        """Shadow price λ at which the units were decided: value per unit of spend."""
        return self.plan.price


def control_sums(run: Run) -> Sums:
    """Returns the totals where everybody gets control, by the menus.

    Args:
        run: Applies a task to every block; called once.
    """
    return Sums.over(run(_control))


def _control(block: Block) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    return block.audit(np.zeros(block.n, np.int32))


def allocation_at(
    curve: PriceCurve, menu: Menu, decision: Descent, budget: float, safety: float | None, control: Sums
) -> Allocation[Plan]:
    """Returns the allocation of units whose menu is in memory.

    Args:
        curve: The price curve of the model.
        menu: The menu of the units.
        decision: The price of the budget.
        budget: Total budget of the units.
        safety: As for `Policy.allocate`.
        control: Totals where everybody gets control, by the menu.
    """
    plan, level = price_plan(menu, decision.price), LEVEL if safety is None else safety
    spend, value = decision.spend_curve.at(plan.price, normal_quantile(level)), curve.value_at(plan, level=level)
    return Allocation(
        plan=plan, planned_spend=plan.spend, spend=spend, value=value, budget=budget, safety=safety,
        notes=curve.notes_at(plan.price), brought=Brought.of(curve, value.mean, spend.mean, control),
    )  # fmt: skip


def allocated(
    curve: PriceCurve, decision: Descent, sums: Sums, budget: float, safety: float | None, control: Sums,
    unit_value: float | None = None,
) -> Allocation[PlanTotals]:  # fmt: skip
    """Returns the allocation of units that are in a file.

    Args:
        curve: The price curve of the model.
        decision: The price of the budget.
        sums: Totals of the plan at this price, by the menus.
        budget: Total budget of the units.
        safety: As for `Policy.allocate`.
        control: Totals where everybody gets control, by the menus.
        unit_value: What one unit of value brings in money; None: not known.
    """
    level = LEVEL if safety is None else safety
    plan = PlanTotals(
        treatments=curve.treatments, counts=sums.counts, price=decision.price, spend=sums.spend, value=sums.value,
        bound=sums.value,
    )  # fmt: skip
    spend = decision.spend_curve.at(decision.price, normal_quantile(level))
    value = curve.value_of(decision.price, sums.value, sums.n, level=level)
    return Allocation(
        plan=plan, planned_spend=sums.spend, spend=spend, value=value, budget=budget, safety=safety,
        notes=curve.notes_at(decision.price), brought=Brought.of(curve, value.mean, spend.mean, control, unit_value),
    )  # fmt: skip


@checked
@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class Policy(Brief):
    """A fitted model with its calibrated curve, ready to allocate.

    Attributes:
        model: A fitted model.
        curve: Its calibrated spend and value by price.
        encoder: Encodes a table as the model's features; None if features are given as arrays.
        roles: Names the column of the unit ids; None if there is none.
    """

    model: Model
    curve: PriceCurve
    encoder: Encoder | None = None
    roles: Roles | None = None

    @classmethod
    @checked
    def calibrated(
        cls, model: Model, logs: Logs, *, encoder: Encoder | None = None, roles: Roles | None = None, draws: int = 400,
        seed: int = 0,
    ) -> Policy:  # fmt: skip
        """Returns the policy of a fitted model, calibrated on trial rows that the model was not trained on.

        Args:
            model: A fitted model.
            logs: The trial rows.
            encoder: Encodes tables as the model's features; None: the encoder of the rows.
            roles: The roles of a table's columns; None: those of the rows.
            draws: Number of bootstrap draws.
            seed: Seed of the draws.
        """
        curve = PriceCurve.calibrate(model.predict(logs.x), logs, draws=draws, seed=seed)
        return cls(
            model=model, curve=curve, encoder=logs.encoder if encoder is None else encoder,
            roles=logs.roles if roles is None else roles,
        )  # fmt: skip

    def menu(self, data: Any, *, unit: Any = None) -> Menu:
        """Returns the menu of units: of a table or file (encoded here), of encoded features (N, d), or the menu given.

        Args:
            data: A table that `frames.read` takes, an array, or a `Menu`.
            unit: Unit ids (N,), or for a table the name of their column; None: for a table, the unit column of the roles.
        """
        if isinstance(unit, str) and (isinstance(data, Menu) or (np.ndim(data) == 2 and isinstance(data, np.ndarray))):
            raise _check.refuse(
                "unit", unit, "names a column, and the data has none", "Give the ids themselves, one for each unit."
            )
        if isinstance(data, Menu):
            result = data
        elif isinstance(data, np.ndarray):
            result = self.model.predict(data)
        elif self.encoder is None:
            raise DataError("data: this policy has no encoder. Give encoded features as an array.", field="data")
        else:
            named = (unit,) if isinstance(unit, str) else ()
            table = read(data, text=(*named, *(() if self.roles is None else self.roles.text)))
            unit = ids(table, unit) if isinstance(unit, str) else unit
            result = self.model.predict(self.encoder.transform(table))
            unit = units(table, self.roles) if unit is None and self.roles is not None else unit
        return result if unit is None else replace(result, unit=np.asarray(unit))

    @checked
    def allocate(self, data: Any, budget: float, *, safety: float | None = None, unit: Any = None) -> Allocation[Plan]:
        """Returns who gets what within a budget, with expected spend and value.

        Args:
            data: The units: a table, encoded features (N, d), or their menu.
            budget: Total budget of the units (for a budget per unit: `budget = 0.5 * n`); infinity for no limit.
            safety: Probability that the spend stays within the budget, e.g. 0.95; None: it does on average,
                so about every second campaign overspends a little. Units are taken to behave independently.
            unit: Unit ids (N,), or for a table the name of their column; optional.

        Raises:
            InfeasibleBudget: Even the cheapest treatment for every unit costs more.
        """
        menu, money = self.menu(data, unit=unit), amount(budget)
        same_treatments(self.curve, menu.treatments)
        decision, control = descend(self.curve, in_blocks(menu), money, safety), control_sums(in_blocks(menu))
        return allocation_at(self.curve, menu, decision, money, safety, control)

    @checked
    def allocate_at(self, data: Any, price: float, *, unit: Any = None) -> Allocation[Plan]:
        """Returns who gets what at a price, without a budget: every unit its treatment of highest value - price · cost.

        Where one unit of value brings m in money, the price 1 / m gives everybody what pays by the model's predictions.

        Args:
            data: The units: a table, encoded features (N, d), or their menu.
            price: Shadow price λ, value per unit of spend, >= 0.
            unit: Unit ids (N,), or for a table the name of their column; optional.

        Raises:
            DataError: The price is negative or not a number.
        """
        menu, at = self.menu(data, unit=unit), _check.number("price", price, low=0)
        same_treatments(self.curve, menu.treatments)
        decision = priced(self.curve, in_blocks(menu), at)
        plan = price_plan(menu, at)
        spend, value = decision.spend_curve.at(at, normal_quantile(LEVEL)), self.curve.value_at(plan)
        return Allocation(
            plan=plan, planned_spend=plan.spend, spend=spend, value=value, budget=float("inf"), safety=None,
            notes=self.curve.notes_at(at), brought=self._brought(menu, value, spend),
        )  # fmt: skip

    def _brought(self, menu: Menu, value: Estimate, spend: Estimate) -> Brought:
        return Brought.of(self.curve, value.mean, spend.mean, control_sums(in_blocks(menu)))

    def decide(self, data: Any, price: float) -> NDArray[np.int32]:
        """Returns the treatment of each unit at a given price, (N,): what a service answers, one unit at a time."""
        return assign(self.menu(data), price)

    @checked
    def realised(
        self, logs: Logs, budgets: Numbers, *, safety: float | None = None, level: float = 0.95, seed: int = 0
    ) -> Realised:  # fmt: skip
        """Returns planned against realised on held-out trial rows; see the function `realised`.

        A policy keeps no record of its training rows; a run folder does (`TrainingRows.load`), and `evaluate_run` checks it.
        """
        menu = self.model.predict(logs.x)
        return realised(self.curve, logs, menu, budgets, safety=safety, level=level, seed=seed)

    @checked
    def save(self, path: PathLike, *, replace: bool = False) -> None:
        """Writes the policy as a folder without pickle; `load` gives bit-identical menus.

        Args:
            path: The folder to make.
            replace: Whether an older saved folder of that name gives way.

        Raises:
            NotFittedError: The model is not fitted.
            StoreError: The model has no saved form, or the folder exists or cannot be written.
        """
        saved, arrays = model_state(self.model)
        curve, tracks = self.curve, {"cost": self.curve.cost, "value": self.curve.value}
        settings = {
            "model": saved,
            "encoder": None if self.encoder is None else self.encoder.state(),
            "roles": None if self.roles is None else asdict(self.roles),
            "curve": {
                "treatments": curve.treatments,
                "units": curve.units,
                "base": {k: t.base for k, t in tracks.items()},
            },
        }
        arrays = store.nest(model=arrays) | {"curve.price": curve.price}
        for name, track in tracks.items():
            arrays |= {f"curve.{name}.{there}": getattr(track, here) for there, here in CURVE_ARRAYS.items()}
        store.save(path, "policy", settings, arrays, replace=replace)

    @classmethod
    @checked
    def load(cls, path: PathLike, *, model: Model | None = None) -> Policy:
        """Returns a saved policy; executes nothing that it reads.

        Args:
            path: The folder that `save` made.
            model: A model with the same menu, used in place of the saved one: where a package that this needs is not installed.

        Raises:
            StoreError: The folder is missing, damaged, of a newer version, or holds something else.
            MissingDependency: The policy is a network, and torch is not installed.
        """
        saved = saved_policy(path)
        with undamaged(path):
            stored, arrays = saved.settings["model"], store.unnest("model", saved.arrays)
            made = restored(stored, arrays) if model is None else model
            policy = cls(model=made, **parts_of(saved)._asdict())
            policy._check_menu()
        return policy

    def _check_menu(self) -> None:
        """Raises an error of any kind unless the model predicts a menu of the curve's treatments for one unit."""
        if self.encoder is None:
            return
        menu = self.model.predict(np.zeros((1, len(self.encoder.names)), np.float32))
        if menu.treatments != self.curve.treatments:
            raise ValueError(f"the model predicts {menu.treatments}, the curve is of {self.curve.treatments}")
