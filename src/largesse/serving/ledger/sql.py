"""Statements that are compiled once for each kind of store, take their values as tuples, and give rows as tuples with names."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.elements import ClauseElement

__all__ = ["Having", "Statement", "executed", "inserting"]

Row = tuple[Any, ...]
_MOST = 512  # values in one list of a query
_FEW = 16  # rows that are inserted one by one


def executed(connection: sa.Connection, text: str, values: Sequence[Any] = ()) -> Any:
    """Runs a statement of the driver with one tuple of values, or with each of a list of them; returns the cursor.

    SQLAlchemy's own objects for a statement and its result cost more than the store does. Whoever listens to its statements
    (tracing, tests) hears of every one nevertheless.
    """
    if connection.dispatch.before_cursor_execute:
        return connection.exec_driver_sql(text, values or None)
    cursor = connection.connection.cursor()
    if isinstance(values, list):
        cursor.executemany(text, values)
    else:
        cursor.execute(text, values)
    return cursor


class Statement:
    """A statement whose values are given as tuples.

    Args:
        made: The statement, with a bound parameter for each value.
        names: Names of the parameters in the order of the tuples; it must be the order in the statement's text.
    """

    def __init__(self, made: ClauseElement, names: Sequence[str]) -> None:
        self._made, self._names = made, list(names)
        self._texts: dict[str, str] = {}

    def text(self, dialect: sa.Dialect) -> str:
        """Returns the statement in the words of a store."""
        if (known := self._texts.get(dialect.name)) is not None:
            return known
        compiled: Any = self._made.compile(dialect=dialect)
        assert compiled.positiontup == self._names, (compiled.positiontup, self._names)
        self._texts[dialect.name] = text = str(compiled)
        return text

    def run(self, connection: sa.Connection, values: Row) -> Any:
        """Runs it with one tuple of values; returns the cursor."""
        return executed(connection, self.text(connection.dialect), values)

    def run_all(self, connection: sa.Connection, rows: Iterable[Row]) -> None:
        """Runs it with each tuple of values; they may be made while it runs."""
        if not isinstance(rows, list) and not connection.dispatch.before_cursor_execute:
            cursor: Any = connection.connection.cursor()
            cursor.executemany(self.text(connection.dialect), rows)
        elif several := list(rows):
            executed(connection, self.text(connection.dialect), several if len(several) > 1 else several[0])


class Inserting(Statement):
    """The statement that inserts rows of all columns; PostgreSQL takes many of them by COPY, which costs it much less."""

    def __init__(self, table: sa.Table) -> None:
        names = [c.name for c in table.c]
        super().__init__(table.insert().values({name: sa.bindparam(name) for name in names}), names)
        self._copy = f"copy {table.name} ({', '.join(names)}) from stdin"

    def run_all(self, connection: sa.Connection, rows: Iterable[Row]) -> None:
        """Inserts rows; they may be made while it runs."""
        few = isinstance(rows, list) and len(rows) < _FEW
        if connection.dialect.driver != "psycopg" or few or connection.dispatch.before_cursor_execute:
            super().run_all(connection, rows)
            return
        cursor: Any = connection.connection.cursor()
        with cursor.copy(self._copy) as copy:
            for row in rows:
                copy.write_row(row)


def inserting(table: sa.Table) -> Inserting:
    """Returns the statement that inserts rows of all columns."""
    return Inserting(table)


class Having:
    """A query of the rows whose column has one of several values.

    Args:
        made: Returns the query of a condition, given the values' parameters.
    """

    def __init__(self, made: Callable[[list[sa.BindParameter[Any]]], sa.Select[Any]]) -> None:
        @cache
        def statement(n: int) -> Statement:
            names = [f"v{i}" for i in range(n)]
            return Statement(made([sa.bindparam(name) for name in names]), names)

        self._statement = statement
        tuples: Any = namedtuple  # for the type checker: its fields are known when the query is
        self._named = tuples("Row", [c.name for c in made([sa.bindparam("v0")]).selected_columns])._make

    def rows(self, connection: sa.Connection, values: Iterable[Any]) -> list[Any]:
        """Returns the rows for the values, each value counted once."""
        wanted, out = list(dict.fromkeys(values)), list[Any]()
        for i in range(0, len(wanted), _MOST):
            part = wanted[i : i + _MOST]
            size = 1 << (len(part) - 1).bit_length()  # few sizes, so that the store's prepared statements serve again
            full = (*part, *part[-1:] * (size - len(part)))
            out += map(self._named, self._statement(size).run(connection, full).fetchall())
        return out
