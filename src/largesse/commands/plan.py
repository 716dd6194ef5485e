"""`plan`: allocates treatments from a table of predicted values and costs (of any model) under a file of rules."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from largesse import _check, frames
from largesse._files import may_replace, real
from largesse.allocate.blocks import BlockPlan, solve_blocks
from largesse.allocate.solver import solve
from largesse.commands.table_rules import columns_of, there, under
from largesse.config.rules import RulesFile
from largesse.engines.parquet import Units, stream, streams
from largesse.errors import ConfigError, DataError, StoreError
from largesse.frames.plans import PlanColumns
from largesse.frames.tables import no_input, pick
from largesse.menu import Bound, Menu, PlanTotals
from largesse.progress import Say, silent

__all__ = ["plan_under", "report_plan"]


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


def _budget(rules_file: RulesFile) -> float | None:
    """Returns the budget if it is the only rule."""
    others = rules_file.count, rules_file.use, rules_file.return_
    if rules_file.masks or any(others) or len(rules_file.spend) != 1:
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
    return tuple(name for part in ("value", "cost") for name in columns_of(rules_file, getattr(rules_file, part), part))


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


def _cells(rules_file: RulesFile, table: pa.Table) -> Menu:
    value, cost = (there(rules_file, table, getattr(rules_file, name), name) for name in ("value", "cost"))
    return frames.menu(table, value, cost, rules_file.treatments)


def _menu(rules_file: RulesFile, table: pa.Table) -> Menu:
    unit = None if rules_file.unit is None else frames.ids(table, rules_file.unit)
    if unit is not None:
        _check.unique("unit", unit)  # before the work, not after it
    return replace(_cells(rules_file, table), unit=unit)
