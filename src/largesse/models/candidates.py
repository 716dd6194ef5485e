"""Models by name, for configuration files, from the simplest to the most elaborate; and the rule that chooses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from largesse.errors import ConfigError
from largesse.models.base import Model
from largesse.models.outcome import Outcome
from largesse.roles import nearest

if TYPE_CHECKING:
    from largesse.models.boosting import Boosting
    from largesse.models.mlp import MLP

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


# Each maker imports its learner, so that naming the models loads neither torch nor LightGBM.


def _boosting(s: Settings, **how: Any) -> Boosting:
    from largesse.models.boosting import Boosting

    return Boosting(outcome=s.outcome, seed=s.seed, n_threads=s.n_threads, **how)


def _mlp(s: Settings, **how: Any) -> MLP:
    from largesse.models.mlp import MLP

    net = MLP(outcome=s.outcome, seed=s.seed, n_threads=s.n_threads, **how)
    return net if s.epochs is None else net.set_params(schedule=replace(net.schedule, epochs=s.epochs, least=1))


def _published(s: Settings) -> MLP:
    from largesse.models.mlp import MLP

    return _mlp(s, **{name: getattr(MLP.published(), name) for name in ("members", "plain", "arm_weighted")})


def _calibrated(s: Settings, base: Model) -> Model:
    from largesse.models.calibrate import Calibrated

    return Calibrated(base, outcome=s.outcome)


def _corrected(s: Settings) -> Model:
    from largesse.models.correction import Corrected

    return Corrected(_boosting(s), outcome=s.outcome, seed=s.seed, n_threads=s.n_threads)


def _dhcl(s: Settings, kind: str) -> Model:
    from largesse.models import dhcl

    model: Model = getattr(dhcl, kind)(members=s.members, seed=s.seed, n_threads=s.n_threads)
    # Every step sees all rows: epochs are steps.
    return model if s.epochs is None else model.set_params(training=replace(model.training, steps=s.epochs))


_MAKE: dict[str, Callable[[Settings], Model]] = {
    "lightgbm": lambda s: _calibrated(s, _boosting(s)),
    "mlp": lambda s: _calibrated(s, _mlp(s, members=s.members)),
    "logs-then-correction": _corrected,
    "lightgbm-t": lambda s: _calibrated(s, _boosting(s, strategy="T")),
    "lightgbm-rct": lambda s: _boosting(s, data="rct"),
    "mlp-rct": lambda s: _mlp(s, data="rct", members=s.members),
    "mlp-published": _published,
    "drp": lambda s: _dhcl(s, "DRP"),
    "drm": lambda s: _dhcl(s, "DRM"),
    "dum": lambda s: _dhcl(s, "DUM"),
    "dpm": lambda s: _dhcl(s, "DPM"),
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
