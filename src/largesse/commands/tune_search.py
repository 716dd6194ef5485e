"""Trials of a search: which settings, how they score on rows they have not learned from, until time or trials run out.

Every trial is scored on the same rows with the same bootstrap draws, so all are paired with each other. The proposals
are Optuna's; the final choice is not (`largesse.commands.tune`).
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from largesse import _check
from largesse._random import child
from largesse.commands.procedure import Task, stacked, together
from largesse.errors import DataError, LargesseError, MissingDependency
from largesse.evaluate.comparison import Bootstrap, compare
from largesse.logs import Logs
from largesse.models.crossfit import of_others
from largesse.models.hyperparameters import SPACES, Hyperparameter, OneOf, Value, applicable, current
from largesse.models.registry import DECIDES, make
from largesse.progress import Say

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

__all__ = ["Search", "Trial", "distance", "label", "limits", "optuna_quietly", "with_settings"]

_TURNS = 3  # parts that take turns as the rows that score, where rows are few
_KEY = 11  # of the sampler's seed
_DIGITS = 3  # of a number that is proposed


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """One try.

    Attributes:
        number: In the order tried; 0 is the default of the simplest model.
        model: Its name.
        settings: Hyper-parameter → value; {} for the untouched default.
        distance: How far the settings are from the defaults, see `distance`.
        state: ``"complete"``, ``"failed"`` or ``"out of reach"`` (it cannot spend as little as the budgets ask).
        seconds: What it took.
        message: Why it is not complete.
        value: Value per head at each budget, (B,).
        draws: The same in each bootstrap draw, (D, B).
    """

    number: int
    model: str
    settings: dict[str, Value]
    distance: float
    state: str
    seconds: float
    message: str = ""
    value: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    draws: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 0)))

    @property
    def complete(self) -> bool:
        """Whether it has a score."""
        return self.state == "complete"

    @property
    def default(self) -> bool:
        """Whether nothing was changed."""
        return not self.settings

    @property
    def order(self) -> tuple[bool, bool, float, int]:
        """Simplest first: two-stage before decision-focused, untouched before changed, then by how much is changed."""
        return self.model in DECIDES, not self.default, self.distance, self.number


class Search:
    """Trials on one task, scored on one set of rows.

    Args:
        learning: Trial rows to learn and to score on; never those of the proof.
        obs: The log of a past policy.
        task: Budgets, outcome, draws and seed; what the run sets of each model.
        models: Names to search over, simplest first.
        few: Whether the rows are few, so that parts of them take turns in scoring.
    """

    def __init__(self, learning: Logs, obs: Logs | None, task: Task, models: tuple[str, ...], few: bool) -> None:
        self.task, self.models = task, models
        share, seed = task.validation_share, task.settings.seed
        part = learning.parts(*([1.0] * _TURNS if few else [share, 1 - share]), seed=seed)
        self.turns = [
            (learning.take(np.flatnonzero(part != k)), learning.take(np.flatnonzero(part == k)))
            for k in range(_TURNS if few else 1)
        ]
        self.obs = [of_others(obs, hold) for _, hold in self.turns]
        self.rows = together([hold for _, hold in self.turns])
        bare = replace(task.settings, epochs=None, hyperparameters={})
        sizes = self.turns[0][0].n, 0 if obs is None else obs.n
        self.before = {name: current(make(name, task.settings), name, *sizes) for name in models}
        with optuna_quietly():  # search ranges are laid out around what a model has by itself
            self.spaces = {name: _space(name, current(make(name, bare), name, *sizes)) for name in models}
        self.counted: NDArray[np.bool_] | None = None  # budgets within the reach of the first default that finishes
        self.trials: list[Trial] = []
        self.stopped = ""

    def run(self, trials: int, seconds: float, say: Say, span: tuple[float, float]) -> None:
        """Tries the defaults, then what Optuna proposes; a failure of a trial is kept and passed over.

        Args:
            trials: How many.
            seconds: No trial is begun after so long, once a default has finished.
            say: Told each trial.
            span: The shares of the whole work at which this begins and ends.

        Raises:
            DataError: No default has finished, so there is nothing to compare with.
            KeyboardInterrupt: The same, by interruption.
        """
        began = time.perf_counter()
        try:
            with optuna_quietly() as optuna:
                study = self._study(optuna, trials)
                for number in range(trials):
                    if time.perf_counter() - began > seconds and self._found_default():
                        self.stopped = f"The time was up after {number} of {trials} trials."
                        break
                    self._try(study, number, trials, say, span)
        except KeyboardInterrupt:
            if not self._found_default():
                raise
            self.stopped = f"Interrupted after {len(self.trials)} of {trials} trials."
        if not self._found_default():
            failed = self.trials[0]
            raise DataError(
                f"trials: no default could be learned and scored, so there is nothing to compare with. Trial 0, {failed.model}: "
                f"{failed.message}",
                field="trials",
            )

    def _found_default(self) -> bool:
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
        asked = study.ask()
        name = asked.suggest_categorical("model", list(self.models))
        proposed = self._proposed(asked, name)
        settings = {} if number < len(self.models) else proposed
        say(f"trial {number + 1} of {trials}: {name}", span[0] + (span[1] - span[0]) * number / trials)
        done = self._scored(number, name, settings)
        self.trials.append(done)
        if done.complete:
            study.tell(asked, float(done.value[self.counted].mean()))
        else:
            study.tell(asked, state=_failed())

    def _proposed(self, asked: Any, name: str) -> dict[str, Value]:
        found: dict[str, Value] = {}
        for key, where in self.spaces[name].items():
            entry, label = SPACES[name][key], f"{name}.{key}"
            if isinstance(entry, OneOf):
                found[key] = entry.options[asked.suggest_categorical(label, where.choices)]
            elif entry.integer:
                found[key] = asked.suggest_int(label, where.low, where.high, log=where.log)
            else:
                got = asked.suggest_float(label, where.low, where.high, log=where.log)
                found[key] = float(f"{got:.{_DIGITS}g}")
        return applicable(name, found)

    def _scored(self, number: int, name: str, settings: dict[str, Value]) -> Trial:
        began = time.perf_counter()
        value, draws, state, message = np.empty(0), np.empty((0, 0)), "complete", ""
        try:
            value, draws = self._worth(name, settings)
            if self.counted is None and np.isfinite(value).any():
                self.counted = np.isfinite(value)
            if self.counted is None or not np.isfinite(value[self.counted]).all():
                state, message = "out of reach", "It cannot spend as little as the budgets ask."
        except LargesseError as error:
            state, message = "failed", str(error)
        moved = distance(self.spaces[name], settings, self.before[name])
        return Trial(
            number, name, settings, moved, state, time.perf_counter() - began, message, value=value, draws=draws
        )

    def _worth(self, name: str, settings: dict[str, Value]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Returns value per head at each budget (B,) and its draws (D, B), on rows that were not learned from."""
        how = with_settings(self.task, name, settings)
        menu = stacked(
            [
                make(name, how.settings).fit(train, obs).predict(hold.x)
                for (train, hold), obs in zip(self.turns, self.obs, strict=True)
            ]
        )
        bootstrap = Bootstrap(draws=self.task.draws, seed=self.task.settings.seed)
        # Draw d depends on the seed and on d only: trials compared one by one are paired as if compared together.
        table = compare(self.rows, {"trial": menu}, self.task.budgets, bootstrap=bootstrap)
        return table.value[0], table.draws[:, 0]


