"""`plan`: allocates treatments from a table of predicted values and costs (of any model) under a file of rules."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from largesse import _check, frames
from largesse._files import may_replace, real
from largesse.allocate.blocks import BlockPlan, solve_blocks
from largesse.allocate.constrained import obeyed, solve_under
from largesse.allocate.rules import Count, Return, Rule, Spend, Use
from largesse.allocate.solver import solve
from largesse.config.rules import Bounds, RulesFile
from largesse.engines.parquet import Units, stream, streams
from largesse.errors import ConfigError, DataError, SchemaError, StoreError
from largesse.frames.columns import coded, exact, texts
from largesse.frames.plans import PlanColumns
from largesse.frames.tables import no_input, pick
from largesse.menu import Bound, Menu, Plan, PlanTotals
from largesse.progress import Say, silent
from largesse.roles import nearest

__all__ = ["budget_rule", "named_by", "plan_under", "report_plan", "under"]


def plan_under(
    menu: Path, rules: Path, output: Path, *, keep: Sequence[str] = (), value_per_unit: float | None = None, say: Say = silent,
    n_threads: int = 1,
) -> PlanTotals:  # fmt: skip
    """Computes the best allocation under rules and writes it, whole or not at all.

    Where the only rule is a budget and both files are Parquet, the units are never in memory all at once, and the same
    call resumes an interrupted one.

    Args:
        menu: A table of units with a column of value and one of cost for each treatment: Parquet, CSV or Feather.
        rules: A TOML file, see `RulesFile`.
        output: The allocation: .parquet, .csv or .feather.
        keep: Further columns of the table that the allocation has too.
        value_per_unit: Money that one unit of value brings, for the column ``net_value``; None: there is none.
        say: Called with each stage and the share of the work that is done.
        n_threads: Threads; the allocation is the same for any number.

    Raises:
        InfeasibleRules: The rules conflict; the error names them.
        InfeasibleBudget: The only rule is a budget, and the cheapest allocation costs more.
        LargesseError: The table or the file breaks a rule, or the output cannot be written.
    """
    frames.writable(output, menu, rules)
    rules_file = RulesFile.load(rules)
    if not rules_file.treatments:
        raise ConfigError(f"{rules}: treatments: must name them, control first. Write treatments = [...].")
    money = None if value_per_unit is None else _check.number("--value-per-unit", value_per_unit, low=1e-12)
    form = PlanColumns(treatments=rules_file.treatments, unit=rules_file.unit, keep=tuple(keep), unit_value=money)
    budget = _budget(rules_file)
    if budget is not None and streams(menu, output):
        return _streamed(rules_file, form, menu, budget, output, say, n_threads)
    table = frames.read(menu, text=_text(rules_file, keep))
    pick(table, form.copied, f"{menu}: ")
    menu_rows = _menu(rules_file, table)
    if budget is not None:
        plan = solve(menu_rows, budget, n_threads=n_threads)
        plan, price = replace(plan, rules=(_bound(budget, plan.spend, plan.price),)), plan.price
    else:
        plan, price = under(rules_file, menu_rows, table), None
    first = form.first(table, 0, menu_rows.n)
    frames.write(form.table(first, menu_rows.value.T, menu_rows.cost.T, plan.treatment, price), output)
    return plan.totals


def may_report(report: Path, menu: Path, rules: Path, output: Path) -> None:
    """Checks, before any work, that a page may be written: it is neither an input nor the allocation.

    Raises:
        StoreError: It is one of them, lies in a folder that is read, or is a folder or a device.
        DataError: There is no such folder.
    """
    no_input(report, menu, rules)
    may_replace(report)
    if real(report) == real(output):
        raise StoreError(f"{report}: is the name of the allocation too. Choose another name for the page.")
    if not os.path.isdir(report.parent):
        raise DataError(f"{report}: there is no folder {report.parent}. Create it.", field=str(report))


def report_plan(plan: PlanTotals, output: Path, path: Path) -> None:
    """Writes a web page about an allocation: who gets what, and use, limit and shadow price of every rule.

    Raises:
        StoreError: The page cannot be written.
    """
    from largesse.report.plans import write_plan

    note = "Spend and value are sums of the predictions in the given table; this page does not check those predictions."
    try:
        write_plan(plan, path, title=f"Plan {output.name}", note=note)
    except StoreError as error:
        error.add_note(f"The allocation is in {output}.")
        raise


def under(rules_file: RulesFile, menu: Menu, table: pa.Table, *more: Rule) -> Plan:
    """Returns the best allocation of a menu under the rules of a file, which name columns of a table, and further rules.

    Raises:
        InfeasibleRules: The rules conflict.
        LargesseError: A rule does not suit the table or the menu.
    """
    rules_file = rules_file.model_copy(update={"treatments": menu.treatments})
    rules = [*more, *_rules(rules_file, table)]
    return solve_under(menu, rules, eligible=_eligible(rules_file, table), keep=_kept(rules_file, table))


def budget_rule(menu: Menu, budget: float) -> Spend:
    """Returns the rule of a budget; one that nothing can exceed is lowered to what the dearest treatments cost together."""
    most = float(menu.cost.max(axis=1).sum(dtype=np.float64))
    return Spend(at_most=min(budget, most * (1 + 1e-9)))


def obeys(rules_file: RulesFile, menu: Menu, table: pa.Table, plan: Plan) -> tuple[Bound, ...] | None:
    """Returns the use of every rule of a file by an allocation that was made without them, or None where it breaks one."""
    rules_file = rules_file.model_copy(update={"treatments": menu.treatments})
    masks = {"eligible": _eligible(rules_file, table), "keep": _kept(rules_file, table)}
    return obeyed(menu, _rules(rules_file, table), plan.treatment, **masks)


def named_by(rules_file: RulesFile, table: pa.Table) -> tuple[str, ...]:
    """Returns the columns of a table that rules name, besides values and costs.

    Raises:
        SchemaError: The table lacks one.
    """
    names = [] if rules_file.eligible is None else _there(rules_file, table, rules_file.eligible, "eligible")
    kinds = {"spend": rules_file.spend, "count": rules_file.count, "use": rules_file.use}
    bounds = [(f"{kind}[{k}].by", one.by) for kind, some in kinds.items() for k, one in enumerate(some)]
    for field, name in (("keep", rules_file.keep), *bounds):
        if name is not None:
            _column(table, name, field)
            names.append(name)
    return tuple(names)


def _budget(rules_file: RulesFile) -> float | None:
    """Returns the budget if it is the only rule."""
    others = rules_file.eligible, rules_file.keep, rules_file.count, rules_file.use, rules_file.return_
    if any(others) or len(rules_file.spend) != 1:
        return None
    (one,) = rules_file.spend
    return one.at_most if isinstance(one.at_most, float) and one.at_least is None and one.by is None else None


def _bound(budget: float, spend: float, price: float) -> Bound:
    return Bound(f"spend at most {_check.written(budget)}", spend, budget, price, price > 0, of_spend=True)


def _text(rules_file: RulesFile, keep: Sequence[str]) -> tuple[str, ...]:
    """Returns the columns whose cells stay as they are in a CSV file: ids, labels, and what is copied."""
    numbers = _columns(rules_file)
    return tuple(dict.fromkeys((*rules_file.text, *(name for name in keep if name not in numbers))))


def _columns(rules_file: RulesFile) -> tuple[str, ...]:
    """Returns the names of the columns of values and costs."""
    return tuple(name for part in ("value", "cost") for name in _names(rules_file, getattr(rules_file, part), part))


def _streamed(
    rules_file: RulesFile, form: PlanColumns, menu: Path, budget: float, output: Path, say: Say, n_threads: int
) -> PlanTotals:
    units = Units(
        path=menu, columns=_columns(rules_file), unit=form.unit, treatments=form.treatments, keep=form.keep,
        unit_value=form.unit_value, menu=lambda table: _cells(rules_file, table),
        key={"rules": [rules_file.treatments, rules_file.value, rules_file.cost]},
    )  # fmt: skip
    done = stream(units, output, lambda run: solve_blocks(run, budget), say=say, n_threads=n_threads)
    plan: BlockPlan = done.decision
    sums = done.sums
    return PlanTotals(
        treatments=rules_file.treatments, counts=sums.counts, price=plan.price, spend=sums.spend, value=sums.value,
        bound=max(plan.bound, sums.value), rules=(_bound(budget, sums.spend, plan.price),),
    )  # fmt: skip


def _column(table: pa.Table, name: str, field: str) -> pa.ChunkedArray:
    if name not in table.column_names:
        hint = nearest(name, table.column_names)
        raise SchemaError(
            f"column {name!r}: is not in the table, but {field} names it. {hint}Correct the rules.", field=name
        )
    return table.column(name)


def _names(rules_file: RulesFile, pattern: str, field: str) -> list[str]:
    names = [pattern.replace("{}", treatment) for treatment in rules_file.treatments]
    if len(set(names)) < len(names):
        raise ConfigError(
            f"{field} == {pattern!r}: must hold {{}}, which stands for the treatment. Write e.g. '{field}_{{}}'."
        )
    return names


def _there(rules_file: RulesFile, table: pa.Table, pattern: str, field: str) -> list[str]:
    """Returns the names of the columns of a field; raises SchemaError where the table lacks one."""
    names = _names(rules_file, pattern, field)
    for name in names:
        _column(table, name, field)
    return names


def _cells(rules_file: RulesFile, table: pa.Table) -> Menu:
    value, cost = (_there(rules_file, table, getattr(rules_file, name), name) for name in ("value", "cost"))
    return frames.menu(table, value, cost, rules_file.treatments)


def _menu(rules_file: RulesFile, table: pa.Table) -> Menu:
    unit = None if rules_file.unit is None else frames.ids(table, rules_file.unit)
    if unit is not None:
        _check.unique("unit", unit)  # before the work, not after it
    return replace(_cells(rules_file, table), unit=unit)


def _eligible(rules_file: RulesFile, table: pa.Table) -> NDArray[np.bool_] | None:
    if rules_file.eligible is None:
        return None
    names = _there(rules_file, table, rules_file.eligible, "eligible")
    return frames.truths(table, names)


def _kept(rules_file: RulesFile, table: pa.Table) -> NDArray[np.int64] | None:
    if rules_file.keep is None:
        return None
    codes, names = _codes(table, rules_file.keep, "keep")
    unknown = [name for name in names if name not in rules_file.treatments]
    if unknown:
        raise _check.refuse("keep", unknown[0], f"must be one of {rules_file.treatments}", "Or leave the cell empty.")
    place = np.array([rules_file.treatments.index(name) for name in names] + [-1])
    return np.asarray(place[codes])


def _codes(table: pa.Table, name: str, field: str) -> tuple[NDArray[np.int64], list[str]]:
    codes, values = coded(exact(name, _column(table, name, field)))
    return codes, texts(values)


def _rules(rules_file: RulesFile, table: pa.Table) -> list[Rule]:
    rules: list[Rule] = [Spend(**_bounds(f"spend[{k}]", one, table)) for k, one in enumerate(rules_file.spend)]
    rules += [
        Count(treatment=one.treatment, **_bounds(f"count[{k}]", one, table)) for k, one in enumerate(rules_file.count)
    ]
    for k, use in enumerate(rules_file.use):
        unknown = [name for name in use.amount if name not in rules_file.treatments]
        if unknown:
            raise _check.refuse(
                f"use[{k}].amount", unknown[0], f"must be one of {rules_file.treatments}", "Correct the name."
            )
        amount = np.array([use.amount.get(name, 0.0) for name in rules_file.treatments])
        rules.append(Use(amount=amount, name=use.name, **_bounds(f"use[{k}]", use, table)))
    return rules + [Return(at_least=one.at_least) for one in rules_file.return_]


def _bounds(field: str, one: Bounds, table: pa.Table) -> dict[str, Any]:
    """Returns the limits of a rule and, where they differ by group, the group of each unit."""
    named = next((limit for limit in (one.at_most, one.at_least) if isinstance(limit, dict)), None)
    if one.by is None:
        if named is not None:
            raise _check.refuse(f"{field}.by", None, "limits by name need the column of the groups", 'Add by = "...".')
        return {"at_most": one.at_most, "at_least": one.at_least}
    codes, names = _codes(table, one.by, f"{field}.by")
    empty = np.flatnonzero(codes < 0)
    if named is None and len(empty):
        rest = f"[{empty[0]}] is missing: the limit of {field} holds for each group ({len(empty)} such rows of {len(codes)}). "
        raise DataError.at(
            one.by, f"{rest}Fill the cells, or give limits by name: rows without a group are then not limited."
        )
    groups = list(named or dict.fromkeys(names))
    lost = [name for name in groups if name not in names]
    if lost:
        raise _check.refuse(
            f"{field}", lost[0], f"no row of column {one.by!r} has it", f"It has {', '.join(names[:10])}."
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
    return {**limits, "by": place[codes], "groups": groups}
