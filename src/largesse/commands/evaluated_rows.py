"""Which rows of a file `evaluate` and `compare` may use: those that a run was trained on are refused, left out or noted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from largesse import _check
from largesse._files import PathLike
from largesse.commands.training_rows import Overlap, TrainingRows
from largesse.errors import DataError, UsedInTraining
from largesse.logs import Logs

__all__ = ["FOLDER", "EvaluatedRows", "TrainedOn", "evaluated_rows"]

FOLDER = "training_rows"
"""Name of the folder of the digests in a run folder."""
_NO_RECORD = (
    "It is not known whether the run learned from some of these rows: the run holds no record of its training rows"
)
_TOO_GOOD = "On rows of its own training a policy looks better than it is"

TrainedOn = Literal["refuse", "drop", "keep"]
"""What to do with rows that a run was trained on: refuse to evaluate, leave them out, or evaluate them with a note."""


class EvaluatedRows(NamedTuple):
    """The rows to evaluate, and the notes on them.

    Attributes:
        rows: Their numbers, int64 (K,).
        notes: Sentences.
    """

    rows: NDArray[np.int64]
    notes: tuple[str, ...]


def evaluated_rows(runs: Sequence[PathLike], logs: Sequence[Logs], test: PathLike, how: TrainedOn) -> EvaluatedRows:
    """Returns the rows of a file on which runs are evaluated.

    Args:
        runs: The run folders.
        logs: The rows of the file as each run encodes them, all in one order.
        test: The file, for messages.
        how: What to do with rows that a run was trained on.

    Raises:
        UsedInTraining: There are such rows, and `how` is ``"refuse"``.
        DataError: With ``"drop"``, it is not known which rows are the others, or a treatment has none.
        StoreError: The record of a run's training rows is damaged.
    """
    _check.choice("trained_on", how, ("refuse", "drop", "keep"))
    by_run = {str(run): _overlap(run, rows) for run, rows in zip(runs, logs, strict=True)}
    words = {
        run: f"{run}: {sentence}" if len(runs) > 1 else sentence for run, (_, sentence) in by_run.items() if sentence
    }
    notes = tuple(f"{sentence}." for sentence in words.values())
    overlaps = [overlap for overlap, _ in by_run.values()]
    used = np.any([overlap.used for overlap in overlaps], axis=0)
    if not used.any():
        return EvaluatedRows(np.arange(used.size), notes)
    among = "; ".join(words[run] for run, (overlap, _) in by_run.items() if overlap.count)
    separable = all(overlap.separable for overlap in overlaps)
    if how == "refuse":
        raise UsedInTraining(_refusal(among, list(by_run), test, used, separable), used=int(used.sum()), rows=used.size)
    if how == "keep":
        return EvaluatedRows(np.arange(used.size), (*notes, f"{_TOO_GOOD}."))
    rest = _others(logs[0], used, among, test, separable)
    return EvaluatedRows(rest, (*notes, f"These {used.sum():,} rows were left out."))


def _overlap(run: PathLike, rows: Logs) -> tuple[Overlap, str]:
    """Returns which rows were trained on, and a sentence; runs of older versions have no record, or it was deleted."""
    record = Path(run) / FOLDER
    if not record.exists():
        return Overlap(used=np.zeros(rows.n, np.bool_), known=False), _NO_RECORD
    overlap = TrainingRows.load(record).overlap(rows)
    return overlap, overlap.sentence


def _refusal(among: str, runs: Sequence[str], test: PathLike, used: NDArray[np.bool_], separable: bool) -> str:
    reports = " and ".join(str(Path(run) / "report.html") for run in runs)
    rest = int(used.size - used.sum())
    left = f" leave these rows out ({rest:,} remain: --fresh-only, trained_on='drop')," if rest and separable else ""
    return (
        f"{test}: {among}. {_TOO_GOOD}. Its proof, on rows that took no part in the training, is in {reports}. Give rows of a "
        f"later trial,{left} or evaluate all of them with a note (--anyway, trained_on='keep')."
    )


def _others(rows: Logs, used: NDArray[np.bool_], among: str, test: PathLike, separable: bool) -> NDArray[np.int64]:
    """Returns the numbers of the rows that were not trained on."""
    if not separable:
        raise DataError(
            f"{test}: {among}, so it is not known which ones are the others. Declare columns.unit and fit again, or give rows "
            "of a later trial.", field="test",
        )  # fmt: skip
    rest = np.flatnonzero(~used)
    missing = np.flatnonzero(np.bincount(rows.treatment[rest], minlength=rows.n_treatments) == 0)
    if missing.size:
        raise DataError(
            f"{test}: {among}. Without them no row of treatment {rows.treatments[int(missing[0])]!r} is left. Give rows of a "
            "later trial.", field="test",
        )  # fmt: skip
    return rest
