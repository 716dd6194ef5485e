"""What the configuration of a campaign means for its rows: budgets, models, and which rows learn and which prove."""

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

__all__ = ["SMALL", "Parted", "parted", "proof_folds", "refuse_thin_arms", "task_of"]

SMALL = 20_000  # below this many trial rows the proof takes turns over all of them
_FOLDS = 5
_LEAST = 20  # rows of an arm that can still be parted


class Parted(NamedTuple):
    """Rows to learn from, and rows for the proof; no unit has rows in both.

    Attributes:
        rct: Rows of the trial to learn from.
        obs: Rows of the observational log to learn from.
        proof: Rows of the trial, or of the test file, for the proof.
    """

    rct: Logs
    obs: Logs | None
    proof: Logs


def parted(config: Config, rows: Rows) -> Parted:
    """Returns the parts of a campaign that is proven on the rows of a file of its own, or on a share of the trial.

    Raises:
        DataError: All rows to learn from are of units of the proof.
    """
    if rows.test is not None:
        rct, proof = rows.rct.without_units_of(rows.test), rows.test
    else:
        share = config.data.test_share
        rct, proof = rows.rct.split(1 - share, share, seed=config.run.seed)
    return Parted(rct, None if rows.obs is None else rows.obs.without_units_of(proof), proof)


def task_of(config: Config, rows: Rows) -> Task:
    """Returns what the configuration asks for, budgets in money per head."""
    said = config.budget
    budgets = budgets_of(rows.rct, said.shares, said.per_head)
    settings = Settings(
        outcome=rows.outcome, members=config.model.members, epochs=config.model.epochs, seed=config.run.seed,
        n_threads=config.run.threads, checkpoint=None if config.run.checkpoints is None else str(config.run.checkpoints),
        hyperparameters=checked(config.model.settings), budgets=budgets,
    )  # fmt: skip
    names = () if config.model.candidates == "auto" else tuple(config.model.candidates)
    labels = [f"{b:g} {config.report.money_unit} per {config.report.head}" for b in said.per_head]
    labels = labels or [f"{percent(share)} of the cash" for share in said.shares]
    return Task(
        candidates=names, settings=settings, labels=tuple(labels), budgets=budgets, validation_share=config.data.validation_share,
        draws=config.run.draws,
    )  # fmt: skip


def proof_folds(config: Config, rows: Rows) -> int:
    """Returns how many parts of the trial take turns as the rows of the proof; below 2: a share is held out."""
    return config.data.folds or (_FOLDS if rows.rct.n < SMALL else 0)


def refuse_thin_arms(rct: Logs) -> None:
    """Refuses a trial with an arm too thin to be parted."""
    count, what = rct.arm_rows, "rows"
    if rct.groups is not None:  # rows of a unit are never parted
        what = "units"
        count = np.array([len(np.unique(rct.groups[rct.treatment == j])) for j in range(rct.n_treatments)])
    least = min(count)
    if least < _LEAST:
        name = rct.treatments[int(np.argmin(count))]
        raise _check.refuse(
            f"{what} of treatment {name!r} in rct", int(least), f"learning, choosing and proving need {_LEAST} of every arm",
            "Collect more rows, merge it with a similar arm, or leave it out of columns.treatments and the file.",
        )  # fmt: skip
