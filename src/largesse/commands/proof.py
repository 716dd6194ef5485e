"""Fits the policy that is used, and proves the procedure behind it: on every fold of the trial, or on held-out rows."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from largesse import _check
from largesse._workers import Workers
from largesse.commands.campaign import proof_folds, refuse_thin_arms, split_rows
from largesse.commands.held_out import Proof, prove
from largesse.commands.load import Rows
from largesse.commands.procedure import FittedCandidates, Fold, Task, Trainings, fit_in_folds
from largesse.commands.processes import LEARNING, PAST_DATA
from largesse.commands.proof_rules import ProofRules
from largesse.commands.training_rows import TrainingRows
from largesse.config import Config
from largesse.models.registry import default_names, has_networks
from largesse.progress import Note, Say

__all__ = ["Proven", "fit_and_prove", "modules_for", "modules_of"]

_NETWORKS = ("largesse.models.two_stage.mlp",)  # seconds of importing
_LONG = 60.0  # seconds of work left from which on it is announced
_SHARE = (0.1, 0.9)  # of the whole work
_REFITTED = (
    "The policy that is used was learned again from all rows of the trial, in the same way. The proof is that of the policy "
    "learned without the held-out rows."
)


class Proven(NamedTuple):
    """The policy that is used, and the proof of the procedure behind it.

    Attributes:
        final: The candidates that are used.
        proof: Held-out rows with the decisions of the procedure that did not use them.
        trained_on: The rows that `final` was trained on.
        folds: Folds of the trial that were evaluated, and those planned; (1, 1) for held-out rows.
        notes: What a reader of the proof must know of how it was made.
    """

    final: FittedCandidates
    proof: Proof
    trained_on: TrainingRows
    folds: tuple[int, int]
    notes: tuple[str, ...] = ()


def modules_of(config: Config) -> tuple[str, ...]:
    """Returns what a process that fits the candidates of a campaign imports."""
    declared, both = config.model.candidates, config.data.obs is not None
    return modules_for(default_names(both, False) if declared == "auto" else declared, both)


def modules_for(names: Iterable[str], both: bool) -> tuple[str, ...]:
    """Returns what a process that fits candidates imports.

    Args:
        names: The candidates.
        both: Whether there is past campaign data beside the trial.
    """
    networks = any(has_networks(name) for name in names)
    return LEARNING + PAST_DATA * both + _NETWORKS * networks


def fit_and_prove(config: Config, rows: Rows, task: Task, say: Say, workers: Workers) -> Proven:
    """Returns the candidates that are used, and the proof.

    Args:
        config: The campaign.
        rows: Its rows.
        task: What is fitted, with the budgets.
        say: Called with each model that is begun and the share of the work that is done.
        workers: Where the models are fitted.

    Raises:
        DataError: An arm has too few rows, or no candidate suits them.
    """
    refuse_thin_arms(rows.rct)
    folds = proof_folds(config, rows)
    return _held_out(config, rows, task, say, workers) if folds < 2 else _cross_fitted(config, rows, task, say, workers)


def _held_out(config: Config, rows: Rows, task: Task, say: Say, workers: Workers) -> Proven:
    train, obs, held_out = split_rows(config, rows)
    if rows.test is not None:  # the units of the test file were left out
        refuse_thin_arms(train)
    refit = config.data.refit and rows.test is None
    first, last = _SHARE
    middle = (first + last) / 2 if refit else last
    fitted = fit_in_folds(Trainings(train, obs, None, task), (None,), say, workers, span=(first, middle))[None]
    proof = prove([fitted], [held_out], task, None if rows.rules is None else [_rules_of_held_out(config, rows)])
    if not refit:
        return Proven(fitted, proof, TrainingRows.of(train, obs), (1, 1))
    again = Trainings(rows.rct, rows.obs, None, task)
    final = fit_in_folds(again, (None,), say, workers, span=(middle, last))[None]
    return Proven(final, proof, TrainingRows.of(rows.rct, rows.obs), (1, 1), (_REFITTED,))


def _rules_of_held_out(config: Config, rows: Rows) -> ProofRules:
    """Returns the rules of the held-out rows: those of the test file, or of the share of the trial."""
    assert rows.rules is not None
    if rows.test is not None:
        return rows.rules
    share = config.data.test_share
    return rows.rules.take(np.flatnonzero(rows.rct.parts(1 - share, share, seed=config.run.seed) == 1))


def _cross_fitted(config: Config, rows: Rows, task: Task, say: Say, workers: Workers) -> Proven:
    folds = proof_folds(config, rows)
    limit = 60 * config.run.minutes if not config.data.folds else float("inf")
    part = rows.rct.parts(*[1.0] * folds, seed=task.settings.seed)
    trainings = Trainings(rows.rct, rows.obs, part, task)
    clock = _Clock(limit, folds, workers.n, say)
    say(Note(_announced(rows.rct.n, folds, trainings.fitted_names, config.run.minutes, limit)), _SHARE[0])
    fitted = fit_in_folds(trainings, (None, *range(folds)), say, workers, span=_SHARE, in_time=clock.in_time)
    final = fitted.pop(None)
    done = [fold for fold in fitted if fold is not None]
    rules = None if rows.rules is None else [rows.rules.take(np.flatnonzero(part == fold)) for fold in done]
    proof = prove([fitted[fold] for fold in done], [trainings.test(fold) for fold in done], task, rules)
    notes = () if len(done) == folds else (_cut_short(len(done), folds, config.run.minutes),)
    return Proven(final, proof, TrainingRows.of(rows.rct, rows.obs), (len(done), folds), notes)


def _announced(n: int, folds: int, names: list[str], minutes: float, limit: float) -> str:
    models = f"{len(names)} model{'s' * (len(names) > 1)}"
    words = f"{folds + 1} trainings of {models}: on all {n:,} rows of the trial, and without each of {folds} folds for the proof."
    if np.isfinite(limit):
        words += (
            f" Folds that would take longer than {_check.written(minutes)} minutes in all are left out (run.minutes)."
        )
    return words


def _cut_short(done: int, folds: int, minutes: float) -> str:
    return (
        f"{done} of {folds} folds of the trial were evaluated in the {_check.written(minutes)} minutes that run.minutes allows. "
        "With more minutes or more cores (run.threads) the proof uses more rows."
    )


class _Clock:
    """Whether there is time for a further fold.

    Args:
        limit: Seconds that all trainings may take; the first fold is always evaluated.
        folds: Number of folds.
        threads: Trainings that go on side by side.
        say: Called once, when it is known how long the rest will take and that is long.
    """

    def __init__(self, limit: float, folds: int, threads: int, say: Say) -> None:
        self.limit, self.folds, self.threads, self.say = limit, folds, threads, say
        self.began, self.announced = time.perf_counter(), False

    def in_time(self, fold: Fold, training: float) -> bool:
        """Returns whether a fold may begin, by the seconds that a training on all rows takes."""
        if fold is None or fold == 0:
            return True
        gone = time.perf_counter() - self.began
        left = training * (1 - 1 / self.folds) * (self.folds - fold) / min(self.threads, self.folds)
        if not self.announced and left > _LONG:
            self.announced = True
            self.say(Note(f"About {_check.written(left / 60, 2)} minutes are left for the proof."), _SHARE[0])
        return gone + training * (1 - 1 / self.folds) <= self.limit
