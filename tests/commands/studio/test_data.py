"""The features of units beside the trial: counts and indices computed again, cell by cell."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from largesse.commands.studio.data import Beside, counts_of, drift_of, shares_of, understood_of
from largesse.commands.studio.table import UnitTable
from largesse.errors import StoreError
from largesse.serving.watch.features import DRIFT, Spread, read_spreads
from tests.common.campaigns import table
from tests.common.studios import made_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_run(tmp_path_factory.mktemp("data"), more="folds = 1")


def units(place: Path, **changed: Any) -> UnitTable:
    """2,000 units like the trial, some of their columns changed; None: left out."""
    made = table(2000, 7).drop_columns(["arm", "orders", "spent"])
    for name, cells in changed.items():
        made = made.drop_columns([name])
        if cells is not None:
            made = made.append_column(name, pa.array(cells))
    pq.write_table(made, place / "units.parquet")
    return UnitTable.open(place / "units.parquet", ())


def by_cell(spread: Spread, cells: list[Any]) -> list[int]:
    """Counts in the bins of a feature, one cell after the other."""
    out = [0] * len(spread.shares)
    for cell in cells:
        if cell is None or (isinstance(cell, float) and not math.isfinite(cell)):
            out[-1] += 1
        elif spread.text:
            out[spread.levels.index(cell) if cell in spread.levels else -2] += 1
        else:
            out[sum(edge <= np.float32(cell) for edge in spread.edges)] += 1
    return out


def psi(then: list[float], now: list[float]) -> float:
    """The index by its definition; bins with nobody on one side count as half a row of 2,000."""
    pairs = [(max(a, 0.5 / 2000), max(b, 0.5 / 1500)) for a, b in zip(now, then, strict=True) if a or b]
    return sum((a - b) * math.log(a / b) for a, b in pairs)


def test_counts_and_indices_are_those_of_a_loop_over_the_cells(run, tmp_path):
    rng = np.random.default_rng(0)
    ages = [None if k % 3 == 0 else float(40 + k % 60) for k in range(2000)]
    cities = [None if k % 50 == 0 else ["north", "west", "east"][int(u * 3)] for k, u in enumerate(rng.random(2000))]
    got = drift_of(units(tmp_path, age=ages, city=cities, f1=rng.normal(3, 1, 2000)), read_spreads(run))
    cells = pq.read_table(tmp_path / "units.parquet").to_pydict()
    assert {one.spread.name for one in got} == {"f0", "f1", "f2", "f3", "city", "age"}
    for one in got:
        expected = by_cell(one.spread, cells[one.spread.name])
        assert one.counts.tolist() == expected, one.spread.name
        assert sum(expected) == 2000
        index = psi(list(one.spread.shares), [n / 2000 for n in expected])
        assert one.worst.psi == pytest.approx(index, rel=0.03, abs=0.002), one.spread.name
        assert one.changed == (one.worst.psi > one.worst.threshold >= DRIFT)
    assert {one.spread.name for one in got if one.changed} == {"age", "city", "f1"}
    ratios = [one.worst.psi / one.worst.threshold for one in got]
    assert ratios == sorted(ratios, reverse=True)


def test_units_like_the_trial_have_not_changed(run, tmp_path):
    assert not any(one.changed for one in drift_of(units(tmp_path), read_spreads(run)))


def test_the_trial_itself_has_the_shares_that_the_run_keeps(run):
    trial = UnitTable.open(run.parent / "trial.parquet", ())
    for one in drift_of(trial, read_spreads(run)):
        assert one.counts.sum() == one.spread.rows == 1500
        np.testing.assert_allclose(one.counts / 1500, one.spread.shares, atol=1e-12, err_msg=one.spread.name)
        assert one.worst.psi == pytest.approx(0.0, abs=1e-6)


def test_a_column_that_is_missing_or_of_another_kind_comes_first(run, tmp_path):
    got = drift_of(units(tmp_path, f2=None, f3=["a"] * 2000), read_spreads(run))
    assert {one.spread.name for one in got[:2]} == {"f2", "f3"}
    problems = {one.spread.name: one.problem for one in got}
    assert problems["f2"] == "the units have no such column"
    assert "holds text (e.g. 'a'), it must hold numbers" in problems["f3"]
    assert all(one.changed and one.counts is None for one in got[:2])
    assert [name for name, _, now in shares_of(got[0]) if now is not None] == []


@pytest.mark.parametrize(
    ("spread", "cells", "counts"),
    [
        (Spread("x", False, (), (), (1.0, 0.0), 9), [1.0, None, math.nan, math.inf], [1, 3]),
        (Spread("x", False, (0.5,), (), (0.5, 0.5, 0.0), 9), [True, False, True, None], [1, 2, 1]),
        (Spread("x", True, (), ("1", "2"), (0.5, 0.5, 0.0, 0.0), 9), [1, 2, 3, None], [1, 1, 1, 1]),
        (Spread("x", True, (), ("a",), (1.0, 0.0, 0.0), 9), ["a", "b", "c"], [1, 2, 0]),
        (Spread("x", True, (), ("a",), (1.0, 0.0, 0.0), 9), [None, None], [0, 0, 2]),
    ],
)  # fmt: skip
def test_cells_are_read_as_by_the_encoder(spread, cells, counts):
    assert counts_of(spread, pa.chunked_array([pa.array(cells)])).tolist() == counts


def test_names_of_bins():
    spread = Spread("x", False, (1234.5, 2345.6), (), (0.25, 0.5, 0.25, 0.0), 100)
    assert [name for name, _, _ in shares_of(Beside(spread, None, None))] == [
        "below 1,234", "1,234 to 2,346", "from 2,346",
    ]  # fmt: skip
    close = spread._replace(edges=(2000.4, 2000.45))
    assert next(name for name, _, _ in shares_of(Beside(close, np.array([1, 0, 0, 1]), None))) == "below 2000.4"
    labels = Spread("x", True, (), ("a", "b"), (0.5, 0.5, 0.0, 0.0), 100)
    got = shares_of(Beside(labels, np.array([3, 0, 1, 0]), None))
    assert got == (("a", 0.5, 0.75), ("b", 0.5, 0.0), ("another label", 0.0, 0.25))


def test_what_a_run_understood_is_read_back(run):
    metrics = json.loads((run / "metrics.json").read_text())
    about = understood_of(metrics, "metrics.json")
    assert about.rows == {"of the trial": 1500}
    assert [arm._asdict() for arm in about.arms] == metrics["understood"]["arms"]
    assert sum(arm.rows for arm in about.arms) == 1500
    for spoiled in ({}, {"understood": []}, {"understood": metrics["understood"] | {"arms": [{"rows": 3}]}}):
        with pytest.raises(StoreError, match=r"metrics.json: is damaged .* Fit the run again"):
            understood_of(spoiled, "metrics.json")
