"""The page Unit: what it says a unit gets is what `allocate` writes, what is typed in is what the model reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from largesse import frames
from largesse.commands.allocate import allocate_run
from largesse.commands.studio.evidence import WhatIf
from largesse.commands.studio.near import near
from largesse.errors import DataError
from largesse.policy import Policy
from largesse.report.blocks import Table
from largesse.report.numbers import number
from largesse.web.opened import Studio
from largesse.web.pages.unit import PATH, view
from largesse.web.query import Query
from largesse.web.view import Drawn, View
from tests.common.studios import TEXT, made_run, made_units

BUDGET = 5000.0
STACK = TEXT.replace('candidates = ["lightgbm-rct"]', 'candidates = ["stack-rct"]\nmembers = 1\nepochs = 1')


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unit")
    made_run(folder)
    made_units(folder)
    return folder


@pytest.fixture(scope="module")
def studio(place: Path) -> Studio:
    return Studio([place / "spring"], users=place / "units.parquet")


def shown(studio: Studio, *pairs: tuple[str, str], **single: str) -> View:
    return view(studio, Query([("budget", f"{BUDGET:g}"), ("safety", "average"), *pairs, *single.items()]))


def fields(page: View) -> dict[str, str]:
    return {one.name: one.value for one in page.fields}


def menu_rows(page: View) -> list[tuple[str, ...]]:
    (table,) = [one for one in page.moving if isinstance(one, Table)]
    return [tuple(map(str, row.cells)) for row in table.rows]


def test_every_unit_gets_on_the_page_what_allocate_writes(studio: Studio, place: Path, tmp_path: Path) -> None:
    allocate_run(place / "spring", place / "units.parquet", BUDGET, tmp_path / "plan.parquet", safety=None)
    plan = frames.read(tmp_path / "plan.parquet").to_pandas().set_index("user")
    for unit in (0, 4, 17, 300, 1471, 2999):
        page, row = shown(studio, unit=str(unit)), plan.loc[unit]
        assert page.document["given"] == row["treatment"]
        assert page.headline.startswith(f"User '{unit}' gets '{row['treatment']}'")
        given = next(one for one in menu_rows(page) if one[-1] == "given")
        assert given[:4] == (
            row["treatment"], number(row["value"]), number(row["cost"]), number(row["incremental_value"], sign=True),
        )  # fmt: skip
        second = next(one for one in menu_rows(page) if one[-1] == "second")
        assert second[0] == row["runner_up"]
        assert page.document["plan"]["margin"] == pytest.approx(row["margin"], rel=1e-4)


@pytest.mark.parametrize("unit", [0, 17, 2999])
def test_the_answer_is_why(studio: Studio, unit: int) -> None:
    """The next step of the unit's concave hull, found by hand, is worse than the price."""
    page = shown(studio, unit=str(unit))
    own = studio.first.population
    assert own is not None
    value, cost = own.menu.value[unit].astype(float), own.menu.cost[unit].astype(float)
    price, given = page.document["price"], own.menu.treatments.index(page.document["given"])
    dearer = [j for j in range(3) if cost[j] > cost[given] and value[j] > value[given]]
    if dearer:
        best = max(dearer, key=lambda j: (value[j] - value[given]) / (cost[j] - cost[given]))
        slope = (value[best] - value[given]) / (cost[best] - cost[given])
        assert slope <= price
        assert f"{number(slope)} orders per EUR, below the price {number(price)}" in page.headline
        assert repr(own.menu.treatments[best]) in page.headline
    else:
        assert "more" in page.headline


def test_the_decision_changes_at_the_budgets_that_are_named(studio: Studio) -> None:
    own = studio.first.population
    assert own is not None
    tried = 0
    for unit in range(0, 60, 3):
        plan = shown(studio, unit=str(unit)).document["plan"]
        for change, sign in ((plan["dearer"], -1), (plan["cheaper"], 1)):
            if change is None:
                continue
            at = change["price"]
            after = Policy.load(own.run / "policy").decide(own.menu.take([unit]), at * (1 + 1e-6 * sign))[0]
            assert own.menu.treatments[after] == change["treatment"]
            tried += 1
    assert tried > 10


def test_the_total_budget_at_which_it_changes(studio: Studio) -> None:
    """Two per cent beyond it the unit gets something else; it is known to within the steps between known prices."""
    page = shown(studio, unit="17")
    (sentence,) = [one for one in page.summary if one.startswith("It would get ")]
    words = sentence.split("total budget of about ")[1:]
    assert words
    plan = page.document["plan"]
    for text, change in zip(words, [one for one in (plan["dearer"], plan["cheaper"]) if one], strict=True):
        total = float(text.split(" ")[0].replace(",", ""))
        after = view(studio, Query([("budget", f"{total * (1.02 if ' or more' in text else 0.98)}"), ("safety", "average"),
                                    ("unit", "17")]))  # fmt: skip
        assert after.document["given"] == change["treatment"]


