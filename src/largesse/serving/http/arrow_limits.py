"""Limits of an Arrow stream: what it expands to is known, and refused, before memory is taken for it.

A compressed buffer begins with its length (8 bytes), and the place of each buffer stands in the metadata of its message, which
is a flatbuffer: `_Table` reads the few fields that are needed. A column can also be larger than its buffers: one long text in
a dictionary stands for every row that names it. So only kinds are taken whose cells are no larger than their buffers, and
dictionaries of text whose cells are counted.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from largesse.serving.http.problems import Problem, Refused, refused

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["bounded_batches"]

_DICTIONARY, _BATCH = 2, 3  # kinds of messages
_LENGTH = struct.Struct("<q")


def bounded_batches(body: bytes, most: int) -> Iterator[pa.RecordBatch]:
    """Yields the batches of an Arrow stream, whole and valid.

    Args:
        body: The stream.
        most: Bytes that it may expand to.

    Raises:
        Refused: It expands to more (413), or a column is of a kind that has no place in a batch of units (422).
        ArrowException: It is no Arrow stream.
    """
    import pyarrow as pa  # a server does without it

    try:
        size = _expanded(body)
    except struct.error as error:
        raise pa.ArrowInvalid("its metadata is damaged") from error
    if size > most:
        raise _too_large(most)
    left = most
    with pa.ipc.open_stream(body) as reader:
        for field in reader.schema:
            _check_kind(field.name, field.type)
        for batch in reader:
            batch.validate(full=True)
            left -= sum(_cells(column) for column in batch.columns)
            if left < 0:
                raise _too_large(most)
            yield batch


def _too_large(most: int) -> Refused:
    return Refused(Problem(413, f"The stream expands to more than {most:,} bytes. Send fewer units at a time."))


def _expanded(body: bytes) -> int:
    """Returns how many bytes the buffers of a stream have once they are decompressed, without decompressing them."""
    import pyarrow as pa

    total, reader = 0, pa.ipc.MessageReader.open_stream(body)
    while (message := _next(reader)) is not None:
        about = _Table.root(memoryview(message.metadata))
        kind, header = about.number(1, "<B"), about.table(2)
        if kind == _DICTIONARY and header is not None:
            header = header.table(1)
        if kind not in (_DICTIONARY, _BATCH) or header is None:
            continue
        content = memoryview(message.body)
        packed = header.table(3) is not None
        for offset, length in header.pairs(2):
            size = length
            if packed and length >= _LENGTH.size and 0 <= offset <= len(content) - _LENGTH.size:
                size = max(length, _LENGTH.unpack_from(content, offset)[0])
            total += size
    return total


def _next(reader: Any) -> Any:
    try:
        return reader.read_next_message()
    except StopIteration:
        return None


def _check_kind(name: str, kind: Any) -> None:
    import pyarrow.types as kinds

    of = kind.value_type if kinds.is_dictionary(kind) else kind
    flat = (kinds.is_boolean, kinds.is_integer, kinds.is_floating, kinds.is_decimal, kinds.is_temporal, kinds.is_null)
    if kinds.is_string(of) or _is_view(kind) or kinds.is_large_string(of) or any(test(kind) for test in flat):
        return
    detail = f"{name[:100]}: is a column of {str(kind)[:100]}. Send numbers, text, dates, times or durations."
    raise refused(422, detail, name[:100], str(kind)[:100])


def _is_view(kind: Any) -> bool:
    import pyarrow.types as kinds

    return hasattr(kinds, "is_string_view") and bool(kinds.is_string_view(kind))


def _cells(column: Any) -> int:
    """Returns about how many bytes the cells of a column have in memory, one by one."""
    import pyarrow.compute as pc
    import pyarrow.types as kinds

    if kinds.is_dictionary(column.type):
        sizes = pc.binary_length(column.dictionary)
        return 8 * len(column) + int(pc.sum(pc.take(sizes, column.indices)).as_py() or 0)
    if _is_view(column.type):  # cells may share their bytes, too; each begins with its length
        views = np.frombuffer(column.buffers()[1], "<i4").reshape(-1, 4)[column.offset :][: len(column), 0]
        return 16 * len(column) + int(views.sum(dtype=np.int64, where=np.asarray(column.is_valid())))
    return max(8 * len(column), column.nbytes)


class _Table:
    """A table of a flatbuffer.

    Args:
        content: The flatbuffer.
        at: Where the table begins.
    """

    def __init__(self, content: memoryview, at: int) -> None:
        self.content, self.at = content, at
        self.fields = at - self._read("<i", at)
        self.size = self._read("<H", self.fields)

    @classmethod
    def root(cls, content: memoryview) -> _Table:
        """Returns the first table."""
        return cls(content, struct.unpack_from("<I", content, 0)[0])

    def _read(self, kind: str, at: int) -> int:
        return int(struct.unpack_from(kind, self.content, at)[0])

    def _place(self, field: int) -> int:
        """Returns where a field stands; 0: it is left out."""
        entry = 4 + 2 * field
        offset = self._read("<H", self.fields + entry) if entry < self.size else 0
        return self.at + offset if offset else 0

    def number(self, field: int, kind: str) -> int:
        """Returns a field that is a number; 0: it is left out."""
        place = self._place(field)
        return self._read(kind, place) if place else 0

    def table(self, field: int) -> _Table | None:
        """Returns a field that is a table; None: it is left out."""
        place = self._place(field)
        return _Table(self.content, place + self._read("<I", place)) if place else None

    def pairs(self, field: int) -> list[tuple[int, int]]:
        """Returns a field that is a list of pairs of numbers of 8 bytes."""
        place = self._place(field)
        if not place:
            return []
        start = place + self._read("<I", place)
        n = self._read("<I", start)
        return [struct.unpack_from("<qq", self.content, start + 4 + 16 * k) for k in range(n)]
