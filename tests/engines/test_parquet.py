"""Parquet to Parquet: the plan equals that of units in memory, for any blocks and after interruptions."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest

from largesse import frames
from largesse.allocate import solve
from largesse.allocate.blocks import BLOCK, solve_blocks
from largesse.engines import parquet as engine
from largesse.engines.parquet import stream
from largesse.engines.pipeline import ahead, behind
from largesse.errors import DataError, InfeasibleBudget, SchemaError, StoreError
from largesse.frames.batches import Batches
from largesse.menu import Menu
from largesse.progress import silent
from tests.common.streams import NAMES, SIZE, N, Stops, blocks_of, menu, run, table, units


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "units.parquet"
    pa_parquet.write_table(table(), path, row_group_size=700)
    return path


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "plan.parquet"


def left_behind(output: Path) -> list[str]:
    return sorted(path.name for path in output.parent.iterdir() if path.name not in (output.name, "units.parquet"))


@pytest.mark.parametrize("size", [1, 7, 250, 1000, N, BLOCK])
@pytest.mark.parametrize("unit", ["who", None])
def test_the_file_holds_the_plan_of_units_in_memory(source: Path, output: Path, size: int, unit: str | None):
    if size == 1:
        pa_parquet.write_table(table(60), source)
    budget = 0.2 * len(frames.read(source))
    done = run(source, output, size=size, unit=unit, budget=budget)
    whole_menu = menu(frames.read(source))
    plan = solve(whole_menu, budget)
    wanted = frames.plan_table(plan, whole_menu)
    written = frames.read(output)
    key = "row" if unit is None else "who"
    assert written.column_names == [key, "treatment", "value", "incremental_value", "cost", "runner_up", "margin"]
    assert written.drop_columns(key).equals(wanted.drop_columns("row"))
    assert written[key].to_pylist() == (
        list(range(whole_menu.n)) if unit is None else frames.read(source)["who"].to_pylist()
    )
    assert written.schema.field("value").type == pa.float32()
    assert done.sums.n == whole_menu.n
    assert done.sums.counts.tolist() == plan.counts.tolist()
    assert done.sums.spend == pytest.approx(plan.spend, rel=1e-14)
    assert done.sums.value == pytest.approx(plan.value, rel=1e-14)
    assert done.decision.price == plan.price
    assert left_behind(output) == []


def test_a_folder_is_read_in_the_order_of_its_files(tmp_path: Path, output: Path):
    whole = table()
    (tmp_path / "parts").mkdir()
    for k, (a, b) in enumerate([(0, 400), (400, 401), (401, N)]):
        pa_parquet.write_table(whole.slice(a, b - a), tmp_path / "parts" / f"part-{k}.parquet")
    run(tmp_path / "parts", output)
    assert frames.read(output)["who"].to_pylist() == whole["who"].to_pylist()
    frames.write(whole, tmp_path / "units.parquet")
    again = output.with_name("again.parquet")
    run(tmp_path / "units.parquet", again)
    assert again.read_bytes() == output.read_bytes()


# ---- interrupted runs


def test_an_interrupted_run_goes_on_and_writes_the_same_file(source: Path, output: Path):
    run(source, output)
    wanted = output.read_bytes()
    output.unlink()
    with pytest.raises(KeyboardInterrupt):
        run(source, output, Stops(4))
    assert not output.exists()
    assert left_behind(output) == [".plan.parquet.partial"]
    folder = output.with_name(".plan.parquet.partial")
    (folder / "block-000004.partial").write_bytes(b"half")  # the partial block that a killed run leaves
    (folder / "plan.parquet").write_bytes(b"half")
    stages: list[str] = []
    rest = Stops(100)
    with blocks_of(SIZE):
        stream(
            units(source, rest), output, lambda passes: solve_blocks(passes, 500.0),
            say=lambda stage, share: stages.append(stage),
        )  # fmt: skip
    assert rest.calls == -(-N // SIZE) - 4
    assert stages[0] == "Continuing from unit 1,000, where an interrupted run stopped."
    assert output.read_bytes() == wanted
    assert left_behind(output) == []


def test_a_run_interrupted_at_the_price_says_that_all_units_are_there(source: Path, output: Path):
    def stop(passes: Any) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), blocks_of(SIZE):
        stream(units(source), output, stop, say=silent)
    stages: list[str] = []
    with blocks_of(SIZE):
        stream(
            units(source), output, lambda passes: solve_blocks(passes, 500.0),
            say=lambda stage, share: stages.append(stage),
        )  # fmt: skip
    assert stages[0] == f"Continuing from unit {N:,}, where an interrupted run stopped."


def test_what_the_threads_of_the_files_raise_comes_out():
    def broken() -> Any:
        yield 1
        raise OSError("no such block")

    def full(item: int) -> None:
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="no such block"):
        list(ahead(broken()))
    for items in (1, 2):
        with pytest.raises(OSError, match="the disk is full"):
            _each(full, items)


def _each(write: Any, items: int) -> None:
    with behind(write) as put:
        for item in range(items):
            put(item)


def test_a_run_interrupted_while_it_writes_scores_nothing_again(source: Path, output: Path, monkeypatch):
    run(source, output)
    wanted = output.read_bytes()
    output.unlink()
    paths = []

    def stop(path: Any, schema: Any, **options: Any) -> Any:
        paths.append(path)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(engine.pa_parquet, "ParquetWriter", stop)
        with pytest.raises(KeyboardInterrupt):
            run(source, output)
    assert paths
    none = Stops(0, AssertionError("scored again"))
    run(source, output, none)
    assert output.read_bytes() == wanted


@pytest.mark.parametrize("change", ["rows", "key", "size", "unit"])
def test_what_another_job_left_is_not_used(source: Path, output: Path, change: str):
    with pytest.raises(KeyboardInterrupt):
        run(source, output, Stops(4))
    options: dict[str, Any] = {}
    if change == "rows":
        pa_parquet.write_table(table(seed=1), source)
        os.utime(source, ns=(1, 1))
    elif change == "key":
        options["key"] = {"policy": "another"}
    elif change == "size":
        options["size"] = SIZE + 1
    else:
        options["unit"] = None
    every = Stops(100)
    done = run(source, output, every, **options)
    assert every.calls == -(-N // options.get("size", SIZE))
    assert done.sums.counts.tolist() == solve(menu(frames.read(source)), 500.0).counts.tolist()


def test_a_full_disk_keeps_what_is_done(source: Path, output: Path):
    with pytest.raises(DataError, match=r"plan.parquet: cannot be written \(No space left.*goes on where it stopped"):
        run(source, output, Stops(3, OSError(28, "No space left on device")))
    rest = Stops(100)
    run(source, output, rest)
    assert rest.calls == -(-N // SIZE) - 3


# ---- refusals


def refused(source: Path, output: Path, error: type[Exception], words: str, **options: Any) -> Exception:
    output.write_bytes(b"older")
    with pytest.raises(error, match=words) as caught:
        run(source, output, **options)
    assert output.read_bytes() == b"older"
    assert left_behind(output) == []
    return caught.value


def test_bad_cells_are_refused_and_nothing_is_left_behind(source: Path, output: Path):
    broken = table()["v small"].to_numpy().copy()
    broken[1003] = np.nan
    frames.write(table(**{"v small": broken}), source)
    error = refused(source, output, DataError, r"value\[3, 1\] == nan")
    assert error.__notes__ == ["Rows are counted from row 1,000 of the file."]


def test_ids_that_stand_there_twice_are_named(source: Path, output: Path):
    names = table()["who"].to_pylist()
    names[2100] = names[40]
    frames.write(table(who=names), source)
    refused(
        source, output, DataError, r"unit == 'u40': each unit may appear only once \(rows 40 and 2100; 1 ids repeated\)"
    )
    numbers = np.arange(N, dtype=np.int32)
    numbers[7] = 2000
    frames.write(table(who=numbers), source)
    refused(source, output, DataError, r"unit == 2000: .*rows 7 and 2000")


def test_ids_that_only_share_their_digest_are_not_refused(source: Path, output: Path, monkeypatch):
    run(source, output)
    wanted = output.read_bytes()
    monkeypatch.setattr(pl.Series, "hash", lambda self: pl.Series(np.zeros(len(self), np.uint64)))
    run(source, output)
    assert output.read_bytes() == wanted


def test_missing_ids_are_refused(source: Path, output: Path):
    for names in ([None, *range(1, N)], [None, *(f"u{k}" for k in range(1, N))]):
        frames.write(table(who=pa.array(names)), source)
        refused(source, output, DataError, r"who\[0\] is missing: every row needs a unit id")


@pytest.mark.parametrize(
    ("error", "words", "options"),
    [
        (InfeasibleBudget, "cheapest plan costs", {"budget": -1.0}),
        (DataError, "budget == nan", {"budget": float("nan")}),
        (SchemaError, "column 'whom': not in the table.*Did you mean 'who'", {"unit": "whom"}),
    ],
)
def test_jobs_that_make_no_sense(source: Path, output: Path, error, words, options):
    refused(source, output, error, words, **options)


def test_units_that_cannot_be_read(source: Path, output: Path, tmp_path: Path):
    with pytest.raises(DataError, match="gone.parquet: no such file"):
        run(tmp_path / "gone.parquet", output)
    with pytest.raises(DataError, match="holds no .parquet file"):
        run((tmp_path / "empty").mkdir() or tmp_path / "empty", output)
    frames.write(table().slice(0, 0), source)
    with pytest.raises(DataError, match="table has 0 rows"):
        run(source, output)
    source.write_bytes(b"PAR1 no more")
    with pytest.raises(DataError, match="cannot be read as .parquet"):
        run(source, output)
    (tmp_path / "parts").mkdir()
    frames.write(table(), tmp_path / "parts" / "a.parquet")
    frames.write(table().drop_columns("who"), tmp_path / "parts" / "b.parquet")
    with pytest.raises(SchemaError, match="b.parquet: column 'who' is missing, which .*a.parquet has"):
        run(tmp_path / "parts", output)


def test_a_file_cut_short_is_refused_in_words(source: Path, output: Path):
    whole = source.read_bytes()
    damaged = bytearray(whole)
    damaged[200:2000] = bytes(1800)
    source.write_bytes(damaged)
    refused(source, output, DataError, "cannot be read as .parquet")


def test_a_folder_that_is_not_ours_is_left_alone(source: Path, output: Path):
    folder = output.with_name(".plan.parquet.partial")
    folder.mkdir()
    (folder / "diary.txt").write_text("dear diary")
    with pytest.raises(StoreError, match="is in the way, and was not made by largesse"):
        run(source, output)
    assert (folder / "diary.txt").read_text() == "dear diary"


def test_two_runs_at_one_output_do_not_mix(source: Path, output: Path):
    class Twice(Stops):
        def __call__(self, part: pa.Table) -> Menu:
            if self.calls == 2:
                with pytest.raises(StoreError, match="another process is writing it"):
                    run(source, output)
            return super().__call__(part)

    run(source, output, Twice(100))
    assert output.exists()


def test_the_folder_of_the_output_must_exist(source: Path, tmp_path: Path):
    with pytest.raises(DataError, match="cannot be written.*Create the folder"):
        run(source, tmp_path / "nowhere" / "plan.parquet")


# ---- rows in batches


@pytest.mark.parametrize("groups", [100, 301, N])
@pytest.mark.parametrize("start", [0, 1, 99, 100, 101, 700, N - 1, N])
def test_batches_begin_anywhere(tmp_path: Path, groups: int, start: int):
    path = tmp_path / "rows.parquet"
    pa_parquet.write_table(pa.table({"a": np.arange(N), "b.c": np.arange(N)}), path, row_group_size=groups)
    batches = Batches(path)
    for columns in (["a"], ["b.c", "a"]):
        parts = list(batches.tables(columns, 300, start))
        assert [part.num_rows for part in parts[:-1]] == [300] * (len(parts) - 1)
        assert [value for part in parts for value in part[columns[0]].to_pylist()] == list(range(start, N))
        assert all(part.column_names == columns for part in parts)


# ---- the commands' own functions


def test_plan_is_the_same_for_every_kind_of_file(tmp_path: Path):
    from largesse.commands.plan import plan_under

    rules = tmp_path / "rules.toml"
    rules.write_text(
        f'treatments = {json.dumps(NAMES)}\nvalue = "v {{}}"\ncost = "c {{}}"\nunit = "who"\nspend = [{{at_most = 700}}]\n'
    )
    for suffix in ("parquet", "feather"):
        frames.write(table(), tmp_path / f"units.{suffix}")
    one = plan_under(tmp_path / "units.parquet", rules, tmp_path / "a.parquet")
    two = plan_under(tmp_path / "units.feather", rules, tmp_path / "b.parquet")
    assert frames.read(tmp_path / "a.parquet").equals(frames.read(tmp_path / "b.parquet"))
    assert (one.n, one.mix, one.rules[0].price) == (two.n, two.mix, two.rules[0].price)
    assert one.spend == pytest.approx(two.spend, rel=1e-14)
    assert one.rules[0].rule == "spend at most 700"
    assert 0 <= one.gap < 1
    assert one.gap == pytest.approx(two.gap, abs=1e-9)


def test_a_plan_that_was_interrupted_goes_on(tmp_path: Path, monkeypatch):
    from largesse.commands import plan as ruled
    from largesse.commands.plan import plan_under

    rules = tmp_path / "rules.toml"
    rules.write_text(
        f'treatments = {json.dumps(NAMES)}\nvalue = "v {{}}"\ncost = "c {{}}"\nunit = "who"\nspend = [{{at_most = 700}}]\n'
    )
    frames.write(table(), tmp_path / "units.parquet")
    words = (tmp_path / "units.parquet", rules, tmp_path / "plan.parquet")
    plan_under(*words)
    wanted = words[2].read_bytes()
    words[2].unlink()

    def stop(*given: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ruled, "solve_blocks", stop)
        with pytest.raises(KeyboardInterrupt):
            plan_under(*words)
    stages: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(ruled, "_cells", lambda *given: pytest.fail("scored again"))
        plan_under(*words, say=lambda stage, share: stages.append(stage))
    assert stages[0].startswith("Continuing from unit")
    assert words[2].read_bytes() == wanted


def test_what_was_read_is_let_go(tmp_path: Path):
    rows, groups = 50_000, 12
    with pa_parquet.ParquetWriter(tmp_path / "u.parquet", pa.schema([("x", pa.float64())])) as writer:
        for k in range(groups):
            writer.write_table(pa.table({"x": np.random.default_rng(k).random(rows)}))  # random numbers do not compress
    before, most = pa.total_allocated_bytes(), 0
    for part in Batches(tmp_path / "u.parquet").tables(["x"], rows):
        most = max(most, pa.total_allocated_bytes() - before)
        assert part.num_rows == rows
    assert most < 5 * 8 * rows, "a few blocks, however many there are"
