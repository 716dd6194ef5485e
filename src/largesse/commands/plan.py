"""`plan`: a table of values and costs, whatever model they come from, and a file of rules; out comes who gets what."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from largesse import _check, frames
from largesse.allocate.blocks import BlockPlan, solve_blocks
from largesse.allocate.constrained import solve_under
from largesse.allocate.rules import Count, Return, Rule, Spend, Use
from largesse.allocate.solver import solve
from largesse.config.rules import Bounds, RulesFile
from largesse.engines.parquet import Units, stream, streams
from largesse.errors import ConfigError, SchemaError, StoreError
from largesse.frames.columns import coded
from largesse.menu import Bound, Menu, Plan, PlanTotals
from largesse.progress import Say, silent
from largesse.roles import nearest

__all__ = ["plan_under", "report_plan", "under"]


def plan_under(menu: Path, rules: Path, output: Path, *, say: Say = silent, n_threads: int = 1) -> PlanTotals:
    """Plans within rules, and writes who gets what: whole or not at all.

    Where the only rule is a budget and both files are Parquet, the units never are in memory all at once, and the same
    call goes on where an interrupted one stopped.

    Args:
        menu: A table of units with a column of value and one of cost for each treatment: Parquet, CSV or Feather.
        rules: A TOML file, see `RulesFile`.
        output: Where the plan goes: .parquet, .csv or .feather.
        say: Told what is being done and how far it is.
        n_threads: Threads; the plan is the same for any number.

    Raises:
        InfeasibleRules: The rules conflict; the error names them.
        InfeasibleBudget: The only rule is a budget, and the cheapest plan costs more.
        LargesseError: The table or the file breaks a rule, or the output cannot be written.
    """
    frames.writable(output, menu, rules)
    said = RulesFile.load(rules)
    if not said.treatments:
        raise ConfigError(f"{rules}: treatments: must name them, control first. Write treatments = [...].")
    budget = _budget(said)
    if budget is not None and streams(menu, output):
        return _streamed(said, menu, budget, output, say, n_threads)
    table = frames.read(menu)
    held = _menu(said, table)
    if budget is not None:
        plan = solve(held, budget, n_threads=n_threads)
        plan = replace(plan, rules=(_bound(budget, plan.spend, plan.price),))
    else:
        plan = under(said, held, table)
    frames.write(frames.plan_table(plan, held), output)
    return plan.totals


def report_plan(plan: PlanTotals, output: Path, path: Path) -> None:
    """Writes a web page about a plan: who gets what, what every rule uses, and what one more of it would be worth.

    Raises:
        StoreError: The page cannot be written.
    """
    from largesse.report.plans import write_plan

    note = "Spend and value are those of the table that was given; nothing here says how far they can be trusted."
    try:
        write_plan(plan, path, title=f"Plan {output.name}", note=note)
    except StoreError as error:
        error.add_note(f"The plan is in {output}.")
        raise


def under(said: RulesFile, menu: Menu, table: pa.Table, *more: Rule) -> Plan:
    """Returns the plan of a menu under the rules of a file, about the columns of a table, and others.

    Raises:
        InfeasibleRules: The rules conflict.
        LargesseError: A rule does not suit the table or the menu.
    """
    said = said.model_copy(update={"treatments": menu.treatments})
    rules = [*more, *_rules(said, table)]
    return solve_under(menu, rules, eligible=_eligible(said, table), keep=_kept(said, table))


def _budget(said: RulesFile) -> float | None:
    """Returns the budget, if it is all that the rules say."""
    if said.eligible or said.keep or said.count or said.use or said.return_ or len(said.spend) != 1:
        return None
    (one,) = said.spend
    return one.at_most if isinstance(one.at_most, float) and one.at_least is None and one.by is None else None


def _bound(budget: float, spend: float, price: float) -> Bound:
    return Bound(f"spend at most {budget:g}", spend, budget, price, price > 0, of_spend=True)


def _streamed(said: RulesFile, menu: Path, budget: float, output: Path, say: Say, n_threads: int) -> PlanTotals:
    columns = tuple(name for part in ("value", "cost") for name in _names(said, getattr(said, part), part))
    units = Units(
        path=menu, columns=columns, unit=said.unit, menu=lambda table: _cells(said, table), treatments=said.treatments,
        key={"rules": [said.treatments, said.value, said.cost]},
    )  # fmt: skip
    done = stream(units, output, lambda run: solve_blocks(run, budget), say=say, n_threads=n_threads)
    plan: BlockPlan = done.decision
    sums = done.sums
    return PlanTotals(
        treatments=said.treatments, counts=sums.counts, price=plan.price, spend=sums.spend, value=sums.value,
        bound=max(plan.bound, sums.value), rules=(_bound(budget, sums.spend, plan.price),),
    )  # fmt: skip


def _column(table: pa.Table, name: str, field: str) -> pa.ChunkedArray:
    if name not in table.column_names:
        hint = nearest(name, table.column_names)
        raise SchemaError(
            f"column {name!r}: is not in the table, but {field} names it. {hint}Correct the rules.", field=name
        )
    return table.column(name)


def _names(said: RulesFile, pattern: str, field: str) -> list[str]:
    names = [pattern.replace("{}", treatment) for treatment in said.treatments]
    if len(set(names)) < len(names):
        raise ConfigError(
            f"{field} == {pattern!r}: must hold {{}}, which stands for the treatment. Write e.g. '{field}_{{}}'."
        )
    return names


def _there(said: RulesFile, table: pa.Table, pattern: str, field: str) -> list[str]:
    """Returns the names of the columns of a field, which the table has."""
    names = _names(said, pattern, field)
    for name in names:
        _column(table, name, field)
    return names


def _cells(said: RulesFile, table: pa.Table) -> Menu:
    value, cost = (_there(said, table, getattr(said, name), name) for name in ("value", "cost"))
    return frames.menu(table, value, cost, said.treatments)


def _menu(said: RulesFile, table: pa.Table) -> Menu:
    unit = None if said.unit is None else frames.ids(table, said.unit)
    if unit is not None:
        _check.unique("unit", unit)  # before the plan, which would refuse it after the work
    return replace(_cells(said, table), unit=unit)


def _eligible(said: RulesFile, table: pa.Table) -> NDArray[np.bool_] | None:
    if said.eligible is None:
        return None
    names = _there(said, table, said.eligible, "eligible")
    return frames.truths(table, names)


def _kept(said: RulesFile, table: pa.Table) -> NDArray[np.int64] | None:
    if said.keep is None:
        return None
    codes, names = _codes(table, said.keep, "keep")
    unknown = [name for name in names if name not in said.treatments]
    if unknown:
        raise _check.refuse("keep", unknown[0], f"must be one of {said.treatments}", "Or leave the cell empty.")
    place = np.array([said.treatments.index(name) for name in names] + [-1])
    return np.asarray(place[codes])


def _codes(table: pa.Table, name: str, field: str) -> tuple[NDArray[np.int64], list[str]]:
    codes, values = coded(_column(table, name, field))
    return codes, [str(value) for value in values.to_pylist()]


def _rules(said: RulesFile, table: pa.Table) -> list[Rule]:
    found: list[Rule] = [Spend(**_bounds(f"spend[{k}]", one, table)) for k, one in enumerate(said.spend)]
    found += [Count(treatment=one.treatment, **_bounds(f"count[{k}]", one, table)) for k, one in enumerate(said.count)]
    for k, use in enumerate(said.use):
        unknown = [name for name in use.amount if name not in said.treatments]
        if unknown:
            raise _check.refuse(
                f"use[{k}].amount", unknown[0], f"must be one of {said.treatments}", "Correct the name."
            )
        amount = np.array([use.amount.get(name, 0.0) for name in said.treatments])
        found.append(Use(amount=amount, name=use.name, **_bounds(f"use[{k}]", use, table)))
    return found + [Return(at_least=one.at_least) for one in said.return_]


def _bounds(field: str, one: Bounds, table: pa.Table) -> dict[str, Any]:
    """Returns the limits of a rule, and the group of each unit, in the order of the limits' names."""
    named = next((limit for limit in (one.at_most, one.at_least) if isinstance(limit, dict)), None)
    if one.by is None:
        if named is not None:
            raise _check.refuse(f"{field}.by", None, "limits by name need the column of the groups", 'Add by = "...".')
        return {"at_most": one.at_most, "at_least": one.at_least}
    codes, names = _codes(table, one.by, f"{field}.by")
    groups = list(named or names)
    lost = [name for name in groups if name not in names]
    if lost:
        raise _check.refuse(
            f"{field}", lost[0], f"column {one.by!r} never holds it", f"It holds {', '.join(names[:10])}."
        )
    place = np.array([groups.index(name) if name in groups else -1 for name in names] + [-1])
    limits = {}
    for name in ("at_most", "at_least"):
        limit = getattr(one, name)
        if isinstance(limit, dict):
            if set(limit) != set(groups):
                raise _check.refuse(
                    f"{field}.{name}", sorted(limit), f"must name the groups {groups}", "One limit each."
                )
            limit = [limit[group] for group in groups]
        limits[name] = limit
    return {**limits, "by": place[codes]}
