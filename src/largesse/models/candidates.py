"""Models by name, for configuration files, from the simplest to the most elaborate; and the rule that chooses."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from largesse.errors import ConfigError
from largesse.models.base import Model
from largesse.models.outcome import Outcome
from largesse.models.spaces import Value, applied
from largesse.roles import nearest

if TYPE_CHECKING:
    from largesse.models.boosting import Boosting
    from largesse.models.mlp import MLP

__all__ = [
    "ALONE",
    "AUTO",
    "BASELINES",
    "DECIDES",
    "NAMES",
    "PARTS",
    "TUNED",
    "Choice",
    "Settings",
    "allowance",
    "choose",
    "default_names",
    "make",
]

_ONE_SIDED = 0.8413  # of a normal deviate is below one standard error
_SURE = 0.95  # before the first candidate makes room for another, or one that learns from decisions is adopted


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run says about its models.

    Attributes:
        outcome: Family and cost rule.
        members: Networks averaged in one model.
        epochs: Passes over the rows; None: each model's own number.
        seed: Starts and sampling.
        n_threads: Threads.
        checkpoint: Folder that keeps unfinished trainings of networks; None: a killed run starts anew.
        budgets: Target budgets of decision losses, money per head; (): their own.
        knobs: Model → knob → value, as `largesse.models.spaces` knows them; they count more than `epochs`.
    """

    outcome: Outcome
    members: int = 3
    epochs: int | None = None
    seed: int = 0
    n_threads: int = 1
    checkpoint: str | None = None
    budgets: tuple[float, ...] = ()
    knobs: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)


# Each maker imports its learner, so that naming the models loads neither torch nor LightGBM.


def _boosting(s: Settings, **how: Any) -> Boosting:
    from largesse.models.boosting import Boosting

    return Boosting(outcome=s.outcome, seed=s.seed, n_threads=s.n_threads, **how)


def _mlp(s: Settings, **how: Any) -> MLP:
    from largesse.models.mlp import MLP

    net = MLP(outcome=s.outcome, seed=s.seed, n_threads=s.n_threads, checkpoint=s.checkpoint, **how)
    return _shortened(net if s.epochs is None else net.set_params(lengths=(1,)), s)


def _shortened(model: Any, s: Settings) -> Any:
    """Returns a model that is trained for the run's passes over the rows, if it names any."""
    return model if s.epochs is None else model.set_params(schedule=replace(model.schedule, epochs=s.epochs, least=1))


def _published(s: Settings) -> MLP:
    from largesse.models.mlp import MLP

    return _mlp(s, **{name: getattr(MLP.published(), name) for name in ("members", "plain", "arm_weighted")})


def _calibrated(s: Settings, base: Model) -> Model:
    from largesse.models.calibrate import Calibrated

    return Calibrated(base, outcome=s.outcome)


def _corrected(s: Settings) -> Model:
    from largesse.models.correction import Corrected

    return Corrected(_boosting(s), outcome=s.outcome, seed=s.seed, n_threads=s.n_threads)


def _focused(s: Settings, **how: Any) -> Model:
    from largesse.models._decision import Decision
    from largesse.models.dfcl import DFCL

    base = _mlp(s, members=s.members, **how)
    decision = Decision(budgets=s.budgets)
    tuned = DFCL(
        base, decision=decision, outcome=s.outcome, seed=s.seed, n_threads=s.n_threads, checkpoint=s.checkpoint
    )
    return _shortened(tuned, s)


def _steered(s: Settings) -> Model:
    from largesse.models._decision import Decision
    from largesse.models.steered import Steered

    how = Decision(budgets=s.budgets)
    return Steered(_boosting(s), by="trees", decision=how, outcome=s.outcome, seed=s.seed, n_threads=s.n_threads)


