"""Folders of Parquet files as people have them, and spill blocks that were damaged."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest

from largesse import frames
from largesse.engines.parquet import streams
from largesse.errors import DataError, SchemaError, StoreError
from largesse.frames.batches import Batches
from tests.common.streams import Stops, run, table


def split(folder: Path, *parts: pa.Table) -> Path:
    folder.mkdir(exist_ok=True)
    for k, part in enumerate(parts):
        pa_parquet.write_table(part, folder / f"part-{k}.parquet")
    return folder


def recast(part: pa.Table, how: str) -> pa.Table:
    if how == "order":
        return part.select(part.column_names[::-1])
    if how == "width":
        return part.cast(
            pa.schema([pa.field(f.name, pa.float32() if f.type == pa.float64() else f.type) for f in part.schema])
        )
    if how == "nullability":
        return part.cast(pa.schema([pa.field(f.name, f.type, nullable=False) for f in part.schema]))
    if how == "dictionary":
        return pa.table(
            {name: part[name].dictionary_encode() if name == "who" else part[name] for name in part.column_names}
        )
    return part.replace_schema_metadata({"pandas": "{}"})


@pytest.mark.parametrize("how", ["order", "width", "nullability", "dictionary", "metadata"])
def test_files_that_differ_in_form_are_read(tmp_path: Path, how: str):
    whole = table(600).cast(
        pa.schema([pa.field(f.name, pa.float64() if pa.types.is_floating(f.type) else f.type) for f in table(6).schema])
    )
    whole = recast(recast(whole, "width"), "metadata") if how == "width" else whole
    folder = split(tmp_path / "parts", whole.slice(0, 300), recast(whole.slice(300), how))
    read = frames.read(folder)
    assert read["who"].to_pylist() == whole["who"].to_pylist()
    run(folder, tmp_path / "plan.parquet")
    frames.write(whole, tmp_path / "units.parquet")
    run(tmp_path / "units.parquet", tmp_path / "again.parquet")
    assert frames.read(tmp_path / "plan.parquet")["treatment"].equals(
        frames.read(tmp_path / "again.parquet")["treatment"]
    )


def test_a_real_difference_names_the_column(tmp_path: Path):
    whole = table(20)
    odd = whole.set_column(whole.column_names.index("who"), "who", pa.array(["x"] * 20))
    first = whole.set_column(whole.column_names.index("who"), "who", pa.array(range(20)))
    folder = split(tmp_path / "parts", first, odd)
    for act in (lambda: Batches(folder), lambda: frames.read(folder)):
        with pytest.raises(
            SchemaError, match=r"part-1.parquet: column 'who' holds string, but int64 in part-0.parquet"
        ):
            act()
    lacks = split(tmp_path / "lacks", whole, whole.drop_columns("who"))
    for act in (lambda: Batches(lacks), lambda: frames.read(lacks)):
        with pytest.raises(SchemaError, match=r"part-1.parquet: column 'who' is missing"):
            act()


@pytest.mark.parametrize("name", ["_delta_log/x.parquet", ".hidden.parquet", "_temporary.parquet", ".old/a.parquet"])
def test_hidden_names_are_no_data(tmp_path: Path, name: str):
    folder = split(tmp_path / "parts", table(20))
    (folder / name).parent.mkdir(exist_ok=True)
    pa_parquet.write_table(table(7), folder / name)
    (folder / "_SUCCESS").write_text("")
    assert Batches(folder).n == frames.read(folder).num_rows == 20


def test_a_folder_that_is_partitioned_by_columns(tmp_path: Path):
    for city in ("a=1", "a=2"):
        (tmp_path / "parts" / city).mkdir(parents=True)
        pa_parquet.write_table(table(10), tmp_path / "parts" / city / "x.parquet")
    read = frames.read(tmp_path / "parts")
    assert read["a"].to_pylist() == [1] * 10 + [2] * 10
    assert not streams(tmp_path / "parts", Path("plan.parquet"))


def test_more_files_than_a_process_may_hold_open(tmp_path: Path):
    folder = tmp_path / "parts"
    folder.mkdir()
    whole = table(600)
    for k in range(600):
        pa_parquet.write_table(whole.slice(k, 1), folder / f"{k:04d}.parquet")
    script = (
        "import sys; from pathlib import Path; from largesse.frames.batches import Batches; from largesse import frames; "
        "b = Batches(Path(sys.argv[1])); print(sum(t.num_rows for t in b.tables(['who'], 50)), frames.read(sys.argv[1]).num_rows)"
    )
    limit = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))  # noqa: E731
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder)], capture_output=True, text=True, preexec_fn=limit, check=False
    )
    assert done.stdout.split() == ["600", "600"], done.stderr[-300:]


def test_a_source_that_changes_during_the_run_is_refused(tmp_path: Path):
    source, output = tmp_path / "units.parquet", tmp_path / "plan.parquet"
    frames.write(table(), source)

    class Rewrites(Stops):
        def __call__(self, part: pa.Table):
            os.utime(source, ns=(1, self.calls + 1))
            return super().__call__(part)

    with pytest.raises(DataError, match=r"units.parquet: has changed while it was read.*Run it again"):
        run(source, output, Rewrites(1000))
    assert not output.exists()


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "gone", "zeros"])
def test_a_damaged_block_is_computed_anew(tmp_path: Path, damage: str):
    source, output = tmp_path / "units.parquet", tmp_path / "plan.parquet"
    frames.write(table(), source)
    run(source, output)
    wanted = output.read_bytes()
    output.unlink()
    with pytest.raises(KeyboardInterrupt):
        run(source, output, Stops(4))
    block = tmp_path / ".plan.parquet.partial" / ("block-000002.npy" if damage != "gone" else "ids-000002.npy")
    whole = bytearray(block.read_bytes())
    if damage == "gone":
        block.unlink()
    elif damage == "flipped":
        whole[len(whole) // 2] ^= 1
        block.write_bytes(whole)
    else:
        block.write_bytes({"empty": b"", "cut": bytes(whole[:-100]), "zeros": bytes(len(whole))}[damage])
    rest = Stops(100)
    run(source, output, rest)
    assert output.read_bytes() == wanted
    assert rest.calls == -(-len(table()) // 250) - 2, "blocks 0 and 1 are kept"


def test_an_output_in_a_folder_that_is_read_is_refused(tmp_path: Path):
    folder = split(tmp_path / "parts", table(20))
    (folder / "deep").mkdir()
    for output in (folder / "part-0.parquet", folder / "plan.parquet", folder / "deep" / "plan.parquet"):
        with pytest.raises(StoreError, match="lies in the folder .*which is read"):
            frames.writable(output, folder)
    frames.writable(tmp_path / "plan.parquet", folder)
    (tmp_path / "x.parquet").mkdir()
    with pytest.raises(DataError, match="is a folder"):
        frames.writable(tmp_path / "x.parquet", folder)
    np.testing.assert_equal(sorted(p.name for p in tmp_path.iterdir()), ["parts", "x.parquet"])
