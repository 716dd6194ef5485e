"""Models by name, for configuration files, from the simplest to the most elaborate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from largesse import models  # its names are loaded on first use: importing this module loads neither torch nor LightGBM
from largesse._extras import installed, needed_for
from largesse.errors import ConfigError, MissingDependency
from largesse.models.base import Model
from largesse.models.hyperparameters import Value, applied
from largesse.models.outcome import Outcome
from largesse.roles import nearest

__all__ = [
    "ALONE", "AUTO", "DECIDES", "NAMES", "PARTS", "TREES", "TUNED", "Settings", "default_names", "has_networks", "left_out",
    "make", "parts_of", "pieces_of",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of a run that apply to all its models.

    Attributes:
        outcome: Family and cost rule.
        members: Number of networks that a model averages.
        epochs: Passes over the training rows; None: the default of each model.
        seed: Of initial weights and sampling.
        n_threads: Threads.
        checkpoint: Folder for checkpoints of unfinished trainings; None: a killed run starts again from the beginning.
        budgets: Target budgets of decision losses, per unit; (): the default of the loss.
        hyperparameters: Model → hyper-parameter → value, see `largesse.models.hyperparameters`; they override `epochs`.
    """

    outcome: Outcome
    members: int = 3
    epochs: int | None = None
    seed: int = 0
    n_threads: int = 1
    checkpoint: str | None = None
    budgets: tuple[float, ...] = ()
    hyperparameters: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)


def _common(s: Settings) -> dict[str, Any]:
    return {"outcome": s.outcome, "seed": s.seed, "n_threads": s.n_threads}


def _boosting(s: Settings, **options: Any) -> models.Boosting:
    return models.Boosting(**_common(s), **options)


def _mlp(s: Settings, **options: Any) -> models.MLP:
    net = models.MLP(**_common(s), checkpoint=s.checkpoint, **options)
    return _shortened(net if s.epochs is None else net.set_params(lengths=(1,)), s)


def _shortened(model: Any, s: Settings) -> Any:
    """Returns the model, trained for `epochs` passes over the rows if the run sets them."""
    return model if s.epochs is None else model.set_params(schedule=replace(model.schedule, epochs=s.epochs, least=1))


def _published(s: Settings) -> Model:
    return _mlp(s, **{name: getattr(models.MLP.published(), name) for name in ("members", "plain", "arm_weighted")})


def _focused(s: Settings, **options: Any) -> Model:
    base, decision = _mlp(s, members=s.members, **options), models.PPL(budgets=s.budgets)
    return _shortened(models.DFCL(base, decision=decision, checkpoint=s.checkpoint, **_common(s)), s)


def _residual(s: Settings) -> Model:
    return models.DecisionResidual(_boosting(s), by="trees", decision=models.PPL(budgets=s.budgets), **_common(s))


def _bilevel(s: Settings) -> Model:
    base, decision = _mlp(s, members=s.members), models.PPL(budgets=s.budgets)
    model = models.BiDFCL(base, decision=decision, shrinkage_weight=0.5, checkpoint=s.checkpoint, **_common(s))
    return _shortened(model, s)


def _bilevel_published(s: Settings) -> Model:
    model = models.BiDFCL.published(checkpoint=s.checkpoint, **_common(s))
    nets = {name: _shortened(getattr(model, name), s) for name in ("base", "teacher")}
    return _shortened(model.set_params(**nets), s)


def _stack(s: Settings, name: str) -> Model:
    return models.Stack(tuple(make(part, s) for part in parts_of(name)), outcome=s.outcome, seed=s.seed)


def _dhcl(s: Settings, kind: str) -> Model:
    model: Any = getattr(models, kind)(members=s.members, seed=s.seed, n_threads=s.n_threads, checkpoint=s.checkpoint)
    # Every step uses all rows: an epoch is a step.
    return model if s.epochs is None else model.set_params(training=replace(model.training, steps=s.epochs))


def _baseline(s: Settings, kind: str, **options: Any) -> Model:
    """Returns a model of the papers' comparison tables, by its class."""
    return _shortened(getattr(models, kind)(checkpoint=s.checkpoint, **_common(s), **options), s)


