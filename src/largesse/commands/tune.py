"""`tune`: searches the hyper-parameters of the models, and chooses by a rule that allows for noise.

The best of many trials owes part of its score to chance. So the search only proposes. The choice is the simplest trial
within one standard error of the best, adjusted for the number of trials, and is then compared with the untouched settings
on held-out rows, which no trial used.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from largesse._files import atomic_folder, may_write, timed
from largesse._workers import Workers
from largesse.checks.trial_power import TuningAdvice, power
from largesse.commands.campaign import refuse_thin_arms, split_rows, task_of
from largesse.commands.findings.tune import MARKER, TUNED, UNTOUCHED, document, write
from largesse.commands.findings.tune_result import Chosen, Proven, TuningResult, chosen
from largesse.commands.kept_trials import KeptTrials
from largesse.commands.load import load_rows
from largesse.commands.procedure import Task
from largesse.commands.processes import threads_of
from largesse.commands.proof import modules_of
from largesse.commands.tune_search import Search, limits, optuna_quietly, with_settings
from largesse.config import Config
from largesse.errors import ConfigError
from largesse.evaluate.comparison import Bootstrap, compare
from largesse.logs import Logs
from largesse.models.nets.checkpoint import checkpoints_until_done
from largesse.models.registry import NAMES, default_names, make
from largesse.progress import Note, Say, silent
from largesse.result import Brief
from largesse.roles import nearest

__all__ = ["Tuning", "tune"]

_SMALL = 20_000  # fewer rows: trials are scored by cross-validation


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Tuning(Brief):
    """A finished tuning: its folder, the content of its trials.json, and the configuration to fit."""

    folder: Path
    document: dict[str, Any]
    config: Config


def tune(
    config: Config,
    *,
    trials: int = 20,
    minutes: float | None = None,
    model: str = "auto",
    folder: str | Path | None = None,
    replace: bool = False,
    say: Say = silent,
) -> Tuning:
    """Searches settings, chooses, and evaluates the choice; the folder is written whole or not at all.

    After a kill, the same call uses the finished trials again and gives the same result.

    Args:
        config: The campaign.
        trials: Number of settings to try; the first are the models' defaults.
        minutes: No trial is started after so many minutes, counted anew after a kill; None: no limit.
        model: A model's name; ``"auto"``: all candidates of the run.
        folder: The output folder; None: a new one under `run.folder`, named by the time.
        replace: Whether a complete new tuning may replace an older folder of that name.
        say: Called with each stage and the share of the work that is done.

    Raises:
        LargesseError: Files, columns, rows, the configuration or an argument break a rule, or no default can be fitted.
        KeyboardInterrupt: Interrupted before a default was scored, or after the trials; nothing is written.
    """
    seconds = limits(trials, minutes)
    target = Path(folder) if folder is not None else config.run.folder / timed("tuned-")
    with optuna_quietly():  # refuses at once where Optuna is missing
        may_write(target, replace=replace, marker=MARKER)
    with (
        checkpoints_until_done(config.run.checkpoints, target),
        Workers(threads_of(config), modules_of(config)) as workers,
    ):
        beside = config.run.folder / "tuned" if folder is None else target  # the name of a new folder differs each time
        content, tuned = _tune(config, (trials, seconds), model, (target, beside), replace, say, workers)
    say("done", 1.0)
    return Tuning(target, content, tuned)


def _tune(
    config: Config,
    limit: tuple[int, float],
    model: str,
    places: tuple[Path, Path],
    replace: bool,
    say: Say,
    workers: Workers,
) -> tuple[dict[str, Any], Config]:
    target, beside = places
    say("reading", 0.0)
    rows = load_rows(config)
    task = task_of(config, rows)
    refuse_thin_arms(rows.rct)
    learning, obs, proof = split_rows(config, rows)
    if rows.test is not None:
        refuse_thin_arms(learning)
    trial_power = power(rows.rct, task.budgets, proof.n / rows.rct.n)
    names = _models(model, task, default_names(rows.obs is not None, trial_power.advice is TuningAdvice.CAN_PAY))
    say(Note(trial_power.sentence), 0.05)
    search = Search(learning, obs, task, names, few=learning.n < _SMALL, workers=workers)
    with KeptTrials.beside(beside, search.job) as search.kept:
        if search.kept.count:
            say(Note(f"{search.kept.count} trials of a search that was killed are used again."), 0.05)
        search.run(*limit, say, (0.05, 0.9))
        picked = chosen(search.trials, search.counted)
        say("evaluating the choice", 0.9)
        result = TuningResult(search, picked, _prove(picked, learning, obs, proof, task), proof)
        content = document(config, result, task)
        with atomic_folder(target, replace=replace, marker=MARKER) as place:
            tuned = write(place, config, rows, result, content)
    return content, tuned


def _models(model: str, task: Task, default: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the models to search over, simplest first."""
    if model != "auto" and model not in NAMES:
        raise ConfigError(
            f"model == {model!r}: must be 'auto' or among {', '.join(map(repr, NAMES))}. {nearest(model, NAMES)}"
            "Choose from these."
        )
    names = (task.candidates or default) if model == "auto" else (model,)
    for name in names:
        make(name, task.settings)  # refuses now what `fit` would refuse later
    return tuple(dict.fromkeys(names))


def _prove(picked: Chosen, learning: Logs, obs: Logs | None, proof: Logs, task: Task) -> Proven:
    both = {UNTOUCHED: picked.untouched}
    if picked.trial is not picked.untouched:
        both[TUNED] = picked.trial
    menus = {}
    for name, trial in both.items():
        how = with_settings(task, trial.model, trial.settings)
        menus[name] = make(trial.model, how.settings).fit(learning, obs).predict(proof.x)
    bootstrap = Bootstrap(draws=task.draws, seed=task.settings.seed)
    table = compare(proof, menus, task.budgets, reference=UNTOUCHED, bootstrap=bootstrap)
    if TUNED not in menus:
        return Proven(table, 0.0, 0.0, 0.0, changed=False)
    a, b = table.index(TUNED), table.index(UNTOUCHED)
    counted = np.asarray(np.isfinite(table.value[[a, b]]).all(axis=0))
    if not counted.any():
        return Proven(table, float("nan"), float("nan"), float("nan"), changed=True)
    gain = table.over_budgets(TUNED, counted, against=UNTOUCHED)
    return Proven(table, gain.value, gain.low, gain.high, changed=True, events=gain.events)
