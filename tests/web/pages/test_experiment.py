"""The page Experiment: what the folder's report says, and what is said of a folder that has none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from largesse.commands.experiment import experiment
from largesse.errors import DataError
from largesse.experiment import Columns, Metric, Settings
from largesse.report.blocks import Table
from largesse.report.effects import sections
from largesse.report.kept import KEPT
from largesse.web.pages.experiment import view
from largesse.web.query import Query
from largesse.web.render import as_json
from largesse.web.view import Drawn, Heading, tables_of
from tests.common.shops import shop


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Any:
    columns = Columns(arm="group", metrics=(Metric("spend", covariate="before"), Metric("visits")), unit="id")
    place = tmp_path_factory.mktemp("experiment") / "autumn"
    return experiment(pa.table(shop(1500, arms=3, seed=2)), columns, Settings(), folder=place)


def studio(*folders: Path) -> Any:
    return SimpleNamespace(experiments=folders)


def test_it_shows_the_report_of_the_folder(done):
    page = view(studio(done.folder), Query())
    headline = done.shown.headline
    assert (page.headline, page.summary, page.action) == (headline.sentence, headline.summary, headline.action)
    assert page.fields == ()
    titles = [one.title for one in page.fixed if isinstance(one, Heading)]
    summary = (done.folder / "summary.md").read_text()
    assert titles
    assert [line[3:] for line in summary.splitlines() if line.startswith("## ")] == [
        one for one in titles if f"## {one}\n" in summary
    ]
    assert any(isinstance(one, Drawn) and one.chart.name == "forest" for one in page.fixed)


def test_its_numbers_are_those_that_were_measured(done):
    page = view(studio(done.folder), Query())
    first = done.measurement.metrics[0]
    assert {one.name: one.value for one in page.readings} == {
        "Rows": f"{sum(first.rows):,}", "Level of the intervals": "95 %",
        **{arm: f"{n:,}" for arm, n in zip(first.arms, first.rows, strict=True)},
    }  # fmt: skip
    tables = tables_of(page)
    for section in sections(done.shown):
        for block in section.blocks:
            assert not isinstance(block, Table) or block in tables, section.title
    effects = next(one for one in tables if any(column.name == "Estimator" for column in one.columns))
    for metric in done.measurement.metrics:
        for effect in metric.effects:
            assert any(_shows(row.cells, effect.effect) for row in effects.rows), effect
    assert page.document["effects"] == json.loads((done.folder / "effects.json").read_text())
    json.loads(as_json("Experiment", page))
    assert all(isinstance(one, Table) for one in tables_of(page))


def _shows(cells: Any, effect: float) -> bool:
    """Whether a row has a cell with a number to the digits that it shows."""
    for cell in cells:
        digits = str(cell).split(" ")[0].replace("−", "-").replace(",", "")
        try:
            if abs(float(digits) - effect) <= 0.51 * 10.0 ** -len(digits.partition(".")[2]):
                return True
        except ValueError:
            continue
    return False


def test_several_are_a_choice(done, tmp_path):
    other = tmp_path / "spring"
    shutil.copytree(done.folder, other)
    where = studio(done.folder, other)
    (field,) = view(where, Query()).fields
    assert (field.value, [one[0] for one in field.options]) == ("autumn", ["autumn", "spring"])
    assert view(where, Query([("experiment", "spring")])).fields[0].value == "spring"
    with pytest.raises(DataError, match=r"experiment == 'winter': is not open here. Open are 'autumn', 'spring'"):
        view(where, Query([("experiment", "winter")]))
    shutil.copytree(done.folder, tmp_path / "b" / "spring")
    (field,) = view(studio(other, tmp_path / "b" / "spring"), Query()).fields
    assert [one[0] for one in field.options] == [str(other), str(tmp_path / "b" / "spring")]


def spoiled(done: Any, place: Path, change: Any) -> Path:
    shutil.copytree(done.folder, place / "spoiled")
    change(place / "spoiled")
    return place / "spoiled"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (shutil.rmtree, "no such folder. Check its path"),
        (lambda folder: (folder / "effects.json").unlink(), "has no effects.json. Give a folder that `largesse experiment"),
        (lambda folder: (folder / "effects.json").rename(folder / "config.toml"), "It is a run: name it first"),
        (lambda folder: (folder / "effects.json").write_text("{"), "effects.json: is damaged. Run `largesse experiment` again."),
        (lambda folder: (folder / KEPT).unlink(), "was written by an earlier version. Run `largesse experiment` again."),
        (lambda folder: (folder / KEPT).write_text("[]"), "sections.json: is damaged"),
    ],
)  # fmt: skip
def test_a_folder_that_cannot_be_shown_says_why_beside_the_choice(done, tmp_path, change, sentence):
    folder = spoiled(done, tmp_path, change)
    page = view(studio(folder, done.folder), Query())
    assert page.headline == "spoiled: no experiment can be shown"
    assert sentence in page.action
    assert page.action.startswith(str(folder))
    assert [one[0] for one in page.fields[0].options] == ["spoiled", "autumn"]
    assert page.fixed == ()
