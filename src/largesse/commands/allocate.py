"""`allocate`: applies the policy of a run to a file of units, within a budget, and writes who gets what."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from largesse import _check, frames
from largesse._files import MANIFEST
from largesse.allocate.blocks import Run, in_blocks
from largesse.allocate.rules import Spend
from largesse.commands.plan import obeys, under
from largesse.commands.run_folder import Safety, open_run, safety_of
from largesse.config.rules import RulesFile
from largesse.engines.parquet import Units, stream, streams
from largesse.menu import Bound, Menu, PlanTotals
from largesse.policy.curve import same_treatments
from largesse.policy.deployed import Allocation, Policy, allocated
from largesse.policy.descent import Descent, between, descend, priced
from largesse.policy.safety import LEVEL, Estimate, amount
from largesse.progress import Say, silent

__all__ = ["allocate_run"]


def allocate_run(
    folder: Path, users: Path, budget: float | None, output: Path, *, price: float | None = None, min_return: float = 1.0,
    value_per_unit: float | None = None, safety: Safety = "configured", rules: Path | None = None, say: Say = silent,
    n_threads: int = 1,
) -> Allocation[PlanTotals]:  # fmt: skip
    """Decides who gets what within a budget, or whatever pays, and writes it: whole or not at all.

    From Parquet to Parquet the units are never in memory all at once, each is scored once, and the same call resumes an
    interrupted one; the allocation is the same as in memory.

    Args:
        folder: A run folder.
        users: The units, with the features of the run: a file, or a folder of Parquet files.
        budget: Total budget of these units; infinity for no limit; None: everybody gets what pays, or what `price` gives.
        output: The allocation: .parquet, .csv or .feather.
        price: Instead of a budget: shadow price λ, value per unit of spend.
        min_return: Money that each unit of spend must bring back by the model's predictions, where there is no budget. With a
            budget, a note says what is spent below it.
        value_per_unit: Money that one unit of value brings; None: as declared in the run, outcome.value_per_unit and margin.
        safety: Probability of staying within the budget; ``"configured"``: that of the run; None: within it on average.
        rules: A TOML file of further rules, see `RulesFile`; the units are then read into memory.
        say: Called with each stage and the share of the work that is done.
        n_threads: Threads of the search; the allocation is the same for any number.

    Raises:
        InfeasibleBudget: Even the cheapest treatment for every unit costs more.
        LargesseError: Neither budget nor price is given and what pays is not known, the run or the units cannot be read, or the
            output cannot be written.
    """
    config, policy = open_run(folder)
    frames.writable(output, users)
    wish = _Wish.of(budget, price, min_return, config.outcome.unit_value if value_per_unit is None else value_per_unit)
    level = None if wish.budget is None else safety_of(config, safety)
    if rules is not None:
        if wish.budget is None:
            raise _check.refuse("--rules", str(rules), "rules need a budget", "Give --budget; inf is no limit.")
        return _under_rules(policy, RulesFile.load(rules), users, wish.budget, output, level)
    if policy.encoder is not None and streams(users, output):
        return _streamed(policy, _units(policy, folder, users), wish, output, level, say, n_threads)
    menu = policy.menu(frames.read(users))
    free = wish.budget is None
    done = policy.allocate_at(menu, wish.price) if free else policy.allocate(menu, wish.budget, safety=level)  # type: ignore[arg-type]  # a budget where it is not free
    notes = wish.notes(wish.past(in_blocks(menu), done.price))
    frames.write(frames.plan_table(done.plan, menu), output)
    return replace(done, plan=done.plan.totals, notes=(*done.notes, *notes))  # type: ignore[arg-type,return-value]


class _Wish(NamedTuple):
    """The wish of the caller: a budget, or a price; and what one unit of value brings.

    Attributes:
        budget: Total budget; None: there is a price instead.
        price: The price: given, or the one at which each unit of spend brings back `least`; NaN where that is not known.
        least: Money that each unit of spend must bring back.
        unit_value: Money that one unit of value brings; None: not known.
    """

    budget: float | None
    price: float
    least: float
    unit_value: float | None

    @classmethod
    def of(cls, budget: float | None, price: float | None, least: float, unit_value: float | None) -> _Wish:
        """Returns the checked wish.

        Raises:
            DataError: Both a budget and a price are given, or neither and what pays is not known, or a number is out of range.
        """
        least = _check.number("--min-return", least, low=0)
        if unit_value is not None:
            unit_value = _check.number("--value-per-unit", unit_value, low=1e-12)
        if budget is not None and price is not None:
            raise _check.refuse("--price", price, "cannot be used with --budget", "Give one of the two.")
        if price is not None and least != 1:
            raise _check.refuse("--min-return", least, "cannot be used with --price", "Give one of the two.")
        if price is not None:
            return cls(None, _check.number("--price", price, low=0), least, unit_value)
        if budget is None and unit_value is None:
            raise _check.refuse(
                "--budget", None, "is missing, and the run does not say what one unit of value brings in money, so it is not "
                "known what pays", "Give --budget or --price, or the money: --value-per-unit, or outcome.value_per_unit in fit.",
            )  # fmt: skip
        pays = float("nan") if unit_value is None else least / unit_value
        return cls(None if budget is None else amount(budget), pays, least, unit_value)

    def past(self, run: Run, price: float) -> tuple[float, float]:
        """Returns predicted spend and value of what is bought at the price of a budget, but brings back less than it must."""
        if self.budget is None or not price < self.price:
            return 0.0, 0.0
        return between(run, price, self.price)

    def notes(self, past: tuple[float, float]) -> tuple[str, ...]:
        """Returns a sentence about the part of the spend that brings back less than it must, if there is any."""
        spend = past[0]
        if not spend > 0 or self.unit_value is None:
            return ()
        back = past[1] * self.unit_value
        spent, brought, lost = (_check.written(x, 4) for x in (spend, back, spend - back))
        if self.least != 1:
            return (
                f"Of this spend, {spent} brings back less than {_check.written(self.least)} for each unit of money: {brought} by "
                "the model's predictions. Without --budget, only what brings back as much is given.",
            )
        return (
            f"Of this spend, {spent} is past break-even: by the model's predictions it brings back {brought}, {lost} less than "
            "it costs. Without --budget, only what pays is given.",
        )


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
        money = Bound(
            f"spend at most {_check.written(budget)}", expected, budget, free.price, free.price > 0, of_spend=True
        )
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
    policy: Policy, units: Units, wish: _Wish, output: Path, safety: float | None, say: Say, n_threads: int
) -> Allocation[PlanTotals]:
    curve, past = policy.curve, []

    def decide(run: Run) -> Descent:
        decision = priced(curve, run, wish.price) if wish.budget is None else descend(curve, run, wish.budget, safety)
        past.append(wish.past(run, decision.price))
        return decision

    streamed = stream(units, output, decide, say=say, n_threads=n_threads)
    budget = float("inf") if wish.budget is None else wish.budget
    done = allocated(curve, streamed.decision, streamed.sums, budget, safety)
    return replace(done, notes=(*done.notes, *wish.notes(past[-1])))
