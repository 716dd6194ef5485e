"""The rules that an allocation must obey are obeyed in the proof: what ships is what was proven."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from largesse import frames
from largesse.commands import proof_rules
from largesse.commands.allocate import allocate_run
from largesse.commands.compare import compare_runs
from largesse.commands.evaluate import evaluate_run
from largesse.commands.fit import Run, fit
from largesse.commands.proof_rules import ProofRules
from largesse.commands.table_rules import budget_rule, under
from largesse.config import Config, parse
from largesse.errors import ConfigError, DataError, InfeasibleRules, SchemaError
from largesse.logs import Logs
from largesse.menu import Menu
from tests.common.campaigns import TEXT, table

RULES = """
eligible = "may_{}"
count = [{treatment = "10", at_most = 1000}]
spend = [{by = "city", at_most = {north = 3000.0, south = 20000.0}}]
"""
UNITS = 15_000  # ten times the rows of the trial
CAP = "count = [{treatment = '10', at_most = 1000}]"


def trial(n: int = 1500, seed: int = 1) -> pa.Table:
    rows, rng = table(n, seed), np.random.default_rng(seed + 100)
    may = {f"may_{name}": pa.array(rng.random(n) < share) for name, share in (("0", 1.1), ("5", 0.7), ("10", 0.8))}
    for name, cells in may.items():
        rows = rows.append_column(name, cells)
    return rows


def later() -> pa.Table:
    rows = trial(1200, 7)
    return rows.set_column(rows.column_names.index("user"), "user", pa.array(np.arange(10_000, 11_200)))


@pytest.fixture(scope="module", autouse=True)
def few_steps() -> Iterator[None]:
    """Fewer budgets between which decisions are mixed: each takes a plan of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(proof_rules, "_STEPS", 4)
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rules")
    frames.write(trial(), folder / "trial.parquet")
    frames.write(later(), folder / "later.parquet")
    (folder / "rules.toml").write_text(RULES)
    return folder


def campaign(place: Path, more: str = 'file = "rules.toml"\nunits = 15000', data: str = "folds = 2") -> Config:
    text = (
        TEXT.format(more=data).replace('"lightgbm-rct", "mlp-rct"', '"lightgbm-rct"')
        + "[outcome]\nvalue_per_unit = 10\n"
    )
    text = text.replace("[run]", "settings.lightgbm-rct = {rounds = 40}\n[run]")
    return parse(text + (f"[rules]\n{more}\n" if more else ""), folder=place)


@pytest.fixture(scope="module")
def run(place: Path) -> Run:
    return fit(campaign(place), folder=place / "run")


def decisions(folder: Path, place: Path) -> pd.DataFrame:
    data = frames.read(place / "trial.parquet").to_pandas()
    return pd.read_parquet(folder / "proof.parquet").merge(data, on="user", suffixes=("", "_file"))


def test_every_decision_of_the_proof_obeys_the_rules_in_proportion(run: Run, place: Path):
    rows = decisions(run.folder, place)
    for k in (1, 2):
        decided = rows[f"decision_{k}"]
        allowed = np.select(
            [decided == name for name in ("0", "5", "10")], [rows[f"may_{n}"] for n in ("0", "5", "10")]
        )
        assert allowed.all()
        for _, fold in rows.groupby("fold"):
            assert (fold[f"decision_{k}"] == "10").sum() <= np.ceil(1000 * len(fold) / UNITS)
    assert (rows.decision_2 == "10").sum() >= 90, "the cap is used: it binds at the larger budget"


def test_what_is_not_for_a_group_is_not_in_the_proof(place: Path, tmp_path: Path):
    """Such a rule has no total, so it needs no number of units; only its column is read."""
    (tmp_path / "rules.toml").write_text('not_for = [{treatment = "10", column = "city", values = ["north"]}]')
    rows, order = trial(), np.arange(0, 1500, 2)
    logs = Logs(
        x=np.zeros((len(order), 1)), treatment=np.arange(len(order)) % 3, value=np.ones(len(order)), cost=np.zeros(len(order)),
        treatments=("0", "5", "10"),
    )  # fmt: skip
    rules = ProofRules.load(tmp_path / "rules.toml", None, place / "trial.parquet", order, logs)
    assert rules.table.column_names == ["city"]
    value = np.tile([0.0, 1.0, 2.0], (len(order), 1))
    menu = Menu(value=value, cost=np.zeros(value.shape), treatments=logs.treatments)
    plan = under(rules.file, menu, rules.table, budget_rule(menu, np.inf))
    north = np.array(rows["city"].to_pylist())[order] == "north"
    assert plan.treatment.tolist() == np.where(north, 1, 2).tolist()


def test_value_spend_and_net_value_are_those_of_these_decisions(run: Run, place: Path):
    rows = decisions(run.folder, place)
    for k, spent in enumerate(run.metrics["spend"], start=1):
        w = (rows[f"decision_{k}"] == rows.treatment) / rows.propensity
        assert spent["realised"] == pytest.approx((w * rows.cost).sum() / len(rows), rel=1e-9)
    returns = [row for row in run.metrics["returns"]["rows"] if row["name"] == "policy"]
    for k, row in enumerate(returns, start=1):
        w = rows[f"counts_{k}"] / rows.propensity - (rows.treatment == "0") / rows.propensity
        assert row["net"] == pytest.approx((w * (10 * rows.value - rows.cost)).sum() / len(rows), rel=1e-9)


