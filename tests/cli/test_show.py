"""What commands print is whole at 80 columns; `--wide` prints tables as they are; `--csv` prints the numbers of `--json`."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from largesse import frames
from largesse.cli import show
from largesse.cli.app import app
from largesse.report.blocks import Badge, Column, Facts, Row, Table, Tone

RUNNER = CliRunner()
ARMS = [f"{k:02}_{'a-long-name-of-a-treatment-without-any-blank-in-it-xxxxxxxxx'[:57]}" for k in range(12)]
SPACED = [name.replace("-", " ") for name in ARMS]


@pytest.fixture(autouse=True)
def _eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(show.out, "_width", 80)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder with an experiment, units and a menu of twelve arms with names of 60 characters."""
    folder = tmp_path_factory.mktemp("show")
    rng = np.random.default_rng(0)
    n = 2400
    arm = np.arange(n) % 12
    before = rng.normal(5000.0, 900.0, n)
    table = pa.table(
        {"arm": [SPACED[k] for k in arm], "before": before, "money": before + 1000 * rng.normal(size=n) + 40 * arm}
    )
    frames.write(table, folder / "experiment.parquet")
    frames.write(pa.table({"user": np.arange(500)}), folder / "users.parquet")
    menu = {f"{part}_{name}": rng.random(200) * k for part in ("value", "cost") for k, name in enumerate(ARMS)}
    frames.write(pa.table(menu), folder / "menu.parquet")
    columns = 'value = "value_{}"\ncost = "cost_{}"\nspend = [{at_most = 150.0}]'
    (folder / "rules.toml").write_text(f"treatments = {json.dumps(ARMS)}\n{columns}")
    return folder


EXPERIMENT = ("experiment", "experiment.parquet", "--arm", "arm", "--metric", "money~before", "--control", SPACED[0])
SHARES = ",".join(f"{name}=1" for name in ARMS)
COMMANDS: dict[str, tuple[tuple[str, ...], list[str]]] = {
    "experiment": (EXPERIMENT, SPACED[1:]),
    "plan": (("plan", "menu.parquet", "-r", "rules.toml", "-o", "plan.parquet"), ARMS),
    "assign": (
        ("assign", "users.parquet", "--unit", "user", "--shares", SHARES, "--salt", "s", "-o", "arms.csv"),
        ARMS,
    ),
}


def printed(place: Path, monkeypatch: pytest.MonkeyPatch, *words: str) -> str:
    monkeypatch.chdir(place)
    done = RUNNER.invoke(app, list(words))
    assert done.exit_code in (0, 1), (done.output, done.exception)
    return done.stdout


class TestWhole:
    @pytest.mark.parametrize("command", COMMANDS)
    def test_names_are_whole_on_a_line_and_nothing_is_cut(
        self, place: Path, monkeypatch: pytest.MonkeyPatch, command: str
    ):
        words, names = COMMANDS[command]
        text = printed(place, monkeypatch, *words)
        assert "…" not in text
        lines = text.splitlines()
        for name in names:
            assert any(name in line for line in lines), name

    def test_effects_that_do_not_fit_are_records(self, place: Path, monkeypatch: pytest.MonkeyPatch):
        lines = printed(place, monkeypatch, *EXPERIMENT).splitlines()
        document = json.loads(printed(place, monkeypatch, *EXPERIMENT, "--json"))
        effects = document["metrics"][0]["effects"]
        assert lines.count("Estimator: difference in means") == 11
        assert len([line for line in lines if line.startswith("Estimator: ")]) == len(effects)
        intervals = [line for line in lines if line.startswith("95 % interval: ")]
        for row, line in zip(effects, intervals, strict=True):
            low, high = (
                float(x.replace(",", "").replace("−", "-")) for x in re.findall(r"[-+−]?[\d,]+\.?\d*", line)[1:]
            )
            assert low == pytest.approx(row["low"], abs=0.51)
            assert high == pytest.approx(row["high"], abs=0.51)

    def test_wide_prints_one_line_for_each_row(self, place: Path, monkeypatch: pytest.MonkeyPatch):
        lines = printed(place, monkeypatch, *EXPERIMENT, "--wide").splitlines()
        heads = [line for line in lines if "Relative standard error" in line and "Estimator" in line]
        assert len(heads) == 1
        assert len([line for line in lines if "difference in means" in line and SPACED[3] in line and "%" in line]) == 1

    @pytest.mark.parametrize("width", [40, 80, 200])
    def test_any_table_at_any_width(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: int
    ):
        monkeypatch.setattr(show.out, "_width", width)
        names = SPACED if width >= 80 else ARMS
        ends = [f"{-1e6 * k:,.2f} to {1e6 * k:,.2f}" for k in range(12)]
        rows = tuple(Row((name, end, Badge("pays", Tone.GOOD))) for name, end in zip(names, ends, strict=True))
        columns = (Column("Treatment", words=True), Column("95 % interval"), Column("Verdict", words=True))
        show.table(Table(columns=columns, rows=rows))
        lines = capsys.readouterr().out.splitlines()
        for cell in (str(cell) for row in rows for cell in row.cells):
            assert any(cell in line for line in lines), cell

    def test_a_table_that_fits_stays_a_table(self, capsys: pytest.CaptureFixture[str]):
        columns = (Column("Estimator", words=True), Column("Relative standard error"))
        show.table(Table(columns=columns, rows=(Row(("difference in means", "100 %")), Row(("CUPED", "7 %")))))
        lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
        assert lines == [
            "                           Relative",
            "Estimator            standard error",
            "difference in means           100 %",
            "CUPED                           7 %",
        ]

    def test_facts_with_long_words_are_below_each_other(self, capsys: pytest.CaptureFixture[str]):
        show.blocks([Facts(((ARMS[0], "x" * 40), ("Features", ", ".join(ARMS))))])
        lines = capsys.readouterr().out.splitlines()
        assert any(ARMS[0] in line for line in lines)
        for word in ("x" * 40, *ARMS):
            assert any(word in line for line in lines), word