def with_settings(task: Task, name: str, settings: dict[str, Value]) -> Task:
    """Returns the task with some hyper-parameters of a model set, on top of what the run sets."""
    before = task.settings.hyperparameters
    both = {**before, name: {**before.get(name, {}), **settings}}
    return replace(task, settings=replace(task.settings, hyperparameters=both))


def distance(
    space: Mapping[str, BaseDistribution], settings: Mapping[str, Value], default: Mapping[str, Value]
) -> float:
    """Returns how far settings are from the defaults: the mean move of the hyper-parameters, in widths of their ranges.

    Args:
        space: The search range of every hyper-parameter of the model.
        settings: Hyper-parameter → value; one left out has not moved.
        default: What the run gives the model untouched.
    """
    moves = [_move(value, default[key], space[key]) for key, value in settings.items()]
    return sum(moves) / len(space) if moves else 0.0


def _move(a: Any, b: Any, where: Any) -> float:
    """Returns how far apart two values are in widths of a range, ratios where it is logarithmic; 1 for another option."""
    if hasattr(where, "choices"):
        return float(a != b)
    scale = (lambda v: math.log(max(float(v), where.low / 1000))) if where.log else float  # a log needs more than 0
    return abs(scale(a) - scale(b)) / (scale(where.high) - scale(where.low))


def _space(name: str, own: Mapping[str, Value]) -> dict[str, BaseDistribution]:
    """Returns the search range of every hyper-parameter of a model that has these values by itself."""
    return {key: entry.distribution(own[key]) for key, entry in SPACES.get(name, {}).items()}


def _nearest(entry: Hyperparameter, value: Any, where: Any) -> Any:
    """Returns the value within the search that is nearest to a default: the number of an option, 0 where the default is none."""
    if isinstance(entry, OneOf):
        return entry.options.index(value) if value in entry.options else 0
    return min(max(value, where.low), where.high)


def label(trial: Trial) -> str:
    """Returns a trial in words."""
    return f"trial {trial.number} ({trial.model}{', untouched' if trial.default else ''})"


@contextmanager
def optuna_quietly() -> Iterator[Any]:
    """Yields Optuna, which neither logs nor warns meanwhile.

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
    """Returns the seconds that a search may take, or refuses.

    Raises:
        DataError: `trials` is below 1, or `minutes` is no positive number.
    """
    if isinstance(trials, bool) or trials != int(trials) or trials < 1:
        raise _check.refuse("trials", trials, "must be a whole number >= 1", "The first trial is the default.")
    if minutes is None:
        return float("inf")
    return 60 * _check.number("minutes", minutes, low=1e-9, remedy="Give a positive number of minutes.")