_MAKE: dict[str, Callable[[Settings], Model]] = {
    "lightgbm": lambda s: models.Calibrated(_boosting(s), outcome=s.outcome),
    "mlp": lambda s: models.Calibrated(_mlp(s, members=s.members), outcome=s.outcome),
    "logs-then-correction": lambda s: models.Corrected(_boosting(s), **_common(s)),
    "lightgbm-t": lambda s: models.Calibrated(_boosting(s, strategy="T"), outcome=s.outcome),
    "lightgbm-rct": lambda s: _boosting(s, data="rct"),
    "mlp-rct": lambda s: _mlp(s, data="rct", members=s.members),
    "mlp-published": _published,
    "stack": lambda s: _stack(s, "stack"),
    "stack-rct": lambda s: _stack(s, "stack-rct"),
    "dfcl": lambda s: _focused(s, data="rct"),
    "pool-then-tune": _focused,
    "lightgbm-steered": _residual,
    "bi-dfcl": _bilevel,
    "bi-dfcl-published": _bilevel_published,
    "drp": lambda s: _dhcl(s, "DRP"),
    "drm": lambda s: _dhcl(s, "DRM"),
    "dum": lambda s: _dhcl(s, "DUM"),
    "dpm": lambda s: _dhcl(s, "DPM"),
    "hrc": lambda s: models.HRC(
        _mlp(s, members=s.members, hidden=(64, 32), lengths=(1,)), outcome=s.outcome, seed=s.seed
    ),
    # For comparison with papers, with the published network; they need past campaign data (an OBS log).
    "ips": lambda s: _baseline(s, "IPS"),
    "dr-jt": lambda s: _baseline(s, "DRJT"),
    "cfr-wass": lambda s: _baseline(s, "CFR", distance="wasserstein"),
    "cfr-mmd": lambda s: _baseline(s, "CFR", distance="mmd"),
    "dragonnet": lambda s: _baseline(s, "DragonNet"),
    "cause": lambda s: _baseline(s, "CausE"),
    "kd-label": lambda s: _baseline(s, "KDLabel"),
    "kd-feature": lambda s: _baseline(s, "KDFeature"),
    "ltd-ips": lambda s: _baseline(s, "LTD", loss="ips"),
    "ltd-dr": lambda s: _baseline(s, "LTD", loss="dr"),
    "autodebias": lambda s: _baseline(s, "AutoDebias"),
}
NAMES = tuple(_MAKE)
PARTS = {
    "stack": ("lightgbm", "mlp", "logs-then-correction", "lightgbm-rct"),
    "stack-rct": ("lightgbm-rct", "mlp-rct"),
}
"""Candidates that average others: members that are candidates too are fitted only once."""
AUTO = {
    True: ("stack", "lightgbm", "mlp", "logs-then-correction", "stack-rct", "lightgbm-rct", "mlp-rct"),
    False: ("stack-rct", "lightgbm-rct", "mlp-rct"),
}
"""The candidates of ``"auto"`` with and without an OBS log, the default first. Those fitted on the trial alone guard against a
misleading log."""
ALONE = frozenset({"stack-rct", "lightgbm-rct", "mlp-rct", "dfcl", "drp", "drm", "dum", "dpm"})
"""Candidates that are fitted on the trial alone."""
DECIDES = frozenset(
    {"dfcl", "pool-then-tune", "lightgbm-steered", "bi-dfcl", "bi-dfcl-published", "drp", "drm", "dum", "dpm"}
)
"""Decision-focused candidates: adopted only on paired evidence, see `largesse.models.selection.choose`."""
TUNED = {True: ("pool-then-tune", "bi-dfcl"), False: ("dfcl",)}
"""What ``"auto"`` adds where the trial is large enough to detect the gain of a decision loss."""
_AVERAGES = frozenset({"mlp-rct"})  # of members that nothing is learned on top of
TREES = frozenset({"lightgbm", "lightgbm-t", "lightgbm-rct", "logs-then-correction", "stack"})
"""Candidates that work without torch; a stack then leaves out its networks."""


def pieces_of(name: str, settings: Settings) -> int:
    """Returns in how many pieces a candidate can be fitted, independently of each other; they are then joined."""
    return settings.members if name in _AVERAGES else 1


def default_names(both: bool, can_pay: bool) -> tuple[str, ...]:
    """Returns the candidates of ``"auto"``; without torch, networks are left out (`left_out`).

    Args:
        both: Whether there is an OBS log beside the trial.
        can_pay: Whether the trial is large enough to detect the gain of a decision loss.
    """
    names = AUTO[both] + (TUNED[both] if can_pay else ())
    return names if installed("torch") else tuple(name for name in names if name in TREES)


def left_out(both: bool, can_pay: bool) -> str:
    """Returns which candidates of ``"auto"`` need torch, which is not installed, and what installs it; ``""`` for none."""
    names = AUTO[both] + (TUNED[both] if can_pay else ())
    lost = [name for name in names if name not in default_names(both, can_pay)]
    advice = MissingDependency("torch", "learn", "a network")
    return f"Left out: {', '.join(lost)}. They are networks: {advice}." if lost else ""


def parts_of(name: str) -> tuple[str, ...]:
    """Returns the candidates that a stack averages; () for any other name. Without torch, networks are left out."""
    return tuple(part for part in PARTS.get(name, ()) if installed("torch") or part in TREES)


def has_networks(name: str) -> bool:
    """Returns whether a candidate is a network or averages one."""
    return any(part not in TREES for part in parts_of(name) or (name,))


def make(name: str, settings: Settings) -> Model:
    """Returns an unfitted model by name.

    Raises:
        ConfigError: No model has that name.
        MissingDependency: The model needs torch, which is not installed.
    """
    if name not in _MAKE:
        raise ConfigError(
            f"model.candidates == {name!r}: must be among {', '.join(map(repr, NAMES))}. {nearest(name, NAMES)}Choose from these."
        )
    with needed_for(f"the model {name!r}"):
        return applied(_MAKE[name](settings), name, settings.hyperparameters.get(name, {}))
