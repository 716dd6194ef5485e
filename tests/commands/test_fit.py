"""A campaign from files to a run folder and back."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from largesse import frames
from largesse.checks.soundness import Soundness
from largesse.checks.trial_power import TuningAdvice
from largesse.commands import fit as fit_module
from largesse.commands.allocate import allocate_run
from largesse.commands.compare import compare_runs
from largesse.commands.evaluate import evaluate_run
from largesse.commands.findings.clusters import clusters, traits
from largesse.commands.fit import fit
from largesse.commands.load import load_rows
from largesse.commands.schemas.runs import Metrics
from largesse.config import Config, load
from largesse.errors import DataError, LargesseError, SchemaError, StoreError
from largesse.models import HRC, MLP, Boosting
from largesse.models.registry import AUTO
from largesse.policy import Policy
from tests.common.campaigns import TEXT, table
from tests.common.worlds import orders, visits


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("campaign")
    frames.write(table(1500, 1), folder / "trial.parquet")
    frames.write(table(3000, 2, "obs"), folder / "past.parquet")
    frames.write(table(800, 3), folder / "later.parquet")
    frames.write(table(400, 4).drop(["arm", "orders", "spent"]), folder / "users.parquet")
    return folder


def config(place: Path, more: str = "folds = 2", **changes: str) -> Config:
    text = TEXT.format(more=more)
    for old, new in changes.items():
        text = re.sub(rf"^{old} = .*$", f"{old} = {new}" if new else "", text, flags=re.M)
    (place / "campaign.toml").write_text(text)
    return load(place / "campaign.toml")


@pytest.fixture(scope="module")
def run(place: Path):
    return fit(config(place), folder=place / "runs" / "one")


def test_a_run_folder_holds_all_that_is_needed(run, place: Path):
    files = {p.name for p in run.folder.iterdir()}
    assert {"config.toml", "metrics.json", "report.html", "summary.md", "policy", "cost_curve.png", "mix.png"} <= files
    metrics = json.loads((run.folder / "metrics.json").read_text())
    assert metrics["chosen"] in ("lightgbm-rct", "mlp-rct")
    assert len(metrics["chosen_by_fold"]) == 2
    assert {r["name"] for r in metrics["rows"]} >= {"policy", "no one", "best mix of arms", "random, same mix"}
    assert load(run.folder / "config.toml") == config(place)
    html = (run.folder / "report.html").read_text()
    assert run.results.headline.sentence[:20] in html
    assert not re.search(r'<(script|link|img)[^>]+(src|href)="https?://', html)


def test_units_are_allocated_alike_in_memory_and_from_file_to_file(run, place: Path, tmp_path: Path):
    for kind in ("parquet", "feather"):
        frames.write(frames.read(place / "users.parquet"), tmp_path / f"users.{kind}")
    for safety in ("configured", 0.9, None):
        told, plans = zip(*(
            (allocate_run(run.folder, tmp_path / f"users.{kind}", 60.0, plan, safety=safety),
             frames.read(plan))
            for kind in ("parquet", "feather") if (plan := tmp_path / f"plan-{kind}.parquet")
        ), strict=True)  # fmt: skip
        assert plans[0].equals(plans[1])
        assert told[0].to_dict() == told[1].to_dict()
        assert told[0].price > 0
        assert sum(told[0].plan.mix.values()) == 400
    with pytest.raises(DataError, match="budget"):
        allocate_run(run.folder, place / "users.parquet", float("nan"), tmp_path / "other.parquet")
    with pytest.raises(StoreError, match="would overwrite"):
        allocate_run(run.folder, place / "users.parquet", 9.0, place / "users.parquet")
    with pytest.raises(DataError, match="there is no folder"):  # before the units are looked for
        allocate_run(run.folder, place / "nobody.parquet", 9.0, tmp_path / "no" / "plan.csv")
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_rules_beside_the_budget_hold_in_corrected_money(run, place: Path, tmp_path: Path):
    users, plan, rules = place / "users.parquet", tmp_path / "plan.parquet", tmp_path / "rules.toml"
    free = allocate_run(run.folder, users, 60.0, plan)
    names = list(free.plan.mix)
    some = free.plan.mix[names[1]] + 3
    rules.write_text(
        f'count = [{{treatment = "{names[-1]}", at_most = 7}}, {{treatment = "{names[1]}", at_least = {some}}}]\n'
    )
    done = allocate_run(run.folder, users, 60.0, plan, rules=rules)
    assert done.plan.mix[names[-1]] <= 7
    assert done.plan.mix[names[1]] >= some
    assert done.plan.rules[0].rule == "spend at most 60"
    table = frames.read(plan)
    assert table["user"].to_pylist() == list(range(400))
    assert table["runner_up"].null_count == table["margin"].null_count == 400, "no single price decides"
    assert sum(table["cost"].to_pylist()) == pytest.approx(done.plan.rules[0].used)
    assert done.plan.rules[0].used <= 60.0
    assert done.spend.high <= 60.0 * (1 + 1e-6)  # the run's safety
    assert done.spend.low < done.spend.mean < done.spend.high
    loose = tmp_path / "loose.toml"
    loose.write_text(f'count = [{{treatment = "{names[-1]}", at_most = 400}}]\n')
    same = allocate_run(run.folder, users, 60.0, plan, rules=loose)
    assert (same.value, same.spend, same.planned_spend) == (free.value, free.spend, free.planned_spend)
    assert [rule.rule for rule in same.plan.rules] == ["spend at most 60", f"units with '{names[-1]}' at most 400"]
    loose.write_text("")
    none = allocate_run(run.folder, users, 60.0, plan, rules=loose)
    assert (none.plan.mix, none.spend) == (free.plan.mix, free.spend)
    rules.write_text('treatments = ["a", "b"]\nspend = [{at_most = 3}]\n')
    with pytest.raises(DataError, match="treatments == .*the run has"):
        allocate_run(run.folder, users, 60.0, plan, rules=rules)


def test_the_policy_is_the_one_that_was_learned(run, place: Path):
    policy = Policy.load(run.folder / "policy")
    users = frames.read(place / "users.parquet")
    budget = 0.3 * 400
    done = policy.allocate(users, budget, safety=0.95)
    assert done.n == 400
    assert done.spend.high <= budget * (1 + 1e-9)
    assert frames.plan_table(done.plan)["unit"].to_pylist() == list(range(400))


def test_the_same_seed_gives_the_same_numbers(run, place: Path):
    again = fit(config(place), folder=place / "runs" / "again").metrics
    for key in ("rows", "arms", "spend", "chosen", "effect_share"):
        assert json.dumps(again[key]) == json.dumps(run.metrics[key])


def test_held_out_rows_and_a_log_of_the_past(place: Path):
    cfg = config(place, more='obs = "past.parquet"\ntest = "later.parquet"', candidates='["lightgbm"]')
    done = fit(cfg, folder=place / "runs" / "both")
    assert done.metrics["chosen_by_fold"] == ["lightgbm"]
    assert dict(done.results.provenance.rows) == {"trial": 1500, "proof": 800, "log of the past policy": 3000}
    assert any(f["name"] == "overlap" for f in done.metrics["findings"])
    assert [row["residual_bias"] for row in done.metrics["trust_in_the_log"]] == [None] * 3


def test_a_report_says_how_far_the_log_can_be_trusted(place: Path):
    names = '["logs-then-correction", "bi-dfcl"]'
    done = fit(
        config(place, more='obs = "past.parquet"\ntest = "later.parquet"', candidates=names),
        folder=place / "runs" / "told",
    )
    told, past = done.metrics["trust_in_the_log"], orders(3000, seed=2, design="obs")
    trial = orders(1500, seed=1)
    for j, row in enumerate(told):
        assert row["rows"] == int((past.treatment == j).sum())
        assert 100 < row["effective_rows"] <= row["rows"]
        gap = past.value[past.treatment == j].mean() - trial.value[trial.treatment == j].mean()
        assert row["raw_bias"] == pytest.approx(gap)
        assert row["residual_bias_low"] < row["residual_bias"] < row["residual_bias_high"]
        assert 0 < row["gate_low"] <= row["gate"] <= row["gate_high"] < 1
    assert "How far the past campaign data can be trusted" in (done.folder / "report.html").read_text()
    assert "Gate (90 % of units)" in (done.folder / "summary.md").read_text()


def test_runs_are_evaluated_and_compared_on_later_rows(run, place: Path):
    found, planned, rank = evaluate_run(run.folder, place / "later.parquet", budgets=(0.5, 1.0), draws=40)
    assert found.names[0] == "policy"
    assert planned.budget.tolist() == [0.5, 1.0]
    assert 0 < rank["mt-aucc"] < 1.5
    other = fit(config(place, candidates='["lightgbm-t"]'), folder=place / "runs" / "two")
    both = compare_runs(run.folder, other.folder, place / "later.parquet", draws=40)
    assert both.names[:2] == ("one", "two")
    assert both.reference == "one"
    itself = compare_runs(run.folder, run.folder, place / "later.parquet", draws=40)
    assert not itself.difference[1].any()


def with_amounts() -> str:
    """The campaign without its cost column, with the amounts declared."""
    text = (
        TEXT.format(more="folds = 2")
        .replace('cost = "spent"\n', "")
        .replace('ignore = ["note"]', 'ignore = ["note", "spent"]')
    )
    return text + '\n[outcome]\ncost = "per_redemption"\namounts = {"5" = 5.0, "10" = 10.0}\n'


def test_declared_amounts_stand_in_for_a_cost_column(place: Path):
    (place / "rule.toml").write_text(with_amounts())
    bare, full = load_rows(load(place / "rule.toml")).rct, load_rows(config(place)).rct
    np.testing.assert_allclose(bare.cost, full.cost)


@pytest.mark.parametrize(
    ("amounts", "rising"), [((5.0, 10.0), True), ((0.05, 0.1), True), ((10.0, 5.0), False), ((5.0, 5.0), False)]
)
def test_treatments_are_ordered_where_their_amounts_rise(place: Path, amounts: tuple[float, float], rising: bool):
    text = with_amounts().replace('{"5" = 5.0, "10" = 10.0}', f'{{"5" = {amounts[0]}, "10" = {amounts[1]}}}')
    (place / "amounts.toml").write_text(text)
    assert load_rows(load(place / "amounts.toml")).outcome.ordered is rising


def test_features_of_the_past_log_must_be_there(place: Path):
    frames.write(table(300, 5, "obs").drop(["city"]), place / "thin.parquet")
    with pytest.raises(SchemaError, match="city"):
        load_rows(config(place, more='obs = "thin.parquet"'))


def test_nothing_is_left_behind_when_it_fails_midway(place: Path, monkeypatch: pytest.MonkeyPatch):
    def broken(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(fit_module.report, "write", broken)
    with pytest.raises(KeyboardInterrupt):
        fit(config(place, candidates='["lightgbm-rct"]'), folder=place / "runs" / "killed")
    assert not [p for p in (place / "runs").iterdir() if "killed" in p.name]


def test_an_older_run_is_not_overwritten(run, place: Path):
    with pytest.raises(StoreError, match="exists already"):
        fit(config(place, candidates='["lightgbm-rct"]'), folder=run.folder)


def test_an_older_run_gives_way_when_told(place: Path):
    folder = place / "runs" / "again_and_again"
    for seed in (1, 2):
        fit(config(place, candidates='["lightgbm-rct"]', draws=f"40\nseed = {seed}"), folder=folder, replace=seed == 2)
    assert json.loads((folder / "metrics.json").read_text())["seed"] == 2


def test_a_folder_that_is_no_run_is_refused(place: Path):
    with pytest.raises(StoreError, match="no run folder"):
        evaluate_run(place, place / "later.parquet")


def test_a_trial_without_costs_is_refused(place: Path, tmp_path: Path):
    free = table(600, 6)
    frames.write(
        free.set_column(free.column_names.index("spent"), "spent", pa.array(np.zeros(600))), tmp_path / "free.parquet"
    )
    with pytest.raises(LargesseError, match="no treatment costs anything"):
        fit(config(place, rct=f'"{tmp_path}/free.parquet"'), folder=tmp_path / "run")


def test_users_without_a_feature_are_refused(run, place: Path):
    users = frames.read(place / "users.parquet").drop(["city"])
    with pytest.raises(SchemaError, match="city"):
        Policy.load(run.folder / "policy").allocate(users, 10.0)
    with pytest.raises(DataError):
        Policy.load(run.folder / "policy").allocate(frames.read(place / "users.parquet"), float("nan"))


def test_a_missing_amount_is_refused(place: Path):
    text = with_amounts().replace('"10" = 10.0', '"20" = 10.0')
    (place / "typo.toml").write_text(text)
    with pytest.raises(DataError, match=r"Unknown: \['20'\]; missing: \['10'\]"):
        load_rows(load(place / "typo.toml"))


def test_control_may_cost_money(place: Path):
    rows = visits(3000)
    columns = {f"f{k}": rows.x[:, k] for k in range(4)}
    arm = np.array(["0", "1"])[rows.treatment]
    ids = np.arange(rows.n)
    frames.write(
        pa.table({**columns, "arm": arm, "orders": rows.value, "spent": rows.cost, "user": ids}),
        place / "visits.parquet",
    )
    more = "folds = 2\n[design]\ncontrol_cost = true"
    done = fit(
        config(place, more=more, rct='"visits.parquet"', ignore="", candidates='["lightgbm-rct"]'),
        folder=place / "runs" / "v",
    )
    low, high = sorted(arm["cost"] for arm in done.metrics["arms"])
    assert low < done.metrics["budgets_per_head"][0] < done.metrics["budgets_per_head"][1] < high
    with pytest.raises(DataError, match="the cheapest arm for everyone costs"):
        fit(config(place, more=more, rct='"visits.parquet"', ignore="", shares="[0.5]\nper_head = [0.01]"))


def test_row_weights_count_in_the_proof(place: Path):
    rows = table(4000, 8)
    weight = np.where(rows["f0"].to_numpy() > 0, 4.0, 0.25)
    frames.write(rows.append_column("w", pa.array(weight)), place / "weighted.parquet")
    cfg = config(
        place,
        rct='"weighted.parquet"',
        user='"user"\nweight = "w"',
        unit='"user"\nweight = "w"',
        candidates='["lightgbm-rct"]',
    )
    done = fit(cfg, folder=place / "runs" / "weighted")
    for row in done.metrics["spend"]:
        assert row["low"] <= row["budget"] <= row["high"] or abs(row["realised"] / row["budget"] - 1) < 0.12


def test_a_thin_arm_is_refused_before_anything_is_learned(place: Path):
    rows = table(900, 9)
    arm = np.array(rows["arm"].to_pylist())
    keep = np.flatnonzero((arm != "10") | (np.cumsum(arm == "10") <= 3))
    frames.write(rows.take(keep), place / "thin_arm.parquet")
    with pytest.raises(DataError, match=r"rows of treatment '10' in rct == 3: .* need 20 of every arm"):
        fit(config(place, rct='"thin_arm.parquet"'))


def test_a_trial_whose_probabilities_differ_between_units(place: Path):
    rows = table(3000, 10)
    share = np.where(rows["f1"].to_numpy() > 0, 1 / 3, 1 / 3)
    frames.write(rows.append_column("p", pa.array(share)), place / "blocks.parquet")
    cfg = config(
        place, more="folds = 2\n[design]\nstratified = true", rct='"blocks.parquet"', unit='"user"\npropensity = "p"'
    )
    found = load_rows(cfg).rct
    assert (found.design, found.assignment) == ("obs", "rows")
    done = fit(cfg, folder=place / "runs" / "blocks")
    assert done.metrics["chosen"] in ("lightgbm-rct", "mlp-rct")


@pytest.mark.parametrize(("models", "epochs"), [('["mlp-rct", "dfcl"]', "epochs = 2\n"), ('["dpm"]', "epochs = 9\n")])
def test_a_killed_run_goes_on_from_its_checkpoints(place: Path, tmp_path: Path, models: str, epochs: str):
    """The second run trains no network that the first one had finished, and says the same."""
    keep = tmp_path / "unfinished"
    text = (
        TEXT.format(more="folds = 2").replace("[run]", f'[run]\ncheckpoints = "{keep}"').replace("epochs = 1\n", epochs)
    )
    (place / "killed.toml").write_text(text.replace('["lightgbm-rct", "mlp-rct"]', models))
    cfg = load(place / "killed.toml")

    class Killed(BaseException):
        pass

    def until_evaluating(stage: str, done: float) -> None:
        if stage == "evaluating":
            raise Killed

    with pytest.raises(Killed):
        fit(cfg, folder=tmp_path / "killed", say=until_evaluating)
    assert not (tmp_path / "killed").exists()
    kept = {p.name: (p / "manifest.json").stat().st_mtime_ns for p in keep.iterdir()}
    assert len(kept) >= 3 * (models.count(",") + 1), "networks of all candidates, of the two folds and of the whole"
    stopped = []
    with pytest.raises(Killed):
        fit(cfg, folder=tmp_path / "killed", say=lambda s, d: (stopped.append(s), until_evaluating(s, d)))
    assert {p.name: (p / "manifest.json").stat().st_mtime_ns for p in keep.iterdir()} == kept, (
        "nothing is trained again"
    )
    done = fit(cfg, folder=tmp_path / "killed")
    assert not keep.exists(), "what a finished run no longer needs is removed"
    straight = fit(cfg, folder=tmp_path / "straight")
    for key in ("rows", "spend", "chosen", "effect_share"):
        assert json.dumps(done.metrics[key]) == json.dumps(straight.metrics[key])


def test_a_model_that_learns_from_decisions_is_judged_and_named_in_the_report(place: Path):
    done = fit(config(place, candidates='["mlp-rct", "dfcl"]'), folder=place / "runs" / "judged")
    if done.metrics["chosen"] == "mlp-rct":
        assert "the two-stage model is kept" in done.metrics["reason"]
    else:
        assert "it is adopted" in done.metrics["reason"]
    notes = {row.name: row.note for row in done.results.leaderboard.rows}
    assert notes["mlp-rct"] == ""
    assert notes["dfcl"].startswith("shrinkage weight ")
    assert done.metrics["reason"].split(":")[0] in (done.folder / "summary.md").read_text()


@pytest.mark.parametrize(("advice", "joins"), [("cannot be seen", False), ("may pay", False), ("can pay", True)])
def test_default_candidates_follow_the_power_of_the_trial(
    place: Path, monkeypatch: pytest.MonkeyPatch, advice: str, joins: bool
):
    class Told(BaseException):
        pass

    def told(cfg: Config, rows: Any, task: Any, workers: Any) -> Soundness:
        found = real(cfg, rows, task, workers)
        return Soundness(
            findings=tuple(replace(f, advice=TuningAdvice(advice)) if f.name == "power" else f for f in found)
        )

    def stop(cfg: Config, rows: Any, task: Any, say: Any, workers: Any) -> None:
        raise Told(task.candidates)

    real = fit_module.soundness
    monkeypatch.setattr(fit_module, "soundness", told)
    monkeypatch.setattr(fit_module, "fit_and_prove", stop)
    with pytest.raises(Told) as found:
        fit(config(place, candidates='"auto"'), folder=place / "runs" / "auto")
    (names,) = found.value.args
    assert names[:3] == AUTO[False]
    assert ("dfcl" in names) == joins
    with pytest.raises(Told) as named:
        fit(config(place), folder=place / "runs" / "auto")
    assert named.value.args == (("lightgbm-rct", "mlp-rct"),), "what is named is not added to"


def test_checkpoints_that_cannot_be_kept_are_refused_before_any_work(place: Path):
    (place / "file").write_text("not a folder")
    text = TEXT.format(more="folds = 2").replace("[run]", f'[run]\ncheckpoints = "{place / "file"}"')
    (place / "unwritable.toml").write_text(text)
    stages: list[str] = []
    with pytest.raises(StoreError, match="file"):
        fit(
            load(place / "unwritable.toml"),
            folder=place / "runs" / "none",
            say=lambda stage, done: stages.append(stage),
        )
    assert stages == []


def test_a_model_with_free_heads_is_evaluated_where_amounts_stand_in_for_costs(place: Path):
    text = (
        TEXT.format(more="")
        .replace('cost = "spent"\n', "")
        .replace('ignore = ["note"]', 'ignore = ["note", "spent"]')
        .replace('["lightgbm-rct", "mlp-rct"]', '["mlp-published"]')
    )
    (place / "free.toml").write_text(text + '[outcome]\ncost = "per_redemption"\namounts = {"5" = 5.0, "10" = 10.0}\n')
    done = fit(load(place / "free.toml"), folder=place / "runs" / "free")
    found, _, _ = evaluate_run(done.folder, place / "later.parquet", budgets=(2.0,), draws=20)
    assert np.isfinite(found.value[0]).all()


def test_a_model_that_refuses_the_rows_is_left_out_and_named(place: Path):
    done = fit(config(place, candidates='["lightgbm-rct", "drp"]'), folder=place / "runs" / "refused")  # three arms
    assert done.metrics["chosen"] == "lightgbm-rct"
    assert any("drp was left out" in words and "DPM" in words for words in done.results.cautions)
    with pytest.raises(DataError, match="DPM"):
        fit(config(place, candidates='["drp"]'), folder=place / "runs" / "refused_alone")


def test_menus_that_count_treatments_are_no_money(tmp_path: Path):
    logs = orders(3000, m=2, seed=1)
    frames.write(
        pa.table({**{f"f{k}": logs.x[:, k] for k in range(4)}, "arm": [str(t) for t in logs.treatment],
                  "orders": logs.value, "spent": 40 * logs.cost}), tmp_path / "trial.parquet"
    )  # fmt: skip
    text = (
        TEXT.format(more="folds = 1").replace('["lightgbm-rct", "mlp-rct"]', '["drp"]').replace('unit = "user"\n', "")
    )
    text = text.replace('ignore = ["note"]\n', "").replace("epochs = 1\n", "")
    (tmp_path / "c.toml").write_text(text)
    done = fit(load(tmp_path / "c.toml"), folder=tmp_path / "run")
    assert [row["planned_by_model"] for row in done.metrics["spend"]] == [None, None]
    assert all(row["planned_by_curve"] > 1 for row in done.metrics["spend"])


def test_budgets_of_the_run_reach_the_decision_losses(place: Path):
    cfg = config(place, candidates='["dfcl"]', shares="[0.03]")
    done = fit(cfg, folder=place / "runs" / "small")
    model = Policy.load(done.folder / "policy").model
    assert model.budgets_ == pytest.approx(tuple(done.metrics["budgets_per_head"]), rel=0.2)
    assert len(model.budgets_) == 1


def test_clusters_stand_in_the_report(place: Path):
    more = 'folds = 1\nobs = "past.parquet"'
    cfg = config(
        place, more=more, candidates='["hrc"]\nsettings.hrc = {sizes = [6], least = 20, task_weights = "learned"}'
    )
    done = fit(cfg, folder=place / "runs" / "clusters")
    model = Policy.load(done.folder / "policy").model
    assert (model.sizes, model.least, model.base.tasks.weights) == ((6,), 20, "learned")
    found = done.results.clusters
    assert found is not None
    assert (found.model, found.chosen, found.total) == ("hrc", True, model.n_clusters)
    assert sum(card.share for card in found.cards) == pytest.approx(1)
    assert sum(card.rows for card in found.cards) == 1500
    assert [card.share for card in found.cards] == sorted((card.share for card in found.cards), reverse=True)
    assert any(card.traits for card in found.cards)
    assert f"Cluster {found.cards[0].name}: " in (done.folder / "report.html").read_text()
    assert "Units differ in" in (done.folder / "summary.md").read_text()
    assert len(done.metrics["clusters"]["cards"]) == len(found.cards)
    Metrics.model_validate_json(json.dumps(done.metrics))
    users, plan = place / "users.parquet", place / "clusters.parquet"
    told = allocate_run(done.folder, users, 60.0, plan, safety=None)
    assert sum(told.plan.mix.values()) == 400


def test_a_candidate_that_lost_shows_its_clusters_too(run):
    assert run.results.clusters is None
    logs = orders(900)
    trees, groups = Boosting(rounds=3).fit(logs), HRC(MLP(members=1, hidden=(8, 4)), sizes=(3,)).fit(logs)
    found = clusters(logs, {"trees": trees, "hrc": groups}, "trees")
    assert found is not None
    assert (found.model, found.chosen) == ("hrc", False)
    both = clusters(logs, {"one": groups, "two": groups}, "two")
    assert both is not None
    assert (both.model, both.chosen) == ("two", True)
    cells = groups.cells(logs.x)
    k = int(found.cards[0].name)
    mean, low, high = found.cards[0].value[2]
    assert mean == pytest.approx(cells.value[k, 2])
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(cells.covariance[k, 2, 0, 0]), rel=1e-3)


def test_the_largest_clusters_are_shown_and_all_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    logs = orders(900)
    groups = HRC(MLP(members=1, hidden=(8, 4)), sizes=(4,), least=5).fit(logs)
    whole = clusters(logs, {"hrc": groups}, "hrc")
    monkeypatch.setattr("largesse.commands.findings.clusters._CARDS", 2)
    shown = clusters(logs, {"hrc": groups}, "hrc")
    assert whole is not None
    assert shown is not None
    assert len(whole.cards) == groups.n_clusters > 2
    assert [card.name for card in shown.cards] == [card.name for card in whole.cards[:2]]
    assert shown.total == whole.total == groups.n_clusters
    monkeypatch.setattr("largesse.commands.findings.clusters._ROWS", 300)
    some = clusters(logs, {"hrc": groups}, "hrc")
    assert some is not None
    counts = np.bincount(groups.clusters(logs.x), minlength=groups.n_clusters)
    assert all(card.rows == counts[int(card.name)] for card in some.cards)


def test_traits_are_means_in_standard_deviations():
    logs = orders(2000)
    of = (logs.x[:, 2] > 0.5).astype(np.int64)
    x = np.column_stack([logs.x, of, np.ones(logs.n)])
    logs = replace(logs, x=x, features=("a", "b", "c", "late", "yes", "one"), weight=np.linspace(1, 2, logs.n))
    first, second = traits(logs, of, 2)
    assert [trait.feature for trait in second] == ["yes", "c"]
    by = {trait.feature: trait for trait in second}
    w = logs.weights
    assert (by["yes"].inside, by["yes"].share) == (1.0, True)
    assert by["yes"].everywhere == pytest.approx(np.average(of, weights=w))
    inside = np.average(x[of == 1, 2], weights=w[of == 1])
    everywhere = np.average(x[:, 2], weights=w)
    sd = np.sqrt(np.average((x[:, 2] - everywhere) ** 2, weights=w))
    assert by["c"].inside == pytest.approx(inside, rel=1e-5)
    assert by["c"].difference == pytest.approx((inside - everywhere) / sd, rel=1e-4)
    assert not by["c"].share
    assert all(abs(trait.difference) >= 0.2 for trait in (*first, *second))
