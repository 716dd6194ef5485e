"""The allocation of a policy under rules beside its budget: what `allocate --rules` writes, and what the studio shows."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from largesse import _check
from largesse.allocate.blocks import Sums
from largesse.commands.table_rules import budget_rule, obeys, under
from largesse.config.rules import RulesFile
from largesse.menu import Bound, Menu, Plan, PlanTotals
from largesse.policy.curve import PriceCurve
from largesse.policy.deployed import Allocation, Brought
from largesse.policy.safety import LEVEL, Estimate

__all__ = ["Ruled", "refuse_other_treatments", "under_rules"]


class Ruled(NamedTuple):
    """An allocation under rules.

    Attributes:
        allocation: Its totals, with use, limit and shadow price of the budget and of every rule.
        treatment: The treatment of each unit, (N,).
        menu: The menu that decided: its costs are corrected where the rules change the plan, and as predicted where they do not.
        price: Shadow price λ that decides every unit; None where the rules change the plan, which several prices decide then.
    """

    allocation: Allocation[PlanTotals]
    treatment: NDArray[np.int32]
    menu: Menu
    price: float | None


def refuse_other_treatments(rules_file: RulesFile, treatments: tuple[str, ...]) -> None:
    """Refuses rules that name other treatments than a run has.

    Raises:
        DataError: They do.
    """
    if rules_file.treatments not in ((), treatments):
        raise _check.refuse("treatments", rules_file.treatments, f"the run has {treatments}", "Leave them out.")


def under_rules(
    curve: PriceCurve, menu: Menu, free: Allocation[Plan], rules_file: RulesFile, table: pa.Table, control: Sums, *,
    unit_value: float | None = None, n_threads: int = 1,
) -> Ruled:  # fmt: skip
    """Returns the allocation under rules, with the predicted costs multiplied by calibrated spend / predicted spend of `free`.

    With a safety, the upper limit of the calibrated spend is taken. The rules change who is treated, so spend and value
    are estimates without a guarantee.

    Args:
        curve: The price curve of the model.
        menu: Predicted value and cost of N units.
        free: The allocation of the same units within the same budget, without rules.
        rules_file: The rules.
        table: The columns that they name, N rows.
        control: Totals where everybody gets control, by the menu.
        unit_value: Money that one unit of value brings; None: not known.
        n_threads: Threads; the allocation is the same for any number.

    Raises:
        InfeasibleRules: The rules conflict with each other or with the budget.
        LargesseError: A rule does not suit the table or the menu.
    """
    refuse_other_treatments(rules_file, menu.treatments)
    budget, safety, factor = free.budget, free.safety, correction(free)
    expected = free.spend.mean if safety is None else free.spend.high
    corrected = replace(menu, cost=(menu.cost * factor).astype(menu.cost.dtype))
    used = obeys(rules_file, corrected, table, free.plan)
    if used is not None:  # what the budget alone gives breaks no rule
        money = Bound(
            f"spend at most {_check.written(budget)}", expected, budget, free.price, free.price > 0, of_spend=True
        )
        totals = replace(free.plan, rules=(money, *used)).totals
        brought = Brought.of(curve, free.value.mean, free.spend.mean, control, unit_value)
        done: Allocation[PlanTotals] = replace(free, plan=totals, brought=brought)  # type: ignore[arg-type, assignment]
        return Ruled(done, free.plan.treatment, menu, free.price)
    plan = under(rules_file, corrected, table, budget_rule(corrected, budget), n_threads=n_threads)
    spend = Estimate(*(plan.spend * end / expected if expected > 0 else plan.spend for end in free.spend))
    share = plan.spend / factor / free.planned_spend if free.planned_spend > 0 else 1.0
    level = LEVEL if safety is None else safety
    value = curve.value_under_rules(free.price, share, plan.value, plan.n, level=level)
    done = Allocation(
        plan=plan.totals, planned_spend=plan.spend / factor, spend=spend, value=value, budget=budget, safety=safety,
        notes=free.notes, brought=Brought.of(curve, value.mean, spend.mean, control, unit_value),
    )  # fmt: skip
    return Ruled(done, plan.treatment, corrected, None)


def correction(free: Allocation[Plan]) -> float:
    """Returns the factor of the predicted costs: calibrated spend / predicted spend of the plan without rules."""
    expected = free.spend.mean if free.safety is None else free.spend.high
    return expected / free.planned_spend if free.planned_spend > 0 else 1.0
