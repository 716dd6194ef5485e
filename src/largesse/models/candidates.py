"""Models by name, for configuration files, from the simplest to the most elaborate; and the rule that chooses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from largesse.errors import ConfigError
from largesse.models.base import Model
from largesse.models.boosting import Boosting
from largesse.models.calibrate import Calibrated
from largesse.models.correction import Corrected
from largesse.models.mlp import MLP
from largesse.models.outcome import Outcome
from largesse.roles import nearest

__all__ = ["AUTO", "NAMES", "Choice", "Settings", "choose", "make"]


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run says about its models.

    Attributes:
        outcome: Family and cost rule.
        members: Networks averaged in one model.
        epochs: Passes over the rows; None: each model's own number.
        seed: Starts and sampling.
        n_threads: Threads.
    """

    outcome: Outcome
    members: int = 3
    epochs: int | None = None
    seed: int = 0
    n_threads: int = 1


def _boosting(s: Settings, strategy: str = "S") -> Boosting:
    return Boosting(outcome=s.outcome, strategy=strategy, monotone=False, seed=s.seed, n_threads=s.n_threads)  # type: ignore[arg-type]


def _mlp(s: Settings) -> MLP:
    net = MLP(outcome=s.outcome, members=s.members, seed=s.seed, n_threads=s.n_threads)
    return net if s.epochs is None else net.set_params(schedule=_epochs(net, s.epochs))


def _epochs(net: MLP, epochs: int) -> object:
    from dataclasses import replace

    return replace(net.schedule, epochs=epochs, least=1)


def _published(s: Settings) -> MLP:
    net = MLP.published(outcome=s.outcome, seed=s.seed, n_threads=s.n_threads)
    return net if s.epochs is None else net.set_params(schedule=_epochs(net, s.epochs))


_MAKE: dict[str, Callable[[Settings], Model]] = {
    "lightgbm": lambda s: Calibrated(_boosting(s), outcome=s.outcome),
    "mlp": lambda s: Calibrated(_mlp(s), outcome=s.outcome),
    "logs-then-correction": lambda s: Corrected(_boosting(s), outcome=s.outcome, seed=s.seed, n_threads=s.n_threads),
    "lightgbm-t": lambda s: Calibrated(_boosting(s, "T"), outcome=s.outcome),
    "lightgbm-rct": lambda s: _boosting(s).set_params(data="rct"),
    "mlp-rct": lambda s: _mlp(s).set_params(data="rct"),
    "mlp-published": _published,
}
NAMES = tuple(_MAKE)
AUTO = {True: ("lightgbm", "mlp", "logs-then-correction"), False: ("lightgbm-rct", "mlp-rct")}
"""The candidates of ``"auto"``, with and without an observational log, simplest first."""


def make(name: str, settings: Settings) -> Model:
    """Returns an unfitted model by name.

    Raises:
        ConfigError: There is no model of that name.
    """
    if name not in _MAKE:
        raise ConfigError(
            f"model.candidates == {name!r}: must be among {', '.join(map(repr, NAMES))}. {nearest(name, NAMES)}Choose from these."
        )
    return _MAKE[name](settings)


@dataclass(frozen=True, slots=True)
class Choice:
    """Which candidate was chosen, and why.

    Attributes:
        name: The winner.
        score: Mean value per head over the budgets, one per candidate, (P,).
        error: Standard error of each score's difference to the best, (P,).
        reason: One plain sentence.
    """

    name: str
    score: NDArray[np.float64]
    error: NDArray[np.float64]
    reason: str


def choose(names: Sequence[str], value: NDArray[np.float64], draws: NDArray[np.float64]) -> Choice:
    """Returns the simplest candidate that is within one paired standard error of the best.

    Args:
        names: Candidates, simplest first, (P,).
        value: Value per head at each budget, (P, B); a budget out of someone's reach (nan) is left out for all.
        draws: The same in each bootstrap draw, (D, P, B), drawn with the same row weights.
    """
    seen = np.isfinite(value).all(0)
    if not seen.any():
        return Choice(
            names[0],
            np.full(len(names), np.nan),
            np.full(len(names), np.nan),
            "No budget is within every candidate's reach.",
        )
    score, drawn = value[:, seen].mean(1), draws[:, :, seen].mean(2)
    best = int(np.argmax(score))
    error = (drawn - drawn[:, best : best + 1]).std(0)
    first = int(np.argmax(score[best] - score <= error))
    if len(names) == 1:
        reason = "It was the only candidate."
    elif first == best:
        reason = (
            f"{names[first]} has the highest value on rows that no candidate has seen, "
            "and no simpler one comes within one standard error of it."
        )
    else:
        reason = (
            f"{names[best]} is highest, but {names[first]} is simpler and within one standard error of it "
            f"({score[best] - score[first]:.3g} against {error[first]:.3g}): noise does not decide."
        )
    return Choice(names[first], score, error, reason)