def _bilevel(s: Settings) -> Model:
    from largesse.models._decision import Decision
    from largesse.models.bidfcl import BiDFCL

    decision = Decision(budgets=s.budgets)
    model = BiDFCL(_mlp(s, members=s.members), decision=decision, strength=0.5, **_common(s))
    return _shortened(model, s)


def _bilevel_published(s: Settings) -> Model:
    from largesse.models.bidfcl import BiDFCL

    model = BiDFCL.published(**_common(s))
    nets = {name: _shortened(getattr(model, name), s) for name in ("base", "teacher")}
    return _shortened(model.set_params(**nets), s)


def _clustered(s: Settings) -> Model:
    from largesse.models.hrc import HRC

    return HRC(_mlp(s, members=s.members, hidden=(64, 32), lengths=(1,)), outcome=s.outcome, seed=s.seed)


def _common(s: Settings) -> dict[str, Any]:
    return {"outcome": s.outcome, "seed": s.seed, "n_threads": s.n_threads, "checkpoint": s.checkpoint}


def _stack(s: Settings, name: str) -> Model:
    from largesse.models.stack import Stack

    return Stack(tuple(make(part, s) for part in PARTS[name]), outcome=s.outcome, seed=s.seed)


def _dhcl(s: Settings, kind: str) -> Model:
    from largesse.models import dhcl

    model: Model = getattr(dhcl, kind)(members=s.members, seed=s.seed, n_threads=s.n_threads, checkpoint=s.checkpoint)
    # Every step sees all rows: epochs are steps.
    return model if s.epochs is None else model.set_params(training=replace(model.training, steps=s.epochs))


def _baseline(s: Settings, kind: str, **how: Any) -> Model:
    """Returns a learner of the papers' comparison tables, by its class."""
    from largesse import models

    made = getattr(models, kind)(outcome=s.outcome, seed=s.seed, n_threads=s.n_threads, checkpoint=s.checkpoint, **how)
    return _shortened(made, s)


