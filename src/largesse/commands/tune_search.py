"""The trials of a search: their settings and their scores on validation rows, until time or trials run out.

Every trial is scored on the same rows with the same bootstrap draws, so all differences are paired. Optuna proposes the
settings; the final choice is made in `largesse.commands.tune`.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from importlib.metadata import version
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from largesse import __version__, _check
from largesse._extras import installed
from largesse._random import child
from largesse._workers import Workers
from largesse.commands.held_out import together
from largesse.commands.kept_trials import KeptTrials, Scored
from largesse.commands.procedure import Task
from largesse.errors import DataError, LargesseError, MissingDependency
from largesse.evaluate.comparison import Bootstrap, compare
from largesse.evaluate.folds import in_step
from largesse.logs import Logs
from largesse.menu import Menu
from largesse.models.crossfit import of_others
from largesse.models.hyperparameters import SPACES, Hyperparameter, OneOf, Value, applicable, current
from largesse.models.nets.checkpoint import digest
from largesse.models.registry import DECIDES, make
from largesse.progress import Say

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

__all__ = ["Search", "Trial", "TrialState", "distance", "label", "limits", "optuna_quietly", "with_settings"]

_FOLDS = 3  # of cross-validation, where rows are few
_KEY = 11  # of the sampler's seed
_DIGITS = 3  # of a number that is proposed
_PACKAGES = ("optuna", "numpy", "lightgbm", "torch")
_CELLS = ("x", "treatment", "value", "cost", "propensity", "weight", "groups", "timestamp")


class TrialState(StrEnum):
    """Whether a trial has a score. Out of reach: its cheapest allocation exceeds a budget."""

    COMPLETE = "complete"
    FAILED = "failed"
    OUT_OF_REACH = "out of reach"


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """One setting that was tried.

    Attributes:
        number: In the order tried; 0 is the default of the simplest model.
        model: Name of the model.
        settings: Hyper-parameter → value; {} for the untouched default.
        distance: Distance of the settings from the defaults, see `distance`.
        state: Whether it has a score.
        seconds: Time of fitting and scoring.
        message: Why it has no score.
        value: Value per unit at each budget, (B,).
        draws: The same in each bootstrap draw, (D, B).
    """

    number: int
    model: str
    settings: dict[str, Value]
    distance: float
    state: TrialState
    seconds: float
    message: str = ""
    value: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    draws: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 0)))

    @property
    def complete(self) -> bool:
        """Whether it has a score."""
        return self.state is TrialState.COMPLETE

    @property
    def default(self) -> bool:
        """Whether the settings are the untouched default."""
        return not self.settings

    @property
    def order(self) -> tuple[bool, bool, float, int]:
        """Sort key, simplest first: two-stage before decision-focused, untouched before changed, then by distance."""
        return self.model in DECIDES, not self.default, self.distance, self.number


class Search:
    """Trials of settings for one campaign, all scored on the same rows.

    Args:
        learning: Rows of the randomised trial for fitting and scoring; never held-out rows.
        obs: Past campaign data.
        task: Budgets, outcome, draws, seed and the settings of the run.
        models: Names to search over, simplest first.
        few: Whether the rows are few, so that scores come from cross-validation.
        workers: Where the models of the folds are fitted; None: in this process.
    """

    def __init__(
        self,
        learning: Logs,
        obs: Logs | None,
        task: Task,
        models: tuple[str, ...],
        few: bool,
        workers: Workers | None = None,
    ) -> None:
        self.task, self.models, self.workers = task, models, workers or Workers(1)
        share, seed = task.validation_share, task.settings.seed
        part = learning.parts(*([1.0] * _FOLDS if few else [share, 1 - share]), seed=seed)
        self.folds = [
            (learning.take(np.flatnonzero(part != k)), learning.take(np.flatnonzero(part == k)))
            for k in range(_FOLDS if few else 1)
        ]
        self.obs = [of_others(obs, hold) for _, hold in self.folds]
        self.rows = together([hold for _, hold in self.folds])
        bare = replace(task.settings, epochs=None, hyperparameters={})
        sizes = self.folds[0][0].n, 0 if obs is None else obs.n
        self.before = {name: current(make(name, task.settings), name, *sizes) for name in models}
        with optuna_quietly():  # a search range surrounds the model's own default
            self.spaces = {name: _space(name, current(make(name, bare), name, *sizes)) for name in models}
        self.counted: NDArray[np.bool_] | None = None  # budgets within the reach of the first default that finishes
        self.trials: list[Trial] = []
        self.stopped = ""
        self.kept = KeptTrials()  # none

    @property
    def job(self) -> str:
        """Digest of everything that the scores depend on: rows, budgets, models, settings, versions; not the number of trials."""
        rows = [getattr(logs, name) for logs in (*chain(*self.folds), *self.obs) if logs is not None for name in _CELLS]
        versions = [version(package) for package in _PACKAGES if installed(package)]
        return digest([*rows, self.task, self.models, self.before, __version__, versions])

    def run(self, trials: int, seconds: float, say: Say, span: tuple[float, float]) -> None:
        """Tries the defaults, then the settings that Optuna proposes; a trial that fails is recorded.

        Args:
            trials: Number of trials.
            seconds: No trial is started after so long, once a default has a score.
            say: Called with each trial and the share of the work that is done.
            span: The shares of the whole work at which this begins and ends.

        Raises:
            DataError: No default has a score, so there is nothing to compare with.
            KeyboardInterrupt: Interrupted before a default had a score.
        """
        began = time.perf_counter()
        try:
            with optuna_quietly() as optuna:
                study = self._study(optuna, trials)
                for number in range(trials):
                    if time.perf_counter() - began > seconds and self._has_default():
                        self.stopped = f"The time was up after {number} of {trials} trials."
                        break
                    self._try(study, number, trials, say, span)
        except KeyboardInterrupt:
            if not self._has_default():
                raise
            self.stopped = f"Interrupted after {len(self.trials)} of {trials} trials."
        if not self._has_default():
            failed = self.trials[0]
            raise DataError(
                f"trials: no default could be fitted and scored, so there is nothing to compare with. Trial 0, {failed.model}: "
                f"{failed.message}",
                field="trials",
            )

    def _has_default(self) -> bool:
        return any(t.complete and t.default for t in self.trials)

    def _study(self, optuna: Any, trials: int) -> Any:
        seed = int(child(self.task.settings.seed, _KEY).integers(2**31))
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
        for name in self.models[:trials]:
            before, space = self.before[name], self.spaces[name]
            near = {f"{name}.{key}": _nearest(SPACES[name][key], before[key], space[key]) for key in space}
            study.enqueue_trial({"model": name} | near)
        return study

    def _try(self, study: Any, number: int, trials: int, say: Say, span: tuple[float, float]) -> None:
        candidate = study.ask()
        name = candidate.suggest_categorical("model", list(self.models))
        proposed = self._proposed(candidate, name)
        settings = {} if number < len(self.models) else proposed
        say(f"trial {number + 1} of {trials}: {name}", span[0] + (span[1] - span[0]) * number / trials)
        done = self._scored(number, name, settings)
        self.trials.append(done)
        if done.complete:
            study.tell(candidate, float(done.value[self.counted].mean()))
        else:
            study.tell(candidate, state=_failed())

    def _proposed(self, candidate: Any, name: str) -> dict[str, Value]:
        values: dict[str, Value] = {}
        for key, where in self.spaces[name].items():
            entry, label = SPACES[name][key], f"{name}.{key}"
            if isinstance(entry, OneOf):
                values[key] = entry.options[candidate.suggest_categorical(label, where.choices)]
            elif entry.integer:
                values[key] = candidate.suggest_int(label, where.low, where.high, log=where.log)
            else:
                got = candidate.suggest_float(label, where.low, where.high, log=where.log)
                values[key] = float(f"{got:.{_DIGITS}g}")
        return applicable(name, values)

    def _scored(self, number: int, name: str, settings: dict[str, Value]) -> Trial:
        began = time.perf_counter()
        value, draws, state, message = np.empty(0), np.empty((0, 0)), TrialState.COMPLETE, ""
        kept = self.kept.get(number, name, settings)
        try:
            value, draws = self._values(name, settings) if kept is None else kept[:2]
            if self.counted is None and np.isfinite(value).any():
                self.counted = np.isfinite(value)
            if self.counted is None or not np.isfinite(value[self.counted]).all():
                state, message = TrialState.OUT_OF_REACH, "Its cheapest allocation exceeds a budget."
        except LargesseError as error:
            state, message = TrialState.FAILED, str(error)
        seconds = time.perf_counter() - began if kept is None else kept.seconds
        if kept is None and state is not TrialState.FAILED:
            self.kept.put(number, name, settings, Scored(value, draws, seconds))
        moved = distance(self.spaces[name], settings, self.before[name])
        return Trial(number, name, settings, moved, state, seconds, message, value=value, draws=draws)

    def _values(self, name: str, settings: dict[str, Value]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Returns value per unit at each budget (B,) and its draws (D, B), on validation rows."""
        how = with_settings(self.task, name, settings)
        rows = [(train, hold, obs) for (train, hold), obs in zip(self.folds, self.obs, strict=True)]
        menus = dict(self.workers.run(_menu, (name, how, rows), range(len(rows))))
        menu = in_step([menus[k] for k in range(len(rows))], [hold.weights for _, hold in self.folds])
        bootstrap = Bootstrap(draws=self.task.draws, seed=self.task.settings.seed)
        # Draw d depends only on the seed and on d, so trials that are scored one by one are paired.
        table = compare(self.rows, {"trial": menu}, self.task.budgets, bootstrap=bootstrap)
        return table.value[0], table.draws[:, 0]


