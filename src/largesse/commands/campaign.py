"""What the configuration of a campaign means for its rows: budgets, models, training rows and held-out rows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from largesse import _check
from largesse.commands.load import Rows
from largesse.commands.procedure import Task, budgets_of
from largesse.config import Config
from largesse.logs import Logs
from largesse.models.hyperparameters import checked
from largesse.models.registry import Settings
from largesse.report.numbers import percent

__all__ = ["SplitRows", "proof_folds", "refuse_thin_arms", "split_rows", "task_of"]

_FOLDS = 5
_LEAST = 20  # rows of an arm, at least


class SplitRows(NamedTuple):
    """Training rows and held-out rows; no unit has rows in both.

    Attributes:
        rct: Training rows of the trial.
        obs: Training rows of the past campaign data.
        proof: Held-out rows, of the trial or of the test file, on which the policy is evaluated.
    """

    rct: Logs
    obs: Logs | None
    proof: Logs


def split_rows(config: Config, rows: Rows) -> SplitRows:
    """Returns the training rows and the held-out rows: those of the test file, or a share of the trial.

    Raises:
        DataError: Every training row is of a unit that the held-out rows contain too.
    """
    if rows.test is not None:
        rct, proof = rows.rct.without_units_of(rows.test), rows.test
    else:
        share = config.data.test_share
        rct, proof = rows.rct.split(1 - share, share, seed=config.run.seed)
    return SplitRows(rct, None if rows.obs is None else rows.obs.without_units_of(proof), proof)


def task_of(config: Config, rows: Rows) -> Task:
    """Returns what a configuration asks for, with its budgets per unit."""
    declared = config.budget
    budgets = budgets_of(rows.rct, declared.shares, declared.per_unit)
    settings = Settings(
        outcome=rows.outcome, members=config.model.members, epochs=config.model.epochs, seed=config.run.seed,
        checkpoint=None if config.run.checkpoints is None else str(config.run.checkpoints),
        hyperparameters=checked(config.model.settings), budgets=budgets,
    )  # fmt: skip
    names = () if config.model.candidates == "auto" else tuple(config.model.candidates)
    labels = [f"{_check.written(b)} {config.report.spend_unit}" for b in declared.per_unit]
    labels = labels or [f"{percent(share)} of the full budget" for share in declared.shares]
    return Task(
        candidates=names, settings=settings, labels=tuple(labels), budgets=budgets, validation_share=config.data.validation_share,
        draws=config.run.draws, price=None if config.outcome.unit_value is None else 1 / config.outcome.unit_value,
    )  # fmt: skip


def proof_folds(config: Config, rows: Rows) -> int:
    """Returns the number of folds of the cross-fitted evaluation; 1: a share of the trial, or the test file, instead."""
    return 1 if rows.test is not None else config.data.folds or _FOLDS


def refuse_thin_arms(rct: Logs) -> None:
    """Raises DataError where an arm has too few rows to be split."""
    count, what = rct.arm_rows, "rows"
    if rct.groups is not None:  # the rows of a unit stay together
        what = "units"
        count = np.array([len(np.unique(rct.groups[rct.treatment == j])) for j in range(rct.n_treatments)])
    least = min(count)
    if least < _LEAST:
        name = rct.treatments[int(np.argmin(count))]
        raise _check.refuse(
            f"{what} of treatment {name!r} in rct", int(least), f"training, choice and evaluation need {_LEAST} of every arm",
            "Collect more rows, merge it with a similar arm, or leave it out of columns.treatments and the file.",
        )  # fmt: skip