class TestCsv:
    @pytest.mark.parametrize("command", COMMANDS)
    def test_it_has_the_numbers_of_the_json(self, place: Path, monkeypatch: pytest.MonkeyPatch, command: str):
        words, names = COMMANDS[command]
        text = printed(place, monkeypatch, *words, "--csv")
        (place / "plan.parquet").unlink(missing_ok=True)
        document = json.loads(printed(place, monkeypatch, *words, "--json"))
        rows = list(csv.DictReader(io.StringIO(text)))
        assert all(None not in row and None not in row.values() for row in rows), "as many cells as columns"
        if command == "experiment":
            (metric,) = document["metrics"]
            effects = [{"metric": metric["metric"]} | effect for effect in metric["effects"]]
            for effect, row in zip(effects, rows, strict=True):
                assert list(effect) == list(row)
                assert [cell if cell != "" else None for cell in effect.values()] == [
                    back(cell) for cell in row.values()
                ]
            return
        counts = document["mix" if command == "plan" else "arms"]
        assert {name: int(n) for name, n in (row.values() for row in rows)} == counts
        assert list(counts) == names

    def test_missing_lists_and_control_characters(self, capsys: pytest.CaptureFixture[str]):
        show.print_data(
            {}, [{"a": float("nan"), "b": [1, 0.1], "c": 'x,"y"\x1b[31m\nz'}, {"a": 1e-300, "d": True}], as_csv=True
        )
        rows = list(csv.reader(io.StringIO(capsys.readouterr().out)))
        assert rows == [["a", "b", "c", "d"], ["", "[1, 0.1]", 'x,"y"\\x1b[31m\nz', ""], ["1e-300", "", "", "true"]]

    def test_two_forms_at_once_are_refused(self, place: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.chdir(place)
        for words, _ in COMMANDS.values():
            done = RUNNER.invoke(app, [*words, "--csv", "--json"])
            assert "--json, --csv" in str(done.exception)
            assert done.stdout == ""


def back(cell: str) -> Any:
    """Returns a cell of a CSV file as the JSON value that it was."""
    if cell == "":
        return None
    try:
        return json.loads(cell)
    except ValueError:
        return cell


def test_the_refusal_of_an_unknown_control_names_the_option(place: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(place)
    done = RUNNER.invoke(app, list(EXPERIMENT[:-2]))
    assert str(done.exception).endswith("reads like one. Name it in `--control`.")
    frames.write(pa.table({"arm": ["A", "C"] * 20, "y": [1.0] * 40}), place / "letters.parquet")
    done = RUNNER.invoke(app, ["experiment", "letters.parquet", "--arm", "arm", "--metric", "y"])
    assert str(done.exception).endswith("reads like one. Name it in `--control`.")
