"""What the held-out rows of a run say of any budget: the numbers of its report, computed again where the report has none."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from largesse import _check
from largesse._files import PathLike
from largesse.allocate.price_intervals import assign
from largesse.commands.kept_proof import KeptProof
from largesse.commands.proof_rules import POLICY
from largesse.commands.run_folder import budgets_of_run
from largesse.config import Config
from largesse.errors import DataError
from largesse.evaluate.bootstrap import Arms
from largesse.evaluate.break_even import BreakEven, break_even
from largesse.evaluate.comparison import BEST_MIX, Comparison, compare, comparing
from largesse.evaluate.paths import DecisionPath
from largesse.evaluate.returns import PayVerdict, ReturnRow, returns, verdicts
from largesse.evaluate.segments import SegmentRow, segments
from largesse.menu import Menu

__all__ = ["AtBudget", "Evidence", "WhatIf"]

_LINE = 25  # budgets along the curve, as in a report


class WhatIf(NamedTuple):
    """Assumptions about money that differ from those of the run.

    Attributes:
        unit_value: Money that one unit of value brings; None: as the run declares it, or not known.
        cost: Factor of all costs, > 0: 1.1 where everything costs a tenth more than in the trial.
    """

    unit_value: float | None = None
    cost: float = 1.0

    @classmethod
    def of(cls, config: Config, unit_value: float | None, cost: float) -> WhatIf:
        """Returns checked assumptions; what is not given is as the run declares it.

        Raises:
            DataError: A number is not above 0.
        """
        money = config.outcome.unit_value if unit_value is None else unit_value
        if money is not None:
            money = _check.number("value per unit", money, low=1e-12)
        return cls(money, _check.number("cost factor", cost, low=1e-6, high=1e6))

    def scaled(self, row: ReturnRow) -> ReturnRow:
        """Returns a row with the costs of the trial as one where all cost more; it was made with `self.inner`."""
        f = self.cost
        if f == 1:
            return row
        return row._replace(
            budget=row.budget * f, spend=row.spend * f, net=row.net * f, net_low=row.net_low * f, net_high=row.net_high * f,
            per_value=row.per_value * f, per_value_low=row.per_value_low * f, per_value_high=row.per_value_high * f,
        )  # fmt: skip

    @property
    def inner(self) -> float | None:
        """Money that one unit of value brings, in money of which the trial's costs are the unit: what decides what pays."""
        return None if self.unit_value is None else self.unit_value / self.cost


class AtBudget(NamedTuple):
    """The policy and the best untargeted one at one budget, on held-out rows, per unit and against control for everyone.

    Attributes:
        policy: What the policy brings and costs.
        untargeted: The same of the best untargeted policy.
        difference: Value of the policy less that of the untargeted one.
        low: Lower end of its paired interval.
        high: Upper end.
        events: Effective number of events that it rests on.
        verdict: Whether the budget pays, on its own; None where it is not known what one unit of value brings.
        shares: Share of the units with each treatment, (M,).
        price: Shadow price λ.
    """

    policy: ReturnRow
    untargeted: ReturnRow
    difference: float
    low: float
    high: float
    events: float
    verdict: PayVerdict | None
    shares: tuple[float, ...]
    price: float