def test_the_page_says_which_rules_and_what_they_cost(run: Run):
    assert any(
        one.startswith("The policy obeys the rules in rules.toml") and "15,000 units" in one
        for one in run.results.cautions
    )
    values = {(row["name"], row["budget"]): row["value"] for row in run.metrics["rows"]}
    for budget in run.metrics["budgets_per_head"]:
        assert values["without the rules", budget] > values["policy", budget]
    assert run.metrics["rules"] == {"file": str(run.folder.parent / "rules.toml"), "units": UNITS}
    assert (run.folder / "rules.toml").read_text() == RULES


def test_rules_that_bind_nothing_change_nothing(place: Path):
    (place / "loose.toml").write_text("count = [{treatment = '10', at_most = 15000}]")
    loose = fit(campaign(place, 'file = "loose.toml"\nunits = 15000'), folder=place / "loose")
    free = fit(campaign(place, ""), folder=place / "free")
    for one, other in zip(loose.metrics["spend"], free.metrics["spend"], strict=True):
        assert one["realised"] == pytest.approx(other["realised"], rel=0.06)
    values = [[row["value"] for row in done.metrics["rows"] if row["name"] == "policy"] for done in (loose, free)]
    np.testing.assert_allclose(*values, rtol=0.05)


def test_options_stand_in_for_the_section(place: Path):
    done = fit(campaign(place, ""), folder=place / "options", fast=True, rules=place / "rules.toml", units=UNITS)
    rows = decisions(done.folder, place)
    assert 0 < (rows.decision_2 == "10").sum() <= np.ceil(1000 * len(rows) / UNITS)


def test_later_rows_and_allocations_follow_the_rules_of_the_run(run: Run, place: Path):
    ruled, planned, _ = evaluate_run(run.folder, place / "later.parquet")
    free, *_ = evaluate_run(run.folder, place / "later.parquet", follow_rules=False)
    assert ruled.names[:2] == ("policy", "without the rules")
    np.testing.assert_allclose(ruled.value[1], free.value[0], rtol=1e-12)
    assert not np.allclose(ruled.value[0], free.value[0], rtol=1e-3)
    assert any("rules.toml" in note for note in ruled.notes)
    assert (planned.cost_low < planned.cost).all()
    (place / "tight.toml").write_text(CAP.replace("1000", "0"))
    tight, *_ = evaluate_run(run.folder, place / "later.parquet", rules=place / "tight.toml", units=UNITS)
    assert tight.parts.mix[:, 2].max() == 0
    done = allocate_run(run.folder, place / "later.parquet", 3000.0, place / "plan.parquet")
    plan = pd.read_parquet(place / "plan.parquet")
    data = frames.read(place / "later.parquet").to_pandas()
    assert done.notes[0].startswith("It obeys the rules that the run was proven under")
    assert not ((plan.treatment == "5").to_numpy() & ~data.may_5.to_numpy()).any()
    allocate_run(run.folder, place / "later.parquet", 3000.0, place / "all.parquet", follow_rules=False)
    assert ((pd.read_parquet(place / "all.parquet").treatment == "5").to_numpy() & ~data.may_5.to_numpy()).any()
    with pytest.raises(DataError, match=r"rules need a budget.*--no-rules leaves the rules of the run out"):
        allocate_run(run.folder, place / "later.parquet", None, place / "none.parquet")


def test_a_comparison_of_runs_holds_each_to_its_own_rules(run: Run, place: Path):
    other = fit(campaign(place, "", data="folds = 1"), folder=place / "other")
    table_ = compare_runs(run.folder, other.folder, place / "later.parquet")
    ruled, *_ = evaluate_run(run.folder, place / "later.parquet")
    np.testing.assert_allclose(table_.value[0], ruled.value[0], rtol=1e-9)
    assert "run obeys the rules that it was proven under." in table_.notes


@pytest.mark.parametrize(
    ("rules", "more", "error", "words"),
    [
        (CAP, "", ConfigError, r"limits are totals.*Write units = "),
        (CAP.replace("10", "11", 1), "units = 100", DataError, "treatment == '11'"),
        (
            "spend = [{by = 'town', at_most = 1.0}]",
            "units = 100",
            SchemaError,
            r"column 'town'.*spend\[0\].by names it",
        ),
        ("eligible = 'can_{}'", "", SchemaError, "column 'can_0'"),
        (
            "count = [{treatment = '10', at_least = 900}, {treatment = '5', at_least = 900}]",
            "units = 1500",
            InfeasibleRules,
            "cannot hold together",
        ),
        ("treatments = ['0', '5']", "", DataError, "the trial has"),
    ],
)
def test_rules_that_cannot_be_proven_are_refused_before_any_training(
    place: Path, tmp_path: Path, rules: str, more: str, error: type[Exception], words: str
):
    (tmp_path / "bad.toml").write_text(rules)
    stages: list[str] = []
    with pytest.raises(error, match=words):
        fit(
            campaign(place, f'file = "{tmp_path / "bad.toml"}"\n{more}'), folder=tmp_path / "run",
            say=lambda stage, _: stages.append(stage),
        )  # fmt: skip
    assert stages == ["reading"]
    assert not (tmp_path / "run").exists()


def test_a_budget_at_which_rules_conflict_is_named(place: Path, tmp_path: Path):
    (tmp_path / "much.toml").write_text("count = [{treatment = '10', at_least = 1200}]")
    with pytest.raises(InfeasibleRules) as refusal:
        fit(campaign(place, f'file = "{tmp_path / "much.toml"}"\nunits = 1500', "folds = 1"), folder=tmp_path / "run")
    assert "per unit, in the proof" in refusal.value.__notes__[-1]


def test_units_without_rules_are_refused(place: Path):
    with pytest.raises(ConfigError, match="file is missing: units is the number of units"):
        campaign(place, "units = 3")


def test_metrics_stay_plain(run: Run):
    assert json.loads((run.folder / "metrics.json").read_text())["rules"]["units"] == UNITS
