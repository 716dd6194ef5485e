"""The rules of a file on a table of units: which columns they name, and the plan that obeys them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from largesse import _check, frames
from largesse.allocate.constrained import obeyed, solve_under
from largesse.allocate.rules import Count, Return, Rule, Spend, Use
from largesse.config.rules import Bounds, NotForRule, RulesFile
from largesse.errors import ConfigError, DataError, SchemaError
from largesse.frames.columns import coded, exact, texts
from largesse.menu import Bound, Menu, Plan
from largesse.roles import nearest

__all__ = ["budget_rule", "columns_of", "named_by", "obeys", "there", "under"]


def under(rules_file: RulesFile, menu: Menu, table: pa.Table, *more: Rule, n_threads: int = 1) -> Plan:
    """Returns the best allocation of a menu under the rules of a file, which name columns of a table, and further rules.

    Raises:
        InfeasibleRules: The rules conflict.
        LargesseError: A rule does not suit the table or the menu.
    """
    rules_file = rules_file.model_copy(update={"treatments": menu.treatments})
    rules = [*more, *_rules(rules_file, table)]
    masks = {"eligible": _eligible(rules_file, table), "keep": _kept(rules_file, table)}
    return solve_under(menu, rules, **masks, n_threads=n_threads)


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
    names = [] if rules_file.eligible is None else there(rules_file, table, rules_file.eligible, "eligible")
    kinds = {"spend": rules_file.spend, "count": rules_file.count, "use": rules_file.use}
    bounds = [(f"{kind}[{k}].by", one.by) for kind, some in kinds.items() for k, one in enumerate(some)]
    groups = [(f"not_for[{k}].column", one.column) for k, one in enumerate(rules_file.not_for)]
    for field, name in (("keep", rules_file.keep), *bounds, *groups):
        if name is not None:
            column(table, name, field)
            names.append(name)
    return tuple(names)


def column(table: pa.Table, name: str, field: str) -> pa.ChunkedArray:
    if name not in table.column_names:
        hint = nearest(name, table.column_names)
        raise SchemaError(
            f"column {name!r}: is not in the table, but {field} names it. {hint}Correct the rules.", field=name
        )
    return table.column(name)


def columns_of(rules_file: RulesFile, pattern: str, field: str) -> list[str]:
    """Returns the column of each treatment by the pattern of a field; raises ConfigError for one without {}."""
    names = [pattern.replace("{}", treatment) for treatment in rules_file.treatments]
    if len(set(names)) < len(names):
        raise ConfigError(
            f"{field} == {pattern!r}: must hold {{}}, which stands for the treatment. Write e.g. '{field}_{{}}'."
        )
    return names


def there(rules_file: RulesFile, table: pa.Table, pattern: str, field: str) -> list[str]:
    """Returns the names of the columns of a field; raises SchemaError where the table lacks one."""
    names = columns_of(rules_file, pattern, field)
    for name in names:
        column(table, name, field)
    return names


def _eligible(rules_file: RulesFile, table: pa.Table) -> NDArray[np.bool_] | None:
    """Returns the treatments that each unit may get, (N, M); None: all."""
    may = None
    if rules_file.eligible is not None:
        may = frames.truths(table, there(rules_file, table, rules_file.eligible, "eligible"))
    for k, one in enumerate(rules_file.not_for):
        if may is None:
            may = np.ones((table.num_rows, len(rules_file.treatments)), np.bool_)
        rows = _marked(f"not_for[{k}]", one, table)
        for place in _places(f"not_for[{k}]", one, rules_file.treatments):
            may[rows, place] = False
    return may


def _marked(field: str, one: NotForRule, table: pa.Table) -> NDArray[np.intp]:
    """Returns the rows that hold one of the labels of a rule."""
    codes, names = _codes(table, one.column, f"{field}.column")
    absent = [value for value in one.values if value not in names]
    if absent:
        raise _check.refuse(
            f"{field}.values", absent[0], f"no row of column {one.column!r} has it", f"It has {', '.join(names[:10])}."
        )
    return np.flatnonzero(np.array([*(name in one.values for name in names), False])[codes])


def _places(field: str, one: NotForRule, treatments: tuple[str, ...]) -> list[int]:
    for name in one.treatments:
        if name not in treatments:
            raise _check.refuse(f"{field}.treatment", name, f"must be one of {treatments}", "Correct the name.")
    return [treatments.index(name) for name in one.treatments]


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
    codes, values = coded(exact(name, column(table, name, field)))
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
