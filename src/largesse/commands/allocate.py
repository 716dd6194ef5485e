"""`allocate`: who gets what by a run's policy, within a budget in money, from a file of units to a file of the plan."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from largesse import _check, frames
from largesse._files import MANIFEST
from largesse.allocate.constrained import Bound
from largesse.allocate.rules import Spend
from largesse.commands.plan import under
from largesse.commands.run_folder import open_run, safety_of
from largesse.config.rules import RulesFile
from largesse.engines.parquet import Say, Units, silent, stream, streams
from largesse.menu import Menu
from largesse.policy.curve import LEVEL, Estimate, amount, normal_quantile, same_treatments
from largesse.policy.deployed import Policy
from largesse.policy.descent import descend

__all__ = ["Allotted", "allocate_run"]


class Allotted(NamedTuple):
    """A plan that was written, and what it will truly spend and bring; see `policy.Allocation`.

    Attributes:
        n: Number of units.
        mix: Units per treatment, by name.
        budget: Money for all units.
        price: The price of money it was decided at.
        planned_spend: Money by the model, uncorrected.
        spend: Money expected, with its interval.
        value: Value expected, with its interval.
        safety: Probability of staying within the budget that was asked for; None: within it on average.
        rules: Every rule of a file of rules: use, limit and shadow price, in corrected money.
    """

    n: int
    mix: dict[str, int]
    budget: float
    price: float
    planned_spend: float
    spend: Estimate
    value: Estimate
    safety: float | None
    rules: tuple[Bound, ...] = ()


def allocate_run(
    folder: Path, users: Path, budget: float, output: Path, *, safety: float | None = None, on_average: bool = False,
    rules: Path | None = None, say: Say = silent, n_threads: int = 1,
) -> Allotted:  # fmt: skip
    """Decides who gets what within a budget, and writes it: whole or not at all.

    From Parquet to Parquet the units never are in memory all at once, each is scored once, and the same call goes on where an
    interrupted one stopped; the plan is the same as of units in memory.

    Args:
        folder: A run folder.
        users: The units, with the features of the run: a file, or a folder of Parquet files.
        budget: Money for all units together; infinity for no limit.
        output: Where the plan goes: .parquet, .csv or .feather.
        safety: Probability of staying within the budget; None: that of the run's configuration.
        on_average: Whether the budget is to be kept on average only.
        rules: A TOML file of further rules, see `RulesFile`; then the units are in memory.
        say: Told what is being done and how far it is.
        n_threads: Threads of the search; the plan is the same for any number.

    Raises:
        InfeasibleBudget: Even the cheapest treatment for everybody spends more.
        LargesseError: The run or the units cannot be read, or the output cannot be written.
    """
    config, policy = open_run(folder)
    frames.writable(output, users)
    safety = safety_of(config, safety, on_average)
    if rules is not None:
        return _under_rules(policy, RulesFile.load(rules), users, amount(budget), output, safety)
    if policy.encoder is not None and streams(users, output):
        return _streamed(policy, folder, users, amount(budget), output, safety, say, n_threads)
    menu = policy.menu(frames.read(users))
    done = policy.allocate(menu, budget, safety=safety)
    frames.write(frames.plan_table(done.plan, menu), output)
    mix = dict(zip(done.plan.treatments, done.plan.counts.tolist(), strict=True))
    return Allotted(done.n, mix, done.budget, done.price, done.planned_spend, done.spend, done.value, safety)


def _under_rules(
    policy: Policy, said: RulesFile, users: Path, budget: float, output: Path, safety: float | None
) -> Allotted:
    """Plans in corrected money: costs times what the budget's own plan truly spends (with a safety: at most) per money planned.

    The rules make another plan of that, so what it will spend and bring is an estimate without a promise.
    """
    table, level = frames.read(users), LEVEL if safety is None else safety
    menu = policy.menu(table)
    if said.treatments not in ((), menu.treatments):
        raise _check.refuse("treatments", said.treatments, f"the run has {menu.treatments}", "Leave them out.")
    free = policy.allocate(menu, budget, safety=safety)
    money = free.spend.mean if safety is None else free.spend.high
    factor = money / free.planned_spend if free.planned_spend > 0 else 1.0
    corrected = replace(menu, cost=(menu.cost * factor).astype(menu.cost.dtype))
    limit = Spend(at_most=min(budget, float(np.finfo(float).max)))
    plan, told = (found := under(said, corrected, table, limit)).plan, found.rules
    frames.write(frames.plan_table(plan, corrected), output)
    mix = dict(zip(plan.treatments, plan.counts.tolist(), strict=True))
    spend = Estimate(*(plan.spend * end / money if money > 0 else plan.spend for end in free.spend))
    value = policy.curve.value_of(free.price, plan.value, plan.n, level=level)
    return Allotted(plan.n, mix, budget, plan.price, plan.spend / factor, spend, value, safety, told)


def _streamed(
    policy: Policy,
    folder: Path,
    users: Path,
    budget: float,
    output: Path,
    safety: float | None,
    say: Say,
    n_threads: int,
) -> Allotted:
    encoder, curve, model = policy.encoder, policy.curve, policy.model
    assert encoder is not None

    def menu(table: pa.Table) -> Menu:
        found = model.predict(encoder.transform(table))
        same_treatments(curve, found.treatments)
        return found

    units = Units(
        path=users, columns=encoder.features, unit=None if policy.roles is None else policy.roles.unit, menu=menu,
        treatments=curve.treatments,
        key={"policy": hashlib.sha256((folder / "policy" / MANIFEST).read_bytes()).hexdigest()},
    )  # fmt: skip
    done = stream(units, output, lambda run: descend(curve, run, budget, safety), say=say, n_threads=n_threads)
    (price, ladder, n), (_, counts, spend, value) = done
    level = LEVEL if safety is None else safety
    return Allotted(
        n=n, mix=dict(zip(curve.treatments, counts.tolist(), strict=True)), budget=budget, price=price, planned_spend=spend,
        spend=ladder.at(price, normal_quantile(level)), value=curve.value_of(price, value, n, level=level), safety=safety,
    )  # fmt: skip
