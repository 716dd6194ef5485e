"""Studies: cells that go on, pages that say what was measured, and refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone

from benchmarks.suite import pages, problems, run, studies
from benchmarks.suite.problems import MAIN, SCALES, SHARES, Scale, problem
from benchmarks.suite.run import Cell, benchmark
from benchmarks.suite.tables import mean_sd, paired
from largesse.allocate import assign
from largesse.errors import DataError, StoreError
from largesse.evaluate.truth import Room, attainable_gain
from largesse.menu import Menu
from largesse.models import MLP, BiDFCL, Outcome, Regressors, Schedule
from tests.common.worlds import orders

LABELS = ("TSM-SL, RCT", "LightGBM S, RCT + OBS")


def kept(folder: Path, world: str, seed: int, gains: dict[str, list[float]], **more: float) -> None:
    methods = {
        label: {"gain": gain, "seconds": 10.0 * (k + 1), "thinned": 0, **more}
        for k, (label, gain) in enumerate(gains.items())
    }
    Cell(folder, "small", world, seed).store(
        {"scale": "small", "world": world, "seed": seed, "shares": list(SHARES), "rct": 40000, "obs": 200000, "methods": methods}
    )  # fmt: skip


class TestProblems:
    def test_gains_are_those_of_the_truth_where_every_budget_can_be_met(self, monkeypatch):
        monkeypatch.setitem(SCALES, "tiny", Scale(400, 500, 0))
        given = problem("discount", "tiny", 0)
        menu = Regressors(_ridge()).fit(given.rct, given.obs).predict(given.x)
        from largesse import simulate

        truth = simulate.discount(seed=0, n_features=problems.FEATURES).truth(given.x)
        budgets = np.array(SHARES) * float(truth.cost.mean(0).max())
        score = given.judge(menu)
        wanted = attainable_gain(menu, truth, budgets)
        met = np.isfinite(wanted)
        np.testing.assert_allclose(score.gain[met], wanted[met], rtol=1e-9)
        assert met.sum() >= 9
        assert (score.thinned, score.aucc) == ((~met).sum(), None)
        assert (given.rct.n, given.obs.n) == (400, 500)

    def test_a_budget_that_cannot_be_met_is_met_by_a_random_share(self, monkeypatch):
        monkeypatch.setitem(SCALES, "tiny", Scale(400, 500, 0))
        given = problem("money_off", "tiny", 0)
        from largesse import simulate

        truth = simulate.money_off(seed=0, n_features=problems.FEATURES).truth(given.x)
        cost = np.where(np.arange(8) == 4, 0.0, 1.0 + truth.cost)  # it believes that level 4 is free
        menu = Menu(value=truth.value, cost=cost, treatments=truth.treatments)
        score = given.judge(menu)
        assert score.thinned > 0
        assert np.isfinite(score.gain).all()
        dear = assign(menu, float("inf"))
        assert (dear == 4).all()
        # A share of everybody at level 4 is a mix of arms: no better than the best mix.
        assert (score.gain[: score.thinned] <= 1e-9).all()
        budgets = np.array(SHARES) * float(truth.cost.mean(0).max())
        share = budgets[: score.thinned] / truth.cost[:, 4].mean()
        value = truth.value[:, 0].mean() + share * (truth.value[:, 4] - truth.value[:, 0]).mean()
        wanted = Room.of(truth, budgets[: score.thinned]).gain(value)
        np.testing.assert_allclose(score.gain[: score.thinned], wanted, rtol=1e-9, atol=1e-12)

    def test_no_data_is_a_clear_refusal(self, monkeypatch):
        monkeypatch.delenv("LARGESSE_DATA", raising=False)
        with pytest.raises(DataError, match="LARGESSE_DATA"):
            problem("hillstrom", "small", 0)


def _ridge():
    from sklearn.linear_model import Ridge

    return Ridge()


@pytest.fixture
def fakes(monkeypatch) -> list[str]:
    """Methods a; b, which begins with a; c, which begins with both; and one that fails. Says which were made."""
    made: list[str] = []

    class Told:
        treatments_ = ("0", "1", "2")

        def predict(self, x):
            return Menu(value=np.tile([0.0, 1.0, 2.0], (len(x), 1)), cost=np.tile([0.0, 1.0, 2.0], (len(x), 1)))

    def making(label: str):
        def make(bench, *parts):
            made.append(label)
            if label == "fails":
                raise DataError("no such luck", field="x")
            return Told()

        return make

    rct, obs, x = orders(300), orders(300, seed=1, design="obs"), np.zeros((5, 4), np.float32)
    given = problems.Problem(rct, obs, x, lambda menu: problems.Score(np.zeros(len(SHARES)), 0, None))
    monkeypatch.setattr(run, "problem", lambda *_: given)
    for label, of in {"a": (), "b": ("a",), "fails": (), "c": ("a", "b")}.items():
        monkeypatch.setitem(studies.METHODS, label, studies.Method(making(label), of))
    return made


def test_the_twin_has_no_rows_beside_those_of_its_trial():
    with pytest.raises(
        DataError, match=r"scale == 'more_rct': the CRITEO twin is cut from one trial\. Give one of tiny"
    ):
        problem("criteo_twin", "more_rct", 0)


def test_a_picture_holds_only_what_can_be_compared():
    study = studies.STUDIES["bidfcl"]
    alone = {"scale": "main", "world": "discount", "seed": 0, "methods": {studies.LIGHTGBM: {}}}
    both = {"scale": "small", "world": "discount", "seed": 0, "methods": {study.base: {}, studies.LIGHTGBM: {}}}
    elsewhere = both | {"scale": "more_rct"}
    assert set(pages.drawable(study, [alone, both, elsewhere])) == {("small", "discount")}
    assert set(pages.runs_of(study, [alone, both, elsewhere])) == {("small", "discount"), ("main", "discount")}


class TestCells:
    def test_only_what_is_missing_is_fitted_and_a_failure_keeps_the_rest(self, tmp_path, fakes):
        cell = Cell(tmp_path, "small", "discount", 0)
        run.fill(cell, ("a", "b"))
        run.fill(cell, ("b", "a"))
        assert fakes == ["a", "b"], "a part of another is made once, and what is kept not again"
        with pytest.raises(DataError, match="discount 0, 'fails': no such luck"):
            run.fill(cell, ("fails", "c"))
        assert set(cell.load()["methods"]) == {"a", "b", "c"}
        assert not list(tmp_path.rglob("*.tmp"))

    def test_the_seconds_of_a_method_are_those_of_all_its_parts(self, monkeypatch, tmp_path, fakes):
        clock = iter(range(0, 10**6, 10))  # every call takes ten seconds
        monkeypatch.setattr(run.time, "perf_counter", lambda: float(next(clock)))
        cell = Cell(tmp_path, "small", "discount", 0)
        run.fill(cell, ("c", "a", "b"))
        assert {label: m["seconds"] for label, m in cell.load()["methods"].items()} == {"c": 30.0, "a": 10.0, "b": 20.0}

    def test_what_a_method_begins_with_is_made_of_methods_too(self):
        assert studies.needed(studies.BI_SERVED) == {
            studies.BI_SERVED, studies.BI, studies.STACK, studies.LIKELIHOOD, studies.LIGHTGBM, studies.LIGHTGBM_RCT,
            studies.CORRECTED,
        }  # fmt: skip

    def test_a_cell_of_true_methods_holds_gains(self, monkeypatch, tmp_path):
        monkeypatch.setitem(SCALES, "tiny", Scale(600, 800, 0))
        monkeypatch.setattr(problems, "_TEST", 2_000)
        cell = Cell(tmp_path, "tiny", "discount", 0)
        run.fill(cell, (studies.LIGHTGBM, studies.LIGHTGBM_RCT))
        found = cell.load()["methods"]
        assert set(found) == {studies.LIGHTGBM, studies.LIGHTGBM_RCT}
        assert all(np.isfinite(m["gain"]).all() and len(m["gain"]) == len(SHARES) for m in found.values())
        assert all(m["seconds"] > 0 for m in found.values())

    def test_every_study_is_made_of_methods_that_there_are(self):
        for study in studies.STUDIES.values():
            assert set(study.methods) <= set(studies.METHODS)
            assert study.base in study.methods
        for label, method in studies.METHODS.items():
            assert label not in {of for part in method.of for of in studies.needed(part)}, "nothing is part of itself"

    def test_what_begins_with_fitted_parts_is_what_learns_alone(self):
        rct, obs = orders(400), orders(500, seed=1, design="obs")
        bench, quick = studies.Bench(0, Outcome.infer(rct | obs), rct, obs), Schedule(epochs=1, least=20)
        base, teacher = (MLP.published(data=d, seed=0, schedule=quick).fit(rct, obs) for d in ("obs", "rct"))
        found = studies.METHODS["Bi-DFCL-PPL"].make(bench, base, teacher)
        alone = BiDFCL.published("ppl", seed=0).set_params(base=clone(base), teacher=clone(teacher)).fit(rct, obs)
        np.testing.assert_array_equal(found.predict(rct.x).value, alone.predict(rct.x).value)
        served = studies.METHODS[studies.BI_SERVED].make(bench, alone)
        half = clone(alone).set_params(shrinkage_weight=0.5).fit(rct, obs)
        np.testing.assert_allclose(served.predict(rct.x).value, half.predict(rct.x).value, rtol=1e-6)

    def test_another_file_in_the_place_of_a_cell_is_refused(self, tmp_path):
        cell = Cell(tmp_path, "small", "discount", 0)
        cell.place.parent.mkdir()
        for text in ("{", "[]", json.dumps({"scale": "small", "world": "money_off", "seed": 0, "shares": []})):
            cell.place.write_text(text)
            for job in (cell.load, lambda: benchmark("bidfcl", folder=tmp_path, seeds=0)):
                with pytest.raises(StoreError, match="is no cell of this benchmark"):
                    job()
        cell.place.unlink()
        (cell.place.parent / "notes.json").write_text("{}")
        with pytest.raises(StoreError, match="notes.json: is no cell"):
            benchmark("bidfcl", folder=tmp_path, seeds=0)

    def test_a_folder_that_cannot_be_written_is_refused_before_any_work(self, tmp_path, monkeypatch):
        (tmp_path / "file").write_text("not a folder")
        monkeypatch.setattr(run, "_fill_all", lambda *_: pytest.fail("something was fitted"))
        with pytest.raises(StoreError, match="file"):
            benchmark("bidfcl", folder=tmp_path / "file", seeds=1)


class TestPages:
    def test_the_table_is_the_mean_of_the_main_budgets_paired_with_the_base(self, tmp_path):
        rng, base = np.random.default_rng(0), studies.STUDIES["bidfcl"].base
        labels = (*LABELS, base)
        gains = {(label, s): rng.random(len(SHARES)).tolist() for label in labels for s in range(4)}
        for s in range(4):
            kept(tmp_path, "discount", s, {label: gains[label, s] for label in labels})
        page = benchmark("bidfcl-ours", folder=tmp_path, seeds=0)
        assert f"| {LABELS[0]} |" not in page.read_text(), "of another study"
        page = benchmark("bidfcl", folder=tmp_path, seeds=0)
        mean = {
            label: np.array([100 * np.array(gains[label, s])[list(MAIN)].mean() for s in range(4)]) for label in labels
        }
        row = next(line for line in page.read_text().splitlines() if line.startswith(f"| {LABELS[0]} |"))
        assert f"{mean[LABELS[0]].mean():.3g} ± {mean[LABELS[0]].std(ddof=1):.3g}" in row
        apart = paired((mean[LABELS[0]] - mean[base]).tolist())
        assert row.endswith(f"| {apart:+.3g} |")
        assert (tmp_path / "bidfcl.png").stat().st_size > 5000
        assert "(4 seeds)" in page.read_text()
        told = paired((mean[LABELS[0]] - mean[LABELS[1]]).tolist())
        from scipy import stats

        wanted = stats.ttest_rel(mean[LABELS[0]], mean[LABELS[1]]).confidence_interval(0.95)
        assert (told.low, told.high) == pytest.approx(tuple(wanted))

    def test_out_of_reach_thinned_and_few_are_said(self, tmp_path):
        assert format(paired([np.nan, np.nan]), "+.3g") == "out of reach"
        assert format(paired([1.0, np.nan]), "+.3g") == "+1 (1 out of reach)"
        assert mean_sd([1.0, 3.0, np.nan], ".1f") == "2.0 ± 1.4 (1 out of reach)"
        assert (mean_sd([np.nan], ".1f"), mean_sd([2.0], ".1f")) == ("out of reach", "2.0")
        kept(tmp_path, "discount", 0, dict.fromkeys(LABELS, [0.1] * 10), thinned=1)
        kept(tmp_path, "discount", 1, {LABELS[1]: [0.2] * 10})
        text = benchmark("bidfcl", folder=tmp_path, seeds=0).read_text()
        assert f"| {LABELS[0]} † (1 seed) |" in text

    def test_budgets_and_seconds_have_pages_of_their_own(self, tmp_path):
        kept(
            tmp_path, "discount", 0, {label: (np.arange(10) / 10).tolist() for label in ("TSM-SL, RCT + OBS", *LABELS)}
        )
        text = benchmark("bidfcl-budgets", folder=tmp_path, seeds=0).read_text()
        assert f"| {LABELS[0]} | 0 | 10 | 20 |" in text
        text = benchmark("bidfcl-time", folder=tmp_path, seeds=0).read_text()
        assert f"| {LABELS[0]} | 20.0 | 2.00 |" in text

    def test_areas_and_real_trials(self, tmp_path):
        kept(tmp_path, "criteo_twin", 0, dict.fromkeys(LABELS, [0.1] * 10), aucc=0.61)
        text = benchmark("bidfcl", folder=tmp_path, seeds=0).read_text()
        assert "| AUCC |" in text
        assert "0.61" in text


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"study": "odd"}, "study"), ({"scale": "huge"}, "scale"), ({"worlds": ("mars",)}, "worlds"),
        ({"methods": ("magic",)}, "methods"), ({"seeds": -1}, "seeds"), ({"processes": 0}, "processes"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_refused(tmp_path, how, words):
    given = {"study": "bidfcl", "seeds": 0, **how}
    with pytest.raises(DataError, match=words):
        benchmark(given.pop("study"), folder=tmp_path / "new", **given)
    assert not (tmp_path / "new").exists()


def test_a_cell_that_fails_costs_neither_the_page_nor_the_word(monkeypatch, tmp_path):
    kept(tmp_path, "discount", 0, {"TSM-SL, RCT": [0.5] * len(SHARES)})
    monkeypatch.setattr(run, "_fill_all", lambda *_: DataError("no such luck"))
    with pytest.raises(DataError, match="no such luck"):
        benchmark("bidfcl", folder=tmp_path, worlds=("discount",), seeds=1)
    assert "TSM-SL, RCT" in (tmp_path / "bidfcl.md").read_text()


def test_in_processes_of_their_own(tmp_path):
    page = benchmark(
        "bidfcl", folder=tmp_path, scale="tiny", worlds=("discount",), methods=("TSM-SL, RCT",), seeds=1, processes=1
    )
    assert "TSM-SL, RCT" in page.read_text()
    assert json.loads((tmp_path / "cells" / "tiny-discount-0.json").read_text())["rct"] == 2000
    assert set(problems.WORLDS) >= {"discount", "hillstrom"}