def _menu(shared: tuple[str, Task, list[tuple[Logs, Logs, Logs | None]]], fold: int) -> Menu:
    """Returns the menu of the held-out rows of a fold."""
    name, task, rows = shared
    train, hold, obs = rows[fold]
    return make(name, task.settings).fit(train, obs).predict(hold.x)


def with_settings(task: Task, name: str, settings: dict[str, Value]) -> Task:
    """Returns the task with some hyper-parameters of a model set, in addition to those of the run."""
    before = task.settings.hyperparameters
    both = {**before, name: {**before.get(name, {}), **settings}}
    return replace(task, settings=replace(task.settings, hyperparameters=both))


def distance(
    space: Mapping[str, BaseDistribution], settings: Mapping[str, Value], default: Mapping[str, Value]
) -> float:
    """Returns the mean distance of the hyper-parameters from their defaults, in widths of their search ranges.

    Args:
        space: The search range of every hyper-parameter of the model.
        settings: Hyper-parameter → value; one left out has its default.
        default: The untouched values.
    """
    moves = [_move(value, default[key], space[key]) for key, value in settings.items()]
    return sum(moves) / len(space) if moves else 0.0


def _move(a: Any, b: Any, where: Any) -> float:
    """Returns the distance of two values in widths of a range, on its log scale if it has one; 1 for another option."""
    if hasattr(where, "choices"):
        return float(a != b)
    scale = (lambda v: math.log(max(float(v), where.low / 1000))) if where.log else float  # a log needs more than 0
    return abs(scale(a) - scale(b)) / (scale(where.high) - scale(where.low))