class Evidence:
    """The held-out rows of a run.

    Args:
        config: The configuration of the run.
        proof: What it keeps of its proof.
        budgets: Its budgets per unit.

    Attributes:
        most: The largest budget per unit of which the rows can say something.
        along: From assumptions about money to policy and best untargeted policy along the whole range of budgets.
        turning: From assumptions to the budgets per unit at which the campaign stops paying; None where that is not known.
    """

    def __init__(self, config: Config, proof: KeptProof, budgets: tuple[float, ...]) -> None:
        self.config, self.proof, self.budgets = config, proof, budgets
        self.most = max(float(Arms.of(proof.logs).means()[1].max()), *budgets)
        self._compared = lru_cache(maxsize=256)(self._compare)
        self._line: Comparison | None = None
        self._comparing: Callable[[Any], Comparison] | None = None
        self.along, self.turning = lru_cache(maxsize=32)(self._along), lru_cache(maxsize=32)(self._turning)

    @classmethod
    def of_run(cls, run: PathLike, config: Config) -> Evidence | None:
        """Returns the evidence of a run; None where the run keeps no proof, as those of earlier versions.

        Raises:
            StoreError: It is damaged.
        """
        proof = KeptProof.load(run)
        return None if proof is None else cls(config, proof, budgets_of_run(run))

    @property
    def treatments(self) -> tuple[str, ...]:
        """Names of the treatments, control first."""
        return self.proof.logs.treatments

    def _compare(self, budget: float) -> Comparison:
        if self._comparing is None:
            self._comparing = comparing(self.proof.logs, {POLICY: self.proof.menu})
        return self._comparing([budget]).against(BEST_MIX)

    def line(self) -> Comparison:
        """Returns the comparison along the whole range of budgets."""
        if self._line is None:
            money = np.linspace(0, float(Arms.of(self.proof.logs).means()[1].max()), _LINE)
            self._line = compare(self.proof.logs, {POLICY: self.proof.menu}, money).against(BEST_MIX)
        return self._line

    def at(self, budget: float, what_if: WhatIf) -> AtBudget:
        """Returns what a budget brings.

        Args:
            budget: Budget per unit.
            what_if: Assumptions about money.

        Raises:
            DataError: The budget is not a number, or is negative.
        """
        money = _check.number("budget", budget, low=0) / what_if.cost
        table = self._compared(float(money))
        made = returns(table, value_per_unit=what_if.inner, names=(POLICY, BEST_MIX))
        p = table.index(POLICY)
        shares = tuple(float(max(one, 0.0)) for one in table.parts.mix[0])
        return AtBudget(
            what_if.scaled(made.of(POLICY)[0]), what_if.scaled(made.of(BEST_MIX)[0]), float(table.difference[p, 0]),
            float(table.difference_low[p, 0]), float(table.difference_high[p, 0]), float(table.difference_events[p, 0]),
            None if what_if.inner is None else verdicts(made, table, POLICY)[0], shares,
            float(table.price[p, 0]) / what_if.cost,
        )  # fmt: skip

    def _along(self, what_if: WhatIf) -> tuple[tuple[ReturnRow, ...], tuple[ReturnRow, ...]]:
        """Returns the policy and the best untargeted one along the whole range of budgets."""
        made = returns(self.line(), value_per_unit=what_if.inner, names=(POLICY, BEST_MIX))
        ours, theirs = (tuple(what_if.scaled(row) for row in made.of(name)) for name in (POLICY, BEST_MIX))
        return ours, theirs

    def _turning(self, what_if: WhatIf) -> BreakEven | None:
        """Returns the budgets per unit at which the campaign stops paying; None where that is not known."""
        if what_if.inner is None:
            return None
        made = break_even(self.line(), POLICY, value_per_unit=what_if.inner)
        return made if made is None else BreakEven._make(end * what_if.cost for end in made)

    def segments(self, column: str, budget: float, what_if: WhatIf) -> tuple[SegmentRow, ...]:
        """Returns what the groups of a column get and bring at a budget.

        Args:
            column: A column of the campaign with more than one group.
            budget: Budget per unit.
            what_if: Assumptions about money.

        Raises:
            DataError: There is no such column, or the budget is out of reach.
        """
        by_name = {group.column: group for group in self.proof.groups}
        _check.choice("column", column, tuple(by_name))
        group, table = by_name[column], self._compared(float(_check.number("budget", budget, low=0) / what_if.cost))
        p, menu = table.index(POLICY), self.proof.menu
        price = float(table.price[p, 0])
        if np.isnan(table.value[p, 0]):
            raise DataError.at("budget", f" == {_check.written(budget)}: is out of reach. Give a larger one.")
        decided = assign(menu, price) if isinstance(menu, Menu) else self._decided(menu, price)
        counts = table.parts.made.policies[p].curve.matched(table.budgets)[0]
        rows = segments(self.proof.logs, counts, decided, group.code, group.names, value_per_unit=what_if.inner)
        f = what_if.cost
        return tuple(
            row._replace(spend=row.spend * f, net=row.net * f, net_low=row.net_low * f, net_high=row.net_high * f)
            for row in rows
        )

    @staticmethod
    def _decided(path: DecisionPath, price: float) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
        return path.decided[int(path.at(price))]