class TestTypedIn:
    def test_the_fields_are_those_of_the_unit(self, studio: Studio, place: Path) -> None:
        row = frames.read(place / "units.parquet").slice(17, 1).to_pylist()[0]
        got = fields(shown(studio, unit="17"))
        assert got["of"] == "17"
        assert got["x.city"] == row["city"]
        assert got["x.age"] == ("" if row["age"] is None else f"{row['age']:g}")
        assert np.float32(got["x.f0"]) == np.float32(row["f0"])

    def test_it_gets_the_menu_of_the_model(self, studio: Studio, place: Path) -> None:
        table = frames.read(place / "units.parquet").slice(17, 1)
        cells = fields(shown(studio, unit="17"))
        typed = [(name, text) for name, text in cells.items() if name.startswith("x.") and text]
        page = view(studio, Query([("budget", f"{BUDGET:g}"), ("safety", "average"), ("of", "-"), *typed]))
        menu = Policy.load(place / "spring" / "policy").menu(table)
        for one, value, cost in zip(page.document["plan"]["choices"], menu.value[0], menu.cost[0], strict=True):
            assert (one["value"], one["cost"]) == (
                pytest.approx(float(value), rel=1e-6),
                pytest.approx(float(cost), rel=1e-6),
            )
        assert page.headline.startswith("This user gets ")

    def test_another_value_of_one_column(self, studio: Studio, place: Path) -> None:
        cells = [(name, text) for name, text in fields(shown(studio, unit="17")).items() if name.startswith("x.")]
        changed = [(name, "south" if name == "x.city" else "" if name == "x.age" else text) for name, text in cells]
        page = shown(studio, ("unit", "17"), ("of", "17"), *changed)
        table = frames.read(place / "units.parquet").slice(17, 1)
        for name, cell in (("city", pa.array(["south"])), ("age", pa.array([None], pa.float64()))):
            table = table.set_column(table.column_names.index(name), name, cell)
        menu = Policy.load(place / "spring" / "policy").menu(table)
        assert [one["value"] for one in page.document["plan"]["choices"]] == pytest.approx(
            menu.value[0].tolist(), rel=1e-6
        )
        assert set(page.document["changed"]) >= {"city"}
        assert any("This is '17' with another value in: " in one for one in page.summary)

    def test_another_unit_is_read_from_the_file(self, studio: Studio) -> None:
        """What was typed belongs to the unit before."""
        page = shown(studio, ("unit", "18"), ("of", "17"), ("x.f0", "99"))
        assert fields(page) == fields(shown(studio, unit="18"))
        assert page.document["changed"] == []

    def test_what_the_model_does_not_know(self, studio: Studio) -> None:
        page = shown(studio, ("of", "-"), ("x.city", "nort"), ("x.age", "1e6"), ("x.f0", "0"))
        assert any(
            "city 'nort' was no frequent label" in one and "Did you mean 'north'?" in one for one in page.summary
        )
        assert any(
            "age: 1,000,000 is outside of the 20 to 69 that the held-out rows have" in one for one in page.summary
        )

    def test_a_bad_number(self, studio: Studio) -> None:
        page = shown(studio, ("unit", "17"), ("of", "17"), ("x.f0", "many"))
        assert (
            page.headline
            == "f0 == 'many': must be a number. Write digits, e.g. 12 or 0.25; leave it empty where it is missing."
        )
        assert fields(page)["x.f0"] == "many"

    def test_without_units(self, place: Path) -> None:
        studio = Studio([place / "spring"])
        start = view(studio, Query())
        assert start.headline.startswith("Enter the id of a user, or type one in")
        page = view(studio, Query([("of", "-"), ("x.f0", "1"), ("x.city", "north")]))
        table = pa.table({"f0": [1.0], "city": ["north"], **{f"f{k}": pa.array([None], pa.float64()) for k in (1, 2, 3)},
                          "age": pa.array([None], pa.float64()), "user": [1]})  # fmt: skip
        menu = Policy.load(place / "spring" / "policy").menu(table)
        assert [one["value"] for one in page.document["plan"]["choices"]] == pytest.approx(
            menu.value[0].tolist(), rel=1e-6
        )
        evidence = studio.first.evidence
        assert evidence is not None
        assert (
            page.document["price"] == evidence.at(evidence.budgets[0], WhatIf.of(studio.first.config, None, 1.0)).price
        )
        assert not any("total budget" in one for one in page.summary)
        looked = view(studio, Query([("unit", "17")]))
        assert "no units open" in looked.headline
        assert "--units FILE" in looked.action


def test_costs_of_the_page_change_money_and_not_who_is_best(studio: Studio) -> None:
    """With all costs and the budget a tenth higher, the same units get the same; amounts of money are a tenth higher."""
    now = shown(studio, unit="17")
    dearer = view(
        studio, Query([("budget", f"{1.1 * BUDGET}"), ("safety", "average"), ("unit", "17"), ("cost", "110")])
    )
    assert dearer.document["given"] == now.document["given"]
    assert dearer.document["price"] == pytest.approx(now.document["price"])
    shown_price = [float(one.readings[-1].value) for one in (now, dearer)]
    assert shown_price[1] == pytest.approx(shown_price[0] / 1.1, rel=0.02)


