"""The pages of `evaluate` and `compare`: the numbers that the terminal prints, in a folder that is written whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from largesse import frames
from largesse.cli.app import app
from largesse.commands.fit import fit
from largesse.config import parse
from largesse.errors import StoreError
from largesse.report.numbers import number, places
from tests.common.campaigns import TEXT, table


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("later")
    frames.write(table(1500, 1), folder / "trial.parquet")
    later = table(1200, 3)
    frames.write(
        later.set_column(later.column_names.index("user"), "user", [[k + 10_000 for k in range(1200)]]),
        folder / "later.parquet",
    )
    for name, more in (("one", "value_per_unit = 10"), ("two", "")):
        text = (
            TEXT.format(more="folds = 2") + f"[outcome]\n{more}\n[report]\nvalue_unit = 'orders'\nmoney_unit = 'EUR'\n"
        )
        fit(parse(text.replace("draws = 40", f"draws = 40\nseed = {len(more)}"), folder=folder), folder=folder / name)
    return folder


def run(*words: object) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    return done.output


def test_the_page_of_an_evaluation_has_its_numbers(place: Path):
    out = run("evaluate", place / "one", place / "later.parquet", "-o", place / "evaluated")
    assert "evaluated/report.html" in "".join(out.split())
    document = json.loads((place / "evaluated" / "metrics.json").read_text())
    assert {"ok": True} | document == json.loads(run("evaluate", place / "one", place / "later.parquet", "--json"))
    html = (place / "evaluated" / "report.html").read_text()
    rows = [row for row in document["returns"]["rows"] if row["name"] == "policy"]
    digits = places((row["net_high"] - row["net_low"]) / 2 for row in document["returns"]["rows"])
    for row in rows:
        assert number(row["net"], decimals=digits, sign=True) in html
    free = document["without_a_budget"]
    assert (free is None) is ("without a budget" not in html)
    stops = json.loads(html.split('id="pay-slider-data">')[1].split("</script>")[0])
    assert len(stops) > 60
    marked = [stop for stop in stops if stop["note"]]  # the budgets of the table, with its digits
    nets = [number(row["net"], decimals=digits, sign=True) for row in rows]
    assert all(net in stop["cells"] for net, stop in zip(nets, marked, strict=True))
    for words in (
        "Does it pay?",
        "Evaluated on 1,200 rows of later.parquet",
        "Planned and realised spend",
        "EUR per unit",
    ):
        assert words in html
    assert "NaN" not in html.split("<script")[0]


def test_the_page_of_a_comparison_names_both_runs_and_every_budget(place: Path):
    budgets = ("--budget-per-unit", 0.4, "--budget-per-unit", 1.1)
    run("compare", place / "one", place / "two", place / "later.parquet", "-o", place / "compared", *budgets)
    text = (place / "compared" / "summary.md").read_text()
    assert text.startswith("# two against one")
    document = json.loads((place / "compared" / "metrics.json").read_text())
    for row in [row for row in document["rows"] if row["name"] == "two"]:
        digits = places([(row["difference_high"] - row["difference_low"]) / 2])
        assert (
            f"at {row['budget']:g} EUR per unit {number(row['difference'], decimals=digits, sign=True)}"
            in text.replace("\\", "")
        )


def test_a_comparison_shows_what_both_runs_leave(place: Path):
    """Net value from the values and spends of the rows: 10 for an order, less the spend, against control."""
    document = json.loads(run("compare", place / "one", place / "two", place / "later.parquet", "--json"))
    at = {(row["name"], row["budget"]): row for row in document["rows"]}
    back = {(row["name"], row["budget"]): row for row in document["returns"]["rows"]}
    assert {name for name, _ in back} == {"one", "two", "best mix of arms"}
    for (name, budget), row in back.items():
        idle = at["no one", budget]
        net = 10 * (at[name, budget]["value"] - idle["value"]) - (at[name, budget]["spend"] - idle["spend"])
        assert row["net"] == pytest.approx(net)
        assert row["per_spend"] == pytest.approx(10 * row["value"] / row["spend"])
    alone = json.loads(run("evaluate", place / "one", place / "later.parquet", "--json"))["returns"]["rows"]
    for row in (row for row in alone if row["name"] == "policy"):
        assert back["one", row["budget"]]["net_low"] == pytest.approx(row["net_low"])
    text = run("compare", place / "one", place / "two", place / "later.parquet", "-o", place / "returns", "--wide")
    html = (place / "returns" / "report.html").read_text()
    digits = places((row["net_high"] - row["net_low"]) / 2 for row in document["returns"]["rows"])
    for row in back.values():
        assert number(row["net"], decimals=digits, sign=True) in text
        assert number(row["net"], decimals=digits, sign=True) in html
    assert "Does it pay?" in html
    undeclared = run("compare", place / "two", place / "one", place / "later.parquet", "-o", place / "no-money")
    assert "Against giving nobody anything" not in undeclared
    assert "Does it pay?" not in (place / "no-money" / "report.html").read_text()


def test_a_folder_is_not_overwritten_unless_it_is_a_page(place: Path, monkeypatch: pytest.MonkeyPatch):
    (place / "full").mkdir()
    (place / "full" / "mine.txt").write_text("mine")
    monkeypatch.setattr("largesse.commands.evaluate.evaluate_run", None)  # refused before any work
    words = ["evaluate", place / "one", place / "later.parquet", "-o", place / "full", "--replace"]
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert isinstance(done.exception, StoreError)
    assert [path.name for path in (place / "full").iterdir()] == ["mine.txt"]
