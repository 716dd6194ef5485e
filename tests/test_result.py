"""The forms of every result: plain JSON, dataframe, short text, HTML."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd
import pytest

from largesse import Menu, check, compare, frontier, outcome_curve, solve
from largesse.allocate import Chance, ClusterCells, Spend, grid, plan_clusters, solve_under
from largesse.checks import overlap
from largesse.checks.finding import Grade
from largesse.errors import MissingDependency
from largesse.evaluate import Bootstrap, CostCurve, effect_share
from largesse.experiment import Columns, Metric, always_valid, measure, plan_test, promise, replay
from largesse.experiment.data.sample import Sample
from largesse.menu import Status
from largesse.models import Boosting
from largesse.policy import Policy
from largesse.result import Brief, Result, Tabular, json_text, plain
from tests.common.campaigns import orders
from tests.common.shops import shop


class Colour(StrEnum):
    RED = "red"


class Pair(NamedTuple):
    a: float
    b: Colour


@dataclass(frozen=True, slots=True, repr=False)
class Small(Tabular):
    name: str
    numbers: np.ndarray
    _hidden: ClassVar[tuple[str, ...]] = ("secret",)
    secret: object = None

    def _columns(self) -> dict[str, Any]:
        return {"k": list(range(len(self.numbers))), "x": self.numbers}


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (float("nan"), None),
        (np.float32("inf"), None),
        (np.array([1.5, np.nan, -np.inf]), [1.5, None, None]),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (np.bool_(True), True),
        (np.int64(3), 3),
        (True, True),
        ({1: float("nan"), Colour.RED: Colour.RED}, {"1": None, "red": "red"}),
        (Pair(float("inf"), Colour.RED), {"a": None, "b": "red"}),
        ((1, [None, "x"], {2}), [1, [None, "x"], [2]]),
        (Path("a") / "b", "a/b"),
        (Status.OPTIMAL, "optimal"),
        (Small("s", np.array([np.nan])), {"name": "s", "numbers": [None]}),
    ],
)
def test_values_become_plain(value: object, wanted: object) -> None:
    got = plain(value)
    assert got == wanted
    assert type(got) is type(wanted)
    assert json.loads(json_text(value), parse_constant=pytest.fail) == wanted


def test_what_has_no_form_is_refused() -> None:
    with pytest.raises(TypeError, match="object: has no form in JSON"):
        json_text({"a": [object()]})


def test_a_table_is_a_frame_records_and_a_screen() -> None:
    table = Small("many", np.arange(5000.0), secret=object())
    assert table.to_dict() == {"name": "many", "numbers": list(range(5000))}
    assert table.to_records()[4999] == {"k": 4999, "x": 4999.0}
    pd.testing.assert_frame_equal(table.to_frame(), pd.DataFrame({"k": range(5000), "x": np.arange(5000.0)}))
    lines = repr(table).splitlines()
    assert lines[0] == "Small of 5,000 rows (name='many')"
    assert lines[1].split() == ["k", "x"]
    assert lines[-1] == "... 4,980 more rows"
    assert len(lines) <= 25
    page = replace(table, name="<b>")._repr_html_()
    assert "&lt;b&gt;" in page
    assert page.count("<tr>") == 21
    assert repr(Small("none", np.empty(0))).splitlines()[0] == "Small of 0 rows (name='none')"


def test_a_frame_needs_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(MissingDependency, match="pip install"):
        Small("s", np.zeros(2)).to_frame()


@pytest.fixture(scope="module")
def results() -> dict[str, Brief]:
    """One of each kind of result that the public functions return, of more rows than a screen has lines."""
    logs, test = orders(3000, seed=1), orders(2000, seed=2)
    model = Boosting(rounds=5).fit(logs)
    menu = model.predict(test.x)
    policy = Policy.calibrated(model, test, draws=20)
    table = compare(test, {f"policy {k}": menu for k in range(9)}, [0.3, 0.5, 0.8], bootstrap=Bootstrap(draws=20))
    sound = check(logs, orders(2000, seed=3, design="obs"))
    cells = ClusterCells(
        size=np.full(40, 30.0), value=np.tile([0.0, 1.0], (40, 1)), cost=np.tile([0.0, 1.0], (40, 1)),
        covariance=np.full((40, 2, 2, 2), 0.01), treatments=("none", "some"),
    )  # fmt: skip
    data = shop(1500, arms=3)
    experiment = measure(data, Columns(arm="group", metrics=(Metric("spend", covariate="before"), Metric("visits"))))
    past = Sample(value=np.asarray(data["spend"], float), arm=np.arange(1500) % 2, arms=("A", "B"))
    history = replay(past, draws=20, lifts=(0.05,))
    return {
        "logs": logs, "menu": menu, "plan": solve(menu, 200.0), "totals": solve(menu, 200.0).totals,
        "rules": solve_under(menu, [Spend(at_most=200.0)]), "allocation": policy.allocate(menu, 200.0),
        "policy": policy, "curve": policy.curve, "realised": policy.realised(test, [0.3, 0.5]), "comparison": table,
        "share": effect_share(table, "policy 0"), "outcome curve": outcome_curve(test, menu),
        "cost curve": CostCurve(cost=np.linspace(0, 1, 500), value=np.linspace(0, 1, 500), share=np.linspace(0, 1, 500)),
        "frontier": frontier(menu), "grid": grid(menu, np.linspace(100, 300, 60)),
        "clusters": plan_clusters(cells, [300.0], risk=Chance(0.05))[0], "cells": cells, "soundness": sound,
        **{f.name: f for f in sound}, "overlap alone": overlap(orders(2000, seed=3, design="obs")),
        "experiment": experiment, "metric": experiment["spend"], "contrast": experiment["spend"].contrasts[0],
        "guard": experiment["spend"].guards[0], "tails": experiment["spend"].tails, "replay": history,
        "test plan": plan_test(history, effect=1.0, shares={"A": 1, "B": 1}),
        "promise": promise(table, "policy 0", "best mix of arms"), "always valid": always_valid(1.0, 0.5, scale=1.0),
    }  # fmt: skip


def test_every_result_fits_a_screen(results: dict[str, Brief]) -> None:
    for name, one in results.items():
        lines = repr(one).splitlines()
        assert len(lines) <= 25, f"{name}: {len(lines)} lines"
        assert max(map(len, lines)) <= 200, name
        assert type(one).__name__ in lines[0], name
        assert one._repr_html_().count("<tr>") <= 25, name


def test_every_result_is_plain_json(results: dict[str, Brief]) -> None:
    for name, one in results.items():
        if isinstance(one, Result):
            values = one.to_dict()
            assert json.loads(json.dumps(values, allow_nan=False)) == values, name
            assert values, name


def test_every_table_is_a_frame(results: dict[str, Brief]) -> None:
    tables = {name: one for name, one in results.items() if isinstance(one, Tabular)}
    assert len(tables) >= 12
    for name, one in tables.items():
        frame = one.to_frame()
        assert list(frame.columns) == list(one.to_records()[0]), name
        assert len(frame) == len(one.to_records()) > 0, name


def test_a_plan_as_a_frame_names_its_treatments() -> None:
    menu = Menu(value=[[0.0, 3.0], [0.0, 1.0]], cost=[[0.0, 1.0]] * 2, treatments=("none", "coupon"), unit=["a", "b"])
    assert solve(menu, 1.0).to_frame().to_dict("list") == {"unit": ["a", "b"], "treatment": ["coupon", "none"]}
    assert solve(menu, 1.0).to_dict()["mix"] == {"none": 1, "coupon": 1}
    assert solve(menu, 1.0).to_dict()["budget"] == 1.0


def test_grades_are_ordered_and_checked() -> None:
    assert Grade.worst([Grade.OK, Grade.FAIL, Grade.WARN]) is Grade.FAIL
    assert Grade.worst([Grade.WARN, Grade.OK]) is Grade.WARN
    assert Grade.worst([]) is Grade.OK