def _space(name: str, own: Mapping[str, Value]) -> dict[str, BaseDistribution]:
    """Returns the search range of every hyper-parameter of a model with these defaults."""
    return {key: entry.distribution(own[key]) for key, entry in SPACES.get(name, {}).items()}


def _nearest(entry: Hyperparameter, value: Any, where: Any) -> Any:
    """Returns the value in the search range that is nearest to a default; of options, the position, 0 if it is none of them."""
    if isinstance(entry, OneOf):
        return entry.options.index(value) if value in entry.options else 0
    return min(max(value, where.low), where.high)


def label(trial: Trial) -> str:
    """Returns the name of a trial in sentences."""
    return f"trial {trial.number} ({trial.model}{', untouched' if trial.default else ''})"


@contextmanager
def optuna_quietly() -> Iterator[Any]:
    """Yields Optuna with its log and its warnings turned off.

    Raises:
        MissingDependency: It is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise MissingDependency("optuna", "tune", "Tuning") from error
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield optuna
    finally:
        optuna.logging.set_verbosity(before)


def _failed() -> Any:
    import optuna

    return optuna.trial.TrialState.FAIL


def limits(trials: int, minutes: float | None) -> float:
    """Returns the seconds that a search may take.

    Raises:
        DataError: `trials` is below 1, or `minutes` is no positive number.
    """
    if isinstance(trials, bool) or trials != int(trials) or trials < 1:
        raise _check.refuse("trials", trials, "must be a whole number >= 1", "The first trial is the default.")
    if minutes is None:
        return float("inf")
    return 60 * _check.number("minutes", minutes, low=1e-9, remedy="Give a positive number of minutes.")