def test_an_unknown_id_says_what_ids_are_like(studio: Studio, place: Path, tmp_path: Path) -> None:
    page = shown(studio, unit="x99")
    assert page.headline == "There is no unit 'x99' in the column 'user'; its ids are like '0', '1', '2'."
    assert shown(studio, unit="0017").headline == "There is no unit '0017'; there is '17'."
    assert "type the unit in under" in page.action
    nameless = frames.read(place / "units.parquet").drop_columns(["user"])
    frames.write(nameless, tmp_path / "units.parquet")
    text = TEXT.replace('unit = "user"\n', "").replace('["note"]', '["note", "user"]')
    run = made_run(place, name="nameless", text=text)
    numbered = Studio([run], users=tmp_path / "units.parquet")
    assert shown(numbered, unit="1").headline.startswith("User '1' gets ")
    assert shown(numbered, unit="3001").headline == "There is no unit '3001': the units are numbered from 1 to 3,000."


def test_an_empty_page_offers_a_unit(studio: Studio) -> None:
    page = shown(studio)
    ((label, address),) = page.links
    assert label == "Show user '0'"
    assert address.startswith(PATH)
    assert "unit=0" in address


def test_the_chart_is_drawn_from_its_table(studio: Studio) -> None:
    page = shown(studio, unit="17")
    (drawn,) = [one for one in page.moving if isinstance(one, Drawn)]
    figure = drawn.chart.figure()
    bars, names = figure.data[0], figure.layout.xaxis.ticktext
    assert [number(y, sign=True) for y in bars.y] == [str(row.cells[1]) for row in drawn.table.rows]
    plan = page.document["plan"]
    assert names[int(np.argmax(bars.y))] == plan["choices"][plan["given"]]["treatment"]


def test_members_of_a_stack_give_a_range(place: Path) -> None:
    run = made_run(place, name="stack", text=STACK)
    policy = Policy.load(run / "policy")
    table = frames.read(place / "units.parquet").slice(17, 1)
    assert policy.encoder is not None
    own = [one.predict(policy.encoder.transform(table)) for one in policy.model.models_]  # type: ignore[attr-defined]
    page = shown(Studio([run], users=place / "units.parquet"), unit="17")
    for j in (1, 2):
        ends = [float(menu.value[0, j]) - float(menu.value[0, 0]) for menu in own]
        one = page.document["plan"]["choices"][j]
        assert (one["low"], one["high"]) == pytest.approx((min(ends), max(ends)), abs=1e-7)
    assert "2 models" in page.moving[2].words  # type: ignore[union-attr]


def test_where_there_are_no_members_that_is_said(studio: Studio) -> None:
    page = shown(studio, unit="17")
    assert "gives no range" in page.moving[2].words  # type: ignore[union-attr]
    assert "Range of the members" not in [one.name for one in page.moving[1].columns]  # type: ignore[union-attr]


def test_the_evidence_counts_rows_of_the_trial(studio: Studio, place: Path) -> None:
    trial = frames.read(place / "trial.parquet").to_pandas()
    page = shown(studio, unit="17")
    city = fields(page)["x.city"]
    rows = {one["column"]: one for one in page.document["evidence"]["columns"]}
    assert rows["city"]["rows"] == (trial.city == city).sum()
    evidence = studio.first.evidence
    assert evidence is not None
    group = next(one for one in evidence.proof.groups if one.column == "city")
    assert rows["city"]["held_out"] == (group.code == group.names.index(city)).sum()
    policy = studio.first.policy
    assert policy.encoder is not None
    cells = {"city": city, "age": 30.0, "f0": 0.0, "f1": 0.0, "f2": 0.0, "f3": 0.0}
    got = near(place / "spring", policy.encoder, cells, evidence.proof.groups, ["city", "age"])
    ages = next(one for one in evidence.proof.groups if one.column == "age")
    inside = [k for k, name in enumerate(ages.names) if " to " in name and _holds(name, 30.0)]
    both = (group.code == group.names.index(city)) & (ages.code == inside[-1])
    assert (got.alike, got.main) == (int(both.sum()), ("city", "age"))


def test_a_run_that_keeps_nothing_of_its_trial_says_so(place: Path, tmp_path: Path) -> None:
    """A run of an earlier version."""
    run = tmp_path / "spring"
    run.mkdir()
    for item in (place / "spring").iterdir():
        if item.name not in ("proof", "features.json", "studio"):
            (run / item.name).symlink_to(item)
    page = shown(Studio([run], users=place / "units.parquet"), unit="17")
    assert page.summary[-1].startswith("The run keeps nothing of its trial")
    assert page.fixed == ()
    assert (
        page.document["given"]
        == shown(Studio([place / "spring"], users=place / "units.parquet"), unit="17").document["given"]
    )


def _holds(name: str, x: float) -> bool:
    low, high = map(float, name.split(" to "))
    return low <= x <= high


def test_a_budget_out_of_reach_is_refused(place: Path) -> None:
    with pytest.raises(DataError, match="budget"):
        view(Studio([place / "spring"], users=place / "units.parquet"), Query([("unit", "1"), ("budget", "-1")]))
