"""Two runs beside each other: paired on the same rows as `compare` does it, and unit by unit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from largesse.commands.studio.evidence import Evidence
from largesse.commands.studio.population import Population
from largesse.commands.studio.versus import differently, versus
from largesse.config import load
from largesse.evaluate import compare
from tests.common.studios import TEXT, made_run, made_units


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    place = tmp_path_factory.mktemp("versus")
    made_units(place)
    few = TEXT.replace(
        'candidates = ["lightgbm-rct"]', 'candidates = ["lightgbm-rct"]\nsettings.lightgbm-rct = {rounds = 3}'
    )
    return [
        made_run(place), made_run(place, name="autumn", text=few.replace("{rounds = 3}", "{{rounds = 3}}")),
        made_run(place, name="other", more="folds = 3"),
    ]  # fmt: skip


def evidence(run: Path) -> Evidence:
    made = Evidence.of_run(run, load(run / "config.toml"))
    assert made is not None
    return made


def test_the_difference_is_paired_on_the_same_rows(runs: list[Path]) -> None:
    first, second = evidence(runs[0]), evidence(runs[1])
    got = versus(first, second, 0.9)
    assert got is not None
    menus = {"a": first.proof.menu, "b": second.proof.menu}
    expected = compare(first.proof.logs, menus, [0.9], reference="a")
    p = expected.index("b")
    assert got.difference == expected.difference[p, 0] != 0
    assert (got.low, got.high) == (expected.difference_low[p, 0], expected.difference_high[p, 0])
    back = versus(second, first, 0.9)
    assert back is not None
    assert back.difference == pytest.approx(-got.difference)


def test_runs_that_were_proven_on_other_rows_are_not_subtracted(runs: list[Path]) -> None:
    assert versus(evidence(runs[0]), evidence(runs[2]), 0.9) is None


def test_units_that_get_something_else_are_counted(runs: list[Path]) -> None:
    first, second = (Population.open(run, run.parent / "units.parquet") for run in runs[:2])
    got = differently(first, second, (0.2, 0.3))
    assert got is not None
    given = []
    for one, price in ((first, 0.2), (second, 0.3)):
        value, cost = one.menu.value.astype(float), one.menu.cost.astype(float)
        given.append(
            np.array(
                [min(range(3), key=lambda j: (-(v[j] - price * c[j]), c[j])) for v, c in zip(value, cost, strict=True)]
            )
        )
    expected = np.zeros((3, 3), int)
    np.add.at(expected, tuple(given), 1)
    np.testing.assert_array_equal(got.moves, expected)
    assert got.n == int((given[0] != given[1]).sum())
    assert got.share == got.n / 3000
