"""The units of a studio against `allocate` on the same files: every number equal."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from largesse import frames
from largesse.commands.allocate import allocate_run
from largesse.commands.studio.population import FOLDER, Population
from largesse.errors import DataError, InfeasibleBudget, SchemaError
from tests.common.studios import made_run, made_units


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("population")
    made_run(place)
    made_units(place)
    return place


@pytest.fixture(scope="module")
def units(place: Path) -> Population:
    return Population.open(place / "spring", place / "units.parquet")


@pytest.mark.parametrize("budget", [0.0, 30.0, 700.0, 2000.0, 1e9])
@pytest.mark.parametrize("safety", [None, 0.9])
@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_a_budget_gives_what_allocate_gives(
    place: Path, units: Population, tmp_path: Path, budget: float, safety: float | None, kind: str
) -> None:
    expected = allocate_run(place / "spring", place / "units.parquet", budget, tmp_path / f"out.{kind}", safety=safety)
    got = units.allocate(budget, safety=safety)
    assert got.price == expected.price
    assert got.plan.mix == expected.plan.mix
    for name in ("planned_spend", "budget", "safety", "notes", "n"):
        assert getattr(got, name) == (
            pytest.approx(getattr(expected, name), rel=1e-12) if name == "planned_spend" else getattr(expected, name)
        )
    np.testing.assert_allclose(got.spend, expected.spend, rtol=1e-12)
    np.testing.assert_allclose(got.value, expected.value, rtol=1e-12)
    assert got.brought is not None
    assert expected.brought is not None
    np.testing.assert_allclose(got.brought, expected.brought, rtol=1e-9, atol=1e-9)  # type: ignore[arg-type]


def test_the_second_time_nothing_is_scored(place: Path, units: Population, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "largesse.commands.studio.population._scored", lambda *given: pytest.fail("it was scored again")
    )
    again = Population.open(place / "spring", place / "units.parquet")
    assert again.allocate(700.0) == units.allocate(700.0) or again.allocate(700.0).price == units.allocate(700.0).price
    np.testing.assert_array_equal(again.menu.value, units.menu.value)


def test_another_file_or_policy_is_scored_anew(place: Path, tmp_path: Path) -> None:
    run = shutil.copytree(place / "spring", tmp_path / "spring", ignore=shutil.ignore_patterns(FOLDER))
    file = shutil.copy(place / "units.parquet", tmp_path / "units.parquet")
    Population.open(run, file)
    frames.write(frames.read(file).slice(0, 100), file)
    assert Population.open(run, file).n == 100
    assert len(list((run / FOLDER).iterdir())) == 2


def test_what_was_scored_half_is_not_used(place: Path, tmp_path: Path) -> None:
    run = shutil.copytree(place / "spring", tmp_path / "spring", ignore=shutil.ignore_patterns(FOLDER))
    Population.open(run, place / "units.parquet")
    (kept,) = (run / FOLDER).iterdir()
    (kept / "slope.npy").write_bytes(b"half")
    again = Population.open(run, place / "units.parquet")
    assert again.n == 3000


def test_nothing_needs_to_be_written(place: Path, tmp_path: Path) -> None:
    run = shutil.copytree(place / "spring", tmp_path / "spring", ignore=shutil.ignore_patterns(FOLDER))
    (run / FOLDER).write_text("in the way")
    assert Population.open(run, place / "units.parquet").allocate(700.0).price > 0


def test_a_unit_is_sought_by_its_id(units: Population) -> None:
    ids = frames.read(units.table._source).column("user").to_pylist()
    assert units.place_of("17") == ids.index(17)
    assert units.place_of("nobody") is None
    row = units.table.row(2999)
    assert row["user"] == ids[2999]
    assert set(row) == set(units.table.names)


def test_without_ids_units_are_numbered(place: Path, tmp_path: Path) -> None:
    frames.write(frames.read(place / "units.parquet").drop_columns(["user"]), tmp_path / "units.csv")
    text = (place / "spring" / "config.toml").read_text()
    run = shutil.copytree(place / "spring", tmp_path / "spring", ignore=shutil.ignore_patterns(FOLDER))
    assert 'unit = "user"' in text
    with pytest.raises(SchemaError, match="user"):
        Population.open(run, tmp_path / "units.csv")


def test_bad_units_are_refused(place: Path, tmp_path: Path) -> None:
    table = frames.read(place / "units.parquet")
    frames.write(table.drop_columns(["f1"]), tmp_path / "less.parquet")
    with pytest.raises(SchemaError, match="f1"):
        Population.open(place / "spring", tmp_path / "less.parquet")
    with pytest.raises(DataError, match="nowhere"):
        Population.open(place / "spring", tmp_path / "nowhere.parquet")
    twice = frames.read(place / "units.parquet").slice(0, 10)
    import pyarrow as pa

    frames.write(pa.concat_tables([twice, twice]), tmp_path / "twice.parquet")
    with pytest.raises(DataError, match="unit"):
        Population.open(place / "spring", tmp_path / "twice.parquet")


def test_more_units_than_fit_are_refused_with_what_to_do(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("largesse.commands.studio.population._MOST", 2_999)
    with pytest.raises(DataError, match=r"3,000 units; the studio holds at most 2,999.*a random part"):
        Population.open(place / "spring", place / "units.parquet")


def test_a_budget_below_the_cheapest_allocation_is_refused(units: Population) -> None:
    assert units.least == 0.0
    with pytest.raises((InfeasibleBudget, DataError)):
        units.allocate(-1.0)
    assert units.allocate(units.most).plan.spend == pytest.approx(
        units.allocate(float("inf"), safety=None).plan.spend, rel=0.5
    )
