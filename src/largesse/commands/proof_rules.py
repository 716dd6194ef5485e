"""The rules that an allocation must obey, on the rows of the proof: what ships is what is proven."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, floor
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from largesse import _check, frames
from largesse._files import PathLike
from largesse.allocate.price_intervals import assign
from largesse.commands.table_rules import budget_rule, named_by, under
from largesse.config.rules import Bounds, Limit, RulesFile
from largesse.errors import ConfigError, InfeasibleBudget, InfeasibleRules
from largesse.evaluate.bootstrap import arm_means
from largesse.evaluate.paths import DecisionPath, falling
from largesse.logs import Logs
from largesse.menu import Menu, Plan
from largesse.policy.curve import PriceCurve
from largesse.policy.held_out import Realised

__all__ = ["POLICY", "WITHOUT_RULES", "ProofRules", "RuledPlans"]

POLICY, WITHOUT_RULES = "policy", "without the rules"

_STEPS = 12  # budgets between which the decisions under rules are mixed, besides the budgets of the run
Some = TypeVar("Some", bound=Bounds)


class RuledPlans(NamedTuple):
    """The plans under the rules for some rows.

    Attributes:
        money: Rising budgets per unit, the last infinite, (K,).
        along: The decisions at each of them, (K, N).
        price: Shadow price of each, (K,).
        decided: The decisions at each budget of the run, (B, N).
        by_model: Spend per unit that the menu predicts for them, (B,).
        by_curve: Spend per unit that the calibrated curve predicts for them, (B,).
    """

    money: NDArray[np.float64]
    along: NDArray[np.int32]
    price: NDArray[np.float64]
    decided: NDArray[np.int32]
    by_model: list[float]
    by_curve: list[float]

    def realised(self, logs: Logs, budgets: Sequence[float]) -> Realised:
        """Returns planned and realised spend and value per unit of the decisions at the budgets of the run."""
        followed, price = (self.decided == logs.treatment).T, self.price[np.searchsorted(self.money, budgets)]
        return Realised.of(logs, followed, np.asarray(budgets, np.float64), price, np.array(self.by_model))


@dataclass(frozen=True, slots=True, eq=False)
class ProofRules:
    """The rules of a campaign, and the columns that they name, of some rows.

    Attributes:
        path: The file of the rules.
        file: The rules.
        units: Number of units that limits in totals are for; None: no rule has such a limit.
        table: The columns that the rules name, at least one column, one row for each row of the trial.
    """

    path: Path
    file: RulesFile
    units: int | None
    table: pa.Table

    @classmethod
    def load(cls, path: Path, units: int | None, rows: PathLike, order: NDArray[np.int64], logs: Logs) -> ProofRules:
        """Returns the rules in a file for the rows of a trial.

        Args:
            path: The rules, see `RulesFile`.
            units: Number of units that limits in totals are for; None: not declared.
            rows: The file of the rows.
            order: Which row of the file each row of the trial is, (N,).
            logs: The rows of the trial.

        Raises:
            ConfigError: A limit is a total, and it is not known for how many units.
            LargesseError: The rules name a column or a treatment that the rows lack, or conflict whatever the model predicts.
        """
        file = RulesFile.load(path)
        if file.treatments not in ((), logs.treatments):
            rule, remedy = f"the trial has {logs.treatments}", "Leave them out of the rules."
            raise _check.refuse("treatments", file.treatments, rule, remedy)
        if logs.weight is not None:
            raise ConfigError(
                f"{path}: rules are proven on rows of one unit each, and columns.weight gives rows weights. "
                "Give each unit its own row, or leave the rules out of the proof."
            )
        file = file.model_copy(update={"treatments": logs.treatments})
        if units is None and (file.spend or file.count or file.use):
            raise ConfigError(
                f"{path}: its limits are totals, and it is not declared for how many units. Write units = ... under [rules] "
                "(or --units): the number of units that the limits are meant for. On the rows of the proof they count "
                "in proportion."
            )
        table = frames.read(rows, text=file.text)
        named = dict.fromkeys(named_by(file, table))
        table = table.select(list(named) or table.column_names[:1])  # without a column there would be no rows
        made = cls(path, file, units, table.take(order))
        made._refuse_conflict(logs)
        return made

    def take(self, rows: NDArray[np.int64]) -> ProofRules:
        """Returns the rules for some of the rows."""
        return replace(self, table=self.table.take(rows))

    @property
    def sentence(self) -> str:
        """What a reader of the proof must know of the rules."""
        words = f"The policy obeys the rules in {self.path.name}, as an allocation within each budget on average does."
        if self.units is not None:
            words += f" Their limits are for {self.units:,} units; in the proof they count in proportion to its rows."
        return (
            f"{words} The best mix of arms and the policy {WITHOUT_RULES} are not bound by them: the difference to the latter is "
            "what the rules cost."
        )

    @property
    def n(self) -> int:
        """Number of rows."""
        return self.table.num_rows

    def plans(self, menu: Menu, curve: PriceCurve, budgets: Sequence[float], most: float) -> RuledPlans:
        """Returns the plans of a policy for these rows, as `allocate` makes them: within each budget on average.

        Args:
            menu: The predictions of the policy for the rows.
            curve: Its calibrated curve: it corrects the predicted costs.
            budgets: The budgets of the run, per unit.
            most: Largest budget per unit that can be spent.

        Raises:
            InfeasibleRules: The rules conflict at a budget of the run.
        """
        file, spend_curve = self._scaled(), curve.spend_curve(menu)
        steps = np.linspace(0.0, max(most, *budgets), _STEPS + 1)
        money = np.unique(np.concatenate([steps, budgets]))
        plans: dict[float, Plan] = {}
        factors: dict[float, float] = {}
        for budget in (*money.tolist(), np.inf):
            try:
                price = spend_curve.price_for(budget * menu.n, None)
            except InfeasibleBudget:
                price = np.inf
            planned = float(menu.cost[np.arange(menu.n), assign(menu, price)].sum(dtype=np.float64))
            factor = spend_curve.at(price, 0.0).mean / planned if planned > 0 else 1.0
            corrected = replace(menu, cost=(menu.cost * factor).astype(menu.cost.dtype))
            try:
                plan = under(file, corrected, self.table, budget_rule(corrected, budget * menu.n))
            except InfeasibleRules as conflict:
                if budget in budgets or budget == np.inf:
                    conflict.add_note(f"This is about the budget of {_check.written(budget)} per unit, in the proof.")
                    raise
                continue
            plans[budget], factors[budget] = plan, factor
        own, every = [plans[budget] for budget in budgets], list(plans.values())
        return RuledPlans(
            np.array(list(plans)), np.stack([plan.treatment for plan in every]), np.array([plan.price for plan in every]),
            np.stack([plan.treatment for plan in own]),
            [plan.spend / factors[b] / menu.n for b, plan in zip(budgets, own, strict=True)],
            [plan.spend / menu.n for plan in own],
        )  # fmt: skip

    @staticmethod
    def joined(parts: Sequence[RuledPlans], treatments: tuple[str, ...]) -> DecisionPath:
        """Returns the decisions of one or several groups of rows as one path, at the budgets at which all of them have a plan."""
        common = [budget for budget in parts[0].money if all(budget in part.money for part in parts)]
        at = [np.searchsorted(part.money, common) for part in parts]
        sizes = [part.along.shape[1] for part in parts]
        price = np.average([part.price[k] for part, k in zip(parts, at, strict=True)], axis=0, weights=sizes)
        decided = np.concatenate([part.along[k] for part, k in zip(parts, at, strict=True)], axis=1)
        return DecisionPath(decided=decided, price=falling(price), treatments=treatments)

    def _scaled(self) -> RulesFile:
        """Returns the rules with limits in totals for as many units as there are rows."""
        if self.units is None:
            return self.file
        part = self.n / self.units
        return self.file.model_copy(update={
            "spend": tuple(_scaled(one, part) for one in self.file.spend),
            "use": tuple(_scaled(one, part) for one in self.file.use),
            "count": tuple(_scaled(one, part, whole=True) for one in self.file.count),
        })  # fmt: skip

    def _refuse_conflict(self, logs: Logs) -> None:
        """Refuses rules that no plan obeys where every unit costs what its arm costs on average: before any training."""
        cost = np.maximum(np.broadcast_to(arm_means(logs)[1], (logs.n, logs.n_treatments)), 0.0)
        value = np.random.default_rng(0).random(cost.shape)  # any: whether there is a plan does not depend on it
        menu = Menu(value=value, cost=cost, treatments=logs.treatments)
        under(self._scaled(), menu, self.table, budget_rule(menu, np.inf))


def _scaled(one: Some, part: float, *, whole: bool = False) -> Some:
    """Returns a rule with its limits times a share; those of numbers of units are whole, and none is tighter by rounding."""

    def times(limit: Limit | None, rounded: object) -> Limit | None:
        if limit is None:
            return None
        if isinstance(limit, dict):
            return {name: times(each, rounded) for name, each in limit.items()}  # type: ignore[misc]
        return float(rounded(limit * part)) if whole else limit * part  # type: ignore[operator]

    return one.model_copy(update={"at_most": times(one.at_most, ceil), "at_least": times(one.at_least, floor)})
