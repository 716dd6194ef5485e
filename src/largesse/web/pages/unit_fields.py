"""The form of the page Unit: which unit an address names, and its features as fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

import pyarrow as pa

from largesse.commands.studio.population import Population
from largesse.commands.studio.typed import text_of, typed
from largesse.errors import DataError
from largesse.frames.columns import Kind
from largesse.frames.encoder import Column, Encoder, Levels
from largesse.web.query import Query
from largesse.web.view import Field
from largesse.web.words import words

__all__ = ["Named", "encoder_of", "feature_fields", "lookup_fields", "named"]

_NEW = "-"


class Named(NamedTuple):
    """The unit that an address names.

    Attributes:
        unit: Its id, or its number; "": it is typed in.
        row: Its row among the units; None: it is not one of them.
        text: Column → text of its field.
        changed: Columns that differ from those of the unit.
        problem: Why there is no such unit; "": there is one.
    """

    unit: str
    row: int | None
    text: Mapping[str, str]
    changed: tuple[str, ...]
    problem: str = ""

    @property
    def empty(self) -> bool:
        """Whether nothing is known of it."""
        return self.row is None and not any(self.text.values())

    def cells(self, encoder: Encoder) -> tuple[pa.Table, dict[str, Any], tuple[str, ...]]:
        """Returns it as a table of one row, its cells, and what the model does with labels that it does not know.

        Raises:
            DataError: A text is not what its column holds.
        """
        made = typed(encoder, self.text)
        return made.table, made.table.to_pylist()[0], made.notes


def named(query: Query, units: Population | None, encoder: Encoder) -> Named:
    """Returns the unit that an address names: of the file, with what is changed of it, or typed in.

    The fields are those of the unit `of`; where another one is asked for, they are read from the file.
    """
    unit, of = query.text("unit").strip(), query.text("of")
    own = {name: query.text(_field(name)) for name in encoder.features}
    if not unit:
        return Named("", None, own, ())
    row = None if units is None else units.place_of(unit)
    if units is None or row is None:
        return Named(unit, None, own if of in (unit, _NEW) else {}, (), _unknown(unit, units))
    cells = units.table.row(row)
    single = {one.name for one in units.table.schema if pa.types.is_float32(one.type)}
    kept = {name: text_of(cells.get(name), single=name in single) for name in encoder.features}
    if of != unit:
        return Named(unit, row, kept, ())
    return Named(unit, row, own, tuple(name for name in encoder.features if own[name].strip() != kept[name]))


def _unknown(unit: str, units: Population | None) -> str:
    if units is None:
        return words("unit.no_units")
    if units.unit is None:
        return words("unit.numbered", unit=unit, n=f"{units.n:,}")
    for other in (unit.lower(), unit.upper(), unit.lstrip("0")):
        if units.place_of(other) is not None:
            return words("unit.meant", unit=unit, other=other)
    some = [str(one) for one in units.table.columns([units.unit]).column(0).slice(0, 3).to_pylist()]
    return words("unit.unknown", unit=unit, column=units.unit, some=", ".join(map(repr, some)))


def lookup_fields(query: Query, who: Named, units: Population | None, head: str) -> tuple[Field, ...]:
    """Returns the field of the id."""
    label = words("unit.number" if units is not None and units.unit is None else "unit.id", head=head)
    of = who.unit if not who.problem else _NEW
    return (
        Field(name="unit", label=label, value=query.text("unit"), kind="text"),
        Field(name="of", label="", value=of or _NEW, kind="hidden"),
    )


def feature_fields(who: Named, encoder: Encoder) -> tuple[Field, ...]:
    """Returns a field for each column that the model reads."""
    is_open = bool(who.changed) or who.row is None
    return (
        Field(
            name="unit.features", label=words("unit.features"), value="open" if is_open else "", kind="heading",
            help=words("unit.features.help"),
        ),
        *(
            Field(name=_field(one.name), label=one.name, value=who.text.get(one.name, ""), kind="text", help=_help(one))
            for one in encoder.columns
        ),
    )  # fmt: skip


def _field(column: str) -> str:
    return f"x.{quote(column, safe='')}"


def _help(column: Column) -> str:
    if isinstance(column, Levels):
        return ", ".join(column.levels[:6]) + (", …" if len(column.levels) > 6 else "")
    return {Kind.DATE: words("unit.date"), Kind.DURATION: words("unit.days")}.get(column.kind, "")


def encoder_of(encoder: Encoder | None) -> Encoder:
    """Returns the encoder of a run.

    Raises:
        DataError: It has none.
    """
    if encoder is None:
        raise DataError.at("run", ": it has no encoder, so no unit can be typed in. Fit it with `largesse fit`.")
    return encoder
