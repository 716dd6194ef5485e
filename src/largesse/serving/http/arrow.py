"""Batches in Arrow: a stream as parts of few rows, their columns as the model reads them, and answers as a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from largesse.serving.cells import Column
from largesse.serving.http.arrow_limits import bounded_batches
from largesse.serving.http.decisions import Served
from largesse.serving.http.hot import DecisionBody, key_body
from largesse.serving.http.problems import Problem, of_error, refused
from largesse.serving.http.texts import texts_of
from largesse.serving.http.together import Alike, Decided
from largesse.serving.ledger.terms import WrittenColumn

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["alike_of", "parts", "reunited", "rows_of", "stream", "table_of", "table_of_results", "those"]

_OWN = ("unit", "key", "campaign")
_NAMES = (
    "id", "campaign", "unit", "period", "treatment", "kind", "propensity", "value", "cost", "price", "version", "limited",
    "repeated",
)  # fmt: skip


def parts(body: bytes, largest: int, most: int) -> Iterator[pa.RecordBatch]:
    """Yields the rows of a stream in parts.

    Args:
        body: The stream.
        largest: Bytes that it may expand to.
        most: Rows of a part.

    Raises:
        Refused: It is no sound stream, or it has no column `unit`.
    """
    import pyarrow as pa  # a server does without it

    try:
        batches = list(bounded_batches(body, largest))
        if not batches:
            return
        names = batches[0].schema.names
        if len(set(names)) < len(names) or "unit" not in names:
            rule = "the stream has no such column, or two columns of one name. Give each once."
            raise refused(422, f"unit: {rule}", "unit")
        yield from pa.Table.from_batches(batches).combine_chunks().to_batches(max_chunksize=most)
    except pa.ArrowException as error:
        raise refused(
            400, f"The body is no Arrow stream ({str(error).splitlines()[0][:200]}). Send one IPC stream."
        ) from None


def alike_of(find: Callable[[str | None], Served], batch: pa.RecordBatch) -> Alike | None:
    """Returns the rows of a batch as columns; None where a cell needs a look of its own.

    Args:
        find: Returns a campaign in service by its name.
        batch: The rows.

    Raises:
        Refused: The campaign is not served.
    """
    import pyarrow as pa

    names = batch.schema.names
    campaigns = batch["campaign"].unique().to_pylist() if "campaign" in names else [None]
    units = batch["unit"]
    text = pa.types.is_string(units.type) or pa.types.is_integer(units.type)
    if len(campaigns) != 1 or not isinstance(campaigns[0], str | None) or not text or units.null_count:
        return None
    served = find(campaigns[0])
    feed = {}
    for column in served.loaded.policy.columns:
        if column.name not in names or column.name in _OWN:
            return None
        if (cells := _cells(column, batch[column.name], served.loaded.policy.missing)) is None:
            return None
        feed[column.input] = cells
    keys = batch["key"].to_pylist() if "key" in names else None
    if keys is not None and not all(isinstance(key, str | None) for key in keys):
        return None
    given = units.to_pylist()
    if keys is None or keys.count(None) == len(keys):
        texts = _texts(batch, [c.name for c in served.loaded.policy.columns]) if served.features else None
        return Alike(served, given, None, None, texts, feed)
    whole, read = [n for n in names if n not in _OWN], [c.name for c in served.loaded.policy.columns]
    every = _texts(batch, whole)
    bodies = [key_body(unit, (), one) for unit, one in zip(given, every, strict=True)]
    texts = every if len(whole) == len(read) else _texts(batch, read)
    return Alike(served, given, keys, bodies, texts if served.features else None, feed)


def _cells(column: Column, cells: pa.Array, mark: str) -> NDArray[Any] | None:
    """Returns a column as an input of the model, (n, 1); None where its type is none of the usual ones."""
    import pyarrow as pa

    kind, types = cells.type, pa.types
    if column.kind == "text" and types.is_string(kind):
        some = cells.dictionary_encode()
        labels = np.array([*(label.strip() for label in some.dictionary.to_pylist()), mark], object)
        return np.asarray(labels[some.indices.fill_null(len(labels) - 1).to_numpy(zero_copy_only=False)][:, None])
    if column.kind == "date" and types.is_date32(kind):
        cells, kind = cells.cast(pa.int32()), pa.int32()
    elif column.kind == "text" or not (types.is_integer(kind) or types.is_floating(kind) or types.is_null(kind)):
        return None
    numbers = cells.cast(pa.float64(), safe=False).fill_null(np.nan).to_numpy(zero_copy_only=False)
    return None if np.isinf(numbers).any() else np.asarray(numbers[:, None], np.float64)


def _texts(batch: pa.RecordBatch, names: Sequence[str]) -> WrittenColumn:
    """Returns some columns as JSON, an object for each row."""
    names = sorted(names)
    columns = [_listed(batch[name]) for name in names]
    if any(isinstance(cell, timedelta) for cells in columns for cell in cells[:1]):
        columns = [[_cell(cell) for cell in cells] for cells in columns]
    return texts_of(names, columns, batch.num_rows)


def _listed(cells: pa.Array) -> list[Any]:
    """Returns a column as a list; numbers without a missing cell by way of numpy, which is much faster."""
    import pyarrow as pa

    types, kind = pa.types, cells.type
    plain = not cells.null_count and (types.is_float64(kind) or types.is_float32(kind) or types.is_integer(kind))
    return cells.to_numpy(zero_copy_only=False).tolist() if plain else cells.to_pylist()


def rows_of(batch: pa.RecordBatch) -> Iterator[DecisionBody]:
    """Yields the rows of a batch as bodies of decisions."""
    rows: Sequence[Mapping[str, Any]] = batch.to_pylist()
    for row in rows:
        cells = {name: _cell(cell) for name, cell in row.items()}
        unit, key, campaign = (cells.pop(name, None) for name in _OWN)
        yield DecisionBody(unit, cells, campaign, None, key)


def _cell(cell: Any) -> Any:
    """Returns a cell as JSON has it: a date as text, a duration as days, NaN as missing."""
    if isinstance(cell, date):
        return cell.isoformat()
    if isinstance(cell, timedelta):
        return cell / timedelta(days=1)
    return None if isinstance(cell, float) and cell != cell else cell


def those(batch: pa.RecordBatch, which: NDArray[np.bool_]) -> pa.RecordBatch:
    """Returns some rows of a batch."""
    import pyarrow as pa

    return batch.filter(pa.array(which))


def reunited(others: pa.Table, mine: pa.Table, which: NDArray[np.bool_]) -> pa.Table:
    """Returns the answers to the rows of a batch in their order, from those to some rows (`which`) and those to the others."""
    import pyarrow as pa

    order = np.argsort(np.concatenate([np.flatnonzero(~which), np.flatnonzero(which)]))
    return pa.concat_tables([others, mine]).take(pa.array(order))


def table_of(alike: Alike, got: Decided) -> pa.Table:
    """Returns the answers to units that are alike."""
    import pyarrow as pa

    a, n = got.answers, len(got.answers.id)
    refusals = np.zeros(n, np.bool_)
    refusals[list(a.errors)] = True
    columns = (
        a.id, [alike.served.name] * n, list(map(str, alike.units)), a.period, a.treatment, a.kind, a.propensity, a.value, a.cost,
        a.price, a.version, a.limited, a.repeated,
    )  # fmt: skip
    problems = (
        [None] * n if not a.errors else [of_error(a.errors[i]).detail if i in a.errors else None for i in range(n)]
    )
    kinds = _kinds()
    table = {
        name: pa.array(column, kinds[name], mask=refusals if a.errors else None)
        for name, column in zip(_NAMES, map(np.asarray, columns) if a.errors else columns, strict=True)
    }
    return pa.table(table | {"problem": pa.array(problems, pa.string())})


def table_of_results(results: Sequence[Any]) -> pa.Table:
    """Returns answers that were made one by one."""
    import pyarrow as pa

    columns = {
        name: pa.array([None if isinstance(one, Problem) else getattr(one, name) for one in results], kind)
        for name, kind in _kinds().items()
    }
    problems = [one.detail if isinstance(one, Problem) else None for one in results]
    return pa.table(columns | {"problem": pa.array(problems, pa.string())})


def _kinds() -> dict[str, Any]:
    import pyarrow as pa

    kinds = {"period": pa.int64(), "limited": pa.bool_(), "repeated": pa.bool_()}
    kinds |= dict.fromkeys(("propensity", "value", "cost", "price"), pa.float64())
    return {name: kinds.get(name, pa.string()) for name in _NAMES}


def stream(tables: Sequence[pa.Table]) -> bytes:
    """Returns tables as one stream."""
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, tables[0].schema) as writer:
        for table in tables:
            writer.write_table(table)
    return bytes(sink.getvalue())
