"""The units of a studio under rules: what `largesse allocate RUN UNITS --rules FILE` plans, without scoring anything again."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from typing import Any

import pyarrow as pa

from largesse.commands.run_folder import Safety, rules_of_run, safety_of
from largesse.commands.studio.population import Population
from largesse.commands.table_rules import columns_of
from largesse.commands.under_rules import refuse_other_treatments, under_rules
from largesse.commands.wish import Wish
from largesse.config.rules import RulesFile
from largesse.errors import LargesseError
from largesse.frames.columns import coded, exact, texts
from largesse.menu import Plan, PlanTotals
from largesse.policy.deployed import Allocation, allocation_at

__all__ = ["UnitRules", "joined"]

_GROUPS = 50  # of a column that rules may name
_FIRST = 1 << 16  # units whose cells show whether a column has more


class UnitRules:
    """The units of a studio, and their plans under rules.

    Args:
        units: The units.
    """

    def __init__(self, units: Population) -> None:
        self.units = units
        self._free = lru_cache(maxsize=2)(self._without)
        self._made = lru_cache(maxsize=16)(self._planned)

    @cached_property
    def own(self) -> RulesFile | None:
        """The rules that the run was proven under; None: there are none.

        Raises:
            ConfigError: Their file is damaged.
        """
        place = rules_of_run(self.units.run)
        return None if place is None else RulesFile.load(place)

    @cached_property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """The columns of the units with 2 to 50 labels, and their labels in order; empty cells are no label."""
        fields = [
            one for one in self.units.table.schema if one.name != self.units.unit and not pa.types.is_nested(one.type)
        ]
        names = [one.name for one in fields]
        if not names:
            return {}
        first = next(iter(self.units.table.parts(names, _FIRST)))
        some = [name for name in names if _labels(name, first.column(name)) is not None]
        return {name: labels for name in some if (labels := self._all_labels(name)) is not None and len(labels) > 1}

    @cached_property
    def patterns(self) -> tuple[str, ...]:
        """Patterns of columns of truth values, one for each treatment; {} stands for the treatment."""
        table = self.units.table
        flags = [one.name for one in table.schema if pa.types.is_boolean(one.type) or pa.types.is_integer(one.type)]
        control = self.units.menu.treatments[0]
        made = [name[:k] + "{}" + name[k + len(control) :] for name in flags for k in _places(name, control)]
        whole = [one for one in made if all(one.replace("{}", name) in flags for name in self.units.menu.treatments)]
        return tuple(dict.fromkeys(whole))

    @cached_property
    def keepers(self) -> tuple[str, ...]:
        """Columns of words, no features, whose labels are all treatments: they may say which one a unit must keep."""
        units = self.units
        features = () if units.policy.encoder is None else units.policy.encoder.features
        words = [
            one.name for one in units.table.schema if _is_text(one.type) and one.name not in (*features, units.unit)
        ]
        labels = {name: self._all_labels(name) for name in words}
        return tuple(name for name, own in labels.items() if own and set(own) <= set(units.menu.treatments))

    def plan(
        self, rules: RulesFile, budget: float, *, safety: Safety = "configured", unit_value: float | None = None
    ) -> Allocation[PlanTotals]:
        """Returns what `largesse allocate` returns for these units, a budget and rules, without writing who gets what.

        Args:
            rules: The rules.
            budget: Total budget; infinity for no limit.
            safety: Probability of staying within it; ``"configured"``: that of the run; None: on average.
            unit_value: Money that one unit of value brings; None: as declared in the run.

        Raises:
            InfeasibleBudget: Even the cheapest treatment for every unit costs more.
            InfeasibleRules: The rules conflict with each other or with the budget.
            LargesseError: A rule does not suit the units or the treatments.
        """
        refuse_other_treatments(rules, self.units.menu.treatments)
        if rules.empty:
            return self.units.allocate(budget, safety=safety, unit_value=unit_value)
        config = self.units.config
        money = config.outcome.unit_value if unit_value is None else unit_value
        return self._made(rules.dump(), float(budget), safety_of(config, safety), money)

    def _planned(self, rules: str, budget: float, safety: float | None, money: float | None) -> Allocation[PlanTotals]:
        units, file = self.units, RulesFile.parse(rules)
        free = self._free(budget, safety)
        made = under_rules(
            units.policy.curve,
            units.menu,
            free,
            file,
            self._table(file),
            units.control,
            unit_value=money,
            n_threads=min(os.cpu_count() or 1, 8),
        )
        done, wish = made.allocation, Wish.of(budget, None, 1.0, money)
        return _noted(done, wish.notes_of(units.menu, made.treatment))

    def _without(self, budget: float, safety: float | None) -> Allocation[Plan]:
        units = self.units
        decision = units.decide(budget, safety)
        return allocation_at(units.policy.curve, units.menu, decision, budget, safety, units.control)

    def _table(self, file: RulesFile) -> pa.Table:
        """Returns the columns that rules name."""
        file = file.model_copy(update={"treatments": self.units.menu.treatments, "unit": None})
        flags = [] if file.eligible is None else columns_of(file, file.eligible, "eligible")
        return self.units.table.labels([*file.text, *flags], file.text)

    def _all_labels(self, name: str) -> tuple[str, ...] | None:
        return _labels(name, self.units.table.labels([name], [name]).column(0))


def _is_text(kind: pa.DataType) -> bool:
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(plain) or pa.types.is_large_string(plain) or pa.types.is_integer(plain))


def _labels(name: str, column: pa.ChunkedArray) -> tuple[str, ...] | None:
    """Returns the labels of a column in order; None: there are too many, or they are no labels."""
    try:
        values = coded(exact(name, column))[1]
    except LargesseError:
        return None
    if len(values) > _GROUPS:
        return None
    names = list(dict.fromkeys(texts(values)))
    try:
        return tuple(sorted(names, key=float))
    except ValueError:
        return tuple(sorted(names))


def _places(name: str, part: str) -> Iterator[int]:
    at = name.find(part)
    while at >= 0:
        yield at
        at = name.find(part, at + 1)


def _noted(done: Allocation[PlanTotals], notes: Sequence[str]) -> Allocation[PlanTotals]:
    return replace(done, notes=(*done.notes, *notes))


def joined(files: Sequence[RulesFile], treatments: tuple[str, ...]) -> RulesFile:
    """Returns the rules of several files as one; of single fields such as `keep`, the last that is given counts.

    Args:
        files: The files.
        treatments: The treatments of the run, which the result names.

    Raises:
        DataError: A file names other treatments.
    """
    lists, single = ("spend", "count", "use", "return_", "not_for"), ("eligible", "keep")
    for one in files:
        refuse_other_treatments(one, treatments)
    content: dict[str, Any] = {name: tuple(rule for one in files for rule in getattr(one, name)) for name in lists}
    for name in single:
        content[name] = next((got for one in reversed(files) if (got := getattr(one, name)) is not None), None)
    return RulesFile().model_copy(update={**content, "treatments": treatments})