_MAKE: dict[str, Callable[[Settings], Model]] = {
    "lightgbm": lambda s: _calibrated(s, _boosting(s)),
    "mlp": lambda s: _calibrated(s, _mlp(s, members=s.members)),
    "logs-then-correction": _corrected,
    "lightgbm-t": lambda s: _calibrated(s, _boosting(s, strategy="T")),
    "lightgbm-rct": lambda s: _boosting(s, data="rct"),
    "mlp-rct": lambda s: _mlp(s, data="rct", members=s.members),
    "mlp-published": _published,
    "stack": lambda s: _stack(s, "stack"),
    "stack-rct": lambda s: _stack(s, "stack-rct"),
    "dfcl": lambda s: _focused(s, data="rct"),
    "pool-then-tune": _focused,
    "lightgbm-steered": _steered,
    "bi-dfcl": _bilevel,
    "bi-dfcl-published": _bilevel_published,
    "drp": lambda s: _dhcl(s, "DRP"),
    "drm": lambda s: _dhcl(s, "DRM"),
    "dum": lambda s: _dhcl(s, "DUM"),
    "dpm": lambda s: _dhcl(s, "DPM"),
    "hrc": _clustered,
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
BASELINES = NAMES[NAMES.index("ips") :]
"""Candidates for comparison with papers, with the published network; they need a log of the past policy."""
PARTS = {
    "stack": ("lightgbm", "mlp", "logs-then-correction", "lightgbm-rct"),
    "stack-rct": ("lightgbm-rct", "mlp-rct"),
}
"""Candidates that are means of others: where those are learned anyway, nothing is learned twice."""
AUTO = {
    True: ("stack", "lightgbm", "mlp", "logs-then-correction", "stack-rct", "lightgbm-rct", "mlp-rct"),
    False: ("stack-rct", "lightgbm-rct", "mlp-rct"),
}
"""The candidates of ``"auto"``, with and without an observational log, the most trusted first. Those of the trial alone guard
against a log that misleads."""
ALONE = frozenset({"stack-rct", "lightgbm-rct", "mlp-rct", "dfcl", "drp", "drm", "dum", "dpm"})
"""Candidates that learn from the trial alone."""
DECIDES = frozenset(
    {"dfcl", "pool-then-tune", "lightgbm-steered", "bi-dfcl", "bi-dfcl-published", "drp", "drm", "dum", "dpm"}
)
"""Candidates that learn from decisions: taken only on paired evidence, see `choose`."""
TUNED = {True: ("pool-then-tune", "bi-dfcl"), False: ("dfcl",)}
"""What ``"auto"`` adds where the power of the trial says that a decision loss can pay."""


def default_names(both: bool, can_pay: bool) -> tuple[str, ...]:
    """Returns the candidates of ``"auto"``: those that learn from decisions join where the power says that it can pay."""
    return AUTO[both] + (TUNED[both] if can_pay else ())


def make(name: str, settings: Settings) -> Model:
    """Returns an unfitted model by name.

    Raises:
        ConfigError: There is no model of that name.
    """
    if name not in _MAKE:
        raise ConfigError(
            f"model.candidates == {name!r}: must be among {', '.join(map(repr, NAMES))}. {nearest(name, NAMES)}Choose from these."
        )
    return applied(_MAKE[name](settings), name, settings.knobs.get(name, {}))


@dataclass(frozen=True, slots=True)
class Choice:
    """Which candidate was chosen, and why.

    Attributes:
        name: The winner.
        score: Mean value per head over the budgets, one per candidate, (P,).
        error: Standard error of each score's difference to the best, (P,).
        seen: Budgets that count, (B,): those that every candidate in question meets.
        reason: One plain sentence.
    """

    name: str
    score: NDArray[np.float64]
    error: NDArray[np.float64]
    seen: NDArray[np.bool_]
    reason: str


def choose(
    names: Sequence[str],
    value: NDArray[np.float64],
    draws: NDArray[np.float64],
    *,
    errors: float | None = 1.0,
    decides: Collection[str] = DECIDES,
) -> Choice:
    """Returns the first candidate that noise cannot tell from the best: within so many paired standard errors of it.

    A candidate that learns from decisions is taken only where it beats the choice among the others with 95 %
    confidence: its loss and this proof are made of the same noisy kind of sum, and it must not be believed for that.

    Args:
        names: Candidates, simplest first, (P,).
        value: Value per head at each budget, (P, B); nan where it is out of reach: who meets fewer budgets than others is
            not considered, and a budget that none of the rest meets does not count.
        draws: The same in each bootstrap draw, (D, P, B), drawn with the same row weights.
        errors: How many standard errors count as noise; None: as many as the luckiest of so many candidates, all alike, leads
            one of them by with a probability of 5 % at most, see `allowance`; and the first makes room only for a candidate
            that beats it by more.
        decides: Names of the candidates that learn from decisions.
    """
    met = np.isfinite(value)
    able = met.sum(1) == met.sum(1).max()  # who cannot meet a budget is not excused from it
    seen = met[able].all(0)
    if not seen.any():
        unknown = np.full(len(names), np.nan)
        return Choice(names[0], unknown, unknown, seen, "No budget is within every candidate's reach.")
    score, drawn = value[:, seen].mean(1), draws[:, :, seen].mean(2)
    plain, bold = ([k for k, n in enumerate(names) if able[k] and (n in decides) == d] for d in (False, True))
    among = plain or bold
    first, reason = _simplest(names, score, drawn, among, errors)
    if plain and bold:
        first, reason = _adopted(names, score, drawn, (plain, bold), (first, reason))
    error = (drawn - drawn[:, [int(np.nanargmax(np.where(able, score, np.nan)))]]).std(0)
    lost = [n for n, fine in zip(names, able, strict=True) if not fine]
    if lost:
        reason = f"{', '.join(lost)}: cannot meet every budget at any price, so not considered. {reason}"
    return Choice(names[first], score, error, seen, reason)


def _adopted(
    names: Sequence[str],
    score: NDArray[np.float64],
    drawn: NDArray[np.float64],
    among: tuple[list[int], list[int]],
    kept: tuple[int, str],
) -> tuple[int, str]:
    """Returns the best of those that learn from decisions, if it surely beats the choice among the others, and why."""
    (plain, bold), (first, reason) = among, kept
    gain = score[bold] - score[first]
    gap = drawn[:, bold] - drawn[:, [first]] - gain
    error = np.maximum(gap.std(0), 1e-300)
    # The luckiest of several must clear what the luckiest of several would by chance: 95 % point of max_k gap_k / error_k.
    low = gain - float(np.quantile((gap / error).max(1), _SURE)) * error
    k = int(np.argmax(gain))
    words = f"{names[bold[k]]}, which learns from decisions, brings {gain[k]:+.3g} per head"
    if low[k] > 0 and score[bold[k]] >= score[plain].max():
        reason = f"{words} against {names[first]}, and at least {low[k]:.3g} with 95 % confidence: it is adopted."
        return bold[k], reason
    return first, f"{reason} {words} against it (95 % confidence: at least {low[k]:.3g}): the two-stage model is kept."


def _simplest(
    names: Sequence[str],
    score: NDArray[np.float64],
    drawn: NDArray[np.float64],
    among: list[int],
    errors: float | None,
) -> tuple[int, str]:
    """Returns the first candidate within so many paired standard errors of the best among some, and why."""
    if len(among) == 1:
        only = "the only candidate" if len(names) == 1 else "the only one learned in two stages"
        return among[0], f"{names[among[0]]} was {only}."
    best = max(among, key=lambda k: (score[k], -k))

    def count(k: int) -> float:
        """Returns how many standard errors of a difference to k count as noise."""
        some = [k, *(other for other in among if other != k)]
        return allowance(score[some], drawn[:, some], _SURE) if errors is None else errors

    def error(k: int, rival: int) -> float:
        return float((drawn[:, k] - drawn[:, rival]).std())

    trusted, left, before = among[0], among, "none before it comes within"
    if errors is None:  # it makes room only for those that surely beat it
        noise = count(trusted)
        left = [trusted, *(k for k in among if score[k] - score[trusted] > noise * error(trusted, k))]
        before = "of those that surely beat the first, none before it comes within"
    first, many = next((k, n) for k in left if score[best] - score[k] <= (n := count(k)) * error(k, best))
    bound = "one standard error" if many == 1 else f"{many:.2g} standard errors"
    if first == best:
        others = "" if first == trusted else f", and {before} {bound} of it"
        return first, f"{names[first]} has the highest value on rows that no candidate has seen{others}."
    return first, (
        f"{names[best]} is highest, but {names[first]} stands before it and is within {bound} of it "
        f"({score[best] - score[first]:.3g} against {many * error(first, best):.3g}): noise does not decide."
    )


def allowance(score: NDArray[np.float64], drawn: NDArray[np.float64], sure: float = _ONE_SIDED) -> float:
    """Returns by how many standard errors, at most, the best of many that are all alike leads the first.

    With t_k the centred difference of k and the first over its standard error, in each draw: a quantile of max_k t_k. The
    default is about 1 for two candidates, as often as one leads the other by one standard error, and about 2 for twenty: the
    best of many is the luckiest of many.

    Args:
        score: Value per head, (P,); the first is the simplest.
        drawn: The same in each bootstrap draw, (D, P).
        sure: How probably.

    Reference:
        White 2000, A reality check for data snooping; Breiman et al. 1984 (the rule of one standard error).
    """
    gap = drawn - drawn[:, :1] - (score - score[0])
    error = gap.std(0)
    seen = error > 0
    return max(1.0, float(np.quantile((gap[:, seen] / error[seen]).max(1), sure))) if seen.any() else 1.0
