"""Tuning: what it searches, what it chooses under noise, what it leaves behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from typer.testing import CliRunner

from largesse import frames
from largesse._files import locked
from largesse.cli.app import app
from largesse.commands.findings.tune_result import chosen
from largesse.commands.fit import fit
from largesse.commands.load import load_rows
from largesse.commands.tune import Tuning, tune
from largesse.commands.tune_search import Search, Trial, TrialState, distance
from largesse.config import Config, load, parse
from largesse.errors import ConfigError, DataError, LargesseError, MissingDependency, StoreError
from largesse.models import MLP, Boosting
from largesse.models.hyperparameters import SPACES, Number, Value, checked, current
from largesse.models.outcome import Outcome
from largesse.models.registry import DECIDES, NAMES, Settings, make
from largesse.models.selection import allowance, choose
from largesse.models.two_stage.corrected import _PARAMS
from largesse.models.two_stage.lightgbm import _DEFAULTS
from largesse.policy import Policy
from tests.common.shell import shell
from tests.common.worlds import orders

TEXT = """
[data]
rct = "{rows}.parquet"
[columns]
treatment = "arm"
value = "orders"
cost = "spent"
[outcome]
cost = "{cost}"
[budget]
shares = [0.25, 0.5]
[model]
candidates = [{models}]
members = 1
{more}
[run]
draws = 60
seed = {seed}
"""
# One weak tree: the menu hardly knows the units apart.
WEAK = "settings.lightgbm-rct = {rounds = 1, rate = 0.001}"


def frame(n: int, seed: int, effect: float) -> pa.Table:
    logs = orders(n, seed=seed, effect=effect)
    value, cost = logs.value, logs.cost
    if not effect:  # nothing depends on a feature; with random amounts, as learning exact ones takes the most trees
        rng = np.random.default_rng(seed)
        value = (rng.random(n) < 0.3).astype(float)
        cost = logs.treatment * rng.uniform(0.5, 1.5, n)
    features = {f"f{k}": logs.x[:, k] for k in range(4)}
    return pa.table({**features, "arm": [str(t) for t in logs.treatment], "orders": value, "spent": cost})


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tune")
    frames.write(frame(1500, 1, 0.0), folder / "null.parquet")
    frames.write(frame(3000, 2, 3.0), folder / "clear.parquet")
    return folder


def campaign(
    place: Path, rows: str = "clear", models: str = "lightgbm-rct", more: str = "", cost: str = "auto", seed: int = 0
) -> Config:
    names = ", ".join(f'"{name}"' for name in models.split())
    text = TEXT.format(rows=rows, models=names, more=more, cost=cost, seed=seed)
    (place / "campaign.toml").write_text(text)
    return load(place / "campaign.toml")


@pytest.fixture(scope="module")
def clear(place: Path):
    return tune(campaign(place, more=WEAK), trials=5, folder=place / "clear")


def assert_the_default_stays(done: Tuning) -> None:
    assert done.document["chosen"] == {"trial": 0, "model": "lightgbm-rct", "settings": {}, "default": True}
    assert done.document["proof"]["verdict"] == "nothing changed"
    assert done.config.model.settings == {}
    assert "only candidate" not in done.document["sentence"]


def without_time(document: dict) -> str:
    trials = [{k: v for k, v in t.items() if k != "seconds"} for t in document["trials"]]
    return json.dumps({**document, "trials": trials})


class TestChoice:
    def test_the_default_is_tried_first_and_stays_where_nothing_helps(self, tmp_path: Path):
        """In worlds without effects it stays with 84 %, so at least 5 of 8 times (98 % of such tests); see `allowance`."""
        stays = 0
        for seed in range(1, 9):
            frames.write(frame(1500, seed, 0.0), tmp_path / "null.parquet")
            done = tune(campaign(tmp_path, "null", cost="learned", seed=seed), trials=5, folder=tmp_path / str(seed))
            first = done.document["trials"][0]
            assert first["default"]
            assert not first["settings"]
            if done.document["chosen"]["trial"] == 0:
                stays += 1
                assert_the_default_stays(done)
                assert "5 trials were tried." in done.document["sentence"]
                assert "The default stays." in done.document["sentence"]
        assert stays >= 5

    def test_the_default_surely_stays_where_all_settings_decide_alike(self, tmp_path: Path):
        """The treatment takes most orders away: every setting gives it to no one, and all trials have one score."""
        table = frame(1500, 1, 0.0)
        treated = np.array([arm != "0" for arm in table["arm"].to_pylist()])
        orders_ = pa.array(np.where(np.random.default_rng(1).random(1500) < np.where(treated, 0.05, 0.95), 1.0, 0.0))
        frames.write(table.set_column(table.column_names.index("orders"), "orders", orders_), tmp_path / "harm.parquet")
        done = tune(campaign(tmp_path, "harm", cost="learned"), trials=5, folder=tmp_path / "harm")
        assert len({t["value"] for t in done.document["trials"]}) == 1
        assert_the_default_stays(done)

    @pytest.mark.parametrize("model", ["lightgbm-rct", "stack-rct"])
    def test_a_single_trial_is_no_only_candidate(self, place: Path, model: str):
        done = tune(
            campaign(place, "null", models=model, more="epochs = 1"), trials=1, folder=place / f"single-{model}"
        )
        assert "One trial was tried. The default stays: no other settings have a score." in done.document["sentence"]

    def test_the_sentence_counts_what_was_tried(self):
        draws = np.random.default_rng(0).normal(size=(400, 1))

        def trial(number: int, model: str, lead: float, settings: dict) -> Trial:
            noise = draws * (number > 0)
            return Trial(
                number,
                model,
                settings,
                0.1 * number,
                TrialState.COMPLETE,
                0.0,
                value=np.full(1, lead),
                draws=lead + noise,
            )

        failed = Trial(3, "mlp-rct", {"rate": 0.5}, 0.5, TrialState.FAILED, 0.0, "broken")
        kept = [
            trial(0, "lightgbm-rct", 0.0, {}),
            trial(1, "mlp-rct", 0.1, {}),
            trial(2, "mlp-rct", 0.9, {"rate": 0.1}),
        ]
        words = chosen([*kept, failed], np.array([True])).choice.reason
        assert words.startswith(
            "4 trials were tried, 3 of them with a score. Trial 2 (mlp-rct) has the highest value, but"
        )
        assert "The default stays. Of the 2 defaults: " in words
        left = chosen([*kept, trial(3, "mlp-rct", 9.0, {"rate": 0.2})], np.array([True]))
        assert left.trial.number == 3
        assert left.choice.reason.startswith("4 trials were tried. Trial 3 (mlp-rct) has the highest value")
        assert "stays" not in left.choice.reason
        defaults = chosen([*kept[:2], failed], np.array([True])).choice.reason
        assert "No other settings have a score. Of the 2 defaults: " in defaults
        assert "only candidate" not in words + defaults + left.choice.reason

    def test_a_setting_that_matters_is_found_and_proven(self, clear):
        said = clear.document
        assert said["chosen"]["trial"] > 0
        assert said["untouched"] == 0
        assert said["proof"]["low"] > 0
        assert said["proof"]["verdict"] == "better"
        assert {r["name"] for r in said["proof"]["rows"]} == {"tuned", "untouched", "best mix of arms"}

    def test_noise_seldom_moves_the_default(self):
        """A lead that the plain rule takes for a gain in most worlds: 20 trials, all worth the same."""
        rng, plain, allowed, worlds = np.random.default_rng(0), 0, 0, 200
        for _ in range(worlds):
            rows = rng.normal(size=(200, 21)) + rng.normal(size=(200, 1))
            score = rows.mean(0)
            drawn = score + rng.poisson(1, size=(200, 200)) @ (rows - score) / 200
            names, value, draws = [str(k) for k in range(21)], score[:, None], drawn[:, :, None]
            plain += choose(names, value, draws).name == "0"
            allowed += choose(names, value, draws, standard_errors=allowance(score, drawn)).name == "0"
        assert plain / worlds < 0.5
        assert 0.76 < allowed / worlds < 0.92  # 84 %, as for two

    def test_one_rival_is_allowed_one_standard_error(self):
        draws = np.random.default_rng(0).normal(size=(4000, 2))
        assert allowance(np.zeros(2), draws) == pytest.approx(1.0, abs=0.06)
        assert allowance(np.zeros(1), draws[:, :1]) == 1.0

    def test_simpler_is_two_stage_then_untouched_then_little_changed(self):
        def trial(number: int, model: str, settings: dict, moved: float) -> Trial:
            return Trial(
                number, model, settings, moved, TrialState.COMPLETE, 0.0, value=np.ones(1), draws=np.ones((30, 1))
            )

        tried = [
            trial(0, "mlp-rct", {}, 0.0), trial(1, "dfcl", {}, 0.0), trial(2, "mlp-rct", {"rate": 1.0}, 0.9),
            trial(3, "mlp-rct", {"rate": 0.1}, 0.2),
        ]  # fmt: skip
        picked = chosen(tried, np.array([True]))
        assert [t.number for t in picked.trials] == [0, 3, 2, 1]
        assert picked.trial.number == 0

    @pytest.mark.parametrize(("lead", "first"), [(1.3, 0), (2.5, 1)])
    def test_the_untouched_model_is_the_one_that_fit_would_choose(self, lead: float, first: int):
        draws = np.random.default_rng(0).normal(size=(400, 1))
        tried = [
            Trial(0, "lightgbm-rct", {}, 0.0, TrialState.COMPLETE, 0.0, value=np.zeros(1), draws=0 * draws),
            Trial(1, "mlp-rct", {}, 0.0, TrialState.COMPLETE, 0.0, value=np.full(1, lead), draws=lead + draws),
        ]
        picked = chosen(tried, np.array([True]))
        assert picked.untouched.number == first
        assert picked.trial is picked.untouched, "another default is no tuning"
        assert picked.choice.name.startswith(f"trial {first}")


class TestTrials:
    def test_the_same_seed_gives_the_same_trials(self, clear, place: Path):
        again = tune(campaign(place, more=WEAK), trials=5, folder=place / "again")
        assert without_time(again.document) == without_time(clear.document)
        other = tune(campaign(place, more=WEAK, seed=1), trials=2, folder=place / "other")
        assert other.document["trials"][1]["settings"] != clear.document["trials"][1]["settings"]

    def test_the_model_is_searched_too_and_each_default_is_tried(self, place: Path):
        cfg = campaign(place, models="lightgbm-rct mlp-rct", more="epochs = 1")
        done = tune(cfg, trials=3, folder=place / "both", minutes=60)
        tried = done.document["trials"]
        assert [(t["model"], t["default"]) for t in tried[:2]] == [("lightgbm-rct", True), ("mlp-rct", True)]
        assert not tried[2]["default"]
        one = tune(cfg, trials=1, model="mlp-rct", folder=place / "one")
        assert [t["model"] for t in one.document["trials"]] == ["mlp-rct"]
        assert "nothing to choose from" in one.document["caution"]

    def test_a_model_without_settings_has_its_default_tried(self, place: Path):
        cfg = campaign(place, "null", models="stack-rct lightgbm-rct", more="epochs = 1", cost="learned")
        tried = tune(cfg, trials=4, folder=place / "stack").document["trials"]
        assert [t["model"] for t in tried[:2]] == ["stack-rct", "lightgbm-rct"]
        assert all(t["default"] for t in tried if t["model"] == "stack-rct")
        assert not all(t["default"] for t in tried)

    def test_no_trial_sees_the_rows_of_the_proof(self, place: Path, monkeypatch: pytest.MonkeyPatch):
        """The search is given no row that `fit` proves tuned.toml on."""
        seen = []
        start = Search.__init__
        monkeypatch.setattr(
            Search, "__init__", lambda self, rows, *a, **k: seen.append(rows) or start(self, rows, *a, **k)
        )
        done = tune(campaign(place), trials=1, folder=place / "rows")
        assert done.config.data.folds == 1
        rct = load_rows(done.config).rct
        share = done.config.data.test_share
        rest, proof = rct.split(1 - share, share, seed=done.config.run.seed)
        assert np.array_equal(seen[0].x, rest.x)
        assert not set(map(bytes, proof.x)) & set(map(bytes, seen[0].x))
        proven = fit(done.config, folder=place / "rows_fit")
        assert dict(proven.results.provenance.rows)["proof"] == proof.n

    def test_what_ships_is_learned_from_all_rows(self, place: Path, monkeypatch: pytest.MonkeyPatch):
        from largesse.commands import proof as module

        done = tune(campaign(place), trials=1, folder=place / "whole")
        assert done.config.data.refit
        assert "data.refit" in (done.folder / "tuned.toml").read_text()
        learned = []
        whole = module.fit_in_folds
        monkeypatch.setattr(
            module, "fit_in_folds", lambda rows, *a, **k: learned.append(rows.rct.n) or whole(rows, *a, **k)
        )
        run = fit(done.config, folder=place / "whole_fit")
        rows = dict(run.results.provenance.rows)
        assert learned == [rows["trial"] - rows["proof"], rows["trial"]]
        assert any("learned again from all rows" in caution for caution in run.results.cautions)

    def test_a_trial_that_fails_is_kept_and_passed_over(self, place: Path, monkeypatch: pytest.MonkeyPatch):
        values = Search._values

        def some(self, name, settings):
            if settings:
                raise DataError("broken\nhere")
            return values(self, name, settings)

        monkeypatch.setattr(Search, "_values", some)
        done = tune(campaign(place), trials=3, folder=place / "failing")
        assert [t["state"] for t in done.document["trials"]] == ["complete", "failed", "failed"]
        assert done.document["trials"][1]["message"] == "broken\nhere"
        assert "broken here" in (done.folder / "summary.md").read_text()

    def test_all_failing_is_an_error(self, place: Path, monkeypatch: pytest.MonkeyPatch):
        def broken(*_: object) -> None:
            raise DataError("broken")

        monkeypatch.setattr(Search, "_values", broken)
        with pytest.raises(DataError, match=r"no default could be fitted .* Trial 0, lightgbm-rct: broken"):
            tune(campaign(place), trials=2, folder=place / "dead")
        assert not [p for p in place.iterdir() if "dead" in p.name]

    def test_a_trial_that_cannot_spend_so_little_is_passed_over(self, place: Path, monkeypatch: pytest.MonkeyPatch):
        values = Search._values

        def far(self, name, settings):
            value, draws = values(self, name, settings)
            return (value * [np.nan, 1.0] if settings else value), draws

        monkeypatch.setattr(Search, "_values", far)
        done = tune(campaign(place), trials=2, folder=place / "far")
        assert [t["state"] for t in done.document["trials"]] == ["complete", "out of reach"]

    def test_out_of_time_after_the_default(self, place: Path):
        done = tune(campaign(place), trials=9, minutes=1e-6, folder=place / "late")
        assert len(done.document["trials"]) == 1
        assert "time was up after 1 of 9" in done.document["stopped"]
        assert "time was up" in (done.folder / "summary.md").read_text()


class TestInterrupt:
    @staticmethod
    def at(call: int, monkeypatch: pytest.MonkeyPatch) -> None:
        values, calls = Search._values, []

        def interrupted(self, name, settings):
            calls.append(name)
            if len(calls) > call:
                raise KeyboardInterrupt
            return values(self, name, settings)

        monkeypatch.setattr(Search, "_values", interrupted)

    def test_before_the_default_leaves_nothing(self, place: Path, monkeypatch: pytest.MonkeyPatch):
        self.at(0, monkeypatch)
        with pytest.raises(KeyboardInterrupt):
            tune(campaign(place), trials=3, folder=place / "killed")
        assert not [p for p in place.iterdir() if "killed" in p.name]

    def test_later_uses_what_is_finished(self, place: Path, monkeypatch: pytest.MonkeyPatch):
        self.at(2, monkeypatch)
        done = tune(campaign(place), trials=9, folder=place / "cut")
        assert len(done.document["trials"]) == 2
        assert done.document["stopped"] == "Interrupted after 2 of 9 trials."
        assert load(done.folder / "tuned.toml") == done.config

    def test_while_writing_leaves_nothing(self, place: Path, monkeypatch: pytest.MonkeyPatch):
        def broken(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("largesse.commands.findings.tune.page", broken)
        with pytest.raises(KeyboardInterrupt):
            tune(campaign(place), trials=1, folder=place / "halfway")
        assert not [p for p in place.iterdir() if "halfway" in p.name]


class TestKilled:
    """A search that was killed goes on, and ends as if it had not been."""

    class Kill(BaseException):
        """What a kill leaves on disk is what is there at this moment."""

    def killed(self, config: Config, folder: Path, trials: int, after: int, monkeypatch: pytest.MonkeyPatch) -> Path:
        values, calls = Search._values, []

        def some(search, name, settings):
            calls.append(name)
            if len(calls) > after:
                raise self.Kill
            return values(search, name, settings)

        with monkeypatch.context() as patched:
            patched.setattr(Search, "_values", some)
            with pytest.raises(self.Kill):
                tune(config, trials=trials, folder=folder)
        assert not folder.exists()
        return folder.parent / f".{folder.name}.trials"

    @staticmethod
    def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
        values, calls = Search._values, []
        monkeypatch.setattr(Search, "_values", lambda s, name, how: calls.append(name) or values(s, name, how))
        return calls

    def test_finished_trials_are_used_again(self, clear, place: Path, monkeypatch: pytest.MonkeyPatch):
        kept = self.killed(campaign(place, more=WEAK), place / "onward", 5, 3, monkeypatch)
        calls, notes = self.counted(monkeypatch), []
        done = tune(campaign(place, more=WEAK), trials=5, folder=place / "onward", say=lambda s, _: notes.append(s))
        assert len(calls) == 2
        assert "3 trials of a search that was killed are used again." in notes
        assert without_time(done.document) == without_time(clear.document)
        assert not kept.exists()

    def test_more_trials_may_be_asked_for(self, clear, place: Path, monkeypatch: pytest.MonkeyPatch):
        self.killed(campaign(place, more=WEAK), place / "longer", 3, 2, monkeypatch)
        calls = self.counted(monkeypatch)
        done = tune(campaign(place, more=WEAK), trials=5, folder=place / "longer")
        assert len(calls) == 3
        assert without_time(done.document) == without_time(clear.document)

    def test_a_folder_without_a_name_goes_on_too(self, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        cfg = campaign(place, more=WEAK)
        cfg = cfg.model_copy(update={"run": cfg.run.model_copy(update={"folder": tmp_path})})
        values = Search._values
        calls: list[str] = []

        def first(search, name, settings):
            calls.append(name)
            if len(calls) == 2:
                raise self.Kill
            return values(search, name, settings)

        monkeypatch.setattr(Search, "_values", first)
        with pytest.raises(self.Kill):
            tune(cfg, trials=3)
        done = tune(cfg, trials=3)
        assert len(calls) == 4
        assert [p.name for p in tmp_path.iterdir()] == [done.folder.name]

    @pytest.mark.parametrize("change", ["seed", "rows", "model", "settings"])
    def test_trials_of_another_search_are_not_used(self, place: Path, monkeypatch: pytest.MonkeyPatch, change: str):
        folder = place / f"another-{change}"
        self.killed(campaign(place, more=WEAK), folder, 3, 2, monkeypatch)
        clear = frames.read(place / "clear.parquet")  # the same budgets, other features
        frames.write(clear.set_column(0, "f0", pa.array(-np.asarray(clear["f0"]))), place / "turned.parquet")
        cfg = {
            "seed": lambda: campaign(place, more=WEAK, seed=5),
            "rows": lambda: campaign(place, "turned", more=WEAK),
            "model": lambda: campaign(place, models="lightgbm-rct lightgbm-t", more=WEAK),
            "settings": lambda: campaign(place, more=WEAK.replace("0.001", "0.002")),
        }[change]()
        calls = self.counted(monkeypatch)
        tune(cfg, trials=3, folder=folder)
        assert len(calls) == 3
        assert not [p for p in place.iterdir() if p.name.startswith(f".another-{change}")]

    def test_a_damaged_trial_is_scored_anew(self, clear, place: Path, monkeypatch: pytest.MonkeyPatch):
        kept = self.killed(campaign(place, more=WEAK), place / "damaged", 5, 3, monkeypatch)
        arrays = kept / "trial-00001" / "arrays.safetensors"
        arrays.write_bytes(arrays.read_bytes()[:-1] + b"x")
        (kept / "trial-00002" / "manifest.json").unlink()
        calls = self.counted(monkeypatch)
        done = tune(campaign(place, more=WEAK), trials=5, folder=place / "damaged")
        assert len(calls) == 4
        assert without_time(done.document) == without_time(clear.document)

    def test_two_searches_for_one_folder_both_work(self, clear, place: Path):
        (place / ".crowd.trials").mkdir()
        with locked(place / ".crowd.trials") as alone:
            assert alone
            done = tune(campaign(place, more=WEAK), trials=5, folder=place / "crowd")
        assert without_time(done.document) == without_time(clear.document)
        (place / ".crowd.trials").rmdir()

    def test_a_folder_of_others_is_not_touched(self, place: Path):
        (place / ".letters.trials").mkdir()
        (place / ".letters.trials" / "letter").write_text("x")
        with pytest.raises(StoreError, match="in the way"):
            tune(campaign(place), trials=1, folder=place / "letters")
        assert (place / ".letters.trials" / "letter").read_text() == "x"

    def test_kill_9(self, clear, place: Path, tmp_path: Path):
        """Processes that are really killed, at several moments; the same call then ends as one that was not killed."""
        config = campaign(place, more=WEAK)
        given = [sys.executable, "-m", "largesse", "tune", str(place / "campaign.toml"), "--trials", "5", "-o"]
        folder, kept = tmp_path / "killed", tmp_path / ".killed.trials"
        for least in (1, 3, 5):
            process = subprocess.Popen([*given, str(folder)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while process.poll() is None and len(list(kept.glob("trial-*"))) < least:
                time.sleep(0.01)
            process.kill()
            assert process.wait() == -signal.SIGKILL
            assert len(list(kept.glob("trial-*"))) >= least
        seconds = [
            json.loads((kept / f"trial-{k:05d}" / "manifest.json").read_text())["settings"]["seconds"] for k in range(5)
        ]
        tune(config, trials=5, folder=folder)
        document = json.loads((folder / "trials.json").read_text())
        assert without_time(document) == without_time(clear.document)
        assert [t["seconds"] for t in document["trials"]] == [round(s, 3) for s in seconds], "all five are used again"
        assert (folder / "tuned.toml").read_bytes() == (clear.folder / "tuned.toml").read_bytes()
        assert {p.name for p in tmp_path.iterdir()} == {"killed"}


class TestFolder:
    def test_it_holds_the_configuration_every_trial_and_the_choice(self, clear):
        names = {".largesse.json", "tuned.toml", "trials.json", "summary.md", "sections.json", "report.html"}
        assert {p.name for p in clear.folder.iterdir()} == names
        assert json.loads((clear.folder / "trials.json").read_text()) == clear.document
        text = (clear.folder / "summary.md").read_text()
        assert clear.document["sentence"] in text
        assert clear.document["proof_sentence"] in text
        assert "chance alone" in text
        assert text.count("\n| ") == 7  # the head and five trials

    def test_fit_uses_the_settings(self, clear, place: Path):
        config = load(clear.folder / "tuned.toml")
        assert config == clear.config
        assert config.model.candidates == ("lightgbm-rct",)
        settings = config.model.settings["lightgbm-rct"]
        assert settings == clear.document["chosen"]["settings"]
        fit(config, folder=place / "fitted")
        model = Policy.load(place / "fitted" / "policy").model
        assert isinstance(model, Boosting)
        assert model.rounds == settings["rounds"]
        assert model.params["learning_rate"] == settings["rate"]
        assert model.params["num_leaves"] == settings["leaves"]

    def test_an_older_folder_is_not_overwritten_unless_told(self, clear, place: Path):
        with pytest.raises(StoreError, match="exists already"):
            tune(campaign(place), trials=1, folder=clear.folder)
        (place / "mine").mkdir()
        (place / "mine" / "letter").write_text("x")
        with pytest.raises(StoreError, match=r"not made by largesse"):
            tune(campaign(place), trials=1, folder=place / "mine", replace=True)
        first = tune(campaign(place), trials=1, folder=place / "twice")
        again = tune(campaign(place), trials=2, folder=first.folder, replace=True)
        assert len(json.loads((again.folder / "trials.json").read_text())["trials"]) == 2


class TestRefusals:
    @pytest.mark.parametrize(
        ("how", "kind", "wording"),
        [
            ({"trials": 0}, DataError, r"trials == 0: must be a whole number >= 1"),
            ({"minutes": 0}, DataError, r"minutes == 0: must be a finite number"),
            ({"minutes": float("nan")}, DataError, r"minutes == nan"),
            ({"model": "lightgbm-rtc"}, ConfigError, r"model == 'lightgbm-rtc': .* Did you mean 'lightgbm-rct'\?"),
        ],
    )
    def test_arguments(self, place: Path, how: dict, kind: type, wording: str):
        with pytest.raises(kind, match=wording):
            tune(campaign(place), folder=place / "refused", **how)
        assert not (place / "refused").exists()

    def test_without_optuna(self, place: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setitem(sys.modules, "optuna", None)
        with pytest.raises(MissingDependency, match=r"pip install 'largesse\[tune\]'"):
            tune(campaign(place), trials=1, folder=place / "without")
        more = "settings.lightgbm-rct = {rounds = 3}\nepochs = 1"
        assert fit(campaign(place, more=more), folder=place / "set").folder.is_dir(), "setting them needs no search"

    @pytest.mark.parametrize(
        ("settings", "wording"),
        [
            ("{lightgmb = {rate = 0.1}}", r"model\.settings\.lightgmb: unknown model\. Did you mean 'lightgbm'\?"),
            ("{mlp = {rat = 0.1}}", r"model\.settings\.mlp\.rat == 0\.1: unknown setting\. Did you mean 'rate'\?"),
            (
                "{mlp = {rate = 7}}",
                r"mlp\.rate == 7: must be a number in \[1e-07, 1\]\. Meaning: largest learning rate",
            ),
            ("{mlp = {epochs = 2.5}}", r"mlp\.epochs == 2\.5: must be a whole number in \[1, 10000\]"),
            ("{mlp = {hidden = []}}", r"mlp\.hidden == \(\): must be a list of one to six whole numbers"),
            ("{mlp = {hidden = [0]}}", r"mlp\.hidden == \(0,\): must be a list"),
            ("{mlp = {hidden = 3}}", r"mlp\.hidden == 3: must be a list"),
            ("{dfcl = {decision = 'pll'}}", r"dfcl\.decision == 'pll': must be one of 'ppl', 'pifd'"),
            (
                "{dfcl = {decision = 'difd', temperature = 0.2}}",
                r"dfcl\.temperature: does not exist where decision is 'difd'",
            ),
            ("{lightgbm = {rate = 'fast'}}", r"lightgbm\.rate == 'fast': must be a number"),
        ],
    )
    def test_settings(self, place: Path, settings: str, wording: str):
        with pytest.raises(ConfigError, match=wording):
            fit(campaign(place, more=f"settings = {settings}"), folder=place / "refused")


class TestSpaces:
    OUTCOME = Outcome(family="bernoulli", cost_rule="per_redemption", amounts=(0.0, 1.0))

    def test_every_hyperparameter_moves_the_model(self):
        for name, space in SPACES.items():
            assert name in NAMES
            before = current(make(name, Settings(outcome=self.OUTCOME)), name, 1000, 500)
            ranges = {key: entry.distribution(before[key]) for key, entry in space.items()}
            for key, entry in space.items():
                value = entry.least + 3 if isinstance(entry, Number) and entry.integer else (
                    entry.low * 1.1 + 0.01 if isinstance(entry, Number) else entry.options[1]
                )  # fmt: skip
                (given,) = checked({name: {key: value}}).values()
                model = make(name, Settings(outcome=self.OUTCOME, hyperparameters={name: given}))
                after = current(model, name, 1000, 500)
                assert after[key] == given[key] != before[key], (name, key)
                assert {k for k in before if before[k] != after[k]} == {key}, (name, key)
                assert distance(ranges, given, before) > 0
        assert set(SPACES) >= DECIDES

    def test_ranges_are_distributions_of_optuna_within_what_is_allowed(self):
        for name, space in SPACES.items():
            own = current(make(name, Settings(outcome=self.OUTCOME)), name, 1000, 500)
            for key, entry in space.items():
                where = entry.distribution(own[key])
                if not isinstance(entry, Number):
                    assert where == CategoricalDistribution(range(len(entry.options)))
                    assert all(entry.value(option) == option for option in entry.options)
                    continue
                assert type(where) is (IntDistribution if entry.integer else FloatDistribution)
                assert where.log == entry.log
                assert entry.least <= where.low < where.high <= entry.most
                if not entry.relative:
                    assert (where.low, where.high) == (entry.low, entry.high)

    def test_relative_ranges_lie_around_the_number_of_the_model(self):
        epochs = SPACES["mlp"]["epochs"]
        assert epochs.distribution(20) == IntDistribution(5, 80, log=True)
        assert epochs.distribution(1) == IntDistribution(1, 4, log=True)

    def test_a_move_across_the_range_is_one(self):
        space = {"rate": FloatDistribution(0.01, 1, log=True), "share": FloatDistribution(0, 0.5)} | {
            key: SPACES["hrc"][key].distribution(1) for key in ("hidden", "task_weights")
        }
        own: dict[str, Value] = {"rate": 0.01, "share": 0.0, "hidden": (64, 32), "task_weights": "fixed"}
        moved: list[tuple[dict[str, Value], float]] = [
            ({}, 0), ({"rate": 1.0}, 1 / 4), ({"rate": 0.1}, 1 / 8), ({"share": 0.25}, 1 / 8), ({"hidden": (9, 9)}, 1 / 4),
            ({"hidden": (64, 32)}, 0), ({"task_weights": "learned", "share": 0.5}, 1 / 2),
        ]  # fmt: skip
        for settings, far in moved:
            assert distance(space, settings, own) == pytest.approx(far)

    def test_defaults_that_parameters_leave_out_are_those_of_the_code(self):
        places = [(_DEFAULTS, SPACES["lightgbm-rct"]), (_PARAMS, {k: v for k, v in SPACES["logs-then-correction"].items()
                                                                  if k.startswith("correction")})]  # fmt: skip
        for defaults, space in places:
            for entry in space.values():
                if isinstance(entry, Number) and entry.at[0] == "params":
                    assert entry.default == defaults[entry.at[1]]

    def test_small_data_are_searched_around_the_epochs_they_get(self):
        model = make("mlp-rct", Settings(outcome=self.OUTCOME))
        assert isinstance(model, MLP)
        assert current(model, "mlp-rct", 2000)["epochs"] == 50  # 400 steps of 250 rows
        assert current(model, "mlp-rct", 1_000_000)["epochs"] == 5
        assert current(make("mlp", Settings(outcome=self.OUTCOME)), "mlp", 2000, 998_000)["epochs"] == 5

    def test_nought_has_a_distance(self):
        own = current(make("lightgbm", Settings(outcome=self.OUTCOME)), "lightgbm", 100)
        ranges = {key: entry.distribution(own[key]) for key, entry in SPACES["lightgbm"].items()}
        assert 0 < distance(ranges, {"l2": 0.0}, own) < 1

    def test_a_decision_focused_policy_is_saved(self, place: Path):
        more = 'epochs = 1\nsettings.dfcl = {decision = "dpl", alpha = 2}'
        config = campaign(place, models="dfcl", more=more)
        config = config.model_copy(update={"data": config.data.model_copy(update={"folds": 1})})
        fit(config, folder=place / "focused")
        model = Policy.load(place / "focused" / "policy").model
        assert (model.alpha, model.decision.kind, model.base.members) == (2.0, "dpl", 1)
        x = load_rows(config).rct.x[:50]
        assert np.isfinite(model.predict(x).value).all()

    def test_unfinished_trainings_are_gone_at_the_end(self, place: Path):
        config = campaign(place, models="mlp-rct", more="epochs = 1")
        kept = place / "unfinished"
        config = config.model_copy(update={"run": config.run.model_copy(update={"checkpoints": kept})})
        seen: list[int] = []
        tune(config, trials=1, folder=place / "kept", say=lambda *_: seen.append(len(list(kept.glob("*")))))
        assert max(seen) > 0, "they are kept while it runs"
        assert not kept.exists()


class TestCommand:
    def test_json_is_the_document(self, place: Path):
        campaign(place)
        done = shell("tune", "campaign.toml", "-o", "json", "--trials", "2", "--json", cwd=place)
        assert done.returncode == 0, done.stderr
        assert not done.stderr
        said = json.loads(done.stdout)
        assert said["folder"] == "json"
        assert {k: v for k, v in said.items() if k != "folder"} == json.loads(
            (place / "json" / "trials.json").read_text()
        )
        assert set(said["trials"][0]) == {
            "number", "model", "settings", "default", "distance", "value", "standard_error", "state", "message", "seconds",
        }  # fmt: skip

    def test_text_tells_the_choice_its_luck_and_its_proof(self, place: Path):
        campaign(place, more=WEAK)
        words = ["tune", str(place / "campaign.toml"), "-o", str(place / "told"), "--trials", "3"]
        told = CliRunner().invoke(app, words, env={"COLUMNS": "200"})
        assert told.exit_code == 0, told.output
        for words in ("Chosen: trial", "chance alone", "which no trial used", "tuned.toml"):
            assert words in told.output.replace("\n", " ")

    def test_refusals_leave_by_two(self, place: Path):
        campaign(place)
        done = shell("tune", "campaign.toml", "-o", "no", "--trials", "0", cwd=place)
        assert done.returncode == 2
        assert "trials == 0" in done.stderr
        assert not (place / "no").exists()

    def test_refusals_are_ours(self):
        assert issubclass(MissingDependency, LargesseError)
        assert parse('data = {rct = "x"}\ncolumns = {treatment = "t", value = "v", cost = "c"}').model.settings == {}
