"""`allocate` without a budget: everybody gets what pays; with one, what is spent past break-even is named."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from largesse import frames
from largesse.allocate import price_plan
from largesse.cli.app import app
from largesse.commands.allocate import allocate_run
from largesse.commands.fit import fit
from largesse.config import load
from largesse.errors import ConfigError, DataError
from largesse.policy import Policy
from tests.common.campaigns import DATA, table

M = 12.0
TEXT = DATA + '[model]\ncandidates = ["lightgbm-rct"]\n[run]\ndraws = 40\n'


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pays")
    frames.write(table(1500, 1), folder / "trial.parquet")
    frames.write(table(400, 4).drop(["arm", "orders", "spent"]), folder / "users.parquet")
    later = table(1200, 9)
    frames.write(
        later.set_column(later.column_names.index("user"), "user", pa.array(np.arange(1200) + 9000)),
        folder / "later.parquet",
    )
    for name, money in (("known", f"[outcome]\nvalue_per_unit = {2 * M}\nmargin = 0.5\n"), ("unknown", "")):
        (folder / f"{name}.toml").write_text(TEXT.format(more="folds = 2") + money)
        fit(load(folder / f"{name}.toml"), folder=folder / name)
    return folder


def treated(place: Path, output: Path) -> list[str]:
    return [str(name) for name in frames.read(output)["treatment"].to_pylist()]


class TestWithoutABudget:
    @pytest.mark.parametrize("kind", ["parquet", "csv"])
    def test_every_unit_gets_the_treatment_that_leaves_most(self, place: Path, tmp_path: Path, kind: str):
        """Parquet to Parquet is streamed, CSV is decided in memory; both give argmax m · value - cost of the menu."""
        users = place / "users.parquet"
        done = allocate_run(place / "known", users, None, tmp_path / f"plan.{kind}")
        policy = Policy.load(place / "known" / "policy")
        menu = policy.menu(frames.read(users))
        best = (M * menu.value - menu.cost).argmax(axis=1)
        assert treated(place, tmp_path / f"plan.{kind}") == [menu.treatments[k] for k in best]
        assert done.price == pytest.approx(1 / M)
        assert done.budget == np.inf
        assert done.safety is None
        # spend_at takes the calibration at the last price that changes a decision, a little lower than 1 / M
        assert tuple(done.spend) == pytest.approx(tuple(policy.curve.spend_at(menu, 1 / M)), rel=0.05)
        assert done.spend.low <= done.spend.mean <= done.spend.high
        assert done.notes == tuple(note for note in done.notes if "few events" in note)

    def test_more_must_come_back(self, place: Path, tmp_path: Path):
        users = place / "users.parquet"
        menu = Policy.load(place / "known" / "policy").menu(frames.read(users))
        spends = []
        for least in (0.2, 0.8, 1.2):
            done = allocate_run(place / "known", users, None, tmp_path / "plan.csv", min_return=least)
            wanted = price_plan(menu, least / M)
            assert done.planned_spend == pytest.approx(wanted.spend)
            spends.append(done.planned_spend)
        assert spends[0] > spends[1] > spends[2]

    def test_a_price_needs_no_money(self, place: Path, tmp_path: Path):
        users = place / "users.parquet"
        known = allocate_run(place / "known", users, None, tmp_path / "one.parquet")
        priced = allocate_run(place / "unknown", users, None, tmp_path / "two.parquet", price=1 / M)
        given = allocate_run(place / "unknown", users, None, tmp_path / "three.parquet", value_per_unit=M)
        assert treated(place, tmp_path / "one.parquet") == treated(place, tmp_path / "two.parquet")
        assert known.to_dict() == given.to_dict()
        net = known.to_dict()["brought"].pop("net")
        assert net == pytest.approx(M * known.brought.value - known.brought.cost)
        without = {**known.to_dict(), "brought": {**known.to_dict()["brought"], "net": None}}  # the money is not known
        assert priced.to_dict() == without

    def test_what_pays_must_be_known(self, place: Path, tmp_path: Path):
        users = place / "users.parquet"
        with pytest.raises(DataError, match="value_per_unit"):
            allocate_run(place / "unknown", users, None, tmp_path / "plan.csv")
        with pytest.raises(DataError, match="--price"):
            allocate_run(place / "known", users, 5.0, tmp_path / "plan.csv", price=1.0)
        for bad in ({"min_return": -1.0}, {"price": float("nan")}, {"price": -0.1}, {"value_per_unit": 0.0}):
            with pytest.raises(DataError):
                allocate_run(place / "known", users, None, tmp_path / "plan.csv", **bad)
        assert list(tmp_path.iterdir()) == []


class TestPastBreakEven:
    @pytest.mark.parametrize("kind", ["parquet", "csv"])
    def test_what_brings_less_than_it_costs_is_named(self, place: Path, tmp_path: Path, kind: str):
        users = place / "users.parquet"
        menu = Policy.load(place / "known" / "policy").menu(frames.read(users))
        done = allocate_run(place / "known", users, 1e6, tmp_path / f"plan.{kind}", safety=None)
        (note,) = [note for note in done.notes if "past break-even" in note]
        paid, all_ = price_plan(menu, 1 / M), price_plan(menu, done.price)
        spend, back = all_.spend - paid.spend, M * (all_.value - paid.value)
        numbers = [float(x.replace(",", "")) for x in re.findall(r"\d[\d,]*\.?\d*(?=,? )", note)]
        assert numbers == pytest.approx([spend, back, spend - back], rel=2e-3)
        within = allocate_run(place / "known", users, 0.5 * paid.spend, tmp_path / f"plan.{kind}")
        assert not [n for n in within.notes if "break-even" in n]

    def test_what_brings_back_less_than_is_wanted_need_not_lose(self, place: Path, tmp_path: Path):
        users = place / "users.parquet"
        menu = Policy.load(place / "known" / "policy").menu(frames.read(users))
        done = allocate_run(place / "known", users, 1e6, tmp_path / "plan.csv", safety=None, min_return=1.2)
        (note,) = [note for note in done.notes if "Of this spend" in note]
        most, least = price_plan(menu, done.price), price_plan(menu, 1.2 / M)
        assert f"{most.spend - least.spend:,.4g}".split(".")[0] in note
        assert "brings back less than 1.2 for each unit of money" in note
        assert "less than it costs" not in note

    def test_without_the_money_nothing_is_claimed(self, place: Path, tmp_path: Path):
        done = allocate_run(place / "unknown", place / "users.parquet", 1e6, tmp_path / "plan.parquet")
        assert not [n for n in done.notes if "break-even" in n]


class TestCommand:
    def test_the_budget_may_be_left_out(self, place: Path, tmp_path: Path):
        line = ["allocate", str(place / "known"), str(place / "users.parquet"), "-o", str(tmp_path / "plan.parquet")]
        done = CliRunner().invoke(app, [*line, "--json"])
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout)["price"] == pytest.approx(1 / M)
        shown = CliRunner().invoke(app, line)
        assert "no budget" in shown.stdout
        high = CliRunner().invoke(app, [*line, "--budget", "1000000", "--on-average"])
        assert "past break-even" in " ".join(high.stdout.split())

    @pytest.mark.parametrize(
        ("more", "words"),
        [
            (["--by-cluster"], "--by-cluster"), (["--by-cluster", "--budget", "3", "--price", "1"], "--price"),
            (["--price", "1", "--min-return", "2"], "--min-return"),
            (["--price", "1", "--budget", "3"], "--price"), (["--price", "-1"], "--price"),
            (["--min-return", "nan"], "--min-return"),
        ],
    )  # fmt: skip
    def test_refusals_name_the_option(self, place: Path, tmp_path: Path, more: list[str], words: str):
        line = ["allocate", str(place / "known"), str(place / "users.parquet"), "-o", str(tmp_path / "plan.parquet")]
        done = CliRunner().invoke(app, [*line, *more])
        assert done.exit_code == 1
        assert isinstance(done.exception, DataError)
        assert words in str(done.exception)
        assert not (tmp_path / "plan.parquet").exists()


class TestEvaluate:
    @pytest.mark.parametrize(("run", "known"), [("known", True), ("unknown", False)])
    def test_later_rows_say_whether_it_pays(self, place: Path, run: str, known: bool):
        line = ["evaluate", str(place / run), str(place / "later.parquet")]
        document = json.loads(CliRunner().invoke(app, [*line, "--json"]).stdout)
        rows = [r for r in document["returns"]["rows"] if r["name"] == "policy"]
        value = {(r["name"], r["budget"]): r["value"] for r in document["rows"]}
        for row in rows:
            gained = value["policy", row["budget"]] - value["no one", row["budget"]]
            assert row["value"] == pytest.approx(gained)
            assert (row["net"] == pytest.approx(M * gained - row["spend"])) if known else row["net"] is None
        assert len(document["verdicts"]) == (len(rows) if known else 0)
        shown = " ".join(CliRunner().invoke(app, line).stdout.split())
        assert "Against giving nobody anything" in shown
        assert ("Verdict" in shown.split("Against giving nobody anything")[1]) is known


class TestReport:
    def test_the_run_says_whether_it_pays(self, place: Path):
        metrics = json.loads((place / "known" / "metrics.json").read_text())
        rows = [r for r in metrics["returns"]["rows"] if r["name"] == "policy"]
        assert metrics["returns"]["value_per_unit"] == M
        for row in rows:
            assert row["net"] == pytest.approx(M * row["value"] - row["spend"])
        assert len(metrics["verdicts"]) == 2
        at = [r["budget"] for r in rows].index(metrics["lead"]["budget"])
        assert metrics["lead"]["verdict"] == metrics["verdicts"][at]
        assert set(metrics["break_even"]) == {"budget", "low", "high", "best", "best_low", "best_high"}
        html = (place / "known" / "report.html").read_text()
        assert "Does it pay?" in html
        assert metrics["verdicts"][0] in html
        summary = (place / "known" / "summary.md").read_text()
        assert summary.index("Does it pay?") < summary.index("Is the data sound?")

    def test_without_the_money_it_says_what_one_costs(self, place: Path):
        metrics = json.loads((place / "unknown" / "metrics.json").read_text())
        assert metrics["verdicts"] == []
        assert metrics["break_even"] is None
        assert "value_per_unit" in (place / "unknown" / "summary.md").read_text().replace("\\", "")

    def test_a_margin_needs_the_money(self, tmp_path: Path):
        (tmp_path / "a.toml").write_text(TEXT.format(more="") + "[outcome]\nmargin = 0.5\n")
        with pytest.raises(ConfigError, match="value_per_unit"):
            load(tmp_path / "a.toml")
