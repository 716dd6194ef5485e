"""The encoder in the graph: one input for each column, the encoded features out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from largesse.frames.columns import Kind
from largesse.frames.encoder import LIMIT, OTHER, Encoder, Levels, Number, is_number
from largesse.serving.cells import Column
from largesse.serving.graph.builder import ENCODED, Graph, Port

__all__ = ["RESERVED", "described", "example_cells", "features_of", "missing_mark"]

RESERVED = ("value", "cost", "treatment", "price", "features")
"""Names of the graph that no column can have."""
_LARGEST = np.finfo(np.float64).max
_EXAMPLES, _FAR = 8, 1e5  # made-up units; days from 1970 or of a duration


def missing_mark(encoder: Encoder) -> str:
    """Returns the text that stands for a missing cell of text: one that is no level of any column."""
    levels = {level for column in encoder.columns if isinstance(column, Levels) for level in column.levels}
    mark = "<missing>"
    while mark in levels:
        mark = f"<{mark}>"
    return mark


def described(encoder: Encoder) -> tuple[Column, ...]:
    """Returns the columns that a policy reads, each with the name of its input: its own, unless the graph has that name."""
    taken: set[str] = {column.name for column in encoder.columns}
    columns = []
    for column in encoder.columns:
        name = column.name
        if not name or name in RESERVED or name.startswith(("encode/", "model/", "stored/")):
            name = f"column {name}"
            while name in taken:
                name += "_"
        taken.add(name)
        levels = column.levels if isinstance(column, Levels) else ()
        numbered = isinstance(column, Levels) and all(map(is_number, levels))
        columns.append(Column(column.name, name, str(column.kind), levels, numbered))
    return tuple(columns)


def features_of(g: Graph, encoder: Encoder) -> tuple[Port, ...]:
    """Adds the encoder to a graph, which then has the encoded features, and returns its inputs, (N, 1) each."""
    g.prefix = ENCODED
    blocks, place = [], []  # tables of encoded columns, and for each of their columns its place among the features
    width, start = len(encoder.names), 0
    numbers: list[tuple[str, Number, int]] = []
    texts: list[tuple[str, Levels, int]] = []
    ports = []
    for column, about in zip(encoder.columns, described(encoder), strict=True):
        if isinstance(column, Levels):
            texts.append((about.input, column, start))
        else:
            numbers.append((about.input, column, start))
        ports.append(Port(about.input, "STRING" if isinstance(column, Levels) else "DOUBLE", (None, 1)))
        start += len(column.names)
    if numbers:
        for block, places in _numbers(g, numbers):
            blocks.append(block)
            place += places
    if texts:
        block, places = _levels(g, texts, missing_mark(encoder))
        blocks.append(block)
        place += places
    order = np.full(width, -1)
    order[[p for p in place if p >= 0]] = [k for k, p in enumerate(place) if p >= 0]
    table = g.beside(*blocks)
    g.encoded(table if order.tolist() == list(range(len(place))) else g.columns(table, order))
    return tuple(ports)


def _numbers(g: Graph, numbers: Sequence[tuple[str, Number, int]]) -> list[tuple[str, list[int]]]:
    """Returns the filled numbers and the marks of missing ones, each with the places of its columns (-1: not a feature)."""
    x = g.beside(*(name for name, _, _ in numbers))
    present = g("LessOrEqual", g("Abs", x), np.float64(_LARGEST))  # false for NaN and for infinity
    filled = g("Where", present, x, np.array([[c.fill for _, c, _ in numbers]], np.float64))
    single = g.single(g("Clip", filled, np.float64(-LIMIT), np.float64(LIMIT)))
    out = [(single, [at if c.varies else -1 for _, c, at in numbers])]
    if any(c.missing for _, c, _ in numbers):
        marks = [at + len(c.names) - 1 if c.missing else -1 for _, c, at in numbers]
        out.append((g.single(g("Not", present)), marks))
    return out


def _levels(g: Graph, texts: Sequence[tuple[str, Levels, int]], mark: str) -> tuple[str, list[int]]:
    """Returns one 0/1 column for each level, other and missing, as `Levels.put` writes them, with their places."""
    codes: list[str] = []
    source: list[int] = []  # for each encoded column, the column of text
    own: list[int] = []  # and its code
    places: list[int] = []
    for k, (name, column, at) in enumerate(texts):
        width = len(column.names)
        other = len(column.levels) if column.other else -1
        missing = width - 1 if column.missing else other
        codes.append(
            g.ml("LabelEncoder", name, keys_strings=[*column.levels, mark],
                 values_int64s=[*range(len(column.levels)), missing], default_int64=other)
        )  # fmt: skip
        source += [k] * width
        own += range(width)
        places += range(at, at + width)
    taken = g.columns(g.beside(*codes), source)
    same = g("Equal", taken, np.array([own], np.int64))
    return g.single(same), places


def example_cells(encoder: Encoder) -> dict[str, list[float | str | None]]:
    """Returns eight made-up units, cell by cell for each column: usual, far, missing and unseen cells; none is of a real unit.

    Dates and durations are whole days.
    """
    cells: dict[str, list[float | str | None]] = {}
    for k, column in enumerate(encoder.columns):
        if isinstance(column, Levels):
            known = [*column.levels, OTHER, None, "never seen before"]
            cells[column.name] = [known[(i * (k + 1)) % len(known)] for i in range(_EXAMPLES)]
            continue
        step = max(abs(column.fill), 1.0) / 4
        row = column.fill + step * ((np.arange(_EXAMPLES) * (k + 3)) % 9 - 4)
        if column.kind is not Kind.NUMBER:
            row = np.round(np.clip(row, -_FAR, _FAR))
        missing = (k * 3 + 5) % _EXAMPLES
        cells[column.name] = [None if i == missing else cell for i, cell in enumerate(row.tolist())]
    return cells
