"""The units of a studio under rules: which columns rules may name, and several files as one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from largesse import frames
from largesse.commands.studio.population import Population
from largesse.commands.studio.rules import UnitRules, joined
from largesse.config.rules import RulesFile
from largesse.errors import DataError, InfeasibleRules
from tests.common.studios import made_run, made_units


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rules")
    made_run(folder)
    table = frames.read(made_units(folder, 1000))
    rng = np.random.default_rng(0)
    more = {
        "may 0": np.ones(1000, bool), "may 5": rng.random(1000) < 0.5, "may 10": rng.random(1000) < 0.5,
        "can_0": np.ones(1000, bool), "can_5": np.ones(1000, bool),
        "plan": pa.array([["5", "10", None][k % 3] for k in range(1000)], pa.string()),
        "level": rng.integers(1, 12, 1000), "one": ["x"] * 1000, "many": [f"m{k % 51}" for k in range(1000)],
        "late": [f"m{k % 3}" if k < 900 else f"m{k}" for k in range(1000)],
    }  # fmt: skip
    for name, cells in more.items():
        table = table.append_column(name, pa.array(cells))
    frames.write(table, folder / "units.parquet")
    return folder


@pytest.fixture(scope="module")
def rules(place: Path) -> UnitRules:
    return UnitRules(Population.open(place / "spring", place / "units.parquet"))


def test_the_columns_that_rules_may_name(rules: UnitRules, monkeypatch: pytest.MonkeyPatch) -> None:
    assert rules.groups["city"] == ("east", "north", "south")
    assert rules.groups["level"] == tuple(map(str, range(1, 12))), "numbers are in their order"
    assert rules.groups["plan"] == ("5", "10")
    assert not {"one", "many", "user", "f0", "late"} & set(rules.groups)
    monkeypatch.setattr("largesse.commands.studio.rules._FIRST", 500)  # the first units do not show all labels
    assert UnitRules(rules.units).groups == rules.groups


def test_columns_of_truth_values_and_of_treatments(rules: UnitRules) -> None:
    assert rules.patterns == ("may {}",)
    assert rules.keepers == ("plan",)


def test_several_files_as_one(rules: UnitRules) -> None:
    names = rules.units.menu.treatments
    one = RulesFile.parse('eligible = "may {}"\ncount = [{treatment = "5", at_most = 3}]')
    two = RulesFile.parse('keep = "plan"\ncount = [{treatment = "10", at_most = 3}]\nreturn = [{at_least = 1}]')
    both = joined([one, two], names)
    assert (both.eligible, both.keep, both.treatments) == ("may {}", "plan", names)
    assert both.count == (*one.count, *two.count)
    assert both.return_ == two.return_
    assert joined([one, RulesFile(eligible="can_{}")], names).eligible == "can_{}"
    assert joined([], names).empty
    with pytest.raises(DataError, match=r"treatments == \('a', 'b'\): the run has"):
        joined([RulesFile(treatments=("a", "b"))], names)


def test_refusals(rules: UnitRules) -> None:
    with pytest.raises(InfeasibleRules, match="'10' at least 2000"):
        rules.plan(RulesFile.parse('count = [{treatment = "10", at_least = 2000}]'), 1e6)
    with pytest.raises(DataError, match="the run has"):
        rules.plan(RulesFile(treatments=("a", "b")), 100.0)


def test_a_plan_is_made_once(rules: UnitRules) -> None:
    file = RulesFile.parse('count = [{treatment = "5", at_most = 30}]')
    assert rules.plan(file, 500.0) is rules.plan(RulesFile.parse(file.dump()), 500.0)
    assert rules.plan(file, 500.0) is not rules.plan(file, 501.0)
