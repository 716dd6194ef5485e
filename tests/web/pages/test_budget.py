"""The page Budget: every number that it prints is that of `allocate`, or of the proof of the run, to the last printed digit."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from largesse.commands.allocate import allocate_run
from largesse.evaluate.comparison import BEST_MIX
from largesse.report.blocks import Table
from largesse.report.numbers import number, percent
from largesse.web.opened import Studio
from largesse.web.pages.budget import view
from largesse.web.query import Query
from largesse.web.view import Drawn, View
from tests.common.studios import made_run, made_units


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("budget")
    made_run(place)
    made_units(place)
    return place


@pytest.fixture(scope="module")
def studio(place: Path) -> Studio:
    return Studio([place / "spring"], users=place / "units.parquet")


def shown(studio: Studio, **query: str) -> View:
    return view(studio, Query(list(query.items())))


def numbers(text: str) -> list[str]:
    """Returns the numbers in a text, as they are printed."""
    return re.findall(r"[−+]?\d[\d,]*(?:\.\d+)?", text)


def agrees(printed: str, exact: float) -> bool:
    """Returns whether a printed number is an exact one, rounded to the digits that are printed."""
    decimals = len(printed.partition(".")[2])
    return number(exact, decimals=decimals, sign=printed.startswith("+")).lstrip("+") == printed.lstrip("+")


def readings(page: View) -> dict[str, tuple[str, str]]:
    return {one.name: (one.value, one.detail) for one in page.readings}


@pytest.mark.parametrize("safety", ["average", "configured", "0.8"])
@pytest.mark.parametrize("budget", [50.0, 700.0, 1500.0])
def test_what_is_planned_is_what_allocate_plans(
    place: Path, studio: Studio, tmp_path: Path, budget: float, safety: str
) -> None:
    how = {"average": None, "configured": "configured", "0.8": 0.8}[safety]
    files = (place / "spring", place / "units.parquet")
    expected = allocate_run(*files, budget, tmp_path / "plan.parquet", safety=how)  # type: ignore[arg-type]
    page = shown(studio, budget=f"{budget:g}", safety=safety)
    read = readings(page)
    assert expected.brought is not None
    assert expected.brought.net is not None
    spend, detail = read["Expected spend, EUR"]
    assert agrees(spend, expected.spend.mean)
    assert all(agrees(*pair) for pair in zip(numbers(detail), expected.spend[1:], strict=True))
    value, detail = read["Extra orders"]
    assert agrees(value, expected.brought.value)
    assert all(agrees(*pair) for pair in zip(numbers(detail), expected.value, strict=True))
    assert agrees(read["Net EUR"][0], expected.brought.net)
    assert agrees(read["Back per EUR spent"][0], 12.0 * expected.brought.value / expected.brought.cost)
    assert agrees(read["The next EUR brings back, EUR"][0], 12.0 * expected.price)
    treated = expected.n - expected.plan.mix["0"]
    assert read["Treated"] == (percent(treated / expected.n), f"{treated:,} of {expected.n:,}")
    table = next(one for one in page.moving if isinstance(one, Table) and one.columns[0].name == "Treatment")
    assert [row.cells for row in table.rows] == [
        (name, f"{n:,}", percent(n / expected.n)) for name, n in expected.plan.mix.items()
    ]
    said = " ".join(page.summary)
    for note in expected.notes:
        assert set(numbers(note)) <= set(numbers(said)), note
    assert set(numbers(page.headline)) >= {number(expected.brought.value, sign=True)}


def test_what_is_proven_is_what_the_report_proves(place: Path, studio: Studio) -> None:
    """At the budgets of the run, every printed number beside a policy is in its metrics."""
    metrics = json.loads((place / "spring" / "metrics.json").read_text())
    for budget in metrics["budgets_per_head"]:
        page = shown(studio, budget=repr(budget * 3000))
        table = next(one for one in page.moving if isinstance(one, Table) and one.columns[0].name == "Policy")
        assert len(table.rows) == 2
        for row, name in zip(table.rows, ("policy", BEST_MIX), strict=True):
            (exact,) = (r for r in metrics["returns"]["rows"] if (r["name"], r["budget"]) == (name, budget))
            _, _, net, ends, back, value, more = map(str, row.cells)
            assert agrees(net, exact["net"])
            low, high, *events = numbers(ends)
            assert agrees(low, exact["net_low"])
            assert agrees(high, exact["net_high"])
            assert float(events[0].replace(",", "")) == round(exact["events"])
            assert agrees(back, exact["per_spend"])
            assert agrees(value, exact["value"])
            assert all(
                agrees(*pair) for pair in zip(numbers(more), (exact["value_low"], exact["value_high"]), strict=True)
            )
        (paired,) = (r for r in metrics["rows"] if (r["name"], r["budget"]) == ("policy", budget))
        sentence = next(one for one in page.summary if one.startswith("Targeting"))
        difference, low, high = numbers(sentence)[:3]
        for printed, field in ((difference, "difference"), (low, "difference_low"), (high, "difference_high")):
            assert agrees(printed, paired[field]), field


def test_the_curve_is_that_of_its_table_and_of_the_slide(studio: Studio) -> None:
    page = shown(studio, budget="700")
    (drawn,) = (one for one in page.fixed if isinstance(one, Drawn))
    assert page.curve is not None
    for row, x, y in zip(drawn.table.rows, page.curve.x, page.curve.y, strict=True):
        assert agrees(str(row.cells[0]), x)
        assert agrees(str(row.cells[1]), y)
    assert page.mark == pytest.approx(700 / 3000) == page.curve.mark


def test_a_budget_that_pays_less_is_answered_with_the_one_that_does(studio: Studio) -> None:
    page = shown(studio, budget="14000")
    assert page.badge is not None
    assert page.badge.text in ("not shown to pay", "shown not to pay")
    assert page.action


def test_scenarios_side_by_side_are_those_of_their_own_pages(studio: Studio) -> None:
    page = view(studio, Query([("keep", "700;;;average"), ("keep", "900;9.5;110;0.9"), ("keep", "nonsense")]))
    table = next(one for one in page.moving if isinstance(one, Table) and one.title == "Side by side")
    for row, query in zip(
        table.rows,
        ({"budget": "700", "safety": "average"}, {"budget": "900", "value": "9.5", "cost": "110", "safety": "0.9"}),
        strict=False,
    ):
        read = readings(shown(studio, **query))
        assert str(row.cells[5]) == read["Extra orders"][0]
        assert str(row.cells[6]) == read["Net EUR"][0]
    assert "budget == 'nonsense'" in str(table.rows[2].cells[2])
    assert dict(page.links)["Forget those that are kept"] == "/budget"


def test_without_units_the_numbers_are_per_unit_of_the_trial(place: Path) -> None:
    page = shown(Studio([place / "spring"]), budget="0.9")
    assert page.headline.startswith("On held-out rows, 0.900 EUR per user")
    read = readings(page)
    assert set(read) == {
        "Extra spend, EUR per user", "Extra orders per user", "Net EUR per user", "Back per EUR spent",
        "The next EUR brings back, EUR", "Treated",
    }  # fmt: skip
