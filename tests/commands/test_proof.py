"""The proof uses the rows there are: on every fold of the trial, for any number of processes, within the time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from largesse import frames
from largesse._workers import Workers
from largesse.commands import proof as module
from largesse.commands.fit import fit
from largesse.commands.proof import modules_of
from largesse.config import Config, parse
from largesse.progress import Note
from tests.common.campaigns import TEXT, table


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("proof")
    frames.write(table(1500, 1), folder / "trial.parquet")
    return folder


def campaign(place: Path, data: str = "", run: str = "") -> Config:
    return parse(TEXT.format(more=data).replace("[run]", f"[run]\n{run}"), folder=place)


def numbers(folder: Path) -> dict[str, Any]:
    metrics: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    del metrics["seconds_to_learn"]
    return metrics


@pytest.mark.parametrize("folds", [1, 3])
def test_processes_change_no_number(place: Path, monkeypatch: pytest.MonkeyPatch, folds: int):
    used: list[int] = []

    def run(self: Workers, *args: Any) -> Any:
        used.append(1 if self.pool is None else self.n)
        return real(self, *args)

    real = Workers.run
    monkeypatch.setattr(Workers, "run", run)
    shown = [fit(campaign(place, f"folds = {folds}", f"threads = {n}"), folder=place / f"{folds}_{n}") for n in (1, 2)]
    assert used == [1, 1, 2, 2], "models, then report: the second run did use a process for both"
    one, two = (numbers(run.folder) for run in shown)
    assert one == two
    files = [sorted((run.folder / "policy").rglob("*.safetensors")) for run in shown]
    assert files[0]
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(*files, strict=True))


def test_every_row_is_judged_by_default_and_a_part_if_it_must_be_fast(place: Path):
    stages: list[str] = []
    run = fit(campaign(place), folder=place / "all", say=lambda stage, _: stages.append(stage))
    assert run.metrics["folds"] == {"evaluated": 5, "planned": 5}
    assert dict(run.results.provenance.rows)["proof"] == 1500
    notes = [stage for stage in stages if isinstance(stage, Note)]
    assert any(
        note.startswith("6 trainings of 2 models: on all 1,500 rows") and "run.minutes" in note for note in notes
    )
    fast = fit(campaign(place), folder=place / "fast", fast=True)
    assert fast.metrics["folds"] == {"evaluated": 1, "planned": 1}
    assert dict(fast.results.provenance.rows)["proof"] == pytest.approx(450, abs=40)


def test_folds_for_which_there_is_no_time_are_left_out(place: Path):
    run = fit(campaign(place, run="minutes = 1e-9"), folder=place / "short")
    assert run.metrics["folds"] == {"evaluated": 1, "planned": 5}
    assert dict(run.results.provenance.rows)["proof"] == pytest.approx(300, abs=30)
    assert any(caution.startswith("1 of 5 folds of the trial were evaluated") for caution in run.results.cautions)
    whole = fit(campaign(place, "folds = 2", "minutes = 1e-9"), folder=place / "declared")
    assert whole.metrics["folds"] == {"evaluated": 2, "planned": 2}, "folds that are asked for are not left out"


def test_the_time_that_is_left_is_announced_once(monkeypatch: pytest.MonkeyPatch):
    now, notes = [0.0], []
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
    clock = module._Clock(1000.0, 5, 2, lambda stage, _: notes.append(stage))
    assert clock.in_time(None, 0.0)
    assert clock.in_time(0, 0.0)
    now[0] = 200.0
    assert clock.in_time(1, 200.0)  # 4 folds of 160 seconds, two at a time: 320 seconds
    assert notes == ["About 5.3 minutes are left for the proof."]
    now[0] = 840.0
    assert clock.in_time(2, 200.0)
    now[0] = 841.0
    assert not clock.in_time(3, 200.0)
    assert len(notes) == 1


def test_the_rows_of_the_proof_are_those_of_the_trial_each_once(place: Path):
    run = fit(campaign(place, "folds = 4"), folder=place / "four")
    data = frames.read(place / "trial.parquet").to_pandas()
    expected = data.groupby("arm")[["spent", "orders"]].mean()
    for arm in run.metrics["arms"]:
        np.testing.assert_allclose([arm["cost"], arm["value"]], expected.loc[arm["name"]], rtol=1e-6)


def test_a_process_imports_torch_only_for_networks(place: Path):
    def heavy(models: str) -> bool:
        text = TEXT.format(more="").replace('candidates = ["lightgbm-rct", "mlp-rct"]', f"candidates = {models}")
        return any("mlp" in name for name in modules_of(parse(text, folder=place)))

    assert heavy('["lightgbm-rct", "mlp-rct"]')
    assert heavy('["stack"]')
    assert heavy('"auto"')
    assert not heavy('["lightgbm-rct", "lightgbm", "logs-then-correction"]')
