"""Scores of trials on disk: read as written, and only for the trial that they belong to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from largesse.commands.kept_trials import KeptTrials, Scored
from largesse.errors import DataError, StoreError

SCORED = Scored(np.array([0.1, np.nan]), np.arange(6.0).reshape(3, 2) / 7, 1.25)


def test_a_score_is_read_as_written(tmp_path: Path):
    with KeptTrials.beside(tmp_path / "out", "a") as kept:
        kept.put(3, "mlp-rct", {"hidden": (8, 4), "rate": 0.1}, SCORED)
        got = kept.get(3, "mlp-rct", {"hidden": (8, 4), "rate": 0.1})
        assert got is not None
        np.testing.assert_array_equal(got.value, SCORED.value)
        np.testing.assert_array_equal(got.draws, SCORED.draws)
        assert got.seconds == 1.25
        assert kept.count == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("number", "model", "settings"), [(2, "a", {"x": 1}), (3, "b", {"x": 1}), (3, "a", {"x": 2})])
def test_a_score_of_another_trial_is_not_given(tmp_path: Path, number: int, model: str, settings: dict):
    with KeptTrials.beside(tmp_path / "out", "a") as kept:
        kept.put(3, "a", {"x": 1}, SCORED)
        assert kept.get(number, model, settings) is None


def test_without_a_folder_nothing_is_kept():
    kept = KeptTrials()
    kept.put(0, "a", {}, SCORED)
    assert kept.get(0, "a", {}) is None
    assert kept.count == 0


@pytest.mark.parametrize(
    ("error", "stays"), [(DataError, False), (KeyboardInterrupt, False), (StoreError, True), (MemoryError, True)]
)
def test_what_stays_after_an_error(tmp_path: Path, error: type[BaseException], stays: bool):
    """What the rows or the user end is over; what the machine ends goes on."""

    def broken() -> None:
        with KeptTrials.beside(tmp_path / "out", "a") as kept:
            kept.put(0, "a", {}, SCORED)
            raise error("no room")

    with pytest.raises(error):
        broken()
    assert bool(list(tmp_path.iterdir())) is stays
    with KeptTrials.beside(tmp_path / "out", "a") as kept:
        assert kept.count == stays


def test_another_job_begins_with_none(tmp_path: Path):
    def killed() -> None:
        with KeptTrials.beside(tmp_path / "out", "a") as kept:
            kept.put(0, "a", {}, SCORED)
            raise MemoryError

    with pytest.raises(MemoryError):
        killed()
    with KeptTrials.beside(tmp_path / "out", "b") as kept:
        assert kept.count == 0
