"""An Arrow stream that expands to more than it may is refused before memory is taken; streams that do not are read."""

from __future__ import annotations

import resource
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.common.served import service

import pyarrow as pa  # isort: skip

from largesse.serving.http.arrow_limits import bounded_batches  # isort: skip
from largesse.serving.http.problems import Refused  # isort: skip

ARROW = {"content-type": "application/vnd.apache.arrow.stream"}
MOST = 1_000_000


def stream(table: pa.Table, compression: str | None = None) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def rows(body: bytes, most: int = MOST) -> int:
    return sum(batch.num_rows for batch in bounded_batches(body, most))


def dictionary(n: int, text: str) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, np.int8)), [text])


@pytest.mark.parametrize("compression", [None, "zstd", "lz4"])
def test_streams_of_every_flat_kind_are_read(compression: str | None):
    table = pa.table({
        "unit": [f"u{k}" for k in range(100)], "x": np.arange(100.0), "n": np.arange(100), "yes": [True, None] * 50,
        "view": pa.array(["a" * k for k in range(99)] + [None], pa.string_view()), "nothing": pa.nulls(100),
        "label": dictionary(100, "north"), "day": pa.array(np.arange(100, dtype=np.int32), pa.date32()),
        "time": pa.array(np.arange(100), pa.timestamp("s")), "long": pa.array(np.arange(100), pa.duration("s")),
    })  # fmt: skip
    assert rows(stream(table, compression)) == 100
    assert rows(stream(table.slice(10, 5), compression)) == 5
    assert rows(stream(table.slice(0, 0), compression)) == 0


@pytest.mark.parametrize(
    ("column", "compression"),
    [
        (np.zeros(300_000), "zstd"), (np.zeros(300_000), "lz4"), (["a" * 2_000_000], "zstd"),
        (dictionary(1_000, "a" * 10_000), None), (dictionary(1_000, "a" * 10_000), "zstd"), (pa.nulls(10_000_000), None),
        (pa.array(["a" * 100_000] * 100).cast(pa.string_view()), "zstd"), (np.zeros(300_000, np.bool_), None),
    ],
    ids=["zstd", "lz4", "text", "dictionary", "packed dictionary", "nulls", "views", "bits"],
)  # fmt: skip
def test_what_expands_too_far_is_refused(column: Any, compression: str | None):
    body = stream(pa.table({"x": column}), compression)
    with pytest.raises(Refused, match=r"The stream expands to more than 1,000,000 bytes") as error:
        rows(body)
    assert error.value.problem.status == 413


def test_views_that_share_their_bytes_are_counted_each():
    shared = pa.py_buffer(b"a" * 100_000)
    views = pa.py_buffer(struct.pack("<i4sii", 100_000, b"aaaa", 0, 0) * 1_000)
    column = pa.Array.from_buffers(pa.string_view(), 1_000, [None, views, shared])
    with pytest.raises(Refused, match="expands to more"):
        rows(stream(pa.table({"x": column})))


@pytest.mark.parametrize(
    "column",
    [pa.array([[1, 2]]), pa.array([{"a": 1}]), pa.array([b"a"]), pa.RunEndEncodedArray.from_arrays([2**30], ["a"])],
    ids=["list", "struct", "bytes", "runs"],
)
def test_other_kinds_are_refused(column: Any):
    with pytest.raises(Refused, match=r"x: is a column of .*Send numbers, text, dates, times or durations"):
        rows(stream(pa.table({"x": column})))


def test_damaged_streams_are_no_fault():
    whole = stream(pa.table({"x": np.arange(1_000.0), "label": dictionary(1_000, "north")}), "zstd")
    rng = np.random.default_rng(1)
    for _ in range(300):
        body = bytearray(whole)
        for place in rng.integers(0, len(body), 4):
            body[place] = rng.integers(0, 256)
        with suppress(Refused, pa.ArrowException, OSError):
            assert rows(bytes(body[: rng.integers(1, len(body) + 1)])) <= MOST


def test_a_bomb_over_http_takes_no_memory(tmp_path: Path):
    """A terabyte, as the stream declares it, and 512 MB that are really there once they are decompressed."""
    real = stream(pa.table({"unit": ["u"] * 100, "x": ["a" * 5_000_000] * 100}), "zstd")
    assert len(real) < 200_000
    declared = stream(pa.table({"unit": np.zeros(1_000)}), "zstd").replace(
        struct.pack("<q", 8_000), struct.pack("<q", 1 << 40)
    )
    with service(tmp_path) as one:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for body in (real, declared):
            got = one.ask("POST", "/v1/decisions:batch", content=body, headers=ARROW)
            assert (got.status_code, got.json()["type"]) == (413, "urn:largesse:problem:too-large")
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000, "KiB"
