"""`allocate`: applies the policy of a run to a file of units, within a budget, and writes who gets what."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from largesse import _check, frames
from largesse._files import MANIFEST
from largesse.allocate.rules import Spend
from largesse.commands.plan import obeys, under
from largesse.commands.run_folder import Safety, open_run, safety_of
from largesse.config.rules import RulesFile
from largesse.engines.parquet import Units, stream, streams
from largesse.menu import Bound, Menu, PlanTotals
from largesse.policy.curve import same_treatments
from largesse.policy.deployed import Allocation, Policy, allocated
from largesse.policy.descent import descend
from largesse.policy.safety import LEVEL, Estimate, amount
from largesse.progress import Say, silent

__all__ = ["allocate_run"]


def allocate_run(
    folder: Path, users: Path, budget: float, output: Path, *, safety: Safety = "configured",
    rules: Path | None = None, say: Say = silent, n_threads: int = 1,
) -> Allocation[PlanTotals]:  # fmt: skip
    """Decides who gets what within a budget, and writes it: whole or not at all.

    From Parquet to Parquet the units are never in memory all at once, each is scored once, and the same call resumes an
    interrupted one; the allocation is the same as in memory.

    Args:
        folder: A run folder.
        users: The units, with the features of the run: a file, or a folder of Parquet files.
        budget: Total budget of these units; infinity for no limit.
        output: The allocation: .parquet, .csv or .feather.
        safety: Probability of staying within the budget; ``"configured"``: that of the run; None: within it on average.
        rules: A TOML file of further rules, see `RulesFile`; the units are then read into memory.
        say: Called with each stage and the share of the work that is done.
        n_threads: Threads of the search; the allocation is the same for any number.

    Raises:
        InfeasibleBudget: Even the cheapest treatment for every unit costs more.
        LargesseError: The run or the units cannot be read, or the output cannot be written.
    """
    config, policy = open_run(folder)
    frames.writable(output, users)
    level = safety_of(config, safety)
    if rules is not None:
        return _under_rules(policy, RulesFile.load(rules), users, amount(budget), output, level)
    if policy.encoder is not None and streams(users, output):
        return _streamed(policy, _units(policy, folder, users), amount(budget), output, level, say, n_threads)
    menu = policy.menu(frames.read(users))
    done = policy.allocate(menu, budget, safety=level)
    frames.write(frames.plan_table(done.plan, menu), output)
    return Allocation(
        plan=done.plan.totals, planned_spend=done.planned_spend, spend=done.spend, value=done.value, budget=done.budget,
        safety=level, notes=done.notes,
    )  # fmt: skip


def _under_rules(
    policy: Policy, rules_file: RulesFile, users: Path, budget: float, output: Path, safety: float | None
) -> Allocation[PlanTotals]:
    """Allocates under rules, with the predicted costs multiplied by calibrated spend / predicted spend of the plain policy.

    With a safety, the upper limit of the calibrated spend is taken. The rules change who is treated, so spend and value
    are estimates without a guarantee.
    """
    known = () if policy.roles is None else policy.roles.text
    table, level = frames.read(users, text=(*known, *rules_file.text)), LEVEL if safety is None else safety
    menu = policy.menu(table)
    if rules_file.treatments not in ((), menu.treatments):
        raise _check.refuse("treatments", rules_file.treatments, f"the run has {menu.treatments}", "Leave them out.")
    free = policy.allocate(menu, budget, safety=safety)
    expected = free.spend.mean if safety is None else free.spend.high
    factor = expected / free.planned_spend if free.planned_spend > 0 else 1.0
    corrected = replace(menu, cost=(menu.cost * factor).astype(menu.cost.dtype))
    used = obeys(rules_file, corrected, table, free.plan)
    if used is not None:  # what the budget alone gives breaks no rule
        money = Bound(f"spend at most {budget:g}", expected, budget, free.price, free.price > 0, of_spend=True)
        frames.write(frames.plan_table(free.plan, menu), output)
        return replace(free, plan=replace(free.plan, rules=(money, *used)).totals)  # type: ignore[arg-type,return-value]
    limit = Spend(at_most=min(budget, float(np.finfo(float).max)))
    plan = under(rules_file, corrected, table, limit)
    frames.write(frames.plan_table(plan, corrected), output)
    spend = Estimate(*(plan.spend * end / expected if expected > 0 else plan.spend for end in free.spend))
    value = policy.curve.value_of(free.price, plan.value, plan.n, level=level)
    return Allocation(
        plan=plan.totals, planned_spend=plan.spend / factor, spend=spend, value=value, budget=budget, safety=safety,
        notes=free.notes,
    )  # fmt: skip


def _units(policy: Policy, folder: Path, users: Path) -> Units:
    encoder, curve, model = policy.encoder, policy.curve, policy.model
    assert encoder is not None

    def menu(table: pa.Table) -> Menu:
        predicted = model.predict(encoder.transform(table))
        same_treatments(curve, predicted.treatments)
        return predicted

    return Units(
        path=users, columns=encoder.features, unit=None if policy.roles is None else policy.roles.unit, menu=menu,
        treatments=curve.treatments,
        key={"policy": hashlib.sha256((folder / "policy" / MANIFEST).read_bytes()).hexdigest()},
    )  # fmt: skip


def _streamed(
    policy: Policy, units: Units, budget: float, output: Path, safety: float | None, say: Say, n_threads: int
) -> Allocation[PlanTotals]:
    curve = policy.curve
    done = stream(units, output, lambda run: descend(curve, run, budget, safety), say=say, n_threads=n_threads)
    return allocated(curve, done.decision, done.sums, budget, safety)
