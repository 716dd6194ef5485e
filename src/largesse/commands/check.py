"""`check`: can the rows of a campaign be trusted, and how small an effect can they show?"""

from __future__ import annotations

from collections.abc import Callable

from largesse._workers import Workers
from largesse.checks.propensities import propensities
from largesse.checks.soundness import Finding, Grade, Soundness, check
from largesse.commands.campaign import proof_folds
from largesse.commands.findings.suspects import suspects
from largesse.commands.load import Rows
from largesse.commands.procedure import Task
from largesse.config import Config

__all__ = ["soundness"]


def soundness(config: Config, rows: Rows, task: Callable[[], Task], workers: Workers | None = None) -> Soundness:
    """Returns the checks of the data, and the power of the trial and of its held-out rows at the budgets of the run.

    Where the given propensities are wrong there are neither budgets nor power, and `task` is not called.
    """
    found = _tested(config, rows, task, workers)
    suspected = suspects(rows, found)
    if suspected.suspects:
        found = Soundness(findings=(*found.findings, suspected))
    if not rows.id_like:
        return found
    names = ", ".join(map(repr, rows.id_like))
    words = f"{names}: every row has its own value, as an id has. A model can only memorise it: name it as the unit or ignore it."
    return Soundness(findings=(*found.findings, Finding(name="features like ids", status=Grade.WARN, sentence=words)))


def _tested(config: Config, rows: Rows, task: Callable[[], Task], workers: Workers | None) -> Soundness:
    given = propensities(rows.rct)
    if given is not None and not given.ok:
        return check(rows.rct, rows.obs, workers=workers)
    share = 1.0 if proof_folds(config, rows) > 1 else config.data.test_share
    share = share if rows.test is None else rows.test.n / rows.rct.n
    return check(rows.rct, rows.obs, budgets=task().budgets, proof_share=share, workers=workers)
