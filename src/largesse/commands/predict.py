"""`predict`: writes the menu of a file of units, the predicted value and cost of every treatment, as `plan` reads it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from largesse import frames
from largesse.commands.run_folder import id_column, open_run, read_units, scorer
from largesse.config.rules import RulesFile
from largesse.engines.parquet import streams, transform
from largesse.errors import SchemaError
from largesse.frames.plans import first_columns, kept_names
from largesse.menu import Menu
from largesse.policy.curve import same_treatments
from largesse.progress import Say, silent

__all__ = ["Predicted", "predict_run"]


class Predicted(NamedTuple):
    """A menu that was written.

    Attributes:
        n: Number of units.
        treatments: Names of the treatments, control first.
        unit: Column of the ids; None: units are numbered in a column ``row``.
    """

    n: int
    treatments: tuple[str, ...]
    unit: str | None

    @property
    def rules(self) -> str:
        """The lines of a rules file that name the columns."""
        names, unit = (json.dumps(part, ensure_ascii=False) for part in (self.treatments, self.unit or "row"))
        return f"treatments = {names}\nunit = {unit}"


def predict_run(
    folder: Path, users: Path, output: Path, *, unit: str | None = None, keep: Sequence[str] = (), say: Say = silent
) -> Predicted:
    """Writes the predicted value and cost of every treatment for every unit: columns ``value_...`` and ``cost_...``.

    From Parquet to Parquet the units are never in memory all at once. The costs are the model's own: what `allocate` adds, a
    spend curve that is calibrated on the trial and a safety, is not in them.

    Args:
        folder: A run folder.
        users: The units, with the features of the run: a file, or a folder of Parquet files.
        output: The menu: .parquet, .csv or .feather.
        unit: Column of the ids; None: that of the run, ``columns.unit``. The menu has it under its own name.
        keep: Further columns that the menu has too, e.g. those that rules name.
        say: Called with each stage and the share of the work that is done.

    Raises:
        LargesseError: The run or the units cannot be read, a name to keep is that of a column of the menu, or the output cannot
            be written.
    """
    _, policy = open_run(folder)
    frames.writable(output, users)
    treatments, unit = policy.curve.treatments, id_column(policy, unit)
    taken = ("row" if unit is None else unit, *_names(treatments))
    if unit in taken[1:]:
        raise SchemaError(f"column {unit!r}: is a column of the menu too. Rename it in the file.", field=str(unit))
    kept_names(keep, taken, "menu")
    copied = tuple(keep) if unit is None else (unit, *keep)

    def cells(table: pa.Table, first: int, menu: Menu) -> pa.Table:
        own = dict(zip(_names(treatments), [*menu.value.T, *menu.cost.T], strict=True))
        return pa.table({**first_columns(table, unit, keep, first, menu.n), **own})

    if policy.encoder is None or not streams(users, output):
        table = read_units(users, policy, copied)
        menu = policy.menu(table, unit=None if unit is None else frames.ids(table, unit))
        same_treatments(policy.curve, menu.treatments)
        frames.write(cells(table, 0, menu), output)
        return Predicted(menu.n, treatments, unit)
    features, menu_of = scorer(policy)
    columns = tuple(dict.fromkeys((*features, *copied)))

    def work(table: pa.Table, first: int) -> pa.Table:
        return cells(table, first, menu_of(table))

    return Predicted(transform(users, columns, work, output, say=say, what="values and costs"), treatments, unit)


def _names(treatments: Sequence[str]) -> list[str]:
    """Returns the names of the columns, as a rules file has them unless it says otherwise: values, then costs."""
    patterns = (RulesFile.model_fields["value"].default, RulesFile.model_fields["cost"].default)
    return [pattern.replace("{}", name) for pattern in patterns for name in treatments]
